//! The boundary, as the media type of the body names it.

use super::{malformed, params};
use crate::refusal::Refusal;

/// The boundary of a body: 1 to 70 characters of RFC 2046 section 5.1.1, none of which begins or
/// ends a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Boundary(Box<str>);

impl Boundary {
    /// Whether a media type is `multipart/form-data`, whatever its parameters.
    #[must_use]
    pub fn is_form_data(content_type: Option<&str>) -> bool {
        let essence = content_type.and_then(|text| text.split(';').next()).unwrap_or_default();
        essence.trim_matches([' ', '\t']).eq_ignore_ascii_case("multipart/form-data")
    }

    /// Reads the boundary from the value of `Content-Type`.
    ///
    /// # Errors
    /// A 400 if there is none, if there are two, or if it is not one of RFC 2046; a 415 for another
    /// charset than UTF-8.
    pub fn read(content_type: &str) -> Result<Self, Refusal> {
        let Some((_, params)) = params::read(content_type) else {
            return Err(malformed("content_type", "its media type can't be read"));
        };
        let param =
            |wanted| params.iter().find(|(name, _)| name == wanted).map(|(_, value)| *value);
        if param("charset").is_some_and(|charset| !charset.eq_ignore_ascii_case("utf-8")) {
            return Err(Refusal::new(415, "unsupported_charset", "the body must be sent in utf-8"));
        }
        let boundary = param("boundary").filter(|text| is_boundary(text));
        let boundary = boundary.map(|text| Self(text.into()));
        boundary.ok_or_else(|| {
            malformed("boundary", "its media type must name one boundary of 1 to 70 characters")
        })
    }

    /// What ends a part: a line break, two dashes and the boundary.
    pub(super) fn delimiter(&self) -> Vec<u8> {
        [b"\r\n--", self.0.as_bytes()].concat()
    }
}

/// `bchars` of RFC 2046 section 5.1.1; no blank at its end.
fn is_boundary(text: &str) -> bool {
    let is_char = |byte: u8| byte.is_ascii_alphanumeric() || b"'()+_,-./:=? ".contains(&byte);
    (1..=70).contains(&text.len()) && text.bytes().all(is_char) && !text.ends_with(' ')
}
