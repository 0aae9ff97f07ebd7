use proptest::prelude::*;
use serde_json::json;

use super::{NOON, SECOND, admitted, at, check, limiter, request};
use crate::clock::Now;
use crate::limit::{LimitError, LimitMask, Subject};
use crate::net::ClientKey;

fn client(address: &str) -> ClientKey {
    ClientKey::parse(address)
}

#[test]
fn the_101st_request_within_a_minute_from_one_address_is_refused_and_another_address_is_not() {
    let limiter = limiter(&json!({ "name": "api", "limit": 100, "window": "60s" }));
    let (one, other) = (client("203.0.113.7"), client("203.0.113.8"));
    for i in 0..100 {
        assert!(check(&limiter, &request(&one), at(i * 1_000)).allowed, "request {i}");
    }
    let refused = check(&limiter, &request(&one), at(100_000));
    assert!(!refused.allowed);
    assert_eq!(refused.rate_limit_policy, r#""api";q=100;w=60"#);
    assert_eq!(refused.rate_limit, r#""api";r=0;t=1"#);
    assert_eq!(refused.retry_after, Some(1));
    assert_eq!(refused.violated().collect::<Vec<_>>(), ["api"]);
    let refusal = refused.to_refusal().unwrap();
    assert_eq!((refusal.status, refusal.code), (429, "rate_limited"));
    assert_eq!(refusal.detail, "rate limit `api` is used up, retry in 1 second");
    assert_eq!(refusal.headers, [("Retry-After", "1".to_owned())]);

    let fresh = check(&limiter, &request(&other), at(100_000));
    assert!(fresh.allowed);
    assert_eq!(fresh.rate_limit, r#""api";r=99;t=1"#);
    assert_eq!(fresh.to_refusal(), None);
    assert!(check(&limiter, &request(&one), at(60 * SECOND)).allowed);
}

#[test]
fn an_ipv6_customer_has_one_quota_for_all_of_its_addresses() {
    let limiter = limiter(&json!({ "name": "api", "limit": 10, "window": "60s" }));
    let passed = (0..1000u32)
        .filter(|i| {
            let address = client(&format!("2001:db8:0:{:x}::{i:x}", i % 256));
            check(&limiter, &request(&address), at(0)).allowed
        })
        .count();
    assert_eq!(passed, 10);
    assert!(check(&limiter, &request(&client("2001:db8:0:100::1")), at(0)).allowed);
}

#[test]
fn addresses_that_cannot_be_read_share_one_quota() {
    let limiter = limiter(&json!({ "name": "api", "limit": 3, "window": "60s" }));
    let passed = ["", "x", "y", "z", "1.2.3"]
        .iter()
        .filter(|text| check(&limiter, &request(&client(text)), at(0)).allowed)
        .count();
    assert_eq!(passed, 3);
}

#[test]
fn a_request_that_one_policy_refuses_is_counted_by_none() {
    let limiter = limiter(&json!([
        { "name": "burst", "limit": 2, "window": "1s" },
        { "name": "daily", "limit": 1000, "window": "1d", "algorithm": "fixed-window" },
    ]));
    let client = client("203.0.113.7");
    assert_eq!(admitted(&limiter, &request(&client), 50, at(0)), 2);
    let refused = check(&limiter, &request(&client), at(0));
    assert_eq!(refused.rate_limit, r#""burst";r=0;t=1, "daily";r=998;t=43200"#);
    assert_eq!(refused.rate_limit_policy, r#""burst";q=2;w=1, "daily";q=1000;w=86400"#);
    assert_eq!(refused.violated().collect::<Vec<_>>(), ["burst"]);
    assert_eq!(refused.retry_after, Some(1));
}

#[test]
fn retry_after_is_the_longest_wait_of_the_violated_policies() {
    let limiter = limiter(&json!([
        { "name": "second", "limit": 1, "window": "1s" },
        { "name": "hour", "limit": 1, "window": "1h" },
    ]));
    let client = client("203.0.113.7");
    assert!(check(&limiter, &request(&client), at(0)).allowed);
    let refused = check(&limiter, &request(&client), at(1));
    assert_eq!(refused.violated().collect::<Vec<_>>(), ["second", "hour"]);
    assert_eq!(refused.retry_after, Some(3600));
    assert_eq!(
        refused.to_refusal().unwrap().detail,
        "rate limits `second`, `hour` are used up, retry in 3600 seconds"
    );
}

#[test]
fn a_request_costs_what_it_says() {
    let limiter = limiter(&json!([
        { "name": "fixed", "limit": 10, "window": "60s", "cost": 3 },
        { "name": "own", "limit": 100, "window": "60s", "cost": "\0function" },
    ]));
    let client = client("203.0.113.7");
    let mut subject = request(&client);
    subject.custom_costs = &[None, Some(40)];
    let first = check(&limiter, &subject, at(0));
    assert_eq!((first.states[0].remaining, first.states[1].remaining), (7, 60));
    assert_eq!(admitted(&limiter, &subject, 5, at(0)), 1);
    subject.custom_costs = &[None, Some(101)];
    assert!(!check(&limiter, &subject, at(3600 * SECOND)).allowed);
}

#[test]
fn a_cost_of_nothing_counts_nothing() {
    let limiter =
        limiter(&json!({ "name": "own", "limit": 1, "window": "60s", "cost": "\0function" }));
    let client = client("203.0.113.7");
    let mut subject = request(&client);
    subject.custom_costs = &[Some(0)];
    assert_eq!(admitted(&limiter, &subject, 5, at(0)), 5);
    assert!(limiter.store().is_empty(at(0).mono_us));
}

#[test]
fn a_function_that_gave_nothing_is_an_error_and_never_a_pass() {
    let client = client("203.0.113.7");
    for (option, error) in [("key", LimitError::MissingKey), ("cost", LimitError::MissingCost)] {
        let mut policy = json!({ "name": "own", "limit": 1, "window": "60s" });
        policy[option] = json!("\0function");
        let limiter = limiter(&policy);
        assert_eq!(limiter.check(LimitMask::ALL, &request(&client), at(0)).unwrap_err(), error);
    }
}

#[test]
fn the_most_generous_of_several_tiers_counts_and_without_one_the_policy_itself() {
    let limiter = limiter(&json!({
        "name": "api", "limit": 2, "window": "60s", "key": "user",
        "tiers": { "pro": { "limit": 5 }, "hourly": { "limit": 60, "window": "1h" }, "team": { "limit": 9 } },
    }));
    let client = client("203.0.113.7");
    let by = |user, roles| Subject { user: Some(user), roles, ..request(&client) };
    assert_eq!(admitted(&limiter, &by("a", &[]), 20, at(0)), 2);
    assert_eq!(admitted(&limiter, &by("b", &["unknown"]), 20, at(0)), 2);
    assert_eq!(admitted(&limiter, &by("c", &["pro"]), 20, at(0)), 5);
    assert_eq!(admitted(&limiter, &by("d", &["pro", "team"]), 20, at(0)), 9);
    assert_eq!(admitted(&limiter, &by("e", &["team", "pro"]), 20, at(0)), 9);
    // 60 an hour is 1 a minute: less than 5 a minute, though the number is larger.
    assert_eq!(admitted(&limiter, &by("f", &["hourly", "pro"]), 20, at(0)), 5);
    let outcome = check(&limiter, &by("g", &["hourly"]), at(0));
    assert_eq!(outcome.rate_limit_policy, r#""api";q=60;w=3600"#);
}

#[test]
fn keys_of_different_kinds_never_meet() {
    let limiter = limiter(&json!({ "name": "api", "limit": 1, "window": "60s", "key": "user" }));
    let client = client("203.0.113.7");
    let by = |user| Subject { user, ..request(&client) };
    for user in [None, Some("203.0.113.7"), Some(""), Some("alice"), Some("Alice")] {
        assert_eq!(admitted(&limiter, &by(user), 3, at(0)), 1, "{user:?}");
    }
}

#[test]
fn lists_of_key_parts_count_each_combination() {
    let limiter =
        limiter(&json!({ "name": "api", "limit": 1, "window": "60s", "key": ["user", "token"] }));
    let client = client("203.0.113.7");
    let by = |user, token| Subject { user: Some(user), token: Some(token), ..request(&client) };
    for (user, token) in [("a", "bc"), ("ab", "c"), ("a", "c"), ("abc", "")] {
        assert_eq!(admitted(&limiter, &by(user, token), 3, at(0)), 1, "{user} {token}");
    }
}

#[test]
fn patterns_that_differ_in_case_have_quotas_of_their_own() {
    let limiter = limiter(&json!({ "name": "api", "limit": 1, "window": "60s", "key": "route" }));
    let client = client("203.0.113.7");
    for route in
        [r"/^\/\d+$/", r"/^\/\D+$/", r"/:id(\d+)", r"/:id(\D+)", "/[a]", "/[A]", "/a*", "/A*"]
    {
        let subject = Subject { route, ..request(&client) };
        assert_eq!(admitted(&limiter, &subject, 2, at(0)), 1, "{route}");
    }
}

#[test]
fn other_spellings_of_a_route_have_no_quota_of_their_own() {
    let limiter = limiter(&json!({ "name": "api", "limit": 2, "window": "60s", "key": "route" }));
    let client = client("203.0.113.7");
    let passed = ["/v1/login", "/V1/login", "/v1/LOGIN", "/v1/login/", "/v1/Login/"]
        .iter()
        .filter(|route| check(&limiter, &Subject { route, ..request(&client) }, at(0)).allowed)
        .count();
    assert_eq!(passed, 2);
    assert!(check(&limiter, &Subject { route: "/v1/logout", ..request(&client) }, at(0)).allowed);
}

#[test]
fn policies_are_about_their_methods_and_paths_however_these_are_written() {
    let limiter = limiter(&json!([
        { "name": "login", "limit": 1, "window": "60s", "methods": ["POST"], "paths": ["/v1/login", "/v1/auth/*"] },
        { "name": "reads", "limit": 1, "window": "60s", "methods": ["GET"] },
    ]));
    let client = client("203.0.113.7");
    let names = |method, path| {
        let outcome = check(&limiter, &Subject { method, path, ..request(&client) }, at(0));
        outcome.states.iter().map(|state| state.name).collect::<Vec<_>>()
    };
    for path in ["/v1/login", "/V1/Login", "/v1/login/", "/v1/auth", "/v1/auth/", "/v1/AUTH/a/b"] {
        assert_eq!(names("POST", path), ["login"], "{path}");
    }
    for path in ["/", "/v1", "/v1/logins", "/v1/login/x", "/v1/authority", "/v1/aut\u{e9}", "*", ""]
    {
        assert!(names("POST", path).is_empty(), "{path}");
    }
    assert_eq!(names("GET", "/v1/login"), ["reads"]);
    // Express answers HEAD with the handler of GET.
    assert_eq!(names("HEAD", "/v1/login"), ["reads"]);
}

#[test]
fn a_request_that_no_policy_is_about_passes_without_headers() {
    let limiter =
        limiter(&json!({ "name": "a", "limit": 1, "window": "60s", "methods": ["POST"] }));
    let outcome = check(&limiter, &request(&client("203.0.113.7")), at(0));
    assert!(outcome.allowed);
    assert_eq!((outcome.rate_limit.as_str(), &*outcome.rate_limit_policy), ("", ""));
}

#[test]
fn policies_that_counted_a_request_already_can_be_left_out() {
    let limiter = limiter(&json!([
        { "name": "a", "limit": 9, "window": "60s" },
        { "name": "b", "limit": 9, "window": "60s" },
    ]));
    let client = client("203.0.113.7");
    let first = LimitMask::NONE.with(limiter.index_of("a").unwrap());
    limiter.check(first, &request(&client), at(0)).unwrap();
    let rest = limiter.check(LimitMask::ALL.without(first), &request(&client), at(0)).unwrap();
    assert_eq!(rest.rate_limit, r#""b";r=8;t=7"#);
    let all = check(&limiter, &request(&client), at(0));
    assert_eq!((all.states[0].remaining, all.states[1].remaining), (7, 7));
}

#[test]
fn every_algorithm_refuses_the_request_after_the_last_and_admits_again_when_it_said() {
    let client = client("203.0.113.7");
    for algorithm in ["gcra", "token-bucket", "leaky-bucket", "fixed-window", "sliding-window"] {
        let limiter =
            limiter(&json!({ "name": "a", "limit": 5, "window": "10s", "algorithm": algorithm }));
        assert_eq!(admitted(&limiter, &request(&client), 10, at(0)), 5, "{algorithm}");
        let wait = check(&limiter, &request(&client), at(0)).retry_after.unwrap();
        assert!(check(&limiter, &request(&client), at(wait * SECOND)).allowed, "{algorithm}");
    }
}

#[test]
fn a_wall_clock_set_back_by_a_year_does_not_lock_a_client_out() {
    for algorithm in ["gcra", "fixed-window", "sliding-window"] {
        let limiter =
            limiter(&json!({ "name": "a", "limit": 5, "window": "10s", "algorithm": algorithm }));
        let client = client("203.0.113.7");
        let back = |us| Now { unix_us: NOON - 365 * 86_400 * SECOND + us, mono_us: NOON + 1 + us };
        assert_eq!(admitted(&limiter, &request(&client), 10, at(0)), 5);
        assert_eq!(admitted(&limiter, &request(&client), 10, back(0)), 0, "{algorithm}");
        assert!(check(&limiter, &request(&client), back(20 * SECOND)).allowed, "{algorithm}");
    }
}

proptest! {
    #[test]
    fn no_policy_admits_too_much_whatever_other_policies_refuse(
        steps in prop::collection::vec((0..4_000_000u64, 0..3u8), 1..200),
    ) {
        let limiter = limiter(&json!([
            { "name": "a", "limit": 5, "window": "10s", "algorithm": "fixed-window" },
            { "name": "b", "limit": 40, "window": "400s", "algorithm": "fixed-window", "key": "route" },
        ]));
        let clients = ["203.0.113.7", "203.0.113.8", "203.0.113.9"].map(client);
        let mut now = NOON;
        let mut used = std::collections::BTreeMap::<(u64, u8), u64>::new();
        for (step, who) in steps {
            now += step;
            let (a, b) = ((now / 10_000_000, who), (now / 400_000_000, 9));
            let count = |key| used.get(&key).copied().unwrap_or(0);
            let fits = count(a) < 5 && count(b) < 40;
            let subject = request(&clients[usize::from(who)]);
            let outcome = check(&limiter, &subject, Now::at_unix_us(now));
            prop_assert_eq!(outcome.allowed, fits);
            if fits {
                *used.entry(a).or_default() += 1;
                *used.entry(b).or_default() += 1;
            }
        }
    }
}
