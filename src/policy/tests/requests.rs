//! Tests of the requests that pass.

use std::borrow::Cow;

use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::super::{FaultKind, InputParts, Outcome, QueryPart, RateView, TokenView};
use super::*;

const USERS: &[&str] = &["api", "v1", "users"];

fn request<'a>(
    method: &'a str,
    path: &'a [&'a str],
    user: Option<&'a Map<String, Json>>,
) -> InputParts<'a> {
    InputParts { method, path, user, client_ip: "192.0.2.1", ..InputParts::default() }
}

#[test]
fn the_articles_policy_lets_the_admin_get_the_users_and_nothing_else() {
    let set = article();
    let admin = claims(&json!({ "sub": "1", "role": "admin" }));
    assert!(ask(&set, &request("GET", USERS, Some(&admin))).is_allowed());

    for method in ["HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "get", ""] {
        assert!(!ask(&set, &request(method, USERS, Some(&admin))).is_allowed(), "{method}");
    }
    for path in [
        &["api", "v1"][..],
        &["api", "v1", "users", "1"],
        &["api", "v1", "Users"],
        &[],
        &["api/v1/users"],
    ] {
        assert!(!ask(&set, &request("GET", path, Some(&admin))).is_allowed(), "{path:?}");
    }
    for role in [
        json!("user"),
        json!(["admin"]),
        json!({ "admin": true }),
        json!("Admin"),
        json!(true),
        json!(null),
    ] {
        let user = claims(&json!({ "role": role }));
        assert!(!ask(&set, &request("GET", USERS, Some(&user))).is_allowed(), "{role}");
    }
    assert!(!ask(&set, &request("GET", USERS, Some(&Map::new()))).is_allowed());
    assert!(!ask(&set, &request("GET", USERS, None)).is_allowed());
}

#[test]
fn a_denial_is_403_and_tells_the_client_nothing_of_the_policy() {
    let refusal = ask(&article(), &request("GET", USERS, None)).to_refusal().unwrap();
    assert_eq!((refusal.status, refusal.code), (403, "policy_denied"));
    assert!(refusal.headers.is_empty());
}

#[test]
fn a_rego_v1_policy_decides_with_data() {
    let set = compile_with(&json!({
        "policies": { "t.rego": "
            package t
            default allow := false
            allow if {
                some grant in data.grants[input.user.sub]
                grant.method == input.effective_method
                grant.resource == input.path[0]
            }
        " },
        "data": { "grants": { "ann": [{ "method": "GET", "resource": "books" }] } },
        "query": "data.t.allow",
        "regoVersion": "v1",
    }))
    .unwrap();
    let ann = claims(&json!({ "sub": "ann" }));
    let bob = claims(&json!({ "sub": "bob" }));
    assert!(ask(&set, &request("GET", &["books"], Some(&ann))).is_allowed());
    assert!(ask(&set, &request("HEAD", &["books"], Some(&ann))).is_allowed());
    assert!(!ask(&set, &request("POST", &["books"], Some(&ann))).is_allowed());
    assert!(!ask(&set, &request("GET", &["books"], Some(&bob))).is_allowed());
    assert!(!ask(&set, &request("GET", &["books"], None)).is_allowed());
}

#[test]
fn modules_of_both_versions_work_together() {
    let set = compile_with(&json!({
        "policies": {
            "old.rego": "package lib\nis_admin(user) { user.role == \"admin\" }",
            "new.rego": "package t\nimport data.lib\ndefault allow := false\nallow if lib.is_admin(input.user)",
        },
        "query": "data.t.allow",
    }))
    .unwrap();
    let admin = claims(&json!({ "role": "admin" }));
    assert!(ask(&set, &request("GET", &[], Some(&admin))).is_allowed());
    assert!(!ask(&set, &request("GET", &[], None)).is_allowed());
}

#[test]
fn an_object_decision_gives_reasons_and_a_status() {
    let set = compile(
        r#"
        package t
        import rego.v1
        default decision := {"allow": false}
        default allow := false
        decision := {"allow": true, "reasons": ["is admin"]} if input.user.role == "admin"
        decision := {"allow": false, "reasons": {"gone", 7}, "status": 404} if input.user.role == "ghost"
        decision := {"allow": true, "obligations": ["log it"]} if input.user.role == "watched"
        decision := {"allow": "true"} if input.user.role == "text"
        decision := {"reasons": []} if input.user.role == "none"
        decision := {"allow": false, "status": 200} if input.user.role == "liar"
        "#,
    )
    .unwrap();
    let query = set.query("query", "data.t.decision").unwrap();
    let ask = |role: &str| {
        let user = claims(&json!({ "role": role }));
        set.evaluate(&query, &request("GET", &[], Some(&user)), NOW)
    };
    assert_eq!(ask("admin"), Outcome::Allow { reasons: vec!["is admin".into()] });
    assert_eq!(ask("ghost"), Outcome::Deny { reasons: vec!["gone".into()], status: Some(404) });
    assert_eq!(ask("ghost").to_refusal().unwrap().status, 404);
    assert!(matches!(ask("watched"), Outcome::Deny { .. }));
    assert_eq!(ask("text"), Outcome::Fault { kind: FaultKind::NotADecision, place: None });
    assert_eq!(ask("none"), Outcome::Fault { kind: FaultKind::NotADecision, place: None });
    assert_eq!(ask("liar").to_refusal().unwrap().status, 403);
    assert_eq!(ask("anyone"), Outcome::Deny { reasons: vec![], status: None });
}

#[test]
fn reasons_are_bounded() {
    let set = rules(
        r#"
        default decision := {"allow": false}
        decision := {"allow": true, "reasons": [r | some i in numbers.range(1, 100); r := sprintf("%d %s", [i, input.pad])]}
        "#,
    )
    .unwrap();
    let query = set.query("query", "data.t.decision").unwrap();
    let outcome = set.evaluate_json(&query, &json!({ "pad": "ä".repeat(5_000) }), NOW);
    let Outcome::Allow { reasons } = outcome else { panic!("{outcome:?}") };
    assert_eq!(reasons.len(), 16);
    assert!(reasons.iter().all(|reason| reason.chars().count() <= 256));
}

#[test]
fn anything_but_true_denies() {
    for value in [
        "false",
        "null",
        "0",
        "1",
        "\"true\"",
        "[true]",
        "{\"allow\": [true]}",
        "{true}",
        "{}",
        "{\"Allow\": true}",
    ] {
        let set = rules(&format!("allow := {value} if input.method == \"GET\"")).unwrap();
        let outcome = ask(&set, &request("GET", &[], None));
        assert!(!outcome.is_allowed(), "{value}");
        assert!(outcome.to_refusal().is_some());
    }
}

#[test]
fn conflicting_rules_are_a_fault_and_no_decision() {
    let set = rules("blocked := input.x if true\nblocked := input.y if true\nallow if not blocked")
        .unwrap();
    let outcome = ask_json(&set, &json!({ "x": 1, "y": 2 }));
    let Outcome::Fault { kind: FaultKind::Evaluation, place: Some(place) } = &outcome else {
        panic!("{outcome:?}")
    };
    assert!(place.starts_with("t.rego:"), "{place}");
    let refusal = outcome.to_refusal().unwrap();
    assert_eq!((refusal.status, refusal.code), (503, "policy_fault"));
    assert!(refusal.headers.iter().any(|(name, _)| *name == "Retry-After"));
}

#[test]
fn every_field_of_the_input_can_be_read() {
    let set = rules(
        r#"
        allow if {
            input.method == "POST"
            input.effective_method == "POST"
            input.path == ["users", "a%40b"]
            input.decoded_path == ["users", "a@b"]
            input.raw_path == "/users/a%40b"
            input.route == "/users/:id"
            input.params.id == "a/b"
            input.query.tag == ["x", "y z"]
            input.query["é"] == [""]
            input.headers["x-tenant"] == "acme, other"
            input.user.sub == "ann"
            input.token == {"jti": "t1", "exp": 1700000900, "alg": "ES256", "kid": "k"}
            input.client.ip == "192.0.2.1"
            net.cidr_contains("192.0.2.0/24", input.client.ip)
            input.rate.remaining == 4
            input.time.now_ns == 1700000000000000000
            time.now_ns() == input.time.now_ns
            input.body.items[0].price == 1.5
        }
        "#,
    )
    .unwrap();
    assert!(set.reads_body());
    assert!(set.unknown_input().is_empty());
    let user = claims(&json!({ "sub": "ann" }));
    let body = json!({ "items": [{ "price": 1.5 }] });
    let raw = InputParts {
        method: "POST",
        path: &["users", "a%40b"],
        decoded_path: &["users", "a@b"],
        raw_path: "/users/a%40b",
        route: Some("/users/:id"),
        params: &[("id", "a/b")],
        query: QueryPart::Raw("tag=x&tag=y+z&%C3%A9"),
        headers: &[("X-Tenant", "acme"), ("x-tenant", "other"), ("Accept", "*/*")],
        user: Some(&user),
        token: Some(TokenView {
            jti: Some("t1"),
            exp: Some(1_700_000_900),
            alg: Some("ES256"),
            kid: Some("k"),
            issuer: None,
        }),
        client_ip: "192.0.2.1",
        rate: Some(RateView { limit: 5, remaining: 4, reset: 60 }),
        body: Some(&body),
        resource: None,
    };
    assert!(ask(&set, &raw).is_allowed());
    let pairs =
        [("tag", "x"), ("tag", "y z"), ("é", "")].map(|(k, v)| (Cow::from(k), Cow::from(v)));
    assert!(ask(&set, &InputParts { query: QueryPart::Pairs(&pairs), ..raw }).is_allowed());
    assert!(!ask(&set, &InputParts { query: QueryPart::Raw("tag=x"), ..raw }).is_allowed());
    assert!(!ask(&set, &InputParts { query: QueryPart::Raw("tag=x&tag=y%2"), ..raw }).is_allowed());
    assert!(!ask(&set, &InputParts { body: None, ..raw }).is_allowed());
}

#[test]
fn a_policy_that_uses_the_whole_input_gets_all_of_it_but_credentials() {
    for rule in [
        "allow if { some key; input[key] == \"GET\"; count(input.headers) == 1 }",
        "allow if { doc := input; doc.method == \"GET\"; not doc.headers.authorization; doc.headers.accept }",
        "allow if { walk(input, [path, value]); path == [\"headers\", \"accept\"]; not leaked }\nleaked if { walk(input, [_, value]); value == \"secret\" }",
    ] {
        let set = rules(rule).unwrap();
        let input = InputParts {
            headers: &[
                ("Accept", "*/*"),
                ("Authorization", "secret"),
                ("Cookie", "secret"),
                ("Proxy-Authorization", "secret"),
            ],
            ..request("GET", &[], None)
        };
        assert!(ask(&set, &input).is_allowed(), "{rule}");
    }
}

#[test]
fn an_import_of_the_input_is_a_read_of_it() {
    let set = rules("import input.user as who\nallow if who.role == \"admin\"").unwrap_or_else(|_| {
        compile("package t\nimport rego.v1\nimport input.user as who\ndefault allow := false\nallow if who.role == \"admin\"").unwrap()
    });
    let admin = claims(&json!({ "role": "admin" }));
    assert!(ask(&set, &request("GET", &[], Some(&admin))).is_allowed());
    assert!(!ask(&set, &request("GET", &[], None)).is_allowed());
}

#[test]
fn an_anonymous_user_is_null() {
    let set = rules("allow if input.user == null").unwrap();
    assert!(ask(&set, &request("GET", &[], None)).is_allowed());
    assert!(!ask(&set, &request("GET", &[], Some(&Map::new()))).is_allowed());
}

#[test]
fn whole_numbers_in_claims_keep_every_digit() {
    let set = rules("allow if input.user.id == 9007199254740993").unwrap();
    for (id, allowed) in [(9_007_199_254_740_993_u64, true), (9_007_199_254_740_992, false)] {
        let user = claims(&json!({ "id": id }));
        assert_eq!(ask(&set, &request("GET", &[], Some(&user))).is_allowed(), allowed, "{id}");
    }
    let set = rules("allow if input.user.id == 18446744073709551615").unwrap();
    let user = claims(&json!({ "id": u64::MAX }));
    assert!(ask(&set, &request("GET", &[], Some(&user))).is_allowed());
}

#[test]
fn a_route_may_ask_another_rule() {
    let set = rules("default admin := false\nadmin if input.user.role == \"admin\"\nallow if true")
        .unwrap();
    let admin = set.query("policy.query", "data.t.admin").unwrap();
    assert!(ask(&set, &request("GET", &[], None)).is_allowed());
    assert!(!set.evaluate(&admin, &request("GET", &[], None), NOW).is_allowed());
    for bad in ["data.t.nothing", "data.t", "data.t.admin == true", "data.other.allow"] {
        let error = set.query("authorize.query", bad).unwrap_err();
        assert_eq!(error.path(), "authorize.query", "{error}");
    }
}

#[test]
fn a_query_of_another_set_is_a_fault() {
    let other = rules("allow if true").unwrap();
    let outcome = article().evaluate(&other.default_query(), &request("GET", &[], None), NOW);
    assert_eq!(outcome, Outcome::Fault { kind: FaultKind::ForeignQuery, place: None });
}

#[test]
fn nothing_of_one_request_is_left_for_the_next() {
    let set = article();
    let failing =
        rules("allow if { input.method == \"GET\"; to_number(input.raw_path) == 1 }").unwrap();
    let admin = claims(&json!({ "role": "admin" }));
    let user = claims(&json!({ "role": "user" }));
    for i in 0..1_000 {
        assert!(ask(&set, &request("GET", USERS, Some(&admin))).is_allowed(), "{i}");
        assert!(!ask(&set, &request("GET", USERS, Some(&user))).is_allowed(), "{i}");
        assert!(!ask(&set, &request("GET", USERS, None)).is_allowed(), "{i}");
        let number = InputParts { raw_path: "1", ..request("GET", &[], None) };
        let text = InputParts { raw_path: "x", ..number };
        assert!(ask(&failing, &number).is_allowed(), "{i}");
        assert!(ask(&failing, &text).to_refusal().is_some_and(|r| r.status == 503), "{i}");
    }
}

#[test]
fn a_policy_set_works_in_several_threads() {
    let set = article();
    let admin = claims(&json!({ "role": "admin" }));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..200 {
                    assert!(ask(&set, &request("GET", USERS, Some(&admin))).is_allowed());
                    assert!(!ask(&set, &request("GET", USERS, None)).is_allowed());
                }
            });
        }
    });
}

#[test]
fn only_a_policy_that_reads_the_body_needs_it() {
    assert!(!article().reads_body());
    assert!(rules("allow if input.body.x == 1").unwrap().reads_body());
    assert!(rules("allow if input[\"body\"] == 1").unwrap().reads_body());
    assert!(rules("allow if { some k; input[k] == 1 }").unwrap().reads_body());
    assert!(rules("allow if f(input)\nf(x) if x.body == 1").unwrap().reads_body());
}

#[test]
fn a_misspelt_member_of_the_input_is_named() {
    assert_eq!(rules("allow if input.usr.role == \"admin\"").unwrap().unknown_input(), ["usr"]);
}

fn any_json() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        any::<f64>().prop_map(Json::from),
        ".{0,8}".prop_map(Json::from),
        Just(Json::from("admin")),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Json::from),
            prop::collection::hash_map("method|path|user|role|allow|[a-z]{1,3}", inner, 0..4)
                .prop_map(|members| Json::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn no_input_panics_and_only_the_right_one_passes(input in any_json()) {
        let right = input["method"] == "GET" && input["path"] == json!(["api", "v1", "users"])
            && input["user"]["role"] == "admin";
        prop_assert_eq!(ask_json(&article(), &input).is_allowed(), right);
    }

    #[test]
    fn a_decision_passes_only_if_it_is_true_or_allows(decision in any_json()) {
        let set = rules("default d := false\nd := input.decision").unwrap();
        let query = set.query("q", "data.t.d").unwrap();
        let passes = decision == true || decision["allow"] == true;
        let outcome = set.evaluate_json(&query, &json!({ "decision": decision }), NOW);
        prop_assert_eq!(outcome.is_allowed(), passes);
    }

    #[test]
    fn no_query_string_or_header_panics(raw in ".{0,40}", name in ".{0,12}", value in ".{0,12}") {
        let set = rules("allow if { count(input.query) == 77; count(input.headers) == 1 }").unwrap();
        let headers = [(name.as_str(), value.as_str())];
        let parts = InputParts { query: QueryPart::Raw(&raw), headers: &headers, ..InputParts::default() };
        prop_assert!(!ask(&set, &parts).is_allowed());
    }
}

#[test]
fn a_decision_that_is_remembered_is_the_one_that_would_be_made() {
    let set = article();
    let [admin, user] = ["admin", "user"].map(|role| claims(&json!({ "sub": "1", "role": role })));
    for _ in 0..3 {
        assert!(ask(&set, &request("GET", USERS, Some(&admin))).is_allowed());
        assert!(!ask(&set, &request("GET", USERS, Some(&user))).is_allowed());
        assert!(!ask(&set, &request("POST", USERS, Some(&admin))).is_allowed());
    }
    let other = compile_with(&json!({
        "policies": { "authz.rego": "package httpapi.authz\ndefault allow = false\nallow { input.method = \"POST\"; input.path; input.user.role }" },
        "query": "data.httpapi.authz.allow",
    }));
    let other = other.unwrap();
    assert!(
        !ask(&other, &request("GET", USERS, Some(&admin))).is_allowed(),
        "another policy has its own memory"
    );
    assert!(ask(&other, &request("POST", USERS, Some(&admin))).is_allowed());
}

#[test]
fn a_remembered_decision_is_for_its_resource_alone() {
    let set = rules("allow if input.resource.owner == input.user.sub").unwrap();
    assert!(set.reads_resource());
    let user = claims(&json!({ "sub": "ada" }));
    let asks = |resource: Option<&Json>| {
        ask(&set, &InputParts { resource, ..request("PUT", USERS, Some(&user)) }).is_allowed()
    };
    let [own, other] = ["ada", "eve"].map(|owner| json!({ "owner": owner, "text": "x" }));
    for _ in 0..3 {
        assert!(asks(Some(&own)));
        assert!(!asks(Some(&other)));
        assert!(!asks(Some(&json!("ada"))));
        assert!(!asks(Some(&json!(["ada"]))));
        assert!(!asks(Some(&Json::Null)));
        assert!(!asks(None));
    }
}

#[test]
fn a_resource_that_nobody_was_asked_for_is_not_null() {
    let set = rules("allow if input.resource == null").unwrap();
    let asks = |resource: Option<&Json>| {
        ask(&set, &InputParts { resource, ..request("PUT", USERS, None) }).is_allowed()
    };
    for _ in 0..2 {
        assert!(asks(Some(&Json::Null)));
        assert!(!asks(None));
        assert!(!asks(Some(&json!({}))));
    }
}

#[test]
fn of_a_resource_only_what_is_read_counts_for_the_size_of_the_input() {
    let set = rules("allow if input.resource.owner == \"ada\"").unwrap();
    let asks = |resource: Option<&Json>| {
        ask(&set, &InputParts { resource, ..request("PUT", USERS, None) }).is_allowed()
    };
    let text = "x".repeat(100_000);
    assert!(asks(Some(&json!({ "owner": "ada", "text": text }))));
    assert!(!asks(Some(&json!({ "owner": text }))));
}

#[test]
fn what_changes_by_itself_is_asked_anew() {
    let set =
        rules("allow if { input.method == \"GET\"; time.now_ns() < 1700000000000000000 + 1000 }")
            .unwrap();
    let input = request("GET", USERS, None);
    assert!(ask(&set, &input).is_allowed());
    let later = NOW.plus(std::time::Duration::from_secs(1));
    assert!(!set.evaluate(&set.default_query(), &input, later).is_allowed());

    let set = rules("allow if { input.method == \"GET\"; input.rate.remaining > 0 }").unwrap();
    let rate =
        |remaining| InputParts { rate: Some(RateView { limit: 2, remaining, reset: 1 }), ..input };
    assert!(ask(&set, &rate(1)).is_allowed());
    assert!(!ask(&set, &rate(0)).is_allowed());
}
