//! Converts the schemas of a document to JSON Schema (draft 2020-12, or the dialect that a 3.1
//! document names) for the check of requests and answers.
//!
//! The structure of a schema is kept, keyword by keyword, so that a fault in the result has a place
//! in the document. A `$ref` becomes `#/$defs/s0`, whatever its target. Each target is converted
//! once, however many operations refer to it; cycles are allowed.
//!
//! Keywords without a counterpart: `nullable` becomes a type, the boolean limits of 3.0 become
//! numbers, integer formats become limits, `byte` a pattern. In a request, a `readOnly` property
//! becomes one that is never valid, and is not required: only the server sets it. In an answer, the
//! same applies to `writeOnly`. `discriminator` is omitted: it only names the intended branch, and
//! the branches themselves define validity.

use std::collections::{BTreeSet, HashMap};

use serde_json::{Map, Value, json};

use super::document::{At, Document, Version, child, dialect_of, fault, list};
use super::keywords::{ANNOTATIONS, Keep, V30, is_extension, keep};
use crate::config::options::{describe, nearest};
use crate::error::ConfigError;

/// The extension by which a parameter is marked as a list in one text: its elements are separated
/// by `','`.
pub(crate) const SPLIT: &str = "x-split";

/// The maximum nesting of a schema in the document, without references.
const MAX_DEPTH: u32 = 64;
/// The maximum length of a chain of references and compositions in the search for `readOnly` or
/// `writeOnly`.
const CHAIN: u32 = 16;

/// The direction of the value that a schema describes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Way {
    /// In a request.
    In,
    /// In an answer.
    Out,
}

impl Way {
    /// The keyword of properties that go only in the other direction.
    fn other_only(self) -> &'static str {
        match self {
            Self::In => "readOnly",
            Self::Out => "writeOnly",
        }
    }
}

/// The target of a schema's reference in the document.
#[derive(Debug)]
pub(crate) struct Definition {
    pub(crate) pointer: String,
    way: Way,
    pub(crate) schema: Value,
    /// The numbers of the definitions that it refers to.
    pub(crate) refs: BTreeSet<usize>,
}

/// Converts schemas and records the targets of their references.
#[derive(Debug)]
pub(crate) struct Converter<'d> {
    document: Document<'d>,
    ignored_formats: &'d [String],
    definitions: Vec<Definition>,
    numbers: HashMap<(String, Way), usize>,
    /// The direction of the current schema.
    way: Way,
    /// The targets of the current schema so far.
    refs: BTreeSet<usize>,
}

/// The name of a definition.
pub(crate) fn definition_name(number: usize) -> String {
    format!("s{number}")
}

impl<'d> Converter<'d> {
    pub(crate) fn new(document: Document<'d>, ignored_formats: &'d [String]) -> Self {
        Self {
            document,
            ignored_formats,
            definitions: Vec::new(),
            numbers: HashMap::new(),
            way: Way::In,
            refs: BTreeSet::new(),
        }
    }

    /// Converts one schema, and returns the definitions that it refers to directly.
    pub(crate) fn convert(
        &mut self,
        at: &At<'d>,
        way: Way,
    ) -> Result<(Value, BTreeSet<usize>), ConfigError> {
        self.way = way;
        self.refs.clear();
        let schema = self.schema(&at.pointer, at.value, &BTreeSet::new(), 0)?;
        Ok((schema, std::mem::take(&mut self.refs)))
    }

    /// Converts all recorded targets.
    pub(crate) fn finish(mut self) -> Result<Vec<Definition>, ConfigError> {
        let mut next = 0;
        while let Some(definition) = self.definitions.get(next) {
            let (pointer, way) = (definition.pointer.clone(), definition.way);
            let at = self.document.at(&pointer).ok_or_else(|| fault(&pointer, "leads nowhere"))?;
            let (schema, refs) = self.convert(&at, way)?;
            if let Some(definition) = self.definitions.get_mut(next) {
                definition.schema = schema;
                definition.refs = refs;
            }
            next += 1;
        }
        refuse_endless(&self.definitions)?;
        Ok(self.definitions)
    }

    /// `unsent` has the names of properties that an enclosing schema of the same object marks for
    /// the other direction only.
    fn schema(
        &mut self,
        pointer: &str,
        value: &'d Value,
        unsent: &BTreeSet<&'d str>,
        depth: u32,
    ) -> Result<Value, ConfigError> {
        if depth > MAX_DEPTH {
            return Err(fault(pointer, "is nested too deeply; use components and $ref"));
        }
        let map = match value {
            Value::Object(map) => map,
            Value::Bool(_) if self.document.version == Version::V31 => return Ok(value.clone()),
            other => {
                let problem = format!("must be a schema (an object), not {}", describe(other));
                return Err(fault(pointer, problem));
            }
        };
        let mut out = Map::new();
        if let Some(reference) = map.get("$ref") {
            out.insert("$ref".into(), self.reference(&child(pointer, "$ref"), reference)?);
            if self.document.version == Version::V30 {
                nothing_beside_ref(pointer, map, self.way)?;
                return Ok(Value::Object(out));
            }
        }
        let mut unsent = unsent.clone();
        self.collect_unsent(map, &mut unsent, 0);
        for (key, value) in map {
            let here = child(pointer, key);
            match keep(self.document.version, key) {
                Some(Keep::Nothing) => {}
                Some(Keep::Refused) => {
                    return Err(fault(
                        &here,
                        "can't be used: it would change what references mean",
                    )
                    .suggest("give the schema a name in components.schemas, and refer to that"));
                }
                // Processed last, since it adds to other keywords.
                Some(Keep::Special) if key == "format" => {}
                Some(Keep::Special) => {
                    self.special(&here, key, value, map, &unsent, &mut out, depth)?;
                }
                Some(Keep::Schema) => {
                    let schema = self.one_or_more(&here, key, value, depth)?;
                    out.insert(key.clone(), schema);
                }
                Some(Keep::List) => {
                    let mut schemas = Vec::new();
                    for (i, schema) in list(pointer, map, key)?.iter().enumerate() {
                        let here = child(&here, &i.to_string());
                        let around = if key == "prefixItems" { &BTreeSet::new() } else { &unsent };
                        schemas.push(self.schema(&here, schema, around, depth + 1)?);
                    }
                    out.insert(key.clone(), Value::Array(schemas));
                }
                Some(Keep::Map) => {
                    let schemas = self.members(&here, value, depth)?;
                    out.insert(key.clone(), schemas);
                }
                Some(Keep::AsIs) if self.is_exclusive(map, key) => {}
                Some(Keep::AsIs) => {
                    out.insert(key.clone(), value.clone());
                }
                // The values of sanitizers and similar keywords are strings or booleans; other
                // extensions are for other tools.
                None if is_extension(key) => {
                    if key != SPLIT && (value.is_string() || value.is_boolean()) {
                        out.insert(key.clone(), value.clone());
                    }
                }
                None if self.document.version == Version::V31 => {
                    out.insert(key.clone(), value.clone());
                }
                None => return Err(unknown_in_30(&here, key)),
            }
        }
        if let Some(format) = map.get("format") {
            self.format(&child(pointer, "format"), format, &mut out)?;
        }
        Ok(Value::Object(out))
    }

    /// Whether the keyword beside a limit of 3.0 makes it exclusive.
    fn is_exclusive(&self, map: &Map<String, Value>, limit: &str) -> bool {
        let beside = match limit {
            "minimum" => "exclusiveMinimum",
            "maximum" => "exclusiveMaximum",
            _ => return false,
        };
        self.document.version == Version::V30 && map.get(beside) == Some(&Value::Bool(true))
    }

    fn reference(&mut self, pointer: &str, reference: &Value) -> Result<Value, ConfigError> {
        let Some(target) = self.document.target(pointer, reference)? else {
            // A URI of a document that is registered at the guard. If it is not, the compiler
            // reports it.
            return Ok(reference.clone());
        };
        let next = self.definitions.len();
        let number = *self.numbers.entry((target.pointer.clone(), self.way)).or_insert(next);
        if number == next {
            self.definitions.push(Definition {
                pointer: target.pointer,
                way: self.way,
                schema: Value::Bool(true),
                refs: BTreeSet::new(),
            });
        }
        self.refs.insert(number);
        Ok(Value::String(format!("#/$defs/{}", definition_name(number))))
    }

    #[expect(clippy::too_many_arguments, reason = "one keyword in its surroundings")]
    fn special(
        &mut self,
        here: &str,
        key: &str,
        value: &'d Value,
        map: &'d Map<String, Value>,
        unsent: &BTreeSet<&'d str>,
        out: &mut Map<String, Value>,
        depth: u32,
    ) -> Result<(), ConfigError> {
        match key {
            "type" => {
                let kind = type_in_30(here, value)?;
                let kinds = if map.get("nullable") == Some(&Value::Bool(true)) {
                    json!([kind, "null"])
                } else {
                    kind
                };
                out.insert("type".into(), kinds);
            }
            "nullable" if self.document.version == Version::V31 => {
                return Err(fault(here, "is no keyword of OpenAPI 3.1 and would check nothing")
                    .suggest("write `type: ['string', 'null']`"));
            }
            "nullable" if !value.is_boolean() => {
                return Err(fault(here, "must be true or false"));
            }
            "exclusiveMinimum" | "exclusiveMaximum" => exclusive_in_30(here, key, value, map, out)?,
            "required" => {
                let Value::Array(names) = value else {
                    return Err(fault(here, "must be a list of names")
                        .suggest("`required: true` is for parameters and bodies"));
                };
                let is_sent =
                    |name: &&Value| name.as_str().is_none_or(|name| !unsent.contains(name));
                let names: Vec<Value> = names.iter().filter(is_sent).cloned().collect();
                if !names.is_empty() {
                    out.insert("required".into(), Value::Array(names));
                }
            }
            "properties" => {
                let Value::Object(properties) = value else {
                    return Err(fault(here, "must be an object of schemas"));
                };
                let mut converted = Map::new();
                for (name, property) in properties {
                    let here = child(here, name);
                    let schema = self.schema(&here, property, &BTreeSet::new(), depth + 1)?;
                    let schema =
                        if self.is_unsent(property, 0) { Value::Bool(false) } else { schema };
                    converted.insert(name.clone(), schema);
                }
                out.insert("properties".into(), Value::Object(converted));
            }
            "$schema" if dialect_of(here, value)? != self.document.dialect => {
                return Err(fault(here, "must be the dialect of the whole document")
                    .suggest("name one dialect in jsonSchemaDialect"));
            }
            _ => {}
        }
        Ok(())
    }

    fn one_or_more(
        &mut self,
        here: &str,
        key: &str,
        value: &'d Value,
        depth: u32,
    ) -> Result<Value, ConfigError> {
        match value {
            Value::Bool(_) if key == "additionalProperties" => Ok(value.clone()),
            Value::Array(schemas) if self.document.version == Version::V31 => schemas
                .iter()
                .enumerate()
                .map(|(i, schema)| {
                    self.schema(&child(here, &i.to_string()), schema, &BTreeSet::new(), depth + 1)
                })
                .collect::<Result<_, _>>()
                .map(Value::Array),
            _ => self.schema(here, value, &BTreeSet::new(), depth + 1),
        }
    }

    fn members(&mut self, here: &str, value: &'d Value, depth: u32) -> Result<Value, ConfigError> {
        let Value::Object(map) = value else {
            return Err(fault(here, "must be an object of schemas"));
        };
        let mut out = Map::new();
        for (name, schema) in map {
            let schema = if schema.is_array() {
                schema.clone()
            } else {
                self.schema(&child(here, name), schema, &BTreeSet::new(), depth + 1)?
            };
            out.insert(name.clone(), schema);
        }
        Ok(Value::Object(out))
    }

    /// Converts the formats of `OpenAPI` (from its registry) that JSON Schema does not define. All
    /// others are kept.
    fn format(
        &self,
        here: &str,
        value: &Value,
        out: &mut Map<String, Value>,
    ) -> Result<(), ConfigError> {
        let Some(name) = value.as_str() else { return Err(fault(here, "must be a string")) };
        if self.ignored_formats.iter().any(|ignored| ignored == name) {
            return Ok(());
        }
        let (low, high) = match name {
            "int8" => (-128, Some(127)),
            "int16" => (-32_768, Some(32_767)),
            "int32" => (-2_147_483_648, Some(2_147_483_647)),
            "uint8" => (0, Some(255)),
            "uint16" => (0, Some(65_535)),
            "uint32" => (0, Some(4_294_967_295)),
            // The parser refuses integers beyond 2^53 - 1.
            "uint64" => (0, None),
            "byte" => {
                match out.get_mut("pattern") {
                    None => {
                        out.insert("pattern".into(), BASE64.into());
                    }
                    // Appended, so that the existing schemas keep their places.
                    Some(_) => match out.get_mut("allOf").and_then(Value::as_array_mut) {
                        Some(schemas) => schemas.push(json!({ "pattern": BASE64 })),
                        None => {
                            out.insert("allOf".into(), json!([{ "pattern": BASE64 }]));
                        }
                    },
                }
                return Ok(());
            }
            "int64" | "float" | "double" | "binary" | "password" => return Ok(()),
            _ => {
                out.insert("format".into(), value.clone());
                return Ok(());
            }
        };
        limit(out, "minimum", low, |own, low| own < low);
        if let Some(high) = high {
            limit(out, "maximum", high, |own, high| own > high);
        }
        Ok(())
    }

    /// Collects the names of an object's properties that go only in the other direction, from all
    /// parts of its schema.
    fn collect_unsent(
        &self,
        map: &'d Map<String, Value>,
        names: &mut BTreeSet<&'d str>,
        depth: u32,
    ) {
        if depth > CHAIN {
            return;
        }
        for (name, property) in
            map.get("properties").and_then(Value::as_object).into_iter().flatten()
        {
            if self.is_unsent(property, 0) {
                names.insert(name);
            }
        }
        let target = map.get("$ref").and_then(|reference| self.document.target("", reference).ok());
        let target = target.flatten().map(|at| at.value);
        let parts = map.get("allOf").and_then(Value::as_array).into_iter().flatten();
        for part in parts.chain(target).filter_map(Value::as_object) {
            self.collect_unsent(part, names, depth + 1);
        }
    }

    fn is_unsent(&self, property: &'d Value, depth: u32) -> bool {
        let Value::Object(map) = property else { return false };
        if depth > CHAIN {
            return false;
        }
        if map.get(self.way.other_only()) == Some(&Value::Bool(true)) {
            return true;
        }
        let target = map.get("$ref").and_then(|reference| self.document.target("", reference).ok());
        let parts = map.get("allOf").and_then(Value::as_array).into_iter().flatten();
        parts.chain(target.flatten().map(|at| at.value)).any(|part| self.is_unsent(part, depth + 1))
    }
}

/// Refuses a schema that refers to itself for the same value: its check would never end. A schema
/// that refers to itself for a part of the value, such as a tree, ends with the value.
fn refuse_endless(definitions: &[Definition]) -> Result<(), ConfigError> {
    #[derive(Clone, Copy, PartialEq)]
    enum Seen {
        No,
        Open,
        Done,
    }
    let next: Vec<Vec<usize>> = definitions
        .iter()
        .map(|definition| {
            let mut numbers = Vec::new();
            same_value(&definition.schema, &mut numbers);
            numbers
        })
        .collect();
    let mut seen = vec![Seen::No; definitions.len()];
    for start in 0..definitions.len() {
        // Not recursive: a chain may be as long as the document.
        let mut open = vec![(start, 0)];
        while let Some((at, step)) = open.last_mut() {
            let Some(state) = seen.get_mut(*at) else { break };
            if *step == 0 && *state != Seen::No {
                let is_open = *state == Seen::Open;
                if is_open && let Some(definition) = definitions.get(*at) {
                    let problem = "refers to itself for the same value, which never ends";
                    return Err(fault(&definition.pointer, problem));
                }
                open.pop();
                continue;
            }
            *state = Seen::Open;
            let to = next.get(*at).and_then(|numbers| numbers.get(*step)).copied();
            *step += 1;
            if let Some(to) = to {
                open.push((to, 0));
            } else {
                *state = Seen::Done;
                open.pop();
            }
        }
    }
    Ok(())
}

/// The definitions that a schema applies to the same value.
fn same_value(schema: &Value, numbers: &mut Vec<usize>) {
    let Value::Object(map) = schema else { return };
    for (key, value) in map {
        match (key.as_str(), value) {
            ("$ref", Value::String(name)) => {
                let number = name.strip_prefix("#/$defs/s");
                numbers.extend(number.and_then(|number| number.parse::<usize>().ok()));
            }
            ("allOf" | "anyOf" | "oneOf", Value::Array(schemas)) => {
                for schema in schemas {
                    same_value(schema, numbers);
                }
            }
            ("dependentSchemas" | "dependencies", Value::Object(schemas)) => {
                for schema in schemas.values() {
                    same_value(schema, numbers);
                }
            }
            ("not" | "if" | "then" | "else", schema) => same_value(schema, numbers),
            _ => {}
        }
    }
}

/// Version 3.0 ignores every keyword beside `$ref`. Only keywords that do not affect validity are
/// accepted there.
fn nothing_beside_ref(
    pointer: &str,
    map: &Map<String, Value>,
    way: Way,
) -> Result<(), ConfigError> {
    let says = |key: &&String| {
        let harmless =
            matches!(keep(Version::V30, key), Some(Keep::Nothing)) && *key != way.other_only();
        !(harmless || *key == "$ref" || *key == "default" || is_extension(key))
    };
    match map.keys().find(says) {
        None => Ok(()),
        Some(key) => {
            let problem = "is ignored beside `$ref` in OpenAPI 3.0, and would check nothing";
            Err(fault(&child(pointer, key), problem)
                .suggest("write allOf: [{ $ref: … }] and keep it beside that"))
        }
    }
}

/// Base64 as in RFC 4648 section 4, padded.
const BASE64: &str = "^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$";

/// Sets a limit, unless there is an equal or stricter one.
fn limit(out: &mut Map<String, Value>, key: &str, limit: i64, is_looser: fn(f64, f64) -> bool) {
    #[expect(clippy::cast_precision_loss, reason = "the limits of formats have at most 32 bits")]
    let own = out.get(key).and_then(Value::as_f64).filter(|own| !is_looser(*own, limit as f64));
    if own.is_none() {
        out.insert(key.into(), limit.into());
    }
}

fn type_in_30(here: &str, value: &Value) -> Result<Value, ConfigError> {
    const TYPES: &[&str] = &["array", "boolean", "integer", "number", "object", "string"];
    match value.as_str() {
        Some(name) if TYPES.contains(&name) => Ok(value.clone()),
        Some("null") => Err(fault(here, "must not be 'null' in OpenAPI 3.0")
            .suggest("write `nullable: true` beside the type")),
        Some(name) => {
            let error = fault(here, "is no type");
            Err(match nearest(name, TYPES) {
                Some(name) => error.suggest(format!("did you mean '{name}'?")),
                None => {
                    error.suggest("the types are array, boolean, integer, number, object, string")
                }
            })
        }
        None => Err(fault(here, "must be one type in OpenAPI 3.0")
            .suggest("write `nullable: true` beside it, or anyOf, or make it a document of 3.1")),
    }
}

/// The boolean of 3.0, which makes the limit beside it exclusive. In 3.1 it is a limit of its own.
fn exclusive_in_30(
    here: &str,
    key: &str,
    value: &Value,
    map: &Map<String, Value>,
    out: &mut Map<String, Value>,
) -> Result<(), ConfigError> {
    let inclusive = if key == "exclusiveMinimum" { "minimum" } else { "maximum" };
    match (value, map.get(inclusive)) {
        (Value::Bool(false), _) => {}
        (Value::Bool(true), Some(limit)) => {
            out.insert(key.into(), limit.clone());
        }
        (Value::Bool(true), None) => {
            return Err(fault(here, format!("checks nothing without `{inclusive}` beside it")));
        }
        _ => {
            return Err(fault(here, "must be true or false in OpenAPI 3.0")
                .suggest(format!("write `{inclusive}` with the limit and `{key}: true`")));
        }
    }
    Ok(())
}

fn unknown_in_30(here: &str, key: &str) -> ConfigError {
    let names = V30.iter().map(|(name, _)| *name).chain(ANNOTATIONS.iter().copied());
    let names: Vec<&str> = names.collect();
    let error = fault(here, "is no keyword of OpenAPI 3.0 and would check nothing");
    match nearest(key, &names) {
        Some(name) => error.suggest(format!("did you mean `{name}`?")),
        None => error.suggest("write it with the keywords of 3.0, or make it a document of 3.1"),
    }
}
