//! Requirements of a route, met and not met.

use super::Requirements;
use crate::config::options::Options;
use crate::token::tests::*;

fn demands(value: &Value) -> Result<Requirements, crate::error::ConfigError> {
    Requirements::parse(&Options::read("", value, &["scope", "role", "claims", "maxAge"]).unwrap())
}

/// The status and code of the answer for a token with these claims; 200 if all requirements are
/// met.
fn outcome(demanded: &Value, more: &Value) -> (u16, &'static str) {
    let demands = demands(demanded).unwrap();
    let token = hs256_claims(&claims_with(more));
    let verified = with_secret().verify(&token, now()).unwrap();
    match demands.check(&verified, now(), 10_000_000) {
        Ok(()) => (200, ""),
        Err(unmet) => {
            let refusal = unmet.to_refusal(Scheme::Bearer, &[]);
            (refusal.status, refusal.code)
        }
    }
}

#[test]
fn who_lacks_a_role_or_a_claim_is_not_told_to_get_another_token() {
    for demanded in [json!({ "role": "admin" }), json!({ "claims": { "plan": "gold" } })] {
        let demands = demands(&demanded).unwrap();
        let token = hs256_claims(&claims_with(&json!({ "role": "user", "plan": "free" })));
        let verified = with_secret().verify(&token, now()).unwrap();
        let refusal = demands
            .check(&verified, now(), 10_000_000)
            .unwrap_err()
            .to_refusal(Scheme::Bearer, &[]);
        assert_eq!((refusal.status, refusal.headers.len()), (403, 0), "{demanded}");
    }
}

#[test]
fn all_scopes_and_one_of_the_roles_are_needed() {
    let scope = (403, "insufficient_scope");
    let role = (403, "insufficient_role");
    let ok = (200, "");
    for (demanded, claims, wanted) in [
        (json!({ "scope": "read" }), json!({ "scope": "read" }), ok),
        (json!({ "scope": "read" }), json!({ "scope": "write  read admin" }), ok),
        (json!({ "scope": "read write" }), json!({ "scope": "read" }), scope),
        (json!({ "scope": ["read", "write"] }), json!({ "scope": "write read" }), ok),
        (json!({ "scope": ["read", "write"] }), json!({ "scp": ["write", "read"] }), ok),
        (json!({ "scope": "read" }), json!({ "scp": "write read" }), ok),
        (json!({ "scope": "read" }), json!({ "scope": ["read"] }), ok),
        // `scope` takes precedence over `scp`.
        (json!({ "scope": "read" }), json!({ "scope": "write", "scp": ["read"] }), scope),
        (json!({ "scope": "read" }), json!({}), scope),
        (json!({ "scope": "read" }), json!({ "scope": "" }), scope),
        (json!({ "scope": "read" }), json!({ "scope": "Read" }), scope),
        (json!({ "scope": "read" }), json!({ "scope": "read,write" }), scope),
        (json!({ "scope": "read" }), json!({ "scope": "read\twrite" }), scope),
        (json!({ "scope": "read" }), json!({ "scope": "reads" }), scope),
        (json!({ "scope": "read" }), json!({ "scope": { "read": true } }), scope),
        (json!({ "scope": "read" }), json!({ "scope": null }), scope),
        (json!({ "role": "admin" }), json!({ "role": "admin" }), ok),
        (json!({ "role": ["admin", "owner"] }), json!({ "roles": ["user", "owner"] }), ok),
        (json!({ "role": "admin" }), json!({ "role": ["admin"] }), ok),
        (json!({ "role": "admin" }), json!({ "roles": "admin" }), ok),
        (json!({ "role": "admin" }), json!({ "role": "admin user" }), role),
        (json!({ "role": "admin" }), json!({ "role": "Admin" }), role),
        (json!({ "role": "admin" }), json!({ "roles": [["admin"], { "admin": 1 }] }), role),
        (json!({ "role": "admin" }), json!({ "role": true }), role),
        (json!({ "role": "admin" }), json!({ "plan": "admin" }), role),
        (json!({ "role": "admin", "scope": "read" }), json!({ "role": "admin" }), scope),
        (json!({}), json!({}), ok),
    ] {
        assert_eq!(outcome(&demanded, &claims), wanted, "{demanded} {claims}");
    }
}

#[test]
fn claims_are_compared_by_kind_and_value() {
    let (ok, no) = ((200, ""), (403, "insufficient_claims"));
    for (demanded, claims, wanted) in [
        (json!({ "email_verified": true }), json!({ "email_verified": true }), ok),
        (json!({ "email_verified": true }), json!({ "email_verified": "true" }), no),
        (json!({ "email_verified": true }), json!({ "email_verified": 1 }), no),
        (json!({ "email_verified": true }), json!({}), no),
        (json!({ "level": 3 }), json!({ "level": 3.0 }), ok),
        (json!({ "level": 3 }), json!({ "level": "3" }), no),
        (json!({ "level": [2, 3] }), json!({ "level": 3 }), ok),
        (json!({ "acr": ["a", "b"] }), json!({ "acr": "b" }), ok),
        (json!({ "acr": ["a", "b"] }), json!({ "acr": "c" }), no),
        (json!({ "groups": "ops" }), json!({ "groups": ["dev", "ops"] }), ok),
        (json!({ "groups": "ops" }), json!({ "groups": [["ops"]] }), no),
        (json!({ "groups": "ops" }), json!({ "groups": { "ops": "ops" } }), no),
        (json!({ "/realm/level": 3 }), json!({ "realm": { "level": 3 } }), ok),
        (json!({ "/realm/level": 3 }), json!({ "/realm/level": 3 }), no),
        (json!({ "/realm/0": 3 }), json!({ "realm": [3] }), no),
        (json!({ "/a~1b/c~0d": "x" }), json!({ "a/b": { "c~d": "x" } }), ok),
        (json!({ "a/b": "x" }), json!({ "a/b": "x" }), ok),
        (json!({ "tenant": "t1", "level": 1 }), json!({ "tenant": "t1" }), no),
        (json!({ "tenant": "t1" }), json!({ "tenant": null }), no),
    ] {
        assert_eq!(outcome(&json!({ "claims": demanded }), &claims), wanted, "{demanded} {claims}");
    }
}

#[test]
fn a_login_must_be_recent_and_known() {
    let (ok, no) = ((200, ""), (401, "insufficient_user_authentication"));
    for (claims, wanted) in [
        (json!({ "auth_time": NOW_S }), ok),
        (json!({ "auth_time": NOW_S - 299 }), ok),
        (json!({ "auth_time": NOW_S - 309 }), ok),
        (json!({ "auth_time": NOW_S - 310 }), no),
        (json!({ "auth_time": NOW_S + 10 }), ok),
        (json!({ "auth_time": NOW_S + 11 }), no),
        (json!({ "auth_time": NOW_S * 1000 }), no),
        (json!({ "auth_time": NOW_S.to_string() }), no),
        (json!({ "auth_time": null }), no),
        // `iat` is no proof of a login: every refresh renews it.
        (json!({}), no),
    ] {
        assert_eq!(outcome(&json!({ "maxAge": "5m" }), &claims), wanted, "{claims}");
    }
}

#[test]
fn the_challenge_says_what_is_needed() {
    let told = |demanded: Value| {
        let demands = demands(&demanded).unwrap();
        let verified =
            with_secret().verify(&hs256_claims(&Value::Object(claims())), now()).unwrap();
        let unmet = demands.check(&verified, now(), 0).unwrap_err();
        unmet.to_refusal(Scheme::Bearer, &[])
    };
    let challenge = |demanded| told(demanded).headers[0].1.clone();
    assert_eq!(
        challenge(json!({ "scope": ["read", "orders:write"] })),
        "Bearer realm=\"api\", error=\"insufficient_scope\", error_description=\"a scope that is needed here is missing\", scope=\"read orders:write\""
    );
    assert_eq!(
        challenge(json!({ "maxAge": "5m" })),
        "Bearer realm=\"api\", error=\"insufficient_user_authentication\", error_description=\"a more recent login is needed here\", max_age=\"300\""
    );
    // The answer must not reveal the required role or claim.
    for demanded in [json!({ "role": "hidden" }), json!({ "claims": { "hidden": "x" } })] {
        assert!(!format!("{:?}", told(demanded)).contains("hidden"));
    }
}

#[test]
fn the_challenge_keeps_the_scopes_of_the_token_within_bounds() {
    let challenge = |demanded: Value, granted: &[&str]| {
        let demands = demands(&demanded).unwrap();
        let verified =
            with_secret().verify(&hs256_claims(&Value::Object(claims())), now()).unwrap();
        let unmet = demands.check(&verified, now(), 0).unwrap_err();
        let text = unmet.to_refusal(Scheme::Bearer, granted).headers[0].1.clone();
        text.split("scope=\"").nth(1).and_then(|rest| rest.strip_suffix('"')).map(str::to_owned)
    };
    let scoped = |granted: &[&str]| challenge(json!({ "scope": "write" }), granted).unwrap();
    assert_eq!(scoped(&["read", "write", "read", "list"]), "write read list");
    // Not all that is in a claim may stand in a header.
    assert_eq!(scoped(&["a\"b", "a\\b", "\u{e9}", "a\nb", "read"]), "write read");
    let long = "x".repeat(600);
    assert_eq!(scoped(&[&long, &format!("{long}y"), "z"]), format!("write {long} z"));
    let many: Vec<String> = (0..200).map(|i| i.to_string()).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(scoped(&many).split(' ').count(), 101);
    let aged = |granted: &[&str]| challenge(json!({ "maxAge": "5m" }), granted);
    assert_eq!(aged(&["read", "list"]).unwrap(), "read list");
    assert_eq!(aged(&[]), None);
}

#[test]
fn what_cannot_be_demanded_is_refused_by_its_path() {
    for (value, path) in [
        (json!({ "scope": "" }), "scope"),
        (json!({ "scope": [] }), "scope"),
        (json!({ "scope": "a  b" }), "scope"),
        (json!({ "scope": "a\"b" }), "scope"),
        (json!({ "scope": ["a", 5] }), "scope[1]"),
        (json!({ "scope": ["a b"] }), "scope[0]"),
        (json!({ "scope": { "any": ["a"] } }), "scope"),
        (json!({ "scope": "\0function" }), "scope"),
        (json!({ "role": [] }), "role"),
        (json!({ "role": true }), "role"),
        (json!({ "claims": {} }), "claims"),
        (json!({ "claims": [] }), "claims"),
        (json!({ "claims": { "": 1 } }), "claims"),
        (json!({ "claims": { "a": null } }), "claims.a"),
        (json!({ "claims": { "a": [] } }), "claims.a"),
        (json!({ "claims": { "a": {} } }), "claims.a"),
        (json!({ "claims": { "a": [[1]] } }), "claims.a"),
        (json!({ "claims": { "a": "\0function" } }), "claims.a"),
        (json!({ "claims": { "/": 1 } }), "claims./"),
        (json!({ "claims": { "/a~2b": 1 } }), "claims./a~2b"),
        (json!({ "claims": { "scope": "read" } }), "claims.scope"),
        (json!({ "claims": { "roles": "admin" } }), "claims.roles"),
        (json!({ "maxAge": "0s" }), "maxAge"),
        (json!({ "maxAge": "400d" }), "maxAge"),
        (json!({ "maxAge": "soon" }), "maxAge"),
    ] {
        assert_eq!(demands(&value).unwrap_err().path(), path, "{value}");
    }
}
