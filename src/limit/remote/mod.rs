//! A request under a shared store: the cached state, the store command, and the decision if the
//! store does not answer.
//!
//! The last state from the store is cached under the key itself. Its instants are converted to the
//! monotonic clock of this process, which is never set; only the numbers of aligned windows follow
//! the store's clock. Variants of the key, in the same shard, hold the store's refusal, the cost
//! that was debited ahead of time ([`lease`]), and the local count while the store is unavailable.

mod admin;
mod lease;

use std::sync::Arc;

pub use admin::{AdminOp, PendingAdminOp};
use smallvec::SmallVec;

use super::charge::DelaySlot;
use super::error::LimitError;
use super::exceed::OnStoreFailure;
use super::limiter::{LimitMask, Limiter, PolicyCheck, record};
use super::outcome::Outcome;
use super::subject::Subject;
use crate::clock::Now;
use crate::few::Few;
use crate::quota::algorithm::{Rule, State, UNSCALED};
use crate::quota::{Action, CommandResult, LimitCheck, StoreCommand, SubjectCommand, SubjectKey};
use crate::shared_store::{SharedSlot, SharedStore};
use crate::store::{Key, Locked, Record, SPENT, StoreError};

/// The maximum time for which a refusal of the store is cached, even if its own wait is longer. So
/// a reset by another process takes effect that soon, and a client over its limit costs one store
/// command in this time.
const REFUSAL_CACHE_US: u64 = 1_000_000;
/// The least time for which the state of a key is cached. A busy key far below its limit has its
/// whole quota again within microseconds; without its state it would count as new, and new keys get
/// no lease.
const STATE_CACHE_US: u64 = 1_000_000;
const REFUSED: u64 = 0x5245_4655_5345_4421;
const ALONE: u64 = 0x414c_4f4e_4521_2121;

/// The result of a check.
#[derive(Debug)]
pub enum Check<'l> {
    /// It is decided.
    Done(Outcome<'l>),
    /// The store has to decide; pass its answer to [`Limiter::finish`].
    Ask(Pending, StoreCommand),
}

/// A request that waits for the store.
#[derive(Debug)]
pub struct Pending(Few<PendingPolicyCheck>);

#[derive(Debug)]
struct PendingPolicyCheck {
    /// The policy's index in the limiter, and the tag of the counter in use.
    index: usize,
    tag: u32,
    key: Key,
    subject: SubjectKey,
    cost: u32,
    prefetch: u32,
    delay_slot: Option<DelaySlot>,
    held: Option<Box<SharedSlot>>,
}

impl Limiter {
    /// As [`Self::check`], for a limiter over any store. Over a shared store, a request that the
    /// cached state can't decide returns a store command.
    pub fn begin(
        &self,
        which: LimitMask,
        subject: &Subject<'_>,
        now: Now,
    ) -> Result<Check<'_>, LimitError> {
        let Some(shared) = &self.shared else {
            return self.check(which, subject, now).map(Check::Done);
        };
        let clock = shared.status().clock(now);
        let mut parts = self.parts(which, subject, clock)?;
        if parts.is_empty() {
            return Ok(Check::Done(self.report(parts, true)));
        }
        if let Some(allowed) = self.decide_from_cache(&mut parts, clock) {
            return Ok(Check::Done(self.report(parts, allowed)));
        }
        if !shared.status().is_available() {
            return self.without_store(parts, shared, clock, true).map(Check::Done);
        }
        let mut locked = self.store.lock(parts.iter().map(|part| part.key));
        let unspent = lease::plan(&mut locked, &mut parts, shared.status().instances(), clock);
        drop(locked);
        if !unspent.is_empty() {
            let ask = |question| shared.ask(question, Box::new(drop));
            shared.submit(unspent.into_iter().map(ask).collect());
        }
        ask(parts, shared)
    }

    /// Continues with the answer of the store, or without it.
    pub fn finish(
        &self,
        pending: Pending,
        answer: Result<CommandResult, StoreError>,
        now: Now,
    ) -> Result<Check<'_>, LimitError> {
        let Some(shared) = &self.shared else { return Err(LimitError::StoreAway) };
        let clock = shared.status().clock(now);
        let mut parts = pending.parts(self, clock).ok_or(LimitError::StoreAway)?;
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                // Contention must not become a bypass: a request that loses the competition for a
                // record is counted locally.
                let away = error != StoreError::Contended;
                return self.without_store(parts, shared, clock, away).map(Check::Done);
            }
        };
        if !answer.admitted && parts.iter().any(|part| part.prefetch > 0) {
            // The cost with the lease was too high. This request alone may fit.
            for part in &mut parts {
                part.prefetch = 0;
            }
            return ask(parts, shared);
        }
        for (part, standing) in in_asked_order(&mut parts).into_iter().zip(&answer.statuses) {
            part.now = shared.status().judged_at(standing.now_us, now);
            part.fits = standing.fits;
            if part.is_in_flight() {
                part.record.state = standing.state.0;
                continue;
            }
            part.scaled = (standing.factor != UNSCALED)
                .then(|| Box::new(part.counter.rule.scaled(standing.factor)));
            let rule = part.rule();
            let (clock_us, judged_us) = (part.clock_us(), part.now.mono_us);
            let state = rule.settle(standing.state, rule.clock(Now::at_unix_us(standing.now_us)));
            let state = rule.rebased(state, standing.now_us, clock_us);
            let blocked_us = standing.blocked_until_us.saturating_sub(standing.now_us);
            let blocked_until_us = if blocked_us > 0 { judged_us + blocked_us } else { 0 };
            let known = Record { blocked_until_us, ..Record::default() };
            let view = rule.view(state, clock_us);
            part.record = record(&known, rule, state, &view, part.policy.price(), part.now);
        }
        self.remember(&mut parts, answer.admitted);
        let admitted = answer.admitted || self.spend_lease(&mut parts, clock);
        Ok(Check::Done(self.report(parts, admitted)))
    }

    /// Admits a request that the store has refused, if another request has leased the last of the
    /// quota.
    fn spend_lease(&self, parts: &mut [PolicyCheck<'_>], now: Now) -> bool {
        let mut locked = self.store.lock(parts.iter().map(|part| part.key));
        let admitted = lease::cover(&locked, parts, now) && lease::spend(&mut locked, parts, now);
        if admitted {
            for part in parts {
                part.fits = true;
            }
        }
        admitted
    }

    /// Caches the answer of the store.
    fn remember(&self, parts: &mut [PolicyCheck<'_>], admitted: bool) {
        let mut locked = self.store.lock(parts.iter().map(|part| part.key));
        for part in parts {
            if part.is_in_flight() {
                if admitted && part.fits {
                    part.take(&self.store, &mut locked);
                } else if let Some(slot) = part.held.take() {
                    slot.was_refused(part.fits);
                }
                // A slot may be released at any time, so a refusal is not cached.
                continue;
            }
            let now_us = part.now.mono_us;
            let expires_us = part.record.expires_us.max(now_us + STATE_CACHE_US);
            // Without room the next request goes to the store again: nothing is lost.
            let _ = locked.put_own(&part.key, Record { expires_us, ..part.record }, now_us);
            if admitted {
                lease::keep(&mut locked, part);
            }
            if part.fits {
                continue;
            }
            // Otherwise processes that compete for the last of a quota would send a command for
            // each request.
            let pause_us = part.wait_us().max(lease::span_us(part.rule()) / 10);
            let until_us = now_us + pause_us.min(REFUSAL_CACHE_US);
            let refusal = Record {
                state: [u64::from(part.cost), 0],
                expires_us: until_us,
                blocked_until_us: until_us,
                used: SPENT,
            };
            let _ = locked.put_own(&part.key.variant(REFUSED), refusal, now_us);
        }
    }

    /// The decision that the cached state allows, `Some` with whether the request is admitted: the
    /// store has just refused a similar request, or a lease covers it.
    fn decide_from_cache(&self, parts: &mut Few<PolicyCheck<'_>>, now: Now) -> Option<bool> {
        let mut locked = self.store.lock(parts.iter().map(|part| part.key));
        let mut known: SmallVec<[bool; 8]> = SmallVec::with_capacity(parts.len());
        let mut refused = false;
        for part in parts.iter_mut() {
            if part.is_in_flight() {
                part.fits = true;
                known.push(false);
                continue;
            }
            let believes = !part.policy.exact && part.cost > 0;
            let refusal = believes.then(|| locked.get(&part.key.variant(REFUSED), now.mono_us));
            part.fits = !refusal.flatten().is_some_and(|refusal| {
                let [cost, _] = refusal.state;
                u64::from(part.cost) >= cost
            });
            refused |= !part.fits;
            let record = locked.get(&part.key, now.mono_us);
            known.push(record.is_some() || !part.fits);
            part.record = record.unwrap_or_default();
        }
        if refused && !lease::cover(&locked, parts, now) {
            drop(locked);
            // Of the other parts, only those with cached state are reported.
            let mut known = known.into_iter();
            parts.retain(|_| known.next().unwrap_or(false));
            return Some(false);
        }
        if !lease::spend(&mut locked, parts, now) {
            return None;
        }
        drop(locked);
        for part in &mut *parts {
            part.fits = true;
        }
        Some(true)
    }

    /// Judges a request without the store: by each policy's `onStoreFailure`, or locally.
    fn without_store<'l>(
        &'l self,
        mut parts: Few<PolicyCheck<'l>>,
        shared: &Arc<SharedStore>,
        now: Now,
        away: bool,
    ) -> Result<Outcome<'l>, LimitError> {
        let closed = |part: &&PolicyCheck<'_>| part.policy.on_failure == OnStoreFailure::Closed;
        if let Some(part) = parts.iter().find(closed) {
            return Err(LimitError::Closed { policy: part.index });
        }
        parts.retain(|part| !away || part.policy.on_failure == OnStoreFailure::Local);
        let processes = shared.status().parts();
        let locked = self.store.lock(parts.iter().map(|part| part.key));
        for part in &mut parts {
            let share = part.counter.rule.share(processes);
            if part.is_in_flight() {
                part.now = now;
                part.share = Some(Box::new(share));
                // A slot taken now is registered in the store when it is available again.
                if part.held.is_none() {
                    part.held = slot_for(part, shared);
                }
                continue;
            }
            let alone = part.key.variant(ALONE ^ u64::from(processes));
            part.record = locked
                .get(&alone, now.mono_us)
                .unwrap_or_else(|| first_share(&locked, part, &share, now));
            part.key = alone;
            part.now = now;
            part.share = Some(Box::new(share));
        }
        drop(locked);
        let records: Vec<Record> = parts.iter().map(|part| part.record).collect();
        Ok(self.judge_from(parts, now, &records))
    }

    /// The shared store, if the limiter has one.
    #[must_use]
    pub fn shared_store(&self) -> Option<&Arc<SharedStore>> {
        self.shared.as_ref()
    }
}

/// The initial local record when the store becomes unavailable: the same part of the share is used
/// as was of the whole limit.
fn first_share(locked: &Locked<'_>, part: &PolicyCheck<'_>, share: &Rule, now: Now) -> Record {
    let Some(whole) = locked.get(&part.key, now.mono_us) else { return Record::default() };
    let rule = &part.counter.rule;
    let used = rule.capacity() - rule.view(State(whole.state), rule.clock(now)).remaining;
    let used = (used * share.capacity()).div_ceil(rule.capacity().max(1));
    let used = u32::try_from(used).unwrap_or(u32::MAX);
    let state = share.charge(State::default(), used, share.clock(now));
    Record { state: state.0, blocked_until_us: whole.blocked_until_us, ..Record::default() }
}

impl Pending {
    fn new(parts: Few<PolicyCheck<'_>>) -> Self {
        let pending = |part: PolicyCheck<'_>| {
            Some(PendingPolicyCheck {
                index: part.index,
                tag: part.counter.tag,
                key: part.key,
                subject: part.subject?,
                cost: part.cost,
                prefetch: part.prefetch,
                delay_slot: part.delay_slot,
                held: part.held,
            })
        };
        Self(parts.into_iter().filter_map(pending).collect())
    }

    /// The parts again; `None` if the command came from another limiter.
    fn parts(self, limiter: &Limiter, now: Now) -> Option<Few<PolicyCheck<'_>>> {
        self.0
            .into_iter()
            .map(|pending| {
                let policy = limiter.policies.get(pending.index)?;
                let counter = policy.counters().find(|counter| counter.tag == pending.tag)?;
                Some(PolicyCheck {
                    index: pending.index,
                    policy,
                    counter,
                    key: pending.key,
                    subject: Some(pending.subject),
                    cost: pending.cost,
                    now,
                    record: Record::default(),
                    share: None,
                    scaled: None,
                    delay_slot: pending.delay_slot,
                    prefetch: pending.prefetch,
                    leased: 0,
                    fits: false,
                    taken: None,
                    held: pending.held,
                })
            })
            .collect()
    }
}

/// The command that charges all parts, or none.
fn ask<'l>(
    mut parts: Few<PolicyCheck<'_>>,
    shared: &Arc<SharedStore>,
) -> Result<Check<'l>, LimitError> {
    let mut slots = Vec::new();
    for part in parts.iter_mut().filter(|part| part.is_in_flight()) {
        if part.held.is_none() {
            part.held = slot_for(part, shared);
        }
        slots.push(part.held.as_ref().ok_or(LimitError::StoreAway)?.ask());
    }
    let question = StoreCommand { action: Action::Consume, subjects: subjects_of(&parts), slots };
    Ok(Check::Ask(Pending::new(parts), question))
}

/// A new slot, not requested yet.
fn slot_for(part: &PolicyCheck<'_>, shared: &Arc<SharedStore>) -> Option<Box<SharedSlot>> {
    let rule = &part.counter.rule;
    let (most, span_ms) = rule.slots();
    shared.slot(part.subject?, most, span_ms, rule.is_watching()).map(Box::new)
}

/// The subjects of a request, each once, with its checks of limits in time. The order is that of
/// [`in_asked_order`].
fn subjects_of(parts: &[PolicyCheck<'_>]) -> Vec<SubjectCommand> {
    let mut subjects: Vec<SubjectCommand> = Vec::with_capacity(parts.len());
    for part in parts.iter().filter(|part| !part.is_in_flight()) {
        let Some(subject) = part.subject else { continue };
        let cost = part.cost.saturating_mul(part.prefetch + 1);
        let demand = LimitCheck { tag: part.counter.tag, rule: part.asked_rule(), cost };
        match subjects.iter_mut().find(|known| known.subject == subject) {
            Some(known) => known.demands.push(demand),
            None => subjects.push(SubjectCommand { subject, demands: Few::from([demand]) }),
        }
    }
    subjects
}

/// The parts in the order of the checks in [`subjects_of`], followed by those of limits of requests
/// in flight, in their own order.
fn in_asked_order<'p, 'l>(parts: &'p mut [PolicyCheck<'l>]) -> Few<&'p mut PolicyCheck<'l>> {
    if parts.len() < 2 {
        return parts.iter_mut().collect();
    }
    let mut order: Vec<SubjectKey> = Vec::with_capacity(parts.len());
    for part in parts.iter().filter(|part| !part.is_in_flight()) {
        if let Some(subject) = part.subject.filter(|subject| !order.contains(subject)) {
            order.push(subject);
        }
    }
    let place =
        |part: &PolicyCheck<'_>| order.iter().position(|subject| Some(*subject) == part.subject);
    let mut sorted: Few<&mut PolicyCheck<'l>> = parts.iter_mut().collect();
    // Stable: the parts of one subject stay in their order.
    sorted.sort_by_key(|part| (part.is_in_flight(), place(part)));
    sorted
}
