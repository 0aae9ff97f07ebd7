//! Decides when an endpoint is asked about no token for a while.
//!
//! A client chooses the tokens that the endpoint is asked about, and must not be able to make it
//! look dead: one that answers odd tokens with 500 works for all others. So a failure alone
//! decides nothing. It causes a probe, a question about a token that this module makes up, and the
//! failure of the probe opens the breaker. Further probes follow, with exponential backoff, and the
//! first that gets a clear no closes it. So it closes without traffic, too.

use std::time::Duration;

use crate::clock::micros;

const FIRST_RETRY: Duration = Duration::from_secs(1);
const MAX_RETRY: Duration = Duration::from_secs(30);
/// Failures cause at most one probe in this time.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Closed,
    /// An answer has failed, and a probe will decide. Tokens are still asked about.
    Suspect,
    Open,
}

/// All times are on the monotonic clock.
#[derive(Debug)]
pub(super) struct Breaker {
    phase: Phase,
    failures: u32,
    next_probe_us: u64,
    is_probing: bool,
}

impl Breaker {
    pub(super) const fn new() -> Self {
        Self { phase: Phase::Closed, failures: 0, next_probe_us: 0, is_probing: false }
    }

    /// Whether the endpoint is asked about no token.
    pub(super) fn is_open(&self) -> bool {
        self.phase == Phase::Open
    }

    /// Records that a question about a token has failed.
    pub(super) fn suspect(&mut self, now_us: u64) {
        if self.phase == Phase::Closed {
            self.phase = Phase::Suspect;
            self.next_probe_us = self.next_probe_us.max(now_us);
        }
    }

    /// Whether to send a probe now.
    pub(super) fn begin_probe(&mut self, now_us: u64) -> bool {
        let is_due =
            self.phase != Phase::Closed && !self.is_probing && now_us >= self.next_probe_us;
        self.is_probing |= is_due;
        is_due
    }

    /// Records that a probe got a clear no. Returns whether the breaker was open.
    pub(super) fn probe_succeeded(&mut self, now_us: u64) -> bool {
        let was_open = self.is_open();
        (self.phase, self.failures, self.is_probing) = (Phase::Closed, 0, false);
        self.next_probe_us = now_us.saturating_add(micros(PROBE_INTERVAL));
        was_open
    }

    /// Records that a probe has failed. `spread`, from 0 to 1, keeps processes apart. Returns
    /// whether the breaker was closed.
    pub(super) fn probe_failed(&mut self, spread: f64, now_us: u64) -> bool {
        let was_open = self.is_open();
        let wait = FIRST_RETRY.saturating_mul(1 << self.failures.min(5)).min(MAX_RETRY);
        (self.phase, self.is_probing) = (Phase::Open, false);
        self.failures = self.failures.saturating_add(1);
        self.next_probe_us = now_us.saturating_add(micros(wait.mul_f64(1.0 - 0.3 * spread)));
        !was_open
    }

    /// The time of the next probe.
    pub(super) fn wake_us(&self) -> Option<u64> {
        (self.phase != Phase::Closed && !self.is_probing).then_some(self.next_probe_us)
    }
}
