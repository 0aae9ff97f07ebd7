//! Concurrent requests in this process.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{SECOND, at, check, limiter, request};
use crate::error::ConfigCode;
use crate::limit::{
    AdminOp, ConcurrencyPermit, LimitError, LimitMask, LimitPolicy, Limiter, OnStoreFailure,
    Reservation, Signal, SignalTarget, Subject,
};
use crate::net::ClientKey;
use crate::store::MemoryStore;

const KEY: &str = "203.0.113.7";

fn reports(more: &Value) -> Value {
    let mut policy = json!({ "name": "reports", "concurrent": 2 });
    for (key, value) in more.as_object().unwrap() {
        policy[key] = value.clone();
    }
    policy
}

fn taken(limiter: &Limiter) -> u64 {
    limiter.get("reports", &[KEY], at(0)).unwrap().taken.unwrap()
}

#[test]
fn a_request_holds_its_place_until_it_is_over_however_long_that_is() {
    let limiter = limiter(&reports(&json!({})));
    let client = ClientKey::parse(KEY);
    let one = check(&limiter, &request(&client), at(0));
    let two = check(&limiter, &request(&client), at(0));
    assert_eq!((one.allowed, two.allowed), (true, true));
    assert_eq!(one.rate_limit, r#""reports";r=1"#);
    assert_eq!(one.rate_limit_policy, r#""reports";q=2;qu="concurrent-requests""#);
    for later in [0, SECOND, 4000 * SECOND] {
        let refused = check(&limiter, &request(&client), at(later));
        assert_eq!((refused.allowed, refused.retry_after), (false, Some(1)));
        assert_eq!(refused.rate_limit, r#""reports";r=0"#);
        let refusal = refused.to_refusal().unwrap();
        assert_eq!(
            refusal.detail,
            "too many requests of `reports` are under way, retry in 1 second"
        );
    }
    let other = ClientKey::parse("203.0.113.8");
    assert!(check(&limiter, &request(&other), at(0)).allowed, "others have slots of their own");
    drop(one);
    assert_eq!(taken(&limiter), 1);
    assert!(check(&limiter, &request(&client), at(0)).allowed);
    drop(two);
    assert_eq!((taken(&limiter), limiter.store().keys_with_slots()), (0, 0));
}

#[test]
fn a_request_that_another_limit_refuses_takes_no_place_and_one_without_a_place_is_not_charged() {
    let limiter = limiter(&json!([
        { "name": "few", "limit": 3, "window": "1h" },
        reports(&json!({})),
        { "name": "all", "concurrent": 5 },
    ]));
    let client = ClientKey::parse(KEY);
    let mut held = Vec::new();
    for _ in 0..2 {
        held.push(check(&limiter, &request(&client), at(0)));
    }
    let refused = check(&limiter, &request(&client), at(0));
    assert_eq!(refused.violated().collect::<Vec<_>>(), ["reports"]);
    let left = |name| limiter.get(name, &[KEY], at(0)).unwrap().remaining;
    assert_eq!((left("few"), left("reports"), left("all")), (1, 0, 3));
    held.clear();
    assert!(check(&limiter, &request(&client), at(0)).allowed);
    let refused = check(&limiter, &request(&client), at(0));
    assert_eq!(refused.violated().collect::<Vec<_>>(), ["few"]);
    assert!(refused.retry_after > Some(60), "and it waits for that one");
    assert_eq!((left("few"), left("reports"), left("all")), (0, 2, 5));
}

#[test]
fn a_limit_that_only_watches_lets_all_through_and_counts_those_that_it_would_have() {
    let limiter = limiter(&reports(&json!({ "onExceed": "shadow" })));
    let client = ClientKey::parse(KEY);
    let outcomes: Vec<_> = (0..4).map(|_| check(&limiter, &request(&client), at(0))).collect();
    assert!(outcomes.iter().all(|outcome| outcome.allowed && outcome.rate_limit.is_empty()));
    let would: Vec<bool> = outcomes.iter().map(|outcome| outcome.states[0].violated).collect();
    assert_eq!(would, [false, false, true, true]);
    assert_eq!(taken(&limiter), 2);
}

#[test]
fn a_role_has_places_of_its_own_and_the_most_generous_counts() {
    let tiers = json!({ "tiers": { "gold": { "concurrent": 3 }, "silver": { "concurrent": 1 } } });
    let limiter = limiter(&reports(&tiers));
    let client = ClientKey::parse(KEY);
    let mut held = Vec::new();
    for (roles, most) in [(&["silver"][..], 1), (&["silver", "gold"], 3), (&[], 2)] {
        let subject = Subject { roles, ..request(&client) };
        for i in 0..=most {
            let outcome = check(&limiter, &subject, at(0));
            assert_eq!(outcome.allowed, i < most, "{roles:?}");
            held.push(outcome);
        }
    }
    limiter.reset("reports", &[KEY]).unwrap();
    assert_eq!(limiter.store().keys_with_slots(), 0, "by hand it reaches every tier");
}

#[test]
fn the_number_of_places_may_change_while_they_are_taken() {
    let policies = LimitPolicy::parse_all("rateLimit", &reports(&json!({}))).unwrap();
    let store = Arc::new(MemoryStore::new(1 << 20));
    let before = Limiter::new(policies.clone(), Arc::clone(&store), "").unwrap();
    let client = ClientKey::parse(KEY);
    let held: Vec<_> = (0..2).map(|_| check(&before, &request(&client), at(0))).collect();
    for (concurrent, more) in [(3, 1), (2, 0), (1, 0)] {
        let changed =
            policies[0].changed(&json!({ "name": "reports", "concurrent": concurrent })).unwrap();
        let after = Limiter::new(vec![changed], Arc::clone(&store), "").unwrap();
        let new: Vec<_> = (0..3).map(|_| check(&after, &request(&client), at(0))).collect();
        assert_eq!(new.iter().filter(|outcome| outcome.allowed).count(), more, "{concurrent}");
    }
    drop(held);
    assert_eq!(taken(&before), 0);
}

#[test]
fn who_gives_a_place_back_twice_or_late_frees_nobody_elses() {
    let limiter = Arc::new(limiter(&reports(&json!({}))));
    let client = ClientKey::parse(KEY);
    let mut old = check(&limiter, &request(&client), at(0));
    limiter.call("reports", &[KEY], AdminOp::Reset, at(0)).unwrap();
    let young: Vec<_> = (0..2).map(|_| check(&limiter, &request(&client), at(0))).collect();
    let charged = Reservation::new(Arc::clone(&limiter), Vec::new(), std::mem::take(&mut old.held));
    assert!(charged.has_slots());
    assert!(charged.settle(true, at(0)).is_empty(), "no other store is to be told");
    drop(old);
    assert_eq!(taken(&limiter), 2);
    assert!(!check(&limiter, &request(&client), at(0)).allowed);
    drop(young);
    assert_eq!(taken(&limiter), 0);
}

#[test]
fn what_is_about_limits_in_time_is_refused() {
    let limiter = limiter(&reports(&json!({})));
    for manual in [
        AdminOp::Consume(1),
        AdminOp::Penalize(1),
        AdminOp::Reward(1),
        AdminOp::Block(Duration::from_secs(1)),
    ] {
        assert_eq!(limiter.call("reports", &[KEY], manual, at(0)), Err(LimitError::InFlight));
        let asked = limiter.manual_question("reports", &[KEY], manual);
        assert_eq!(asked.unwrap_err(), LimitError::InFlight);
    }
    let signal = Signal { factor: 100, ttl: Duration::from_secs(60) };
    let whom = SignalTarget::Address(ClientKey::parse(KEY));
    assert_eq!(limiter.signal(whom, None, signal, at(0)), Ok(0), "and a signal does not reach it");
    let client = ClientKey::parse(KEY);
    let held: Vec<_> = (0..2).map(|_| check(&limiter, &request(&client), at(0))).collect();
    assert!(held.iter().all(|outcome| outcome.allowed));
}

#[test]
fn a_flood_of_keys_neither_frees_a_place_nor_is_remembered() {
    let policies = LimitPolicy::parse_all("rateLimit", &reports(&json!({}))).unwrap();
    let limiter = Limiter::new(policies, Arc::new(MemoryStore::new(1 << 16)), "").unwrap();
    let client = ClientKey::parse(KEY);
    let held: Vec<_> = (0..2).map(|_| check(&limiter, &request(&client), at(0))).collect();
    for i in 0..200_000_u32 {
        let stranger = ClientKey::from(std::net::IpAddr::V4(i.into()));
        assert!(check(&limiter, &request(&stranger), at(u64::from(i))).allowed);
    }
    assert!(!check(&limiter, &request(&client), at(SECOND)).allowed);
    assert_eq!(limiter.store().keys_with_slots(), 1);
    // All requests of a crowd in flight are counted, however much the store may hold.
    let crowd: Vec<_> = (0..20_000_u32)
        .map(|i| {
            let stranger = ClientKey::from(std::net::IpAddr::V4(i.into()));
            let outcomes = [(); 3].map(|()| check(&limiter, &request(&stranger), at(2 * SECOND)));
            assert_eq!(outcomes.each_ref().map(|o| o.allowed), [true, true, false]);
            outcomes
        })
        .collect();
    drop((crowd, held));
    assert_eq!(limiter.store().keys_with_slots(), 0);
}

#[test]
fn threads_never_have_more_requests_inside_than_there_are_places() {
    let limiter = Arc::new(limiter(&json!([
        { "name": "reports", "concurrent": 3 },
        { "name": "api", "limit": 1_000_000, "window": "1s" },
    ])));
    let (inside, most) = (AtomicU32::new(0), AtomicU32::new(0));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let client = ClientKey::parse(KEY);
                for _ in 0..5_000 {
                    let outcome = check(&limiter, &request(&client), at(0));
                    if outcome.allowed {
                        most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        std::thread::yield_now();
                        inside.fetch_sub(1, Ordering::SeqCst);
                    }
                }
            });
        }
    });
    assert!(most.load(Ordering::SeqCst) <= 3);
    assert_eq!(taken(&limiter), 0);
}

/// An event of a limiter.
#[derive(Debug, Clone)]
enum Step {
    /// A request of a client, under some of the limits.
    Begin(u8, bool),
    /// One of the requests in flight ends.
    End(usize),
    Reset(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        5 => (0..4_u8, any::<bool>()).prop_map(|(client, all)| Step::Begin(client, all)),
        4 => any::<usize>().prop_map(Step::End),
        1 => (0..4_u8).prop_map(Step::Reset),
    ];
    proptest::collection::vec(step, 0..200)
}

proptest! {
    #[test]
    fn each_step_does_what_a_list_of_those_inside_says(slots in 1..5_u64, other in 1..6_u64, steps in steps()) {
        let limiter = limiter(&json!([
            { "name": "reports", "concurrent": slots },
            { "name": "other", "concurrent": other },
        ]));
        let name = |client: u8| format!("203.0.113.{client}");
        // The requests in flight with their limits, and the same as counts.
        let mut inside: Vec<(u8, bool, bool, Vec<ConcurrencyPermit>)> = Vec::new();
        let mut model: HashMap<(u8, &str), u64> = HashMap::new();
        for step in steps {
            match step {
                Step::Begin(client, all) => {
                    let which = if all { LimitMask::ALL } else { LimitMask::NONE.with(0) };
                    let address = ClientKey::parse(&name(client));
                    let mut outcome = limiter.check(which, &request(&address), at(0)).unwrap();
                    let count = |of: &str| model.iter().filter(|((c, n), _)| *c == client && *n == of).map(|(_, n)| *n).sum::<u64>();
                    let fits = count("reports") < slots && (!all || count("other") < other);
                    prop_assert_eq!(outcome.allowed, fits);
                    if fits {
                        *model.entry((client, "reports")).or_default() += 1;
                        if all { *model.entry((client, "other")).or_default() += 1; }
                        inside.push((client, true, all, std::mem::take(&mut outcome.held)));
                    }
                }
                Step::End(which) if !inside.is_empty() => {
                    let (client, counts, all, held) = inside.swap_remove(which % inside.len());
                    drop(held);
                    if counts { *model.entry((client, "reports")).or_default() -= 1; }
                    if all { *model.entry((client, "other")).or_default() -= 1; }
                }
                Step::End(_) => {}
                Step::Reset(client) => {
                    limiter.reset("reports", &[&name(client)]).unwrap();
                    model.remove(&(client, "reports"));
                    for (_, counts, ..) in inside.iter_mut().filter(|(c, ..)| *c == client) {
                        *counts = false;
                    }
                }
            }
            for client in 0..4 {
                for (limit, slots) in [("reports", slots), ("other", other)] {
                    let state = limiter.get(limit, &[&name(client)], at(0)).unwrap();
                    let count = model.get(&(client, limit)).copied().unwrap_or_default();
                    prop_assert_eq!((state.taken, state.remaining), (Some(count), slots.saturating_sub(count)));
                }
            }
        }
        drop(inside);
        prop_assert_eq!(limiter.store().keys_with_slots(), 0);
    }
}

#[test]
fn what_cannot_be_meant_is_refused_by_its_path() {
    use ConfigCode::{ConflictingOptions, InvalidOption, MissingOption, UnknownOption};
    for (more, path, code) in [
        (json!({ "concurrent": 0 }), "concurrent", InvalidOption),
        (json!({ "concurrent": -1 }), "concurrent", InvalidOption),
        (json!({ "concurrent": 1.5 }), "concurrent", InvalidOption),
        (json!({ "concurrent": "hunter2" }), "concurrent", InvalidOption),
        (json!({ "concurrent": 1_000_001 }), "concurrent", InvalidOption),
        (json!({ "limit": 5 }), "limit", ConflictingOptions),
        (json!({ "window": "1s" }), "window", ConflictingOptions),
        (json!({ "burst": 5 }), "burst", ConflictingOptions),
        (json!({ "algorithm": "gcra" }), "algorithm", ConflictingOptions),
        (json!({ "cost": 2 }), "cost", ConflictingOptions),
        (json!({ "count": "failed" }), "count", ConflictingOptions),
        (json!({ "exact": true }), "exact", ConflictingOptions),
        (json!({ "onExceed": "delay" }), "onExceed", ConflictingOptions),
        (json!({ "maxDelay": "1s" }), "maxDelay", ConflictingOptions),
        (json!({ "onExceed": "queue" }), "onExceed", InvalidOption),
        (
            json!({ "onExceed": "shadow", "onStoreFailure": "closed" }),
            "onStoreFailure",
            ConflictingOptions,
        ),
        (json!({ "timeout": "999ms" }), "timeout", InvalidOption),
        (json!({ "timeout": "61m" }), "timeout", InvalidOption),
        (json!({ "tiers": { "pro": { "limit": 5 } } }), "tiers.pro.limit", UnknownOption),
        (json!({ "tiers": { "pro": {} } }), "tiers.pro.concurrent", MissingOption),
        (json!({ "concurent": 1 }), "concurent", UnknownOption),
    ] {
        let error = LimitPolicy::parse_all("rateLimit", &reports(&more)).unwrap_err();
        assert_eq!((error.path(), error.code()), (format!("rateLimit.{path}").as_str(), code));
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
    let in_time = json!({ "name": "api", "limit": 5, "window": "1s", "timeout": "5s" });
    let error = LimitPolicy::parse_all("rateLimit", &in_time).unwrap_err();
    assert_eq!((error.path(), error.code()), ("rateLimit.timeout", ConflictingOptions));
    let policy =
        LimitPolicy::parse_all("rateLimit", &json!({ "name": "api", "limit": 5, "window": "1s" }));
    let error = policy.unwrap()[0].changed(&json!({ "name": "api", "concurrent": 5 })).unwrap_err();
    assert_eq!((error.path(), error.code()), ("policy.concurrent", ConflictingOptions));
}

#[test]
fn every_option_is_read() {
    let all = reports(&json!({
        "key": ["user", "route"], "tiers": { "pro": { "concurrent": 20 } }, "timeout": "1h",
        "onExceed": "shadow", "onStoreFailure": "open", "methods": ["GET"], "paths": ["/a/*"],
    }));
    let policies = LimitPolicy::parse_all("rateLimit", &all).unwrap();
    assert!(policies[0].is_in_flight());
    assert_eq!((policies[0].rule().limit(), policies[0].rule().window_us()), (2, 3600 * SECOND));
    assert_eq!(policies[0].on_failure, OnStoreFailure::Open);
    let short = LimitPolicy::parse_all("rateLimit", &reports(&json!({}))).unwrap();
    assert_eq!(short[0].rule().window_us(), 60 * SECOND);
    assert_eq!(short[0].on_failure, OnStoreFailure::Local);
}
