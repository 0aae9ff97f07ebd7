//! The misconfigurations that are refused: the option, the path in the error, and the suggestion.

use serde_json::{Value, json};

use crate::cors::Cors;

#[expect(clippy::too_many_lines, reason = "one table")]
fn refused() -> Vec<(Value, &'static str, &'static str)> {
    let origin = |text: &str| json!({ "origins": [text] });
    let with =
        |key: &str, value: Value| json!({ "origins": ["https://a.example.com"], key: value });
    let session = |text: &str| json!({ "origins": [text], "credentials": true });
    vec![
        // Option names of other packages
        (json!({ "allowedOrigins": [] }), "cors.allowedOrigins", "did you mean `origins`?"),
        (json!({ "origin": "https://a.example.com" }), "cors.origin", "did you mean `origins`?"),
        (
            with("allowedHeaders", json!([])),
            "cors.allowedHeaders",
            "did you mean `requestHeaders`?",
        ),
        (with("exposedHeaders", json!([])), "cors.exposedHeaders", "did you mean `exposeHeaders`?"),
        (with("optionsSuccessStatus", json!(200)), "cors.optionsSuccessStatus", "204"),
        (json!({}), "cors.origins", "['https://app.example.com']"),
        (json!(true), "cors", ""),
        (json!({ "origins": true }), "cors.origins", "['https://app.example.com']"),
        (
            json!({ "origins": "https://a.example.com" }),
            "cors.origins",
            "['https://app.example.com']",
        ),
        (json!({ "origins": [] }), "cors.origins", "cors: false"),
        (json!({ "origins": [7] }), "cors.origins[0]", ""),
        (json!({ "origins": ["\0function"] }), "cors.origins[0]", ""),
        // Origins that trust every page
        (session("*"), "cors.origins", "list the origins"),
        (json!({ "origins": ["*", "https://a.example.com"] }), "cors.origins", "['*'] alone"),
        (origin("null"), "cors.origins[0]", "list the origins"),
        (origin("https://*"), "cors.origins[0]", "https://*.example.com"),
        (origin("https://*.com"), "cors.origins[0]", "domain that you own"),
        (origin("https://*.com:8443"), "cors.origins[0]", "domain that you own"),
        (origin("https://*.co.uk"), "cors.origins[0]", "domain that you own"),
        (origin("https://*.com.br"), "cors.origins[0]", "domain that you own"),
        (origin("https://*.github.io"), "cors.origins[0]", "domain that you own"),
        (origin("https://*.vercel.app"), "cors.origins[0]", "domain that you own"),
        (origin("https://*.127.0.0.1"), "cors.origins[0]", "one by one"),
        (origin("https://*.[::1]"), "cors.origins[0]", "http://[::1]:3000"),
        (origin("capacitor://*.example.com"), "cors.origins[0]", "one by one"),
        (origin("https://*example.com"), "cors.origins[0]", "https://*.example.com"),
        (origin("https://**.example.com"), "cors.origins[0]", "https://*.example.com"),
        (origin("https://*.*.example.com"), "cors.origins[0]", "https://*.example.com"),
        (origin("https://app.*.example.com"), "cors.origins[0]", "https://*.example.com"),
        (origin("https://app-*.example.com"), "cors.origins[0]", "https://*.example.com"),
        (origin("https://example.com:*"), "cors.origins[0]", "name the port"),
        (session("http://app.example.com"), "cors.origins[0]", "'https://'"),
        (session("http://*.example.com"), "cors.origins[0]", "'https://'"),
        (session("http://169.254.169.254"), "cors.origins[0]", "'https://'"),
        (session("http://localhost.example.com"), "cors.origins[0]", "'https://'"),
        // Origins that would never match
        (origin(""), "cors.origins[0]", "https://app.example.com"),
        (origin("https://app.example.com/"), "cors.origins[0]", "leave out the slash"),
        (origin("https://app.example.com/login"), "cors.origins[0]", "leave out all that follows"),
        (origin("https://app.example.com?x"), "cors.origins[0]", "leave out all that follows"),
        (origin("https://app.example.com#x"), "cors.origins[0]", "leave out all that follows"),
        (
            origin("https://user:secret@app.example.com"),
            "cors.origins[0]",
            "https://app.example.com",
        ),
        (origin("app.example.com"), "cors.origins[0]", "'https://' in front"),
        (origin("//app.example.com"), "cors.origins[0]", "'https://' in front"),
        (origin(".example.com"), "cors.origins[0]", "'https://' in front"),
        (origin("https:app.example.com"), "cors.origins[0]", "'https://' in front"),
        (origin("wss://app.example.com"), "cors.origins[0]", "'https://' in front"),
        (origin("42x://app.example.com"), "cors.origins[0]", "'https://' in front"),
        (origin("file://app"), "cors.origins[0]", "over https"),
        (origin("https://App.example.com"), "cors.origins[0]", "lower case"),
        (origin("HTTPS://app.example.com"), "cors.origins[0]", "lower case"),
        (origin("https://bücher.example"), "cors.origins[0]", "Punycode"),
        (origin(" https://app.example.com"), "cors.origins[0]", "one origin per item"),
        (origin("https://a.example.com,https://b.example.com"), "cors.origins[0]", ""),
        (origin("https://app.example.com\r\nX-Evil: 1"), "cors.origins[0]", "one origin per item"),
        (origin("https://app.example.com:443"), "cors.origins[0]", "leave out ':443'"),
        (origin("http://app.example.com:80"), "cors.origins[0]", "leave out ':80'"),
        (origin("https://app.example.com:"), "cors.origins[0]", "leave out the colon"),
        (origin("https://app.example.com:0"), "cors.origins[0]", "http://localhost:3000"),
        (origin("https://app.example.com:06060"), "cors.origins[0]", "http://localhost:3000"),
        (origin("https://app.example.com:65536"), "cors.origins[0]", "http://localhost:3000"),
        (origin("https://app.example.com:-1"), "cors.origins[0]", "http://localhost:3000"),
        (origin("https://app.example.com:8o"), "cors.origins[0]", "http://localhost:3000"),
        (origin("https://app.example.com."), "cors.origins[0]", "final dot"),
        (origin("https://app..example.com"), "cors.origins[0]", "https://app.example.com"),
        (origin("https://"), "cors.origins[0]", "https://app.example.com"),
        (origin("https://^app.example.com"), "cors.origins[0]", "https://app.example.com"),
        (origin("http://127.1"), "cors.origins[0]", "http://127.0.0.1:3000"),
        (origin("http://127.0.0.01"), "cors.origins[0]", "http://127.0.0.1:3000"),
        (origin("http://127.0.0.1.1"), "cors.origins[0]", "http://127.0.0.1:3000"),
        (origin("http://0x7f.0x1"), "cors.origins[0]", "http://127.0.0.1:3000"),
        (origin("http://[0:0:0:0:0:0:0:1]"), "cors.origins[0]", "http://[::1]:3000"),
        (origin("http://::1"), "cors.origins[0]", "http://[::1]:3000"),
        (origin("http://[::1"), "cors.origins[0]", "http://[::1]:3000"),
        (origin("http://[::1]x:90"), "cors.origins[0]", "http://[::1]:3000"),
        (origin("http://[fe80::1%25eth0]"), "cors.origins[0]", "http://[::1]:3000"),
        (origin("http://[2001:DB8::1]"), "cors.origins[0]", "http://[::1]:3000"),
        (origin("http://[::ffff:127.0.0.1]"), "cors.origins[0]", "IPv4"),
        (
            json!({ "origins": ["https://a.example.com", "https://b.example.com", "https://a.example.com"] }),
            "cors.origins[2]",
            "leave out one",
        ),
        (
            json!({ "origins": ["https://*.a.com", "https://*.a.com"] }),
            "cors.origins[1]",
            "leave out one",
        ),
        // Other options
        (with("credentials", json!("true")), "cors.credentials", ""),
        (with("methods", json!([])), "cors.methods", "leave it out"),
        (with("methods", json!("GET,POST")), "cors.methods", ""),
        (with("methods", json!(["*"])), "cors.methods[0]", "list the methods"),
        (with("methods", json!(["GET", "patch"])), "cors.methods[1]", "write 'PATCH'"),
        (with("methods", json!(["TRACE"])), "cors.methods[0]", "leave it out"),
        (with("methods", json!(["connect"])), "cors.methods[0]", "leave it out"),
        (with("methods", json!(["TRACK"])), "cors.methods[0]", "leave it out"),
        (with("methods", json!(["DELTE"])), "cors.methods[0]", "did you mean 'DELETE'?"),
        (with("methods", json!(["GET, POST"])), "cors.methods[0]", ""),
        (with("methods", json!(["PUT", "PUT"])), "cors.methods[1]", "leave out one"),
        (with("requestHeaders", json!(["*"])), "cors.requestHeaders[0]", "by name"),
        (with("requestHeaders", json!(["Cookie"])), "cors.requestHeaders[0]", "leave it out"),
        (with("requestHeaders", json!(["Origin"])), "cors.requestHeaders[0]", "leave it out"),
        (
            with("requestHeaders", json!(["Sec-Fetch-Site"])),
            "cors.requestHeaders[0]",
            "leave it out",
        ),
        (
            with("requestHeaders", json!(["Proxy-Authorization"])),
            "cors.requestHeaders[0]",
            "leave it out",
        ),
        (
            with("requestHeaders", json!(["Access-Control-Allow-Origin"])),
            "cors.requestHeaders[0]",
            "leave it out",
        ),
        (with("requestHeaders", json!(["a, b"])), "cors.requestHeaders[0]", "one name per item"),
        (with("requestHeaders", json!(["x\r\ny"])), "cors.requestHeaders[0]", "one name per item"),
        (with("requestHeaders", json!(["X-A", "x-a"])), "cors.requestHeaders[1]", "leave out one"),
        (with("exposeHeaders", json!(["*"])), "cors.exposeHeaders[0]", "by name"),
        (with("exposeHeaders", json!(["Set-Cookie"])), "cors.exposeHeaders[0]", "leave it out"),
        (with("exposeHeaders", json!(["bücher"])), "cors.exposeHeaders[0]", "one name per item"),
        (with("maxAge", json!(-1)), "cors.maxAge", "seconds"),
        (with("maxAge", json!(86401)), "cors.maxAge", "seconds"),
        (with("maxAge", json!("abc")), "cors.maxAge", "seconds"),
        (with("maxAge", json!("2h")), "cors.maxAge", "seconds"),
        (with("maxAge", json!(1.5)), "cors.maxAge", "seconds"),
    ]
}

#[test]
fn a_misconfiguration_is_refused_with_its_path_and_what_to_write() {
    for (value, path, suggestion) in refused() {
        let error = Cors::parse("cors", &value, &["RateLimit"]).expect_err(&value.to_string());
        assert_eq!(error.path(), path, "{value}: {error}");
        let said = error.suggestion().unwrap_or_default();
        assert!(said.contains(suggestion), "{value}: {error}");
    }
}
