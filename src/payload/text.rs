//! Queries, forms, route parameters and headers: text is converted to the types that the schema
//! declares, then checked by the same parser and the same schema as a body.

use std::borrow::Cow;

use serde_json::Value;

use crate::error::{ConfigCode, ConfigError};
use crate::json::Limits;
use crate::json::fault::{Fault, FaultCode, Pointer};
use crate::json::tape::Document;
use crate::json::write;
use crate::net::query::check_split;
use crate::payload::form::{Form, Writer, form_text, read_pairs};
use crate::payload::plan::{Field, Plan};
use crate::refusal::Refusal;
use crate::schema::Schema;
use crate::schema::SchemaRules;
use crate::schema::explain::Found;

/// A schema for members that arrive as text.
#[derive(Debug)]
pub struct TextSchema {
    schema: Schema,
    plan: Plan,
    location: &'static str,
}

impl TextSchema {
    /// Compiles the schema of `location`, one of `query`, `params`, `headers` and `cookies`, given
    /// as the option `path`. Queries are closed like bodies. The others are not, since routers and
    /// clients add their own members.
    ///
    /// A `default` that does not match its own schema is an error, and so is a header name with
    /// capitals.
    pub fn compile(
        path: &str,
        schema: &Value,
        location: &'static str,
        rules: &SchemaRules,
    ) -> Result<Self, ConfigError> {
        let (compiled, whole) = Schema::compile_whole(path, schema, location == "query", rules)?;
        let mut plan = Plan::of(&whole);
        if location == "query" {
            plan.reserved = token_names(path, &whole, &plan, rules)?;
        }
        let text = Self { schema: compiled, plan, location };
        text.judge_names(path)?;
        text.judge_defaults(path)?;
        Ok(text)
    }

    /// Compiles the schema of a body, given as the option `path`. With `forms`, a body may be a
    /// form, so the schema's defaults must be valid.
    pub(crate) fn body(
        path: &str,
        schema: &Value,
        forms: bool,
        rules: &SchemaRules,
    ) -> Result<Self, ConfigError> {
        let (compiled, whole) = Schema::compile_whole(path, schema, true, rules)?;
        // Without forms, the fields of another parser may still be judged by it.
        let text = Self { schema: compiled, plan: Plan::of(&whole), location: "body" };
        if forms {
            text.judge_defaults(path)?;
        }
        Ok(text)
    }

    /// The compiled schema.
    pub(crate) fn schema(&self) -> &Schema {
        &self.schema
    }

    /// Whether it names a member at its top.
    pub(crate) fn names(&self, name: &str) -> bool {
        self.plan.find(name).is_some()
    }

    fn judge_names(&self, path: &str) -> Result<(), ConfigError> {
        let capital = |field: &&Field| field.name.bytes().any(|c| c.is_ascii_uppercase());
        match self.plan.fields.iter().find(capital) {
            Some(field) if self.location == "headers" => {
                let problem = format!(
                    "declares `{}` with capitals, but header names arrive in lower case",
                    field.name
                );
                let error = ConfigError::new(ConfigCode::InvalidSchema, path, problem);
                Err(error.suggest(format!("write `{}`", field.name.to_ascii_lowercase())))
            }
            _ => Ok(()),
        }
    }

    fn judge_defaults(&self, path: &str) -> Result<(), ConfigError> {
        let limits = Limits::default();
        for field in self.plan.fields.iter().filter(|field| field.default.is_some()) {
            let mut object = Writer::new(0);
            object.raw(&field.name, field.default.as_deref().unwrap_or_default());
            let mut pointer = String::from("/");
            pointer.push_str(&field.name.replace('~', "~0").replace('/', "~1"));
            let text = object.finish();
            let fits = limits.with_document(text.as_bytes(), Some(&self.schema), |document| {
                self.schema.accepts_member(document, &pointer)
            });
            if fits != Ok(true) {
                let problem = format!(
                    "has a default for `{}` that does not match its own schema",
                    field.name
                );
                return Err(ConfigError::new(ConfigCode::InvalidSchema, path, problem));
            }
        }
        Ok(())
    }

    /// Reads a raw query string, without its `?`, and returns it as JSON text with types and
    /// defaults.
    pub(crate) fn read_query(
        &self,
        query: &str,
        limits: &Limits,
        found: &mut Found<'_>,
    ) -> Result<String, Refusal> {
        if query.len() > limits.max_bytes {
            return Err(Refusal::new(
                413,
                "query_too_large",
                "the query is larger than is accepted",
            ));
        }
        check_split(query)?;
        let (plan, schema) = (Some(&self.plan), Some(&self.schema));
        let read = read_pairs(query, limits, plan, schema, |document| {
            self.schema.check(document, self.location, found);
        });
        match read {
            Ok((json, ())) => Ok(json),
            Err(Fault { code: FaultCode::MalformedForm, .. }) => {
                let why = "the query must be percent-encoded UTF-8";
                Err(Refusal::new(400, "malformed_query", why))
            }
            Err(fault) => Err(fault.refusal(self.location)),
        }
    }

    /// Reads members that are already decoded: route parameters, one of each, or headers and
    /// cookies, of which only the declared ones are read.
    pub(crate) fn read_members(
        &self,
        members: &[(&str, &str)],
        limits: &Limits,
        found: &mut Found<'_>,
    ) -> Result<String, Refusal> {
        let mut form = Form::new(Some(&self.plan), 0, limits);
        form.trims = self.location == "headers";
        let mut seen = Vec::new();
        for (name, value) in members {
            let refused = |code| {
                let mut pointer = Pointer::root();
                pointer.key(name);
                Fault { code, offset: None, pointer: pointer.finish() }.refusal(self.location)
            };
            if matches!(self.location, "headers" | "cookies") {
                let Some((at, _)) = self.plan.find(name) else { continue };
                // A repeated header is ambiguous or smuggled, so it is refused, even for a list.
                if seen.contains(&at) {
                    return Err(refused(FaultCode::DuplicateKey));
                }
                seen.push(at);
            }
            form.member(name, Cow::Borrowed(value)).map_err(refused)?;
        }
        let text = form.finish();
        let judged = limits.with_text(&text, Some(&self.schema), |document, changed| {
            self.schema.check(document, self.location, found);
            changed.then(|| write::document(document))
        });
        let anew = judged.map_err(|fault| fault.refusal(self.location))?;
        Ok(anew.unwrap_or(text))
    }
}

/// The names of query parameters that may carry a token and are not members. The layer that
/// verifies the token reads them, and no handler gets a token among checked values. A schema that
/// declares such a name as `false` refuses it.
fn token_names(
    path: &str,
    schema: &Value,
    plan: &Plan,
    rules: &SchemaRules,
) -> Result<Vec<Box<str>>, ConfigError> {
    let refused = |name: &str| {
        schema.get("properties").and_then(|properties| properties.get(name))
            == Some(&Value::Bool(false))
    };
    let names = rules.token_names().iter().filter(|name| !refused(name));
    let names: Vec<Box<str>> = names.cloned().collect();
    match names.iter().find(|name| plan.find(name).is_some()) {
        None => Ok(names),
        Some(name) => {
            let problem = format!(
                "declares `{name}`, where `jwt.from` looks for a token, which no handler is given"
            );
            Err(ConfigError::new(ConfigCode::ConflictingOptions, path, problem)
                .suggest("leave it out of the schema: it is no undeclared name"))
        }
    }
}

/// Reads the fields of a multipart body, as [`read_form`] does those of a form.
pub(crate) fn read_fields<T>(
    fields: &[(String, String)],
    limits: &Limits,
    schema: Option<&TextSchema>,
    run: impl FnOnce(&Document<'_>) -> T,
) -> Result<(String, T), Refusal> {
    let mut form = Form::new(schema.map(|schema| &schema.plan), 0, limits);
    for (name, value) in fields {
        form.pair(name, Cow::Borrowed(value)).map_err(|code| {
            let mut pointer = Pointer::root();
            pointer.key(name.strip_suffix("[]").unwrap_or(name));
            Fault { code, offset: None, pointer: pointer.finish() }.refusal("body")
        })?;
    }
    let text = form.finish();
    let declared = schema.map(|schema| &schema.schema);
    let judged = limits.with_text(&text, declared, |document, changed| {
        (changed.then(|| write::document(document)), run(document))
    });
    // The text was written here: the client has not sent it, so no place in it is named.
    let (anew, value) = judged.map_err(|fault| Fault { offset: None, ..fault }.refusal("body"))?;
    Ok((anew.unwrap_or(text), value))
}

/// Reads the bytes of a form and hands the resulting document to `run`. Also returns the document
/// as JSON text: with types and defaults if there is a schema. Without one, every value is a
/// string, or a list of strings if its name ends with `[]`.
pub(crate) fn read_form<T>(
    bytes: &[u8],
    limits: &Limits,
    schema: Option<&TextSchema>,
    run: impl FnOnce(&Document<'_>) -> T,
) -> Result<(String, T), Refusal> {
    if bytes.len() > limits.max_bytes {
        return Err(Limits::too_large());
    }
    let plan = schema.map(|schema| &schema.plan);
    let declared = schema.map(|schema| &schema.schema);
    form_text(bytes)
        .and_then(|text| read_pairs(text, limits, plan, declared, run))
        .map_err(|fault| fault.refusal("body"))
}
