//! Redis counts exactly as the rules say: every answer of the scripts is compared with a model, on
//! random questions.
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

mod support;

use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;

use keepstone::quota::algorithm::{Algorithm, Rule};
use keepstone::quota::{Action, LimitCheck, StoreCommand, SubjectCommand, SubjectKey};
use keepstone::shared_store::SharedStore;
use redis::{Commands as _, Connection, Value};
use support::ask::ask_all;
use support::dice::Dice;
use support::model::Model;
use support::questions::{Shape, World};
use support::redis::Server;

const OPERATIONS: u64 = 50_000;
/// Operations on one set of limits and subjects.
const ROUND: u64 = 1_000;
const PREFIX: &str = "t:";

fn key_of(subject: SubjectKey) -> String {
    use base64::Engine as _;
    format!("{PREFIX}l:{}", base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(subject.0))
}

fn records(connection: &mut Connection, question: &StoreCommand) -> Vec<Option<Vec<u8>>> {
    let keys = question.subjects.iter().map(|ask| key_of(ask.subject));
    keys.map(|key| connection.get(key).unwrap()).collect()
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

/// What was seen, to show that the test has tested something.
#[derive(Debug, Default)]
struct Seen {
    admitted: u64,
    refused: u64,
    blocked: u64,
    unwritten: u64,
    corrupted: u64,
}

struct Run<'s> {
    server: &'s Server,
    store: Arc<SharedStore>,
    connection: Connection,
    dice: Dice,
    seed: u64,
    model: Model,
    seen: Seen,
}

impl Run<'_> {
    /// Asks, and compares every answer with the model's.
    fn compare(&mut self, questions: &[StoreCommand]) {
        for (question, answer) in questions.iter().zip(ask_all(&self.store, questions)) {
            let seed = self.seed;
            let answer =
                answer.unwrap_or_else(|error| panic!("seed {seed}: {error}: {question:?}"));
            let clocks: Vec<u64> = answer.statuses.iter().map(|standing| standing.now_us).collect();
            let wanted = self.model.answer(question, &clocks);
            assert_eq!(
                answer, wanted,
                "seed {seed}: what Redis says, and what is right, of {question:?}"
            );
            if matches!(question.action, Action::Consume) {
                self.seen.admitted += u64::from(answer.admitted);
                self.seen.refused += u64::from(!answer.admitted);
            }
            let blocked = answer.statuses.iter().any(|standing| standing.blocked_until_us > 0);
            self.seen.blocked += u64::from(blocked);
        }
    }

    /// One question; where it is refused or only looks, no byte of the records has changed.
    fn compare_with_records(&mut self, question: &StoreCommand) {
        let before = records(&mut self.connection, question);
        let refused = self.seen.refused;
        self.compare(std::slice::from_ref(question));
        if self.seen.refused == refused && question.action != Action::Look {
            return;
        }
        for (before, after) in before.iter().zip(records(&mut self.connection, question)) {
            // What has come to its end in between is gone.
            assert!(after.is_none() || *before == after, "seed {}: {question:?}", self.seed);
            self.seen.unwritten += 1;
        }
    }

    /// Something else has cut a record short or made it longer: it counts as none.
    fn corrupt(&mut self, subject: SubjectKey) {
        let length = self.dice.between(0, 5) * 28 + self.dice.between(1, 27);
        let bytes: Vec<u8> = (0..length).map(|_| self.dice.roll().to_le_bytes()[0]).collect();
        let _: Value = self.connection.pset_ex(key_of(subject), bytes, 60_000).unwrap();
        self.model.forget(subject);
        self.seen.corrupted += 1;
    }

    /// Questions about one set of limits, until so many operations are done. Answers how many were.
    fn round(&mut self) -> u64 {
        let world = World::new(&mut self.dice);
        let mut done = 0;
        while done < ROUND {
            done += match self.dice.between(0, 99) {
                0..=59 => {
                    let question = world.question(&mut self.dice, world.subjects());
                    self.compare(&[question]);
                    1
                }
                60..=74 => {
                    let question = world.question(&mut self.dice, world.subjects());
                    self.compare_with_records(&question);
                    1
                }
                75..=89 => {
                    // One tick of a busy process: no two of these are about the same subject.
                    let subjects = self.dice.some(world.subjects(), 36, false);
                    let questions: Vec<StoreCommand> = subjects
                        .chunks(3)
                        .map(|subjects| world.question(&mut self.dice, subjects))
                        .collect();
                    self.compare(&questions);
                    questions.len() as u64
                }
                90..=95 => {
                    // Requests of one tick about the same subjects are judged in their order.
                    let shape = *self.dice.pick(&[Shape::Simple, Shape::Wide]);
                    let count = self.dice.between(2, 150);
                    let questions = world.requests(&mut self.dice, shape, count);
                    self.compare(&questions);
                    count
                }
                96..=98 => {
                    let subject = *self.dice.pick(world.subjects());
                    self.corrupt(subject);
                    1
                }
                _ => {
                    sleep(Duration::from_millis(self.dice.between(1, 15)));
                    1
                }
            };
        }
        done
    }
}

#[test]
fn every_answer_of_redis_is_what_the_rules_say_to_the_microsecond() {
    let seed = number("KEEPSTONE_SEED").unwrap_or_else(|| keepstone::clock::Now::read().unix_us);
    let operations = number("KEEPSTONE_OPERATIONS").unwrap_or(OPERATIONS);
    println!("seed {seed}");
    let server = Server::start();
    let mut run = Run {
        server: &server,
        store: server.store(PREFIX, 5_000),
        connection: server.connection(),
        dice: Dice::new(seed),
        seed,
        model: Model::default(),
        seen: Seen::default(),
    };
    let mut done = 0;
    while done < operations {
        done += run.round();
        run.model = Model::default();
    }
    println!("{done} operations, {:?}", run.seen);
    let Seen { admitted, refused, blocked, unwritten, corrupted } = run.seen;
    let enough = operations / 1_000;
    for count in [admitted, refused, blocked, unwritten, corrupted] {
        assert!(count > enough, "{count}");
    }
    every_key_has_an_end(&mut run.server.connection());
}

fn every_key_has_an_end(connection: &mut Connection) {
    let keys: Vec<String> = connection.keys("*").unwrap();
    assert!(!keys.is_empty());
    for key in keys {
        let left: i64 = connection.pttl(&key).unwrap();
        // -1 is a key without an end; 0 is its last millisecond, and -2 one that has ended since.
        assert!(left != -1, "{key} stays for ever");
    }
}

fn consume(subject: SubjectKey, rules: &[Rule]) -> StoreCommand {
    let demands =
        (0..).step_by(4).zip(rules).map(|(tag, rule)| LimitCheck { tag, rule: *rule, cost: 1 });
    let subjects = vec![SubjectCommand { subject, demands: demands.collect() }];
    StoreCommand::about(Action::Consume, subjects)
}

#[test]
fn a_value_that_is_no_record_is_never_a_fault_or_a_key_that_is_stuck() {
    let seed = number("KEEPSTONE_SEED").unwrap_or(1);
    let mut dice = Dice::new(seed);
    let server = Server::start();
    let (store, mut connection) = (server.store(PREFIX, 5_000), server.connection());
    let rule = |algorithm| Rule::new(algorithm, 5, Duration::from_secs(3600), 5);
    let kinds = [
        vec![rule(Algorithm::Gcra)],
        vec![rule(Algorithm::FixedWindow)],
        vec![rule(Algorithm::Gcra), rule(Algorithm::SlidingWindow)],
    ];
    for i in 0..3_000_u64 {
        let subject = SubjectKey(u128::from(i).to_le_bytes());
        let key = key_of(subject);
        spoil(&mut dice, &mut connection, &key);
        let other = SubjectKey(u128::from(i + 1_000_000).to_le_bytes());
        let rules = dice.pick(&kinds);
        let questions = [consume(subject, rules), consume(other, rules)];
        for answer in ask_all(&store, &questions) {
            let answer = answer.unwrap_or_else(|error| panic!("seed {seed}, value {i}: {error}"));
            assert!(answer.admitted, "seed {seed}, value {i}: nobody has used anything yet");
        }
        let left: i64 = connection.pttl(&key).unwrap();
        assert!(left != -1, "seed {seed}, value {i}: the key has no end");
    }
}

/// Puts something at `key` that no script of ours has written, and that has no end.
fn spoil(dice: &mut Dice, connection: &mut Connection, key: &str) {
    let bytes = |dice: &mut Dice, length: u64| -> Vec<u8> {
        let one = if dice.one_in(4) { Some(dice.roll().to_le_bytes()[0]) } else { None };
        (0..length).map(|_| one.unwrap_or_else(|| dice.roll().to_le_bytes()[0])).collect()
    };
    let _: Value = match dice.between(0, 9) {
        0 => connection.rpush(key, "a").unwrap(),
        1 => connection.hset(key, "a", "b").unwrap(),
        2 => connection.set(key, "").unwrap(),
        3 => {
            let length = dice.between(1, 200);
            connection.set(key, bytes(dice, length)).unwrap()
        }
        4..=6 => {
            let entries = dice.between(1, 6);
            connection.set(key, bytes(dice, entries * 28)).unwrap()
        }
        _ => {
            // An entry of a limit that is asked for, or of its block, with numbers that are none of
            // ours.
            let tag = u32::try_from(dice.between(0, 3)).unwrap().to_le_bytes();
            let numbers =
                [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0, 0.5, 1e300, 1.8e19, 1e15 + 0.5];
            let mut entry = tag.to_vec();
            entry.extend(dice.pick(&numbers).to_le_bytes());
            entry.extend(bytes(dice, 8));
            entry.extend(dice.pick(&numbers).to_le_bytes());
            connection.set(key, entry).unwrap()
        }
    };
}
