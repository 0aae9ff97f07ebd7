//! Checks the answers of handlers against their schemas: an undeclared member is never sent (OWASP
//! API3:2023), and an invalid answer is detected before a client gets it.

use serde_json::Value;

use crate::error::ConfigError;
use crate::json::fault::Pointer;
use crate::json::tape::{Document, Item};
use crate::json::write;
use crate::json::{Limits, Operators};
use crate::refusal::{FieldError, Refusal};
use crate::schema::Schema;
use crate::schema::SchemaRules;
use crate::schema::explain::Found;
use crate::schema::shape::Shapes;

/// The reaction to an answer that does not match its schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnResponse {
    /// Undeclared members are dropped; an answer with other errors is not sent.
    Strip,
    /// The answer is sent, and the errors are reported.
    Warn,
    /// The answer is not sent.
    Fail,
}

/// The schemas of a route's answers, by status.
#[derive(Debug)]
pub struct Responses {
    limits: Limits,
    exact: Vec<(u16, Response)>,
    /// By first digit: `2xx`.
    classes: Vec<(u16, Response)>,
    default: Option<Response>,
    on: OnResponse,
}

#[derive(Debug)]
struct Response {
    schema: Schema,
    shapes: Shapes,
}

/// The result for an answer.
#[derive(Debug, PartialEq)]
pub enum Reply {
    /// The answer is sent unchanged.
    AsIs,
    /// This text is sent instead.
    Stripped(String),
    /// The answer does not match its schema.
    Wrong(Refusal),
}

impl Responses {
    /// Reads `response`, schemas by status (`200`, `'2xx'`, `default`). `on` is the checked option
    /// `onResponse`, by default `'strip'`.
    ///
    /// # Errors
    /// The first fault in the schemas.
    pub fn parse(
        path: &str,
        schemas: &Value,
        on: OnResponse,
        rules: &SchemaRules,
    ) -> Result<Self, ConfigError> {
        let Value::Object(map) = schemas else {
            let error = ConfigError::invalid(path, "must be an object of schemas by status");
            return Err(error.suggest("write { 200: { ... }, default: { ... } }"));
        };
        if map.is_empty() {
            return Err(ConfigError::invalid(path, "has no schema")
                .suggest("write { 200: { ... }, default: { ... } }, or leave it out"));
        }
        let mut responses =
            Self { limits: lenient(), exact: Vec::new(), classes: Vec::new(), default: None, on };
        for (status, schema) in map {
            let path = format!("{path}.{status}");
            let response = Response::compile(&path, schema, rules)?;
            match (status.as_str(), status.as_bytes()) {
                ("default", _) => responses.default = Some(response),
                (_, [digit @ b'1'..=b'5', b'x' | b'X', b'x' | b'X']) => {
                    responses.classes.push((u16::from(digit - b'0'), response));
                }
                (text, _) => {
                    let status = text.parse().ok().filter(|status| (200..=599).contains(status));
                    let Some(status) = status else {
                        let problem = "must be a status from 200 to 599, '2xx' or 'default'";
                        return Err(ConfigError::invalid(path, problem));
                    };
                    responses.exact.push((status, response));
                }
            }
        }
        Ok(responses)
    }

    /// The result for an answer with `status` and the JSON text `bytes`. `None` if no schema covers
    /// the status.
    #[must_use]
    pub fn judge(&self, status: u16, bytes: &[u8]) -> Option<Reply> {
        let find = |list: &'_ [(u16, Response)], wanted: u16| {
            list.iter().position(|(status, _)| *status == wanted)
        };
        let response = find(&self.exact, status)
            .and_then(|at| self.exact.get(at))
            .or_else(|| find(&self.classes, status / 100).and_then(|at| self.classes.get(at)))
            .map(|(_, response)| response)
            .or(self.default.as_ref())?;
        Some(response.judge(bytes, &self.limits, self.on))
    }
}

impl Response {
    fn compile(path: &str, schema: &Value, rules: &SchemaRules) -> Result<Self, ConfigError> {
        // The shapes close every object with `properties`, even if the schema does not.
        let (schema, shapes) = Schema::compile_answer(path, schema, rules)?;
        Ok(Self { schema, shapes })
    }

    fn judge(&self, bytes: &[u8], limits: &Limits, on: OnResponse) -> Reply {
        let mut found = Found::default();
        let stripped = limits.with_document(bytes, None, |document| {
            let mut strip = Strip { shapes: &self.shapes, document, removed: 0, found: &mut found };
            let mut text = String::with_capacity(document.text().len());
            strip.value(0, &[0], &Location::Top, &mut text);
            let removed = strip.removed;
            if removed == 0 {
                self.schema.check(document, "response", &mut found);
            }
            (removed > 0).then_some(text)
        });
        let stripped = match stripped {
            Ok(stripped) => stripped,
            Err(mut refusal) => {
                refusal.errors.iter_mut().for_each(|error| error.location = "response");
                return Reply::Wrong(refusal);
            }
        };
        let Some(text) = stripped else {
            return if found.is_empty() { Reply::AsIs } else { Reply::Wrong(found.into_refusal()) };
        };
        if on == OnResponse::Strip {
            found = Found::default();
        }
        let rest = limits.with_document(text.as_bytes(), None, |document| {
            self.schema.check(document, "response", &mut found);
        });
        match rest {
            Err(refusal) => Reply::Wrong(refusal),
            Ok(()) if found.is_empty() => Reply::Stripped(text),
            Ok(()) => Reply::Wrong(found.into_refusal()),
        }
    }
}

/// Answers come from the application: they may be large, and hold keys that a request may not.
fn lenient() -> Limits {
    Limits {
        max_bytes: 16 << 20,
        max_depth: 128,
        max_nodes: 10_000_000,
        max_keys: 1_000_000,
        operators: Operators::Allow,
    }
}

/// The location of a value. A pointer is built from it only for an error.
enum Location<'p> {
    Top,
    Member(&'p Location<'p>, &'p str),
    Element(&'p Location<'p>, usize),
}

impl Location<'_> {
    fn pointer(&self) -> Pointer {
        match self {
            Self::Top => Pointer::root(),
            Self::Member(above, name) => {
                let mut pointer = above.pointer();
                pointer.key(name);
                pointer
            }
            Self::Element(above, i) => {
                let mut pointer = above.pointer();
                pointer.index(u32::try_from(*i).unwrap_or(u32::MAX));
                pointer
            }
        }
    }
}

/// Writes a document without its undeclared members.
struct Strip<'a, 'd, 'm> {
    shapes: &'a Shapes,
    document: &'a Document<'d>,
    removed: usize,
    found: &'a mut Found<'m>,
}

impl Strip<'_, '_, '_> {
    /// The recursion is safe: no tape is deeper than 128.
    fn value(&mut self, at: u32, applying: &[usize], location: &Location<'_>, out: &mut String) {
        let applying = self.shapes.in_place(applying, true);
        match self.document.item(at) {
            Item::Object(span) => {
                let closed = applying.iter().any(|shape| shape.declares)
                    && !applying.iter().any(|shape| shape.open);
                out.push('{');
                let mut first = true;
                for (name, value) in self.document.members(span) {
                    let mut inner: Vec<usize> =
                        applying.iter().filter_map(|shape| shape.property(name)).collect();
                    inner.extend(applying.iter().flat_map(|shape| shape.pattern(name)));
                    let declared = !inner.is_empty();
                    if !declared {
                        inner.extend(applying.iter().filter_map(|shape| shape.additional));
                    }
                    let here = Location::Member(location, name);
                    // A member whose declarations are all `false` is never sent.
                    let never = |at: &usize| self.shapes.get(*at).is_some_and(|shape| shape.never);
                    let refused = declared && inner.iter().all(never);
                    if refused || closed && !declared {
                        let (code, detail) = if refused {
                            ("falseSchema", "is never sent")
                        } else {
                            ("additionalProperties", "is not declared")
                        };
                        self.removed += 1;
                        self.found.push(FieldError {
                            location: "response",
                            pointer: here.pointer().finish(),
                            code,
                            detail: detail.to_owned(),
                        });
                        continue;
                    }
                    if !first {
                        out.push(',');
                    }
                    first = false;
                    write::string(name, out);
                    out.push(':');
                    self.value(value, &inner, &here, out);
                }
                out.push('}');
            }
            Item::Array(span) => {
                out.push('[');
                for (i, value) in self.document.elements(span).enumerate() {
                    if i > 0 {
                        out.push(',');
                    }
                    let inner: Vec<usize> = applying
                        .iter()
                        .filter_map(|shape| shape.prefix.get(i).copied().or(shape.items))
                        .collect();
                    self.value(value, &inner, &Location::Element(location, i), out);
                }
                out.push(']');
            }
            _ => write::scalar(self.document, at, out),
        }
    }
}
