//! Parameters: one schema each for the query, the path, the headers and the cookies of an
//! operation.
//!
//! Every style (`OpenAPI` 3.1.1 section 4.8.12) is read where it has one meaning. What has none
//! is an
//! error, or is not checked with `unreadable: 'pass'`: an object in an object or a list, except by
//! `deepObject`; a list in several cookies; media types other than JSON in `content`.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::body::{
    BodyKind, MEDIA_FIELDS, MEDIA_FIELDS_32, form_part, media, media_type, refuse_sequence,
};
use super::config::{OpenApiConfig, Tolerance, Undeclared};
use super::convert::{Converter, Way};
use super::document::{At, Document, Version, boolean, child, list, object, text};
use super::kinds::Kinds;
use crate::config::options::nearest;
use crate::error::ConfigError;
use crate::error::faults::fault;
use crate::payload::STYLE;

/// One schema, with the data to compile it and to locate a fault.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    pub(crate) schema: Value,
    pub(crate) refs: BTreeSet<usize>,
    /// Pairs of a pointer into the schema and its source pointer in the document. The longest match
    /// counts.
    pub(crate) places: Vec<(String, String)>,
}

/// The schemas of an operation's parameters.
#[derive(Debug, Default)]
pub(crate) struct Parameters {
    pub(crate) query: Option<Part>,
    pub(crate) params: Option<Part>,
    pub(crate) headers: Option<Part>,
    pub(crate) cookies: Option<Part>,
}

const FIELDS: &[&str] = &[
    "name",
    "in",
    "description",
    "required",
    "deprecated",
    "allowEmptyValue",
    "style",
    "explode",
    "allowReserved",
    "schema",
    "example",
    "examples",
    "content",
];
const LOCATIONS: &[&str] = &["query", "path", "header", "cookie", WHOLE_QUERY];
/// Since 3.2: the query as one value.
const WHOLE_QUERY: &str = "querystring";
const STYLES: &[&str] =
    &["form", "simple", "label", "matrix", "spaceDelimited", "pipeDelimited", "deepObject"];

/// The maximum depth of references in the search for a default.
const DEPTH: u32 = 16;

/// The reason why a parameter can't be read.
struct Unreadable(&'static str);

/// Reads the parameters of an operation.
pub(crate) struct Reader<'r, 'd> {
    pub(crate) document: Document<'d>,
    pub(crate) config: &'r OpenApiConfig,
    pub(crate) converter: &'r mut Converter<'d>,
}

impl<'d> Reader<'_, 'd> {
    /// Reads the parameters of the operation at `pointer`: those of its path, `shared`, and its
    /// own. `names` are the parameters in the path's template. `keys` are other names of the query,
    /// with their schemas; `false` refuses a name.
    pub(crate) fn read(
        &mut self,
        pointer: &str,
        shared: &[At<'d>],
        own: &[At<'d>],
        names: &[String],
        keys: Map<String, Value>,
    ) -> Parameters {
        let parameters = self.merged(shared, own);
        for name in names {
            let is_described = parameters.iter().any(|p| p.location == "path" && p.name == *name);
            if !is_described && !self.document.tolerates(Tolerance::PathParameters) {
                let error = fault(pointer, format!("has no path parameter for `{{{name}}}`"));
                self.document.faults.add(error.suggest(format!(
                        "add {{ name: '{name}', in: 'path', required: true, schema }}, or set `tolerate: ['path-parameters']`, which leaves it unchecked"
                    )));
            }
        }
        let place = child(pointer, "parameters");
        let mut query = Group::new(&place);
        let mut params = Group::new(&place);
        let mut headers = Group::new(&place);
        let mut cookies = Group::new(&place);
        let mut query_is_read = true;
        query.properties = keys;
        let whole = parameters.iter().find(|parameter| parameter.location == WHOLE_QUERY);
        for parameter in parameters.iter().filter(|it| it.location != WHOLE_QUERY) {
            let here = &parameter.at.pointer;
            if whole.is_some() && parameter.location == "query" {
                let error = fault(here, "stands beside a parameter that is the whole query");
                self.document.faults.add(error.suggest("move it into the schema of the other one"));
                continue;
            }
            let property = self.property(parameter);
            let Some(property) = self.document.note(property) else { continue };
            let property = match property {
                Ok(property) => Some(property),
                Err(Unreadable(why)) if !self.config.pass_unreadable => {
                    let error = fault(here, format!("can't be read: {why}"));
                    self.document
                        .faults
                        .add(error.suggest("set `unreadable: 'pass'`, which leaves it unchecked"));
                    continue;
                }
                Err(_) => None,
            };
            let group = match parameter.location {
                "query" => &mut query,
                "path" => {
                    if !names.iter().any(|name| name == parameter.name) {
                        if !self.document.tolerates(Tolerance::PathParameters) {
                            let problem = format!("is not in the path: `{{{}}}`", parameter.name);
                            self.document.faults.add(fault(here, problem).suggest(
                                "leave it out, or set `tolerate: ['path-parameters']`, which ignores it",
                            ));
                        }
                        continue;
                    }
                    &mut params
                }
                "header" => &mut headers,
                _ => &mut cookies,
            };
            match property {
                Some((schema, refs)) => group.add(parameter, schema, refs),
                // The names that belong to it are unknown, so the query is not checked.
                None if parameter.location == "query" => query_is_read = false,
                None => {}
            }
        }
        // A query without declared names is closed like any other.
        let open = self.config.undeclared == Undeclared::Accept;
        let query = match whole {
            None => query_is_read.then(|| query.into_part(open)),
            Some(parameter) => {
                let part = self.whole_query(parameter, query.properties);
                self.document.note(part).flatten()
            }
        };
        Parameters {
            query,
            params: (!params.properties.is_empty()).then(|| params.into_part(false)),
            headers: (!headers.properties.is_empty()).then(|| headers.into_part(false)),
            cookies: (!cookies.properties.is_empty()).then(|| cookies.into_part(false)),
        }
    }

    /// The operation's own parameters, and those of the path that it does not override.
    fn merged(&self, shared: &[At<'d>], own: &[At<'d>]) -> Vec<Parameter<'d>> {
        let read = |list: &[At<'d>]| {
            let mut parameters: Vec<Parameter<'d>> = Vec::new();
            for at in list {
                let read = self.document.note(self.parameter(at)).flatten();
                let Some(parameter) = read else { continue };
                if parameters.iter().any(|known| known.is(&parameter)) {
                    let error = fault(&at.pointer, "is there twice, by name and place");
                    self.document.faults.add(error);
                    continue;
                }
                parameters.push(parameter);
            }
            parameters
        };
        let mut merged = read(own);
        for parameter in read(shared) {
            if !merged.iter().any(|known| known.is(&parameter)) {
                merged.push(parameter);
            }
        }
        merged
    }

    fn parameter(&self, at: &At<'d>) -> Result<Option<Parameter<'d>>, ConfigError> {
        let at = self.document.resolve(at.clone())?;
        let map = object(&at.pointer, at.value, "a parameter")?;
        self.document.known_fields(&at.pointer, map, FIELDS);
        let missing = |key: &str| fault(&child(&at.pointer, key), "must be there");
        let name = text(&at.pointer, map, "name")?.ok_or_else(|| missing("name"))?;
        let location = text(&at.pointer, map, "in")?.ok_or_else(|| missing("in"))?;
        let is_known = |known: &&&str| {
            **known == location
                && (location != WHOLE_QUERY || self.document.version >= Version::V32)
        };
        let Some(location) = LOCATIONS.iter().find(is_known) else {
            let error = fault(&child(&at.pointer, "in"), "is no place for a parameter");
            return Err(error
                .suggest("write 'query', 'path', 'header' or 'cookie'; a body is `requestBody`"));
        };
        if name.is_empty() || name.starts_with('\0') {
            return Err(fault(&child(&at.pointer, "name"), "must not be empty"));
        }
        let required = boolean(&at.pointer, map, "required")?.unwrap_or(false);
        if *location == "path" && !required {
            let error = fault(&child(&at.pointer, "required"), "must be true in the path");
            if !self.document.tolerates(Tolerance::PathParameters) {
                return Err(
                    error.suggest("write `required: true`, or set `tolerate: ['path-parameters']`")
                );
            }
        }
        // Other fields of the operation define these headers: `content` and `security`.
        let ignored = ["accept", "content-type", "authorization"];
        let name_is_ignored = ignored.iter().any(|other| name.eq_ignore_ascii_case(other));
        if *location == "header" && name_is_ignored {
            return Ok(None);
        }
        Ok(Some(Parameter { name, location, required, map, at }))
    }

    /// The schema of the query by a parameter that is the whole of it (3.2); `None` if it is left
    /// unchecked. `keys` are other names of the query.
    fn whole_query(
        &mut self,
        parameter: &Parameter<'d>,
        keys: Map<String, Value>,
    ) -> Result<Option<Part>, ConfigError> {
        let (map, pointer) = (parameter.map, &parameter.at.pointer);
        if ["schema", "style", "explode", "allowReserved"].iter().any(|key| map.contains_key(*key))
        {
            let problem = "is the whole query, which has `content` alone";
            return Err(fault(pointer, problem)
                .suggest("write `content: { 'application/x-www-form-urlencoded': { schema } }`"));
        }
        let place = child(pointer, "content");
        let content = map.get("content").ok_or_else(|| fault(&place, "must be there"))?;
        let content = object(&place, content, "one media type with what it holds")?;
        let (Some((name, value)), 1) = (content.iter().next(), content.len()) else {
            return Err(fault(&place, "must have one media type"));
        };
        let at = media_type(self.document, &child(&place, name), value)?;
        let map = object(&at.pointer, at.value, "what the media type holds")?;
        self.document.known_fields_of(&at.pointer, map, MEDIA_FIELDS, MEDIA_FIELDS_32);
        refuse_sequence(&at.pointer, map)?;
        let read = match media(name) {
            Some((_, BodyKind::Form)) => {
                form_part(self.document, &at.pointer, map, self.config, self.converter)?
            }
            _ => Err("its `content` is no form"),
        };
        let asks = |part: &Part| part.schema.get("required").is_some() || !part.refs.is_empty();
        let read = read.and_then(|part| {
            if parameter.required || !asks(&part) {
                return Ok(part);
            }
            Err("it may be absent, and its schema may require members: write `required: true`")
        });
        match read {
            Ok(mut part) => {
                if part.schema == Value::Bool(true) {
                    part.schema = json!({ "type": "object", "additionalProperties": true });
                }
                if let Value::Object(schema) = &mut part.schema {
                    if parameter.required {
                        schema.entry("minProperties").or_insert_with(|| json!(1));
                    }
                    let known = schema.entry("properties").or_insert_with(|| json!({}));
                    for (key, value) in keys {
                        if let Value::Object(known) = known {
                            known.entry(key).or_insert(value);
                        }
                    }
                }
                Ok(Some(part))
            }
            Err(_) if self.config.pass_unreadable => Ok(None),
            Err(why) => Err(fault(pointer, format!("can't be read: {why}"))
                .suggest("set `unreadable: 'pass'`, which leaves the query unchecked")),
        }
    }

    /// The schema of one parameter, as a property of its group.
    fn property(
        &mut self,
        parameter: &Parameter<'d>,
    ) -> Result<Result<(Value, BTreeSet<usize>), Unreadable>, ConfigError> {
        let (map, pointer) = (parameter.map, &parameter.at.pointer);
        let style = self.style(parameter)?;
        let explode = boolean(pointer, map, "explode")?.unwrap_or(style == "form");
        let (at, mark) = match (map.get("schema"), map.get("content")) {
            (None, None) => return Err(fault(pointer, "must have a `schema`")),
            (Some(_), Some(_)) => {
                let problem = "has a `schema` and `content`, of which there may be one";
                return Err(fault(pointer, problem));
            }
            (Some(schema), None) => {
                let at = At { pointer: child(pointer, "schema"), value: schema };
                let form = Form { location: parameter.location, style, explode };
                (at, form.mark(Kinds(self.document), schema))
            }
            (None, Some(content)) => match self.content(&child(pointer, "content"), content)? {
                Ok(at) => (at, Ok(Some("json"))),
                Err(unreadable) => return Ok(Err(unreadable)),
            },
        };
        let (mut converted, refs) = self.converter.convert(&at, Way::In)?;
        let mark = match mark {
            Ok(mark) => mark,
            Err(why) => return Ok(Err(Unreadable(why))),
        };
        if converted == Value::Bool(true) {
            converted = json!({});
        }
        if let Value::Object(property) = &mut converted {
            if let Some(mark) = mark {
                property.insert(STYLE.into(), mark.into());
            }
            // Defaults are filled in only from the property itself, not from a reference.
            if let Some(default) = self.default_of(at.value, 0) {
                property.entry("default").or_insert_with(|| default.clone());
            }
        }
        Ok(Ok((converted, refs)))
    }

    /// The schema of a parameter that is a JSON text.
    fn content(
        &self,
        place: &str,
        content: &'d Value,
    ) -> Result<Result<At<'d>, Unreadable>, ConfigError> {
        const ANY: &Value = &Value::Bool(true);
        let content = object(place, content, "one media type with what it holds")?;
        let (Some((name, value)), 1) = (content.iter().next(), content.len()) else {
            return Err(fault(place, "must have one media type"));
        };
        let here = child(place, name);
        let At { pointer: here, value } = media_type(self.document, &here, value)?;
        let map = object(&here, value, "what the media type holds")?;
        self.document.known_fields_of(&here, map, MEDIA_FIELDS, MEDIA_FIELDS_32);
        if !matches!(media(name), Some((_, BodyKind::Json))) {
            return Ok(Err(Unreadable("its `content` is no JSON")));
        }
        refuse_sequence(&here, map)?;
        match map.get("schema") {
            Some(value) => Ok(Ok(At { pointer: child(&here, "schema"), value })),
            None if self.document.version >= Version::V31 => {
                Ok(Ok(At { pointer: here, value: ANY }))
            }
            None => Err(fault(&here, "must have a `schema`")),
        }
    }

    /// The style of a parameter. That of cookies (3.2) differs from `form` in its encoding alone,
    /// and no value of a cookie is decoded here.
    fn style(&self, parameter: &Parameter<'d>) -> Result<&'d str, ConfigError> {
        let pointer = &parameter.at.pointer;
        match text(pointer, parameter.map, "style")? {
            None if matches!(parameter.location, "query" | "cookie") => Ok("form"),
            None => Ok("simple"),
            Some("cookie")
                if self.document.version >= Version::V32 && parameter.location == "cookie" =>
            {
                Ok("form")
            }
            Some(style) if STYLES.contains(&style) => Ok(style),
            Some(style) => {
                let error = fault(&child(pointer, "style"), "is no style of OpenAPI");
                Err(match nearest(style, STYLES) {
                    Some(name) => error.suggest(format!("did you mean '{name}'?")),
                    None => error.suggest("write 'form' or 'simple'"),
                })
            }
        }
    }

    fn default_of(&self, schema: &'d Value, depth: u32) -> Option<&'d Value> {
        if depth > DEPTH {
            return None;
        }
        schema.get("default").or_else(|| {
            let target = self.document.target("", schema.get("$ref")?).ok()??;
            self.default_of(target.value, depth + 1)
        })
    }
}

struct Parameter<'d> {
    name: &'d str,
    location: &'static str,
    required: bool,
    map: &'d Map<String, Value>,
    at: At<'d>,
}

impl Parameter<'_> {
    fn is(&self, other: &Self) -> bool {
        let same_name = match self.location {
            "header" => self.name.eq_ignore_ascii_case(other.name),
            _ => self.name == other.name,
        };
        self.location == other.location && same_name
    }
}

/// The form in which a value comes as text.
pub(crate) struct Form<'f> {
    pub(crate) location: &'f str,
    pub(crate) style: &'f str,
    pub(crate) explode: bool,
}

impl Form<'_> {
    /// The value of `x-text-style` for a schema; nothing for a single value or a repeated name. An
    /// error is the reason why there is no unique reading.
    pub(crate) fn mark<'d>(
        &self,
        of: Kinds<'d>,
        schema: &'d Value,
    ) -> Result<Option<&'static str>, &'static str> {
        let mut kinds = BTreeSet::new();
        of.kinds(schema, &mut kinds);
        let (is_object, is_list) = (kinds.contains("object"), kinds.contains("array"));
        if kinds.is_empty() && self.style == "deepObject" {
            return Err("its schema names no type");
        }
        if !is_object && !is_list && !matches!(self.style, "label" | "matrix") {
            return Ok(None);
        }
        if self.style == "deepObject" && self.location == "query" {
            return Ok(Some("brackets"));
        }
        if is_object && is_list {
            return Err("it may be an object or a list");
        }
        let mut inner = BTreeSet::new();
        if is_object {
            of.member_kinds(schema, &mut inner);
        } else {
            of.item_kinds(schema, &mut inner);
        }
        let spreads = is_object && self.style == "form" && self.location == "query" && self.explode;
        if inner.contains("object") || inner.contains("array") && !spreads {
            return Err("its members or elements may be objects or lists");
        }
        let explode = self.explode;
        match (self.location, self.style) {
            ("query", "form") if is_object => Ok(Some(if explode { "spread" } else { "pairs" })),
            ("query", "form" | "spaceDelimited" | "pipeDelimited") if explode && is_list => {
                Ok(None)
            }
            ("query" | "cookie", "form") if is_list && !explode => Ok(Some(",")),
            ("query", "spaceDelimited") if is_list => Ok(Some(" ")),
            ("query", "pipeDelimited") if is_list => Ok(Some("|")),
            ("cookie", "form") if !explode => Ok(Some("pairs")),
            ("cookie", "form") => Err("a list or object in a cookie needs `explode: false`"),
            ("path" | "header", "simple") if is_list => Ok(Some(",")),
            ("path" | "header", "simple") => Ok(Some(if explode { "assigned" } else { "pairs" })),
            ("path", "label") => Ok(Some(if explode { "label*" } else { "label" })),
            ("path", "matrix") => Ok(Some(if explode { "matrix*" } else { "matrix" })),
            _ => Err("its style is not one for this place and type"),
        }
    }
}

/// The parameters of one location, collected for one schema.
struct Group {
    properties: Map<String, Value>,
    required: Vec<Value>,
    refs: BTreeSet<usize>,
    places: Vec<(String, String)>,
}

impl Group {
    fn new(place: &str) -> Self {
        Self {
            properties: Map::new(),
            required: Vec::new(),
            refs: BTreeSet::new(),
            places: vec![(String::new(), place.to_owned())],
        }
    }

    fn add(&mut self, parameter: &Parameter<'_>, schema: Value, refs: BTreeSet<usize>) {
        let name = match parameter.location {
            "header" => parameter.name.to_ascii_lowercase(),
            _ => parameter.name.to_owned(),
        };
        self.places.push((child("/properties", &name), child(&parameter.at.pointer, "schema")));
        if parameter.required {
            self.required.push(name.clone().into());
        }
        self.refs.extend(refs);
        self.properties.insert(name, schema);
    }

    fn into_part(self, open: bool) -> Part {
        let mut schema = Map::new();
        schema.insert("type".into(), "object".into());
        schema.insert("properties".into(), Value::Object(self.properties));
        if !self.required.is_empty() {
            schema.insert("required".into(), Value::Array(self.required));
        }
        if open {
            schema.insert("additionalProperties".into(), Value::Bool(true));
        }
        Part { schema: Value::Object(schema), refs: self.refs, places: self.places }
    }
}

/// The entries of `parameters` in `map`, with their pointers.
pub(crate) fn listed<'d>(
    pointer: &str,
    map: &'d Map<String, Value>,
) -> Result<Vec<At<'d>>, ConfigError> {
    let place = child(pointer, "parameters");
    let items = list(pointer, map, "parameters")?.iter().enumerate();
    Ok(items.map(|(i, value)| At { pointer: child(&place, &i.to_string()), value }).collect())
}
