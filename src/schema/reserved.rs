//! Keywords that the shim writes for schemas of other libraries, where JSON Schema's own keywords
//! would give another result.
//!
//! - `~minLength`, `~maxLength`: the length of a string in UTF-16 code units, as JavaScript counts
//!   it. JSON Schema counts characters; a schema of zod or valibot must keep its own measure.
//! - `~format`: a format as the library defines it, `{ name, pattern }`. Its errors are reported
//!   like those of the format of that name.
//!
//! The text of their errors is the limit or the name of the format alone; `explain` makes a phrase
//! of it.

use jsonschema::{Keyword, ValidationError};
use serde_json::Value;

use crate::json::tape_json::{TapeJson, TapeNode};
use crate::pattern::Matcher;

#[derive(Debug)]
pub(crate) struct Length {
    limit: usize,
    least: bool,
}

impl Length {
    /// Reads the limit of `~minLength` (`least`) or `~maxLength`.
    pub(crate) fn read(value: &Value, least: bool) -> Option<Self> {
        let limit = crate::config::options::whole_number(value)?;
        Some(Self { limit: usize::try_from(limit).ok()?, least })
    }

    pub(crate) fn accepts(&self, text: &str) -> bool {
        // A code unit takes one to three bytes, so the number of bytes often decides.
        if self.least {
            text.len() >= self.limit.saturating_mul(3)
                || text.len() >= self.limit && units(text) >= self.limit
        } else {
            text.len() <= self.limit
                || text.len() <= self.limit.saturating_mul(3) && units(text) <= self.limit
        }
    }
}

/// The keyword `~minLength` (`least`) or `~maxLength`.
pub(crate) fn keyword<'a>(
    value: &'a Value,
    least: bool,
) -> Result<Box<dyn for<'i> Keyword<'i, TapeJson>>, ValidationError<'a>> {
    match Length::read(value, least) {
        Some(length) => Ok(Box::new(length)),
        None => Err(ValidationError::custom("must be a whole number")),
    }
}

#[derive(Debug)]
struct ForeignFormat {
    name: String,
    pattern: Matcher,
}

/// The keyword `~format`.
pub(crate) fn format(
    value: &Value,
) -> Result<Box<dyn for<'i> Keyword<'i, TapeJson>>, ValidationError<'_>> {
    let member = |key| value.get(key).and_then(Value::as_str);
    let wrong = || ValidationError::custom("must have a `name` and a `pattern` in linear time");
    let (Some(name), Some(pattern)) = (member("name"), member("pattern")) else {
        return Err(wrong());
    };
    let pattern = Matcher::new(pattern).map_err(|_| wrong())?;
    Ok(Box::new(ForeignFormat { name: name.to_owned(), pattern }))
}

impl<'i> Keyword<'i, TapeJson> for ForeignFormat {
    fn validate(&self, instance: TapeNode<'i>) -> Result<(), ValidationError<'i>> {
        if self.is_valid(instance) {
            return Ok(());
        }
        Err(ValidationError::custom(self.name.clone()))
    }

    fn is_valid(&self, instance: TapeNode<'i>) -> bool {
        use jsonschema::json::Node as _;
        instance.as_string().is_none_or(|text| self.pattern.is_match(&text))
    }
}

impl<'i> Keyword<'i, TapeJson> for Length {
    fn validate(&self, instance: TapeNode<'i>) -> Result<(), ValidationError<'i>> {
        if self.is_valid(instance) {
            return Ok(());
        }
        Err(ValidationError::custom(self.limit.to_string()))
    }

    fn is_valid(&self, instance: TapeNode<'i>) -> bool {
        use jsonschema::json::Node as _;
        instance.as_string().is_none_or(|text| self.accepts(&text))
    }
}

fn units(text: &str) -> usize {
    text.encode_utf16().count()
}
