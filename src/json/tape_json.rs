//! The tape as the JSON that the `jsonschema` crate validates: its `json::Json` trait, implemented
//! over [`Document`].

use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasher, Hash, Hasher};

use jsonschema::JsonType;
use jsonschema::json::{Array, Json, JsonNumber, Node, NodeIdentity, Object};
use serde_json::{Number, Value};

use crate::json::tape::{Document, Item, Kind, Rec, Span, number};

/// The JSON representation for which schemas are compiled.
#[derive(Debug)]
pub(crate) struct TapeJson;

/// One value of a document, or a key that `propertyNames` checks like a value.
#[derive(Debug, Clone, Copy)]
pub(crate) enum TapeNode<'a> {
    /// The value at an index of the tape.
    Value(&'a Document<'a>, u32),
    /// A key.
    Key(&'a str),
}

impl Json for TapeJson {
    type Node<'a> = TapeNode<'a>;
    type PreparedKey = Box<str>;
    type StringBuffer = ();
    // A lookup walks the members, so one walk for all keys soon beats one walk for each.
    const KEYS_PER_LOOKUP: usize = 4;

    fn prepare_key(key: &str) -> Box<str> {
        key.into()
    }

    fn with_string_node<T>((): &mut (), string: &str, f: impl FnOnce(TapeNode<'_>) -> T) -> T {
        f(TapeNode::Key(string))
    }
}

impl<'a> TapeNode<'a> {
    fn item(&self) -> Item<'a> {
        match *self {
            TapeNode::Value(document, at) => document.item(at),
            TapeNode::Key(key) => Item::String(key),
        }
    }
}

static NOTHING: Value = Value::Null;

impl<'a> Node<'a, TapeJson> for TapeNode<'a> {
    type Object = TapeSpan<'a>;
    type Array = TapeSpan<'a>;
    type Number = TapeNumber<'a>;

    fn as_object(&self) -> Option<TapeSpan<'a>> {
        match (*self, self.item()) {
            (TapeNode::Value(document, _), Item::Object(span)) => Some(TapeSpan { document, span }),
            _ => None,
        }
    }

    fn as_array(&self) -> Option<TapeSpan<'a>> {
        match (*self, self.item()) {
            (TapeNode::Value(document, _), Item::Array(span)) => Some(TapeSpan { document, span }),
            _ => None,
        }
    }

    fn as_string(&self) -> Option<Cow<'a, str>> {
        match self.item() {
            Item::String(text) => Some(Cow::Borrowed(text)),
            _ => None,
        }
    }

    fn as_number(&self) -> Option<TapeNumber<'a>> {
        match (*self, self.item()) {
            (TapeNode::Value(document, _), Item::Number(rec)) => {
                Some(TapeNumber { rec, text: document.span_text(rec) })
            }
            _ => None,
        }
    }

    fn as_boolean(&self) -> Option<bool> {
        match self.item() {
            Item::Bool(value) => Some(value),
            _ => None,
        }
    }

    fn is_null(&self) -> bool {
        matches!(self.item(), Item::Null)
    }

    fn is_number(&self) -> bool {
        matches!(self.item(), Item::Number(_))
    }

    fn json_type(&self) -> JsonType {
        match self.item() {
            Item::Null => JsonType::Null,
            Item::Bool(_) => JsonType::Boolean,
            Item::Number(_) => JsonType::Number,
            Item::String(_) => JsonType::String,
            Item::Array(_) => JsonType::Array,
            Item::Object(_) => JsonType::Object,
        }
    }

    fn equals_value(&self, expected: &Value) -> bool {
        match *self {
            TapeNode::Value(document, at) => equals(document, at, expected),
            TapeNode::Key(key) => expected.as_str() == Some(key),
        }
    }

    // The crate (pinned to one version) calls this only to copy the offending value into an error,
    // because `equals_value` and `is_unique` are overridden above and below. No error shows a
    // value, so none is copied: a hundred errors about one large value would cost a hundred copies.
    // The conformance suite would fail if a result depended on it.
    fn to_value(&self) -> Cow<'a, Value> {
        Cow::Borrowed(&NOTHING)
    }

    fn identity(&self) -> Option<NodeIdentity> {
        Some(match *self {
            TapeNode::Value(document, at) => NodeIdentity::tagged(document.address(), at),
            TapeNode::Key(key) => NodeIdentity::tagged(key.as_ptr() as usize, u32::MAX),
        })
    }
}

/// A number of the tape.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TapeNumber<'a> {
    rec: Rec,
    text: &'a str,
}

impl JsonNumber for TapeNumber<'_> {
    fn as_u64(&self) -> Option<u64> {
        self.rec.as_int().and_then(|int| u64::try_from(int).ok())
    }

    fn as_i64(&self) -> Option<i64> {
        self.rec.as_int()
    }

    fn as_f64(&self) -> Option<f64> {
        self.rec.as_double()
    }

    fn as_str(&self) -> Cow<'_, str> {
        Cow::Borrowed(self.text)
    }

    fn to_number(&self) -> Cow<'_, Number> {
        Cow::Owned(number(self.rec))
    }

    fn is_integer(&self) -> bool {
        self.rec.kind == Kind::Int || self.rec.as_double().is_some_and(|value| value.fract() == 0.0)
    }
}

/// The members of an object or the elements of an array.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TapeSpan<'a> {
    document: &'a Document<'a>,
    span: Span,
}

/// Walks the children of a container.
#[derive(Debug)]
pub(crate) struct TapeIter<'a> {
    document: &'a Document<'a>,
    at: u32,
    left: u32,
}

/// Walks the members of an object.
#[derive(Debug)]
pub(crate) struct TapeMembers<'a>(TapeIter<'a>);

impl<'a> TapeSpan<'a> {
    fn iter(&self) -> TapeIter<'a> {
        TapeIter { document: self.document, at: self.span.first, left: self.span.len }
    }
}

impl<'a> Iterator for TapeIter<'a> {
    type Item = TapeNode<'a>;

    fn next(&mut self) -> Option<TapeNode<'a>> {
        self.left = self.left.checked_sub(1)?;
        let at = self.at;
        self.at = self.document.next(at);
        Some(TapeNode::Value(self.document, at))
    }
}

impl<'a> Iterator for TapeMembers<'a> {
    type Item = (&'a str, TapeNode<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let walk = &mut self.0;
        walk.left = walk.left.checked_sub(1)?;
        let (key, value) = (walk.at, walk.at + 1);
        walk.at = walk.document.next(value);
        Some((walk.document.str_at(key), TapeNode::Value(walk.document, value)))
    }
}

impl<'a> Object<'a, TapeJson> for TapeSpan<'a> {
    type Node = TapeNode<'a>;
    type MemberName = &'a str;
    type MembersIter = TapeMembers<'a>;

    fn len(&self) -> usize {
        self.span.len as usize
    }

    fn get(&self, key: &Box<str>) -> Option<TapeNode<'a>> {
        self.document.get(self.span, key).map(|at| TapeNode::Value(self.document, at))
    }

    fn members(&self) -> TapeMembers<'a> {
        TapeMembers(self.iter())
    }
}

impl<'a> Array<'a, TapeJson> for TapeSpan<'a> {
    type Node = TapeNode<'a>;
    type ElementsIter = TapeIter<'a>;

    fn len(&self) -> usize {
        self.span.len as usize
    }

    fn elements(&self) -> TapeIter<'a> {
        self.iter()
    }

    // The crate's default copies every element first, and hashes objects without a random seed.
    fn is_unique(&self) -> bool {
        is_unique(self.document, self.span)
    }
}

/// Whether no two elements of an array are equal in JSON Schema's sense.
pub(crate) fn is_unique(document: &Document<'_>, span: Span) -> bool {
    let hasher = foldhash::quality::RandomState::default();
    let room = (span.len as usize).min(1 << 16);
    let mut seen = HashMap::with_capacity_and_hasher(room, foldhash::fast::RandomState::default());
    let mut alike = Vec::new();
    for at in document.elements(span) {
        match seen.entry(hash(document, at, &hasher)) {
            Entry::Vacant(place) => {
                place.insert(at);
            }
            Entry::Occupied(first) if same(document, *first.get(), at) => return false,
            // A collision of two 64-bit hashes with a random seed: possible, but very rare.
            Entry::Occupied(first) => alike.push((*first.key(), at)),
        }
    }
    alike.iter().enumerate().all(|(i, (key, a))| {
        alike.iter().skip(i + 1).all(|(other, b)| key != other || !same(document, *a, *b))
    })
}

/// A hash that is equal for values that are equal in JSON Schema's sense: `1` and `1.0`, members in
/// any order.
fn hash(document: &Document<'_>, at: u32, hasher: &impl BuildHasher) -> u64 {
    let mut state = hasher.build_hasher();
    match document.item(at) {
        Item::Null => 0_u8.hash(&mut state),
        Item::Bool(value) => (1_u8, value).hash(&mut state),
        Item::Number(rec) => {
            // Adding zero turns negative zero into zero.
            (2_u8, (rec.as_double().unwrap_or_default() + 0.0).to_bits()).hash(&mut state);
        }
        Item::String(text) => (3_u8, text).hash(&mut state),
        Item::Array(span) => {
            (4_u8, span.len).hash(&mut state);
            for element in document.elements(span) {
                hash(document, element, hasher).hash(&mut state);
            }
        }
        Item::Object(span) => {
            let members = document.members(span);
            let sum = members
                .map(|(key, value)| hasher.hash_one((key, hash(document, value, hasher))))
                .fold(0, u64::wrapping_add);
            (5_u8, span.len, sum).hash(&mut state);
        }
    }
    state.finish()
}

/// Whether two values of one document are equal in JSON Schema's sense.
fn same(document: &Document<'_>, a: u32, b: u32) -> bool {
    match (document.item(a), document.item(b)) {
        (Item::Null, Item::Null) => true,
        (Item::Bool(a), Item::Bool(b)) => a == b,
        (Item::Number(a), Item::Number(b)) => a.as_double() == b.as_double(),
        (Item::String(a), Item::String(b)) => a == b,
        (Item::Array(a), Item::Array(b)) => {
            a.len == b.len
                && document.elements(a).zip(document.elements(b)).all(|(a, b)| same(document, a, b))
        }
        (Item::Object(a), Item::Object(b)) => {
            a.len == b.len
                && document
                    .members(a)
                    .all(|(key, a)| document.get(b, key).is_some_and(|b| same(document, a, b)))
        }
        _ => false,
    }
}

/// Whether a value equals a value of the schema in JSON Schema's sense.
pub(crate) fn equals(document: &Document<'_>, at: u32, expected: &Value) -> bool {
    match (document.item(at), expected) {
        (Item::Null, Value::Null) => true,
        (Item::Bool(a), Value::Bool(b)) => a == *b,
        // Both sides are doubles: JavaScript has no other numbers, in bodies or in schemas.
        (Item::Number(a), Value::Number(b)) => a.as_double() == b.as_f64(),
        (Item::String(a), Value::String(b)) => a == b,
        (Item::Array(a), Value::Array(b)) => {
            a.len as usize == b.len()
                && document.elements(a).zip(b).all(|(a, b)| equals(document, a, b))
        }
        (Item::Object(a), Value::Object(b)) => {
            a.len as usize == b.len()
                && document
                    .members(a)
                    .all(|(key, a)| b.get(key).is_some_and(|b| equals(document, a, b)))
        }
        _ => false,
    }
}
