//! Signature verification alone, for external test suites whose payloads are not claims.

use serde_json::{Value, json};
use thiserror::Error;

use crate::bearer::TokenError;
use crate::clock::Now;
use crate::error::ConfigError;
use crate::jose::{Compact, MAX_TOKEN_BYTES};
use crate::keys::key_options::{SetOrigin, jwk_set};
use crate::keys::ring::KeyRing;
use crate::token::verify::VerifyError;

/// The reason why [`verify_compact`] returned no payload.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CompactError {
    /// The key is refused, as in the options.
    #[error("{0}")]
    Key(#[from] ConfigError),
    /// The token is refused.
    #[error("{}", .0.code())]
    Token(TokenError),
}

/// Returns the payload of a compact JWS if its signature is good.
///
/// The key is a JWK or a JWK set, validated as keys in the options are, with two exceptions: the
/// set may consist of secrets (`oct`) alone, and their strength is not checked. RSA keys and
/// secrets must have an `alg`. Claims are not checked.
pub fn verify_compact(token: &str, jwk_or_set: &Value, now: Now) -> Result<Vec<u8>, CompactError> {
    let set = if jwk_or_set.get("keys").is_some() {
        jwk_or_set.clone()
    } else {
        json!({ "keys": [jwk_or_set] })
    };
    let ring = KeyRing::new(jwk_set("jwk", &set, None, SetOrigin::Vectors)?.keys)?;
    let read = || {
        let compact = Compact::read(token, MAX_TOKEN_BYTES).map_err(TokenError::Malformed)?;
        let key = ring
            .choose(&compact.header, now.unix_seconds())
            .map_err(|error| VerifyError::from(error).denial())?;
        if !key.verify(compact.signing_input.as_bytes(), compact.signature()) {
            return Err(TokenError::Signature);
        }
        compact.payload().map_err(TokenError::Malformed)
    };
    read().map_err(CompactError::Token)
}
