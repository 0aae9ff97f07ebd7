//! The operations of a document: their inputs and their security requirements.

use std::borrow::Cow;
use std::collections::HashSet;

use serde_json::{Map, Value, json};

use super::body::{self, Body};
use super::config::{OpenApiConfig, Tolerance};
use super::convert::Converter;
use super::document::{At, Document, Version, child, list, object, text};
use super::parameter::{Parameters, Part, Reader, listed};
use super::response;
use super::security::{self, Demand, Security};
use crate::config::options::nearest;
use crate::error::ConfigError;
use crate::error::faults::fault;
use crate::net::is_token;
use crate::net::percent::form_decoded;
use crate::router::{Route, Segment, Template};

/// One operation.
#[derive(Debug)]
pub struct Operation {
    pub(crate) id: Option<String>,
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) pointer: String,
    pub(crate) parameters: Parameters,
    pub(crate) bodies: Vec<Body>,
    pub(crate) body_required: bool,
    pub(crate) security: Security,
    /// The schemas of its answers by status; empty if answers are not checked.
    pub(crate) responses: Vec<(String, Part)>,
}

impl Operation {
    /// `operationId`, if it has one.
    #[must_use]
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// The method, in upper case.
    #[must_use]
    pub fn method(&self) -> &str {
        &self.method
    }

    /// The path as written in the document.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Whether a request must have a body.
    #[must_use]
    pub fn body_required(&self) -> bool {
        self.body_required
    }

    /// The authentication schemes for `WWW-Authenticate`.
    #[must_use]
    pub fn challenges(&self) -> &[String] {
        &self.security.challenges
    }

    /// The alternative sets of demands; an empty list demands nothing.
    #[must_use]
    pub fn alternatives(&self) -> &[Vec<Demand>] {
        &self.security.alternatives
    }
}

const METHODS: &[(&str, &str)] = &[
    ("get", "GET"),
    ("put", "PUT"),
    ("post", "POST"),
    ("delete", "DELETE"),
    ("options", "OPTIONS"),
    ("head", "HEAD"),
    ("patch", "PATCH"),
    ("trace", "TRACE"),
    ("query", "QUERY"),
];
/// The field of a path for operations of other methods.
const ADDITIONAL: &str = "additionalOperations";
const PATH_FIELDS: &[&str] = &[
    "$ref",
    "summary",
    "description",
    "get",
    "put",
    "post",
    "delete",
    "options",
    "head",
    "patch",
    "trace",
    "servers",
    "parameters",
];
const OPERATION_FIELDS: &[&str] = &[
    "tags",
    "summary",
    "description",
    "externalDocs",
    "operationId",
    "parameters",
    "requestBody",
    "responses",
    "callbacks",
    "deprecated",
    "security",
    "servers",
];

/// What makes two operations the same for a request: segments, query and method.
type RouteKey = (Vec<Segment>, Vec<(String, String)>, String);

/// Reads all operations, and their routes.
pub(crate) struct Operations<'r, 'd> {
    pub(crate) document: Document<'d>,
    pub(crate) config: &'r OpenApiConfig,
    pub(crate) converter: &'r mut Converter<'d>,
    /// The names of query parameters that may carry a token; `None` if the guard verifies no
    /// tokens.
    pub(crate) tokens: Option<Vec<String>>,
    pub(crate) read: Vec<Operation>,
    pub(crate) routes: Vec<Route>,
    /// The base paths, without duplicates.
    pub(crate) bases: Vec<String>,
    /// The names of the option `skip` that no operation has.
    pub(crate) unskipped: Vec<&'r str>,
}

impl<'d> Operations<'_, 'd> {
    pub(crate) fn read_all(&mut self) -> Result<(), ConfigError> {
        self.unskipped = self.config.skipped.iter().map(String::as_str).collect();
        let paths = self.document.root.get("paths");
        let paths = paths.map(|paths| object("/paths", paths, "paths with their operations"));
        for (path, item) in
            paths.transpose()?.into_iter().flatten().filter(|(path, _)| !path.starts_with("x-"))
        {
            let read = self.path(path, At { pointer: child("/paths", path), value: item });
            self.document.note(read);
        }
        if let Some(name) = self.unskipped.first() {
            let error = ConfigError::invalid("options.skip", "names no operation of the document");
            let names: Vec<String> = self.routes.iter().flat_map(Route::names).collect();
            let ids = self.read.iter().filter_map(Operation::id);
            let names: Vec<&str> = names.iter().map(String::as_str).chain(ids).collect();
            return Err(match nearest(name, &names) {
                Some(name) => error.suggest(format!("did you mean '{name}'?")),
                None => {
                    error.suggest("give an operationId, or a method and a path: 'GET /users/{id}'")
                }
            });
        }
        if self.document.tolerates(Tolerance::PathFragments) {
            self.drop_fragments();
        }
        self.same_ids();
        Ok(())
    }

    fn path(&mut self, path: &'d str, at: At<'d>) -> Result<(), ConfigError> {
        let place = at.pointer.clone();
        let is_method =
            |key: &str| key == ADDITIONAL || METHODS.iter().any(|(name, _)| *name == key);
        if at.value.get("$ref").is_some()
            && let Some(key) =
                at.value.as_object().and_then(|map| map.keys().find(|key| is_method(key)))
        {
            return Err(fault(
                &child(&place, key),
                "stands beside `$ref`, and nobody knows which of both counts",
            ));
        }
        let at = self.document.resolve(at)?;
        let map = object(&at.pointer, at.value, "a path with its operations")?;
        self.document.known_fields_of(&at.pointer, map, PATH_FIELDS, &["query", ADDITIONAL]);
        let shared = listed(&at.pointer, map)?;
        // Operations of one path may have servers of their own, which give them another base path.
        let mut routes: Vec<(String, Route)> = Vec::new();
        for (pointer, method, value) in self.methods(&at.pointer, map) {
            let method = method.as_str();
            self.document.faults.enter(Some(format!("{method} {path}")));
            let is_skipped = self.skips(method, path, value);
            let found = self.route(path, &place, &at.pointer, map, (&pointer, value));
            // The fault of a route that can't be matched belongs to the operation.
            let found = if is_skipped { found.ok() } else { self.document.note(found) };
            let Some((base, template)) = found else { continue };
            let operation = if is_skipped {
                None
            } else {
                let read = self.operation(path, method, &pointer, value, &shared, &template);
                let Some(read) = self.document.note(read) else { continue };
                let number = self.read.len();
                self.read.push(read);
                Some(number)
            };
            let entry = (method.to_owned(), operation);
            if let Some((_, route)) = routes.iter_mut().find(|(known, _)| *known == base) {
                route.operations.push(entry);
            } else {
                let route = Route { template, pointer: place.clone(), operations: vec![entry] };
                routes.push((base.clone(), route));
            }
            if !self.bases.contains(&base) {
                self.bases.push(base);
            }
        }
        self.document.faults.enter(None);
        self.routes.extend(routes.into_iter().map(|(_, route)| route));
        Ok(())
    }

    /// The operations of a path: the pointer to each, its method and the operation.
    fn methods(
        &self,
        pointer: &str,
        map: &'d Map<String, Value>,
    ) -> Vec<(String, String, &'d Value)> {
        let is_new = |method: &str| method == "QUERY" && self.document.version < Version::V32;
        let mut found: Vec<(String, String, &'d Value)> = METHODS
            .iter()
            .filter(|(_, method)| !is_new(method))
            .filter_map(|(key, method)| {
                Some((child(pointer, key), (*method).to_owned(), map.get(*key)?))
            })
            .collect();
        if self.document.version < Version::V32 {
            return found;
        }
        let place = child(pointer, ADDITIONAL);
        let more = map.get(ADDITIONAL);
        let more = more.map(|value| object(&place, value, "methods with their operations"));
        let more = self.document.note(more.transpose()).flatten();
        for (method, value) in more.into_iter().flatten() {
            let here = child(&place, method);
            let own = METHODS.iter().find(|(_, known)| method.eq_ignore_ascii_case(known));
            if let Some((key, _)) = own {
                let error = fault(&here, "is a method that has a field of its own");
                self.document.faults.add(error.suggest(format!("move it to `{key}` of the path")));
            } else if !is_token(method) || method.bytes().any(|c| c.is_ascii_lowercase()) {
                self.document.faults.add(fault(&here, "is no method that a request can have"));
            } else {
                found.push((here, method.clone(), value));
            }
        }
        found
    }

    /// The base path and the template of an operation.
    fn route(
        &self,
        path: &str,
        place: &str,
        pointer: &str,
        map: &'d Map<String, Value>,
        (at, operation): (&str, &'d Value),
    ) -> Result<(String, Template), ConfigError> {
        let operation = object(at, operation, "an operation")?;
        let base = self.base(&[(at, operation), (pointer, map)])?;
        let (path, query) = self.bare(path);
        let mut template = Template::parse(place, &base, path)?;
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let decoded = |text| form_decoded(text).map(Cow::into_owned);
            let (Some(name), Some(value)) = (decoded(name), decoded(value)) else {
                return Err(fault(place, "has a query that no request can have"));
            };
            template.query.push((name, value));
        }
        template.query.sort();
        Ok((base, template))
    }

    /// A path without the query and the fragment that an option allows, and the query.
    fn bare<'p>(&self, path: &'p str) -> (&'p str, &'p str) {
        let mut path = path;
        if self.document.tolerates(Tolerance::PathFragments) {
            path = path.split('#').next().unwrap_or(path);
        }
        match path.split_once('?') {
            Some(parts) if self.document.tolerates(Tolerance::PathQueries) => parts,
            _ => (path, ""),
        }
    }

    /// Drops the routes of paths with a fragment whose method another path has without it.
    fn drop_fragments(&mut self) {
        let mut known: HashSet<RouteKey> = HashSet::new();
        let has_fragment = |route: &Route| route.pointer.contains('#');
        self.routes.sort_by_key(has_fragment);
        for route in &mut self.routes {
            let Template { segments, query, .. } = &route.template;
            route.operations.retain(|(method, _)| {
                known.insert((segments.clone(), query.clone(), method.clone()))
            });
        }
    }

    /// Whether the option `skip` names an operation.
    fn skips(&mut self, method: &str, path: &str, operation: &Value) -> bool {
        let id = operation.get("operationId").and_then(Value::as_str);
        let name = format!("{method} {path}");
        let is_own = |skipped: &str| Some(skipped) == id || skipped == name;
        self.unskipped.retain(|skipped| !is_own(skipped));
        self.config.skipped.iter().any(|skipped| is_own(skipped))
    }

    fn operation(
        &mut self,
        path: &str,
        method: &str,
        pointer: &str,
        value: &'d Value,
        shared: &[At<'d>],
        template: &Template,
    ) -> Result<Operation, ConfigError> {
        let map = object(pointer, value, "an operation")?;
        self.document.known_fields(pointer, map, OPERATION_FIELDS);
        let at = match map.get("security") {
            Some(value) => Some(At { pointer: child(pointer, "security"), value }),
            None => self.document.at("/security"),
        };
        let security = match at {
            Some(at) => {
                let read = security::read(self.document, &at, self.config, self.tokens.is_some());
                self.document.note(read).unwrap_or_default()
            }
            None => Security::default(),
        };
        let own = self.document.note(listed(pointer, map)).unwrap_or_default();
        let mut reader =
            Reader { document: self.document, config: self.config, converter: self.converter };
        let tokens = self.tokens.as_deref().unwrap_or_default();
        let mut keys = security.query_names(tokens, self.config.undeclared);
        for (name, value) in &template.query {
            keys.insert(name.clone(), json!({ "type": "string", "const": value }));
        }
        let parameters = reader.read(pointer, shared, &own, &template.names, keys);
        let (bodies, body_required) = match map.get("requestBody") {
            None => (Vec::new(), false),
            Some(value) => {
                let at = At { pointer: child(pointer, "requestBody"), value };
                let read = body::read(self.document, at, self.config, self.converter);
                self.document.note(read).unwrap_or_default()
            }
        };
        let responses = match map.get("responses") {
            Some(value) if self.config.responses.is_some() => {
                let at = At { pointer: child(pointer, "responses"), value };
                let read = response::read(self.document, &at, self.converter);
                self.document.note(read).unwrap_or_default()
            }
            _ => Vec::new(),
        };
        let id = self.document.note(text(pointer, map, "operationId")).flatten();
        let id = id.map(str::to_owned);
        let path = path.to_owned();
        Ok(Operation {
            id,
            method: method.to_owned(),
            path,
            pointer: pointer.to_owned(),
            parameters,
            bodies,
            body_required,
            security,
            responses,
        })
    }

    /// Names are for `skip` and for the routes of an application, so each is one operation's. With
    /// `tolerate: ['operation-ids']`, the second operation of a name has only its method and path.
    fn same_ids(&mut self) {
        let tolerated = self.document.tolerates(Tolerance::OperationIds);
        let mut ids = HashSet::new();
        for operation in &mut self.read {
            let Some(id) = operation.id.clone() else { continue };
            if ids.insert(id) {
                continue;
            }
            if tolerated {
                operation.id = None;
                continue;
            }
            let here = child(&operation.pointer, "operationId");
            let name = format!("{} {}", operation.method, operation.path);
            let error = fault(&here, "is the name of another operation, too").suggest(
                "give it another one, or set `tolerate: ['operation-ids']`: it is then known by its method and path only",
            );
            self.document.faults.add_in(error, vec![name]);
        }
    }

    /// The base of a path: the option, or the path of the nearest `servers`.
    fn base(&self, places: &[(&str, &'d Map<String, Value>)]) -> Result<String, ConfigError> {
        if let Some(base) = &self.config.base_path {
            return Ok(base.clone());
        }
        let root = [("", self.document.root)];
        for (pointer, map) in places.iter().chain(&root) {
            let servers = list(pointer, map, "servers")?;
            if servers.is_empty() {
                continue;
            }
            let place = child(pointer, "servers");
            let mut base: Option<String> = None;
            for (i, server) in servers.iter().enumerate() {
                let path = server_path(&child(&place, &i.to_string()), server)?;
                if base.as_ref().is_some_and(|base| *base != path) {
                    return Err(fault(
                        &place,
                        "have different paths, and any of them may be the one that is served here",
                    )
                    .suggest("say which one with the option `basePath`"));
                }
                base = Some(path);
            }
            return Ok(base.unwrap_or_default());
        }
        Ok(String::new())
    }
}

/// The path of a server's URL, without a slash at its end.
fn server_path(pointer: &str, server: &Value) -> Result<String, ConfigError> {
    let map = object(pointer, server, "a server")?;
    let here = child(pointer, "url");
    let Some(url) = text(pointer, map, "url")? else { return Err(fault(&here, "must be there")) };
    let unclear = |why: &str| {
        fault(&here, why).suggest("say what stands before the paths with the option `basePath`")
    };
    let mut filled = String::new();
    let mut rest = url;
    while let Some((before, behind)) = rest.split_once('{') {
        let Some((name, behind)) = behind.split_once('}') else {
            return Err(fault(&here, "has a brace that is not closed"));
        };
        let default = map.get("variables").and_then(|all| all.get(name)?.get("default")?.as_str());
        let Some(default) = default else {
            return Err(fault(&here, "has a variable without a default"));
        };
        filled.push_str(before);
        filled.push_str(default);
        rest = behind;
    }
    filled.push_str(rest);
    let path = match filled.split_once("://") {
        Some((_, rest)) => rest.find('/').and_then(|at| rest.get(at..)).unwrap_or_default(),
        None if filled.starts_with("//") => {
            let rest = filled.get(2..).unwrap_or_default();
            rest.find('/').and_then(|at| rest.get(at..)).unwrap_or_default()
        }
        None if filled.starts_with('/') || filled.is_empty() => filled.as_str(),
        None => return Err(unclear("is relative to where the document was found")),
    };
    let path = path.strip_suffix('/').unwrap_or(path);
    if path.contains(['?', '#', '{', '}']) || path.ends_with('/') {
        return Err(unclear("has no plain path"));
    }
    Ok(path.to_owned())
}
