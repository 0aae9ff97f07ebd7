//! Keys that seal session records before they go into a shared store.
//!
//! The threat: an attacker with write access to the store puts `{ "sub": "root" }` into a session
//! record, and the next refresh signs it. So a record carries a MAC. The servers have its key and
//! the store does not, and a record counts only after its MAC is verified.
//!
//! The options need no extra key: HKDF (RFC 5869) derives it from the private key that signs the
//! tokens. The encoding of that key (PEM, JWK, PKCS#1 or PKCS#8) does not affect the result.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::encoding::{AsBigEndian as _, Curve25519SeedBin, EcPrivateKeyBin};
use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use aws_lc_rs::hmac;
use aws_lc_rs::signature::{EcdsaKeyPair, Ed25519KeyPair};

use crate::keys::algorithm::Algorithm;
use crate::keys::material::{EcPrivate, Material};

/// The length of a seal in bytes.
pub const SEAL_BYTES: usize = 32;

/// The message that an RSA key signs to derive its seal key. It contains a space, so it is never
/// the signing input of a token.
const RSA_MESSAGE: &[u8] = b"keepstone session record";

/// A key for HMAC-SHA-256.
pub struct SealKey(hmac::Key);

impl fmt::Debug for SealKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealKey")
    }
}

impl SealKey {
    /// Derives a key from a secret and the name of the secret's other use.
    #[must_use]
    pub fn derive(secret: &[u8], used_for: &str) -> Option<Arc<Self>> {
        let info: [&[u8]; 2] = [b"session record\0", used_for.as_bytes()];
        let salt = Salt::new(HKDF_SHA256, b"keepstone");
        let mut key = [0; SEAL_BYTES];
        salt.extract(secret).expand(&info, HKDF_SHA256).ok()?.fill(&mut key).ok()?;
        Some(Arc::new(Self(hmac::Key::new(hmac::HMAC_SHA256, &key))))
    }

    /// Derives a key from the private part of a signing key; `None` without a private part.
    pub(crate) fn of(material: &Material, algorithm: Algorithm) -> Option<Arc<Self>> {
        let secret = match material {
            Material::Secret(secret) => secret.clone(),
            // A PKCS#1 v1.5 signature is deterministic, and only the holder of the private key can
            // make it.
            Material::Rsa { private, .. } => {
                let signing = jsonwebtoken::Algorithm::RS256;
                jsonwebtoken::crypto::sign(RSA_MESSAGE, private.as_ref()?, signing).ok()?.into()
            }
            Material::Ec { private: Some(EcPrivate::Es512(pair)), .. } => scalar(pair)?,
            Material::Ec { private: Some(EcPrivate::Jwt(key)), .. } => {
                let signing = algorithm.ecdsa_signing()?;
                scalar(&EcdsaKeyPair::from_pkcs8(signing, key.as_bytes()).ok()?)?
            }
            Material::Ec { private: None, .. } => return None,
            Material::Ed { private, .. } => {
                let pair = Ed25519KeyPair::from_pkcs8(private.as_ref()?.as_bytes()).ok()?;
                let seed: Curve25519SeedBin<'_> = pair.seed().ok()?.as_be_bytes().ok()?;
                seed.as_ref().to_vec()
            }
        };
        Self::derive(&secret, algorithm.name())
    }

    /// The seal over `parts`, each preceded by its length.
    #[must_use]
    pub fn seal(&self, parts: &[&[u8]]) -> [u8; SEAL_BYTES] {
        let mut context = hmac::Context::with_key(&self.0);
        for part in parts {
            context.update(&part.len().to_be_bytes());
            context.update(part);
        }
        let mut seal = [0; SEAL_BYTES];
        for (to, from) in seal.iter_mut().zip(context.sign().as_ref()) {
            *to = *from;
        }
        seal
    }

    /// Whether `seal` is the seal over `parts`. The comparison takes constant time.
    #[must_use]
    pub fn verify(&self, parts: &[&[u8]], seal: &[u8]) -> bool {
        aws_lc_rs::constant_time::verify_slices_are_equal(&self.seal(parts), seal).is_ok()
    }
}

fn scalar(pair: &EcdsaKeyPair) -> Option<Vec<u8>> {
    let scalar: EcPrivateKeyBin<'_> = pair.private_key().as_be_bytes().ok()?;
    Some(scalar.as_ref().to_vec())
}

/// The keys that are in force at a moment, for the records of one issuer.
#[derive(Debug, Clone)]
pub struct Seals {
    issuer: Arc<str>,
    /// The first one seals; all of them unseal.
    keys: Vec<Arc<SealKey>>,
}

impl Seals {
    /// `None` without a key: then nothing can be sealed or accepted.
    #[must_use]
    pub fn new(issuer: Arc<str>, keys: Vec<Arc<SealKey>>) -> Option<Self> {
        (!keys.is_empty()).then_some(Self { issuer, keys })
    }

    /// The seal over `parts` by the first key.
    #[must_use]
    pub fn seal(&self, parts: &[&[u8]]) -> Option<[u8; SEAL_BYTES]> {
        let first = self.keys.first()?;
        Some(first.seal(&self.with_issuer(parts)))
    }

    /// Whether one of the keys made `seal` over `parts`.
    #[must_use]
    pub fn verify(&self, parts: &[&[u8]], seal: &[u8]) -> bool {
        let parts = self.with_issuer(parts);
        self.keys.iter().any(|key| key.verify(&parts, seal))
    }

    fn with_issuer<'p>(&'p self, parts: &[&'p [u8]]) -> Vec<&'p [u8]> {
        [&[self.issuer.as_bytes()], parts].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn seals(issuer: &str, secrets: &[&str]) -> Seals {
        let key = |secret: &&str| SealKey::derive(secret.as_bytes(), "HS256").unwrap();
        Seals::new(Arc::from(issuer), secrets.iter().map(key).collect()).unwrap()
    }

    #[test]
    fn a_key_has_one_use_and_the_newest_seals_while_the_older_are_taken() {
        let (old, both, new) = (seals("i", &["a"]), seals("i", &["b", "a"]), seals("i", &["b"]));
        let parts: [&[u8]; 2] = [b"x", b"y"];
        let by_old = old.seal(&parts).unwrap();
        assert!(old.verify(&parts, &by_old) && both.verify(&parts, &by_old));
        assert!(!new.verify(&parts, &by_old));
        let by_both = both.seal(&parts).unwrap();
        assert!(new.verify(&parts, &by_both) && !old.verify(&parts, &by_both));
        assert!(!seals("other", &["a"]).verify(&parts, &by_old));
        let other_use = SealKey::derive(b"a", "HS512").unwrap();
        assert!(!other_use.verify(&[b"i", b"x", b"y"], &by_old));
        assert!(Seals::new(Arc::from("i"), Vec::new()).is_none());
    }

    #[test]
    fn no_part_can_be_moved_into_its_neighbour() {
        let seals = seals("i", &["a"]);
        let seal = seals.seal(&[b"ab", b"c"]).unwrap();
        for parts in [&[&b"a"[..], b"bc"][..], &[b"abc"], &[b"ab", b"c", b""], &[b"", b"ab", b"c"]]
        {
            assert!(!seals.verify(parts, &seal));
        }
        assert!(!seals.verify(&[b"ab", b"c"], &[]));
        assert!(!seals.verify(&[b"ab", b"c"], seal.get(..31).unwrap()));
    }

    proptest! {
        #[test]
        fn a_seal_with_another_bit_is_none(text in ".{0,40}", byte in 0..SEAL_BYTES, bit in 0u8..8) {
            let seals = seals("i", &["a", "b"]);
            let mut seal = seals.seal(&[text.as_bytes()]).unwrap();
            prop_assert!(seals.verify(&[text.as_bytes()], &seal));
            seal[byte] ^= 1 << bit;
            prop_assert!(!seals.verify(&[text.as_bytes()], &seal));
        }
    }
}
