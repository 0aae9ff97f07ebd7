//! Checks all parts of one request against their schemas, with one combined answer.

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::error::ConfigError;
use crate::json::write;
use crate::json::{Document, Limits};
use crate::messages::Messages;
use crate::multipart::Reader;
use crate::payload::media::Format;
use crate::payload::text::{TextSchema, read_fields, read_form};
use crate::refusal::{FieldError, Refusal};
use crate::schema::SchemaRules;
use crate::schema::explain::Found;

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

/// The input of one request.
#[derive(Debug, Clone, Copy)]
pub struct Parts<'a> {
    /// The limits.
    pub limits: &'a Limits,
    /// The bytes of the body; `None` or empty if none was sent.
    pub body: Option<&'a [u8]>,
    /// The format of the body.
    pub format: Format,
    /// The reader of a multipart body, which has its fields.
    pub multipart: Option<&'a Reader>,
    /// The raw query string, without its `?`.
    pub query: &'a str,
    /// The route's parameters, decoded.
    pub params: &'a [(&'a str, &'a str)],
    /// The headers: names in lower case, repeated headers one by one.
    pub headers: &'a [(&'a str, &'a str)],
    /// The value of `Accept-Language`, needed if [`Schemas::wants_language`] is true.
    pub language: Option<&'a str>,
    /// Whether to return [`Checked::body`], e.g. for a policy.
    pub keep_body: bool,
}

/// The results of a request that matches its schemas.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Checked {
    /// The query as JSON text, with types and defaults, if there is a schema for it.
    pub query: Option<String>,
    /// The route's parameters, in the same form.
    pub params: Option<String>,
    /// The declared headers, in the same form.
    pub headers: Option<String>,
    /// The declared cookies, in the same form.
    pub cookies: Option<String>,
    /// A form as JSON text, after sanitizers; with types and defaults if the body has a schema.
    pub form: Option<String>,
    /// The body, if one was sent and [`Parts::keep_body`] is set.
    pub body: Option<Value>,
    /// A JSON body as JSON text, if a sanitizer changed it.
    pub changed: Option<String>,
}

impl Schemas {
    /// Compiles the schemas under `body`, `query`, `params`, `headers` and `cookies` of `schemas`;
    /// other keys are left to the caller. `path` is the option that contains them, empty at the
    /// top. `forms` is true if a body may be a form. `rules` are shared by all schemas of the
    /// guard.
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

    /// Whether the texts of errors depend on the client's `Accept-Language`.
    #[must_use]
    pub fn wants_language(&self) -> bool {
        self.messages.choose(None).varies()
    }

    /// Whether there is a schema for the body. If so, the body must be read.
    #[must_use]
    pub fn wants_body(&self) -> bool {
        self.body.is_some()
    }

    /// Whether the schema of the body names a member.
    #[must_use]
    pub(crate) fn names_body_member(&self, name: &str) -> bool {
        self.body.as_ref().is_some_and(|schema| schema.names(name))
    }

    /// Whether only the body has a schema and certainly matches it. The caller may then skip
    /// [`Self::check`], which does not repeat this test.
    #[must_use]
    pub fn passes_fast_path(&self, body: &[u8], format: Format, limits: &Limits) -> bool {
        format == Format::Json
            && self.is_only_body()
            && self.body.as_ref().is_some_and(|schema| schema.schema().accepts_bytes(body, limits))
    }

    /// Whether no part but the body has a schema.
    fn is_only_body(&self) -> bool {
        self.query.is_none()
            && self.params.is_none()
            && self.headers.is_none()
            && self.cookies.is_none()
    }

    /// Checks all parts. A part that is malformed is a refusal with status 400 (413 if too large).
    /// Otherwise one 422 lists the errors of all parts. A body without a schema must still be
    /// well-formed.
    pub fn check(&self, parts: &Parts<'_>) -> Result<Checked, Refusal> {
        let limits = parts.limits;
        let mut found = Found::told_in(self.messages.choose(parts.language));
        let mut checked = Checked::default();
        let keep = |document: &Document<'_>| parts.keep_body.then(|| document.to_value());
        match (parts.body.filter(|body| !body.is_empty()), &self.body) {
            (_, schema) if parts.multipart.is_some() => {
                let fields = parts.multipart.map(Reader::fields).unwrap_or_default();
                let (form, body) = read_fields(fields, limits, schema.as_ref(), |document| {
                    if let Some(schema) = schema {
                        schema.schema().check(document, "body", &mut found);
                    }
                    keep(document)
                })?;
                parts
                    .multipart
                    .map(Reader::missing)
                    .into_iter()
                    .flatten()
                    .for_each(|error| found.push(error));
                checked.form = Some(form);
                checked.body = body;
            }
            (Some(bytes), schema) if parts.format == Format::Form => {
                let (form, body) = read_form(bytes, limits, schema.as_ref(), |document| {
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
                    && schema.schema().accepts_bytes(bytes, limits) => {}
            (Some(bytes), schema) => {
                if bytes.len() > limits.max_bytes {
                    return Err(Limits::too_large());
                }
                let schema = schema.as_ref().map(TextSchema::schema);
                let judged = limits.parsed(bytes, schema, |document, changed| {
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
            checked.query = Some(schema.read_query(parts.query, limits, &mut found)?);
        }
        if let Some(schema) = &self.params {
            checked.params = Some(schema.read_members(parts.params, limits, &mut found)?);
        }
        if let Some(schema) = &self.headers {
            checked.headers = Some(schema.read_members(parts.headers, limits, &mut found)?);
        }
        if let Some(schema) = &self.cookies {
            let cookies = cookies(parts.headers);
            checked.cookies = Some(schema.read_members(&cookies, limits, &mut found)?);
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
