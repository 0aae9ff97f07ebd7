//! `rateLimitHeaders`: which response headers show the state of the limits.
//!
//! Drafts before 8 and `X-RateLimit-*` can show one limit. It is the one that a client runs into
//! first: one that refused, else the one with the least quota left, and of several such the one
//! that takes longest to grant more.

use std::borrow::Cow;
use std::cmp::Reverse;

use serde_json::Value;

use super::headers::{push_item, push_number};
use super::outcome::{LimitState, Outcome};
use crate::clock::Now;
use crate::config::options::{Options, describe, quoted};
use crate::error::{ConfigCode, ConfigError};

/// The syntax of a draft of draft-ietf-httpapi-ratelimit-headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Draft {
    /// Lists of all limits: `RateLimit-Policy: "api";q=100;w=60` and `RateLimit: "api";r=99;t=1`.
    /// Drafts 8 to 11 have the same syntax.
    Eight,
    /// `RateLimit-Policy: 100;w=60` and `RateLimit: limit=100, remaining=99, reset=1`.
    Seven,
    /// `RateLimit-Policy: 100;w=60`, `RateLimit-Limit`, `RateLimit-Remaining` and
    /// `RateLimit-Reset`. Drafts 3 to 6 have the same syntax.
    Six,
}

/// The option `rateLimitHeaders`, checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimitHeaders {
    draft: Option<Draft>,
    /// `X-RateLimit-Limit`, `X-RateLimit-Remaining` and `X-RateLimit-Reset`.
    legacy: bool,
}

impl Default for RateLimitHeaders {
    fn default() -> Self {
        Self { draft: Some(Draft::Eight), legacy: false }
    }
}

/// One kind of headers in the option.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Of(Draft),
    Legacy,
}

const KINDS: [(&str, Kind); 4] = [
    ("draft-8", Kind::Of(Draft::Eight)),
    ("draft-7", Kind::Of(Draft::Seven)),
    ("draft-6", Kind::Of(Draft::Six)),
    ("x-ratelimit", Kind::Legacy),
];
const SIX: [&str; 3] = ["RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset"];
const LEGACY: [&str; 3] = ["X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset"];

type Fields = Vec<(&'static str, Cow<'static, str>)>;

impl RateLimitHeaders {
    /// Reads `rateLimitHeaders` of a guard: `'draft-8'` (default), `'draft-7'`, `'draft-6'`,
    /// `'x-ratelimit'`, a list of `'x-ratelimit'` and one draft, or `false`.
    ///
    /// # Errors
    /// Another value, a kind twice, and two drafts: they share names.
    pub(crate) fn parse(options: &Options<'_>) -> Result<Self, ConfigError> {
        let path = options.path_of("rateLimitHeaders");
        let none = Self { draft: None, legacy: false };
        match options.get("rateLimitHeaders") {
            None => Ok(Self::default()),
            Some(Value::Bool(false)) => Ok(none),
            Some(Value::Array(items)) if items.is_empty() => {
                Err(ConfigError::invalid(path, "must not be empty")
                    .suggest("write `rateLimitHeaders: false` to send none"))
            }
            Some(Value::Array(items)) => {
                let mut items = items.iter().enumerate();
                items.try_fold(none, |read, (i, item)| read.with(&format!("{path}[{i}]"), item))
            }
            Some(one) => none.with(&path, one),
        }
    }

    fn with(self, at: &str, item: &Value) -> Result<Self, ConfigError> {
        let known = |text| KINDS.iter().find(|(name, _)| *name == text);
        let Some((_, kind)) = item.as_str().and_then(known) else {
            let names = KINDS.map(|(name, _)| name);
            let problem = match item {
                Value::String(_) => format!("must be one of {}", quoted(&names)),
                other => format!("must be one of {}, not {}", quoted(&names), describe(other)),
            };
            return Err(ConfigError::invalid(at, problem).suggest(
                "write 'draft-8' for drafts 8 to 11, and 'draft-6' for drafts 3 to 6; a list may \
                 have one of them and 'x-ratelimit'",
            ));
        };
        match kind {
            Kind::Of(draft) if self.draft.is_none() => Ok(Self { draft: Some(*draft), ..self }),
            Kind::Legacy if !self.legacy => Ok(Self { legacy: true, ..self }),
            _ => {
                let problem = "is a second one of its kind, with the same header names";
                Err(ConfigError::new(ConfigCode::ConflictingOptions, at, problem)
                    .suggest("leave one of them out; 'x-ratelimit' may stand beside one draft"))
            }
        }
    }

    /// The headers that a page can use: all but `RateLimit-Policy`, which is for people.
    #[must_use]
    pub(crate) fn readable(self) -> Vec<&'static str> {
        let draft: &[&str] = match self.draft {
            Some(Draft::Eight | Draft::Seven) => &["RateLimit"],
            Some(Draft::Six) => &SIX,
            None => &[],
        };
        let legacy: &[&str] = if self.legacy { &LEGACY } else { &[] };
        [draft, legacy].concat()
    }

    /// Adds the headers of an outcome to `fields`. Limits that are `'shadow'` are not shown.
    pub(crate) fn write(self, outcome: &mut Outcome<'_>, now: Now, fields: &mut Fields) {
        if outcome.rate_limit.is_empty() {
            return;
        }
        if self == Self::default() {
            let policy = std::mem::take(&mut outcome.rate_limit_policy);
            fields.push(("RateLimit-Policy", Cow::Owned(policy.into_owned())));
            fields.push(("RateLimit", Cow::Owned(std::mem::take(&mut outcome.rate_limit))));
            return;
        }
        let first = outcome.states.iter().filter(|state| !state.shadow).min_by_key(|state| {
            (!state.violated || outcome.allowed, state.remaining, Reverse(state.reset_s))
        });
        let Some(first) = first else { return };
        let [limit, remaining] = [first.limit, first.remaining].map(|number| number.to_string());
        match self.draft {
            Some(Draft::Eight) => {
                let policy = outcome.rate_limit_policy.clone().into_owned();
                fields.push(("RateLimit-Policy", Cow::Owned(policy)));
                fields.push(("RateLimit", Cow::Owned(outcome.rate_limit.clone())));
            }
            Some(Draft::Seven) => {
                push_policies(&outcome.states, fields);
                let reset = first.reset_s;
                let value = format!("limit={limit}, remaining={remaining}, reset={reset}");
                fields.push(("RateLimit", Cow::Owned(value)));
            }
            Some(Draft::Six) => {
                push_policies(&outcome.states, fields);
                let reset = first.reset_s.to_string();
                push_three(SIX, [limit.clone(), remaining.clone(), reset], fields);
            }
            None => {}
        }
        if self.legacy {
            // As GitHub and express-rate-limit send it: an instant in seconds since the epoch.
            let reset = now.unix_seconds().saturating_add(first.reset_s).to_string();
            push_three(LEGACY, [limit, remaining, reset], fields);
        }
    }
}

fn push_three(names: [&'static str; 3], values: [String; 3], fields: &mut Fields) {
    fields.extend(names.into_iter().zip(values.map(Cow::Owned)));
}

/// `RateLimit-Policy` as drafts 3 to 7 have it. Their windows are whole seconds, so limits with
/// others, and those of requests in flight, are left out.
fn push_policies(states: &[LimitState<'_>], fields: &mut Fields) {
    let mut list = String::new();
    for state in states.iter().filter(|state| !state.shadow) {
        let Some(window) = state.window_s else { continue };
        let mut item = String::new();
        push_number(&mut item, state.limit);
        item.push_str(";w=");
        push_number(&mut item, window);
        push_item(&mut list, &item);
    }
    if !list.is_empty() {
        fields.push(("RateLimit-Policy", Cow::Owned(list)));
    }
}

#[cfg(test)]
#[path = "tests/header_fields.rs"]
mod tests;
