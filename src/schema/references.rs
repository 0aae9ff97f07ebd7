//! References in one form. A schema may refer to a part of itself by names: `$id`, `$anchor`,
//! relative URIs. This module replaces each of them by a JSON Pointer from the top and removes the
//! names. So the validator and all code that walks a schema (closing, types of a query, sanitizers,
//! answers) resolve a reference to the same schema.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;

use jsonschema::Draft;
use serde_json::{Map, Value};
use url::Url;

use crate::error::ConfigError;
use crate::schema::keywords::{error_at, escaped, inner_schemas, is_old, local_pointer};

/// The base of a schema that has no URI of its own.
pub(crate) const NO_BASE: &str = "json-schema:///";

/// Rewrites every reference of `schema` as a pointer from the top, and removes the names of its
/// parts. `base` is the schema's URI. `registry` holds the schemas outside of it: a reference to
/// one of those becomes its registered URI.
///
/// Returns the pointer to a reference that can't be resolved (`$dynamicRef`, `$recursiveRef`, a
/// name that is missing or duplicate). In that case nothing is changed, and only the validator
/// resolves the references.
pub(crate) fn settle(
    schema: &mut Value,
    base: &str,
    draft: Draft,
    registry: &Map<String, Value>,
) -> Option<String> {
    if !schema.is_object() {
        return None;
    }
    let Ok(url) = Url::parse(base) else { return Some(String::new()) };
    let mut walk = Walk {
        root: schema,
        draft,
        registry,
        resources: HashMap::from([(url.to_string(), String::new())]),
        anchors: HashMap::new(),
        bases: vec![url],
        refs: Vec::new(),
        named: Vec::new(),
        visited: HashSet::new(),
        unknown: None,
    };
    walk.reach(String::new(), 0);
    let targets = match walk.targets() {
        Ok(targets) => targets,
        Err(at) => return Some(at),
    };
    let named = std::mem::take(&mut walk.named);
    for (at, target) in targets {
        if let Some(reference) = schema.pointer_mut(&at) {
            *reference = Value::String(target);
        }
    }
    let id = id_key(draft);
    for at in named {
        let Some(Value::Object(map)) = schema.pointer_mut(&at) else { continue };
        // The name at the top stays: once all references are pointers, it has no effect.
        if !at.is_empty() && map.get(id).is_some_and(Value::is_string) {
            map.remove(id);
        }
        if !is_old(draft) {
            map.remove("$anchor");
            map.remove("$dynamicAnchor");
        }
    }
    None
}

struct Walk<'a> {
    root: &'a Value,
    draft: Draft,
    registry: &'a Map<String, Value>,
    /// Pointers to the schemas that have a URI of their own.
    resources: HashMap<String, String>,
    /// Pointers to the named parts of those.
    anchors: HashMap<(String, String), String>,
    bases: Vec<Url>,
    /// The pointer of each reference, its base and its text.
    refs: Vec<(String, usize, String)>,
    /// Schemas with names.
    named: Vec<String>,
    visited: HashSet<String>,
    /// The pointer to a keyword that makes references uncertain.
    unknown: Option<String>,
}

enum Target {
    Inside(String),
    Registered(String),
}

impl Walk<'_> {
    /// Reads the schema at `at` and all schemas inside it.
    fn reach(&mut self, at: String, base: usize) {
        let mut open = vec![(at, base)];
        while let Some((at, mut base)) = open.pop() {
            let Some(Value::Object(map)) = self.root.pointer(&at) else { continue };
            if !self.visited.insert(at.clone()) {
                continue;
            }
            if self.names(map, &at, &mut base).is_none() {
                self.unknown.get_or_insert_with(|| at.clone());
            }
            if let Some(Value::String(reference)) = map.get("$ref") {
                self.refs.push((format!("{at}/$ref"), base, reference.clone()));
            }
            for key in ["$dynamicRef", "$recursiveRef"] {
                if map.contains_key(key) {
                    self.unknown.get_or_insert_with(|| format!("{at}/{key}"));
                }
            }
            open.extend(inner_schemas(map, &at).into_iter().map(|at| (at, base)));
        }
    }

    /// Records the names of a schema; `None` if they are ambiguous.
    fn names(&mut self, map: &Map<String, Value>, at: &str, base: &mut usize) -> Option<()> {
        let old = is_old(self.draft);
        let id = map.get(id_key(self.draft)).and_then(Value::as_str);
        // Old drafts ignore keywords beside `$ref`.
        if let Some(id) = id.filter(|_| !(old && map.contains_key("$ref"))) {
            self.named.push(at.to_owned());
            let (uri, fragment) = id.split_once('#').unwrap_or((id, ""));
            if !uri.is_empty() {
                let url = self.bases.get(*base)?.join(uri).ok()?;
                let known = self.resources.insert(url.to_string(), at.to_owned());
                known.is_none_or(|known| known == at).then_some(())?;
                *base = self.bases.len();
                self.bases.push(url);
            }
            if !fragment.is_empty() {
                // Up to draft 7, an `$id` with only a fragment is the predecessor of `$anchor`.
                (old && uri.is_empty()).then_some(())?;
                self.anchor(fragment, at, *base)?;
            }
        }
        for key in ["$anchor", "$dynamicAnchor"] {
            if let Some(name) = map.get(key).and_then(Value::as_str).filter(|_| !old) {
                self.named.push(at.to_owned());
                self.anchor(name, at, *base)?;
            }
        }
        Some(())
    }

    fn anchor(&mut self, name: &str, at: &str, base: usize) -> Option<()> {
        let uri = self.bases.get(base)?.to_string();
        let known = self.anchors.insert((uri, name.to_owned()), at.to_owned());
        known.is_none_or(|known| known == at).then_some(())
    }

    /// The new text of each reference that changes. The error is the pointer to a reference that
    /// leads nowhere.
    fn targets(&mut self) -> Result<Vec<(String, String)>, String> {
        // Parts that only a reference reaches, such as a list of schemas under a name of the
        // author's, contain references as well.
        let mut from = 0;
        while from < self.refs.len() {
            let until = self.refs.len();
            for i in from..until {
                let Some((_, base, text)) = self.refs.get(i).cloned() else { continue };
                if let Some((Target::Inside(pointer), base)) = self.target(base, &text) {
                    self.reach(pointer, base);
                }
            }
            from = until;
        }
        if let Some(at) = self.unknown.take() {
            return Err(at);
        }
        let mut targets = Vec::new();
        for (at, base, text) in &self.refs {
            match self.target(*base, text) {
                None => return Err(at.clone()),
                Some((Target::Registered(uri), _)) if uri == *text => {}
                Some((Target::Registered(uri), _)) => targets.push((at.clone(), uri)),
                Some((Target::Inside(pointer), _)) => {
                    let same = text.starts_with('#')
                        && local_pointer(&Value::String(text.clone())).as_ref() == Some(&pointer);
                    if !same {
                        targets.push((at.clone(), format!("#{}", percent(&pointer))));
                    }
                }
            }
        }
        Ok(targets)
    }

    /// The target of a reference, with the base at the target.
    fn target(&self, base: usize, text: &str) -> Option<(Target, usize)> {
        let (uri, fragment) = text.split_once('#').unwrap_or((text, ""));
        let own = self.bases.get(base)?;
        let joined = if uri.is_empty() { None } else { own.join(uri).ok() };
        if joined.is_none() && !uri.is_empty() {
            return None;
        }
        let whole = joined.as_ref().unwrap_or(own);
        let Some(resource) = self.resources.get(whole.as_str()) else {
            let known =
                [uri, whole.as_str()].into_iter().find(|uri| self.registry.contains_key(*uri))?;
            let hash = if text.contains('#') { "#" } else { "" };
            return Some((Target::Registered(format!("{known}{hash}{fragment}")), base));
        };
        let there = self.bases.iter().position(|url| url == whole).unwrap_or(base);
        let pointer = match local_pointer(&Value::String(format!("#{fragment}"))) {
            Some(pointer) => format!("{resource}{pointer}"),
            None => self.anchors.get(&(whole.to_string(), fragment.to_owned()))?.clone(),
        };
        Some((Target::Inside(pointer), there))
    }
}

/// Refuses a schema that refers to itself for the same value: it would check nothing. A schema that
/// refers to itself for a part of the value, such as a tree, ends with the value.
pub(crate) fn refuse_endless(path: &str, root: &Value, draft: Draft) -> Result<(), ConfigError> {
    // `done`: schemas whose references were followed to the end. `open`: schemas on the current
    // path.
    let (mut done, mut open) = (HashSet::new(), HashSet::new());
    let mut schemas = vec![String::new()];
    let mut known: HashSet<String> = schemas.iter().cloned().collect();
    while let Some(schema) = schemas.pop() {
        let Some(Value::Object(map)) = root.pointer(&schema) else { continue };
        let targets = map.get("$ref").and_then(local_pointer);
        let inner = inner_schemas(map, &schema).into_iter().chain(targets);
        schemas.extend(inner.filter(|at| known.insert(at.clone())));
        // Not recursive: a chain may be as long as the schema.
        let mut steps = vec![(schema, false)];
        while let Some((at, is_left)) = steps.pop() {
            if is_left {
                open.remove(&at);
                done.insert(at);
                continue;
            }
            if open.contains(&at) {
                let problem = "refers to itself for the same value, and would check nothing";
                return Err(error_at(path, &at, problem).suggest(
                    "write the schema that it stands for, or refer to it for a part of the value",
                ));
            }
            if !done.contains(&at) {
                let next = same_value(root, &at, draft);
                steps.push((at.clone(), true));
                open.insert(at);
                steps.extend(next.into_iter().map(|at| (at, false)));
            }
        }
    }
    Ok(())
}

/// Pointers to the schemas that the one at `at` applies to the same value.
fn same_value(root: &Value, at: &str, draft: Draft) -> Vec<String> {
    let Some(Value::Object(map)) = root.pointer(at) else { return Vec::new() };
    let reference = map.get("$ref").and_then(local_pointer);
    if is_old(draft) && map.contains_key("$ref") {
        return reference.into_iter().collect();
    }
    let mut found: Vec<String> = reference.into_iter().collect();
    for (key, value) in map {
        match (key.as_str(), value) {
            ("allOf" | "anyOf" | "oneOf", Value::Array(schemas)) => {
                found.extend((0..schemas.len()).map(|i| format!("{at}/{key}/{i}")));
            }
            ("dependentSchemas" | "dependencies", Value::Object(schemas)) => {
                found.extend(schemas.keys().map(|name| format!("{at}/{key}/{}", escaped(name))));
            }
            ("not" | "if" | "then" | "else", _) => found.push(format!("{at}/{key}")),
            _ => {}
        }
    }
    found
}

/// The keyword that gives a schema its URI.
fn id_key(draft: Draft) -> &'static str {
    if draft == Draft::Draft4 { "id" } else { "$id" }
}

/// A JSON Pointer, or a key of one, encoded for a URI fragment.
pub(crate) fn percent(pointer: &str) -> String {
    let mut out = String::with_capacity(pointer.len());
    for byte in pointer.bytes() {
        match byte {
            b'a'..=b'z'
            | b'A'..=b'Z'
            | b'0'..=b'9'
            | b'-'
            | b'.'
            | b'_'
            | b'~'
            | b':'
            | b'/'
            | b'$' => {
                out.push(char::from(byte));
            }
            // Writing to a string can't fail.
            _ => drop(write!(out, "%{byte:02X}")),
        }
    }
    out
}
