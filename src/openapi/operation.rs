//! The operations of a document: their inputs and their security requirements.

use serde_json::{Map, Value};

use super::body::{self, Body};
use super::config::OpenApiConfig;
use super::convert::Converter;
use super::document::{At, Document, child, fault, known_fields, list, object, text};
use super::parameter::{Parameters, Part, Reader, listed};
use super::response;
use super::route::{Route, Template};
use super::security::{self, Demand, Security};
use crate::error::ConfigError;

/// One operation.
#[derive(Debug)]
pub struct Operation {
    pub(crate) id: Option<String>,
    pub(crate) method: &'static str,
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
    pub fn method(&self) -> &'static str {
        self.method
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
];
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
}

impl<'d> Operations<'_, 'd> {
    pub(crate) fn read_all(&mut self) -> Result<(), ConfigError> {
        let paths = self.document.root.get("paths");
        let paths = paths.map(|paths| object("/paths", paths, "paths with their operations"));
        for (path, item) in
            paths.transpose()?.into_iter().flatten().filter(|(path, _)| !path.starts_with("x-"))
        {
            self.path(path, At { pointer: child("/paths", path), value: item })?;
        }
        if self.read.is_empty() {
            return Err(fault("/paths", "has no operation, so nothing would be guarded"));
        }
        self.same_ids()
    }

    fn path(&mut self, path: &'d str, at: At<'d>) -> Result<(), ConfigError> {
        let place = at.pointer.clone();
        let is_method = |key: &str| METHODS.iter().any(|(name, _)| *name == key);
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
        known_fields(&at.pointer, map, PATH_FIELDS)?;
        let shared = listed(&at.pointer, map)?;
        // Operations of one path may have servers of their own, which give them another base path.
        let mut routes: Vec<(String, Route)> = Vec::new();
        for (key, method) in METHODS {
            let Some(value) = map.get(*key) else { continue };
            let pointer = child(&at.pointer, key);
            let operation = object(&pointer, value, "an operation")?;
            known_fields(&pointer, operation, OPERATION_FIELDS)?;
            let base = self.base(&[(&pointer, operation), (&at.pointer, map)])?;
            let template = Template::parse(&place, &base, path)?;
            let number = self.read.len();
            let read =
                self.operation(path, method, pointer, operation, &shared, &template.names)?;
            self.read.push(read);
            let entry = ((*method).to_owned(), number);
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
        self.routes.extend(routes.into_iter().map(|(_, route)| route));
        Ok(())
    }

    fn operation(
        &mut self,
        path: &str,
        method: &'static str,
        pointer: String,
        map: &'d Map<String, Value>,
        shared: &[At<'d>],
        names: &[String],
    ) -> Result<Operation, ConfigError> {
        let at = match map.get("security") {
            Some(value) => Some(At { pointer: child(&pointer, "security"), value }),
            None => self.document.at("/security"),
        };
        let security = match at {
            Some(at) => security::read(self.document, &at, self.config, self.tokens.is_some())?,
            None => Security::default(),
        };
        let own = listed(&pointer, map)?;
        let mut reader =
            Reader { document: self.document, config: self.config, converter: self.converter };
        let tokens = self.tokens.as_deref().unwrap_or_default();
        let keys = security.query_names(tokens, self.config.undeclared);
        let parameters = reader.read(&pointer, shared, &own, names, keys)?;
        let (bodies, body_required) = match map.get("requestBody") {
            None => (Vec::new(), false),
            Some(value) => {
                let at = At { pointer: child(&pointer, "requestBody"), value };
                body::read(self.document, at, self.config, self.converter)?
            }
        };
        let responses = match map.get("responses") {
            Some(value) if self.config.responses.is_some() => {
                let at = At { pointer: child(&pointer, "responses"), value };
                response::read(self.document, &at, self.converter)?
            }
            _ => Vec::new(),
        };
        let id = text(&pointer, map, "operationId")?.map(str::to_owned);
        let path = path.to_owned();
        Ok(Operation {
            id,
            method,
            path,
            pointer,
            parameters,
            bodies,
            body_required,
            security,
            responses,
        })
    }

    fn same_ids(&self) -> Result<(), ConfigError> {
        let mut ids = std::collections::HashSet::new();
        for operation in &self.read {
            if let Some(id) = &operation.id
                && !ids.insert(id)
            {
                let here = child(&operation.pointer, "operationId");
                return Err(fault(&here, "is the name of another operation, too"));
            }
        }
        Ok(())
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
