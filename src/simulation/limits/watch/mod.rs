//! The promises about limits, and the observations of clients.

mod said;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parking_lot::Mutex;

use super::super::history::{Promise, Violation};
use super::super::process::Outcome;
use super::super::redis::EPOCH_US;
use super::super::service::Service;
use super::{LEASED, PROCESSES, SLOTS};
use crate::stack::LimitView;
use said::Said;

/// docs/internals/guarantees.md, docs/guides/dpop.md
pub(super) const PROMISES: &[Promise] = &[
    LEASES,
    SHARES,
    COMES_BACK,
    MAX_SLOTS,
    OWN_PLACES,
    NO_PLACE_LOST,
    PROOF_ONCE,
    NEW_PROOFS,
    NO_LONG_WAIT,
    NOTHING_UNCOUNTED,
    said::REACHES,
    said::HERE,
    said::KEPT,
];

const LEASES: Promise = (
    "limit.leases",
    "by leases, a key is admitted at most burst + rate x (W + lease) in any span W",
);
const SHARES: Promise =
    ("limit.shares", "without the store, a process admits its share of a limit by processes");
const COMES_BACK: Promise =
    ("limit.back", "a key that is used up has a quota again once the time of a whole one is over");
const MAX_SLOTS: Promise =
    ("slots.most", "at most concurrent requests of a key are under way, as the store counts them");
const OWN_PLACES: Promise =
    ("slots.shares", "without the store, a process lets one in while it has less than its share");
const NO_PLACE_LOST: Promise =
    ("slots.lost", "every slot comes free again once its request is over or its process is gone");
const PROOF_ONCE: Promise = ("proof.once", "a DPoP proof that was used is never taken again");
const NEW_PROOFS: Promise =
    ("proof.new", "a DPoP proof that nobody has used is never refused as a used one");
const NO_LONG_WAIT: Promise =
    ("store.wait", "no request waits for an answer of the store longer than timeout");
const NOTHING_UNCOUNTED: Promise =
    ("store.away", "what only the store can count is admitted by nobody while it is away");

/// The duration of a lease of [`LEASED`].
const LEASE_US: u64 = LEASED.1 * 1000 / 50;
/// The maximum delay between a decision and its answer.
const SLACK_US: u64 = 100_000;
/// A process that is away for less renews its slots in time.
const MISSED_US: u64 = 2_000_000;
/// The time within which a process that reaches the servers reads their clock.
const READ_US: u64 = 3_000_000;
/// `timeout` of the store.
const TIMEOUT_US: u64 = 25_000;

/// A request, with its start.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) path: &'static str,
    pub(super) process: usize,
    pub(super) began_us: u64,
}

/// A proof, and the time at which it was made.
pub(super) type Made = (String, u64);

/// A request in flight.
#[derive(Debug, Clone, Copy)]
struct UnderWay {
    process: usize,
    since_us: u64,
    /// Whether the process admitted it locally.
    alone: bool,
    is_over: bool,
}

#[derive(Debug, Default)]
struct Seen {
    /// By address, the times at which the store or a lease admitted a request.
    admitted: BTreeMap<String, Vec<u64>>,
    /// By address, process and share, the times at which a process admitted one locally.
    alone: BTreeMap<(String, usize, u64), Vec<u64>>,
    in_flight_slots: Vec<UnderWay>,
    used: BTreeSet<String>,
    /// Processes that have met the servers, and the times at which this changed the clock of one.
    met: BTreeSet<usize>,
    turned: Vec<(u64, usize)>,
    said: Said,
    violations: Vec<Violation>,
}

/// Compares the observations of clients with the promises.
#[derive(Debug)]
pub(super) struct Watch {
    service: Arc<Service>,
    /// Whether the leased limit has aligned windows.
    is_aligned: bool,
    seen: Mutex<Seen>,
}

/// Returns a span, from one of `times` to the last, with more events than `most` allows for its
/// length.
fn exceeds(times: &[u64], most: impl Fn(u64) -> u64) -> Option<String> {
    let now_us = *times.last()?;
    let over = times
        .iter()
        .enumerate()
        .find(|(i, from_us)| (times.len() - i) as u64 > most(now_us.saturating_sub(**from_us)));
    over.map(|(i, from_us)| format!("{} from {from_us} to {now_us} us", times.len() - i))
}

impl Watch {
    pub(super) fn new(service: &Arc<Service>, is_aligned: bool) -> Self {
        let watch = Self { service: Arc::clone(service), is_aligned, seen: Mutex::default() };
        for process in service.processes() {
            watch.meets(process.number);
        }
        watch
    }

    pub(super) fn verdict(&self) -> Result<(), Violation> {
        self.seen.lock().violations.first().cloned().map_or(Ok(()), Err)
    }

    pub(super) fn now_us(&self) -> u64 {
        self.service.world.true_us()
    }

    fn violated(&self, promise: Promise, seen: String) {
        self.seen.lock().violations.push(Violation { promise: promise.0, seen });
    }

    /// Records the outcome of a request.
    pub(super) fn answered(
        &self,
        asked: &Asked,
        address: &str,
        outcome: &Outcome,
        limit: Option<&LimitView>,
    ) {
        self.meets(asked.process);
        let took_us = self.now_us().saturating_sub(asked.began_us);
        // If the store has no room for a lease, the process sends a second request without one.
        let most_us = if asked.path == "/leased" { 2 * TIMEOUT_US } else { TIMEOUT_US };
        if took_us > most_us + 2_000 {
            self.violated(NO_LONG_WAIT, format!("{} took {took_us} us", asked.path));
        }
        if !outcome.is_passed() {
            return;
        }
        match (asked.path, limit) {
            ("/leased", Some(limit)) if limit.limit == LEASED.0 => self.leased(address),
            ("/leased", Some(limit)) => self.shared(address, asked.process, limit.limit),
            ("/closed" | "/proof", _) => self.counted(asked),
            _ => {}
        }
    }

    /// A process uses its own clock until it has met the servers, and theirs from then on.
    fn meets(&self, number: usize) {
        if self.seen.lock().met.contains(&number) {
            return;
        }
        let processes = self.service.processes();
        let process = processes.iter().find(|process| process.number == number);
        if process.is_none_or(|process| !process.has_met_the_servers()) {
            return;
        }
        let (world, now_us) = (&self.service.world, self.now_us());
        let servers_us = world.servers.lock()[*world.primary.lock()].now_us(now_us);
        let is_another = world.clock_us(number) != servers_us;
        let mut seen = self.seen.lock();
        seen.met.insert(number);
        if is_another {
            seen.turned.push((now_us, number));
        }
    }

    /// The store, or a lease, has admitted a request.
    fn leased(&self, address: &str) {
        let now_us = self.now_us();
        let mut seen = self.seen.lock();
        let times = seen.admitted.entry(address.to_owned()).or_default();
        times.push(now_us);
        let (limit, window_us) = (LEASED.0, LEASED.1 * 1000);
        let troubles = self.service.troubles.lock();
        let since = |from_us: u64| from_us.saturating_sub(SLACK_US);
        let events = |from_us: u64| troubles.losses_since(since(from_us)) * (limit + 1);
        let most = |span_us: u64| {
            let from_us = now_us - span_us;
            if self.is_aligned {
                // Just after its start, an answer may be about the previous window. So may a lease
                // just after a step of the clock.
                let since_us = from_us.saturating_sub(TIMEOUT_US);
                let steps = |us| troubles.steps_since(us);
                let windows = troubles.windows(window_us, since_us..now_us)
                    + (steps(since_us.saturating_sub(LEASE_US)) - steps(since_us));
                return windows * (limit + 1) + events(from_us);
            }
            let span_us = span_us + LEASE_US + SLACK_US;
            let steps = troubles.steps_since(since(from_us)) * (limit + 1);
            limit + (limit * span_us).div_ceil(window_us) + steps + events(from_us)
        };
        let over = exceeds(times, most);
        drop(troubles);
        if let Some(over) = over {
            seen.violations.push(Violation { promise: LEASES.0, seen: over });
        }
    }

    /// A process has admitted a request by its share of the limit alone.
    fn shared(&self, address: &str, process: usize, share: u64) {
        let now_us = self.now_us();
        if share > LEASED.0 / u64::from(PROCESSES) {
            self.violated(SHARES, format!("process {process} has {share} to itself"));
        }
        let mut seen = self.seen.lock();
        let Seen { alone, turned, .. } = &mut *seen;
        let times = alone.entry((address.to_owned(), process, share)).or_default();
        times.push(now_us);
        let troubles = self.service.troubles.lock();
        let window_us = LEASED.1 * 1000;
        let most = |span_us: u64| {
            if !self.is_aligned {
                return share + (share * (span_us + SLACK_US)).div_ceil(window_us);
            }
            // Windows follow the clock of the servers, or the process's own before it has read
            // theirs.
            let since_us = (now_us - span_us).saturating_sub(SLACK_US);
            let own = |(us, number): &&(u64, usize)| *us >= since_us && *number == process;
            let own = troubles.set_alone.iter().chain(&*turned).filter(own).count() as u64;
            // A step takes effect when it is read: every two seconds, or after an outage of the
            // servers.
            let away = troubles.away_us.iter();
            let away = away.filter(|(_, to)| to.is_none_or(|to_us| to_us + READ_US >= since_us));
            let first_us = away.map(|(from_us, _)| *from_us).min().unwrap_or(since_us);
            let steps = troubles.steps_since(first_us.min(since_us).saturating_sub(READ_US));
            share * (2 + span_us / window_us + steps + own)
        };
        let over = exceeds(times, most);
        drop(troubles);
        if let Some(over) = over {
            seen.violations.push(Violation { promise: SHARES.0, seen: over });
        }
    }

    /// A request was admitted that only the store can count.
    fn counted(&self, asked: &Asked) {
        let primary = *self.service.world.primary.lock();
        let is_away = {
            let servers = self.service.world.servers.lock();
            !servers[primary].is_alive || servers[primary].hangs
        };
        let changes = self.service.troubles.lock().changes_since(asked.began_us);
        if is_away && changes == 0 {
            self.violated(NOTHING_UNCOUNTED, format!("{} passed", asked.path));
        }
    }

    pub(super) fn came_back(&self, process: usize, passes: bool) {
        if !passes {
            self.violated(COMES_BACK, format!("process {process} refuses it"));
        }
    }

    /// Records a request that may be in flight from now on, and returns its number.
    pub(super) fn holds(
        &self,
        asked: &Asked,
        outcome: &Outcome,
        limit: Option<&LimitView>,
    ) -> Option<usize> {
        self.answered(asked, "", outcome, limit);
        if !outcome.is_passed() {
            return None;
        }
        let now_us = self.now_us();
        let alone = limit.is_none_or(|limit| limit.limit != SLOTS.0);
        let mut seen = self.seen.lock();
        let troubles = self.service.troubles.lock();
        let slot = UnderWay { process: asked.process, since_us: now_us, alone, is_over: false };
        seen.in_flight_slots.push(slot);
        let number = seen.in_flight_slots.len() - 1;
        let lives = |slot: &&UnderWay| !slot.is_over && !troubles.has_died(slot.process);
        let living: Vec<UnderWay> = seen.in_flight_slots.iter().filter(lives).copied().collect();
        let own = living.iter().filter(|slot| slot.process == asked.process).count() as u64;
        let mut found = None;
        if alone && own > (SLOTS.0 / u64::from(PROCESSES)).max(1) {
            found = Some((OWN_PLACES, format!("process {} has {own}", asked.process)));
        }
        let counted: Vec<&UnderWay> = living.iter().filter(|slot| !slot.alone).collect();
        let oldest_us = counted.iter().map(|slot| slot.since_us).min().unwrap_or(now_us);
        // A process that could not renew in time is counted again within half of the timeout.
        let since_us = oldest_us.saturating_sub(SLOTS.1 * 1000);
        let excuses = troubles.outages_since(since_us, MISSED_US, now_us)
            + troubles.losses_since(since_us)
            + troubles.steps_since(since_us).saturating_sub(1);
        let count = counted.len() as u64;
        if !alone && count > SLOTS.0 * (1 + excuses) {
            found = Some((MAX_SLOTS, format!("{count} since {oldest_us} us")));
        }
        drop(troubles);
        if let Some((promise, what)) = found {
            seen.violations.push(Violation { promise: promise.0, seen: what });
        }
        Some(number)
    }

    pub(super) fn ended(&self, number: Option<usize>) {
        if let Some(number) = number {
            self.seen.lock().in_flight_slots[number].is_over = true;
        }
    }

    /// Records how many slots could be taken at once in the end, and how many of them from the
    /// store.
    pub(super) fn had_places(&self, count: u64, counted: u64) {
        let is_excused = !self.service.troubles.lock().clock_steps.is_empty();
        if count < SLOTS.0 && !is_excused {
            self.violated(NO_PLACE_LOST, format!("only {count} are free"));
        }
        if counted > SLOTS.0 {
            self.violated(MAX_SLOTS, format!("{counted} in the end"));
        }
    }

    /// Records the outcome of a request with a proof.
    pub(super) fn proved(&self, process: usize, (proof, made_us): &Made, code: &str, is_new: bool) {
        let made_us = *made_us;
        if is_new && code == "dpop_replayed" {
            self.violated(NEW_PROOFS, format!("process {process} refuses it"));
        }
        let is_again = code == "passed" && !self.seen.lock().used.insert(proof.clone());
        let is_excused = || {
            let has_evicted = !self.service.troubles.lock().evicted_us.is_empty();
            // By a clock that is behind, it was made after the list began again.
            let clock_us = self.service.world.clock_us(process);
            let behind_us = (EPOCH_US + self.now_us()).saturating_sub(clock_us);
            let again = made_us..=made_us.saturating_add(behind_us);
            has_evicted || self.proofs_since_us().is_some_and(|us| again.contains(&us))
        };
        if is_again && !is_excused() {
            self.violated(PROOF_ONCE, format!("process {process} takes it at {}", self.now_us()));
        }
    }

    /// The time since which the servers remember used proofs.
    fn proofs_since_us(&self) -> Option<u64> {
        let (world, now_us) = (&self.service.world, self.now_us());
        let primary = *world.primary.lock();
        let mut servers = world.servers.lock();
        let command = ["GET", "keepstone:{dpop}"].map(|word| word.as_bytes().to_vec());
        let Ok(redis::Value::BulkString(text)) = servers[primary].run(now_us, &command) else {
            return None;
        };
        let began_us: u64 = String::from_utf8(text).ok()?.split(' ').next()?.parse().ok()?;
        Some(now_us.saturating_sub(servers[primary].now_us(now_us).saturating_sub(began_us)))
    }
}
