//! The table of requests that pass and requests that are refused.

use serde_json::json;

use super::Csrf;
use crate::net::TrustedProxies;
use crate::request::Request;
use crate::request::tests::head;

const HOST: (&str, &str) = ("Host", "api.example.com");
const COOKIE: (&str, &str) = ("Cookie", "__Host-token=x");

/// Checks a request over TLS, as stated by a trusted proxy.
fn passes(csrf: &Csrf, method: &str, headers: &[(&str, &str)]) -> bool {
    let mut all = vec![HOST, COOKIE, ("X-Forwarded-Proto", "https")];
    for header in headers {
        all.retain(|(name, _)| name != &header.0);
        if !header.1.is_empty() {
            all.push(*header);
        }
    }
    let trusted = TrustedProxies::new(vec!["10.0.0.0/8".parse().unwrap()], false);
    let request = Request::read(head(method, "/", "10.0.0.1", &all), &trusted).unwrap();
    match csrf.check(&request, request.header("cookie").is_some()) {
        Ok(()) => true,
        Err(refusal) => {
            assert_eq!((refusal.status, refusal.code), (403, "csrf_failed"));
            false
        }
    }
}

#[test]
fn a_request_that_changes_something_comes_from_our_own_pages_or_from_listed_ones() {
    let csrf = Csrf::parse("csrf", &json!({ "origins": ["https://app.example.com"] })).unwrap();
    let site = |value| ("Sec-Fetch-Site", value);
    let origin = |value| ("Origin", value);
    for (wanted, headers) in [
        (true, vec![site("same-origin")]),
        (true, vec![site("none")]),
        (false, vec![site("same-site")]),
        (false, vec![site("cross-site")]),
        (false, vec![site("SAME-ORIGIN")]),
        (false, vec![site("same-origin, cross-site")]),
        (false, vec![site("new-value")]),
        (true, vec![site("same-site"), origin("https://app.example.com")]),
        (true, vec![site("cross-site"), origin("https://app.example.com")]),
        (false, vec![site("cross-site"), origin("https://app.example.com.evil.example")]),
        (false, vec![site("cross-site"), origin("null")]),
        // The API's own origin does not help if `Sec-Fetch-Site` names another site.
        (false, vec![site("cross-site"), origin("https://api.example.com")]),
        (true, vec![origin("https://api.example.com")]),
        (true, vec![origin("https://app.example.com")]),
        (false, vec![origin("http://api.example.com")]),
        (false, vec![origin("https://api.example.com:8443")]),
        (false, vec![origin("https://API.example.com")]),
        (false, vec![origin("https://evil.example")]),
        (false, vec![origin("https://api.example.com.evil.example")]),
        (false, vec![origin("https://evil.example/https://api.example.com")]),
        (false, vec![origin("null")]),
        (false, vec![origin("https://app.example.com/")]),
        (false, vec![]),
        // Without cookies, the request carries no credential that a browser adds by itself.
        (true, vec![("Cookie", "")]),
        (false, vec![("Cookie", ""), origin("https://evil.example")]),
        (false, vec![("Cookie", ""), site("cross-site")]),
        // Without `Host`, no origin is the API's own.
        (false, vec![("Host", ""), origin("https://api.example.com")]),
        (true, vec![("Host", "API.example.com:443"), origin("https://api.example.com")]),
        (true, vec![("Host", "api.example.com:8443"), origin("https://api.example.com:8443")]),
        // A browser omits the default port of the scheme; `Host` may contain it.
        (true, vec![("Host", "api.example.com:0443"), origin("https://api.example.com")]),
        (true, vec![("Host", "api.example.com:"), origin("https://api.example.com")]),
        (false, vec![("Host", "api.example.com:80"), origin("https://api.example.com")]),
        (false, vec![("Host", "evil.example@api.example.com"), origin("https://api.example.com")]),
        (true, vec![("Host", "[::1]:8443"), origin("https://[::1]:8443")]),
        // A name with a final dot is another name.
        (false, vec![("Host", "api.example.com."), origin("https://api.example.com")]),
        (true, vec![("X-Forwarded-Proto", ""), origin("http://api.example.com")]),
        (false, vec![("X-Forwarded-Proto", ""), origin("https://api.example.com")]),
    ] {
        for method in ["POST", "PUT", "PATCH", "DELETE", "TRACE", "PURGE", "get", "Post"] {
            assert_eq!(passes(&csrf, method, &headers), wanted, "{method} {headers:?}");
        }
        for method in ["GET", "HEAD", "OPTIONS"] {
            assert!(passes(&csrf, method, &headers), "{method} {headers:?}");
        }
    }
}

#[test]
fn without_a_list_only_our_own_pages_may() {
    let csrf = Csrf::default();
    assert!(passes(&csrf, "POST", &[("Origin", "https://api.example.com")]));
    assert!(!passes(&csrf, "POST", &[("Origin", "https://app.example.com")]));
}

#[test]
fn an_origin_that_would_match_nothing_or_too_much_is_refused() {
    for (origins, path) in [
        (json!("https://a.example"), "csrf.origins"),
        (json!(["*"]), "csrf.origins[0]"),
        (json!(["null"]), "csrf.origins[0]"),
        (json!(["https://*.example.com"]), "csrf.origins[0]"),
        (json!(["https://a.example/"]), "csrf.origins[0]"),
        (json!(["https://a.example:443"]), "csrf.origins[0]"),
        (json!(["https://A.example"]), "csrf.origins[0]"),
        (json!(["a.example"]), "csrf.origins[0]"),
        (json!(["http://a.example"]), "csrf.origins[0]"),
        (json!(["https://a.example", "https://a.example"]), "csrf.origins[1]"),
        (json!([5]), "csrf.origins[0]"),
        (json!(["\u{0}function"]), "csrf.origins[0]"),
    ] {
        let error = Csrf::parse("csrf", &json!({ "origins": origins })).unwrap_err();
        assert_eq!(error.path(), path, "{origins}");
    }
    assert!(Csrf::parse("csrf", &json!({ "origins": ["http://localhost:3000"] })).is_ok());
    assert_eq!(Csrf::parse("csrf", &json!({ "origin": [] })).unwrap_err().path(), "csrf.origin");
    assert_eq!(Csrf::parse("csrf", &json!({ "origins": [] })), Ok(Csrf::default()));
    assert!(Csrf::parse("csrf", &json!(true)).is_err());
}
