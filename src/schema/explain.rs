//! Turns the crate's errors into those for the client: the member, the keyword, and the
//! requirement, in plain words and without any submitted value.

use jsonschema::error::{TypeKind, ValidationErrorKind as Kind};
use jsonschema::{JsonType, ValidationError};
use serde_json::Value;

use crate::json::fault::{Pointer, shown_key};
use crate::messages::Chosen;
use crate::refusal::{FieldError, MAX_ERRORS, Refusal};
use crate::schema::keywords::{FOREIGN_FORMAT, UTF16_MAX, UTF16_MIN};

/// The errors of all parts of one request.
#[derive(Debug, Default)]
pub(crate) struct Found<'m> {
    errors: Vec<FieldError>,
    bytes: usize,
    truncated: bool,
    full: bool,
    /// The application's own texts, if it has some.
    messages: Option<Chosen<'m>>,
}

/// The maximum size of the listed errors, so that the whole answer stays within 8 kB.
const MAX_BYTES: usize = 7 << 10;

impl<'m> Found<'m> {
    /// An empty list whose errors will use these texts.
    pub(crate) fn told_in(messages: Chosen<'m>) -> Self {
        Self { messages: Some(messages), ..Self::default() }
    }

    pub(crate) fn push(&mut self, error: FieldError) {
        let bytes = self.bytes + written(&error);
        if self.errors.len() < MAX_ERRORS && bytes <= MAX_BYTES {
            self.bytes = bytes;
            self.errors.push(error);
        } else {
            self.truncated = true;
            self.full = true;
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.errors.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.errors.len()
    }

    /// Marks the list as incomplete: there may be more errors.
    pub(crate) fn truncate(&mut self) {
        self.truncated = true;
    }

    /// Whether no more errors are listed, so that the caller may stop.
    pub(crate) fn is_full(&self) -> bool {
        self.full
    }

    pub(crate) fn into_refusal(self) -> Refusal {
        let mut refusal =
            Refusal::new(422, "validation_failed", "the request does not match the schema");
        refusal.errors = self.errors;
        refusal.truncated = self.truncated;
        match self.messages {
            Some(messages) if messages.varies() => {
                let refusal = refusal.header("Vary", "Accept-Language");
                match messages.tag() {
                    Some(tag) => refusal.header("Content-Language", tag),
                    None => refusal,
                }
            }
            _ => refusal,
        }
    }

    fn told(
        &self,
        code: &str,
        key: Option<&str>,
        limit: impl FnOnce() -> Option<String>,
    ) -> Option<String> {
        let messages = self.messages.as_ref().filter(|messages| !messages.is_empty())?;
        messages.text(code, key, limit().as_deref())
    }

    /// Adds one error of the crate.
    pub(crate) fn add(&mut self, location: &'static str, error: &ValidationError<'_>) {
        let here = || Pointer::from_escaped(error.instance_path().as_str());
        match error.kind() {
            Kind::Required { property } => {
                self.add_key(
                    location,
                    here(),
                    property.as_str().unwrap_or_default(),
                    "required",
                    "is required",
                );
            }
            Kind::AdditionalProperties { unexpected } => {
                self.add_unexpected(location, &here(), unexpected, "additionalProperties");
            }
            Kind::UnevaluatedProperties { unexpected } => {
                self.add_unexpected(location, &here(), unexpected, "unevaluatedProperties");
            }
            Kind::AnyOf { context } | Kind::OneOfNotValid { context } => {
                match meant(error, context) {
                    Some(branch) => branch.iter().for_each(|error| self.add(location, error)),
                    None => self.add_plain(location, here(), error),
                }
            }
            _ => self.add_plain(location, here(), error),
        }
    }

    fn add_plain(&mut self, location: &'static str, pointer: Pointer, error: &ValidationError<'_>) {
        let code = keyword(error.kind());
        let detail =
            self.told(code, None, || limit(error.kind())).unwrap_or_else(|| words(error.kind()));
        self.push(FieldError { location, pointer: pointer.finish(), code, detail });
    }

    fn add_unexpected(
        &mut self,
        location: &'static str,
        object: &Pointer,
        keys: &[String],
        code: &'static str,
    ) {
        for key in keys {
            if self.is_full() {
                return;
            }
            self.add_key(location, object.clone(), key, code, "is not expected here");
        }
    }

    fn add_key(
        &mut self,
        location: &'static str,
        mut pointer: Pointer,
        key: &str,
        code: &'static str,
        what: &str,
    ) {
        pointer.key(key);
        let key = shown_key(key);
        let detail =
            self.told(code, Some(&key), || None).unwrap_or_else(|| format!("`{key}` {what}"));
        self.push(FieldError { location, pointer: pointer.finish(), code, detail });
    }
}

/// The branch of a choice that the client probably meant: the only one whose type fits the value,
/// or whose discriminating constant does, or else the closest one.
fn meant<'e>(
    choice: &ValidationError<'_>,
    branches: &'e [Vec<ValidationError<'static>>],
) -> Option<&'e [ValidationError<'static>]> {
    let here = choice.instance_path().as_str();
    let depth = |error: &ValidationError<'_>| {
        let rest = error.instance_path().as_str().strip_prefix(here).unwrap_or_default();
        rest.matches('/').count()
    };
    let wrong_type = |error: &ValidationError<'_>| {
        matches!(error.kind(), Kind::Type { .. } | Kind::Constant { .. } | Kind::Enum { .. })
            && depth(error) == 0
    };
    let wrong_tag = |error: &ValidationError<'_>| {
        matches!(error.kind(), Kind::Constant { .. }) && depth(error) <= 1
    };
    only(branches, &wrong_type)
        .or_else(|| only(branches, &|error| wrong_type(error) || wrong_tag(error)))
        .or_else(|| closest(branches, &wrong_type))
}

/// The branch with the fewest errors among those whose type fits the value. `None` on a tie.
fn closest<'e>(
    branches: &'e [Vec<ValidationError<'static>>],
    is_other: &dyn Fn(&ValidationError<'_>) -> bool,
) -> Option<&'e [ValidationError<'static>]> {
    let fitting = || branches.iter().filter(|errors| !errors.iter().any(is_other));
    let fewest = fitting().map(Vec::len).min()?;
    let mut closest = fitting().filter(|errors| errors.len() == fewest);
    match (closest.next(), closest.next()) {
        (Some(one), None) if !one.is_empty() => Some(one),
        _ => None,
    }
}

/// The size of an error in the answer.
fn written(error: &FieldError) -> usize {
    let escaped = |text: &str| {
        text.bytes()
            .map(|b| if matches!(b, b'"' | b'\\') || b < 0x20 { 6 } else { 1 })
            .sum::<usize>()
    };
    // The names of the members and the punctuation.
    60 + error.location.len() + error.code.len() + escaped(&error.pointer) + escaped(&error.detail)
}

fn only<'e>(
    branches: &'e [Vec<ValidationError<'static>>],
    is_other: &dyn Fn(&ValidationError<'_>) -> bool,
) -> Option<&'e [ValidationError<'static>]> {
    let mut fitting = branches.iter().filter(|errors| !errors.iter().any(is_other));
    match (fitting.next(), fitting.next()) {
        (Some(one), None) if !one.is_empty() => Some(one),
        _ => None,
    }
}

/// The keyword that failed.
fn keyword(kind: &Kind) -> &'static str {
    match kind {
        Kind::AdditionalItems { .. } => "additionalItems",
        Kind::AdditionalProperties { .. } => "additionalProperties",
        Kind::AnyOf { .. } => "anyOf",
        Kind::BacktrackLimitExceeded { .. }
        | Kind::RegexEngineFailure { .. }
        | Kind::Pattern { .. } => "pattern",
        Kind::Constant { .. } => "const",
        Kind::Contains => "contains",
        Kind::ContentEncoding { .. } | Kind::FromUtf8 { .. } => "contentEncoding",
        Kind::ContentMediaType { .. } => "contentMediaType",
        Kind::Custom { keyword, .. } if keyword == UTF16_MIN => "minLength",
        Kind::Custom { keyword, .. } if keyword == UTF16_MAX => "maxLength",
        Kind::Custom { keyword, .. } if keyword == FOREIGN_FORMAT => "format",
        Kind::Custom { keyword, .. } if keyword == "pattern" => "pattern",
        Kind::Custom { .. } => "schema",
        Kind::Enum { .. } => "enum",
        Kind::ExclusiveMaximum { .. } => "exclusiveMaximum",
        Kind::ExclusiveMinimum { .. } => "exclusiveMinimum",
        Kind::FalseSchema => "falseSchema",
        Kind::Format { .. } => "format",
        Kind::MaxItems { .. } => "maxItems",
        Kind::Maximum { .. } => "maximum",
        Kind::MaxLength { .. } => "maxLength",
        Kind::MaxProperties { .. } => "maxProperties",
        Kind::MinItems { .. } => "minItems",
        Kind::Minimum { .. } => "minimum",
        Kind::MinLength { .. } => "minLength",
        Kind::MinProperties { .. } => "minProperties",
        Kind::MultipleOf { .. } => "multipleOf",
        Kind::Not { .. } => "not",
        Kind::OneOfMultipleValid { .. } | Kind::OneOfNotValid { .. } => "oneOf",
        Kind::PropertyNames { .. } => "propertyNames",
        Kind::Required { .. } => "required",
        Kind::Type { .. } => "type",
        Kind::UnevaluatedItems { .. } => "unevaluatedItems",
        Kind::UnevaluatedProperties { .. } => "unevaluatedProperties",
        Kind::UniqueItems => "uniqueItems",
        Kind::Referencing(_) => "$ref",
    }
}

/// The requirement on the value, as a phrase that follows its name. It may contain values of the
/// schema, but never of the client.
pub(crate) fn words(kind: &Kind) -> String {
    match kind {
        Kind::AdditionalItems { limit } => {
            format!("must have at most {}", count(*limit as u64, "element"))
        }
        Kind::AnyOf { .. } => "must match at least one of the allowed forms".to_owned(),
        Kind::BacktrackLimitExceeded { .. } | Kind::RegexEngineFailure { .. } => {
            "must match a pattern that could not be checked".to_owned()
        }
        Kind::Pattern { pattern } => format!("must match the pattern {}", shown(pattern)),
        Kind::Constant { .. } => "must be the one allowed value".to_owned(),
        Kind::Contains => "must contain an element that matches".to_owned(),
        Kind::ContentEncoding { content_encoding } => {
            format!("must be encoded as {}", shown(content_encoding))
        }
        Kind::FromUtf8 { .. } => "must be encoded text".to_owned(),
        Kind::ContentMediaType { content_media_type } => {
            format!("must be of the type {}", shown(content_media_type))
        }
        Kind::Custom { keyword, message } => match (keyword.as_str(), message.parse()) {
            (UTF16_MIN, Ok(limit)) => format!("must have at least {}", count(limit, "character")),
            (UTF16_MAX, Ok(limit)) => format!("must have at most {}", count(limit, "character")),
            ("pattern", _) => format!("must match the pattern {}", shown(message)),
            (FOREIGN_FORMAT, _) => format!("must be {}", format_words(message)),
            _ => "must match the schema".to_owned(),
        },
        Kind::Referencing(_) => "must match the schema".to_owned(),
        Kind::Enum { options } => match options.as_array().map_or(1, Vec::len) {
            1 => "must be the one allowed value".to_owned(),
            n => format!("must be one of the {n} allowed values"),
        },
        Kind::ExclusiveMaximum { limit } => format!("must be less than {}", limit_text(limit)),
        Kind::ExclusiveMinimum { limit } => format!("must be greater than {}", limit_text(limit)),
        Kind::Maximum { limit } => format!("must be at most {}", limit_text(limit)),
        Kind::Minimum { limit } => format!("must be at least {}", limit_text(limit)),
        Kind::FalseSchema => "is not expected here".to_owned(),
        Kind::Format { format } => format!("must be {}", format_words(format)),
        Kind::MaxItems { limit } => format!("must have at most {}", count(*limit, "element")),
        Kind::MinItems { limit } => format!("must have at least {}", count(*limit, "element")),
        Kind::MaxLength { limit } => format!("must have at most {}", count(*limit, "character")),
        Kind::MinLength { limit } => format!("must have at least {}", count(*limit, "character")),
        Kind::MaxProperties { limit } => format!("must have at most {}", count(*limit, "key")),
        Kind::MinProperties { limit } => format!("must have at least {}", count(*limit, "key")),
        Kind::MultipleOf { multiple_of } => format!("must be a multiple of {multiple_of}"),
        Kind::Not { .. } => "must not match what is excluded".to_owned(),
        Kind::OneOfMultipleValid { .. } => "must match only one of the allowed forms".to_owned(),
        Kind::OneOfNotValid { .. } => "must match one of the allowed forms".to_owned(),
        Kind::PropertyNames { error } => format!("has a key that {}", words(error.kind())),
        Kind::Required { property } => {
            format!("needs `{}`", shown_key(property.as_str().unwrap_or_default()))
        }
        Kind::Type { kind } => format!("must be {}", type_words(kind)),
        Kind::AdditionalProperties { .. } | Kind::UnevaluatedProperties { .. } => {
            "has keys that are not expected".to_owned()
        }
        Kind::UnevaluatedItems { .. } => "has elements that are not expected".to_owned(),
        Kind::UniqueItems => "must not have the same element twice".to_owned(),
    }
}

/// The number or pattern in the schema that the error is about, for the application's own text.
fn limit(kind: &Kind) -> Option<String> {
    Some(match kind {
        Kind::AdditionalItems { limit } => limit.to_string(),
        // The message of these keywords is the limit or the name alone.
        Kind::Custom { keyword, message }
            if [UTF16_MIN, UTF16_MAX, FOREIGN_FORMAT].contains(&keyword.as_str()) =>
        {
            message.clone()
        }
        Kind::Custom { keyword, message } if keyword == "pattern" => shown(message),
        Kind::Enum { options } => options.as_array()?.len().to_string(),
        Kind::ExclusiveMaximum { limit }
        | Kind::ExclusiveMinimum { limit }
        | Kind::Maximum { limit }
        | Kind::Minimum { limit } => limit_text(limit),
        Kind::Format { format } => format.clone(),
        Kind::MaxItems { limit }
        | Kind::MinItems { limit }
        | Kind::MaxLength { limit }
        | Kind::MinLength { limit }
        | Kind::MaxProperties { limit }
        | Kind::MinProperties { limit } => limit.to_string(),
        Kind::MultipleOf { multiple_of } => multiple_of.to_string(),
        Kind::Pattern { pattern } => shown(pattern),
        _ => return None,
    })
}

fn count(n: u64, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// A limit as the schema's author wrote it: JavaScript's `12` may have become `12.0` in transit.
fn limit_text(limit: &Value) -> String {
    match limit.as_f64() {
        Some(number) => number.to_string(),
        None => limit.to_string(),
    }
}

fn shown(text: &str) -> String {
    const CHARS: usize = 200;
    let mut shown: String = text.chars().take(CHARS).collect();
    if text.chars().nth(CHARS).is_some() {
        shown.push('…');
    }
    shown
}

fn type_words(kind: &TypeKind) -> String {
    match kind {
        TypeKind::Single(one) => type_word(*one).to_owned(),
        TypeKind::Multiple(set) => {
            let words: Vec<&str> = set.iter().map(type_word).collect();
            words.join(" or ")
        }
    }
}

fn type_word(kind: JsonType) -> &'static str {
    match kind {
        JsonType::Array => "an array",
        JsonType::Boolean => "true or false",
        JsonType::Integer => "an integer",
        JsonType::Null => "null",
        JsonType::Number => "a number",
        JsonType::Object => "an object",
        JsonType::String => "a string",
    }
}

fn format_words(format: &str) -> String {
    let words = match format {
        "email" => "an email address",
        "uuid" => "a UUID",
        "uri" => "an absolute URI",
        "uri-reference" => "a URI or a relative reference",
        "uri-template" => "a URI template",
        "iri" => "an absolute IRI",
        "iri-reference" => "an IRI or a relative reference",
        "date-time" => "a date and time such as 2026-01-31T12:00:00Z",
        "date" => "a date such as 2026-01-31",
        "time" => "a time such as 12:00:00Z",
        "duration" => "a duration such as P3DT12H",
        "ipv4" => "an IPv4 address",
        "ipv6" => "an IPv6 address",
        "hostname" => "a host name",
        "regex" => "a regular expression of at most 16384 bytes",
        "json-pointer" => "a JSON Pointer",
        "relative-json-pointer" => "a relative JSON Pointer",
        other => return format!("of the format {}", shown(other)),
    };
    words.to_owned()
}
