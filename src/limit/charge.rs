//! What may be given back of a request's charge once its response is known, and the slots of
//! requests that wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::exceed::Count;
use super::in_flight::ConcurrencyPermit;
use super::limiter::{Limiter, PolicyCheck, record};
use crate::clock::Now;
use crate::few::Few;
use crate::quota::algorithm::{Rule, State};
use crate::quota::{Action, LimitCheck, StoreCommand, SubjectCommand, SubjectKey};
use crate::shared_store::SharedStore;
use crate::store::Key;

/// What one limit has charged a request that it may have to give back.
#[derive(Debug, Clone)]
pub struct Charge {
    count: Count,
    key: Key,
    /// Who was charged in a shared store, and by which limit; `None` where it was charged here.
    shared: Option<(SubjectKey, u32)>,
    rule: Rule,
    cost: u32,
    /// What the cheapest request costs.
    price: u64,
    /// The state that the charge has left behind.
    state: State,
}

impl Charge {
    /// The charge of a part that was admitted, where it may have to be given back.
    pub(super) fn of(part: &PolicyCheck<'_>) -> Option<Self> {
        let gives_back = part.policy.count != Count::All && part.fits && part.cost > 0;
        gives_back.then(|| Self {
            count: part.policy.count,
            key: part.key,
            shared: part
                .subject
                .filter(|_| part.share.is_none())
                .map(|subject| (subject, part.counter.tag)),
            rule: *part.rule(),
            cost: part.cost,
            price: part.policy.price(),
            state: State(part.record.state),
        })
    }
}

/// What a request was charged and holds, until its response is known. Where this is dropped its
/// slots are given back, and nothing else.
#[derive(Debug)]
pub struct Reservation {
    limiter: Arc<Limiter>,
    charges: Vec<Charge>,
    held: Vec<ConcurrencyPermit>,
}

impl Reservation {
    /// What `limiter` has charged, and what it holds.
    #[must_use]
    pub fn new(limiter: Arc<Limiter>, charges: Vec<Charge>, held: Vec<ConcurrencyPermit>) -> Self {
        Self { limiter, charges, held }
    }

    /// Whether the request has a slot that nobody else may have while it is under way.
    #[must_use]
    pub fn holds_places(&self) -> bool {
        !self.held.is_empty()
    }

    /// Gives back its slots, and what does not count, now that it is known whether the request has
    /// failed: at once what was charged here; for a shared store, what to ask it.
    #[must_use]
    pub fn settle(self, failed: bool, now: Now) -> Vec<(Arc<SharedStore>, StoreCommand)> {
        let clock = self.limiter.shared.as_ref().map_or(now, |shared| shared.status().clock(now));
        let mut questions: Vec<_> =
            self.held.into_iter().filter_map(ConcurrencyPermit::give_back).collect();
        for charge in self.charges.iter().filter(|charge| charge.count.gives_back(failed)) {
            let clock_us = charge.rule.clock(clock);
            let left = charge.rule.remainder(charge.state, charge.cost, clock_us);
            let Some((rule, cost)) = left else { continue };
            match (charge.shared, &self.limiter.shared) {
                (Some((subject, tag)), Some(store)) => {
                    let demands = Few::from([LimitCheck { tag, rule, cost }]);
                    let subjects = vec![SubjectCommand { subject, demands }];
                    let question = StoreCommand::about(Action::Refund, subjects);
                    questions.push((Arc::clone(store), question));
                }
                _ => self.limiter.give_back(charge, &rule, cost, clock),
            }
        }
        questions
    }
}

impl Limiter {
    fn give_back(&self, charge: &Charge, rest: &Rule, cost: u32, now: Now) {
        let mut locked = self.store.lock(std::iter::once(charge.key));
        // What has gone in the meantime has used nothing any more.
        let Some(old) = locked.get(&charge.key, now.mono_us) else { return };
        let (rule, clock_us) = (&charge.rule, charge.rule.clock(now));
        let state = rest.refund(State(old.state), cost, clock_us);
        let view = rule.view(state, clock_us);
        locked.update(&charge.key, record(&old, rule, state, &view, charge.price, now));
    }
}

/// The requests that one limit holds back in this guard.
#[derive(Debug)]
pub(super) struct DelayQueue {
    taken: Arc<AtomicU32>,
    most: u32,
}

impl DelayQueue {
    pub(super) fn new(most: u32) -> Self {
        Self { taken: Arc::default(), most }
    }

    /// Counts with those of a limiter that this one takes the place of: its requests still wait.
    pub(super) fn go_on_from(&mut self, other: &Self) {
        self.taken = Arc::clone(&other.taken);
    }

    /// A slot for a request that may have to wait; `None` where all are taken.
    pub(super) fn take(&self) -> Option<DelaySlot> {
        let slot = DelaySlot(Arc::clone(&self.taken));
        // Dropping the slot takes it back.
        (self.taken.fetch_add(1, Ordering::AcqRel) < self.most).then_some(slot)
    }
}

/// The slot of a request that waits, free again when this is dropped.
#[derive(Debug)]
pub struct DelaySlot(Arc<AtomicU32>);

impl Drop for DelaySlot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}
