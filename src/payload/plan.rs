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
    pub(crate) const OBJECT: Self = Self(16);
    const OTHER: Self = Self(32);

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
            "object" => Self::OBJECT,
            _ => Self::OTHER,
        }
    }

    fn of(value: &Value) -> Self {
        match value {
            Value::String(_) => Self::STRING,
            Value::Number(_) => Self::NUMBER,
            Value::Bool(_) => Self::BOOLEAN,
            Value::Array(_) => Self::ARRAY,
            Value::Object(_) => Self::OBJECT,
            Value::Null => Self::OTHER,
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
    /// The form in which it comes.
    pub(crate) style: Style,
    /// Its members and elements, if its form has any.
    pub(crate) inner: Node,
}

impl Field {
    /// Whether it may be given more than once.
    pub(crate) fn is_list(&self) -> bool {
        self.types.has(Types::ARRAY)
    }

    /// Whether its members and elements come under names with brackets.
    pub(crate) fn has_brackets(&self) -> bool {
        match self.style {
            Style::Brackets => true,
            Style::Plain => self.types.has(Types::OBJECT),
            _ => false,
        }
    }
}

/// The form in which a member comes as text: the keyword `x-text-style`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Style {
    /// One value, or a repeated name for a list. An object comes with brackets.
    #[default]
    Plain,
    /// `name[a]=1`, `name[]=1`, `name[0]=1`.
    Brackets,
    /// A list in one text, with this separator.
    Split(char),
    /// An object in one text: `a,1,b,2`.
    Pairs,
    /// An object in one text: `a=1,b=2`.
    Assigned,
    /// The members of an object come as members beside it: `a=1&b=2`.
    Spread,
    /// JSON.
    Json,
    /// `.1`, `.1,2`, `.a,1,b,2`; exploded `.1.2`, `.a=1.b=2` (RFC 6570 section 3.2.5).
    Label { explode: bool },
    /// `;name=1,2`; exploded `;name=1;name=2`, `;a=1;b=2` (RFC 6570 section 3.2.7).
    Matrix { explode: bool },
}

/// The keyword of a member's style.
pub(crate) const STYLE: &str = "x-text-style";

/// The values of the keyword.
pub(crate) const STYLES: &[(&str, Style)] = &[
    (",", Style::Split(',')),
    (" ", Style::Split(' ')),
    ("|", Style::Split('|')),
    ("brackets", Style::Brackets),
    ("pairs", Style::Pairs),
    ("assigned", Style::Assigned),
    ("spread", Style::Spread),
    ("json", Style::Json),
    ("label", Style::Label { explode: false }),
    ("label*", Style::Label { explode: true }),
    ("matrix", Style::Matrix { explode: false }),
    ("matrix*", Style::Matrix { explode: true }),
];

impl Style {
    fn of(schema: &Value) -> Option<Self> {
        let name = schema.get(STYLE)?.as_str()?;
        STYLES.iter().find(|(known, _)| *known == name).map(|(_, style)| *style)
    }
}

/// The types of a value, of its members and of its elements.
#[derive(Debug, Default)]
pub(crate) struct Node {
    pub(crate) types: Types,
    /// Sorted by name.
    members: Vec<(Box<str>, Node)>,
    /// Members that are not named.
    rest: Option<Box<Node>>,
    pub(crate) element: Option<Box<Node>>,
}

impl Node {
    /// The member with this name, if it is declared.
    pub(crate) fn member(&self, name: &str) -> Option<&Self> {
        let at = self.members.binary_search_by(|(known, _)| (**known).cmp(name)).ok();
        at.and_then(|at| self.members.get(at)).map(|(_, node)| node).or(self.rest.as_deref())
    }

    /// Whether it names this member.
    pub(crate) fn names(&self, name: &str) -> bool {
        self.members.binary_search_by(|(known, _)| (**known).cmp(name)).is_ok()
    }
}

/// The declared members, sorted by name.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) fields: Vec<Field>,
    /// Names that another layer reads, such as those of tokens in a query. They are not members.
    pub(crate) reserved: Vec<Box<str>>,
    /// Whether a field has [`Style::Spread`].
    pub(crate) spreads: bool,
}

/// The maximum depth of references and compositions. A deeper type is unknown, and its text is read
/// and checked as a string.
const DEPTH: u32 = 16;
/// The maximum number of brackets behind a name. Deeper names are refused.
pub(crate) const BRACKETS: usize = 5;
/// The maximum number of members of all nested objects of one schema. Others are undeclared.
const NODES: usize = 2000;

impl Plan {
    pub(crate) fn of(schema: &Value) -> Self {
        let mut plan = Self::default();
        plan.collect(schema, schema, 0);
        plan.spreads = plan.fields.iter().any(|field| field.style == Style::Spread);
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

    /// The field of [`Style::Spread`] that has this member: the one that names it, or one that has
    /// members under any name.
    pub(crate) fn spread(&self, name: &str) -> Option<(usize, &Field)> {
        if !self.spreads {
            return None;
        }
        let mut fields = self.fields.iter().enumerate();
        let mut all = fields.clone();
        let spreads = |field: &Field| field.style == Style::Spread;
        fields
            .find(|(_, field)| spreads(field) && field.inner.names(name))
            .or_else(|| all.find(|(_, field)| spreads(field) && field.inner.member(name).is_some()))
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
                if let Some(style) = Style::of(property) {
                    field.style = style;
                }
                if field.default.is_none() {
                    field.default = property.get("default").map(|value| value.to_string().into());
                }
                if field.style != Style::Plain || field.types.has(Types::OBJECT) {
                    let mut left = NODES;
                    let mut inner = std::mem::take(&mut field.inner);
                    nest(root, property, &mut inner, 0, &mut left);
                    field.inner = inner;
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
                style: Style::Plain,
                inner: Node::default(),
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

/// Adds the types of a schema, of its members and of its elements to `node`.
fn nest(root: &Value, schema: &Value, node: &mut Node, level: usize, left: &mut usize) {
    node.types.add(types(root, schema, 0));
    if level < BRACKETS {
        members(root, schema, node, level, 0, left);
        node.members.sort_by(|(a, _), (b, _)| a.cmp(b));
    }
}

fn members(
    root: &Value,
    schema: &Value,
    node: &mut Node,
    level: usize,
    depth: u32,
    left: &mut usize,
) {
    if depth > DEPTH {
        return;
    }
    for (name, property) in
        schema.get("properties").and_then(Value::as_object).into_iter().flatten()
    {
        let Some(less) = left.checked_sub(1) else { return };
        *left = less;
        let known = node.members.iter().position(|(known, _)| **known == **name);
        let at = known.unwrap_or_else(|| {
            node.members.push((name.as_str().into(), Node::default()));
            node.members.len() - 1
        });
        if let Some((_, member)) = node.members.get_mut(at) {
            nest(root, property, member, level + 1, left);
        }
    }
    if schema.get("additionalProperties") == Some(&Value::Bool(true)) {
        node.rest.get_or_insert_default();
    }
    for (key, slot) in [("additionalProperties", &mut node.rest), ("items", &mut node.element)] {
        if let (Some(inner @ Value::Object(_)), Some(less)) = (schema.get(key), left.checked_sub(1))
        {
            *left = less;
            nest(root, inner, slot.get_or_insert_default(), level + 1, left);
        }
    }
    each_in_place(root, schema, &mut |schema| members(root, schema, node, level, depth + 1, left));
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
    if schema.get("properties").is_some() {
        found.add(Types::OBJECT);
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
