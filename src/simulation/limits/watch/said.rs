//! The runtime overrides: listed clients, and the figures of a limit.

use std::collections::BTreeMap;

use super::super::super::redis::EPOCH_US;
use super::{SLACK_US, Watch};
use crate::simulation::faults::Troubles;
use crate::simulation::history::Promise;

pub(super) const REACHES: Promise = (
    "override.reaches",
    "what block, allow, unblock or set says is in force in every other process within 3 s",
);
pub(super) const HERE: Promise = (
    "override.here",
    "what block, allow, unblock or set says is in force where it is called at once",
);
pub(super) const KEPT: Promise = (
    "override.kept",
    "what block, allow, unblock or set has acknowledged is in force in the end, whatever is lost",
);

/// The time within which the other processes apply an override.
const BOUND_US: u64 = 3_000_000;

/// A call.
#[derive(Debug, Clone, Copy)]
struct Call {
    by: usize,
    what: u64,
    began_us: u64,
    /// The end of the call, and whether the store has it.
    ended: Option<(u64, bool)>,
}

/// All calls, by name.
#[derive(Debug, Default)]
pub(super) struct Said(BTreeMap<String, Vec<Call>>);

impl Said {
    /// Whether the process of the last call may have missed an earlier call of another process,
    /// since the servers lost that call, and may not have read the clock of that call either.
    fn follows_unread(&self, name: &str, last: &Call, troubles: &Troubles) -> bool {
        let ended_us = |call: &Call| call.ended.map_or(last.began_us, |(us, _)| us);
        let started_us = troubles.started_us(last.by);
        // A process that reaches the servers reads their clock once a second, and with each
        // override.
        let is_read = |(from_us, to_us, _): &(u64, u64, i64)| {
            let is_last = *to_us > last.began_us;
            let (from_us, to_us) = (*from_us.max(&started_us), *to_us.min(&last.began_us));
            let changed = troubles.changed_us.iter().any(|us| (from_us..=to_us).contains(us));
            from_us <= to_us && (is_last || from_us + BOUND_US < to_us && !changed)
        };
        let latest_us = |at_us: u64| move |(_, _, skew_us)| at_us.saturating_add_signed(skew_us);
        let mine_us =
            troubles.skews().filter(is_read).map(latest_us(EPOCH_US + last.began_us)).max();
        let is_ahead = |call: &Call| {
            let before = troubles.skews().filter(|(from_us, ..)| *from_us <= ended_us(call));
            before.map(latest_us(EPOCH_US + ended_us(call))).max() > mine_us
        };
        let unread = |call: &Call| {
            let is_between = |us: &u64| (call.began_us..=ended_us(last)).contains(us);
            call.by != last.by && troubles.lost_us.iter().any(is_between) && is_ahead(call)
        };
        self.0.get(name).is_some_and(|calls| calls.iter().any(unread))
    }

    /// The last call about a name, if it followed all others, with the time of its acknowledgement.
    /// `None` if a call was not acknowledged: it is unknown then whether the store has it, or will.
    fn last(&self, name: &str) -> Option<(Call, u64)> {
        let (last, others) = self.0.get(name)?.split_last()?;
        let (ended_us, true) = last.ended? else { return None };
        let precedes =
            |call: &Call| call.ended.is_some_and(|(us, stored)| stored && us < last.began_us);
        others.iter().all(precedes).then_some((*last, ended_us))
    }
}

impl Watch {
    /// Records that a process begins a call about a name, and returns the number of the call.
    pub(in super::super) fn says(&self, name: &str, by: usize, what: u64) -> usize {
        let call = Call { by, what, began_us: self.now_us(), ended: None };
        let mut seen = self.seen.lock();
        let calls = seen.said.0.entry(name.to_owned()).or_default();
        calls.push(call);
        calls.len() - 1
    }

    pub(in super::super) fn said(&self, name: &str, call: usize, stored: bool) {
        let now_us = self.now_us();
        let mut seen = self.seen.lock();
        if let Some(call) = seen.said.0.get_mut(name).and_then(|calls| calls.get_mut(call)) {
            call.ended = Some((now_us, stored));
        }
    }

    /// Checks the state of a name at a process right after its own call.
    pub(in super::super) fn holds_here(&self, name: &str, number: usize, seen: Option<u64>) {
        let last = self.seen.lock().said.last(name);
        let calls = self.seen.lock().said.0.get(name).map_or(0, Vec::len);
        let Some((call, _)) = last.filter(|_| calls == number + 1) else { return };
        let is_alive = !self.service.troubles.lock().has_died(call.by);
        if is_alive && seen.is_some_and(|seen| seen != call.what) {
            self.violated(HERE, format!("{name} at process {}: {seen:?}", call.by));
        }
    }

    /// Checks the state of a name at a process when a request began there.
    pub(in super::super) fn looked(&self, name: &str, process: usize, began_us: u64, seen: u64) {
        let Some((call, stored_us)) = self.seen.lock().said.last(name) else { return };
        let is_late = began_us > stored_us + BOUND_US + SLACK_US;
        let is_calm = {
            let troubles = self.service.troubles.lock();
            let since_us = stored_us.saturating_sub(BOUND_US);
            troubles.changes_since(since_us) == 0
                && troubles.died.iter().all(|(us, _)| *us < since_us)
        };
        if is_late && is_calm && self.service.is_well() && seen != call.what {
            let late_us = began_us - stored_us;
            let what = format!("{name} at process {process}: {seen} after {late_us} us");
            self.violated(REACHES, what);
        }
    }

    /// Checks the state of a name at a process in the end.
    pub(in super::super) fn settled(&self, name: &str, process: usize, seen: Option<u64>) {
        let Some((call, _)) = self.seen.lock().said.last(name) else { return };
        let is_lost = {
            let troubles = self.service.troubles.lock();
            // A server may evict any one of three keys that belong together.
            !troubles.evicted_us.is_empty()
                || troubles.has_died(call.by) && troubles.has_lost(call.began_us)
                // If the clock is behind by then, its version may be the earlier one.
                || self.seen.lock().said.follows_unread(name, &call, &troubles)
        };
        if !is_lost && seen.is_some_and(|seen| seen != call.what) {
            let what = format!("{name} at process {process}: {seen:?} instead of {}", call.what);
            self.violated(KEPT, what);
        }
    }
}
