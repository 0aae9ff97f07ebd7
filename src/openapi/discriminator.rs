//! `discriminator` (`OpenAPI` 3.1.1 section 4.8.25): the value of one property names the schema
//! that
//! an object must match.
//!
//! It stops a wrong body that passes as another branch: `{ "petType": "Cat" }` with the members
//! of a
//! dog is valid against `oneOf`, since it is a valid dog where the branches do not constrain
//! `petType`. And it accepts what is right: an object that matches two branches is invalid against
//! `oneOf`, although its property names one of them.
//!
//! 1. The names of a branch are those that `mapping` gives it, the last segment of its `$ref`, and
//!    the constants (`const`, `enum`) that it has for the property.
//! 2. `mapping` comes before constants, and constants before the name of the `$ref`.
//! 3. A value that names no branch is invalid, and so is an object without the property.
//!    `defaultMapping` (3.2) names the branch that counts instead.
//! 4. Branches that no object matches (`null`, a string) are alternatives for other values.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::document::{Document, Version, child, object, text};
use super::kinds::Kinds;
use crate::error::ConfigError;
use crate::error::faults::fault;

/// The maximum length of a chain of references and compositions in the search for constants.
const CHAIN: u32 = 16;

/// A discriminator: the property, and the values that `mapping` assigns to targets.
struct Discriminator<'d> {
    property: &'d str,
    mapping: Vec<(&'d str, &'d str, String)>,
    /// The target for objects whose value names no branch, or that have none.
    default: Option<(&'d str, String)>,
}

/// One branch of `oneOf` or `anyOf`.
struct Branch<'d> {
    source: &'d Value,
    converted: Value,
    has_object: bool,
}

/// Replaces the `oneOf` or `anyOf` of `out`, the converted form of the schema `map` at `pointer`,
/// by
/// the choice that its discriminator `value` makes. Without these keywords it has no effect on
/// validity (section 4.8.25.2).
pub(crate) fn apply<'d>(
    document: Document<'d>,
    pointer: &str,
    value: &'d Value,
    map: &'d Map<String, Value>,
    out: &mut Map<String, Value>,
) -> Result<(), ConfigError> {
    let here = child(pointer, "discriminator");
    let discriminator = read(document, &here, value)?;
    let Some(key) = ["oneOf", "anyOf"].into_iter().find(|key| out.contains_key(*key)) else {
        return Ok(());
    };
    let sources = map.get(key).and_then(Value::as_array).into_iter().flatten();
    let Some(Value::Array(converted)) = out.get(key) else { return Ok(()) };
    let branches: Vec<Branch<'d>> = sources
        .zip(converted)
        .map(|(source, converted)| {
            let mut kinds = std::collections::BTreeSet::new();
            Kinds(document).kinds(source, &mut kinds);
            let has_object = kinds.is_empty() || kinds.contains("object");
            Branch { source, converted: converted.clone(), has_object }
        })
        .collect();
    let names = names(document, &here, &discriminator, &branches)?;
    if names.is_empty() {
        return Ok(());
    }
    let default = match &discriminator.default {
        None => None,
        Some((target, at)) => {
            Some(branches.iter().position(|branch| leads_to(branch, target)).ok_or_else(|| {
                fault(at, "leads to no branch beside it").suggest(format!(
                    "list the schema in `{key}`, and write its name or a $ref to it"
                ))
            })?)
        }
    };
    let choice = choice(discriminator.property, key, &names, default, &branches);
    out.remove(key);
    match out.get_mut("allOf").and_then(Value::as_array_mut) {
        // Appended, so that the existing schemas keep their places.
        Some(schemas) => schemas.push(choice),
        None => {
            out.insert("allOf".into(), json!([choice]));
        }
    }
    Ok(())
}

fn read<'d>(
    document: Document<'d>,
    here: &str,
    value: &'d Value,
) -> Result<Discriminator<'d>, ConfigError> {
    let map = object(here, value, "a discriminator")?;
    document.known_fields_of(here, map, &["propertyName", "mapping"], &["defaultMapping"]);
    let property = text(here, map, "propertyName")?
        .ok_or_else(|| fault(&child(here, "propertyName"), "must be there"))?;
    let default = if document.version >= Version::V32 {
        text(here, map, "defaultMapping")?.map(|target| (target, child(here, "defaultMapping")))
    } else {
        None
    };
    let place = child(here, "mapping");
    let Some(value) = map.get("mapping") else {
        return Ok(Discriminator { property, mapping: Vec::new(), default });
    };
    let mut mapping = Vec::new();
    for (name, target) in object(&place, value, "values with the schemas that they name")? {
        let here = child(&place, name);
        let Some(target) = target.as_str() else { return Err(fault(&here, "must be a string")) };
        mapping.push((name.as_str(), target, here));
    }
    Ok(Discriminator { property, mapping, default })
}

/// The branches of each value.
fn names<'d>(
    document: Document<'d>,
    here: &str,
    discriminator: &Discriminator<'d>,
    branches: &[Branch<'d>],
) -> Result<BTreeMap<String, (Value, Vec<usize>)>, ConfigError> {
    let mut names: BTreeMap<String, (Value, Vec<usize>)> = BTreeMap::new();
    for (name, target, at) in &discriminator.mapping {
        match branches.iter().position(|branch| leads_to(branch, target)) {
            Some(number) => add(&mut names, &json!(name), number),
            // The value of a schema that is not listed is one that no branch has.
            None if document.at(&child("/components/schemas", target)).is_some()
                || matches!(document.target(at, &json!(target)), Ok(Some(_))) => {}
            None => {
                return Err(fault(at, "leads to no schema of the document")
                    .suggest("write the name of a schema in components, or a $ref to it"));
            }
        }
    }
    let mapped: Vec<String> = names.keys().cloned().collect();
    for (number, branch) in branches.iter().enumerate() {
        let mut constants = Vec::new();
        constants_of(document, branch.source, discriminator.property, 0, &mut constants);
        for constant in constants.iter().filter(|it| !mapped.contains(&it.to_string())) {
            add(&mut names, constant, number);
        }
    }
    let known: Vec<String> = names.keys().cloned().collect();
    for (number, branch) in branches.iter().enumerate() {
        if let Some(reference) = branch.source.get("$ref").and_then(Value::as_str) {
            let name = json!(last_segment(reference));
            if !known.contains(&name.to_string()) {
                add(&mut names, &name, number);
            }
        }
    }
    for (number, branch) in branches.iter().enumerate() {
        let is_named = names.values().any(|(_, numbers)| numbers.contains(&number));
        let is_default =
            || discriminator.default.as_ref().is_some_and(|(target, _)| leads_to(branch, target));
        if branch.has_object && !is_named && !is_default() {
            let problem = format!(
                "chooses by `{}`, but a branch beside it is written in place and has no constant for it",
                discriminator.property
            );
            return Err(fault(here, problem)
                .suggest("move the branch to components.schemas and refer to it, or give it an `enum` with the value"));
        }
    }
    Ok(names)
}

/// Whether a target of `mapping`, a name or a `$ref`, is a branch.
fn leads_to(branch: &Branch<'_>, target: &str) -> bool {
    let reference = branch.source.get("$ref").and_then(Value::as_str);
    reference.is_some_and(|reference| {
        reference == target || target == last_segment(reference) && !target.contains('/')
    })
}

fn add(names: &mut BTreeMap<String, (Value, Vec<usize>)>, value: &Value, number: usize) {
    let (_, numbers) =
        names.entry(value.to_string()).or_insert_with(|| (value.clone(), Vec::new()));
    if !numbers.contains(&number) {
        numbers.push(number);
    }
}

fn last_segment(reference: &str) -> &str {
    reference.rsplit('/').next().unwrap_or(reference)
}

/// The constants that a schema has for a property.
fn constants_of<'d>(
    document: Document<'d>,
    schema: &'d Value,
    property: &str,
    depth: u32,
    found: &mut Vec<&'d Value>,
) {
    if depth > CHAIN {
        return;
    }
    if let Some(property) = schema.get("properties").and_then(|all| all.get(property)) {
        values_of(document, property, depth, found);
    }
    each_part(document, schema, &mut |part| {
        constants_of(document, part, property, depth + 1, found);
    });
}

fn values_of<'d>(
    document: Document<'d>,
    schema: &'d Value,
    depth: u32,
    found: &mut Vec<&'d Value>,
) {
    if depth > CHAIN {
        return;
    }
    found.extend(schema.get("const"));
    found.extend(schema.get("enum").and_then(Value::as_array).into_iter().flatten());
    each_part(document, schema, &mut |part| values_of(document, part, depth + 1, found));
}

/// Calls `visit` with the schemas that certainly apply to the same value.
fn each_part<'d>(document: Document<'d>, schema: &'d Value, visit: &mut dyn FnMut(&'d Value)) {
    let target = schema.get("$ref").and_then(|reference| document.target("", reference).ok());
    let parts = schema.get("allOf").and_then(Value::as_array).into_iter().flatten();
    parts.chain(target.flatten().map(|at| at.value)).for_each(visit);
}

/// The schema of the choice.
fn choice(
    property: &str,
    key: &str,
    names: &BTreeMap<String, (Value, Vec<usize>)>,
    default: Option<usize>,
    branches: &[Branch<'_>],
) -> Value {
    let branch = |number: &usize| branches.get(*number).map(|branch| branch.converted.clone());
    let values: Vec<&Value> = names.values().map(|(value, _)| value).collect();
    // Values of the same branches share one condition.
    let mut cases: BTreeMap<&[usize], Vec<&Value>> = BTreeMap::new();
    for (value, numbers) in names.values() {
        cases.entry(numbers).or_default().push(value);
    }
    let cases = cases.into_iter().map(|(numbers, values)| {
        let mut schemas: Vec<Value> = numbers.iter().filter_map(branch).collect();
        let then = match (schemas.len(), schemas.pop()) {
            (1, Some(schema)) => schema,
            (_, last) => {
                schemas.extend(last);
                json!({ key: schemas })
            }
        };
        json!({
            "if": { "properties": { property: { "enum": values } }, "required": [property] },
            "then": then,
        })
    });
    let mut cases: Vec<Value> = cases.collect();
    let is_named =
        json!({ "properties": { property: { "enum": values } }, "required": [property] });
    let chosen = match default.and_then(|number| branch(&number)) {
        None => {
            let mut chosen = is_named;
            if let Value::Object(chosen) = &mut chosen {
                chosen.insert("allOf".into(), Value::Array(cases));
            }
            chosen
        }
        Some(schema) => {
            cases.push(json!({ "if": is_named, "else": schema }));
            json!({ "allOf": cases })
        }
    };
    let others = branches.iter().filter(|branch| !branch.has_object);
    let others: Vec<Value> = others.map(|branch| branch.converted.clone()).collect();
    let other = if others.is_empty() { Value::Bool(false) } else { json!({ key: others }) };
    json!({ "if": { "type": "object" }, "then": chosen, "else": other })
}
