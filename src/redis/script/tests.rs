use super::*;
use crate::clock::Now;
use crate::quota::algorithm::{Algorithm, Rule};
use proptest::prelude::*;
use std::time::Duration;

fn question(limits: usize) -> StoreCommand {
    let rule = Rule::new(Algorithm::Gcra, 5, Duration::from_secs(10), 5);
    let tags = (0..).step_by(4).take(limits);
    let demands = tags.map(|tag| LimitCheck { tag, rule, cost: 1 }).collect();
    let subjects = vec![SubjectCommand { subject: SubjectKey([7; 16]), demands }];
    StoreCommand::about(Action::Consume, subjects)
}

proptest! {
    #[test]
    fn a_reply_of_any_bytes_is_an_answer_or_a_fault_and_never_a_pass_by_accident(
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
        limits in 1usize..4,
        slots in 0u8..3,
    ) {
        let mut asked = question(limits);
        asked.slots = (0..slots).map(|i| slot(i, i)).collect();
        let questions = [asked];
        let calls = calls(&questions, false);
        let results = read(&calls, &[Value::BulkString(bytes.clone())], &questions);
        if let Some(Ok(answer)) = results.answers.first() {
            prop_assert_eq!(answer.statuses.len(), limits + usize::from(slots));
            prop_assert_eq!(answer.admitted, bytes.get(8) == Some(&1));
        }
    }
}

fn slot(key: u8, id: u8) -> SlotCommand {
    let id = crate::quota::SlotId([id; 16]);
    SlotCommand { key: SubjectKey([key; 16]), id, most: 1, span_ms: 1000, watching: false }
}

#[test]
fn places_are_given_back_before_any_is_asked_for_and_in_one_command_for_each_key() {
    let release = |slots| StoreCommand::of_slots(Action::Release, slots);
    let mut wants = question(1);
    wants.slots = vec![slot(1, 9)];
    let questions =
        [wants, release(vec![slot(1, 1), slot(2, 2)]), question(1), release(vec![slot(1, 3)])];
    let calls = calls(&questions, false);
    let scripts: Vec<Kind> = calls.iter().map(|call| call.script).collect();
    assert_eq!(scripts, [Kind::Release, Kind::Release, Kind::Judge, Kind::JudgeOne]);
    let scripts = Scripts::new("t:");
    let command = scripts.command(&calls[0], &questions, By::Digest);
    let args: Vec<_> = command.args_iter().collect();
    // ZREM, the key, and both of its slots.
    assert_eq!(args.len(), 4);
    for reply in [Value::Int(1), Value::Int(0)] {
        let results = read(&calls[..1], &[reply], &questions[1..2]);
        assert_eq!(results.answers, [Ok(CommandResult { admitted: true, statuses: Few::new() })]);
    }
}

#[test]
fn a_cluster_judges_each_place_by_itself() {
    let mut wants = question(1);
    wants.slots = vec![slot(1, 1), slot(2, 2)];
    let calls = calls(&[wants], true);
    let scripts: Vec<Kind> = calls.iter().map(|call| call.script).collect();
    assert_eq!(scripts, [Kind::JudgeOne, Kind::Judge, Kind::Judge]);
}

#[test]
fn no_reply_is_a_fault() {
    let questions = [question(1), question(2)];
    let calls = calls(&questions, false);
    for replies in [vec![], vec![Value::Nil, Value::Int(1)], vec![Value::Okay]] {
        let results = read(&calls, &replies, &questions);
        assert!(results.answers.iter().all(|answer| *answer == Err(StoreError::Refused)));
    }
}

#[test]
fn a_request_is_not_judged_before_what_was_changed_by_hand_before_it() {
    let reset = StoreCommand { action: Action::Reset, ..question(1) };
    let calls = calls(&[question(1), reset, question(1), question(1)], false);
    let order: Vec<Kind> = calls.iter().map(|call| call.script).collect();
    assert_eq!(order, [Kind::JudgeOne, Kind::Adjust, Kind::JudgeOne]);
}

#[test]
fn questions_of_one_tick_share_a_call_where_one_server_has_all_keys() {
    let questions: Vec<StoreCommand> = (0..150).map(|_| question(1)).collect();
    assert_eq!(calls(&questions, false).len(), 3);
    assert_eq!(calls(&questions, true).len(), 150);
}

/// The answer of a call with one subject, given the entry of its limit.
fn reply(admitted: bool, fits: bool, now_us: u64, entry: &Entry) -> Value {
    let mut record = Vec::new();
    entry.write(&mut record);
    let mut bytes = double(now_us).to_le_bytes().to_vec();
    bytes.push(u8::from(admitted));
    bytes.extend(u32::from(fits).to_le_bytes());
    bytes.extend(u16::try_from(record.len()).unwrap().to_le_bytes());
    bytes.extend(record);
    Value::BulkString(bytes)
}

/// The amount given back of a charge to subject 1, at an instant of a window of 60 s, when subject
/// 2 refuses.
fn given_back(rule: Rule, fits: bool, now_us: u64, second: impl Fn(&Entry) -> Value) -> u64 {
    let ask = |number| SubjectCommand {
        subject: SubjectKey([number; 16]),
        demands: Few::from([LimitCheck { tag: 4, rule, cost: 2 }]),
    };
    let questions = [StoreCommand::about(Action::Consume, vec![ask(1), ask(2)])];
    let calls = calls(&questions, true);
    let state = rule.to_wire(rule.charge(State::default(), 2, rule.clock(Now::at_unix_us(now_us))));
    let entry = Entry { tag: 4, state, till_us: now_us + 120_000_000 };
    let replies = [reply(true, fits, now_us, &entry), second(&entry)];
    let results = read(&calls, &replies, &questions);
    let refunds: Vec<StoreCommand> = results.refunds(&questions).collect();
    let asks: Vec<&SubjectCommand> =
        refunds.iter().flat_map(|question| &question.subjects).collect();
    assert!(asks.iter().all(|ask| ask.subject == SubjectKey([1; 16])));
    let before = rule.charge(State::default(), 2, now_us);
    let left = |state| rule.view(state, now_us).remaining;
    let demands = asks.iter().flat_map(|ask| &ask.demands);
    let after = demands.fold(before, |state, back| back.rule.refund(state, back.cost, now_us));
    left(after) - left(before)
}

#[test]
fn a_charge_whose_request_another_node_refused_is_given_back_to_no_other_window() {
    let start = 1_800_000_000_000_000_u64.next_multiple_of(60_000_000);
    let minute = |algorithm| Rule::new(algorithm, 10, Duration::from_secs(60), 10);
    for algorithm in [Algorithm::Gcra, Algorithm::FixedWindow, Algorithm::SlidingWindow] {
        let windows = u64::from(algorithm != Algorithm::Gcra);
        let rule = minute(algorithm);
        let refuses = |now_us| move |entry: &Entry| reply(false, false, now_us, entry);
        assert_eq!(given_back(rule, true, start + 30_000_000, refuses(start)), 2);
        let late = start + 59_500_000;
        assert_eq!(given_back(rule, true, late, refuses(late)), 2 * (1 - windows));
        // The node of the other subject does not answer.
        let fails = |_: &Entry| Value::Nil;
        assert_eq!(given_back(rule, true, start + 30_000_000, fails), 2);
        assert_eq!(given_back(rule, true, late, fails), 2 * (1 - windows));
        // A limit that only watched and did not fit was not charged.
        let watching = rule.watching();
        assert_eq!(given_back(watching, false, start + 30_000_000, refuses(start)), 0);
    }
}
