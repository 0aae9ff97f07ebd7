//! JSON Web Keys (RFC 7517, RFC 7518 section 6, RFC 8037).
//!
//! The reader of `jsonwebtoken` reads only the numbers of the key. This module first checks the
//! intended use of the key (`kty`, `crv`, `alg`, `use`, `key_ops`), so that a key for encryption or
//! for another algorithm never verifies a token.

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPairComponents, PublicKeyComponents};
use aws_lc_rs::signature::{EcdsaKeyPair, Ed25519KeyPair, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{DecodingKey, DecodingKeyKind, EncodingKey};
use serde_json::{Map, Value, json};

use crate::error::ConfigError;
use crate::keys::algorithm::{Algorithm, Family};
use crate::keys::material::{EcPrivate, Material, invalid_key, rsa_from_pkcs8};

/// The algorithms that the key allows: its `alg`, or else all that fit its `kty` and `crv`.
pub(crate) fn algorithms(
    path: &str,
    jwk: &Map<String, Value>,
) -> Result<Vec<Algorithm>, ConfigError> {
    let kty = text(path, jwk, "kty")?;
    let crv = || text(path, jwk, "crv");
    let fits: Vec<Algorithm> = match kty {
        "oct" => family(Family::Hmac),
        "RSA" => family(Family::Rsa),
        "EC" => on_curve(Family::Ec, crv()?),
        "OKP" => on_curve(Family::Ed, crv()?),
        _ => {
            return Err(invalid_key(
                format!("{path}.kty").as_str(),
                "must be 'RSA', 'EC', 'OKP' or 'oct'",
            ));
        }
    };
    if fits.is_empty() {
        return Err(invalid_key(
            format!("{path}.crv").as_str(),
            "must be 'P-256', 'P-384' or 'P-521' for an EC key and 'Ed25519' for an OKP key",
        ));
    }
    let Some(alg) = jwk.get("alg") else { return Ok(fits) };
    let alg = alg.as_str().and_then(Algorithm::from_name).filter(|alg| fits.contains(alg));
    let names: Vec<&str> = fits.iter().map(|alg| alg.name()).collect();
    alg.map(|alg| vec![alg]).ok_or_else(|| {
        invalid_key(
            format!("{path}.alg").as_str(),
            format!("must agree with the key's kty and crv, which allow {}", names.join(", ")),
        )
    })
}

fn family(family: Family) -> Vec<Algorithm> {
    Algorithm::ALL.into_iter().filter(|alg| alg.family() == family).collect()
}

fn on_curve(of: Family, crv: &str) -> Vec<Algorithm> {
    let same = |alg: &Algorithm| alg.curve().is_some_and(|(name, _)| name == crv);
    family(of).into_iter().filter(same).collect()
}

/// Reads a public or private JWK as a key for `algorithm`, which must be one of [`algorithms`].
pub(crate) fn read(
    path: &str,
    jwk: &Map<String, Value>,
    algorithm: Algorithm,
) -> Result<Material, ConfigError> {
    let private = jwk.contains_key("d") || jwk.contains_key("k");
    check_use(path, jwk, private)?;
    let bad = || invalid_key(path, "can't be read as a JWK");
    match algorithm.family() {
        Family::Hmac => Ok(Material::Secret(bytes(path, jwk, "k", None)?)),
        Family::Rsa => {
            let (n, e) = (number(path, jwk, "n")?, number(path, jwk, "e")?);
            // No larger exponent can be used (FIPS 186-5 section 5.4 allows up to 256 bits).
            if e.len() > 8 {
                return Err(invalid_key(&format!("{path}.e"), "must be at most 8 bytes"));
            }
            let private = private.then(|| rsa_private(path, jwk, &n, &e)).transpose()?;
            let key = decoding_key(path, jwk, &[("n", &n), ("e", &e)])?;
            if let DecodingKeyKind::RsaModulusExponent { n, e } = key.kind() {
                return Ok(Material::Rsa { n: n.clone(), e: e.clone(), private });
            }
            Err(bad())
        }
        Family::Ec => {
            let size = algorithm.curve().map(|(_, size)| size);
            let (x, y) = (coordinate(path, jwk, "x", size)?, coordinate(path, jwk, "y", size)?);
            let key = decoding_key(path, jwk, &[("x", &x), ("y", &y)])?;
            let point = key.try_get_as_bytes().map_err(|_| bad())?.to_vec();
            if !private {
                return Ok(Material::Ec { point, private: None });
            }
            let d = bytes(path, jwk, "d", size)?;
            let signing = algorithm.ecdsa_signing().ok_or_else(bad)?;
            let pair = EcdsaKeyPair::from_private_key_and_public_key(signing, &d, &point).map_err(
                |_| invalid_key(path, "has a private part that does not belong to its public part"),
            )?;
            let private = if algorithm == Algorithm::Es512 {
                EcPrivate::Es512(Box::new(pair))
            } else {
                let pkcs8 = pair.to_pkcs8v1().map_err(|_| bad())?;
                EcPrivate::Jwt(EncodingKey::from_ec_der(pkcs8.as_ref()))
            };
            Ok(Material::Ec { point, private: Some(private) })
        }
        Family::Ed => {
            let x = bytes(path, jwk, "x", Some(32))?;
            let key = decoding_key(path, jwk, &[("x", &x)])?;
            if key.try_get_as_bytes().ok() != Some(x.as_slice()) {
                return Err(bad());
            }
            if !private {
                return Ok(Material::Ed { x, private: None });
            }
            let d = bytes(path, jwk, "d", Some(32))?;
            let pair = Ed25519KeyPair::from_seed_and_public_key(&d, &x).map_err(|_| {
                invalid_key(path, "has a private part that does not belong to its public part")
            })?;
            let pkcs8 = pair.to_pkcs8v1().map_err(|_| bad())?;
            Ok(Material::Ed { x, private: Some(EncodingKey::from_ed_der(pkcs8.as_ref())) })
        }
    }
}

/// The public half, read by `jsonwebtoken`, whose `numbers` are written in the form of RFC 7518.
///
/// Members that are not the key's numbers were judged before; `x5c` and the like play no part.
fn decoding_key(
    path: &str,
    jwk: &Map<String, Value>,
    numbers: &[(&str, &[u8])],
) -> Result<DecodingKey, ConfigError> {
    let kind = jwk.iter().filter(|(name, _)| ["kty", "crv"].contains(&name.as_str()));
    let numbers = kind
        .map(|(name, value)| (name.clone(), value.clone()))
        .chain(numbers.iter().map(|(name, bytes)| {
            ((*name).to_owned(), Value::String(URL_SAFE_NO_PAD.encode(bytes)))
        }))
        .collect();
    serde_json::from_value::<jsonwebtoken::jwk::Jwk>(Value::Object(numbers))
        .ok()
        .and_then(|jwk| DecodingKey::from_jwk(&jwk).ok())
        .ok_or_else(|| invalid_key(path, "can't be read as a JWK"))
}

fn rsa_private(
    path: &str,
    jwk: &Map<String, Value>,
    n: &[u8],
    e: &[u8],
) -> Result<EncodingKey, ConfigError> {
    if jwk.contains_key("oth") {
        return Err(invalid_key(path, "has more than two primes, which is not supported"));
    }
    let components = KeyPairComponents {
        public_key: PublicKeyComponents { n: n.to_vec(), e: e.to_vec() },
        d: bytes(path, jwk, "d", None)?,
        p: bytes(path, jwk, "p", None)?,
        q: bytes(path, jwk, "q", None)?,
        dP: bytes(path, jwk, "dp", None)?,
        dQ: bytes(path, jwk, "dq", None)?,
        qInv: bytes(path, jwk, "qi", None)?,
    };
    let bad = || invalid_key(path, "has a private part that can't be used with its public part");
    let pair = RsaKeyPair::from_components(&components).map_err(|_| bad())?;
    let der: Pkcs8V1Der<'static> = pair.as_der().map_err(|_| bad())?;
    rsa_from_pkcs8(der.as_ref()).map_err(|_| bad())
}

/// Checks that `use` is `sig`, and that `key_ops` contains only signing and verifying.
fn check_use(path: &str, jwk: &Map<String, Value>, private: bool) -> Result<(), ConfigError> {
    if jwk.get("use").is_some_and(|used| used != "sig") {
        return Err(invalid_key(format!("{path}.use").as_str(), "must be 'sig'"));
    }
    let Some(ops) = jwk.get("key_ops") else { return Ok(()) };
    let path = format!("{path}.key_ops");
    let wrong =
        || invalid_key(&path, "must hold 'verify', or 'sign' for a private key, and nothing else");
    let ops = ops.as_array().ok_or_else(wrong)?;
    let fits = |op: &Value| op == "verify" || private && op == "sign";
    let twice =
        ops.iter().enumerate().any(|(i, op)| ops.iter().skip(i + 1).any(|other| other == op));
    if ops.is_empty() || twice || !ops.iter().all(fits) { Err(wrong()) } else { Ok(()) }
}

fn text<'a>(path: &str, jwk: &'a Map<String, Value>, name: &str) -> Result<&'a str, ConfigError> {
    let value = jwk.get(name).and_then(Value::as_str);
    value.ok_or_else(|| invalid_key(format!("{path}.{name}").as_str(), "must be a string"))
}

fn bytes(
    path: &str,
    jwk: &Map<String, Value>,
    name: &str,
    len: Option<usize>,
) -> Result<Vec<u8>, ConfigError> {
    let member = format!("{path}.{name}");
    // Padding and the plain alphabet name the same bytes, and some issuers publish them.
    let plain: String = text(path, jwk, name)?
        .trim_end_matches('=')
        .chars()
        .map(|char| match char {
            '+' => '-',
            '/' => '_',
            char => char,
        })
        .collect();
    let bytes =
        URL_SAFE_NO_PAD.decode(plain).map_err(|_| invalid_key(&member, "must be base64url"))?;
    match len {
        _ if bytes.is_empty() => Err(invalid_key(&member, "must not be empty")),
        Some(len) if bytes.len() != len => {
            Err(invalid_key(&member, format!("must be {len} bytes, as the curve has it")))
        }
        _ => Ok(bytes),
    }
}

/// A big-endian number (RFC 7518 section 2, `Base64urlUInt`). Leading zero bytes are dropped: some
/// issuers write the sign byte of their library.
fn number(path: &str, jwk: &Map<String, Value>, name: &str) -> Result<Vec<u8>, ConfigError> {
    let bytes = bytes(path, jwk, name, None)?;
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    let number = bytes.get(zeros..).unwrap_or_default();
    if number.is_empty() {
        return Err(invalid_key(format!("{path}.{name}").as_str(), "must not be zero"));
    }
    Ok(number.to_vec())
}

/// A coordinate of a point, at the length of its curve (RFC 7518 section 6.2.1.2).
fn coordinate(
    path: &str,
    jwk: &Map<String, Value>,
    name: &str,
    size: Option<usize>,
) -> Result<Vec<u8>, ConfigError> {
    let bytes = number(path, jwk, name)?;
    let size = size.unwrap_or(bytes.len());
    let Some(zeros) = size.checked_sub(bytes.len()) else {
        let problem = format!("must be {size} bytes, as the curve has it");
        return Err(invalid_key(format!("{path}.{name}").as_str(), problem));
    };
    Ok([vec![0; zeros], bytes].concat())
}

/// The public key as JSON, without its `kid`.
pub(crate) fn public(material: &PublicPart, algorithm: Algorithm) -> Map<String, Value> {
    let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let crv = algorithm.curve().map_or("", |(name, _)| name);
    let value = match material {
        PublicPart::Rsa { n, e } => json!({ "kty": "RSA", "n": encode(n), "e": encode(e) }),
        PublicPart::Ec { point } => {
            let coordinates = point.get(1..).unwrap_or_default();
            let (x, y) = coordinates.split_at(coordinates.len() / 2);
            json!({ "kty": "EC", "crv": crv, "x": encode(x), "y": encode(y) })
        }
        PublicPart::Ed { x } => json!({ "kty": "OKP", "crv": crv, "x": encode(x) }),
    };
    let Value::Object(mut jwk) = value else { return Map::new() };
    jwk.insert("alg".to_owned(), algorithm.name().into());
    jwk.insert("use".to_owned(), "sig".into());
    jwk
}

/// The numbers of a public key.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum PublicPart {
    Rsa { n: Vec<u8>, e: Vec<u8> },
    Ec { point: Vec<u8> },
    Ed { x: Vec<u8> },
}
