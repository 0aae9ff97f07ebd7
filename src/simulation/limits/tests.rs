//! Fixed histories of limits.

use serde_json::Value;
use tokio::time::{Duration, sleep};

use super::super::process::Process;
use super::super::redis::Server;
use super::super::simulate;
use super::super::tests::started;
use super::super::world::World;
use super::{Client, Kind, Limits, SLOTS};
use crate::clients::ListAction;

const CLIENT: &str = "192.0.2.1";

fn config() -> Value {
    Limits::config(2).0
}

async fn code(process: &Process, path: &str) -> &'static str {
    let (outcome, exchange) = process.ask_for(path, CLIENT, &[]).await;
    process.end(exchange);
    outcome.code()
}

/// Asks for a slot, and again if the store did not answer in time.
async fn slot(process: &Process) -> &'static str {
    loop {
        let (outcome, exchange) = process.ask_for("/slots", CLIENT, &[]).await;
        let by_store = exchange.limits.first().is_some_and(|limit| limit.limit == SLOTS.0);
        process.end(exchange);
        if by_store {
            return outcome.code();
        }
        sleep(Duration::from_millis(50)).await;
    }
}

#[test]
fn processes_that_start_while_the_store_is_away_divide_a_limit_by_the_number_that_was_told() {
    simulate(async {
        let (world, _ending) = World::begin_calm(1, 1);
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
        let (world, _ending) = World::begin_calm(1, 1);
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
        let (world, _ending) = World::begin_calm(1, 1);
        let processes = started(&world, 2, &config()).await;
        let [one, other] = &processes[..] else { panic!("there are two") };
        let client = Client::new(one);
        // Not in the second in which the list began.
        sleep(Duration::from_secs(2)).await;
        let proof = client.proof(world.true_us(), None);
        assert_eq!(client.show(one, &proof).await, "passed");
        let mut held = Vec::new();
        for _ in 0..3 {
            let (outcome, exchange) = one.ask_for("/slots", CLIENT, &[]).await;
            assert_eq!(outcome.code(), "passed");
            held.push(exchange);
        }
        for skew_us in [61_000_000, 192_000_000] {
            world.change(0, |server| server.skew_us = skew_us);
            assert_eq!(slot(other).await, "rate_limited");
            sleep(Duration::from_secs(10)).await;
            assert_eq!(slot(other).await, "rate_limited");
        }
        assert_ne!(client.show(other, &proof).await, "passed");
    });
}

#[test]
fn what_a_failover_loses_of_what_was_acknowledged_is_published_again() {
    simulate(async {
        let (world, _ending) = World::begin_calm(1, 2);
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
fn what_is_published_again_does_not_win_over_what_was_said_after_it_and_is_lost_as_well() {
    simulate(async {
        let (world, _ending) = World::begin_calm(1, 1);
        let processes = started(&world, 3, &config()).await;
        let [one, other, third] = &processes[..] else { panic!("there are three") };
        one.block(CLIENT, true).await.expect("the store has it");
        sleep(Duration::from_secs(3)).await;
        // The first one never reads that its override was removed, and is the first to detect that
        // the store has lost everything.
        world.cut_off(one.number, 0, true);
        other.block(CLIENT, false).await.expect("the store has it");
        third.set_limit("changed", 1009).await.expect("the store has it");
        for process in [other, third] {
            world.cut_off(process.number, 0, true);
        }
        world.change(0, Server::flush);
        world.cut_off(one.number, 0, false);
        sleep(Duration::from_secs(4)).await;
        for process in [other, third] {
            world.cut_off(process.number, 0, false);
        }
        sleep(Duration::from_secs(5)).await;
        for process in &processes {
            assert_eq!(code(process, "/changed").await, "passed", "at {}", process.number);
        }
        let late = Process::start(&world, config());
        sleep(Duration::from_secs(3)).await;
        assert_eq!(code(&late, "/changed").await, "passed");
    });
}

#[test]
fn a_word_that_was_lost_is_published_again_where_an_older_one_came_into_its_place() {
    simulate(async {
        let (world, _ending) = World::begin_calm(1, 2);
        let processes = started(&world, 2, &config()).await;
        let [one, other] = &processes[..] else { panic!("there are two") };
        world.change(1, |server| server.is_held = true);
        one.block("192.0.2.1", true).await.expect("the store has it");
        // From now on the places of notices follow each other one by one.
        for server in 0..2 {
            world.change(server, |server| server.skew_us = -84_000_000);
        }
        other.list("192.0.2.2", Some(ListAction::Allowed)).await.expect("the store has it");
        sleep(Duration::from_secs(3)).await;
        world.cut_off(one.number, 0, true);
        other.block("192.0.2.3", false).await.expect("the store has it");
        other.block("192.0.2.2", true).await.expect("the store has it");
        world.change(0, |server| server.is_alive = false);
        world.promote(1);
        world.cut_off(other.number, 1, true);
        sleep(Duration::from_secs(4)).await;
        world.cut_off(other.number, 1, false);
        sleep(Duration::from_secs(4)).await;
        for process in &processes {
            let (outcome, _) = process.ask_for("/changed", "192.0.2.2", &[]).await;
            assert_eq!(outcome.code(), "client_blocked", "at {}", process.number);
        }
    });
}

#[test]
fn a_word_wins_over_an_earlier_one_that_was_lost_unread_also_where_the_clock_was_set_back() {
    simulate(async {
        let (world, _ending) = World::begin_calm(1, 2);
        let processes = started(&world, 2, &config()).await;
        let [one, other] = &processes[..] else { panic!("there are two") };
        sleep(Duration::from_secs(3)).await;
        world.change(1, |server| server.is_held = true);
        world.cut_off(other.number, 0, true);
        one.list(CLIENT, Some(ListAction::Allowed)).await.expect("the store has it");
        world.cut_off(one.number, 1, true);
        world.change(0, |server| server.is_alive = false);
        world.promote(1);
        world.change(1, |server| server.skew_us = -84_000_000);
        sleep(Duration::from_secs(2)).await;
        other.block(CLIENT, true).await.expect("the store has it");
        world.cut_off(one.number, 1, false);
        sleep(Duration::from_secs(4)).await;
        for process in &processes {
            assert_eq!(code(process, "/changed").await, "client_blocked", "at {}", process.number);
        }
    });
}

#[test]
fn a_block_ends_in_its_time_wherever_the_clock_of_the_store_is_set() {
    for skew_us in [-3_600_000_000, 7_200_000_000] {
        simulate(async {
            let (world, _ending) = World::begin_calm(1, 1);
            let processes = started(&world, 2, &config()).await;
            processes[0].list_for(CLIENT, ListAction::Blocked, 20_000).await.expect("it is kept");
            sleep(Duration::from_secs(2)).await;
            world.change(0, |server| server.skew_us = skew_us);
            for (after_s, wanted) in [(15, "client_blocked"), (5, "passed")] {
                sleep(Duration::from_secs(after_s)).await;
                for process in &processes {
                    assert_eq!(code(process, "/changed").await, wanted, "{skew_us}");
                }
            }
        });
    }
}

#[test]
fn a_process_that_starts_with_a_clock_that_is_ahead_learns_who_is_blocked() {
    for seed in 1..20 {
        simulate(async {
            let (world, _ending) = World::begin_calm(seed, 1);
            let processes = started(&world, 1, &config()).await;
            processes[0].block(CLIENT, true).await.expect("it is kept");
            let late = Process::start(&world, config());
            world.skew(late.number, 7_200_000_000);
            sleep(Duration::from_secs(5)).await;
            assert_eq!(code(&late, "/changed").await, "client_blocked", "seed {seed}");
        });
    }
}

#[test]
fn what_was_said_is_published_again_where_its_text_alone_was_lost() {
    simulate(async {
        let (world, _ending) = World::begin_calm(1, 1);
        let processes = started(&world, 2, &config()).await;
        processes[0].block(CLIENT, true).await.expect("it is kept");
        sleep(Duration::from_secs(2)).await;
        let now_us = world.true_us();
        world.change(0, |server| {
            let command = ["DEL", "keepstone:{notices}"].map(|word| word.as_bytes().to_vec());
            assert_eq!(server.run(now_us, &command), Ok(redis::Value::Int(1)));
        });
        sleep(Duration::from_secs(4)).await;
        let late = Process::start(&world, config());
        sleep(Duration::from_secs(4)).await;
        assert_eq!(code(&late, "/changed").await, "client_blocked");
    });
}

#[test]
fn an_unspent_lease_is_given_back_to_no_later_window() {
    simulate(async {
        let (world, _ending) = World::begin_calm(1, 1);
        let processes = started(&world, 3, &config()).await;
        let until = async |us: u64| {
            sleep(Duration::from_micros(us.saturating_sub(world.true_us()))).await;
        };
        // The number of requests that a process admits, except by its share.
        let ask = async |process: &Process, count: usize| {
            let mut passed = 0;
            for _ in 0..count {
                let (outcome, exchange) = process.ask_for("/leased", CLIENT, &[]).await;
                let by_store = exchange.limits.first().is_some_and(|limit| limit.limit == 100);
                passed += usize::from(outcome.is_passed() && by_store);
            }
            passed
        };
        for window in (2..22_u64).step_by(2) {
            // The first process has a lease when the window ends, and does not spend all of it. The
            // next window is exhausted when it returns the rest.
            until(window * 10_000_000 - 300_000).await;
            for _ in 0..50 {
                ask(&processes[0], 1).await;
                sleep(Duration::from_millis(4)).await;
            }
            until(window * 10_000_000 + 30_000).await;
            let mut passed = ask(&processes[1], 120).await;
            passed += ask(&processes[0], 40).await;
            sleep(Duration::from_millis(100)).await;
            passed += ask(&processes[2], 40).await;
            assert!(passed <= 101, "{passed} in window {window}");
        }
    });
}

#[test]
fn a_clock_that_jumps_ahead_frees_no_place_whichever_process_is_the_first_to_renew() {
    for (held_ms, jump_ms, ask_ms) in (0..4_u64)
        .flat_map(|held| (0..4_u64).map(move |jump| (800 * held, 800 * jump)))
        .flat_map(|(held, jump)| [700, 1_400, 2_800].map(move |ask| (held, jump, ask)))
    {
        simulate(async {
            let (world, _ending) = World::begin_calm(1, 1);
            let processes = started(&world, 3, &config()).await;
            let mut held = Vec::new();
            for number in [0, 1, 1] {
                let (outcome, exchange) = processes[number].ask_for("/slots", CLIENT, &[]).await;
                assert_eq!(outcome.code(), "passed");
                held.push(exchange);
                sleep(Duration::from_millis(held_ms)).await;
            }
            sleep(Duration::from_millis(jump_ms)).await;
            world.change(0, |server| server.skew_us = 61_000_000);
            sleep(Duration::from_millis(ask_ms)).await;
            let told = format!("{held_ms} {jump_ms} {ask_ms}");
            assert_eq!(slot(&processes[2]).await, "rate_limited", "{told}");
        });
    }
}

#[test]
fn a_place_of_a_dead_process_does_not_pass_for_a_renewed_one_after_the_clock_was_set_back() {
    simulate(async {
        let (world, _ending) = World::begin_calm(1, 1);
        let processes = started(&world, 3, &config()).await;
        let mut held = Vec::new();
        world.change(0, |server| server.skew_us = 90_000_000);
        for number in [0, 1, 1] {
            let (outcome, exchange) = processes[number].ask_for("/slots", CLIENT, &[]).await;
            assert_eq!(outcome.code(), "passed");
            held.push(exchange);
        }
        processes[0].kill();
        world.change(0, |server| server.skew_us = -95_000_000);
        // By now process 1 has renewed its two.
        sleep(Duration::from_secs(40)).await;
        world.change(0, |server| server.skew_us = -34_000_000);
        assert_eq!(slot(&processes[2]).await, "rate_limited");
    });
}

/// Runs a command at the server.
fn run(world: &World, words: &[&str]) -> redis::Value {
    let words: Vec<_> = words.iter().map(|word| word.as_bytes().to_vec()).collect();
    let mut servers = world.servers.lock();
    servers[0].run(world.true_us(), &words).unwrap()
}

#[test]
fn all_that_was_said_is_published_again_within_two_seconds_however_much_it_is() {
    simulate(async {
        let (world, _ending) = World::begin_calm(1, 1);
        let process = &started(&world, 1, &config()).await[0];
        for i in 0..1_500 {
            let address = format!("10.0.{}.{}", i / 250, i % 250);
            process.list(&address, Some(ListAction::Blocked)).await.unwrap();
        }
        let there = || run(&world, &["ZCARD", "keepstone:{notices}:versions"]);
        assert_eq!(there(), redis::Value::Int(1_500));
        world.change(0, Server::flush);
        sleep(Duration::from_secs(2)).await;
        assert_eq!(there(), redis::Value::Int(1_500));
        // Also on a new connection.
        world.change(0, |server| server.restart(7, 0));
        sleep(Duration::from_secs(2)).await;
        assert_eq!(there(), redis::Value::Int(1_500));
    });
}

#[test]
fn what_something_else_has_put_in_the_place_of_a_key_is_none() {
    simulate(async {
        let (world, _ending) = World::begin_calm(1, 1);
        let processes = started(&world, 2, &config()).await;
        let [one, other] = &processes[..] else { panic!("there are two") };
        let token = one.issue("ada");
        one.revoke_token(&token).await.unwrap();
        let [said, places, ends] =
            ["", ":versions", ":ends"].map(|end| format!("keepstone:{{notices}}{end}"));
        for key in ["keepstone:live", &said, &places, &ends, "keepstone:{rev}"] {
            run(&world, &["SET", key, "x"]);
            if key == said {
                // At once, before it was read.
                one.block("192.0.2.7", true).await.unwrap();
            }
            sleep(Duration::from_secs(5)).await;
            assert_eq!(code(one, "/closed").await, "passed", "{key}");
            one.block("192.0.2.9", true).await.unwrap();
            one.revoke_token(&one.issue("eve")).await.unwrap();
            sleep(Duration::from_secs(2)).await;
            let seen = other.request(None, "192.0.2.9").await;
            assert_eq!(seen.code(), "client_blocked", "{key}");
            one.block("192.0.2.9", false).await.unwrap();
            sleep(Duration::from_secs(12)).await;
        }
        let late = &started(&world, 1, &config()).await[0];
        sleep(Duration::from_secs(2)).await;
        assert_eq!(late.request(None, "192.0.2.7").await.code(), "client_blocked");
        assert_eq!(late.request(Some(&token), "192.0.2.1").await.code(), "token_revoked");
    });
}

/// Sends a proof: the code and the nonce of the answer.
async fn shown(process: &Process, client: &Client, proof: &str) -> (&'static str, Option<String>) {
    let headers = [("Authorization", client.authorization.as_str()), ("DPoP", proof)];
    let (outcome, exchange) = process.ask_for("/proof", CLIENT, &headers).await;
    let nonce = exchange.headers.iter().find(|(name, _)| *name == "DPoP-Nonce");
    (outcome.code(), nonce.map(|(_, value)| value.to_string()))
}

#[test]
fn small_steps_ahead_make_no_proof_good_that_was_used_before_the_list_began_anew() {
    for steps in
        [&[3_700_000][..], &[600_000, 600_000, 600_000], &[9_000_000, -9_500_000, 9_000_000]]
    {
        simulate(async {
            let (world, _ending) = World::begin_calm(1, 1);
            let processes = started(&world, 2, &config()).await;
            let [one, other] = &processes[..] else { panic!("there are two") };
            let client = Client::new(one);
            sleep(Duration::from_secs(3)).await;
            let used = client.proof(world.true_us(), None);
            assert_eq!(client.show(one, &used).await, "passed");
            let mut skew_us = 142_000_000;
            world.change(0, |server| server.skew_us = skew_us);
            assert_eq!(client.show(other, &used).await, "dpop_nonce");
            for step_us in steps {
                sleep(Duration::from_millis(20)).await;
                skew_us += step_us;
                world.change(0, |server| server.skew_us = skew_us);
            }
            for process in [other, one] {
                let before = client.proof(world.true_us() - 500_000, None);
                let (code, nonce) = shown(other, &client, &before).await;
                assert_eq!(code, "dpop_nonce");
                let next = client.proof(world.true_us(), nonce.as_deref());
                assert_eq!(shown(other, &client, &next).await.0, "passed");
                assert_ne!(client.show(process, &used).await, "passed");
            }
            sleep(Duration::from_secs(3)).await;
            let proof = client.proof(world.true_us(), None);
            assert_eq!(client.show(one, &proof).await, "passed");
            assert_ne!(client.show(other, &used).await, "passed");
        });
    }
}

#[test]
fn many_steps_ahead_make_no_used_proof_good_however_small_they_are() {
    simulate(async {
        let (world, _ending) = World::begin_calm(1, 1);
        let processes = started(&world, 2, &config()).await;
        let [one, other] = &processes[..] else { panic!("there are two") };
        let client = Client::new(one);
        // With a list that is far older than any proof.
        sleep(Duration::from_secs(300)).await;
        let used = client.proof(world.true_us(), None);
        assert_eq!(client.show(one, &used).await, "passed");
        for step in 1..=17 {
            world.change(0, |server| server.skew_us = step * 7_500_000);
            sleep(Duration::from_millis(2_500)).await;
        }
        assert_ne!(client.show(other, &used).await, "passed");
        let proof = client.proof(world.true_us(), None);
        assert_eq!(client.show(other, &proof).await, "passed");
    });
}

#[test]
fn what_is_published_again_is_read_also_where_it_comes_in_before_what_was_read_last() {
    for seed in 1..=40 {
        simulate(async {
            let (world, _ending) = World::begin_calm(seed, 1);
            let processes = started(&world, 3, &config()).await;
            let [one, other, third] = &processes[..] else { panic!("there are three") };
            sleep(Duration::from_secs(2)).await;
            one.block(CLIENT, true).await.expect("the store has it");
            world.cut_off(one.number, 0, true);
            world.change(0, Server::flush);
            // An override by a clock that is ahead is read last.
            world.change(0, |server| server.skew_us = 60_000_000);
            other.block("192.0.2.9", true).await.expect("the store has it");
            sleep(Duration::from_secs(3)).await;
            world.change(0, |server| server.skew_us = 0);
            world.change(0, Server::flush);
            world.cut_off(one.number, 0, false);
            sleep(Duration::from_secs(6)).await;
            assert_eq!(code(third, "/changed").await, "client_blocked", "seed {seed}");
        });
    }
}
