//! The algorithms: pure functions from a small state, a cost and an instant to an [`Admission`].
//!
//! - `gcra`, `token-bucket`, `leaky-bucket`: in any span W: burst + limit / window × W; good for:
//!   nearly everything
//! - `fixed-window`: limit in each aligned window, up to twice that across a boundary; good for:
//!   calendar quotas
//! - `sliding-window`: limit in each aligned window, and less than twice that in any span of one
//!   window; good for: moving from other limiters
//! - (`concurrent`): limit at any instant, of requests in flight: [`crate::limit::in_flight`]; good
//!   for: work that is slow or heavy
//!
//! **GCRA**, the generic cell rate algorithm of ITU-T I.371 as *virtual scheduling*: the state is
//! one instant, the theoretical arrival time (TAT). A request that costs `c` moves it on by `c ×
//! window / limit` and fits if it is then at most `burst × window / limit` ahead of now. A **leaky
//! bucket as a meter** is the other description in I.371 of the same test: the bucket's level is
//! TAT − now, it leaks at the rate and a request that would overflow it is refused (unlike the
//! leaky bucket as a *queue*, which delays requests and which this is not). A **token bucket** is
//! its mirror: its tokens are the burst minus that level. The three give the same results for the
//! same limit, window and burst; the tests show this against a bucket that is counted naively. They
//! have three names because people think in one of them. There is only one arithmetic.
//!
//! **Fixed window**: windows are aligned to the Unix epoch and not to the first request. So `1d` is
//! a UTC day, every process and store finds the same window from the clock alone, and a client can
//! compute its end.
//!
//! **Sliding window**: two fixed windows, the older one weighted by the part of it that still lies
//! within one window before now, as if its requests had come evenly.
//!
//! All arithmetic is on integers and exact. The interval `window / limit` is kept as a fraction in
//! lowest terms, and GCRA's instant counts in `1 / scale` microseconds, so nothing is rounded and
//! nothing drifts.
//!
//! A clock that goes back frees nothing, and never makes a wait longer than a full quota takes to
//! come back. A state too far ahead of the clock is pulled back to "used up as of now" (see
//! [`Rule::settle`]).

use std::time::Duration;

use crate::clock::{Now, micros};

/// The factor that leaves a limit as it is.
pub const UNSCALED: u16 = 1000;
/// The largest scaled limit: counts have 32 bits.
const MAX_SCALED: u64 = 4_000_000_000;
const SECOND_US: u64 = 1_000_000;

/// How a policy counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// Generic cell rate algorithm, ITU-T I.371.
    Gcra,
    /// The same test, described as tokens that refill.
    TokenBucket,
    /// The same test, described as a level that leaks.
    LeakyBucket,
    /// Windows aligned to the Unix epoch.
    FixedWindow,
    /// Two aligned windows, the older one weighted.
    SlidingWindow,
    /// Requests in flight. The state is their number; the window is how long a request without
    /// renewal counts as in flight. A policy can't select it by name.
    InFlight,
}

impl Algorithm {
    /// Whether it uses `burst`.
    #[must_use]
    pub const fn has_burst(self) -> bool {
        matches!(self, Self::Gcra | Self::TokenBucket | Self::LeakyBucket)
    }
}

/// The state of one key under one rule. All zeros is a key that was never seen. Only the rule that
/// wrote the words can read them, so a store must keep the states of different rules apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct State(pub [u64; 2]);

impl State {
    /// The GCRA state with this instant.
    pub(super) fn from_instant(instant: u128) -> Self {
        from_u128(instant)
    }

    /// The instant of a GCRA state.
    pub(super) fn instant(self) -> u128 {
        to_u128(self)
    }
}

/// One limit in a checked, precomputed form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    algorithm: Algorithm,
    limit: u64,
    window_us: u64,
    /// The most that can be used at once: `burst`, or `limit` for windows.
    capacity: u64,
    /// `window / limit` in lowest terms is `step / scale` microseconds.
    step: u128,
    scale: u128,
    /// `capacity × step`: how far ahead of now the TAT may be.
    full: u128,
    /// How much further ahead it may be, by requests that wait for their turn.
    slack: u128,
    /// Whether it only watches: a request that it would refuse passes, and is not counted by it.
    watching: bool,
}

/// The status of a key, for headers and for the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct View {
    /// How many requests of cost 1 would be admitted now.
    pub remaining: u64,
    /// Microseconds until `remaining` grows by one; 0 if it can't.
    pub reset_us: u64,
    /// Microseconds until the state is equivalent to a fresh one; 0 if it is now.
    pub expires_us: u64,
}

/// The result of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Admission {
    /// Whether it fits.
    pub allowed: bool,
    /// The state to keep. After a refusal it is the old one, unless the clock went back.
    pub state: State,
    /// The status of the key after this request.
    pub view: View,
    /// After a refusal: microseconds until the same request is admitted if no other is; else 0.
    pub retry_after_us: u64,
}

impl Rule {
    /// `limit` requests per `window`, at most `burst` of them at once (windows have no burst: it is
    /// `limit` there). Zeros count as one: the configuration rejects them earlier.
    #[must_use]
    pub fn new(algorithm: Algorithm, limit: u32, window: Duration, burst: u32) -> Self {
        let limit = u64::from(limit.max(1));
        let window_us = micros(window).max(1);
        let capacity = if algorithm.has_burst() { u64::from(burst.max(1)) } else { limit };
        let divisor = greatest_common_divisor(window_us, limit);
        let step = u128::from(window_us / divisor);
        let scale = u128::from(limit / divisor);
        let full = u128::from(capacity) * step;
        Self { algorithm, limit, window_us, capacity, step, scale, full, slack: 0, watching: false }
    }

    /// The same limit for requests that may wait up to `longest` for their turn. They are charged
    /// ahead of time, one behind the other, and [`Rule::delay`] returns the wait of each. It has no
    /// effect on windows.
    #[must_use]
    pub fn with_delay(mut self, longest: Duration) -> Self {
        if self.algorithm.has_burst() {
            self.slack = u128::from(micros(longest)) * self.scale;
        }
        self
    }

    /// The same limit without delays.
    #[must_use]
    pub const fn without_delay(mut self) -> Self {
        self.slack = 0;
        self
    }

    /// The same limit, which only watches.
    #[must_use]
    pub const fn watching(mut self) -> Self {
        self.watching = true;
        self
    }

    /// The limit scaled by `factor` thousandths, for one client: 100 makes it a tenth, 10000 ten
    /// times as much. A request that fits the original limit fits this one after a quiet time,
    /// however small it is.
    #[must_use]
    pub fn scaled(mut self, factor: u16) -> Self {
        let (factor, whole) = (u128::from(factor.max(1)), u128::from(UNSCALED));
        if self.algorithm.has_burst() {
            // The state is an instant, so it stays valid. Each unit takes more of it or less.
            self.step = (self.step * whole).div_ceil(factor).clamp(1, self.full.max(1));
            let more = u64::try_from(self.full / self.step).unwrap_or(u64::MAX);
            self.capacity = self.capacity.max(more);
        } else {
            let limit = u128::from(self.limit) * factor / whole;
            self.limit = u64::try_from(limit).unwrap_or(u64::MAX).clamp(1, MAX_SCALED);
            self.capacity = self.limit;
        }
        self
    }

    /// Whether it only watches.
    #[must_use]
    pub const fn is_watching(&self) -> bool {
        self.watching
    }

    /// How it counts.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Requests per window.
    #[must_use]
    pub const fn limit(&self) -> u64 {
        self.limit
    }

    /// The window in microseconds.
    #[must_use]
    pub const fn window_us(&self) -> u64 {
        self.window_us
    }

    /// The most that can be used at once, and so the highest cost that can ever be admitted.
    #[must_use]
    pub const fn capacity(&self) -> u64 {
        self.capacity
    }

    /// `window / limit` in lowest terms, as `step / scale` microseconds.
    pub(super) const fn interval(&self) -> (u128, u128) {
        (self.step, self.scale)
    }

    /// How far ahead of now the TAT may be at most, in `1 / scale` microseconds.
    pub(super) const fn reach(&self) -> u128 {
        self.full + self.slack
    }

    /// The part of the limit and of the burst for one of `instances` that share it, at least 1.
    #[must_use]
    pub fn share(&self, instances: u32) -> Self {
        let part =
            |whole: u64| u32::try_from(whole / u64::from(instances.max(1))).unwrap_or(u32::MAX);
        let share = Self::new(
            self.algorithm,
            part(self.limit),
            Duration::from_micros(self.window_us),
            part(self.capacity),
        );
        // The longest delay stays the same, whatever part of a microsecond each rule counts in.
        let slack = share.scale.saturating_mul(self.slack) / self.scale.max(1);
        Self { slack, watching: self.watching, ..share }
    }

    /// The clock this rule counts on, in microseconds: the wall clock for aligned windows, else the
    /// monotonic one.
    #[must_use]
    pub const fn clock(&self, now: Now) -> u64 {
        if self.algorithm.has_burst() { now.mono_us } else { now.unix_us }
    }

    /// Whether it lets more through than `other`: by rate, then by burst.
    #[must_use]
    pub fn is_more_generous_than(&self, other: &Self) -> bool {
        let rate = |one: &Self, two: &Self| u128::from(one.limit) * u128::from(two.window_us);
        (rate(self, other), self.capacity) > (rate(other, self), other.capacity)
    }

    /// Whether a request of `cost` is admitted. A cost of 0 always is.
    #[must_use]
    pub fn fits(&self, state: State, cost: u32, now_us: u64) -> bool {
        match self.algorithm {
            Algorithm::InFlight => under_way(state).saturating_add(u64::from(cost)) <= self.limit,
            Algorithm::FixedWindow => self.count(state, now_us) + u64::from(cost) <= self.limit,
            Algorithm::SlidingWindow => {
                let (older, newer) = self.counts(state, now_us);
                cost == 0 || newer + self.weighted(older, now_us) + u64::from(cost) <= self.limit
            }
            _ => {
                let level = self.level(state, now_us) + self.takes(cost);
                cost == 0 || u64::from(cost) <= self.capacity && level <= self.full + self.slack
            }
        }
    }

    /// The state after `cost` more is used, whether it fits or not. The use is capped at
    /// everything.
    #[must_use]
    pub fn charge(&self, state: State, cost: u32, now_us: u64) -> State {
        match self.algorithm {
            Algorithm::InFlight => State([under_way(state).saturating_add(u64::from(cost)), 0]),
            Algorithm::FixedWindow => {
                let count = self.count(state, now_us).saturating_add(u64::from(cost));
                State([self.window_of(now_us), count.min(self.limit)])
            }
            Algorithm::SlidingWindow => {
                let (older, newer) = self.counts(state, now_us);
                let newer = newer.saturating_add(u64::from(cost)).min(self.limit);
                State([self.window_of(now_us), pack(older, newer)])
            }
            _ => {
                let level = self.level(state, now_us) + self.takes(cost);
                self.state_at_level(level.min(self.full + self.slack), now_us)
            }
        }
    }

    /// Microseconds that a request charged just now has to wait for its turn.
    #[must_use]
    pub fn delay(&self, state: State, now_us: u64) -> u64 {
        if self.slack == 0 {
            return 0;
        }
        ceil_div(self.level(state, now_us).saturating_sub(self.full), self.scale)
    }

    /// The part of a charge of `cost` that can still be given back, as a rule and a cost under that
    /// rule. `charged` is the state after the charge. `None`: nothing can be.
    ///
    /// Part of a charge may have come back by itself, and been used again by others. Giving all of
    /// it back then would admit more than the limit.
    ///
    /// - GCRA: the request lies at the end of the queue in `charged`. So the rest of its cost is at
    ///   most the part still ahead of now. If others of that queue were given back in the meantime,
    ///   it is less: then up to one cost is given back too much.
    /// - A window that is over gets nothing back. One that is about to end is left alone: on the
    ///   store's clock it may be over.
    #[must_use]
    pub fn remainder(&self, charged: State, cost: u32, now_us: u64) -> Option<(Self, u32)> {
        if self.algorithm == Algorithm::InFlight {
            // Its slots have owners of their own, see [`crate::limit::in_flight`].
            return None;
        }
        if !self.algorithm.has_burst() {
            let State([window, _]) = charged;
            let late = self.rest_of_window(now_us) <= self.margin_us();
            return (window == self.window_of(now_us) && !late && cost > 0)
                .then_some((*self, cost));
        }
        let step = self.takes(cost).min(self.level(charged, now_us));
        // The rest is one unit of this rule.
        (step > 0).then_some((Self { step, ..*self }, 1))
    }

    /// For [`Self::remainder`]: the state of a window that was charged at most `ago_us` before now.
    /// Near the start of a window, a clock slightly behind may have charged the previous one.
    #[must_use]
    pub fn charged_before(&self, ago_us: u64, now_us: u64) -> State {
        State([self.window_of(now_us.saturating_sub(ago_us.saturating_add(self.margin_us()))), 0])
    }

    /// The state after `cost` is given back, down to nothing used.
    #[must_use]
    pub fn refund(&self, state: State, cost: u32, now_us: u64) -> State {
        match self.algorithm {
            Algorithm::InFlight => State([under_way(state).saturating_sub(u64::from(cost)), 0]),
            Algorithm::FixedWindow => {
                let count = self.count(state, now_us).saturating_sub(u64::from(cost));
                State([self.window_of(now_us), count])
            }
            Algorithm::SlidingWindow => {
                let (older, newer) = self.counts(state, now_us);
                let cost = u64::from(cost);
                let rest = cost.saturating_sub(newer);
                let (older, newer) = (older.saturating_sub(rest), newer.saturating_sub(cost));
                State([self.window_of(now_us), pack(older, newer)])
            }
            _ => {
                let level = self.level(state, now_us);
                self.state_at_level(level.saturating_sub(self.takes(cost)), now_us)
            }
        }
    }

    /// The state itself, unless it lies ahead of a clock that went back: then the state used up as
    /// of now. Otherwise the key would be locked for as long as the clock was set back.
    #[must_use]
    pub fn settle(&self, state: State, now_us: u64) -> State {
        let ahead = match self.algorithm {
            Algorithm::InFlight => false,
            Algorithm::FixedWindow | Algorithm::SlidingWindow => {
                let State([window, _]) = state;
                window > self.window_of(now_us)
            }
            _ => to_u128(state).saturating_sub(self.at(now_us)) > self.full + self.slack,
        };
        if ahead { self.charge(state, 0, now_us) } else { state }
    }

    /// Moves a state to another clock: `from_us` on the one and `to_us` on the other are the same
    /// instant. Windows are aligned on every clock and keep their numbers.
    #[must_use]
    pub fn rebased(&self, state: State, from_us: u64, to_us: u64) -> State {
        if !self.algorithm.has_burst() {
            return state;
        }
        self.state_at_level(self.level(state, from_us), to_us)
    }

    /// The earliest instant at which `state` can have been written. Processes with different clocks
    /// judge a record at no earlier instant. So none of them sets the time of a record back, or
    /// frees the counts of another.
    #[must_use]
    pub fn earliest(&self, state: State) -> u64 {
        match self.algorithm {
            Algorithm::InFlight => 0,
            Algorithm::FixedWindow | Algorithm::SlidingWindow => {
                let State([window, _]) = state;
                window.saturating_mul(self.window_us)
            }
            _ => ceil_div(to_u128(state).saturating_sub(self.reach()), self.scale),
        }
    }

    /// Microseconds until a request of `cost` is admitted without delay, if no other is; 0 if it is
    /// now. A cost above [`Rule::capacity`] is never admitted: the result is then the wait for the
    /// whole capacity.
    #[must_use]
    pub fn wait(&self, state: State, cost: u32, now_us: u64) -> u64 {
        if cost == 0 || self.slack == 0 && self.fits(state, cost, now_us) {
            return 0;
        }
        let cost = u64::from(cost).min(self.capacity);
        match self.algorithm {
            // The end of a request in flight can't be predicted.
            Algorithm::InFlight => SECOND_US,
            Algorithm::FixedWindow => self.rest_of_window(now_us),
            Algorithm::SlidingWindow => {
                let rest = self.rest_of_window(now_us);
                let (older, newer) = self.counts(state, now_us);
                match (self.limit - newer).checked_sub(cost) {
                    // The older window fades enough within this one, at the latest at its end.
                    Some(room) => rest - self.fades_below(older, room).min(rest),
                    // This window has to fade, as the older one of the next.
                    None => rest + self.window_us - self.fades_below(newer, self.limit - cost),
                }
            }
            _ => {
                let over =
                    self.level(state, now_us) + self.takes(u32::try_from(cost).unwrap_or(u32::MAX));
                ceil_div(over.saturating_sub(self.full), self.scale)
            }
        }
    }

    /// The status of the key.
    #[must_use]
    pub fn view(&self, state: State, now_us: u64) -> View {
        let remaining = match self.algorithm {
            Algorithm::InFlight => {
                let remaining = self.limit.saturating_sub(under_way(state));
                return View { remaining, reset_us: 0, expires_us: 0 };
            }
            Algorithm::FixedWindow => self.limit - self.count(state, now_us),
            Algorithm::SlidingWindow => {
                let (older, newer) = self.counts(state, now_us);
                self.limit.saturating_sub(newer + self.weighted(older, now_us))
            }
            _ => floor_div(self.full.saturating_sub(self.level(state, now_us)), self.step),
        };
        let reset_us = match u32::try_from(remaining + 1) {
            Ok(more) if remaining < self.capacity => self.wait(state, more, now_us),
            _ => 0,
        };
        View { remaining, reset_us, expires_us: self.expires(state, now_us) }
    }

    fn expires(&self, state: State, now_us: u64) -> u64 {
        match self.algorithm {
            Algorithm::InFlight => 0,
            Algorithm::FixedWindow => match self.count(state, now_us) {
                0 => 0,
                _ => self.rest_of_window(now_us),
            },
            Algorithm::SlidingWindow => match self.counts(state, now_us) {
                (0, 0) => 0,
                (_, 0) => self.rest_of_window(now_us),
                _ => self.rest_of_window(now_us) + self.window_us,
            },
            _ => ceil_div(self.level(state, now_us), self.scale),
        }
    }

    // GCRA. Instants and levels count in `1 / scale` microseconds.

    /// The level that a cost adds. Under a scaled rule, a cost within the limit adds at most the
    /// full level.
    fn takes(&self, cost: u32) -> u128 {
        if u64::from(cost) > self.capacity {
            return self.reach() + self.step;
        }
        (u128::from(cost) * self.step).min(self.full.max(self.step))
    }

    fn at(&self, now_us: u64) -> u128 {
        u128::from(now_us) * self.scale
    }

    /// How far the TAT is ahead of now: 0 for a fresh key, `full` for a used-up one, more with
    /// requests that wait.
    fn level(&self, state: State, now_us: u64) -> u128 {
        to_u128(state).saturating_sub(self.at(now_us)).min(self.full + self.slack)
    }

    fn state_at_level(&self, level: u128, now_us: u64) -> State {
        from_u128(self.at(now_us) + level)
    }

    // Windows.

    /// How near to its edges a window gets nothing back: the store's clock and the local one may
    /// differ by this much.
    fn margin_us(&self) -> u64 {
        (self.window_us / 20).min(SECOND_US)
    }

    fn window_of(&self, now_us: u64) -> u64 {
        now_us / self.window_us
    }

    fn rest_of_window(&self, now_us: u64) -> u64 {
        self.window_us - now_us % self.window_us
    }

    /// The use of the current window. A window ahead of the clock counts as the current one.
    fn count(&self, State([window, count]): State, now_us: u64) -> u64 {
        if window < self.window_of(now_us) { 0 } else { count.min(self.limit) }
    }

    /// The use of the previous window and of the current one. After the clock went back, all of it
    /// counts as used now: how much had faded can't be recovered.
    fn counts(&self, State([window, counts]): State, now_us: u64) -> (u64, u64) {
        let (older, newer) = (counts >> 32, (counts & 0xffff_ffff).min(self.limit));
        let current = self.window_of(now_us);
        if window == current {
            (older, newer)
        } else if window > current {
            (0, (older + newer).min(self.limit))
        } else if window + 1 == current {
            (newer, 0)
        } else {
            (0, 0)
        }
    }

    /// The part of `older` that still counts, rounded up.
    fn weighted(&self, older: u64, now_us: u64) -> u64 {
        let rest = u128::from(self.rest_of_window(now_us));
        ceil_div(u128::from(older) * rest, u128::from(self.window_us))
    }

    /// The rest of a window at which `older` has faded to `room` or less.
    fn fades_below(&self, older: u64, room: u64) -> u64 {
        floor_div(u128::from(room) * u128::from(self.window_us), u128::from(older.max(1)))
            .min(self.window_us)
    }
}

/// Judges one request of `cost` at `now_us` on the clock of [`Rule::clock`].
#[must_use]
pub fn admit(rule: &Rule, state: State, cost: u32, now_us: u64) -> Admission {
    let allowed = rule.fits(state, cost, now_us);
    let kept = if allowed { rule.charge(state, cost, now_us) } else { rule.settle(state, now_us) };
    Admission {
        allowed,
        state: kept,
        view: rule.view(kept, now_us),
        retry_after_us: rule.wait(state, if allowed { 0 } else { cost }, now_us),
    }
}

/// How many requests are in flight.
fn under_way(State([count, _]): State) -> u64 {
    count
}

fn to_u128(State([high, low]): State) -> u128 {
    u128::from(high) << 64 | u128::from(low)
}

#[expect(clippy::cast_possible_truncation, reason = "the two halves of the number")]
fn from_u128(number: u128) -> State {
    State([(number >> 64) as u64, number as u64])
}

/// Both counts are at most a limit, which fits 32 bits.
fn pack(older: u64, newer: u64) -> u64 {
    older << 32 | newer
}

/// Rounds down; a result above 64 bits is capped. Nearly always both numbers fit 64 bits, where
/// division is many times faster.
fn floor_div(number: u128, by: u128) -> u64 {
    match (u64::try_from(number), u64::try_from(by)) {
        (Ok(number), Ok(by)) => number.checked_div(by).unwrap_or(u64::MAX),
        _ => number.checked_div(by).map_or(u64::MAX, |n| u64::try_from(n).unwrap_or(u64::MAX)),
    }
}

fn ceil_div(number: u128, by: u128) -> u64 {
    if number == 0 { 0 } else { floor_div(number - 1, by).saturating_add(1) }
}

fn greatest_common_divisor(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a.max(1)
}
