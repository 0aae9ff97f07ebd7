//! Good and bad documents of an issuer.

use super::*;
use crate::remote_keys::{Fetch, FetchError, Fetched, RemoteState};

#[test]
fn a_bad_set_takes_nothing_away_from_the_good_one_before_it() {
    let mut world = World::ready();
    let private = key("p256", "privateJwk");
    let many: Vec<Value> = (0..101).map(|i| member("p256", &format!("k{i}"))).collect();
    let mut without_kid = set(&[("p256", "a"), ("p384", "b")]);
    for jwk in without_kid["keys"].as_array_mut().unwrap() {
        jwk.as_object_mut().unwrap().remove("kid");
    }
    for bad in [
        json!([]),
        json!({}),
        json!({ "keys": {} }),
        json!({ "keys": [] }),
        json!({ "keys": ["x"] }),
        json!({ "keys": [private] }),
        json!({ "keys": [member("p256", "a"), { "kty": "oct", "k": "AAAA" }] }),
        json!({ "keys": [member("p256", "a"), member("p384", "a")] }),
        json!({ "keys": [member("smallRsa", "s"), member("k256", "k")] }),
        json!({ "keys": many }),
        without_kid,
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
    assert!(world.notices[0].text.contains("name `algorithms`"), "{}", world.notices[0].text);
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
