//! Tokens that only their owner can use. They are bound to a key of the client, for which every
//! request carries a proof (`DPoP`, RFC 9449), or to the certificate of its TLS connection (RFC
//! 8705 section 3).
//!
//! It makes a stolen token (from a log, a browser's storage, a proxy, another API that it was sent
//! to) worthless without the private key. It also stops a second use of an intercepted proof, which
//! libraries of this kind leave open: used proofs are remembered, in all processes that share a
//! store, until they are too old.
//!
//! The steps for a bound token:
//!
//! 1. `confirmation` reads its `cnf`.
//! 2. `proof` reads the header `DPoP` with the strict reader for tokens, and checks it against the
//!    request (`url`) and the token.
//! 3. `nonce` checks that it is fresh enough.
//! 4. [`ReplayCache`] accepts it once, after the limits.
//!
//! # Decisions
//!
//! - A bound token without its proof is refused for every value of `jwt.dpop`. A `cnf` with any
//!   member but `jkt` and `x5t#S256` is refused too. With both members, both must hold.
//! - The URL of a proof must equal that of the request, by its `Host` and the known scheme. An
//!   attacker chooses the `Host` of a request that he makes: the option `hosts` refuses a proof for
//!   another server even then.
//! - A clock that is set back makes old proofs young again ([`ClockRollback`]). Proofs that may
//!   have been used before are refused until the clock has caught up, and so are all new ones.
//! - If the store does not answer, the use of a proof is unknown: 503, never a pass.
//! - If the connection has a certificate, TLS has proved that the client has its key, whichever
//!   authority signed it. So only its digest is compared; Node's `authorized` is not used.

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
