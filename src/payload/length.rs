//! The length of a string as JavaScript counts it: in units of UTF-16. JSON Schema counts characters; zod, valibot and
//! arktype count what `length` says, and a schema of theirs must not be judged by another measure.

use jsonschema::{Keyword, ValidationError};
use serde_json::Value;

use crate::payload::json::{TapeJson, TapeNode};

#[derive(Debug)]
struct Length {
    limit: usize,
    least: bool,
}

/// The keyword `~minLength` (`least`) or `~maxLength`.
pub(crate) fn keyword<'a>(
    value: &'a Value,
    least: bool,
) -> Result<Box<dyn for<'i> Keyword<'i, TapeJson>>, ValidationError<'a>> {
    match crate::config::raw::whole_number(value).and_then(|n| usize::try_from(n).ok()) {
        Some(limit) => Ok(Box::new(Length { limit, least })),
        None => Err(ValidationError::custom("must be a whole number")),
    }
}

impl<'i> Keyword<'i, TapeJson> for Length {
    fn validate(&self, instance: TapeNode<'i>) -> Result<(), ValidationError<'i>> {
        if self.is_valid(instance) {
            return Ok(());
        }
        // `explain` puts these words into the answer.
        let bound = if self.least { "least" } else { "most" };
        let s = if self.limit == 1 { "" } else { "s" };
        Err(ValidationError::custom(format!("must have at {bound} {} character{s}", self.limit)))
    }

    fn is_valid(&self, instance: TapeNode<'i>) -> bool {
        use jsonschema::json::Node as _;
        let Some(text) = instance.as_string() else { return true };
        // A unit takes one to three bytes, so the number of bytes often decides.
        if self.least {
            text.len() >= self.limit * 3 || text.len() >= self.limit && units(&text) >= self.limit
        } else {
            text.len() <= self.limit
                || text.len() <= self.limit.saturating_mul(3) && units(&text) <= self.limit
        }
    }
}

fn units(text: &str) -> usize {
    text.encode_utf16().count()
}
