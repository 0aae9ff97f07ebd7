//! Tests with typical policies, and with an attacker's policies and requests.

mod gate;
mod limits;
mod meaning;
mod requests;

use serde_json::{Map, Value as Json, json};

use super::{InputParts, Outcome, PolicyConfig, PolicySet};
use crate::clock::Now;
use crate::error::ConfigError;

/// The policy of the article, word for word: Rego v0 with `=`.
pub(super) const ARTICLE: &str = r#"
package httpapi.authz
default allow = false
allow {
  input.method = "GET"
  input.path = ["api","v1","users"]
  input.user.role = "admin"
}
"#;

pub(super) const NOW: Now = Now::at_unix_us(1_700_000_000_000_000);

pub(super) fn compile_with(options: &Json) -> Result<PolicySet, ConfigError> {
    PolicySet::compile(&PolicyConfig::parse("policy", options)?)
}

/// One module, with the query `data.t.allow`.
pub(super) fn compile(module: &str) -> Result<PolicySet, ConfigError> {
    compile_with(&json!({ "policies": { "t.rego": module }, "query": "data.t.allow" }))
}

/// `package t` with a default, and `rules`, in v1.
pub(super) fn rules(rules: &str) -> Result<PolicySet, ConfigError> {
    compile(&format!("package t\nimport rego.v1\ndefault allow := false\n{rules}\n"))
}

pub(super) fn article() -> PolicySet {
    let query = "data.httpapi.authz.allow";
    compile_with(&json!({ "policies": { "authz.rego": ARTICLE }, "query": query })).unwrap()
}

pub(super) fn ask(set: &PolicySet, input: &InputParts<'_>) -> Outcome {
    set.evaluate(&set.default_query(), input, NOW)
}

/// Evaluates a hand-made input.
pub(super) fn ask_json(set: &PolicySet, input: &Json) -> Outcome {
    set.evaluate_json(&set.default_query(), input, NOW)
}

pub(super) fn claims(value: &Json) -> Map<String, Json> {
    value.as_object().unwrap().clone()
}
