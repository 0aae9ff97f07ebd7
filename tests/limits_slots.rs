//! Redis counts slots of requests under way exactly: every answer of the script is compared with a
//! model, on random questions.
//!
//! `KEEPSTONE_OPERATIONS` says how many, `KEEPSTONE_SEED` which ones.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub,
    reason = "helpers of tests are tests"
)]

mod support {
    pub mod ask;
    pub mod dice;
    pub mod redis;
}

use std::collections::HashMap;
use std::thread::sleep;
use std::time::Duration;

use keepstone::quota::algorithm::{Algorithm, Rule};
use keepstone::quota::{
    Action, CommandResult, LimitCheck, SlotCommand, SlotId, StoreCommand, SubjectCommand,
    SubjectKey,
};
use keepstone::shared_store::SharedStore;
use redis::Commands as _;
use support::ask::ask_all;
use support::dice::Dice;
use support::redis::Server;

const OPERATIONS: u64 = 10_000;
/// Longer than the test, and so short that it ends within it.
const SPANS_MS: [u32; 2] = [3_600_000, 30];
const MOST: [u32; 3] = [1, 3, 20];
const LIMIT: u32 = 40;

fn ask(store: &SharedStore, questions: &[StoreCommand]) -> Vec<CommandResult> {
    ask_all(store, questions).into_iter().map(Result::unwrap).collect()
}

fn key(number: u64) -> SubjectKey {
    SubjectKey(u128::from(number).to_le_bytes())
}

/// When a slot comes free, and whether it was held for longer than its process wanted.
#[derive(Debug, Clone, Copy, Default)]
struct End {
    till_ms: u64,
    held: bool,
}

impl End {
    fn is_taken(self, now_ms: u64) -> bool {
        // One that was held ends half a millisecond later.
        self.till_ms + u64::from(self.held) > now_ms
    }
}

/// What has to be, without a store: slots by key with when they come free, and what a subject has
/// used.
#[derive(Debug, Default)]
struct Model {
    slots: HashMap<SubjectKey, HashMap<SlotId, End>>,
    used: HashMap<SubjectKey, u32>,
}

impl Model {
    fn taken(&self, key: SubjectKey, now_ms: u64) -> u64 {
        let slots = self.slots.get(&key);
        let count = |slots: &HashMap<_, End>| {
            slots.values().filter(|end| end.is_taken(now_ms)).count() as u64
        };
        slots.map_or(0, count)
    }

    /// Where no slot has half of its span left, each is held for another half, once.
    fn hold(&mut self, slot: &SlotCommand, now_ms: u64) {
        let Some(slots) = self.slots.get_mut(&slot.key) else { return };
        let half_ms = now_ms + u64::from(slot.span_ms / 2);
        if slots.values().all(|end| end.till_ms < half_ms) {
            for end in slots.values_mut().filter(|end| !end.held) {
                *end = End { till_ms: half_ms, held: true };
            }
        }
    }

    /// What a slot that is taken has removed.
    fn sweep(&mut self, key: SubjectKey, now_ms: u64) {
        if let Some(slots) = self.slots.get_mut(&key) {
            slots.retain(|_, end| end.is_taken(now_ms));
        }
    }

    /// Compares an answer, and does what was asked.
    fn compare(&mut self, question: &StoreCommand, answer: &CommandResult, seed: u64) {
        let now_ms = answer.statuses.first().map_or(0, |standing| standing.now_us / 1000);
        let subjects = question.subjects.len();
        for slot in &question.slots {
            self.hold(slot, now_ms);
        }
        let used = |model: &Self| -> Vec<u32> {
            let of =
                |ask: &SubjectCommand| model.used.get(&ask.subject).copied().unwrap_or_default();
            question.subjects.iter().map(of).collect()
        };
        let taken = |model: &Self| -> Vec<u64> {
            question.slots.iter().map(|slot| model.taken(slot.key, now_ms)).collect()
        };
        let fit = |slot: &SlotCommand, taken: u64| taken < u64::from(slot.most);
        let fits: Vec<bool> = used(self)
            .into_iter()
            .map(|used| used < LIMIT)
            .chain(question.slots.iter().zip(taken(self)).map(|(slot, taken)| fit(slot, taken)))
            .collect();
        let watches = |i: usize| i >= subjects && question.slots[i - subjects].watching;
        let admitted = fits.iter().enumerate().all(|(i, fits)| *fits || watches(i));
        let charges = admitted && question.action == Action::Consume;
        if charges {
            for ask in &question.subjects {
                *self.used.entry(ask.subject).or_default() += 1;
            }
            for (slot, fits) in question.slots.iter().zip(&fits[subjects..]) {
                if *fits {
                    self.sweep(slot.key, now_ms);
                    let end = End { till_ms: now_ms + u64::from(slot.span_ms), held: false };
                    self.slots.entry(slot.key).or_default().insert(slot.id, end);
                }
            }
        }
        let said: Vec<bool> = answer.statuses.iter().map(|standing| standing.fits).collect();
        assert_eq!((answer.admitted, said), (admitted, fits), "seed {seed}: {question:?}");
        let counts: Vec<u64> =
            answer.statuses[subjects..].iter().map(|standing| standing.state.0[0]).collect();
        assert_eq!(counts, taken(self), "seed {seed}: {question:?}");
    }
}

struct Run {
    dice: Dice,
    next: u64,
    held: Vec<SlotCommand>,
}

impl Run {
    fn slot(&mut self, number: u64) -> SlotCommand {
        self.next += 1;
        SlotCommand {
            key: key(1_000_000 + number),
            id: SlotId(u128::from(self.next).to_le_bytes()),
            // One key has one number of slots and one span.
            most: MOST[usize::try_from(number % 3).unwrap()],
            span_ms: SPANS_MS[usize::try_from(number % 2).unwrap()],
            watching: number == 5,
        }
    }

    /// A request by one or two limits in time and up to two of requests under way.
    fn request(&mut self) -> StoreCommand {
        let action = if self.dice.one_in(6) { Action::Look } else { Action::Consume };
        let rule =
            Rule::new(Algorithm::FixedWindow, LIMIT, Duration::from_secs(400 * 86_400), LIMIT);
        let demand = |tag| LimitCheck { tag, rule, cost: 1 };
        let subjects = self.dice.between(0, 1);
        let subjects = (0..subjects).map(|_| {
            let subject = key(self.dice.between(0, 9));
            SubjectCommand { subject, demands: vec![demand(8)].into() }
        });
        let subjects: Vec<SubjectCommand> = subjects.collect();
        let count = usize::try_from(self.dice.between(1, 2)).unwrap();
        let numbers = self.dice.some(&[0, 1, 2, 3, 4, 5, 6, 7], count, false);
        let slots = numbers.into_iter().map(|number| self.slot(number)).collect();
        StoreCommand { action, subjects, slots }
    }
}

#[test]
fn every_answer_about_places_is_what_a_list_of_those_taken_says() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let seed = number("KEEPSTONE_SEED").unwrap_or_else(|| keepstone::clock::Now::read().unix_us);
    let operations = number("KEEPSTONE_OPERATIONS").unwrap_or(OPERATIONS);
    println!("seed {seed}");
    let server = Server::start();
    let store = server.store("t:", 5_000);
    let mut connection = server.connection();
    let mut run = Run { dice: Dice::new(seed), next: 0, held: Vec::new() };
    let mut model = Model::default();
    let (mut done, mut admitted, mut refused) = (0, 0, 0);
    while done < operations {
        match run.dice.between(0, 9) {
            0..=5 => {
                // What one tick asks is judged in its order: all of it has slots, so all of it is
                // in one script.
                let count = run.dice.between(1, 12);
                let questions: Vec<StoreCommand> = (0..count).map(|_| run.request()).collect();
                for (question, answer) in questions.iter().zip(ask(&store, &questions)) {
                    model.compare(question, &answer, seed);
                    let counts = answer.admitted && question.action == Action::Consume;
                    let fits = answer.statuses[question.subjects.len()..].iter().map(|s| s.fits);
                    let taken = question.slots.iter().zip(fits).filter(|(_, fits)| *fits);
                    run.held.extend(taken.filter(|_| counts).map(|(slot, _)| *slot));
                    *(if counts { &mut admitted } else { &mut refused }) += 1;
                    done += 1;
                }
            }
            6..=7 => {
                // Some of them, and one that nobody holds, or that was given back before.
                let count = run.dice.between(0, run.held.len().min(30) as u64);
                let mut slots: Vec<SlotCommand> = (0..count)
                    .map(|_| {
                        let last = run.held.len() as u64 - 1;
                        run.held.swap_remove(usize::try_from(run.dice.between(0, last)).unwrap())
                    })
                    .collect();
                let stranger = run.slot(0);
                slots.push(stranger);
                slots.extend(slots.first().copied());
                for slot in &slots {
                    model.slots.entry(slot.key).or_default().remove(&slot.id);
                }
                let half = slots.split_off(slots.len() / 2);
                let release = |slots| StoreCommand::of_slots(Action::Release, slots);
                ask(&store, &[release(slots), release(half)]);
                done += 1;
            }
            8 => {
                // Slots of one key whose span is long: when exactly they were renewed does not
                // matter then.
                let number = *run.dice.pick(&[0, 2, 4, 6]);
                let of = |slot: &&SlotCommand| slot.key == key(1_000_000 + number);
                let slots: Vec<SlotCommand> = run.held.iter().filter(of).copied().collect();
                if slots.is_empty() {
                    continue;
                }
                if run.dice.one_in(2) {
                    // They were lost.
                    let base64 = key_of(slots[0].key);
                    let _: u64 = connection.del(&base64).unwrap();
                    model.slots.remove(&slots[0].key);
                }
                let renewed = model.slots.entry(slots[0].key).or_default();
                for slot in &slots {
                    renewed.insert(slot.id, End { till_ms: u64::MAX, held: false });
                }
                ask(&store, &[StoreCommand::of_slots(Action::Renew, slots)]);
                done += 1;
            }
            _ => {
                let number = run.dice.between(0, 7);
                let slot = run.slot(number);
                match run.dice.between(0, 9) {
                    0 => {
                        ask(&store, &[StoreCommand::of_slots(Action::Reset, vec![slot])]);
                        model.slots.remove(&slot.key);
                    }
                    1 => {
                        // What something else has put there is none.
                        let _: () = connection.pset_ex(key_of(slot.key), "x", 60_000).unwrap();
                        model.slots.remove(&slot.key);
                    }
                    2 => {
                        for subject in 0..10 {
                            let _: u64 = connection.del(limit_of(key(subject))).unwrap();
                        }
                        model.used.clear();
                    }
                    _ => sleep(Duration::from_millis(run.dice.between(1, 15))),
                }
                done += 1;
            }
        }
    }
    println!("{done} operations, {admitted} admitted, {refused} refused");
    assert!(admitted > operations / 50 && refused > operations / 50);
    every_key_has_an_end(&mut connection);
    ask(&store, &[StoreCommand::of_slots(Action::Release, run.held)]);
    sleep(Duration::from_millis(60));
    let left: Vec<String> = connection.keys("t:p:*").unwrap();
    for key in left {
        let kind: String = redis::cmd("TYPE").arg(&key).query(&mut connection).unwrap();
        assert_ne!(kind, "zset", "{key}: what was given back leaves nothing behind");
    }
}

fn every_key_has_an_end(connection: &mut redis::Connection) {
    let keys: Vec<String> = connection.keys("t:*").unwrap();
    for key in keys.iter().filter(|key| *key != "t:live") {
        let left: i64 = connection.pttl(key).unwrap();
        // -1 is a key without an end; 0 is its last millisecond, and -2 one that has ended since.
        assert!(left != -1, "{key} stays for ever");
    }
}

fn key_of(key: SubjectKey) -> String {
    named("t:p:", key)
}

fn limit_of(key: SubjectKey) -> String {
    named("t:l:", key)
}

fn named(prefix: &str, key: SubjectKey) -> String {
    use base64::Engine as _;
    format!("{prefix}{}", base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(key.0))
}
