//! Processes whose clocks are wrong decide as all others do: the store's clock counts.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    unreachable_pub,
    dead_code,
    reason = "helpers of tests are tests"
)]

mod support {
    pub mod ask;
    pub mod process;
    pub mod redis;
}

use keepstone::clock::Now;
use serde_json::json;
use support::process::Process;
use support::redis::Server;

#[test]
fn half_a_minute_of_skew_either_way_changes_no_decision() {
    let server = Server::start();
    let policies = json!([
        { "name": "gcra", "limit": 25, "window": "10m", "exact": true },
        { "name": "fixed", "limit": 30, "window": "365d", "algorithm": "fixed-window", "exact": true },
        { "name": "sliding", "limit": 30, "window": "365d", "algorithm": "sliding-window", "exact": true },
    ]);
    let service = |prefix: &str, skews: [i64; 4]| {
        let processes = skews.map(|skew_s| Process::start(&server, prefix, &policies, skew_s));
        let asked = (0..60).map(|i| processes[i % 4].ask(&format!("203.0.113.{}", i % 2)));
        asked.collect::<Vec<_>>()
    };
    let right = service("right:", [0, 1, 2, 3]);
    let wrong = service("wrong:", [-30, 30, -29, 29]);
    assert_eq!(wrong, right);
    assert_eq!(right.iter().filter(|(allowed, _)| *allowed).count(), 50);
}

#[test]
fn leases_of_processes_with_wrong_clocks_stay_within_the_bound() {
    let server = Server::start();
    let policies = json!({ "name": "api", "limit": 600, "window": "10m", "burst": 400 });
    let processes =
        [-30, 30, -15, 15].map(|skew_s| Process::start(&server, "lease:", &policies, skew_s));
    let began = Now::read();
    let asked = (0..6_000).map(|i| processes[i % 4].ask("203.0.113.9").0);
    let admitted = u64::try_from(asked.filter(|allowed| *allowed).count()).unwrap();
    let seconds = (Now::read().mono_us - began.mono_us) / 1_000_000 + 1;
    // The burst, what has come back meanwhile, and what a lease may be late by.
    assert!((400..=400 + seconds + 1).contains(&admitted), "{admitted} in {seconds} s");
}
