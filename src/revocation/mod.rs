//! Revocation: a token that is valid in every other way is refused on request.
//!
//! It stops: a stolen token that lives until its `exp`; a session that continues after logout;
//! tokens of an account that was closed or whose password was changed; tokens of a leaked key. RFC
//! 7519 has no answer to any of these, RFC 7009 only the endpoint; OWASP's JWT cheat sheet calls it
//! "No built-in token revocation by the user".
//!
//! Four things can be revoked: one token (by its [`Fingerprint`]), a subject's tokens up to a
//! moment, a session, a signing key. A check is local and sends no command.
//!
//! # How long an entry stays
//!
//! An entry stays as long as it can refuse a token that would otherwise be accepted. A token is
//! accepted until `exp` plus the clock tolerance, and `exp - iat` is at most `maxLifetime`. So:
//!
//! 1. A token's entry stays until its `exp` and a minute (the largest tolerance). If the `exp` is
//!    unknown or lies further ahead, the entry stays for `maxLifetime` and two minutes from now. In
//!    a list that processes share, a known `exp` counts up to the 366 days that any guard may
//!    allow.
//! 2. A subject's entry stays until `before`, `maxLifetime` and the same minute.
//! 3. A session's entry stays until the moment that the caller names, if that is later: the issuer
//!    may continue to issue tokens for a session.
//! 4. A key's entry stays for ever: a leaked key can sign new tokens at any time.
//!
//! # Memory
//!
//! Sets are exact: there are no false positives, as a Bloom filter would have. An entry for a token
//! is a 64-bit hash and the minute of its expiry: 12 bytes in a table with a load of 0.58 to 0.875,
//! thus 14 to 21 bytes. With 10^6 entries, one check in 2 * 10^13 collides. In memory the hash is
//! keyed (`SipHash`, the key is made with the list), so an attacker can't compute a collision.
//! Processes that share a list use agreed names, see `entry.rs`. There are at most [`MAX_TOKENS`]
//! tokens, [`MAX_SUBJECTS`] subjects and as many sessions, and [`MAX_KEYS`] keys. Beyond that,
//! revoking returns an error to the caller, and no stored entry is dropped.
//!
//! The table has 64 shards, each with its own lock. A shard is swept when it is written to, at most
//! once a minute, and by [`Revocations::sweep`]. The alternative, buckets by the minute of expiry
//! that are dropped whole, was rejected: a check must find the bucket, so a caller that revokes by
//! a bare `jti` would have to pass the token's exact `exp`.
//!
//! # A list that processes share
//!
//! It stops three faults: a denylist that is queried over the network on each request and accepts
//! every token while the network is down (`EcoTask` #68, Observal #999); one that a restart empties
//! (krakend/bloomfilter #20); and a copy that is stale without detecting it.
//!
//! [`SharedRevocations`] keeps the same sets in each process and fills them from one Redis stream,
//! `<prefix>{rev}`. A check sends no command. The files: `entry.rs` has the form of an entry,
//! `stream.rs` the commands and their answers, `replica/` all decisions that need no waiting,
//! `feed.rs` all code that waits for the servers.
//!
//! **Revoking** is done when the primary has stored the entry. Until then, and after an error, it
//! is unknown whether the other processes will apply it. In this process it holds at once.
//!
//! **Freshness.** Each turn of the feed sends three commands together: a write that changes nothing
//! (`XDEL` of an id that never existed), a read that blocks for the next entry, and then a check
//! that the last entry that was read still exists. An answer that reaches the end of the stream
//! proves that at the time of *sending*, on this process's monotonic clock, this server accepted
//! writes and this copy had all its entries. Past `maxStaleness` since the last proof there is no
//! decision: 503, see [`stale_refusal`]. No other clock is used, so a clock that is off or steps,
//! here or at the server, changes nothing. Heartbeats in the stream were rejected: they prove the
//! same, but their age depends on the server's clock, a lagging replica shows young ones late, and
//! they fill the stream.
//!
//! **Start.** Nothing is decided before the stream was read to its end. A stream that has just
//! begun may be the rest after a loss. So the process waits for two seconds, and while another
//! process restores lost entries. The very first process of a new service therefore waits two
//! seconds.
//!
//! **Loss.** If the last entry that was read is gone (`FLUSHALL`, an empty restart, a failover to a
//! replica that had not received it), the process reads the stream again from its start and keeps
//! all its entries. It restores the entries that the stream lacks; one process does so at a time,
//! while the others read its entries. An entry that was acknowledged here and that a later read
//! skips was lost with its primary, and is restored too.
//!
//! **Length.** Once a minute one process inspects the head of the stream. It removes a page of
//! which at least half is over. It first adds the entries of the page that are still needed (keys,
//! long sessions) at the end. No entry is deleted for its age, so the processes need not agree on a
//! longest lifetime.
//!
//! **Lifetimes.** Guards over one store may have different `maxLifetime`s. Each publishes its own
//! in the stream before it decides anything, and a revoking process keeps the entry for the longest
//! known lifetime of the issuer. Of two entries about one thing the later end and the later
//! `before` hold, in whatever order they are read.
//!
//! **Strict.** [`SharedRevocations::refresh`] reads the entries after the cursor at the primary.
//! Then the copy is as current as the stream itself, and no second structure is needed.
//! [`SharedRevocations::gate`] decides when that is necessary.
//!
//! An entry that is unreadable, of a later version, or beyond the capacity makes the copy not ready
//! until the entry is gone: this process could not refuse the revoked token.
//!
//! Remaining limits:
//!
//! 1. A primary may be cut off together with processes of the service and not detect that another
//!    took its place. It then accepts their writes and looks fresh to them. Set
//!    `min-replicas-to-write`; then it accepts none.
//! 2. An acknowledged revocation is lost if its primary fails before a replica has it, and the
//!    process that revoked also ends before another process has read it.
//! 3. Everything is lost if all servers and all processes fail at once without persistence.
//! 4. The monotonic clock of a suspended machine stands still, so its copy counts as young for the
//!    rest of the bound after it wakes up.
//! 5. Entries stored before a guard with a longer `maxLifetime` joined keep their earlier end.

mod config;
mod entry;
mod feed;
mod feed_error;
mod forgetting;
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

/// The answer to a request with a token while the revocations are unknown: 503 `revocation_stale`.
/// It is not 401, since a client would discard a good token.
#[must_use]
pub fn stale_refusal() -> Refusal {
    Refusal::new(503, "revocation_stale", "what is revoked is not known at the moment")
        .header("Retry-After", "1")
}
