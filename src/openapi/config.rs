//! The options of `guard.fromOpenApi`.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::config::options::{Options, describe, did_you_mean, is_function};
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

/// An exception from the specification that an option names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tolerance {
    /// Fields that the specification does not define are ignored.
    UnknownFields,
    /// Keywords of schemas that the version does not define are ignored.
    UnknownKeywords,
    /// `nullable: true` accepts `null` wherever it stands: in 3.1, beside `$ref`, without `type`,
    /// beside an
    /// `enum` without `null`.
    Nullable,
    /// Keywords beside `$ref` in 3.0 are ignored, as 3.0 defines it.
    RefSiblings,
    /// A query at the end of a path selects the operation among those of the same path.
    PathQueries,
    /// A fragment at the end of a path is cut off. Where the same path and method is described
    /// twice
    /// then, the one without a fragment counts, or the first one.
    PathFragments,
    /// A default that does not match its own schema is not filled in.
    Defaults,
    /// Parameters of a template that the operation does not describe, and the reverse.
    PathParameters,
    /// The second operation of one `operationId` is known by its method and path only.
    OperationIds,
}

const TOLERANCES: &[(&str, Tolerance)] = &[
    ("unknown-fields", Tolerance::UnknownFields),
    ("unknown-keywords", Tolerance::UnknownKeywords),
    ("nullable", Tolerance::Nullable),
    ("ref-siblings", Tolerance::RefSiblings),
    ("path-queries", Tolerance::PathQueries),
    ("path-fragments", Tolerance::PathFragments),
    ("defaults", Tolerance::Defaults),
    ("path-parameters", Tolerance::PathParameters),
    ("operation-ids", Tolerance::OperationIds),
];

/// The checked options.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OpenApiConfig {
    pub(crate) base_path: Option<String>,
    pub(crate) refuse_unknown: bool,
    pub(crate) pass_unreadable: bool,
    pub(crate) undeclared: Undeclared,
    pub(crate) ignored_formats: Vec<String>,
    pub(crate) ignored_patterns: Vec<String>,
    /// Operations that are left out: their `operationId`, or `METHOD /path`.
    pub(crate) skipped: Vec<String>,
    pub(crate) tolerated: Vec<Tolerance>,
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
    /// - `ignorePatterns`: patterns that are not checked, as the document writes them
    /// - `skip`: operations that are left out, by `operationId` or `METHOD /path`: a request for
    ///   one of them is handled as `unknown` defines
    /// - `tolerate`: names of exceptions from the specification ([`Tolerance`])
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
            "ignorePatterns",
            "skip",
            "tolerate",
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
            ignored_formats: names(&options, "ignoreFormats")?,
            ignored_patterns: names(&options, "ignorePatterns")?,
            skipped: names(&options, "skip")?,
            tolerated: tolerated(&options)?,
            security: security(&options)?,
            responses: options.one_of("responses", &ways)?,
        })
    }
}

fn names(options: &Options<'_>, key: &str) -> Result<Vec<String>, ConfigError> {
    let names = options.strings(key)?.unwrap_or_default();
    Ok(names.into_iter().map(str::to_owned).collect())
}

fn tolerated(options: &Options<'_>) -> Result<Vec<Tolerance>, ConfigError> {
    let names = options.strings("tolerate")?.unwrap_or_default();
    let known: Vec<&str> = TOLERANCES.iter().map(|(name, _)| *name).collect();
    names
        .into_iter()
        .enumerate()
        .map(|(i, name)| {
            let found = TOLERANCES.iter().find(|(known, _)| *known == name);
            found.map(|(_, tolerance)| *tolerance).ok_or_else(|| {
                let path = format!("{}[{i}]", options.path_of("tolerate"));
                ConfigError::invalid(path, "is no exception that can be tolerated")
                    .suggest(did_you_mean(name, &known))
            })
        })
        .collect()
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
