//! Decides which commands run together.
//!
//! 1. Two tasks of one process must not write one record at once, since one of them would have to
//!    start again. So a command waits while its record is in use, and then runs with all others
//!    that wait for that record.
//! 2. Commands for different servers run in separate batches, so that a slow server delays no
//!    other.

use std::collections::{HashMap, HashSet};

use tokio::time::Instant;

use crate::quota::SubjectKey;
use crate::store::ask::QueuedCommand;

/// A command and its deadline.
#[derive(Debug)]
pub(super) struct Queued {
    pub(super) ask: QueuedCommand,
    pub(super) by: Instant,
}

impl Queued {
    fn subjects(&self) -> impl Iterator<Item = SubjectKey> + '_ {
        self.ask.question.subjects.iter().map(|ask| ask.subject)
    }
}

/// A set of servers, by their indexes.
pub(super) type Servers = u64;

/// The records in use and the commands that wait for them.
#[derive(Debug, Default)]
pub(super) struct RecordQueue {
    /// The subjects whose records are in use.
    busy: HashSet<SubjectKey>,
    /// Commands that wait for those records, in the order of their arrival.
    parked: Vec<Queued>,
}

impl RecordQueue {
    /// Accepts commands and returns those that can run now, in batches. `server_of` returns the
    /// index of a subject's server.
    pub(super) fn admit(
        &mut self,
        incoming: Vec<Queued>,
        server_of: impl Fn(SubjectKey) -> u32,
    ) -> Vec<Vec<Queued>> {
        let mut batches: HashMap<Servers, Vec<Queued>> = HashMap::new();
        // The batch of each subject's commands; `None`: they must wait.
        let mut way: HashMap<SubjectKey, Option<Servers>> = HashMap::new();
        let waiting = std::mem::take(&mut self.parked);
        for due in waiting.into_iter().chain(incoming) {
            let servers =
                due.subjects().fold(0, |servers, subject| servers | 1 << (server_of(subject) % 64));
            let free = due.subjects().all(|subject| match way.get(&subject) {
                Some(way) => *way == Some(servers),
                None => !self.busy.contains(&subject),
            });
            // A command that waits also holds back later ones on its records, so that none
            // overtakes it.
            let taken = free.then_some(servers);
            for subject in due.subjects() {
                way.insert(subject, taken);
            }
            if free {
                batches.entry(servers).or_default().push(due);
            } else {
                self.parked.push(due);
            }
        }
        for due in batches.values().flatten() {
            self.busy.extend(due.subjects());
        }
        batches.into_values().collect()
    }

    /// Marks records as no longer in use.
    pub(super) fn release(&mut self, subjects: impl IntoIterator<Item = SubjectKey>) {
        for subject in subjects {
            self.busy.remove(&subject);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::few::Few;
    use crate::quota::{Action, StoreCommand, SubjectCommand};
    use crate::store::ask::Responder;

    fn subject(number: u8) -> SubjectKey {
        SubjectKey([number; 16])
    }

    fn due(numbers: &[u8]) -> Queued {
        let ask = |number: &u8| SubjectCommand { subject: subject(*number), demands: Few::new() };
        let subjects = numbers.iter().map(ask).collect();
        let question = StoreCommand::about(Action::Consume, subjects);
        Queued {
            ask: QueuedCommand { question, responder: Responder::new(Box::new(drop)) },
            by: Instant::now(),
        }
    }

    /// Even numbers are on one server, odd ones on another.
    fn admit(lanes: &mut RecordQueue, questions: &[&[u8]]) -> Vec<Vec<Vec<u8>>> {
        let dues = questions.iter().map(|numbers| due(numbers)).collect();
        let batches = lanes.admit(dues, |subject| u32::from(subject.0[0] % 2));
        let numbers = |due: &Queued| due.subjects().map(|subject| subject.0[0]).collect();
        let mut shown: Vec<Vec<Vec<u8>>> =
            batches.iter().map(|batch| batch.iter().map(numbers).collect()).collect();
        shown.sort();
        shown
    }

    #[test]
    fn questions_about_one_record_go_together_and_later_ones_wait() {
        let mut lanes = RecordQueue::default();
        assert_eq!(admit(&mut lanes, &[&[2], &[2], &[4]]), [[[2], [2], [4]]]);
        assert!(admit(&mut lanes, &[&[2], &[4, 2]]).is_empty());
        assert_eq!(admit(&mut lanes, &[&[6]]), [[[6]]]);
        lanes.release([subject(4)]);
        assert!(admit(&mut lanes, &[&[4]]).is_empty(), "it would overtake");
        lanes.release([subject(2)]);
        assert_eq!(admit(&mut lanes, &[]), [[vec![2], vec![4, 2], vec![4]]]);
    }

    #[test]
    fn questions_for_different_servers_go_apart() {
        let mut lanes = RecordQueue::default();
        assert_eq!(admit(&mut lanes, &[&[2], &[1], &[3]]), [vec![vec![1], vec![3]], vec![vec![2]]]);
        lanes.release([subject(1), subject(2), subject(3)]);
        assert_eq!(admit(&mut lanes, &[&[2], &[1, 2], &[3]]), [[[2]], [[3]]]);
        lanes.release([subject(2), subject(3)]);
        assert_eq!(admit(&mut lanes, &[]), [[[1, 2]]]);
    }
}
