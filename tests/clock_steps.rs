//! The clock of the store is set while it counts: what is used up comes back in its time, and
//! nobody gets more than the limit twice.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    unreachable_pub,
    dead_code,
    reason = "helpers of tests are tests"
)]

mod support {
    pub mod ask;
    pub mod clock;
    pub mod process;
    pub mod redis;
}

use std::thread::sleep;
use std::time::{Duration, Instant};

use keepstone::clock::Now;
use keepstone::quota::algorithm::{Algorithm, Rule};
use keepstone::quota::{
    Action, CommandResult, LimitCheck, StoreCommand, SubjectCommand, SubjectKey,
};
use keepstone::shared_store::SharedStore;
use serde_json::json;
use support::ask::ask_all;
use support::clock::ClockedServer;
use support::process::Process;

const HOUR_MS: i64 = 3_600_000;
const SUBJECT: SubjectKey = SubjectKey([7; 16]);

fn question(action: Action, rules: &[Rule]) -> StoreCommand {
    let demand = |(tag, rule): (u32, &Rule)| LimitCheck { tag, rule: *rule, cost: 1 };
    let demands = (0..).step_by(4).zip(rules).map(demand).collect();
    StoreCommand::about(action, vec![SubjectCommand { subject: SUBJECT, demands }])
}

fn ask(store: &SharedStore, action: Action, rules: &[Rule]) -> CommandResult {
    ask_all(store, &[question(action, rules)]).remove(0).unwrap()
}

fn admits(store: &SharedStore, rules: &[Rule]) -> bool {
    ask(store, Action::Consume, rules).admitted
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(20), "waited in vain: {what}");
        sleep(Duration::from_millis(50));
    }
}

fn rule(algorithm: Algorithm) -> Rule {
    Rule::new(algorithm, 3, Duration::from_secs(2), 3)
}

/// One limit of GCRA has a script of its own.
fn sets() -> [Vec<Rule>; 5] {
    let [gcra, fixed, sliding] =
        [Algorithm::Gcra, Algorithm::FixedWindow, Algorithm::SlidingWindow].map(rule);
    [vec![gcra], vec![fixed], vec![sliding], vec![gcra, fixed], vec![sliding, gcra.watching()]]
}

#[test]
fn a_key_that_is_used_up_is_free_in_its_time_after_the_clock_was_set_back() {
    let server = ClockedServer::start();
    for (i, rules) in sets().into_iter().enumerate() {
        server.shift_clock(0);
        let store = server.store(&format!("back{i}:"), 5_000);
        wait_until("it is used up", || !admits(&store, &rules));
        server.shift_clock(-HOUR_MS);
        assert!(!admits(&store, &rules), "nothing is free at once");
        wait_until("it is free", || admits(&store, &rules));
    }
}

#[test]
fn who_only_looks_after_the_clock_was_set_back_sees_the_key_come_free() {
    let server = ClockedServer::start();
    for (i, rules) in sets().into_iter().enumerate() {
        server.shift_clock(0);
        let store = server.store(&format!("look{i}:"), 5_000);
        wait_until("it is used up", || !admits(&store, &rules));
        server.shift_clock(-HOUR_MS);
        wait_until("it is free", || ask(&store, Action::Look, &rules).admitted);
    }
}

#[test]
fn a_block_and_a_signal_last_no_longer_than_they_were_meant_to_when_the_clock_is_set_back() {
    let server = ClockedServer::start();
    for (i, rules) in sets().into_iter().enumerate() {
        server.shift_clock(0);
        let store = server.store(&format!("block{i}:"), 5_000);
        ask(&store, Action::Block(3_000_000), &rules);
        ask(&store, Action::Signal(500, 3_000_000), &rules);
        assert!(!admits(&store, &rules));
        server.shift_clock(-HOUR_MS);
        assert!(!admits(&store, &rules), "it is still blocked");
        wait_until("the block is over", || admits(&store, &rules));
        let signalled = || {
            let answer = ask(&store, Action::Look, &rules);
            answer.statuses.iter().any(|standing| standing.factor != 1000)
        };
        wait_until("the signal is over", || !signalled());
    }
}

#[test]
fn a_block_holds_its_whole_time_where_the_clock_goes_back_before_somebody_asks() {
    let server = ClockedServer::start();
    let store = server.store("held:", 5_000);
    let rules = [rule(Algorithm::Gcra)];
    ask(&store, Action::Block(60_000_000), &rules);
    server.shift_clock(-HOUR_MS);
    sleep(Duration::from_secs(2));
    let answer = ask(&store, Action::Consume, &rules);
    let standing = answer.statuses[0];
    let left_us = standing.blocked_until_us - standing.now_us;
    assert!(!answer.admitted && (55_000_000..=61_000_000).contains(&left_us), "{left_us}");
}

#[test]
fn a_process_that_believes_a_refusal_asks_again_in_its_time_whichever_way_the_clock_is_set() {
    let server = ClockedServer::start();
    let policies = json!([
        { "name": "gcra", "limit": 20, "window": "2s" },
        { "name": "fixed", "limit": 20, "window": "2s", "algorithm": "fixed-window" },
    ]);
    for (prefix, step) in [("back:", -HOUR_MS), ("ahead:", HOUR_MS), ("far:", -100 * HOUR_MS)] {
        server.shift_clock(0);
        let process = Process::start(&server, prefix, &policies, 0);
        wait_until("it is used up", || !process.ask("203.0.113.5").0);
        server.shift_clock(step);
        wait_until("it is free", || process.ask("203.0.113.5").0);
        wait_until("it is used up again", || !process.ask("203.0.113.5").0);
        wait_until("and free again", || process.ask("203.0.113.5").0);
    }
}

#[test]
fn what_is_left_of_a_lease_is_not_given_back_into_the_next_window() {
    const LIMIT: u64 = 2_000;
    for algorithm in ["fixed-window", "sliding-window"] {
        let server = ClockedServer::start();
        let policies =
            json!({ "name": "api", "limit": LIMIT, "window": "1h", "algorithm": algorithm });
        let [one, two] = [0, 1].map(|i| Process::start(&server, "lease:", &policies, i));
        let burst = |process: &Process, count: u64| {
            (0..count).filter(|_| process.ask("203.0.113.9").0).count() as u64
        };
        // The window of an hour ends in one and a half seconds.
        let left_ms = 3_600_000 - Now::read().unix_us / 1_000 % 3_600_000;
        server.shift_clock(i64::try_from(left_ms).unwrap() - 1_500);
        assert_eq!(burst(&one, 300), 300);
        sleep(Duration::from_secs(2));
        // The other one uses some of the new window before the first gives back what it did not
        // spend.
        let mut admitted = burst(&two, 400);
        admitted += burst(&one, LIMIT) + burst(&two, LIMIT);
        assert!(admitted <= LIMIT, "{algorithm}: {admitted} of {LIMIT}");
        assert!(admitted >= LIMIT / 2, "{algorithm}: {admitted} of {LIMIT}");
    }
}
