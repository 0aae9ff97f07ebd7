//! A whole API, read from its `OpenAPI` document.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::body::BodyKind;
use super::config::OpenApiConfig;
use super::convert::{Converter, Definition};
use super::document::Document;
use super::judge::{Judge, compose};
use super::operation::{Operation, Operations};
use super::parameter::Part;
use super::security::judge_names;
use crate::config::options::nearest;
use crate::error::ConfigError;
use crate::error::faults::{Faults, fault};
use crate::guard::Guard;
use crate::net::TrustedProxies;
use crate::refusal::Refusal;
use crate::request::{PathForms, Request, decode_segment};
use crate::router::{Found, Router};

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
    /// A wrong option, or all faults of the document, each with its place as the path:
    /// `paths./users.post.requestBody`.
    pub fn read(
        guard: &Arc<Guard>,
        document: &Value,
        options: &Value,
    ) -> Result<Self, ConfigError> {
        let config = OpenApiConfig::parse(options)?;
        let faults = Faults::default();
        let document = Document::read(document, &config, &faults)?;
        judge_names(document, &config)?;
        let mut converter = Converter::new(document, guard.schema_rules.keywords());
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
            unskipped: Vec::new(),
        };
        all.read_all()?;
        let Operations { read: mut operations, routes, bases, .. } = all;
        let router = Router::build(&routes, &faults);
        let mut definitions = converter.finish(&operations);
        let segments = |base: &String| {
            base.split('/')
                .skip(1)
                .map(|raw| decode_segment(raw).unwrap_or_default().to_ascii_lowercase())
                .collect()
        };
        let dialect = document.dialect.map(str::to_owned);
        let judge = Judge { document, guard, dialect: dialect.as_deref() };
        judge.all(&mut operations, &mut definitions);
        faults.finish()?;
        if operations.is_empty() {
            return Err(fault("/paths", "has no operation, so nothing would be guarded"));
        }
        Ok(Self {
            by_name: by_name(&operations),
            definitions,
            dialect,
            router,
            bases: bases.iter().map(segments).collect(),
            refuses_unknown: config.refuse_unknown,
            on_response: config.responses,
            operations,
        })
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
        if let Err(refusal) =
            request.canonicalise(PathForms::default()).and_then(|()| request.check_view())
        {
            return Match::Refused(refusal);
        }
        if request.target() == "*" {
            return Match::Outside;
        }
        let segments: Vec<&str> = request.segments().collect();
        let raw: Vec<&str> = request.raw_segments().collect();
        let slash = request.ends_with_slash();
        match self.router.find(method, &segments, &raw, slash, request.query()) {
            Found::Unclear => Match::Refused(Refusal::new(
                400,
                "malformed_path",
                "the path is not written as the document has it, and routers read it differently",
            )),
            Found::Crossing => Match::Refused(Refusal::new(
                404,
                "unknown_route",
                "two operations of this API have this path, and neither is the more literal one",
            )),
            Found::LeftOut => Match::Unknown,
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
            out.insert(location.into(), compose(part, &self.definitions, self.dialect.as_deref()));
        }
        let body = match body {
            None => None,
            Some(number) => Some(operation.bodies.get(number)?),
        };
        match body.and_then(|body| Some((body.kind, body.part.as_ref()?))) {
            Some((kind, part)) => {
                out.insert(
                    "body".into(),
                    compose(part, &self.definitions, self.dialect.as_deref()),
                );
                out.insert("payload".into(), types_of(kind));
            }
            None => {
                out.insert("payload".into(), Value::Bool(false));
            }
        }
        if let Some(on) = self.on_response.filter(|_| !operation.responses.is_empty()) {
            let responses = operation.responses.iter();
            let responses = responses
                .map(|(status, part)| {
                    (status.clone(), compose(part, &self.definitions, self.dialect.as_deref()))
                })
                .collect();
            out.insert("response".into(), Value::Object(responses));
            out.insert("onResponse".into(), on.into());
        }
        Some(Value::Object(out))
    }
}

/// The numbers of all operations by their names.
fn by_name(operations: &[Operation]) -> HashMap<String, usize> {
    let mut by_name = HashMap::new();
    for (number, operation) in operations.iter().enumerate() {
        by_name.insert(operation.name(), number);
    }
    for (number, operation) in operations.iter().enumerate() {
        if let Some(id) = &operation.id {
            by_name.insert(id.clone(), number);
        }
    }
    by_name
}

/// The option `payload` for a kind of body.
pub(super) fn types_of(kind: BodyKind) -> Value {
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

    /// All schemas of its requests.
    pub(crate) fn requests(&self) -> impl Iterator<Item = &Part> {
        let bodies = self.bodies.iter().filter_map(|body| body.part.as_ref());
        self.parts().map(|(_, part)| part).chain(bodies)
    }

    /// Its method and path.
    pub(crate) fn name(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    /// The media types of its body, and the way in which each is read.
    pub fn media(&self) -> impl Iterator<Item = (&str, BodyKind)> {
        self.bodies.iter().map(|body| (body.media.as_str(), body.kind))
    }
}
