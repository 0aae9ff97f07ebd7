//! Query, route parameters and headers: text, put into the types that the schema declares, then judged by the same
//! parser and the same schema as a body.

use std::borrow::Cow;

use serde_json::Value;

use crate::error::{ConfigCode, ConfigError};
use crate::payload::config::PayloadConfig;
use crate::payload::explain::Found;
use crate::payload::fault::{Fault, FaultCode, Pointer};
use crate::payload::number::is_number;
use crate::payload::percent;
use crate::payload::plan::{Field, Plan, Types};
use crate::payload::schema::Schema;
use crate::refusal::Refusal;

/// A schema for members that arrive as text.
#[derive(Debug)]
pub struct TextSchema {
    schema: Schema,
    plan: Plan,
    location: &'static str,
}

impl TextSchema {
    /// Compiles the schema of `location`, one of `query`, `params` and `headers`, given as the option `path`. Queries are
    /// closed like bodies; parameters and headers are not, since routers and clients add their own.
    ///
    /// A `default` that does not match its own schema is an error, and so is a header name with capitals.
    pub fn compile(
        path: &str,
        schema: &Value,
        location: &'static str,
    ) -> Result<Self, ConfigError> {
        let compiled = Schema::compile(path, schema, location == "query")?;
        let plan = Plan::of(schema);
        let text = Self { schema: compiled, plan, location };
        text.judge_names(path)?;
        text.judge_defaults(path)?;
        Ok(text)
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
        let config = PayloadConfig::default();
        for field in self.plan.fields.iter().filter(|field| field.default.is_some()) {
            let mut object = Writer::new(0);
            object.raw(&field.name, field.default.as_deref().unwrap_or_default());
            let mut pointer = String::from("/");
            pointer.push_str(&field.name.replace('~', "~0").replace('/', "~1"));
            let text = object.finish();
            let fits = config.with_document(text.as_bytes(), Some(&self.schema), |document| {
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

    /// Reads a raw query string, without its `?`, and returns it as JSON text with types and defaults.
    pub(crate) fn read_query(
        &self,
        query: &str,
        config: &PayloadConfig,
        found: &mut Found,
    ) -> Result<String, Refusal> {
        if query.len() > config.max_bytes() {
            return Err(Refusal::new(
                413,
                "query_too_large",
                "the query is larger than is accepted",
            ));
        }
        let mut form = Form::new(self, query.len());
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            form.add(&decoded(key)?, decoded(value)?)?;
        }
        form.judge(config, found)
    }

    /// Reads members that are decoded already: route parameters, of which there is one each, or headers, of which only
    /// those are looked at that the schema declares.
    pub(crate) fn read_members(
        &self,
        members: &[(&str, &str)],
        config: &PayloadConfig,
        found: &mut Found,
    ) -> Result<String, Refusal> {
        let mut form = Form::new(self, 0);
        let mut seen = Vec::new();
        for (name, value) in members {
            if matches!(self.location, "headers" | "cookies") {
                let Some((at, _)) = self.plan.find(name) else { continue };
                // A header twice is two clients' opinions on one field, or a smuggled one: also where it is a list.
                if seen.contains(&at) {
                    return Err(self.repeated(name));
                }
                seen.push(at);
            }
            form.add(name, Cow::Borrowed(value))?;
        }
        form.judge(config, found)
    }

    #[cold]
    fn repeated(&self, key: &str) -> Refusal {
        let mut pointer = Pointer::root();
        pointer.key(key);
        let fault = Fault { code: FaultCode::DuplicateKey, offset: 0, pointer: pointer.finish() };
        fault.refusal(self.location)
    }
}

/// Members on their way to one JSON object.
struct Form<'s, 'q> {
    schema: &'s TextSchema,
    object: Writer,
    /// The values of declared lists, which may come in any order.
    lists: Vec<(usize, Vec<Cow<'q, str>>)>,
    /// The declared members that were given, where there is a default to fill in.
    given: Vec<usize>,
}

impl<'s, 'q> Form<'s, 'q> {
    fn new(schema: &'s TextSchema, size: usize) -> Self {
        Self { schema, object: Writer::new(size), lists: Vec::new(), given: Vec::new() }
    }

    fn add(&mut self, key: &str, value: Cow<'q, str>) -> Result<(), Refusal> {
        let Some((at, field)) = self.schema.plan.find(key) else {
            // Not declared: a string, which a closed schema refuses. A second one is the parser's to refuse.
            self.object.scalar(key, &value, Types::default());
            return Ok(());
        };
        if field.split {
            if self.lists.iter().any(|(list, _)| *list == at) {
                return Err(self.schema.repeated(key));
            }
            let trims = self.schema.location == "headers";
            self.lists.push((at, elements(&value, trims)));
            return Ok(());
        }
        if field.is_list() {
            match self.lists.iter_mut().find(|(list, _)| *list == at) {
                Some((_, values)) => values.push(value),
                None => self.lists.push((at, vec![value])),
            }
            return Ok(());
        }
        if field.default.is_some() {
            if self.given.contains(&at) {
                return Err(self.schema.repeated(key));
            }
            self.given.push(at);
        }
        self.object.scalar(key, &value, field.types);
        Ok(())
    }

    fn judge(mut self, config: &PayloadConfig, found: &mut Found) -> Result<String, Refusal> {
        let schema = self.schema;
        for (at, field) in schema.plan.fields.iter().enumerate() {
            let values = self.lists.iter().find(|(list, _)| *list == at).map(|(_, values)| values);
            match (values.map(Vec::as_slice), &field.default) {
                // One value of what may be a list or a single value is a single value.
                (Some([one]), _) if field.types.has_scalar() => {
                    self.object.scalar(&field.name, one, field.types);
                }
                (Some(values), _) => self.object.list(&field.name, values, field.items),
                (None, Some(default)) if !self.given.contains(&at) => {
                    self.object.raw(&field.name, default);
                }
                (None, _) => {}
            }
        }
        let text = self.object.finish();
        config.with_text(&text, schema.location, &schema.schema, |document| {
            schema.schema.check(document, schema.location, found);
        })?;
        Ok(text)
    }
}

/// The elements of a list that came as one text. A header may have blanks around them (RFC 9110 section 5.6.1).
fn elements<'q>(value: &Cow<'q, str>, trims: bool) -> Vec<Cow<'q, str>> {
    let trimmed = |part: &'q str| if trims { part.trim() } else { part };
    match value {
        Cow::Borrowed(text) => text.split(',').map(|part| Cow::Borrowed(trimmed(part))).collect(),
        Cow::Owned(text) => text.split(',').map(|part| Cow::Owned(part.to_owned())).collect(),
    }
}

/// Writes one JSON object.
struct Writer(String);

impl Writer {
    fn new(size: usize) -> Self {
        let mut text = String::with_capacity(size + 64);
        text.push('{');
        Self(text)
    }

    fn key(&mut self, key: &str) {
        if self.0.len() > 1 {
            self.0.push(',');
        }
        self.string(key);
        self.0.push(':');
    }

    fn raw(&mut self, key: &str, json: &str) {
        self.key(key);
        self.0.push_str(json);
    }

    fn scalar(&mut self, key: &str, value: &str, types: Types) {
        self.key(key);
        self.value(value, types);
    }

    fn list(&mut self, key: &str, values: &[Cow<'_, str>], types: Types) {
        self.key(key);
        self.0.push('[');
        for (i, value) in values.iter().enumerate() {
            if i > 0 {
                self.0.push(',');
            }
            self.value(value, types);
        }
        self.0.push(']');
    }

    /// What may be a string is one. Otherwise a text that is a number or boolean by JSON's own grammar becomes one; any
    /// other text stays a string, for the schema to refuse.
    fn value(&mut self, value: &str, types: Types) {
        let is_value = !types.has(Types::STRING)
            && (types.has(Types::NUMBER) && is_number(value)
                || types.has(Types::BOOLEAN) && matches!(value, "true" | "false"));
        if is_value { self.0.push_str(value) } else { self.string(value) }
    }

    fn string(&mut self, text: &str) {
        self.0.push('"');
        for c in text.chars() {
            match c {
                '"' => self.0.push_str("\\\""),
                '\\' => self.0.push_str("\\\\"),
                '\0'..='\x1f' => {
                    self.0.push_str("\\u00");
                    let code = u32::from(c);
                    self.0.extend(
                        [code >> 4, code & 15].iter().filter_map(|d| char::from_digit(*d, 16)),
                    );
                }
                c => self.0.push(c),
            }
        }
        self.0.push('"');
    }

    fn finish(mut self) -> String {
        self.0.push('}');
        self.0
    }
}

fn decoded(text: &str) -> Result<Cow<'_, str>, Refusal> {
    if !text.bytes().any(|byte| matches!(byte, b'%' | b'+')) {
        return Ok(Cow::Borrowed(text));
    }
    let mut bytes = Vec::with_capacity(text.len());
    let malformed =
        || Refusal::new(400, "malformed_query", "the query must be percent-encoded UTF-8");
    if !percent::decode(text, true, &mut bytes) {
        return Err(malformed());
    }
    String::from_utf8(bytes).map(Cow::Owned).map_err(|_| malformed())
}
