//! The clock by which revocations are forgotten.
//!
//! A wall clock that jumps ahead makes every token look expired, and what was revoked would be
//! forgotten. Set right again, it would make the tokens good again. So a step ahead counts only
//! when it has stood for an hour; a step back counts at once, since it only keeps entries for
//! longer.
//!
//! A clock can be wrong from the start. A list that processes share forgets what is over by the
//! server's clock too; one of this process forgets nothing in its first hour.

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::revocations::minute;
use crate::clock::Now;

/// How long a step ahead has to stand.
const CONFIRMED_US: u64 = 3_600_000_000;
/// A clock that is kept right moves by less than this between two readings.
const DRIFT_US: u64 = 60_000_000;

#[derive(Debug)]
pub(super) struct Forgetting(Mutex<Trusted>);

/// How far the wall clock is ahead of the monotonic one.
#[derive(Debug, Clone, Copy)]
struct Trusted {
    lead_us: u64,
    ahead: Option<Ahead>,
}

/// A step ahead that has not stood for long enough.
#[derive(Debug, Clone, Copy)]
struct Ahead {
    lead_us: u64,
    /// On the monotonic clock.
    since_us: u64,
}

impl Forgetting {
    /// The clock is right now. A second one must bear it out, as [`ServerClock`] does.
    pub(super) fn new(now: Now) -> Self {
        Self(Mutex::new(Trusted { lead_us: lead_of(now), ahead: None }))
    }

    /// Nobody knows whether the clock is right: nothing is forgotten until it has stood for an
    /// hour.
    pub(super) fn unconfirmed() -> Self {
        Self(Mutex::new(Trusted { lead_us: 0, ahead: None }))
    }

    /// The minute in which what ended before it may be forgotten.
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

/// The wall clock of the server that has a shared list, as far as it has said.
#[derive(Debug, Default)]
pub(super) struct ServerClock {
    /// How far it is ahead of our monotonic one; 0 for unknown.
    lead_us: AtomicU64,
}

impl ServerClock {
    /// It showed `unix_us`, a moment before `now` at the most.
    pub(super) fn showed(&self, unix_us: u64, now: Now) {
        self.lead_us.store(unix_us.saturating_sub(now.mono_us), Ordering::Release);
    }

    /// What it shows now; `None` where nobody knows.
    pub(super) fn unix_us(&self, now: Now) -> Option<u64> {
        let lead_us = self.lead_us.load(Ordering::Acquire);
        (lead_us > 0).then(|| now.mono_us.saturating_add(lead_us))
    }

    /// The minute before which it says that all is over: none where nobody knows.
    pub(super) fn minute(&self, now: Now) -> u32 {
        self.unix_us(now).map_or(0, |unix_us| minute(unix_us / 1_000_000))
    }
}

/// The latest times that the wall clock of this process has shown: tokens may have been issued by
/// them. It goes by when the clock was looked at, so requests and logins look, too.
#[derive(Debug, Default)]
pub(super) struct Shown {
    /// How far the wall clock is ahead of the monotonic one.
    lead_us: AtomicU64,
    /// The same at the most, since the process started.
    most_us: AtomicU64,
    /// What the clock showed at the latest when it was set back.
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
            // Whoever has read the clock before may put it up again, and it is noticed again.
            self.lead_us.store(lead_us, Ordering::Relaxed);
        }
    }

    /// The latest second by which a token can have been issued until now.
    pub(super) fn issued_s(&self, now: Now) -> u64 {
        let by_lead_us = now.mono_us.saturating_add(self.lead_us.load(Ordering::Relaxed));
        now.unix_us.max(by_lead_us).max(self.until.load(Ordering::Relaxed)) / 1_000_000
    }

    /// What the clock would show now, had it never been set back.
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
        // One that went back in between begins anew.
        assert_eq!(seen(3_840, 86_400), START_S + 3_840);
        assert_eq!(seen(7_200, 0), START_S + 7_200);
        assert_eq!(seen(7_440, 86_400), START_S + 7_440);
        // And so does one that goes on.
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
        // It is set right, and goes wrong again.
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
        // Once more, by more.
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
