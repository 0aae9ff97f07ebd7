//! Revocations by processes, and next to processes, whose clocks are wrong.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::time::{Duration, sleep};

use super::network::connect;
use super::process::Process;
use super::simulate;
use super::world::{World, inside};
use crate::guard::refresh::RefreshError;
use crate::revocation::RevokeError;
use crate::token::IssueError;

const MINUTE_US: i64 = 60_000_000;

fn config() -> Value {
    json!({
        "jwt": {
            "issuer": "https://id.example", "audience": "api", "maxLifetime": "1h",
            "secret": "k7Qm2vXw9TzR4bNf8LsYcJ3hGdPe6UaV", "refresh": true,
        },
    })
}

/// A process that may decide about tokens, with a clock that is off by `skew_us`.
async fn started(world: &Arc<World>, skew_us: i64) -> Process {
    let process = Process::start_at(world, config(), skew_us);
    while !process.is_ready() {
        sleep(Duration::from_millis(100)).await;
    }
    process
}

async fn code(process: &Process, token: &str) -> &'static str {
    process.request(Some(token), "192.0.2.1").await.code()
}

#[test]
fn a_process_that_starts_with_a_clock_that_is_ahead_knows_what_is_revoked_when_it_is_set_right() {
    for ahead in [20, 120] {
        simulate(async {
            let (world, _ending) = World::begin_calm(1, 1);
            let one = started(&world, 0).await;
            let (token, of_subject) = (one.issue("ada"), one.issue("eve"));
            let login = one.log_in("bob").await.unwrap();
            one.revoke_token(&token).await.unwrap();
            one.revoke_subject("eve").await.unwrap().unwrap();
            one.log_out(&login.session).await.unwrap();
            let late = started(&world, ahead * MINUTE_US).await;
            sleep(Duration::from_secs(70)).await;
            world.skew(late.number, 0);
            assert_eq!(code(&late, &token).await, "token_revoked", "{ahead}");
            assert_eq!(code(&late, &of_subject).await, "token_revoked", "{ahead}");
        });
    }
}

#[test]
fn what_a_process_revokes_whose_clock_is_wrong_is_refused_by_the_others() {
    for wrong in [120, 20, -20, -120] {
        simulate(async {
            let (world, _ending) = World::begin_calm(1, 1);
            let right = started(&world, 0).await;
            let wrong = started(&world, wrong * MINUTE_US).await;
            let token = right.issue("ada");
            let login = right.log_in("bob").await.unwrap();
            wrong.revoke_token(&token).await.unwrap();
            wrong.log_out(&login.session).await.unwrap();
            assert_eq!(wrong.revoke_subject("eve").await, Err(RevokeError::Clock));
            sleep(Duration::from_secs(2)).await;
            assert_eq!(code(&right, &token).await, "token_revoked");
            // The other processes are not affected.
            let token = right.issue_after("eve").unwrap();
            assert_eq!(code(&right, &token).await, "passed");
        });
    }
}

#[test]
fn a_subject_is_revoked_by_the_later_clock_where_they_differ_by_seconds() {
    for seconds in [-50, 50] {
        simulate(async {
            let (world, _ending) = World::begin_calm(1, 1);
            let right = started(&world, 0).await;
            let wrong = started(&world, seconds * 1_000_000).await;
            let (token, login) = (right.issue("ada"), right.log_in("ada").await.unwrap());
            wrong.revoke_subject("ada").await.unwrap().unwrap();
            sleep(Duration::from_secs(2)).await;
            assert_eq!(code(&right, &token).await, "token_revoked", "{seconds}");
            assert_eq!(right.refresh(&login).await.unwrap_err(), RefreshError::Revoked);
            // A login succeeds, or the error names the clock that prevents it.
            match right.issue_after("ada") {
                Ok(token) => assert_eq!(code(&right, &token).await, "passed"),
                Err(error) => assert_eq!((error, seconds), (IssueError::Ahead, 50)),
            }
            sleep(Duration::from_secs(60)).await;
            let token = right.issue_after("ada").unwrap();
            assert_eq!(code(&right, &token).await, "passed", "{seconds}");
        });
    }
}

#[test]
fn a_subject_is_not_revoked_in_part_where_the_clock_of_the_whole_machine_was_set_back() {
    for (seconds, told) in [(50, Ok(Ok(()))), (1_200, Err(RevokeError::ClockSetBack))] {
        simulate(async {
            let (world, _ending) = World::begin_calm(1, 1);
            let process = started(&world, 0).await;
            let token = process.issue_after("ada").unwrap();
            sleep(Duration::from_secs(2)).await;
            let step = |by_us: i64| {
                world.skew(process.number, by_us);
                world.change(0, |server| server.skew_us = by_us);
            };
            step(-seconds * 1_000_000);
            sleep(Duration::from_secs(if seconds == 50 { 1 } else { 85 })).await;
            let revoked = process.revoke_subject("ada").await;
            assert_eq!(revoked, told);
            step(0);
            sleep(Duration::from_secs(2)).await;
            let expected = if told.is_ok() { "token_revoked" } else { "passed" };
            assert_eq!(code(&process, &token).await, expected);
        });
    }
}

#[test]
fn a_subject_that_is_revoked_twice_in_a_second_has_no_login_of_between() {
    simulate(async {
        let (world, _ending) = World::begin_calm(1, 1);
        let (one, other) = (started(&world, 0).await, started(&world, 0).await);
        // The first process receives no revocation in time, so it has to read the stream.
        for revokes in [&other, &one] {
            sleep(Duration::from_millis(1_010 - world.true_us() / 1_000 % 1_000)).await;
            other.revoke_subject("ada").await.unwrap().unwrap();
            let between = other.issue_after("ada").unwrap();
            revokes.revoke_subject("ada").await.unwrap().unwrap();
            sleep(Duration::from_secs(3)).await;
            assert_eq!(code(&one, &between).await, "token_revoked");
            assert_eq!(code(&other, &between).await, "token_revoked");
            let token = other.issue_after("ada").unwrap();
            assert_eq!(code(&other, &token).await, "passed");
        }
    });
}

#[test]
fn a_lock_of_a_process_that_died_before_the_clock_was_set_back_holds_nobody_up() {
    simulate(async {
        let (world, _ending) = World::begin_calm(1, 1);
        let one = started(&world, 0).await;
        let token = one.issue("ada");
        one.revoke_token(&token).await.unwrap();
        let send = async |command: redis::Cmd| {
            let sent = async {
                let link = connect(None).unwrap().await.unwrap();
                link.send_one(&command).await.unwrap();
            };
            inside(one.number, sent).await;
        };
        let lock = "keepstone:{rev}:restoring".to_owned();
        let mut set = redis::cmd("SET");
        set.arg(&lock).arg("1").arg("PX").arg(3_600_000);
        send(set.clone()).await;
        let began_us = world.true_us();
        let late = started(&world, 0).await;
        assert!(world.true_us() - began_us < 10_000_000);
        assert_eq!(code(&late, &token).await, "token_revoked");
        // A process with entries to restore restores them.
        let mut delete = redis::cmd("DEL");
        delete.arg("keepstone:{rev}");
        send(delete).await;
        send(set).await;
        sleep(Duration::from_secs(10)).await;
        let later = started(&world, 0).await;
        assert_eq!(code(&later, &token).await, "token_revoked");
    });
}

#[test]
fn a_process_by_whose_clock_a_session_is_long_over_uses_up_no_token_of_it() {
    simulate(async {
        let (world, _ending) = World::begin_calm(1, 1);
        let right = started(&world, 0).await;
        let ahead = started(&world, 31 * 24 * 60 * MINUTE_US).await;
        let login = right.log_in("ada").await.unwrap();
        assert_eq!(ahead.refresh(&login).await.unwrap_err(), RefreshError::Clock);
        sleep(Duration::from_secs(15)).await;
        assert!(right.refresh(&login).await.is_ok());
    });
}
