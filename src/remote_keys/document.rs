//! Judges what an issuer publishes: a JWK set (RFC 7517 section 5), and metadata that names its URL
//! (`OpenID` Connect Discovery 1.0 section 4.3, RFC 8414 section 3.3).
//!
//! A set that is wrong as a whole is refused, and takes nothing away from the one before it: text
//! that can be read in two ways, two keys of one `kid` and `alg`, more than 100 keys, or no key
//! that can be used. Single keys are judged by [`judge_set`].

use serde_json::{Map, Value};

use crate::json::object;
use crate::keys::LeftOut;
use crate::keys::algorithm::Algorithm;
use crate::keys::key_options::SetOrigin;
use crate::keys::key_set::judge_set;
use crate::keys::ring::{KeyRing, MAX_KEYS};
use crate::remote_keys::fault::FetchError;
use crate::remote_keys::source::fetchable;

/// A valid set.
#[derive(Debug)]
pub(crate) struct Set {
    pub(crate) ring: KeyRing,
    pub(crate) left_out: Vec<LeftOut>,
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
    of: SetOrigin,
) -> Result<Set, FetchError> {
    let document = object(bytes)?;
    let items = document.get("keys").and_then(Value::as_array).ok_or(FetchError::Malformed)?;
    if items.len() > MAX_KEYS {
        return Err(FetchError::Set(format!("has more than {MAX_KEYS} keys")));
    }
    let set = judge_set("keys", "keys", items, allowed, of)
        .map_err(|error| FetchError::Set(format!("is refused: {error}")))?;
    let ring =
        KeyRing::new(set.keys).map_err(|error| FetchError::Set(format!("is refused: {error}")))?;
    let refresh_hint_s = document.get("spiffe_refresh_hint").and_then(Value::as_u64);
    Ok(Set { ring, left_out: set.left_out, refresh_hint_s })
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
