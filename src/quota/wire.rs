//! Rules and states as numbers for other programs: the scripts in a shared store, which compute
//! with doubles. Every number is whole and below 2^53, so neither the transfer nor the script
//! rounds.

use super::algorithm::{Algorithm, Rule, State};

/// The charge of one cost under a rule, for a script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WireRule {
    /// Whether the rule only watches.
    pub watching: bool,
    /// The amount that the cost adds, and the bound.
    pub charge: WireCharge,
}

/// The numbers of a charge. Each `_rest` is in parts of a microsecond, `scale` parts to one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WireCharge {
    /// A generic cell rate: each request moves one instant forward.
    Gcra {
        /// How far the cost moves the instant: whole microseconds.
        step_us: u64,
        /// The rest of the step.
        step_rest: u32,
        /// How far the instant may be ahead of the clock: whole microseconds.
        reach_us: u64,
        /// The rest of the reach.
        reach_rest: u32,
        /// The parts of one microsecond.
        scale: u32,
    },
    /// A fixed or sliding window.
    Window {
        /// Whether the window slides.
        sliding: bool,
        /// Its length in microseconds.
        window_us: u64,
        /// The cost of the request.
        cost: u32,
        /// The most cost in a window.
        limit: u32,
    },
}

impl WireRule {
    /// The kind, two pairs of a long and a short number, and the scale. Scripts unpack this as
    /// `BdI4dI4I4`. Kinds are 0 GCRA, 1 fixed window, 2 sliding window, plus 16 for a rule that
    /// only watches.
    #[must_use]
    pub fn packed(&self) -> (u8, [(u64, u32); 2], u32) {
        let watching = if self.watching { 16 } else { 0 };
        match self.charge {
            WireCharge::Gcra { step_us, step_rest, reach_us, reach_rest, scale } => {
                (watching, [(step_us, step_rest), (reach_us, reach_rest)], scale)
            }
            WireCharge::Window { sliding, window_us, cost, limit } => {
                (watching + if sliding { 2 } else { 1 }, [(window_us, cost), (0, limit)], 0)
            }
        }
    }
}

/// A state as stored in a shared store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WireState {
    /// GCRA: the instant in whole microseconds; else the number of the window.
    pub a: u64,
    /// GCRA: the rest of the instant in parts of a microsecond; else the use (sliding: of the
    /// previous window).
    pub b: u32,
    /// Sliding: the use of this window.
    pub c: u32,
}

impl Rule {
    /// The charge of a request that costs `cost`.
    #[must_use]
    pub fn to_wire_rule(&self, cost: u32) -> WireRule {
        let algorithm = self.algorithm();
        let sliding = algorithm == Algorithm::SlidingWindow;
        let charge = if sliding || algorithm == Algorithm::FixedWindow {
            WireCharge::Window {
                sliding,
                window_us: self.window_us(),
                // A cost above two full windows never fits, and a refund of it empties both. So
                // larger costs need no larger number.
                cost: cost.min(whole(u128::from(self.limit()) * 2 + 1)),
                limit: whole(u128::from(self.limit())),
            }
        } else {
            let (step, scale) = self.interval();
            let full = self.reach();
            let fits = u64::from(cost) <= self.capacity();
            // A cost above the capacity never fits, so larger costs need no larger number.
            let adds = if fits { u128::from(cost) * step } else { full + step };
            WireCharge::Gcra {
                step_us: long(adds / scale),
                step_rest: whole(adds % scale),
                reach_us: long(full / scale),
                reach_rest: whole(full % scale),
                scale: whole(scale),
            }
        };
        WireRule { watching: self.is_watching(), charge }
    }

    /// A state of this rule from a shared store.
    #[must_use]
    pub fn from_wire(&self, wire: WireState) -> State {
        match self.algorithm() {
            Algorithm::FixedWindow => State([wire.a, u64::from(wire.b)]),
            Algorithm::SlidingWindow => {
                State([wire.a, u64::from(wire.b) << 32 | u64::from(wire.c)])
            }
            _ => {
                let (_, scale) = self.interval();
                State::from_instant(u128::from(wire.a) * scale + u128::from(wire.b))
            }
        }
    }

    /// A state of this rule for a shared store.
    #[must_use]
    pub fn to_wire(&self, state: State) -> WireState {
        match self.algorithm() {
            Algorithm::FixedWindow => {
                WireState { a: state.0[0], b: whole(u128::from(state.0[1])), c: 0 }
            }
            Algorithm::SlidingWindow => WireState {
                a: state.0[0],
                b: whole(u128::from(state.0[1] >> 32)),
                c: whole(u128::from(state.0[1] & 0xffff_ffff)),
            },
            _ => {
                let (_, scale) = self.interval();
                let instant = state.instant();
                WireState { a: long(instant / scale), b: whole(instant % scale), c: 0 }
            }
        }
    }
}

/// Limits and parts of a microsecond are at most 10^9.
fn whole(number: u128) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// Instants and spans are below 2^53 microseconds, which is the year 2255.
fn long(number: u128) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    const NOW_US: u64 = 1_800_000_000_000_000;

    fn algorithms() -> impl Strategy<Value = Algorithm> {
        prop_oneof![
            Just(Algorithm::Gcra),
            Just(Algorithm::FixedWindow),
            Just(Algorithm::SlidingWindow)
        ]
    }

    #[test]
    fn a_refund_reaches_both_windows_of_a_sliding_limit() {
        let rule = Rule::new(Algorithm::SlidingWindow, 2, Duration::from_secs(1), 2);
        assert_eq!(
            [1, 4, 5, 6, u32::MAX].map(|cost| rule.to_wire_rule(cost).packed().1[0].1),
            [1, 4, 5, 5, 5]
        );
    }

    proptest! {
        #[test]
        fn a_state_comes_back_as_it_went(
            algorithm in algorithms(),
            limit in 1u32..1_000_000_000,
            window_ms in 10u64..34_560_000_000,
            cost in 0u32..1_000_000_000,
        ) {
            let rule = Rule::new(algorithm, limit, Duration::from_millis(window_ms), limit);
            let state = rule.charge(State::default(), cost, NOW_US);
            prop_assert_eq!(rule.from_wire(rule.to_wire(state)), state);
        }

        #[test]
        fn no_number_is_more_than_a_double_holds(
            algorithm in algorithms(),
            limit in 1u32..1_000_000_000,
            window_ms in 10u64..34_560_000_000,
            cost: u32,
        ) {
            let rule = Rule::new(algorithm, limit, Duration::from_millis(window_ms), limit);
            let (_, [(first, _), (second, _)], _) = rule.to_wire_rule(cost).packed();
            let state = rule.to_wire(rule.charge(State::default(), cost, NOW_US));
            for number in [first, second, state.a + first] {
                prop_assert!(number < 1 << 53);
            }
        }
    }
}
