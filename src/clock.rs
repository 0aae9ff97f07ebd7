//! Time, read in one place, so that one request sees one instant and tests can set it.

use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// One instant on both clocks. It is read once per request and handed to every layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Now {
    /// Microseconds since the Unix epoch: for claims and for stores that other machines share. It may jump.
    pub unix_us: u64,
    /// Microseconds on a clock that never goes back: for limits that live in this process.
    pub mono_us: u64,
}

impl Now {
    /// The instant of the call.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the clocks")]
    pub fn read() -> Self {
        static START: OnceLock<Instant> = OnceLock::new();
        #[cfg(test)]
        if let Some(now) = crate::simulation::now() {
            return now;
        }
        let start = *START.get_or_init(Instant::now);
        Self {
            unix_us: micros(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()),
            // Never zero: a limiter may use zero for "never".
            mono_us: micros(start.elapsed()).saturating_add(1),
        }
    }

    /// An instant made by hand, for tests: `unix_us` as given, the monotonic clock alike.
    #[must_use]
    pub const fn at_unix_us(unix_us: u64) -> Self {
        Self { unix_us, mono_us: unix_us }
    }

    /// Whole seconds since the Unix epoch, the `NumericDate` of RFC 7519 section 2.
    #[must_use]
    pub const fn unix_seconds(self) -> u64 {
        self.unix_us / 1_000_000
    }

    /// This instant, later by `by` on both clocks.
    #[must_use]
    pub fn plus(self, by: Duration) -> Self {
        let by = micros(by);
        Self { unix_us: self.unix_us.saturating_add(by), mono_us: self.mono_us.saturating_add(by) }
    }
}

/// A duration in whole microseconds, capped at what fits.
#[must_use]
pub fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// No clock tolerance is longer: revocations are kept this long past a token's expiry.
pub const MAX_TOLERANCE: Duration = Duration::from_secs(60);
