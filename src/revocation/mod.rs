//! Revocation: a token that is good in every other way is refused, because somebody said so.
//!
//! What it stops: a stolen token that lives until its `exp`; a session that goes on after logout;
//! tokens of an account that was closed or whose password was changed; tokens of a leaked key. RFC
//! 7519 has no answer to any of these, RFC 7009 only the endpoint; OWASP's JWT cheat sheet calls it
//! "No built-in token revocation by the user".
//!
//! Four things can be revoked: one token (by its [`Fingerprint`]), a subject's tokens up to a
//! moment, a session, a signing key. A check is local and asks nobody.
//!
//! # How long an entry stays
//!
//! Until no token that it could refuse would be taken anyway. A token is taken until `exp` plus the
//! clock tolerance, and `exp - iat` is at most `maxLifetime`; so a token's entry stays until its
//! `exp` and a minute (the largest tolerance), and a subject's until `before` plus as much. Where
//! the `exp` is not known, or lies further ahead, a token's entry stays for `maxLifetime` and two
//! minutes from now; in a list that processes share a known `exp` counts up to the 366 days that
//! any guard may allow. A session's entry stays until the moment the caller names, if that is
//! later: the issuer may go on issuing tokens for a session. A key's entry stays: a leaked key can
//! sign new tokens for ever.
//!
//! # Memory
//!
//! Sets are exact: there is no Bloom filter, so nobody is refused by design. An entry for a token
//! is a 64-bit hash and the minute it may go: 12 bytes in a table with a load of 0.58 to 0.875,
//! thus 14 to 21 bytes. One of 10^6 entries and a token fall together once in 2 * 10^13 checks. In
//! memory the hash is keyed (`SipHash`, the key is made with the list), so nobody can aim for it;
//! what processes share has names that all agree on, see `entry.rs`. There are at most
//! [`MAX_TOKENS`] tokens, [`MAX_SUBJECTS`] subjects and as many sessions, and [`MAX_KEYS`] keys;
//! beyond that, revoking is an error that the caller sees, and nothing stored is dropped for it.
//!
//! The table is in 64 shards, each with its own lock, and each is swept when it is written to, at
//! most once a minute, and by [`Revocations::sweep`]. Buckets by the minute of expiry, where a
//! whole bucket is dropped at once, were considered: a check would have to know the bucket, thus
//! trust that whoever revoked by a bare `jti` gave the very `exp` of the token.
//!
//! # A list that processes share
//!
//! What it stops: a denylist that is asked over the network on each request, and lets everybody in
//! while the network is down (`EcoTask` #68, Observal #999), or one that a restart empties
//! (krakend/bloomfilter #20); and a copy that is behind and does not know it.
//!
//! [`SharedRevocations`] keeps the same sets in each process and fills them from one Redis stream,
//! `<prefix>{rev}`. A check sends no command. The files: `entry.rs` has the form of an entry,
//! `stream.rs` the commands and their answers, `replica.rs` all that is decided without waiting,
//! `feed.rs` what waits for the servers.
//!
//! **Revoking** is done when the primary has stored the entry; until then the promise is open, and
//! an error says that nobody knows. In this process it holds at once.
//!
//! **Freshness.** Each turn of the feed sends three commands together: a write that changes nothing
//! (`XDEL` of an id that never was), a read that waits for the next entry, and then a look whether
//! the last entry that was read is still there. An answer that reaches the end of the stream proves
//! that at the moment when it was *asked for*, on this process's monotonic clock, this server took
//! writes and nothing that it held is missing here. Past `maxStaleness` since the last such moment
//! there is no decision: 503, see [`stale_refusal`]. No other clock has a part in it, so a clock
//! that is off or steps, here or at the server, changes nothing. Heartbeats in the stream were
//! considered: they prove the same, but their age is a matter of the server's clock, a replica that
//! lags shows young ones late, and they fill the stream.
//!
//! **Start.** Nothing is decided before the stream was read to its end. A stream that has just
//! begun may be what is left after a loss; it is waited for two seconds, and for as long as
//! somebody puts lost entries back. So the very first process of a new service waits two seconds.
//!
//! **Loss.** Where the last entry that was read is gone (`FLUSHALL`, an empty restart, a failover
//! to a replica that had not received it), the stream is read again from its start, nothing that is
//! held is forgotten, and what the stream lacks is put back: by one process at a time, while the
//! others see by reading what is there already. An entry that was acknowledged here and then passed
//! over unread was lost with its primary, and is put back too.
//!
//! **Length.** Once a minute one process looks at the head of the stream. A page of which half is
//! over is taken away, and what is still needed of it (keys, long sessions) is added again at the
//! end first. No entry is deleted for its age, so nothing depends on a longest lifetime that all
//! must agree on.
//!
//! **Lifetimes.** Guards over one store may have different `maxLifetime`s. Each writes its own into
//! the stream before it decides anything, and whoever revokes keeps the entry for the longest that
//! is known of the issuer. Of two entries about one thing the later end and the later `before`
//! hold, whatever order they are read in.
//!
//! **Strict.** [`SharedRevocations::refresh`] reads what lies behind the last entry that was read,
//! at the primary: after it the copy is as good as the stream itself, and no second structure is
//! needed. [`SharedRevocations::gate`] says when.
//!
//! An entry that can't be read, of a later version, or that there is no room for, makes the copy
//! not ready until it is gone: what it revokes can't be refused here.
//!
//! What remains: a primary that was cut off together with processes of the service, and does not
//! know that another took its place, takes their writes and looks fresh to them: set
//! `min-replicas-to-write`, then it takes none. A revocation that was acknowledged is lost where
//! its primary is lost before a replica has it and the process that revoked dies too, before
//! another process has read it; so is everything where all servers and all processes are lost at
//! once without persistence. A machine that is suspended has a monotonic clock that stands still,
//! so what it wakes up with counts as young for the rest of the bound. What was revoked before a
//! guard with a longer `maxLifetime` came is kept as long as was necessary then.

mod config;
mod entry;
mod feed;
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

/// The answer to a request with a token while nobody knows what is revoked: 503 `revocation_stale`.
/// It is no 401, since a client would drop a token that is good.
#[must_use]
pub fn stale_refusal() -> Refusal {
    Refusal::new(503, "revocation_stale", "what is revoked is not known at the moment")
        .header("Retry-After", "1")
}
