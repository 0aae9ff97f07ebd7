//! Limits that a signal made tighter or wider.

use std::time::Duration;

use proptest::prelude::*;
use serde_json::json;

use super::{NOON, SECOND, admitted, at, check, limiter, request};
use crate::limit::{LimitError, Signal, SignalTarget};
use crate::net::ClientKey;
use crate::quota::algorithm::{Algorithm, Rule, State};

const ADDRESS: &str = "203.0.113.7";

fn client() -> ClientKey {
    ClientKey::parse(ADDRESS)
}

fn signal(factor: u16) -> Signal {
    Signal { factor, ttl: Duration::from_secs(60) }
}

#[test]
fn a_signal_makes_a_limit_tighter_or_wider_for_its_time_and_for_its_client_alone() {
    for (algorithm, factor, passes) in [
        ("gcra", 100, 4),
        ("gcra", 10_000, 400),
        ("gcra", 10, 1),
        ("fixed-window", 100, 4),
        ("fixed-window", 10, 1),
        ("fixed-window", 2_500, 100),
        ("sliding-window", 500, 20),
    ] {
        let limiter = limiter(&json!({
            "name": "api", "limit": 40, "window": "1h", "algorithm": algorithm,
        }));
        let client = client();
        assert_eq!(
            limiter.signal(SignalTarget::Address(client), None, signal(factor), at(0)),
            Ok(1)
        );
        assert_eq!(
            admitted(&limiter, &request(&client), 500, at(0)),
            passes,
            "{algorithm} {factor}"
        );
        let other = ClientKey::parse("203.0.113.8");
        assert_eq!(admitted(&limiter, &request(&other), 500, at(0)), 40);
    }
}

#[test]
fn what_was_counted_stays_when_the_signal_is_over() {
    for algorithm in ["gcra", "fixed-window", "sliding-window"] {
        let limiter = limiter(&json!({
            "name": "api", "limit": 40, "window": "1d", "algorithm": algorithm,
        }));
        let client = client();
        assert_eq!(admitted(&limiter, &request(&client), 35, at(0)), 35);
        assert_eq!(limiter.signal(SignalTarget::Address(client), None, signal(100), at(0)), Ok(1));
        assert!(!check(&limiter, &request(&client), at(1)).allowed, "{algorithm}");
        assert_eq!(admitted(&limiter, &request(&client), 100, at(60 * SECOND)), 5, "{algorithm}");
    }
}

#[test]
fn a_signal_of_one_takes_an_earlier_one_back() {
    let limiter = limiter(&json!({ "name": "api", "limit": 10, "window": "1h" }));
    let client = client();
    for factor in [100, 1000] {
        assert_eq!(
            limiter.signal(SignalTarget::Address(client), None, signal(factor), at(0)),
            Ok(1)
        );
    }
    assert_eq!(admitted(&limiter, &request(&client), 50, at(0)), 10);
}

#[test]
fn a_signal_reaches_the_limits_that_count_by_its_subject_alone_or_the_one_that_is_named() {
    let limiter = limiter(&json!([
        { "name": "ip", "limit": 10, "window": "1h" },
        { "name": "user", "limit": 10, "window": "1h", "key": "user", "tiers": { "pro": { "limit": 20 } } },
        { "name": "route", "limit": 10, "window": "1h", "key": ["user", "route"] },
    ]));
    let whom = SignalTarget::User("eve");
    assert_eq!(limiter.signal(whom, None, signal(100), at(0)), Ok(2), "a limit and its tier");
    assert_eq!(limiter.signal(whom, Some("ip"), signal(100), at(0)), Ok(0));
    assert_eq!(limiter.signal(SignalTarget::Address(client()), None, signal(100), at(0)), Ok(3));
    assert_eq!(
        limiter.signal(SignalTarget::Address(client()), Some("ip"), signal(100), at(0)),
        Ok(1)
    );
    assert_eq!(limiter.signal(SignalTarget::Token("t"), None, signal(100), at(0)), Ok(0));
    assert_eq!(limiter.get("user", &["eve"], at(0)).unwrap().remaining, 1);
    assert!(limiter.consume("user", &["eve"], 1, at(0)).unwrap().allowed);
    assert!(!limiter.consume("user", &["eve"], 1, at(0)).unwrap().allowed);
    let mut subject = request(&CLIENT);
    subject.user = Some("eve");
    assert!(!check(&limiter, &subject, at(0)).allowed);
    assert_eq!(limiter.consume("nope", &["eve"], 1, at(0)), Err(LimitError::UnknownPolicy));
}

static CLIENT: ClientKey = ClientKey::UNKNOWN;

proptest! {
    /// However tight the limit, one request fits in the end; however wide, nothing overflows, and
    /// the view agrees with the decision.
    #[test]
    fn a_scaled_rule_agrees_with_itself(
        limit in 1u32..1_000_000_000,
        window_ms in 10u64..34_560_000_000,
        factor in 10u16..=10_000,
        used in 0u32..1000,
        cost in 1u32..20,
    ) {
        for algorithm in [Algorithm::Gcra, Algorithm::FixedWindow, Algorithm::SlidingWindow] {
            let rule = Rule::new(algorithm, limit, Duration::from_millis(window_ms), limit);
            let scaled = rule.scaled(factor);
            prop_assert!(scaled.fits(State::default(), 1, NOON));
            let state = scaled.charge(State::default(), used, NOON);
            let view = scaled.view(state, NOON);
            let left = u32::try_from(view.remaining.min(1_000_000)).unwrap();
            prop_assert!(left == 0 || scaled.fits(state, left, NOON));
            if scaled.fits(state, cost, NOON) {
                prop_assert!(u64::from(cost) <= view.remaining.max(1));
            }
            let wait = scaled.wait(state, 1, NOON);
            prop_assert!(scaled.fits(state, 1, NOON + wait));
        }
    }
}
