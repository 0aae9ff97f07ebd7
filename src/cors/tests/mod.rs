mod refused;

use crate::net::origin;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::error::ConfigCode;

fn cors(value: &Value) -> Cors {
    Cors::parse("cors", value, &["RateLimit"]).unwrap_or_else(|error| panic!("{value}: {error}"))
}

fn app() -> Cors {
    cors(&json!({ "origins": ["https://app.example.com"], "credentials": true }))
}

fn headers(answer: &CorsAnswer<'_>) -> Vec<(&'static str, String)> {
    answer.headers().map(|(name, value)| (name, value.to_owned())).collect()
}

fn get(origin: &str) -> CorsRequest<'_> {
    CorsRequest { method: "GET", origin: Some(origin), ..CorsRequest::default() }
}

fn preflight<'a>(origin: &'a str, method: &'a str, headers: Option<&'a str>) -> CorsRequest<'a> {
    CorsRequest {
        method: "OPTIONS",
        origin: Some(origin),
        request_method: Some(method),
        request_headers: headers,
        callback_verdict: None,
    }
}

fn allowed_origin(cors: &Cors, origin: &str) -> Option<String> {
    let answer = cors.judge(&get(origin));
    answer
        .headers()
        .find(|(name, _)| *name == "Access-Control-Allow-Origin")
        .map(|(_, value)| value.to_owned())
}

#[test]
fn cors_is_shared_between_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<Cors>();
}

// Configuration

#[test]
fn what_is_meant_is_accepted() {
    for value in [
        json!({ "origins": ["https://app.example.com"] }),
        json!({ "origins": ["https://app.example.com:8443", "https://app.example.com"] }),
        json!({ "origins": ["http://localhost:3000", "http://127.0.0.1:3000", "http://[::1]:3000"], "credentials": true }),
        json!({ "origins": ["http://app.localhost:3000", "http://*.localhost:3000"], "credentials": true }),
        json!({ "origins": ["https://*.example.com", "https://*.example.com:8443", "http://*.example.com"] }),
        json!({ "origins": ["https://*.example.co.uk"] }),
        json!({ "origins": ["https://my-app.vercel.app", "https://*.my-app.vercel.app"] }),
        json!({ "origins": ["https://xn--bcher-kva.example"] }),
        json!({ "origins": ["https://ex_am-ple.com", "https://192.0.2.7", "https://[2001:db8::1]"] }),
        json!({ "origins": ["capacitor://localhost", "chrome-extension://abcdefghijklmnopabcdefghijklmnop"], "credentials": true }),
        json!({ "origins": ["http://intranet.example.com"] }),
        json!({ "origins": ["*"] }),
        json!({ "origins": "\0function", "credentials": true }),
        json!({ "origins": ["*"], "methods": ["GET", "QUERY"], "requestHeaders": [], "exposeHeaders": ["Retry-After"], "maxAge": 0 }),
        json!({ "origins": ["*"], "maxAge": 86400 }),
    ] {
        cors(&value);
    }
}

#[test]
fn an_error_does_not_repeat_the_submitted_origin() {
    for text in [
        "https://user:hunter2@app.example.com",
        "https://hunter2.example.com/",
        "https://HUNTER2.example.com",
        "hunter2",
        "https://*.hunter2",
    ] {
        let error = Cors::parse("cors", &json!({ "origins": [text] }), &["RateLimit"])
            .unwrap_err()
            .to_string();
        assert!(!error.to_lowercase().contains("hunter2"), "{error}");
    }
}

#[test]
fn contradictions_have_a_code_of_their_own() {
    let value = json!({ "origins": ["*"], "credentials": true });
    assert_eq!(
        Cors::parse("cors", &value, &["RateLimit"]).unwrap_err().code(),
        ConfigCode::ConflictingOptions
    );
}

// Actual requests

#[test]
fn a_listed_origin_may_read_the_answer() {
    assert_eq!(
        headers(&app().judge(&get("https://app.example.com"))),
        [
            ("Vary", "Origin".to_owned()),
            ("Access-Control-Allow-Origin", "https://app.example.com".to_owned()),
            ("Access-Control-Allow-Credentials", "true".to_owned()),
            // A page can wait before it tries again.
            ("Access-Control-Expose-Headers", "RateLimit,Retry-After".to_owned()),
        ]
    );
    let bare = cors(&json!({ "origins": ["https://app.example.com"], "exposeHeaders": [] }));
    let answer = headers(&bare.judge(&get("https://app.example.com")));
    assert!(answer.iter().all(|(name, _)| *name != "Access-Control-Expose-Headers"));
}

#[test]
fn any_port_of_this_machine_is_allowed_where_it_is_asked_for() {
    let cors = cors(&json!({
        "origins": ["http://localhost:*", "https://localhost:*", "http://127.0.0.1:*", "http://[::1]:*", "http://app.localhost:*"],
        "credentials": true
    }));
    for good in [
        "http://localhost",
        "http://localhost:3000",
        "http://localhost:65535",
        "http://localhost:443",
        "https://localhost",
        "https://localhost:80",
        "http://127.0.0.1:5173",
        "http://[::1]:8080",
        "http://app.localhost:8080",
    ] {
        assert_eq!(allowed_origin(&cors, good).as_deref(), Some(good));
    }
    for bad in [
        "http://localhost:",
        "http://localhost:*",
        "http://localhost:0",
        "http://localhost:80",
        "http://localhost:03000",
        "http://localhost:65536",
        "http://localhost:3000.evil.example",
        "http://localhost:3000@evil.example",
        "http://localhost.evil.example:3000",
        "http://evil.example:3000",
        "http://b.localhost:3000",
        "http://127.0.0.2:3000",
        "https://127.0.0.1:3000",
        "http://[::1]:",
        "http://[::1",
        "HTTP://localhost:3000",
        "ws://localhost:3000",
        "http://localhost:3000/",
        "http://localhost:3000:3000",
        "localhost:3000",
        "null",
    ] {
        assert_eq!(allowed_origin(&cors, bad), None, "{bad}");
    }
    // One machine's ports are not those of every host.
    for elsewhere in [
        "https://app.example.com:*",
        "http://192.0.2.1:*",
        "http://*.localhost:*",
        "capacitor://localhost:*",
        "*:*",
        "http://localhost:3000:*",
        ":*",
    ] {
        let value = json!({ "origins": [elsewhere] });
        assert!(Cors::parse("cors", &value, &["RateLimit"]).is_err(), "{elsewhere}");
    }
    let twice = json!({ "origins": ["http://localhost:*", "http://localhost:*"] });
    assert_eq!(
        Cors::parse("cors", &twice, &["RateLimit"]).unwrap_err().code(),
        ConfigCode::ConflictingOptions
    );
}

#[test]
fn any_other_origin_gets_no_leave_but_vary_and_goes_on() {
    let app = app();
    for origin in [
        "https://evilexample.com",
        "https://evil-app.example.com",
        "https://app.example.com.evil.com",
        "https://evil.com/app.example.com",
        "https://app.example.com:8443",
        "https://app.example.com.",
        "https://app.example.com/",
        "http://app.example.com",
        "https://example.com",
        "https://APP.example.com",
        "https://app.example.com, https://evil.com",
        "https://app.example.com https://evil.com",
        "null",
        "*",
        "",
        "https://",
        "https://app\u{131}.example.com",
    ] {
        let answer = app.judge(&get(origin));
        assert_eq!(headers(&answer), [("Vary", "Origin".to_owned())], "{origin}");
        assert_eq!(answer.kind, CorsKind::Continue);
        assert_eq!(answer.denied, Some(CorsError::Origin));
    }
}

#[test]
fn a_request_without_origin_gets_vary_and_no_refusal() {
    let app = app();
    let answer = app.judge(&CorsRequest { method: "GET", ..CorsRequest::default() });
    assert_eq!(headers(&answer), [("Vary", "Origin".to_owned())]);
    assert_eq!((answer.kind, answer.denied), (CorsKind::Continue, None));
}

#[test]
fn the_same_origin_gets_the_same_answer_every_time() {
    // The cors package with a /g RegExp alternates.
    let app = app();
    for _ in 0..4 {
        assert!(allowed_origin(&app, "https://app.example.com").is_some());
    }
}

#[test]
fn a_wildcard_stands_for_exactly_one_label() {
    let cors = cors(&json!({
        "origins": ["https://*.example.com", "http://*.dev.example.org:3000"],
    }));
    for origin in [
        "https://a.example.com",
        "https://xn--bcher-kva.example.com",
        "https://a_b-1.example.com",
        "http://x.dev.example.org:3000",
    ] {
        assert_eq!(allowed_origin(&cors, origin).as_deref(), Some(origin));
    }
    for origin in [
        "https://example.com",
        "https://.example.com",
        "https://a.b.example.com",
        "https://evilexample.com",
        "https://a.evilexample.com",
        "https://a.example.com.evil.com",
        "https://a.example.com:8443",
        "https://a.example.com:443",
        "http://a.example.com",
        "https://*.example.com",
        "https://A.example.com",
        "https://evil.com/.example.com",
        "https://evil.com#.example.com",
        "https://evil@a.example.com",
        "https://a:b.example.com",
        "https://a%00.example.com",
        "https://é.example.com",
        "https://x.dev.example.org:3000",
        "http://x.dev.example.org",
        "http://x.dev.example.org:30000",
        "ftp://a.example.com",
        "null",
    ] {
        assert_eq!(allowed_origin(&cors, origin), None, "{origin}");
    }
    let long = format!("https://{}.example.com", "a".repeat(64));
    assert_eq!(allowed_origin(&cors, &long), None);
}

#[test]
fn an_answer_for_everybody_has_no_vary() {
    let cors = cors(&json!({ "origins": ["*"], "exposeHeaders": ["Retry-After", "X-Total"] }));
    let wanted = [
        ("Access-Control-Allow-Origin", "*".to_owned()),
        ("Access-Control-Expose-Headers", "retry-after,x-total".to_owned()),
    ];
    assert_eq!(headers(&cors.judge(&get("https://anybody.example"))), wanted);
    assert_eq!(headers(&cors.judge(&get("null"))), wanted);
    let without = CorsRequest { method: "GET", ..CorsRequest::default() };
    assert_eq!(headers(&cors.judge(&without)), wanted);
}

// Preflights

const VARY: &str = "Origin, Access-Control-Request-Method, Access-Control-Request-Headers";

#[test]
fn an_allowed_preflight_is_answered_with_what_may_be_sent() {
    let app = app();
    let answer = app.judge(&preflight(
        "https://app.example.com",
        "DELETE",
        Some("authorization,content-type"),
    ));
    assert_eq!(answer.kind, CorsKind::Preflight { status: 204 });
    assert_eq!(
        headers(&answer),
        [
            ("Vary", VARY.to_owned()),
            ("Access-Control-Allow-Origin", "https://app.example.com".to_owned()),
            ("Access-Control-Allow-Credentials", "true".to_owned()),
            ("Access-Control-Allow-Methods", "GET,HEAD,PUT,PATCH,POST,DELETE".to_owned()),
            ("Access-Control-Allow-Headers", "authorization,content-type".to_owned()),
            ("Access-Control-Max-Age", "7200".to_owned()),
        ]
    );
}

#[test]
fn a_preflight_that_is_not_allowed_is_403_and_says_nothing() {
    let app = app();
    let ours = "https://app.example.com";
    for (request, why) in [
        (preflight("https://evil.example", "GET", None), CorsError::Origin),
        (preflight("null", "GET", None), CorsError::Origin),
        (preflight(ours, "TRACE", None), CorsError::Method),
        (preflight(ours, "delete", None), CorsError::Method),
        (preflight(ours, "", None), CorsError::Method),
        (preflight(ours, "PUT, DELETE", None), CorsError::Method),
        (preflight(ours, "PUT", Some("x-other")), CorsError::Header),
        (preflight(ours, "PUT", Some("authorization,x-other")), CorsError::Header),
        (preflight(ours, "PUT", Some("*")), CorsError::Header),
        (preflight(ours, "PUT", Some("authorization content-type")), CorsError::Header),
        (preflight(ours, "PUT", Some("authorization\u{e9}")), CorsError::Header),
    ] {
        let answer = app.judge(&request);
        assert_eq!(answer.kind, CorsKind::Preflight { status: 403 }, "{request:?}");
        assert_eq!(answer.denied, Some(why), "{request:?}");
        assert_eq!(headers(&answer), [("Vary", VARY.to_owned())], "{request:?}");
    }
}

#[test]
fn an_options_request_that_is_no_preflight_goes_on() {
    // The cors package answers every OPTIONS itself.
    let app = app();
    for (origin, request_method) in
        [(None, None), (None, Some("GET")), (Some("https://app.example.com"), None)]
    {
        let request =
            CorsRequest { method: "OPTIONS", origin, request_method, ..CorsRequest::default() };
        let answer = app.judge(&request);
        assert_eq!(answer.kind, CorsKind::Continue);
        assert!(headers(&answer).contains(&("Vary", VARY.to_owned())));
        let allowed =
            headers(&answer).iter().any(|(name, _)| *name == "Access-Control-Allow-Origin");
        assert_eq!(allowed, origin.is_some());
    }
}

#[test]
fn a_method_other_than_options_is_never_a_preflight() {
    let request = CorsRequest { method: "GET", ..preflight("https://evil.example", "GET", None) };
    assert_eq!(app().judge(&request).kind, CorsKind::Continue);
}

#[test]
fn a_list_without_headers_allows_none() {
    let cors = cors(&json!({ "origins": ["*"], "requestHeaders": [], "maxAge": 0 }));
    let asks_for_one = preflight("https://a.example", "GET", Some("content-type"));
    assert_eq!(cors.judge(&asks_for_one).kind, CorsKind::Preflight { status: 403 });
    let answer = cors.judge(&preflight("https://a.example", "GET", None));
    assert_eq!(
        headers(&answer),
        [
            ("Vary", VARY.to_owned()),
            ("Access-Control-Allow-Origin", "*".to_owned()),
            ("Access-Control-Allow-Methods", "GET,HEAD,PUT,PATCH,POST,DELETE".to_owned()),
            ("Access-Control-Max-Age", "0".to_owned()),
        ]
    );
}

#[test]
fn requested_headers_are_read_as_proxies_may_have_left_them() {
    let cors = cors(&json!({ "origins": ["*"], "requestHeaders": ["X-B", "x-a", "X-C"] }));
    let status = |value: &str| cors.judge(&preflight("https://a.example", "GET", Some(value))).kind;
    for value in
        ["", "x-a", "x-a,x-b,x-c", "x-c,x-a", "X-A, X-B", " x-a\t,\tx-b ", ",x-a,,x-b,", "x-a,x-a"]
    {
        assert_eq!(status(value), CorsKind::Preflight { status: 204 }, "{value}");
    }
    for value in ["x", "x-a;x-b", "x-a\n", "x-a,\"x-b\"", "x- a", "x-aa", "x-a\u{0}"] {
        assert_eq!(status(value), CorsKind::Preflight { status: 403 }, "{value:?}");
    }
}

#[test]
fn a_flood_of_requested_headers_is_refused_unread() {
    let cors = cors(&json!({ "origins": ["*"], "requestHeaders": ["a"] }));
    let status = |value: &str| cors.judge(&preflight("https://a.example", "GET", Some(value))).kind;
    assert_eq!(status(&vec!["a"; 64].join(",")), CorsKind::Preflight { status: 204 });
    assert_eq!(status(&vec!["a"; 65].join(",")), CorsKind::Preflight { status: 403 });
    assert_eq!(status(&",".repeat(64)), CorsKind::Preflight { status: 403 });
    assert_eq!(status(&format!("{}a", " ".repeat(2047))), CorsKind::Preflight { status: 204 });
    assert_eq!(status(&format!("{}a", " ".repeat(2048))), CorsKind::Preflight { status: 403 });
}

// A function decides

#[test]
fn a_function_is_asked_about_well_formed_origins_only() {
    let cors = cors(&json!({ "origins": "\0function", "credentials": true }));
    for origin in ["https://tenant.example.com", "http://localhost:3000", "capacitor://localhost"] {
        assert_eq!(cors.asks(Some(origin)), Some(origin));
    }
    for origin in [
        "null",
        "*",
        "https://*.example.com",
        "https://a.example.com/",
        "https://a.example.com, https://b.example.com",
        "https://A.example.com",
        "http://plain.example.com",
        "x\r\nSet-Cookie: a=b",
        "",
    ] {
        assert_eq!(cors.asks(Some(origin)), None, "{origin:?}");
        let says_yes = CorsRequest { callback_verdict: Some(true), ..get(origin) };
        assert_eq!(headers(&cors.judge(&says_yes)), [("Vary", "Origin".to_owned())], "{origin:?}");
    }
    assert_eq!(cors.asks(None), None);
    assert_eq!(app().asks(Some("https://app.example.com")), None);
}

#[test]
fn only_a_plain_yes_of_the_function_allows() {
    let cors = cors(&json!({ "origins": "\0function" }));
    for (verdict, allowed) in [(Some(true), true), (Some(false), false), (None, false)] {
        let request = CorsRequest { callback_verdict: verdict, ..get("https://t.example.com") };
        let answer = cors.judge(&request);
        assert_eq!(answer.denied.is_none(), allowed);
        assert!(headers(&answer).contains(&("Vary", "Origin".to_owned())));
        let preflight = CorsRequest {
            callback_verdict: verdict,
            ..preflight("https://t.example.com", "PUT", Some("content-type"))
        };
        let status = if allowed { 204 } else { 403 };
        assert_eq!(cors.judge(&preflight).kind, CorsKind::Preflight { status });
    }
}

#[test]
fn a_verdict_means_nothing_where_origins_are_listed() {
    let request = CorsRequest { callback_verdict: Some(true), ..get("https://evil.example") };
    assert_eq!(app().judge(&request).denied, Some(CorsError::Origin));
}

// Arbitrary input

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn an_accepted_origin_is_its_own_serialisation(text in "(https?|app)://(\\*\\.)?[a-zA-Z0-9._:*\\[\\]-]{0,30}(:[0-9]{0,6})?/?") {
        if let Ok(pattern) = origin::parse(&text) {
            let star = if pattern.wildcard { "*." } else { "" };
            let port = pattern.port.map(|port| format!(":{port}")).unwrap_or_default();
            prop_assert_eq!(format!("{}://{star}{}{port}", pattern.scheme, pattern.host), text);
        }
    }

    #[test]
    fn any_text_is_an_origin_or_refused(text in any::<String>()) {
        let parsed = origin::parse(&text);
        let configured = Cors::parse("cors", &json!({ "origins": [text] }), &["RateLimit"]);
        prop_assert_eq!(parsed.is_ok(), configured.is_ok() && text != "*");
    }

    #[test]
    fn a_listed_origin_matches_itself_and_no_longer_or_shorter_text(
        host in "[a-z][a-z0-9-]{0,10}(\\.[a-z][a-z0-9-]{0,10}){1,3}",
        more in "[!-~]{1,8}",
    ) {
        let text = format!("https://{host}");
        let cors = cors(&json!({ "origins": [text], "credentials": true }));
        prop_assert!(allowed_origin(&cors, &text).is_some());
        prop_assert_eq!(allowed_origin(&cors, &format!("{text}{more}")), None);
        prop_assert_eq!(allowed_origin(&cors, &format!("https://{more}{host}")), None);
        prop_assert_eq!(allowed_origin(&cors, text.strip_suffix(|_: char| true).unwrap()), None);
    }

    #[test]
    fn what_a_wildcard_allows_is_an_origin_one_label_below(label in "[!-~]{0,12}") {
        let cors = cors(&json!({ "origins": ["https://*.example.com"] }));
        let text = format!("https://{label}.example.com");
        if allowed_origin(&cors, &text).is_some() {
            prop_assert!(!label.contains('.'));
            prop_assert_eq!(origin::parse(&text).unwrap().host, &format!("{label}.example.com"));
        }
    }

    #[test]
    fn any_request_gets_an_answer_and_reflects_no_origin_that_is_not_listed(
        method in prop_oneof![Just("OPTIONS".to_owned()), any::<String>()],
        origin in proptest::option::of(any::<String>()),
        asked in proptest::option::of(any::<String>()),
        names in proptest::option::of(any::<String>()),
    ) {
        let app = app();
        let answer = app.judge(&CorsRequest {
            method: &method,
            origin: origin.as_deref(),
            request_method: asked.as_deref(),
            request_headers: names.as_deref(),
            callback_verdict: Some(true),
        });
        prop_assert!(answer.headers().all(|(name, _)| name == "Vary"));
    }

    #[test]
    fn requested_names_that_are_accepted_read_the_same_again(value in "[a-z, \\t-]{0,80}") {
        if let Some(names) = request_headers::parse(&value) {
            let names: Vec<&str> = names.collect();
            prop_assert!(names.iter().all(|name| crate::net::is_token(name)));
            let again = names.join(",");
            prop_assert_eq!(request_headers::parse(&again).unwrap().collect::<Vec<_>>(), names);
        }
    }

    #[test]
    fn any_text_of_requested_names_is_read_or_refused(value in any::<String>()) {
        if let Some(names) = request_headers::parse(&value) {
            prop_assert!(names.count() <= request_headers::MAX_ELEMENTS);
        }
    }
}
