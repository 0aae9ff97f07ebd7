//! Schemas: compiled once, closed unless the author opened them, and applied per request.

use std::borrow::Cow;
use std::sync::Arc;

use jsonschema::error::ValidationErrorKind;
use jsonschema::{Draft, Registry, ValidationError, Validator};
use serde_json::{Map, Value};

use crate::config::options::{describe, nearest};
use crate::error::{ConfigCode, ConfigError};
use crate::formats;
use crate::json::Limits;
use crate::json::fault::shown_key;
use crate::json::tape::Document;
use crate::json::tape_json::{TapeJson, TapeNode};
use crate::pattern;
use crate::pattern::backtrack;
use crate::pattern::backtrack::Share;
use crate::refusal::{FieldError, Refusal};
use crate::schema::explain::{Found, words};
use crate::schema::fast_path::{Builder, FastPath};
use crate::schema::keywords::{
    ENGINE, FOREIGN_FORMAT, Survey, UTF16_MAX, UTF16_MIN, draft_name, error_at, is_old,
    local_pointer, survey,
};
use crate::schema::pattern_keys;
use crate::schema::registry::embed;
use crate::schema::reserved;
use crate::schema::rules::{DRAFTS, SchemaRules};
use crate::schema::shape::Shapes;

/// In documents of up to this many values all errors are collected; in larger ones only the first.
/// Collecting is eager, and a large document with errors everywhere has tens of thousands of them.
const EXPLAIN_NODES: u32 = 512;
/// A choice inside a recursion multiplies the work at each level. Such a schema collects all errors
/// up to this depth only.
const EXPLAIN_DEPTH: u32 = 4;
/// The maximum number of errors that are processed.
const WALKED: usize = 100;

/// A compiled JSON Schema of draft 2020-12, 2019-09, 7, 6 or 4.
#[derive(Debug)]
pub struct Schema {
    validator: Validator<TapeJson>,
    /// Accepts without the validator, if the schema has only the usual keywords.
    fast_path: Option<FastPath>,
    operator_like_keys: Vec<Box<str>>,
    has_choice: bool,
    is_recursive: bool,
    /// Whether patterns may backtrack, so that a match may be given up.
    backtracks: bool,
    /// The strings to change before the check, if any.
    sanitizers: Option<Arc<Shapes>>,
    /// The rules that declare keys, if there are any: see `declared.rs`.
    rules_for_keys: Option<Arc<Shapes>>,
}

impl Schema {
    /// As [`Self::compile_with`], with the default rules.
    pub fn compile(path: &str, schema: &Value, closed: bool) -> Result<Self, ConfigError> {
        Self::compile_with(path, schema, closed, &SchemaRules::default())
    }

    /// Compiles `schema`, an object or a boolean, given as the option `path` (`body`).
    ///
    /// The draft is that of `$schema`; without it, that of `rules`. Formats are asserted, and an
    /// unknown one is an error. Patterns run in linear time (unless `x-regex` allows backtracking).
    /// References stay within the schema and the registered schemas. A keyword that is misspelt or
    /// unknown to the draft is an error.
    ///
    /// With `closed`, a schema that describes an object and has neither `additionalProperties` nor
    /// `unevaluatedProperties` at its top refuses keys that it does not declare.
    /// `additionalProperties: true` opens it.
    pub fn compile_with(
        path: &str,
        schema: &Value,
        closed: bool,
        rules: &SchemaRules,
    ) -> Result<Self, ConfigError> {
        Self::compile_whole(path, schema, closed, rules).map(|(schema, _)| schema)
    }

    /// As [`Self::compile_with`]; also returns the whole schema, with the registered schemas that
    /// it refers to.
    pub(crate) fn compile_whole(
        path: &str,
        schema: &Value,
        closed: bool,
        rules: &SchemaRules,
    ) -> Result<(Self, Value), ConfigError> {
        let (mut compiled, shapes, whole) = Self::build(path, schema, closed, false, rules)?;
        let shapes = Arc::new(shapes);
        compiled.rules_for_keys = shapes.has_rules_for_keys().then(|| Arc::clone(&shapes));
        compiled.sanitizers = shapes.sanitizes().then_some(shapes);
        Ok((compiled, whole))
    }

    /// As [`Self::compile_with`], for an answer. Nothing is closed. The returned shapes decide
    /// which members stay. They must be able to follow every reference.
    pub(crate) fn compile_answer(
        path: &str,
        schema: &Value,
        rules: &SchemaRules,
    ) -> Result<(Self, Shapes), ConfigError> {
        Self::build(path, schema, false, true, rules).map(|(schema, shapes, _)| (schema, shapes))
    }

    /// `must_resolve_refs`: other code than the validator walks the schema and must find every part
    /// that applies.
    fn build(
        path: &str,
        schema: &Value,
        closed: bool,
        must_resolve_refs: bool,
        rules: &SchemaRules,
    ) -> Result<(Self, Shapes, Value), ConfigError> {
        if !(schema.is_object() || schema.is_boolean()) {
            let problem = format!(
                "must be a JSON Schema (an object, true or false), not {}",
                describe(schema)
            );
            return Err(ConfigError::new(ConfigCode::InvalidSchema, path, problem));
        }
        let draft = draft_of(path, schema, rules)?;
        let mut whole = schema.clone();
        let lost = embed(path, &mut whole, draft, rules)?;
        let survey = survey(path, &whole, draft, rules)?;
        judge_functions(path, &survey, must_resolve_refs)?;
        let backtracks = whole.get(ENGINE).and_then(Value::as_str) == Some("backtracking");
        let options = strict_options(draft, rules, backtracks);
        for (at, name) in &survey.formats {
            if !options.is_known_format(draft, name) {
                let error = error_at(
                    path,
                    at,
                    &format!("is a format that {} does not have here", draft_name(draft)),
                );
                let own = rules.formats().iter().map(|(name, _)| &**name);
                let known: Vec<&str> = FORMATS.iter().copied().chain(own).collect();
                return Err(match nearest(name, &known) {
                    Some(name) => error.suggest(format!(
                        "did you mean '{name}'? Other formats are written as a pattern, or added as payload.formats"
                    )),
                    None => error.suggest("write a pattern instead, or add it as payload.formats"),
                });
            }
        }
        let shapes = Shapes::of(path, &whole, draft)?;
        let strict = if closed { close(path, &whole, draft)? } else { Cow::Borrowed(&whole) };
        let strict = pattern_keys::translated(path, strict, &survey.keyed)?;
        let validator = options.build(&strict).map_err(|error| {
            refused_pattern(path, &error, backtracks).unwrap_or_else(|| refused(path, &error))
        })?;
        let custom_formats = rules.formats().iter().map(|(name, _)| &**name).collect();
        let compile = |keyword: &Value| options.build(keyword).ok();
        let fast_path = Builder::new(&strict, draft, Some(custom_formats), &compile).build();
        let compiled = Self {
            validator,
            fast_path,
            operator_like_keys: survey.operator_like_keys,
            has_choice: survey.has_choice,
            is_recursive: survey.is_recursive,
            backtracks,
            sanitizers: None,
            rules_for_keys: None,
        };
        if let Some(at) =
            lost.filter(|_| must_resolve_refs || survey.sanitizes || !survey.functions.is_empty())
        {
            return Err(error_at(path, &at, "has a reference that can't be followed")
                .suggest("write it as a JSON Pointer: { $ref: '#/$defs/Name' }"));
        }
        Ok((compiled, shapes, whole))
    }

    /// The strings to change before the check.
    pub(crate) fn sanitizers(&self) -> Option<&Shapes> {
        self.sanitizers.as_deref()
    }

    /// The rules that declare keys which look like operators.
    pub(crate) fn rules_for_keys(&self) -> Option<&Shapes> {
        self.rules_for_keys.as_deref()
    }

    /// Compiles `schema` as the specification defines it, for conformance suites: nothing is
    /// closed, misspellings pass, and formats are asserted only with `formats`. `draft` is `4`,
    /// `6`, `7`, `2019-09` or `2020-12`, the default of schemas without `$schema`; `registry` holds
    /// documents by URI, the only ones that a `$ref` may reach.
    pub fn conformance(
        schema: &Value,
        draft: &str,
        registry: &Map<String, Value>,
        formats: bool,
    ) -> Result<Self, ConfigError> {
        let failed =
            |problem: String| ConfigError::new(ConfigCode::InvalidSchema, "schema", problem);
        let Some((_, draft)) = DRAFTS.iter().find(|(name, _)| *name == draft) else {
            return Err(failed(
                "has a draft that is none of '4', '6', '7', '2019-09' and '2020-12'".to_owned(),
            ));
        };
        let draft = *draft;
        let mut documents = Registry::new().draft(draft);
        for (uri, document) in registry {
            documents = documents.add(uri, document).map_err(|error| failed(error.to_string()))?;
        }
        let documents = documents.prepare().map_err(|error| failed(error.to_string()))?;
        let mut options = jsonschema::options_for::<TapeJson>()
            .with_registry(&documents)
            .with_pattern_options(pattern::options())
            .with_keyword("pattern", |_, value, _| backtrack::keyword(value, false))
            .should_validate_formats(formats)
            .offline();
        if schema.get("$schema").is_none() {
            options = options.with_draft(draft);
        }
        let validator = options.build(schema).map_err(|error| refused("schema", &error))?;
        let compile = |keyword: &Value| options.build(keyword).ok();
        let is_plain = !formats && schema.get("$schema").is_none();
        let fast_path =
            is_plain.then(|| Builder::new(schema, draft, None, &compile).build()).flatten();
        Ok(Self {
            validator,
            fast_path,
            operator_like_keys: Vec::new(),
            has_choice: true,
            is_recursive: true,
            backtracks: false,
            sanitizers: None,
            rules_for_keys: None,
        })
    }

    /// The declared keys (under a `properties`) that look like operators, sorted.
    pub(crate) fn operator_like_keys(&self) -> &[Box<str>] {
        &self.operator_like_keys
    }

    /// Whether `bytes` are JSON within `limits` that certainly matches and needs no change.
    pub(crate) fn accepts_bytes(&self, bytes: &[u8], limits: &Limits) -> bool {
        bytes.len() <= limits.max_bytes
            && self.sanitizers.is_none()
            && self.fast_path.as_ref().is_some_and(|fast_path| {
                self.within_budget(Share::Look, || fast_path.accepts_bytes(bytes, limits))
                    == (true, false)
            })
    }

    /// Whether `bytes` are JSON that matches. If not, the refusal is 400, 413 or 422.
    pub fn validate(&self, bytes: &[u8], limits: &Limits) -> Result<(), Refusal> {
        if self.accepts_bytes(bytes, limits) {
            return Ok(());
        }
        let mut found = Found::default();
        limits.with_document(bytes, Some(self), |document| {
            self.check(document, "body", &mut found);
        })?;
        if found.is_empty() { Ok(()) } else { Err(found.into_refusal()) }
    }

    /// Runs `check`, and returns whether a match was given up.
    #[inline]
    fn within_budget<T>(&self, share: Share, check: impl FnOnce() -> T) -> (T, bool) {
        if self.backtracks { backtrack::within_budget(share, check) } else { (check(), false) }
    }

    /// Whether the document matches.
    pub(crate) fn accepts(&self, document: &Document<'_>) -> bool {
        let gave_up = || self.backtracks && backtrack::gave_up();
        let check = || {
            self.fast_path.as_ref().is_some_and(|it| it.accepts(document)) && !gave_up()
                || self.validator.is_valid(TapeNode::Value(document, 0))
        };
        self.within_budget(Share::Check, check) == (true, false)
    }

    /// The result of the fast path, if there is one, and the result of the crate. Tests compare the
    /// two.
    pub(crate) fn compare_paths(&self, document: &Document<'_>) -> (Option<bool>, bool) {
        let quick = self.fast_path.as_ref();
        let quick = quick
            .map(|it| self.within_budget(Share::Check, || it.accepts(document)) == (true, false));
        let slow = || self.validator.is_valid(TapeNode::Value(document, 0));
        (quick, self.within_budget(Share::Check, slow) == (true, false))
    }

    /// Adds the errors of the document, which came as `location`, to `found`. A document that does
    /// not match adds at least one, unless `found` is full.
    pub(crate) fn check(
        &self,
        document: &Document<'_>,
        location: &'static str,
        found: &mut Found<'_>,
    ) {
        if self.accepts(document) {
            return;
        }
        let before = found.len();
        let explain = || self.explain(document, location, found);
        let ((), gave_up) = self.within_budget(Share::Explain, explain);
        // A refused document gets an error even if the cause was not found.
        if found.len() == before && !found.is_full() {
            let (code, detail) = if gave_up {
                ("pattern", "must match a pattern that could not be checked")
            } else {
                ("schema", "does not match the schema, and is too large or too deep to say where")
            };
            let (pointer, detail) = ("#".to_owned(), detail.to_owned());
            found.push(FieldError { location, pointer, code, detail });
        }
    }

    #[cold]
    fn explain(&self, document: &Document<'_>, location: &'static str, found: &mut Found<'_>) {
        let node = TapeNode::Value(document, 0);
        let small = document.nodes() <= EXPLAIN_NODES;
        let shallow = !(self.has_choice && self.is_recursive) || document.depth() <= EXPLAIN_DEPTH;
        if small && shallow {
            let errors: Vec<_> = self.validator.iter_errors(node).take(WALKED).collect();
            // If a schema beside it fails, the properties declared there count as unevaluated.
            // Those errors only repeat the real ones.
            let has_cause = errors.iter().any(|error| !is_unevaluated(error));
            for error in errors.iter().filter(|error| !(has_cause && is_unevaluated(error))) {
                found.add(location, error);
            }
        } else if !self.has_choice {
            if let Err(error) = self.validator.validate(node) {
                found.add(location, &error);
            }
            found.truncate();
        }
    }

    /// Whether the member at `pointer` has no errors. Checks a default value when the guard is
    /// built.
    pub(crate) fn accepts_member(&self, document: &Document<'_>, pointer: &str) -> bool {
        let every = || self.validator.iter_errors(TapeNode::Value(document, 0));
        let (errors, gave_up) = self.within_budget(Share::Explain, every);
        !gave_up
            && !errors.into_iter().any(|error| {
                let rest = error.instance_path().as_str().strip_prefix(pointer);
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            })
    }
}

fn is_unevaluated(error: &ValidationError<'_>) -> bool {
    use ValidationErrorKind::{UnevaluatedItems, UnevaluatedProperties};
    matches!(error.kind(), UnevaluatedItems { .. } | UnevaluatedProperties { .. })
}

/// The formats that all drafts share or [`formats`] adds, for a did-you-mean.
const FORMATS: &[&str] = &[
    "date-time",
    "date",
    "time",
    "duration",
    "email",
    "hostname",
    "ipv4",
    "ipv6",
    "uri",
    "uri-reference",
    "iri",
    "iri-reference",
    "uuid",
    "uri-template",
    "json-pointer",
    "relative-json-pointer",
    "regex",
];

fn strict_options<'i>(
    draft: Draft,
    rules: &SchemaRules,
    backtracks: bool,
) -> jsonschema::ValidationOptions<'i, std::sync::Arc<dyn jsonschema::Retrieve>, TapeJson> {
    let options = jsonschema::options_for::<TapeJson>().with_draft(draft);
    // The default engine backtracks. This one takes linear time, and refuses unsupported patterns
    // when compiling.
    let mut options = options
        .with_pattern_options(pattern::options())
        .with_keyword("pattern", move |_, value, _| backtrack::keyword(value, backtracks))
        .with_format("email", formats::is_email)
        .with_format("uuid", formats::is_uuid)
        .with_format("regex", formats::is_regex)
        .with_keyword(UTF16_MIN, |_, value, _| reserved::keyword(value, true))
        .with_keyword(UTF16_MAX, |_, value, _| reserved::keyword(value, false))
        .with_keyword(FOREIGN_FORMAT, |_, value, _| reserved::format(value));
    for (name, format) in rules.formats() {
        let format = format.clone();
        options = options.with_format(&**name, move |text: &str| format.accepts(text));
    }
    options.should_validate_formats(true).should_ignore_unknown_formats(false).offline()
}

pub(crate) fn draft_of(
    path: &str,
    schema: &Value,
    rules: &SchemaRules,
) -> Result<Draft, ConfigError> {
    let Some(uri) = schema.get("$schema") else { return Ok(rules.draft()) };
    let uri = uri.as_str().unwrap_or_default();
    let uri = uri.strip_suffix('#').unwrap_or(uri);
    let plain = uri.strip_prefix("https://").or_else(|| uri.strip_prefix("http://"));
    match plain.and_then(|plain| plain.strip_prefix("json-schema.org/")) {
        Some("draft/2020-12/schema") => Ok(Draft::Draft202012),
        Some("draft/2019-09/schema") => Ok(Draft::Draft201909),
        Some("draft-07/schema") => Ok(Draft::Draft7),
        Some("draft-06/schema") => Ok(Draft::Draft6),
        Some("draft-04/schema") => Ok(Draft::Draft4),
        _ => {
            let error = error_at(path, "/$schema", "is no draft that is supported");
            Err(error.suggest("write 'https://json-schema.org/draft/2020-12/schema', or leave it out; 2019-09 and drafts 7, 6 and 4 work too"))
        }
    }
}

/// The crate's own reasons. Of the schema's values they contain only patterns.
fn refused(path: &str, error: &ValidationError<'_>) -> ConfigError {
    let at = error.instance_path().as_str();
    match error.kind() {
        ValidationErrorKind::Referencing(_) => {
            let name = match error.instance().as_ref() {
                Value::Object(map) => map.get("$ref").and_then(Value::as_str).unwrap_or_default(),
                Value::String(name) => name.as_str(),
                _ => "",
            };
            let name =
                if name.is_empty() { String::new() } else { format!(" ('{}')", shown_key(name)) };
            error_at(path, at, &format!("has a reference{name} that can't be resolved within the schema"))
                .suggest("put the schema into $defs and write { $ref: '#/$defs/Name' }, or register it under its URI in payload.schemas")
        }
        ValidationErrorKind::Custom { .. } => error_at(path, at, &error.masked().to_string()),
        kind => error_at(path, at, &words(kind)),
    }
}

/// The fault of a `pattern`, if the error is about one.
fn refused_pattern(
    path: &str,
    error: &ValidationError<'_>,
    backtracks: bool,
) -> Option<ConfigError> {
    let ValidationErrorKind::Custom { keyword, .. } = error.kind() else { return None };
    let source = error.instance().as_str().filter(|_| keyword == "pattern")?.to_owned();
    let fault = backtrack::compile(&source, backtracks).err()?;
    let at = error.instance_path().as_str();
    let mut advice = fault.advice.to_owned();
    if fault.steps_back {
        advice += ", or write `x-regex: 'backtracking'` at the top of the schema";
    }
    Some(error_at(path, at, &fault.problem).suggest(advice))
}

/// Keywords whose schemas apply to the same object as the schema that contains them.
pub(crate) const IN_PLACE: &[&str] = &[
    "$ref",
    "$dynamicRef",
    "$recursiveRef",
    "allOf",
    "anyOf",
    "oneOf",
    "if",
    "then",
    "else",
    "dependentSchemas",
    "dependencies",
];

/// Refuses functions that would never run: the shim runs them after the core, and only where the
/// schema always applies.
fn judge_functions(path: &str, survey: &Survey, is_answer: bool) -> Result<(), ConfigError> {
    if let Some((at, _)) = survey.functions.first().filter(|_| is_answer) {
        return Err(error_at(path, at, "asks a function, which answers are not judged by")
            .suggest("leave it out, or ask it in the handler"));
    }
    match survey.functions.iter().find(|(_, sure)| !sure) {
        None => Ok(()),
        Some((at, _)) => Err(error_at(path, at, "asks a function, but may apply or not").suggest(
            "write it where the schema applies in every case: not under anyOf, oneOf, if, not, contains, patternProperties or $defs, not where a $ref leads, and not under additionalProperties beside patternProperties",
        )),
    }
}

/// Adds the closing keyword to a schema that describes an object and does not decide about other
/// keys.
fn close<'s>(path: &str, schema: &'s Value, draft: Draft) -> Result<Cow<'s, Value>, ConfigError> {
    const SAID: &[&str] = &["additionalProperties", "unevaluatedProperties"];
    let Value::Object(map) = schema else { return Ok(Cow::Borrowed(schema)) };
    let says = |map: &Map<String, Value>| SAID.iter().any(|key| map.contains_key(*key));
    if says(map) || !declares_properties(schema, schema, 0) {
        return Ok(Cow::Borrowed(schema));
    }
    let keyword = if !IN_PLACE.iter().any(|key| map.contains_key(*key)) {
        "additionalProperties"
    } else if !is_old(draft) {
        // Unlike `additionalProperties`, this keyword covers the declarations of schemas beside it.
        "unevaluatedProperties"
    } else {
        // Drafts 7, 6 and 4 have no such keyword. A schema that refers to a closed or opened one
        // passes.
        let target =
            map.get("$ref").and_then(local_pointer).and_then(|pointer| schema.pointer(&pointer));
        if target.and_then(Value::as_object).is_some_and(says) {
            return Ok(Cow::Borrowed(schema));
        }
        let error = error_at(
            path,
            "",
            &format!(
                "must say in {} whether keys that it does not declare are accepted",
                draft_name(draft)
            ),
        );
        return Err(error.suggest(
            "write additionalProperties: false or true at its top, or use draft 2020-12",
        ));
    };
    let mut map = map.clone();
    map.insert(keyword.to_owned(), Value::Bool(false));
    Ok(Cow::Owned(Value::Object(map)))
}

/// Whether the schema, or one that applies to the same object, declares properties.
fn declares_properties(root: &Value, schema: &Value, depth: u32) -> bool {
    if depth > 16 {
        return true;
    }
    let Value::Object(map) = schema else { return false };
    let inner = |schema: &Value| declares_properties(root, schema, depth + 1);
    ["properties", "patternProperties"].iter().any(|key| map.contains_key(*key))
        || IN_PLACE.iter().filter_map(|key| map.get(*key).map(|value| (*key, value))).any(
            |(key, value)| {
                in_place_schemas(root, key, value)
                    .is_none_or(|schemas| schemas.into_iter().any(inner))
            },
        )
}

/// The schemas that an in-place keyword applies; `None` if only the crate can resolve them.
pub(crate) fn in_place_schemas<'v>(
    root: &'v Value,
    keyword: &str,
    value: &'v Value,
) -> Option<Vec<&'v Value>> {
    Some(match (keyword, value) {
        ("$ref", _) => vec![root.pointer(&local_pointer(value)?)?],
        ("$dynamicRef" | "$recursiveRef", _) => return None,
        ("dependentSchemas" | "dependencies", Value::Object(map)) => map.values().collect(),
        (_, Value::Array(list)) => list.iter().collect(),
        _ => vec![value],
    })
}
