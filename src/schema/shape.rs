//! The shape of a schema, as a graph: which schema applies to which member. Code that changes a
//! document before the check (`sanitize`) or before it is sent (`respond`) walks this graph beside
//! the document.

use std::collections::HashMap;

use jsonschema::Draft;
use serde_json::{Map, Value};

use crate::error::ConfigError;
use crate::pattern::Matcher;
use crate::schema::keywords::{SANITIZERS, error_at, escaped, is_old, local_pointer};
use crate::schema::sanitize::Ops;

/// One schema.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "facts that are independent of each other")]
pub(crate) struct Shape {
    /// The changes to a string that it applies to.
    pub(crate) ops: Ops,
    /// Members by name, sorted.
    pub(crate) properties: Vec<(Box<str>, usize)>,
    pub(crate) patterns: Vec<(Matcher, usize)>,
    /// The schema of members that are not named, if there is one.
    pub(crate) additional: Option<usize>,
    /// Whether it has `properties` or `patternProperties`.
    pub(crate) declares: bool,
    /// Whether no value is valid: the schema is `false`.
    pub(crate) never: bool,
    /// Whether it accepts every value.
    pub(crate) is_any: bool,
    /// Whether an object may be valid, by its `type`.
    pub(crate) takes_objects: bool,
    /// Whether it explicitly accepts other members.
    pub(crate) open: bool,
    pub(crate) prefix: Vec<usize>,
    pub(crate) items: Option<usize>,
    /// Schemas that always apply to the same value.
    pub(crate) also: Vec<usize>,
    /// Schemas that may apply to the same value.
    pub(crate) maybe: Vec<usize>,
}

impl Shape {
    pub(crate) fn property(&self, name: &str) -> Option<usize> {
        let at = self.properties.binary_search_by(|(known, _)| (**known).cmp(name)).ok()?;
        self.properties.get(at).map(|(_, shape)| *shape)
    }

    /// The schemas of the patterns that `name` matches.
    pub(crate) fn pattern(&self, name: &str) -> impl Iterator<Item = usize> {
        let fits = |pattern: &Matcher| pattern.is_match(name);
        self.patterns.iter().filter(move |(pattern, _)| fits(pattern)).map(|(_, shape)| *shape)
    }
}

/// The shapes of one schema document; the first is that of its root.
#[derive(Debug, Default)]
pub(crate) struct Shapes(Vec<Shape>);

/// The maximum length of a chain of references and compositions on one value.
const HOPS: u32 = 16;

impl Shapes {
    pub(crate) fn of(path: &str, root: &Value, draft: Draft) -> Result<Self, ConfigError> {
        let mut build = Build { path, root, draft, known: HashMap::new(), shapes: Vec::new() };
        build.shape(root, "", false)?;
        Ok(Self(build.shapes))
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Shape> {
        self.0.iter()
    }

    pub(crate) fn get(&self, at: usize) -> Option<&Shape> {
        self.0.get(at)
    }

    /// All shapes that apply to a value to which `applying` apply: also the targets of their
    /// references and the parts of their compositions. With `maybe`, the ones that may apply are
    /// included.
    pub(crate) fn in_place(&self, applying: &[usize], maybe: bool) -> Vec<&Shape> {
        let mut all = applying.to_vec();
        let (mut from, mut hops) = (0, 0);
        while from < all.len() && hops < HOPS {
            let until = all.len();
            for at in from..until {
                let Some(shape) = all.get(at).and_then(|shape| self.get(*shape)) else { continue };
                let others = if maybe { shape.maybe.as_slice() } else { &[] };
                for next in shape.also.iter().chain(others) {
                    if !all.contains(next) {
                        all.push(*next);
                    }
                }
            }
            from = until;
            hops += 1;
        }
        all.iter().filter_map(|shape| self.get(*shape)).collect()
    }

    /// Whether any shape changes strings.
    pub(crate) fn sanitizes(&self) -> bool {
        self.0.iter().any(|shape| !shape.ops.is_empty())
    }
}

struct Build<'a> {
    path: &'a str,
    root: &'a Value,
    draft: Draft,
    /// Shapes by the pointer of their schema, and whether it is conditional.
    known: HashMap<(String, bool), usize>,
    shapes: Vec<Shape>,
}

/// Keywords whose schemas apply to a value only if others do, or only to some of its parts.
const CONDITIONAL: &[&str] =
    &["anyOf", "oneOf", "if", "then", "else", "dependentSchemas", "dependencies"];
/// Keywords whose schemas declare no members. They are read to refuse sanitizers in them.
const NEVER: &[&str] =
    &["not", "contains", "propertyNames", "unevaluatedItems", "unevaluatedProperties"];

/// Keywords that check nothing.
const ANNOTATIONS: &[&str] = &[
    "$comment",
    "default",
    "deprecated",
    "description",
    "example",
    "examples",
    "readOnly",
    "title",
    "writeOnly",
];

impl Build<'_> {
    /// `conditional`: the schema may apply or not. A sanitizer in it is refused, because it would
    /// have to run before that is decided.
    fn shape(&mut self, schema: &Value, at: &str, conditional: bool) -> Result<usize, ConfigError> {
        if let Some(known) = self.known.get(&(at.to_owned(), conditional)) {
            return Ok(*known);
        }
        let index = self.shapes.len();
        self.known.insert((at.to_owned(), conditional), index);
        self.shapes.push(Shape {
            never: *schema == Value::Bool(false),
            is_any: *schema == Value::Bool(true),
            takes_objects: *schema == Value::Bool(true),
            ..Shape::default()
        });
        let Value::Object(map) = schema else { return Ok(index) };
        let shape = self.read(map, at, conditional)?;
        if let Some(slot) = self.shapes.get_mut(index) {
            *slot = shape;
        }
        Ok(index)
    }

    fn read(
        &mut self,
        map: &Map<String, Value>,
        at: &str,
        conditional: bool,
    ) -> Result<Shape, ConfigError> {
        let takes_objects = match map.get("type") {
            Some(Value::String(name)) => name == "object",
            Some(Value::Array(names)) => names.iter().any(|name| name == "object"),
            _ => true,
        };
        let is_any = map.keys().all(|key| ANNOTATIONS.contains(&key.as_str()));
        let mut shape = Shape { is_any, takes_objects, ..Shape::default() };
        if let Some(reference) = map.get("$ref") {
            // A reference that is not a pointer is refused where it matters: `references.rs`.
            if let Some(pointer) = local_pointer(reference)
                && let Some(target) = self.root.pointer(&pointer)
            {
                shape.also.push(self.shape(target, &pointer, conditional)?);
            }
            if is_old(self.draft) {
                return Ok(shape);
            }
        }
        shape.ops = Ops::of(map);
        if conditional && !shape.ops.is_empty() {
            return Err(self.unsure(at));
        }
        self.members(map, at, conditional, &mut shape)?;
        self.elements(map, at, conditional, &mut shape)?;
        for (i, schema) in list(map.get("allOf")).enumerate() {
            shape.also.push(self.shape(schema, &format!("{at}/allOf/{i}"), conditional)?);
        }
        for key in CONDITIONAL {
            match map.get(*key) {
                Some(Value::Array(branches)) => {
                    for (i, schema) in branches.iter().enumerate() {
                        shape.maybe.push(self.shape(schema, &format!("{at}/{key}/{i}"), true)?);
                    }
                }
                Some(Value::Object(schemas)) if key.starts_with("depend") => {
                    for (name, schema) in schemas.iter().filter(|(_, schema)| schema.is_object()) {
                        let here = format!("{at}/{key}/{}", escaped(name));
                        shape.maybe.push(self.shape(schema, &here, true)?);
                    }
                }
                Some(schema @ Value::Object(_)) => {
                    shape.maybe.push(self.shape(schema, &format!("{at}/{key}"), true)?);
                }
                _ => {}
            }
        }
        for key in NEVER {
            if let Some(schema @ Value::Object(_)) = map.get(*key) {
                let inner = self.shape(schema, &format!("{at}/{key}"), true)?;
                if key.starts_with("unevaluatedP") {
                    shape.additional = shape.additional.or(Some(inner));
                }
            }
        }
        Ok(shape)
    }

    fn members(
        &mut self,
        map: &Map<String, Value>,
        at: &str,
        conditional: bool,
        shape: &mut Shape,
    ) -> Result<(), ConfigError> {
        for (name, schema) in object(map.get("properties")) {
            let here = format!("{at}/properties/{}", escaped(name));
            shape.properties.push((name.as_str().into(), self.shape(schema, &here, conditional)?));
        }
        shape.properties.sort_unstable();
        for (pattern, schema) in object(map.get("patternProperties")) {
            let here = format!("{at}/patternProperties/{}", escaped(pattern));
            let shape_of = self.shape(schema, &here, true)?;
            // The compiler of the pattern reports its fault.
            if let Ok(matcher) = Matcher::new(pattern) {
                shape.patterns.push((matcher, shape_of));
            } else {
                shape.open = true;
            }
        }
        shape.declares = map.contains_key("properties") || map.contains_key("patternProperties");
        for key in ["additionalProperties", "unevaluatedProperties"] {
            match map.get(key) {
                Some(Value::Bool(true)) => shape.open = true,
                Some(schema @ Value::Object(_)) => {
                    shape.open = true;
                    if key.starts_with('a') {
                        let here = format!("{at}/{key}");
                        shape.additional = Some(self.shape(schema, &here, conditional)?);
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn elements(
        &mut self,
        map: &Map<String, Value>,
        at: &str,
        conditional: bool,
        shape: &mut Shape,
    ) -> Result<(), ConfigError> {
        for key in ["prefixItems", "items"] {
            for (i, schema) in list(map.get(key)).enumerate() {
                shape.prefix.push(self.shape(schema, &format!("{at}/{key}/{i}"), conditional)?);
            }
        }
        for key in ["items", "additionalItems"] {
            if let Some(schema @ Value::Object(_)) = map.get(key) {
                shape.items = Some(self.shape(schema, &format!("{at}/{key}"), conditional)?);
            }
        }
        Ok(())
    }

    fn unsure(&self, at: &str) -> ConfigError {
        let error = error_at(
            self.path,
            at,
            &format!("has one of {}, but may apply or not", SANITIZERS.join(", ")),
        );
        error.suggest(
            "write it where the schema applies in every case: not under anyOf, oneOf, if, not, contains or patternProperties; for a string that may be null write { type: ['string', 'null'] }",
        )
    }
}

fn list(value: Option<&Value>) -> impl Iterator<Item = &Value> {
    value.and_then(Value::as_array).into_iter().flatten()
}

fn object(value: Option<&Value>) -> impl Iterator<Item = (&String, &Value)> {
    value.and_then(Value::as_object).into_iter().flatten()
}
