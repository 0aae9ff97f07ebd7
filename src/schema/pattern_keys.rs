//! The keys of `patternProperties` are patterns too, and the crate compiles them itself. So they
//! are translated for its engine first.

use std::borrow::Cow;

use serde_json::{Map, Value};

use crate::error::ConfigError;
use crate::pattern::{Matcher, Pattern};
use crate::schema::keywords::{error_at, escaped, local_pointer};
use crate::schema::references::percent;

/// The schema with translated keys. `keyed` has the pointers to each `patternProperties`.
pub(crate) fn translated<'s>(
    path: &str,
    schema: Cow<'s, Value>,
    keyed: &[String],
) -> Result<Cow<'s, Value>, ConfigError> {
    if keyed.is_empty() {
        return Ok(schema);
    }
    let mut schema = schema.into_owned();
    let mut inner_first: Vec<&String> = keyed.iter().collect();
    inner_first.sort_unstable_by_key(|at| std::cmp::Reverse(at.len()));
    let mut moved = Vec::new();
    for at in inner_first {
        let Some(Value::Object(map)) = schema.pointer_mut(at) else { continue };
        let mut keys = Map::new();
        for (source, value) in std::mem::take(map) {
            let here = format!("{at}/{}", escaped(&source));
            let mut key = key(path, &here, &source)?;
            while keys.contains_key(&key) {
                // Two patterns with the same translation.
                key.push_str("(?:)");
            }
            moved.push((here, format!("{at}/{}", escaped(&key))));
            keys.insert(key, value);
        }
        *map = keys;
    }
    lead(&mut schema, &moved);
    Ok(Cow::Owned(schema))
}

fn key(path: &str, at: &str, source: &str) -> Result<String, ConfigError> {
    let pattern = Pattern::read(source);
    let checked = pattern.and_then(|pattern| {
        Matcher::of(&pattern)?;
        pattern.linear()
    });
    checked.map_err(|fault| {
        let advice = if fault.steps_back {
            "`x-regex: 'backtracking'` is for `pattern` alone: name keys by a pattern without look-around and backreferences, or by `propertyNames`"
        } else {
            fault.advice
        };
        error_at(path, at, &fault.problem).suggest(advice)
    })
}

/// Redirects references to the moved schemas.
fn lead(value: &mut Value, moved: &[(String, String)]) {
    match value {
        Value::Array(list) => list.iter_mut().for_each(|item| lead(item, moved)),
        Value::Object(map) => {
            if let Some(reference) = map.get_mut("$ref")
                && let Some(pointer) = local_pointer(reference)
            {
                let mut to = pointer.clone();
                for (from, there) in moved {
                    let rest = to.strip_prefix(from.as_str()).map(str::to_owned);
                    if let Some(rest) = rest.filter(|it| it.is_empty() || it.starts_with('/')) {
                        to = format!("{there}{rest}");
                    }
                }
                if to != pointer {
                    *reference = Value::String(format!("#{}", percent(&to)));
                }
            }
            map.values_mut().for_each(|member| lead(member, moved));
        }
        _ => {}
    }
}
