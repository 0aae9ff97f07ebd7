//! Refresh tokens: a session goes on without a password, and a stolen token shows itself.
//!
//! What it stops: a long-lived token that is copied is good for its thief as long as for its owner.
//! Here a refresh token is good for one use, which gives its successor (rotation, RFC 9700 section
//! 4.14.2). All successors of one login are a *family*. Where a token is presented that has been
//! used before, two hold it, and nobody can tell which of them is the thief: the family ends, and
//! its session is revoked, so that its access tokens end too.
//!
//! What that must not do is log people out: two tabs refresh at once, and an answer is lost on its
//! way. So within `reuseWindow` of its use a token gives the *same* successor again. Whoever races
//! gets one token, not branches.
//!
//! # What a token is
//!
//! `ksr_` and 64 bytes in base64url: the place of the family's record (a hash of issuer and `sid`),
//! a random name of the family and a secret of 256 bits. The first secret is random. A successor's
//! is an HMAC of a random salt, keyed with the secret before it; the salt is drawn by whoever uses
//! a token first, and kept in the record until the next use. So:
//!
//! - the store has hashes and one salt, and none of them gives a token that can be used;
//! - who has stolen a token can't compute its successors: the salts are not in it, and the old ones
//!   are not anywhere;
//! - who asks again gets the very same successor, from any process, though no token was ever
//!   stored.
//!
//! A `sid` is no secret, so a place can be guessed. The name of the family can't: a made-up token
//! is unknown, and ends no family. One with the right name was cut from a real one.
//!
//! # Revocation
//!
//! A session is revoked by its `sid`: its record is deleted, and its access tokens are on the list
//! as long as they live. A subject's entry on the list is kept as long as a family may live, and a
//! family that began before it is refused.
//!
//! [`Family`] decides, in memory (`memory.rs`) and over Redis (`redis.rs`). There a record is read,
//! judged here, and changed if it is still the one that was read; `record.rs` has its form, and the
//! seal without which nothing in it counts.

mod config;
mod family;
mod memory;
mod record;
#[cfg(test)]
mod record_tests;
mod redis;
mod secret;
#[cfg(test)]
mod tests;

pub use config::RefreshConfig;
pub(crate) use config::secrets;
pub(crate) use family::longest_s;
pub use family::{Family, NewFamily, Outcome, RefreshAttempt, SessionData};
pub use memory::{CapacityError, MAX_FAMILIES, MAX_FAMILY_BYTES, MemoryFamilies};
pub use record::{MAX_RECORD_BYTES, Where};
pub use redis::RedisFamilies;
pub use secret::{FamilyKey, RefreshToken, audience_mark};
