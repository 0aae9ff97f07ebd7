//! Bearer tokens: strict verification and issuing of JSON Web Tokens.
//!
//! It stops forged tokens (`alg: none`, a public key used as an HMAC secret, CVE-2015-9235; blank
//! signatures, CVE-2022-21449), tokens for another recipient (another issuer, audience or `typ`),
//! tokens without an end, tokens that two readers parse differently (duplicate members, lax
//! base64url, `crit` ignored, CVE-2025-59420), and guessable secrets. Sources: RFC 7515, 7517,
//! 7518, 7519, RFC 8725 (Best Current Practices) and its successor in draft, RFC 6750 for the
//! answers to the client, RFC 9068 for `at+jwt`.
//!
//! The steps of verification:
//!
//! 1. [`crate::bearer`] finds the token in the request.
//! 2. `jose` splits it and reads its header.
//! 3. With several issuers, its `iss` selects one of them.
//! 4. `keys::ring` finds the one key. `remote_keys` may have to fetch it.
//! 5. The signature is verified.
//! 6. Only then `claims` checks the claims, which `json` reads.
//!
//! An opaque token has no signature to verify: `introspected` asks its issuer instead, and checks
//! the answer as it checks claims.
//!
//! # The part of the crate `jsonwebtoken`
//!
//! It reads PEM and JWK keys, derives public from private keys, and signs. It does not verify
//! tokens: its `decode` accepts `aud: 5`, ignores `crit` and keeps the last of two members, and its
//! verifiers parse the key on every call and cannot be shared between threads. So `aws-lc-rs`, the
//! library beneath it, gets the parsed key as a `ParsedPublicKey` or `hmac::Key` that is built
//! once. The tests compare the two. `jsonwebtoken` does not support ES512, so `aws-lc-rs` alone
//! handles it.
//!
//! # Decisions
//!
//! - One key has one algorithm. The header's `alg` must equal it and never selects anything.
//! - `iss`, `aud`, `exp` and `iat` are required, and `maxLifetime` bounds `exp - iat`. This bound
//!   makes it safe to drop old revocations.
//! - A whole number in the claims beyond `2^53 - 1` is refused: JavaScript would read another one,
//!   perhaps the id of another user. A member `__proto__` is refused too.
//! - A token with `cnf` (RFC 7800: `DPoP`, mutual TLS) is accepted only with a proof of the key or
//!   certificate that it is bound to ([`crate::binding`]). Accepting it as a plain bearer token
//!   would undo the binding of its issuer.
//! - `jwk`, `jku`, `x5u`, `x5c` in a header are not read: a token cannot bring its own key.

mod cache;
mod claims;
mod config;
mod conformance;
mod fuzz;
mod introspected;
mod issue;
mod issuer;
mod issuer_keys;
mod required;
mod resource;
mod spiffe;
mod tenants;
#[cfg(test)]
pub(crate) mod tests;
mod verify;

pub(crate) use claims::date;
pub use config::{MAX_MAX_LIFETIME, Optionality, TokenConfig};
pub use conformance::{CompactError, verify_compact};
pub use fuzz::fuzz_token;
pub use introspected::IntrospectionWait;
pub(crate) use introspected::Introspections;
pub use issue::{IssueError, IssueOptions, Issued, Signer};
pub use issuer::Issuer;
#[cfg(test)]
pub(crate) use issuer::RESERVED;
pub use resource::ProtectedResource;
pub use verify::{
    Claims, Fingerprint, KeptToken, Revocable, Verified, Verifier, VerifyError, name_misuse,
    token_or_jti_misuse,
};
