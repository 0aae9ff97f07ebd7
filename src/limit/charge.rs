//! The parts of a request's charge that may be refunded after its response, and the slots of
//! delayed requests.

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

/// A charge of one limit that may have to be refunded.
#[derive(Debug, Clone)]
pub struct Charge {
    count: Count,
    key: Key,
    /// The subject and the tag of the limit in a shared store; `None` for a charge in this process.
    shared: Option<(SubjectKey, u32)>,
    rule: Rule,
    cost: u32,
    /// The cost of the cheapest request.
    price: u64,
    /// The state after the charge.
    state: State,
}

impl Charge {
    /// The charge of an admitted part, if it may have to be refunded.
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

/// The charges and permits of a request, until its response is known. Dropping this releases the
/// permits but refunds nothing.
#[derive(Debug)]
pub struct Reservation {
    limiter: Arc<Limiter>,
    charges: Vec<Charge>,
    held: Vec<ConcurrencyPermit>,
}

impl Reservation {
    /// The charges of `limiter`, and the permits.
    #[must_use]
    pub fn new(limiter: Arc<Limiter>, charges: Vec<Charge>, held: Vec<ConcurrencyPermit>) -> Self {
        Self { limiter, charges, held }
    }

    /// Whether the request holds a permit of a concurrency limit.
    #[must_use]
    pub fn has_slots(&self) -> bool {
        !self.held.is_empty()
    }

    /// Releases the permits, and refunds the charges that do not count for a request with this
    /// outcome. Charges of this process are refunded at once; the returned commands refund those of
    /// a shared store.
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
        // A record that is gone in the meantime has nothing to refund.
        let Some(old) = locked.get(&charge.key, now.mono_us) else { return };
        let (rule, clock_us) = (&charge.rule, charge.rule.clock(now));
        let state = rest.refund(State(old.state), cost, clock_us);
        let view = rule.view(state, clock_us);
        locked.update(&charge.key, record(&old, rule, state, &view, charge.price, now));
    }
}

/// The requests that one limit delays in this guard.
#[derive(Debug)]
pub(super) struct DelayQueue {
    taken: Arc<AtomicU32>,
    most: u32,
}

impl DelayQueue {
    pub(super) fn new(most: u32) -> Self {
        Self { taken: Arc::default(), most }
    }

    /// Shares the count of the queue that this one replaces: the requests delayed there still wait.
    pub(super) fn go_on_from(&mut self, other: &Self) {
        self.taken = Arc::clone(&other.taken);
    }

    /// A slot for a request that may have to wait; `None` if all are taken.
    pub(super) fn take(&self) -> Option<DelaySlot> {
        let slot = DelaySlot(Arc::clone(&self.taken));
        // Dropping the slot releases it.
        (self.taken.fetch_add(1, Ordering::AcqRel) < self.most).then_some(slot)
    }
}

/// The slot of a delayed request, released when this is dropped.
#[derive(Debug)]
pub struct DelaySlot(Arc<AtomicU32>);

impl Drop for DelaySlot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}
