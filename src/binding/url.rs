//! The normalised form in which the URL of a proof (`htu`) and the URL of a request are compared
//! (RFC 9449 section 4.3 point 9, RFC 3986 sections 6.2.2 and 6.2.3).

use crate::request::{Request, authority};

/// The maximum length of an `htu` in bytes.
const MAX_BYTES: usize = 4096;

/// A URL without query and fragment, normalised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProofUrl {
    secure: bool,
    /// In lower case, without the default port of the scheme.
    authority: String,
    path: String,
}

impl ProofUrl {
    /// The URL of a request: its `Host` header, its path, and its scheme according to a trusted
    /// proxy or the socket. `None` without a usable `Host`.
    #[must_use]
    pub fn of(request: &Request) -> Option<Self> {
        let secure = request.secure();
        let authority = authority(request.header("host")?, secure)?;
        Some(Self { secure, authority, path: path(request.raw_path())? })
    }

    /// Reads `htu`: an `http` or `https` URL. Its query and fragment are ignored.
    #[must_use]
    pub fn read(htu: &str) -> Option<Self> {
        if htu.len() > MAX_BYTES || htu.bytes().any(|byte| !byte.is_ascii_graphic()) {
            return None;
        }
        let (scheme, rest) = htu.split_once("://")?;
        let secure = scheme.eq_ignore_ascii_case("https");
        if !secure && !scheme.eq_ignore_ascii_case("http") {
            return None;
        }
        let rest = rest.split(['?', '#']).next().unwrap_or_default();
        let (host, after) = match rest.find('/') {
            Some(at) => rest.split_at_checked(at)?,
            None => (rest, "/"),
        };
        Some(Self { secure, authority: authority(host, secure)?, path: path(after)? })
    }
}

/// Normalises a path: decodes unreserved characters, and writes the other escapes in capitals. Dot
/// segments stay: no request has any at this point, so a proof with one matches no request.
fn path(raw: &str) -> Option<String> {
    let mut path = String::with_capacity(raw.len());
    let mut bytes = raw.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            path.push(char::from(byte));
            continue;
        }
        let high = char::from(bytes.next()?).to_digit(16)?;
        let low = char::from(bytes.next()?).to_digit(16)?;
        let decoded = u8::try_from(high * 16 + low).ok()?;
        if decoded.is_ascii_alphanumeric() || b"-._~".contains(&decoded) {
            path.push(char::from(decoded));
        } else {
            path.push('%');
            path.extend(
                [high, low]
                    .iter()
                    .filter_map(|digit| char::from_digit(*digit, 16))
                    .map(|c| c.to_ascii_uppercase()),
            );
        }
    }
    if path.is_empty() {
        path.push('/');
    }
    Some(path)
}
