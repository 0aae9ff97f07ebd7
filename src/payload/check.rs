//! All parts of one request against their schemas, in one answer.

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::error::ConfigError;
use crate::payload::config::PayloadConfig;
use crate::payload::explain::Found;
use crate::payload::fault::Fault;
use crate::payload::media::Format;
use crate::payload::messages::Messages;
use crate::payload::parser::parse;
use crate::payload::rules::SchemaRules;
use crate::payload::sanitize::sanitize;
use crate::payload::schema::Schema;
use crate::payload::tape::{Document, Tape};
use crate::payload::text::{TextSchema, read_form};
use crate::payload::write;
use crate::refusal::{FieldError, Refusal};

impl PayloadConfig {
    /// Parses `bytes` strictly and hands the document to `run`. What is not clean JSON is a refusal: 413 if it is larger
    /// than `maxBytes`, 400 otherwise. `declared` is the schema whose own keys may look like operators.
    ///
    /// The document lives in buffers of this thread, so a small body costs no allocation.
    pub fn with_document<T>(
        &self,
        bytes: &[u8],
        declared: Option<&Schema>,
        run: impl FnOnce(&Document<'_>) -> T,
    ) -> Result<T, Refusal> {
        if bytes.len() > self.max_bytes() {
            return Err(Self::too_large());
        }
        self.parsed(bytes, declared, |document, _| run(document))
            .map_err(|fault| fault.refusal("body"))
    }

    /// The refusal of a body over `maxBytes`. It ends the connection, so that the rest need not be read.
    #[must_use]
    pub fn too_large() -> Refusal {
        Refusal::new(413, "body_too_large", "the body is larger than is accepted")
            .header("Connection", "close")
    }

    /// As [`Self::with_document`], for a text that we wrote: a fault's offset means nothing to the client. `run` is also
    /// told whether a sanitizer of the schema has changed the document.
    pub(crate) fn with_text<T>(
        &self,
        text: &str,
        declared: Option<&Schema>,
        run: impl FnOnce(&Document<'_>, bool) -> T,
    ) -> Result<T, Fault> {
        let fault = |fault| Fault { offset: None, ..fault };
        self.parsed(text.as_bytes(), declared, run).map_err(fault)
    }

    fn parsed<T>(
        &self,
        bytes: &[u8],
        declared: Option<&Schema>,
        run: impl FnOnce(&Document<'_>, bool) -> T,
    ) -> Result<T, Fault> {
        Tape::with(|tape| {
            let keys = declared.map(Schema::odd_keys).unwrap_or_default();
            let source = parse(bytes, self, keys, tape)?;
            let sanitizers = declared.and_then(Schema::sanitizers);
            let changed = sanitizers.is_some_and(|shapes| sanitize(shapes, tape, source));
            Ok(run(&tape.document(source), changed))
        })
    }
}

/// The schemas of one route.
#[derive(Debug, Default)]
pub struct Schemas {
    body: Option<TextSchema>,
    query: Option<TextSchema>,
    params: Option<TextSchema>,
    headers: Option<TextSchema>,
    messages: Arc<Messages>,
    cookies: Option<TextSchema>,
}

/// What came with one request.
#[derive(Debug, Clone, Copy)]
pub struct Parts<'a> {
    /// The limits.
    pub config: &'a PayloadConfig,
    /// The bytes of the body; `None` or empty if none was sent.
    pub body: Option<&'a [u8]>,
    /// What the body is.
    pub format: Format,
    /// The raw query string, without its `?`.
    pub query: &'a str,
    /// The route's parameters, decoded.
    pub params: &'a [(&'a str, &'a str)],
    /// The headers, names in lower case, each as often as it was sent.
    pub headers: &'a [(&'a str, &'a str)],
    /// The value of `Accept-Language`, where it is asked for: [`Schemas::wants_language`].
    pub language: Option<&'a str>,
    /// Whether [`Checked::body`] is wanted, e.g. by a policy.
    pub keep_body: bool,
}

/// What a request that matches its schemas has to say.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Checked {
    /// The query as JSON text, with types and defaults, if there is a schema for it.
    pub query: Option<String>,
    /// The route's parameters, alike.
    pub params: Option<String>,
    /// The declared headers, alike.
    pub headers: Option<String>,
    /// The declared cookies, alike.
    pub cookies: Option<String>,
    /// A form as JSON text, with types and defaults where there is a schema for the body, as sanitizers have left it.
    pub form: Option<String>,
    /// The body, if one was sent and [`Parts::keep_body`] asked for it.
    pub body: Option<Value>,
    /// A JSON body as JSON text, where a sanitizer has changed it.
    pub changed: Option<String>,
}

impl Schemas {
    /// Compiles what `schemas` has under `body`, `query`, `params`, `headers` and `cookies`; other keys are left to the
    /// caller. `path` is the option they stand in, empty at the top; `forms` says whether forms are read into the body's;
    /// `rules` is what they share with all schemas of the guard.
    pub fn parse(
        path: &str,
        schemas: &Map<String, Value>,
        forms: bool,
        rules: &SchemaRules,
    ) -> Result<Self, ConfigError> {
        let path_of =
            |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
        let text = |location: &'static str| {
            let schema = schemas.get(location);
            schema
                .map(|schema| TextSchema::compile(&path_of(location), schema, location, rules))
                .transpose()
        };
        let body = schemas
            .get("body")
            .map(|schema| TextSchema::body(&path_of("body"), schema, forms, rules));
        Ok(Self {
            body: body.transpose()?,
            query: text("query")?,
            params: text("params")?,
            headers: text("headers")?,
            messages: Arc::clone(rules.messages()),
            cookies: text("cookies")?,
        })
    }

    /// Whether there is a schema at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.body.is_none() && self.is_only_body()
    }

    /// Whether there is a schema for the route's parameters.
    #[must_use]
    pub fn wants_params(&self) -> bool {
        self.params.is_some()
    }

    /// Whether there is a schema for the headers, or for the cookies in one of them.
    #[must_use]
    pub fn wants_headers(&self) -> bool {
        self.headers.is_some() || self.cookies.is_some()
    }

    /// Whether the texts of errors depend on what language the client asks for.
    #[must_use]
    pub fn wants_language(&self) -> bool {
        self.messages.choose(None).varies()
    }

    /// Whether there is a schema for the body, so that it must be read.
    #[must_use]
    pub fn wants_body(&self) -> bool {
        self.body.is_some()
    }

    /// Whether nothing but the body has a schema, and this one matches for certain: then [`Self::check`] has nothing to say.
    /// It does not look for that again.
    #[must_use]
    pub fn is_settled_by(&self, body: &[u8], format: Format, config: &PayloadConfig) -> bool {
        format == Format::Json
            && self.is_only_body()
            && self.body.as_ref().is_some_and(|schema| schema.schema().scans(body, config))
    }

    /// Whether there is no schema but the body's.
    fn is_only_body(&self) -> bool {
        self.query.is_none()
            && self.params.is_none()
            && self.headers.is_none()
            && self.cookies.is_none()
    }

    /// Checks all parts. A part that is not even clean text is a refusal with status 400 (413 if too large); otherwise
    /// the errors of all parts come in one 422. A body is checked for cleanliness also where it has no schema.
    pub fn check(&self, parts: &Parts<'_>) -> Result<Checked, Refusal> {
        let config = parts.config;
        let mut found = Found::told_in(self.messages.choose(parts.language));
        let mut checked = Checked::default();
        let keep = |document: &Document<'_>| parts.keep_body.then(|| document.to_value());
        match (parts.body.filter(|body| !body.is_empty()), &self.body) {
            (Some(bytes), schema) if parts.format == Format::Form => {
                let (form, body) = read_form(bytes, config, schema.as_ref(), |document| {
                    if let Some(schema) = schema {
                        schema.schema().check(document, "body", &mut found);
                    }
                    keep(document)
                })?;
                checked.form = Some(form);
                checked.body = body;
            }
            (Some(bytes), Some(schema))
                if !parts.keep_body
                    && !self.is_only_body()
                    && schema.schema().scans(bytes, config) => {}
            (Some(bytes), schema) => {
                if bytes.len() > config.max_bytes() {
                    return Err(PayloadConfig::too_large());
                }
                let schema = schema.as_ref().map(TextSchema::schema);
                let judged = config.parsed(bytes, schema, |document, changed| {
                    if let Some(schema) = schema {
                        schema.check(document, "body", &mut found);
                    }
                    checked.changed = changed.then(|| write::document(document));
                    checked.body = keep(document);
                });
                judged.map_err(|fault| fault.refusal("body"))?;
            }
            (None, Some(_)) => found.push(FieldError {
                location: "body",
                pointer: "#".to_owned(),
                code: "required",
                detail: "a body is required".to_owned(),
            }),
            (None, None) => {}
        }
        if let Some(schema) = &self.query {
            checked.query = Some(schema.read_query(parts.query, config, &mut found)?);
        }
        if let Some(schema) = &self.params {
            checked.params = Some(schema.read_members(parts.params, config, &mut found)?);
        }
        if let Some(schema) = &self.headers {
            checked.headers = Some(schema.read_members(parts.headers, config, &mut found)?);
        }
        if let Some(schema) = &self.cookies {
            let cookies = cookies(parts.headers);
            checked.cookies = Some(schema.read_members(&cookies, config, &mut found)?);
        }
        if found.is_empty() { Ok(checked) } else { Err(found.into_refusal()) }
    }
}

/// The cookies of all `Cookie` headers (RFC 6265 section 4.2.1): HTTP/2 may send several.
fn cookies<'a>(headers: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let values = headers.iter().filter(|(name, _)| *name == "cookie").map(|(_, value)| *value);
    values
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| {
            let value = value.trim();
            let inner = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
            (name.trim(), inner.unwrap_or(value))
        })
        .collect()
}
