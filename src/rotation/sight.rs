//! How long this process has seen each key as it is now.
//!
//! What it stops: a decision that can't be taken back, such as deleting a key, on the word of one
//! wall clock. A wall clock may be days off, and whoever reads it can't see that. Time that was
//! seen to pass is different: it is counted by the monotonic clock of a process that runs, and
//! counts only as far as the wall clock has moved too, since tokens live by that one.

use std::collections::HashMap;

use crate::clock::{Now, micros};
use crate::rotation::config::{GAP, SPREAD};
use crate::rotation::state::{Entry, State, Written};

const DAY_S: u64 = 86_400;

/// What this process has seen of the keys.
#[derive(Debug, Default)]
pub(crate) struct Sights {
    by_kid: HashMap<String, Sight>,
    last: Option<Look>,
}

#[derive(Debug)]
struct Sight {
    /// `None` where the key was there at the first look.
    appeared: Option<Now>,
    /// Since when the moments below are what they are.
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
    /// Remembers `state`, which was read just before `now`, as `written` says. Gives what the
    /// operator should know of the clocks.
    pub(crate) fn look(
        &mut self,
        state: &State,
        written: &Written,
        every_s: u64,
        now: Now,
    ) -> Option<String> {
        let is_first = self.last.is_none();
        // The others may have missed as much, and have signed with a key that is retired.
        let is_late = self
            .last
            .as_ref()
            .is_some_and(|last| now.mono_us.saturating_sub(last.now.mono_us) > micros(GAP));
        self.by_kid.retain(|kid, _| state.keys.iter().any(|entry| entry.kid() == kid));
        for entry in &state.keys {
            let known = self.by_kid.get(entry.kid());
            // After a clock that was set back it is counted anew.
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

    /// Nothing is stored: what others have read last may be older than what this process has.
    pub(crate) fn found_nothing(&mut self, now: Now) {
        for sight in self.by_kid.values_mut().filter(|sight| sight.left_s.is_some()) {
            sight.since = now;
        }
    }

    /// For how many seconds the moments of this key have been seen unchanged.
    pub(crate) fn unchanged_s(&self, entry: &Entry, now: Now) -> u64 {
        let sight = self.by_kid.get(entry.kid()).filter(|sight| sight.is_of(entry));
        sight.map_or(0, |sight| passed_s(sight.since, now))
    }

    /// Whether this process saw the key come.
    pub(crate) fn saw_come(&self, entry: &Entry) -> bool {
        self.by_kid.get(entry.kid()).is_some_and(|sight| sight.appeared.is_some())
    }

    /// Whether this process saw the key come, and that is less than `seconds` ago.
    pub(crate) fn is_new(&self, entry: &Entry, seconds: u64, now: Now) -> bool {
        match self.by_kid.get(entry.kid()) {
            Some(sight) => sight.appeared.is_some_and(|since| passed_s(since, now) < seconds),
            // The first look is still to come, or this very step makes the key.
            None => self.last.is_some(),
        }
    }
}

impl Sight {
    fn is_of(&self, entry: &Entry) -> bool {
        (self.from_s, self.left_s) == (entry.from_s, entry.left_s)
    }
}

/// Seconds that both clocks agree have passed.
fn passed_s(since: Now, now: Now) -> u64 {
    let wall_us = now.unix_us.saturating_sub(since.unix_us);
    now.mono_us.saturating_sub(since.mono_us).min(wall_us) / 1_000_000
}

/// The wall clock of this process, from one look to the next.
fn own_clock(last: Now, now: Now) -> Option<String> {
    let passed_s = now.mono_us.saturating_sub(last.mono_us) / 1_000_000;
    let by = distance(now.unix_seconds(), last.unix_seconds().saturating_add(passed_s), 0)?;
    Some(format!(
        "the clock of this process was set, or the machine slept: it is {by} where it was"
    ))
}

/// The clock of whoever wrote last, at the first look.
fn first_clock(at_s: u64, every_s: u64, now_s: u64) -> Option<String> {
    if at_s > now_s.saturating_add(SPREAD.as_secs()) {
        return Some(format!(
            "the signing keys were last changed at a moment that is {} the clock of this process: \
             this clock is behind, or another one was ahead",
            distance(at_s, now_s, 0)?
        ));
    }
    // Somebody would have changed keys meanwhile.
    (now_s > at_s.saturating_add(every_s + DAY_S)).then(|| {
        format!(
            "the signing keys were last changed {} ago, which is longer than `jwt.rotation.every`: \
             no process ran, or the clock of this one is ahead",
            words(now_s - at_s)
        )
    })
}

/// The clock of a process that has written between two looks.
fn other_clock(at_s: u64, last: Now, now: Now) -> Option<String> {
    let lapse_s = now.mono_us.saturating_sub(last.mono_us) / 1_000_000;
    let by = distance(at_s, now.unix_seconds(), lapse_s)?;
    Some(format!(
        "the clock of another process that shares the signing keys is {by} the clock of this one"
    ))
}

/// How far `moment` is from `now`, where that is more than clocks may differ. It may be `slack`
/// earlier.
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
