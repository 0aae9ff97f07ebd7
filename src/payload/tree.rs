//! Objects and lists that arrive as text: under names with brackets, or in one text in a style of
//! `OpenAPI` (RFC 6570).
//!
//! Parsers differ on every detail of brackets, so there is one reading here, which the schema
//! declares, and the rest is refused:
//!
//! 1. `name[a]` is a member of an object, `name[]` and `name[0]` are elements of a list. What is
//!    declared as neither has no brackets.
//! 2. Indexes begin with 0 and have no gaps. A list has one spelling in a request.
//! 3. A name has at most [`BRACKETS`] brackets. Elements in `name[]` are single values.
//! 4. A member that comes twice is a duplicate, unless it is declared as a list.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::json::fault::FaultCode;
use crate::payload::plan::{BRACKETS, Field, Node, Style, Types};

/// A value of a member, as it arrived.
#[derive(Debug)]
pub(crate) enum Tree<'q> {
    /// One text.
    Text(Cow<'q, str>),
    /// A list, with the way in which it is spelt.
    List(Spelling, Vec<Option<Tree<'q>>>),
    /// An object.
    Object(BTreeMap<String, Option<Tree<'q>>>),
    /// A JSON text that the parser has accepted.
    Json(Cow<'q, str>),
}

/// The ways to spell a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Spelling {
    /// `name=1&name=2`
    Repeated,
    /// `name[]=1&name[]=2`
    Empty,
    /// `name[0]=1&name[1]=2`
    Index,
    /// In one text.
    Split,
}

/// The name before the brackets, and the text in each; `None` if the key is not of that form.
pub(crate) fn brackets(key: &str) -> Option<(&str, Vec<&str>)> {
    let open = key.find('[')?;
    let (name, rest) = key.split_at_checked(open)?;
    let rest = rest.strip_prefix('[')?.strip_suffix(']')?;
    let path: Vec<&str> = rest.split("][").take(BRACKETS + 1).collect();
    let is_plain = |part: &&str| !part.contains(['[', ']']);
    let fits = !name.is_empty() && !name.contains(']') && path.len() <= BRACKETS;
    (fits && path.iter().all(is_plain)).then_some((name, path))
}

/// An index of a list: digits without a leading zero.
fn index(text: &str) -> Option<usize> {
    let is_index = text == "0" || !text.starts_with('0') && text.len() <= 6;
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_index && digits { text.parse().ok() } else { None }
}

impl<'q> Tree<'q> {
    /// Adds a value at `path` below the value in `slot`, which `node` declares.
    pub(crate) fn insert(
        slot: &mut Option<Self>,
        node: Option<&Node>,
        path: &[&str],
        value: Cow<'q, str>,
    ) -> Result<(), FaultCode> {
        let types = node.map(|node| node.types).unwrap_or_default();
        let Some((first, rest)) = path.split_first() else {
            return Self::set(slot, types, value);
        };
        let element = node.and_then(|node| node.element.as_deref());
        if types.has(Types::ARRAY) && first.is_empty() {
            if !rest.is_empty() {
                return Err(FaultCode::BracketedKey);
            }
            let items = Self::list(slot, Spelling::Empty)?;
            items.push(Some(Self::Text(value)));
            return Ok(());
        }
        if let Some(index) = index(first).filter(|_| types.has(Types::ARRAY)) {
            let items = Self::list(slot, Spelling::Index)?;
            if index == items.len() {
                items.push(None);
            }
            let item = items.get_mut(index).ok_or(FaultCode::BracketedKey)?;
            return Self::insert(item, element, rest, value);
        }
        if !types.has(Types::OBJECT) || first.is_empty() {
            return Err(FaultCode::BracketedKey);
        }
        let member = node.and_then(|node| node.member(first));
        match slot.get_or_insert_with(|| Self::Object(BTreeMap::new())) {
            Self::Object(members) => {
                let slot = members.entry((*first).to_owned()).or_default();
                Self::insert(slot, member, rest, value)
            }
            _ => Err(FaultCode::DuplicateKey),
        }
    }

    fn set(slot: &mut Option<Self>, types: Types, value: Cow<'q, str>) -> Result<(), FaultCode> {
        match slot {
            None if types.has(Types::ARRAY) => {
                *slot = Some(Self::List(Spelling::Repeated, vec![Some(Self::Text(value))]));
            }
            None => *slot = Some(Self::Text(value)),
            Some(Self::List(Spelling::Repeated, items)) => items.push(Some(Self::Text(value))),
            Some(_) => return Err(FaultCode::DuplicateKey),
        }
        Ok(())
    }

    fn list(
        slot: &mut Option<Self>,
        spelling: Spelling,
    ) -> Result<&mut Vec<Option<Self>>, FaultCode> {
        match slot.get_or_insert_with(|| Self::List(spelling, Vec::new())) {
            Self::List(known, items) if *known == spelling => Ok(items),
            _ => Err(FaultCode::DuplicateKey),
        }
    }

    /// Reads a value that comes in one text. At most `most + 1` parts are read, since the document
    /// is then refused. `None` if the style of the field is another one.
    pub(crate) fn styled(
        field: &Field,
        value: &str,
        trims: bool,
        most: usize,
    ) -> Option<Result<Self, FaultCode>> {
        let types = field.types;
        let (text, separator, explode) = match field.style {
            Style::Pairs => (Some(value), ',', false),
            Style::Assigned => (Some(value), ',', true),
            Style::Label { explode } => {
                (value.strip_prefix('.'), if explode { '.' } else { ',' }, explode)
            }
            Style::Matrix { explode } => {
                let text = value.strip_prefix(';');
                let separator = if explode { ';' } else { ',' };
                if explode && types.has(Types::OBJECT) {
                    (text, separator, explode)
                } else if explode {
                    return Some(named(field, text, most));
                } else {
                    (text.and_then(|text| own(field, text)), separator, explode)
                }
            }
            _ => return None,
        };
        let Some(text) = text else { return Some(Err(FaultCode::MalformedParameter)) };
        if !types.has(Types::OBJECT) && !types.has(Types::ARRAY) {
            return Some(Ok(Self::Text(Cow::Owned(text.to_owned()))));
        }
        let parts = text.split(separator).take(most.saturating_add(1));
        let parts = parts.map(|part| if trims { part.trim() } else { part });
        Some(if types.has(Types::OBJECT) {
            if explode { assigned(parts) } else { pairs(parts) }
        } else {
            Ok(Self::split(parts))
        })
    }

    fn split<'p>(parts: impl Iterator<Item = &'p str>) -> Self {
        let items = parts.map(|part| Some(Self::Text(Cow::Owned(part.to_owned()))));
        Self::List(Spelling::Split, items.collect())
    }
}

/// The text behind `name=`, or nothing behind the name alone.
fn own<'p>(field: &Field, text: &'p str) -> Option<&'p str> {
    let rest = text.strip_prefix(&*field.name)?;
    if rest.is_empty() { Some(rest) } else { rest.strip_prefix('=') }
}

/// `name=1;name=2`
fn named<'q>(field: &Field, text: Option<&str>, most: usize) -> Result<Tree<'q>, FaultCode> {
    let text = text.ok_or(FaultCode::MalformedParameter)?;
    let parts = text.split(';').take(most.saturating_add(1));
    let parts: Option<Vec<&str>> = parts.map(|part| own(field, part)).collect();
    let parts = parts.ok_or(FaultCode::MalformedParameter)?;
    if field.types.has(Types::ARRAY) {
        return Ok(Tree::split(parts.into_iter()));
    }
    match parts.as_slice() {
        [one] => Ok(Tree::Text(Cow::Owned((*one).to_owned()))),
        _ => Err(FaultCode::DuplicateKey),
    }
}

/// `a,1,b,2`
fn pairs<'q, 'p>(mut parts: impl Iterator<Item = &'p str>) -> Result<Tree<'q>, FaultCode> {
    let mut members = BTreeMap::new();
    while let Some(name) = parts.next() {
        let value = parts.next().ok_or(FaultCode::MalformedParameter)?;
        member(&mut members, name, value)?;
    }
    Ok(Tree::Object(members))
}

/// `a=1,b=2`
fn assigned<'q, 'p>(parts: impl Iterator<Item = &'p str>) -> Result<Tree<'q>, FaultCode> {
    let mut members = BTreeMap::new();
    for part in parts {
        let (name, value) = part.split_once('=').ok_or(FaultCode::MalformedParameter)?;
        member(&mut members, name, value)?;
    }
    Ok(Tree::Object(members))
}

fn member(
    members: &mut BTreeMap<String, Option<Tree<'_>>>,
    name: &str,
    value: &str,
) -> Result<(), FaultCode> {
    let value = Tree::Text(Cow::Owned(value.to_owned()));
    match members.insert(name.to_owned(), Some(value)) {
        None => Ok(()),
        Some(_) => Err(FaultCode::DuplicateKey),
    }
}
