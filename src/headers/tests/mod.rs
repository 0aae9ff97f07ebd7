mod refused;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::error::{ConfigCode, ConfigError};

fn parse(profile: Profile, value: &Value) -> Result<HeaderSet, ConfigError> {
    HeadersConfig::parse(profile, "headers", Some(value)).map(|config| config.header_set().clone())
}

fn set(profile: Profile, value: &Value) -> HeaderSet {
    parse(profile, value).unwrap_or_else(|error| panic!("{value}: {error}"))
}

fn header(set: &HeaderSet, name: &str) -> Option<String> {
    let mut all = set.always.iter().chain(&set.secure);
    all.find(|(header, _)| header == name).map(|(_, value)| value.clone())
}

fn api(value: &Value, name: &str) -> Option<String> {
    header(&set(Profile::Api, value), name)
}

fn web(value: &Value, name: &str) -> Option<String> {
    header(&set(Profile::Web, value), name)
}

const CSP: &str = "Content-Security-Policy";

fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

// Defaults

#[test]
fn an_api_sends_exactly_these_headers() {
    let config = HeadersConfig::parse(Profile::Api, "headers", None).unwrap();
    let wanted = HeaderSet {
        always: pairs(&[
            ("Cache-Control", "no-store"),
            (
                CSP,
                "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
            ),
            ("Cross-Origin-Resource-Policy", "same-origin"),
            (
                "Permissions-Policy",
                "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()",
            ),
            ("Referrer-Policy", "no-referrer"),
            ("X-Content-Type-Options", "nosniff"),
            ("X-Frame-Options", "DENY"),
        ]),
        secure: pairs(&[("Strict-Transport-Security", "max-age=63072000; includeSubDomains")]),
        remove: vec!["x-powered-by".to_owned()],
        nonce: None,
    };
    assert_eq!(*config.header_set(), wanted);
    assert_eq!(set(Profile::Api, &json!({})), wanted);
}

#[test]
fn a_site_sends_exactly_these_headers() {
    assert_eq!(
        set(Profile::Web, &json!({})),
        HeaderSet {
            always: pairs(&[
                (
                    CSP,
                    "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'self'; \
                       object-src 'none'; script-src 'self'; script-src-attr 'none'; style-src 'self'"
                ),
                ("Cross-Origin-Opener-Policy", "same-origin"),
                ("Cross-Origin-Resource-Policy", "same-origin"),
                ("Origin-Agent-Cluster", "?1"),
                (
                    "Permissions-Policy",
                    "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()"
                ),
                ("Referrer-Policy", "strict-origin-when-cross-origin"),
                ("X-Content-Type-Options", "nosniff"),
                ("X-Frame-Options", "SAMEORIGIN"),
            ]),
            secure: pairs(&[("Strict-Transport-Security", "max-age=63072000; includeSubDomains")]),
            remove: vec!["x-powered-by".to_owned()],
            nonce: None,
        }
    );
}

#[test]
fn every_header_but_nosniff_can_be_left_out() {
    let off = json!({
        "csp": false, "hsts": false, "frameOptions": false, "referrerPolicy": false, "corp": false,
        "coop": false, "coep": false, "permissionsPolicy": false, "cacheControl": false,
    });
    let api = set(Profile::Api, &off);
    assert_eq!(api.always, pairs(&[("X-Content-Type-Options", "nosniff")]));
    assert!(api.secure.is_empty());
}

#[test]
fn hsts_is_for_secure_requests_only() {
    for profile in [Profile::Api, Profile::Web] {
        let set = set(profile, &json!({ "hsts": { "maxAge": 300 } }));
        assert!(set.always.iter().all(|(name, _)| name != "Strict-Transport-Security"));
        assert_eq!(set.secure.len(), 1);
    }
}

#[test]
fn the_types_are_shared_between_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<HeadersConfig>();
}

// Options

#[test]
fn directives_given_are_merged_over_those_of_the_profile() {
    let value = json!({ "csp": { "directives": {
        "img-src": ["'self'", "data:", "https://*.example.com:*/a/b.png", "cdn.example.com"],
        "frame-ancestors": false,
        "script-src": ["'self'", "'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='"],
        "upgrade-insecure-requests": [],
        "require-trusted-types-for": ["'script'"],
        "trusted-types": ["default", "dompurify", "'allow-duplicates'"],
        "sandbox": ["allow-scripts"],
        "webrtc": ["'block'"],
    } } });
    assert_eq!(
        web(&value, CSP).unwrap(),
        "default-src 'self'; base-uri 'none'; form-action 'self'; \
         img-src 'self' data: https://*.example.com:*/a/b.png cdn.example.com; object-src 'none'; \
         script-src 'self' 'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='; script-src-attr 'none'; \
         style-src 'self'; sandbox allow-scripts; trusted-types default dompurify 'allow-duplicates'; \
         require-trusted-types-for 'script'; webrtc 'block'; upgrade-insecure-requests"
    );
}

#[test]
fn a_report_only_policy_has_its_own_header_and_an_endpoint() {
    let value = json!({
        "csp": { "reportOnly": true, "directives": { "report-to": ["csp"], "report-uri": ["/csp", "https://r.example.com/csp"] } },
        "reportingEndpoints": { "default": "https://r.example.com/all", "csp": "https://r.example.com/csp?a=b" },
    });
    let set = set(Profile::Api, &value);
    assert_eq!(header(&set, CSP), None);
    assert_eq!(
        header(&set, "Content-Security-Policy-Report-Only").unwrap(),
        "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
         report-to csp; report-uri /csp https://r.example.com/csp"
    );
    assert_eq!(
        header(&set, "Reporting-Endpoints").unwrap(),
        "csp=\"https://r.example.com/csp?a=b\", default=\"https://r.example.com/all\""
    );
    // A report-only policy blocks no frame.
    assert_eq!(header(&set, "X-Frame-Options").unwrap(), "DENY");
}

#[test]
fn a_nonce_goes_into_scripts_and_styles_and_is_new_for_each_response() {
    let set = set(Profile::Web, &json!({ "csp": { "nonce": true } }));
    assert_eq!(header(&set, CSP), None);
    let nonce = set.nonce.unwrap();
    assert_eq!((nonce.name.as_str(), nonce.parts.len()), (CSP, 3));
    assert_eq!(
        nonce.value("r4nd0m=="),
        "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'self'; object-src 'none'; \
         script-src 'self' 'nonce-r4nd0m=='; script-src-attr 'none'; style-src 'self' 'nonce-r4nd0m=='"
    );
}

#[test]
fn a_nonce_makes_the_fallbacks_for_old_browsers_safe() {
    let value = json!({ "csp": { "nonce": true, "directives": {
        "script-src": ["'strict-dynamic'", "https:", "'unsafe-inline'"],
        "style-src": ["'none'"],
    } } });
    let nonce = set(Profile::Web, &value).nonce.unwrap();
    assert!(
        nonce.value("N").contains("script-src 'strict-dynamic' https: 'unsafe-inline' 'nonce-N';")
    );
    assert_eq!(nonce.parts.len(), 2);
}

#[test]
fn frame_options_and_frame_ancestors_always_say_the_same() {
    let both = |value: &Value| {
        let set = set(Profile::Api, value);
        let csp = header(&set, CSP).unwrap_or_default();
        let ancestors = csp.split("; ").find_map(|part| part.strip_prefix("frame-ancestors "));
        (header(&set, "X-Frame-Options"), ancestors.map(str::to_owned))
    };
    let some = |text: &str| Some(text.to_owned());
    let ancestors = |list: Value| json!({ "csp": { "directives": { "frame-ancestors": list } } });
    assert_eq!(
        both(&json!({ "frameOptions": "SAMEORIGIN" })),
        (some("SAMEORIGIN"), some("'self'"))
    );
    assert_eq!(both(&ancestors(json!(["'self'"]))), (some("SAMEORIGIN"), some("'self'")));
    assert_eq!(both(&ancestors(json!(["'none'"]))), (some("DENY"), some("'none'")));
    // X-Frame-Options has no equivalent: CSP alone applies.
    assert_eq!(
        both(&ancestors(json!(["https://partner.example"]))),
        (None, some("https://partner.example"))
    );
    assert_eq!(both(&ancestors(json!(false))), (some("DENY"), None));
    assert_eq!(both(&json!({ "frameOptions": false })), (None, some("'none'")));
    assert_eq!(both(&json!({ "csp": false })), (some("DENY"), None));
}

#[test]
fn permissions_are_a_structured_dictionary() {
    let value = json!({ "permissionsPolicy": {
        "camera": ["self", "https://x.example", "https://*.y.example"],
        "geolocation": [], "fullscreen": ["*"], "usb": false, "payment": false, "microphone": ["self"],
    } });
    assert_eq!(
        api(&value, "Permissions-Policy").unwrap(),
        "camera=(self \"https://x.example\" \"https://*.y.example\"), display-capture=(), fullscreen=*, \
         geolocation=(), microphone=(self)"
    );
}

#[test]
fn the_simple_headers_take_their_tokens() {
    for (options, name, value) in [
        (json!({ "referrerPolicy": "same-origin" }), "Referrer-Policy", "same-origin"),
        (
            json!({ "referrerPolicy": ["no-referrer", "strict-origin"] }),
            "Referrer-Policy",
            "no-referrer, strict-origin",
        ),
        (json!({ "corp": "cross-origin" }), "Cross-Origin-Resource-Policy", "cross-origin"),
        (
            json!({ "coop": "noopener-allow-popups" }),
            "Cross-Origin-Opener-Policy",
            "noopener-allow-popups",
        ),
        (json!({ "coep": "credentialless" }), "Cross-Origin-Embedder-Policy", "credentialless"),
        (json!({ "cacheControl": "Private,max-age=60" }), "Cache-Control", "private, max-age=60"),
        (
            json!({ "hsts": { "preload": true } }),
            "Strict-Transport-Security",
            "max-age=63072000; includeSubDomains; preload",
        ),
        (
            json!({ "hsts": { "maxAge": 0, "includeSubDomains": false } }),
            "Strict-Transport-Security",
            "max-age=0",
        ),
    ] {
        assert_eq!(api(&options, name).as_deref(), Some(value));
    }
}

#[test]
fn more_headers_can_be_taken_off() {
    let set = set(
        Profile::Api,
        &json!({ "remove": ["X-AspNet-Version", "Server", "server", "X-Powered-By"] }),
    );
    assert_eq!(set.remove, ["server", "x-aspnet-version", "x-powered-by"]);
}

#[test]
fn an_error_does_not_repeat_the_submitted_value() {
    for value in [
        json!({ "csp": { "directives": { "script-src": ["'nonce-hunter2'"] } } }),
        json!({ "csp": { "directives": { "img-src": ["https://hunter2@a.example"] } } }),
        json!({ "cacheControl": "hunter2" }),
        json!({ "reportingEndpoints": { "csp": "http://a.example/?token=hunter2" } }),
        json!({ "referrerPolicy": "hunter2" }),
        json!({ "remove": ["hunter2 "] }),
    ] {
        let error = parse(Profile::Web, &value).unwrap_err().to_string();
        assert!(!error.contains("hunter2"), "{error}");
    }
}

#[test]
fn contradictions_have_a_code_of_their_own() {
    let value = json!({ "hsts": { "maxAge": 10, "preload": true } });
    assert_eq!(parse(Profile::Api, &value).unwrap_err().code(), ConfigCode::ConflictingOptions);
    let value = json!({ "csp": { "directives": { "scripts": [] } } });
    assert_eq!(parse(Profile::Api, &value).unwrap_err().code(), ConfigCode::UnknownOption);
}

#[test]
fn a_hash_makes_an_inline_script_its_own_exception() {
    let hash = "'sha256-47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU'";
    let value = json!({ "csp": { "directives": { "script-src": ["'unsafe-inline'", hash] } } });
    assert!(web(&value, CSP).unwrap().contains(hash));
}

// Arbitrary input

/// Whether Node's `setHeader` accepts every header, and each holds one value and one policy.
fn is_clean(set: &HeaderSet) -> bool {
    set.always.iter().chain(&set.secure).all(|(name, value)| {
        name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && value.bytes().all(|byte| (b' '..=b'~').contains(&byte))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn an_accepted_source_is_one_item_of_its_directive(text in "[ -~\\r\\n\\té]{0,24}|'[a-z0-9-]{0,16}'|(https://)?[*.a-z0-9:/-]{1,20}") {
        let value = json!({ "csp": { "directives": { "img-src": [text] } } });
        if let Ok(set) = parse(Profile::Web, &value) {
            prop_assert!(is_clean(&set));
            let csp = header(&set, CSP).unwrap();
            let lists: Vec<&str> = csp.split("; ").filter(|part| part.starts_with("img-src ")).collect();
            prop_assert_eq!(lists, vec![format!("img-src {text}")]);
            prop_assert_eq!(csp.split(';').count(), 9);
        }
    }

    #[test]
    fn any_text_anywhere_is_accepted_clean_or_refused(text in "\\PC{0,20}|[ -~\\r\\n\\t]{0,20}", other in any::<String>()) {
        for value in [
            json!({ "cacheControl": text }),
            json!({ "referrerPolicy": [text] }),
            json!({ "frameOptions": text }),
            json!({ "reportingEndpoints": { "csp": format!("https://a.example/{text}") } }),
            json!({ "reportingEndpoints": { text.clone(): "https://a.example" } }),
            json!({ "permissionsPolicy": { "camera": [text] } }),
            json!({ "csp": { "directives": { "trusted-types": [text] } } }),
            json!({ "csp": { "directives": { "sandbox": [text] } } }),
            json!({ "csp": { "directives": { "report-uri": [format!("/{text}")] } } }),
            json!({ "csp": { "directives": { text.clone(): [other] } } }),
            json!({ "remove": [text] }),
        ] {
            if let Ok(set) = parse(Profile::Web, &value) {
                prop_assert!(is_clean(&set), "{}", value);
                prop_assert!(set.remove.iter().all(|name| name.is_ascii() && !name.contains(['\r', '\n', ' '])));
            }
        }
    }

    #[test]
    fn an_accepted_cache_control_reads_the_same_again(text in "(no-store|private|max-age=[0-9]{1,3}|immutable|public|,| ){1,5}") {
        if let Ok(once) = cache::parse("headers.cacheControl", &text) {
            prop_assert_eq!(cache::parse("headers.cacheControl", &once), Ok(once.clone()));
        }
    }
}
