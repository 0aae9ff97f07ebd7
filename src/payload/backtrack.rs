//! Patterns that need backtracking, within bounds: the keyword `pattern` of a schema that says
//! `x-regex: 'backtracking'`.
//!
//! A step back may scan the whole text, so a step costs more in a longer text, and what one
//! document may cost in all is bounded. A match that would cost more is given up.

use std::cell::Cell;

use jsonschema::error::ValidationErrorKind;
use jsonschema::json::Node as _;
use jsonschema::{Draft, Keyword, PatternOptions, ValidationError, Validator};
use serde_json::{Value, json};

use crate::payload::json::{TapeJson, TapeNode};

/// How often a match may step back at first, and where it has to try again. The first is about as
/// cheap as a pattern in linear time, and counts for nothing.
const STEPS: [usize; 3] = [16, 256, 10_000];
/// A step back in a text of up to this many bytes costs one, and one more for each such part.
const PART: usize = 64;
/// What the matches of one document may cost, each time it is gone through: some 50 ms.
const BUDGET: usize = 1_000_000;

thread_local! {
    /// What is left for the document that is checked; `None` where a match of it was given up.
    static LEFT: Cell<Option<usize>> = const { Cell::new(Some(BUDGET)) };
}

/// Checks a document by `check`, and says whether a match was given up. Then nothing that `check`
/// says holds: the pattern may have stood under a `not`.
pub(crate) fn within_budget<T>(check: impl FnOnce() -> T) -> (T, bool) {
    LEFT.set(Some(BUDGET));
    let said = check();
    let gave_up = LEFT.get().is_none();
    LEFT.set(Some(BUDGET));
    (said, gave_up)
}

fn pay(steps: usize, text: &str) -> bool {
    let cost = steps.saturating_mul(1 + text.len() / PART);
    let left = LEFT.get().and_then(|left| left.checked_sub(cost));
    LEFT.set(left);
    left.is_some()
}

#[derive(Debug)]
struct Pattern {
    pattern: String,
    /// One for each of [`STEPS`]; one alone where the pattern takes linear time.
    validators: Vec<Validator<TapeJson>>,
}

/// The keyword `pattern`.
pub(crate) fn keyword(
    value: &Value,
) -> Result<Box<dyn for<'i> Keyword<'i, TapeJson>>, ValidationError<'_>> {
    let wrong = || ValidationError::custom("is no valid pattern");
    let pattern = value.as_str().ok_or_else(wrong)?.to_owned();
    let schema = json!({ "pattern": pattern });
    let options = || jsonschema::options_for::<TapeJson>().with_draft(Draft::Draft202012).offline();
    let linear = options().with_pattern_options(PatternOptions::regex()).build(&schema);
    let validators = match linear {
        Ok(validator) => vec![validator],
        Err(_) => STEPS
            .iter()
            .map(|steps| {
                let engine = PatternOptions::fancy_regex().backtrack_limit(*steps);
                options().with_pattern_options(engine).build(&schema).map_err(|_| wrong())
            })
            .collect::<Result<_, _>>()?,
    };
    Ok(Box::new(Pattern { pattern, validators }))
}

impl<'i> Keyword<'i, TapeJson> for Pattern {
    fn validate(&self, instance: TapeNode<'i>) -> Result<(), ValidationError<'i>> {
        if self.is_valid(instance) {
            return Ok(());
        }
        Err(ValidationError::custom(self.pattern.clone()))
    }

    fn is_valid(&self, instance: TapeNode<'i>) -> bool {
        let Some(text) = instance.as_string() else { return true };
        if let [linear] = self.validators.as_slice() {
            return linear.is_valid(instance);
        }
        for (index, (steps, validator)) in STEPS.iter().zip(&self.validators).enumerate() {
            if index > 0 && !pay(*steps, &text) {
                return false;
            }
            // A string of its own: the crate looks for its place from the root of a document.
            match validator.validate(TapeNode::Key(&text)) {
                Ok(()) => return true,
                Err(error) => match error.kind() {
                    ValidationErrorKind::BacktrackLimitExceeded { .. } => {}
                    ValidationErrorKind::Pattern { .. } => return false,
                    _ => break,
                },
            }
        }
        LEFT.set(None);
        false
    }
}
