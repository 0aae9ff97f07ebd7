//! A whole API, read from its `OpenAPI` document.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::body::BodyKind;
use super::config::OpenApiConfig;
use super::convert::{Converter, Definition, definition_name};
use super::document::{Document, shown};
use super::operation::{Operation, Operations};
use super::parameter::Part;
use super::route::{Found, Router};
use super::security::judge_names;
use crate::config::options::nearest;
use crate::error::{ConfigCode, ConfigError};
use crate::guard::{Guard, Layers};
use crate::net::TrustedProxies;
use crate::refusal::Refusal;
use crate::request::{Request, decode_segment};

/// An API. It holds no validators: those of an operation are compiled on its first request.
#[derive(Debug)]
pub struct Api {
    operations: Vec<Operation>,
    by_name: HashMap<String, usize>,
    definitions: Vec<Definition>,
    dialect: Option<String>,
    router: Router,
    /// The segments of the base paths, in lower case.
    bases: Vec<Vec<String>>,
    refuses_unknown: bool,
    /// The `onResponse` of every operation.
    on_response: Option<&'static str>,
}

/// The result of matching a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Match {
    /// An operation, with its path parameters.
    Operation {
        /// The operation's number.
        operation: usize,
        /// Names and decoded values.
        params: Vec<(String, String)>,
    },
    /// A path of the document that has only these other methods.
    OtherMethods(Vec<String>),
    /// A path that the document does not have.
    Unknown,
    /// A path outside of the base paths, or under a mount path that is not the start of any path of
    /// the document.
    Outside,
    /// A path that is malformed or ambiguous.
    Refused(Refusal),
}

impl Api {
    /// Reads `document` with `options` and checks all of it. The schemas are compiled as `guard`
    /// would compile them.
    ///
    /// # Errors
    /// The first fault, with its place in the document as the path:
    /// `paths./users.post.requestBody`.
    pub fn read(
        guard: &Arc<Guard>,
        document: &Value,
        options: &Value,
    ) -> Result<Self, ConfigError> {
        let config = OpenApiConfig::parse(options)?;
        let document = Document::read(document)?;
        judge_names(document, &config)?;
        let mut converter = Converter::new(document, &config.ignored_formats);
        let mut all = Operations {
            document,
            config: &config,
            converter: &mut converter,
            tokens: guard
                .tokens
                .as_ref()
                .filter(|tokens| tokens.has_issuers())
                .map(|tokens| tokens.query_names().map(str::to_owned).collect()),
            read: Vec::new(),
            routes: Vec::new(),
            bases: Vec::new(),
        };
        all.read_all()?;
        let Operations { read: operations, routes, bases, .. } = all;
        let router = Router::build(&routes)?;
        let mut by_name = HashMap::new();
        for (number, operation) in operations.iter().enumerate() {
            by_name.insert(format!("{} {}", operation.method, operation.path), number);
        }
        for (number, operation) in operations.iter().enumerate() {
            if let Some(id) = &operation.id {
                by_name.insert(id.clone(), number);
            }
        }
        let segments = |base: &String| {
            base.split('/')
                .skip(1)
                .map(|raw| decode_segment(raw).unwrap_or_default().to_ascii_lowercase())
                .collect()
        };
        let api = Self {
            by_name,
            definitions: converter.finish()?,
            dialect: document.dialect.map(str::to_owned),
            router,
            bases: bases.iter().map(segments).collect(),
            refuses_unknown: config.refuse_unknown,
            on_response: config.responses,
            operations,
        };
        api.judge(guard)?;
        Ok(api)
    }

    /// All operations; the index is an operation's number.
    #[must_use]
    pub fn operations(&self) -> &[Operation] {
        &self.operations
    }

    /// Whether a request that matches no operation is refused.
    #[must_use]
    pub fn refuses_unknown(&self) -> bool {
        self.refuses_unknown
    }

    /// The operation with that `operationId`, or `METHOD /path`.
    ///
    /// # Errors
    /// There is no such operation; the error has a did-you-mean.
    pub fn named(&self, name: &str) -> Result<usize, ConfigError> {
        if let Some(number) = self.by_name.get(name) {
            return Ok(*number);
        }
        let error = ConfigError::invalid("operation", "is no operation of the document");
        let names: Vec<&str> = self.by_name.keys().map(String::as_str).collect();
        Err(match nearest(name, &names) {
            Some(name) => error.suggest(format!("did you mean '{name}'?")),
            None => error.suggest("give an operationId, or a method and a path: 'GET /users/{id}'"),
        })
    }

    /// The base paths, without duplicates.
    pub fn bases(&self) -> impl Iterator<Item = String> {
        self.bases.iter().map(|base| format!("/{}", base.join("/")))
    }

    /// The operation of a request, by the canonical path that every layer uses. `mount` is the path
    /// under which the handler is mounted; it may be empty.
    #[must_use]
    pub fn find(&self, method: &str, target: &str, mount: &str) -> Match {
        let head = format!("8\n{method}\n{target}\n\n\n\n\n");
        let mut request = match Request::read(head, &TrustedProxies::default()) {
            Ok(request) => request,
            Err(refusal) => return Match::Refused(refusal),
        };
        if let Err(refusal) = request.canonicalise().and_then(|()| request.check_view()) {
            return Match::Refused(refusal);
        }
        if request.target() == "*" {
            return Match::Outside;
        }
        let segments: Vec<&str> = request.segments().collect();
        let raw: Vec<&str> = request.raw_segments().collect();
        match self.router.find(method, &segments, &raw, request.ends_with_slash()) {
            Found::Unclear => Match::Refused(Refusal::new(
                400,
                "malformed_path",
                "the path is not written as the document has it, and routers read it differently",
            )),
            Found::Operation { operation, names, values } => Match::Operation {
                operation,
                params: names
                    .iter()
                    .zip(values)
                    .map(|(name, value)| (name.clone(), value.to_owned()))
                    .collect(),
            },
            Found::OtherMethods(methods) => {
                Match::OtherMethods(methods.into_iter().map(str::to_owned).collect())
            }
            Found::Nothing => {
                let inside = |base: &Vec<String>| {
                    segments.len() >= base.len()
                        && base.iter().zip(&segments).all(|(a, b)| a.eq_ignore_ascii_case(b))
                };
                let mount = mount.split('/').filter(|segment| !segment.is_empty()).count();
                let mount = segments.get(..mount).unwrap_or(&segments);
                if self.bases.iter().any(inside) && self.router.has_below(mount) {
                    Match::Unknown
                } else {
                    Match::Outside
                }
            }
        }
    }

    /// The schemas of an operation in the form that `guard.validate` takes, with the body's media
    /// type of this number, or without a body. `None` if there is no such operation or media type.
    #[must_use]
    pub fn schemas(&self, operation: usize, body: Option<usize>) -> Option<Value> {
        let operation = self.operations.get(operation)?;
        let mut out = Map::new();
        for (location, part) in operation.parts() {
            out.insert(location.into(), self.compose(part));
        }
        let body = match body {
            None => None,
            Some(number) => Some(operation.bodies.get(number)?),
        };
        match body.and_then(|body| Some((body.kind, body.part.as_ref()?))) {
            Some((kind, part)) => {
                out.insert("body".into(), self.compose(part));
                out.insert("payload".into(), types_of(kind));
            }
            None => {
                out.insert("payload".into(), Value::Bool(false));
            }
        }
        if let Some(on) = self.on_response.filter(|_| !operation.responses.is_empty()) {
            let responses = operation.responses.iter();
            let responses =
                responses.map(|(status, part)| (status.clone(), self.compose(part))).collect();
            out.insert("response".into(), Value::Object(responses));
            out.insert("onResponse".into(), on.into());
        }
        Some(Value::Object(out))
    }

    /// Compiles every schema once, however many operations use it.
    fn judge(&self, guard: &Arc<Guard>) -> Result<(), ConfigError> {
        let mut judged = HashSet::new();
        for operation in &self.operations {
            let bodies = operation.bodies.iter();
            let bodies = bodies.filter_map(|body| Some(("body", body.kind, body.part.as_ref()?)));
            let parts = operation.parts().map(|(location, part)| (location, BodyKind::Json, part));
            for (location, kind, part) in parts.chain(bodies) {
                if !judged.insert((location, kind, part.schema.to_string())) {
                    continue;
                }
                let mut route = Map::new();
                route.insert(location.into(), self.compose(part));
                route.insert("payload".into(), types_of(kind));
                guard
                    .stack(&Value::Object(route), Layers::Payload)
                    .map_err(|error| self.placed(part, &error))?;
            }
            for (_, part) in &operation.responses {
                if !judged.insert(("response", BodyKind::Json, part.schema.to_string())) {
                    continue;
                }
                let route = json!({ "response": { "default": self.compose(part) } });
                guard.stack(&route, Layers::Payload).map_err(|error| self.placed(part, &error))?;
            }
        }
        Ok(())
    }

    /// A self-contained schema.
    fn compose(&self, part: &Part) -> Value {
        let Value::Object(schema) = &part.schema else { return part.schema.clone() };
        let mut schema = schema.clone();
        if let Some(dialect) = &self.dialect {
            schema.insert("$schema".into(), dialect.as_str().into());
        }
        let mut wanted = part.refs.clone();
        let mut open: Vec<usize> = wanted.iter().copied().collect();
        while let Some(number) = open.pop() {
            let refs = self.definitions.get(number).map(|definition| &definition.refs);
            for next in refs.into_iter().flatten() {
                if wanted.insert(*next) {
                    open.push(*next);
                }
            }
        }
        if !wanted.is_empty() {
            schema.insert("$defs".into(), self.definitions_of(&wanted));
        }
        Value::Object(schema)
    }

    fn definitions_of(&self, wanted: &BTreeSet<usize>) -> Value {
        let named = wanted.iter().filter_map(|number| {
            Some((definition_name(*number), self.definitions.get(*number)?.schema.clone()))
        });
        Value::Object(named.collect())
    }

    /// Translates the path of a compiler's error to the place in the document.
    fn placed(&self, part: &Part, error: &ConfigError) -> ConfigError {
        let problem = error.problem();
        let (pointer, problem) = problem
            .strip_prefix("can't be used: #")
            .map_or(("", problem), |rest| rest.split_once(' ').unwrap_or((rest, "")));
        let pointer = decode_segment(pointer).unwrap_or_default();
        let placed = ConfigError::new(
            ConfigCode::InvalidSchema,
            shown(&self.origin(part, &pointer)),
            problem,
        );
        match error.suggestion() {
            Some(suggestion) => placed.suggest(suggestion),
            None => placed,
        }
    }

    fn origin(&self, part: &Part, pointer: &str) -> String {
        if let Some(rest) = pointer.strip_prefix("/$defs/s") {
            let (number, rest) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            let number = number.parse().ok();
            if let Some(definition) = number.and_then(|number: usize| self.definitions.get(number))
            {
                return format!("{}{rest}", definition.pointer);
            }
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
}

/// The option `payload` for a kind of body.
fn types_of(kind: BodyKind) -> Value {
    match kind {
        BodyKind::Form => json!({ "types": ["form"] }),
        BodyKind::Json | BodyKind::Unread => json!({ "types": ["json"] }),
    }
}

impl Operation {
    /// The parameter schemas, by part of the request.
    pub(crate) fn parts(&self) -> impl Iterator<Item = (&'static str, &Part)> {
        let parameters = &self.parameters;
        [
            ("query", &parameters.query),
            ("params", &parameters.params),
            ("headers", &parameters.headers),
            ("cookies", &parameters.cookies),
        ]
        .into_iter()
        .filter_map(|(location, part)| Some((location, part.as_ref()?)))
    }

    /// The media types of its body, and the way in which each is read.
    pub fn media(&self) -> impl Iterator<Item = (&str, BodyKind)> {
        self.bodies.iter().map(|body| (body.media.as_str(), body.kind))
    }
}
