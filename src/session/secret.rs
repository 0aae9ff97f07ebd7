//! The parts of a refresh token, and the derivation of its successor.

use std::fmt;

use aws_lc_rs::digest::{Context, SHA256};
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::session::family::{NewFamily, RefreshAttempt};

/// Marks a refresh token, for people and for secret scanners.
const PREFIX: &str = "ksr_";
const LENGTH: usize = 64;

/// The key of a session's family record: a hash of issuer and `sid`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FamilyKey(pub [u8; 16]);

impl FamilyKey {
    /// The key of a session.
    #[must_use]
    pub fn of(issuer: &str, session: &str) -> Self {
        Self(first_16(&sha256(&[
            b"keepstone session\0",
            &issuer.len().to_be_bytes(),
            issuer.as_bytes(),
            session.as_bytes(),
        ])))
    }

    /// In base64url.
    #[must_use]
    pub fn text(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }
}

/// A hash of the audiences that a session's access tokens are for, in any order.
#[must_use]
pub fn audience_mark(audience: &[String]) -> [u8; 16] {
    let mut sorted: Vec<&str> = audience.iter().map(String::as_str).collect();
    sorted.sort_unstable();
    let lengths: Vec<_> = sorted.iter().map(|one| one.len().to_be_bytes()).collect();
    let mut parts: Vec<&[u8]> = vec![b"keepstone audience\0"];
    for (length, one) in lengths.iter().zip(&sorted) {
        parts.extend([&length[..], one.as_bytes()]);
    }
    first_16(&sha256(&parts))
}

/// A refresh token.
#[derive(Clone, PartialEq, Eq)]
pub struct RefreshToken {
    place: FamilyKey,
    family: [u8; 16],
    secret: [u8; 32],
}

impl fmt::Debug for RefreshToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RefreshToken")
    }
}

impl RefreshToken {
    /// The first token of the family at `place`; `None` if the system has no random numbers.
    #[must_use]
    pub fn first(place: FamilyKey) -> Option<Self> {
        Some(Self { place, family: random()?, secret: random()? })
    }

    /// Reads the output of [`Self::text`], in exactly that form.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let mut bytes = [0; LENGTH];
        let encoded = text.strip_prefix(PREFIX)?;
        let length = URL_SAFE_NO_PAD.decode_slice(encoded, &mut bytes).ok()?;
        let (place, rest) = bytes.split_first_chunk::<16>()?;
        let (family, rest) = rest.split_first_chunk::<16>()?;
        let secret = rest.first_chunk::<32>().filter(|_| length == LENGTH)?;
        Some(Self { place: FamilyKey(*place), family: *family, secret: *secret })
    }

    /// The text for the client.
    #[must_use]
    pub fn text(&self) -> String {
        let bytes = [&self.place.0[..], &self.family, &self.secret].concat();
        let mut text = PREFIX.to_owned();
        URL_SAFE_NO_PAD.encode_string(bytes, &mut text);
        text
    }

    /// The family that begins with this token.
    #[must_use]
    pub fn opening(&self, session: &str, kept: Vec<u8>) -> NewFamily {
        NewFamily {
            place: self.place,
            mark: self.mark(),
            current: self.hash(),
            session: session.to_owned(),
            kept,
        }
    }

    /// The use of this token at a guard with this [`audience_mark`], with a fresh salt; `None` if
    /// the system has no random numbers.
    #[must_use]
    pub fn presentation(&self, audience: [u8; 16]) -> Option<RefreshAttempt> {
        let salt = random()?;
        Some(RefreshAttempt {
            place: self.place,
            mark: self.mark(),
            audience,
            presented: self.hash(),
            salt,
            successor: self.successor(&salt).hash(),
            latest_born_s: u64::MAX,
            earliest_born_s: 0,
        })
    }

    /// The successor with a salt.
    #[must_use]
    pub fn successor(&self, salt: &[u8; 32]) -> Self {
        let message = [b"keepstone refresh\0", &self.family[..], salt].concat();
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &self.secret), &message);
        let mut secret = [0; 32];
        copy(&mut secret, tag.as_ref());
        Self { place: self.place, family: self.family, secret }
    }

    fn mark(&self) -> [u8; 16] {
        first_16(&sha256(&[b"keepstone family\0", &self.family]))
    }

    fn hash(&self) -> [u8; 32] {
        sha256(&[b"keepstone refresh token\0", &self.place.0, &self.family, &self.secret])
    }
}

fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(part);
    }
    let mut hash = [0; 32];
    copy(&mut hash, context.finish().as_ref());
    hash
}

fn first_16(hash: &[u8; 32]) -> [u8; 16] {
    let mut first = [0; 16];
    copy(&mut first, hash);
    first
}

fn copy(to: &mut [u8], from: &[u8]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = *from;
    }
}

fn random<const N: usize>() -> Option<[u8; N]> {
    let mut bytes = [0; N];
    crate::random::fill(&mut bytes).ok().map(|()| bytes)
}
