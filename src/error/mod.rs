//! The errors of a configuration: one error type for everything that is checked when a guard is
//! built.
//!
//! Style of the texts: lowercase start, no final period, the option's path first, then a
//! suggestion. A text never repeats a submitted value, since it may be a secret.

pub(crate) mod faults;

use std::fmt;

/// The stable code of a [`ConfigError`]; in JavaScript it is `error.code`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigCode {
    /// An unknown option.
    UnknownOption,
    /// A value of the wrong type, out of its range or otherwise unusable.
    InvalidOption,
    /// A required option is missing.
    MissingOption,
    /// Two options that contradict each other.
    ConflictingOptions,
    /// A shared secret that is too short or too easy to guess.
    WeakSecret,
    /// An asymmetric key that is too weak, or has another use.
    WeakKey,
    /// A key that can't be read.
    InvalidKey,
    /// A JSON Schema that can't be compiled, or is not safe to run.
    InvalidSchema,
    /// A policy that can't be loaded: the text has `file:line:col`.
    InvalidPolicy,
    /// An `OpenAPI` document that can't be read: the path is the location in the document.
    InvalidOpenApi,
}

impl ConfigCode {
    /// The code in JavaScript, e.g. `ERR_UNKNOWN_OPTION`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::UnknownOption => "ERR_UNKNOWN_OPTION",
            Self::InvalidOption => "ERR_INVALID_OPTION",
            Self::MissingOption => "ERR_MISSING_OPTION",
            Self::ConflictingOptions => "ERR_CONFLICTING_OPTIONS",
            Self::WeakSecret => "ERR_WEAK_SECRET",
            Self::WeakKey => "ERR_WEAK_KEY",
            Self::InvalidKey => "ERR_INVALID_KEY",
            Self::InvalidSchema => "ERR_INVALID_SCHEMA",
            Self::InvalidPolicy => "ERR_INVALID_POLICY",
            Self::InvalidOpenApi => "ERR_INVALID_OPENAPI",
        }
    }
}

/// The reason to refuse a configuration, its location, and a suggestion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    code: ConfigCode,
    path: String,
    problem: String,
    suggestion: Option<String>,
    /// Boxed, so that results stay small.
    in_document: Option<Box<InDocument>>,
}

/// The part of an error about a document.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct InDocument {
    pointer: Option<String>,
    operations: Vec<String>,
    faults: Vec<ConfigError>,
}

/// The maximum number of faults in the text of one error.
const SHOWN: usize = 50;

impl ConfigError {
    /// `path` is the option in the user's notation (`cors.origins[0]`). `problem` continues the
    /// sentence that it starts (`must not end with a slash`).
    pub fn new(code: ConfigCode, path: impl Into<String>, problem: impl Into<String>) -> Self {
        Self {
            code,
            path: path.into(),
            problem: problem.into(),
            suggestion: None,
            in_document: None,
        }
    }

    /// All faults of one document as one error: that of the first, with the others listed. `None`
    /// without faults.
    #[must_use]
    pub fn all(faults: Vec<Self>) -> Option<Self> {
        let mut first = faults.first()?.clone();
        if faults.len() > 1 {
            first.document().faults = faults;
        }
        Some(first)
    }

    /// A value that can't be used: [`ConfigCode::InvalidOption`].
    pub fn invalid(path: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::new(ConfigCode::InvalidOption, path, problem)
    }

    /// Adds a suggestion, e.g. `write "https://app.example.com"`.
    #[must_use]
    pub fn suggest(mut self, suggestion: impl Into<String>) -> Self {
        self.suggestion = Some(suggestion.into());
        self
    }

    /// Adds the location in a document, as a JSON Pointer (RFC 6901).
    #[must_use]
    pub fn at_pointer(mut self, pointer: impl Into<String>) -> Self {
        self.document().pointer = Some(pointer.into());
        self
    }

    /// Adds the operations of a document that can't be used for this reason.
    #[must_use]
    pub fn in_operations(mut self, operations: Vec<String>) -> Self {
        self.document().operations = operations;
        self
    }

    /// The location in a document, as a JSON Pointer, if the error is about one.
    #[must_use]
    pub fn pointer(&self) -> Option<&str> {
        self.in_document.as_ref()?.pointer.as_deref()
    }

    /// The operations of a document that can't be used for this reason, as `METHOD /path`.
    #[must_use]
    pub fn operations(&self) -> &[String] {
        self.in_document.as_ref().map_or(&[], |part| &part.operations)
    }

    /// All faults, if there are several.
    #[must_use]
    pub fn faults(&self) -> &[Self] {
        self.in_document.as_ref().map_or(&[], |part| &part.faults)
    }

    fn document(&mut self) -> &mut InDocument {
        self.in_document.get_or_insert_default()
    }

    /// The stable code.
    #[must_use]
    pub fn code(&self) -> ConfigCode {
        self.code
    }

    /// The option's path, e.g. `rateLimit[1].window`.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The problem, without the path before it and the suggestion after it.
    #[must_use]
    pub fn problem(&self) -> &str {
        &self.problem
    }

    /// The suggestion, if there is one.
    #[must_use]
    pub fn suggestion(&self) -> Option<&str> {
        self.suggestion.as_deref()
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let faults = self.faults();
        if !faults.is_empty() {
            write!(f, "the document has {} faults:", faults.len())?;
            for fault in faults.iter().take(SHOWN) {
                write!(f, "\n  {fault}")?;
            }
            let more = faults.len().saturating_sub(SHOWN);
            return if more > 0 { write!(f, "\n  and {more} more") } else { Ok(()) };
        }
        write!(f, "`{}` {}", self.path, self.problem)?;
        if let Some(suggestion) = &self.suggestion {
            write!(f, "; {suggestion}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}
