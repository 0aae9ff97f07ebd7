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

use super::config::Tolerance;
use super::discriminator;
use super::document::{At, Document, Version, child, dialect_of};
use super::endless::endless;
use super::judge::users_of;
use super::keywords::{Keep, is_extension, keep};
use super::operation::Operation;
use super::version_30::{exclusive, types, unknown};
use crate::config::options::describe;
use crate::error::ConfigError;
use crate::error::faults::fault;
use crate::payload::STYLE;
use crate::schema::is_keyword;

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
    own_keywords: &'d [Box<str>],
    definitions: Vec<Definition>,
    numbers: HashMap<(String, Way), usize>,
    /// The direction of the current schema.
    way: Way,
    /// The targets of the current schema so far.
    refs: BTreeSet<usize>,
}

/// One keyword of a schema, in its surroundings.
#[derive(Clone, Copy)]
struct Keyword<'k, 'd> {
    here: &'k str,
    key: &'k str,
    value: &'d Value,
    map: &'d Map<String, Value>,
    unsent: &'k BTreeSet<&'d str>,
    depth: u32,
}

/// The name of a definition.
pub(crate) fn definition_name(number: usize) -> String {
    format!("s{number}")
}

impl<'d> Converter<'d> {
    /// `own_keywords` are those of the guard that the application has added.
    pub(crate) fn new(document: Document<'d>, own_keywords: &'d [Box<str>]) -> Self {
        Self {
            document,
            own_keywords,
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

    /// Converts all recorded targets, which these operations refer to.
    pub(crate) fn finish(mut self, operations: &[Operation]) -> Vec<Definition> {
        let faults = self.document.faults;
        let mut found = Vec::new();
        let mut next = 0;
        while let Some(definition) = self.definitions.get(next) {
            let (pointer, way) = (definition.pointer.clone(), definition.way);
            let before = faults.take();
            let at = self.document.at(&pointer).ok_or_else(|| fault(&pointer, "leads nowhere"));
            let converted = at.and_then(|at| self.convert(&at, way));
            let converted = self.document.note(converted);
            found.extend(faults.replace(before).into_iter().map(|fault| (next, fault)));
            if let (Some(definition), Some((schema, refs))) =
                (self.definitions.get_mut(next), converted)
            {
                definition.schema = schema;
                definition.refs = refs;
            }
            next += 1;
        }
        found.extend(endless(&mut self.definitions));
        for (number, fault) in found {
            faults.add_in(fault, users_of(operations, &self.definitions, number));
        }
        self.definitions
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
            Value::Bool(_) if self.document.version >= Version::V31 => return Ok(value.clone()),
            other => {
                let problem = format!("must be a schema (an object), not {}", describe(other));
                return Err(fault(pointer, problem));
            }
        };
        let mut out = Map::new();
        if let Some(reference) = map.get("$ref") {
            let here = child(pointer, "$ref");
            let target = self.reference(&here, reference, depth);
            if let Some(target) = self.document.note(target) {
                out.insert("$ref".into(), target);
            }
            if self.document.version == Version::V30 {
                self.beside_ref(pointer, map);
                return Ok(self.nullable(map, Value::Object(out)));
            }
        }
        let mut unsent = unsent.clone();
        self.collect_unsent(map, &mut unsent, 0);
        for (key, value) in map {
            let here = child(pointer, key);
            let keyword = Keyword { here: &here, key, value, map, unsent: &unsent, depth };
            let converted = self.keyword(&keyword, &mut out);
            self.document.note(converted);
        }
        // Processed last, since they add to other keywords.
        if let Some(format) = map.get("format") {
            let converted = self.format(&child(pointer, "format"), format, &mut out);
            self.document.note(converted);
        }
        if let Some(value) = map.get("discriminator") {
            let converted = discriminator::apply(self.document, pointer, value, map, &mut out);
            self.document.note(converted);
        }
        Ok(self.nullable(map, Value::Object(out)))
    }

    /// Converts one keyword, and adds the result to `out`.
    fn keyword(
        &mut self,
        keyword: &Keyword<'_, 'd>,
        out: &mut Map<String, Value>,
    ) -> Result<(), ConfigError> {
        let Keyword { here, key, value, map, unsent, depth } = *keyword;
        match keep(self.document.version, key) {
            Some(Keep::Nothing) => {}
            Some(Keep::Refused) => {
                return Err(fault(here, "can't be used: it would change what references mean")
                    .suggest("give the schema a name in components.schemas, and refer to that"));
            }
            Some(Keep::Special) => self.special(keyword, out)?,
            Some(Keep::Schema) => {
                let schema = self.one_or_more(here, key, value, depth)?;
                out.insert(key.to_owned(), schema);
            }
            Some(Keep::List) => {
                let Value::Array(schemas) = value else {
                    return Err(fault(here, "must be a list of schemas"));
                };
                let around = if key == "prefixItems" { &BTreeSet::new() } else { unsent };
                let converted = schemas.iter().enumerate().map(|(i, schema)| {
                    let here = child(here, &i.to_string());
                    let schema = self.schema(&here, schema, around, depth + 1);
                    self.document.note(schema).unwrap_or(Value::Bool(true))
                });
                let converted = converted.collect();
                out.insert(key.to_owned(), Value::Array(converted));
            }
            Some(Keep::Map) => {
                let schemas = self.members(here, value, depth)?;
                out.insert(key.to_owned(), schemas);
            }
            Some(Keep::AsIs) if self.is_exclusive(map, key) => {}
            Some(Keep::AsIs) if key == "pattern" && self.ignores_pattern(value) => {}
            Some(Keep::AsIs) => {
                out.insert(key.to_owned(), value.clone());
            }
            // The values of sanitizers and similar keywords are strings or booleans; other
            // extensions are for other tools.
            None if is_extension(key) => {
                if key != STYLE && (value.is_string() || value.is_boolean()) {
                    out.insert(key.to_owned(), value.clone());
                }
            }
            None if self.document.version >= Version::V31 => {
                let is_ignored = key == "pattern" && self.ignores_pattern(value)
                    || self.document.tolerates(Tolerance::UnknownKeywords)
                        && !is_keyword(key)
                        && !self.own_keywords.iter().any(|own| **own == *key);
                if !is_ignored {
                    out.insert(key.to_owned(), value.clone());
                }
            }
            None if self.document.tolerates(Tolerance::UnknownKeywords) => {}
            None => return Err(unknown(here, key)),
        }
        Ok(())
    }

    /// Version 3.0 ignores every keyword beside `$ref`. Only keywords that do not affect validity
    /// are
    /// accepted there.
    fn beside_ref(&self, pointer: &str, map: &Map<String, Value>) {
        if self.document.tolerates(Tolerance::RefSiblings) {
            return;
        }
        let other_only = self.way.other_only();
        for key in map.keys() {
            let harmless =
                matches!(keep(Version::V30, key), Some(Keep::Nothing)) && key != other_only;
            let read = key == "nullable" && self.document.tolerates(Tolerance::Nullable);
            if harmless || read || key == "$ref" || key == "default" || is_extension(key) {
                continue;
            }
            let problem = "is ignored beside `$ref` in OpenAPI 3.0, and would check nothing";
            let advice = if key == "nullable" {
                "write anyOf: [{ $ref: … }, { type: 'object', nullable: true, enum: [null] }], or set `tolerate: ['nullable']`, which reads it there"
            } else {
                "write allOf: [{ $ref: … }] and keep it beside that, or set `tolerate: ['ref-siblings']`, which ignores it"
            };
            self.document.faults.add(fault(&child(pointer, key), problem).suggest(advice));
        }
    }

    fn ignores_pattern(&self, pattern: &Value) -> bool {
        let ignored = &self.document.config.ignored_patterns;
        pattern.as_str().is_some_and(|pattern| ignored.iter().any(|ignored| ignored == pattern))
    }

    /// With `tolerate: ['nullable']`, a schema that also accepts `null` if it has `nullable: true`.
    fn nullable(&self, map: &Map<String, Value>, mut schema: Value) -> Value {
        if map.get("nullable") != Some(&Value::Bool(true))
            || !self.document.tolerates(Tolerance::Nullable)
        {
            return schema;
        }
        let is_plain =
            |key: &str| !["enum", "const", "$ref", "allOf", "anyOf", "oneOf", "not"].contains(&key);
        if let Value::Object(out) = &mut schema
            && out.keys().all(|key| is_plain(key))
            && let Some(kinds) = out.get_mut("type")
        {
            match kinds {
                Value::Array(kinds) if kinds.contains(&json!("null")) => {}
                Value::Array(kinds) => kinds.push(json!("null")),
                kind => *kind = json!([kind.clone(), "null"]),
            }
            return schema;
        }
        json!({ "anyOf": [schema, { "type": "null" }] })
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

    fn reference(
        &mut self,
        pointer: &str,
        reference: &Value,
        _depth: u32,
    ) -> Result<Value, ConfigError> {
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

    fn special(
        &mut self,
        keyword: &Keyword<'_, 'd>,
        out: &mut Map<String, Value>,
    ) -> Result<(), ConfigError> {
        let Keyword { here, key, value, map, unsent, depth } = *keyword;
        match key {
            "type" => {
                let kind = types(here, value)?;
                let kinds = if map.get("nullable") == Some(&Value::Bool(true)) {
                    json!([kind, "null"])
                } else {
                    kind
                };
                out.insert("type".into(), kinds);
            }
            "nullable" if !value.is_boolean() => {
                return Err(fault(here, "must be true or false"));
            }
            "nullable"
                if self.document.version >= Version::V31
                    && !self.document.tolerates(Tolerance::Nullable) =>
            {
                return Err(fault(here, "is no keyword of OpenAPI 3.1 and would check nothing")
                    .suggest(
                        "write `type: ['string', 'null']`, or set `tolerate: ['nullable']`, which reads it as in 3.0",
                    ));
            }
            "exclusiveMinimum" | "exclusiveMaximum" => exclusive(here, key, value, map, out)?,
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
                    let schema = self.schema(&here, property, &BTreeSet::new(), depth + 1);
                    let schema = self.document.note(schema).unwrap_or(Value::Bool(true));
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
            Value::Array(schemas) if self.document.version >= Version::V31 => schemas
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
                let schema = self.schema(&child(here, name), schema, &BTreeSet::new(), depth + 1);
                self.document.note(schema).unwrap_or(Value::Bool(true))
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
        if self.document.config.ignored_formats.iter().any(|ignored| ignored == name) {
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
