//! The time for which this process has observed each key unchanged.
//!
//! It prevents irrevocable decisions, such as deleting a key, that depend on one wall clock. A wall
//! clock may be days off, and its reader cannot detect it. Observed time is different: the
//! monotonic clock of a running process counts it. It counts only as far as the wall clock has
//! advanced too, since tokens expire by the wall clock.

use std::collections::HashMap;

use crate::clock::{Now, micros};
use crate::rotation::config::{GAP, SPREAD};
use crate::rotation::state::{Entry, State, Written};

const DAY_S: u64 = 86_400;

/// The observations of this process.
#[derive(Debug, Default)]
pub(crate) struct Sights {
    by_kid: HashMap<String, Sight>,
    last: Option<Look>,
}

#[derive(Debug)]
struct Sight {
    /// `None` if the key was there at the first poll.
    appeared: Option<Now>,
    /// The start of the time for which the two fields below are unchanged.
    since: Now,
    from_s: u64,
    left_s: Option<u64>,
}

#[derive(Debug)]
struct Look {
    now: Now,
    write: Option<String>,
}

impl Sights {
    /// Records `state`, which was read just before `now`. `written` is the history of its writes.
    /// Returns a warning about clocks for the operator.
    pub(crate) fn look(
        &mut self,
        state: &State,
        written: &Written,
        every_s: u64,
        now: Now,
    ) -> Option<String> {
        let is_first = self.last.is_none();
        // The others may have missed polls too, and may have signed with a retired key.
        let is_late = self
            .last
            .as_ref()
            .is_some_and(|last| now.mono_us.saturating_sub(last.now.mono_us) > micros(GAP));
        self.by_kid.retain(|kid, _| state.keys.iter().any(|entry| entry.kid() == kid));
        for entry in &state.keys {
            let known = self.by_kid.get(entry.kid());
            // If the wall clock was set back, count anew.
            let is_counted =
                |sight: &Sight| sight.is_of(entry) && sight.since.unix_us <= now.unix_us;
            let is_late = is_late && entry.left_s.is_some();
            if !is_late && known.is_some_and(is_counted) {
                continue;
            }
            let appeared = known.map_or((!is_first).then_some(now), |sight: &Sight| sight.appeared);
            let sight = Sight { appeared, since: now, from_s: entry.from_s, left_s: entry.left_s };
            self.by_kid.insert(entry.kid().to_owned(), sight);
        }
        let write = written.ids.last().cloned();
        let last = self.last.replace(Look { now, write: write.clone() });
        let own = last.as_ref().and_then(|last| own_clock(last.now, now));
        own.or_else(|| {
            let at_s = written.at_s?;
            match last {
                None => first_clock(at_s, every_s, now.unix_seconds()),
                Some(last) if last.write != write => other_clock(at_s, last.now, now),
                Some(_) => None,
            }
        })
    }

    /// Records that nothing is stored: the last text that the others read may be older than the
    /// state of this process.
    pub(crate) fn found_nothing(&mut self, now: Now) {
        for sight in self.by_kid.values_mut().filter(|sight| sight.left_s.is_some()) {
            sight.since = now;
        }
    }

    /// The number of seconds for which this key has been observed unchanged.
    pub(crate) fn unchanged_s(&self, entry: &Entry, now: Now) -> u64 {
        let sight = self.by_kid.get(entry.kid()).filter(|sight| sight.is_of(entry));
        sight.map_or(0, |sight| passed_s(sight.since, now))
    }

    /// Whether this process saw the key appear.
    pub(crate) fn saw_come(&self, entry: &Entry) -> bool {
        self.by_kid.get(entry.kid()).is_some_and(|sight| sight.appeared.is_some())
    }

    /// Whether this process saw the key appear less than `seconds` ago.
    pub(crate) fn is_new(&self, entry: &Entry, seconds: u64, now: Now) -> bool {
        match self.by_kid.get(entry.kid()) {
            Some(sight) => sight.appeared.is_some_and(|since| passed_s(since, now) < seconds),
            // No poll yet, or the current step makes the key.
            None => self.last.is_some(),
        }
    }
}

impl Sight {
    fn is_of(&self, entry: &Entry) -> bool {
        (self.from_s, self.left_s) == (entry.from_s, entry.left_s)
    }
}

/// The seconds that have passed by both clocks.
fn passed_s(since: Now, now: Now) -> u64 {
    let wall_us = now.unix_us.saturating_sub(since.unix_us);
    now.mono_us.saturating_sub(since.mono_us).min(wall_us) / 1_000_000
}

/// Compares the wall clock of this process between two polls.
fn own_clock(last: Now, now: Now) -> Option<String> {
    let passed_s = now.mono_us.saturating_sub(last.mono_us) / 1_000_000;
    let by = distance(now.unix_seconds(), last.unix_seconds().saturating_add(passed_s), 0)?;
    Some(format!(
        "the clock of this process was set, or the machine slept: it is {by} where it was"
    ))
}

/// Checks the clock of the last writer at the first poll.
fn first_clock(at_s: u64, every_s: u64, now_s: u64) -> Option<String> {
    if at_s > now_s.saturating_add(SPREAD.as_secs()) {
        return Some(format!(
            "the signing keys were last changed at a moment that is {} the clock of this process: \
             this clock is behind, or another one was ahead",
            distance(at_s, now_s, 0)?
        ));
    }
    // A running process would have rotated keys in the meantime.
    (now_s > at_s.saturating_add(every_s + DAY_S)).then(|| {
        format!(
            "the signing keys were last changed {} ago, which is longer than `jwt.rotation.every`: \
             no process ran, or the clock of this one is ahead",
            words(now_s - at_s)
        )
    })
}

/// Checks the clock of a process that has written between two polls.
fn other_clock(at_s: u64, last: Now, now: Now) -> Option<String> {
    let lapse_s = now.mono_us.saturating_sub(last.mono_us) / 1_000_000;
    let by = distance(at_s, now.unix_seconds(), lapse_s)?;
    Some(format!(
        "the clock of another process that shares the signing keys is {by} the clock of this one"
    ))
}

/// The difference between `moment_s` and `now_s` if it exceeds the allowed skew. `moment_s` may be
/// `slack_s` earlier.
fn distance(moment_s: u64, now_s: u64, slack_s: u64) -> Option<String> {
    let spread_s = SPREAD.as_secs();
    if moment_s > now_s.saturating_add(spread_s) {
        return Some(format!("{} ahead of", words(moment_s - now_s)));
    }
    let least_s = now_s.saturating_sub(slack_s).saturating_sub(spread_s);
    (moment_s < least_s).then(|| format!("{} behind", words(now_s - moment_s)))
}

fn words(seconds: u64) -> String {
    let (count, unit) = match seconds {
        172_800.. => (seconds / DAY_S, "days"),
        7_200.. => (seconds / 3_600, "hours"),
        _ => (seconds / 60, "minutes"),
    };
    format!("{count} {unit}")
}
