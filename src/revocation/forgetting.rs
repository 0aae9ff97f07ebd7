//! The clock that decides when revocations are dropped.
//!
//! A wall clock that jumps ahead makes every token look expired, and its revocations would be
//! dropped. After a correction the tokens would be valid again. So a step ahead counts only after
//! it has lasted an hour. A step back counts at once, since it only keeps entries for longer.
//!
//! A clock can be wrong from the start. A shared list drops an entry only if the server's clock
//! agrees; a list of this process drops nothing in its first hour.

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::revocations::minute;
use crate::clock::Now;

/// How long a step ahead must last before it counts.
const CONFIRMED_US: u64 = 3_600_000_000;
/// A clock that is kept right drifts by less than this between two readings.
const DRIFT_US: u64 = 60_000_000;

#[derive(Debug)]
pub(super) struct Forgetting(Mutex<Trusted>);

/// How far the wall clock is ahead of the monotonic one.
#[derive(Debug, Clone, Copy)]
struct Trusted {
    lead_us: u64,
    ahead: Option<Ahead>,
}

/// A step ahead that has not lasted long enough.
#[derive(Debug, Clone, Copy)]
struct Ahead {
    lead_us: u64,
    /// On the monotonic clock.
    since_us: u64,
}

impl Forgetting {
    /// Trusts the clock now. A second clock, such as [`ServerClock`], must confirm it.
    pub(super) fn new(now: Now) -> Self {
        Self(Mutex::new(Trusted { lead_us: lead_of(now), ahead: None }))
    }

    /// Trusts no clock: nothing is dropped until the clock has been stable for an hour.
    pub(super) fn unconfirmed() -> Self {
        Self(Mutex::new(Trusted { lead_us: 0, ahead: None }))
    }

    /// The minute before which entries may be dropped.
    pub(super) fn minute(&self, now: Now) -> u32 {
        let trusted_us = self.0.lock().follow(now);
        let unix_us = now.unix_us.min(now.mono_us.saturating_add(trusted_us));
        minute(unix_us / 1_000_000)
    }
}

impl Trusted {
    fn follow(&mut self, now: Now) -> u64 {
        let lead_us = lead_of(now);
        let is_no_further = |known_us: u64| lead_us <= known_us.saturating_add(DRIFT_US);
        let stood_since = self.ahead.filter(|ahead| is_no_further(ahead.lead_us));
        let since_us = stood_since.map_or(now.mono_us, |ahead| ahead.since_us);
        if is_no_further(self.lead_us) || now.mono_us.saturating_sub(since_us) >= CONFIRMED_US {
            *self = Self { lead_us, ahead: None };
        } else {
            self.ahead = Some(Ahead { lead_us, since_us });
        }
        self.lead_us
    }
}

/// The wall clock of the server of a shared list, as of its last answer.
#[derive(Debug, Default)]
pub(super) struct ServerClock {
    /// Its lead over our monotonic clock; 0 for unknown.
    lead_us: AtomicU64,
}

impl ServerClock {
    /// Records the server's time `unix_us`, read at or before `now`.
    pub(super) fn showed(&self, unix_us: u64, now: Now) {
        self.lead_us.store(unix_us.saturating_sub(now.mono_us), Ordering::Release);
    }

    /// The server's time now; `None` if unknown.
    pub(super) fn unix_us(&self, now: Now) -> Option<u64> {
        let lead_us = self.lead_us.load(Ordering::Acquire);
        (lead_us > 0).then(|| now.mono_us.saturating_add(lead_us))
    }

    /// The minute before which everything is over by the server's clock; 0 if unknown.
    pub(super) fn minute(&self, now: Now) -> u32 {
        self.unix_us(now).map_or(0, |unix_us| minute(unix_us / 1_000_000))
    }
}

/// The latest times of this process's wall clock: the `iat` of a token may come from them. A
/// reading is recorded only by a call of `look`, so requests and logins call it too.
#[derive(Debug, Default)]
pub(super) struct Shown {
    /// The lead of the wall clock over the monotonic one.
    lead_us: AtomicU64,
    /// The maximum lead since the process started.
    most_us: AtomicU64,
    /// The latest time that the clock showed before it was set back.
    until: AtomicU64,
}

/// Two readings of both clocks differ by less.
const JITTER_US: u64 = 1_000;

impl Shown {
    pub(super) fn look(&self, now: Now) {
        let lead_us = lead_of(now);
        let known_us = self.lead_us.load(Ordering::Relaxed);
        if lead_us > known_us {
            self.lead_us.fetch_max(lead_us, Ordering::Relaxed);
            self.most_us.fetch_max(lead_us, Ordering::Relaxed);
        } else if known_us > lead_us.saturating_add(JITTER_US) {
            self.until.fetch_max(now.mono_us.saturating_add(known_us), Ordering::Relaxed);
            // A thread that read the clock earlier may raise the value again. The next call then
            // detects the step again.
            self.lead_us.store(lead_us, Ordering::Relaxed);
        }
    }

    /// The latest `iat` that a token can have until now.
    pub(super) fn issued_s(&self, now: Now) -> u64 {
        let by_lead_us = now.mono_us.saturating_add(self.lead_us.load(Ordering::Relaxed));
        now.unix_us.max(by_lead_us).max(self.until.load(Ordering::Relaxed)) / 1_000_000
    }

    /// The time if the clock had never been set back.
    pub(super) fn furthest_s(&self, now: Now) -> u64 {
        let furthest_us = now.mono_us.saturating_add(self.most_us.load(Ordering::Relaxed));
        now.unix_us.max(furthest_us) / 1_000_000
    }
}

fn lead_of(now: Now) -> u64 {
    now.unix_us.saturating_sub(now.mono_us)
}

#[cfg(test)]
mod tests {
    use super::*;

    const START_S: u64 = 1_800_000_000;

    fn at(mono_s: u64, step_s: i64) -> Now {
        let unix_s = (START_S + mono_s).checked_add_signed(step_s).unwrap();
        Now { unix_us: unix_s * 1_000_000, mono_us: mono_s * 1_000_000 }
    }

    #[test]
    fn a_step_ahead_counts_when_it_has_stood_for_an_hour_and_a_step_back_at_once() {
        let forgetting = Forgetting::new(at(0, 0));
        let seen = |mono_s, step_s| u64::from(forgetting.minute(at(mono_s, step_s))) * 60;
        assert_eq!(seen(60, 0), START_S + 60);
        assert_eq!(seen(120, 86_400), START_S + 120);
        assert_eq!(seen(3_660, 86_400), START_S + 3_660);
        assert_eq!(seen(3_720, 86_400), START_S + 3_720 + 86_400);
        assert_eq!(seen(3_780, 0), START_S + 3_780);
        // A step that went back in between starts again.
        assert_eq!(seen(3_840, 86_400), START_S + 3_840);
        assert_eq!(seen(7_200, 0), START_S + 7_200);
        assert_eq!(seen(7_440, 86_400), START_S + 7_440);
        // So does a step that grows.
        assert_eq!(seen(10_980, 172_800), START_S + 10_980);
        assert_eq!(seen(11_100, 172_800), START_S + 11_100);
        assert_eq!(seen(14_580, 172_800), START_S + 14_580 + 172_800);
    }

    #[test]
    fn nothing_is_forgotten_before_the_first_clock_has_stood_for_an_hour() {
        let forgetting = Forgetting::unconfirmed();
        let seen = |mono_s, step_s| u64::from(forgetting.minute(at(mono_s, step_s))) * 60;
        assert_eq!(seen(60, 7_200), 60);
        assert_eq!(seen(1_200, 7_200), 1_200);
        // The clock is corrected, and goes wrong again.
        assert_eq!(seen(1_260, 0), 1_260);
        assert_eq!(seen(3_600, 7_200), 3_600);
        assert_eq!(seen(7_140, 0), 7_140);
        assert_eq!(seen(7_200, 0), START_S + 7_200);
    }

    #[test]
    fn a_clock_that_is_set_back_leaves_what_it_has_shown_until_it_has_caught_up() {
        let shown = Shown::default();
        let look = |mono_s, step_s| {
            let now = at(mono_s, step_s);
            shown.look(now);
            (shown.issued_s(now) - START_S, shown.furthest_s(now) - START_S)
        };
        assert_eq!(look(100, 0), (100, 100));
        assert_eq!(look(101, -50), (101, 101));
        assert_eq!(look(131, -50), (101, 131));
        assert_eq!(look(161, -50), (111, 161));
        assert_eq!(look(162, 0), (162, 162));
        // Again, by more.
        assert_eq!(look(163, -3_600), (163, 163));
        assert_eq!(look(170, -3_600), (163, 170));
    }

    #[test]
    fn a_server_that_has_not_told_the_time_lets_nothing_be_forgotten() {
        let clock = ServerClock::default();
        assert_eq!((clock.unix_us(at(60, 0)), clock.minute(at(60, 0))), (None, 0));
        clock.showed(START_S * 1_000_000, at(60, 7_200));
        assert_eq!(u64::from(clock.minute(at(120, 7_200))) * 60, START_S + 60);
    }
}
