//! The types that a schema of the document allows, for values that arrive as text.

use std::collections::{BTreeSet, HashSet};

use serde_json::Value;

use super::document::Document;

/// Reads the types of a document's schemas.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kinds<'d>(pub(crate) Document<'d>);

impl<'d> Kinds<'d> {
    /// The reason why a form (`application/x-www-form-urlencoded`) can't be read into a schema;
    /// `None` if it can.
    pub(crate) fn no_form(self, schema: &'d Value) -> Option<&'static str> {
        let mut kinds = BTreeSet::new();
        self.kinds(schema, &mut kinds);
        if !kinds.is_empty() && !kinds.contains("object") {
            return Some("is no object, as a form is");
        }
        let mut members = Vec::new();
        self.members(schema, &mut members);
        members.into_iter().find_map(|member| self.no_text(member))
    }

    /// The reason why a schema's values have no unique form as text, or as a list of texts.
    fn no_text(self, schema: &'d Value) -> Option<&'static str> {
        let mut kinds = BTreeSet::new();
        self.kinds(schema, &mut kinds);
        if kinds.contains("object") {
            return Some("has a member that may be an object");
        }
        let mut items = BTreeSet::new();
        self.item_kinds(schema, &mut items);
        (items.contains("object") || items.contains("array"))
            .then_some("has a list whose elements may be objects or lists")
    }

    fn members(self, schema: &'d Value, found: &mut Vec<&'d Value>) {
        self.each_in_place(schema, &mut |schema| {
            let properties = schema.get("properties").and_then(Value::as_object);
            found.extend(properties.into_iter().flat_map(|map| map.values()));
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
