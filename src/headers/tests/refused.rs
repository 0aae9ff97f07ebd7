//! The misconfigurations that are refused: what is written, where the error points, what it says to
//! write instead.

use serde_json::{Value, json};

use super::parse;
use crate::headers::Profile;

#[expect(clippy::too_many_lines, reason = "one table")]
fn refused() -> Vec<(Profile, Value, &'static str, &'static str)> {
    use Profile::{Api, Web};
    let csp = |directives: Value| json!({ "csp": { "directives": directives } });
    let one = |name: &str, source: &str| csp(json!({ name: [source] }));
    vec![
        // Keys
        (Api, json!(true), "headers", ""),
        (
            Api,
            json!({ "contentSecurityPolicy": {} }),
            "headers.contentSecurityPolicy",
            "did you mean `csp`?",
        ),
        (Api, json!({ "hsst": {} }), "headers.hsst", "did you mean `hsts`?"),
        (Api, json!({ "noSniff": false }), "headers.noSniff", "always sent"),
        (Api, json!({ "csp": { "useDefaults": false } }), "headers.csp.useDefaults", ""),
        (
            Api,
            json!({ "csp": { "directive": {} } }),
            "headers.csp.directive",
            "did you mean `directives`?",
        ),
        (Api, json!({ "csp": true }), "headers.csp", ""),
        (Api, json!({ "csp": { "nonce": "abc" } }), "headers.csp.nonce", ""),
        // Directive names
        (
            Web,
            one("scrip-src", "'self'"),
            "headers.csp.directives.scrip-src",
            "did you mean `script-src`?",
        ),
        (Web, one("scriptSrc", "'self'"), "headers.csp.directives.scriptSrc", "write `script-src`"),
        (
            Web,
            one("Script-Src", "'self'"),
            "headers.csp.directives.Script-Src",
            "write `script-src`",
        ),
        (
            Web,
            one("script-src;", "'self'"),
            "headers.csp.directives.script-src;",
            "did you mean `script-src`?",
        ),
        (Web, one("plugin-types", "x"), "headers.csp.directives.plugin-types", "leave it out"),
        (
            Web,
            one("block-all-mixed-content", "x"),
            "headers.csp.directives.block-all-mixed-content",
            "leave it out",
        ),
        // Directive values
        (
            Web,
            csp(json!({ "img-src": "'self'" })),
            "headers.csp.directives.img-src",
            "write a list",
        ),
        (Web, csp(json!({ "img-src": null })), "headers.csp.directives.img-src", "write a list"),
        (Web, csp(json!({ "img-src": [7] })), "headers.csp.directives.img-src[0]", ""),
        (Web, csp(json!({ "img-src": ["\0function"] })), "headers.csp.directives.img-src[0]", ""),
        (Web, csp(json!({ "img-src": [] })), "headers.csp.directives.img-src", "[\"'none'\"]"),
        (Web, csp(json!("default-src 'self'")), "headers.csp.directives", "{ 'img-src'"),
        (Web, one("img-src", ""), "headers.csp.directives.img-src[0]", "one source per item"),
        (
            Web,
            one("img-src", "a.example; script-src *"),
            "headers.csp.directives.img-src[0]",
            "its own key",
        ),
        (
            Web,
            one("img-src", "a.example,b.example"),
            "headers.csp.directives.img-src[0]",
            "one source per item",
        ),
        (
            Web,
            one("img-src", "a.example b.example"),
            "headers.csp.directives.img-src[0]",
            "one source per item",
        ),
        (Web, one("img-src", "a.example\r\nX-Evil:1"), "headers.csp.directives.img-src[0]", ""),
        (Web, one("img-src", "a.example\n"), "headers.csp.directives.img-src[0]", ""),
        (Web, one("img-src", "a\0"), "headers.csp.directives.img-src[0]", ""),
        (Web, one("img-src", "bücher.example"), "headers.csp.directives.img-src[0]", "Punycode"),
        (Web, one("img-src", "self"), "headers.csp.directives.img-src[0]", "write \"'self'\""),
        (Web, one("img-src", "SELF"), "headers.csp.directives.img-src[0]", "write \"'self'\""),
        (Web, one("img-src", "none"), "headers.csp.directives.img-src[0]", "write \"'none'\""),
        (
            Web,
            one("style-src", "unsafe-inline"),
            "headers.csp.directives.style-src[0]",
            "write \"'unsafe-inline'\"",
        ),
        (
            Web,
            one("script-src", "strict-dynamic"),
            "headers.csp.directives.script-src[0]",
            "write \"'strict-dynamic'\"",
        ),
        (
            Web,
            one("script-src", "sha256-abc"),
            "headers.csp.directives.script-src[0]",
            "'sha256-...'",
        ),
        (
            Web,
            one("script-src", "'sha256-abc'"),
            "headers.csp.directives.script-src[0]",
            "'sha256-...'",
        ),
        (
            Web,
            one("script-src", "'sha512-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='"),
            "headers.csp.directives.script-src[0]",
            "",
        ),
        (
            Web,
            one("img-src", "'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='"),
            "headers.csp.directives.img-src[0]",
            "script-src",
        ),
        (
            Web,
            one("script-src", "nonce-abc"),
            "headers.csp.directives.script-src[0]",
            "csp.nonce: true",
        ),
        (
            Web,
            one("script-src", "'nonce-r4nd0m'"),
            "headers.csp.directives.script-src[0]",
            "csp.nonce: true",
        ),
        (
            Web,
            one("script-src", "'NONCE-r4nd0m'"),
            "headers.csp.directives.script-src[0]",
            "csp.nonce: true",
        ),
        (
            Web,
            one("script-src", "'slef'"),
            "headers.csp.directives.script-src[0]",
            "did you mean \"'self'\"?",
        ),
        (
            Web,
            one("script-src", "'Self'"),
            "headers.csp.directives.script-src[0]",
            "did you mean \"'self'\"?",
        ),
        (Web, one("script-src", "\"self\""), "headers.csp.directives.script-src[0]", "'self'"),
        (
            Web,
            one("img-src", "'unsafe-eval'"),
            "headers.csp.directives.img-src[0]",
            "'self', 'none'",
        ),
        (Web, one("img-src", "data"), "headers.csp.directives.img-src[0]", "write 'data:'"),
        (Web, one("img-src", "https"), "headers.csp.directives.img-src[0]", "write 'https:'"),
        (
            Web,
            one("img-src", "https://"),
            "headers.csp.directives.img-src[0]",
            "https://cdn.example.com",
        ),
        (
            Web,
            one("img-src", "https://a.*.example"),
            "headers.csp.directives.img-src[0]",
            "https://cdn.example.com",
        ),
        (
            Web,
            one("img-src", "https://a.example:99999"),
            "headers.csp.directives.img-src[0]",
            "https://cdn.example.com",
        ),
        (
            Web,
            one("img-src", "https://u:p@a.example"),
            "headers.csp.directives.img-src[0]",
            "https://cdn.example.com",
        ),
        (
            Web,
            one("img-src", "https://a.example/?q"),
            "headers.csp.directives.img-src[0]",
            "its path",
        ),
        (
            Web,
            one("img-src", "//a.example"),
            "headers.csp.directives.img-src[0]",
            "https://cdn.example.com",
        ),
        (
            Web,
            csp(json!({ "img-src": ["'none'", "'self'"] })),
            "headers.csp.directives.img-src",
            "alone",
        ),
        (
            Web,
            csp(json!({ "img-src": ["data:", "data:"] })),
            "headers.csp.directives.img-src[1]",
            "leave out one",
        ),
        (
            Web,
            one("sandbox", "allow-script"),
            "headers.csp.directives.sandbox[0]",
            "did you mean \"allow-scripts\"?",
        ),
        (
            Web,
            one("upgrade-insecure-requests", "1"),
            "headers.csp.directives.upgrade-insecure-requests[0]",
            "empty list",
        ),
        (
            Web,
            one("require-trusted-types-for", "script"),
            "headers.csp.directives.require-trusted-types-for[0]",
            "'script'",
        ),
        (
            Web,
            one("trusted-types", "*"),
            "headers.csp.directives.trusted-types[0]",
            "list the names",
        ),
        (
            Web,
            one("trusted-types", "none"),
            "headers.csp.directives.trusted-types[0]",
            "write \"'none'\"",
        ),
        // Policies that only look like one
        (
            Api,
            csp(json!({ "default-src": false })),
            "headers.csp.directives.default-src",
            "[\"'none'\"]",
        ),
        (
            Api,
            one("script-src", "'unsafe-inline'"),
            "headers.csp.directives.script-src",
            "profile: 'web'",
        ),
        (
            Api,
            one("script-src", "'unsafe-eval'"),
            "headers.csp.directives.script-src",
            "profile: 'web'",
        ),
        (
            Api,
            one("default-src", "'unsafe-inline'"),
            "headers.csp.directives.default-src",
            "profile: 'web'",
        ),
        (
            Web,
            one("script-src", "'unsafe-inline'"),
            "headers.csp.directives.script-src",
            "csp.nonce: true",
        ),
        (
            Web,
            one("script-src", "'strict-dynamic'"),
            "headers.csp.directives.script-src",
            "csp.nonce: true",
        ),
        (Web, one("script-src", "*"), "headers.csp.directives.script-src", "list the hosts"),
        (Web, one("script-src", "https:"), "headers.csp.directives.script-src", "list the hosts"),
        (Web, one("script-src", "data:"), "headers.csp.directives.script-src", "list the hosts"),
        (Web, one("object-src", "*"), "headers.csp.directives.object-src", "list the hosts"),
        (
            Web,
            csp(json!({ "default-src": ["*"], "script-src": false })),
            "headers.csp.directives.default-src",
            "list the hosts",
        ),
        (Api, json!({ "csp": { "nonce": true } }), "headers.csp.nonce", "profile: 'web'"),
        (
            Web,
            json!({ "csp": { "nonce": true, "directives": { "style-src": ["'unsafe-inline'"] } } }),
            "headers.csp.nonce",
            "style-src-attr",
        ),
        (
            Web,
            json!({ "csp": { "nonce": true, "directives": { "style-src": false, "script-src": ["'none'"] } } }),
            "headers.csp.nonce",
            "leave out the nonce",
        ),
        (
            Api,
            json!({ "csp": { "reportOnly": true } }),
            "headers.csp.directives.report-to",
            "reportingEndpoints",
        ),
        (Api, one("report-to", "csp"), "headers.csp.directives.report-to[0]", "reportingEndpoints"),
        (
            Api,
            one("report-uri", "http://a.example"),
            "headers.csp.directives.report-uri[0]",
            "https://",
        ),
        (Api, one("report-uri", "//a.example"), "headers.csp.directives.report-uri[0]", "https://"),
        (
            Web,
            json!({ "csp": { "reportOnly": true, "directives": { "report-uri": ["/r"], "upgrade-insecure-requests": [] } } }),
            "headers.csp.directives.upgrade-insecure-requests",
            "leave out one",
        ),
        (
            Api,
            json!({ "frameOptions": "DENY", "csp": { "directives": { "frame-ancestors": ["'self'"] } } }),
            "headers.csp.directives.frame-ancestors",
            "leave out one",
        ),
        // HSTS
        (Api, json!({ "hsts": true }), "headers.hsts", ""),
        (Api, json!({ "hsts": { "maxage": 1 } }), "headers.hsts.maxage", "did you mean `maxAge`?"),
        (
            Api,
            json!({ "hsts": { "includeSubdomains": true } }),
            "headers.hsts.includeSubdomains",
            "did you mean `includeSubDomains`?",
        ),
        (Api, json!({ "hsts": { "maxAge": "365d" } }), "headers.hsts.maxAge", "write seconds"),
        (Api, json!({ "hsts": { "maxAge": -1 } }), "headers.hsts.maxAge", "write seconds"),
        (
            Api,
            json!({ "hsts": { "maxAge": 31_536_000_000_u64 } }),
            "headers.hsts.maxAge",
            "write seconds",
        ),
        (
            Api,
            json!({ "hsts": { "maxAge": 10, "preload": true } }),
            "headers.hsts.maxAge",
            "63072000",
        ),
        (
            Api,
            json!({ "hsts": { "includeSubDomains": false, "preload": true } }),
            "headers.hsts.includeSubDomains",
            "leave out one",
        ),
        // The rest
        (
            Api,
            json!({ "frameOptions": "ALLOW-FROM https://a.example" }),
            "headers.frameOptions",
            "",
        ),
        (Api, json!({ "frameOptions": "deny" }), "headers.frameOptions", "did you mean 'DENY'?"),
        (
            Api,
            json!({ "referrerPolicy": "norefferer" }),
            "headers.referrerPolicy",
            "did you mean 'no-referrer'?",
        ),
        (Api, json!({ "referrerPolicy": "" }), "headers.referrerPolicy", ""),
        (Api, json!({ "referrerPolicy": [] }), "headers.referrerPolicy", "'no-referrer'"),
        (
            Api,
            json!({ "referrerPolicy": ["origin", "origin"] }),
            "headers.referrerPolicy[1]",
            "leave out one",
        ),
        (
            Api,
            json!({ "referrerPolicy": "unsafe-url" }),
            "headers.referrerPolicy",
            "strict-origin-when-cross-origin",
        ),
        (
            Api,
            json!({ "referrerPolicy": "origin\r\nX: y" }),
            "headers.referrerPolicy",
            "did you mean 'origin'?",
        ),
        (Api, json!({ "corp": "none" }), "headers.corp", ""),
        (Api, json!({ "coop": true }), "headers.coop", ""),
        (Api, json!({ "coep": "require-cors" }), "headers.coep", "did you mean 'require-corp'?"),
        (
            Api,
            json!({ "cacheControl": "nostore" }),
            "headers.cacheControl",
            "did you mean `no-store`?",
        ),
        (Api, json!({ "cacheControl": "" }), "headers.cacheControl", "'no-store'"),
        (Api, json!({ "cacheControl": "max-age" }), "headers.cacheControl", "max-age=60"),
        (Api, json!({ "cacheControl": "max-age=1m" }), "headers.cacheControl", "max-age=60"),
        (Api, json!({ "cacheControl": "no-store=1" }), "headers.cacheControl", "'no-store'"),
        (
            Api,
            json!({ "cacheControl": "no-store, max-age=60" }),
            "headers.cacheControl",
            "'no-store' alone",
        ),
        (
            Api,
            json!({ "cacheControl": "private, public" }),
            "headers.cacheControl",
            "leave out private",
        ),
        (
            Api,
            json!({ "cacheControl": "private, private" }),
            "headers.cacheControl",
            "leave out one",
        ),
        (
            Api,
            json!({ "cacheControl": "no-store\r\nX-Evil: 1" }),
            "headers.cacheControl",
            "did you mean `no-store`?",
        ),
        (Api, json!({ "permissionsPolicy": "camera=()" }), "headers.permissionsPolicy", "{ camera"),
        (
            Api,
            json!({ "permissionsPolicy": { "geolocaton": [] } }),
            "headers.permissionsPolicy.geolocaton",
            "did you mean `geolocation`?",
        ),
        (
            Api,
            json!({ "permissionsPolicy": { "camera": "self" } }),
            "headers.permissionsPolicy.camera",
            "['self']",
        ),
        (
            Api,
            json!({ "permissionsPolicy": { "camera": ["'self'"] } }),
            "headers.permissionsPolicy.camera[0]",
            "write 'self'",
        ),
        (
            Api,
            json!({ "permissionsPolicy": { "camera": ["none"] } }),
            "headers.permissionsPolicy.camera[0]",
            "empty list",
        ),
        (
            Api,
            json!({ "permissionsPolicy": { "camera": ["self", "*"] } }),
            "headers.permissionsPolicy.camera[1]",
            "alone",
        ),
        (
            Api,
            json!({ "permissionsPolicy": { "camera": ["self", "a.example"] } }),
            "headers.permissionsPolicy.camera[1]",
            "'https://'",
        ),
        (
            Api,
            json!({ "permissionsPolicy": { "camera": ["https://a.example\")"] } }),
            "headers.permissionsPolicy.camera[0]",
            "https://",
        ),
        (
            Api,
            json!({ "permissionsPolicy": { "camera": ["self", "self"] } }),
            "headers.permissionsPolicy.camera[1]",
            "leave out one",
        ),
        (
            Api,
            json!({ "reportingEndpoints": ["https://a.example"] }),
            "headers.reportingEndpoints",
            "{ csp",
        ),
        (
            Api,
            json!({ "reportingEndpoints": { "CSP": "https://a.example" } }),
            "headers.reportingEndpoints.CSP",
            "'csp'",
        ),
        (
            Api,
            json!({ "reportingEndpoints": { "csp": "http://a.example" } }),
            "headers.reportingEndpoints.csp",
            "https://",
        ),
        (
            Api,
            json!({ "reportingEndpoints": { "csp": "https://u:p@a.example/" } }),
            "headers.reportingEndpoints.csp",
            "https://",
        ),
        (
            Api,
            json!({ "reportingEndpoints": { "csp": "https://a.example/\", x=\"" } }),
            "headers.reportingEndpoints.csp",
            "https://",
        ),
        (
            Api,
            json!({ "reportingEndpoints": { "csp": "https://a.example/\r\n" } }),
            "headers.reportingEndpoints.csp",
            "https://",
        ),
        (Api, json!({ "remove": "Server" }), "headers.remove", ""),
        (Api, json!({ "remove": ["X Y"] }), "headers.remove[0]", "one name per item"),
        (Api, json!({ "remove": ["Server\r\n"] }), "headers.remove[0]", "one name per item"),
        (
            Api,
            json!({ "remove": ["Server", "content-security-policy"] }),
            "headers.remove[1]",
            "its own option",
        ),
        (
            Api,
            json!({ "remove": ["X-Content-Type-Options"] }),
            "headers.remove[0]",
            "its own option",
        ),
        (Api, json!({ "remove": ["Content-Length"] }), "headers.remove[0]", "leave it out"),
        (
            Api,
            json!({ "remove": ["Access-Control-Allow-Origin"] }),
            "headers.remove[0]",
            "leave it out",
        ),
    ]
}

#[test]
fn a_misconfiguration_is_refused_with_its_path_and_what_to_write() {
    for (profile, value, path, suggestion) in refused() {
        let error = parse(profile, &value).expect_err(&value.to_string());
        assert_eq!(error.path(), path, "{value}: {error}");
        let said = error.suggestion().unwrap_or_default();
        assert!(said.contains(suggestion), "{value}: {error}");
    }
}
