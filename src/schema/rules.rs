//! The settings that all schemas of a guard share: the default draft, registered schemas, the
//! application's formats and keywords, and its texts for errors.

use std::sync::Arc;

use jsonschema::Draft;
use serde_json::{Map, Value};

use crate::config::options::{Options, is_function};
use crate::error::{ConfigCode, ConfigError};
use crate::messages::Messages;
use crate::pattern::{Flags, Matcher, Pattern};
use crate::schema::compiled::draft_of;
use crate::schema::keywords::{error_at, is_keyword, survey};
use crate::schema::registry::{embed, place_of};

/// The options under `payload` that are about schemas; the limits of bodies are
/// [`crate::payload::PayloadConfig`].
#[derive(Debug, Default)]
pub struct SchemaRules {
    draft: Option<Draft>,
    registry: Map<String, Value>,
    formats: Vec<(Box<str>, Format)>,
    keywords: Vec<Box<str>>,
    messages: Arc<Messages>,
    token_names: Vec<Box<str>>,
}

/// A format of the application's own.
#[derive(Debug, Clone)]
pub(crate) enum Format {
    /// A pattern, in linear time.
    Pattern(Arc<Matcher>),
    /// A function, which the shim runs after the core.
    Function,
}

impl Format {
    pub(crate) fn accepts(&self, text: &str) -> bool {
        match self {
            Self::Pattern(pattern) => pattern.is_match(text),
            Self::Function => true,
        }
    }
}

/// The drafts, by their names in the option `draft`.
pub(crate) const DRAFTS: &[(&str, Draft)] = &[
    ("4", Draft::Draft4),
    ("6", Draft::Draft6),
    ("7", Draft::Draft7),
    ("2019-09", Draft::Draft201909),
    ("2020-12", Draft::Draft202012),
];

impl SchemaRules {
    /// The options of `payload` that this type reads. They belong to the guard alone.
    pub const KEYS: &[&str] = &["draft", "schemas", "formats", "keywords", "messages"];

    /// Reads the options from `payload`; without it, the defaults apply.
    ///
    /// - `draft`: `'4'`, `'6'`, `'7'`, `'2019-09'` or `'2020-12'`, for schemas without `$schema`
    /// - `schemas`: schemas by their absolute URI, for `$ref`; nothing is ever fetched
    /// - `formats`: maps a name to a function, a pattern, or `{ source, flags }` as the shim writes
    ///   a `RegExp`
    /// - `keywords`: maps a name to a function
    /// - `messages`: texts by error code, and by language with texts by code
    ///
    /// # Errors
    /// The first fault in the options.
    pub fn parse(path: &str, value: Option<&Value>) -> Result<Self, ConfigError> {
        let Some(Value::Object(payload)) = value else { return Ok(Self::default()) };
        let own: Map<String, Value> = payload
            .iter()
            .filter(|(key, _)| Self::KEYS.contains(&key.as_str()))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        let own = Value::Object(own);
        let options = Options::read(path, &own, Self::KEYS)?;
        let mut rules = Self { draft: options.one_of("draft", DRAFTS)?, ..Self::default() };
        for (name, value) in members(&options, "keywords")? {
            rules.keywords.push(keyword(&options.path_of("keywords"), name, value)?);
        }
        for (name, value) in members(&options, "formats")? {
            let path = format!("{}.{name}", options.path_of("formats"));
            rules.formats.push((name.as_str().into(), format(&path, value)?));
        }
        rules.messages =
            Arc::new(Messages::parse(&options.path_of("messages"), options.get("messages"))?);
        for (uri, schema) in members(&options, "schemas")? {
            let path = options.path_of("schemas");
            if !uri.contains(':') || uri.contains('#') {
                let error =
                    ConfigError::invalid(path, "must have absolute URIs without `#` as keys");
                return Err(error.suggest("write 'https://api.example.com/user.json'"));
            }
            if !schema.is_object() {
                return Err(ConfigError::invalid(path, "must hold schemas that are objects"));
            }
            rules.registry.insert(uri.clone(), schema.clone());
        }
        rules.judge_registry(&options.path_of("schemas"))?;
        Ok(rules)
    }

    /// These rules, for a guard that accepts tokens in the query under these names.
    #[must_use]
    pub fn with_token_names<'n>(self, names: impl Iterator<Item = &'n str>) -> Self {
        Self { token_names: names.map(Into::into).collect(), ..self }
    }

    /// Refuses these options in the `payload` of a route.
    pub fn refuse_in_route(path: &str, value: &Value) -> Result<(), ConfigError> {
        let given = |key: &&&str| value.get(**key).is_some();
        match Self::KEYS.iter().find(given) {
            Some(key) => {
                let error = ConfigError::invalid(
                    format!("{path}.{key}"),
                    "is shared by all schemas of a guard",
                );
                Err(error.suggest("set it in the `payload` of createGuard"))
            }
            None => Ok(()),
        }
    }

    /// Surveys each registered schema by itself, so that its faults do not surface only in a schema
    /// that refers to it.
    fn judge_registry(&self, path: &str) -> Result<(), ConfigError> {
        for (uri, schema) in &self.registry {
            let path = format!("{path}['{uri}']");
            let draft = draft_of(&path, schema, self)?;
            // The targets of its references are checked when another schema refers to it.
            let mut alone = schema.clone();
            embed(&path, &mut alone, draft, self)?;
            let survey = survey(&path, &alone, draft, self)?;
            // Its targets are surveyed by themselves, too.
            let own = |at: &str| !self.registry.keys().any(|uri| at.starts_with(&place_of(uri)));
            if let Some((at, _)) = survey.functions.iter().find(|(at, _)| own(at)) {
                let error = error_at(
                    &path,
                    at,
                    "asks a function, which no schema asks that is referred to",
                );
                return Err(
                    error.suggest("write the format or keyword where the schema of a route has it")
                );
            }
        }
        Ok(())
    }

    pub(crate) fn draft(&self) -> Draft {
        self.draft.unwrap_or(Draft::Draft202012)
    }

    /// The names of query parameters that may carry a token.
    pub(crate) fn token_names(&self) -> &[Box<str>] {
        &self.token_names
    }

    pub(crate) fn registry(&self) -> &Map<String, Value> {
        &self.registry
    }

    pub(crate) fn formats(&self) -> &[(Box<str>, Format)] {
        &self.formats
    }

    /// Whether the format of that name is a function, which the shim runs.
    pub(crate) fn is_function(&self, format: &str) -> bool {
        let is_it = |(name, format_of): &(Box<str>, Format)| {
            **name == *format && matches!(format_of, Format::Function)
        };
        self.formats.iter().any(is_it)
    }

    pub(crate) fn keywords(&self) -> &[Box<str>] {
        &self.keywords
    }

    pub(crate) fn messages(&self) -> &Arc<Messages> {
        &self.messages
    }
}

fn members<'a>(
    options: &Options<'a>,
    key: &str,
) -> Result<impl Iterator<Item = (&'a String, &'a Value)> + use<'a>, ConfigError> {
    let map = match options.get(key) {
        None => None,
        Some(Value::Object(map)) => Some(map),
        Some(_) => return Err(options.invalid(key, "must be an object")),
    };
    Ok(map.into_iter().flatten())
}

fn keyword(path: &str, name: &str, value: &Value) -> Result<Box<str>, ConfigError> {
    let path = format!("{path}.{name}");
    if is_keyword(name) {
        return Err(ConfigError::invalid(path, "is a keyword already").suggest("take another name"));
    }
    if !is_function(value) {
        let error = ConfigError::invalid(path, "must be a function");
        return Err(error.suggest("write `(value, argument) => true or false`"));
    }
    Ok(name.into())
}

fn format(path: &str, value: &Value) -> Result<Format, ConfigError> {
    if is_function(value) {
        return Ok(Format::Function);
    }
    let member = |key| value.get(key).and_then(Value::as_str);
    let (source, flags) = match value {
        Value::String(source) if !source.starts_with('\0') => (source.as_str(), "u"),
        Value::Object(_) => {
            (member("source").unwrap_or_default(), member("flags").unwrap_or_default())
        }
        _ => {
            return Err(ConfigError::invalid(path, "must be a regular expression or a function"));
        }
    };
    if let Some(flag) = flags.chars().find(|flag| !"imsuv".contains(*flag)) {
        let problem = format!("has the flag '{flag}', which says nothing about one string");
        return Err(ConfigError::invalid(path, problem).suggest("leave it out"));
    }
    let pattern = Pattern::read_with(source, Flags::of(flags));
    let matcher = pattern.and_then(|pattern| Matcher::of(&pattern)).map_err(|fault| {
        let or = if fault.steps_back { ", or give a function" } else { "" };
        ConfigError::new(ConfigCode::InvalidSchema, path, fault.problem)
            .suggest(format!("{}{or}", fault.advice))
    })?;
    Ok(Format::Pattern(Arc::new(matcher)))
}
