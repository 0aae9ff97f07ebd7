//! The only reader of the clocks, so that one request sees one instant and tests can set it.

use std::cell::Cell;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
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
    /// The instant of the call, by the test clock of this thread where it has one.
    #[must_use]
    pub fn read() -> Self {
        let now = Self::read_machine();
        if TEST_CLOCKS.load(Ordering::Relaxed) { now.plus(test_clock::ahead()) } else { now }
    }

    /// The instant of the call by the clocks of the machine.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the clocks")]
    pub fn read_machine() -> Self {
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

/// Set once a thread of this process has a test clock. Until then it is all that a request reads.
static TEST_CLOCKS: AtomicBool = AtomicBool::new(false);

/// The clock of a test, which runs ahead of the machine's, on both clocks alike.
///
/// It belongs to one thread: worker threads that run other tests keep their own time, and so do the
/// threads that serve shared stores. `src/node/testing.rs` moves it.
pub mod test_clock {
    use super::{Cell, Duration, Ordering, TEST_CLOCKS};

    /// No test clock runs further ahead: 100 years.
    pub const MAX_AHEAD: Duration = Duration::from_secs(100 * 366 * 86_400);

    thread_local! {
        static AHEAD: Cell<Duration> = const { Cell::new(Duration::ZERO) };
    }

    /// How far the clock of this thread is ahead.
    #[must_use]
    pub fn ahead() -> Duration {
        AHEAD.get()
    }

    /// Moves the clock of this thread on. `false`: that is too far, and it stays where it is.
    #[must_use]
    pub fn advance(by: Duration) -> bool {
        let Some(ahead) = AHEAD.get().checked_add(by).filter(|ahead| *ahead <= MAX_AHEAD) else {
            return false;
        };
        AHEAD.set(ahead);
        TEST_CLOCKS.store(true, Ordering::Relaxed);
        true
    }

    /// This thread reads the clocks of the machine again.
    pub fn release() {
        AHEAD.set(Duration::ZERO);
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
    fn a_test_clock_moves_both_clocks_of_its_thread_alone_and_no_further_than_it_may() {
        let hour = Duration::from_secs(3600);
        let before = Now::read();
        assert!(test_clock::advance(hour) && test_clock::advance(hour));
        let after = Now::read();
        assert!(after >= before.plus(2 * hour) && after < before.plus(3 * hour));
        assert!(after.mono_us >= before.mono_us + micros(2 * hour));
        let elsewhere = std::thread::spawn(Now::read).join().unwrap();
        assert!(elsewhere < before.plus(hour));
        assert!(!test_clock::advance(test_clock::MAX_AHEAD));
        assert_eq!(test_clock::ahead(), 2 * hour);
        assert!(Now::read_machine() < before.plus(hour));
        test_clock::release();
        assert!(Now::read() < before.plus(hour));
    }

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
