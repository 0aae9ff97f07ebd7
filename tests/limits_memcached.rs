//! Limits over real Memcached servers, in the core alone.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    unreachable_pub,
    reason = "helpers of tests are tests, and they wait for real servers"
)]

mod support {
    pub mod ask;
    pub mod dice;
    pub mod model;
    pub mod questions;
}

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use keepstone::memcached::MemcachedConfig;
use keepstone::quota::algorithm::{Algorithm, Rule};
use keepstone::quota::{
    Action, CommandResult, LimitCheck, StoreCommand, SubjectCommand, SubjectKey,
};
use keepstone::shared_store::SharedStore;
use keepstone::store::StoreError;
use serde_json::json;
use support::ask::ask_all;
use support::dice::Dice;
use support::model::Model;
use support::questions::{Shape, World};

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

/// A server that ends with its test.
struct Server {
    child: Child,
    port: u16,
}

impl Server {
    fn start() -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        Self::start_on(port)
    }

    fn start_on(port: u16) -> Self {
        let mut command = Command::new("memcached");
        command.args(["-l", "127.0.0.1", "-U", "0", "-p", &port.to_string()]);
        if is_root() {
            command.args(["-u", "nobody"]);
        }
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let child = child.expect("memcached did not start: apt-get install memcached");
        let server = Self { child, port };
        wait_until("memcached listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        server
    }

    fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The answer to commands of the text protocol.
    fn ask(&self, text: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.write_all(format!("{text}\r\nquit\r\n").as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
    }

    /// The seconds that the item of a subject still has.
    fn time_to_live(&self, prefix: &str, subject: SubjectKey) -> i64 {
        let answer = self.ask(&format!("mg {} t", key_of(prefix, subject)));
        answer.trim().strip_prefix("HD t").expect("the item is there").parse().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn key_of(prefix: &str, subject: SubjectKey) -> String {
    use base64::Engine as _;
    format!("{prefix}l:{}", base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(subject.0))
}

fn is_root() -> bool {
    let output = Command::new("id").arg("-u").output().unwrap();
    output.stdout.starts_with(b"0\n")
}

fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < end, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A store as another process would have it, for each `process`.
fn open(servers: &[String], process: u32) -> Arc<SharedStore> {
    let value = json!({
        "servers": servers, "prefix": "test:", "timeout": "2s", "maxBytes": format!("{}mb", process + 1)
    });
    let store =
        SharedStore::open(MemcachedConfig::parse("store.memcached", &value).unwrap()).unwrap();
    // The first answer is there as soon as all servers are connected to.
    wait_until("the store is there", || {
        store.status().instances() >= 1 && store.status().is_available()
    });
    store
}

fn ask(store: &SharedStore, question: StoreCommand) -> Result<CommandResult, StoreError> {
    ask_all(store, &[question]).remove(0)
}

fn question(action: Action, subjects: &[SubjectKey], rule: Rule, cost: u32) -> StoreCommand {
    let demands = vec![LimitCheck { tag: 4, rule, cost }];
    let ask = |subject: &SubjectKey| SubjectCommand {
        subject: *subject,
        demands: demands.clone().into(),
    };
    StoreCommand::about(action, subjects.iter().map(ask).collect())
}

fn gcra(limit: u32, window: Duration) -> Rule {
    Rule::new(Algorithm::Gcra, limit, window, limit)
}

fn subject(number: u64) -> SubjectKey {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
    key[8..].copy_from_slice(&number.to_le_bytes());
    SubjectKey(key)
}

fn admits(store: &SharedStore, subject: SubjectKey, rule: Rule) -> bool {
    ask(store, question(Action::Consume, &[subject], rule, 1)).unwrap().admitted
}

#[test]
fn it_counts_exactly_as_the_rules_say() {
    const OPERATIONS: usize = 6_000;
    let servers = [Server::start(), Server::start()];
    let addresses: Vec<String> = servers.iter().map(Server::address).collect();
    // By one process: another one's clock is a little different, so that both are right about what
    // is over.
    let worlds = [(&addresses[..1], 20), (&addresses[..], 30)];
    for (seed, (addresses, process)) in (1u64..).zip(worlds) {
        let store = open(addresses, process);
        let mut dice = Dice::new(seed);
        let (mut done, mut refused) = (0, 0);
        while done < OPERATIONS {
            let (world, mut model) = (World::new(&mut dice), Model::default());
            for _ in 0..100 {
                let questions = match dice.between(0, 9) {
                    0..=5 => vec![world.question(&mut dice, world.subjects())],
                    // Batches keep their order where one server has all of it.
                    _ if addresses.len() > 1 => vec![world.question(&mut dice, world.subjects())],
                    6 | 7 => world.requests(&mut dice, Shape::Simple, 12),
                    _ => world.requests(&mut dice, Shape::Wide, 12),
                };
                if dice.one_in(20) {
                    // What something else has put in its place counts as none.
                    let subject = *dice.pick(world.subjects());
                    for server in &servers {
                        server.ask(&format!("set {} 0 60 5\r\nhello", key_of("test:", subject)));
                    }
                    model.forget(subject);
                }
                for (question, answer) in questions.iter().zip(ask_all(&store, &questions)) {
                    let answer = answer.unwrap();
                    let clocks: Vec<u64> =
                        answer.statuses.iter().map(|standing| standing.now_us).collect();
                    let wanted = model.answer(question, &clocks);
                    assert_eq!(
                        answer, wanted,
                        "seed {seed}: what is said and what is right, of {question:?}"
                    );
                    refused += usize::from(!answer.admitted);
                }
                done += questions.len();
            }
        }
        assert!(refused > OPERATIONS / 20);
    }
}

#[test]
fn many_processes_on_one_key_never_admit_more_than_its_limit() {
    let server = Server::start();
    let stores: Vec<_> = (0..8).map(|process| open(&[server.address()], process)).collect();
    let (limit, tries) = (500, 200);
    let rule = gcra(limit, 24 * HOUR);
    let key = subject(1);
    let begun = Instant::now();
    let threads: Vec<_> = stores
        .into_iter()
        .map(|store| {
            std::thread::spawn(move || {
                let mut counts = [0u32; 3];
                for _ in 0..tries {
                    let asked = question(Action::Consume, &[key], rule, 1);
                    match ask(&store, asked) {
                        Ok(answer) => counts[usize::from(!answer.admitted)] += 1,
                        Err(StoreError::Contended) => counts[2] += 1,
                        Err(error) => panic!("{error}"),
                    }
                }
                (counts, store)
            })
        })
        .collect();
    let done: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    let sum = |i: usize| done.iter().map(|(counts, _)| counts[i]).sum::<u32>();
    println!(
        "admitted {}, refused {}, met others too often {}, in {:?}",
        sum(0),
        sum(1),
        sum(2),
        begun.elapsed()
    );
    assert!(sum(0) <= limit);
    // What was admitted is what was counted.
    let store = &done[0].1;
    let look = ask(store, question(Action::Look, &[key], rule, 0)).unwrap();
    let standing = look.statuses[0];
    assert_eq!(rule.view(standing.state, standing.now_us).remaining, u64::from(limit - sum(0)));
}

#[test]
fn a_request_of_several_servers_is_charged_everywhere_or_nowhere_in_the_end() {
    let servers = [Server::start(), Server::start(), Server::start()];
    let addresses: Vec<String> = servers.iter().map(Server::address).collect();
    let stores: Vec<_> = (0..4).map(|process| open(&addresses, process)).collect();
    let rule = gcra(60, 24 * HOUR);
    let threads: Vec<_> = (0u64..)
        .zip(stores)
        .map(|(i, store)| {
            std::thread::spawn(move || {
                let mut admitted = HashMap::new();
                for round in 0..60u64 {
                    // Each process has a user of its own; addresses are shared by all.
                    let who = [subject(round % 3), subject(100 + i)];
                    let asked = question(Action::Consume, &who, rule, 1);
                    if ask(&store, asked).is_ok_and(|answer| answer.admitted) {
                        for who in who {
                            *admitted.entry(who).or_insert(0u64) += 1;
                        }
                    }
                }
                (admitted, store)
            })
        })
        .collect();
    let done: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    let mut admitted: HashMap<SubjectKey, u64> = HashMap::new();
    for (counts, _) in &done {
        for (who, count) in counts {
            *admitted.entry(*who).or_default() += count;
        }
    }
    assert!(admitted.values().sum::<u64>() > 100);
    let store = &done[0].1;
    wait_until("everything is given back", || {
        admitted.iter().all(|(who, count)| {
            let look = ask(store, question(Action::Look, &[*who], rule, 0)).unwrap();
            let standing = look.statuses[0];
            let used = 60 - rule.view(standing.state, standing.now_us).remaining;
            assert!(used >= *count, "more was admitted than was counted");
            used == *count
        })
    });
    // Each server has some of the subjects.
    for server in &servers {
        assert!(!server.ask("stats items").is_empty());
    }
}

#[test]
fn no_item_is_without_an_expiry_from_10_milliseconds_to_400_days() {
    let server = Server::start();
    let store = open(&[server.address()], 0);
    for (number, window, least, most) in [
        (1, Duration::from_millis(10), 0, 3),
        (2, Duration::from_secs(60), 60, 63),
        (3, 30 * DAY, 30 * 86_400, 30 * 86_400 + 8),
        (4, 31 * DAY, 31 * 86_400, 31 * 86_400 + 8),
        (5, 400 * DAY, 400 * 86_400, 400 * 86_400 + 8),
    ] {
        let who = subject(number);
        let rule = gcra(3, window);
        assert!(ask(&store, question(Action::Consume, &[who], rule, 3)).unwrap().admitted);
        let left = server.time_to_live("test:", who);
        assert!((least - 1..=most).contains(&left), "{window:?}: {left}");
        if window > HOUR {
            assert!(!admits(&store, who, rule));
        }
        // What is forgotten has an end as well.
        ask(&store, question(Action::Reset, &[who], rule, 0)).unwrap();
        assert!((0..=3).contains(&server.time_to_live("test:", who)));
        assert!(admits(&store, who, rule));
    }
}

#[test]
fn what_was_counted_is_lost_when_the_server_is_flushed_or_restarted() {
    let mut server = Server::start();
    let store = open(&[server.address()], 0);
    let (who, rule) = (subject(1), gcra(1, HOUR));
    assert!(admits(&store, who, rule));
    assert!(!admits(&store, who, rule));
    assert!(server.ask("flush_all").starts_with("OK"));
    assert!(admits(&store, who, rule));
    assert!(!admits(&store, who, rule));
    let port = server.port;
    server.child.kill().unwrap();
    server.child.wait().unwrap();
    wait_until("the breaker opens", || !store.status().is_available());
    let begun = Instant::now();
    assert_eq!(ask(&store, question(Action::Look, &[who], rule, 1)), Err(StoreError::Unavailable));
    assert!(begun.elapsed() < Duration::from_millis(500), "nobody waits for what is away");
    let _again = Server::start_on(port);
    wait_until("the breaker closes", || store.status().is_available());
    assert!(admits(&store, who, rule));
}

#[test]
fn a_server_that_is_away_or_hangs_takes_its_own_subjects_along_and_no_others() {
    let (mut first, second) = (Server::start(), Server::start());
    let store = open(&[first.address(), second.address()], 0);
    let rule = gcra(1000, HOUR);
    let try_all = || -> Vec<Result<CommandResult, StoreError>> {
        let one = |i| ask(&store, question(Action::Consume, &[subject(i)], rule, 1));
        (0..40).map(one).collect()
    };
    assert!(try_all().iter().all(Result::is_ok));
    second.signal("-STOP");
    // It takes as long as a probe to notice.
    wait_until("half of them are without a store", || {
        let failed = try_all().iter().filter(|answer| answer.is_err()).count();
        (5..=35).contains(&failed)
    });
    let begun = Instant::now();
    let answers = try_all();
    assert!(begun.elapsed() < Duration::from_secs(1));
    assert!(answers.iter().filter(|answer| answer.is_ok()).count() >= 5);
    second.signal("-CONT");
    wait_until("all of them have one again", || try_all().iter().all(Result::is_ok));
    first.child.kill().unwrap();
    first.child.wait().unwrap();
    wait_until("the others are without", || try_all().iter().any(Result::is_err));
    assert!(try_all().iter().any(Result::is_ok));
    assert!(store.status().is_available());
    // Those of the server that stayed were counted all the time.
    drop(second);
    wait_until("nothing is left", || !store.status().is_available());
}

#[test]
fn processes_count_each_other_and_agree_on_the_time() {
    let server = Server::start();
    let stores: Vec<_> = (0..3).map(|process| open(&[server.address()], process)).collect();
    wait_until("they have seen each other", || {
        stores.iter().all(|store| store.status().instances() == 3)
    });
    std::thread::sleep(Duration::from_millis(2500));
    let times: Vec<u64> = stores
        .iter()
        .map(|store| {
            let look = question(Action::Look, &[subject(1)], gcra(1, HOUR), 0);
            ask(store, look).unwrap().statuses[0].now_us
        })
        .collect();
    let spread = times.iter().max().unwrap() - times.iter().min().unwrap();
    println!("their clocks are {spread} us apart");
    assert!(spread < 300_000);
}
