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

/// The maximum length of a token in bytes.
pub(crate) const MAX_TOKEN_BYTES: usize = 8 * 1024;
/// The maximum length of a header in bytes of JSON.
pub(crate) const MAX_HEADER_BYTES: usize = 1024;
/// An RSA signature of 8192 bits, in base64url.
const MAX_SIGNATURE_CHARS: usize = 1366;

/// The text is not a token in compact form, or not in its canonical spelling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed;

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
    /// Splits `token` and reads its header. [`Self::payload`] decodes the payload later, after the
    /// signature is verified.
    pub(crate) fn read(token: &'a str) -> Result<Self, Malformed> {
        Self::split(token, |header| Some((Header::of(header)?, ())))
            .map(|(compact, ())| compact)
            .ok_or(Malformed)
    }

    /// As [`Self::read`], with the members that [`Header`] lacks.
    pub(crate) fn read_whole(token: &'a str) -> Result<(Self, Map<String, Value>), Malformed> {
        let read = |header: &str| Header::read(header).map(|(read, more)| (Rc::new(read), more));
        Self::split(token, read).ok_or(Malformed)
    }

    fn split<T>(
        token: &'a str,
        read: impl FnOnce(&str) -> Option<(Rc<Header>, T)>,
    ) -> Option<(Self, T)> {
        if token.len() > MAX_TOKEN_BYTES {
            return None;
        }
        let (signing_input, signature) = token.rsplit_once('.')?;
        let (header, payload) = signing_input.split_once('.')?;
        if payload.contains('.') {
            return None;
        }
        // An empty signature is `alg: none`. An empty payload is allowed in a JWS (though it has no
        // claims); a detached one was signed with content that is not here.
        if header.is_empty() || signature.is_empty() || signature.len() > MAX_SIGNATURE_CHARS {
            return None;
        }
        let (header, more) = read(header)?;
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        Some((Self { signing_input, header, payload, signature }, more))
    }

    pub(crate) fn signature(&self) -> &[u8] {
        &self.signature
    }

    /// The bytes of the payload, unchecked.
    pub(crate) fn payload(&self) -> Result<Vec<u8>, Malformed> {
        URL_SAFE_NO_PAD.decode(self.payload).map_err(|_| Malformed)
    }

    /// The payload as text, which need not be claims.
    pub(crate) fn text(&self) -> Result<String, Malformed> {
        String::from_utf8(self.payload()?).map_err(|_| Malformed)
    }

    /// The payload as claims: a JSON object.
    pub(crate) fn claims(&self) -> Result<Map<String, Value>, Malformed> {
        object::read_object(&self.text()?).map_err(|_| Malformed)
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
    fn of(segment: &str) -> Option<Rc<Self>> {
        let known = LAST.with_borrow(|last| {
            let (text, header) = last.as_ref()?;
            (**text == *segment).then(|| Rc::clone(header))
        });
        known.or_else(|| {
            let header = Rc::new(Self::read(segment)?.0);
            LAST.set(Some((segment.into(), Rc::clone(&header))));
            Some(header)
        })
    }

    fn read(segment: &str) -> Option<(Self, Map<String, Value>)> {
        if segment.len() > MAX_HEADER_BYTES.div_ceil(3) * 4 {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(segment).ok()?;
        if bytes.len() > MAX_HEADER_BYTES {
            return None;
        }
        let mut members = object::read_object(std::str::from_utf8(&bytes).ok()?).ok()?;
        // RFC 7515 section 4.1.11: an unsupported extension must be refused, and no extension is
        // supported. `b64` (RFC 7797) without `crit` is refused too: readers that support it would
        // read another payload.
        if members.contains_key("crit") || members.contains_key("b64") {
            return None;
        }
        let mut string = |name: &str| match members.remove(name) {
            None => Some(None),
            Some(Value::String(text)) => Some(Some(text)),
            Some(_) => None,
        };
        let header = Self { alg: string("alg")??, kid: string("kid")?, typ: string("typ")? };
        Some((header, members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn token(header: &str, payload: &str) -> String {
        format!("{}.{}.c2ln", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload))
    }

    #[test]
    fn a_token_is_read_into_its_parts() {
        let token = token(r#"{"alg":"HS256","kid":"a","jwk":{}}"#, r#"{"sub":"x"}"#);
        let compact = Compact::read(&token).unwrap();
        assert_eq!(compact.header.alg, "HS256");
        assert_eq!(compact.header.kid.as_deref(), Some("a"));
        assert_eq!(compact.signature(), b"sig");
        assert_eq!(compact.text().unwrap(), r#"{"sub":"x"}"#);
    }

    #[test]
    fn only_the_one_canonical_spelling_of_a_token_is_read() {
        let good = token(r#"{"alg":"HS256"}"#, "{}");
        assert!(Compact::read(&good).is_ok());
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
            assert_eq!(Compact::read(&bad).err(), Some(Malformed), "{bad}");
        }
        // `e30` is `{}`; `e31` has stray bits, which a lax decoder ignores.
        assert!(Compact::read(&good.replace(".e30.", ".e31.")).unwrap().claims().is_err());
    }

    #[test]
    fn a_header_is_read_for_each_token_though_the_last_one_is_remembered() {
        let alg = |header: &str| {
            let token = token(header, "{}");
            let compact = Compact::read(&token);
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
            if let Ok(compact) = Compact::read(&text) {
                let _ = compact.claims();
            }
        }

        #[test]
        fn what_is_read_is_canonical(header in "\\{\"alg\":\"[a-zA-Z0-9]{0,6}\"\\}", payload in prop::collection::vec(any::<u8>(), 1..40), signature in prop::collection::vec(any::<u8>(), 1..70), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let token = format!("{}.{}.{}", URL_SAFE_NO_PAD.encode(&header), URL_SAFE_NO_PAD.encode(&payload), URL_SAFE_NO_PAD.encode(&signature));
            let read = |token: &str| {
                let compact = Compact::read(token).ok()?;
                Some((compact.payload().ok()?, compact.signature().to_vec(), compact.header.alg.clone()))
            };
            let original = read(&token).unwrap();
            prop_assert_eq!((&original.0, &original.1), (&payload, &signature));
            // No other text of the same length may represent the same token.
            let mut other = token.clone().into_bytes();
            let at = at.index(other.len());
            if byte.is_ascii() && other[at] != byte {
                other[at] = byte;
                let other = String::from_utf8(other).unwrap();
                prop_assert_ne!(read(&other), Some(original));
            }
        }
    }
}
