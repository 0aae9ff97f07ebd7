//! The names of revocations, and their encoding in the stream.
//!
//! All processes must derive the same name for the same thing, so a name is an unkeyed hash: the
//! first bytes of a SHA-256 over issuer, kind and the revoked value.
//!
//! * A token's name has 8 bytes. The table stores it, so the table alone is enough to republish the
//!   revocation after the servers have lost it. A collision with a chosen victim takes 2^64 tokens
//!   and would only log that victim out; and the attacker would have to choose the `jti`, which the
//!   issuer does.
//! * The names of subjects and sessions have 16 bytes: users may choose the hashed value, and an
//!   attacker can target many victims at once.
//!
//! An entry is one stream field. The field name has one byte; the value holds the kind, the name,
//! the last minute in which the entry is needed and, for a subject, the latest `iat` that is
//! refused. A guard also publishes the lifetimes of its tokens and sessions, so that a revoking
//! process can use the longest one. All numbers are big-endian. The form is fixed and short so that
//! Redis packs a hundred entries into one node.
//!
//! Four random bytes follow. A server that has lost its last entries may assign their ids again if
//! its clock is behind them, and a lost entry may be published once more. The id and these bytes
//! together identify the entry that a reader has read.

use std::hash::{BuildHasher as _, RandomState};

use aws_lc_rs::digest::{SHA256, digest};

use crate::token::{Fingerprint, MAX_MAX_LIFETIME};

/// One revocation, as all processes store it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Entry {
    /// Revokes nothing: the first entry of a new stream, which shows its age and its loss.
    Mark,
    /// One token.
    Token { name: u64, until: u32 },
    /// A session.
    Session { name: u128, until: u32 },
    /// The tokens of a subject up to this `iat`.
    Subject { name: u128, before_s: u64, until: u32 },
    /// All tokens of a key.
    Key { name: u128 },
    /// Revokes nothing: a guard accepts tokens, or continues sessions, with this lifetime.
    Lifetime { lifetime: Lifetime, until: u32 },
}

/// The maximum lifetime of an issuer's tokens or sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Lifetime {
    /// The name of the issuer.
    pub(super) issuer: u128,
    pub(super) of: Lived,
    pub(super) seconds: u32,
}

/// The kind of credential with that lifetime.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Lived {
    Tokens = 0,
    Sessions = 1,
}

const MARK: u8 = 0;
const TOKEN: u8 = 1;
const SESSION: u8 = 2;
const SUBJECT: u8 = 3;
const KEY: u8 = 4;
const LIFETIME: u8 = 5;
/// The maximum of every option, plus one second for rounding up.
const LONGEST_S: u64 = MAX_MAX_LIFETIME.as_secs() + 1;
/// The number of random bytes after an entry in the stream.
const NONCE: usize = 4;

impl Entry {
    /// The bytes for the stream.
    pub(super) fn written(&self, nonce: [u8; NONCE]) -> Vec<u8> {
        [&self.encode()[..], &nonce].concat()
    }

    /// Reads the output of [`Self::written`] or of [`Self::encode`].
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let without_nonce = || Self::decode(bytes.split_last_chunk::<NONCE>()?.0);
        Self::decode(bytes).or_else(without_nonce)
    }

    /// The bytes of the entry, without the nonce.
    pub(super) fn encode(&self) -> Vec<u8> {
        match self {
            Self::Mark => vec![MARK],
            Self::Token { name, until } => {
                [&[TOKEN][..], &name.to_be_bytes(), &until.to_be_bytes()].concat()
            }
            Self::Session { name, until } => {
                [&[SESSION][..], &name.to_be_bytes(), &until.to_be_bytes()].concat()
            }
            Self::Subject { name, before_s, until } => {
                let times = [&until.to_be_bytes()[..], &before_s.to_be_bytes()].concat();
                [&[SUBJECT][..], &name.to_be_bytes(), &times].concat()
            }
            Self::Key { name } => [&[KEY][..], &name.to_be_bytes()].concat(),
            Self::Lifetime { lifetime: Lifetime { issuer, of, seconds }, until } => {
                let times = [until.to_be_bytes(), seconds.to_be_bytes()].concat();
                [&[LIFETIME][..], &issuer.to_be_bytes(), &[*of as u8], &times].concat()
            }
        }
    }

    /// Reads the output of [`Self::encode`]. `None` for anything else, such as an entry of a later
    /// version.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (&kind, mut rest) = bytes.split_first()?;
        let entry = match kind {
            MARK => Self::Mark,
            TOKEN => Self::Token {
                name: u64::from_be_bytes(take(&mut rest)?),
                until: u32::from_be_bytes(take(&mut rest)?),
            },
            SESSION => Self::Session {
                name: u128::from_be_bytes(take(&mut rest)?),
                until: u32::from_be_bytes(take(&mut rest)?),
            },
            SUBJECT => {
                let name = u128::from_be_bytes(take(&mut rest)?);
                let until = u32::from_be_bytes(take(&mut rest)?);
                Self::Subject { name, until, before_s: u64::from_be_bytes(take(&mut rest)?) }
            }
            KEY => Self::Key { name: u128::from_be_bytes(take(&mut rest)?) },
            LIFETIME => {
                let issuer = u128::from_be_bytes(take(&mut rest)?);
                let of = match take(&mut rest)? {
                    [0] => Lived::Tokens,
                    [1] => Lived::Sessions,
                    _ => return None,
                };
                let until = u32::from_be_bytes(take(&mut rest)?);
                let seconds = u32::from_be_bytes(take(&mut rest)?);
                if u64::from(seconds) > LONGEST_S {
                    return None;
                }
                Self::Lifetime { lifetime: Lifetime { issuer, of, seconds }, until }
            }
            _ => return None,
        };
        rest.is_empty().then_some(entry)
    }

    /// Whether it can still refuse a token in `minute`.
    pub(super) fn is_needed(&self, minute: u32) -> bool {
        match self {
            Self::Mark => false,
            Self::Token { until, .. }
            | Self::Session { until, .. }
            | Self::Subject { until, .. }
            | Self::Lifetime { until, .. } => *until >= minute,
            Self::Key { .. } => true,
        }
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, more) = rest.split_first_chunk::<N>()?;
    *rest = more;
    Some(*taken)
}

/// The id of an entry in the stream: milliseconds of the server's clock, and a number within the
/// millisecond.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Id {
    pub(super) ms: u64,
    pub(super) number: u64,
}

impl Id {
    /// Before every entry.
    pub(super) const START: Self = Self { ms: 0, number: 0 };

    /// Reads the form `1526919030474-55`.
    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        let (ms, number) = std::str::from_utf8(text).ok()?.split_once('-')?;
        let digits =
            |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(ms) || !digits(number) {
            return None;
        }
        Some(Self { ms: ms.parse().ok()?, number: number.parse().ok()? })
    }
}

impl std::fmt::Display for Id {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.ms, self.number)
    }
}

/// The kind of a named thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Session = SESSION as isize,
    Subject = SUBJECT as isize,
    Key = KEY as isize,
    Issuer = LIFETIME as isize,
}

/// Derives names.
#[derive(Debug)]
pub(super) enum Namer {
    /// For a list of this process: hashes with a random key, so an attacker can't compute a
    /// collision.
    Private(RandomState),
    /// For a list that processes share: an agreed hash that starts with the hash of the issuer.
    Agreed([u8; 16]),
}

impl Namer {
    pub(super) fn private() -> Self {
        Self::Private(RandomState::new())
    }

    pub(super) fn agreed(issuer: &str) -> Self {
        Self::Agreed(sha256(&[b"keepstone revocation\0", issuer.as_bytes()]))
    }

    /// Never 0.
    pub(super) fn token(&self, fingerprint: Fingerprint) -> u64 {
        let hash = match self {
            Self::Private(key) => key.hash_one(fingerprint.as_bytes()),
            // Both are SHA-256 already.
            Self::Agreed(issuer) => first_8(fingerprint.as_bytes()) ^ first_8(issuer),
        };
        hash.max(1)
    }

    pub(super) fn name(&self, kind: Kind, name: &str) -> u128 {
        match self {
            Self::Private(key) => u128::from(key.hash_one((kind as u8, name))),
            Self::Agreed(issuer) => {
                u128::from_be_bytes(sha256(&[issuer, &[kind as u8], name.as_bytes()]))
            }
        }
    }
}

fn first_8(bytes: &[u8; 16]) -> u64 {
    bytes.first_chunk().map_or(0, |first| u64::from_be_bytes(*first))
}

fn sha256(parts: &[&[u8]]) -> [u8; 16] {
    let digest = digest(&SHA256, &parts.concat());
    let mut first = [0; 16];
    for (to, from) in first.iter_mut().zip(digest.as_ref()) {
        *to = *from;
    }
    first
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entries() -> impl Strategy<Value = Entry> {
        prop_oneof![
            Just(Entry::Mark),
            (any::<u64>(), any::<u32>()).prop_map(|(name, until)| Entry::Token { name, until }),
            (any::<u128>(), any::<u32>()).prop_map(|(name, until)| Entry::Session { name, until }),
            (any::<u128>(), any::<u64>(), any::<u32>())
                .prop_map(|(name, before_s, until)| Entry::Subject { name, before_s, until }),
            any::<u128>().prop_map(|name| Entry::Key { name }),
            (any::<u128>(), any::<bool>(), 0..=366 * 86_400u32, any::<u32>()).prop_map(
                |(issuer, tokens, seconds, until)| {
                    let of = if tokens { Lived::Tokens } else { Lived::Sessions };
                    Entry::Lifetime { lifetime: Lifetime { issuer, of, seconds }, until }
                }
            ),
        ]
    }

    #[test]
    fn a_lifetime_that_no_option_takes_is_none() {
        let of = |seconds| {
            let lifetime = Lifetime { issuer: 1, of: Lived::Tokens, seconds };
            Entry::Lifetime { lifetime, until: 5 }.encode()
        };
        let longest = 366 * 86_400 + 1;
        assert!(Entry::decode(&of(longest)).is_some());
        assert_eq!(Entry::decode(&of(longest + 1)), None);
        assert_eq!(Entry::decode(&of(u32::MAX)), None);
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(entry in entries()) {
            prop_assert_eq!(Entry::decode(&entry.encode()), Some(entry));
            prop_assert_eq!(Entry::read(&entry.encode()), Some(entry));
            prop_assert_eq!(Entry::read(&entry.written([1, 2, 3, 4])), Some(entry));
        }

        #[test]
        fn hostile_bytes_are_read_as_nothing_or_as_what_they_would_be_written_as(
            bytes in proptest::collection::vec(any::<u8>(), 0..40),
        ) {
            if let Some(entry) = Entry::decode(&bytes) {
                prop_assert_eq!(entry.encode(), &bytes[..]);
            }
        }

        #[test]
        fn a_cut_or_longer_entry_is_none(entry in entries(), more in any::<u8>()) {
            let mut bytes = entry.encode();
            bytes.push(more);
            prop_assert_eq!(Entry::decode(&bytes), None);
            prop_assert_eq!(Entry::read(&bytes), None);
            bytes.truncate(bytes.len() - 2);
            prop_assert_eq!(Entry::decode(&bytes), None);
        }

        #[test]
        fn ids_are_read_as_written(ms in any::<u64>(), number in any::<u64>(), junk in ".{0,40}") {
            let id = Id { ms, number };
            prop_assert_eq!(Id::parse(id.to_string().as_bytes()), Some(id));
            let _ = Id::parse(junk.as_bytes());
        }
    }

    #[test]
    fn ids_that_are_none_are_refused() {
        for text in
            ["", "-", "1", "1-", "-1", "+1-1", "1-+1", "1-1-1", " 1-1", "1-18446744073709551616"]
        {
            assert_eq!(Id::parse(text.as_bytes()), None, "{text}");
        }
        assert_eq!(Id::parse(b"\xff-1"), None);
        assert!(Id { ms: 1, number: 9 } < Id { ms: 2, number: 0 });
    }

    #[test]
    fn processes_agree_on_names_and_issuers_and_kinds_have_names_of_their_own() {
        let (a, b) = (Namer::agreed("a"), Namer::agreed("b"));
        let jti = Fingerprint::of_jti("x");
        assert_eq!(a.token(jti), Namer::agreed("a").token(jti));
        assert_ne!(a.token(jti), b.token(jti));
        assert_eq!(a.name(Kind::Session, "x"), Namer::agreed("a").name(Kind::Session, "x"));
        assert_ne!(a.name(Kind::Session, "x"), b.name(Kind::Session, "x"));
        assert_ne!(a.name(Kind::Session, "x"), a.name(Kind::Subject, "x"));
        assert_ne!(a.name(Kind::Key, "x"), a.name(Kind::Subject, "x"));
        // Earlier versions must read new entries, so the names never change.
        assert_eq!(a.name(Kind::Session, "x") >> 96, NAME_OF_X);
    }

    /// The first 4 bytes of SHA-256(SHA-256("keepstone revocation\0a")[..16] || 2 || "x"), by
    /// sha256sum.
    const NAME_OF_X: u128 = 0xd687_955e;
}
