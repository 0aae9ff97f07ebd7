//! The declared types of the members of a query, of route parameters and of headers. They are read
//! from the schema once, since text carries no types.

use serde_json::Value;

use crate::schema::{IN_PLACE, in_place_schemas};

/// A set of JSON types.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Types(u8);

impl Types {
    pub(crate) const STRING: Self = Self(1);
    pub(crate) const NUMBER: Self = Self(2);
    pub(crate) const BOOLEAN: Self = Self(4);
    pub(crate) const ARRAY: Self = Self(8);
    const OTHER: Self = Self(16);

    pub(crate) fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether a single text may become one of these types.
    pub(crate) fn has_scalar(self) -> bool {
        self.0 & (Self::STRING.0 | Self::NUMBER.0 | Self::BOOLEAN.0) != 0
    }

    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }

    fn add(&mut self, other: Self) {
        self.0 |= other.0;
    }

    fn named(name: &str) -> Self {
        match name {
            "string" => Self::STRING,
            "integer" | "number" => Self::NUMBER,
            "boolean" => Self::BOOLEAN,
            "array" => Self::ARRAY,
            _ => Self::OTHER,
        }
    }

    fn of(value: &Value) -> Self {
        match value {
            Value::String(_) => Self::STRING,
            Value::Number(_) => Self::NUMBER,
            Value::Bool(_) => Self::BOOLEAN,
            Value::Array(_) => Self::ARRAY,
            _ => Self::OTHER,
        }
    }
}

/// One declared member.
#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) name: Box<str>,
    pub(crate) types: Types,
    /// The types of its elements, if it is a list.
    pub(crate) items: Types,
    /// The JSON text that replaces an absent member.
    pub(crate) default: Option<Box<str>>,
    /// Whether it is a list that comes as one text with commas (`x-split: ','`).
    pub(crate) split: bool,
}

impl Field {
    /// Whether it may be given more than once.
    pub(crate) fn is_list(&self) -> bool {
        self.types.has(Types::ARRAY)
    }
}

/// The declared members, sorted by name.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) fields: Vec<Field>,
    /// Names that another layer reads, such as those of tokens in a query. They are not members.
    pub(crate) reserved: Vec<Box<str>>,
}

/// The maximum depth of references and compositions. A deeper type is unknown, and its text is read
/// and checked as a string.
const DEPTH: u32 = 16;

impl Plan {
    pub(crate) fn of(schema: &Value) -> Self {
        let mut plan = Self::default();
        plan.collect(schema, schema, 0);
        plan.fields.sort_by(|a, b| a.name.cmp(&b.name));
        plan
    }

    pub(crate) fn find(&self, name: &str) -> Option<(usize, &Field)> {
        let at = self.fields.binary_search_by(|field| (*field.name).cmp(name)).ok()?;
        Some((at, self.fields.get(at)?))
    }

    /// Whether another layer reads the name.
    pub(crate) fn passes_over(&self, name: &str) -> bool {
        self.reserved.iter().any(|reserved| **reserved == *name)
    }

    fn collect(&mut self, root: &Value, schema: &Value, depth: u32) {
        let Value::Object(map) = schema else { return };
        if depth > DEPTH {
            return;
        }
        if let Some(properties) = map.get("properties").and_then(Value::as_object) {
            for (name, property) in properties {
                let field = self.field(name);
                field.types.add(types(root, property, 0));
                field.items.add(item_types(root, property, 0));
                field.split |= property.get("x-split").and_then(Value::as_str) == Some(",");
                if field.default.is_none() {
                    field.default = property.get("default").map(|value| value.to_string().into());
                }
            }
        }
        // A name that is only required is declared too, as a string.
        for name in map.get("required").and_then(Value::as_array).into_iter().flatten() {
            if let Some(name) = name.as_str() {
                self.field(name);
            }
        }
        each_in_place(root, schema, &mut |schema| self.collect(root, schema, depth + 1));
    }

    fn field(&mut self, name: &str) -> &mut Field {
        let known = self.fields.iter().position(|field| &*field.name == name);
        let at = known.unwrap_or_else(|| {
            let (types, items) = (Types::default(), Types::default());
            self.fields.push(Field {
                name: name.into(),
                types,
                items,
                default: None,
                split: false,
            });
            self.fields.len() - 1
        });
        #[expect(clippy::indexing_slicing, reason = "found or pushed just above")]
        &mut self.fields[at]
    }
}

fn each_in_place(root: &Value, schema: &Value, run: &mut dyn FnMut(&Value)) {
    for key in IN_PLACE {
        let Some(value) = schema.get(key) else { continue };
        for schema in in_place_schemas(root, key, value).into_iter().flatten() {
            run(schema);
        }
    }
}

/// The types that a schema allows: those of `type`, those of its constants, or those of its
/// in-place schemas.
fn types(root: &Value, schema: &Value, depth: u32) -> Types {
    let mut found = Types::default();
    match schema.get("type") {
        Some(Value::String(name)) => found.add(Types::named(name)),
        Some(Value::Array(names)) => {
            names.iter().filter_map(Value::as_str).for_each(|name| found.add(Types::named(name)));
        }
        _ => {}
    }
    if !found.is_empty() || depth > DEPTH {
        return found;
    }
    if let Some(value) = schema.get("const") {
        found.add(Types::of(value));
    }
    for value in schema.get("enum").and_then(Value::as_array).into_iter().flatten() {
        found.add(Types::of(value));
    }
    each_in_place(root, schema, &mut |schema| found.add(types(root, schema, depth + 1)));
    found
}

/// The types that a schema allows for the elements of a list.
fn item_types(root: &Value, schema: &Value, depth: u32) -> Types {
    let mut found = Types::default();
    if depth > DEPTH {
        return found;
    }
    for key in ["items", "prefixItems", "additionalItems"] {
        match schema.get(key) {
            Some(Value::Array(list)) => {
                for item in list {
                    found.add(types(root, item, depth + 1));
                }
            }
            Some(item) => found.add(types(root, item, depth + 1)),
            None => {}
        }
    }
    each_in_place(root, schema, &mut |schema| found.add(item_types(root, schema, depth + 1)));
    found
}
