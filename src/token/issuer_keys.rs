//! The keys of an issuer: from the options, from a URL, or created by this guard.

use std::sync::Arc;

use crate::clock::Now;
use crate::jose::Header;
use crate::keys::key::Key;
use crate::keys::ring::KeyRing;
use crate::keys::{KeyError, SealKey};
use crate::remote_keys::RemoteKeys;
use crate::rotation::Rotation;
use crate::token::verify::VerifyError;

/// The source of an issuer's keys.
#[derive(Debug)]
pub(crate) enum IssuerKeys {
    /// Only the keys of the options.
    Fixed(KeyRing),
    /// At a URL, and the secret of the options, if there is one.
    Remote(Arc<RemoteKeys>, KeyRing),
    /// Rotating keys that this guard creates, plus the keys of the options.
    Rotating(Arc<Rotation>, KeyRing),
    /// None: the issuer is asked about each token.
    Introspected,
}

impl IssuerKeys {
    /// The one key that may have signed a token with this header at `now`. With `may_fetch_keys`,
    /// the result may be to wait for the issuer.
    pub(crate) fn choose(
        &self,
        header: &Header,
        now: Now,
        may_fetch_keys: bool,
    ) -> Result<Arc<Key>, VerifyError> {
        match self {
            Self::Fixed(ring) => Ok(Arc::clone(ring.choose(header, now.unix_seconds())?)),
            Self::Remote(_, secret)
                if secret.iter().any(|key| key.algorithm.name() == header.alg) =>
            {
                Ok(Arc::clone(secret.choose(header, now.unix_seconds())?))
            }
            Self::Remote(remote, _) => {
                let key = remote.choose(header, now, may_fetch_keys)?;
                key.ok_or_else(|| VerifyError::Pending(Arc::clone(remote)))
            }
            Self::Rotating(rotation, ring) => {
                Ok(rotated(rotation, ring, header, now.unix_seconds())?)
            }
            Self::Introspected => Err(KeyError::Unknown.into()),
        }
    }

    /// Whether previously chosen keys are still valid: false if their issuer has been unreachable
    /// for too long.
    pub(crate) fn are_current(&self, now: Now) -> bool {
        match self {
            Self::Fixed(_) | Self::Rotating(..) | Self::Introspected => true,
            Self::Remote(remote, _) => remote.is_usable(now),
        }
    }

    /// The keys that seal session records at this second. The first one seals; all of them unseal.
    ///
    /// The list includes keys whose period of use has not begun: a process whose clock is ahead may
    /// already seal with them.
    pub(crate) fn seals(&self, seconds: u64) -> Vec<Arc<SealKey>> {
        let signing = match self {
            Self::Rotating(rotation, _) => rotation.seal_key(),
            _ => self.fixed().and_then(|ring| ring.signing(seconds)?.seal.clone()),
        };
        let taken = self.iter().filter(|key| key.is_kept_at(seconds));
        signing.into_iter().chain(taken.filter_map(|key| key.seal.clone())).collect()
    }

    /// See [`KeyRing::signing`]. Keys from a URL are public and cannot sign.
    pub(crate) fn signing(&self, now: Now) -> Option<Arc<Key>> {
        if let Self::Rotating(rotation, _) = self {
            return rotation.signing(now);
        }
        self.fixed()?.signing(now.unix_seconds()).cloned()
    }

    pub(crate) fn can_sign(&self) -> bool {
        matches!(self, Self::Rotating(..)) || self.fixed().is_some_and(KeyRing::can_sign)
    }

    /// The rotating keys.
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
            Self::Remote(..) | Self::Introspected => None,
        }
    }

    /// Whether it verifies tokens at all.
    pub(crate) const fn verify_any(&self) -> bool {
        !matches!(self, Self::Introspected)
    }
}

/// Chooses by `kid`: first among the rotating keys, then among the keys of the options.
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
        // Before the rotating keys are loaded, an unknown `kid` may still belong to one of them.
        None if ring.len() > 0 => ring
            .choose(header, seconds)
            .cloned()
            .map_err(|error| if rotation.is_loaded() { error } else { KeyError::Unavailable }),
        None if rotation.is_loaded() => Err(KeyError::Unknown),
        None => Err(KeyError::Unavailable),
    }
}
