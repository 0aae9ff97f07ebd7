//! Reads the answer of an introspection endpoint (RFC 7662 section 2.2), strictly: anything but a
//! clear answer is an error of the endpoint, never an active token.

use std::fmt;

use crate::json::object::{Members, Shallow, read_members};

/// The relevant part of an answer's head.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AnswerHead {
    /// The status.
    pub status: u16,
    /// `Content-Type`.
    pub content_type: Option<String>,
}

/// A clear answer.
#[derive(Debug)]
pub(crate) enum Answer<'a> {
    /// `active` is `true`: the whole answer as text, and its members.
    Active(&'a str, Members<'a>),
    /// `active` is `false`.
    Inactive,
}

/// The reason why an endpoint gave no clear answer. It never repeats text of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum AskError {
    /// It did not answer in time.
    Timeout,
    /// It could not be reached.
    Network,
    /// Its certificate was not accepted.
    Tls,
    /// It redirected, and redirects are not followed: a token must not go elsewhere.
    Redirect,
    /// It answered with another status than 200.
    Status(u16),
    /// It answered with more than 64 KiB.
    TooLarge,
    /// Its answer is not `application/json`.
    ContentType,
    /// Its answer is not one unambiguous JSON object with a boolean `active`.
    Malformed,
    /// According to it, a made-up token is active.
    Credulous,
    /// The function `introspection.headers` has given none.
    Headers,
}

impl AskError {
    /// The name of the error in `guard.health()`.
    #[must_use]
    pub const fn kind(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Network => "network",
            Self::Tls => "tls",
            Self::Redirect => "redirect",
            Self::Status(_) => "status",
            Self::TooLarge => "too-large",
            Self::ContentType => "content-type",
            Self::Malformed => "malformed",
            Self::Credulous => "credulous",
            Self::Headers => "headers",
        }
    }

    /// Parses the name of an error from the JavaScript host. Unknown names count as network errors.
    #[must_use]
    pub fn from_kind(kind: &str) -> Self {
        match kind {
            "timeout" => Self::Timeout,
            "tls" => Self::Tls,
            "redirect" => Self::Redirect,
            "too-large" => Self::TooLarge,
            "headers" => Self::Headers,
            _ => Self::Network,
        }
    }
}

impl fmt::Display for AskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Timeout => "it did not answer in time",
            Self::Network => "it can't be reached",
            Self::Tls => {
                "its certificate is not accepted; NODE_EXTRA_CA_CERTS names further authorities"
            }
            Self::Redirect => "it redirects, and redirects are not followed",
            Self::Status(401 | 403) => {
                return f.write_str("it refuses the credentials of this API");
            }
            Self::Status(status) => return write!(f, "it answered with status {status}"),
            Self::TooLarge => "it answered with more than 64 KiB",
            Self::ContentType => "its answer is not application/json",
            Self::Malformed => {
                "its answer is no JSON object with a boolean `active`, or has a member twice"
            }
            Self::Credulous => "it says that a made-up token is active",
            Self::Headers => "the function `introspection.headers` gives no headers",
        })
    }
}

/// Reads an answer.
pub(crate) fn read<'a>(head: &AnswerHead, body: &'a [u8]) -> Result<Answer<'a>, AskError> {
    if head.status != 200 {
        return Err(AskError::Status(head.status));
    }
    let media = head.content_type.as_deref().unwrap_or_default();
    let media = media.split(';').next().unwrap_or_default().trim();
    if !media.eq_ignore_ascii_case("application/json") {
        return Err(AskError::ContentType);
    }
    let text = std::str::from_utf8(body).map_err(|_| AskError::Malformed)?;
    let members = read_members(text).map_err(|_| AskError::Malformed)?;
    match members.get("active") {
        Some(Shallow::Word(Some(true))) => Ok(Answer::Active(text, members)),
        Some(Shallow::Word(Some(false))) => Ok(Answer::Inactive),
        _ => Err(AskError::Malformed),
    }
}
