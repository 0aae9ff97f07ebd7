//! The types that a schema of the document allows, for values that arrive as text.

use std::collections::{BTreeSet, HashSet};

use serde_json::Value;

use super::document::Document;

/// Reads the types of a document's schemas.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kinds<'d>(pub(crate) Document<'d>);

impl<'d> Kinds<'d> {
    /// The members of an object, with their schemas.
    pub(crate) fn members(self, schema: &'d Value) -> Vec<(&'d str, &'d Value)> {
        let mut found = Vec::new();
        self.each_in_place(schema, &mut |schema| {
            let properties = schema.get("properties").and_then(Value::as_object);
            found.extend(properties.into_iter().flatten().map(|(name, it)| (name.as_str(), it)));
            true
        });
        found
    }

    /// The types that a schema names for the members of an object.
    pub(crate) fn member_kinds(self, schema: &'d Value, found: &mut BTreeSet<&'d str>) {
        for (_, member) in self.members(schema) {
            self.kinds(member, found);
        }
        self.each_in_place(schema, &mut |schema| {
            if let Some(rest) = schema.get("additionalProperties") {
                self.kinds(rest, found);
            }
            true
        });
    }

    /// The types that a schema names.
    pub(crate) fn kinds(self, schema: &'d Value, found: &mut BTreeSet<&'d str>) {
        self.each_in_place(schema, &mut |schema| {
            match schema.get("type") {
                Some(Value::String(kind)) => {
                    found.insert(kind);
                    return false;
                }
                Some(Value::Array(kinds)) => {
                    found.extend(kinds.iter().filter_map(Value::as_str));
                    return false;
                }
                _ => {}
            }
            if schema.get("properties").is_some() {
                found.insert("object");
            }
            if schema.get("items").is_some() || schema.get("prefixItems").is_some() {
                found.insert("array");
            }
            true
        });
    }

    /// The types that a schema names for the elements of a list.
    pub(crate) fn item_kinds(self, schema: &'d Value, found: &mut BTreeSet<&'d str>) {
        self.each_in_place(schema, &mut |schema| {
            let tuple = schema.get("prefixItems").and_then(Value::as_array).into_iter().flatten();
            for items in schema.get("items").into_iter().chain(tuple) {
                self.kinds(items, found);
            }
            true
        });
    }

    /// Calls `visit` once with each schema that applies to the same value, even if they refer to
    /// one another. It returns whether to continue with the parts of the schema.
    fn each_in_place(self, schema: &'d Value, visit: &mut dyn FnMut(&'d Value) -> bool) {
        let mut open = vec![schema];
        let mut seen = HashSet::new();
        while let Some(schema) = open.pop() {
            if !seen.insert(std::ptr::from_ref(schema)) || !visit(schema) {
                continue;
            }
            let target = schema.get("$ref").map(|reference| self.0.target("", reference));
            open.extend(target.and_then(|at| Some(at.ok()??.value)));
            for key in ["allOf", "anyOf", "oneOf"] {
                open.extend(schema.get(key).and_then(Value::as_array).into_iter().flatten());
            }
        }
    }
}
