//! The subject that a request is counted for, and its key in the store.

use std::hash::Hasher;

use aws_lc_rs::digest;

use super::config::{Cost, KeyPart, KeySpec};
use super::error::LimitError;
use super::limiter::{CompiledLimit, Counter};
use super::signal::SignalTarget;
use crate::net::{ClientKey, Ipv6Prefix};
use crate::quota::SubjectKey;
use crate::store::Key;

/// One request as the limiter sees it.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'r> {
    /// The client address.
    pub client: &'r ClientKey,
    /// The `sub` of the verified token, if there is one.
    pub user: Option<&'r str>,
    /// The identifier of the verified token: its `jti`, or a fingerprint.
    pub token: Option<&'r str>,
    /// The route's pattern, `/users/:id`. Don't pass a path: each path would have its own count,
    /// and the client chooses its paths.
    pub route: &'r str,
    /// The method in upper case.
    pub method: &'r str,
    /// The canonical path, without the query.
    pub path: &'r str,
    /// The names of the roles and plans of the verified identity.
    pub roles: &'r [&'r str],
    /// The results of the functions of each `key`, by the policy's index in the limiter; may be
    /// shorter.
    pub custom_keys: &'r [Vec<&'r str>],
    /// The results of `cost` functions, by the policy's index in the limiter; may be shorter.
    pub custom_costs: &'r [Option<u32>],
}

impl Subject<'_> {
    /// The key under which `policy`, the one at `index`, counts this request on `counter`.
    pub(super) fn key(
        &self,
        policy: &CompiledLimit,
        counter: &Counter,
        index: usize,
    ) -> Result<Key, LimitError> {
        let mut key = counter.prefix.key();
        self.write(policy, index, &mut key)?;
        Ok(key.build())
    }

    /// The subject that `policy`, the one at `index`, counts; the same in all processes.
    pub(super) fn shared_key(
        &self,
        policy: &CompiledLimit,
        index: usize,
    ) -> Result<SubjectKey, LimitError> {
        let mut key = Digest::new();
        self.write(policy, index, &mut key)?;
        Ok(key.subject())
    }

    /// The owner of the slots in a shared store that this request uses: each limit has its own.
    pub(super) fn place_key(
        &self,
        policy: &CompiledLimit,
        counter: &Counter,
        index: usize,
    ) -> Result<SubjectKey, LimitError> {
        let mut key = Digest::of_places(counter);
        self.write(policy, index, &mut key)?;
        Ok(key.subject())
    }

    /// Writes the values that distinguish the counted subjects.
    fn write(
        &self,
        policy: &CompiledLimit,
        index: usize,
        key: &mut impl Hasher,
    ) -> Result<(), LimitError> {
        let mut custom = self.custom_keys.get(index).into_iter().flatten();
        match &policy.key {
            KeySpec::Function => {
                write_text(key, b'c', custom.next().ok_or(LimitError::MissingKey)?);
            }
            KeySpec::Parts(parts) => {
                for part in parts {
                    match (part, self.user, self.token) {
                        (KeyPart::Custom, ..) => {
                            write_text(key, b'c', custom.next().ok_or(LimitError::MissingKey)?);
                        }
                        (KeyPart::Route, ..) => write_route(key, self.route),
                        (KeyPart::User, Some(user), _) => write_text(key, b'u', user),
                        (KeyPart::Token, _, Some(token)) => write_text(key, b'j', token),
                        // Anonymous requests are counted by address, not all in one count.
                        _ => self.client.write_to(key),
                    }
                }
            }
        }
        Ok(())
    }

    pub(super) fn cost(&self, policy: &CompiledLimit, index: usize) -> Result<u32, LimitError> {
        match policy.cost {
            Cost::Fixed(cost) => Ok(cost),
            Cost::Function => {
                self.custom_costs.get(index).copied().flatten().ok_or(LimitError::MissingCost)
            }
        }
    }
}

/// The key of requests with these parts, as passed to `guard.limits`.
pub(super) fn key_of_parts(
    spec: &KeySpec,
    counter: &Counter,
    given: &[&str],
    prefix: Ipv6Prefix,
) -> Result<Key, LimitError> {
    let mut key = counter.prefix.key();
    write_parts(spec, given, prefix, &mut key)?;
    Ok(key.build())
}

/// As [`key_of_parts`], the same in all processes.
pub(super) fn shared_key_of_parts(
    spec: &KeySpec,
    given: &[&str],
    prefix: Ipv6Prefix,
) -> Result<SubjectKey, LimitError> {
    let mut key = Digest::new();
    write_parts(spec, given, prefix, &mut key)?;
    Ok(key.subject())
}

/// As [`shared_key_of_parts`], for the slots of one limit.
pub(super) fn place_key_of_parts(
    spec: &KeySpec,
    counter: &Counter,
    given: &[&str],
    prefix: Ipv6Prefix,
) -> Result<SubjectKey, LimitError> {
    let mut key = Digest::of_places(counter);
    write_parts(spec, given, prefix, &mut key)?;
    Ok(key.subject())
}

fn write_parts(
    spec: &KeySpec,
    given: &[&str],
    prefix: Ipv6Prefix,
    key: &mut impl Hasher,
) -> Result<(), LimitError> {
    match spec {
        KeySpec::Function => match given {
            [custom] => write_text(key, b'c', custom),
            _ => return Err(LimitError::KeyParts { wanted: 1 }),
        },
        KeySpec::Parts(parts) if parts.len() == given.len() => {
            for (part, text) in parts.iter().zip(given) {
                match part {
                    KeyPart::Ip => {
                        ClientKey::known(text, prefix).ok_or(LimitError::NoAddress)?.write_to(key);
                    }
                    KeyPart::User => write_text(key, b'u', text),
                    KeyPart::Token => write_text(key, b'j', text),
                    KeyPart::Route => write_route(key, text),
                    KeyPart::Custom => write_text(key, b'c', text),
                }
            }
        }
        KeySpec::Parts(parts) => return Err(LimitError::KeyParts { wanted: parts.len() }),
    }
    Ok(())
}

/// The key of `whom` under a limit without other key parts.
pub(super) fn key_of_whom(counter: &Counter, whom: SignalTarget<'_>) -> Key {
    let mut key = counter.prefix.key();
    write_whom(whom, &mut key);
    key.build()
}

/// As [`key_of_whom`], the same in all processes.
pub(super) fn shared_key_of_whom(whom: SignalTarget<'_>) -> SubjectKey {
    let mut key = Digest::new();
    write_whom(whom, &mut key);
    key.subject()
}

fn write_whom(whom: SignalTarget<'_>, key: &mut impl Hasher) {
    match whom {
        SignalTarget::Address(client) => client.write_to(key),
        SignalTarget::User(user) => write_text(key, b'u', user),
        SignalTarget::Token(token) => write_text(key, b'j', token),
    }
}

/// The name of a user in the lists of a store.
#[must_use]
pub fn user_key(user: &str) -> SubjectKey {
    let mut key = Digest::new();
    write_text(&mut key, b'u', user);
    key.subject()
}

/// A hasher with the same result in all processes and on all machines. It is SHA-256, so an
/// attacker can't compute a collision.
///
/// Short input, which is the usual case, is buffered here and digested at once: a separate context
/// costs more.
struct Digest {
    short: [u8; SHORT],
    length: usize,
    /// For long input: the digest of everything before the buffered bytes.
    long: Option<aws_lc_rs::digest::Context>,
}

const SHORT: usize = 120;

impl Digest {
    const fn new() -> Self {
        Self { short: [0; SHORT], length: 0, long: None }
    }

    fn of_places(counter: &Counter) -> Self {
        let mut key = Self::new();
        key.write_u32(counter.tag);
        key
    }

    fn subject(self) -> SubjectKey {
        let kept = self.short.get(..self.length).unwrap_or_default();
        let digest = match self.long {
            None => digest::digest(&digest::SHA256, kept),
            Some(mut long) => {
                long.update(kept);
                long.finish()
            }
        };
        SubjectKey(digest.as_ref().first_chunk().copied().unwrap_or_default())
    }
}

impl Hasher for Digest {
    fn write(&mut self, bytes: &[u8]) {
        let end = self.length + bytes.len();
        if let Some(place) = self.short.get_mut(self.length..end) {
            place.copy_from_slice(bytes);
            self.length = end;
            return;
        }
        let kept = self.short.get(..self.length).unwrap_or_default();
        let long = self.long.get_or_insert_with(|| digest::Context::new(&digest::SHA256));
        long.update(kept);
        long.update(bytes);
        self.length = 0;
    }

    fn write_u32(&mut self, number: u32) {
        self.write(&number.to_le_bytes());
    }

    fn write_u128(&mut self, number: u128) {
        self.write(&number.to_le_bytes());
    }

    fn write_usize(&mut self, number: usize) {
        self.write(&(number as u64).to_le_bytes());
    }

    /// Not used: half of the digest would not be enough.
    fn finish(&self) -> u64 {
        0
    }
}

/// The tag of a limit's states in a shared store. It is a multiple of four, since the next number
/// is the tag of its block, and the one after that is the tag of a signal.
pub(super) fn shared_tag(parts: &[&[u8]]) -> u32 {
    let mut digest = Digest::new();
    for part in parts {
        digest.write_usize(part.len());
        digest.write(part);
    }
    let SubjectKey([a, b, c, d, ..]) = digest.subject();
    u32::from_le_bytes([a, b, c, d]) & !3
}

/// The kind separates a user called `203.0.113.7` from the address; the length separates two texts
/// from one.
fn write_text(key: &mut impl Hasher, kind: u8, text: &str) {
    key.write_u8(kind);
    key.write_usize(text.len());
    key.write(text.as_bytes());
}

/// Routes are matched and counted without regard to case and a trailing slash. Otherwise every
/// spelling of a path would have its own quota. A regular expression is counted as it is written:
/// `/^\/\d+$/` and `/^\/\D+$/` are two routes.
fn write_route(key: &mut impl Hasher, route: &str) {
    let plain = is_plain(route);
    let route = if plain { route.strip_suffix('/').unwrap_or(route) } else { route };
    key.write_u8(b'r');
    key.write_usize(route.len());
    for chunk in route.as_bytes().chunks(32) {
        let mut lower = [0; 32];
        for (to, from) in lower.iter_mut().zip(chunk) {
            *to = if plain { from.to_ascii_lowercase() } else { *from };
        }
        key.write(&lower);
    }
}

/// Whether a route is the text of a path and not a regular expression.
fn is_plain(route: &str) -> bool {
    route.starts_with('/') && !route.contains(['(', '\\', '^', '[', '*'])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_subject_is_the_digest_of_what_was_written_however_long_and_in_whatever_pieces(
            pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..200), 0..6),
        ) {
            let mut key = Digest::new();
            for piece in &pieces {
                key.write(piece);
            }
            let whole = digest::digest(&digest::SHA256, &pieces.concat());
            prop_assert_eq!(&key.subject().0[..], &whole.as_ref()[..16]);
        }
    }
}
