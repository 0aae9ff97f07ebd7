//! The only reader of the clocks, so that one request sees one instant and tests can set it.

use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// One instant on both clocks. It is read once per request and passed to every layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Now {
    /// Microseconds since the Unix epoch, for claims and for stores that several machines share. It
    /// may jump.
    pub unix_us: u64,
    /// Microseconds on a clock that never goes back, for limits in this process. On Linux it
    /// advances while the machine sleeps.
    pub mono_us: u64,
}

impl Now {
    /// The instant of the call.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the clocks")]
    pub fn read() -> Self {
        static START: OnceLock<(Option<Duration>, Instant)> = OnceLock::new();
        #[cfg(test)]
        if let Some(now) = crate::simulation::now() {
            return now;
        }
        let (start_since_boot, start) = START.get_or_init(|| (since_boot(), Instant::now()));
        let elapsed = match (start_since_boot, since_boot()) {
            (Some(start), Some(now)) => now.saturating_sub(*start),
            _ => start.elapsed(),
        };
        Self {
            unix_us: micros(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()),
            // Never zero: a limiter may use zero for "never".
            mono_us: micros(elapsed).saturating_add(1),
        }
    }

    /// An instant for tests: `unix_us` on both clocks.
    #[must_use]
    pub const fn at_unix_us(unix_us: u64) -> Self {
        Self { unix_us, mono_us: unix_us }
    }

    /// Whole seconds since the Unix epoch, the `NumericDate` of RFC 7519 section 2.
    #[must_use]
    pub const fn unix_seconds(self) -> u64 {
        self.unix_us / 1_000_000
    }

    /// This instant, shifted by `by` on both clocks.
    #[must_use]
    pub fn plus(self, by: Duration) -> Self {
        let by = micros(by);
        Self { unix_us: self.unix_us.saturating_add(by), mono_us: self.mono_us.saturating_add(by) }
    }
}

/// The time since boot, sleep included: records age while the machine sleeps, but the monotonic
/// clock of the standard library stops. `None` if the system has no such clock.
#[cfg(target_os = "linux")]
fn since_boot() -> Option<Duration> {
    use rustix::time::{DynamicClockId, clock_gettime_dynamic};
    let now = clock_gettime_dynamic(DynamicClockId::Boottime).ok()?;
    Some(Duration::new(u64::try_from(now.tv_sec).ok()?, u32::try_from(now.tv_nsec).ok()?))
}

#[cfg(not(target_os = "linux"))]
const fn since_boot() -> Option<Duration> {
    None
}

/// A duration in whole microseconds, saturating.
#[must_use]
pub fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// The maximum clock tolerance: revocations are kept this long past a token's expiry.
pub const MAX_TOLERANCE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn the_monotonic_clock_counts_what_the_machine_has_slept() {
        // `/proc/uptime` includes sleep, in hundredths of a second.
        let uptime = || {
            let text = std::fs::read_to_string("/proc/uptime").unwrap();
            let seconds = text.split(' ').next().unwrap().parse().unwrap();
            Duration::from_secs_f64(seconds)
        };
        let slack = Duration::from_millis(20);
        let (before, now, after) = (uptime(), since_boot().unwrap(), uptime());
        assert!(before <= now + slack && now <= after + slack, "{before:?} {now:?} {after:?}");
        let first = Now::read().mono_us;
        assert!(first > 0 && Now::read().mono_us >= first);
    }
}
