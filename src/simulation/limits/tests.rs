//! Histories of limits that are told in full.

use serde_json::Value;
use tokio::time::{Duration, sleep};

use super::super::process::Process;
use super::super::simulate;
use super::super::tests::started;
use super::super::world::World;
use super::{Client, Kind, Limits};

const CLIENT: &str = "192.0.2.1";

fn config() -> Value {
    Limits::config(2).0
}

async fn code(process: &Process, path: &str) -> &'static str {
    let (outcome, exchange) = process.ask_for(path, CLIENT, &[]).await;
    process.end(exchange);
    outcome.code()
}

#[test]
fn processes_that_start_while_the_store_is_away_divide_a_limit_by_the_number_that_was_told() {
    simulate(async {
        let (world, _ending) = World::begin(1, 1);
        world.change(0, |server| server.is_alive = false);
        let mut passed = 0;
        for _ in 0..3 {
            let process = Process::start(&world, config());
            sleep(Duration::from_secs(1)).await;
            for _ in 0..120 {
                passed += usize::from(code(&process, "/leased").await == "passed");
            }
        }
        assert_eq!(passed, 3 * (100 / 3));
    });
}

#[test]
fn a_key_that_is_used_up_is_not_locked_while_the_clock_of_the_store_is_behind() {
    simulate(async {
        let (world, _ending) = World::begin(1, 1);
        let processes = started(&world, 2, &config()).await;
        for _ in 0..60 {
            code(&processes[0], "/closed").await;
        }
        assert_eq!(code(&processes[0], "/closed").await, "rate_limited");
        world.change(0, |server| server.skew_us = -3_600_000_000);
        assert_eq!(code(&processes[1], "/closed").await, "rate_limited");
        sleep(Duration::from_secs(61)).await;
        assert_eq!(code(&processes[1], "/closed").await, "passed");
    });
}

#[test]
fn a_clock_that_jumps_ahead_frees_no_place_and_makes_no_used_proof_good() {
    simulate(async {
        let (world, _ending) = World::begin(1, 1);
        let processes = started(&world, 2, &config()).await;
        let [one, other] = &processes[..] else { panic!("there are two") };
        let client = Client::new(one);
        let show = async |process: &Process, proof: &str| {
            let headers = [("Authorization", client.authorization.as_str()), ("DPoP", proof)];
            process.ask_for("/proof", CLIENT, &headers).await.0.code()
        };
        // Not of the second in which the list began.
        sleep(Duration::from_secs(2)).await;
        let proof = client.proof(world.true_us(), None);
        assert_eq!(show(one, &proof).await, "passed");
        let mut held = Vec::new();
        for _ in 0..3 {
            let (outcome, exchange) = one.ask_for("/places", CLIENT, &[]).await;
            assert_eq!(outcome.code(), "passed");
            held.push(exchange);
        }
        for skew_us in [61_000_000, 192_000_000] {
            world.change(0, |server| server.skew_us = skew_us);
            assert_eq!(code(other, "/places").await, "rate_limited");
            sleep(Duration::from_secs(10)).await;
            assert_eq!(code(other, "/places").await, "rate_limited");
        }
        assert_ne!(show(other, &proof).await, "passed");
    });
}

#[test]
fn what_a_failover_loses_of_what_was_acknowledged_is_published_again() {
    simulate(async {
        let (world, _ending) = World::begin(1, 2);
        let processes = started(&world, 2, &config()).await;
        world.change(1, |server| server.is_held = true);
        processes[0].block(CLIENT, true).await.expect("the store has it");
        world.change(0, |server| server.is_alive = false);
        world.promote(1);
        sleep(Duration::from_secs(1)).await;
        world.demote(0, 9);
        sleep(Duration::from_secs(5)).await;
        assert_eq!(code(&processes[1], "/changed").await, "client_blocked");
    });
}

#[test]
fn an_unspent_lease_is_given_back_to_no_later_window() {
    simulate(async {
        let (world, _ending) = World::begin(1, 1);
        let processes = started(&world, 3, &config()).await;
        let ahead = |until_us: u64| Duration::from_micros(until_us - world.true_us());
        for window in 2..6_u64 {
            // Each process has a lease as the window ends, and spends no more of it.
            sleep(ahead(window * 10_000_000 - 180_000)).await;
            let leasing = processes.iter().map(|process| {
                let process = process.clone();
                tokio::spawn(async move {
                    for _ in 0..25 {
                        code(&process, "/leased").await;
                    }
                })
            });
            for task in leasing.collect::<Vec<_>>() {
                task.await.expect("it ends");
            }
            sleep(ahead(window * 10_000_000 + 30_000)).await;
            let mut passed = 0;
            for number in 0..200 {
                let (outcome, exchange) =
                    processes[number % 3].ask_for("/leased", CLIENT, &[]).await;
                // What a process admits by its share is no matter of leases.
                let by_lease = exchange.limits.first().is_some_and(|limit| limit.limit == 100);
                passed += usize::from(outcome.is_passed() && by_lease);
            }
            assert!(passed <= 102, "{passed} in window {window}");
        }
    });
}
