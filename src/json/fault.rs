//! The faults of a text, found before any schema is applied, and JSON Pointers that are safe to
//! send back.

use crate::refusal::{FieldError, Refusal};

/// A fault of the text itself: a refusal with status 400.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    /// The kind of fault.
    pub(crate) code: FaultCode,
    /// The byte offset, from 0; `None` for a text that the core wrote itself.
    pub(crate) offset: Option<usize>,
    /// The position in the document: a JSON Pointer in fragment form, cut to a bounded length.
    pub(crate) pointer: String,
}

/// The kinds of fault, each with a stable code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FaultCode {
    /// Not JSON as in RFC 8259.
    MalformedJson,
    /// Bytes that are not UTF-8, a byte order mark, or half of a surrogate pair.
    InvalidUnicode,
    /// `U+0000` in a string or key: C libraries and Postgres truncate or refuse such a text.
    ForbiddenCharacter,
    /// A key twice in one object: parsers differ on which one they keep.
    DuplicateKey,
    /// `__proto__`, or `constructor` with `prototype` in it: prototype pollution.
    ForbiddenKey,
    /// A key that begins with `$` or contains `.`, which a document database may take for an
    /// operator or a path.
    OperatorKey,
    /// Containers nested deeper than `maxDepth`.
    TooDeep,
    /// More values than `maxNodes`.
    TooManyNodes,
    /// More keys in one object than `maxKeys`.
    TooManyKeys,
    /// A number that JavaScript would silently change: beyond 2^53 - 1 as an integer, beyond a
    /// double, or so small that it becomes 0.
    UnsafeNumber,
    /// A name of a form or query with brackets: parsers read it as a member of an object, as an
    /// item of a list, or literally.
    BracketedKey,
    /// A form whose percent-encoding is broken or hides bytes that are not UTF-8.
    MalformedForm,
    /// A parameter that is not written in its style.
    MalformedParameter,
}

impl FaultCode {
    /// The code that the client receives.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MalformedJson => "malformed_json",
            Self::InvalidUnicode => "invalid_unicode",
            Self::ForbiddenCharacter => "forbidden_character",
            Self::DuplicateKey => "duplicate_key",
            Self::ForbiddenKey => "forbidden_key",
            Self::OperatorKey => "operator_key",
            Self::TooDeep => "too_deep",
            Self::TooManyNodes => "too_many_nodes",
            Self::TooManyKeys => "too_many_keys",
            Self::UnsafeNumber => "unsafe_number",
            Self::BracketedKey => "bracketed_key",
            Self::MalformedForm => "malformed_form",
            Self::MalformedParameter => "malformed_parameter",
        }
    }

    const fn detail(self) -> &'static str {
        match self {
            Self::MalformedJson => "is not valid JSON",
            Self::InvalidUnicode => "must be UTF-8 without a byte order mark or lone surrogates",
            Self::ForbiddenCharacter => "must not contain the character U+0000",
            Self::DuplicateKey => "appears more than once",
            Self::ForbiddenKey => "is a key that is never accepted",
            Self::OperatorKey => "is a key that begins with `$` or contains `.`",
            Self::TooDeep => "is nested too deeply",
            Self::TooManyNodes => "holds too many values",
            Self::TooManyKeys => "has too many keys",
            Self::UnsafeNumber => "is a number that can't be held exactly; send it as a string",
            Self::BracketedKey => {
                "is a name with brackets that the schema does not declare as a list or object"
            }
            Self::MalformedForm => "is not percent-encoded UTF-8",
            Self::MalformedParameter => "is not written in the style of this parameter",
        }
    }
}

impl Fault {
    /// The refusal, for a text that came as `location` (`body`, `query`, `params` or `headers`).
    #[must_use]
    pub(crate) fn refusal(self, location: &'static str) -> Refusal {
        let code = self.code.as_str();
        let what = self.code.detail();
        let detail = match self.offset {
            Some(offset) => format!("{what}, at byte {offset}"),
            None => what.to_owned(),
        };
        let mut refusal = Refusal::new(
            400,
            code,
            format!("the {location} is refused before its schema is asked: {what}"),
        );
        refusal.errors.push(FieldError { location, pointer: self.pointer, code, detail });
        refusal
    }
}

/// The length to which a key is cut wherever it is shown, in characters.
pub(crate) const KEY_CHARS: usize = 64;
const POINTER_BYTES: usize = 512;

/// A JSON Pointer in fragment form (RFC 6901 section 6), built segment by segment and bounded in
/// length.
#[derive(Debug, Clone)]
pub(crate) struct Pointer {
    text: String,
    cut: bool,
}

impl Pointer {
    pub(crate) fn root() -> Self {
        Self { text: "#".to_owned(), cut: false }
    }

    /// From the crate's own pointer, which already has its `~` and `/` escaped.
    pub(crate) fn from_escaped(pointer: &str) -> Self {
        let mut result = Self::root();
        for segment in pointer.split('/').skip(1) {
            result.push(segment, false);
        }
        result
    }

    pub(crate) fn key(&mut self, key: &str) {
        self.push(key, true);
    }

    pub(crate) fn index(&mut self, index: u32) {
        self.push(&index.to_string(), false);
    }

    pub(crate) fn finish(self) -> String {
        self.text
    }

    fn push(&mut self, segment: &str, escape: bool) {
        if self.cut {
            return;
        }
        self.text.push('/');
        if self.text.len() > POINTER_BYTES {
            self.cut = true;
            self.percent('…');
            return;
        }
        for (i, c) in segment.chars().enumerate() {
            if i == KEY_CHARS {
                self.percent('…');
                break;
            }
            match c {
                '~' if escape => self.text.push_str("~0"),
                '/' if escape => self.text.push_str("~1"),
                // The characters of a fragment, RFC 3986 section 3.5.
                'a'..='z' | 'A'..='Z' | '0'..='9' => self.text.push(c),
                _ if "-._~!$&'()*+,;=:@?".contains(c) => self.text.push(c),
                _ => self.percent(c),
            }
        }
    }

    fn percent(&mut self, c: char) {
        const HEX: [char; 16] =
            ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F'];
        for byte in c.encode_utf8(&mut [0; 4]).bytes() {
            self.text.push('%');
            for nibble in [byte >> 4, byte & 15] {
                self.text.extend(HEX.get(usize::from(nibble)));
            }
        }
    }
}

/// A key for an error text: cut, without control characters.
pub(crate) fn shown_key(key: &str) -> String {
    let mut shown: String =
        key.chars().take(KEY_CHARS).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if key.chars().nth(KEY_CHARS).is_some() {
        shown.push('…');
    }
    shown
}
