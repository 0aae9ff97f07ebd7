//! Several issuers: each has its own keys, and the keys of one are invalid for another.

use super::*;
use crate::token::issuer::Issuer;

const OTHER: &str = "https://other.example";

fn issuer(name: &str, pair: &str, kid: &str) -> Value {
    let mut jwk = key(pair, "publicJwk");
    jwk["kid"] = json!(kid);
    json!({ "issuer": name, "audience": AUDIENCE, "jwks": { "keys": [jwk] } })
}

fn two() -> Value {
    json!({ "issuers": [issuer(ISSUER, "p256", "k1"), issuer(OTHER, "p384", "k1")] })
}

fn parse(options: &Value) -> Result<TokenConfig, crate::error::ConfigError> {
    TokenConfig::parse("jwt", options)
}

fn token(pair: &str, kid: &str, more: &Value) -> String {
    use jsonwebtoken::Algorithm as Alg;
    let alg = if pair == "p256" { Alg::ES256 } else { Alg::ES384 };
    let header = json!({ "alg": format!("{alg:?}"), "kid": kid });
    signed_as(&header.to_string(), &claims_with(more), alg, pair)
}

#[test]
fn the_same_kid_of_two_issuers_is_two_keys() {
    let verifier = Verifier::new(Arc::new(parse(&two()).unwrap()));
    for (pair, name) in [("p256", ISSUER), ("p384", OTHER)] {
        let found = verifier.verify(&token(pair, "k1", &json!({ "iss": name })), now()).unwrap();
        assert_eq!(&*found.issuer, name);
    }
    // Signed with the other issuer's key of the same name: that key is not tried.
    for (pair, name) in [("p384", ISSUER), ("p256", OTHER)] {
        let forged = token(pair, "k1", &json!({ "iss": name }));
        assert_eq!(denial(&verifier, &forged), TokenError::Algorithm);
    }
    let mut same_alg = two();
    same_alg["issuers"][1] = json!({ "issuer": OTHER, "audience": AUDIENCE, "secret": secret() });
    same_alg["issuers"][0] =
        json!({ "issuer": ISSUER, "audience": AUDIENCE, "secret": secret().repeat(2) });
    let verifier = Verifier::new(Arc::new(parse(&same_alg).unwrap()));
    assert!(verifier.verify(&hs256_claims(&claims_with(&json!({ "iss": OTHER }))), now()).is_ok());
    assert_eq!(denial(&verifier, &hs256_claims(&claims_with(&json!({})))), TokenError::Signature);
}

#[test]
fn the_issuer_of_a_token_is_read_strictly_before_its_signature() {
    let verifier = Verifier::new(Arc::new(parse(&two()).unwrap()));
    for (iss, denied) in [
        (json!("https://unknown.example"), TokenError::Issuer),
        (json!(format!("{ISSUER}/")), TokenError::Issuer),
        (json!(ISSUER.to_uppercase()), TokenError::Issuer),
        (json!([ISSUER]), TokenError::Claims(ClaimError::Kind("iss"))),
        (json!({}), TokenError::Claims(ClaimError::Kind("iss"))),
        (json!(null), TokenError::Claims(ClaimError::Kind("iss"))),
        (json!("\0gone"), TokenError::Claims(ClaimError::Missing("iss"))),
    ] {
        assert_eq!(
            denial(&verifier, &token("p256", "k1", &json!({ "iss": iss }))),
            denied,
            "{iss}"
        );
    }
    // Two `iss` in one text could mean two issuers to two readers.
    let header = segment(r#"{"alg":"ES256","kid":"k1"}"#);
    let payload = segment(format!(r#"{{"iss":"{ISSUER}","iss":"{OTHER}"}}"#));
    assert_eq!(denial(&verifier, &format!("{header}.{payload}.c2ln")), TokenError::Malformed);
}

#[test]
fn each_issuer_has_its_own_audience_and_its_own_rules() {
    let mut options = two();
    options["issuers"][1]["audience"] = json!("other-api");
    options["issuers"][1]["typ"] = json!("at+jwt");
    options["issuers"][0]["maxLifetime"] = json!("10m");
    options["maxLifetime"] = json!("20m");
    let config = Arc::new(parse(&options).unwrap());
    let lifetimes: Vec<u64> = config.issuers().map(|one| one.max_lifetime().as_secs()).collect();
    assert_eq!(lifetimes, [600, 1200], "its own word counts before the one for all");
    let verifier = Verifier::new(config);
    assert_eq!(denial(&verifier, &token("p256", "k1", &json!({}))), TokenError::Lifetime);
    let other = |aud: &str| token("p384", "k1", &json!({ "iss": OTHER, "aud": aud }));
    assert_eq!(denial(&verifier, &other(AUDIENCE)), TokenError::Type);
    options["issuers"][1].as_object_mut().unwrap().remove("typ");
    let verifier = Verifier::new(Arc::new(parse(&options).unwrap()));
    assert_eq!(denial(&verifier, &other(AUDIENCE)), TokenError::Audience);
    assert!(verifier.verify(&other("other-api"), now()).is_ok());
}

#[test]
fn a_subject_of_a_trust_domain_is_taken_from_nobody_else() {
    let mut options = two();
    let mut jwk = key("p384", "publicJwk");
    jwk["kid"] = json!("k1");
    jwk["use"] = json!("jwt-svid");
    options["issuers"][1] = json!({ "preset": "spiffe", "issuer": "spiffe://example.org", "audience": AUDIENCE, "jwks": { "keys": [jwk] } });
    let verifier = Verifier::new(Arc::new(parse(&options).unwrap()));
    let svid = json!({ "sub": "spiffe://example.org/billing" });
    // The first issuer signs it and is trusted, but it does not own this subject.
    assert_eq!(denial(&verifier, &token("p256", "k1", &svid)), TokenError::Algorithm);
    assert!(verifier.verify(&token("p384", "k1", &svid), now()).is_ok());
    assert!(verifier.verify(&token("p256", "k1", &json!({ "sub": "ada" })), now()).is_ok());
    let named = json!({ "iss": "spiffe://example.org", "sub": "ada" });
    assert_eq!(denial(&verifier, &token("p384", "k1", &named)), TokenError::Issuer);
}

#[test]
fn the_first_issuer_that_has_a_private_key_signs() {
    let mut options = two();
    options["issuers"][1] = json!({ "issuer": OTHER, "audience": "them", "secret": secret() });
    let config = Arc::new(parse(&options).unwrap());
    let signer = Signer::new(Arc::clone(&config)).unwrap();
    assert_eq!(signer.issuer().name(), OTHER);
    let issued = signer.issue(Map::new(), IssueOptions::default(), now()).unwrap();
    let verified = Verifier::new(config).verify(&issued.token, now()).unwrap();
    assert_eq!((&*verified.issuer, &verified.claims.map()["aud"]), (OTHER, &json!("them")));
}

#[test]
fn options_that_can_not_be_meant_are_refused_by_name() {
    let url = "https://id.example.com/jwks";
    let one = |more: Value| {
        let mut one = json!({ "issuer": ISSUER, "audience": AUDIENCE });
        one.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        one
    };
    let mut beside = two();
    beside["issuer"] = json!(ISSUER);
    let mut twice = two();
    twice["issuers"][1]["issuer"] = json!(ISSUER);
    let mut no_audience = two();
    no_audience["issuers"][1].as_object_mut().unwrap().remove("audience");
    let mut from = two();
    from["issuers"][0]["from"] = json!(["header"]);
    for (options, path, text) in [
        (beside, "jwt.issuer", "beside `issuers`"),
        (twice, "jwt.issuers[1].issuer", "twice"),
        (no_audience, "jwt.issuers[1].audience", "must be given"),
        (from, "jwt.issuers[0].from", "is not an option"),
        (json!({ "issuers": [] }), "jwt.issuers", "1 to 32"),
        (json!({ "issuers": {} }), "jwt.issuers", "a list"),
        (json!({ "issuers": ["x"] }), "jwt.issuers[0]", "an object"),
        (one(json!({})), "jwt", "`discovery`"),
        (one(json!({ "jwks": "x" })), "jwt.jwks", "must be a URL"),
        (one(json!({ "jwks": "http://id.example.com/jwks" })), "jwt.jwks", "https"),
        (one(json!({ "jwks": "http://localhost.evil.example/" })), "jwt.jwks", "https"),
        (one(json!({ "jwks": "file:///etc/passwd" })), "jwt.jwks", "https"),
        (one(json!({ "jwks": "https://user:pw@id.example.com/" })), "jwt.jwks", "without a user"),
        (one(json!({ "jwks": "https://id.example.com/#a" })), "jwt.jwks", "fragment"),
        (one(json!({ "jwks": " https://id.example.com/" })), "jwt.jwks", "whitespace"),
        (one(json!({ "jwks": "\0function" })), "jwt.jwks", "a function"),
        (one(json!({ "jwks": url, "secret": secret() })), "jwt.secret", "beside `jwks`"),
        (one(json!({ "jwks": url, "keys": [] })), "jwt.keys", "beside `jwks`"),
        (one(json!({ "jwks": url, "discovery": true })), "jwt.jwks", "beside `discovery`"),
        (one(json!({ "jwks": url, "algorithms": ["HS256"] })), "jwt.algorithms", "public"),
        (one(json!({ "jwks": url, "staleFor": "1m" })), "jwt.staleFor", "10m to 1d"),
        (one(json!({ "secret": secret(), "staleFor": "1h" })), "jwt.staleFor", "leave it out"),
        (one(json!({ "discovery": "x" })), "jwt.discovery", "'oauth'"),
        (one(json!({ "discovery": true, "issuer": "urn:me" })), "jwt.issuer", "https"),
        (
            one(json!({ "discovery": true, "issuer": "https://id.example.com?a=b" })),
            "jwt.issuer",
            "query",
        ),
        (one(json!({ "preset": "valt", "jwks": url })), "jwt.preset", "did you mean 'vault'"),
        (one(json!({ "preset": "spiffe", "jwks": url })), "jwt.issuer", "spiffe://example.org"),
        (one(json!({ "preset": "vault", "jwks": url })), "jwt.jwks", "beside `discovery`"),
        (
            one(json!({ "preset": "vault", "issuer": "https://v.example/ui" })),
            "jwt.issuer",
            "Vault",
        ),
        (one(json!({ "preset": "vault", "discovery": false })), "jwt.discovery", "preset"),
        (
            one(
                json!({ "preset": "spiffe", "issuer": "spiffe://a", "jwks": url, "algorithms": ["EdDSA"] }),
            ),
            "jwt.algorithms",
            "JWT-SVID",
        ),
        (
            one(
                json!({ "preset": "spiffe", "issuer": "spiffe://a", "jwks": url, "typ": "at+jwt" }),
            ),
            "jwt.typ",
            "'JOSE'",
        ),
    ] {
        let error = parse(&options).unwrap_err();
        assert_eq!(error.path(), path, "{error}");
        assert!(error.to_string().contains(text), "{error}");
    }
}

#[test]
fn metadata_is_where_its_standard_puts_it() {
    let url = |issuer: &str, more: Value| {
        let mut options = json!({ "issuer": issuer, "audience": AUDIENCE });
        options.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let config = parse(&options).unwrap();
        let one: &Issuer = config.issuers().next().unwrap();
        (one.name().to_owned(), one.remote().unwrap().due(now()).0.unwrap().url)
    };
    let oidc = json!({ "discovery": true });
    let oauth = json!({ "discovery": "oauth" });
    let vault = json!({ "preset": "vault" });
    for (issuer, more, name, at) in [
        (
            "https://a.example",
            &oidc,
            "https://a.example",
            "https://a.example/.well-known/openid-configuration",
        ),
        (
            "https://a.example/",
            &oidc,
            "https://a.example/",
            "https://a.example/.well-known/openid-configuration",
        ),
        (
            "https://a.example/t1",
            &oidc,
            "https://a.example/t1",
            "https://a.example/t1/.well-known/openid-configuration",
        ),
        (
            "http://127.0.0.1:8080",
            &oidc,
            "http://127.0.0.1:8080",
            "http://127.0.0.1:8080/.well-known/openid-configuration",
        ),
        (
            "http://[::1]:8080",
            &oidc,
            "http://[::1]:8080",
            "http://[::1]:8080/.well-known/openid-configuration",
        ),
        // RFC 8414 section 3.1.
        (
            "https://example.com/issuer1",
            &oauth,
            "https://example.com/issuer1",
            "https://example.com/.well-known/oauth-authorization-server/issuer1",
        ),
        (
            "https://example.com",
            &oauth,
            "https://example.com",
            "https://example.com/.well-known/oauth-authorization-server",
        ),
        (
            "https://vault.example:8200",
            &vault,
            "https://vault.example:8200/v1/identity/oidc",
            "https://vault.example:8200/v1/identity/oidc/.well-known/openid-configuration",
        ),
        (
            "https://vault.example/v1/team/identity/oidc/provider/main",
            &vault,
            "https://vault.example/v1/team/identity/oidc/provider/main",
            "https://vault.example/v1/team/identity/oidc/provider/main/.well-known/openid-configuration",
        ),
    ] {
        assert_eq!(url(issuer, more.clone()), (name.to_owned(), at.to_owned()));
    }
}
