//! The keyword `pattern`: in linear time, or within bounds by the engine that steps back where a
//! schema says `x-regex: 'backtracking'` and a pattern needs it.
//!
//! A step back may scan the whole text, so a step costs more in a longer text, and what one
//! document may cost in all is bounded. A match that would cost more is given up.

use std::cell::Cell;

use fancy_regex::{Error, Regex, RuntimeError};
use jsonschema::json::Node as _;
use jsonschema::{Keyword, ValidationError};
use serde_json::Value;

use crate::json::tape_json::{TapeJson, TapeNode};
use crate::pattern;
use crate::pattern::{Matcher, Pattern, PatternError};

/// How often a match may step back at first, and where it has to try again.
const STEPS: [usize; 3] = [16, 256, 10_000];
/// A step back in a text of up to this many bytes costs one, and one more for each such part.
const PART: usize = 64;
/// What the matches of one document may cost in all: some 50 ms.
const BUDGET: usize = 1_000_000;

thread_local! {
    /// What is left for the document that is checked; `None` where a match of it was given up.
    static LEFT: Cell<Option<usize>> = const { Cell::new(Some(BUDGET)) };
}

/// What the budget of a document is spent on.
#[derive(Clone, Copy)]
pub(crate) enum Share {
    /// A first look, which may only say yes: a quarter of it.
    Look,
    /// Whether it matches: half of it.
    Check,
    /// What is wrong with it: a quarter of it.
    Explain,
}

/// Checks a document by `check`, and says whether a match was given up. Then nothing that `check`
/// says holds: the pattern may have stood under a `not`.
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

/// Whether a match of the document that is checked was given up.
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
    /// One for each of [`STEPS`].
    Stepping(Vec<Regex>),
}

/// Compiles a pattern, by the engine that steps back only where it must and `may_step`.
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
