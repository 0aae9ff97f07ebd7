//! Identities that are no tokens: API keys, and the application's own function for sessions.
//!
//! They stop:
//!
//! - a stolen table of keys: it has digests, and no digest can be turned back into a key
//! - guessed keys: a key has 256 random bits, and a text without the right form and checksum costs
//!   the application no look-up
//! - two identities of one request: a request with a token and an API key is refused, and a bad
//!   token or key is never replaced by another identity
//! - another view of one user: claims of every source go through the strict reader of tokens and
//!   become a [`Verified`], so that limits, requirements, policy, revocation and `req.user` work on
//!   one type
//!
//! The host calls the application's functions ([`IdentityAsk`]), and this module judges the
//! results ([`IdentitySources::judge`]). It never sees a store of sessions or a table of keys.
//!
//! The digest of a key is SHA-256. A slow hash protects passwords, which people choose. A key of
//! 256 random bits can't be guessed, and with a slow hash each made-up key would cost the server
//! much more than its sender.
//!
//! [`Verified`]: crate::token::Verified

mod api_key;
mod claims;
mod config;
mod error;
#[cfg(test)]
mod tests;

pub use api_key::{ApiKeys, NewKey};
pub use config::{Identify, IdentitySources};
pub use error::IdentityError;

use std::time::Duration;

/// A source of identities that are no tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdentitySource {
    /// The option `apiKeys`.
    ApiKey,
    /// The option `identify`.
    Identify,
}

impl IdentitySource {
    /// Both.
    pub const ALL: [Self; 2] = [Self::ApiKey, Self::Identify];

    /// Its name among the issuers. No issuer of tokens may have it.
    #[must_use]
    pub const fn issuer(self) -> &'static str {
        match self {
            Self::ApiKey => "api-key",
            Self::Identify => "identify",
        }
    }

    /// The source with this name; `None` for an issuer of tokens.
    #[must_use]
    pub fn of_issuer(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|source| source.issuer() == name)
    }
}

/// A question to the host: who is it?
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdentityAsk {
    /// The function to call.
    pub source: IdentitySource,
    /// How long the host waits for its result.
    pub timeout: Duration,
    /// For an API key: the digest to look up, and how long its record may be used again.
    pub key: Option<(String, Duration)>,
}

/// The host's answer to an [`IdentityAsk`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IdentityAnswer {
    /// The result of the function as JSON: claims, or the record of a key.
    Found(String),
    /// The function returned `null` or `undefined`.
    Nobody,
    /// There was no result within the time.
    Timeout,
}

/// The result of a function of the host, kept for as long as its request: it is judged again after
/// a wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostIdentity {
    /// The function that was called.
    pub source: IdentitySource,
    /// Its result as JSON.
    pub json: String,
}
