//! Limits that change at runtime.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{SECOND, admitted, at, check, request};
use crate::error::ConfigCode;
use crate::limit::{LimitPolicy, Limiter, ReloadableLimiter};
use crate::net::ClientKey;
use crate::store::MemoryStore;

fn live(store: &Arc<MemoryStore>, policies: &Value) -> ReloadableLimiter {
    let policies = LimitPolicy::parse_all("rateLimit", policies).unwrap();
    let limiter = Limiter::new(policies.clone(), Arc::clone(store), "").unwrap();
    ReloadableLimiter::new(policies, limiter)
}

fn passes(live: &ReloadableLimiter) -> usize {
    let client = ClientKey::parse("203.0.113.7");
    admitted(&live.current(), &request(&client), 100, at(0))
}

fn set(store: &MemoryStore, live: &ReloadableLimiter, value: &Value) {
    let notice = live.change("api", value).unwrap().unwrap();
    store.notices().apply(&notice, 1).unwrap();
}

#[test]
fn a_change_holds_at_once_for_all_who_have_configured_the_limit_alike_and_for_nobody_else() {
    let store = Arc::new(MemoryStore::new(1 << 20));
    let policy = json!([
        { "name": "api", "limit": 10, "window": "1h" }, { "name": "wide", "limit": 50, "window": "1h" },
    ]);
    let (one, two) = (live(&store, &policy), live(&store, &policy));
    let other = live(&store, &json!({ "name": "api", "limit": 20, "window": "1h" }));
    set(&store, &one, &json!({ "name": "api", "limit": 3 }));
    assert_eq!((passes(&one), passes(&two), passes(&other)), (3, 0, 20));
    assert_eq!(two.current().get("api", &["203.0.113.7"], at(0)).unwrap().limit, 3);
    set(&store, &two, &json!({ "name": "api", "limit": 60, "window": "1m" }));
    assert_eq!(passes(&one), 47, "the other limit is as it was, and has counted three");
    set(&store, &two, &json!({ "name": "api", "limit": 10, "window": "1h" }));
    assert_eq!(one.current().get("api", &["203.0.113.7"], at(0)).unwrap().limit, 10);
}

#[test]
fn what_is_left_out_stays_as_it_was_configured() {
    let store = Arc::new(MemoryStore::new(1 << 20));
    let live = live(
        &store,
        &json!({
            "name": "api", "limit": 10, "window": "1h", "key": "user", "count": "failed",
            "tiers": { "pro": { "limit": 20 } },
        }),
    );
    set(&store, &live, &json!({ "name": "api", "limit": 3 }));
    let client = ClientKey::parse("203.0.113.7");
    let limiter = live.current();
    let mut subject = request(&client);
    subject.user = Some("ada");
    assert_eq!(admitted(&limiter, &subject, 100, at(0)), 3);
    subject.roles = &["pro"];
    assert_eq!(admitted(&limiter, &subject, 100, at(0)), 20);
}

#[test]
fn what_cannot_be_changed_or_meant_is_refused_by_its_path() {
    use ConfigCode::{InvalidOption, MissingOption, UnknownOption};
    let store = Arc::new(MemoryStore::new(1 << 20));
    let live = live(
        &store,
        &json!({ "name": "api", "limit": 10, "window": "1h", "cost": 5, "burst": 20 }),
    );
    for (value, path, code) in [
        (json!({ "name": "api" }), "policy.limit", MissingOption),
        (json!({ "name": "api", "limit": 0 }), "policy.limit", InvalidOption),
        (json!({ "name": "api", "limit": 10 }), "policy.burst", MissingOption),
        (json!({ "name": "api", "limit": 4, "burst": 4 }), "policy.limit", InvalidOption),
        (
            json!({ "name": "api", "limit": 9, "burst": 9, "key": "user" }),
            "policy.key",
            InvalidOption,
        ),
        (
            json!({ "name": "api", "limit": 9, "burst": 9, "windw": 1 }),
            "policy.windw",
            UnknownOption,
        ),
        (
            json!({ "name": "api", "limit": 9, "burst": 9, "tiers": { "pro": { "limit": 4 } } }),
            "policy.limit",
            InvalidOption,
        ),
    ] {
        let error = live.change("api", &value).unwrap_err();
        assert_eq!((error.path(), error.code()), (path, code), "{value}");
    }
    assert_eq!(live.change("nope", &json!({ "name": "nope", "limit": 1 })), Ok(None));
}

#[test]
fn requests_that_wait_for_their_turn_still_count_when_a_limit_is_changed() {
    let store = Arc::new(MemoryStore::new(1 << 20));
    let live = live(
        &store,
        &json!([
            { "name": "slow", "limit": 1, "window": "1s", "onExceed": "delay", "maxDelay": "60s", "maxDelayed": 1 },
            { "name": "api", "limit": 50, "window": "1h" },
        ]),
    );
    let client = ClientKey::parse("203.0.113.7");
    let before = live.current();
    assert_eq!(check(&before, &request(&client), at(0)).delay_us, 0);
    let waits = check(&before, &request(&client), at(0));
    assert_eq!(waits.delay_us, SECOND);
    set(&store, &live, &json!({ "name": "api", "limit": 60 }));
    assert!(!check(&live.current(), &request(&client), at(0)).allowed, "another limit was changed");
    let changed = live.change("slow", &json!({ "name": "slow", "limit": 2 })).unwrap().unwrap();
    store.notices().apply(&changed, 2).unwrap();
    let after = live.current();
    assert_eq!(admitted(&after, &request(&client), 10, at(0)), 2, "its own figures were changed");
    drop(waits);
    assert_eq!(check(&after, &request(&client), at(0)).delay_us, SECOND / 2);
}

#[test]
fn a_change_of_a_limit_that_a_stack_does_not_have_leaves_its_limits_as_they_are() {
    let store = Arc::new(MemoryStore::new(1 << 20));
    let one = live(&store, &json!({ "name": "api", "limit": 10, "window": "1h" }));
    let other = live(&store, &json!({ "name": "other", "limit": 10, "window": "1h" }));
    let before = other.current();
    set(&store, &one, &json!({ "name": "api", "limit": 3 }));
    assert!(Arc::ptr_eq(&before, &other.current()));
    assert_eq!(passes(&one), 3);
}
