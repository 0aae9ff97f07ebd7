//! Invalid options and their error messages.

use super::*;
use crate::error::{ConfigCode, ConfigError};
use crate::keys::Algorithm;

fn refused(more: &Value) -> ConfigError {
    match TokenConfig::parse("jwt", &options(more)) {
        Ok(_) => panic!("taken: {more}"),
        Err(error) => error,
    }
}

fn accepted(more: &Value) {
    if let Err(error) = TokenConfig::parse("jwt", &options(more)) {
        panic!("{error}");
    }
}

fn one_key(alg: &str, key: &Value) -> Value {
    json!({ "keys": [{ "alg": alg, "key": key }] })
}

#[test]
fn the_options_of_the_article_are_taken() {
    accepted(&json!({ "secret": secret() }));
    accepted(&json!({ "secret": "\0bytes:q83vEjRWeJCrze8SNFZ4kFo7mRzV0yGfLmT2sHkUe4w=" }));
}

#[test]
fn an_error_names_the_path_and_the_code() {
    for (more, code, path) in [
        (json!({}), ConfigCode::MissingOption, "jwt"),
        (json!({ "secret": "short" }), ConfigCode::WeakSecret, "jwt.secret"),
        (
            json!({ "secret": "passwordpasswordpasswordpassword" }),
            ConfigCode::WeakSecret,
            "jwt.secret",
        ),
        (json!({ "secret": 5 }), ConfigCode::InvalidOption, "jwt.secret"),
        (json!({ "secret": "\0function" }), ConfigCode::InvalidOption, "jwt.secret"),
        (json!({ "secret": "\0bytes:" }), ConfigCode::WeakSecret, "jwt.secret"),
        (json!({ "secret": secret(), "issuer": 5 }), ConfigCode::InvalidOption, "jwt.issuer"),
        (json!({ "secret": secret(), "issuer": "" }), ConfigCode::InvalidOption, "jwt.issuer"),
        (json!({ "secret": secret(), "audience": [] }), ConfigCode::InvalidOption, "jwt.audience"),
        (
            json!({ "secret": secret(), "audience": ["a", "a"] }),
            ConfigCode::InvalidOption,
            "jwt.audience[1]",
        ),
        (
            json!({ "secret": secret(), "audience": ["a", 5] }),
            ConfigCode::InvalidOption,
            "jwt.audience[1]",
        ),
        (
            json!({ "secret": secret(), "audiences": "a" }),
            ConfigCode::UnknownOption,
            "jwt.audiences",
        ),
        (
            json!({ "secret": secret(), "algorithms": ["none"] }),
            ConfigCode::InvalidOption,
            "jwt.algorithms[0]",
        ),
        (
            json!({ "secret": secret(), "algorithms": ["HS256", "NoNe"] }),
            ConfigCode::InvalidOption,
            "jwt.algorithms[1]",
        ),
        (
            json!({ "secret": secret(), "algorithms": [] }),
            ConfigCode::InvalidOption,
            "jwt.algorithms",
        ),
        (
            json!({ "secret": secret(), "algorithms": ["RS256"] }),
            ConfigCode::ConflictingOptions,
            "jwt.algorithms",
        ),
        (
            json!({ "secret": secret(), "algorithms": ["HS256", "HS512"] }),
            ConfigCode::ConflictingOptions,
            "jwt.algorithms",
        ),
        (json!({ "secret": secret(), "typ": "" }), ConfigCode::InvalidOption, "jwt.typ"),
        (
            json!({ "secret": secret(), "clockTolerance": "61s" }),
            ConfigCode::InvalidOption,
            "jwt.clockTolerance",
        ),
        (
            json!({ "secret": secret(), "maxLifetime": "0s" }),
            ConfigCode::InvalidOption,
            "jwt.maxLifetime",
        ),
        (
            json!({ "secret": secret(), "from": ["query"] }),
            ConfigCode::InvalidOption,
            "jwt.from[0]",
        ),
        (json!({ "secret": secret(), "from": [] }), ConfigCode::InvalidOption, "jwt.from"),
        (
            json!({ "secret": secret(), "optional": "yes" }),
            ConfigCode::InvalidOption,
            "jwt.optional",
        ),
        (json!({ "jwks": "http://id.example/jwks.json" }), ConfigCode::InvalidOption, "jwt.jwks"),
        (json!({ "jwks": {} }), ConfigCode::InvalidOption, "jwt.jwks"),
        (json!({ "jwks": { "keys": [] } }), ConfigCode::InvalidOption, "jwt.jwks"),
        (
            json!({ "keys": [{ "key": key("p256", "publicPem") }] }),
            ConfigCode::MissingOption,
            "jwt.keys[0].alg",
        ),
        (
            json!({ "keys": [{ "alg": "none", "key": "" }] }),
            ConfigCode::InvalidOption,
            "jwt.keys[0].alg",
        ),
        (json!({ "keys": [{ "alg": "ES256" }] }), ConfigCode::MissingOption, "jwt.keys[0].key"),
    ] {
        let error = refused(&more);
        assert_eq!((error.code(), error.path()), (code, path), "{error}");
    }
    let missing =
        TokenConfig::parse("jwt", &json!({ "issuer": ISSUER, "secret": secret() })).unwrap_err();
    assert_eq!((missing.code(), missing.path()), (ConfigCode::MissingOption, "jwt.audience"));
}

#[test]
fn a_weak_secret_is_answered_with_a_command_that_makes_a_good_one_and_never_repeated() {
    let text = refused(&json!({ "secret": "hunter2hunter2hunter2hunter2hunter2" })).to_string();
    assert!(text.contains("randomBytes(32)") && !text.contains("hunter2"), "{text}");
    let text =
        refused(&json!({ "secret": secret().split_at(40).0, "algorithms": ["HS512"] })).to_string();
    assert!(
        text.contains("at least 64 bytes for HS512") && text.contains("randomBytes(64)"),
        "{text}"
    );
}

#[test]
fn a_public_key_is_no_secret_in_any_dress() {
    let pem = key("rsa", "publicPem");
    let pem = pem.as_str().unwrap();
    let body: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    for secret in [
        pem.to_owned(),
        format!("\u{feff} \n{pem}"),
        format!("key: {pem}"),
        body.clone(),
        key("rsa", "publicJwk").to_string(),
        json!({ "keys": [key("p256", "publicJwk")] }).to_string(),
        key("p256", "publicPem").as_str().unwrap().to_owned(),
        key("ed25519", "publicPem").as_str().unwrap().to_owned(),
        "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABgQC7Vz9Xq2Jr user@host".to_owned(),
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl"
            .to_owned(),
        format!("\0bytes:{body}"),
    ] {
        let error = refused(&json!({ "secret": secret }));
        assert_eq!(error.code(), ConfigCode::InvalidKey, "{secret}: {error}");
        let error = refused(&one_key("HS256", &json!(secret)));
        assert_eq!(error.code(), ConfigCode::InvalidKey, "{secret}: {error}");
    }
}

#[test]
fn a_key_of_another_family_or_curve_than_its_algorithm_is_refused() {
    let names = ["rsa", "p256", "p384", "p521", "ed25519", "k256"];
    for alg in Algorithm::ALL.map(Algorithm::name).into_iter().filter(|alg| !alg.starts_with("HS"))
    {
        for name in names.into_iter().filter(|name| *name != pair_of(alg)) {
            for form in ["publicPem", "privatePem", "publicJwk", "privateJwk"] {
                let error = refused(&one_key(alg, &key(name, form)));
                assert_eq!(
                    error.code(),
                    ConfigCode::InvalidKey,
                    "{name} {form} for {alg}: {error}"
                );
            }
        }
    }
    for name in names {
        for form in ["publicPem", "publicJwk"] {
            assert_eq!(
                refused(&one_key("HS256", &key(name, form))).code(),
                ConfigCode::InvalidKey,
                "{name}"
            );
        }
    }
}

#[test]
fn a_small_rsa_key_is_weak_in_every_form() {
    for form in ["publicPem", "privatePem", "publicJwk"] {
        let error = refused(&one_key("RS256", &key("smallRsa", form)));
        assert_eq!(error.code(), ConfigCode::WeakKey, "{form}: {error}");
    }
}

#[test]
fn key_files_that_can_not_be_used_are_answered_with_what_to_do() {
    for (pem, word) in [
        (key("p256", "sec1Pem"), "openssl pkcs8"),
        (key("p256", "encryptedPem"), "decrypt"),
        (json!("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), "openssl x509"),
        (
            json!(format!(
                "{}{}",
                key("p256", "publicPem").as_str().unwrap(),
                key("p384", "publicPem").as_str().unwrap()
            )),
            "exactly one",
        ),
        (json!("AAAA"), "PEM"),
        (json!("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"), "can't be read"),
    ] {
        let error = refused(&one_key("ES256", &pem));
        assert!(
            error.code() == ConfigCode::InvalidKey && error.to_string().contains(word),
            "{error}"
        );
    }
    accepted(&one_key("RS256", &key("rsa", "pkcs1Pem")));
    accepted(&one_key("PS512", &key("rsa", "publicPkcs1Pem")));
}

#[test]
fn a_jwk_must_be_meant_for_what_it_is_used_for() {
    let with = |name: &str, value: Value| {
        let mut jwk = key("p256", "publicJwk");
        jwk[name] = value;
        one_key("ES256", &jwk)
    };
    for (name, value) in [
        ("use", json!("sig")),
        ("alg", json!("ES256")),
        ("key_ops", json!(["verify"])),
        ("x5t", json!("x")),
        ("kid", json!("a")),
    ] {
        accepted(&with(name, value));
    }
    for (name, value) in [
        ("use", json!("enc")),
        ("use", json!("SIG")),
        ("use", json!(5)),
        ("alg", json!("ES384")),
        ("alg", json!("none")),
        ("alg", json!("RS256")),
        ("alg", json!(5)),
        ("key_ops", json!(["encrypt"])),
        ("key_ops", json!([])),
        ("key_ops", json!("verify")),
        ("key_ops", json!(["verify", "verify"])),
        ("key_ops", json!(["sign"])),
        ("key_ops", json!(["verify", "deriveKey"])),
        ("kty", json!("RSA")),
        ("kty", json!("AKP")),
        ("kty", json!("oct")),
        ("kty", json!(5)),
        ("crv", json!("P-384")),
        ("crv", json!("secp256k1")),
        ("crv", json!("Ed25519")),
        ("x", json!("AAAA")),
        ("x", json!("")),
        ("x", json!(5)),
        ("y", json!(key("p384", "publicJwk")["y"])),
        ("y", json!(key("p256", "publicJwk")["x"])),
        ("d", json!(key("p384", "privateJwk")["d"])),
        ("d", json!("AA")),
        ("d", json!(segment([1; 32]))),
    ] {
        let error = refused(&with(name, value.clone()));
        assert_eq!(error.code(), ConfigCode::InvalidKey, "{name} {value}: {error}");
    }
}

#[test]
fn keys_must_be_told_apart() {
    let of = |kid: Value, alg: &str, name: &str| {
        let mut input = json!({ "alg": alg, "key": key(name, "publicPem") });
        if !kid.is_null() {
            input["kid"] = kid;
        }
        input
    };
    let two = |one: Value, other: Value| json!({ "keys": [one, other] });
    accepted(&two(of(json!("a"), "ES256", "p256"), of(json!("b"), "RS256", "rsa")));
    accepted(&two(of(json!("a"), "ES256", "p256"), of(Value::Null, "RS256", "rsa")));
    for bad in [
        two(of(json!("a"), "ES256", "p256"), of(json!("a"), "RS256", "rsa")),
        two(of(Value::Null, "ES256", "p256"), of(Value::Null, "RS256", "rsa")),
        // One key with two algorithms would let one algorithm vouch for the other.
        two(of(json!("a"), "RS256", "rsa"), of(json!("b"), "PS256", "rsa")),
    ] {
        let error = refused(&bad);
        assert_eq!(
            (error.code(), error.path()),
            (ConfigCode::ConflictingOptions, "jwt.keys[1]"),
            "{error}"
        );
    }
    let error = refused(&json!({ "secret": secret(), "keys": [of(Value::Null, "ES256", "p256")] }));
    assert_eq!(error.code(), ConfigCode::ConflictingOptions);
}

#[test]
fn a_set_leaves_out_what_is_not_for_signatures_and_wants_to_know_the_algorithm() {
    let rsa = |more: Value| {
        let mut jwk = key("rsa", "publicJwk");
        jwk.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        jwk
    };
    let encryption = rsa(json!({ "use": "enc", "alg": "RSA-OAEP", "kid": "e" }));
    accepted(&json!({ "jwks": { "keys": [encryption, key("p256", "publicJwk")] } }));
    assert!(
        refused(&json!({ "jwks": { "keys": [encryption] } }))
            .to_string()
            .contains("at least one key")
    );
    let bare = json!({ "keys": [rsa(json!({ "kid": "a" }))] });
    assert!(refused(&json!({ "jwks": bare })).to_string().contains("algorithms: ['RS256']"));
    accepted(&json!({ "jwks": bare, "algorithms": ["RS256"] }));
    accepted(&json!({ "jwks": { "keys": [rsa(json!({ "alg": "PS256" }))] } }));
    let secret = json!({ "kty": "oct", "alg": "HS256", "k": segment(secret()) });
    assert_eq!(refused(&json!({ "jwks": { "keys": [secret] } })).code(), ConfigCode::InvalidKey);
    accepted(&one_key("HS256", &secret));
}

#[test]
fn a_key_has_a_time_that_is_in_order() {
    let timed = |more: Value| {
        let mut input = json!({ "alg": "ES256", "key": key("p256", "publicPem") });
        input.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({ "keys": [input] })
    };
    accepted(&timed(json!({ "notBefore": "2026-01-01T00:00:00.000Z", "notAfter": NOW_S })));
    for (more, path) in [
        (json!({ "notBefore": NOW_S, "notAfter": NOW_S }), "jwt.keys[0].notAfter"),
        (json!({ "notBefore": NOW_S * 1000 }), "jwt.keys[0].notBefore"),
        (json!({ "notAfter": "tomorrow" }), "jwt.keys[0].notAfter"),
        (json!({ "notAfter": -1 }), "jwt.keys[0].notAfter"),
        (json!({ "notafter": 5 }), "jwt.keys[0].notafter"),
    ] {
        assert_eq!(refused(&timed(more)).path(), path);
    }
}

#[test]
fn nothing_of_a_secret_is_in_what_is_printed_for_debugging() {
    let config = config(
        &json!({ "secret": secret(), "keys": [{ "kid": "a", "alg": "ES256", "key": key("p256", "privateJwk") }] }),
    );
    let text = format!("{config:?}");
    assert!(
        !text.contains(secret().split_at(12).0)
            && !text.contains(key("p256", "privateJwk")["d"].as_str().unwrap()),
        "{text}"
    );
}
