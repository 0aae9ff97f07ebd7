//! The `policy` option, checked.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use crate::config::options::{Options, describe, string_at};
use crate::error::{ConfigCode, ConfigError};

const KNOWN: &[&str] =
    &["policies", "data", "query", "regoVersion", "limits", "reload", "shadow", "decisionLog"];
/// Planned options that this version refuses rather than ignores.
const NOT_YET: &[&str] = &["reload", "shadow", "decisionLog"];

const TIME_MS: RangeInclusive<u64> = 1..=1_000;
const INPUT_BYTES: RangeInclusive<u64> = 256..=16 << 20;
const DEPTH: RangeInclusive<u64> = 4..=128;

/// The source of the Rego text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PolicySource {
    /// A `.rego` file, or a folder. All `.rego` files of the folder and its subfolders are loaded.
    Path(PathBuf),
    /// Modules given in the configuration: name and Rego text, sorted by name.
    Modules(Vec<(String, String)>),
}

/// The dialect of Rego.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RegoVersion {
    /// Every module is read as v1, or, if it lacks the `if` and `contains` of v1, as v0.
    #[default]
    Auto,
    /// Rego before OPA 1.0: `allow { ... }`.
    V0,
    /// Rego since OPA 1.0: `allow if { ... }`.
    V1,
}

/// The limits of one evaluation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The maximum time of an evaluation. Default 25 ms, 1 ms to 1 s.
    pub time: Duration,
    /// The maximum bytes of text and numbers in the input. Default 64 kb, 256 bytes to 16 mb.
    pub input_bytes: usize,
    /// The maximum nesting of the input, the claims and the body. Default 32, 4 to 128.
    pub depth: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { time: Duration::from_millis(25), input_bytes: 64 << 10, depth: 32 }
    }
}

/// A checked `policy` option. [`PolicySet::compile`](super::PolicySet::compile) checks the Rego
/// text itself.
#[derive(Debug, Clone)]
pub struct PolicyConfig {
    pub(super) path: String,
    pub(super) source: PolicySource,
    pub(super) data: Value,
    pub(super) query: String,
    pub(super) version: RegoVersion,
    pub(super) limits: Limits,
}

impl PolicyConfig {
    /// Reads the option at `path` (`policy`):
    ///
    /// - `policies`, required: a folder or a `.rego` file, or an object from module name to Rego
    ///   text
    /// - `data`: an object, default empty
    /// - `query`, required: a rule with a default, `data.httpapi.authz.allow`
    /// - `regoVersion`: `'auto'` (default), `'v0'` or `'v1'`
    /// - `limits`: `{ timeMs, inputBytes, depth }`, see [`Limits`]
    pub fn parse(path: &str, value: &Value) -> Result<Self, ConfigError> {
        let options = Options::read(path, value, KNOWN)?;
        for key in NOT_YET {
            if options.has(key) {
                let error = options.invalid(key, "is not available yet");
                return Err(error.suggest("leave it out"));
            }
        }
        let policies =
            options.require("policies", "a folder, a .rego file, or { name: 'Rego text' }")?;
        let source = source(&options.path_of("policies"), policies)?;
        let data = match options.get("data") {
            None => Value::Object(serde_json::Map::new()),
            Some(value) => data(&options.path_of("data"), value)?,
        };
        let query_path = options.path_of("query");
        let query = options.require("query", "the rule to ask, 'data.httpapi.authz.allow'")?;
        let query = rule_path(&query_path, string_at(&query_path, query)?)?;
        let versions =
            [("auto", RegoVersion::Auto), ("v0", RegoVersion::V0), ("v1", RegoVersion::V1)];
        Ok(Self {
            path: path.to_owned(),
            source,
            data,
            query,
            version: options.one_of("regoVersion", &versions)?.unwrap_or_default(),
            limits: limits(&options)?,
        })
    }

    /// The limits of every evaluation.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// The rule for routes that name no other.
    #[must_use]
    pub fn query(&self) -> &str {
        &self.query
    }
}

/// Checks that `query` is `data.` and identifiers: a rule's own path, and no expression such as a
/// comparison.
pub(super) fn rule_path(path: &str, query: &str) -> Result<String, ConfigError> {
    let identifier = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
    };
    let mut parts = query.split('.');
    let well_formed = parts.next() == Some("data")
        && query.split('.').count() >= 3
        && parts.all(identifier)
        && query.len() <= 256;
    if well_formed {
        return Ok(query.to_owned());
    }
    Err(ConfigError::invalid(path, "must be the path of one rule").suggest(
        "write 'data.', the package and the rule's name, such as 'data.httpapi.authz.allow'",
    ))
}

fn source(path: &str, value: &Value) -> Result<PolicySource, ConfigError> {
    match value {
        Value::Object(modules) if modules.is_empty() => {
            Err(ConfigError::invalid(path, "must have at least one module")
                .suggest("write { 'authz.rego': 'package httpapi.authz ...' }"))
        }
        Value::Object(modules) => {
            let mut sources = Vec::with_capacity(modules.len());
            for (name, text) in modules {
                let at = format!("{path}[\"{}\"]", name.escape_default());
                if name.is_empty() || name.chars().any(char::is_control) {
                    return Err(ConfigError::invalid(at, "must have a printable name"));
                }
                sources.push((name.clone(), string_at(&at, text)?.to_owned()));
            }
            sources.sort();
            Ok(PolicySource::Modules(sources))
        }
        Value::String(_) => {
            let text = string_at(path, value)?;
            let lower = text.to_ascii_lowercase();
            let archive = [".tar.gz", ".tgz"].iter().any(|ending| lower.ends_with(ending));
            if archive || lower.contains("://") {
                let error =
                    ConfigError::invalid(path, "names a bundle, which is not available yet");
                return Err(error.suggest("give a folder with .rego files"));
            }
            if text.is_empty() || text.contains('\0') {
                return Err(ConfigError::invalid(
                    path,
                    "must be the path of a folder or .rego file",
                ));
            }
            Ok(PolicySource::Path(PathBuf::from(text)))
        }
        other => Err(ConfigError::invalid(
            path,
            format!(
                "must be the path of a folder or .rego file, or an object of modules, not {}",
                describe(other)
            ),
        )),
    }
}

fn data(path: &str, value: &Value) -> Result<Value, ConfigError> {
    if !value.is_object() {
        let problem = format!("must be an object, not {}", describe(value));
        return Err(ConfigError::invalid(path, problem));
    }
    if holds_marker(value) {
        let error = ConfigError::invalid(path, "must hold JSON only, no functions or Buffers");
        return Err(error.suggest("pass what JSON.stringify keeps"));
    }
    Ok(value.clone())
}

/// Whether a value contains a marker: values without a JSON form arrive as a string that starts
/// with NUL. As data, it would be a text that the policy compares.
fn holds_marker(value: &Value) -> bool {
    match value {
        Value::String(text) => text.starts_with('\0'),
        Value::Array(items) => items.iter().any(holds_marker),
        Value::Object(members) => members.values().any(holds_marker),
        _ => false,
    }
}

fn limits(options: &Options<'_>) -> Result<Limits, ConfigError> {
    let mut limits = Limits::default();
    let Some(value) = options.get("limits") else { return Ok(limits) };
    let given =
        Options::read(options.path_of("limits"), value, &["timeMs", "inputBytes", "depth"])?;
    if let Some(ms) = given.integer("timeMs", TIME_MS)? {
        limits.time = Duration::from_millis(ms);
    }
    if let Some(bytes) = given.size("inputBytes", INPUT_BYTES)? {
        limits.input_bytes = usize::try_from(bytes).unwrap_or(limits.input_bytes);
    }
    if let Some(depth) = given.integer("depth", DEPTH)? {
        limits.depth = usize::try_from(depth).unwrap_or(limits.depth);
    }
    Ok(limits)
}

/// A [`ConfigCode::InvalidPolicy`] error about the Rego text of `policy.policies`.
pub(super) fn invalid_policy(policy: &str, problem: impl Into<String>) -> ConfigError {
    ConfigError::new(ConfigCode::InvalidPolicy, format!("{policy}.policies"), problem)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn parse(value: &Value) -> Result<PolicyConfig, ConfigError> {
        PolicyConfig::parse("policy", value)
    }

    fn error(value: &Value) -> String {
        parse(value).unwrap_err().to_string()
    }

    #[test]
    fn the_smallest_policy_is_a_source_and_a_query() {
        let config = parse(&json!({ "policies": "./policy", "query": "data.a.allow" })).unwrap();
        assert_eq!(config.source, PolicySource::Path(PathBuf::from("./policy")));
        assert_eq!(config.limits, Limits::default());
        assert_eq!(config.version, RegoVersion::Auto);
    }

    #[test]
    fn policies_and_query_must_be_given() {
        assert!(error(&json!({ "query": "data.a.allow" })).starts_with("`policy.policies`"));
        assert!(error(&json!({ "policies": "./policy" })).starts_with("`policy.query`"));
    }

    #[test]
    fn a_query_is_the_path_of_one_rule_and_no_expression() {
        for query in [
            "",
            "data",
            "data.allow",
            "httpapi.authz.allow",
            "data.a.allow == true",
            "data.a..allow",
            "data.a.allow; true",
            "data.a[\"allow\"]",
            "data.a.1",
            "true",
            "not data.a.allow",
        ] {
            let text = error(&json!({ "policies": "./policy", "query": query }));
            assert!(text.starts_with("`policy.query` must be the path of one rule"), "{text}");
        }
    }

    #[test]
    fn what_is_not_available_yet_is_refused_by_name() {
        for key in NOT_YET {
            let text = error(&json!({ "policies": "./p", "query": "data.a.allow", (*key): false }));
            assert!(text.contains(&format!("`policy.{key}` is not available yet")), "{text}");
        }
        for bundle in ["https://opa.example/b.tar.gz", "./bundle.tar.gz", "./bundle.tgz"] {
            let text = error(&json!({ "policies": bundle, "query": "data.a.allow" }));
            assert!(text.contains("bundle"), "{text}");
        }
    }

    #[test]
    fn an_unknown_key_has_a_did_you_mean() {
        let text =
            error(&json!({ "policies": "./p", "query": "data.a.allow", "regoVerson": "v1" }));
        assert!(text.contains("did you mean `regoVersion`"), "{text}");
    }

    #[test]
    fn limits_have_a_range_and_units() {
        let value = json!({ "policies": "./p", "query": "data.a.allow",
            "limits": { "timeMs": 5, "inputBytes": "1mb", "depth": 8 } });
        let limits = parse(&value).unwrap().limits();
        assert_eq!((limits.time.as_millis(), limits.input_bytes, limits.depth), (5, 1 << 20, 8));
        for bad in
            [json!({ "timeMs": 0 }), json!({ "depth": 1000 }), json!({ "inputBytes": "1gb" })]
        {
            let value = json!({ "policies": "./p", "query": "data.a.allow", "limits": bad });
            assert!(error(&value).starts_with("`policy.limits."));
        }
    }

    #[test]
    fn data_is_an_object_of_json() {
        for bad in [json!([]), json!(null), json!("x"), json!({ "f": ["\0function"] })] {
            let value = json!({ "policies": "./p", "query": "data.a.allow", "data": bad });
            assert!(error(&value).starts_with("`policy.data`"));
        }
    }

    #[test]
    fn a_module_is_text() {
        for bad in [json!({}), json!({ "a.rego": 1 }), json!({ "a.rego": "\0function" }), json!(7)]
        {
            let value = json!({ "policies": bad, "query": "data.a.allow" });
            assert!(error(&value).starts_with("`policy.policies"));
        }
    }
}
