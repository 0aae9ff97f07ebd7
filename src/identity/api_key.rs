//! The form of an API key: `<prefix>_<43 random characters><6 characters of a checksum>`.
//!
//! The prefix names the issuer of the key, so that scanners of repositories find one that was
//! published. The checksum lets them, and this module, discard a made-up text without a look-up.
//! GitHub's tokens have this form; see "Behind GitHub's new authentication token formats" (2021).
//!
//! - All characters behind the prefix are base62: `0-9A-Za-z`. 43 of them are 256 bits.
//! - The checksum is the CRC-32 of ISO 3309 over everything before it, prefix included, written in
//!   base62 with leading zeros.
//! - The digest is SHA-256 over the whole key, in lower-case hexadecimal. The id is the first 24
//!   characters of the digest: it names a key in logs, limits and revocations.

use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest;

use super::error::IdentityError;
use crate::bearer::Scheme;
use crate::random;
use crate::request::Request;

pub(super) const RANDOM_LEN: usize = 43;
pub(super) const CHECKSUM_LEN: usize = 6;
const DIGEST_LEN: usize = 64;
const ID_LEN: usize = 24;
const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Where a request carries its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum KeyPlace {
    /// In the header of this name, in lower case, alone.
    Header(String),
    /// In `Authorization`, behind `ApiKey`.
    ApiKeyScheme,
    /// In `Authorization`, behind `Bearer`. `shared`: other texts there are left to the reader of
    /// tokens or to `identify`.
    BearerScheme { shared: bool },
}

/// The checked option `apiKeys`.
#[derive(Debug)]
pub struct ApiKeys {
    pub(super) prefixes: Vec<String>,
    pub(super) place: KeyPlace,
    pub(super) timeout: Duration,
    pub(super) cache_for: Duration,
    pub(super) is_lenient_subject: bool,
}

/// A new key. Only the caller gets it: nothing here keeps it.
pub struct NewKey {
    /// The key, for its owner.
    pub key: String,
    /// Its digest, for the table.
    pub digest: String,
    /// Its id.
    pub id: String,
}

impl std::fmt::Debug for NewKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewKey").field("id", &self.id).finish_non_exhaustive()
    }
}

impl ApiKeys {
    /// The key of a request, not judged yet; `None` without one.
    ///
    /// # Errors
    /// [`IdentityError::Ambiguous`]: the header is there twice.
    pub fn find<'r>(&self, request: &'r Request) -> Result<Option<&'r str>, IdentityError> {
        let scheme_is = |wanted: &str| {
            // `Request::read` has already refused a second header of this name.
            let (scheme, rest) = request.header("authorization")?.split_once(' ')?;
            scheme.eq_ignore_ascii_case(wanted).then(|| rest.trim_start_matches(' '))
        };
        match &self.place {
            KeyPlace::Header(name) => {
                let mut values = request.headers().filter(|(header, _)| header == name);
                match (values.next(), values.next()) {
                    (_, Some(_)) => Err(IdentityError::Ambiguous),
                    (value, None) => Ok(value.map(|(_, value)| value)),
                }
            }
            KeyPlace::ApiKeyScheme => Ok(scheme_is("apikey")),
            KeyPlace::BearerScheme { shared } => {
                Ok(scheme_is("bearer").filter(|text| !shared || self.has_prefix(text)))
            }
        }
    }

    /// Whether a key comes in `Authorization`, where tokens come, too.
    #[must_use]
    pub fn is_in_authorization(&self) -> bool {
        !matches!(self.place, KeyPlace::Header(_))
    }

    /// The header that holds a key alone, in lower case.
    #[must_use]
    pub fn header(&self) -> Option<&str> {
        if let KeyPlace::Header(name) = &self.place { Some(name) } else { None }
    }

    /// The scheme of the challenge.
    #[must_use]
    pub fn scheme(&self) -> Scheme {
        match self.place {
            KeyPlace::BearerScheme { .. } => Scheme::Bearer,
            KeyPlace::Header(_) | KeyPlace::ApiKeyScheme => Scheme::Other("ApiKey"),
        }
    }

    /// Whether a text begins like a key of this guard.
    #[must_use]
    pub fn has_prefix(&self, text: &str) -> bool {
        self.after_prefix(text).is_some()
    }

    fn after_prefix<'t>(&self, text: &'t str) -> Option<&'t str> {
        let after = |prefix: &String| text.strip_prefix(prefix.as_str())?.strip_prefix('_');
        // One prefix may begin another: the rest without a further `_` is that of the longer one.
        let rests = self.prefixes.iter().filter_map(after);
        rests.min_by_key(|rest| rest.len())
    }

    /// The digest of a key.
    ///
    /// # Errors
    /// The text is no key: [`IdentityError::KeyForm`] or [`IdentityError::KeyChecksum`].
    pub fn digest(&self, key: &str) -> Result<String, IdentityError> {
        let rest = self.after_prefix(key).ok_or(IdentityError::KeyForm)?;
        if rest.len() != RANDOM_LEN + CHECKSUM_LEN
            || !rest.bytes().all(|b| b.is_ascii_alphanumeric())
        {
            return Err(IdentityError::KeyForm);
        }
        let (body, checksum) =
            key.split_at_checked(key.len() - CHECKSUM_LEN).ok_or(IdentityError::KeyForm)?;
        if checksum_of(body) != checksum {
            return Err(IdentityError::KeyChecksum);
        }
        Ok(sha256(key))
    }

    /// A new key with one of the prefixes, by default the first; `None` for an unknown prefix.
    ///
    /// # Errors
    /// The operating system gives no random bytes.
    pub fn create(&self, prefix: Option<&str>) -> Result<Option<NewKey>, getrandom::Error> {
        let known = match prefix {
            None => self.prefixes.first(),
            Some(prefix) => self.prefixes.iter().find(|known| *known == prefix),
        };
        let Some(prefix) = known else { return Ok(None) };
        let mut key = format!("{prefix}_");
        let whole = key.len() + RANDOM_LEN;
        while key.len() < whole {
            let mut bytes = [0; 64];
            random::fill(&mut bytes)?;
            // 248 is the largest multiple of 62 in a byte: each character is equally likely.
            let fair = bytes.iter().filter(|byte| **byte < 248);
            key.extend(fair.take(whole - key.len()).map(|byte| base62(u32::from(*byte))));
        }
        key.push_str(&checksum_of(&key));
        let digest = sha256(&key);
        Ok(Some(NewKey { id: id_of_digest(&digest).to_owned(), digest, key }))
    }

    /// The id of a key: from the key itself, its digest or its id. `None` for any other text.
    #[must_use]
    pub fn id_of(&self, text: &str) -> Option<String> {
        if let Ok(digest) = self.digest(text) {
            return Some(id_of_digest(&digest).to_owned());
        }
        let is_hex = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        (is_hex && matches!(text.len(), DIGEST_LEN | ID_LEN)).then(|| id_of_digest(text).to_owned())
    }
}

/// Whether two digests are equal, in a time that does not depend on where they differ.
pub(super) fn is_same_digest(one: &str, other: &str) -> bool {
    verify_slices_are_equal(one.as_bytes(), other.as_bytes()).is_ok()
}

pub(super) fn id_of_digest(digest: &str) -> &str {
    digest.get(..ID_LEN).unwrap_or(digest)
}

fn sha256(text: &str) -> String {
    use std::fmt::Write as _;
    let mut hex = String::with_capacity(DIGEST_LEN);
    for byte in digest::digest(&digest::SHA256, text.as_bytes()).as_ref() {
        // Writing to a string can't fail.
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}

fn checksum_of(text: &str) -> String {
    let mut rest = crc32(text.as_bytes());
    let mut digits = [b'0'; CHECKSUM_LEN].map(char::from);
    for digit in digits.iter_mut().rev() {
        *digit = base62(rest);
        rest /= 62;
    }
    digits.iter().collect()
}

/// The last base62 digit of a number.
fn base62(number: u32) -> char {
    let digit = usize::try_from(number % 62).ok().and_then(|digit| BASE62.get(digit));
    char::from(digit.copied().unwrap_or(b'0'))
}

/// The CRC-32 of ISO 3309, as in zlib and PNG.
pub(super) fn crc32(bytes: &[u8]) -> u32 {
    const REVERSED: u32 = 0xEDB8_8320;
    let step = |crc: u32| if crc & 1 == 1 { (crc >> 1) ^ REVERSED } else { crc >> 1 };
    let whole = |crc: u32, byte: &u8| (0..8).fold(crc ^ u32::from(*byte), |crc, _| step(crc));
    !bytes.iter().fold(u32::MAX, whole)
}
