//! The claims of a verified token, and the refusal of early, late and wrong ones.

use super::*;

#[test]
fn the_articles_token_is_verified() {
    let verified = with_secret()
        .verify(&hs256_claims(&claims_with(&json!({ "jti": "a1", "sid": "s1" }))), now())
        .unwrap();
    assert_eq!(&*verified.issuer, ISSUER);
    assert_eq!(verified.subject.as_deref(), Some("42"));
    assert_eq!(verified.id.as_deref(), Some("a1"));
    assert_eq!(verified.session.as_deref(), Some("s1"));
    assert_eq!((verified.issued_at, verified.expires_at), (NOW_S, NOW_S + 900));
    assert_eq!(verified.key_id, None);
    assert_eq!(verified.fingerprint, Fingerprint::of_jti("a1"));
    assert_eq!(
        serde_json::from_str::<Value>(verified.claims.json()).unwrap(),
        Value::Object(verified.claims.map().clone())
    );
}

#[test]
fn the_article_s_wrong_issuer_and_wrong_audience_are_refused() {
    let verifier = with_secret();
    for (more, wanted) in [
        (json!({ "iss": "https://evil.example" }), TokenError::Issuer),
        (json!({ "iss": "https://secure.myapp.com/" }), TokenError::Issuer),
        (json!({ "iss": "HTTPS://secure.myapp.com" }), TokenError::Issuer),
        (json!({ "aud": "another-app" }), TokenError::Audience),
        (json!({ "aud": [] }), TokenError::Audience),
        (json!({ "aud": ["a", "My-Backend-App"] }), TokenError::Audience),
    ] {
        assert_eq!(denial(&verifier, &hs256_claims(&claims_with(&more))), wanted, "{more}");
    }
}

#[test]
fn one_of_several_audiences_is_enough_on_either_side() {
    let several = verifier(&json!({ "secret": secret(), "audience": ["x", AUDIENCE] }));
    let token = hs256_claims(&claims_with(&json!({ "aud": ["y", AUDIENCE] })));
    assert!(several.verify(&token, now()).is_ok());
    assert!(with_secret().verify(&token, now()).is_ok());
}

#[test]
fn a_token_is_taken_from_its_time_to_its_expiry_with_ten_seconds_of_tolerance() {
    let verifier = with_secret();
    let token = hs256_claims(&claims_with(&json!({ "nbf": NOW_S + 5 })));
    let verdict = |seconds| verifier.verify(&token, at(seconds)).map(|_| ());
    assert_eq!(verdict(NOW_S - 6), Err(TokenError::NotYetValid));
    assert_eq!(verdict(NOW_S - 5), Ok(()));
    assert_eq!(verdict(NOW_S + 909), Ok(()));
    assert_eq!(verdict(NOW_S + 910), Err(TokenError::Expired));
    let future = hs256_claims(&claims_with(&json!({ "iat": NOW_S + 11 })));
    assert_eq!(denial(&verifier, &future), TokenError::NotYetValid);
}

#[test]
fn without_tolerance_a_token_ends_at_its_expiry() {
    let strict = verifier(&json!({ "secret": secret(), "clockTolerance": "0s" }));
    let token = hs256_claims(&Value::Object(claims()));
    assert!(strict.verify(&token, at(NOW_S + 899)).is_ok());
    assert_eq!(strict.verify(&token, at(NOW_S + 900)).err(), Some(TokenError::Expired));
    assert_eq!(strict.verify(&token, at(NOW_S - 1)).err(), Some(TokenError::NotYetValid));
}

#[test]
fn times_may_have_fractions_of_a_second() {
    let token =
        hs256_claims(&claims_with(&json!({ "iat": 1_799_999_999.75, "exp": 1_800_000_000.25 })));
    let verified = with_secret().verify(&token, now()).unwrap();
    assert_eq!((verified.issued_at, verified.expires_at), (NOW_S - 1, NOW_S + 1));
}

#[test]
fn a_token_that_lives_longer_than_a_day_is_refused_unless_that_is_raised() {
    let day = claims_with(&json!({ "exp": NOW_S + 86_400 }));
    assert!(with_secret().verify(&hs256_claims(&day), now()).is_ok());
    let longer = hs256_claims(&claims_with(&json!({ "exp": NOW_S + 86_401 })));
    assert_eq!(denial(&with_secret(), &longer), TokenError::Lifetime);
    assert!(
        verifier(&json!({ "secret": secret(), "maxLifetime": "2d" }))
            .verify(&longer, now())
            .is_ok()
    );
}

#[test]
fn typ_is_absent_or_jwt_or_at_jwt_unless_one_is_named() {
    let token = |typ: &str| {
        hs256(&format!(r#"{{"alg":"HS256"{typ}}}"#), &Value::Object(claims()).to_string())
    };
    let named = verifier(&json!({ "secret": secret(), "typ": "application/at+jwt" }));
    for (typ, default, at_jwt) in [
        ("", true, false),
        (r#","typ":"JWT""#, true, false),
        (r#","typ":"jwt""#, true, false),
        (r#","typ":"at+jwt""#, true, true),
        (r#","typ":"application/AT+JWT""#, true, true),
        (r#","typ":"logout+jwt""#, false, false),
        (r#","typ":"JWE""#, false, false),
        (r#","typ":"""#, false, false),
    ] {
        assert_eq!(with_secret().verify(&token(typ), now()).is_ok(), default, "{typ}");
        assert_eq!(named.verify(&token(typ), now()).is_ok(), at_jwt, "{typ}");
    }
    assert_eq!(denial(&named, &token("")), TokenError::Type);
}

#[test]
fn a_token_without_a_jti_is_revoked_by_what_was_signed() {
    let verifier = with_secret();
    let (one, other) =
        (hs256_claims(&claims_with(&json!({}))), hs256_claims(&claims_with(&json!({ "n": 1 }))));
    let fingerprint = |token: &str| verifier.verify(token, now()).unwrap().fingerprint;
    assert_eq!(fingerprint(&one), fingerprint(&one));
    assert_ne!(fingerprint(&one), fingerprint(&other));
}

#[test]
fn a_second_signature_for_an_ecdsa_token_does_not_change_what_it_is_revoked_by() {
    let verifier =
        verifier(&json!({ "keys": [{ "alg": "ES256", "key": key("p256", "publicPem") }] }));
    let token = testdata()["tokens"]["ES256"].as_str().unwrap();
    let (message, signature) = token.rsplit_once('.').unwrap();
    // n - s is as valid as s: an attacker uses it to change a revoked token.
    let order: [u8; 32] = [
        0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc,
        0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
    ];
    let mut bytes = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let mut borrow = 0;
    for i in (0..32).rev() {
        let difference = i32::from(order[i]) - i32::from(bytes[32 + i]) - borrow;
        borrow = i32::from(difference < 0);
        bytes[32 + i] = u8::try_from(difference + 256 * borrow).unwrap();
    }
    let other = format!("{message}.{}", segment(bytes));
    assert_ne!(other, token);
    let fingerprint = |token: &str| verifier.verify(token, now()).unwrap().fingerprint;
    assert_eq!(fingerprint(&other), fingerprint(token));
}

#[test]
fn an_expired_token_can_still_be_revoked_and_a_forged_one_can_not() {
    let verifier = with_secret();
    let token = hs256_claims(&claims_with(&json!({ "jti": "a1" })));
    let later = at(NOW_S + 5_000);
    assert!(verifier.verify(&token, later).is_err());
    let revocable = verifier.revocable(&token, later).unwrap();
    assert_eq!(
        revocable,
        Revocable {
            fingerprint: Fingerprint::of_jti("a1"),
            expires_at: Some(NOW_S + 900),
            issuer: Some(Arc::from(ISSUER)),
        }
    );
    assert_eq!(verifier.revocable(&format!("{token}A"), now()).err(), Some(TokenError::Signature));
    assert_eq!(verifier.revocable("a1", now()).unwrap().fingerprint, Fingerprint::of_jti("a1"));
    assert!(verifier.revocable_token("a1", now()).is_err());
}

#[test]
fn keys_are_used_only_in_their_time() {
    let verifier = verifier(&json!({ "keys": [
        { "kid": "old", "alg": "ES256", "key": key("p256", "publicPem"), "notAfter": NOW_S },
        { "kid": "new", "alg": "EdDSA", "key": key("ed25519", "publicPem"), "notBefore": NOW_S },
    ] }));
    let claims = claims_with(&json!({ "iat": NOW_S - 1 }));
    let old = signed_as(
        r#"{"alg":"ES256","kid":"old"}"#,
        &claims,
        jsonwebtoken::Algorithm::ES256,
        "p256",
    );
    let new = signed_as(
        r#"{"alg":"EdDSA","kid":"new"}"#,
        &claims,
        jsonwebtoken::Algorithm::EdDSA,
        "ed25519",
    );
    let verdict = |token: &str, seconds| {
        verifier.verify(token, at(seconds)).map(|v| v.key_id.clone().unwrap().to_string())
    };
    assert_eq!(verdict(&old, NOW_S - 1), Ok("old".to_owned()));
    assert_eq!(verdict(&old, NOW_S), Err(TokenError::Key));
    assert_eq!(verdict(&new, NOW_S - 1), Err(TokenError::Key));
    assert_eq!(verdict(&new, NOW_S), Ok("new".to_owned()));
}
