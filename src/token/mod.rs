//! Bearer tokens: JSON Web Tokens verified, and issued, with no room for interpretation.
//!
//! What it stops: forged tokens (`alg: none`, a public key used as an HMAC secret, CVE-2015-9235;
//! blank signatures, CVE-2022-21449), tokens for somebody else (another issuer, audience or `typ`),
//! tokens without an end, tokens that two readers read in two ways (duplicate members, lax
//! base64url, `crit` ignored, CVE-2025-59420), and secrets that a guesser finds. Sources: RFC 7515,
//! 7517, 7518, 7519, RFC 8725 (Best Current Practices) and its successor in draft, RFC 6750 for
//! what the client is told, RFC 9068 for `at+jwt`.
//!
//! The way of a token: [`TokenSources`] finds it in the request; `reader` takes it apart and reads
//! its header; where there are several issuers, its `iss` chooses one of them; `ring` finds the one
//! key, which `remote` may have to fetch; the signature is verified; only then are the claims read
//! (`json`) and judged (`claims`).
//!
//! # What the crate `jsonwebtoken` does here, and what it does not
//!
//! It reads PEM and JWK keys, derives public from private keys, and signs. It does not verify
//! tokens: its `decode` takes `aud: 5`, ignores `crit` and keeps the last of two members, and its
//! verifiers parse the key anew on every call and can't be shared by threads. So the key it has
//! read is handed to `aws-lc-rs`, the library beneath it, as a `ParsedPublicKey` or `hmac::Key`
//! that is made once; the two are compared in the tests. ES512, which it does not know, is done
//! with `aws-lc-rs` alone.
//!
//! # Decisions
//!
//! - One key has one algorithm. The header's `alg` must be that one; it never chooses anything.
//! - `iss`, `aud`, `exp` and `iat` are required, and `exp - iat` is bounded by `maxLifetime`: that
//!   is what makes it sound to forget a revocation.
//! - A whole number in the claims beyond `2^53 - 1` is refused: JavaScript would read another one,
//!   perhaps another user's. So is a member `__proto__`.
//! - A token with `cnf` (RFC 7800: `DPoP`, mutual TLS) is taken only with what it is bound to
//!   ([`crate::binding`]): to take it as a plain bearer token would undo what its issuer bound it
//!   for.
//! - `jwk`, `jku`, `x5u`, `x5c` in a header are not read: a token can't bring its own key.

mod cache;
mod claims;
mod config;
mod conformance;
mod credentials;
mod demands;
mod denial;
mod fuzz;
mod issue;
mod issuer;
mod issuer_keys;
mod presentation;
mod required;
mod spiffe;
mod tenants;
#[cfg(test)]
pub(crate) mod tests;
mod verify;
pub mod words;

pub use config::{MAX_MAX_LIFETIME, TokenConfig};
pub use conformance::{CompactError, verify_compact};
pub use credentials::{Scheme, credentials};
pub use demands::{RequirementError, Requirements};
pub use denial::{ClaimError, TokenError};
pub use fuzz::fuzz_token;
pub use issue::{IssueError, IssueOptions, Issued, Signer};
pub use issuer::Issuer;
pub use presentation::{DpopMode, PresentedToken, Source, TokenSources};
pub use verify::{
    Claims, Fingerprint, Revocable, Verified, Verifier, VerifyError, no_name, no_token_or_jti,
};
