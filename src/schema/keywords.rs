//! Checks a schema before it is compiled. It refuses keywords that are misspelt or that the draft
//! ignores, and references that lead outside. JSON Schema itself ignores an unknown keyword
//! silently, and the check that its author relies on never runs.

use std::collections::HashSet;

use jsonschema::Draft;
use serde_json::{Map, Value};

use crate::error::{ConfigCode, ConfigError};
use crate::json::fault::{Pointer, shown_key};
use crate::schema::SchemaRules;
use crate::schema::references::refuse_endless;

/// The content of a keyword, as far as the walk needs it.
#[derive(Clone, Copy, PartialEq)]
enum Holds {
    /// No schema.
    Data,
    /// A schema, or a list of schemas.
    Schema,
    /// An object whose values are all schemas (or, under `dependencies`, lists of names).
    Schemas,
}

/// Keywords of JSON Schema that do not affect whether a value matches.
pub(crate) const SILENT: &[&str] = &[
    "$schema",
    "$comment",
    "$defs",
    "definitions",
    "title",
    "description",
    "default",
    "deprecated",
    "readOnly",
    "writeOnly",
    "examples",
    "example",
];

/// The drafts in which a keyword has a meaning.
#[derive(Clone, Copy, PartialEq)]
enum In {
    All,
    /// Not in draft 4.
    From6,
    /// Not in drafts 4 and 6.
    From7,
    /// Not in drafts 4, 6 and 7.
    From2019,
    /// Only in 2020-12.
    From2020,
    /// Not in 2020-12.
    Until2019,
    Only2019,
}

/// The keywords, in the order of the specification. The list includes annotations of `OpenAPI` and
/// of common libraries, so that they are not taken for misspellings.
const KEYWORDS: &[(&str, Holds, In)] = &[
    ("$schema", Holds::Data, In::All),
    ("$id", Holds::Data, In::From6),
    ("$anchor", Holds::Data, In::From2019),
    ("$dynamicAnchor", Holds::Data, In::From2020),
    ("$recursiveAnchor", Holds::Data, In::Only2019),
    ("$ref", Holds::Data, In::All),
    ("$dynamicRef", Holds::Data, In::From2020),
    ("$recursiveRef", Holds::Data, In::Only2019),
    ("$vocabulary", Holds::Data, In::From2019),
    ("$comment", Holds::Data, In::All),
    ("$defs", Holds::Schemas, In::All),
    ("definitions", Holds::Schemas, In::All),
    ("type", Holds::Data, In::All),
    ("enum", Holds::Data, In::All),
    ("const", Holds::Data, In::From6),
    ("multipleOf", Holds::Data, In::All),
    ("maximum", Holds::Data, In::All),
    ("exclusiveMaximum", Holds::Data, In::All),
    ("minimum", Holds::Data, In::All),
    ("exclusiveMinimum", Holds::Data, In::All),
    ("maxLength", Holds::Data, In::All),
    ("minLength", Holds::Data, In::All),
    ("pattern", Holds::Data, In::All),
    ("maxItems", Holds::Data, In::All),
    ("minItems", Holds::Data, In::All),
    ("uniqueItems", Holds::Data, In::All),
    ("maxContains", Holds::Data, In::From2019),
    ("minContains", Holds::Data, In::From2019),
    ("maxProperties", Holds::Data, In::All),
    ("minProperties", Holds::Data, In::All),
    ("required", Holds::Data, In::All),
    ("dependentRequired", Holds::Data, In::From2019),
    ("allOf", Holds::Schema, In::All),
    ("anyOf", Holds::Schema, In::All),
    ("oneOf", Holds::Schema, In::All),
    ("not", Holds::Schema, In::All),
    ("if", Holds::Schema, In::From7),
    ("then", Holds::Schema, In::From7),
    ("else", Holds::Schema, In::From7),
    ("dependentSchemas", Holds::Schemas, In::From2019),
    ("dependencies", Holds::Schemas, In::All),
    ("prefixItems", Holds::Schema, In::From2020),
    ("items", Holds::Schema, In::All),
    ("additionalItems", Holds::Schema, In::Until2019),
    ("contains", Holds::Schema, In::From6),
    ("properties", Holds::Schemas, In::All),
    ("patternProperties", Holds::Schemas, In::All),
    ("additionalProperties", Holds::Schema, In::All),
    ("propertyNames", Holds::Schema, In::From6),
    ("unevaluatedItems", Holds::Schema, In::From2019),
    ("unevaluatedProperties", Holds::Schema, In::From2019),
    ("format", Holds::Data, In::All),
    ("contentEncoding", Holds::Data, In::All),
    ("contentMediaType", Holds::Data, In::All),
    ("contentSchema", Holds::Data, In::All),
    ("title", Holds::Data, In::All),
    ("description", Holds::Data, In::All),
    ("default", Holds::Data, In::All),
    ("deprecated", Holds::Data, In::All),
    ("readOnly", Holds::Data, In::All),
    ("writeOnly", Holds::Data, In::All),
    ("examples", Holds::Data, In::All),
    ("example", Holds::Data, In::All),
    ("nullable", Holds::Data, In::All),
    ("discriminator", Holds::Data, In::All),
    ("externalDocs", Holds::Data, In::All),
    ("xml", Holds::Data, In::All),
    ("id", Holds::Data, In::All),
    ("metadata", Holds::Data, In::All),
    ("meta", Holds::Data, In::All),
    ("name", Holds::Data, In::All),
    ("label", Holds::Data, In::All),
    // Keywords that the shim writes for libraries that count string lengths in UTF-16 code units.
    (UTF16_MIN, Holds::Data, In::All),
    (UTF16_MAX, Holds::Data, In::All),
    (FOREIGN_FORMAT, Holds::Data, In::All),
    (REFINE, Holds::Data, In::All),
    (CODEC, Holds::Data, In::All),
];

/// The keywords that change a string before it is checked: `src/schema/sanitize.rs`.
pub(crate) const SANITIZERS: &[&str] = &["x-trim", "x-nfc", "x-lowercase", "x-normalize-email"];
/// The keyword that chooses the engine of a schema's patterns.
pub(crate) const ENGINE: &str = "x-regex";
/// `minLength` and `maxLength` in UTF-16 code units, as JavaScript's `length` counts.
pub(crate) const UTF16_MIN: &str = "~minLength";
pub(crate) const UTF16_MAX: &str = "~maxLength";
/// A format as another library defines it.
pub(crate) const FOREIGN_FORMAT: &str = "~format";
/// `TypeBox`'s refinements, which the shim runs, and its codecs, which are refused.
const REFINE: &str = "~refine";
const CODEC: &str = "~codec";
/// Keywords whose schemas apply whenever the schema that contains them applies, as far as the shim
/// follows them.
const CERTAIN: &[&str] = &["properties", "items", "prefixItems", "additionalProperties", "allOf"];

/// The results of the walk over a schema.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    /// Keys under any `properties` that look like operators, sorted.
    pub(crate) operator_like_keys: Vec<Box<str>>,
    /// Whether it contains a choice (`anyOf`, `oneOf`).
    pub(crate) has_choice: bool,
    /// Whether a part of it refers to itself.
    pub(crate) is_recursive: bool,
    /// Whether it changes any string.
    pub(crate) sanitizes: bool,
    /// Pointers to the schemas that call a function, each with a flag: whether the schema always
    /// applies.
    pub(crate) functions: Vec<(String, bool)>,
    /// Every `format`, with the pointer to it.
    pub(crate) formats: Vec<(String, String)>,
    /// The pointers to every `patternProperties`.
    pub(crate) keyed: Vec<String>,
}

struct Walk<'a> {
    path: &'a str,
    rules: &'a SchemaRules,
    root: &'a Value,
    draft: Draft,
    has_ids: bool,
    /// The pointer of each reference, and its target; `None` for a target that is not a plain
    /// pointer.
    refs: Vec<(String, Option<String>)>,
    visited: HashSet<String>,
    survey: Survey,
}

/// Surveys `schema`, which was given as the option `path`.
pub(crate) fn survey(
    path: &str,
    schema: &Value,
    draft: Draft,
    rules: &SchemaRules,
) -> Result<Survey, ConfigError> {
    let mut walk = Walk {
        path,
        rules,
        root: schema,
        draft,
        has_ids: false,
        refs: Vec::new(),
        visited: HashSet::new(),
        survey: Survey::default(),
    };
    walk.schema(schema, "", 0, true)?;
    walk.behind_references()?;
    walk.outside_references()?;
    refuse_endless(path, schema, draft)?;
    let Walk { refs, mut survey, .. } = walk;
    for (at, sure) in &mut survey.functions {
        // The shim follows no references.
        *sure &= !refs
            .iter()
            .any(|(_, target)| target.as_ref().is_some_and(|target| is_inside(at, target)));
    }
    survey.operator_like_keys.sort_unstable();
    survey.is_recursive = is_recursive(&refs);
    Ok(survey)
}

/// An error about the schema at `pointer` (unescaped for a fragment), given as the option `path`.
pub(crate) fn error_at(path: &str, pointer: &str, problem: &str) -> ConfigError {
    let pointer = Pointer::from_escaped(pointer).finish();
    ConfigError::new(ConfigCode::InvalidSchema, path, format!("can't be used: {pointer} {problem}"))
}

/// A schema deeper than this is refused, long before recursion could overflow the stack.
const MAX_DEPTH: u32 = 100;

impl Walk<'_> {
    /// `sure`: the schema always applies.
    fn schema(
        &mut self,
        schema: &Value,
        at: &str,
        depth: u32,
        sure: bool,
    ) -> Result<(), ConfigError> {
        if depth > MAX_DEPTH {
            return Err(error_at(self.path, at, "is nested too deeply; use $defs and $ref"));
        }
        match schema {
            Value::Object(map) => self.keywords(map, at, depth, sure),
            Value::Array(list) => list.iter().enumerate().try_for_each(|(i, item)| {
                if item.is_object() {
                    self.schema(item, &format!("{at}/{i}"), depth + 1, sure)
                } else {
                    Ok(())
                }
            }),
            // The metaschema checks everything else.
            _ => Ok(()),
        }
    }

    fn keywords(
        &mut self,
        map: &Map<String, Value>,
        at: &str,
        depth: u32,
        sure: bool,
    ) -> Result<(), ConfigError> {
        self.visited.insert(at.to_owned());
        if map.contains_key(CODEC) {
            return Err(error_at(self.path, at, "is a codec, which no check carries out")
                .suggest("give the type that is sent, and decode it in the handler"));
        }
        if self.asks(map) {
            self.survey.functions.push((at.to_owned(), sure));
        }
        // Only the core could determine which members are left for `additionalProperties`.
        let all_named = !map.contains_key("patternProperties");
        self.has_ids |= map.contains_key("$id") || map.contains_key("id");
        self.survey.has_choice |= map.contains_key("anyOf") || map.contains_key("oneOf");
        for (key, value) in map {
            let here = format!("{at}/{}", escaped(key));
            let Some((_, holds, since)) = KEYWORDS.iter().find(|(name, _, _)| name == key) else {
                self.unknown(key, value, &here)?;
                continue;
            };
            if !has(*since, self.draft) {
                let problem =
                    format!("is no keyword of {} and would check nothing", draft_name(self.draft));
                let error = error_at(self.path, &here, &problem);
                return Err(error.suggest(
                    "name the draft you mean in $schema, or write the keyword of this one",
                ));
            }
            if key.ends_with("Ref") || key == "$ref" {
                self.refs.push((here.clone(), local_pointer(value)));
                self.ignored_beside_ref(map, &here)?;
            }
            if key == "$schema" && !at.is_empty() && Some(value) != self.root.get("$schema") {
                return Err(error_at(self.path, &here, "must be that of the whole schema"));
            }
            let sure = sure
                && CERTAIN.contains(&key.as_str())
                && (all_named || key != "additionalProperties");
            match (holds, value) {
                (Holds::Data, _) if key == "contentSchema" && self.asks_within(value) => {
                    let problem = "asks a function, and no check reads what is in it";
                    return Err(error_at(self.path, &here, problem)
                        .suggest("parse the text and ask the function in the handler"));
                }
                (Holds::Data, Value::String(name)) if key == "format" => {
                    self.survey.formats.push((here, name.clone()));
                }
                (Holds::Schema, _) => self.schema(value, &here, depth + 1, sure)?,
                (Holds::Schemas, Value::Object(schemas)) => {
                    if key == "patternProperties" {
                        self.survey.keyed.push(here.clone());
                    }
                    for (name, value) in schemas {
                        if key == "properties" && (name.starts_with('$') || name.contains('.')) {
                            self.survey.operator_like_keys.push(name.as_str().into());
                        }
                        if value.is_object() {
                            let here = format!("{here}/{}", escaped(name));
                            self.schema(value, &here, depth + 2, sure)?;
                        }
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Whether a schema calls a function: one of the application's, or a refinement.
    fn asks(&self, map: &Map<String, Value>) -> bool {
        let format = map.get("format").and_then(Value::as_str);
        format.is_some_and(|name| self.rules.is_function(name))
            || self.rules.keywords().iter().any(|name| map.contains_key(&**name))
            || map.contains_key(REFINE)
    }

    /// Whether a schema calls a function anywhere in it.
    fn asks_within(&self, value: &Value) -> bool {
        match value {
            Value::Object(map) => {
                self.asks(map) || map.values().any(|member| self.asks_within(member))
            }
            Value::Array(list) => list.iter().any(|item| self.asks_within(item)),
            _ => false,
        }
    }

    /// Walks the schemas under names of the author's own, which only references reach.
    fn behind_references(&mut self) -> Result<(), ConfigError> {
        let root = self.root;
        let mut next = 0;
        while let Some((_, target)) = self.refs.get(next) {
            next += 1;
            let Some(target) = target.clone().filter(|target| !self.visited.contains(target))
            else {
                continue;
            };
            if let Some(schema @ Value::Object(_)) = root.pointer(&target) {
                self.schema(schema, &target, 0, false)?;
            }
        }
        Ok(())
    }

    fn unknown(&mut self, key: &str, value: &Value, here: &str) -> Result<(), ConfigError> {
        if self.rules.keywords().iter().any(|name| **name == *key) {
            return Ok(());
        }
        if key.starts_with("x-") {
            return self.extension(key, value, here);
        }
        let near = KEYWORDS
            .iter()
            .map(|(name, _, _)| {
                (
                    *name,
                    strsim::damerau_levenshtein(
                        &key.to_ascii_lowercase(),
                        &name.to_ascii_lowercase(),
                    ),
                )
            })
            .min_by_key(|(_, distance)| *distance);
        // Allows two typing errors, but only one in a short word, so that it does not become
        // another word.
        let slips = if key.len() >= 6 { 2 } else { 1 };
        match near {
            Some((name, distance)) if distance <= slips => {
                let error = error_at(
                    self.path,
                    here,
                    "is no keyword of JSON Schema and would check nothing",
                );
                Err(error.suggest(format!(
                    "did you mean `{name}`? A keyword of your own starts with `x-`"
                )))
            }
            _ => Ok(()),
        }
    }

    /// A keyword with `x-`: one of the core's, a misspelling of one, or a foreign one, which is
    /// ignored.
    fn extension(&mut self, key: &str, value: &Value, here: &str) -> Result<(), ConfigError> {
        if SANITIZERS.contains(&key) {
            if let Value::Bool(on) = value {
                self.survey.sanitizes |= on;
                return Ok(());
            }
            let error = error_at(self.path, here, "must be true or false");
            return Err(error);
        }
        if key == ENGINE {
            if here.matches('/').count() != 1 {
                let error = error_at(self.path, here, "stands for a whole schema");
                return Err(error.suggest("write it at the top of the schema"));
            }
            return match value.as_str() {
                Some("linear" | "backtracking") => Ok(()),
                _ => Err(error_at(self.path, here, "must be 'linear' or 'backtracking'")),
            };
        }
        // `x-normalizeEmail` and `x-Trim` count as misspellings of the core's keywords.
        let plain = |text: &str| text.to_ascii_lowercase().replace(['-', '_'], "");
        let near = SANITIZERS.iter().chain([&ENGINE]).find(|name| {
            strsim::damerau_levenshtein(&plain(key), &plain(name)) <= usize::from(name.len() >= 6)
        });
        match near {
            None => Ok(()),
            Some(name) => {
                let error = error_at(self.path, here, "is no keyword and would do nothing");
                Err(error.suggest(format!("did you mean `{name}`?")))
            }
        }
    }

    /// Drafts 4, 6 and 7 ignore every keyword beside `$ref`.
    fn ignored_beside_ref(&self, map: &Map<String, Value>, here: &str) -> Result<(), ConfigError> {
        if !is_old(self.draft) {
            return Ok(());
        }
        let is_harmless = |key: &str| ["$ref", "$id"].contains(&key) || SILENT.contains(&key);
        let known = |key: &str| KEYWORDS.iter().any(|(name, _, _)| *name == key);
        let Some(key) = map.keys().find(|key| known(key) && !is_harmless(key)) else {
            return Ok(());
        };
        let problem = format!("makes {} ignore the `{key}` beside it", draft_name(self.draft));
        Err(error_at(self.path, here, &problem)
            .suggest("put both into an allOf, or use draft 2020-12"))
    }

    /// References are followed within the schema only: nothing is fetched, and no file is read.
    fn outside_references(&self) -> Result<(), ConfigError> {
        for (at, target) in &self.refs {
            let (problem, refused) = match target {
                Some(pointer) => {
                    ("leads nowhere", self.root.pointer(pointer).is_none() && !self.has_ids)
                }
                None => ("leads to no schema that is known here", self.leads_out(at)),
            };
            if refused {
                let name = self.root.pointer(at).and_then(Value::as_str).unwrap_or_default();
                let name = shown_key(name);
                return Err(error_at(self.path, at, &format!("('{name}') {problem}")).suggest(
                    "put the schema into $defs and write { $ref: '#/$defs/Name' }, or register it under its URI in payload.schemas; nothing is fetched",
                ));
            }
        }
        Ok(())
    }

    /// Whether a reference leads out of the schema. With names (`$id`) in the schema, the crate
    /// decides that, offline.
    fn leads_out(&self, at: &str) -> bool {
        let target = self.root.pointer(at).and_then(Value::as_str).unwrap_or_default();
        !target.starts_with('#') && !self.has_ids
    }
}

fn has(since: In, draft: Draft) -> bool {
    match since {
        In::All => true,
        In::From6 => draft != Draft::Draft4,
        In::From7 => !matches!(draft, Draft::Draft4 | Draft::Draft6),
        In::From2019 => !is_old(draft),
        In::From2020 => draft == Draft::Draft202012,
        In::Until2019 => draft != Draft::Draft202012,
        In::Only2019 => draft == Draft::Draft201909,
    }
}

/// Pointers to the schemas directly inside the schema at `at`.
pub(crate) fn inner_schemas(map: &Map<String, Value>, at: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (key, value) in map {
        let here = format!("{at}/{}", escaped(key));
        let holds = KEYWORDS.iter().find(|(name, _, _)| name == key).map(|(_, holds, _)| *holds);
        match (holds, value) {
            (Some(Holds::Schema), Value::Object(_)) => found.push(here),
            (Some(Holds::Schema), Value::Array(list)) => {
                let schemas = list.iter().enumerate().filter(|(_, item)| item.is_object());
                found.extend(schemas.map(|(i, _)| format!("{here}/{i}")));
            }
            (Some(Holds::Schemas), Value::Object(schemas)) => {
                let schemas = schemas.iter().filter(|(_, schema)| schema.is_object());
                found.extend(schemas.map(|(name, _)| format!("{here}/{}", escaped(name))));
            }
            _ => {}
        }
    }
    found
}

/// Whether a keyword holds schemas under names of the author's own.
pub(crate) fn holds_names(key: &str) -> bool {
    KEYWORDS.iter().any(|(name, holds, _)| *name == key && *holds == Holds::Schemas)
}

/// Whether `name` is a keyword of JSON Schema or of the core.
pub(crate) fn is_keyword(name: &str) -> bool {
    KEYWORDS.iter().any(|(known, _, _)| *known == name)
        || SANITIZERS.contains(&name)
        || name == ENGINE
}

/// Whether a draft ignores keywords beside `$ref` and has no `unevaluatedProperties`.
pub(crate) fn is_old(draft: Draft) -> bool {
    matches!(draft, Draft::Draft4 | Draft::Draft6 | Draft::Draft7)
}

pub(crate) fn draft_name(draft: Draft) -> &'static str {
    match draft {
        Draft::Draft4 => "draft 4",
        Draft::Draft6 => "draft 6",
        Draft::Draft7 => "draft 7",
        Draft::Draft201909 => "draft 2019-09",
        _ => "draft 2020-12",
    }
}

pub(crate) fn escaped(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

/// The target of a `$ref` that is a pointer into the same schema: `#`, `#/$defs/User`.
pub(crate) fn local_pointer(reference: &Value) -> Option<String> {
    let fragment = reference.as_str()?.strip_prefix('#')?;
    if !(fragment.is_empty() || fragment.starts_with('/')) {
        return None;
    }
    percent_decoded(fragment)
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    crate::net::percent::decode(text, false, &mut bytes).then_some(())?;
    String::from_utf8(bytes).ok()
}

fn is_inside(at: &str, target: &str) -> bool {
    at.strip_prefix(target).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Whether a reference can be reached from its own target.
fn is_recursive(refs: &[(String, Option<String>)]) -> bool {
    let mut done = vec![false; refs.len()];
    (0..refs.len()).any(|start| {
        done.fill(false);
        let mut open = vec![start];
        while let Some(from) = open.pop() {
            // A reference that is not a plain pointer may lead anywhere.
            let target = refs.get(from).and_then(|(_, target)| target.as_deref()).unwrap_or("");
            for (to, (at, _)) in refs.iter().enumerate() {
                if !is_inside(at, target) {
                    continue;
                }
                if to == start {
                    return true;
                }
                if let Some(seen) = done.get_mut(to).filter(|seen| !**seen) {
                    *seen = true;
                    open.push(to);
                }
            }
        }
        false
    })
}
