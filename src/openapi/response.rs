//! Answers, by status: the schemas of the JSON that an operation sends.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::body::{BodyKind, MEDIA_FIELDS, MEDIA_FIELDS_32, media, media_type, refuse_sequence};
use super::convert::{Converter, Way};
use super::document::{At, Document, child, object};
use super::parameter::Part;
use crate::error::ConfigError;
use crate::error::faults::fault;

/// Reads the `responses` at a place. A listed status without a schema accepts any JSON, so that no
/// less specific status applies to it. The list is empty if there is no schema at all.
pub(crate) fn read<'d>(
    document: Document<'d>,
    at: &At<'d>,
    converter: &mut Converter<'d>,
) -> Result<Vec<(String, Part)>, ConfigError> {
    let map = object(&at.pointer, at.value, "answers by status")?;
    let mut parts = Vec::new();
    let mut has_schema = false;
    for (status, value) in map.iter().filter(|(status, _)| !status.starts_with("x-")) {
        let place = child(&at.pointer, status);
        let Some(is_judged) = document.note(judge_status(&place, status)) else { continue };
        let response = document.resolve(At { pointer: place, value });
        let part = response.and_then(|response| part(document, &response, converter));
        let Some(part) = document.note(part) else { continue };
        has_schema |= part.is_some() && is_judged;
        if is_judged {
            parts.push((status.clone(), part.unwrap_or_else(anything)));
        }
    }
    Ok(if has_schema { parts } else { Vec::new() })
}

fn anything() -> Part {
    Part { schema: Value::Bool(true), refs: BTreeSet::new(), places: Vec::new() }
}

/// Whether answers with this status are checked. Interim answers (100 to 199) are not.
fn judge_status(place: &str, status: &str) -> Result<bool, ConfigError> {
    match status.as_bytes() {
        b"default" | [b'2'..=b'5', b'X', b'X'] => Ok(true),
        [b'1', b'X', b'X'] => Ok(false),
        [first @ b'1'..=b'5', second, third]
            if second.is_ascii_digit() && third.is_ascii_digit() =>
        {
            Ok(*first != b'1')
        }
        _ => Err(fault(place, "is no status").suggest("write '200', '2XX' or 'default'")),
    }
}

/// The schema of the JSON in one answer, for all of its media types.
fn part<'d>(
    document: Document<'d>,
    at: &At<'d>,
    converter: &mut Converter<'d>,
) -> Result<Option<Part>, ConfigError> {
    let map = object(&at.pointer, at.value, "an answer")?;
    document.known_fields_of(
        &at.pointer,
        map,
        &["description", "headers", "content", "links"],
        &["summary"],
    );
    let Some(content) = map.get("content") else { return Ok(None) };
    let place = child(&at.pointer, "content");
    let content = object(&place, content, "media types with what they hold")?;
    let mut found: Option<Part> = None;
    for (name, value) in content {
        let here = child(&place, name);
        let Some((_, kind)) = media(name) else {
            return Err(fault(&here, "is no media type").suggest("write 'application/json'"));
        };
        let at = media_type(document, &here, value)?;
        let here = at.pointer;
        let map = object(&here, at.value, "what the media type holds")?;
        document.known_fields_of(&here, map, MEDIA_FIELDS, MEDIA_FIELDS_32);
        if kind != BodyKind::Json {
            continue;
        }
        refuse_sequence(&here, map)?;
        let part = json(&here, map, converter)?;
        if found.as_ref().is_some_and(|found| found.schema != part.schema) {
            let problem = "has another schema than another media type of JSON beside it, and an answer is judged by its status alone";
            return Err(
                fault(&here, problem).suggest("give both one schema, such as an anyOf of the two")
            );
        }
        found.get_or_insert(part);
    }
    Ok(found)
}

fn json<'d>(
    here: &str,
    map: &'d Map<String, Value>,
    converter: &mut Converter<'d>,
) -> Result<Part, ConfigError> {
    let Some(value) = map.get("schema") else { return Ok(anything()) };
    let place = child(here, "schema");
    let (schema, refs) = converter.convert(&At { pointer: place.clone(), value }, Way::Out)?;
    Ok(Part { schema, refs, places: vec![(String::new(), place)] })
}
