//! The places where a token is looked for.

use super::*;
use crate::net::TrustedProxies;
use crate::request::Request;
use crate::request::tests::head;
use crate::token::tests::*;

fn find(
    from: &Value,
    target: &str,
    headers: &[(&str, &str)],
) -> Result<Option<(String, Scheme, bool)>, TokenError> {
    let config = config(&json!({ "secret": secret(), "from": from }));
    let request =
        Request::read(head("GET", target, "192.0.2.1", headers), &TrustedProxies::default())
            .unwrap();
    let found = config.presentation.find(&request)?;
    Ok(found.map(|found| (found.token.to_owned(), found.scheme, found.in_header)))
}

#[test]
fn a_token_is_found_where_the_options_say_and_nowhere_else() {
    let all = json!(["header", { "cookie": "__Host-token" }, { "query": "access_token" }]);
    let bearer = ("Authorization", "Bearer t");
    let cookie = ("Cookie", "a=b; __Host-token=t; c=d");
    let found = |scheme, in_header| Ok(Some(("t".to_owned(), scheme, in_header)));
    assert_eq!(find(&all, "/", &[]), Ok(None));
    assert_eq!(find(&all, "/", &[bearer]), found(Scheme::Bearer, true));
    assert_eq!(find(&all, "/", &[("Authorization", "dpop t")]), found(Scheme::Dpop, true));
    assert_eq!(find(&all, "/", &[cookie]), found(Scheme::Bearer, false));
    assert_eq!(find(&all, "/?x=y&access_token=t", &[]), found(Scheme::Bearer, false));
    assert_eq!(find(&json!(["header"]), "/?access_token=t", &[cookie]), Ok(None));
    assert_eq!(
        find(&json!([{ "cookie": "__Host-token" }]), "/?access_token=t", &[bearer]),
        Ok(None)
    );
}

#[test]
fn a_request_with_two_tokens_is_refused() {
    let all = json!(["header", { "cookie": "__Host-token" }, { "query": "access_token" }]);
    let bearer = ("Authorization", "Bearer t");
    let cookie = ("Cookie", "__Host-token=t");
    for (target, headers) in [
        ("/", vec![bearer, cookie]),
        ("/?access_token=t", vec![bearer]),
        ("/?access_token=t", vec![cookie]),
        ("/?access_token=t&access_token=t", vec![]),
        ("/?access_token=t&%61ccess_token=u", vec![]),
        ("/", vec![("Cookie", "__Host-token=t; __Host-token=u")]),
        ("/", vec![cookie, cookie]),
        ("/", vec![cookie, ("Cookie", "a=b;__Host-token=")]),
    ] {
        assert_eq!(
            find(&all, target, &headers),
            Err(TokenError::Ambiguous),
            "{target} {headers:?}"
        );
    }
    // Another scheme is no token: a proxy in front may ask for a password there.
    let basic = ("Authorization", "Basic x");
    assert_eq!(
        find(&all, "/", &[basic, cookie]),
        Ok(Some(("t".to_owned(), Scheme::Bearer, false)))
    );
    assert_eq!(find(&all, "/", &[basic]), Err(TokenError::Missing));
}

#[test]
fn only_the_cookie_of_exactly_this_name_is_one() {
    let from = json!([{ "cookie": "__Host-token" }]);
    for other in [
        "__host-token=t",
        "__HOST-TOKEN=t",
        "  __Host-token=t",
        "\t__Host-token=t",
        "\u{2000}__Host-token=t",
        "__Host-token =t",
        "__Host%2Dtoken=t",
        "x__Host-token=t",
        "__Host-token",
        "\"__Host-token\"=t",
        "a=__Host-token=t",
        "__Secure-token=t",
        ", __Host-token=t",
    ] {
        assert_eq!(find(&from, "/", &[("Cookie", &format!("a=b;{other}"))]), Ok(None), "{other}");
    }
    // The value is the token unchanged, so any extra character makes it invalid.
    for value in ["\"t\"", "t%2e", " t", "", "t=x"] {
        let found = find(&from, "/", &[("Cookie", &format!("__Host-token={value};a=b"))]);
        assert_eq!(found.unwrap().unwrap().0, value, "{value}");
    }
}

#[test]
fn what_cannot_be_a_source_is_refused_by_its_path() {
    for (options, path) in [
        (json!({ "from": "header" }), "jwt.from"),
        (json!({ "from": ["cookie"] }), "jwt.from[0]"),
        (json!({ "from": [5] }), "jwt.from[0]"),
        (json!({ "from": [{}] }), "jwt.from[0]"),
        (json!({ "from": [{ "cookie": "__Host-a", "query": "a" }] }), "jwt.from[0]"),
        (json!({ "from": [{ "cookies": "__Host-a" }] }), "jwt.from[0].cookies"),
        (json!({ "from": [{ "cookie": "token" }] }), "jwt.from[0].cookie"),
        (json!({ "from": [{ "cookie": "__Secure-token" }] }), "jwt.from[0].cookie"),
        (json!({ "from": [{ "cookie": "__host-token" }] }), "jwt.from[0].cookie"),
        (json!({ "from": [{ "cookie": "__Host-" }] }), "jwt.from[0].cookie"),
        (json!({ "from": [{ "cookie": "__Host-a b" }] }), "jwt.from[0].cookie"),
        (json!({ "from": [{ "cookie": "__Host-a=" }] }), "jwt.from[0].cookie"),
        (json!({ "from": [{ "query": "" }] }), "jwt.from[0].query"),
        (json!({ "from": [{ "query": "a b" }] }), "jwt.from[0].query"),
        (json!({ "from": [{ "header": "Accept-Language" }] }), "jwt.from[0].header"),
        (json!({ "from": [{ "header": "host" }] }), "jwt.from[0].header"),
        (json!({ "from": ["header", "header"] }), "jwt.from[1]"),
        (json!({ "from": ["header", { "query": "a" }], "dpop": "required" }), "jwt.from"),
        (json!({ "dpop": true }), "jwt.dpop"),
        (json!({ "dpop": "always" }), "jwt.dpop"),
        (json!({ "dpop": "off", "dpopNonce": true }), "jwt.dpopNonce"),
        (json!({ "dpopNonce": { "secret": "short" } }), "jwt.dpopNonce.secret"),
        (json!({ "dpopNonce": { "secret": "password".repeat(5) } }), "jwt.dpopNonce.secret"),
        (json!({ "dpopNonce": { "lifetime": "1s" } }), "jwt.dpopNonce.lifetime"),
        (json!({ "dpopNonce": "yes" }), "jwt.dpopNonce"),
    ] {
        let mut all = json!({ "secret": secret() });
        all.as_object_mut().unwrap().extend(options.as_object().unwrap().clone());
        let error = TokenConfig::parse("jwt", &crate::token::tests::options(&all)).unwrap_err();
        assert_eq!(error.path(), path, "{options}");
        assert!(!error.to_string().contains("passwordpassword"), "{error}");
    }
}
