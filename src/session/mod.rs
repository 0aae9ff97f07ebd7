//! Refresh tokens: a session continues without a password, and the use of a stolen token is
//! detected.
//!
//! It stops the reuse of a copied token: a long-lived token serves a thief as long as its owner.
//! Here a refresh token is valid for one use, which returns its successor (rotation, RFC 9700
//! section 4.14.2). All successors of one login are a *family*. If a used token is presented again,
//! two parties hold it, and the server can't determine which is the thief. So the family ends, and
//! its session is revoked, which also ends its access tokens.
//!
//! That must not log users out when two tabs refresh at once or an answer is lost. So within
//! `reuseWindow` of its use a token returns the *same* successor again. All concurrent callers get
//! one token, not branches.
//!
//! # The form of a token
//!
//! `ksr_` and 64 bytes in base64url: the key of the family's record (a hash of issuer and `sid`), a
//! random name of the family, and a secret of 256 bits. The first secret is random. A successor's
//! secret is an HMAC of a random salt, keyed with the previous secret. The first caller that uses a
//! token draws the salt, and the record keeps it until the next use. So:
//!
//! - the store has hashes and one salt, and none of them yields a usable token;
//! - a thief of a token can't compute its successors: the salts are not in it, and old salts are
//!   not stored anywhere;
//! - a caller that repeats a use gets the very same successor, from any process, though no token
//!   was ever stored.
//!
//! A `sid` is not secret, so a key can be guessed. The name of the family can't: a made-up token is
//! unknown and ends no family. A token with the right name was derived from a real one.
//!
//! # Revocation
//!
//! A session is revoked by its `sid`: its record is deleted, and its access tokens are on the list
//! for as long as they live. The list keeps a subject's entry for as long as a family may live, and
//! a family that began before the entry is refused.
//!
//! [`Family`] decides, in memory (`memory.rs`) and over Redis (`redis.rs`). With Redis, the record
//! is read, decided here, and replaced if it is still the record that was read. `record.rs` has its
//! form and the seal; an unsealed record is not trusted.

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
