//! Questions to a store, and its answers.

use std::sync::mpsc::channel;
use std::time::Duration;

use keepstone::quota::{CommandResult, StoreCommand};
use keepstone::shared_store::SharedStore;
use keepstone::store::StoreError;

/// Asks all of it at once; the answers are in the order of the questions.
pub fn ask_all(
    store: &SharedStore,
    questions: &[StoreCommand],
) -> Vec<Result<CommandResult, StoreError>> {
    let (tell, told) = channel();
    let asks = questions.iter().enumerate().map(|(i, question)| {
        let tell = tell.clone();
        store.ask(question.clone(), Box::new(move |answer| drop(tell.send((i, answer)))))
    });
    store.submit(asks.collect());
    let answer = |_| told.recv_timeout(Duration::from_secs(20)).expect("each is answered");
    let mut answers: Vec<_> = questions.iter().map(answer).collect();
    answers.sort_by_key(|(i, _)| *i);
    answers.into_iter().map(|(_, answer)| answer).collect()
}
