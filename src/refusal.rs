//! What a client is told when a layer says no: one small type, turned into RFC 9457 problem+json in
//! one place.

use std::borrow::Cow;
use std::ops::{Deref, DerefMut};

/// A refusal: a [`Problem`], as a client is told it. It is one pointer, since nearly every result
/// that could be one is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal(Box<Problem>);

/// What a refusal says (RFC 9457). It holds nothing that the client sent: no token, no submitted
/// value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The HTTP status, 400 to 599.
    pub status: u16,
    /// The stable machine-readable code, e.g. `token_expired`. `docs/reference/errors.md` has a
    /// heading for each.
    pub code: &'static str,
    /// One sentence for a developer, without a final period.
    pub detail: Cow<'static, str>,
    /// Response headers that belong to this refusal, e.g. `WWW-Authenticate` or `Retry-After`.
    /// Name, value.
    pub headers: Vec<(&'static str, String)>,
    /// The rate limit that refused, for the operator; of several the first one.
    pub limit: Option<Box<str>>,
    /// Why, for the operator, where the code names a kind: `claim_missing:aud`. The client does not
    /// get it.
    pub reason: Option<Cow<'static, str>>,
    /// What is wrong with which member of the request, at most [`MAX_ERRORS`].
    pub errors: Vec<FieldError>,
    /// Whether there were more errors than are listed.
    pub truncated: bool,
}

/// No refusal lists more errors than this.
pub const MAX_ERRORS: usize = 20;

/// One fault of one member of the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError {
    /// Where the member is: `body`, `query`, `params` or `headers`.
    pub location: &'static str,
    /// A JSON Pointer in fragment form (RFC 6901 section 6) to the member: `#/email`.
    pub pointer: String,
    /// The JSON Schema keyword that failed, e.g. `format`.
    pub code: &'static str,
    /// What it must be, in words, without the submitted value.
    pub detail: String,
}

impl Refusal {
    /// A refusal without headers or field errors. Where one is made is kept apart from the way of
    /// all others.
    #[must_use]
    #[cold]
    pub fn new(status: u16, code: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Problem {
            status,
            code,
            detail: detail.into(),
            headers: Vec::new(),
            limit: None,
            reason: None,
            errors: Vec::new(),
            truncated: false,
        }))
    }

    /// Adds a response header.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Adds the reason for the operator.
    #[must_use]
    pub fn because(mut self, reason: Cow<'static, str>) -> Self {
        self.reason = Some(reason);
        self
    }

    /// Names the rate limit that refused.
    #[must_use]
    pub fn by_limit(mut self, name: Option<&str>) -> Self {
        self.limit = name.map(Box::from);
        self
    }
}

impl Deref for Refusal {
    type Target = Problem;

    fn deref(&self) -> &Problem {
        &self.0
    }
}

impl DerefMut for Refusal {
    fn deref_mut(&mut self) -> &mut Problem {
        &mut self.0
    }
}
