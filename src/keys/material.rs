//! The parsed parts of a key: the common form of PEM, JWK and secrets.

use aws_lc_rs::signature::{EcdsaKeyPair, Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::jwk::{AlgorithmParameters, Jwk};
use jsonwebtoken::{DecodingKey, EncodingKey};
use serde_json::Value;

use crate::error::{ConfigCode, ConfigError};
use crate::keys::algorithm::{Algorithm, Family};

/// The parts of a key, without its permitted use.
pub(crate) enum Material {
    Secret(Vec<u8>),
    /// `n` and `e` big-endian, without leading zeros.
    Rsa {
        n: Vec<u8>,
        e: Vec<u8>,
        private: Option<EncodingKey>,
    },
    /// The uncompressed point `04 x y`.
    Ec {
        point: Vec<u8>,
        private: Option<EcPrivate>,
    },
    Ed {
        x: Vec<u8>,
        private: Option<EncodingKey>,
    },
}

pub(crate) enum EcPrivate {
    Jwt(EncodingKey),
    /// P-521, which `jsonwebtoken` does not support.
    Es512(Box<EcdsaKeyPair>),
}

pub(crate) fn invalid_key(path: &str, problem: impl Into<String>) -> ConfigError {
    ConfigError::new(ConfigCode::InvalidKey, path, problem)
}

/// Reads the PEM text of one public or private key for `algorithm`.
pub(crate) fn from_pem(
    path: &str,
    text: &str,
    algorithm: Algorithm,
) -> Result<Material, ConfigError> {
    let bad = || invalid_key(path, format!("can't be read as a PEM key for {}", algorithm.name()));
    let mut labels = text.split("-----BEGIN ").skip(1);
    let (Some(rest), None) = (labels.next(), labels.next()) else {
        return Err(invalid_key(path, "must be the PEM text of exactly one key").suggest(
            "write the text from `-----BEGIN` to `-----END ...-----`, or give a JWK object",
        ));
    };
    let label = rest.split("-----").next().unwrap_or_default();
    let convert = "convert it with: openssl pkcs8 -topk8 -nocrypt -in key.pem -out key.pkcs8.pem";
    let private = match label {
        "PUBLIC KEY" | "RSA PUBLIC KEY" => false,
        "PRIVATE KEY" | "RSA PRIVATE KEY" => true,
        "CERTIFICATE" => {
            return Err(invalid_key(path, "is a certificate, not a key")
                .suggest("take its key with: openssl x509 -in cert.pem -pubkey -noout"));
        }
        "ENCRYPTED PRIVATE KEY" => {
            return Err(invalid_key(path, "is encrypted").suggest("decrypt it before it is given"));
        }
        "EC PRIVATE KEY" | "EC PARAMETERS" | "OPENSSH PRIVATE KEY" => {
            return Err(invalid_key(path, "is not in PKCS#8 form").suggest(convert));
        }
        _ => return Err(bad()),
    };
    let text = text.as_bytes();
    match (algorithm.family(), private) {
        (Family::Hmac, _) => {
            Err(invalid_key(path, "is a PEM key, and an HMAC algorithm needs a secret")
                .suggest("give `alg` the algorithm of this key, such as 'ES256' or 'RS256'"))
        }
        (Family::Rsa, false) => {
            let key = DecodingKey::from_rsa_pem(text).map_err(|_| bad())?;
            rsa_components(Jwk::from_decoding_key(&key, None), path, bad, None)
        }
        (Family::Rsa, true) => {
            let key = EncodingKey::from_rsa_pem(text).map_err(|_| bad())?;
            rsa_private(key, algorithm, path, bad)
        }
        (Family::Ec, false) => {
            let key = DecodingKey::from_ec_pem(text).map_err(|_| bad())?;
            let point = key.try_get_as_bytes().map_err(|_| bad())?.to_vec();
            Ok(Material::Ec { point, private: None })
        }
        (Family::Ec, true) => {
            let key = EncodingKey::from_ec_pem(text).map_err(|_| bad())?;
            let signing = algorithm.ecdsa_signing().ok_or_else(bad)?;
            let pair = EcdsaKeyPair::from_pkcs8(signing, key.as_bytes()).map_err(|_| {
                invalid_key(
                    path,
                    format!("is not a key of the curve that {} is for", algorithm.name()),
                )
            })?;
            Ok(ec_private(pair, algorithm, key))
        }
        (Family::Ed, false) => {
            let key = DecodingKey::from_ed_pem(text).map_err(|_| bad())?;
            Ok(Material::Ed {
                x: key.try_get_as_bytes().map_err(|_| bad())?.to_vec(),
                private: None,
            })
        }
        (Family::Ed, true) => {
            let key = EncodingKey::from_ed_pem(text).map_err(|_| bad())?;
            let pair = Ed25519KeyPair::from_pkcs8(key.as_bytes()).map_err(|_| bad())?;
            Ok(Material::Ed { x: pair.public_key().as_ref().to_vec(), private: Some(key) })
        }
    }
}

fn ec_private(pair: EcdsaKeyPair, algorithm: Algorithm, key: EncodingKey) -> Material {
    let point = pair.public_key().as_ref().to_vec();
    let private = if algorithm == Algorithm::Es512 {
        EcPrivate::Es512(Box::new(pair))
    } else {
        EcPrivate::Jwt(key)
    };
    Material::Ec { point, private: Some(private) }
}

fn rsa_private(
    key: EncodingKey,
    algorithm: Algorithm,
    path: &str,
    bad: impl Fn() -> ConfigError,
) -> Result<Material, ConfigError> {
    let jwk = algorithm
        .in_jsonwebtoken()
        .ok_or_else(&bad)
        .map(|jwt| Jwk::from_encoding_key(&key, jwt))?;
    rsa_components(jwk, path, bad, Some(key))
}

fn rsa_components(
    jwk: jsonwebtoken::errors::Result<Jwk>,
    path: &str,
    bad: impl Fn() -> ConfigError,
    private: Option<EncodingKey>,
) -> Result<Material, ConfigError> {
    let jwk = jwk.map_err(|error| {
        // The backend does not read private keys below 2048 bits, so report the size here.
        if error.to_string().contains("TooSmall") { weak_rsa_size(path) } else { bad() }
    })?;
    let AlgorithmParameters::RSA(key) = jwk.algorithm else { return Err(bad()) };
    let number = |text: &str| {
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| bad())?;
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        Ok::<_, ConfigError>(bytes.get(zeros..).unwrap_or_default().to_vec())
    };
    Ok(Material::Rsa { n: number(&key.n)?, e: number(&key.e)?, private })
}

pub(crate) fn weak_rsa_size(path: &str) -> ConfigError {
    ConfigError::new(ConfigCode::WeakKey, path, "must be an RSA key of 2048 to 8192 bits")
        .suggest("make one with: openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:3072")
}

/// Converts a PKCS#8 private key of another reader to the type of `jsonwebtoken`.
pub(crate) fn rsa_from_pkcs8(der: &[u8]) -> jsonwebtoken::errors::Result<EncodingKey> {
    let mut pem = String::from("-----BEGIN PRIVATE KEY-----\n");
    for line in STANDARD.encode(der).as_bytes().chunks(64) {
        pem.extend(line.iter().map(|byte| char::from(*byte)));
        pem.push('\n');
    }
    pem.push_str("-----END PRIVATE KEY-----\n");
    EncodingKey::from_rsa_pem(pem.as_bytes())
}

/// Whether these bytes are a public key in any encoding. With a public key as HMAC secret, anyone
/// could sign (CVE-2015-9235 and its followers).
pub(crate) fn looks_public(secret: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(secret) else { return is_der(secret) };
    let text = text.trim_matches(|c: char| c.is_whitespace() || c == '\u{feff}');
    if text.contains("-----BEGIN ") || is_der(secret) {
        return true;
    }
    let ssh = ["ssh-rsa ", "ssh-ed25519 ", "ssh-dss ", "ecdsa-sha2-", "sk-ssh-", "sk-ecdsa-"];
    if ssh.iter().any(|prefix| text.contains(prefix)) {
        return true;
    }
    if text.starts_with('{') {
        let object = serde_json::from_str::<Value>(text);
        return object.is_ok_and(|jwk| jwk.get("kty").is_some() || jwk.get("keys").is_some());
    }
    let joined: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    let bare = joined.trim_end_matches('=');
    let decoded = base64::engine::general_purpose::STANDARD_NO_PAD
        .decode(bare)
        .or_else(|_| URL_SAFE_NO_PAD.decode(bare));
    decoded.is_ok_and(|bytes| is_der(&bytes))
}

/// Whether this is one DER sequence over the whole length that starts with a sequence (SPKI,
/// certificate) or an integer (PKCS#1, PKCS#8).
fn is_der(bytes: &[u8]) -> bool {
    let (body, len) = match bytes {
        [0x30, len @ 0..=0x7f, body @ ..] | [0x30, 0x81, len, body @ ..] => {
            (body, usize::from(*len))
        }
        [0x30, 0x82, high, low, body @ ..] => {
            (body, usize::from(u16::from_be_bytes([*high, *low])))
        }
        _ => return false,
    };
    body.len() == len && matches!(body.first(), Some(0x30 | 0x02))
}
