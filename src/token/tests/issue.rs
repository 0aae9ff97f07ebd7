//! Issuing tokens.

use std::time::Duration;

use super::*;

fn signer(more: &Value) -> Signer {
    Signer::new(config(more)).unwrap()
}

fn object(value: &Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

fn issue(signer: &Signer, claims: &Value) -> Result<Issued, IssueError> {
    signer.issue(object(claims), IssueOptions::default(), now())
}

fn header_of(token: &str) -> Value {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap()).unwrap())
        .unwrap()
}

#[test]
fn an_issued_token_has_what_an_access_token_needs_and_is_verified() {
    let more = json!({ "secret": secret() });
    let issued = issue(&signer(&more), &json!({ "sub": "42", "role": "user" })).unwrap();
    assert_eq!(header_of(&issued.token), json!({ "alg": "HS256", "typ": "at+jwt" }));
    let verified = verifier(&more).verify(&issued.token, now()).unwrap();
    assert_eq!(
        Value::Object(verified.claims.map().clone()),
        json!({ "iss": ISSUER, "aud": AUDIENCE, "sub": "42", "role": "user", "iat": NOW_S, "exp": NOW_S + 900, "jti": issued.jti, "sid": issued.session })
    );
    assert_eq!(issued.expires_in_s, 900);
    assert_eq!(URL_SAFE_NO_PAD.decode(&issued.jti).unwrap().len(), 16);
}

#[test]
fn no_two_tokens_have_the_same_jti() {
    let signer = signer(&json!({ "secret": secret() }));
    let ids: std::collections::HashSet<String> =
        (0..100).map(|_| issue(&signer, &json!({})).unwrap().jti).collect();
    assert_eq!(ids.len(), 100);
}

#[test]
fn claims_that_the_guard_sets_are_not_overridden() {
    let signer = signer(&json!({ "secret": secret(), "audience": ["a", "b"] }));
    for (claims, error) in [
        (json!({ "exp": 1 }), IssueError::Reserved("exp")),
        (json!({ "iat": 1 }), IssueError::Reserved("iat")),
        (json!({ "jti": "x" }), IssueError::Reserved("jti")),
        (json!({ "iss": "https://evil.example" }), IssueError::Foreign("iss")),
        (json!({ "aud": "c" }), IssueError::Foreign("aud")),
        (json!({ "aud": ["a", "c"] }), IssueError::Foreign("aud")),
        (json!({ "aud": [] }), IssueError::Foreign("aud")),
    ] {
        assert_eq!(issue(&signer, &claims), Err(error), "{claims}");
    }
    assert!(issue(&signer, &json!({ "iss": ISSUER, "aud": "a" })).is_ok());
    assert!(issue(&signer, &json!({ "aud": ["b"] })).is_ok());
}

#[test]
fn what_the_verifier_would_refuse_is_not_issued() {
    let signer = signer(&json!({ "secret": secret() }));
    for claims in [
        json!({ "sub": 42 }),
        json!({ "sid": "" }),
        json!({ "nbf": "soon" }),
        json!({ "nbf": NOW_S * 1000 }),
        json!({ "cnf": {} }),
        json!({ "uid": 9_007_199_254_740_993_u64 }),
        json!({ "a": { "__proto__": 1 } }),
        json!({ "a": [[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]] }),
    ] {
        assert!(matches!(issue(&signer, &claims), Err(IssueError::Claims(_))), "{claims}");
    }
    assert_eq!(issue(&signer, &json!({ "a": "x".repeat(7_000) })), Err(IssueError::TooLong));
}

#[test]
fn a_lifetime_is_at_most_the_one_that_is_taken() {
    let signer = signer(&json!({ "secret": secret(), "maxLifetime": "10m" }));
    let issue = |seconds| {
        let options = IssueOptions { expires_in: Some(Duration::from_secs(seconds)), after: None };
        signer.issue(Map::new(), options, now()).map(|issued| issued.expires_in_s)
    };
    assert_eq!(
        (issue(0), issue(1), issue(600), issue(601)),
        (Err(IssueError::Lifetime), Ok(1), Ok(600), Err(IssueError::Lifetime))
    );
    assert_eq!(signer.issue(Map::new(), IssueOptions::default(), now()).unwrap().expires_in_s, 600);
}

#[test]
fn the_newest_private_key_signs_and_the_old_one_still_verifies() {
    let more = json!({ "secret": secret(), "keys": [
        { "kid": "2026", "alg": "ES256", "key": key("p256", "privatePem"), "notBefore": 1_700_000_000, "notAfter": NOW_S + 1_000 },
        { "kid": "2027", "alg": "EdDSA", "key": key("ed25519", "privateJwk"), "notBefore": NOW_S },
        { "kid": "theirs", "alg": "RS256", "key": key("rsa", "publicPem"), "notBefore": NOW_S },
    ] });
    let signer = signer(&more);
    let kid = |seconds| {
        let issued = signer.issue(Map::new(), IssueOptions::default(), at(seconds)).unwrap();
        (header_of(&issued.token)["kid"].clone(), issued.token)
    };
    let (old_kid, old) = kid(NOW_S - 1);
    let (new_kid, new) = kid(NOW_S);
    assert_eq!((old_kid, new_kid), (json!("2026"), json!("2027")));
    let verifier = verifier(&more);
    assert!(verifier.verify(&old, now()).is_ok() && verifier.verify(&new, now()).is_ok());
}

#[test]
fn the_published_set_has_public_keys_alone() {
    let more = json!({ "secret": secret(), "keys": [
        { "kid": "a", "alg": "ES512", "key": key("p521", "privatePem") },
        { "kid": "b", "alg": "RS256", "key": key("rsa", "privateJwk") },
        { "kid": "over", "alg": "EdDSA", "key": key("ed25519", "publicPem"), "notAfter": NOW_S },
    ] });
    let set = signer(&more).jwks(now());
    let keys = set["keys"].as_array().unwrap();
    assert_eq!(keys.len(), 2);
    for (published, (kid, name, alg)) in
        keys.iter().zip([("a", "p521", "ES512"), ("b", "rsa", "RS256")])
    {
        let mut wanted = key(name, "publicJwk");
        (wanted["kid"], wanted["alg"], wanted["use"]) = (json!(kid), json!(alg), json!("sig"));
        assert_eq!(*published, wanted);
    }
}

#[test]
fn a_guard_that_only_has_public_keys_has_no_signer() {
    assert!(
        Signer::new(config(
            &json!({ "keys": [{ "alg": "ES256", "key": key("p256", "publicPem") }] })
        ))
        .is_none()
    );
}

#[test]
fn a_named_typ_is_the_one_that_is_issued() {
    let more = json!({ "secret": secret(), "typ": "JWT" });
    let issued = issue(&signer(&more), &json!({})).unwrap();
    assert_eq!(header_of(&issued.token)["typ"], "jwt");
    assert!(verifier(&more).verify(&issued.token, now()).is_ok());
}
