//! Tokens that only their owner can use: bound to a key of the client that a proof shows with every
//! request (`DPoP`, RFC 9449), or to the certificate of its TLS connection (RFC 8705 section 3).
//!
//! What it stops: a token that was stolen (from a log, a browser's storage, a proxy, another API
//! that it was sent to) is worth nothing without the private key. And what libraries of this kind
//! leave open: a proof that was seen on the way is used a second time. Proofs that were taken are
//! remembered, in all processes that share a store, until they are too old.
//!
//! The way of a bound token: `confirmation` reads its `cnf`; `proof` reads the header `DPoP` with
//! the same strict reader as a token, and judges it against the request (`url`) and the token;
//! `nonce` says whether it is as fresh as the server wants it; and [`ReplayCache`] takes it once,
//! behind the limits.
//!
//! # Decisions
//!
//! - A bound token without its proof is refused whatever `jwt.dpop` says, and so is a `cnf` with
//!   any member but `jkt` and `x5t#S256`: where both stand, both must hold.
//! - The URL of a proof must be the one of the request, by its `Host` and by what is known of its
//!   scheme. An attacker chooses the `Host` of a request that he makes: with `hosts`, a proof for
//!   another server is refused even so.
//! - A clock that is set back makes old proofs young again ([`ClockRollback`]): those that may have
//!   been used before are refused, and with them every new one, until the clock has caught up.
//! - A store that does not answer can't say whether a proof was used: 503, never a pass.
//! - Where the connection has a certificate, TLS has proved that the client has its key, whoever
//!   signed it. So its digest alone is compared; what Node says of `authorized` is not asked.

mod confirmation;
mod nonce;
mod proof;
mod replay;
#[cfg(test)]
mod tests;
mod url;

pub use confirmation::{Confirmation, Thumbprint};
pub use nonce::{Freshness, Nonces};
pub use proof::{ALGORITHMS, MAX_AGE, Proof, ProofError, ProofId, ProofRequest, read_proof};
pub use replay::{ClockRollback, Remembered, ReplayCache, ReplayStep, Use};
pub use url::ProofUrl;
