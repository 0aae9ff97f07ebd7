//! The keys of a guard, and which of them a token is to be verified with.

use super::denial::TokenDenial;
use super::key::Key;
use super::reader::Header;
use crate::error::{ConfigCode, ConfigError};

const MAX_KEYS: usize = 100;

/// One or more keys, of which at most one has no `kid`, no two have the same, and no two are the same.
#[derive(Debug)]
pub(super) struct KeyRing {
    keys: Vec<Key>,
}

impl KeyRing {
    /// Takes keys with the option path of each.
    pub(super) fn new(keys: Vec<(String, Key)>) -> Result<Self, ConfigError> {
        let conflict = |path: &str, problem: String| {
            Err(ConfigError::new(ConfigCode::ConflictingOptions, path, problem))
        };
        for (i, (path, key)) in keys.iter().enumerate() {
            if i >= MAX_KEYS {
                return conflict(path, format!("is one key too many: {MAX_KEYS} are the most"));
            }
            for (other_path, other) in keys.iter().take(i) {
                if key.kid == other.kid {
                    return match key.kid {
                        Some(_) => conflict(path, format!("has the same kid as `{other_path}`")),
                        None => conflict(
                            path,
                            format!("must have a kid, since `{other_path}` has none either"),
                        ),
                    };
                }
                if key.same_public(other) {
                    return conflict(
                        path,
                        format!("is the same key as `{other_path}`: one key has one use"),
                    );
                }
            }
        }
        Ok(Self { keys: keys.into_iter().map(|(_, key)| key).collect() })
    }

    /// The one key that a token with this header may be signed with, at this second.
    ///
    /// The `kid` chooses; the `alg` only has to agree. A token without `kid` belongs to the key without one, or to
    /// the only key there is.
    pub(super) fn choose(&self, header: &Header, seconds: u64) -> Result<&Key, TokenDenial> {
        if !self.keys.iter().any(|key| key.algorithm.name() == header.alg) {
            return Err(TokenDenial::Algorithm);
        }
        let kid = header.kid.as_deref();
        let key = match self.keys.as_slice() {
            [only] if kid.is_none() || only.kid.is_none() => Some(only),
            keys => keys.iter().find(|key| key.kid.as_deref() == kid),
        };
        let key = key.filter(|key| key.usable_at(seconds)).ok_or(TokenDenial::Key)?;
        if key.algorithm.name() == header.alg { Ok(key) } else { Err(TokenDenial::Algorithm) }
    }

    /// The key that new tokens are signed with at this second: a private key before a secret, the newest first.
    pub(super) fn signing(&self, seconds: u64) -> Option<&Key> {
        let usable = self.keys.iter().filter(|key| key.can_sign() && key.usable_at(seconds));
        // `max_by_key` takes the last of equals, so the list is turned for the first one to win.
        usable.rev().max_by_key(|key| (key.public_jwk().is_some(), key.not_before))
    }

    pub(super) fn can_sign(&self) -> bool {
        self.keys.iter().any(Key::can_sign)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Key> {
        self.keys.iter()
    }
}
