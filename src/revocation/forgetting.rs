//! The clock by which revocations are forgotten.
//!
//! A wall clock that jumps ahead makes every token look expired, and what was revoked would be
//! forgotten. Set right again, it would make the tokens good again. So a step ahead counts only
//! when it has stood for an hour; a step back counts at once, since it only keeps entries for
//! longer.

use parking_lot::Mutex;

use super::revocations::minute;
use crate::clock::Now;

/// How long a step ahead has to stand.
const CONFIRMED_US: u64 = 3_600_000_000;
/// A clock that is kept right moves by less than this between two readings.
const DRIFT_US: u64 = 60_000_000;

#[derive(Debug)]
pub(super) struct Forgetting(Mutex<Lead>);

/// How far the wall clock is ahead of the monotonic one.
#[derive(Debug, Clone, Copy)]
struct Lead {
    trusted_us: u64,
    /// Since when it is further ahead, on the monotonic clock.
    ahead_since_us: Option<u64>,
}

impl Forgetting {
    /// The clock is right now, as far as anybody knows.
    pub(super) fn new(now: Now) -> Self {
        Self(Mutex::new(Lead { trusted_us: lead_of(now), ahead_since_us: None }))
    }

    /// The minute in which what ended before it may be forgotten.
    pub(super) fn minute(&self, now: Now) -> u32 {
        let trusted_us = self.0.lock().follow(now);
        let unix_us = now.unix_us.min(now.mono_us.saturating_add(trusted_us));
        minute(unix_us / 1_000_000)
    }
}

impl Lead {
    fn follow(&mut self, now: Now) -> u64 {
        let lead_us = lead_of(now);
        if lead_us <= self.trusted_us.saturating_add(DRIFT_US) {
            *self = Self { trusted_us: lead_us, ahead_since_us: None };
        } else {
            let since_us = *self.ahead_since_us.get_or_insert(now.mono_us);
            if now.mono_us.saturating_sub(since_us) >= CONFIRMED_US {
                *self = Self { trusted_us: lead_us, ahead_since_us: None };
            }
        }
        self.trusted_us
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
    }
}
