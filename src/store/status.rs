//! The state of a shared store, as all threads see it: the circuit breaker, the store's clock, and
//! the number of processes that share it.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use super::fault::OutageCause;
use super::outage::{Outages, StoreNotice};
use crate::clock::Now;

/// After this many failures in a row, no command is sent until the store has answered a probe.
const MAX_FAILURES: u32 = 5;
/// The most commands in flight. More would not be answered in time anyway.
const MAX_WAITING: usize = 20_000;
/// The most time between the store's judgement and the arrival of its result.
const LATEST_ANSWER_US: u64 = 10_000_000;
/// The offset of a store before its clock is read.
const UNKNOWN: i64 = i64::MIN;

/// The state of a shared store. Everything in it is read on the request path without a lock.
#[derive(Debug)]
pub struct Status {
    available: AtomicBool,
    failures: AtomicU32,
    waiting: AtomicUsize,
    /// The offset of the store's clock from the monotonic clock.
    offset_us: AtomicI64,
    instances: AtomicU32,
    /// The least number of processes that share the store, by configuration.
    least: u32,
    /// How many of its servers are away.
    away: AtomicU32,
    /// When it last connected, on the monotonic clock.
    connected_us: AtomicU64,
    /// Whether used proofs are kept in it.
    keeps_proofs: AtomicBool,
    /// The shortest round trip when it last connected, in microseconds; 0 before that.
    distance_us: AtomicU64,
    /// Why it is away, or why its last command failed. It is written on failure and recovery only.
    fault: Mutex<Option<OutageCause>>,
    /// The operator warnings about its outages.
    outages: Mutex<Outages>,
}

impl Default for Status {
    fn default() -> Self {
        Self {
            // Nothing has failed yet, so the first requests may wait a moment for the connection.
            available: AtomicBool::new(true),
            failures: AtomicU32::new(0),
            waiting: AtomicUsize::new(0),
            offset_us: AtomicI64::new(UNKNOWN),
            instances: AtomicU32::new(1),
            least: 1,
            away: AtomicU32::new(0),
            connected_us: AtomicU64::new(0),
            keeps_proofs: AtomicBool::new(false),
            distance_us: AtomicU64::new(0),
            fault: Mutex::new(None),
            outages: Mutex::default(),
        }
    }
}

impl Status {
    /// The state of a store that is shared by at least `least` processes.
    #[must_use]
    pub fn shared_by(least: u32) -> Self {
        Self { least, ..Self::default() }
    }

    /// Whether commands may be sent to the store.
    #[must_use]
    pub fn is_available(&self) -> bool {
        self.available.load(Ordering::Acquire)
    }

    /// Whether it ever answered.
    #[must_use]
    pub fn has_answered(&self) -> bool {
        self.offset_us.load(Ordering::Acquire) != UNKNOWN
    }

    /// Closes the breaker: the store has answered.
    pub(crate) fn recovered(&self) {
        self.failures.store(0, Ordering::Release);
        self.available.store(true, Ordering::Release);
        self.set_fault(None);
    }

    /// Sets why it is away; `None`: nothing is wrong any more.
    pub(crate) fn set_fault(&self, fault: Option<OutageCause>) {
        *self.fault.lock() = fault;
    }

    /// Notes why a command failed. While the store is away, the cause is set already.
    pub(crate) fn blame(&self, fault: OutageCause) {
        if self.is_available() {
            let mut known = self.fault.lock();
            *known = Some(fault.after(*known));
        }
    }

    /// Why it is away, or why its last command failed.
    #[must_use]
    pub fn fault(&self) -> Option<OutageCause> {
        *self.fault.lock()
    }

    /// The last operator warning, with its number: see [`super::outage`].
    #[must_use]
    pub fn notice(&self, now: Now) -> Option<(u64, StoreNotice)> {
        self.outages.lock().look(self.away(), self.fault(), now)
    }

    /// Adds a warning about how the store is set up: one for each code.
    pub(crate) fn advise(&self, code: &'static str, text: String) {
        self.outages.lock().advise(code, text);
    }

    /// The warning about how the store is set up after the first `told` ones.
    #[must_use]
    pub fn advice(&self, told: usize) -> Option<StoreNotice> {
        self.outages.lock().advice().get(told).cloned()
    }

    /// Sets the shortest round trip to it, measured when it connected.
    pub(crate) fn set_distance(&self, round_trip: Duration) {
        let us = u64::try_from(round_trip.as_micros()).unwrap_or(u64::MAX);
        self.distance_us.store(us, Ordering::Release);
    }

    /// The shortest round trip to it when it last connected; zero before that.
    #[must_use]
    pub fn distance(&self) -> Duration {
        Duration::from_micros(self.distance_us.load(Ordering::Acquire))
    }

    /// Opens the breaker: the store is away.
    pub(crate) fn lost(&self) {
        self.available.store(false, Ordering::Release);
    }

    /// Counts an answer that came in time.
    pub(crate) fn succeeded(&self) {
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Release);
            self.set_fault(None);
        }
    }

    /// Counts a missing or invalid answer. `true`: there were too many, so the store must be
    /// treated as lost.
    pub(crate) fn failed(&self) -> bool {
        self.failures.fetch_add(1, Ordering::AcqRel).saturating_add(1) >= MAX_FAILURES
    }

    /// Counts a command in flight; `false` if there are too many.
    pub(crate) fn enter(&self) -> bool {
        if self.waiting.fetch_add(1, Ordering::AcqRel) < MAX_WAITING {
            return true;
        }
        self.leave();
        false
    }

    /// Counts a command as no longer in flight.
    pub(crate) fn leave(&self) {
        self.waiting.fetch_sub(1, Ordering::AcqRel);
    }

    /// How many commands are in flight.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Acquire)
    }

    /// Applies a reading of the store's clock, `store_us`, that was made after `sent` on the local
    /// clock. From here on [`Self::clock`] is never behind the store's: a block may end a moment
    /// early, never late.
    pub(crate) fn observe(&self, store_us: u64, sent: Now) {
        let offset = i64::try_from(store_us)
            .ok()
            .zip(i64::try_from(sent.mono_us).ok())
            .map(|(store, sent)| store - sent);
        if let Some(offset) = offset {
            self.offset_us.store(offset, Ordering::Release);
        }
    }

    /// The store's clock, if it was read, in the place of the wall clock. The monotonic clock stays
    /// the local one. Local records end by it, so a step of the store's clock locks no key.
    #[must_use]
    pub fn clock(&self, now: Now) -> Now {
        match self.offset_us.load(Ordering::Acquire) {
            UNKNOWN => now,
            offset => Now { unix_us: now.mono_us.saturating_add_signed(offset), ..now },
        }
    }

    /// How far the store's clock is ahead of this process's wall clock, in microseconds; `None`
    /// before the store's clock was read.
    #[must_use]
    pub fn clock_ahead_us(&self, now: Now) -> Option<i64> {
        let theirs = self.has_answered().then(|| self.clock(now).unix_us)?;
        let ahead = i128::from(theirs) - i128::from(now.unix_us);
        Some(i64::try_from(ahead).unwrap_or(if ahead < 0 { i64::MIN } else { i64::MAX }))
    }

    /// Both clocks at the moment when the store's clock read `store_us`. That was just before
    /// `now`: if the offset contradicts this, the store's clock was set meanwhile.
    #[must_use]
    pub fn judged_at(&self, store_us: u64, now: Now) -> Now {
        let offset = self.offset_us.load(Ordering::Acquire);
        let known =
            (offset != UNKNOWN).then(|| store_us.checked_add_signed(offset.saturating_neg()));
        let latest = now.mono_us.saturating_sub(LATEST_ANSWER_US)..=now.mono_us;
        let mono_us = known.flatten().filter(|mono_us| latest.contains(mono_us));
        Now { unix_us: store_us, mono_us: mono_us.unwrap_or(now.mono_us) }
    }

    /// Notes a new connection: the server may have lost its earlier state.
    pub(crate) fn connected(&self, now: Now) {
        self.connected_us.fetch_max(now.mono_us, Ordering::AcqRel);
    }

    /// When it last connected, on the monotonic clock; 0 for never.
    #[must_use]
    pub fn connected_us(&self) -> u64 {
        self.connected_us.load(Ordering::Acquire)
    }

    /// Notes that used proofs are kept in it from now on.
    pub fn keep_proofs(&self) {
        self.keeps_proofs.store(true, Ordering::Release);
    }

    /// Whether used proofs are kept in it.
    pub(crate) fn keeps_proofs(&self) -> bool {
        self.keeps_proofs.load(Ordering::Acquire)
    }

    /// How many processes were seen to share the store, at least 1.
    #[must_use]
    pub fn instances(&self) -> u32 {
        self.instances.load(Ordering::Acquire).max(1)
    }

    /// The number of parts of a limit while the store is away: one for each process. A process that
    /// started during the outage has seen no other, and uses the configured number.
    #[must_use]
    pub fn parts(&self) -> u32 {
        self.instances().max(self.least)
    }

    /// How many of its servers do not answer.
    #[must_use]
    pub fn away(&self) -> u32 {
        let away = self.away.load(Ordering::Acquire);
        if self.is_available() { away } else { away.max(1) }
    }

    /// Sets how many of its servers do not answer.
    pub(crate) fn count_away(&self, away: usize) {
        self.away.store(u32::try_from(away).unwrap_or(u32::MAX), Ordering::Release);
    }

    /// Sets how many processes sent a heartbeat. A store that lost its data shows them one by one
    /// again, so the number falls by at most one a heartbeat: otherwise the next outage would give
    /// each process the whole limit.
    pub(crate) fn count_instances(&self, alive: u32) {
        let before = self.instances();
        self.instances.store(alive.max(before.saturating_sub(1)), Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_breaker_opens_at_the_fifth_failure_in_a_row_and_closes_when_the_store_answers() {
        let status = Status::default();
        for _ in 0..4 {
            assert!(!status.failed());
        }
        status.succeeded();
        for _ in 0..4 {
            assert!(!status.failed());
        }
        assert!(status.failed());
        status.lost();
        assert!(!status.is_available());
        status.recovered();
        assert!(status.is_available() && !status.failed());
    }

    #[test]
    fn a_limit_is_divided_by_the_larger_of_the_configured_number_and_the_one_seen() {
        let status = Status::shared_by(4);
        assert_eq!((status.instances(), status.parts()), (1, 4));
        status.count_instances(3);
        assert_eq!((status.instances(), status.parts()), (3, 4));
        status.count_instances(6);
        assert_eq!((status.instances(), status.parts()), (6, 6));
        assert_eq!(Status::default().parts(), 1);
    }

    #[test]
    fn the_number_of_processes_rises_at_once_and_falls_by_one_a_beat() {
        let status = Status::default();
        status.count_instances(4);
        let seen: Vec<u32> = [1, 1, 3, 1]
            .map(|alive| {
                status.count_instances(alive);
                status.instances()
            })
            .to_vec();
        assert_eq!(seen, [3, 2, 3, 2]);
    }

    #[test]
    fn a_wall_clock_that_is_wrong_changes_nothing_once_the_store_has_spoken() {
        let status = Status::default();
        let sent = Now { unix_us: 1_700_000_030_000_000, mono_us: 5_000_000 };
        status.observe(1_700_000_000_000_000, sent);
        let later = Now { unix_us: 1_600_000_000_000_000, mono_us: 6_000_000 };
        assert_eq!(status.clock(later).unix_us, 1_700_000_001_000_000);
        assert_eq!(status.clock(later.plus(Duration::from_secs(1))).unix_us, 1_700_000_002_000_000);
    }

    #[test]
    fn both_clocks_are_compared_once_the_store_has_read_its_own() {
        let (status, sent) = (Status::default(), Now { unix_us: 9_000_000, mono_us: 5_000_000 });
        assert_eq!(status.clock_ahead_us(sent), None);
        status.observe(7_500_000, sent);
        assert_eq!(status.clock_ahead_us(sent.plus(Duration::from_secs(1))), Some(-1_500_000));
        // The local clock was set back.
        let set_back = Now { unix_us: 1_000_000, ..sent };
        assert_eq!(status.clock_ahead_us(set_back), Some(6_500_000));
    }

    #[test]
    fn a_cause_is_kept_until_the_store_answers() {
        let status = Status::default();
        status.succeeded();
        assert_eq!(status.fault(), None);
        status.failed();
        status.blame(OutageCause::Memory);
        status.blame(OutageCause::Network);
        assert_eq!(status.fault(), Some(OutageCause::Memory));
        status.succeeded();
        assert_eq!(status.fault(), None);
        status.blame(OutageCause::Timeout);
        status.lost();
        status.blame(OutageCause::Slots);
        assert_eq!(status.fault(), Some(OutageCause::Timeout));
        status.recovered();
        assert_eq!(status.fault(), None);
    }

    #[test]
    fn a_step_of_the_stores_clock_moves_no_end_that_is_kept_here() {
        let (status, hour) = (Status::default(), 3_600_000_000);
        let sent = Now { unix_us: 1_700_000_030_000_000, mono_us: 50_000_000 };
        let store_us = 1_700_000_000_000_000;
        status.observe(store_us, sent);
        let later = Now { unix_us: 1, mono_us: 51_000_000 };
        let judged = |store_us| status.judged_at(store_us, later);
        assert_eq!(judged(store_us + 400_000).mono_us, 50_400_000);
        for wrong in [store_us - hour, store_us + hour, 0, u64::MAX] {
            assert_eq!(judged(wrong), Now { unix_us: wrong, mono_us: 51_000_000 });
        }
        status.observe(store_us - hour, sent);
        assert_eq!(status.clock(later).mono_us, 51_000_000);
    }

    #[test]
    fn more_questions_than_can_be_answered_are_not_taken() {
        let status = Status::default();
        let taken = (0..MAX_WAITING + 10).filter(|_| status.enter()).count();
        assert_eq!((taken, status.waiting()), (MAX_WAITING, MAX_WAITING));
        status.leave();
        assert!(status.enter());
    }
}
