//! The keys of an issuer, and the choice of the key that verifies a token.
//!
//! A key is usable from its `notBefore` until its `notAfter`, while its issuer publishes it. Code
//! that keeps a key, such as the cache of verified tokens, must call [`Key::usable_at`] again: a
//! withdrawn key reports it, whatever ring it came from.

use std::sync::Arc;

use crate::error::{ConfigCode, ConfigError};
use crate::jose::Header;
use crate::keys::error::KeyError;
use crate::keys::key::Key;

/// The maximum number of keys of one issuer.
pub(crate) const MAX_KEYS: usize = 100;

/// The keys of one issuer. At most one has no `kid`, and no two have the same `kid` or the same
/// public numbers.
#[derive(Debug, Default)]
pub(crate) struct KeyRing {
    keys: Vec<Arc<Key>>,
}

impl KeyRing {
    /// Creates a ring. Each key comes with its option path.
    pub(crate) fn new(keys: Vec<(String, Key)>) -> Result<Self, ConfigError> {
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
        Ok(Self { keys: keys.into_iter().map(|(_, key)| Arc::new(key)).collect() })
    }

    /// The one key that may have signed a token with this header at this second.
    ///
    /// The `kid` selects the key, and the `alg` must match it. A token without `kid` belongs to the
    /// key without one, or to the only key.
    pub(crate) fn choose(&self, header: &Header, seconds: u64) -> Result<&Arc<Key>, KeyError> {
        if !self.keys.iter().any(|key| key.algorithm.name() == header.alg) {
            return Err(KeyError::Algorithm);
        }
        let kid = header.kid.as_deref();
        let key = match self.keys.as_slice() {
            [only] if kid.is_none() || only.kid.is_none() => Some(only),
            keys => keys.iter().find(|key| key.kid.as_deref() == kid),
        };
        let key = key.filter(|key| key.usable_at(seconds)).ok_or(KeyError::Unknown)?;
        if key.algorithm.name() == header.alg { Ok(key) } else { Err(KeyError::Algorithm) }
    }

    /// The key that signs new tokens at this second. A private key takes precedence over a secret,
    /// then the newest key over older ones.
    pub(crate) fn signing(&self, seconds: u64) -> Option<&Arc<Key>> {
        let usable = self.keys.iter().filter(|key| key.can_sign() && key.usable_at(seconds));
        // `max_by_key` returns the last of equals, so reverse the list to return the first.
        usable.rev().max_by_key(|key| (key.public_jwk().is_some(), key.not_before))
    }

    pub(crate) fn can_sign(&self) -> bool {
        self.iter().any(Key::can_sign)
    }

    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = &Key> {
        self.keys.iter().map(AsRef::as_ref)
    }

    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether one of the keys may have signed a token with this `kid`.
    pub(crate) fn knows(&self, kid: &str) -> bool {
        match self.keys.as_slice() {
            [only] if only.kid.is_none() => true,
            keys => keys.iter().any(|key| key.kid.as_deref() == Some(kid)),
        }
    }

    /// Returns this ring as the successor of `old`. A key that is in both keeps its object, so that
    /// cached tokens stay valid.
    pub(crate) fn in_place_of(mut self, old: &Self) -> Self {
        for key in &mut self.keys {
            if let Some(same) = old.keys.iter().find(|known| known.is(key)) {
                *key = Arc::clone(same);
            }
        }
        self
    }

    /// Withdraws the keys that are not in `new`.
    pub(crate) fn withdraw_for(&self, new: &Self) {
        for key in &self.keys {
            if !new.keys.iter().any(|kept| Arc::ptr_eq(kept, key)) {
                key.withdraw();
            }
        }
    }
}
