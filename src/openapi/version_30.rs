//! Keywords that version 3.0 writes in its own way (`OpenAPI` 3.0.4 section 4.7.24).

use serde_json::{Map, Value};

use super::keywords::{ANNOTATIONS, V30};
use crate::config::options::nearest;
use crate::error::ConfigError;
use crate::error::faults::fault;

/// The type, which is one name.
pub(super) fn types(here: &str, value: &Value) -> Result<Value, ConfigError> {
    const TYPES: &[&str] = &["array", "boolean", "integer", "number", "object", "string"];
    match value.as_str() {
        Some(name) if TYPES.contains(&name) => Ok(value.clone()),
        Some("null") => Err(fault(here, "must not be 'null' in OpenAPI 3.0")
            .suggest("write `nullable: true` beside the type")),
        Some(name) => {
            let error = fault(here, "is no type");
            Err(match nearest(name, TYPES) {
                Some(name) => error.suggest(format!("did you mean '{name}'?")),
                None => {
                    error.suggest("the types are array, boolean, integer, number, object, string")
                }
            })
        }
        None => Err(fault(here, "must be one type in OpenAPI 3.0")
            .suggest("write `nullable: true` beside it, or anyOf, or make it a document of 3.1")),
    }
}

/// The boolean of 3.0, which makes the limit beside it exclusive. In 3.1 it is a limit of its own.
pub(super) fn exclusive(
    here: &str,
    key: &str,
    value: &Value,
    map: &Map<String, Value>,
    out: &mut Map<String, Value>,
) -> Result<(), ConfigError> {
    let inclusive = if key == "exclusiveMinimum" { "minimum" } else { "maximum" };
    match (value, map.get(inclusive)) {
        (Value::Bool(false), _) => {}
        (Value::Bool(true), Some(limit)) => {
            out.insert(key.into(), limit.clone());
        }
        (Value::Bool(true), None) => {
            return Err(fault(here, format!("checks nothing without `{inclusive}` beside it")));
        }
        _ => {
            return Err(fault(here, "must be true or false in OpenAPI 3.0")
                .suggest(format!("write `{inclusive}` with the limit and `{key}: true`")));
        }
    }
    Ok(())
}

/// The fault of a keyword that the version does not have.
pub(super) fn unknown(here: &str, key: &str) -> ConfigError {
    let names = V30.iter().map(|(name, _)| *name).chain(ANNOTATIONS.iter().copied());
    let names: Vec<&str> = names.collect();
    let error = fault(here, "is no keyword of OpenAPI 3.0 and would check nothing");
    match nearest(key, &names) {
        Some(name) => error.suggest(format!("did you mean `{name}`?")),
        None => error.suggest(
            "write it with the keywords of 3.0, make it a document of 3.1, or set `tolerate: ['unknown-keywords']`, which ignores it",
        ),
    }
}
