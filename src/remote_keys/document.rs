//! Validates the documents that an issuer publishes: a JWK set (RFC 7517 section 5), and metadata
//! with the URL of the set (`OpenID` Connect Discovery 1.0 section 4.3, RFC 8414 section 3.3).
//!
//! - A set is refused as a whole, and the previous set stays in force, if it is ambiguous text,
//!   contains a private key or a secret, repeats a `kid`, has several keys without one, or has more
//!   than 100 keys.
//! - A single unusable key (an unknown kind or algorithm, one for encryption, one that is too weak)
//!   is skipped, as section 5 requires. Otherwise an issuer that introduces a new algorithm would
//!   lose its old keys too.

use serde_json::{Map, Value};

use crate::json::object;
use crate::keys::algorithm::Algorithm;
use crate::keys::key_options::{SetOf, set_member};
use crate::keys::ring::{KeyRing, MAX_KEYS};
use crate::remote_keys::fault::FetchError;
use crate::remote_keys::source::fetchable;

/// Members that only a private key or a secret has (RFC 7518 section 6.2.2, 6.3.2 and 6.4.1, RFC
/// 8037 section 2).
const PRIVATE: [&str; 9] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"];

/// A valid set.
#[derive(Debug)]
pub(crate) struct Set {
    pub(crate) ring: KeyRing,
    /// The refresh interval of a SPIFFE bundle, in seconds.
    pub(crate) refresh_hint_s: Option<u64>,
}

fn object(bytes: &[u8]) -> Result<Map<String, Value>, FetchError> {
    let text = std::str::from_utf8(bytes).map_err(|_| FetchError::Malformed)?;
    object::read_object(text).map_err(|_| FetchError::Malformed)
}

/// Reads a JWK set.
pub(crate) fn read_set(
    bytes: &[u8],
    allowed: Option<&[Algorithm]>,
    of: SetOf,
) -> Result<Set, FetchError> {
    let document = object(bytes)?;
    let items = document.get("keys").and_then(Value::as_array).ok_or(FetchError::Malformed)?;
    if items.len() > MAX_KEYS {
        return Err(FetchError::Set(format!("has more than {MAX_KEYS} keys")));
    }
    let (mut keys, mut without_alg) = (Vec::new(), false);
    for (i, item) in items.iter().enumerate() {
        let path = format!("keys[{i}]");
        let jwk = item.as_object().ok_or(FetchError::Malformed)?;
        if PRIVATE.iter().any(|member| jwk.contains_key(*member)) {
            return Err(FetchError::Set(format!("has a private key or a secret at `{path}`")));
        }
        match set_member(&path, jwk, allowed, of) {
            Ok(Some(key)) => keys.push((path, key)),
            Ok(None) => {}
            Err(_) => without_alg |= !jwk.contains_key("alg"),
        }
    }
    if keys.is_empty() {
        let hint = if without_alg { "; name `algorithms`, since its keys have no alg" } else { "" };
        return Err(FetchError::Set(format!("has no key that tokens can be verified with{hint}")));
    }
    let ring =
        KeyRing::new(keys).map_err(|error| FetchError::Set(format!("is refused: {error}")))?;
    let refresh_hint_s = document.get("spiffe_refresh_hint").and_then(Value::as_u64);
    Ok(Set { ring, refresh_hint_s })
}

/// Reads metadata and returns the URL of the set. The metadata must name `issuer` exactly:
/// otherwise one server could pass its tokens off as those of another issuer.
pub(crate) fn read_metadata(
    bytes: &[u8],
    issuer: &str,
    loopback: bool,
) -> Result<String, FetchError> {
    let document = object(bytes)?;
    if document.get("issuer").and_then(Value::as_str) != Some(issuer) {
        return Err(FetchError::Issuer);
    }
    let url = document.get("jwks_uri").and_then(Value::as_str).ok_or(FetchError::SetUrl)?;
    let parsed = fetchable("jwks_uri", url).map_err(|_| FetchError::SetUrl)?;
    // A remote issuer must not direct this process to an `http` URL on the local machine.
    if parsed.scheme() == "http" && !loopback {
        return Err(FetchError::SetUrl);
    }
    Ok(parsed.into())
}
