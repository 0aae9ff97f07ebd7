//! The options of `guard.fromOpenApi`.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::config::options::{Options, describe, is_function};
use crate::error::ConfigError;
use crate::request::sendable;

/// The enforcement of a security scheme of the document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SchemeUse {
    /// A token that the guard verifies.
    Token,
    /// A function of the application.
    Function,
    /// Enforced elsewhere: the guard checks nothing.
    Elsewhere,
}

/// The treatment of members that a body or query does not declare.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Undeclared {
    /// Refused at the top of a body and of the query, unless the schema decides otherwise.
    #[default]
    Refuse,
    /// The rule of JSON Schema: accepted, unless the schema decides otherwise.
    Accept,
}

/// The checked options.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OpenApiConfig {
    pub(crate) base_path: Option<String>,
    pub(crate) refuse_unknown: bool,
    pub(crate) pass_unreadable: bool,
    pub(crate) undeclared: Undeclared,
    pub(crate) ignored_formats: Vec<String>,
    pub(crate) security: BTreeMap<String, SchemeUse>,
    /// The `onResponse` of every operation. Without it, the document's answers are not checked.
    pub(crate) responses: Option<&'static str>,
}

impl OpenApiConfig {
    /// Reads the options:
    ///
    /// - `basePath`: the prefix of every path of the document, `''` or `'/v1'`; by default the path
    ///   of `servers`
    /// - `unknown`: `'pass'` (default) or `'refuse'` requests that match no operation
    /// - `unreadable`: `'refuse'` (default) or `'pass'`: bodies and parameters in a form that is
    ///   not supported
    /// - `undeclared`: `'refuse'` (default) or `'accept'`: members that a body or query does not
    ///   declare
    /// - `ignoreFormats`: names of formats that are not checked
    /// - `security`: maps the name of a scheme to `'token'`, `false` or a function
    /// - `responses`: `'strip'`, `'warn'` or `'fail'`: the reaction to answers that do not match
    ///   the document; without it they are not checked
    pub fn parse(value: &Value) -> Result<Self, ConfigError> {
        const KNOWN: &[&str] = &[
            "basePath",
            "unknown",
            "unreadable",
            "undeclared",
            "ignoreFormats",
            "security",
            "responses",
        ];
        let options = Options::read("options", value, KNOWN)?;
        let base_path = options.string("basePath")?;
        if let Some(base) = base_path
            && !base.is_empty()
            && (!base.starts_with('/') || base.ends_with('/'))
        {
            let error = options
                .invalid("basePath", "must be empty, or begin with a slash and not end with one");
            return Err(error.suggest("write '/v1'"));
        }
        let usable =
            |raw: &str| !raw.is_empty() && sendable(raw).is_some() && !raw.contains(['{', '}']);
        if !base_path.unwrap_or_default().split('/').skip(1).all(usable) {
            let error = options.invalid("basePath", "is a path that no request can have");
            return Err(error.suggest(
                "write it as it is sent, without parameters: ASCII, the rest percent-encoded",
            ));
        }
        let refuse = [("pass", false), ("refuse", true)];
        let ways = ["strip", "warn", "fail"].map(|way| (way, way));
        let undeclared = [("refuse", Undeclared::Refuse), ("accept", Undeclared::Accept)];
        Ok(Self {
            base_path: base_path.map(str::to_owned),
            refuse_unknown: options.one_of("unknown", &refuse)?.unwrap_or(false),
            pass_unreadable: !options.one_of("unreadable", &refuse)?.unwrap_or(true),
            undeclared: options.one_of("undeclared", &undeclared)?.unwrap_or_default(),
            ignored_formats: options
                .strings("ignoreFormats")?
                .unwrap_or_default()
                .into_iter()
                .map(str::to_owned)
                .collect(),
            security: security(&options)?,
            responses: options.one_of("responses", &ways)?,
        })
    }
}

fn security(options: &Options<'_>) -> Result<BTreeMap<String, SchemeUse>, ConfigError> {
    let Some(value) = options.get("security") else { return Ok(BTreeMap::new()) };
    let path = options.path_of("security");
    let Value::Object(map) = value else {
        let problem = format!("must be an object, not {}", describe(value));
        return Err(ConfigError::invalid(path, problem)
            .suggest("write { schemeName: 'token' }, a function or false"));
    };
    map.iter()
        .map(|(name, value)| {
            let use_of = match value {
                Value::Bool(false) => SchemeUse::Elsewhere,
                Value::String(text) if text == "token" => SchemeUse::Token,
                value if is_function(value) => SchemeUse::Function,
                value => {
                    let problem =
                        format!("must be 'token', false or a function, not {}", describe(value));
                    return Err(ConfigError::invalid(format!("{path}.{name}"), problem));
                }
            };
            Ok((name.clone(), use_of))
        })
        .collect()
}
