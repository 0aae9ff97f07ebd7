//! Tests of the layer as a whole. `node:crypto` made the keys and the first tokens, so that two
//! implementations must agree. Only these tests use `testdata/keys.json`.

mod algorithms;
mod attacks;
mod cache_model;
mod cached;
mod claims;
mod config;
mod introspection;
mod issue;
mod issuers;
mod providers;
mod rfc;

pub(crate) use std::sync::{Arc, OnceLock};

pub(crate) use aws_lc_rs::hmac;
pub(crate) use base64::Engine as _;
pub(crate) use base64::engine::general_purpose::URL_SAFE_NO_PAD;
pub(crate) use serde_json::{Map, Value, json};

pub(crate) use super::*;
pub(crate) use crate::bearer::*;
pub(crate) use crate::clock::Now;

pub(crate) const ISSUER: &str = "https://secure.myapp.com";
pub(crate) const AUDIENCE: &str = "my-backend-app";
pub(crate) const NOW_S: u64 = 1_800_000_000;

pub(crate) fn now() -> Now {
    at(NOW_S)
}

pub(crate) fn at(seconds: u64) -> Now {
    Now::at_unix_us(seconds * 1_000_000)
}

pub(crate) fn testdata() -> &'static Value {
    static DATA: OnceLock<Value> = OnceLock::new();
    DATA.get_or_init(|| serde_json::from_str(include_str!("../testdata/keys.json")).unwrap())
}

/// A key of the test data: `key("p256", "publicPem")`.
pub(crate) fn key(name: &str, form: &str) -> Value {
    let key = &testdata()["keys"][name][form];
    assert!(!key.is_null(), "{name}.{form}");
    key.clone()
}

pub(crate) fn secret() -> &'static str {
    testdata()["secret"].as_str().unwrap()
}

/// The name of the key pair for an algorithm in the test data.
pub(crate) fn pair_of(alg: &str) -> &'static str {
    match alg {
        "ES256" => "p256",
        "ES384" => "p384",
        "ES512" => "p521",
        "EdDSA" | "Ed25519" => "ed25519",
        _ => "rsa",
    }
}

/// The options of the article, extended by `more`.
pub(crate) fn options(more: &Value) -> Value {
    let mut options = json!({ "issuer": ISSUER, "audience": AUDIENCE });
    options.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    options
}

pub(crate) fn config(more: &Value) -> Arc<TokenConfig> {
    Arc::new(TokenConfig::parse("jwt", &options(more)).unwrap())
}

pub(crate) fn verifier(more: &Value) -> Verifier {
    Verifier::new(config(more))
}

pub(crate) fn with_secret() -> Verifier {
    verifier(&json!({ "secret": secret() }))
}

pub(crate) fn claims() -> Map<String, Value> {
    let claims =
        json!({ "iss": ISSUER, "aud": AUDIENCE, "sub": "42", "iat": NOW_S, "exp": NOW_S + 900 });
    claims.as_object().unwrap().clone()
}

pub(crate) fn claims_with(more: &Value) -> Value {
    let mut claims = claims();
    for (name, value) in more.as_object().unwrap() {
        if value == "\0gone" {
            claims.remove(name)
        } else {
            claims.insert(name.clone(), value.clone())
        };
    }
    Value::Object(claims)
}

pub(crate) fn segment(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

pub(crate) fn hmac_sign(message: &str, hash: hmac::Algorithm, secret: &[u8]) -> String {
    let tag = hmac::sign(&hmac::Key::new(hash, secret), message.as_bytes());
    format!("{message}.{}", segment(tag))
}

/// A token with exactly this header and payload text, signed with the test secret (HS256).
pub(crate) fn hs256(header: &str, payload: &str) -> String {
    let message = format!("{}.{}", segment(header), segment(payload));
    hmac_sign(&message, hmac::HMAC_SHA256, secret().as_bytes())
}

pub(crate) const HS256: &str = r#"{"alg":"HS256","typ":"JWT"}"#;

pub(crate) fn hs256_claims(claims: &Value) -> String {
    hs256(HS256, &claims.to_string())
}

/// A token that the crate `jsonwebtoken` signs with a key pair of the test data, whatever the
/// header contains.
pub(crate) fn signed_as(
    header: &str,
    claims: &Value,
    alg: jsonwebtoken::Algorithm,
    pair: &str,
) -> String {
    let pem = key(pair, "privatePem");
    let pem = pem.as_str().unwrap().as_bytes();
    let key = match pair {
        "rsa" => jsonwebtoken::EncodingKey::from_rsa_pem(pem),
        "ed25519" => jsonwebtoken::EncodingKey::from_ed_pem(pem),
        _ => jsonwebtoken::EncodingKey::from_ec_pem(pem),
    };
    let message = format!("{}.{}", segment(header), segment(claims.to_string()));
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key.unwrap(), alg).unwrap();
    format!("{message}.{signature}")
}

pub(crate) fn denial(verifier: &Verifier, token: &str) -> TokenError {
    match verifier.verify(token, now()) {
        Ok(_) => panic!("taken: {token}"),
        Err(denial) => denial,
    }
}
