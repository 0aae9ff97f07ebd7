//! JWK sets (RFC 7517 section 5), judged key by key: a key that can't be used takes no other one
//! away.
//!
//! 1. `kid` and `alg` name a key. One `kid` may stand for a key of RS256 and another one of PS256.
//! 2. A key that is for something else is left out in silence: for encryption, or of an algorithm
//!    that `algorithms` does not list.
//! 3. A key that can't be used is left out and reported: an unknown kind, curve or algorithm, one
//!    that is too weak, a private key or a secret, which everyone can read here.
//! 4. The set is refused if no key is left, or if two keys claim one `kid` and `alg`, usable or
//!    not: which of them a token is signed with would be a guess.

use serde_json::{Map, Value};

use crate::config::options::describe;
use crate::error::{ConfigCode, ConfigError};
use crate::keys::algorithm::Algorithm;
use crate::keys::key::Key;
use crate::keys::key_options::{SetOrigin, set_member};
use crate::keys::material::invalid_key;

/// Members that only a private key or a secret has (RFC 7518 section 6.2.2, 6.3.2 and 6.4.1, RFC
/// 8037 section 2).
const PRIVATE: [&str; 9] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"];
/// The most keys that are reported as left out.
const MAX_LEFT_OUT: usize = 10;

/// A key of a set that can't be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// Its position in `keys`, from 0.
    pub index: usize,
    /// What is wrong with it. No value of the set is repeated.
    pub reason: String,
}

/// The keys of a set.
#[derive(Debug, Default)]
pub(crate) struct KeySet {
    /// Each with the path that errors name.
    pub(crate) keys: Vec<(String, Key)>,
    pub(crate) left_out: Vec<LeftOut>,
}

/// Judges the keys of the set at `path`, whose list `keys` is at `list`.
///
/// # Errors
/// The set as a whole can't be used: rule 4.
pub(crate) fn judge_set(
    path: &str,
    list: &str,
    items: &[Value],
    allowed: Option<&[Algorithm]>,
    of: SetOrigin,
) -> Result<KeySet, ConfigError> {
    let is_secret = |item: &Value| item.get("kty").is_some_and(|kty| kty == "oct");
    let takes_secrets = of == SetOrigin::Vectors && items.iter().all(is_secret);
    let (mut set, mut first_error, mut exposed) = (KeySet::default(), None, Vec::new());
    let mut unusable = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let at = format!("{list}[{index}]");
        let judged = member(&at, item, allowed, of, takes_secrets);
        if judged.is_err() && !takes_secrets {
            exposed.extend(exposed_key(&at, item, allowed, of));
        }
        match judged.and_then(|key| under_one_kid(&at, key, &set.keys)) {
            Ok(None) => {}
            Ok(Some(key)) => {
                let named = |(_, other): &&(String, Key)| {
                    other.kid == key.kid && other.algorithm == key.algorithm
                };
                match set.keys.iter().find(named) {
                    None => set.keys.push((at, key)),
                    Some((_, other)) if other.same_public(&key) && other.issuer == key.issuer => {}
                    Some((other, _)) => return Err(duplicate(&at, other, key.kid.is_some())),
                }
            }
            Err(error) => {
                let reason = error.to_string();
                if set.left_out.len() < MAX_LEFT_OUT {
                    set.left_out.push(LeftOut { index, reason });
                }
                first_error.get_or_insert(error);
                unusable.push((at, item));
            }
        }
    }
    // Everyone has the private half.
    set.keys.retain(|(_, key)| !exposed.iter().any(|known: &Key| known.same_public(key)));
    for (at, item) in &unusable {
        if let Some((other, _)) = set.keys.iter().find(|(_, key)| claims_name_of(item, key)) {
            return Err(duplicate(at, other, true));
        }
    }
    if set.keys.is_empty() {
        let none = "must hold at least one key that tokens can be verified with";
        return Err(first_error.unwrap_or_else(|| ConfigError::invalid(path, none)));
    }
    Ok(set)
}

fn duplicate(path: &str, other: &str, named: bool) -> ConfigError {
    let problem = if named {
        format!("has the same kid and alg as `{other}`")
    } else {
        format!("must have a kid, since `{other}` has the same alg and none either")
    };
    ConfigError::new(ConfigCode::ConflictingOptions, path, problem)
}

/// Whether a key that can't be used has the `kid` of `key`, and its `alg` or none.
fn claims_name_of(item: &Value, key: &Key) -> bool {
    let text = |member| item.get(member).and_then(Value::as_str);
    key.kid.is_some()
        && text("kid") == key.kid.as_deref()
        && text("alg").is_none_or(|alg| alg == key.algorithm.name())
}

/// The public half of a private key that the set publishes.
fn exposed_key(
    path: &str,
    item: &Value,
    allowed: Option<&[Algorithm]>,
    of: SetOrigin,
) -> Option<Key> {
    let mut jwk = item.as_object()?.clone();
    jwk.retain(|name, _| !PRIVATE.contains(&name.as_str()));
    set_member(path, &jwk, allowed, of).ok().flatten()
}

/// Refuses a key under a second `kid`: a key that is revoked by its first one would go on under the
/// second.
fn under_one_kid(
    path: &str,
    key: Option<Key>,
    known: &[(String, Key)],
) -> Result<Option<Key>, ConfigError> {
    let Some(key) = key else { return Ok(None) };
    let is_same = |(_, other): &&(String, Key)| other.same_public(&key) && other.kid != key.kid;
    match known.iter().find(is_same) {
        Some((other, _)) => {
            Err(invalid_key(path, format!("is the same key as `{other}` under another kid")))
        }
        None => Ok(Some(key)),
    }
}

/// One key of a set; `None` where it is for something else.
fn member(
    path: &str,
    item: &Value,
    allowed: Option<&[Algorithm]>,
    of: SetOrigin,
    takes_secrets: bool,
) -> Result<Option<Key>, ConfigError> {
    let Value::Object(jwk) = item else {
        return Err(invalid_key(path, format!("must be a JWK object, not {}", describe(item))));
    };
    if is_for_encryption(jwk) {
        return Ok(None);
    }
    if !takes_secrets && PRIVATE.iter().any(|member| jwk.contains_key(*member)) {
        return Err(invalid_key(path, "is a private key or a secret, and a JWK set is public")
            .suggest("give a secret as `secret`, a private key in `keys`"));
    }
    set_member(path, jwk, allowed, of)
}

pub(crate) fn is_for_encryption(jwk: &Map<String, Value>) -> bool {
    let alg = jwk.get("alg").and_then(Value::as_str).unwrap_or_default();
    jwk.get("use").is_some_and(|used| used == "enc")
        || ["RSA-OAEP", "RSA1_5", "ECDH-ES"].iter().any(|prefix| alg.starts_with(prefix))
}
