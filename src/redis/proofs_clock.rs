//! The clock of the list of used proofs: the server's clock minus all steps ahead that any process
//! has observed. It is the same for all processes, and none of them has to see each step.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use crate::clock::{Now, micros};

/// The offset of a clock before it is read.
const UNKNOWN: i64 = i64::MIN;
/// A reading that took longer than this may be old, so an earlier one is better.
const QUICK: Duration = Duration::from_millis(100);

/// The offset of the list's clock from the monotonic clock.
#[derive(Debug)]
pub(super) struct ProofsClock(AtomicI64);

impl Default for ProofsClock {
    fn default() -> Self {
        Self(AtomicI64::new(UNKNOWN))
    }
}

impl ProofsClock {
    /// Applies a reading of the list's clock that was requested at `sent` and arrived at
    /// `received`.
    pub(super) fn observe(&self, list_us: i64, sent: Now, received: Now) {
        let is_quick = received.mono_us.saturating_sub(sent.mono_us) <= micros(QUICK);
        let offset = i64::try_from(sent.mono_us).ok().and_then(|sent| list_us.checked_sub(sent));
        if let Some(offset) = offset
            && (is_quick || self.0.load(Ordering::Acquire) == UNKNOWN)
        {
            self.0.store(offset, Ordering::Release);
        }
    }

    /// The time of the list's clock; `None` before it was read.
    pub(super) fn at(&self, now: Now) -> Option<i64> {
        let offset = self.0.load(Ordering::Acquire);
        let mono_us = i64::try_from(now.mono_us).ok()?;
        (offset != UNKNOWN).then(|| offset.saturating_add(mono_us))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reading_that_took_long_is_taken_only_where_there_is_no_other() {
        let clock = ProofsClock::default();
        let now = |ms: u64| Now { unix_us: 1, mono_us: 1000 * ms };
        assert_eq!(clock.at(now(5)), None);
        clock.observe(7_000_000, now(1000), now(1900));
        assert_eq!(clock.at(now(2000)), Some(8_000_000));
        clock.observe(7_000_000, now(2000), now(2100));
        assert_eq!(clock.at(now(2500)), Some(7_500_000));
        clock.observe(9_000_000, now(3000), now(3101));
        assert_eq!(clock.at(now(3000)), Some(8_000_000));
    }
}
