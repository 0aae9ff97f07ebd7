//! The refusal of a request by a layer: one small type, turned into RFC 9457 problem+json in one
//! place.

use std::borrow::Cow;
use std::ops::{Deref, DerefMut};

/// A refusal of a request: the [`Problem`] that the client gets. It is one pointer, since most
/// results that may hold one do not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal(Box<Problem>);

/// The content of a refusal (RFC 9457). It contains nothing that the client sent: no token, no
/// submitted value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The HTTP status, 400 to 599.
    pub status: u16,
    /// The stable machine-readable code, e.g. `token_expired`. `docs/reference/errors.md` has a
    /// heading for each.
    pub code: &'static str,
    /// One sentence for a developer, without a final period.
    pub detail: Cow<'static, str>,
    /// Response headers that belong to this refusal, as name and value, e.g. `WWW-Authenticate` or
    /// `Retry-After`.
    pub headers: Vec<(&'static str, String)>,
    /// The rate limit that refused, for the operator; the first one of several.
    pub limit: Option<Box<str>>,
    /// Why, for the operator, where the code names a kind: `claim_missing:aud`. The client does not
    /// get it.
    pub reason: Option<Cow<'static, str>>,
    /// The faults of the request's members, at most [`MAX_ERRORS`].
    pub errors: Vec<FieldError>,
    /// Whether there were more errors than this list has.
    pub truncated: bool,
    /// Whether the refusal is of a body that this stack does not declare: where a later layer of
    /// the same guard declares it, that layer decides.
    pub is_deferrable: bool,
}

/// The maximum number of errors in a refusal.
pub const MAX_ERRORS: usize = 20;

/// One fault of one member of the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError {
    /// The location of the member: `body`, `query`, `params` or `headers`.
    pub location: &'static str,
    /// A JSON Pointer in fragment form (RFC 6901 section 6) to the member: `#/email`.
    pub pointer: String,
    /// The JSON Schema keyword that failed, e.g. `format`.
    pub code: &'static str,
    /// The requirement in words, without the submitted value.
    pub detail: String,
}

impl Refusal {
    /// A refusal without headers or field errors. It is cold: the compiler keeps it out of the
    /// common path.
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
            is_deferrable: false,
        }))
    }

    /// Leaves the decision to a later layer that declares the body, if there is one.
    #[must_use]
    pub fn deferrable(mut self) -> Self {
        self.is_deferrable = true;
        self
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
