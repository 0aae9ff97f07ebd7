//! Delayed requests, and shadow limits.

use serde_json::json;

use super::{SECOND, at, check, limiter, request};
use crate::limit::LimitMask;
use crate::net::ClientKey;

fn client() -> ClientKey {
    ClientKey::parse("203.0.113.7")
}

#[test]
fn requests_that_exceed_a_limit_wait_each_for_a_turn_of_its_own_and_no_longer_than_may_be() {
    let limiter = limiter(&json!({
        "name": "slow", "limit": 2, "window": "1s", "burst": 2, "onExceed": "delay", "maxDelay": "2s",
    }));
    let client = client();
    let outcomes: Vec<_> = (0..8).map(|_| check(&limiter, &request(&client), at(0))).collect();
    let told: Vec<_> = outcomes.iter().map(|o| (o.allowed, o.delay_us)).collect();
    assert_eq!(
        told,
        [
            (true, 0),
            (true, 0),
            (true, 500_000),
            (true, 1_000_000),
            (true, 1_500_000),
            (true, 2_000_000),
            (false, 0),
            (false, 0),
        ]
    );
    let refused = outcomes.last().unwrap();
    assert_eq!(refused.rate_limit, r#""slow";r=0;t=3"#);
    // A request at that time is not delayed.
    assert_eq!(refused.retry_after, Some(3));
    drop(outcomes);
    assert_eq!(check(&limiter, &request(&client), at(3 * SECOND)).delay_us, 0);
}

#[test]
fn no_more_requests_wait_than_there_are_places_and_a_place_is_free_again() {
    let limiter = limiter(&json!({
        "name": "slow", "limit": 1, "window": "1s", "onExceed": "delay", "maxDelay": "60s", "maxDelayed": 2,
    }));
    let client = client();
    let go = |now| check(&limiter, &request(&client), now);
    assert_eq!(go(at(0)).delay_us, 0);
    let (one, two) = (go(at(0)), go(at(0)));
    assert_eq!((one.delay_us, two.delay_us), (SECOND, 2 * SECOND));
    assert!(!go(at(0)).allowed);
    let other = ClientKey::parse("203.0.113.8");
    assert!(check(&limiter, &request(&other), at(0)).allowed, "who needs no place has none");
    drop(one);
    assert_eq!(go(at(0)).delay_us, 3 * SECOND);
}

#[test]
fn a_cost_that_no_quota_holds_is_refused_at_once() {
    let limiter = limiter(&json!({
        "name": "slow", "limit": 2, "window": "1s", "onExceed": "delay", "cost": "\0function",
    }));
    let client = client();
    let mut request = request(&client);
    request.custom_costs = &[Some(3)];
    assert!(!check(&limiter, &request, at(0)).allowed);
    request.custom_costs = &[Some(2)];
    assert!(check(&limiter, &request, at(0)).allowed);
}

#[test]
fn of_several_limits_the_longest_wait_counts_and_a_refusal_by_one_charges_none() {
    let limiter = limiter(&json!([
        { "name": "slow", "limit": 1, "window": "1s", "onExceed": "delay" },
        { "name": "slower", "limit": 1, "window": "2s", "onExceed": "delay" },
        { "name": "hard", "limit": 3, "window": "1h" },
    ]));
    let client = client();
    let delays: Vec<_> =
        (0..3).map(|_| check(&limiter, &request(&client), at(0)).delay_us).collect();
    assert_eq!(delays, [0, 2 * SECOND, 4 * SECOND]);
    assert!(!check(&limiter, &request(&client), at(0)).allowed);
    assert_eq!(limiter.get("slower", &["203.0.113.7"], at(6 * SECOND)).unwrap().remaining, 1);
}

#[test]
fn a_limit_that_only_watches_refuses_nothing_is_not_told_to_clients_and_counts_as_if_it_did() {
    for algorithm in ["gcra", "fixed-window", "sliding-window"] {
        let limiter = limiter(&json!([
            { "name": "real", "limit": 5, "window": "1h" },
            { "name": "new", "limit": 2, "window": "1h", "onExceed": "shadow", "algorithm": algorithm },
        ]));
        let client = client();
        let mut told = Vec::new();
        for _ in 0..7 {
            let outcome = check(&limiter, &request(&client), at(0));
            let shadow = outcome.states[1];
            told.push((outcome.allowed, shadow.violated, shadow.remaining));
            assert!(shadow.shadow);
            assert_eq!(outcome.rate_limit_policy, r#""real";q=5;w=3600"#);
            assert!(!outcome.rate_limit.contains("new"));
            assert!(outcome.violated().all(|name| name == "real"));
        }
        assert_eq!(
            told,
            [
                (true, false, 1),
                (true, false, 0),
                (true, true, 0),
                (true, true, 0),
                (true, true, 0),
                (false, true, 0),
                (false, true, 0),
            ],
            "{algorithm}"
        );
    }
}

#[test]
fn a_limit_that_only_watches_leaves_no_headers_where_it_is_alone_and_a_block_of_it_refuses_nothing()
{
    let limiter =
        limiter(&json!({ "name": "new", "limit": 1, "window": "1h", "onExceed": "shadow" }));
    let client = client();
    limiter.block("new", &["203.0.113.7"], std::time::Duration::from_secs(60), at(0)).unwrap();
    let outcome = limiter.check(LimitMask::ALL, &request(&client), at(1)).unwrap();
    assert!(outcome.allowed && outcome.states[0].violated);
    assert_eq!((outcome.rate_limit.as_str(), &*outcome.rate_limit_policy), ("", ""));
    assert_eq!(outcome.to_refusal(), None);
}
