//! The schedule of fetches as a state machine. It has no clock, network or thread, so that a test
//! can simulate an hour at once.
//!
//! At most one fetch is in flight. A fetch has one of two causes, each with its own budget: the
//! schedule (every five minutes, or as soon as the backoff after a failure allows), and a token
//! with an unknown `kid` (once in 30 s, for any number of such tokens).

use std::time::Duration;

use crate::clock::micros;

/// The longest time between two fetches. A longer `max-age` does not extend it: a withdrawn key
/// must be refused soon, and a request with `If-None-Match` is cheap.
pub(crate) const MAX_REFRESH: Duration = Duration::from_secs(5 * 60);
/// The shortest time between two fetches, whatever the issuer requests.
pub(crate) const LEAST_REFRESH: Duration = Duration::from_secs(60);
/// Tokens with an unknown `kid` cause at most one fetch in this time.
pub(crate) const COOLDOWN: Duration = Duration::from_secs(30);
const FIRST_RETRY: Duration = Duration::from_secs(1);
const MAX_RETRY: Duration = Duration::from_secs(60);
/// A fetch without a result for this long has failed. The host gives up long before.
const FLIGHT: Duration = Duration::from_secs(30);
/// Metadata is read again after this time, or after three consecutive failures of the set that it
/// names.
const REDISCOVER: Duration = Duration::from_secs(60 * 60);
const REDISCOVER_AFTER_FAULT: Duration = Duration::from_secs(10 * 60);
const REDISCOVER_FAILURES: u32 = 3;

/// The target of a fetch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    Metadata,
    Set,
}

/// A fetch in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Flight {
    pub(crate) number: u32,
    pub(crate) what: What,
    /// Whether a token with an unknown `kid` caused it, so that no intermediate cache may answer.
    pub(crate) fresh: bool,
    started_us: u64,
}

/// The time of the next fetch. All times are on the monotonic clock.
#[derive(Debug)]
pub(crate) struct Schedule {
    /// Whether metadata must be read first.
    discovers: bool,
    /// Whether the URL of the set is known.
    has_url: bool,
    flight: Option<Flight>,
    flights: u32,
    next_us: u64,
    /// A token with an unknown `kid` has used the budget, and its fetch has not begun yet.
    wanted: bool,
    next_wanted_us: u64,
    rediscover_us: u64,
    failures: u32,
}

impl Schedule {
    pub(crate) const fn new(discovers: bool) -> Self {
        Self {
            discovers,
            has_url: !discovers,
            flight: None,
            flights: 0,
            next_us: 0,
            wanted: false,
            next_wanted_us: 0,
            rediscover_us: 0,
            failures: 0,
        }
    }

    /// Begins the fetch that is due, if one is.
    pub(crate) fn begin(&mut self, now_us: u64) -> Option<Flight> {
        if self.flight.is_some() || !(self.wanted || now_us >= self.next_us) {
            return None;
        }
        let discover = self.discovers && (!self.has_url || now_us >= self.rediscover_us);
        self.flights = self.flights.wrapping_add(1);
        let flight = Flight {
            number: self.flights,
            what: if discover { What::Metadata } else { What::Set },
            fresh: self.wanted,
            started_us: now_us,
        };
        // The token needs the set: metadata is only the first step.
        self.wanted &= discover;
        self.flight = Some(flight);
        Some(flight)
    }

    /// Ends the fetch of this number, if it is the one in flight.
    pub(crate) fn end(&mut self, number: u32) -> Option<Flight> {
        self.flight.take_if(|flight| flight.number == number)
    }

    /// The number of a fetch that has been without a result for too long.
    pub(crate) fn lost(&self, now_us: u64) -> Option<u32> {
        let flight = self.flight?;
        (now_us >= flight.started_us.saturating_add(micros(FLIGHT))).then_some(flight.number)
    }

    /// Metadata has named the URL of the set: fetch the set at once.
    pub(crate) fn discovered(&mut self, now_us: u64) {
        self.has_url = true;
        self.rediscover_us = now_us.saturating_add(micros(REDISCOVER));
        self.next_us = now_us;
    }

    /// Records a good or unchanged set. `says` is its lifetime according to the issuer. `spread`,
    /// from 0 to 1, keeps processes apart that started together.
    pub(crate) fn succeeded(&mut self, says: Option<Duration>, spread: f64, now_us: u64) {
        self.failures = 0;
        self.wanted = false;
        let wait = says.unwrap_or(MAX_REFRESH).clamp(LEAST_REFRESH, MAX_REFRESH);
        self.next_us = now_us.saturating_add(micros(wait.mul_f64(1.0 - 0.1 * spread)));
    }

    /// Records a failed fetch. Retries back off exponentially.
    pub(crate) fn failed(&mut self, what: What, spread: f64, now_us: u64) {
        if what == What::Metadata && self.has_url {
            // The known URL may still be good.
            self.rediscover_us = now_us.saturating_add(micros(REDISCOVER_AFTER_FAULT));
            self.next_us = now_us;
            return;
        }
        let doubled = FIRST_RETRY.saturating_mul(1 << self.failures.min(6));
        let wait = doubled.min(MAX_RETRY).mul_f64(1.0 - 0.5 * spread);
        self.wanted = false;
        self.failures = self.failures.saturating_add(1);
        if self.failures.is_multiple_of(REDISCOVER_FAILURES) {
            self.rediscover_us = now_us;
        }
        self.next_us = now_us.saturating_add(micros(wait));
    }

    /// Whether exactly one fetch has failed since the last success.
    pub(crate) fn failed_once(&self) -> bool {
        self.failures == 1
    }

    /// Whether a fetch is in flight, or begins at the next call of [`Self::begin`].
    pub(crate) fn is_asking(&self, now_us: u64) -> bool {
        self.flight.is_some() || self.wanted || now_us >= self.next_us
    }

    /// Requests a fetch for a token with an unknown `kid`. Returns whether one is in flight or will
    /// begin.
    pub(crate) fn want(&mut self, now_us: u64) -> bool {
        if self.flight.is_some() || self.wanted {
            return true;
        }
        if now_us < self.next_wanted_us {
            return false;
        }
        self.next_wanted_us = now_us.saturating_add(micros(COOLDOWN));
        self.wanted = true;
        true
    }

    /// The time of the next call.
    pub(crate) fn wake_us(&self) -> u64 {
        match self.flight {
            Some(flight) => flight.started_us.saturating_add(micros(FLIGHT)),
            None if self.wanted => 0,
            None => self.next_us,
        }
    }
}
