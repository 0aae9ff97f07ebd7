//! Keys that look like operators where a schema declares keys by a rule and not by name:
//! `additionalProperties` with a schema, `patternProperties`. Labels of Kubernetes and records of
//! zod are such data. Names under `properties` are known to the parser; this walk decides about the
//! others, where they stand, once the parser has met one.
//!
//! In doubt a key is not declared. A schema that accepts every value (`{}`, `true`) declares none.
//! Under a choice (`anyOf` and the like), every branch that may take the object must declare it.

use crate::json::is_operator_like;
use crate::json::tape::{Document, Item};
use crate::schema::shape::{Shape, Shapes};

/// Where a document comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// JSON that the client sent.
    Json,
    /// A query, a form or other text. No honest client has a reason to write `filter[a][$ne]=`
    /// there, so a key that begins with `$` needs its name in the schema.
    Text,
}

/// The keys that count as declared by their names, and the origin of the document.
#[derive(Clone, Copy)]
struct Keys<'a> {
    names: &'a [Box<str>],
    origin: Origin,
}

impl Keys<'_> {
    /// Whether a key needs no rule.
    fn pass(self, key: &str) -> bool {
        !is_operator_like(key) || self.names.binary_search_by(|name| (**name).cmp(key)).is_ok()
    }

    /// Whether a rule may declare a key.
    fn may_be_ruled(self, key: &str) -> bool {
        self.origin == Origin::Json || !key.starts_with('$')
    }
}

impl Shapes {
    /// Whether any schema declares keys by a rule.
    pub(crate) fn has_rules_for_keys(&self) -> bool {
        self.all().any(|shape| !shape.patterns.is_empty() || shape.additional.is_some())
    }

    /// Whether each key of the document that looks like an operator is one of `names`, or declared
    /// where it stands.
    pub(crate) fn declare_keys(
        &self,
        document: &Document<'_>,
        names: &[Box<str>],
        origin: Origin,
    ) -> bool {
        self.declare_at(document, Keys { names, origin }, 0, &[0])
    }

    /// The recursion is safe: no tape is deeper than 128.
    fn declare_at(
        &self,
        document: &Document<'_>,
        keys: Keys<'_>,
        at: u32,
        applying: &[usize],
    ) -> bool {
        match document.item(at) {
            Item::Object(span) => {
                let certain = self.in_place(applying, false);
                let all = self.in_place(applying, true);
                document.members(span).all(|(name, value)| {
                    (keys.pass(name)
                        || keys.may_be_ruled(name) && self.declares(&certain, &all, name))
                        && self.declare_at(document, keys, value, &inner_of(&all, name))
                })
            }
            Item::Array(span) => {
                let all = self.in_place(applying, true);
                document.elements(span).enumerate().all(|(i, value)| {
                    let element = |shape: &&Shape| shape.prefix.get(i).copied().or(shape.items);
                    let inner: Vec<usize> = all.iter().filter_map(element).collect();
                    self.declare_at(document, keys, value, &inner)
                })
            }
            _ => true,
        }
    }

    fn declares(&self, certain: &[&Shape], all: &[&Shape], name: &str) -> bool {
        let declares = |shape: &Shape| {
            let named = shape.property(name).or_else(|| shape.pattern(name).next());
            let rule = || shape.additional.filter(|rule| !self.get(*rule).is_some_and(is_any));
            named.or_else(rule).is_some()
        };
        if certain.iter().any(|shape| declares(shape)) {
            return true;
        }
        let is_certain =
            |shape: &Shape| certain.iter().any(|certain| std::ptr::eq(*certain, shape));
        // A schema that only refers to others declares no keys itself.
        let refers =
            |shape: &Shape| !(shape.declares || shape.also.is_empty() && shape.maybe.is_empty());
        let mut branches =
            all.iter().filter(|shape| !is_certain(shape) && shape.takes_objects && !refers(shape));
        let has_branches = branches.clone().next().is_some();
        has_branches && branches.all(|shape| declares(shape))
    }
}

fn is_any(shape: &Shape) -> bool {
    shape.is_any
}

/// The schemas of the member `name`.
fn inner_of(applying: &[&Shape], name: &str) -> Vec<usize> {
    let mut inner = Vec::new();
    for shape in applying {
        let before = inner.len();
        inner.extend(shape.property(name));
        inner.extend(shape.pattern(name));
        if inner.len() == before {
            inner.extend(shape.additional);
        }
    }
    inner
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::json::Limits;
    use crate::schema::Schema;

    fn code(schema: &Value, body: &str) -> Result<(), String> {
        let schema = Schema::compile("body", schema, true).unwrap();
        let refused = schema.validate(body.as_bytes(), &Limits::default());
        refused.map_err(|refusal| refusal.code.to_owned())
    }
    const REFUSED: &str = "operator_key";

    #[test]
    fn keys_that_a_rule_declares_are_data() {
        let text = json!({ "type": "string" });
        let map = json!({ "type": "object", "additionalProperties": text });
        let patterns = json!({ "type": "object", "patternProperties": { "^x\\.": text } });
        let labels = json!({ "type": "object", "properties": { "metadata": { "type": "object", "properties": { "labels": map } } } });
        let referred = json!({ "type": "object", "properties": { "a": { "$ref": "#/$defs/map" } }, "$defs": { "map": map } });
        let nullable = json!({ "type": "object", "properties": { "a": { "anyOf": [map, { "type": "null" }] } } });
        let list = json!({ "type": "array", "items": map });
        for (schema, body) in [
            (&map, r#"{"app.kubernetes.io/name":"a","$x":"b"}"#),
            (&patterns, r#"{"x.y":"a"}"#),
            (&labels, r#"{"metadata":{"labels":{"a.b/c":"d"}}}"#),
            (&referred, r#"{"a":{"a.b":"c"}}"#),
            (&nullable, r#"{"a":{"a.b":"c"}}"#),
            (&list, r#"[{"a.b":"c"},{}]"#),
        ] {
            assert_eq!(code(schema, body), Ok(()), "{body}");
        }
        assert_eq!(code(&map, r#"{"a.b":1}"#), Err("validation_failed".to_owned()));
        assert_eq!(code(&map, r#"{"a.b":"c","a.b":"d"}"#), Err("duplicate_key".to_owned()));
        assert_eq!(code(&map, r#"{"__proto__":"c"}"#), Err("forbidden_key".to_owned()));
    }

    #[test]
    fn keys_that_no_rule_declares_where_they_stand_are_refused() {
        let text = json!({ "type": "string" });
        let map = json!({ "type": "object", "additionalProperties": text });
        let beside = json!({ "type": "object", "properties": { "labels": map, "filter": { "type": "object" }, "any": {} } });
        let choice = json!({ "type": "object", "properties": { "a": { "anyOf": [map, { "type": "object" }] } } });
        for (schema, body) in [
            (&beside, r#"{"filter":{"$where":"a"}}"#),
            (&beside, r#"{"any":{"$ne":null}}"#),
            (&beside, r#"{"any":[{"a":{"$ne":null}}],"labels":{"a.b":"c"}}"#),
            (&beside, r#"{"$where":"a"}"#),
            (&choice, r#"{"a":{"$where":"a"}}"#),
            (&json!({ "type": "object", "additionalProperties": true }), r#"{"$where":"a"}"#),
            (&json!({ "type": "object", "additionalProperties": {} }), r#"{"$where":"a"}"#),
            (
                &json!({ "type": "object", "additionalProperties": { "description": "a" } }),
                r#"{"$where":"a"}"#,
            ),
            (
                &json!({ "type": "object", "patternProperties": { "^x": text }, "additionalProperties": true }),
                r#"{"$x":"a"}"#,
            ),
            (
                &json!({ "type": "object", "additionalProperties": { "type": "object" } }),
                r#"{"a":{"$x":"a"}}"#,
            ),
        ] {
            assert_eq!(code(schema, body), Err(REFUSED.to_owned()), "{body} by {schema}");
        }
    }
}
