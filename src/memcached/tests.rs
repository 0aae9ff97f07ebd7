//! The properties that judging in this process relies on: records of any bytes, clocks that differ,
//! and other writers in between.

use std::collections::HashMap;
use std::time::Duration;

use proptest::prelude::*;

use super::judge::{Books, CommandRun, RecordView, Stored, Written};
use crate::quota::algorithm::{Algorithm, Rule};
use crate::quota::{Action, CommandResult, LimitCheck, StoreCommand, SubjectCommand, SubjectKey};
use crate::store::error::StoreError;

const SECOND: u64 = 1_000_000;
const NOW: u64 = 1_800_000_000 * SECOND;

fn subject(number: u8) -> SubjectKey {
    SubjectKey([number; 16])
}

fn case(action: Action, subjects: &[u8], rule: Rule, cost: u32) -> CommandRun {
    let demands = vec![LimitCheck { tag: 4, rule, cost }];
    let ask =
        |number: &u8| SubjectCommand { subject: subject(*number), demands: demands.clone().into() };
    CommandRun::new(StoreCommand::about(action, subjects.iter().map(ask).collect()))
}

fn rule(algorithm: Algorithm, limit: u32, window_ms: u64) -> Rule {
    Rule::new(algorithm, limit, Duration::from_millis(window_ms), limit)
}

/// A server with one record for each subject.
#[derive(Default)]
struct Server(HashMap<SubjectKey, Vec<u8>>);

impl Server {
    fn read(&self, subjects: impl Iterator<Item = SubjectKey>, now_us: u64) -> Books {
        let book = |key| {
            let record = self.0.get(&key).map_or(&[][..], Vec::as_slice);
            (key, Ok(RecordView::read(record, None, now_us)))
        };
        subjects.map(book).collect()
    }

    /// Stores the changed records, except those of subjects that another process has just written.
    fn write(&mut self, books: &Books, lost: &[u8]) -> Written {
        let mut written = Written::new();
        for (key, book) in books {
            let Some((record, _, _)) = book.as_ref().unwrap().written() else { continue };
            let conflict = lost.iter().any(|number| subject(*number) == *key);
            if !conflict {
                self.0.insert(*key, record);
            }
            written.insert(*key, Ok(if conflict { Stored::No } else { Stored::Yes }));
        }
        written
    }

    fn round(
        &mut self,
        case: &mut CommandRun,
        now_us: u64,
        lost: &[u8],
    ) -> Option<Result<CommandResult, StoreError>> {
        let mut books = self.read(case.open(), now_us);
        let verdict = case.judge(&mut books);
        let written = self.write(&books, lost);
        case.settle(verdict, &written)
    }

    fn admits(&mut self, subjects: &[u8], rule: Rule, now_us: u64) -> bool {
        let mut case = case(Action::Consume, subjects, rule, 1);
        self.round(&mut case, now_us, &[]).unwrap().unwrap().admitted
    }
}

#[test]
fn what_a_conflict_has_left_unwritten_is_judged_again_and_nothing_is_charged_twice() {
    let (mut server, rule) = (Server::default(), rule(Algorithm::Gcra, 2, 3_600_000));
    let mut two = case(Action::Consume, &[1, 2], rule, 1);
    assert!(server.round(&mut two, NOW, &[2]).is_none());
    assert_eq!(two.open().collect::<Vec<_>>(), [subject(2)]);
    let answer = server.round(&mut two, NOW, &[]).unwrap().unwrap();
    assert!(answer.admitted && answer.statuses.len() == 2);
    // Each has one left.
    for number in [1, 2] {
        assert!(server.admits(&[number], rule, NOW));
        assert!(!server.admits(&[number], rule, NOW));
    }
}

#[test]
fn where_the_second_round_refuses_what_the_first_has_charged_is_given_back() {
    let (mut server, rule) = (Server::default(), rule(Algorithm::Gcra, 1, 3_600_000));
    let mut two = case(Action::Consume, &[1, 2], rule, 1);
    assert!(server.round(&mut two, NOW, &[2]).is_none());
    assert!(server.admits(&[2], rule, NOW), "somebody else");
    assert!(!server.round(&mut two, NOW, &[]).unwrap().unwrap().admitted);
    let refund = two.refund().unwrap();
    assert_eq!(refund.subjects.iter().map(|ask| ask.subject).collect::<Vec<_>>(), [subject(1)]);
    server.round(&mut CommandRun::new(refund), NOW, &[]).unwrap().unwrap();
    assert!(server.admits(&[1], rule, NOW));
}

#[test]
fn a_request_that_one_subject_refuses_charges_no_other() {
    let (mut server, rule) = (Server::default(), rule(Algorithm::SlidingWindow, 3, 3_600_000));
    for _ in 0..3 {
        assert!(server.admits(&[2], rule, NOW));
    }
    for _ in 0..5 {
        assert!(!server.admits(&[1, 2], rule, NOW));
    }
    assert!(server.admits(&[1], rule, NOW));
}

#[test]
fn questions_of_one_batch_see_each_other() {
    let rule = rule(Algorithm::Gcra, 3, 3_600_000);
    let mut books = Server::default().read([subject(1)].into_iter(), NOW);
    let cases: Vec<CommandRun> = (0..5).map(|_| case(Action::Consume, &[1], rule, 1)).collect();
    let verdicts: Vec<_> = cases.iter().map(|case| case.judge(&mut books).unwrap()).collect();
    let written = Server::default().write(&books, &[]);
    let admitted = cases.into_iter().zip(verdicts).filter_map(|(mut case, verdict)| {
        case.settle(Ok(verdict), &written).unwrap().unwrap().admitted.then_some(())
    });
    assert_eq!(admitted.count(), 3);
}

#[test]
fn a_fault_at_one_server_is_a_fault_of_the_request_and_charges_nothing() {
    let rule = rule(Algorithm::Gcra, 3, 3_600_000);
    let mut books = Server::default().read([subject(1)].into_iter(), NOW);
    books.insert(subject(2), Err(StoreError::Unavailable));
    let mut two = case(Action::Consume, &[1, 2], rule, 1);
    let verdict = two.judge(&mut books);
    assert!(books.values().flatten().all(|book| book.written().is_none()));
    assert_eq!(two.settle(verdict, &Written::new()), Some(Err(StoreError::Unavailable)));
    assert!(two.refund().is_none());
}

#[test]
fn a_block_refuses_until_it_ends_and_a_reset_forgets_all() {
    let (mut server, rule) = (Server::default(), rule(Algorithm::FixedWindow, 9, 3_600_000));
    let mut round = |action, now_us| {
        server.round(&mut case(action, &[1], rule, 1), now_us, &[]).unwrap().unwrap()
    };
    assert!(round(Action::Consume, NOW).admitted);
    round(Action::Block(5 * SECOND), NOW);
    let refused = round(Action::Consume, NOW + SECOND);
    assert!(!refused.admitted);
    assert_eq!(refused.statuses[0].blocked_until_us, NOW + 5 * SECOND);
    assert!(round(Action::Consume, NOW + 5 * SECOND).admitted);
    round(Action::Block(5 * SECOND), NOW);
    round(Action::Reset, NOW);
    assert_eq!(server.0[&subject(1)], b"");
}

#[test]
fn a_key_that_is_used_up_is_free_in_its_time_after_the_clock_was_set_back() {
    const HOUR: u64 = 3_600 * SECOND;
    for algorithm in [Algorithm::Gcra, Algorithm::FixedWindow, Algorithm::SlidingWindow] {
        let (mut server, rule) = (Server::default(), rule(algorithm, 2, 2_000));
        while server.admits(&[1], rule, NOW) {}
        // Readings of one clock differ by a little: that frees nothing, and does not last.
        assert!(!server.admits(&[1], rule, NOW - SECOND));
        let back = NOW - HOUR;
        assert!(!server.admits(&[1], rule, back));
        assert!(server.admits(&[1], rule, back + 4 * SECOND), "{algorithm:?}");
        // A command that only looks also sees it come free.
        while server.admits(&[2], rule, NOW) {}
        let looks = |server: &mut Server, now_us| {
            let mut case = case(Action::Look, &[2], rule, 1);
            server.round(&mut case, now_us, &[]).unwrap().unwrap().admitted
        };
        assert!(!looks(&mut server, back));
        assert!(looks(&mut server, back + 4 * SECOND), "{algorithm:?}");
    }
}

#[test]
fn a_block_and_a_signal_last_as_long_as_they_were_meant_to_when_the_clock_is_set_back() {
    const HOUR: u64 = 3_600 * SECOND;
    let (mut server, rule) = (Server::default(), rule(Algorithm::Gcra, 10, 10_000));
    for action in [Action::Block(5 * SECOND), Action::Signal(500, 5 * SECOND)] {
        server.round(&mut case(action, &[1], rule, 0), NOW, &[]).unwrap().unwrap();
    }
    assert!(!server.admits(&[1], rule, NOW - HOUR));
    assert!(!server.admits(&[1], rule, NOW - HOUR + 4 * SECOND));
    let mut look = case(Action::Look, &[1], rule, 1);
    let stands = server.round(&mut look, NOW - HOUR + 6 * SECOND, &[]).unwrap().unwrap();
    assert_eq!((stands.admitted, stands.statuses[0].factor), (true, 1000));
}

#[test]
fn what_something_else_has_put_in_the_place_of_a_record_is_written_over() {
    let (mut server, rule) = (Server::default(), rule(Algorithm::Gcra, 3, 3_600_000));
    server.0.insert(subject(1), b"somebody else's value".to_vec());
    for _ in 0..3 {
        assert!(server.admits(&[1], rule, NOW));
    }
    assert!(!server.admits(&[1], rule, NOW));
}

#[test]
fn a_limit_that_only_watches_refuses_nothing_and_counts_what_it_would_admit() {
    let mut server = Server::default();
    let [strict, watching] = [4, 2].map(|limit| rule(Algorithm::Gcra, limit, 3_600_000));
    let watching = watching.watching();
    let demands = vec![
        LimitCheck { tag: 4, rule: strict, cost: 1 },
        LimitCheck { tag: 8, rule: watching, cost: 1 },
    ];
    let subjects = vec![SubjectCommand { subject: subject(1), demands: demands.into() }];
    let mut verdicts = Vec::new();
    for _ in 0..5 {
        let question = StoreCommand::about(Action::Consume, subjects.clone());
        let answer = server.round(&mut CommandRun::new(question), NOW, &[]).unwrap().unwrap();
        let left = watching.view(answer.statuses[1].state, NOW).remaining;
        verdicts.push((answer.admitted, answer.statuses[1].fits, left));
    }
    assert_eq!(
        verdicts,
        [(true, true, 1), (true, true, 0), (true, false, 0), (true, false, 0), (false, false, 0)]
    );
}

fn algorithms() -> impl Strategy<Value = Algorithm> {
    prop_oneof![Just(Algorithm::Gcra), Just(Algorithm::FixedWindow), Just(Algorithm::SlidingWindow)]
}

proptest! {
    #[test]
    fn records_of_any_bytes_never_panic_and_never_raise_a_limit(
        algorithm in algorithms(),
        junk in proptest::collection::vec(any::<u8>(), 0..120),
        entries in proptest::collection::vec((4u32..8, any::<u32>(), any::<u32>(), 0u64..1 << 53, 0u64..1 << 53), 0..4),
        window_ms in 10u64..34_560_000_000,
    ) {
        let mut record = Vec::new();
        for (tag, b, c, a, till_us) in entries {
            let state = crate::quota::WireState { a, b, c };
            crate::store::record::Entry { tag, state, till_us }.write(&mut record);
        }
        let rule = rule(algorithm, 3, window_ms);
        for bytes in [junk, record] {
            let mut server = Server::default();
            server.0.insert(subject(1), bytes);
            let admitted = (0..10).filter(|_| {
                let mut case = case(Action::Consume, &[1], rule, 1);
                server.round(&mut case, NOW, &[]).unwrap().is_ok_and(|answer| answer.admitted)
            });
            prop_assert!(admitted.count() <= 3);
            for action in [Action::Refund, Action::Charge, Action::Block(5), Action::Reset] {
                let mut case = case(action, &[1], rule, 7);
                drop(server.round(&mut case, NOW, &[]));
            }
        }
    }

    /// The guarantee about clocks: see the documentation of the module.
    #[test]
    fn processes_whose_clocks_differ_admit_no_more_than_one_whose_clock_runs_that_much_longer(
        algorithm in algorithms(),
        limit in 1u32..20,
        window_ms in 50u64..10_000,
        skew_us in 0u64..2_000_000,
        steps in proptest::collection::vec((0u64..400_000, any::<bool>(), 1u32..4), 1..200),
    ) {
        let rule = rule(algorithm, limit, window_ms);
        let mut server = Server::default();
        let mut now_us = NOW;
        let mut admitted: Vec<(u64, u64, u32)> = Vec::new();
        for (gap, ahead, cost) in steps {
            now_us += gap;
            let clock_us = now_us + if ahead { skew_us } else { 0 };
            let mut case = case(Action::Consume, &[1], rule, cost);
            let answer = server.round(&mut case, clock_us, &[]).unwrap().unwrap();
            if answer.admitted {
                admitted.push((now_us, answer.statuses[0].now_us, cost));
            }
        }
        // By windows: the cost judged in one window is at most the limit.
        if !algorithm.has_burst() {
            let mut windows: HashMap<u64, u32> = HashMap::new();
            for (_, judged_us, cost) in &admitted {
                *windows.entry(judged_us / rule.window_us()).or_default() += cost;
            }
            prop_assert!(windows.values().all(|count| *count <= limit));
            return Ok(());
        }
        // By spans: burst + limit / window × (W + s).
        for (i, (from, _, _)) in admitted.iter().enumerate() {
            let mut sum = 0u128;
            for (to, _, cost) in &admitted[i..] {
                sum += u128::from(*cost);
                let span = u128::from(to - from + skew_us);
                let most = u128::from(limit) * u128::from(rule.window_us()) + u128::from(limit) * span;
                prop_assert!(sum * u128::from(rule.window_us()) <= most);
            }
        }
    }
}
