use std::time::Duration;

use serde_json::json;

use super::{SECOND, admitted, at, check, limiter, request};
use crate::limit::{LimitError, Subject};
use crate::net::ClientKey;

const KEY: &[&str] = &["203.0.113.7"];

#[test]
fn what_the_program_consumes_counts_for_requests_too() {
    let limiter = limiter(&json!({ "name": "api", "limit": 10, "window": "60s" }));
    let client = ClientKey::parse("203.0.113.7");
    let state = limiter.consume("api", KEY, 8, at(0)).unwrap();
    assert!(state.allowed);
    assert_eq!((state.limit, state.remaining, state.reset_s), (10, 2, 6));
    let refused = limiter.consume("api", KEY, 3, at(0)).unwrap();
    assert_eq!((refused.allowed, refused.remaining, refused.retry_after_s), (false, 2, 6));
    assert_eq!(admitted(&limiter, &request(&client), 5, at(0)), 2);
    assert_eq!(limiter.get("api", KEY, at(0)).unwrap().remaining, 0);
    assert_eq!(limiter.get("api", &["203.0.113.8"], at(0)).unwrap().remaining, 10);
}

#[test]
fn a_penalty_takes_and_a_reward_gives_back() {
    let limiter = limiter(&json!({ "name": "api", "limit": 10, "window": "60s" }));
    let left = || limiter.get("api", KEY, at(0)).unwrap().remaining;
    limiter.penalize("api", KEY, 4, at(0)).unwrap();
    assert_eq!(left(), 6);
    limiter.penalize("api", KEY, 100, at(0)).unwrap();
    assert_eq!(left(), 0);
    limiter.reward("api", KEY, 3, at(0)).unwrap();
    assert_eq!(left(), 3);
    limiter.reward("api", KEY, 100, at(0)).unwrap();
    assert_eq!(left(), 10);
}

#[test]
fn a_blocked_key_is_refused_until_its_block_ends() {
    let limiter = limiter(&json!({ "name": "api", "limit": 10, "window": "1s" }));
    let client = ClientKey::parse("203.0.113.7");
    limiter.block("api", KEY, Duration::from_secs(3600), at(0)).unwrap();
    let refused = check(&limiter, &request(&client), at(1800 * SECOND));
    assert!(!refused.allowed);
    assert_eq!(refused.retry_after, Some(1800));
    assert_eq!(refused.rate_limit, r#""api";r=0;t=1800"#);
    let state = limiter.get("api", KEY, at(1800 * SECOND)).unwrap();
    assert_eq!((state.allowed, state.remaining, state.blocked_s), (false, 0, 1800));
    assert!(!limiter.consume("api", KEY, 1, at(3600 * SECOND - 1)).unwrap().allowed);
    assert!(check(&limiter, &request(&client), at(3600 * SECOND)).allowed);
}

#[test]
fn a_block_and_a_reset_reach_a_key_in_every_tier() {
    let limiter = limiter(&json!({
        "name": "api", "limit": 1, "window": "60s", "key": "user", "tiers": { "pro": { "limit": 5 } },
    }));
    let client = ClientKey::parse("203.0.113.7");
    let pro = Subject { user: Some("alice"), roles: &["pro"], ..request(&client) };
    limiter.block("api", &["alice"], Duration::from_secs(60), at(0)).unwrap();
    assert_eq!(admitted(&limiter, &pro, 9, at(0)), 0);
    limiter.reset("api", &["alice"]).unwrap();
    assert_eq!(admitted(&limiter, &pro, 9, at(0)), 5);
    limiter.reset("api", &["alice"]).unwrap();
    assert_eq!(admitted(&limiter, &pro, 9, at(0)), 5);
}

#[test]
fn the_parts_of_a_key_are_those_of_the_policy() {
    let limiter = limiter(&json!([
        { "name": "api", "limit": 9, "window": "60s", "key": ["user", "route"] },
        { "name": "own", "limit": 9, "window": "60s", "key": "\0function" },
        { "name": "ip", "limit": 9, "window": "60s" },
    ]));
    let client = ClientKey::parse("::ffff:203.0.113.7");
    let subject = Subject {
        user: Some("alice"),
        route: "/a",
        custom_keys: &[vec![], vec!["tenant"]],
        ..request(&client)
    };
    assert!(check(&limiter, &subject, at(0)).allowed);
    for (name, key) in [("api", &["alice", "/A/"][..]), ("own", &["tenant"]), ("ip", KEY)] {
        assert_eq!(limiter.get(name, key, at(0)).unwrap().remaining, 8, "{name}");
    }
    let error = |name, key| limiter.get(name, key, at(0)).unwrap_err();
    assert_eq!(error("apo", KEY), LimitError::UnknownPolicy);
    assert_eq!(error("api", KEY), LimitError::KeyParts { wanted: 2 });
    assert_eq!(error("own", &[]), LimitError::KeyParts { wanted: 1 });
    assert_eq!(error("ip", &["nonsense"]), LimitError::NoAddress);
}
