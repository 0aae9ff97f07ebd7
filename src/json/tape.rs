//! The document as a tape: one flat record per key and value, in the order of the text, over the
//! bytes of the body.
//!
//! Strings stay in the body; only those with escapes are written to a side buffer.

use std::cell::Cell;

use serde_json::{Map, Number, Value};

/// The kind of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Null,
    True,
    False,
    /// A whole number within ±(2^53 - 1), written without fraction or exponent.
    Int,
    /// Any other number, as JavaScript's double.
    Float,
    /// A string without escapes: a span of the source.
    Plain,
    /// A string with escapes: a span of the side buffer.
    Escaped,
    Array,
    Object,
}

/// One key or value. The meaning of `c` and `d` depends on the kind; only the constructors and
/// readers below use them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rec {
    pub(crate) kind: Kind,
    /// Start: in the side buffer for [`Kind::Escaped`], in the source for all others.
    pub(crate) a: u32,
    /// End, in the same buffer as `a`.
    pub(crate) b: u32,
    c: u32,
    d: u32,
}

impl Rec {
    pub(crate) fn literal(kind: Kind, a: u32, b: u32) -> Self {
        Self { kind, a, b, c: 0, d: 0 }
    }

    pub(crate) fn escaped(a: u32, b: u32, source: u32) -> Self {
        Self { kind: Kind::Escaped, a, b, c: source, d: 0 }
    }

    pub(crate) fn int(a: u32, b: u32, value: i64) -> Self {
        Self::with_bits(Kind::Int, a, b, value.cast_unsigned())
    }

    pub(crate) fn float(a: u32, b: u32, value: f64) -> Self {
        Self::with_bits(Kind::Float, a, b, value.to_bits())
    }

    #[expect(clippy::cast_possible_truncation, reason = "the two halves of 64 bits")]
    fn with_bits(kind: Kind, a: u32, b: u32, bits: u64) -> Self {
        Self { kind, a, b, c: bits as u32, d: (bits >> 32) as u32 }
    }

    fn bits(self) -> u64 {
        u64::from(self.c) | u64::from(self.d) << 32
    }

    /// The value of a [`Kind::Int`].
    pub(crate) fn as_int(self) -> Option<i64> {
        (self.kind == Kind::Int).then(|| self.bits().cast_signed())
    }

    /// The value of any number. Whole numbers of a tape are exact as doubles.
    #[expect(clippy::cast_precision_loss, reason = "a whole number of a tape is within 2^53")]
    pub(crate) fn as_double(self) -> Option<f64> {
        match self.kind {
            Kind::Int => Some(self.bits().cast_signed() as f64),
            Kind::Float => Some(f64::from_bits(self.bits())),
            _ => None,
        }
    }

    /// The start of the key or value in the source.
    pub(crate) fn offset(self) -> u32 {
        if self.kind == Kind::Escaped { self.c } else { self.a }
    }

    pub(crate) fn is_container(self) -> bool {
        matches!(self.kind, Kind::Array | Kind::Object)
    }

    /// Closes a container: its length, the end of its text and the index after its last descendant.
    pub(crate) fn close(&mut self, len: u32, end: u32, next: u32) {
        self.c = len;
        self.b = end;
        self.d = next;
    }
}

/// A container that is still open during parsing.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Frame {
    pub(crate) rec: u32,
    pub(crate) len: u32,
    /// The record of the member's key; [`NO_KEY`] in arrays and between members.
    pub(crate) key: u32,
    pub(crate) object: bool,
    /// The Bloom filter of the keys so far, one bit each.
    pub(crate) looks: u64,
}

impl Frame {
    pub(crate) fn of(rec: u32, object: bool) -> Self {
        Self { rec, len: 0, key: NO_KEY, object, looks: 0 }
    }
}

impl Default for Frame {
    fn default() -> Self {
        Self::of(0, false)
    }
}

pub(crate) const NO_KEY: u32 = u32::MAX;

/// The buffers of one parse. The next parse reuses them, so a small body costs no allocation.
#[derive(Debug, Default)]
pub(crate) struct Tape {
    pub(crate) recs: Vec<Rec>,
    pub(crate) side: String,
    pub(crate) frames: Vec<Frame>,
    /// Scratch space for the keys of one large object.
    pub(crate) keys: Vec<u32>,
    pub(crate) nodes: u32,
    pub(crate) depth: u32,
}

/// A buffer that grew beyond this many records or bytes is freed after the request.
const KEEP_RECORDS: usize = 4096;
const KEEP_BYTES: usize = 1 << 16;

thread_local! {
    static SPARE: Cell<Tape> = Cell::default();
}

impl Tape {
    /// Runs `run` with this thread's buffers. A nested call gets fresh ones.
    pub(crate) fn with<T>(run: impl FnOnce(&mut Self) -> T) -> T {
        let mut tape = SPARE.take();
        let result = run(&mut tape);
        if tape.recs.capacity() <= KEEP_RECORDS && tape.side.capacity() <= KEEP_BYTES {
            SPARE.set(tape);
        }
        result
    }

    pub(crate) fn clear(&mut self) {
        self.recs.clear();
        self.side.clear();
        self.frames.clear();
        self.nodes = 0;
        self.depth = 0;
    }

    pub(crate) fn document<'a>(&'a self, source: &'a str) -> Document<'a> {
        Document {
            source,
            recs: &self.recs,
            side: &self.side,
            nodes: self.nodes,
            depth: self.depth,
        }
    }
}

/// A parsed body. It borrows the body's bytes and the thread's buffers, and is valid only in the
/// closure that receives it.
#[derive(Debug, Clone, Copy)]
pub struct Document<'a> {
    source: &'a str,
    recs: &'a [Rec],
    side: &'a str,
    nodes: u32,
    depth: u32,
}

/// A value, as code that walks the tape reads it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Item<'a> {
    Null,
    Bool(bool),
    Number(Rec),
    String(&'a str),
    Array(Span),
    Object(Span),
}

/// The children of a container: `len` values (or key and value pairs) from the record `first`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Span {
    pub(crate) first: u32,
    pub(crate) len: u32,
}

impl<'a> Document<'a> {
    /// The document as text. JavaScript's `JSON.parse` reads it as the same value.
    #[must_use]
    pub fn text(&self) -> &'a str {
        self.source
    }

    /// The number of values, containers and scalars.
    #[must_use]
    pub fn nodes(&self) -> u32 {
        self.nodes
    }

    /// The depth of the deepest container; 0 for a scalar.
    #[must_use]
    pub fn depth(&self) -> u32 {
        self.depth
    }

    /// A copy as a [`Value`], for layers that need one.
    #[must_use]
    pub fn to_value(&self) -> Value {
        self.value_at(0)
    }

    pub(crate) fn rec(&self, at: u32) -> Rec {
        // No caller asks for a missing record; null would be the harmless result.
        self.recs.get(at as usize).copied().unwrap_or(Rec::literal(Kind::Null, 0, 0))
    }

    pub(crate) fn address(&self) -> usize {
        self.recs.as_ptr() as usize
    }

    pub(crate) fn item(&self, at: u32) -> Item<'a> {
        let rec = self.rec(at);
        match rec.kind {
            Kind::Null => Item::Null,
            Kind::True => Item::Bool(true),
            Kind::False => Item::Bool(false),
            Kind::Int | Kind::Float => Item::Number(rec),
            Kind::Plain | Kind::Escaped => Item::String(text(rec, self.source, self.side)),
            Kind::Array => Item::Array(Span { first: at + 1, len: rec.c }),
            Kind::Object => Item::Object(Span { first: at + 1, len: rec.c }),
        }
    }

    /// The text of a string or key, or of a number in its written form.
    pub(crate) fn str_at(&self, at: u32) -> &'a str {
        text(self.rec(at), self.source, self.side)
    }

    /// The bytes of a string or key.
    pub(crate) fn bytes_at(&self, at: u32) -> &'a [u8] {
        let rec = self.rec(at);
        let buffer = if rec.kind == Kind::Escaped { self.side } else { self.source };
        buffer.as_bytes().get(rec.a as usize..rec.b as usize).unwrap_or_default()
    }

    pub(crate) fn span_text(&self, rec: Rec) -> &'a str {
        text(rec, self.source, self.side)
    }

    /// The index after the value at `at` and all its descendants.
    pub(crate) fn next(&self, at: u32) -> u32 {
        next(self.recs, at)
    }

    /// The children of the container at `at`.
    pub(crate) fn span(&self, at: u32) -> Span {
        Span { first: at + 1, len: self.rec(at).c }
    }

    /// The keys and values of an object.
    pub(crate) fn members(&self, span: Span) -> impl Iterator<Item = (&'a str, u32)> {
        let document = *self;
        let mut at = span.first;
        (0..span.len).map(move |_| {
            let (key, value) = (at, at + 1);
            at = document.next(value);
            (document.str_at(key), value)
        })
    }

    /// The values of an array.
    pub(crate) fn elements(&self, span: Span) -> impl Iterator<Item = u32> {
        let document = *self;
        let mut at = span.first;
        (0..span.len).map(move |_| {
            let value = at;
            at = document.next(value);
            value
        })
    }

    /// The value of the member `key`.
    pub(crate) fn get(&self, span: Span, key: &str) -> Option<u32> {
        let mut at = span.first;
        for _ in 0..span.len {
            let rec = self.rec(at);
            if (rec.b - rec.a) as usize == key.len() && self.span_text(rec) == key {
                return Some(at + 1);
            }
            at = self.next(at + 1);
        }
        None
    }

    /// The recursion is safe: no tape is deeper than `maxDepth`, which is 128 at most.
    pub(crate) fn value_at(&self, at: u32) -> Value {
        match self.item(at) {
            Item::Null => Value::Null,
            Item::Bool(value) => Value::Bool(value),
            Item::Number(rec) => Value::Number(number(rec)),
            Item::String(text) => Value::String(text.to_owned()),
            Item::Array(span) => self.elements(span).map(|at| self.value_at(at)).collect(),
            Item::Object(span) => Value::Object(
                self.members(span)
                    .map(|(key, at)| (key.to_owned(), self.value_at(at)))
                    .collect::<Map<_, _>>(),
            ),
        }
    }
}

/// The number of a record as a `serde_json` number.
pub(crate) fn number(rec: Rec) -> Number {
    match rec.as_int() {
        Some(int) => Number::from(int),
        // Every number of a tape is finite, so `from_f64` always succeeds.
        None => rec.as_double().and_then(Number::from_f64).unwrap_or_else(|| Number::from(0)),
    }
}

pub(crate) fn text<'a>(rec: Rec, source: &'a str, side: &'a str) -> &'a str {
    let buffer = if rec.kind == Kind::Escaped { side } else { source };
    buffer.get(rec.a as usize..rec.b as usize).unwrap_or_default()
}

pub(crate) fn next(recs: &[Rec], at: u32) -> u32 {
    match recs.get(at as usize) {
        Some(rec) if rec.is_container() => rec.d,
        _ => at + 1,
    }
}
