//! Schemas that refer to themselves for the same value.

use serde_json::Value;

use super::convert::Definition;
use crate::error::ConfigError;
use crate::error::faults::fault;

/// Finds the schemas that refer to themselves for the same value: their check would never end. A
/// schema that refers to itself for a part of the value, such as a tree, ends with the value. Those
/// found no longer do.
pub(super) fn endless(definitions: &mut [Definition]) -> Vec<(usize, ConfigError)> {
    let mut found = Vec::new();
    while let Some((number, error)) = first_endless(definitions) {
        found.push((number, error));
        let Some(definition) = definitions.get_mut(number) else { break };
        definition.schema = Value::Bool(true);
    }
    found
}

fn first_endless(definitions: &[Definition]) -> Option<(usize, ConfigError)> {
    #[derive(Clone, Copy, PartialEq)]
    enum Seen {
        No,
        Open,
        Done,
    }
    let next: Vec<Vec<usize>> = definitions
        .iter()
        .map(|definition| {
            let mut numbers = Vec::new();
            same_value(&definition.schema, &mut numbers);
            numbers
        })
        .collect();
    let mut seen = vec![Seen::No; definitions.len()];
    for start in 0..definitions.len() {
        // Not recursive: a chain may be as long as the document.
        let mut open = vec![(start, 0)];
        while let Some((at, step)) = open.last_mut() {
            let Some(state) = seen.get_mut(*at) else { break };
            if *step == 0 && *state != Seen::No {
                let is_open = *state == Seen::Open;
                if is_open && let Some(definition) = definitions.get(*at) {
                    let problem = "refers to itself for the same value, which never ends";
                    return Some((*at, fault(&definition.pointer, problem)));
                }
                open.pop();
                continue;
            }
            *state = Seen::Open;
            let to = next.get(*at).and_then(|numbers| numbers.get(*step)).copied();
            *step += 1;
            if let Some(to) = to {
                open.push((to, 0));
            } else {
                *state = Seen::Done;
                open.pop();
            }
        }
    }
    None
}

/// The definitions that a schema applies to the same value.
fn same_value(schema: &Value, numbers: &mut Vec<usize>) {
    let Value::Object(map) = schema else { return };
    for (key, value) in map {
        match (key.as_str(), value) {
            ("$ref", Value::String(name)) => {
                let number = name.strip_prefix("#/$defs/s");
                numbers.extend(number.and_then(|number| number.parse::<usize>().ok()));
            }
            ("allOf" | "anyOf" | "oneOf", Value::Array(schemas)) => {
                for schema in schemas {
                    same_value(schema, numbers);
                }
            }
            ("dependentSchemas" | "dependencies", Value::Object(schemas)) => {
                for schema in schemas.values() {
                    same_value(schema, numbers);
                }
            }
            ("not" | "if" | "then" | "else", schema) => same_value(schema, numbers),
            _ => {}
        }
    }
}
