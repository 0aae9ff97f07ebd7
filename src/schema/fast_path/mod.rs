//! A quick acceptance. Nearly every body matches its schema, and the usual keywords can be checked
//! without general machinery.
//!
//! A [`FastPath`] never rejects: if it does not accept a document, the crate checks the document
//! from the start. A schema with a keyword that is unknown here has no fast path. So a mistake
//! could only be a false acceptance, and the tests compare every acceptance with the crate's
//! result.

mod build;
mod decimal;
mod pattern;
mod scan;

use std::sync::atomic::AtomicU8;

use jsonschema::Validator;
use serde_json::Value;

pub(crate) use build::Builder;
use decimal::Decimal;
pub(crate) use pattern::Pattern;

use crate::json::tape::{Document, Kind, Rec, Span};
use crate::json::tape_json::{TapeJson, TapeNode, equals, is_unique};
use crate::schema::reserved;

/// A schema of the usual keywords, as rules that refer to each other by their index. The first rule
/// is the schema itself.
#[derive(Debug)]
pub(crate) struct FastPath {
    rules: Vec<Rules>,
}

/// The requirements of one schema.
#[derive(Debug, Default)]
struct Rules {
    /// Refuses every value: the schema `false`.
    nothing: bool,
    types: Option<Types>,
    text: Option<Box<Text>>,
    number: Option<Box<Range>>,
    object: Option<Box<Members>>,
    array: Option<Box<Elements>>,
    more: Option<Box<More>>,
}

/// Rare requirements, on values of every type.
#[derive(Debug, Default)]
struct More {
    /// A value must be in each list: those of `enum` and `const`.
    values: Vec<Vec<Value>>,
    /// Single keywords that the crate checks.
    keywords: Vec<Validator<TapeJson>>,
    /// Schemas that must all accept the value too.
    all: Vec<u32>,
    /// Of each list, one schema must accept the value too.
    any: Vec<Vec<u32>>,
}

/// A set of types, one bit each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Types(u8);

impl Types {
    const NULL: u8 = 1;
    const BOOLEAN: u8 = 2;
    const INTEGER: u8 = 4;
    const NUMBER: u8 = 8;
    const STRING: u8 = 16;
    const ARRAY: u8 = 32;
    const OBJECT: u8 = 64;

    fn named(name: &str) -> Option<u8> {
        Some(match name {
            "null" => Self::NULL,
            "boolean" => Self::BOOLEAN,
            "integer" => Self::INTEGER,
            "number" => Self::NUMBER,
            "string" => Self::STRING,
            "array" => Self::ARRAY,
            "object" => Self::OBJECT,
            _ => return None,
        })
    }

    fn has(self, rec: Rec) -> bool {
        let any_of = match rec.kind {
            Kind::Null => Self::NULL,
            Kind::True | Kind::False => Self::BOOLEAN,
            Kind::Int => Self::INTEGER | Self::NUMBER,
            Kind::Float if rec.as_double().is_some_and(|value| value.fract() == 0.0) => {
                Self::INTEGER | Self::NUMBER
            }
            Kind::Float => Self::NUMBER,
            Kind::Plain | Kind::Escaped => Self::STRING,
            Kind::Array => Self::ARRAY,
            Kind::Object => Self::OBJECT,
        };
        self.0 & any_of != 0
    }
}

#[derive(Debug)]
struct Text {
    least: usize,
    most: usize,
    /// The same in UTF-16 code units.
    units: Vec<reserved::Length>,
    patterns: Vec<Pattern>,
    formats: Vec<fn(&str) -> bool>,
}

/// Limits of a number. All are exact as doubles, like all numbers of a tape.
#[derive(Debug)]
struct Range {
    from: f64,
    above: f64,
    to: f64,
    below: f64,
    step: Option<Decimal>,
}

#[derive(Debug)]
struct Members {
    least: u32,
    most: u32,
    /// Sorted by name.
    known: Vec<Member>,
    /// The order of the members in the last object: a prediction. A wrong one costs a search.
    order: Box<[AtomicU8]>,
    /// The bits of the required members.
    required: u64,
    others: Others,
    /// Whether a scan may compare the names with the raw text between two quotes.
    plain: bool,
}

#[derive(Debug)]
struct Member {
    name: Box<str>,
    rules: u32,
    /// Its bit in `required`, 0 if it is optional.
    bit: u64,
    /// The first eight bytes of the name as a word, and a mask of the bytes that the name has.
    head: u64,
    mask: u64,
}

impl Member {
    fn new(name: &str, rules: u32) -> Self {
        let mut head = [0; 8];
        let mut mask = [0; 8];
        for ((byte, head), mask) in name.bytes().zip(&mut head).zip(&mut mask) {
            (*head, *mask) = (byte, 0xff);
        }
        let (head, mask) = (u64::from_le_bytes(head), u64::from_le_bytes(mask));
        Self { name: name.into(), rules, bit: 0, head, mask }
    }
}

#[derive(Debug)]
struct Elements {
    least: u32,
    most: u32,
    first: Vec<u32>,
    others: Others,
    unique: bool,
}

/// The rule for members and elements that are not named.
#[derive(Debug, Clone, Copy)]
enum Others {
    Any,
    Nothing,
    Rules(u32),
}

/// Up to this many names are compared one by one.
const FEW: usize = 12;

/// The budget of a fast path for one document, since choices inside recursions multiply. Beyond it,
/// the crate takes over.
struct Fuel {
    left: u32,
    depth: u32,
}

const DEEPEST: u32 = 256;

impl FastPath {
    /// Whether the document certainly matches.
    pub(crate) fn accepts(&self, document: &Document<'_>) -> bool {
        let left = document.nodes().saturating_mul(8).saturating_add(64);
        self.value(0, document, 0, &mut Fuel { left, depth: 0 })
    }

    fn value(&self, rules: u32, document: &Document<'_>, at: u32, fuel: &mut Fuel) -> bool {
        let Some(rules) = self.rules.get(rules as usize) else { return false };
        let rec = document.rec(at);
        if rules.nothing || rules.types.is_some_and(|types| !types.has(rec)) {
            return false;
        }
        if fuel.left == 0 || fuel.depth == DEEPEST {
            return false;
        }
        fuel.left -= 1;
        let by_kind = match rec.kind {
            Kind::Plain | Kind::Escaped => {
                rules.text.as_ref().is_none_or(|text| text.accepts(document.span_text(rec)))
            }
            Kind::Int | Kind::Float => rules.number.as_ref().is_none_or(|range| {
                rec.as_double().is_some_and(|value| range.has(value, document.span_text(rec)))
            }),
            Kind::Object => rules.object.as_ref().is_none_or(|members| {
                fuel.depth += 1;
                let accepted = self.members(members, document, document.span(at), fuel);
                fuel.depth -= 1;
                accepted
            }),
            Kind::Array => rules.array.as_ref().is_none_or(|elements| {
                fuel.depth += 1;
                let accepted = self.elements(elements, document, document.span(at), fuel);
                fuel.depth -= 1;
                accepted
            }),
            Kind::Null | Kind::True | Kind::False => true,
        };
        by_kind && rules.more.as_ref().is_none_or(|more| self.more(more, document, at, fuel))
    }

    fn more(&self, more: &More, document: &Document<'_>, at: u32, fuel: &mut Fuel) -> bool {
        fuel.depth += 1;
        let one_of = |values: &Vec<Value>| values.iter().any(|value| equals(document, at, value));
        let accepted = more.values.iter().all(one_of)
            && more.all.iter().all(|other| self.value(*other, document, at, fuel))
            && more
                .any
                .iter()
                .all(|list| list.iter().any(|other| self.value(*other, document, at, fuel)))
            && more.keywords.iter().all(|keyword| keyword.is_valid(TapeNode::Value(document, at)));
        fuel.depth -= 1;
        accepted
    }

    fn members(
        &self,
        members: &Members,
        document: &Document<'_>,
        span: Span,
        fuel: &mut Fuel,
    ) -> bool {
        if span.len < members.least || span.len > members.most {
            return false;
        }
        let mut missing = members.required;
        let mut key = span.first;
        for _ in 0..span.len {
            let value = key + 1;
            let accepted = match members.find(document.bytes_at(key)) {
                Some(member) => {
                    missing &= !member.bit;
                    self.value(member.rules, document, value, fuel)
                }
                None => self.other(members.others, document, value, fuel),
            };
            if !accepted {
                return false;
            }
            key = document.next(value);
        }
        missing == 0
    }

    fn elements(
        &self,
        elements: &Elements,
        document: &Document<'_>,
        span: Span,
        fuel: &mut Fuel,
    ) -> bool {
        if span.len < elements.least || span.len > elements.most {
            return false;
        }
        let mut first = elements.first.iter();
        let accepted = document.elements(span).all(|at| match first.next() {
            Some(rules) => self.value(*rules, document, at, fuel),
            None => self.other(elements.others, document, at, fuel),
        });
        accepted && (!elements.unique || is_unique(document, span))
    }

    fn other(&self, others: Others, document: &Document<'_>, at: u32, fuel: &mut Fuel) -> bool {
        match others {
            Others::Any => true,
            Others::Nothing => false,
            Others::Rules(rules) => self.value(rules, document, at, fuel),
        }
    }
}

impl Text {
    fn accepts(&self, text: &str) -> bool {
        self.has_length(text)
            && self.units.iter().all(|length| length.accepts(text))
            && self.patterns.iter().all(|pattern| pattern.accepts(text))
            && self.formats.iter().all(|is_format| is_format(text))
    }

    /// Characters are counted only if the number of bytes, one to four for each, does not decide.
    fn has_length(&self, text: &str) -> bool {
        let bytes = text.len();
        if bytes >= self.least.saturating_mul(4) && bytes <= self.most {
            return true;
        }
        bytes >= self.least
            && (bytes <= self.most && text.is_ascii()
                || (self.least..=self.most).contains(&text.chars().count()))
    }
}

impl Range {
    /// `text` is the number in its written form.
    fn has(&self, value: f64, text: &str) -> bool {
        value >= self.from
            && value > self.above
            && value <= self.to
            && value < self.below
            && self.step.is_none_or(|step| step.divides(text))
    }
}

impl Members {
    fn find(&self, name: &[u8]) -> Option<&Member> {
        if self.known.len() <= FEW {
            return self.known.iter().find(|member| member.name.as_bytes() == name);
        }
        let at = self.known.binary_search_by(|member| member.name.as_bytes().cmp(name)).ok()?;
        self.known.get(at)
    }
}
