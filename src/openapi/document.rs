//! A document as a whole: its version, its references, and pointers into it.

use serde_json::{Map, Value};

use super::config::{OpenApiConfig, Tolerance};
use super::keywords::is_extension;
use crate::config::options::{describe, nearest};
use crate::error::faults::{Faults, fault};
use crate::error::{ConfigCode, ConfigError};
use crate::request::decode_segment;

/// The supported versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Version {
    V30,
    V31,
    V32,
}

/// A document, with its version and the dialect of its schemas.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Document<'d> {
    pub(crate) config: &'d OpenApiConfig,
    pub(crate) faults: &'d Faults,
    pub(crate) root: &'d Map<String, Value>,
    pub(crate) value: &'d Value,
    pub(crate) version: Version,
    /// `$schema` of its schemas, if it is not draft 2020-12.
    pub(crate) dialect: Option<&'d str>,
    /// The URI of the document itself (`$self`), by which its references may name it.
    uri: Option<&'d str>,
}

/// A value with the pointer (RFC 6901) to it.
#[derive(Debug, Clone)]
pub(crate) struct At<'d> {
    pub(crate) pointer: String,
    pub(crate) value: &'d Value,
}

/// The maximum length of a chain of references.
const CHAIN: usize = 32;

const ROOT: &[&str] = &[
    "openapi",
    "info",
    "jsonSchemaDialect",
    "servers",
    "paths",
    "webhooks",
    "components",
    "security",
    "tags",
    "externalDocs",
];

impl<'d> Document<'d> {
    pub(crate) fn read(
        value: &'d Value,
        config: &'d OpenApiConfig,
        faults: &'d Faults,
    ) -> Result<Self, ConfigError> {
        let Value::Object(root) = value else {
            let problem =
                format!("must be an OpenAPI document as an object, not {}", describe(value));
            return Err(ConfigError::new(ConfigCode::InvalidOpenApi, "doc", problem)
                .suggest("parse it first, with JSON.parse or a YAML parser"));
        };
        let version = version(root)?;
        let dialect = root.get("jsonSchemaDialect");
        let dialect = match (dialect, version) {
            (None, _) => None,
            (Some(_), Version::V30) => {
                let error = fault("/jsonSchemaDialect", "is no field of OpenAPI 3.0");
                faults.add(error.suggest("leave it out, or write `openapi: '3.1.1'`"));
                None
            }
            (Some(uri), _) => dialect_of("/jsonSchemaDialect", uri)?,
        };
        let uri = if version >= Version::V32 { self_uri(root)? } else { None };
        let document = Self { config, faults, root, value, version, dialect, uri };
        document.known_fields_of("", root, ROOT, &["$self"]);
        Ok(document)
    }

    /// The value of a result; a fault is collected.
    pub(crate) fn note<T>(&self, result: Result<T, ConfigError>) -> Option<T> {
        result.map_err(|fault| self.faults.add(fault)).ok()
    }

    /// Whether an option names this exception from the specification.
    pub(crate) fn tolerates(&self, exception: Tolerance) -> bool {
        self.config.tolerated.contains(&exception)
    }

    /// Reports the fields that the specification does not define there: with a misspelt field, a
    /// rule would not be enforced.
    pub(crate) fn known_fields(&self, pointer: &str, map: &Map<String, Value>, known: &[&str]) {
        if self.tolerates(Tolerance::UnknownFields) {
            return;
        }
        for key in map.keys().filter(|key| !is_extension(key)) {
            if !known.contains(&key.as_str()) {
                let error = fault(&child(pointer, key), "is no field of OpenAPI here");
                self.faults.add(match nearest(key, known) {
                    Some(name) => error.suggest(format!("did you mean `{name}`?")),
                    None => error.suggest(
                        "leave it out, begin its name with `x-`, or set `tolerate: ['unknown-fields']`, which ignores it",
                    ),
                });
            }
        }
    }

    /// The same, with fields that `OpenAPI` 3.2 has added.
    pub(crate) fn known_fields_of(
        &self,
        pointer: &str,
        map: &Map<String, Value>,
        known: &[&str],
        added: &[&str],
    ) {
        if self.version >= Version::V32 {
            self.known_fields(pointer, map, &[known, added].concat());
            return;
        }
        let is_new = |key: &&String| added.contains(&key.as_str());
        let new: Vec<&String> = map.keys().filter(is_new).collect();
        if new.is_empty() || self.tolerates(Tolerance::UnknownFields) {
            self.known_fields(pointer, map, known);
            return;
        }
        for key in new {
            let error = fault(&child(pointer, key), "is a field of OpenAPI 3.2");
            self.faults.add(error.suggest("write `openapi: '3.2.0'`, or leave it out"));
        }
        let old = map.iter().filter(|(key, _)| !added.contains(&key.as_str()));
        let old = old.map(|(key, value)| (key.clone(), value.clone())).collect();
        self.known_fields(pointer, &old, known);
    }

    pub(crate) fn at(&self, pointer: &str) -> Option<At<'d>> {
        let value = self.value.pointer(pointer)?;
        Some(At { pointer: pointer.to_owned(), value })
    }

    /// The target in this document of the `$ref` at `pointer`. `None` if it names another document
    /// by its URI: only the guard's registered schemas can resolve it.
    pub(crate) fn target(
        &self,
        pointer: &str,
        reference: &Value,
    ) -> Result<Option<At<'d>>, ConfigError> {
        let Some(text) = reference.as_str() else {
            return Err(fault(pointer, "must be a string"));
        };
        let own = self.uri.and_then(|uri| text.strip_prefix(uri));
        let own = own.filter(|rest| rest.is_empty() || rest.starts_with('#'));
        let Some(fragment) = own.unwrap_or(text).strip_prefix('#') else {
            if text.split_once(':').is_some_and(|(scheme, _)| is_scheme(scheme)) {
                return Ok(None);
            }
            return Err(fault(pointer, "leads to another file, and none is read")
                .suggest("bundle the files into one document first"));
        };
        let nowhere = || fault(pointer, "leads nowhere in this document");
        let decoded = decode_segment(fragment).ok_or_else(nowhere)?;
        if !decoded.starts_with('/') {
            return Err(fault(pointer, "must be a pointer into the document")
                .suggest("write '#/components/schemas/Name'"));
        }
        self.at(&decoded).map(Some).ok_or_else(nowhere)
    }

    /// The target of a reference, or the object itself. For all objects except schemas.
    pub(crate) fn resolve(&self, at: At<'d>) -> Result<At<'d>, ConfigError> {
        let mut at = at;
        for _ in 0..CHAIN {
            let Some(reference) = at.value.get("$ref") else { return Ok(at) };
            let here = child(&at.pointer, "$ref");
            at = self.target(&here, reference)?.ok_or_else(|| {
                fault(&here, "leads to another document, and none is read")
                    .suggest("bundle the documents into one first")
            })?;
        }
        Err(fault(&at.pointer, "is a reference that leads back to itself"))
    }
}

/// The URI of the document, by which its references may name it. A relative one is resolved against
/// the place where the document was found, which is unknown here.
fn self_uri(root: &Map<String, Value>) -> Result<Option<&str>, ConfigError> {
    let Some(uri) = text("", root, "$self")? else { return Ok(None) };
    if uri.contains('#') {
        return Err(fault("/$self", "must have no fragment"));
    }
    let is_absolute = uri.split_once(':').is_some_and(|(scheme, _)| is_scheme(scheme));
    Ok(is_absolute.then_some(uri))
}

fn version(root: &Map<String, Value>) -> Result<Version, ConfigError> {
    if root.contains_key("swagger") {
        return Err(fault("/swagger", "is a version that is not read")
            .suggest("convert the document to OpenAPI 3.0 or 3.1"));
    }
    let Some(text) = root.get("openapi") else {
        return Err(fault("/openapi", "must be there").suggest("write '3.1.1' or '3.0.4'"));
    };
    let patch = |prefix: &str| {
        let patch = text.as_str().and_then(|text| text.strip_prefix(prefix));
        patch.is_some_and(|patch: &str| {
            !patch.is_empty() && patch.bytes().all(|byte| byte.is_ascii_digit())
        })
    };
    let versions = [("3.0.", Version::V30), ("3.1.", Version::V31), ("3.2.", Version::V32)];
    let found = versions.into_iter().find(|(prefix, _)| patch(prefix));
    found.map(|(_, version)| version).ok_or_else(|| {
        fault("/openapi", "is no version that is read")
            .suggest("the versions are 3.0.x, 3.1.x and 3.2.x, as a string")
    })
}

/// The dialect of a URI; `None` for draft 2020-12, of which `OpenAPI`'s dialect is an extension.
pub(crate) fn dialect_of<'d>(
    pointer: &str,
    uri: &'d Value,
) -> Result<Option<&'d str>, ConfigError> {
    let text = uri.as_str().unwrap_or_default();
    let plain = text.strip_suffix('#').unwrap_or(text);
    let oas = plain.starts_with("https://spec.openapis.org/oas/3.1/dialect/")
        || plain.starts_with("https://spec.openapis.org/oas/3.2/dialect/");
    match plain {
        "https://json-schema.org/draft/2020-12/schema" => Ok(None),
        _ if oas => Ok(None),
        "https://json-schema.org/draft/2019-09/schema"
        | "http://json-schema.org/draft-07/schema"
        | "https://json-schema.org/draft-07/schema" => Ok(Some(text)),
        _ => Err(fault(pointer, "is no dialect that is supported").suggest(
            "leave it out, or write 'https://json-schema.org/draft/2020-12/schema'; 2019-09 and draft 7 work too",
        )),
    }
}

/// The pointer to a member.
pub(crate) fn child(pointer: &str, key: &str) -> String {
    format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1"))
}

pub(crate) fn object<'d>(
    pointer: &str,
    value: &'d Value,
    what: &str,
) -> Result<&'d Map<String, Value>, ConfigError> {
    value.as_object().ok_or_else(|| {
        fault(pointer, format!("must be {what} (an object), not {}", describe(value)))
    })
}

pub(crate) fn boolean(
    pointer: &str,
    map: &Map<String, Value>,
    key: &str,
) -> Result<Option<bool>, ConfigError> {
    match map.get(key) {
        None => Ok(None),
        Some(Value::Bool(value)) => Ok(Some(*value)),
        Some(_) => Err(fault(&child(pointer, key), "must be true or false")),
    }
}

pub(crate) fn text<'d>(
    pointer: &str,
    map: &'d Map<String, Value>,
    key: &str,
) -> Result<Option<&'d str>, ConfigError> {
    match map.get(key) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(fault(&child(pointer, key), "must be a string")),
    }
}

pub(crate) fn list<'d>(
    pointer: &str,
    map: &'d Map<String, Value>,
    key: &str,
) -> Result<&'d [Value], ConfigError> {
    match map.get(key) {
        None => Ok(&[]),
        Some(Value::Array(items)) => Ok(items),
        Some(_) => Err(fault(&child(pointer, key), "must be a list")),
    }
}

/// Whether `text` is a scheme by RFC 3986 section 3.1.
fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.bytes().all(|c| c.is_ascii_alphanumeric() || b"+-.".contains(&c))
}
