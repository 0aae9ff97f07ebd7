//! `input.resource`: the object of a request, such as an order with its owner, which the
//! application looks up.
//! Without it a policy can't decide whether this user may touch this object (OWASP API1:2023).
//!
//! The application's function is called for each request that the limits admit, before the policy.
//! Its answer can't set any other member of `input`. No answer is a fault, and never a pass.

use std::time::Duration;

use serde_json::Value as Json;

use super::config::Limits;
use super::decision::{FaultKind, Outcome};
use super::input::InputError;
use crate::config::options::{Options, is_function};
use crate::error::{ConfigCode, ConfigError};

const TIMEOUT: Duration = Duration::from_secs(1);
const MIN_TIMEOUT: Duration = Duration::from_millis(10);
const MAX_TIMEOUT: Duration = Duration::from_secs(30);
/// The text may hold members that the policy does not read, and that do not count for
/// `limits.inputBytes`.
const TEXT_PER_INPUT: usize = 16;

/// The question to the application for the resource of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResourceAsk {
    /// The longest time that it may take; 10 ms to 30 s, by default 1 s.
    pub timeout: Duration,
}

/// The application's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ResourceAnswer {
    /// The resource, as JSON.
    Found(String),
    /// There is none: `input.resource` is null.
    Nothing,
    /// The function gave no answer within its time.
    Timeout,
    /// The function has thrown, or its promise was rejected.
    Failed,
}

impl ResourceAsk {
    /// Reads `input`, a function, and `timeout` of a route's policy. `None` without `input`.
    /// `is_read`: whether any module reads `input.resource`.
    ///
    /// # Errors
    /// `input` is no function, or nothing would read its result; `timeout` is out of range, or
    /// without `input`.
    pub fn parse(options: &Options<'_>, is_read: bool) -> Result<Option<Self>, ConfigError> {
        let conflict = |key: &str, why: &str| {
            ConfigError::new(ConfigCode::ConflictingOptions, options.path_of(key), why)
        };
        let Some(input) = options.get("input") else {
            return if options.has("timeout") {
                let why = "is the time of `input`, and there is none";
                Err(conflict("timeout", why).suggest("add `input`, or leave it out"))
            } else {
                Ok(None)
            };
        };
        if !is_function(input) {
            let example = "write async (req) => ({ resource: await orders.find(req.params.id) })";
            return Err(options.invalid("input", "must be a function").suggest(example));
        }
        if !is_read {
            let why = "gives the policy a resource, and no module reads `input.resource`";
            return Err(conflict("input", why)
                .suggest("leave it out, or read `input.resource` in the policy"));
        }
        let timeout = options.duration("timeout", MIN_TIMEOUT..=MAX_TIMEOUT)?.unwrap_or(TIMEOUT);
        Ok(Some(Self { timeout }))
    }
}

impl ResourceAnswer {
    /// The resource, or the outcome for a request without a usable one.
    ///
    /// # Errors
    /// A fault if there is no answer; a denial if the answer is larger or nested deeper than
    /// `limits` allow.
    pub(super) fn read(self, limits: &Limits) -> Result<Json, Outcome> {
        let denied = |error: InputError| Err(Outcome::denied(error.reason()));
        match self {
            Self::Found(json) if json.len() > limits.input_bytes.saturating_mul(TEXT_PER_INPUT) => {
                denied(InputError::TooLarge)
            }
            // It was written by `JSON.stringify`: only its depth can be beyond the reader.
            Self::Found(json) => {
                serde_json::from_str(&json).or_else(|_| denied(InputError::TooDeep))
            }
            Self::Nothing => Ok(Json::Null),
            Self::Timeout => Err(Outcome::fault(FaultKind::ResourceTimeout)),
            Self::Failed => Err(Outcome::fault(FaultKind::ResourceFailed)),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(value: &Json, is_read: bool) -> Result<Option<ResourceAsk>, String> {
        let options = Options::read("policy", value, &["query", "input", "timeout"]).unwrap();
        ResourceAsk::parse(&options, is_read).map_err(|error| error.to_string())
    }

    #[test]
    fn the_function_has_a_second_unless_the_route_says_otherwise() {
        let timeout = |value| parse(&value, true).unwrap().map(|ask| ask.timeout.as_millis());
        assert_eq!(timeout(json!({})), None);
        assert_eq!(timeout(json!({ "input": "\0function" })), Some(1000));
        assert_eq!(timeout(json!({ "input": "\0function", "timeout": "50ms" })), Some(50));
    }

    #[test]
    fn what_would_do_nothing_is_refused() {
        let error = |value, is_read| parse(&value, is_read).unwrap_err();
        assert!(error(json!({ "input": {} }), true).contains("`policy.input` must be a function"));
        assert!(error(json!({ "input": "\0function" }), false).contains("no module reads"));
        assert!(error(json!({ "timeout": "1s" }), true).contains("`policy.timeout`"));
        for timeout in ["9ms", "31s"] {
            let text = error(json!({ "input": "\0function", "timeout": timeout }), true);
            assert!(text.contains("`policy.timeout`"), "{text}");
        }
    }

    #[test]
    fn an_answer_that_is_none_is_never_a_resource() {
        let limits = Limits { input_bytes: 256, ..Limits::default() };
        let read = |answer: ResourceAnswer| answer.read(&limits);
        assert_eq!(read(ResourceAnswer::Nothing), Ok(Json::Null));
        assert_eq!(read(ResourceAnswer::Found("{\"a\":1}".into())), Ok(json!({ "a": 1 })));
        let large = format!("\"{}\"", "x".repeat(256 * TEXT_PER_INPUT));
        let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
        let answers = [
            ResourceAnswer::Found(large),
            ResourceAnswer::Found(deep),
            ResourceAnswer::Timeout,
            ResourceAnswer::Failed,
        ];
        for answer in answers {
            assert!(!read(answer).unwrap_err().is_allowed());
        }
    }
}
