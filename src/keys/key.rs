//! One key with exactly one algorithm, parsed once.
//!
//! RFC 8725 bis requires it (MUST): the algorithm is a property of the key, and the header of a
//! token is only compared with it. So a public key can never become an HMAC secret.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{EcdsaKeyPair, ParsedPublicKey, RsaPublicKeyComponents};
use aws_lc_rs::{constant_time, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::EncodingKey;
use serde_json::{Map, Value};

use crate::error::{ConfigCode, ConfigError};
use crate::keys::algorithm::Algorithm;
use crate::keys::jwk;
use crate::keys::jwk::PublicPart;
use crate::keys::material::{EcPrivate, Material, invalid_key, looks_public, weak_rsa_size};
use crate::keys::seal::SealKey;
use crate::keys::strength::{
    WeakRsa, WeakSecret, has_small_order, judge_rsa, judge_secret, secret_command,
};

/// A key and its permitted use.
pub(crate) struct Key {
    pub(crate) kid: Option<Arc<str>>,
    pub(crate) algorithm: Algorithm,
    /// Unix time in seconds, inclusive.
    pub(crate) not_before: u64,
    /// Unix time in seconds, exclusive.
    pub(crate) not_after: u64,
    verifying: Verifying,
    signing: Option<Signing>,
    public: Option<PublicPart>,
    /// The key that seals records, derived from the private part.
    pub(crate) seal: Option<Arc<SealKey>>,
    /// Set once, when its issuer stops publishing it.
    withdrawn: AtomicBool,
}

enum Verifying {
    Hmac(Box<hmac::Key>),
    Public(ParsedPublicKey),
}

enum Signing {
    Jwt(EncodingKey, jsonwebtoken::Algorithm),
    Es512(Box<EcdsaKeyPair>),
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key")
            .field("kid", &self.kid)
            .field("algorithm", &self.algorithm)
            .field("can_sign", &self.signing.is_some())
            .finish_non_exhaustive()
    }
}

impl Key {
    /// Validates `material` as a key for `algorithm`. The key has no `kid` and no end.
    pub(crate) fn new(
        path: &str,
        material: Material,
        algorithm: Algorithm,
    ) -> Result<Self, ConfigError> {
        if let Material::Secret(secret) = &material {
            judge(path, secret, algorithm)?;
        }
        Self::however_guessable(path, material, algorithm)
    }

    /// As [`Self::new`], but checks only the length of a secret: published test vectors use
    /// guessable ones.
    pub(crate) fn however_guessable(
        path: &str,
        material: Material,
        algorithm: Algorithm,
    ) -> Result<Self, ConfigError> {
        let seal = SealKey::of(&material, algorithm);
        let (verifying, signing, public) = match material {
            Material::Secret(secret) => {
                if secret.len() < algorithm.least_secret_bytes() {
                    return Err(weak_secret(path, WeakSecret::Short, algorithm));
                }
                let hash = algorithm.hmac().ok_or_else(|| other_family(path, algorithm))?;
                let signing = EncodingKey::from_secret(&secret);
                (
                    Verifying::Hmac(Box::new(hmac::Key::new(hash, &secret))),
                    jwt_signing(Some(signing), algorithm),
                    None,
                )
            }
            Material::Rsa { n, e, private } => {
                judge_rsa(&n, &e).map_err(|weak| weak_rsa(path, weak))?;
                let parameters = algorithm.rsa().ok_or_else(|| other_family(path, algorithm))?;
                let parsed = RsaPublicKeyComponents { n: &n, e: &e }
                    .to_parsed_public_key(parameters)
                    .map_err(|_| invalid_key(path, "is not a usable RSA key"))?;
                (
                    Verifying::Public(parsed),
                    jwt_signing(private, algorithm),
                    Some(PublicPart::Rsa { n, e }),
                )
            }
            Material::Ec { point, private } => {
                let (curve, size) =
                    algorithm.curve().ok_or_else(|| other_family(path, algorithm))?;
                let ecdsa = algorithm.ecdsa().ok_or_else(|| other_family(path, algorithm))?;
                // Uncompressed points only: their length identifies the curve.
                let uncompressed = point.first() == Some(&4) && point.len() == 1 + 2 * size;
                let parsed =
                    uncompressed.then(|| ParsedPublicKey::new(ecdsa, &point)).and_then(Result::ok);
                let parsed = parsed.ok_or_else(|| {
                    invalid_key(
                        path,
                        format!("must be a key on the curve {curve} for {}", algorithm.name()),
                    )
                })?;
                let signing = match private {
                    Some(EcPrivate::Jwt(key)) => jwt_signing(Some(key), algorithm),
                    Some(EcPrivate::Es512(pair)) => Some(Signing::Es512(pair)),
                    None => None,
                };
                (Verifying::Public(parsed), signing, Some(PublicPart::Ec { point }))
            }
            Material::Ed { x, private } => {
                if has_small_order(&x) {
                    let problem = "is a point of small order, for which anybody can sign";
                    return Err(ConfigError::new(ConfigCode::WeakKey, path, problem)
                        .suggest("make a new key"));
                }
                let parsed = ParsedPublicKey::new(&aws_lc_rs::signature::ED25519, &x)
                    .map_err(|_| invalid_key(path, "is not a usable Ed25519 key"))?;
                (
                    Verifying::Public(parsed),
                    jwt_signing(private, algorithm),
                    Some(PublicPart::Ed { x }),
                )
            }
        };
        let key = Self {
            kid: None,
            algorithm,
            not_before: 0,
            not_after: u64::MAX,
            verifying,
            signing,
            public,
            seal,
            withdrawn: AtomicBool::new(false),
        };
        // Sign and verify a probe: otherwise the first user would discover a broken pair.
        if key.can_sign() {
            let probe = key.sign(b"keepstone").and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
            if !probe.is_some_and(|signature| key.verify(b"keepstone", &signature)) {
                return Err(invalid_key(
                    path,
                    "has a private part that does not belong to its public part",
                ));
            }
        }
        Ok(key)
    }

    /// Whether this key made `signature` over `message`.
    pub(crate) fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        match &self.verifying {
            Verifying::Hmac(key) => {
                // Sign and compare instead of `hmac::verify`: equivalent, but the length check is
                // visible here.
                let tag = hmac::sign(key, message);
                constant_time::verify_slices_are_equal(tag.as_ref(), signature).is_ok()
            }
            Verifying::Public(key) => key.verify_sig(message, signature).is_ok(),
        }
    }

    pub(crate) fn can_sign(&self) -> bool {
        self.signing.is_some()
    }

    /// The signature over `message` in base64url; `None` if the key has no private part or signing
    /// fails.
    pub(crate) fn sign(&self, message: &[u8]) -> Option<String> {
        match self.signing.as_ref()? {
            Signing::Jwt(key, algorithm) => {
                jsonwebtoken::crypto::sign(message, key, *algorithm).ok()
            }
            Signing::Es512(pair) => {
                let signature = pair.sign(&SystemRandom::new(), message).ok()?;
                Some(URL_SAFE_NO_PAD.encode(signature.as_ref()))
            }
        }
    }

    /// Whether the key is usable at this second: within its period of use and not withdrawn.
    pub(crate) fn usable_at(&self, seconds: u64) -> bool {
        self.not_before <= seconds
            && seconds < self.not_after
            && !self.withdrawn.load(Ordering::Acquire)
    }

    /// As [`Self::usable_at`], but also true before its period of use.
    pub(crate) fn is_kept_at(&self, seconds: u64) -> bool {
        self.usable_at(seconds.max(self.not_before))
    }

    /// Ends the key permanently. Tokens that it has verified are verified again.
    pub(crate) fn withdraw(&self) {
        self.withdrawn.store(true, Ordering::Release);
    }

    /// Whether `other` is the same key: same name, algorithm, period of use and public numbers.
    /// Secrets never compare equal.
    pub(crate) fn is(&self, other: &Self) -> bool {
        self.kid == other.kid
            && self.algorithm == other.algorithm
            && (self.not_before, self.not_after) == (other.not_before, other.not_after)
            && self.same_public(other)
    }

    /// Whether both have the same public numbers, whatever their use.
    pub(crate) fn same_public(&self, other: &Self) -> bool {
        self.public.is_some() && self.public == other.public
    }

    /// The public JWK; `None` for a secret.
    pub(crate) fn public_jwk(&self) -> Option<Map<String, Value>> {
        let mut jwk = jwk::public(self.public.as_ref()?, self.algorithm);
        if let Some(kid) = &self.kid {
            jwk.insert("kid".to_owned(), kid.as_ref().into());
        }
        Some(jwk)
    }
}

fn jwt_signing(key: Option<EncodingKey>, algorithm: Algorithm) -> Option<Signing> {
    Some(Signing::Jwt(key?, algorithm.in_jsonwebtoken()?))
}

fn other_family(path: &str, algorithm: Algorithm) -> ConfigError {
    invalid_key(path, format!("is not a key for {}", algorithm.name()))
}

fn judge(path: &str, secret: &[u8], algorithm: Algorithm) -> Result<(), ConfigError> {
    if looks_public(secret) {
        let error = invalid_key(
            path,
            "is a key pair's key or a JWK, not a secret: whoever knows it could sign",
        );
        return Err(error.suggest("give it in `jwt.keys` with its own `alg`"));
    }
    judge_secret(secret, algorithm).map_err(|weak| weak_secret(path, weak, algorithm))
}

fn weak_secret(path: &str, weak: WeakSecret, algorithm: Algorithm) -> ConfigError {
    let least = algorithm.least_secret_bytes();
    let problem = match weak {
        WeakSecret::Short => format!("must be at least {least} bytes for {}", algorithm.name()),
        WeakSecret::Guessable => {
            "is too easy to guess: it is made of words, repeats or sequences".to_owned()
        }
    };
    ConfigError::new(ConfigCode::WeakSecret, path, problem).suggest(secret_command(least))
}

fn weak_rsa(path: &str, weak: WeakRsa) -> ConfigError {
    let problem = match weak {
        WeakRsa::Size => return weak_rsa_size(path),
        WeakRsa::Exponent => "must have an odd public exponent of 3 or more, such as 65537",
        WeakRsa::Roca => {
            "was made by a flawed generator (ROCA, CVE-2017-15361) and can be factored"
        }
        WeakRsa::Modulus => "has a modulus with a small factor, so it is not an RSA key",
    };
    ConfigError::new(ConfigCode::WeakKey, path, problem).suggest("make a new key")
}
