//! The keyword `pattern`. A match takes linear time. If a schema has `x-regex: 'backtracking'` and
//! a pattern needs it, the backtracking engine matches it within bounds.
//!
//! A step back may scan the whole text, so a step costs more in a longer text. The total cost of
//! one document is bounded. A match that would exceed it is given up.

use std::cell::Cell;

use fancy_regex::{Error, Regex, RuntimeError};
use jsonschema::json::Node as _;
use jsonschema::{Keyword, ValidationError};
use serde_json::Value;

use crate::json::tape_json::{TapeJson, TapeNode};
use crate::pattern;
use crate::pattern::{Matcher, Pattern, PatternError};

/// The limits on steps back: the first attempt, and each retry.
const STEPS: [usize; 3] = [16, 256, 10_000];
/// A step back costs one unit for each started part of this many bytes of the text.
const PART: usize = 64;
/// The maximum cost of all matches of one document: about 50 ms.
const BUDGET: usize = 1_000_000;

thread_local! {
    /// The remaining budget of the current document; `None` after a match was given up.
    static LEFT: Cell<Option<usize>> = const { Cell::new(Some(BUDGET)) };
}

/// The purposes for which the budget of a document is spent.
#[derive(Clone, Copy)]
pub(crate) enum Share {
    /// A first look, which can only accept: a quarter of it.
    Look,
    /// The check whether it matches: half of it.
    Check,
    /// The search for the errors: a quarter of it.
    Explain,
}

/// Runs `check` on a document, and returns whether a match was given up. If so, the result of
/// `check` is invalid: the pattern may have been under a `not`.
pub(crate) fn within_budget<T>(share: Share, check: impl FnOnce() -> T) -> (T, bool) {
    LEFT.set(Some(match share {
        Share::Look | Share::Explain => BUDGET / 4,
        Share::Check => BUDGET / 2,
    }));
    let said = check();
    let gave_up = gave_up();
    LEFT.set(Some(BUDGET));
    (said, gave_up)
}

/// Whether a match of the current document was given up.
pub(crate) fn gave_up() -> bool {
    LEFT.get().is_none()
}

fn pay(steps: usize, text: &str) -> bool {
    let cost = steps.saturating_mul(1 + text.len() / PART);
    let left = LEFT.get().and_then(|left| left.checked_sub(cost));
    LEFT.set(left);
    left.is_some()
}

#[derive(Debug)]
pub(crate) enum Compiled {
    Linear(Matcher),
    /// One engine for each of [`STEPS`].
    Stepping(Vec<Regex>),
}

/// Compiles a pattern. The backtracking engine is used only if the pattern needs it and `may_step`
/// is set.
pub(crate) fn compile(source: &str, may_step: bool) -> Result<Compiled, PatternError> {
    let pattern = Pattern::read(source)?;
    if !(may_step && pattern.steps_back()) {
        return Matcher::of(&pattern).map(Compiled::Linear);
    }
    let written = pattern.stepping()?;
    let engines = STEPS.iter().map(|steps| pattern::stepping(&written, *steps));
    engines.collect::<Result<_, _>>().map(Compiled::Stepping)
}

#[derive(Debug)]
struct PatternKeyword {
    source: String,
    compiled: Compiled,
}

/// The keyword `pattern`.
pub(crate) fn keyword(
    value: &Value,
    may_step: bool,
) -> Result<Box<dyn for<'i> Keyword<'i, TapeJson>>, ValidationError<'_>> {
    let source = value.as_str().unwrap_or_default().to_owned();
    match compile(&source, may_step) {
        Ok(compiled) if value.is_string() => Ok(Box::new(PatternKeyword { source, compiled })),
        Ok(_) => Err(ValidationError::custom("must be a string")),
        Err(fault) => Err(ValidationError::custom(fault.problem)),
    }
}

impl<'i> Keyword<'i, TapeJson> for PatternKeyword {
    fn validate(&self, instance: TapeNode<'i>) -> Result<(), ValidationError<'i>> {
        if self.is_valid(instance) {
            return Ok(());
        }
        Err(ValidationError::custom(self.source.clone()))
    }

    fn is_valid(&self, instance: TapeNode<'i>) -> bool {
        let Some(text) = instance.as_string() else { return true };
        match &self.compiled {
            Compiled::Linear(matcher) => matcher.is_match(&text),
            Compiled::Stepping(engines) => steps_to(engines, &text),
        }
    }
}

fn steps_to(engines: &[Regex], text: &str) -> bool {
    for (steps, engine) in STEPS.iter().zip(engines) {
        if !pay(*steps, text) {
            return false;
        }
        match engine.is_match(text) {
            Ok(matches) => return matches,
            Err(Error::RuntimeError(RuntimeError::BacktrackLimitExceeded)) => {}
            Err(_) => break,
        }
    }
    LEFT.set(None);
    false
}
