//! Makes keys, and parses stored ones.

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{EcdsaKeyPair, Ed25519KeyPair, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Map, Value};

use crate::error::ConfigError;
use crate::keys::algorithm::{Algorithm, Family};
use crate::keys::key::Key;
use crate::keys::material;
use crate::rotation::RotationError;

/// A new private key as PKCS#8 PEM text.
pub(crate) fn new_pem(algorithm: Algorithm) -> Result<String, RotationError> {
    let random = SystemRandom::new();
    let unspecified = |_| RotationError::Random;
    let der = match algorithm.family() {
        Family::Ec => {
            let signing = algorithm.ecdsa_signing().ok_or(RotationError::Random)?;
            EcdsaKeyPair::generate_pkcs8(signing, &random).map_err(unspecified)?.as_ref().to_vec()
        }
        Family::Ed => {
            Ed25519KeyPair::generate_pkcs8v1(&random).map_err(unspecified)?.as_ref().to_vec()
        }
        Family::Rsa => {
            let pair = RsaKeyPair::generate(KeySize::Rsa2048).map_err(unspecified)?;
            let der: Pkcs8V1Der<'_> = pair.as_der().map_err(unspecified)?;
            der.as_ref().to_vec()
        }
        Family::Hmac => return Err(RotationError::Random),
    };
    let encoded = STANDARD.encode(der);
    let mut pem = "-----BEGIN PRIVATE KEY-----\n".to_owned();
    let mut rest = encoded.as_str();
    while let Some((line, more)) = rest.split_at_checked(64) {
        pem.push_str(line);
        pem.push('\n');
        rest = more;
    }
    if !rest.is_empty() {
        pem.push_str(rest);
        pem.push('\n');
    }
    pem.push_str("-----END PRIVATE KEY-----\n");
    Ok(pem)
}

/// Parses the key of a PEM text. Its `kid` is its thumbprint.
pub(crate) fn read_pem(pem: &str, algorithm: Algorithm) -> Result<Key, ConfigError> {
    let mut key = Key::new("key", material::from_pem("key", pem, algorithm)?, algorithm)?;
    key.kid = key.public_jwk().as_ref().and_then(thumbprint).map(Arc::from);
    Ok(key)
}

/// The SHA-256 thumbprint of a public JWK (RFC 7638 section 3).
fn thumbprint(jwk: &Map<String, Value>) -> Option<String> {
    // In alphabetical order.
    let members: &[&str] = match jwk.get("kty")?.as_str()? {
        "EC" => &["crv", "kty", "x", "y"],
        "OKP" => &["crv", "kty", "x"],
        "RSA" => &["e", "kty", "n"],
        _ => return None,
    };
    // All values are base64url or names of the specification: none needs escaping.
    let member = |name: &&str| Some(format!("\"{name}\":\"{}\"", jwk.get(*name)?.as_str()?));
    let text = members.iter().map(member).collect::<Option<Vec<String>>>()?.join(",");
    Some(URL_SAFE_NO_PAD.encode(digest(&SHA256, format!("{{{text}}}").as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_thumbprint_is_the_one_of_rfc_7638() {
        // Section 3.1; the thumbprint ignores other members.
        let jwk = json!({
            "kty": "RSA", "e": "AQAB", "alg": "RS256", "kid": "2011-04-29",
            "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"
        });
        let thumb = thumbprint(jwk.as_object().unwrap());
        assert_eq!(thumb.as_deref(), Some("NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"));
        // RFC 8037 appendix A.3.
        let jwk = json!({ "kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" });
        let thumb = thumbprint(jwk.as_object().unwrap());
        assert_eq!(thumb.as_deref(), Some("kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"));
    }

    #[test]
    fn a_key_of_every_algorithm_is_read_as_it_was_made_and_signs() {
        for algorithm in Algorithm::ALL {
            if algorithm.family() == Family::Hmac {
                assert_eq!(new_pem(algorithm), Err(RotationError::Random));
                continue;
            }
            let pem = new_pem(algorithm).unwrap();
            let key = read_pem(&pem, algorithm).unwrap();
            assert_eq!(key.kid.as_ref().unwrap().len(), 43, "{algorithm:?}");
            assert!(key.can_sign());
        }
    }
}
