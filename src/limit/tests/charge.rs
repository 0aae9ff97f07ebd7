//! Costs that are refunded after the response.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use serde_json::json;

use super::{NOON, SECOND, admitted, at, limiter, request};
use crate::clock::Now;
use crate::limit::{LimitMask, Limiter, Reservation, Subject};
use crate::net::ClientKey;
use crate::quota::algorithm::{Algorithm, Rule, State, admit};

fn client() -> ClientKey {
    ClientKey::parse("203.0.113.7")
}

fn login(count: &str, algorithm: &str) -> Arc<Limiter> {
    Arc::new(limiter(&json!({
        "name": "login", "limit": 3, "window": "15m", "count": count, "algorithm": algorithm,
    })))
}

/// One request: `None` if it is refused.
fn enter(limiter: &Arc<Limiter>, subject: &Subject<'_>, now: Now) -> Option<Reservation> {
    let outcome = limiter.check(LimitMask::ALL, subject, now).unwrap();
    outcome.allowed.then(|| Reservation::new(Arc::clone(limiter), outcome.charges, outcome.held))
}

#[test]
fn what_does_not_count_is_given_back_and_what_counts_stays() {
    let client = client();
    for algorithm in ["gcra", "fixed-window", "sliding-window"] {
        for (count, failed_counts) in [("failed", true), ("succeeded", false)] {
            let limiter = login(count, algorithm);
            for i in 0..20 {
                let charged = enter(&limiter, &request(&client), at(i * 1000)).unwrap();
                assert!(charged.settle(!failed_counts, at(i * 1000 + 500)).is_empty());
            }
            for _ in 0..3 {
                let charged = enter(&limiter, &request(&client), at(SECOND)).unwrap();
                assert!(charged.settle(failed_counts, at(SECOND + 1)).is_empty());
            }
            assert!(enter(&limiter, &request(&client), at(2 * SECOND)).is_none(), "{algorithm}");
        }
    }
}

#[test]
fn many_at_once_are_all_charged_before_any_of_them_is_known_to_have_succeeded() {
    let limiter = login("failed", "gcra");
    let client = client();
    let inside: Vec<_> =
        (0..50).filter_map(|_| enter(&limiter, &request(&client), at(0))).collect();
    assert_eq!(inside.len(), 3);
    for charged in inside {
        assert!(charged.settle(false, at(SECOND)).is_empty());
    }
    assert_eq!(admitted(&limiter, &request(&client), 50, at(SECOND)), 3);
}

#[test]
fn a_response_that_is_never_known_counts() {
    let limiter = login("failed", "gcra");
    let client = client();
    for _ in 0..3 {
        drop(enter(&limiter, &request(&client), at(0)));
    }
    assert!(enter(&limiter, &request(&client), at(1)).is_none());
}

#[test]
fn a_window_that_is_over_gives_nothing_back_to_the_next_one() {
    for algorithm in ["fixed-window", "sliding-window"] {
        let limiter = login("failed", algorithm);
        let client = client();
        let held = enter(&limiter, &request(&client), at(0)).unwrap();
        let later = at(2 * 900 * SECOND + 1);
        for _ in 0..3 {
            drop(enter(&limiter, &request(&client), later));
        }
        assert!(held.settle(false, later).is_empty());
        assert!(enter(&limiter, &request(&client), later).is_none(), "{algorithm}");
    }
}

#[test]
fn what_has_come_back_by_itself_is_not_given_back_again() {
    let limiter = login("failed", "gcra");
    let client = client();
    let held = enter(&limiter, &request(&client), at(0)).unwrap();
    // Its part of the limit has refilled, and other requests have used it.
    let later = at(301 * SECOND);
    for _ in 0..3 {
        drop(enter(&limiter, &request(&client), later));
    }
    assert!(held.settle(false, later).is_empty());
    assert!(enter(&limiter, &request(&client), later).is_none());
}

proptest! {
    /// A request whose cost is refunded at once leaves no trace.
    #[test]
    fn a_charge_that_is_given_back_at_once_leaves_no_trace(
        limit in 1u32..1000,
        window_ms in 10u64..10_000_000,
        cost in 1u32..20,
        used in 0u32..1000,
    ) {
        for algorithm in [Algorithm::Gcra, Algorithm::FixedWindow, Algorithm::SlidingWindow] {
            let rule = Rule::new(algorithm, limit, Duration::from_millis(window_ms), limit);
            let now = NOON + window_ms * 1000 / 3;
            let before = rule.charge(State::default(), used, now);
            let verdict = admit(&rule, before, cost, now);
            prop_assume!(verdict.allowed);
            if let Some((rest, cost)) = rule.remainder(verdict.state, cost, now) {
                let after = rest.refund(verdict.state, cost, now);
                prop_assert_eq!(rule.view(after, now), rule.view(before, now));
            }
        }
    }
}
