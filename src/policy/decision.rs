//! Maps a policy's result to the decision about the request.

use std::fmt;

use regorus::Value;

use crate::refusal::Refusal;

const MAX_REASONS: usize = 16;
const MAX_REASON_CHARS: usize = 256;
/// Members of a decision that require an action. No layer performs it, so they deny.
const OBLIGATIONS: [&str; 3] = ["obligations", "filters", "headers"];
const RETRY_AFTER: &str = "1";

/// The decision about one request. Only [`Outcome::Allow`] lets it pass.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Outcome {
    /// The rule is `true`, or an object whose `allow` is `true`.
    Allow {
        /// The decision's `reasons`, at most 16 of at most 256 characters each.
        reasons: Vec<String>,
    },
    /// The policy denies the request.
    Deny {
        /// As for [`Outcome::Allow`]. They are for the log: the client does not get them.
        reasons: Vec<String>,
        /// The decision's `status`, 400 to 499, if it names one; otherwise 403.
        status: Option<u16>,
    },
    /// There is no trustworthy result, so the request does not pass.
    Fault {
        /// The reason.
        kind: FaultKind,
        /// The `file:line:col` of the expression that failed, if the engine names it; for a panic,
        /// the location in the source code. For the log.
        place: Option<String>,
    },
}

/// The reason why there is no result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FaultKind {
    /// The evaluation exceeded `limits.timeMs`.
    TimeLimit,
    /// The evaluation failed: conflicting rules, or a built-in function that refused its arguments.
    Evaluation,
    /// The engine panicked.
    Panic,
    /// The rule is neither a boolean nor an object with a boolean `allow`.
    NotADecision,
    /// The query belongs to another policy set.
    ForeignQuery,
    /// The application gave no resource within its time.
    ResourceTimeout,
    /// The application's function for the resource has failed.
    ResourceFailed,
}

impl FaultKind {
    /// A stable name for logs and metrics, e.g. `time_limit`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TimeLimit => "time_limit",
            Self::Evaluation => "evaluation",
            Self::Panic => "panic",
            Self::NotADecision => "not_a_decision",
            Self::ForeignQuery => "foreign_query",
            Self::ResourceTimeout => "resource_timeout",
            Self::ResourceFailed => "resource_failed",
        }
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Outcome {
    /// Whether the request passes.
    #[must_use]
    pub fn is_allowed(&self) -> bool {
        matches!(self, Self::Allow { .. })
    }

    /// The answer to the client: 403 `policy_denied` (or the policy's own 4xx status), 503
    /// `policy_fault` with `Retry-After`, and `None` if the request passes.
    #[must_use]
    pub fn to_refusal(&self) -> Option<Refusal> {
        match self {
            Self::Allow { .. } => None,
            Self::Deny { status, .. } => Some(Refusal::new(
                status.unwrap_or(403),
                "policy_denied",
                "the policy does not allow this request",
            )),
            Self::Fault { kind, .. } => Some(
                Refusal::new(503, "policy_fault", "the policy could not be evaluated")
                    .header("Retry-After", RETRY_AFTER)
                    .because(kind.as_str().into()),
            ),
        }
    }

    /// A denial by the layer itself, with its reason.
    pub(super) fn denied(reason: &str) -> Self {
        Self::Deny { reasons: vec![reason.to_owned()], status: None }
    }

    pub(super) fn fault(kind: FaultKind) -> Self {
        Self::Fault { kind, place: None }
    }

    /// Reads the value of the rule.
    pub(super) fn read(value: &Value) -> Self {
        match value {
            Value::Bool(true) => Self::Allow { reasons: Vec::new() },
            Value::Bool(false) | Value::Undefined => {
                Self::Deny { reasons: Vec::new(), status: None }
            }
            Value::Object(_) => Self::read_object(value),
            _ => Self::fault(FaultKind::NotADecision),
        }
    }

    fn read_object(value: &Value) -> Self {
        let Value::Bool(allow) = value["allow"] else {
            return Self::fault(FaultKind::NotADecision);
        };
        let reasons = reasons(&value["reasons"]);
        if !allow {
            let status = value["status"].as_u16().ok().filter(|code| (400..500).contains(code));
            return Self::Deny { reasons, status };
        }
        if OBLIGATIONS.iter().any(|key| is_something(&value[*key])) {
            return Self::denied("the decision has obligations that can't be met");
        }
        Self::Allow { reasons }
    }
}

fn is_something(value: &Value) -> bool {
    match value {
        Value::Undefined | Value::Null => false,
        Value::Array(items) => !items.is_empty(),
        Value::Set(items) => !items.is_empty(),
        Value::Object(items) => !items.is_empty(),
        _ => true,
    }
}

/// The strings of an array or a set; all other items are omitted.
fn reasons(value: &Value) -> Vec<String> {
    let short = |value: &Value| {
        let text = value.as_string().ok()?;
        Some(text.chars().take(MAX_REASON_CHARS).collect())
    };
    match value {
        Value::Array(items) => items.iter().filter_map(short).take(MAX_REASONS).collect(),
        Value::Set(items) => items.iter().filter_map(short).take(MAX_REASONS).collect(),
        _ => Vec::new(),
    }
}
