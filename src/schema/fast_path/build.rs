//! Builds a fast path from a schema.

use std::collections::HashMap;
use std::sync::atomic::AtomicU8;

use jsonschema::{Draft, Validator};
use serde_json::{Map, Value, json};

use super::{
    Decimal, Elements, FastPath, Member, Members, Others, Pattern, Range, Rules, Text, Types,
};
use crate::formats;
use crate::json::tape_json::TapeJson;
use crate::schema::keywords::{
    FOREIGN_FORMAT, SILENT, UTF16_MAX, UTF16_MIN, is_old, local_pointer,
};
use crate::schema::reserved;

/// The inputs of a fast path besides the schema.
pub(crate) struct Builder<'s> {
    root: &'s Value,
    draft: Draft,
    /// The names of the application's formats, or `None` if formats are not asserted.
    formats: Option<Vec<&'s str>>,
    /// Compiles a schema of one keyword as the crate would at this position.
    compile: &'s dyn Fn(&Value) -> Option<Validator<TapeJson>>,
    rules: Vec<Rules>,
    by_pointer: HashMap<String, u32>,
}

/// Keywords of `OpenAPI` and of libraries that do not affect whether a value matches.
const FOREIGN: &[&str] = &["nullable", "discriminator", "externalDocs", "xml", "metadata"];

/// Single keywords that the crate checks, each by itself.
const LEFT_TO_THE_CRATE: &[&str] = &["propertyNames", "dependentRequired", FOREIGN_FORMAT];

impl<'s> Builder<'s> {
    /// `formats` are the names of the application's formats, or `None` if formats are not asserted.
    pub(crate) fn new(
        root: &'s Value,
        draft: Draft,
        formats: Option<Vec<&'s str>>,
        compile: &'s dyn Fn(&Value) -> Option<Validator<TapeJson>>,
    ) -> Self {
        Self { root, draft, formats, compile, rules: Vec::new(), by_pointer: HashMap::new() }
    }

    /// The fast path; `None` for a schema with unusual keywords.
    pub(crate) fn build(mut self) -> Option<FastPath> {
        // Some of these keywords have other meanings in draft 4. A named schema inside changes the
        // meaning of a reference.
        if self.draft == Draft::Draft4 || has_inner_name(self.root, true) {
            return None;
        }
        self.schema(self.root)?;
        Some(FastPath { rules: self.rules })
    }

    fn reserve(&mut self) -> Option<u32> {
        self.rules.push(Rules::default());
        u32::try_from(self.rules.len() - 1).ok()
    }

    fn schema(&mut self, schema: &'s Value) -> Option<u32> {
        let at = self.reserve()?;
        self.fill(at, schema)?;
        Some(at)
    }

    fn fill(&mut self, at: u32, schema: &'s Value) -> Option<()> {
        let rules = match schema {
            Value::Bool(all) => Rules { nothing: !all, ..Rules::default() },
            Value::Object(map) => self.read(map)?,
            _ => return None,
        };
        *self.rules.get_mut(at as usize)? = rules;
        Some(())
    }

    fn read(&mut self, map: &'s Map<String, Value>) -> Option<Rules> {
        // The old drafts ignore all keywords beside a reference.
        if map.contains_key("$ref") && is_old(self.draft) && map.len() > 1 {
            return None;
        }
        let mut rules = Rules::default();
        for (keyword, value) in map {
            match keyword.as_str() {
                "type" => rules.types = Some(types(value)?),
                "enum" => rules.more.get_or_insert_default().values.push(value.as_array()?.clone()),
                "const" => rules.more.get_or_insert_default().values.push(vec![value.clone()]),
                "$ref" => rules.more.get_or_insert_default().all.push(self.reference(value)?),
                "allOf" => rules.more.get_or_insert_default().all.extend(self.list(value)?),
                "anyOf" => rules.more.get_or_insert_default().any.push(self.list(value)?),
                "format" if self.formats.is_none() => {}
                "$id" if std::ptr::eq(self.root.as_object()?, map) => {}
                name if SILENT.contains(&name) || FOREIGN.contains(&name) => {}
                name if name.starts_with("x-") => {}
                // Inside a schema of one keyword, a reference would lead elsewhere.
                name if LEFT_TO_THE_CRATE.contains(&name) && !refers(value) => {
                    rules
                        .more
                        .get_or_insert_default()
                        .keywords
                        .push((self.compile)(&json!({ name: value }))?);
                }
                name if TEXT.contains(&name) => self.text(name, value, &mut rules)?,
                name if NUMBER.contains(&name) => {
                    range(name, value, rules.number.get_or_insert_default())?;
                }
                name if OBJECT.contains(&name) || ARRAY.contains(&name) => {}
                _ => return None,
            }
        }
        if OBJECT.iter().any(|name| map.contains_key(*name)) {
            rules.object = Some(Box::new(self.members(map)?));
        }
        if ARRAY.iter().any(|name| map.contains_key(*name)) {
            rules.array = Some(Box::new(self.elements(map)?));
        }
        Some(rules)
    }

    fn list(&mut self, value: &'s Value) -> Option<Vec<u32>> {
        value.as_array()?.iter().map(|schema| self.schema(schema)).collect()
    }

    fn reference(&mut self, value: &'s Value) -> Option<u32> {
        let pointer = local_pointer(value)?;
        if let Some(at) = self.by_pointer.get(&pointer) {
            return Some(*at);
        }
        let target = self.root.pointer(&pointer)?;
        let at = self.reserve()?;
        self.by_pointer.insert(pointer, at);
        self.fill(at, target)?;
        Some(at)
    }

    fn text(&mut self, name: &str, value: &'s Value, rules: &mut Rules) -> Option<()> {
        let text = rules.text.get_or_insert_default();
        match name {
            "minLength" => text.least = text.least.max(count(value)?),
            "maxLength" => text.most = text.most.min(count(value)?),
            UTF16_MIN => text.units.push(reserved::Length::read(value, true)?),
            UTF16_MAX => text.units.push(reserved::Length::read(value, false)?),
            "pattern" => match value.as_str().and_then(Pattern::read) {
                Some(pattern) => text.patterns.push(pattern),
                None => rules
                    .more
                    .get_or_insert_default()
                    .keywords
                    .push((self.compile)(&json!({ "pattern": value }))?),
            },
            _ => {
                let format = value.as_str()?;
                let is_theirs = self.formats.as_ref()?.contains(&format);
                match formats::own(format).filter(|_| !is_theirs) {
                    Some(is_format) => text.formats.push(is_format),
                    None => rules
                        .more
                        .get_or_insert_default()
                        .keywords
                        .push((self.compile)(&json!({ "format": format }))?),
                }
            }
        }
        Some(())
    }

    fn members(&mut self, map: &'s Map<String, Value>) -> Option<Members> {
        let mut known = Vec::new();
        if let Some(properties) = map.get("properties") {
            for (name, schema) in properties.as_object()? {
                known.push(Member::new(name, self.schema(schema)?));
            }
        }
        let others = match map.get("additionalProperties") {
            None | Some(Value::Bool(true)) => Others::Any,
            Some(Value::Bool(false)) => Others::Nothing,
            Some(schema) => Others::Rules(self.schema(schema)?),
        };
        let mut required = 0;
        let mut bit: u64 = 1;
        for name in map.get("required").map_or(Some(&[][..]), |list| Some(list.as_array()?))? {
            let name = name.as_str()?;
            let at = known.iter().position(|member| *member.name == *name);
            let at = match (at, others) {
                (Some(at), _) => at,
                // A name that is only required, not declared, follows the rules of the other
                // members.
                (None, others) => {
                    let rules = self.reserve()?;
                    match others {
                        Others::Any => {}
                        Others::Nothing => self.rules.get_mut(rules as usize)?.nothing = true,
                        Others::Rules(other) => self
                            .rules
                            .get_mut(rules as usize)?
                            .more
                            .get_or_insert_default()
                            .all
                            .push(other),
                    }
                    known.push(Member::new(name, rules));
                    known.len() - 1
                }
            };
            let member = known.get_mut(at)?;
            // A second mention is ignored. More names than bits are not supported.
            if member.bit == 0 {
                if bit == 0 {
                    return None;
                }
                member.bit = bit;
                required |= bit;
                bit = bit.checked_shl(1).filter(|_| bit != 1 << 63).unwrap_or(0);
            }
        }
        known.sort_by(|a, b| a.name.cmp(&b.name));
        let plain = known.len() <= MAX_SCANNED && known.iter().all(|member| is_plain(&member.name));
        Some(Members {
            least: limit(map, "minProperties", 0)?,
            most: limit(map, "maxProperties", u32::MAX)?,
            order: (0..=u8::MAX).map(AtomicU8::new).take(known.len()).collect(),
            known,
            required,
            others,
            plain,
        })
    }

    fn elements(&mut self, map: &'s Map<String, Value>) -> Option<Elements> {
        let first = match map.get("prefixItems") {
            None => Vec::new(),
            Some(list) if self.draft == Draft::Draft202012 => self.list(list)?,
            Some(_) => return None,
        };
        let others = match map.get("items") {
            None | Some(Value::Bool(true)) => Others::Any,
            Some(Value::Bool(false)) => Others::Nothing,
            Some(schema @ Value::Object(_)) => Others::Rules(self.schema(schema)?),
            // A tuple of the old drafts.
            Some(_) => return None,
        };
        Some(Elements {
            least: limit(map, "minItems", 0)?,
            most: limit(map, "maxItems", u32::MAX)?,
            first,
            others,
            unique: map.get("uniqueItems").map_or(Some(false), Value::as_bool)?,
        })
    }
}

/// The number of bits for the members that a scan has seen.
const MAX_SCANNED: usize = 64;

/// Whether a name appears in a body without escapes and needs no check by the parser.
fn is_plain(name: &str) -> bool {
    let is_odd = |byte| matches!(byte, b'"' | b'\\' | b'.' | b'[' | 0..0x20);
    !name.starts_with('$')
        && !["__proto__", "prototype", "constructor"].contains(&name)
        && !name.bytes().any(is_odd)
}

const TEXT: &[&str] = &["minLength", "maxLength", UTF16_MIN, UTF16_MAX, "pattern", "format"];
const NUMBER: &[&str] =
    &["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"];
const OBJECT: &[&str] =
    &["properties", "required", "additionalProperties", "minProperties", "maxProperties"];
const ARRAY: &[&str] = &["items", "prefixItems", "minItems", "maxItems", "uniqueItems"];

impl Default for Text {
    fn default() -> Self {
        let (units, patterns, formats) = (Vec::new(), Vec::new(), Vec::new());
        Self { least: 0, most: usize::MAX, units, patterns, formats }
    }
}

impl Default for Range {
    fn default() -> Self {
        let (low, high) = (f64::NEG_INFINITY, f64::INFINITY);
        Self { from: low, above: low, to: high, below: high, step: None }
    }
}

fn types(value: &Value) -> Option<Types> {
    match value {
        Value::String(name) => Types::named(name).map(Types),
        Value::Array(names) => {
            let mut bits = 0;
            for name in names {
                bits |= Types::named(name.as_str()?)?;
            }
            Some(Types(bits))
        }
        _ => None,
    }
}

fn range(name: &str, value: &Value, range: &mut Range) -> Option<()> {
    // Beyond this bound, the nearest double may differ from the crate's limit.
    const EXACT: f64 = 9_007_199_254_740_991.0;
    let limit = value.as_f64().filter(|limit| limit.abs() <= EXACT)?;
    match name {
        "multipleOf" => range.step = Some(Decimal::read(&value.to_string())?),
        "minimum" => range.from = limit,
        "maximum" => range.to = limit,
        "exclusiveMinimum" => range.above = limit,
        _ => range.below = limit,
    }
    Some(())
}

fn count(value: &Value) -> Option<usize> {
    value.as_u64().and_then(|count| usize::try_from(count).ok())
}

/// A limit of a size; one that is written as `1.0` is left to the crate.
fn limit(map: &Map<String, Value>, name: &str, otherwise: u32) -> Option<u32> {
    map.get(name).map_or(Some(otherwise), |value| u32::try_from(value.as_u64()?).ok())
}

fn refers(value: &Value) -> bool {
    match value {
        Value::Object(map) => map.iter().any(|(key, value)| key.starts_with('$') || refers(value)),
        Value::Array(list) => list.iter().any(refers),
        _ => false,
    }
}

fn has_inner_name(value: &Value, top: bool) -> bool {
    match value {
        Value::Object(map) => {
            !top && map.get("$id").is_some_and(Value::is_string)
                || map.values().any(|value| has_inner_name(value, false))
        }
        Value::Array(list) => list.iter().any(|value| has_inner_name(value, false)),
        _ => false,
    }
}
