//! What is to become of the keys: a function of their state, of what this process has seen, and of
//! the time.
//!
//! 1. A retired key has some running time left; as that was seen to pass, less is left, and then
//!    the key is deleted. No wall clock deletes a key, however far ahead it is.
//! 2. A key signs when its moment has come and this process has seen it for two minutes, as the
//!    others have by then. It retires the ones before it, for all processes.
//! 3. There is a next key. One process makes at most one in [`Rules::pace_s`], so two that disagree
//!    about the time can't fill the state.
//! 4. A moment that lies too far ahead was written by a clock that was wrong, or this one is.
//!    It is drawn in only after a day: two that disagree would otherwise change keys all the time.

use crate::clock::Now;
use crate::keys::algorithm::Algorithm;
use crate::rotation::RotationError;
use crate::rotation::config::{RotationConfig, SPREAD};
use crate::rotation::sight::Sights;
use crate::rotation::state::{Entry, MAX_KEYS, State};

const DAY_S: u64 = 86_400;
/// So many retired keys may be there at once: then there is room for the others and for some that
/// `rotate()` makes.
pub(crate) const MAX_RETIRED: u64 = 90;

/// What the options say, in seconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules {
    every_s: u64,
    overlap_s: u64,
    /// How long a token of a key may be good.
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

    /// What a retired key has left: others may sign with it until they have looked.
    fn retired_s(&self) -> u64 {
        self.keep_s.saturating_add(SPREAD.as_secs())
    }

    /// How much of that is taken off at once: each time is a write.
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

/// What is to be now. With `force` the next key signs as soon as all processes know it.
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
        // Who starts now reads both, and nobody has a token yet: nothing has to be waited for.
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

/// Takes off the time that was seen to pass, and deletes what has none left.
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
    // Somebody has retired all of them by hand.
    if !keys.iter().any(Entry::may_sign)
        && let Some(last) = keys.last_mut()
    {
        last.left_s = None;
    }
}

/// The next key may sign in `every` at the latest.
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

/// Lets the next key sign as soon as all processes know it.
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
    // By what was seen where it was, since the moment may be of a clock that is wrong.
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

/// What signed before the key that signs now does not sign again, by whatever clock.
fn retire(planned: &mut State, rules: &Rules, current: usize) {
    for entry in planned.keys.iter_mut().take(current).filter(|entry| entry.may_sign()) {
        entry.left_s = Some(rules.retired_s());
    }
}

/// Makes a next key where there is none, unless `is_new` says that it is too early.
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
