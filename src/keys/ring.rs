//! The keys of an issuer, and which of them a token is to be verified with.
//!
//! A key is alive from its `notBefore` until its `notAfter`, as long as its issuer publishes it.
//! Whoever keeps a key for later, as the cache of verified tokens does, asks [`Key::usable_at`]
//! again: a key that was withdrawn says so itself, whatever ring it was in.

use std::sync::Arc;

use crate::clock::Now;
use crate::error::{ConfigCode, ConfigError};
use crate::keys::error::KeyError;
use crate::keys::header::Header;
use crate::keys::key::Key;
use crate::keys::remote::RemoteKeys;
use crate::keys::rotation::Rotation;
use crate::keys::seal::SealKey;

/// No issuer has more keys.
pub(crate) const MAX_KEYS: usize = 100;

/// Where the keys of an issuer are.
#[derive(Debug)]
pub(crate) enum Keys {
    /// In the options: these and no others.
    Fixed(KeyRing),
    /// At a URL.
    Remote(Arc<RemoteKeys>),
    /// Made here, one after the other; those of the options besides.
    Rotating(Arc<Rotation>, KeyRing),
}

impl Keys {
    /// The one key that a token with this header may be signed with, now. Where `may_ask`, the
    /// answer may be to wait for the issuer.
    pub(crate) fn choose(
        &self,
        header: &Header,
        now: Now,
        may_ask: bool,
    ) -> Result<Arc<Key>, KeyError> {
        match self {
            Self::Fixed(ring) => ring.choose(header, now.unix_seconds()).cloned(),
            Self::Remote(remote) => remote.choose(header, now, may_ask),
            Self::Rotating(rotation, ring) => rotated(rotation, ring, header, now.unix_seconds()),
        }
    }

    /// Whether keys that were chosen before may still be relied on: not where their issuer has been
    /// away for too long.
    pub(crate) fn are_current(&self, now: Now) -> bool {
        match self {
            Self::Fixed(_) | Self::Rotating(..) => true,
            Self::Remote(remote) => remote.is_usable(now),
        }
    }

    /// The keys that records of sessions are sealed with at this second: the first one seals, all
    /// of them are taken.
    ///
    /// One whose time is still to come is among them, since it is another process's already where
    /// that has the clock ahead.
    pub(crate) fn seals(&self, seconds: u64) -> Vec<Arc<SealKey>> {
        let signing = match self {
            Self::Rotating(rotation, _) => rotation.seal_key(),
            _ => self.fixed().and_then(|ring| ring.signing(seconds)?.seal.clone()),
        };
        let taken = self.iter().filter(|key| key.is_kept_at(seconds));
        signing.into_iter().chain(taken.filter_map(|key| key.seal.clone())).collect()
    }

    /// See [`KeyRing::signing`]. Published keys are public, and sign nothing.
    pub(crate) fn signing(&self, now: Now) -> Option<Arc<Key>> {
        if let Self::Rotating(rotation, _) = self {
            return rotation.signing(now);
        }
        self.fixed()?.signing(now.unix_seconds()).cloned()
    }

    pub(crate) fn can_sign(&self) -> bool {
        matches!(self, Self::Rotating(..)) || self.fixed().is_some_and(KeyRing::can_sign)
    }

    /// The keys that change by themselves.
    pub(crate) fn rotation(&self) -> Option<&Arc<Rotation>> {
        if let Self::Rotating(rotation, _) = self { Some(rotation) } else { None }
    }

    /// The keys of the options.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Key> {
        self.fixed().into_iter().flat_map(KeyRing::iter)
    }

    fn fixed(&self) -> Option<&KeyRing> {
        match self {
            Self::Fixed(ring) | Self::Rotating(_, ring) => Some(ring),
            Self::Remote(_) => None,
        }
    }
}

/// The `kid` chooses as ever: a key that was made here, or one of the options.
fn rotated(
    rotation: &Rotation,
    ring: &KeyRing,
    header: &Header,
    seconds: u64,
) -> Result<Arc<Key>, KeyError> {
    let made = header.kid.as_deref().and_then(|kid| rotation.find(kid));
    match made {
        Some(key) if key.algorithm.name() == header.alg => Ok(key),
        Some(_) => Err(KeyError::Algorithm),
        // Until the keys were loaded, nobody knows whether it is of one of them.
        None if ring.len() > 0 => ring
            .choose(header, seconds)
            .cloned()
            .map_err(|error| if rotation.is_loaded() { error } else { KeyError::Unavailable }),
        None if rotation.is_loaded() => Err(KeyError::Unknown),
        None => Err(KeyError::Unavailable),
    }
}

/// One or more keys, of which at most one has no `kid`, no two have the same, and no two are the
/// same.
#[derive(Debug, Default)]
pub(crate) struct KeyRing {
    keys: Vec<Arc<Key>>,
}

impl KeyRing {
    /// Takes keys with the option path of each.
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

    /// The one key that a token with this header may be signed with, at this second.
    ///
    /// The `kid` chooses; the `alg` only has to agree. A token without `kid` belongs to the key
    /// without one, or to the only key there is.
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

    /// The key that new tokens are signed with at this second: a private key before a secret, the
    /// newest first.
    pub(crate) fn signing(&self, seconds: u64) -> Option<&Arc<Key>> {
        let usable = self.keys.iter().filter(|key| key.can_sign() && key.usable_at(seconds));
        // `max_by_key` takes the last of equals, so the list is turned for the first one to win.
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

    /// Whether a token with this `kid` may be signed with one of the keys.
    pub(crate) fn knows(&self, kid: &str) -> bool {
        match self.keys.as_slice() {
            [only] if only.kid.is_none() => true,
            keys => keys.iter().any(|key| key.kid.as_deref() == Some(kid)),
        }
    }

    /// This ring in the place of `old`: a key that is in both stays the very same, so that what was
    /// verified with it stays known.
    pub(crate) fn in_place_of(mut self, old: &Self) -> Self {
        for key in &mut self.keys {
            if let Some(same) = old.keys.iter().find(|known| known.is(key)) {
                *key = Arc::clone(same);
            }
        }
        self
    }

    /// Ends the keys that are not in `new`.
    pub(crate) fn withdraw_for(&self, new: &Self) {
        for key in &self.keys {
            if !new.keys.iter().any(|kept| Arc::ptr_eq(kept, key)) {
                key.withdraw();
            }
        }
    }
}
