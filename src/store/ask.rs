//! Commands on their way to a shared store, and the receivers of their results.

use std::sync::Arc;

use super::error::{Reply, StoreError};
use super::status::Status;
use crate::quota::{CommandResult, StoreCommand};

/// A command to send, and the receiver of its result.
#[derive(Debug)]
pub struct QueuedCommand {
    /// The command.
    pub question: StoreCommand,
    /// Receives the result.
    pub responder: Responder,
}

/// Results of store commands, each with the ticket of its request.
pub type Completions = Vec<(u64, Result<CommandResult, StoreError>)>;

/// Receives the results of many commands. The results of one batch arrive in one call, on the
/// store's thread, so the call must be quick.
pub trait CompletionSink: Send + Sync {
    /// Receives results, each with the ticket of its command.
    fn take(&self, completions: Completions);
}

/// The receiver of one result. It is completed exactly once: dropping it completes it with
/// [`StoreError::Unavailable`].
pub struct Responder {
    receiver: Receiver,
    /// The status that counts the command as in flight.
    entered: Option<Arc<Status>>,
}

enum Receiver {
    /// Completed already.
    Nobody,
    /// A callback.
    One(Reply<CommandResult>),
    /// A ticket of a completion sink.
    Ticket(Arc<dyn CompletionSink>, u64),
}

impl Responder {
    /// A responder that calls `reply` once.
    #[must_use]
    pub fn new(reply: Reply<CommandResult>) -> Self {
        Self { receiver: Receiver::One(reply), entered: None }
    }

    /// A responder that gives `sink` the result for `ticket` once.
    #[must_use]
    pub fn ticket(sink: Arc<dyn CompletionSink>, ticket: u64) -> Self {
        Self { receiver: Receiver::Ticket(sink, ticket), entered: None }
    }

    /// Counts the command in `status` until it is completed.
    pub(crate) fn entered(mut self, status: &Arc<Status>) -> Self {
        self.entered = Some(Arc::clone(status));
        self
    }

    /// Whether it is not completed yet.
    pub(crate) fn waits(&self) -> bool {
        !matches!(self.receiver, Receiver::Nobody)
    }

    /// Completes it with `answer`.
    pub fn complete(mut self, answer: Result<CommandResult, StoreError>) {
        self.settle(answer);
    }

    /// Completes it with `answer` in place; later calls do nothing.
    pub(crate) fn settle(&mut self, answer: Result<CommandResult, StoreError>) {
        match self.leave() {
            Receiver::Nobody => {}
            Receiver::One(reply) => reply(answer),
            Receiver::Ticket(sink, ticket) => sink.take(vec![(ticket, answer)]),
        }
    }

    /// Completes many responders, with one call for each completion sink: waking a thread costs as
    /// much as many results.
    pub(crate) fn complete_all(
        told: impl Iterator<Item = (Self, Result<CommandResult, StoreError>)>,
    ) {
        let mut batches: Vec<(Arc<dyn CompletionSink>, Completions)> = Vec::new();
        for (mut responder, answer) in told {
            match responder.leave() {
                Receiver::Nobody => {}
                Receiver::One(reply) => reply(answer),
                Receiver::Ticket(sink, ticket) => {
                    let known = batches.iter_mut().find(|(known, _)| Arc::ptr_eq(known, &sink));
                    match known {
                        Some((_, completions)) => completions.push((ticket, answer)),
                        None => batches.push((sink, vec![(ticket, answer)])),
                    }
                }
            }
        }
        for (sink, completions) in batches {
            sink.take(completions);
        }
    }

    /// Marks it as completed, and the command as no longer in flight.
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
        fn take(&self, completions: Completions) {
            let told = completions.into_iter().map(|(ticket, answer)| (ticket, answer.is_ok()));
            self.0.lock().push(told.collect());
        }
    }

    fn answer() -> CommandResult {
        CommandResult { admitted: true, statuses: Few::new() }
    }

    #[test]
    fn each_thread_gets_the_answers_of_a_batch_in_one_call_and_in_their_order() {
        let (one, two) = (Arc::new(Calls::default()), Arc::new(Calls::default()));
        let responder = |calls: &Arc<Calls>, ticket| {
            let sink: Arc<dyn CompletionSink> = Arc::<Calls>::clone(calls);
            Responder::ticket(sink, ticket)
        };
        let told = [
            (responder(&one, 3), Ok(answer())),
            (responder(&two, 7), Err(StoreError::Timeout)),
            (responder(&one, 1), Ok(answer())),
            (responder(&one, 2), Err(StoreError::Refused)),
        ];
        Responder::complete_all(told.into_iter());
        assert_eq!(*one.0.lock(), [vec![(3, true), (1, true), (2, false)]]);
        assert_eq!(*two.0.lock(), [vec![(7, false)]]);
    }

    #[test]
    fn who_is_dropped_is_told_once_and_is_not_counted_any_more() {
        let (calls, status) = (Arc::new(Calls::default()), Arc::new(Status::default()));
        assert!(status.enter());
        let sink: Arc<dyn CompletionSink> = Arc::<Calls>::clone(&calls);
        drop(Responder::ticket(sink, 5).entered(&status));
        assert_eq!(*calls.0.lock(), [vec![(5, false)]]);
        assert_eq!(status.waiting(), 0);
    }
}
