//! Request bodies, by their media types.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::config::{OpenApiConfig, Undeclared};
use super::convert::{Converter, Way};
use super::document::{At, Document, Version, boolean, child, object, text};
use super::kinds::Kinds;
use super::parameter::{Form, Part};
use crate::error::ConfigError;
use crate::error::faults::fault;
use crate::net::is_token;
use crate::payload::STYLE;

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
    document.known_fields(&at.pointer, map, &["description", "content", "required"]);
    let required = boolean(&at.pointer, map, "required")?.unwrap_or(false);
    let place = child(&at.pointer, "content");
    let Some(content) = map.get("content") else {
        return Err(fault(&place, "must be there: the media types of the body"));
    };
    let content = object(&place, content, "media types with what they hold")?;
    let mut bodies: Vec<Body> = Vec::new();
    let mut has_fault = false;
    for (name, value) in content {
        let here = child(&place, name);
        let read = body(document, &here, name, value, config, converter);
        let Some(body) = document.note(read) else {
            has_fault = true;
            continue;
        };
        if bodies.iter().any(|known| known.media == body.media) {
            document.faults.add(fault(&here, "is there twice, but for case and parameters"));
        }
        bodies.push(body);
    }
    if bodies.is_empty() && !has_fault {
        return Err(fault(&place, "must name at least one media type"));
    }
    // The most specific comes first: `application/json` before `application/*` before `*/*`.
    bodies.sort_by_key(|body| body.media.matches('*').count());
    Ok((bodies, required))
}

/// Reads one media type.
fn body<'d>(
    document: Document<'d>,
    here: &str,
    name: &str,
    value: &'d Value,
    config: &OpenApiConfig,
    converter: &mut Converter<'d>,
) -> Result<Body, ConfigError> {
    let Some((media, kind)) = media(name) else {
        return Err(fault(here, "is no media type").suggest("write 'application/json'"));
    };
    let at = media_type(document, here, value)?;
    let (here, value) = (at.pointer.as_str(), at.value);
    let map = object(here, value, "what the media type holds")?;
    document.known_fields_of(here, map, MEDIA_FIELDS, MEDIA_FIELDS_32);
    if kind != BodyKind::Unread {
        refuse_sequence(here, map)?;
    }
    let read = match kind {
        BodyKind::Json => Ok(Vec::new()),
        BodyKind::Form => form(document, here, map)?,
        BodyKind::Unread => Err("is a media type that is not read"),
    };
    match read {
        Ok(marks) => {
            let mut part = part(here, map, config, converter)?;
            mark(&mut part.schema, marks);
            Ok(Body { media, kind, part: Some(part) })
        }
        Err(_) if config.pass_unreadable => Ok(Body { media, kind: BodyKind::Unread, part: None }),
        Err(why) => Err(fault(here, why).suggest(
            "set `unreadable: 'pass'`, which leaves bodies of this type to the application, unchecked",
        )),
    }
}

/// The fields of a media type.
pub(super) const MEDIA_FIELDS: &[&str] = &["schema", "example", "examples", "encoding"];
pub(super) const MEDIA_FIELDS_32: &[&str] = &["itemSchema", "itemEncoding", "prefixEncoding"];

/// What a media type holds: since 3.2, it may stand elsewhere in the document.
pub(super) fn media_type<'d>(
    document: Document<'d>,
    here: &str,
    value: &'d Value,
) -> Result<At<'d>, ConfigError> {
    let at = At { pointer: here.to_owned(), value };
    if document.version >= Version::V32 { document.resolve(at) } else { Ok(at) }
}

/// Refuses fields for bodies that are sequences of values: one that is read is one value.
pub(super) fn refuse_sequence(here: &str, map: &Map<String, Value>) -> Result<(), ConfigError> {
    match MEDIA_FIELDS_32.iter().find(|key| map.contains_key(**key)) {
        None => Ok(()),
        Some(key) => Err(fault(
            &child(here, key),
            "is for bodies that are sequences of values, and this media type is one value",
        )
        .suggest("write `schema`, or another media type")),
    }
}

/// Reads a form at `here`. An inner error is the reason why it can't be read.
pub(super) fn form_part<'d>(
    document: Document<'d>,
    here: &str,
    map: &'d Map<String, Value>,
    config: &OpenApiConfig,
    converter: &mut Converter<'d>,
) -> Result<Result<Part, &'static str>, ConfigError> {
    match form(document, here, map)? {
        Ok(marks) => {
            let mut part = part(here, map, config, converter)?;
            mark(&mut part.schema, marks);
            Ok(Ok(part))
        }
        Err(why) => Ok(Err(why)),
    }
}

/// The members of a form that do not come as one text or a repeated name, each with the value of
/// `x-text-style`.
type Marks<'d> = Vec<(&'d str, &'static str)>;

/// Reads how the members of a form come, by its `encoding` (`OpenAPI` 3.1.1 section 4.8.15). An
/// inner
/// error is the reason why the form can't be read.
fn form<'d>(
    document: Document<'d>,
    here: &str,
    map: &'d Map<String, Value>,
) -> Result<Result<Marks<'d>, &'static str>, ConfigError> {
    const FIELDS: &[&str] = &["contentType", "headers", "style", "explode", "allowReserved"];
    let Some(schema) = map.get("schema") else { return Ok(Ok(Vec::new())) };
    let of = Kinds(document);
    let mut kinds = BTreeSet::new();
    of.kinds(schema, &mut kinds);
    if !kinds.is_empty() && !kinds.contains("object") {
        return Ok(Err("is no object, as a form is"));
    }
    let place = child(here, "encoding");
    let mut marks = Vec::new();
    let none = Map::new();
    for (name, member) in of.members(schema) {
        let encoding = match map.get("encoding").and_then(|encoding| encoding.get(name)) {
            None => &none,
            Some(value) => object(&child(&place, name), value, "how a member is written")?,
        };
        let at = child(&place, name);
        document.known_fields(&at, encoding, FIELDS);
        let style = text(&at, encoding, "style")?;
        let explode = boolean(&at, encoding, "explode")?;
        let content = text(&at, encoding, "contentType")?;
        if style.is_none() && explode.is_none() && content.and_then(media).is_some_and(is_json) {
            marks.push((name, "json"));
            continue;
        }
        let is_default = style.is_none() && explode.is_none();
        let style = style.unwrap_or("form");
        let form = Form { location: "query", style, explode: explode.unwrap_or(style == "form") };
        match form.mark(of, member) {
            Ok(None) => {}
            Ok(Some("spread" | "pairs")) if is_default => {
                return Ok(Err(
                    "has a member that may be an object, and no `encoding` with a `style` or `contentType` for it",
                ));
            }
            Ok(Some(mark)) => marks.push((name, mark)),
            Err(_) => {
                return Ok(Err(
                    "has a member that is an object or a list with elements that have no unique form",
                ));
            }
        }
    }
    Ok(Ok(marks))
}

fn is_json((_, kind): (String, BodyKind)) -> bool {
    kind == BodyKind::Json
}

/// Writes the marks beside the schemas of the members.
fn mark(schema: &mut Value, marks: Marks<'_>) {
    let Value::Object(schema) = schema else { return };
    for (name, mark) in marks {
        let properties = schema.entry("properties").or_insert_with(|| Value::Object(Map::new()));
        let member = properties
            .as_object_mut()
            .map(|all| all.entry(name).or_insert_with(|| Value::Object(Map::new())));
        if let Some(Value::Object(member)) = member {
            member.insert(STYLE.into(), mark.into());
        }
    }
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
