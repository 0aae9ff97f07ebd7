//! Questions on their way to a shared store, and those who wait for the answers.

use std::sync::Arc;

use super::error::{Reply, StoreError};
use super::status::Status;
use crate::quota::{CommandResult, StoreCommand};

/// A question on its way.
#[derive(Debug)]
pub struct QueuedCommand {
    /// What is asked.
    pub question: StoreCommand,
    /// Who waits for the answer.
    pub waiter: Responder,
}

/// What a store has said, for those who wait under tickets.
pub type Completions = Vec<(u64, Result<CommandResult, StoreError>)>;

/// Takes the answers to many questions: those of a batch come in one call, on the store's thread.
/// It must be quick.
pub trait CompletionSink: Send + Sync {
    /// Takes answers, each with the ticket of who waits for it.
    fn take(&self, arrivals: Completions);
}

/// Who waits for an answer. It is told in any case: one that is dropped has got none.
pub struct Responder {
    receiver: Receiver,
    /// Where the question is counted among those on their way.
    entered: Option<Arc<Status>>,
}

enum Receiver {
    /// Nobody, or nobody any more.
    Nobody,
    /// What is called.
    One(Reply<CommandResult>),
    /// Who waits under a ticket.
    Ticket(Arc<dyn CompletionSink>, u64),
}

impl Responder {
    /// `reply` will be called once.
    #[must_use]
    pub fn new(reply: Reply<CommandResult>) -> Self {
        Self { receiver: Receiver::One(reply), entered: None }
    }

    /// `recipient` will get the answer for `ticket` once.
    #[must_use]
    pub fn ticket(recipient: Arc<dyn CompletionSink>, ticket: u64) -> Self {
        Self { receiver: Receiver::Ticket(recipient, ticket), entered: None }
    }

    /// The question is counted in `status` until it has its answer.
    pub(crate) fn entered(mut self, status: &Arc<Status>) -> Self {
        self.entered = Some(Arc::clone(status));
        self
    }

    /// Whether somebody waits.
    pub(crate) fn waits(&self) -> bool {
        !matches!(self.receiver, Receiver::Nobody)
    }

    /// Tells who waits.
    pub fn complete(mut self, answer: Result<CommandResult, StoreError>) {
        self.settle(answer);
    }

    /// Tells who waits; nobody waits any more.
    pub(crate) fn settle(&mut self, answer: Result<CommandResult, StoreError>) {
        match self.leave() {
            Receiver::Nobody => {}
            Receiver::One(reply) => reply(answer),
            Receiver::Ticket(recipient, ticket) => recipient.take(vec![(ticket, answer)]),
        }
    }

    /// Tells all who wait, and whoever waits under tickets in one call: to wake a thread costs as
    /// much as many answers.
    pub(crate) fn complete_all(
        told: impl Iterator<Item = (Self, Result<CommandResult, StoreError>)>,
    ) {
        let mut batches: Vec<(Arc<dyn CompletionSink>, Completions)> = Vec::new();
        for (mut waiter, answer) in told {
            match waiter.leave() {
                Receiver::Nobody => {}
                Receiver::One(reply) => reply(answer),
                Receiver::Ticket(recipient, ticket) => {
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
    fn leave(&mut self) -> Receiver {
        if let Some(status) = self.entered.take() {
            status.leave();
        }
        std::mem::replace(&mut self.receiver, Receiver::Nobody)
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        self.settle(Err(StoreError::Unavailable));
    }
}

impl std::fmt::Debug for Responder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Responder")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::few::Few;
    use parking_lot::Mutex;

    #[derive(Default)]
    struct Calls(Mutex<Vec<Vec<(u64, bool)>>>);

    impl CompletionSink for Calls {
        fn take(&self, arrivals: Completions) {
            let told = arrivals.into_iter().map(|(ticket, answer)| (ticket, answer.is_ok()));
            self.0.lock().push(told.collect());
        }
    }

    fn answer() -> CommandResult {
        CommandResult { admitted: true, standings: Few::new() }
    }

    #[test]
    fn each_thread_gets_the_answers_of_a_batch_in_one_call_and_in_their_order() {
        let (one, two) = (Arc::new(Calls::default()), Arc::new(Calls::default()));
        let waiter = |calls: &Arc<Calls>, ticket| {
            let recipient: Arc<dyn CompletionSink> = Arc::<Calls>::clone(calls);
            Responder::ticket(recipient, ticket)
        };
        let told = [
            (waiter(&one, 3), Ok(answer())),
            (waiter(&two, 7), Err(StoreError::Timeout)),
            (waiter(&one, 1), Ok(answer())),
            (waiter(&one, 2), Err(StoreError::Refused)),
        ];
        Responder::complete_all(told.into_iter());
        assert_eq!(*one.0.lock(), [vec![(3, true), (1, true), (2, false)]]);
        assert_eq!(*two.0.lock(), [vec![(7, false)]]);
    }

    #[test]
    fn who_is_dropped_is_told_once_and_is_not_counted_any_more() {
        let (calls, status) = (Arc::new(Calls::default()), Arc::new(Status::default()));
        assert!(status.enter());
        let recipient: Arc<dyn CompletionSink> = Arc::<Calls>::clone(&calls);
        drop(Responder::ticket(recipient, 5).entered(&status));
        assert_eq!(*calls.0.lock(), [vec![(5, false)]]);
        assert_eq!(status.waiting(), 0);
    }
}
