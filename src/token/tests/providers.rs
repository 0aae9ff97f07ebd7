//! Options that take the tokens of providers as they are, and what must not pass through them.

use super::*;

const CLIENT: &str = "my-client";

fn parse(options: &Value) -> Result<TokenConfig, crate::error::ConfigError> {
    TokenConfig::parse("jwt", options)
}

/// An issuer whose tokens `client_id` binds to this API.
fn by_client(more: &Value) -> Verifier {
    let mut options = json!({
        "issuer": ISSUER, "audience": false, "claims": { "client_id": [CLIENT, "other-client"] }, "secret": secret(),
    });
    options.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    Verifier::new(Arc::new(parse(&options).unwrap()))
}

/// A token with these claims beside the usual ones; `null` removes one.
fn token(claims: &Value) -> String {
    let mut all = json!({ "iss": ISSUER, "sub": "42", "iat": NOW_S, "exp": NOW_S + 900, "client_id": CLIENT });
    for (name, value) in claims.as_object().unwrap() {
        if value.is_null() {
            all.as_object_mut().unwrap().remove(name);
        } else {
            all[name] = value.clone();
        }
    }
    hs256_claims(&all)
}

fn reason(verifier: &Verifier, claims: &Value) -> String {
    let denied = verifier.verify(&token(claims), now());
    denied.map_or_else(|error| error.reason().into_owned(), |_| "taken".to_owned())
}

#[test]
fn without_an_audience_the_client_binds_a_token_to_this_api() {
    let verifier = by_client(&json!({}));
    for (claims, expected) in [
        (json!({}), "taken"),
        (json!({ "client_id": "other-client" }), "taken"),
        (json!({ "aud": [] }), "taken"),
        (json!({ "client_id": "another" }), "claim_mismatch:client_id"),
        (json!({ "client_id": null }), "claim_missing:client_id"),
        (json!({ "client_id": ["another", CLIENT] }), "claim_mismatch:client_id"),
        (json!({ "client_id": [CLIENT] }), "claim_mismatch:client_id"),
        (json!({ "client_id": { "a": CLIENT } }), "claim_mismatch:client_id"),
        (json!({ "client_id": true }), "claim_mismatch:client_id"),
        (json!({ "client_id": "MY-CLIENT" }), "claim_mismatch:client_id"),
        // A token that names an audience is meant for that one.
        (json!({ "aud": "another-api" }), "audience_mismatch"),
        (json!({ "aud": ["another-api"] }), "audience_mismatch"),
        (json!({ "aud": true }), "audience_mismatch"),
        (json!({ "aud": "" }), "audience_mismatch"),
    ] {
        assert_eq!(reason(&verifier, &claims), expected, "{claims}");
    }
}

#[test]
fn an_issuer_whose_tokens_nothing_binds_to_this_api_is_refused() {
    let base = |more: &Value| {
        let mut options = json!({ "issuer": ISSUER, "audience": false, "secret": secret() });
        options.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        parse(&options)
    };
    assert!(base(&json!({ "dedicatedIssuer": true })).is_ok());
    for (more, path) in [
        (json!({}), "jwt.audience"),
        (json!({ "claims": { "token_use": "access" } }), "jwt.audience"),
        (json!({ "claims": { "client_id": true } }), "jwt.audience"),
        (json!({ "dedicatedIssuer": false }), "jwt.audience"),
        (json!({ "dedicatedIssuer": true, "audience": "api" }), "jwt.dedicatedIssuer"),
        (json!({ "claims": { "aud": "api" } }), "jwt.claims.aud"),
        (json!({ "claims": { "/aud": "api" } }), "jwt.claims./aud"),
        (json!({ "claims": { "/cnf/jkt": "x" } }), "jwt.claims./cnf/jkt"),
        (json!({ "claims": { "/a~2": "x" } }), "jwt.claims./a~2"),
        (json!({ "claims": { "/a~": "x" } }), "jwt.claims./a~"),
        (json!({ "claims": {} }), "jwt.claims"),
        (json!({ "claims": { "client_id": [] } }), "jwt.claims.client_id"),
        (json!({ "claims": { "client_id": 1.5 } }), "jwt.claims.client_id"),
        (json!({ "claims": { "client_id": null } }), "jwt.claims.client_id"),
    ] {
        assert_eq!(base(&more).unwrap_err().path(), path, "{more}");
    }
}

#[test]
fn claims_are_named_by_pointers_and_compared_by_kind() {
    let verifier = by_client(&json!({ "claims": { "client_id": CLIENT, "/a/b~1c": [1, true] } }));
    for (claims, expected) in [
        (json!({ "a": { "b/c": 1 } }), "taken"),
        (json!({ "a": { "b/c": [5, true] } }), "taken"),
        (json!({ "a": { "b/c": "1" } }), "claim_mismatch:/a/b~1c"),
        (json!({ "a": { "b/c": false } }), "claim_mismatch:/a/b~1c"),
        (json!({ "a": { "b": { "c": 1 } } }), "claim_missing:/a/b~1c"),
        (json!({ "/a/b~1c": 1 }), "claim_missing:/a/b~1c"),
        (json!({}), "claim_missing:/a/b~1c"),
    ] {
        assert_eq!(reason(&verifier, &claims), expected, "{claims}");
    }
}

const TEMPLATE: &str = "https://login.example.com/{tenantid}/v2.0";

fn tenants(list: &Value, jwk_issuer: Option<&str>) -> Result<Verifier, crate::error::ConfigError> {
    let mut jwk = key("p256", "publicJwk");
    jwk["kid"] = json!("a");
    if let Some(issuer) = jwk_issuer {
        jwk["issuer"] = json!(issuer);
    }
    let options = json!({ "issuer": TEMPLATE, "tenants": list, "audience": "api", "jwks": { "keys": [jwk] } });
    Ok(Verifier::new(Arc::new(parse(&options)?)))
}

fn tenant_token(tenant: &str, tid: &Value) -> String {
    let claims = json!({
        "iss": TEMPLATE.replace("{tenantid}", tenant), "aud": "api", "tid": tid, "iat": NOW_S, "exp": NOW_S + 900,
    });
    signed_as(r#"{"alg":"ES256","kid":"a"}"#, &claims, jsonwebtoken::Algorithm::ES256, "p256")
}

#[test]
fn a_token_of_a_tenant_is_bound_to_it_by_iss_tid_and_key() {
    let why = |verifier: &Verifier, token: &str| {
        let denied = verifier.verify(token, now());
        denied.map_or_else(|error| error.reason().into_owned(), |_| "taken".to_owned())
    };
    for jwk_issuer in [None, Some(TEMPLATE)] {
        let verifier = tenants(&json!(["t1", "t2"]), jwk_issuer).unwrap();
        for (tenant, tid, expected) in [
            ("t1", json!("t1"), "taken"),
            ("t2", json!("t2"), "taken"),
            ("t3", json!("t3"), "tenant_unknown"),
            ("t1", json!("t2"), "claim_mismatch:tid"),
            ("t1", json!(["t1"]), "claim_mismatch:tid"),
            ("T1", json!("T1"), "tenant_unknown"),
            ("{tenantid}", json!("{tenantid}"), "issuer_unknown"),
            ("t1/../t2", json!("t1/../t2"), "issuer_unknown"),
            ("", json!(""), "issuer_unknown"),
        ] {
            assert_eq!(why(&verifier, &tenant_token(tenant, &tid)), expected, "{tenant} {tid}");
        }
    }
    let own = TEMPLATE.replace("{tenantid}", "t1");
    let verifier = tenants(&json!("any"), Some(&own)).unwrap();
    assert_eq!(why(&verifier, &tenant_token("t1", &json!("t1"))), "taken");
    assert_eq!(why(&verifier, &tenant_token("t2", &json!("t2"))), "kid_unknown");
}

#[test]
fn a_key_that_names_an_issuer_signs_for_no_other_one() {
    let with = |issuer: Value, jwk_issuer: Value| {
        let mut jwk = key("p256", "publicJwk");
        jwk["kid"] = json!("a");
        jwk["issuer"] = jwk_issuer;
        parse(&json!({ "issuer": issuer, "audience": AUDIENCE, "jwks": { "keys": [jwk] } }))
    };
    let token = signed_as(
        r#"{"alg":"ES256","kid":"a"}"#,
        &claims_with(&json!({})),
        jsonwebtoken::Algorithm::ES256,
        "p256",
    );
    let own = Verifier::new(Arc::new(with(json!(ISSUER), json!(ISSUER)).unwrap()));
    assert!(own.verify(&token, now()).is_ok());
    let other =
        Verifier::new(Arc::new(with(json!(ISSUER), json!("https://other.example")).unwrap()));
    assert_eq!(other.verify(&token, now()).unwrap_err(), TokenError::Key);
    for odd in [json!(5), json!(null), json!([ISSUER]), json!({}), json!("")] {
        assert!(with(json!(ISSUER), odd.clone()).is_err(), "{odd}");
    }
}

#[test]
fn no_template_covers_the_name_of_another_issuer() {
    let issuer = |name: &str| {
        let mut options = json!({ "issuer": name, "audience": "api", "secret": secret() });
        if name.contains('{') {
            options["tenants"] = json!("any");
        }
        options
    };
    let both = |one: &str, other: &str| parse(&json!({ "issuers": [issuer(one), issuer(other)] }));
    assert!(both(TEMPLATE, "https://login.example.com/v2.0").is_ok());
    assert!(both(TEMPLATE, "https://other.example.com/{tenantid}/v2.0").is_ok());
    for (one, other) in [
        (TEMPLATE, "https://login.example.com/t1/v2.0"),
        (TEMPLATE, TEMPLATE),
        (TEMPLATE, "https://login.example.com/{tenantid}"),
        (TEMPLATE, "https://login.{tenantid}/v2.0"),
    ] {
        for (first, second) in [(one, other), (other, one)] {
            assert_eq!(
                both(first, second).unwrap_err().path(),
                "jwt.issuers[1].issuer",
                "{first} {second}"
            );
        }
    }
}

#[test]
fn a_token_without_iat_is_bounded_by_its_end_and_covered_by_every_revocation() {
    let verifier = by_client(&json!({ "iat": "optional", "maxLifetime": "1h" }));
    let without = |exp: u64| json!({ "iat": null, "exp": exp });
    assert_eq!(reason(&verifier, &without(NOW_S + 3600)), "taken");
    assert_eq!(reason(&verifier, &without(NOW_S + 3600 + 11)), "lifetime_over_max");
    assert_eq!(reason(&verifier, &without(NOW_S - 11)), "token_expired");
    assert_eq!(verifier.verify(&token(&without(NOW_S + 900)), now()).unwrap().issued_at, 0);
    assert_eq!(reason(&by_client(&json!({})), &without(NOW_S + 900)), "claim_missing:iat");
}

#[test]
fn a_subject_that_is_a_number_is_taken_by_name_alone() {
    let lenient = by_client(&json!({ "subject": "lenient" }));
    for (sub, expected) in [
        (json!(42), Some(Some("42"))),
        (json!("42"), Some(Some("42"))),
        (json!(""), Some(None)),
        (json!(-1), None),
        (json!(1.5), None),
        (json!([42]), None),
        (json!(true), None),
    ] {
        let found = lenient.verify(&token(&json!({ "sub": sub })), now());
        let subject = found.as_ref().ok().map(|verified| verified.subject.as_deref());
        assert_eq!(subject, expected, "{sub}");
    }
    assert_eq!(reason(&by_client(&json!({})), &json!({ "sub": 42 })), "claim_kind:sub");
    assert_eq!(reason(&by_client(&json!({})), &json!({ "sub": "" })), "claim_kind:sub");
}

#[test]
fn a_large_token_is_taken_up_to_the_size_that_the_options_name() {
    let pad = |bytes: usize| json!({ "pad": "x".repeat(bytes) });
    assert_eq!(reason(&by_client(&json!({})), &pad(7000)), "token_too_large");
    let large = by_client(&json!({ "maxTokenSize": "32kb" }));
    assert_eq!(reason(&large, &pad(20_000)), "taken");
    assert_eq!(reason(&large, &pad(30_000)), "token_too_large");
}
