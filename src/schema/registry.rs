//! Embeds registered schemas, the targets of a `$ref` to a URI, into the schema that refers to
//! them. So all code that walks a schema (types of a query, defaults, sanitizers, closing) gets one
//! document, and nothing is ever fetched.

use jsonschema::Draft;
use serde_json::{Map, Value};

use crate::error::ConfigError;
use crate::schema::SchemaRules;
use crate::schema::compiled::draft_of;
use crate::schema::keywords::{draft_name, error_at, escaped, holds_names};
use crate::schema::references::{NO_BASE, percent, settle};

/// Deeper than any schema that `survey` accepts.
const DEPTH: u32 = 120;

/// Embeds every registered schema that `schema` refers to, directly or through others, into its
/// `$defs`. The references there become JSON Pointers. References to URIs that are not registered
/// stay unchanged, for `survey` to refuse. Returns the pointer to a reference that can't be
/// followed, if there is one.
pub(crate) fn embed(
    path: &str,
    schema: &mut Value,
    draft: Draft,
    rules: &SchemaRules,
) -> Result<Option<String>, ConfigError> {
    let mut lost = settle(schema, NO_BASE, draft, rules.registry());
    if rules.registry().is_empty() || !schema.is_object() {
        return Ok(lost);
    }
    let mut wanted = Vec::new();
    point_inside(schema, None, rules, &mut wanted, 0);
    let mut done: Map<String, Value> = Map::new();
    while let Some(uri) = wanted.pop() {
        if done.contains_key(&uri) {
            continue;
        }
        let Some(registered) = rules.registry().get(&uri) else { continue };
        let own = draft_of(path, registered, rules)?;
        if own != draft {
            let problem = format!(
                "refers to '{uri}', which is of {}, from {}",
                draft_name(own),
                draft_name(draft)
            );
            return Err(error_at(path, "", &problem).suggest("write both in one draft"));
        }
        let mut copy = registered.clone();
        if let Some(at) = settle(&mut copy, &uri, draft, rules.registry()) {
            lost.get_or_insert_with(|| format!("{}{at}", place_of(&uri)));
        }
        if let Value::Object(map) = &mut copy {
            // An embedded schema has no base of its own, and its draft is that of the whole.
            for key in ["$id", "id", "$schema"] {
                if map.get(key).is_some_and(Value::is_string) {
                    map.remove(key);
                }
            }
        }
        point_inside(&mut copy, Some(&uri), rules, &mut wanted, 0);
        done.insert(uri, copy);
    }
    if done.is_empty() {
        return Ok(lost);
    }
    let Value::Object(map) = schema else { return Ok(lost) };
    let defs = map.entry("$defs").or_insert_with(|| Value::Object(Map::new()));
    match defs {
        Value::Object(defs) => defs.extend(done),
        _ => return Err(error_at(path, "/$defs", "must be an object")),
    }
    Ok(lost)
}

/// The pointer under which a registered schema is embedded.
pub(crate) fn place_of(uri: &str) -> String {
    format!("/$defs/{}", escaped(uri))
}

/// Rewrites the references of a schema: the registered one `base`, or the one that embeds the
/// others.
fn point_inside(
    schema: &mut Value,
    base: Option<&str>,
    rules: &SchemaRules,
    wanted: &mut Vec<String>,
    depth: u32,
) {
    if depth > DEPTH {
        return;
    }
    match schema {
        Value::Array(list) => {
            for item in list {
                point_inside(item, base, rules, wanted, depth + 1);
            }
        }
        Value::Object(map) => {
            for (key, value) in map.iter_mut() {
                match (key.as_str(), &mut *value) {
                    ("$ref", Value::String(reference)) => {
                        if let Some((uri, fragment)) = registered(reference, base, rules) {
                            *reference = format!("#/$defs/{}{fragment}", percent(&escaped(&uri)));
                            wanted.push(uri);
                        }
                    }
                    ("const" | "enum" | "default" | "examples" | "example", _) => {}
                    // These names are the author's, even `default` and `$ref`.
                    (key, Value::Object(schemas)) if holds_names(key) => {
                        for inner in schemas.values_mut() {
                            point_inside(inner, base, rules, wanted, depth + 1);
                        }
                    }
                    _ => point_inside(value, base, rules, wanted, depth + 1),
                }
            }
        }
        _ => {}
    }
}

/// The registered schema of a reference, and the pointer in it.
fn registered(
    reference: &str,
    base: Option<&str>,
    rules: &SchemaRules,
) -> Option<(String, String)> {
    let (uri, fragment) = reference.split_once('#').unwrap_or((reference, ""));
    if !(fragment.is_empty() || fragment.starts_with('/')) {
        return None;
    }
    let registry = rules.registry();
    let uri = match base {
        // A pointer into the registered schema itself.
        Some(base) if uri.is_empty() => base.to_owned(),
        _ if registry.contains_key(uri) => uri.to_owned(),
        // A sibling by its relative name (RFC 3986 section 5.2, without climbing).
        Some(base) => {
            let (folder, _) = base.rsplit_once('/')?;
            let sibling = format!("{folder}/{}", uri.strip_prefix("./").unwrap_or(uri));
            registry.contains_key(&sibling).then_some(sibling)?
        }
        None => return None,
    };
    Some((uri, fragment.to_owned()))
}
