//! Reads the compact form of a token (RFC 7515 section 7.1) before any cryptography.
//!
//! The reader accepts only one spelling of a token: three segments of `[A-Za-z0-9_-]`, canonical
//! base64url without padding, whitespace or stray bits. So one token has one text, and a revocation
//! by its text holds.

use std::cell::RefCell;
use std::rc::Rc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::Header;
use crate::json::object;

/// The default of `maxTokenSize`, and the most bytes of a token that is issued here.
pub(crate) const MAX_TOKEN_BYTES: usize = 8 * 1024;
/// The most that `maxTokenSize` may be.
pub(crate) const MAX_TOKEN_SIZE: usize = 32 * 1024;
/// The maximum length of a header in bytes of JSON.
pub(crate) const MAX_HEADER_BYTES: usize = 1024;
/// An RSA signature of 8192 bits, in base64url.
const MAX_SIGNATURE_CHARS: usize = 1366;

/// Why a text is no token: there is one way to write it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Malformed {
    /// What stands behind the scheme is no token.
    Credentials,
    /// It is longer than `maxTokenSize`, or its header than 1 KiB.
    TooLarge,
    /// It is not three segments, or its header or signature is empty.
    Form,
    /// A segment is no canonical base64url without padding.
    Encoding,
    /// Its header is no JSON object with `alg`, or a member of it is of the wrong kind.
    Header,
    /// Its header has `crit` or `b64`.
    Critical,
    /// Its payload is no JSON object that can be read in one way only.
    Payload,
}

impl Malformed {
    /// One word for the operator.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Credentials => "authorization_malformed",
            Self::TooLarge => "token_too_large",
            Self::Form => "token_not_compact",
            Self::Encoding => "token_encoding",
            Self::Header => "header_malformed",
            Self::Critical => "header_critical",
            Self::Payload => "payload_malformed",
        }
    }
}

/// The parts of a token. They are untrusted until the signature is verified.
#[derive(Debug)]
pub(crate) struct Compact<'a> {
    /// The signed text: header, dot, payload.
    pub(crate) signing_input: &'a str,
    pub(crate) header: Rc<Header>,
    payload: &'a str,
    signature: Vec<u8>,
}

impl<'a> Compact<'a> {
    /// Takes `token`, of at most `max_bytes`, apart and reads its header. The payload is only
    /// decoded by [`Self::payload`], after the signature was found good.
    pub(crate) fn read(token: &'a str, max_bytes: usize) -> Result<Self, Malformed> {
        let (compact, ()) = Self::split(token, max_bytes, |header| Ok((Header::of(header)?, ())))?;
        Ok(compact)
    }

    /// As [`Self::read`], with the members that [`Header`] lacks.
    pub(crate) fn read_whole(token: &'a str) -> Result<(Self, Map<String, Value>), Malformed> {
        Self::split(token, MAX_TOKEN_BYTES, |header| {
            let (read, more) = Header::read(header)?;
            Ok((Rc::new(read), more))
        })
    }

    fn split<T>(
        token: &'a str,
        max_bytes: usize,
        read: impl FnOnce(&str) -> Result<(Rc<Header>, T), Malformed>,
    ) -> Result<(Self, T), Malformed> {
        if token.len() > max_bytes {
            return Err(Malformed::TooLarge);
        }
        let parts = token.rsplit_once('.').and_then(|(input, signature)| {
            let (header, payload) = input.split_once('.')?;
            Some((input, header, payload, signature))
        });
        let (signing_input, header, payload, signature) = parts.ok_or(Malformed::Form)?;
        // An empty signature is `alg: none`. An empty payload is allowed in a JWS (though it has no
        // claims); a detached one was signed with content that is not here.
        if payload.contains('.')
            || header.is_empty()
            || signature.is_empty()
            || signature.len() > MAX_SIGNATURE_CHARS
        {
            return Err(Malformed::Form);
        }
        let (header, more) = read(header)?;
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| Malformed::Encoding)?;
        Ok((Self { signing_input, header, payload, signature }, more))
    }

    pub(crate) fn signature(&self) -> &[u8] {
        &self.signature
    }

    /// The bytes of the payload, unchecked.
    pub(crate) fn payload(&self) -> Result<Vec<u8>, Malformed> {
        URL_SAFE_NO_PAD.decode(self.payload).map_err(|_| Malformed::Encoding)
    }

    /// The payload as text, which need not be claims.
    pub(crate) fn text(&self) -> Result<String, Malformed> {
        String::from_utf8(self.payload()?).map_err(|_| Malformed::Payload)
    }

    /// The payload as claims: a JSON object.
    pub(crate) fn claims(&self) -> Result<Map<String, Value>, Malformed> {
        object::read_object(&self.text()?).map_err(|_| Malformed::Payload)
    }
}

thread_local! {
    /// The last header, by its segment. All tokens of one key have the same header, and reading a
    /// header costs as much as ten comparisons. The cache is safe for every token and guard: the
    /// same text is always the same header.
    static LAST: RefCell<Option<(Box<str>, Rc<Header>)>> = const { RefCell::new(None) };
}

impl Header {
    /// The header of a segment, from the cache or parsed.
    fn of(segment: &str) -> Result<Rc<Self>, Malformed> {
        let known = LAST.with_borrow(|last| {
            let (text, header) = last.as_ref()?;
            (**text == *segment).then(|| Rc::clone(header))
        });
        if let Some(header) = known {
            return Ok(header);
        }
        let header = Rc::new(Self::read(segment)?.0);
        LAST.set(Some((segment.into(), Rc::clone(&header))));
        Ok(header)
    }

    fn read(segment: &str) -> Result<(Self, Map<String, Value>), Malformed> {
        if segment.len() > MAX_HEADER_BYTES.div_ceil(3) * 4 {
            return Err(Malformed::TooLarge);
        }
        let bytes = URL_SAFE_NO_PAD.decode(segment).map_err(|_| Malformed::Encoding)?;
        if bytes.len() > MAX_HEADER_BYTES {
            return Err(Malformed::TooLarge);
        }
        let text = std::str::from_utf8(&bytes).map_err(|_| Malformed::Header)?;
        let mut members = object::read_object(text).map_err(|_| Malformed::Header)?;
        // RFC 7515 section 4.1.11: an unsupported extension must be refused, and no extension is
        // supported. `b64` (RFC 7797) without `crit` is refused too: readers that support it would
        // read another payload.
        if members.contains_key("crit") || members.contains_key("b64") {
            return Err(Malformed::Critical);
        }
        let mut string = |name: &str| match members.remove(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(Malformed::Header),
        };
        let alg = string("alg")?.ok_or(Malformed::Header)?;
        let header = Self { alg, kid: string("kid")?, typ: string("typ")? };
        Ok((header, members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(token: &str) -> Result<Compact<'_>, Malformed> {
        Compact::read(token, MAX_TOKEN_BYTES)
    }

    fn token(header: &str, payload: &str) -> String {
        format!("{}.{}.c2ln", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload))
    }

    #[test]
    fn a_token_is_read_into_its_parts() {
        let token = token(r#"{"alg":"HS256","kid":"a","jwk":{}}"#, r#"{"sub":"x"}"#);
        let compact = read(&token).unwrap();
        assert_eq!(compact.header.alg, "HS256");
        assert_eq!(compact.header.kid.as_deref(), Some("a"));
        assert_eq!(compact.signature(), b"sig");
        assert_eq!(compact.text().unwrap(), r#"{"sub":"x"}"#);
    }

    #[test]
    fn only_the_one_canonical_spelling_of_a_token_is_read() {
        let good = token(r#"{"alg":"HS256"}"#, "{}");
        assert!(read(&good).is_ok());
        let (head, rest) = good.split_once('.').unwrap();
        for bad in [
            format!(" {good}"),
            format!("{good}\n"),
            format!("{good}="),
            format!("{head}=.{rest}"),
            format!("{head} .{rest}"),
            format!("{good}."),
            format!(".{good}"),
            format!("{head}.{head}.{rest}"),
            good.replace('.', ".."),
            good.replace("c2ln", "c2l"),
            good.replace("c2ln", "c2lnB"),
            good.replace("c2ln", ""),
            good.replace("c2ln", "c2+/"),
            good.replace("c2ln", "c2l%"),
            good.replace('.', "\u{2024}"),
        ] {
            assert!(read(&bad).is_err(), "{bad}");
        }
        // `e30` is `{}`; `e31` has stray bits, which a lax decoder ignores.
        assert!(read(&good.replace(".e30.", ".e31.")).unwrap().claims().is_err());
    }

    #[test]
    fn a_header_is_read_for_each_token_though_the_last_one_is_remembered() {
        let alg = |header: &str| {
            let token = token(header, "{}");
            let compact = read(&token);
            compact.map(|compact| compact.header.alg.clone()).ok()
        };
        let (one, other, bad) =
            (r#"{"alg":"HS256"}"#, r#"{"alg":"HS512"}"#, r#"{"alg":"HS256","crit":["x"]}"#);
        for header in [one, one, other, bad, one, bad, bad, other, other] {
            let expected = match header {
                _ if header == one => Some("HS256"),
                _ if header == other => Some("HS512"),
                _ => None,
            };
            assert_eq!(alg(header).as_deref(), expected, "{header}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in "\\PC{0,80}|[A-Za-z0-9_.=-]{0,200}") {
            if let Ok(compact) = read(&text) {
                let _ = compact.claims();
            }
        }

        #[test]
        fn what_is_read_is_canonical(header in "\\{\"alg\":\"[a-zA-Z0-9]{0,6}\"\\}", payload in prop::collection::vec(any::<u8>(), 1..40), signature in prop::collection::vec(any::<u8>(), 1..70), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let token = format!("{}.{}.{}", URL_SAFE_NO_PAD.encode(&header), URL_SAFE_NO_PAD.encode(&payload), URL_SAFE_NO_PAD.encode(&signature));
            let parts = |token: &str| {
                let compact = read(token).ok()?;
                Some((compact.payload().ok()?, compact.signature().to_vec(), compact.header.alg.clone()))
            };
            let original = parts(&token).unwrap();
            prop_assert_eq!((&original.0, &original.1), (&payload, &signature));
            // No other text of the same length may represent the same token.
            let mut other = token.clone().into_bytes();
            let at = at.index(other.len());
            if byte.is_ascii() && other[at] != byte {
                other[at] = byte;
                let other = String::from_utf8(other).unwrap();
                prop_assert_ne!(parts(&other), Some(original));
            }
        }
    }
}
