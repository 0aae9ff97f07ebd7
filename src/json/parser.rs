//! The parser: RFC 8259 to the letter, in one pass and without recursion. It also refuses input
//! that no honest client sends.

use crate::json::fault::{Fault, FaultCode, Pointer};
use crate::json::number;
use crate::json::number::Scanned;
use crate::json::tape::{Frame, Kind, NO_KEY, Rec, Tape, next, text};
use crate::json::{Limits, Operators, is_operator_like};

/// Up to this many keys are compared one by one to find duplicates. Larger objects are sorted at
/// their end.
const SMALL_OBJECT: u32 = 16;

/// Parses `bytes` onto `tape` and returns them as text. `declared` are the keys that look like
/// operators but are declared in the schema, sorted.
///
/// The caller has checked `maxBytes`, which keeps every offset within 32 bits.
pub(crate) fn parse<'s>(
    bytes: &'s [u8],
    limits: &Limits,
    declared: &[Box<str>],
    tape: &mut Tape,
) -> Result<&'s str, Fault> {
    tape.clear();
    let root = |code, at| Fault { code, offset: Some(at), pointer: Pointer::root().finish() };
    let source = std::str::from_utf8(bytes)
        .map_err(|error| root(FaultCode::InvalidUnicode, error.valid_up_to()))?;
    if source.starts_with('\u{feff}') {
        return Err(root(FaultCode::InvalidUnicode, 0));
    }
    if u32::try_from(bytes.len()).is_err() {
        return Err(root(FaultCode::TooManyNodes, 0));
    }
    let mut parser = Parser {
        source,
        bytes,
        at: 0,
        tape,
        frame: Frame::default(),
        nodes: 0,
        max_nodes: limits.max_nodes,
        max_keys: limits.max_keys,
        refuses_operators: limits.operators == Operators::Refuse,
        limits,
        declared,
    };
    match parser.document() {
        Ok(()) => {
            parser.tape.nodes = parser.nodes;
            Ok(source)
        }
        Err((code, at)) => Err(Fault { code, offset: Some(at), pointer: parser.pointer() }),
    }
}

/// A fault and its offset; the pointer is built once, at the end.
type Outcome<T> = Result<T, (FaultCode, usize)>;

struct Parser<'s, 'p> {
    source: &'s str,
    bytes: &'s [u8],
    at: usize,
    tape: &'p mut Tape,
    /// The current container; the enclosing ones are in the tape's `frames`. At the top level it is
    /// a placeholder.
    frame: Frame,
    nodes: u32,
    max_nodes: u32,
    max_keys: u32,
    refuses_operators: bool,
    limits: &'p Limits,
    declared: &'p [Box<str>],
}

/// Whether a value is complete or was opened.
#[derive(PartialEq)]
enum Step {
    Done,
    Opened,
}

impl Parser<'_, '_> {
    fn document(&mut self) -> Outcome<()> {
        loop {
            self.skip_space();
            if self.value()? == Step::Opened {
                self.skip_space();
                if self.peek() != Some(closer(self.frame)) {
                    if self.frame.object {
                        self.key()?;
                    }
                    continue;
                }
            }
            if self.after_value()? {
                break;
            }
        }
        self.skip_space();
        if self.at == self.bytes.len() { Ok(()) } else { Err(self.malformed()) }
    }

    /// Advances to the start of the next value. Returns true at the end of the document.
    #[inline]
    fn after_value(&mut self) -> Outcome<bool> {
        loop {
            if self.tape.frames.is_empty() {
                return Ok(true);
            }
            // The member is complete: faults from here on belong to its object.
            self.frame.key = NO_KEY;
            self.skip_space();
            match self.peek() {
                Some(b',') => {
                    self.at += 1;
                    if self.frame.object {
                        self.skip_space();
                        self.key()?;
                    }
                    return Ok(false);
                }
                Some(byte) if byte == closer(self.frame) => {
                    self.at += 1;
                    self.close()?;
                }
                _ => return Err(self.malformed()),
            }
        }
    }

    #[inline]
    fn value(&mut self) -> Outcome<Step> {
        let Some(byte) = self.peek() else { return Err(self.malformed()) };
        if self.nodes >= self.max_nodes {
            return Err((FaultCode::TooManyNodes, self.at));
        }
        self.nodes += 1;
        self.frame.len += 1;
        match byte {
            b'"' => self.string()?,
            b'{' => return self.open(true),
            b'[' => return self.open(false),
            b't' => self.literal(b"true", Kind::True)?,
            b'f' => self.literal(b"false", Kind::False)?,
            b'n' => self.literal(b"null", Kind::Null)?,
            _ => self.number()?,
        }
        Ok(Step::Done)
    }

    fn open(&mut self, object: bool) -> Outcome<Step> {
        let depth = offset(self.tape.frames.len()) + 1;
        if depth > self.limits.max_depth {
            return Err((FaultCode::TooDeep, self.at));
        }
        self.tape.depth = self.tape.depth.max(depth);
        let rec = offset(self.tape.recs.len());
        let kind = if object { Kind::Object } else { Kind::Array };
        self.push(Rec::literal(kind, offset(self.at), 0));
        let outer = std::mem::replace(&mut self.frame, Frame::of(rec, object));
        self.tape.frames.push(outer);
        self.at += 1;
        Ok(Step::Opened)
    }

    fn close(&mut self) -> Outcome<()> {
        let frame = self.frame;
        if frame.object && frame.len > SMALL_OBJECT {
            self.sorted_keys_differ(frame)?;
        }
        self.frame = self.tape.frames.pop().unwrap_or_default();
        let next = offset(self.tape.recs.len());
        if let Some(rec) = self.tape.recs.get_mut(frame.rec as usize) {
            rec.close(frame.len, offset(self.at), next);
        }
        Ok(())
    }

    /// Reads a key with its colon.
    fn key(&mut self) -> Outcome<()> {
        if self.peek() != Some(b'"') {
            return Err(self.malformed());
        }
        let start = self.at;
        let rec = offset(self.tape.recs.len());
        let end = run_until(self.bytes, start + 1, key_stops, |byte| matches!(byte, b'.' | b'['));
        let is_plain = self.bytes.get(end) == Some(&b'"');
        if is_plain {
            self.push(Rec::literal(Kind::Plain, offset(start + 1), offset(end)));
            self.at = end + 1;
        } else {
            self.string()?;
        }
        self.frame.key = rec;
        if self.frame.len >= self.max_keys {
            return Err((FaultCode::TooManyKeys, start));
        }
        self.judge_key(rec, is_plain).map_err(|code| (code, start))?;
        self.skip_space();
        if self.peek() != Some(b':') {
            return Err(self.malformed());
        }
        self.at += 1;
        Ok(())
    }

    /// `is_plain`: the key has no escape, dot or bracket.
    fn judge_key(&mut self, at: u32, is_plain: bool) -> Result<(), FaultCode> {
        let frame = self.frame;
        let Some(rec) = self.tape.recs.get(at as usize).copied() else { return Ok(()) };
        let buffer = if rec.kind == Kind::Escaped { self.tape.side.as_bytes() } else { self.bytes };
        let key = buffer.get(rec.a as usize..rec.b as usize).unwrap_or_default();
        if !is_plain || may_be_odd(key) {
            self.judge_odd_key(self.text_of(rec))?;
        }
        if frame.len > SMALL_OBJECT {
            return Ok(());
        }
        // A one-word Bloom filter: a new bit means the key is new.
        let look = look(key);
        self.frame.looks |= look;
        if frame.looks & look == 0 {
            return Ok(());
        }
        self.look_for_duplicate(frame, rec, self.text_of(rec))
    }

    /// Refuses a key that may lead to a prototype, or that a database may take for an operator.
    #[cold]
    fn judge_odd_key(&self, key: &str) -> Result<(), FaultCode> {
        let in_constructor = || self.key_around().is_some_and(ends_in_constructor);
        if pollutes(key, in_constructor) {
            return Err(FaultCode::ForbiddenKey);
        }
        let is_operator = is_operator_like(key);
        let is_declared =
            || self.declared.binary_search_by(|declared| (**declared).cmp(key)).is_ok();
        if self.refuses_operators && is_operator && !is_declared() {
            return Err(FaultCode::OperatorKey);
        }
        Ok(())
    }

    fn look_for_duplicate(&self, frame: Frame, rec: Rec, key: &str) -> Result<(), FaultCode> {
        let mut other = frame.rec + 1;
        for _ in 0..frame.len {
            let Some(known) = self.tape.recs.get(other as usize).copied() else { break };
            if known.b - known.a == rec.b - rec.a && self.text_of(known) == key {
                return Err(FaultCode::DuplicateKey);
            }
            other = next(&self.tape.recs, other + 1);
        }
        Ok(())
    }

    /// The key of the current object, if it is a member of an object.
    fn key_around(&self) -> Option<&str> {
        let outer = self.tape.frames.last()?;
        let rec = self.tape.recs.get(outer.key as usize)?;
        Some(self.text_of(*rec))
    }

    /// Searches for a duplicate among the many keys of a completed object. It sorts instead of
    /// hashing, so an attacker can't choose collisions.
    fn sorted_keys_differ(&mut self, frame: Frame) -> Outcome<()> {
        let mut keys = std::mem::take(&mut self.tape.keys);
        keys.clear();
        let mut at = frame.rec + 1;
        for _ in 0..frame.len {
            keys.push(at);
            at = next(&self.tape.recs, at + 1);
        }
        let sort_key = |at: u32| {
            let rec = self.tape.recs.get(at as usize).copied();
            let key = rec.map_or("", |rec| self.text_of(rec));
            (key.len(), key)
        };
        keys.sort_unstable_by(|a, b| sort_key(*a).cmp(&sort_key(*b)).then(a.cmp(b)));
        let twice = keys.iter().zip(keys.iter().skip(1));
        let twice = twice.filter(|(a, b)| sort_key(**a) == sort_key(**b)).map(|(_, b)| *b).min();
        self.tape.keys = keys;
        let Some(at) = twice else { return Ok(()) };
        self.frame.key = at;
        let start = self.tape.recs.get(at as usize).map_or(0, |rec| rec.offset() as usize);
        // The offset of a string is that of its first character, after the quote.
        Err((FaultCode::DuplicateKey, start.saturating_sub(1)))
    }

    fn literal(&mut self, word: &[u8], kind: Kind) -> Outcome<()> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        if !rest.starts_with(word) {
            return Err(self.malformed());
        }
        self.push(Rec::literal(kind, offset(self.at), offset(self.at + word.len())));
        self.at += word.len();
        Ok(())
    }

    fn number(&mut self) -> Outcome<()> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let (scanned, len) =
            number::scan(rest).map_err(|at| (FaultCode::MalformedJson, self.at + at))?;
        let (a, b) = (offset(self.at), offset(self.at + len));
        match scanned {
            Scanned::Int(value) => self.push(Rec::int(a, b, value)),
            Scanned::Float(value) => self.push(Rec::float(a, b, value)),
            Scanned::Unsafe => return Err((FaultCode::UnsafeNumber, self.at)),
        }
        self.at += len;
        Ok(())
    }

    /// Reads a string from its opening quote.
    #[inline]
    fn string(&mut self) -> Outcome<()> {
        let start = self.at + 1;
        let end = plain_until(self.bytes, start);
        match self.bytes.get(end) {
            Some(b'"') => {
                self.push(Rec::literal(Kind::Plain, offset(start), offset(end)));
                self.at = end + 1;
                Ok(())
            }
            Some(b'\\') => self.escaped(start, end),
            _ => Err((FaultCode::MalformedJson, end)),
        }
    }

    /// Reads the rest of a string from its first backslash, and unescapes it into the side buffer.
    #[cold]
    fn escaped(&mut self, start: usize, first: usize) -> Outcome<()> {
        let side_start = self.tape.side.len();
        let (mut run, mut at) = (start, first);
        loop {
            self.tape.side.push_str(self.source.get(run..at).unwrap_or_default());
            match self.bytes.get(at) {
                Some(b'"') => break,
                Some(b'\\') => {
                    let (c, len) = self.escape(at)?;
                    self.tape.side.push(c);
                    run = at + len;
                    at = plain_until(self.bytes, run);
                }
                _ => return Err((FaultCode::MalformedJson, at)),
            }
        }
        let side_end = self.tape.side.len();
        self.push(Rec::escaped(offset(side_start), offset(side_end), offset(start)));
        self.at = at + 1;
        Ok(())
    }

    /// The character of the escape at `at`, and the length of the escape in bytes.
    fn escape(&self, at: usize) -> Outcome<(char, usize)> {
        let c = match self.bytes.get(at + 1) {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.unicode_escape(at),
            _ => return Err((FaultCode::MalformedJson, at)),
        };
        Ok((c, 2))
    }

    fn unicode_escape(&self, at: usize) -> Outcome<(char, usize)> {
        let unit = self.hex4(at + 2)?;
        if unit == 0 {
            return Err((FaultCode::ForbiddenCharacter, at));
        }
        if let Some(c) = char::from_u32(unit) {
            return Ok((c, 6));
        }
        let lone = (FaultCode::InvalidUnicode, at);
        if unit >= 0xDC00 || self.bytes.get(at + 6..at + 8) != Some(b"\\u") {
            return Err(lone);
        }
        let low = self.hex4(at + 8)?;
        if !(0xDC00..0xE000).contains(&low) {
            return Err(lone);
        }
        let c = char::from_u32(0x1_0000 + ((unit - 0xD800) << 10) + (low - 0xDC00)).ok_or(lone)?;
        Ok((c, 12))
    }

    fn hex4(&self, at: usize) -> Outcome<u32> {
        let mut unit = 0;
        for at in at..at + 4 {
            let digit = self.bytes.get(at).and_then(|byte| char::from(*byte).to_digit(16));
            unit = unit << 4 | digit.ok_or((FaultCode::MalformedJson, at))?;
        }
        Ok(unit)
    }

    #[inline]
    fn skip_space(&mut self) {
        self.at = space_until(self.bytes, self.at);
    }

    #[inline]
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    #[inline]
    fn push(&mut self, rec: Rec) {
        self.tape.recs.push(rec);
    }

    fn text_of(&self, rec: Rec) -> &str {
        text(rec, self.source, &self.tape.side)
    }

    fn malformed(&self) -> (FaultCode, usize) {
        (FaultCode::MalformedJson, self.at)
    }

    /// The JSON Pointer to the parser's position.
    fn pointer(&self) -> String {
        let mut pointer = Pointer::root();
        if self.tape.frames.is_empty() {
            return pointer.finish();
        }
        // The first frame is the placeholder.
        for frame in self.tape.frames.iter().skip(1).chain([&self.frame]) {
            if frame.object {
                let Some(rec) = self.tape.recs.get(frame.key as usize) else { break };
                pointer.key(self.text_of(*rec));
            } else {
                let Some(index) = frame.len.checked_sub(1) else { break };
                pointer.index(index);
            }
        }
        pointer.finish()
    }
}

/// Whether a key without dots and brackets needs a closer check.
fn may_be_odd(key: &[u8]) -> bool {
    key.first() == Some(&b'$') || key == b"__proto__" || key == b"prototype"
}

/// A key's bit in the Bloom filter, from its length, its first and its last byte. Equal keys have
/// equal bits.
fn look(key: &[u8]) -> u64 {
    let times = |byte: Option<&u8>, n: usize| usize::from(byte.copied().unwrap_or_default()) * n;
    let mix = key.len() ^ times(key.first(), 7) ^ times(key.last(), 13);
    1 << (mix & 63)
}

/// Whether a key leads to a prototype: literally, or for code that reads it as a path, as
/// `set(object, 'a.b[c]')` of many libraries does.
fn pollutes(key: &str, in_constructor: impl Fn() -> bool) -> bool {
    if !key.bytes().any(|byte| matches!(byte, b'.' | b'[')) {
        return key == "__proto__" || key == "prototype" && in_constructor();
    }
    let mut before = "";
    steps(key).enumerate().any(|(i, step)| {
        let behind = std::mem::replace(&mut before, step);
        let behind_constructor = behind == "constructor" || i == 0 && in_constructor();
        step == "__proto__" || step == "prototype" && behind_constructor
    })
}

fn ends_in_constructor(key: &str) -> bool {
    key == "constructor" || key.ends_with("constructor") && steps(key).last() == Some("constructor")
}

/// The steps of a key that is read as a path: `a.b["c"]` has three.
fn steps(key: &str) -> impl Iterator<Item = &str> {
    key.split(['.', '[', ']', '"', '\'']).filter(|step| !step.is_empty())
}

fn closer(frame: Frame) -> u8 {
    if frame.object { b'}' } else { b']' }
}

/// The end of the plain part of a string: the position of a quote, a backslash or a control byte,
/// or the end.
#[inline]
pub(crate) fn plain_until(bytes: &[u8], at: usize) -> usize {
    run_until(bytes, at, special_bytes, |_| false)
}

/// The end of the white space between two tokens (RFC 8259 section 2).
#[inline]
pub(crate) fn space_until(bytes: &[u8], mut at: usize) -> usize {
    while matches!(bytes.get(at), Some(b' ' | b'\n' | b'\r' | b'\t')) {
        at += 1;
    }
    at
}

/// As [`plain_until`], with further stop bytes. `stops` marks all of them in a word; `is_other`
/// recognizes a single one.
#[inline]
fn run_until(
    bytes: &[u8],
    mut at: usize,
    stops: impl Fn(u64) -> u64,
    is_other: impl Fn(u8) -> bool,
) -> usize {
    // Eight bytes at a time; the high bit of a byte marks a match.
    while let Some(chunk) = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let stops = stops(u64::from_le_bytes(*chunk));
        if stops != 0 {
            return at + stops.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    let ends = |byte: u8| matches!(byte, b'"' | b'\\' | 0..0x20) || is_other(byte);
    while bytes.get(at).is_some_and(|byte| !ends(*byte)) {
        at += 1;
    }
    at
}

const LOW: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;

/// Marks the high bit of each byte that equals `byte`. Bytes above the lowest marked one may be
/// marked wrongly (the borrow of a subtraction), so only the lowest counts.
#[inline]
fn those_that_are(byte: u8, word: u64) -> u64 {
    let x = word ^ (LOW * u64::from(byte));
    x.wrapping_sub(LOW) & !x & HIGH
}

/// Marks each byte that is `"`, `\` or below 0x20; as before, only the lowest counts.
#[inline]
fn special_bytes(word: u64) -> u64 {
    let below_space = word.wrapping_sub(LOW * 0x20) & !word & HIGH;
    those_that_are(b'"', word) | those_that_are(b'\\', word) | below_space
}

/// Marks those, and also dots and brackets.
#[inline]
fn key_stops(word: u64) -> u64 {
    special_bytes(word) | those_that_are(b'.', word) | those_that_are(b'[', word)
}

/// An offset or index. The caller of [`parse`] keeps all of them within 32 bits.
fn offset(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}
