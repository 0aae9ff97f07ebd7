//! What a shared store is asked about, and what it answers: the same for every kind of store.

use std::sync::Arc;

use super::error::{Reply, StoreError};
use super::status::Status;
use crate::few::Few;
use crate::limit::algorithm::{Rule, State};

/// Who is counted: 128 bits of a SHA-256, the same in all processes. Addresses and names stay out of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SubjectKey(pub [u8; 16]);

/// One limit's part in a question about a subject.
#[derive(Debug, Clone, Copy)]
pub struct Demand {
    /// Which limit, within the subject's record: a multiple of four. The next number is its block, the one behind it a signal.
    pub tag: u32,
    /// How it counts.
    pub rule: Rule,
    /// What the request costs.
    pub cost: u32,
}

/// A subject with the limits that count it. Its record is one value in the store.
#[derive(Debug, Clone)]
pub struct SubjectAsk {
    /// Who.
    pub subject: SubjectKey,
    /// By which limits.
    pub demands: Few<Demand>,
}

impl SubjectAsk {
    /// What is to be given back where this was charged and the request was refused elsewhere, by
    /// how it stood then. A limit that only watched has counted nothing, and a window that is about
    /// to end gets nothing back: the next one might. Where nobody knows how it stood, no window
    /// does.
    pub(super) fn refund(&self, standings: Option<&[Standing]>) -> Option<Self> {
        let back = |(i, demand): (usize, &Demand)| {
            let (rule, cost) = match standings {
                Some(standings) => {
                    let stood = standings.get(i).filter(|stood| stood.fits)?;
                    demand.rule.remainder(stood.state, demand.cost, stood.now_us)?
                }
                None if demand.rule.algorithm().has_burst() => (demand.rule, demand.cost),
                None => return None,
            };
            Some(Demand { tag: demand.tag, rule, cost })
        };
        let demands: Few<Demand> = self.demands.iter().enumerate().filter_map(back).collect();
        (!demands.is_empty()).then_some(Self { subject: self.subject, demands })
    }
}

/// What names one place, by which it is given back: no two have the same, in whichever processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PlaceId(pub [u8; 16]);

/// A place among the requests that are under way at once: see `limit/in_flight.rs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlaceAsk {
    /// Among whose requests, under which limit.
    pub key: SubjectKey,
    /// The place itself.
    pub id: PlaceId,
    /// How many there are.
    pub most: u32,
    /// For how many milliseconds it is held where nobody renews it.
    pub span_ms: u32,
    /// Whether the limit only watches.
    pub watching: bool,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Charge everything if all of it fits, or nothing.
    Consume,
    /// Say how it stands, charge nothing.
    Look,
    /// Charge whether it fits or not, at most everything.
    Charge,
    /// Use a proof up that is so many microseconds old: the first subject is the proof, the second
    /// its key.
    Prove {
        /// How old it is.
        age_us: u64,
    },
    /// Give back.
    Refund,
    /// Refuse for so many microseconds.
    Block(u64),
    /// Forget what was used and the block.
    Reset,
    /// Take so many thousandths of the limits for so many microseconds.
    Signal(u16, u64),
    /// Give places back.
    Release,
    /// Hold places for another span, and take again those that were lost. All of them have one key.
    Renew,
}

/// A question. [`Action::Charge`] and those below it are about each subject by itself.
#[derive(Debug, Clone)]
pub struct Question {
    /// What is to be done.
    pub action: Action,
    /// About whom; at least one, or one place.
    pub subjects: Vec<SubjectAsk>,
    /// About which places.
    pub places: Vec<PlaceAsk>,
}

impl Question {
    /// A question about no places.
    #[must_use]
    pub const fn about(action: Action, subjects: Vec<SubjectAsk>) -> Self {
        Self { action, subjects, places: Vec::new() }
    }

    /// A question about places alone.
    #[must_use]
    pub const fn of_places(action: Action, places: Vec<PlaceAsk>) -> Self {
        Self { action, subjects: Vec::new(), places }
    }

    /// Adds what another one asks of the same subjects; what both ask is asked once.
    pub fn add(&mut self, other: Self) {
        for asked in other.subjects {
            let Some(known) = self.subjects.iter_mut().find(|known| known.subject == asked.subject)
            else {
                self.subjects.push(asked);
                continue;
            };
            for demand in asked.demands {
                if !known.demands.iter().any(|known| known.tag == demand.tag) {
                    known.demands.push(demand);
                }
            }
        }
    }
}

/// How one limit stands, by the store's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Whether it lets the request through.
    pub fits: bool,
    /// The state: with the cost where all of the request was admitted and charged, else as it was.
    pub state: State,
    /// How many thousandths of the limit a signal leaves: 1000 where there is none.
    pub factor: u16,
    /// Until when it is blocked by hand, or 0.
    pub blocked_until_us: u64,
    /// The store's clock as it judged.
    pub now_us: u64,
}

/// What a store says: one standing for each demand, in their order, and behind them one for each place that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Whether all fit, and were charged where that was asked.
    pub admitted: bool,
    /// How each limit stands.
    pub standings: Few<Standing>,
}

/// A question on its way.
#[derive(Debug)]
pub struct Ask {
    /// What is asked.
    pub question: Question,
    /// Who waits for the answer.
    pub waiter: Waiter,
}

/// What a store has said, for those who wait under tickets.
pub type Arrivals = Vec<(u64, Result<Answer, StoreError>)>;

/// Takes the answers to many questions: those of a batch come in one call, on the store's thread. It must be quick.
pub trait Recipient: Send + Sync {
    /// Takes answers, each with the ticket of who waits for it.
    fn take(&self, arrivals: Arrivals);
}

/// Who waits for an answer. It is told in any case: one that is dropped has got none.
pub struct Waiter {
    whom: Whom,
    /// Where the question is counted among those on their way.
    entered: Option<Arc<Status>>,
}

enum Whom {
    /// Nobody, or nobody any more.
    Nobody,
    /// What is called.
    One(Reply<Answer>),
    /// Who waits under a ticket.
    Ticket(Arc<dyn Recipient>, u64),
}

impl Waiter {
    /// `reply` will be called once.
    #[must_use]
    pub fn new(reply: Reply<Answer>) -> Self {
        Self { whom: Whom::One(reply), entered: None }
    }

    /// `recipient` will get the answer for `ticket` once.
    #[must_use]
    pub fn ticket(recipient: Arc<dyn Recipient>, ticket: u64) -> Self {
        Self { whom: Whom::Ticket(recipient, ticket), entered: None }
    }

    /// The question is counted in `status` until it has its answer.
    pub(super) fn entered(mut self, status: &Arc<Status>) -> Self {
        self.entered = Some(Arc::clone(status));
        self
    }

    /// Whether somebody waits.
    pub(super) fn waits(&self) -> bool {
        !matches!(self.whom, Whom::Nobody)
    }

    /// Tells who waits.
    pub fn tell(mut self, answer: Result<Answer, StoreError>) {
        self.settle(answer);
    }

    /// Tells who waits; nobody waits any more.
    pub(super) fn settle(&mut self, answer: Result<Answer, StoreError>) {
        match self.leave() {
            Whom::Nobody => {}
            Whom::One(reply) => reply(answer),
            Whom::Ticket(recipient, ticket) => recipient.take(vec![(ticket, answer)]),
        }
    }

    /// Tells all who wait, and whoever waits under tickets in one call: to wake a thread costs as much as many answers.
    pub(super) fn tell_all(told: impl Iterator<Item = (Self, Result<Answer, StoreError>)>) {
        let mut batches: Vec<(Arc<dyn Recipient>, Arrivals)> = Vec::new();
        for (mut waiter, answer) in told {
            match waiter.leave() {
                Whom::Nobody => {}
                Whom::One(reply) => reply(answer),
                Whom::Ticket(recipient, ticket) => {
                    let known =
                        batches.iter_mut().find(|(known, _)| Arc::ptr_eq(known, &recipient));
                    match known {
                        Some((_, arrivals)) => arrivals.push((ticket, answer)),
                        None => batches.push((recipient, vec![(ticket, answer)])),
                    }
                }
            }
        }
        for (recipient, arrivals) in batches {
            recipient.take(arrivals);
        }
    }

    /// Nobody waits any more, and the question is not on its way.
    fn leave(&mut self) -> Whom {
        if let Some(status) = self.entered.take() {
            status.leave();
        }
        std::mem::replace(&mut self.whom, Whom::Nobody)
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.settle(Err(StoreError::Unavailable));
    }
}

impl std::fmt::Debug for Waiter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Waiter")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parking_lot::Mutex;

    #[derive(Default)]
    struct Calls(Mutex<Vec<Vec<(u64, bool)>>>);

    impl Recipient for Calls {
        fn take(&self, arrivals: Arrivals) {
            let told = arrivals.into_iter().map(|(ticket, answer)| (ticket, answer.is_ok()));
            self.0.lock().push(told.collect());
        }
    }

    fn answer() -> Answer {
        Answer { admitted: true, standings: Few::new() }
    }

    #[test]
    fn each_thread_gets_the_answers_of_a_batch_in_one_call_and_in_their_order() {
        let (one, two) = (Arc::new(Calls::default()), Arc::new(Calls::default()));
        let waiter = |calls: &Arc<Calls>, ticket| {
            let recipient: Arc<dyn Recipient> = Arc::<Calls>::clone(calls);
            Waiter::ticket(recipient, ticket)
        };
        let told = [
            (waiter(&one, 3), Ok(answer())),
            (waiter(&two, 7), Err(StoreError::Timeout)),
            (waiter(&one, 1), Ok(answer())),
            (waiter(&one, 2), Err(StoreError::Refused)),
        ];
        Waiter::tell_all(told.into_iter());
        assert_eq!(*one.0.lock(), [vec![(3, true), (1, true), (2, false)]]);
        assert_eq!(*two.0.lock(), [vec![(7, false)]]);
    }

    #[test]
    fn who_is_dropped_is_told_once_and_is_not_counted_any_more() {
        let (calls, status) = (Arc::new(Calls::default()), Arc::new(Status::default()));
        assert!(status.enter());
        let recipient: Arc<dyn Recipient> = Arc::<Calls>::clone(&calls);
        drop(Waiter::ticket(recipient, 5).entered(&status));
        assert_eq!(*calls.0.lock(), [vec![(5, false)]]);
        assert_eq!(status.waiting(), 0);
    }
}
