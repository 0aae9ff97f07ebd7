//! Compiles the schemas of a document once, so that a schema that can't be used is reported when
//! the
//! guard is built.
//!
//! The compiler reports one fault. The keyword at fault is then removed and the schema is compiled
//! again, until it has no fault: so all of them are known at once.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::api::types_of;
use super::body::BodyKind;
use super::config::Tolerance;
use super::convert::{Definition, definition_name};
use super::document::{Document, child};
use super::operation::Operation;
use super::parameter::Part;
use crate::error::faults::shown;
use crate::error::{ConfigCode, ConfigError};
use crate::guard::{Guard, Layers};
use crate::request::decode_segment;

pub(super) struct Judge<'j, 'd> {
    pub(super) document: Document<'d>,
    pub(super) guard: &'j Arc<Guard>,
    pub(super) dialect: Option<&'j str>,
}

/// Where a schema stands in an operation.
#[derive(Clone, Copy)]
enum Place {
    Parameters(&'static str),
    Body(usize),
    Response(usize),
}

impl Judge<'_, '_> {
    /// Compiles every schema, however many operations use it.
    pub(super) fn all(&self, operations: &mut [Operation], definitions: &mut [Definition]) {
        let mut judged = HashSet::new();
        for number in 0..operations.len() {
            let Some(operation) = operations.get(number) else { return };
            let places: Vec<Place> = operation
                .parts()
                .map(|(location, _)| Place::Parameters(location))
                .chain((0..operation.bodies.len()).map(Place::Body))
                .chain((0..operation.responses.len()).map(Place::Response))
                .collect();
            for place in places {
                self.one(operations, number, place, definitions, &mut judged);
            }
        }
    }

    fn one(
        &self,
        operations: &mut [Operation],
        number: usize,
        place: Place,
        definitions: &mut [Definition],
        judged: &mut HashSet<(String, String)>,
    ) {
        let mut last: Option<String> = None;
        while !self.document.faults.is_full() {
            let operation = operations.get(number);
            let Some(part) = operation.and_then(|operation| operation.part(place)) else { return };
            let kind = operation.map_or(String::new(), |operation| operation.kind(place));
            let key = (kind, part.schema.to_string());
            if !judged.insert(key.clone()) {
                return;
            }
            let schema = compose(part, definitions, self.dialect);
            let route = operation.map(|operation| operation.route(place, schema));
            let Some(Err(error)) =
                route.map(|route| self.guard.stack(&route, Layers::Payload).map(drop))
            else {
                return;
            };
            // What is removed below may stand in a definition, and the part is then the same.
            judged.remove(&key);
            let is_same = last.replace(error.to_string()) == Some(error.to_string());
            let (pointer, problem) = place_of(&error);
            let is_default = pointer.ends_with("/default") && problem.starts_with("has a default");
            let is_tolerated =
                is_default && !is_same && self.document.tolerates(Tolerance::Defaults);
            let users = users(operations, number, definitions, &pointer);
            let at = operations
                .get(number)
                .and_then(|operation| operation.part(place))
                .map_or_else(String::new, |part| origin(part, definitions, &pointer));
            let at = self.existing(&at);
            if !is_tolerated {
                let mut fault = ConfigError::new(ConfigCode::InvalidSchema, shown(&at), problem);
                if let Some(suggestion) = self.suggestion(&at, &error) {
                    fault = fault.suggest(suggestion);
                }
                self.document.faults.add_in(fault.at_pointer(at), users);
            }
            let part = operations.get_mut(number).and_then(|operation| operation.part_mut(place));
            let Some(part) = part.filter(|_| !is_same) else { return };
            if is_default {
                let name = pointer.split('/').nth(2).unwrap_or_default();
                let name = name.replace("~1", "/").replace("~0", "~");
                forget_default(part, definitions, &name);
                continue;
            }
            let (schema, pointer) = match definition_at(&pointer) {
                Some((definition, rest)) => match definitions.get_mut(definition) {
                    Some(definition) => (&mut definition.schema, rest.to_owned()),
                    None => return,
                },
                None => (&mut part.schema, pointer),
            };
            remove(schema, &pointer);
        }
    }

    /// What to write instead, with the option that leaves the keyword unchecked.
    fn suggestion(&self, at: &str, error: &ConfigError) -> Option<String> {
        let own = error.suggestion();
        let value = || self.document.value.pointer(at).and_then(Value::as_str);
        match at.rsplit('/').next() {
            Some("format") => {
                let near = own.filter(|own| own.starts_with("did you mean"));
                let near =
                    near.and_then(|own| own.split_once(' ')).map_or("", |_| "correct it, or ");
                Some(format!(
                    "{near}set `ignoreFormats: ['{}']`, which leaves it unchecked",
                    value()?
                ))
            }
            Some("pattern") if value().is_some() => {
                let own =
                    own.map_or("", |own| own.split(", or write `x-regex").next().unwrap_or(own));
                let or = if own.is_empty() { "" } else { ", or " };
                Some(format!("{own}{or}name it in `ignorePatterns`, which leaves it unchecked"))
            }
            Some("default") => {
                Some("correct it, or set `tolerate: ['defaults']`, which leaves it out".to_owned())
            }
            _ => own.map(str::to_owned),
        }
    }

    /// The longest beginning of a pointer that leads somewhere in the document. A converted schema
    /// has a few keywords that its source does not have.
    fn existing(&self, pointer: &str) -> String {
        let mut at = String::new();
        for part in pointer.split('/').skip(1) {
            let next = format!("{at}/{part}");
            if self.document.value.pointer(&next).is_none() {
                break;
            }
            at = next;
        }
        at
    }
}

/// The operations that have a fault at this pointer into a composed schema.
fn users(
    operations: &[Operation],
    number: usize,
    definitions: &[Definition],
    pointer: &str,
) -> Vec<String> {
    match definition_at(pointer) {
        Some((definition, _)) => users_of(operations, definitions, definition),
        None => operations.get(number).map(Operation::name).into_iter().collect(),
    }
}

/// The operations that reach a definition.
pub(super) fn users_of(
    operations: &[Operation],
    definitions: &[Definition],
    number: usize,
) -> Vec<String> {
    let reaches = |part: &Part| closure(part, definitions).contains(&number);
    let users = operations.iter().filter(|operation| {
        operation.requests().chain(operation.responses.iter().map(|(_, part)| part)).any(reaches)
    });
    users.map(Operation::name).collect()
}

/// A pointer into a composed schema as the number of a definition, and the pointer in it.
fn definition_at(pointer: &str) -> Option<(usize, &str)> {
    let rest = pointer.strip_prefix("/$defs/s")?;
    let (number, rest) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    Some((number.parse().ok()?, rest))
}

/// The place of a compiler's error in the composed schema, and its problem.
fn place_of(error: &ConfigError) -> (String, &str) {
    let problem = error.problem();
    if let Some((name, _)) =
        problem.strip_prefix("has a default for `").and_then(|rest| rest.split_once('`'))
    {
        return (format!("{}/default", child("/properties", name)), problem);
    }
    let (pointer, problem) = problem
        .strip_prefix("can't be used: #")
        .map_or(("", problem), |rest| rest.split_once(' ').unwrap_or((rest, "")));
    (decode_segment(pointer).unwrap_or_default().into_owned(), problem)
}

/// The place in the document of a pointer into the composed schema of a part.
fn origin(part: &Part, definitions: &[Definition], pointer: &str) -> String {
    if let Some((number, rest)) = definition_at(pointer)
        && let Some(definition) = definitions.get(number)
    {
        return format!("{}{rest}", definition.pointer);
    }
    let longest = part
        .places
        .iter()
        .filter_map(|(prefix, origin)| {
            let rest = pointer.strip_prefix(prefix.as_str())?;
            (rest.is_empty() || rest.starts_with('/')).then_some((prefix.len(), origin, rest))
        })
        .max_by_key(|(length, _, _)| *length);
    longest.map_or_else(String::new, |(_, origin, rest)| format!("{origin}{rest}"))
}

/// Removes the keyword at `pointer`; if there is none, the whole schema.
fn remove(schema: &mut Value, pointer: &str) {
    let (parent, key) = pointer.rsplit_once('/').unwrap_or(("", ""));
    let key = key.replace("~1", "/").replace("~0", "~");
    match schema.pointer_mut(parent) {
        Some(Value::Object(map)) if map.contains_key(&key) => {
            map.remove(&key);
        }
        Some(Value::Array(list)) => {
            let item = key.parse().ok().and_then(|index: usize| list.get_mut(index));
            if let Some(item) = item.filter(|item| **item != Value::Bool(true)) {
                *item = Value::Bool(true);
            } else {
                *schema = Value::Bool(true);
            }
        }
        _ => *schema = Value::Bool(true),
    }
}

/// Removes the default of a member. It may also stand in a schema that is referred to.
fn forget_default(part: &mut Part, definitions: &mut [Definition], name: &str) {
    let wanted = closure(part, definitions);
    let schemas = definitions.iter_mut().enumerate();
    let schemas = schemas.filter(|(number, _)| wanted.contains(number));
    for schema in schemas.map(|(_, definition)| &mut definition.schema).chain([&mut part.schema]) {
        let member = schema.pointer_mut(&child("/properties", name));
        if let Some(Value::Object(member)) = member {
            member.remove("default");
        }
    }
}

/// A self-contained schema.
pub(super) fn compose(part: &Part, definitions: &[Definition], dialect: Option<&str>) -> Value {
    let Value::Object(schema) = &part.schema else { return part.schema.clone() };
    let mut schema = schema.clone();
    if let Some(dialect) = dialect {
        schema.insert("$schema".into(), dialect.into());
    }
    let wanted = closure(part, definitions);
    if !wanted.is_empty() {
        let named = wanted.iter().filter_map(|number| {
            Some((definition_name(*number), definitions.get(*number)?.schema.clone()))
        });
        schema.insert("$defs".into(), Value::Object(named.collect()));
    }
    Value::Object(schema)
}

/// All definitions that a part refers to, also through others.
fn closure(part: &Part, definitions: &[Definition]) -> BTreeSet<usize> {
    let mut wanted = part.refs.clone();
    let mut open: Vec<usize> = wanted.iter().copied().collect();
    while let Some(number) = open.pop() {
        let refs = definitions.get(number).map(|definition| &definition.refs);
        for next in refs.into_iter().flatten() {
            if wanted.insert(*next) {
                open.push(*next);
            }
        }
    }
    wanted
}

impl Operation {
    fn part(&self, place: Place) -> Option<&Part> {
        match place {
            Place::Parameters(location) => {
                self.parts().find(|(known, _)| *known == location).map(|(_, part)| part)
            }
            Place::Body(number) => self.bodies.get(number)?.part.as_ref(),
            Place::Response(number) => self.responses.get(number).map(|(_, part)| part),
        }
    }

    fn part_mut(&mut self, place: Place) -> Option<&mut Part> {
        let parameters = &mut self.parameters;
        match place {
            Place::Parameters("query") => parameters.query.as_mut(),
            Place::Parameters("params") => parameters.params.as_mut(),
            Place::Parameters("headers") => parameters.headers.as_mut(),
            Place::Parameters(_) => parameters.cookies.as_mut(),
            Place::Body(number) => self.bodies.get_mut(number)?.part.as_mut(),
            Place::Response(number) => self.responses.get_mut(number).map(|(_, part)| part),
        }
    }

    /// What decides, beside a schema, how it is compiled.
    fn kind(&self, place: Place) -> String {
        match place {
            Place::Parameters(location) => location.to_owned(),
            Place::Body(number) => format!("{:?}", self.bodies.get(number).map(|body| body.kind)),
            Place::Response(_) => "response".to_owned(),
        }
    }

    /// The options of a stack that has just this schema.
    fn route(&self, place: Place, schema: Value) -> Value {
        let kind = match place {
            Place::Body(number) => self.bodies.get(number).map(|body| body.kind),
            Place::Parameters(_) => None,
            Place::Response(_) => return json!({ "response": { "default": schema } }),
        };
        let location = if let Place::Parameters(location) = place { location } else { "body" };
        let mut route = Map::new();
        route.insert(location.into(), schema);
        route.insert("payload".into(), types_of(kind.unwrap_or(BodyKind::Json)));
        Value::Object(route)
    }
}
