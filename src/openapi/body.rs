//! Request bodies, by their media types.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::config::{OpenApiConfig, Undeclared};
use super::convert::{Converter, Way};
use super::document::{At, Document, boolean, child, fault, known_fields, object};
use super::kinds::Kinds;
use super::parameter::Part;
use crate::error::ConfigError;
use crate::net::is_token;

/// The media type of forms (URL Standard section 5).
const FORM: &str = "application/x-www-form-urlencoded";

/// The way in which a body of some media type is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BodyKind {
    /// As JSON. A range (`*/*`, `application/*`) means the JSON types in it.
    Json,
    /// As a form: `application/x-www-form-urlencoded`.
    Form,
    /// Not at all: the application reads it.
    Unread,
}

/// One media type of a body.
#[derive(Debug)]
pub(crate) struct Body {
    /// The media type or range, in lower case and without parameters.
    pub(crate) media: String,
    pub(crate) kind: BodyKind,
    pub(crate) part: Option<Part>,
}

/// Reads the `requestBody` at a place, and whether it is required.
pub(crate) fn read<'d>(
    document: Document<'d>,
    at: At<'d>,
    config: &OpenApiConfig,
    converter: &mut Converter<'d>,
) -> Result<(Vec<Body>, bool), ConfigError> {
    let at = document.resolve(at)?;
    let map = object(&at.pointer, at.value, "a request body")?;
    known_fields(&at.pointer, map, &["description", "content", "required"])?;
    let required = boolean(&at.pointer, map, "required")?.unwrap_or(false);
    let place = child(&at.pointer, "content");
    let Some(content) = map.get("content") else {
        return Err(fault(&place, "must be there: the media types of the body"));
    };
    let content = object(&place, content, "media types with what they hold")?;
    let mut bodies: Vec<Body> = Vec::new();
    for (name, value) in content {
        let here = child(&place, name);
        let Some((media, kind)) = media(name) else {
            return Err(fault(&here, "is no media type").suggest("write 'application/json'"));
        };
        if bodies.iter().any(|body| body.media == media) {
            return Err(fault(&here, "is there twice, but for case and parameters"));
        }
        let map = object(&here, value, "what the media type holds")?;
        known_fields(&here, map, &["schema", "example", "examples", "encoding"])?;
        let part = match kind {
            BodyKind::Json | BodyKind::Form => Some(part(&here, map, config, converter)?),
            BodyKind::Unread => None,
        };
        let unread = match kind {
            BodyKind::Json => None,
            BodyKind::Form => no_form(document, map),
            BodyKind::Unread => Some("is a media type that is not read"),
        };
        bodies.push(match unread {
            None => Body { media, kind, part },
            Some(_) if config.pass_unreadable => {
                Body { media, kind: BodyKind::Unread, part: None }
            }
            Some(why) => {
                return Err(fault(&here, why).suggest(
                    "set `unreadable: 'pass'`, which leaves bodies of this type to the application, unchecked",
                ));
            }
        });
    }
    if bodies.is_empty() {
        return Err(fault(&place, "must name at least one media type"));
    }
    // The most specific comes first: `application/json` before `application/*` before `*/*`.
    bodies.sort_by_key(|body| body.media.matches('*').count());
    Ok((bodies, required))
}

/// The reason why a form can't be read. Its members must be texts, or lists of texts, under their
/// own names.
fn no_form<'d>(document: Document<'d>, map: &'d Map<String, Value>) -> Option<&'static str> {
    let encoding = map.get("encoding").and_then(Value::as_object);
    if encoding.is_some_and(|encoding| !encoding.is_empty()) {
        return Some("is a form with an `encoding`, which is not read");
    }
    Kinds(document).no_form(map.get("schema")?)
}

fn part<'d>(
    here: &str,
    map: &'d Map<String, Value>,
    config: &OpenApiConfig,
    converter: &mut Converter<'d>,
) -> Result<Part, ConfigError> {
    let place = child(here, "schema");
    let (mut schema, refs) = match map.get("schema") {
        Some(value) => converter.convert(&At { pointer: place.clone(), value }, Way::In)?,
        // Any well-formed JSON.
        None => (Value::Bool(true), BTreeSet::new()),
    };
    if let (Undeclared::Accept, Value::Object(map)) = (config.undeclared, &mut schema)
        && !map.contains_key("unevaluatedProperties")
    {
        map.entry("additionalProperties").or_insert(Value::Bool(true));
    }
    Ok(Part { schema, refs, places: vec![(String::new(), place)] })
}

/// A media type or range without its parameters, and the way in which it is read; `None` if it is
/// malformed.
pub(crate) fn media(text: &str) -> Option<(String, BodyKind)> {
    let essence = text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let (kind, subtype) = essence.split_once('/')?;
    if !is_token(kind) || !is_token(subtype) || kind == "*" && subtype != "*" {
        return None;
    }
    let is_json = subtype.ends_with("+json")
        || kind == "application" && matches!(subtype, "json" | "*")
        || kind == "*";
    let kind = if is_json {
        BodyKind::Json
    } else if essence == FORM {
        BodyKind::Form
    } else {
        BodyKind::Unread
    };
    Some((essence, kind))
}
