//! Schemas: compiled once, closed where the author left them open, and asked per request.

use std::borrow::Cow;

use jsonschema::error::ValidationErrorKind;
use jsonschema::{Draft, PatternOptions, Registry, ValidationError, Validator};
use serde_json::{Map, Value};

use crate::config::raw::{describe, nearest};
use crate::error::{ConfigCode, ConfigError};
use crate::payload::config::PayloadConfig;
use crate::payload::explain::{Found, words};
use crate::payload::formats;
use crate::payload::json::{TapeJson, TapeNode};
use crate::payload::keywords::{draft_name, error_at, local_pointer, survey};
use crate::payload::tape::Document;
use crate::refusal::{FieldError, Refusal};

/// All errors are collected in documents of up to this many values; in larger ones the first is enough. Collecting is
/// eager, and a large document that is wrong everywhere has tens of thousands of them.
const EXPLAIN_NODES: u32 = 512;
/// A choice inside a recursion multiplies the work at each level, so there all errors are collected up to this depth.
const EXPLAIN_DEPTH: u32 = 4;
/// No more errors than this are looked at.
const WALKED: usize = 100;

/// A compiled JSON Schema of draft 2020-12, 2019-09 or 7.
#[derive(Debug)]
pub struct Schema {
    validator: Validator<TapeJson>,
    odd_keys: Vec<Box<str>>,
    has_choice: bool,
    is_recursive: bool,
}

impl Schema {
    /// Compiles `schema`, an object or a boolean, given as the option `path` (`body`).
    ///
    /// The draft is that of `$schema`, 2020-12 without it. Formats are asserted and must be known, patterns run in linear
    /// time, references stay within the schema, and a keyword that is misspelt or unknown to the draft is an error.
    ///
    /// With `closed`, a schema that describes an object and says neither `additionalProperties` nor
    /// `unevaluatedProperties` at its top refuses keys that it does not declare. `additionalProperties: true` opens it.
    pub fn compile(path: &str, schema: &Value, closed: bool) -> Result<Self, ConfigError> {
        if !(schema.is_object() || schema.is_boolean()) {
            let problem = format!(
                "must be a JSON Schema (an object, true or false), not {}",
                describe(schema)
            );
            return Err(ConfigError::new(ConfigCode::InvalidSchema, path, problem));
        }
        let draft = draft_of(path, schema)?;
        let survey = survey(path, schema, draft)?;
        let options = strict_options(draft);
        for (at, name) in &survey.formats {
            if !options.is_known_format(draft, name) {
                let error = error_at(
                    path,
                    at,
                    &format!("is a format that {} does not have here", draft_name(draft)),
                );
                return Err(match nearest(name, FORMATS) {
                    Some(name) => error.suggest(format!(
                        "did you mean '{name}'? Other formats are written as a pattern"
                    )),
                    None => error.suggest("write a pattern instead"),
                });
            }
        }
        let schema = if closed { close(path, schema, draft)? } else { Cow::Borrowed(schema) };
        let validator = options.build(&schema).map_err(|error| refused(path, &error))?;
        Ok(Self {
            validator,
            odd_keys: survey.odd_keys,
            has_choice: survey.has_choice,
            is_recursive: survey.is_recursive,
        })
    }

    /// Compiles `schema` as the specification has it, for running outside conformance suites: nothing is closed,
    /// misspellings pass, and formats are asserted only with `formats`. `draft` is `7`, `2019-09` or `2020-12`, the
    /// default of schemas without `$schema`; `registry` holds documents by URI, the only ones a `$ref` may lead to.
    pub fn conformance(
        schema: &Value,
        draft: &str,
        registry: &Map<String, Value>,
        formats: bool,
    ) -> Result<Self, ConfigError> {
        let failed =
            |problem: String| ConfigError::new(ConfigCode::InvalidSchema, "schema", problem);
        let draft = match draft {
            "7" => Draft::Draft7,
            "2019-09" => Draft::Draft201909,
            "2020-12" => Draft::Draft202012,
            _ => {
                return Err(failed(
                    "has a draft that is none of '7', '2019-09' and '2020-12'".to_owned(),
                ));
            }
        };
        let mut documents = Registry::new().draft(draft);
        for (uri, document) in registry {
            documents = documents.add(uri, document).map_err(|error| failed(error.to_string()))?;
        }
        let documents = documents.prepare().map_err(|error| failed(error.to_string()))?;
        let mut options = jsonschema::options_for::<TapeJson>()
            .with_registry(&documents)
            .with_pattern_options(PatternOptions::regex())
            .should_validate_formats(formats)
            .offline();
        if schema.get("$schema").is_none() {
            options = options.with_draft(draft);
        }
        let validator = options.build(schema).map_err(|error| refused("schema", &error))?;
        Ok(Self { validator, odd_keys: Vec::new(), has_choice: true, is_recursive: true })
    }

    /// The keys that look like operators but are declared under a `properties`, sorted.
    pub(crate) fn odd_keys(&self) -> &[Box<str>] {
        &self.odd_keys
    }

    /// Whether `bytes` are JSON that matches; a refusal otherwise, 400, 413 or 422.
    pub fn validate(&self, bytes: &[u8], config: &PayloadConfig) -> Result<(), Refusal> {
        let mut found = Found::default();
        config.with_document(bytes, Some(self), |document| {
            self.check(document, "body", &mut found);
        })?;
        if found.is_empty() { Ok(()) } else { Err(found.into_refusal()) }
    }

    /// Whether the document matches.
    pub(crate) fn accepts(&self, document: &Document<'_>) -> bool {
        self.validator.is_valid(TapeNode::Value(document, 0))
    }

    /// Adds what is wrong with the document, which came as `location`, to `found`. Adds nothing only if it matches.
    pub(crate) fn check(&self, document: &Document<'_>, location: &'static str, found: &mut Found) {
        if !self.accepts(document) {
            self.explain(document, location, found);
        }
    }

    #[cold]
    fn explain(&self, document: &Document<'_>, location: &'static str, found: &mut Found) {
        let node = TapeNode::Value(document, 0);
        let before = found.len();
        let small = document.nodes() <= EXPLAIN_NODES;
        let shallow = !(self.has_choice && self.is_recursive) || document.depth() <= EXPLAIN_DEPTH;
        if small && shallow {
            let errors: Vec<_> = self.validator.iter_errors(node).take(WALKED).collect();
            // Where a schema beside it fails, what that one declares counts as unevaluated: an echo of the real errors.
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
        // Refused is refused, also where nobody can say why.
        if found.len() == before && !found.is_full() {
            found.push(FieldError {
                location,
                pointer: "#".to_owned(),
                code: "schema",
                detail: "does not match the schema, and is too large or too deep to say where"
                    .to_owned(),
            });
        }
    }

    /// The errors about the member `key` of an object, for judging a default value when the guard is built.
    pub(crate) fn accepts_member(&self, document: &Document<'_>, pointer: &str) -> bool {
        let errors = self.validator.iter_errors(TapeNode::Value(document, 0));
        !errors.into_iter().any(|error| {
            let rest = error.instance_path().as_str().strip_prefix(pointer);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
    }
}

fn is_unevaluated(error: &ValidationError<'_>) -> bool {
    use ValidationErrorKind::{UnevaluatedItems, UnevaluatedProperties};
    matches!(error.kind(), UnevaluatedItems { .. } | UnevaluatedProperties { .. })
}

/// The formats that the drafts have in common and [`formats`] adds, for a did-you-mean.
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
) -> jsonschema::ValidationOptions<'i, std::sync::Arc<dyn jsonschema::Retrieve>, TapeJson> {
    jsonschema::options_for::<TapeJson>()
        .with_draft(draft)
        // The default engine backtracks. This one takes linear time, and refuses what it can't when compiling.
        .with_pattern_options(PatternOptions::regex())
        .with_format("email", formats::is_email)
        .with_format("uuid", formats::is_uuid)
        .should_validate_formats(true)
        .should_ignore_unknown_formats(false)
        .offline()
}

fn draft_of(path: &str, schema: &Value) -> Result<Draft, ConfigError> {
    let Some(uri) = schema.get("$schema") else { return Ok(Draft::Draft202012) };
    let uri = uri.as_str().unwrap_or_default();
    match uri.strip_suffix('#').unwrap_or(uri) {
        "https://json-schema.org/draft/2020-12/schema" => Ok(Draft::Draft202012),
        "https://json-schema.org/draft/2019-09/schema" => Ok(Draft::Draft201909),
        "http://json-schema.org/draft-07/schema" | "https://json-schema.org/draft-07/schema" => {
            Ok(Draft::Draft7)
        }
        _ => {
            let error = error_at(path, "/$schema", "is no draft that is supported");
            Err(error.suggest("write 'https://json-schema.org/draft/2020-12/schema', or leave it out; 2019-09 and draft 7 work too"))
        }
    }
}

/// The crate's own reasons, without any value of the schema but its patterns.
fn refused(path: &str, error: &ValidationError<'_>) -> ConfigError {
    let at = error.instance_path().as_str();
    match error.kind() {
        ValidationErrorKind::Referencing(_) => {
            error_at(path, at, "has a reference that can't be resolved within the schema")
                .suggest("put the schema into $defs and write { $ref: '#/$defs/Name' }")
        }
        ValidationErrorKind::Format { format } if format == "regex" => {
            error_at(path, at, "is a pattern that can't be checked in linear time")
                .suggest("write it without look-around and backreferences")
        }
        ValidationErrorKind::Custom { .. } => error_at(path, at, &error.masked().to_string()),
        kind => error_at(path, at, &words(kind)),
    }
}

/// Keywords whose schemas apply to the same object as the schema they stand in.
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

/// Adds the closing keyword to a schema that describes an object and does not say what becomes of other keys.
fn close<'s>(path: &str, schema: &'s Value, draft: Draft) -> Result<Cow<'s, Value>, ConfigError> {
    const SAID: &[&str] = &["additionalProperties", "unevaluatedProperties"];
    let Value::Object(map) = schema else { return Ok(Cow::Borrowed(schema)) };
    let says = |map: &Map<String, Value>| SAID.iter().any(|key| map.contains_key(*key));
    if says(map) || !declares_properties(schema, schema, 0) {
        return Ok(Cow::Borrowed(schema));
    }
    let keyword = if !IN_PLACE.iter().any(|key| map.contains_key(*key)) {
        "additionalProperties"
    } else if draft != Draft::Draft7 {
        // Unlike `additionalProperties` it sees what the schemas beside it declare.
        "unevaluatedProperties"
    } else {
        // Draft 7 has no such keyword. It is fine if the schema refers to one that says it.
        let target =
            map.get("$ref").and_then(local_pointer).and_then(|pointer| schema.pointer(&pointer));
        if target.and_then(Value::as_object).is_some_and(says) {
            return Ok(Cow::Borrowed(schema));
        }
        let error = error_at(
            path,
            "",
            "must say in draft 7 whether keys that it does not declare are accepted",
        );
        return Err(error.suggest(
            "write additionalProperties: false or true at its top, or use draft 2020-12",
        ));
    };
    let mut map = map.clone();
    map.insert(keyword.to_owned(), Value::Bool(false));
    Ok(Cow::Owned(Value::Object(map)))
}

/// Whether the schema, or one that applies to the same object, names properties.
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

/// The schemas that an in-place keyword applies; `None` if they can't be told without the crate.
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
