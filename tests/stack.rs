//! The order of the layers, in the core alone: no Node, no network, a clock set by hand.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::type_complexity,
    reason = "helpers of tests are tests"
)]

use std::sync::Arc;
use std::time::Duration;

use keepstone::clock::Now;
use keepstone::guard::{Guard, Layers};
use keepstone::stack::{EarlierStack, HostInput, RequestContext, Stack, Step};
use serde_json::{Value, json};

const NOW: Now = Now::at_unix_us(1_800_000_000_000_000);

fn guard(config: &Value) -> Arc<Guard> {
    Arc::new(Guard::new(config).unwrap())
}

fn full() -> Value {
    json!({
        "cors": { "origins": ["https://app.example.com"] },
        "hosts": ["api.example.com"],
        "jwt": { "issuer": "https://i.example", "audience": "api", "secret": "k7Qm2vXw9TzR4bNf8LsYcJ3hGdPe6UaV" },
        "rateLimit": { "name": "api", "limit": 2, "window": "1h" },
        "policy": {
            "policies": { "a.rego": "package a\ndefault allow = false\nallow { input.user.role = \"admin\" }" },
            "query": "data.a.allow",
        },
    })
}

fn stack(guard: &Arc<Guard>, route: &Value) -> Stack {
    guard.stack(route, Layers::All).unwrap()
}

/// A request with the headers that a good one has, and `more`.
fn send(
    stack: &Stack,
    method: &str,
    target: &str,
    more: &[(&str, &str)],
) -> (RequestContext, Step) {
    let has_body = more.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let flags = if has_body { "b" } else { "" };
    let mut lines: Vec<String> =
        ["", method, target, "192.0.2.1", "", flags, "", ""].map(str::to_owned).to_vec();
    let host = if more.iter().any(|(name, _)| *name == "Host") {
        None
    } else {
        Some(("Host", "api.example.com"))
    };
    for (name, value) in host.iter().chain(more) {
        lines.extend([(*name).to_owned(), (*value).to_owned()]);
    }
    lines[0] = lines.len().to_string();
    stack.before_body(lines.join("\n"), HostInput::default(), NOW)
}

fn bearer(guard: &Guard, role: &str) -> String {
    let claims = json!({ "sub": "ada", "role": role }).as_object().unwrap().clone();
    let signer = guard.tokens.as_ref().unwrap().signer.as_ref().unwrap();
    format!(
        "Bearer {}",
        signer.issue(claims, keepstone::token::IssueOptions::default(), NOW).unwrap().token
    )
}

/// The status and code of a refusal, or `(200, "")`.
fn outcome(step: &Step) -> (u16, &'static str) {
    match step {
        Step::Pass { .. } => (200, ""),
        Step::Refuse(refusal) => (refusal.status, refusal.code),
        Step::Preflight { status } => (*status, "preflight"),
        Step::ReadBody { .. } => (100, "read"),
        Step::AskStore(_) => panic!("a store in this process is not asked"),
        Step::RunCallbacks => (100, "ask"),
        Step::AskCertificate => (100, "certificate"),
        Step::Delay { .. } => (100, "wait"),
        Step::AskIdentity(_) => (100, "identity"),
        Step::AskResource(_) => (100, "resource"),
    }
}

#[test]
fn each_layer_refuses_before_the_next_one_is_asked() {
    let guard = guard(&full());
    let stack = stack(&guard, &json!({}));
    let admin = bearer(&guard, "admin");
    let user = bearer(&guard, "user");
    let origin = ("Origin", "https://app.example.com");
    let cases: &[(&str, &str, &[(&str, &str)], (u16, &str))] = &[
        (
            "GET",
            "/a//b",
            &[("Host", "evil"), ("Authorization", "Bearer x")],
            (400, "malformed_path"),
        ),
        (
            "GET",
            "/a",
            &[("Host", "evil"), ("Authorization", "Bearer x")],
            (403, "host_not_allowed"),
        ),
        ("OPTIONS", "/a", &[origin, ("Access-Control-Request-Method", "GET")], (204, "preflight")),
        ("GET", "/a", &[("Authorization", "Bearer x")], (401, "token_malformed")),
        ("GET", "/a", &[], (401, "token_missing")),
        ("GET", "/a", &[("Authorization", &user)], (403, "policy_denied")),
        (
            "POST",
            "/a",
            &[("Authorization", &admin), ("Content-Length", "2")],
            (415, "unsupported_media_type"),
        ),
        // The two before were counted: the limit comes before the policy and before the body.
        ("GET", "/a", &[("Authorization", &admin)], (429, "rate_limited")),
    ];
    for (method, target, headers, wanted) in cases {
        let (mut ctx, mut step) = send(&stack, method, target, headers);
        // Without a type a body is refused by its first byte.
        if let Step::ReadBody { .. } = step {
            step = stack.after_body(&mut ctx, b"{}", NOW);
        }
        assert_eq!(outcome(&step), *wanted, "{method} {target} {wanted:?}");
    }
}

#[test]
fn a_page_of_another_site_is_refused_before_its_token_is_looked_at() {
    let mut config = full();
    config["jwt"]["from"] = json!(["header", { "cookie": "__Host-token" }]);
    let guard = guard(&config);
    let stack = stack(&guard, &json!({}));
    let evil = ("Origin", "https://evil.example");
    let cookie = ("Cookie", "__Host-token=x");
    let cases: &[(&str, &[(&str, &str)], (u16, &str))] = &[
        ("POST", &[("Host", "evil"), evil, cookie], (403, "host_not_allowed")),
        ("POST", &[evil, cookie], (403, "csrf_failed")),
        ("POST", &[evil], (403, "csrf_failed")),
        ("GET", &[evil, cookie], (401, "token_malformed")),
        ("POST", &[evil, ("Authorization", "Bearer x")], (401, "token_malformed")),
        ("POST", &[evil, ("Authorization", "Basic x"), cookie], (403, "csrf_failed")),
        ("POST", &[evil, ("Authorization", "Bearer x"), cookie], (403, "csrf_failed")),
        ("POST", &[("Authorization", "Bearer x"), cookie], (403, "csrf_failed")),
        (
            "POST",
            &[("Sec-Fetch-Site", "same-origin"), ("Authorization", "Bearer x"), cookie],
            (400, "token_ambiguous"),
        ),
    ];
    for (method, headers, wanted) in cases {
        assert_eq!(
            outcome(&send(&stack, method, "/a", headers).1),
            *wanted,
            "{method} {headers:?}"
        );
    }
}

#[test]
fn every_refusal_behind_cors_carries_its_headers() {
    let guard = guard(&full());
    let stack = stack(&guard, &json!({}));
    for headers in [&[("Host", "evil")][..], &[("Authorization", "Bearer x")], &[]] {
        let mut headers = headers.to_vec();
        headers.push(("Origin", "https://app.example.com"));
        let (x, step) = send(&stack, "GET", "/a", &headers);
        assert!(matches!(step, Step::Refuse(_)));
        assert!(x.headers.iter().any(|(name, value)| *name == "Access-Control-Allow-Origin"
            && value == "https://app.example.com"));
    }
}

#[test]
fn a_revoked_token_is_refused_before_it_is_counted() {
    let guard = guard(&full());
    let stack = stack(&guard, &json!({}));
    let token = bearer(&guard, "admin");
    let tokens = guard.tokens.as_ref().unwrap();
    let revocable = tokens.verifier.revocable(token.trim_start_matches("Bearer "), NOW).unwrap();
    tokens
        .to_revoke_of(revocable.issuer.as_deref().unwrap(), NOW)
        .unwrap()
        .revoke_fingerprint(revocable.fingerprint, revocable.expires_at, NOW)
        .unwrap();
    for _ in 0..5 {
        assert_eq!(
            outcome(&send(&stack, "GET", "/a", &[("Authorization", &token)]).1),
            (401, "token_revoked")
        );
    }
    let good = bearer(&guard, "admin");
    assert_eq!(outcome(&send(&stack, "GET", "/a", &[("Authorization", &good)]).1), (200, ""));
}

#[test]
fn the_body_is_asked_for_only_from_a_request_that_is_still_welcome_and_is_judged_before_a_policy_that_reads_it()
 {
    let guard = guard(&json!({
        "rateLimit": false,
        "policy": {
            "policies": { "a.rego": "package a\ndefault allow = false\nallow { input.body.amount < 100 }" },
            "query": "data.a.allow",
        },
    }));
    let schema =
        json!({ "body": { "type": "object", "properties": { "amount": { "type": "number" } } } });
    let stack = stack(&guard, &schema);
    let headers = [("Content-Type", "application/json"), ("Content-Length", "14")];
    for (body, wanted) in [
        (r#"{"amount": 99}"#, (200, "")),
        (r#"{"amount":100}"#, (403, "policy_denied")),
        (r#"{"amount":"9"}"#, (422, "validation_failed")),
        (r#"{"amount":1,"amount":1}"#, (400, "duplicate_key")),
        ("{}", (403, "policy_denied")),
    ] {
        let (mut x, step) = send(&stack, "POST", "/a", &headers);
        assert_eq!(outcome(&step), (100, "read"));
        assert_eq!(outcome(&stack.after_body(&mut x, body.as_bytes(), NOW)), wanted, "{body}");
    }
    let (_, step) = send(
        &stack,
        "POST",
        "/a",
        &[("Content-Type", "application/json"), ("Content-Length", "102401")],
    );
    assert_eq!(outcome(&step), (413, "body_too_large"));
}

#[test]
fn a_layer_alone_looks_at_the_token_itself() {
    let guard = guard(&full());
    let policy = guard.stack(&json!({}), Layers::Policy).unwrap();
    assert_eq!(outcome(&send(&policy, "GET", "/a", &[]).1), (403, "policy_denied"));
    assert_eq!(
        outcome(&send(&policy, "GET", "/a", &[("Authorization", "Bearer forged")]).1),
        (401, "token_malformed")
    );
    assert_eq!(
        outcome(&send(&policy, "GET", "/a", &[("Authorization", &bearer(&guard, "admin"))]).1),
        (200, "")
    );
}

#[test]
fn a_stack_that_leaves_cors_to_an_earlier_one_adds_no_header_and_answers_no_preflight() {
    let config = json!({ "cors": { "origins": ["https://app.example.com"] }, "rateLimit": false });
    let guard = Arc::new(Guard::new(&config).unwrap());
    let stack = guard.stack(&json!({}), Layers::All).unwrap();
    let head = "14\nOPTIONS\n/\n192.0.2.1\n\n\n\n\nHost\na\nOrigin\nhttps://app.example.com\nAccess-Control-Request-Method\nPUT";
    let ask = |skips_cors| {
        stack.before_body(head.to_owned(), HostInput { skips_cors, ..HostInput::default() }, NOW)
    };
    let (exchange, step) = ask(false);
    assert_eq!(outcome(&step), (204, "preflight"));
    assert!(exchange.headers.iter().any(|(name, _)| *name == "Access-Control-Allow-Origin"));
    let (exchange, step) = ask(true);
    assert_eq!(outcome(&step), (200, ""));
    assert!(exchange.headers.is_empty());
}

/// A guard whose tokens end after 15 minutes, without a policy.
fn plain(more: &Value) -> Arc<Guard> {
    let mut config = json!({
        "jwt": { "issuer": "https://i.example", "audience": "api", "secret": "k7Qm2vXw9TzR4bNf8LsYcJ3hGdPe6UaV" },
        "rateLimit": false,
    });
    for (name, value) in more.as_object().unwrap() {
        config[name] = value.clone();
    }
    guard(&config)
}

fn revoke(guard: &Guard, token: &str, now: Now) {
    let tokens = guard.tokens.as_ref().unwrap();
    let revocable = tokens.verifier.revocable(token.trim_start_matches("Bearer "), now).unwrap();
    let list = tokens.to_revoke_of(revocable.issuer.as_deref().unwrap(), now).unwrap();
    list.revoke_fingerprint(revocable.fingerprint, revocable.expires_at, now).unwrap();
}

const JSON_BODY: [(&str, &str); 2] =
    [("Content-Type", "application/json"), ("Content-Length", "2")];

#[test]
fn a_token_that_ends_while_its_body_is_read_is_refused() {
    let guard = plain(&json!({}));
    let stack = stack(&guard, &json!({}));
    let token = bearer(&guard, "admin");
    let headers = [&JSON_BODY[..], &[("Authorization", token.as_str())]].concat();
    let read = |after: Duration, revoked: bool| {
        let (mut x, step) = send(&stack, "POST", "/a", &headers);
        assert_eq!(outcome(&step), (100, "read"));
        if revoked {
            revoke(&guard, &token, NOW);
        }
        outcome(&stack.after_body(&mut x, b"{}", NOW.plus(after)))
    };
    assert_eq!(read(Duration::ZERO, false), (200, ""));
    // With the tolerance of ten seconds.
    assert_eq!(read(Duration::from_secs(909), false), (200, ""));
    assert_eq!(read(Duration::from_secs(910), false), (401, "token_expired"));
    assert_eq!(read(Duration::from_secs(1), true), (401, "token_revoked"));
}

#[test]
fn a_token_that_ends_while_a_limit_holds_its_request_back_is_refused_before_the_policy_is_asked() {
    let guard = plain(&json!({
        "rateLimit": { "name": "slow", "limit": 1, "window": "10s", "onExceed": "delay", "maxDelay": "1m" },
        "policy": {
            "policies": { "a.rego": "package a\ndefault allow = false" },
            "query": "data.a.allow",
        },
    }));
    let stack = stack(&guard, &json!({}));
    let token = bearer(&guard, "admin");
    let headers = [("Authorization", token.as_str())];
    assert_eq!(outcome(&send(&stack, "GET", "/a", &headers).1), (403, "policy_denied"));
    let held = || {
        let (x, step) = send(&stack, "GET", "/a", &headers);
        assert_eq!(outcome(&step), (100, "wait"));
        x
    };
    let mut x = held();
    let late = NOW.plus(Duration::from_secs(910));
    assert_eq!(outcome(&stack.resume_after_delay(&mut x, late)), (401, "token_expired"));
    let mut x = held();
    let soon = NOW.plus(Duration::from_secs(60));
    assert_eq!(outcome(&stack.resume_after_delay(&mut x, soon)), (403, "policy_denied"));
    let mut x = held();
    revoke(&guard, &token, NOW);
    assert_eq!(outcome(&stack.resume_after_delay(&mut x, soon)), (401, "token_revoked"));
}

#[test]
fn a_layer_that_reads_the_body_asks_the_layers_before_it_again() {
    let guard = plain(&json!({}));
    let options = json!({ "maxAge": "5m" });
    let require = Arc::new(guard.stack(&options, Layers::Require).unwrap());
    let validate = guard.stack(&json!({ "body": { "type": "object" } }), Layers::Payload).unwrap();
    let claims = json!({ "sub": "ada", "auth_time": NOW.unix_seconds() });
    let signer = guard.tokens.as_ref().unwrap().signer.as_ref().unwrap();
    let options = keepstone::token::IssueOptions::default();
    let issued = signer.issue(claims.as_object().unwrap().clone(), options, NOW).unwrap();
    let token = format!("Bearer {}", issued.token);
    let headers = [&JSON_BODY[..], &[("Authorization", token.as_str())]].concat();
    let head = || {
        let (x, step) = send(&require, "POST", "/a", &headers);
        assert_eq!(outcome(&step), (200, ""));
        assert!(x.identity.is_some());
        let mut lines = vec!["", "POST", "/a", "192.0.2.1", "", "b", "", ""];
        lines.extend(["Host", "api.example.com"]);
        for (name, value) in &headers {
            lines.extend([*name, *value]);
        }
        lines[0] = "16";
        lines.join("\n")
    };
    let earlier = || HostInput {
        earlier: vec![EarlierStack { stack: Arc::clone(&require), identity: None }],
        ..HostInput::default()
    };
    let read = |after| {
        let (mut x, step) = validate.before_body(head(), earlier(), NOW);
        assert_eq!(outcome(&step), (100, "read"));
        outcome(&validate.after_body(&mut x, b"{}", NOW.plus(after)))
    };
    assert_eq!(read(Duration::from_secs(309)), (200, ""));
    // What a route demands is asked as well: the login is too long ago by now.
    assert_eq!(read(Duration::from_secs(310)), (401, "insufficient_user_authentication"));
    assert_eq!(read(Duration::from_secs(910)), (401, "token_expired"));
    // Whoever has waited before this layer is asked at once.
    let waited = || HostInput { waited: true, ..earlier() };
    assert_eq!(outcome(&validate.before_body(head(), waited(), NOW).1), (100, "read"));
    let last = head();
    revoke(&guard, &token, NOW);
    assert_eq!(outcome(&validate.before_body(last, waited(), NOW).1), (401, "token_revoked"));
}

#[test]
fn a_policy_that_reads_the_time_is_asked_again_behind_a_slow_body_and_no_other_is() {
    let policy = |rule: &str| {
        plain(&json!({
            "jwt": false,
            "policy": {
                "policies": { "a.rego": format!("package a\ndefault allow = false\nallow {{ {rule} }}") },
                "query": "data.a.allow",
            },
        }))
    };
    let until = (NOW.unix_us + 1_000_000) * 1000;
    let read = |guard: &Arc<Guard>, after| {
        let stack = stack(guard, &json!({}));
        let (mut x, step) = send(&stack, "POST", "/a", &JSON_BODY);
        assert_eq!(outcome(&step), (100, "read"));
        outcome(&stack.after_body(&mut x, b"{}", NOW.plus(after)))
    };
    let timed = policy(&format!("input.time.now_ns < {until}"));
    assert_eq!(read(&timed, Duration::from_millis(900)), (200, ""));
    assert_eq!(read(&timed, Duration::from_secs(2)), (403, "policy_denied"));
    assert_eq!(read(&policy("input.method == \"POST\""), Duration::from_secs(2)), (200, ""));
}

#[test]
fn a_role_and_a_plan_count_alike_for_a_demand_a_tier_and_a_policy_however_they_are_written() {
    let guard = plain(&json!({
        "rateLimit": {
            "name": "api", "limit": 1, "window": "1h", "key": "user",
            "tiers": { "admin": { "limit": 3 }, "pro": { "limit": 2 } },
        },
    }));
    let limits = guard.stack(&json!({}), Layers::RateLimit).unwrap();
    let require = guard.stack(&json!({ "role": "admin" }), Layers::Require).unwrap();
    let signer = guard.tokens.as_ref().unwrap().signer.as_ref().unwrap();
    for (number, (claims, is_admin, limit)) in [
        (json!({ "role": "admin" }), true, 3),
        (json!({ "role": ["admin"] }), true, 3),
        (json!({ "roles": "admin" }), true, 3),
        (json!({ "roles": ["user", "admin"] }), true, 3),
        (json!({ "plan": "pro" }), false, 2),
        (json!({ "plan": ["pro"] }), false, 2),
        (json!({ "plan": "pro", "role": ["admin"] }), true, 3),
        (json!({ "role": { "admin": true } }), false, 1),
        (json!({ "role": "user admin" }), false, 1),
    ]
    .into_iter()
    .enumerate()
    {
        let mut given = claims.as_object().unwrap().clone();
        given.insert("sub".into(), format!("user-{number}").into());
        let options = keepstone::token::IssueOptions::default();
        let token = format!("Bearer {}", signer.issue(given, options, NOW).unwrap().token);
        let headers = [("Authorization", token.as_str())];
        let passes = outcome(&send(&require, "GET", "/a", &headers).1) == (200, "");
        assert_eq!(passes, is_admin, "{claims}");
        let admitted = (0..5)
            .filter(|_| outcome(&send(&limits, "GET", "/a", &headers).1) == (200, ""))
            .count();
        assert_eq!(admitted, limit, "{claims}");
    }
}
