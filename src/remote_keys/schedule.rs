//! When an issuer is asked, as a state machine: no clock, no network and no thread in it, so that a
//! test can let an hour pass in no time.
//!
//! One fetch at a time. There are two reasons for one, each with its own budget: the plan (every
//! five minutes, or as soon as a failure allows), and a token whose `kid` nobody knows (once in 30
//! s, however many such tokens come).

use std::time::Duration;

use crate::clock::micros;

/// The longest time between two looks. A longer `max-age` does not make it longer: a key that its
/// issuer withdraws is to be refused soon, and a look with `If-None-Match` costs nobody much.
pub(crate) const MAX_REFRESH: Duration = Duration::from_secs(5 * 60);
/// The shortest, whatever the issuer says.
pub(crate) const LEAST_REFRESH: Duration = Duration::from_secs(60);
/// Tokens with an unknown `kid` cause one fetch in this time.
pub(crate) const COOLDOWN: Duration = Duration::from_secs(30);
const FIRST_RETRY: Duration = Duration::from_secs(1);
const MAX_RETRY: Duration = Duration::from_secs(60);
/// A fetch of which nothing is heard has failed. The edge gives up long before.
const FLIGHT: Duration = Duration::from_secs(30);
/// Metadata is read again after this time, or when the set it names can't be had three times in a
/// row.
const REDISCOVER: Duration = Duration::from_secs(60 * 60);
const REDISCOVER_AFTER_FAULT: Duration = Duration::from_secs(10 * 60);
const REDISCOVER_FAILURES: u32 = 3;

/// What a fetch is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    Metadata,
    Set,
}

/// A fetch on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Flight {
    pub(crate) number: u32,
    pub(crate) what: What,
    /// Whether a token with an unknown `kid` wants it, so that no cache on the way may answer.
    pub(crate) fresh: bool,
    started_us: u64,
}

/// When to ask next. All times are on the monotonic clock.
#[derive(Debug)]
pub(crate) struct Schedule {
    /// Whether metadata has to be read at all.
    discovers: bool,
    /// Whether a set's URL is known.
    has_url: bool,
    flight: Option<Flight>,
    flights: u32,
    next_us: u64,
    /// A token with an unknown `kid` has taken the budget, and no fetch has begun for it yet.
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
        // What is wanted is a set: metadata is but the way to it.
        self.wanted &= discover;
        self.flight = Some(flight);
        Some(flight)
    }

    /// Ends the fetch of this number, if it is the one on its way.
    pub(crate) fn end(&mut self, number: u32) -> Option<Flight> {
        self.flight.take_if(|flight| flight.number == number)
    }

    /// The number of a fetch of which nothing was heard for too long.
    pub(crate) fn lost(&self, now_us: u64) -> Option<u32> {
        let flight = self.flight?;
        (now_us >= flight.started_us.saturating_add(micros(FLIGHT))).then_some(flight.number)
    }

    /// Metadata has named the set's URL: the set is fetched at once.
    pub(crate) fn discovered(&mut self, now_us: u64) {
        self.has_url = true;
        self.rediscover_us = now_us.saturating_add(micros(REDISCOVER));
        self.next_us = now_us;
    }

    /// A set was good, or is still the same. `says` is how long it may be kept, as its issuer says;
    /// `spread` is from 0 to 1, so that processes that started together do not stay together.
    pub(crate) fn succeeded(&mut self, says: Option<Duration>, spread: f64, now_us: u64) {
        self.failures = 0;
        self.wanted = false;
        let wait = says.unwrap_or(MAX_REFRESH).clamp(LEAST_REFRESH, MAX_REFRESH);
        self.next_us = now_us.saturating_add(micros(wait.mul_f64(1.0 - 0.1 * spread)));
    }

    /// A fetch gave nothing: again soon, and then less and less often.
    pub(crate) fn failed(&mut self, what: What, spread: f64, now_us: u64) {
        if what == What::Metadata && self.has_url {
            // The URL that is known may still be good.
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

    /// Whether the last fetch of a set was the first one to fail.
    pub(crate) fn failed_once(&self) -> bool {
        self.failures == 1
    }

    /// Whether a fetch is on its way, or will begin as soon as somebody looks.
    pub(crate) fn is_asking(&self, now_us: u64) -> bool {
        self.flight.is_some() || self.wanted || now_us >= self.next_us
    }

    /// A token has a `kid` that is not known: whether its issuer is being asked, or will be for it.
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

    /// When to look again.
    pub(crate) fn wake_us(&self) -> u64 {
        match self.flight {
            Some(flight) => flight.started_us.saturating_add(micros(FLIGHT)),
            None if self.wanted => 0,
            None => self.next_us,
        }
    }
}
