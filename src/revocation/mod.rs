//! Revocation: a token that is good in every other way is refused, because somebody said so.
//!
//! What it stops: a stolen token that lives until its `exp`; a session that goes on after logout; tokens of an account
//! that was closed or whose password was changed; tokens of a leaked key. RFC 7519 has no answer to any of these, RFC
//! 7009 only the endpoint; OWASP's JWT cheat sheet calls it "No built-in token revocation by the user".
//!
//! Four things can be revoked: one token (by its [`Fingerprint`]), a subject's tokens up to a moment, a session, a
//! signing key. A check is local and asks nobody.
//!
//! # How long an entry stays
//!
//! Until no token that it could refuse would be taken anyway. A token is taken until `exp` plus the clock tolerance,
//! and `exp - iat` is at most `maxLifetime`; so a token's entry stays until its `exp` and a minute (the largest
//! tolerance), never longer than `maxLifetime` and two minutes from now, and a subject's until `before` plus as much.
//! A session's entry stays until the moment the caller names, if that is later: the issuer may go on issuing tokens
//! for a session. A key's entry stays: a leaked key can sign new tokens for ever.
//!
//! # Memory
//!
//! Sets are exact: there is no Bloom filter, so nobody is refused by design. An entry for a token is a 64-bit keyed
//! hash (`SipHash`, the key is made with the set) and the minute it may go: 12 bytes in a table with a load of 0.58 to
//! 0.875, thus 14 to 21 bytes. Two of 10^6 entries and a token fall together once in 2 * 10^13 checks, and without the
//! key nobody can aim for it. There are at most [`MAX_TOKENS`] tokens, [`MAX_SUBJECTS`] subjects and as many sessions,
//! and [`MAX_KEYS`] keys; beyond that, revoking is an error that the caller sees, and nothing stored is dropped for it.
//!
//! The table is in 64 shards, each with its own lock, and each is swept when it is written to, at most once a minute,
//! and by [`Revocations::sweep`]. Buckets by the minute of expiry, where a whole bucket is dropped at once, were
//! considered: a check would have to know the bucket, thus trust that whoever revoked by a bare `jti` gave the very
//! `exp` of the token.

mod config;
mod entry;
mod feed;
mod replica;
mod revocations;
mod sets;
mod shared;
mod stream;
mod table;
#[cfg(test)]
mod tests;

pub use config::{Mode, OnStale, RevocationConfig};
pub use replica::{Freshness, Gate};
pub use revocations::{
    Counts, MAX_KEYS, MAX_SUBJECTS, MAX_TOKENS, Revocations, RevokeError, Revoked,
};
pub use shared::{SharedRevocations, Status};

use crate::refusal::Refusal;
#[cfg(doc)]
use crate::token::Fingerprint;

/// The answer to a request with a token while nobody knows what is revoked: 503 `revocation_stale`. It is no 401, since
/// a client would drop a token that is good.
#[must_use]
pub fn stale_refusal() -> Refusal {
    Refusal::new(503, "revocation_stale", "what is revoked is not known at the moment")
        .header("Retry-After", "1")
}
