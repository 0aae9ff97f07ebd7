//! Tests the algorithms against an oracle that keeps every admission.

use std::time::Duration;

use proptest::prelude::*;

use crate::quota::algorithm::{Algorithm, Rule, State, admit};

/// Noon of a day in UTC, in microseconds since 1970.
const NOON: u64 = 1_800_000_000 / 86_400 * 86_400 * 1_000_000 + 43_200 * 1_000_000;

const BUCKETS: [Algorithm; 3] = [Algorithm::Gcra, Algorithm::TokenBucket, Algorithm::LeakyBucket];

fn rule(algorithm: Algorithm, limit: u32, window_us: u64, burst: u32) -> Rule {
    Rule::new(algorithm, limit, Duration::from_micros(window_us), burst)
}

fn any_algorithm() -> impl Strategy<Value = Algorithm> {
    prop_oneof![
        Just(Algorithm::Gcra),
        Just(Algorithm::TokenBucket),
        Just(Algorithm::LeakyBucket),
        Just(Algorithm::FixedWindow),
        Just(Algorithm::SlidingWindow),
    ]
}

/// Windows from 10 ms to 400 days, with odd ones that no limit divides.
fn any_window() -> impl Strategy<Value = u64> {
    prop_oneof![
        Just(10_000u64),
        Just(60_000_000),
        Just(86_400_000_000),
        Just(34_560_000_000_000),
        10_000u64..2_000_000,
    ]
}

/// Steps of a walk through time, as parts of the window in thousandths, with costs.
fn any_walk() -> impl Strategy<Value = Vec<(u64, u32)>> {
    let step = prop_oneof![3 => Just(0u64), 5 => 0..60u64, 2 => 0..400u64, 1 => 900..2500u64];
    prop::collection::vec((step, 1..4u32), 1..120)
}

/// A textbook token bucket in exact fractions: it counts tokens × window, so that a microsecond
/// adds `limit`.
struct Naive {
    tokens: u128,
    last_us: u64,
}

impl Naive {
    fn take(&mut self, limit: u32, window: u64, burst: u32, cost: u32, now: u64) -> bool {
        let full = u128::from(burst) * u128::from(window);
        let gained = u128::from(now - self.last_us) * u128::from(limit);
        self.tokens = (self.tokens + gained).min(full);
        self.last_us = now;
        let price = u128::from(cost) * u128::from(window);
        let enough = self.tokens >= price;
        if enough {
            self.tokens -= price;
        }
        enough
    }
}

proptest! {
    #[test]
    fn gcra_token_and_leaky_bucket_answer_as_a_naively_counted_bucket(
        limit in 1..200u32, burst in 1..50u32, window in any_window(), walk in any_walk(),
    ) {
        for algorithm in BUCKETS {
            let rule = rule(algorithm, limit, window, burst);
            let mut naive = Naive {
                tokens: u128::from(burst) * u128::from(window),
                last_us: NOON,
            };
            let (mut state, mut now) = (State::default(), NOON);
            for (step, cost) in &walk {
                now += step * window / 1000;
                let verdict = admit(&rule, state, *cost, now);
                prop_assert_eq!(verdict.allowed, naive.take(limit, window, burst, *cost, now));
                let tokens = naive.tokens / u128::from(window);
                prop_assert_eq!(u128::from(verdict.view.remaining), tokens);
                state = verdict.state;
            }
        }
    }

    #[test]
    fn no_span_of_time_admits_more_than_the_burst_and_the_rate(
        limit in 1..50u32, burst in 1..20u32, window in any_window(), walk in any_walk(),
    ) {
        let rule = rule(Algorithm::Gcra, limit, window, burst);
        let (mut state, mut now) = (State::default(), NOON);
        let mut log: Vec<(u64, u32)> = Vec::new();
        for (step, cost) in walk {
            now += step * window / 1000;
            let verdict = admit(&rule, state, cost, now);
            state = verdict.state;
            if verdict.allowed {
                log.push((now, cost));
            }
        }
        for (i, (from, _)) in log.iter().enumerate() {
            let mut sum = 0u128;
            for (to, cost) in &log[i..] {
                sum += u128::from(*cost);
                // sum <= burst + (to - from) * limit / window
                let bound = u128::from(burst) * u128::from(window)
                    + u128::from(to - from) * u128::from(limit);
                prop_assert!(sum * u128::from(window) <= bound);
            }
        }
    }

    #[test]
    fn no_aligned_window_admits_more_than_the_limit(
        limit in 1..50u32, window in any_window(), walk in any_walk(), sliding: bool,
    ) {
        let algorithm =
            if sliding { Algorithm::SlidingWindow } else { Algorithm::FixedWindow };
        let rule = rule(algorithm, limit, window, 1);
        let (mut state, mut now) = (State::default(), NOON);
        let mut used = std::collections::BTreeMap::<u64, u64>::new();
        for (step, cost) in walk {
            now += step * window / 1000;
            let verdict = admit(&rule, state, cost, now);
            state = verdict.state;
            let before = *used.entry(now / window).or_default();
            let older = used.get(&(now / window - 1)).copied().unwrap_or(0);
            let weight = window - now % window;
            let fits = if sliding {
                let weighted = u128::from(older) * u128::from(weight)
                    + u128::from(before + u64::from(cost)) * u128::from(window);
                weighted <= u128::from(limit) * u128::from(window)
            } else {
                before + u64::from(cost) <= u64::from(limit)
            };
            prop_assert_eq!(verdict.allowed, fits);
            if verdict.allowed {
                *used.entry(now / window).or_default() += u64::from(cost);
            }
            prop_assert!(used[&(now / window)] <= u64::from(limit));
        }
    }

    #[test]
    fn what_is_said_about_the_future_comes_true(
        algorithm in any_algorithm(), limit in 1..50u32, burst in 1..20u32,
        window in any_window(), walk in any_walk(),
    ) {
        let rule = rule(algorithm, limit, window, burst);
        let (mut state, mut now) = (State::default(), NOON);
        for (step, cost) in walk {
            now += step * window / 1000;
            let cost = cost.min(u32::try_from(rule.capacity()).unwrap());
            let verdict = admit(&rule, state, cost, now);
            if verdict.allowed {
                prop_assert_eq!(verdict.retry_after_us, 0);
            } else {
                prop_assert_eq!(verdict.state, state);
                let retry = verdict.retry_after_us;
                prop_assert!(retry > 0);
                prop_assert!(!rule.fits(state, cost, now + retry - 1));
                prop_assert!(rule.fits(state, cost, now + retry));
            }
            state = verdict.state;

            let view = verdict.view;
            let more = u32::try_from(view.remaining).unwrap();
            prop_assert!(rule.fits(state, more, now));
            prop_assert!(!rule.fits(state, more + 1, now));
            let mut probe = state;
            for _ in 0..more {
                let next = admit(&rule, probe, 1, now);
                prop_assert!(next.allowed);
                probe = next.state;
            }
            prop_assert!(!admit(&rule, probe, 1, now).allowed);

            if view.remaining < rule.capacity() {
                let later = now + view.reset_us;
                prop_assert_eq!(rule.view(state, later - 1).remaining, view.remaining);
                prop_assert!(rule.view(state, later).remaining > view.remaining);
            } else {
                prop_assert_eq!(view.reset_us, 0);
            }
            let gone = now + view.expires_us;
            for cost in [1, u32::try_from(rule.capacity()).unwrap()] {
                let forgotten = admit(&rule, State::default(), cost, gone);
                prop_assert_eq!(admit(&rule, state, cost, gone).view, forgotten.view);
            }
        }
    }

    #[test]
    fn a_clock_that_goes_back_frees_nothing_and_locks_nobody_out(
        algorithm in any_algorithm(), limit in 1..50u32, burst in 1..20u32,
        window in any_window(), walk in any_walk(), back in 1..5000u64,
    ) {
        let rule = rule(algorithm, limit, window, burst);
        let (mut state, mut now) = (State::default(), NOON);
        for (step, cost) in walk {
            now += step * window / 1000;
            state = admit(&rule, state, cost, now).state;
        }
        let before = now - back * window / 1000;
        let view = rule.view(state, now);
        prop_assert!(rule.view(state, before).remaining <= view.remaining);

        // However far the clock went back, everything is free again after the time of a full quota:
        // the later time is forgotten.
        let all = u32::try_from(rule.capacity()).unwrap();
        let longest = match algorithm {
            Algorithm::FixedWindow => window,
            Algorithm::SlidingWindow => 2 * window,
            _ => (u64::from(burst) * window).div_ceil(u64::from(limit)),
        };
        let verdict = admit(&rule, state, all, before);
        if !verdict.allowed {
            prop_assert!(verdict.retry_after_us <= longest);
            prop_assert!(!rule.fits(verdict.state, all, before + verdict.retry_after_us - 1));
            prop_assert!(rule.fits(verdict.state, all, before + verdict.retry_after_us));
        }
    }

    #[test]
    fn what_is_given_back_is_what_was_taken(
        algorithm in any_algorithm(), limit in 3..50u32, window in any_window(), cost in 1..4u32,
        used in 0..50u32,
    ) {
        let rule = rule(algorithm, limit, window, limit);
        let used = rule.charge(State::default(), used.min(limit - cost.min(limit)), NOON);
        prop_assume!(rule.fits(used, cost, NOON));
        let taken = rule.charge(used, cost, NOON);
        prop_assert_eq!(rule.view(rule.refund(taken, cost, NOON), NOON), rule.view(used, NOON));
        let all = rule.refund(taken, u32::MAX, NOON);
        prop_assert_eq!(rule.view(all, NOON).remaining, rule.capacity());
    }
}

#[test]
fn a_limit_that_does_not_divide_its_window_does_not_drift() {
    // 7 per second: an interval of 142857.14… µs. Rounded down it would admit one more in 11 days,
    // rounded up one less.
    let rule = rule(Algorithm::Gcra, 7, 1_000_000, 1);
    let (mut state, mut now, mut count) = (State::default(), NOON, 0u64);
    while now < NOON + 100_000_000 {
        let verdict = admit(&rule, state, 1, now);
        state = verdict.state;
        count += u64::from(verdict.allowed);
        now += verdict.retry_after_us.max(u64::from(verdict.allowed));
    }
    // Waiting for whole microseconds costs less than one each, and no more.
    assert!((698..=700).contains(&count), "{count}");
}

#[test]
fn extremes_of_the_configuration_stay_exact() {
    const DAYS_400: u64 = 34_560_000_000_000;
    for (limit, window, burst) in [
        (1_000_000_000, 10_000, 1_000_000_000),
        (999_999_937, DAYS_400, 999_999_937),
        (1, DAYS_400, 10),
        (1, 10_000, 1_000_000_000),
    ] {
        for algorithm in
            BUCKETS.into_iter().chain([Algorithm::FixedWindow, Algorithm::SlidingWindow])
        {
            let rule = rule(algorithm, limit, window, burst);
            let all = u32::try_from(rule.capacity()).unwrap();
            let used = admit(&rule, State::default(), all, NOON);
            assert!(used.allowed);
            assert_eq!(used.view.remaining, 0);
            let refused = admit(&rule, used.state, 1, NOON);
            assert!(!refused.allowed);
            let then = NOON + refused.retry_after_us;
            assert!(!admit(&rule, used.state, 1, then - 1).allowed, "{algorithm:?} {limit}");
            assert!(admit(&rule, used.state, 1, then).allowed, "{algorithm:?} {limit}");
        }
    }
}

#[test]
fn a_cost_above_the_capacity_is_never_admitted() {
    for algorithm in BUCKETS.into_iter().chain([Algorithm::FixedWindow, Algorithm::SlidingWindow]) {
        let rule = rule(algorithm, 10, 1_000_000, 10);
        for cost in [11, u32::MAX] {
            assert!(!admit(&rule, State::default(), cost, NOON).allowed);
        }
    }
}

#[test]
fn fixed_windows_are_calendar_days() {
    let rule = rule(Algorithm::FixedWindow, 1, 86_400_000_000, 1);
    let used = admit(&rule, State::default(), 1, NOON);
    assert_eq!(used.view.reset_us, 43_200_000_000);
    assert!(!admit(&rule, used.state, 1, NOON + 43_199_999_999).allowed);
    assert!(admit(&rule, used.state, 1, NOON + 43_200_000_000).allowed);
}
