//! Decides the next state of the keys from their current state, the observations of this process,
//! and the time.
//!
//! 1. A retired key has a remaining running time. Observed time reduces it, and at zero the key is
//!    deleted. A wall clock never deletes a key, however far ahead it is.
//! 2. A key signs when its time has come and this process has seen it for two minutes: by then the
//!    others have it too. It retires the keys before it, for all processes.
//! 3. There is always a next key. One process makes at most one in [`Rules::pace_s`], so two
//!    processes that disagree about the time cannot fill the state.
//! 4. If the start of a key is too far ahead, the clock that wrote it was wrong, or this one is.
//!    The start is brought forward only after [`Rules::patience_s`]: otherwise two processes that
//!    disagree would rotate keys all the time.

use crate::clock::Now;
use crate::keys::algorithm::Algorithm;
use crate::rotation::RotationError;
use crate::rotation::config::{RotationConfig, SPREAD};
use crate::rotation::sight::Sights;
use crate::rotation::state::{Entry, MAX_KEYS, State};

const DAY_S: u64 = 86_400;
/// The maximum number of retired keys at once. It leaves room for the other keys and for some that
/// `rotate()` makes.
pub(crate) const MAX_RETIRED: u64 = 90;

/// The options, in seconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules {
    every_s: u64,
    overlap_s: u64,
    /// The maximum time for which a token of a key may be valid.
    keep_s: u64,
    algorithm: Algorithm,
}

impl Rules {
    pub(crate) fn new(config: &RotationConfig, keep_s: u64) -> Self {
        let (every_s, overlap_s) = (config.every.as_secs(), config.overlap.as_secs());
        Self { every_s, overlap_s, keep_s, algorithm: config.algorithm }
    }

    pub(crate) const fn every_s(&self) -> u64 {
        self.every_s
    }

    pub(crate) const fn keep_s(&self) -> u64 {
        self.keep_s
    }

    /// The initial remaining time of a retired key: others may sign with it until their next poll.
    fn retired_s(&self) -> u64 {
        self.keep_s.saturating_add(SPREAD.as_secs())
    }

    /// The portion of that time that is subtracted at once: each subtraction is a write.
    fn share_s(&self) -> u64 {
        (self.keep_s / MAX_RETIRED).max(60)
    }

    fn pace_s(&self) -> u64 {
        self.overlap_s.max(self.keep_s / MAX_RETIRED)
    }

    fn patience_s(&self) -> u64 {
        self.pace_s().max(self.every_s.min(DAY_S))
    }
}

/// Returns the next state. With `force` the next key signs as soon as all processes have it.
pub(crate) fn plan(
    state: &State,
    rules: &Rules,
    sights: &Sights,
    now: Now,
    force: bool,
) -> Result<State, RotationError> {
    let now_s = now.unix_seconds();
    let mut planned = state.clone();
    planned.ensure_secret()?;
    if planned.keys.is_empty() {
        // A process that starts now reads both keys, and no token exists yet: there is nothing to
        // wait for.
        let published_s = now_s.saturating_sub(SPREAD.as_secs());
        let next_s = now_s.saturating_add(rules.every_s);
        for from_s in [now_s, next_s] {
            planned.keys.push(Entry::new(rules.algorithm, published_s, from_s, now)?);
        }
    }
    age(&mut planned.keys, rules, sights, now);
    draw_in(&mut planned, rules, sights, now);
    if force {
        bring_forward(&mut planned, rules, sights, now)?;
    }
    if let Some(due) = planned.due(now)
        && planned.keys.get(due).is_some_and(|entry| entry.is_settled(now))
    {
        retire(&mut planned, rules, due);
    }
    make_next(&mut planned, rules, now, |current| sights.is_new(current, rules.pace_s(), now))?;
    Ok(planned)
}

/// Subtracts the observed time from the retired keys, and deletes those with none left.
fn age(keys: &mut Vec<Entry>, rules: &Rules, sights: &Sights, now: Now) {
    keys.retain_mut(|entry| {
        let Some(left_s) = entry.left_s else { return true };
        let seen_s = sights.unchanged_s(entry, now);
        let mut rest_s = left_s.min(rules.retired_s());
        if seen_s >= rules.share_s().min(rest_s) {
            rest_s = rest_s.saturating_sub(seen_s);
        }
        entry.left_s = Some(rest_s);
        rest_s > 0
    });
    // All keys were retired by hand: the last one signs again.
    if !keys.iter().any(Entry::may_sign)
        && let Some(last) = keys.last_mut()
    {
        last.left_s = None;
    }
}

/// Limits the start of the next key to `every` from now.
fn draw_in(planned: &mut State, rules: &Rules, sights: &Sights, now: Now) {
    let latest_s = now.unix_seconds().saturating_add(rules.every_s);
    for entry in planned.keys.iter_mut().filter(|entry| entry.may_sign()) {
        if entry.from_s > latest_s.saturating_add(SPREAD.as_secs())
            && sights.unchanged_s(entry, now) >= rules.patience_s()
        {
            entry.from_s = latest_s;
        }
    }
}

/// Lets the next key sign as soon as all processes have it.
fn bring_forward(
    planned: &mut State,
    rules: &Rules,
    sights: &Sights,
    now: Now,
) -> Result<(), RotationError> {
    let now_s = now.unix_seconds();
    make_next(planned, rules, now, |_| false)?;
    let i = planned.next(now).ok_or(RotationError::Full)?;
    let next = planned.keys.get_mut(i).ok_or(RotationError::Full)?;
    // Also use the observations, since the published time may come from a wrong clock.
    let spread_s = SPREAD.as_secs();
    let mut known_s = next.published_s.min(now_s).saturating_add(spread_s);
    let is_new = sights.is_new(next, spread_s, now) || (sights.saw_come(next) && !next.is_spread());
    if known_s <= now_s && is_new {
        known_s = now_s.saturating_add(spread_s);
    }
    next.from_s = next.from_s.min(known_s.max(now_s));
    if known_s <= now_s {
        retire(planned, rules, i);
    }
    Ok(())
}

/// Retires the keys before the current one, so that no clock makes them sign again.
fn retire(planned: &mut State, rules: &Rules, current: usize) {
    for entry in planned.keys.iter_mut().take(current).filter(|entry| entry.may_sign()) {
        entry.left_s = Some(rules.retired_s());
    }
}

/// Makes a next key if there is none, unless `is_new` reports that it is too early.
fn make_next(
    planned: &mut State,
    rules: &Rules,
    now: Now,
    is_new: impl FnOnce(&Entry) -> bool,
) -> Result<(), RotationError> {
    let now_s = now.unix_seconds();
    let Some(current) = planned.current(now).and_then(|i| planned.keys.get(i)) else {
        return Ok(());
    };
    if planned.next(now).is_some() || planned.keys.len() >= MAX_KEYS || is_new(current) {
        return Ok(());
    }
    let due_s = current.from_s.min(now_s).saturating_add(rules.every_s);
    let from_s = due_s.max(now_s.saturating_add(rules.overlap_s));
    planned.keys.push(Entry::new(rules.algorithm, now_s, from_s, now)?);
    Ok(())
}
