//! The reader: a state machine over the bytes of a body, in pieces of any size.
//!
//! ```text
//! body  = [CRLF] "--" boundary *( CRLF head CRLF CRLF content CRLF "--" boundary ) "--" [CRLF]
//! ```
//!
//! That is RFC 2046 section 5.1.1 without what no client of forms writes: a preamble, an epilogue,
//! blanks behind a boundary. A line break in front of the first delimiter and behind the last one
//! are written by some and change nothing.

use std::sync::Arc;

use memchr::memmem::Finder;
use memchr::memrchr;

use super::boundary::Boundary;
use super::head::{self, PartHead};
use super::kind::{self, HEAD};
use super::rules::FileRules;
use super::utf8::TextCheck;
use super::{error_of, malformed, refused};
use crate::json::Limits;
use crate::refusal::{FieldError, Refusal};

/// What a piece of the body has brought, for files. A file begins, has data and its kind in any
/// order, and ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A file begins.
    File {
        /// The place of its field among [`FileRules::fields`].
        field: usize,
        /// Its name, as it was sent.
        name: String,
    },
    /// Bytes of the file: the first `held` bytes of the delimiter, which an earlier piece ended
    /// with, and then those of this piece from `start` to `end`.
    Data {
        /// How many bytes of the delimiter.
        held: usize,
        /// The first byte in the piece.
        start: usize,
        /// The byte behind the last one.
        end: usize,
    },
    /// The kind of the file, by its content: a media type.
    Kind(Box<str>),
    /// The file is complete.
    End,
}

/// Reads one body.
#[derive(Debug)]
pub struct Reader {
    rules: Arc<FileRules>,
    delimiter: Vec<u8>,
    finder: Finder<'static>,
    state: State,
    /// How many bytes of the delimiter have come.
    matched: usize,
    /// The headers of a part, as far as they have come.
    block: Vec<u8>,
    part: Part,
    /// How much of a boundary the part's content begins with, as long as it does.
    opening: Option<usize>,
    /// The size of the part's content so far, and the size that its headers announce.
    size: u64,
    length: Option<u64>,
    fields: Vec<(String, String)>,
    max_fields: usize,
    /// The number of files of each field, and whether their name was spelt with `[]`.
    counts: Vec<u32>,
    spellings: Vec<Option<bool>>,
    /// How many bytes may still come beside the content of files.
    left: u64,
    events: Vec<Event>,
    refusal: Option<Refusal>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Start,
    /// Behind a delimiter.
    Delimited,
    /// Behind a delimiter and a carriage return, or a dash.
    Half(u8),
    Head,
    Content,
    /// Behind the last delimiter, and so many bytes of a line break.
    Ended(usize),
}

#[derive(Debug)]
enum Part {
    None,
    Text {
        name: String,
        bytes: Vec<u8>,
    },
    File(Box<FilePart>),
    /// A file input in which no file was chosen: without content.
    NotChosen,
}

#[derive(Debug)]
struct FilePart {
    field: usize,
    declared: Option<String>,
    /// The first bytes, until the kind is known.
    head: Option<Vec<u8>>,
    /// While the file may be text, or must be.
    text: Option<TextCheck>,
    must_be_text: bool,
}

impl Reader {
    /// A reader of a body with this boundary. `limits.max_bytes` bounds all of it but the content
    /// of files, `limits.max_nodes` the number of fields.
    #[must_use]
    pub fn new(boundary: &Boundary, rules: Arc<FileRules>, limits: &Limits) -> Self {
        let delimiter = boundary.delimiter();
        let count = rules.fields().len();
        Self {
            finder: Finder::new(&delimiter).into_owned(),
            delimiter,
            state: State::Start,
            matched: 0,
            block: Vec::new(),
            part: Part::None,
            opening: None,
            size: 0,
            length: None,
            fields: Vec::new(),
            max_fields: usize::try_from(limits.max_nodes).unwrap_or(usize::MAX),
            counts: vec![0; count],
            spellings: vec![None; count],
            left: u64::try_from(limits.max_bytes).unwrap_or(u64::MAX),
            events: Vec::new(),
            refusal: None,
            rules,
        }
    }

    /// The delimiter, of which [`Event::Data`] counts bytes.
    #[must_use]
    pub fn delimiter(&self) -> &[u8] {
        &self.delimiter
    }

    /// Takes the next bytes and returns what they bring. After an error nothing is read any more.
    ///
    /// # Errors
    /// The refusal of the request.
    pub fn push(&mut self, chunk: &[u8]) -> Result<&[Event], Refusal> {
        self.events.clear();
        if let Some(refusal) = &self.refusal {
            return Err(refusal.clone());
        }
        match self.read(chunk) {
            Ok(()) => Ok(&self.events),
            Err(refusal) => {
                self.refusal = Some(refusal.clone());
                Err(refusal)
            }
        }
    }

    /// Ends the body.
    ///
    /// # Errors
    /// The refusal of an earlier piece, or that of a body without its end.
    pub fn finish(&self) -> Result<(), Refusal> {
        match (&self.refusal, self.state) {
            (Some(refusal), _) => Err(refusal.clone()),
            (None, State::Ended(0 | 2)) => Ok(()),
            (None, _) => Err(malformed("cut_off", "it ends before its last delimiter")),
        }
    }

    /// Whether no byte has come.
    #[must_use]
    pub fn is_untouched(&self) -> bool {
        self.refusal.is_none() && self.state == State::Start && self.matched == 0
    }

    /// The refusal of a piece.
    #[must_use]
    pub fn refusal(&self) -> Option<&Refusal> {
        self.refusal.as_ref()
    }

    /// The fields of text, in their order.
    #[must_use]
    pub fn fields(&self) -> &[(String, String)] {
        &self.fields
    }

    /// An error for each field that must have a file, and has none.
    #[must_use]
    pub fn missing(&self) -> Vec<FieldError> {
        self.rules.missing(&self.counts)
    }

    fn read(&mut self, chunk: &[u8]) -> Result<(), Refusal> {
        let mut at = 0;
        while let Some(byte) = chunk.get(at).copied() {
            if self.state == State::Content {
                at = self.content(chunk, at)?;
                continue;
            }
            at += 1;
            self.spend(1)?;
            self.state = match (self.state, byte) {
                (State::Start, _) => self.start(byte)?,
                (State::Delimited, b'\r' | b'-') => State::Half(byte),
                (State::Half(b'\r'), b'\n') => {
                    self.block.clear();
                    State::Head
                }
                (State::Half(b'-'), b'-') => State::Ended(0),
                (State::Delimited | State::Half(_), _) => {
                    return Err(malformed(
                        "delimiter",
                        "a delimiter is not followed by a line break",
                    ));
                }
                (State::Head, _) => self.head(byte)?,
                (State::Ended(0), b'\r') => State::Ended(1),
                (State::Ended(1), b'\n') => State::Ended(2),
                (State::Ended(_), _) => {
                    return Err(malformed("epilogue", "something follows its last delimiter"));
                }
                (State::Content, _) => State::Content,
            };
        }
        Ok(())
    }

    /// Counts bytes that belong to no file.
    fn spend(&mut self, bytes: u64) -> Result<(), Refusal> {
        self.left = self.left.checked_sub(bytes).ok_or_else(Limits::too_large)?;
        Ok(())
    }

    /// The first delimiter stands at the beginning, behind at most a line break.
    fn start(&mut self, byte: u8) -> Result<State, Refusal> {
        if self.matched == 0 && byte != b'\r' {
            self.matched = 2;
        }
        if self.delimiter.get(self.matched) != Some(&byte) {
            return Err(malformed("preamble", "it does not begin with its boundary"));
        }
        self.matched += 1;
        Ok(if self.matched == self.delimiter.len() {
            self.matched = 0;
            State::Delimited
        } else {
            State::Start
        })
    }

    /// Collects the headers of a part up to an empty line.
    fn head(&mut self, byte: u8) -> Result<State, Refusal> {
        self.block.push(byte);
        if let Some(lines) = self.block.strip_suffix(b"\r\n\r\n") {
            let head = head::read(lines)?;
            self.begin(head)?;
            return Ok(State::Content);
        }
        match self.block.as_slice() {
            b"\r\n" => Err(malformed("part_nameless", "a part has no Content-Disposition")),
            block if block.len() >= head::MAX_BYTES => Err(head::too_long()),
            _ => Ok(State::Head),
        }
    }

    fn begin(&mut self, head: PartHead) -> Result<(), Refusal> {
        let PartHead { name, file, kind, length } = head;
        (self.size, self.length, self.matched) = (0, length, 0);
        self.opening = Some(0);
        let found = self.rules.find(&name).map(|(at, field, spelt)| (at, field.clone(), spelt));
        self.part = match (file, found) {
            (None, Some(_)) => {
                return Err(unacceptable(error_of(&name, "file", "must be a file")));
            }
            (None, None) => {
                let is_text = |kind: &str| matches!(kind, "text/plain" | "application/json");
                if !kind.as_deref().is_none_or(is_text) {
                    let detail = "must be a field of text, or a file with a name";
                    let error = error_of(&name, "unsupported_media_type", detail);
                    return Err(refused(
                        415,
                        "unsupported_media_type",
                        "a part is of a type that is not accepted",
                        error,
                    ));
                }
                if self.fields.len() == self.max_fields {
                    let detail = "holds too many values";
                    let error = error_of(&name, "too_many_nodes", detail);
                    return Err(refused(
                        400,
                        "too_many_nodes",
                        "the body has too many fields",
                        error,
                    ));
                }
                Part::Text { name, bytes: Vec::new() }
            }
            (Some(_), None) => {
                let error = error_of(&name, "additionalProperties", "takes no file");
                return Err(unacceptable(error));
            }
            (Some(file), Some(_)) if file.is_empty() => Part::NotChosen,
            (Some(file), Some((at, field, spelt))) => {
                self.count(&name, at, field.max_count, spelt)?;
                self.events.push(Event::File { field: at, name: file });
                Part::File(Box::new(FilePart {
                    field: at,
                    declared: kind,
                    head: Some(Vec::new()),
                    text: Some(TextCheck::default()),
                    must_be_text: false,
                }))
            }
        };
        Ok(())
    }

    /// Counts a file.
    fn count(
        &mut self,
        name: &str,
        at: usize,
        most: Option<u32>,
        spelt: bool,
    ) -> Result<(), Refusal> {
        let (Some(count), Some(known)) = (self.counts.get_mut(at), self.spellings.get_mut(at))
        else {
            return Ok(());
        };
        let is_other = known.replace(spelt).is_some_and(|known| known != spelt);
        if is_other || *count == 1 && most.is_none() {
            let detail = "appears more than once";
            return Err(refused(
                400,
                "duplicate_key",
                "a file is sent twice",
                error_of(name, "duplicate_key", detail),
            ));
        }
        if *count >= most.unwrap_or(1) {
            let detail = format!("must not have more than {} files", most.unwrap_or(1));
            return Err(unacceptable(error_of(name, "maxItems", detail)));
        }
        *count += 1;
        Ok(())
    }

    /// The content of a part, up to the next delimiter or the end of the piece. Returns where it
    /// ends.
    fn content(&mut self, chunk: &[u8], from: usize) -> Result<usize, Refusal> {
        let mut at = from;
        // Only the first byte of a delimiter is a carriage return, so that what has matched in
        // vain can't hold the beginning of another one.
        while self.matched > 0 {
            let Some(byte) = chunk.get(at) else { return Ok(at) };
            if self.delimiter.get(self.matched) != Some(byte) {
                break;
            }
            (self.matched, at) = (self.matched + 1, at + 1);
            if self.matched == self.delimiter.len() {
                self.end_part()?;
                return Ok(at);
            }
        }
        let held = std::mem::take(&mut self.matched);
        // What has matched in this piece is data of it; the rest came with an earlier one.
        let (held, at) = (held - (at - from), from);
        let rest = chunk.get(at..).unwrap_or_default();
        if let Some(found) = self.finder.find(rest) {
            self.data(chunk, held, at, at + found)?;
            self.end_part()?;
            return Ok(at + found + self.delimiter.len());
        }
        let tail = rest.len().saturating_sub(self.delimiter.len() - 1);
        let last = rest.get(tail..).and_then(|tail| memrchr(b'\r', tail)).map(|found| tail + found);
        let begins = |found: &usize| {
            rest.get(*found..).is_some_and(|suffix| self.delimiter.starts_with(suffix))
        };
        let end = last.filter(begins).unwrap_or(rest.len());
        self.data(chunk, held, at, at + end)?;
        self.matched = rest.len() - end;
        Ok(chunk.len())
    }

    /// Takes content of the part: `held` bytes of the delimiter, and then bytes of the piece.
    fn data(&mut self, chunk: &[u8], held: usize, start: usize, end: usize) -> Result<(), Refusal> {
        if held == 0 && start == end {
            return Ok(());
        }
        let early = self.delimiter.get(..held).unwrap_or_default();
        let late = chunk.get(start..end).unwrap_or_default();
        let size = u64::try_from(held + late.len()).unwrap_or(u64::MAX);
        self.opening =
            self.opening.and_then(|begun| opening(&self.delimiter, begun, [early, late]));
        if self.opening.is_some_and(|begun| begun + 2 == self.delimiter.len()) {
            return Err(malformed("delimiter", "the content of a part begins with its boundary"));
        }
        self.size = self.size.saturating_add(size);
        if self.length.is_some_and(|length| self.size > length) {
            return Err(wrong_length());
        }
        match &mut self.part {
            Part::File(_) => {
                for bytes in [early, late] {
                    if let Part::File(file) = &mut self.part {
                        take_file(file, &self.rules, self.size, bytes, &mut self.events)?;
                    }
                }
                self.events.push(Event::Data { held, start, end });
                Ok(())
            }
            Part::Text { bytes, .. } => {
                self.left = self.left.checked_sub(size).ok_or_else(Limits::too_large)?;
                bytes.extend_from_slice(early);
                bytes.extend_from_slice(late);
                Ok(())
            }
            Part::NotChosen => Err(malformed("file_nameless", "a file has no name")),
            Part::None => Ok(()),
        }
    }

    /// The part is complete.
    fn end_part(&mut self) -> Result<(), Refusal> {
        (self.matched, self.state) = (0, State::Delimited);
        self.spend(u64::try_from(self.delimiter.len()).unwrap_or_default())?;
        if self.length.is_some_and(|length| self.size != length) {
            return Err(wrong_length());
        }
        match std::mem::replace(&mut self.part, Part::None) {
            Part::Text { name, bytes } => self.end_text(name, bytes),
            Part::File(mut file) => {
                tell(&mut file, &self.rules, &mut self.events)?;
                if file.must_be_text && file.text.is_none_or(|text| !text.is_whole()) {
                    return Err(wrong_kind(&self.rules, file.field));
                }
                self.events.push(Event::End);
                Ok(())
            }
            Part::NotChosen | Part::None => Ok(()),
        }
    }

    fn end_text(&mut self, name: String, bytes: Vec<u8>) -> Result<(), Refusal> {
        let Ok(value) = String::from_utf8(bytes) else {
            let detail = "must be UTF-8";
            return Err(refused(
                400,
                "invalid_unicode",
                "a field is no UTF-8",
                error_of(&name, "invalid_unicode", detail),
            ));
        };
        // RFC 7578 section 4.6: the charset of all fields.
        if name == "_charset_" && !value.eq_ignore_ascii_case("utf-8") {
            let error = error_of(&name, "unsupported_charset", "must be utf-8");
            return Err(refused(
                415,
                "unsupported_charset",
                "the body must be sent in utf-8",
                error,
            ));
        }
        self.fields.push((name, value));
        Ok(())
    }
}

/// How much of the boundary a content begins with that has `begun` so: the line break at the end of
/// the headers may be taken for that of a delimiter, so that the part has no content. `None` if it
/// begins otherwise.
fn opening(delimiter: &[u8], begun: usize, pieces: [&[u8]; 2]) -> Option<usize> {
    let boundary = delimiter.get(begun + 2..).unwrap_or_default();
    let bytes = pieces.into_iter().flatten();
    let fits = boundary.iter().zip(bytes.clone()).all(|(a, b)| a == b);
    fits.then(|| begun + boundary.len().min(bytes.count()))
}

/// Takes bytes of a file whose size is then `size`.
fn take_file(
    file: &mut FilePart,
    rules: &FileRules,
    size: u64,
    bytes: &[u8],
    events: &mut Vec<Event>,
) -> Result<(), Refusal> {
    let field = rules.fields().get(file.field);
    if field.is_none_or(|field| size > field.max_bytes) {
        let name = field.map(|field| &*field.name).unwrap_or_default();
        let error = error_of(name, "body_too_large", "is larger than is accepted");
        return Err(refused(413, "body_too_large", "a file is larger than is accepted", error));
    }
    let is_broken = file.text.as_mut().is_some_and(|text| !text.push(bytes));
    let Some(head) = &mut file.head else {
        return if is_broken { Err(wrong_kind(rules, file.field)) } else { Ok(()) };
    };
    if is_broken {
        file.text = None;
    }
    let room = HEAD.saturating_sub(head.len()).min(bytes.len());
    head.extend_from_slice(bytes.get(..room).unwrap_or_default());
    if head.len() == HEAD { tell(file, rules, events) } else { Ok(()) }
}

/// Finds the kind of a file by its first bytes.
fn tell(file: &mut FilePart, rules: &FileRules, events: &mut Vec<Event>) -> Result<(), Refusal> {
    let Some(head) = file.head.take() else { return Ok(()) };
    let types = rules.fields().get(file.field).map(|field| field.types.as_slice());
    let declared = file.declared.as_deref();
    let told = kind::tell(types.unwrap_or_default(), &head, file.text.is_some(), declared);
    let Some(told) = told else { return Err(wrong_kind(rules, file.field)) };
    file.must_be_text = told.is_text;
    if !told.is_text {
        file.text = None;
    }
    events.push(Event::Kind(told.kind));
    Ok(())
}

fn wrong_kind(rules: &FileRules, at: usize) -> Refusal {
    let name = rules.fields().get(at).map(|field| &*field.name).unwrap_or_default();
    let detail = "is none of the kinds of files that are accepted here, by its content";
    let error = error_of(name, "unsupported_media_type", detail);
    refused(415, "unsupported_media_type", "a file is of a kind that is not accepted", error)
}

fn wrong_length() -> Refusal {
    malformed("part_length", "the Content-Length of a part is not its length")
}

fn unacceptable(error: FieldError) -> Refusal {
    refused(422, "validation_failed", "the request does not match the schema", error)
}
