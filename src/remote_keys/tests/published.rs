//! Good and bad documents of an issuer.

use proptest::prelude::*;

use super::*;
use crate::remote_keys::{Fetch, FetchError, Fetched, RemoteState};

#[test]
fn a_bad_set_takes_nothing_away_from_the_good_one_before_it() {
    let mut world = World::ready();
    let private = key("p256", "privateJwk");
    let many: Vec<Value> = (0..101).map(|i| member("p256", &format!("k{i}"))).collect();
    let mut two_without_kid = json!({ "keys": [member("p256", "a"), another_p256("b")] });
    for jwk in two_without_kid["keys"].as_array_mut().unwrap() {
        jwk.as_object_mut().unwrap().remove("kid");
    }
    for bad in [
        json!([]),
        json!({}),
        json!({ "keys": {} }),
        json!({ "keys": [] }),
        json!({ "keys": ["x"] }),
        json!({ "keys": [private] }),
        json!({ "keys": [member("p256", "a"), another_p256("a")] }),
        json!({ "keys": [member("smallRsa", "s"), member("k256", "k")] }),
        json!({ "keys": many }),
        json!({ "keys": [{ "kty": "oct", "k": "AAAA" }] }),
        two_without_kid,
    ] {
        world.published = Some(bad.clone());
        world.run(second(300));
        assert_eq!(world.state(), RemoteState::Failing, "{bad}");
        assert!(world.verify(&world.token("p256", "a")).is_ok());
        world.published = Some(set(&[("p256", "a")]));
        world.run(second(300));
        assert_eq!(world.state(), RemoteState::Fresh, "{bad}");
    }
    let set = set(&[("p256", "a")]).to_string();
    for text in [
        "",
        "null",
        "<html>",
        "{\"keys\":[]",
        "\u{feff}{}",
        &set.replace("{\"keys\"", "{\"keys\":[],\"keys\""),
        &set.replace("\"kid\":", "\"k\\u0069d\":\"b\",\"kid\":"),
        &format!("{set}{set}"),
    ] {
        world.run(second(300));
        let fetch = world.begin();
        assert!(fetch.is_none(), "what was due is done");
        world.now = world.now.plus(second(300));
        let fetch = world.begin().unwrap();
        let head = Fetched { status: 200, ..Fetched::default() };
        world.keys.answered(fetch.number, Ok((&head, text.as_bytes())), world.now);
        assert_eq!(world.keys.status(world.now).fault, Some(FetchError::Malformed), "{text}");
        assert!(world.verify(&world.token("p256", "a")).is_ok());
    }
}

/// A P-256 key that is no other's.
fn another_p256(kid: &str) -> Value {
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
    json!({ "kty": "EC", "crv": "P-256", "use": "sig", "kid": kid, "x": segment(x), "y": segment(y) })
}

#[test]
fn a_key_that_can_not_be_used_is_left_out_and_the_others_are_used() {
    let mut world = World::new(&json!({}));
    let mut encrypts = member("p384", "e");
    encrypts["use"] = json!("enc");
    let others = json!([
        { "kty": "AKP", "alg": "ML-DSA-65", "pub": "AAAA", "kid": "pq" },
        { "kty": "OKP", "crv": "X25519", "x": "AAAA", "kid": "x" },
        member("smallRsa", "weak"),
        member("k256", "k1"),
        member("rsa", "no alg"),
        encrypts,
        member("p256", "a"),
    ]);
    world.published = Some(json!({ "keys": others }));
    world.run(Duration::ZERO);
    assert_eq!((world.state(), world.keys.status(world.now).keys), (RemoteState::Fresh, 1));
    assert!(world.verify(&world.token("p256", "a")).is_ok());

    // For an issuer whose keys lack `alg`, the options name the algorithm.
    let mut world = World::new(&json!({ "algorithms": ["RS256"] }));
    world.published = Some(set(&[("rsa", "r")]));
    world.run(Duration::ZERO);
    assert!(world.verify(&world.token("rsa", "r")).is_ok());
    let mut world = World::new(&json!({}));
    world.published = Some(set(&[("rsa", "r")]));
    world.run(Duration::ZERO);
    assert!(world.notices[0].text.contains("`algorithms: ['RS256']`"), "{}", world.notices[0].text);
}

#[test]
fn a_key_that_can_not_be_used_makes_a_set_ambiguous_that_has_another_one_of_its_name() {
    let broken = |alg: Option<&str>| {
        let mut key = member("p256", "a");
        key["x"] = json!("AAAA");
        if let Some(alg) = alg {
            key["alg"] = json!(alg);
        }
        key
    };
    for (key, fresh) in [
        (broken(None), false),
        (broken(Some("ES256")), false),
        (broken(Some("RS256")), true),
        (json!({ "kty": "AKP", "kid": "a", "pub": "AAAA" }), false),
        (json!({ "kty": "AKP", "alg": "ML-DSA-65", "kid": "a", "pub": "AAAA" }), true),
    ] {
        for keys in [json!([key, member("p256", "a")]), json!([member("p256", "a"), key])] {
            let mut world = World::new(&json!({}));
            world.published = Some(json!({ "keys": keys }));
            world.run(Duration::ZERO);
            assert_eq!(world.state() == RemoteState::Fresh, fresh, "{key}");
        }
    }
}

#[test]
fn metadata_says_where_the_keys_are_and_must_be_of_this_very_issuer() {
    let discovering = || World::new(&json!({ "discovery": true }));
    let mut world = discovering();
    let fetch = world.begin().unwrap();
    assert_eq!(fetch.url, format!("{ISSUER}/.well-known/openid-configuration"));
    let token = world.token("p256", "a");
    assert!(world.waits(&token));
    world.published = Some(json!({ "issuer": ISSUER, "jwks_uri": "https://keys.example.com/set" }));
    world.answer(&fetch);
    let fetch = world.begin().unwrap();
    assert_eq!(fetch.url, "https://keys.example.com/set");
    world.published = Some(set(&[("p256", "a")]));
    world.answer(&fetch);
    assert!(world.verify(&token).is_ok());

    for (bad, fault) in [
        (json!({ "issuer": "https://evil.example", "jwks_uri": URL }), FetchError::Issuer),
        (json!({ "issuer": format!("{ISSUER}/"), "jwks_uri": URL }), FetchError::Issuer),
        (json!({ "jwks_uri": URL }), FetchError::Issuer),
        (json!({ "issuer": [ISSUER], "jwks_uri": URL }), FetchError::Issuer),
        (json!({ "issuer": ISSUER }), FetchError::SetUrl),
        (json!({ "issuer": ISSUER, "jwks_uri": "http://id.example.com/jwks" }), FetchError::SetUrl),
        (json!({ "issuer": ISSUER, "jwks_uri": "http://127.0.0.1/jwks" }), FetchError::SetUrl),
        (json!({ "issuer": ISSUER, "jwks_uri": "file:///etc/passwd" }), FetchError::SetUrl),
        (json!([ISSUER]), FetchError::Malformed),
    ] {
        let mut world = discovering();
        let fetch = world.begin().unwrap();
        world.published = Some(bad.clone());
        world.answer(&fetch);
        assert_eq!(world.keys.status(world.now).fault, Some(fault), "{bad}");
        assert!(world.begin().is_none(), "{bad}");
    }
}

#[test]
fn metadata_is_read_again_when_the_set_is_not_where_it_was_and_may_be_away_itself() {
    let mut world = World::new(&json!({ "discovery": true }));
    let metadata = |url: &str| Some(json!({ "issuer": ISSUER, "jwks_uri": url }));
    let is_metadata = |fetch: &Fetch| fetch.url.ends_with("/openid-configuration");
    let fetch = world.begin().unwrap();
    world.published = metadata("https://old.example.com/set");
    world.answer(&fetch);
    let fetch = world.begin().unwrap();
    world.published = Some(set(&[("p256", "a")]));
    world.answer(&fetch);
    let token = world.token("p256", "a");

    // The set moves to another URL; the old one is gone.
    let mut asked = Vec::new();
    for _ in 0..600 {
        world.now = world.now.plus(second(1));
        while let Some(fetch) = world.begin() {
            asked.push(fetch.url.clone());
            world.published = if is_metadata(&fetch) {
                metadata("https://new.example.com/set")
            } else if fetch.url.contains("new") {
                Some(set(&[("p384", "b")]))
            } else {
                None
            };
            world.answer(&fetch);
        }
    }
    assert_eq!(asked.iter().filter(|url| url.contains("old")).count(), 3, "{asked:?}");
    assert!(world.verify(&world.token("p384", "b")).is_ok());
    assert!(world.verify(&token).is_err(), "by a key that is published no more");

    // An hour later metadata is read again. Its failure does not matter while the set is available.
    world.fetches.clear();
    for _ in 0..5_400 {
        world.now = world.now.plus(second(1));
        while let Some(fetch) = world.begin() {
            world.published = (!is_metadata(&fetch)).then(|| set(&[("p384", "b")]));
            world.answer(&fetch);
        }
        assert!(matches!(world.state(), RemoteState::Fresh));
    }
    assert!(world.fetches.iter().any(is_metadata));
}

#[test]
fn a_bundle_of_a_trust_domain_gives_the_keys_for_jwt_svids_and_no_others() {
    let member = |pair: &str, kid: &str, used: &str| {
        let mut jwk = member(pair, kid);
        jwk["use"] = json!(used);
        jwk
    };
    let config = Arc::new(
        TokenConfig::parse(
            "jwt",
            &json!({ "preset": "spiffe", "issuer": "spiffe://example.org", "audience": AUDIENCE, "jwks": URL }),
        )
        .unwrap(),
    );
    let keys = Arc::clone(config.issuers[0].remote().unwrap());
    let verifier = Verifier::new(config);
    let fetch = keys.due(now()).0.unwrap();
    let mut x509 = member("p384", "ignored", "x509-svid");
    x509.as_object_mut().unwrap().remove("kid");
    x509["x5c"] = json!(["MIIB"]);
    let bundle = json!({
        "spiffe_sequence": 12, "spiffe_refresh_hint": 60,
        "keys": [x509, member("p256", "a", "jwt-svid"), member("p384", "sig", "sig")],
    });
    let head = Fetched { status: 200, ..Fetched::default() };
    keys.answered(fetch.number, Ok((&head, bundle.to_string().as_bytes())), now());
    assert_eq!(keys.status(now()).keys, 1);
    assert!(keys.due(now()).1.unwrap() <= second(60), "as the hint says");
    let svid = |typ: &str, claims: &Value| {
        let header = json!({ "alg": "ES256", "kid": "a", "typ": typ });
        signed_as(&header.to_string(), claims, jsonwebtoken::Algorithm::ES256, "p256")
    };
    let of = |more: Value| {
        let mut claims =
            claims_with(&json!({ "iss": "\0gone", "sub": "spiffe://example.org/billing" }));
        claims.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        claims
    };
    for typ in ["JWT", "JOSE"] {
        let found = verifier.verify(&svid(typ, &of(json!({}))), now()).unwrap();
        assert_eq!(&*found.issuer, "spiffe://example.org");
        assert_eq!(found.subject.as_deref(), Some("spiffe://example.org/billing"));
    }
    // `iss` is optional and has no meaning here.
    assert!(verifier.verify(&svid("JWT", &of(json!({ "iss": "https://spire" }))), now()).is_ok());
    for (typ, claims, denial) in [
        ("at+jwt", of(json!({})), TokenError::Type),
        ("JWT", of(json!({ "sub": "spiffe://evil.example/billing" })), TokenError::Issuer),
        ("JWT", of(json!({ "sub": "spiffe://example.org" })), TokenError::Issuer),
        ("JWT", of(json!({ "sub": "spiffe://example.org/a/../b" })), TokenError::Issuer),
        ("JWT", of(json!({ "sub": "billing" })), TokenError::Issuer),
        ("JWT", of(json!({ "sub": 5 })), TokenError::Claims(ClaimError::Kind("sub"))),
        ("JWT", of(json!({ "iss": 5 })), TokenError::Claims(ClaimError::Kind("iss"))),
        ("JWT", of(json!({ "aud": "other" })), TokenError::Audience),
        (
            "JWT",
            claims_with(&json!({ "aud": "\0gone", "sub": "spiffe://example.org/a" })),
            TokenError::Claims(ClaimError::Missing("aud")),
        ),
        (
            "JWT",
            claims_with(&json!({ "sub": "\0gone" })),
            TokenError::Claims(ClaimError::Missing("sub")),
        ),
    ] {
        assert_eq!(verifier.verify(&svid(typ, &claims), now()).unwrap_err(), denial, "{claims}");
    }
}

#[test]
fn a_kid_may_stand_for_one_key_of_each_algorithm() {
    let mut world = World::new(&json!({}));
    let mut rsa = member("rsa", "a");
    rsa["alg"] = json!("RS256");
    let mut same = rsa.clone();
    same["alg"] = json!("PS256");
    world.published =
        Some(json!({ "keys": [member("p256", "a"), rsa, same, member("p256", "a")] }));
    world.run(Duration::ZERO);
    assert_eq!((world.state(), world.keys.status(world.now).keys), (RemoteState::Fresh, 3));
    assert!(world.verify(&world.token("p256", "a")).is_ok());
    assert!(world.verify(&world.token("rsa", "a")).is_ok());
}

#[test]
fn numbers_are_taken_with_a_sign_byte_with_padding_and_in_the_plain_alphabet() {
    use base64::engine::general_purpose::{STANDARD, URL_SAFE};
    let bytes =
        |jwk: &Value, name: &str| URL_SAFE_NO_PAD.decode(jwk[name].as_str().unwrap()).unwrap();
    let with = |jwk: &Value, write: &dyn Fn(&[u8]) -> String| {
        let mut jwk = jwk.clone();
        for name in ["n", "e", "x", "y"] {
            if jwk.get(name).is_some() {
                jwk[name] = json!(write(&bytes(&jwk, name)));
            }
        }
        jwk
    };
    let zeros = |bytes: &[u8]| [&[0, 0], bytes].concat();
    for name in ["rsa", "p256"] {
        let mut jwk = member(name, "a");
        jwk["alg"] = json!(if name == "rsa" { "RS256" } else { "ES256" });
        for odd in [
            with(&jwk, &|bytes| segment(zeros(bytes))),
            with(&jwk, &|bytes| URL_SAFE.encode(bytes)),
            with(&jwk, &|bytes| STANDARD.encode(zeros(bytes))),
        ] {
            let mut world = World::new(&json!({}));
            world.published = Some(json!({ "keys": [odd] }));
            world.run(Duration::ZERO);
            assert!(world.verify(&world.token(name, "a")).is_ok(), "{odd}");
        }
    }
}

#[test]
fn a_key_that_is_left_out_is_reported_once_with_its_position_and_never_with_its_value() {
    let mut world = World::new(&json!({}));
    let odd = json!({ "kty": "AKP", "alg": "ML-DSA-65", "pub": "AAAA", "kid": "pq" });
    let private = key("p384", "privateJwk");
    world.published = Some(json!({ "keys": [odd, member("p256", "a"), private] }));
    world.run(Duration::ZERO);
    let left_out = world.keys.left_out();
    let positions: Vec<usize> = left_out.iter().map(|key| key.index).collect();
    assert_eq!(positions, [0, 2]);
    let reported = |world: &World| {
        world.notices.iter().filter(|notice| notice.code == "GUARD_KEY_LEFT_OUT").count()
    };
    assert_eq!(reported(&world), 1);
    world.run(second(3600));
    assert_eq!(reported(&world), 1, "once for each set");
    let text = format!("{left_out:?}{:?}", world.notices);
    for secret in ["ML-DSA", "AAAA", "pq", private["d"].as_str().unwrap()] {
        assert!(!text.contains(secret), "{text}");
    }
    world.published = Some(set(&[("p256", "a")]));
    world.run(second(3600));
    assert!(world.keys.left_out().is_empty());
}

/// Keys that some issuer publishes, and that can't be used.
fn odd_keys() -> impl Strategy<Value = Value> {
    let text = "[A-Za-z0-9_+/=-]{0,12}";
    prop_oneof![
        Just(json!(null)),
        Just(json!("key")),
        Just(json!([])),
        text.prop_map(|kty| json!({ "kty": kty })),
        (text, text).prop_map(|(n, e)| json!({ "kty": "RSA", "n": n, "e": e, "alg": "RS256" })),
        (text, text).prop_map(|(x, y)| json!({ "kty": "EC", "crv": "P-256", "x": x, "y": y })),
        text.prop_map(|crv| json!({ "kty": "OKP", "crv": crv, "x": "AAAA" })),
        text.prop_map(|k| json!({ "kty": "oct", "k": k })),
        Just(key("p384", "privateJwk")),
        text.prop_map(|kid| {
            let mut jwk = key("p384", "publicJwk");
            jwk["kid"] = json!([kid]);
            jwk
        }),
        text.prop_map(|used| {
            let mut jwk = key("p384", "publicJwk");
            jwk["use"] = json!(used);
            jwk
        }),
        text.prop_map(|op| {
            let mut jwk = key("p384", "publicJwk");
            jwk["key_ops"] = json!([op]);
            jwk
        }),
    ]
}

proptest! {
    #[test]
    fn one_more_odd_key_never_takes_a_good_one_away(odd in prop::collection::vec(odd_keys(), 1..4), at in 0usize..4) {
        let mut keys = odd.clone();
        keys.insert(at.min(odd.len()), member("p256", "a"));
        let published = json!({ "keys": keys });
        let mut world = World::new(&json!({}));
        world.published = Some(published.clone());
        world.run(Duration::ZERO);
        prop_assert_eq!(world.state(), RemoteState::Fresh);
        prop_assert!(world.verify(&world.token("p256", "a")).is_ok());
        let mut more = json!({});
        more["jwks"] = published;
        let verifier = Verifier::new(config(&more));
        prop_assert!(verifier.verify(&world.token("p256", "a"), world.now).is_ok());
    }
}

#[test]
fn a_key_goes_under_one_kid_alone_and_not_where_its_private_half_is_published() {
    let mut world = World::new(&json!({}));
    world.published = Some(json!({ "keys": [member("p256", "a"), member("p256", "b")] }));
    world.run(Duration::ZERO);
    assert!(world.verify(&world.token("p256", "a")).is_ok());
    assert!(world.verify(&world.token("p256", "b")).is_err());
    assert!(world.keys.left_out()[0].reason.contains("under another kid"));

    for kid in ["a", "c"] {
        let mut private = key("p256", "privateJwk");
        private["kid"] = json!(kid);
        let mut world = World::new(&json!({}));
        let keys = json!([member("p256", "a"), private, member("p384", "b")]);
        world.published = Some(json!({ "keys": keys }));
        world.run(Duration::ZERO);
        assert_eq!(world.keys.status(world.now).keys, 1, "{kid}");
        assert!(world.verify(&world.token("p256", "a")).is_err(), "everyone can sign with it");
        assert!(world.verify(&world.token("p384", "b")).is_ok());
    }
}
