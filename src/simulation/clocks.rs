//! What is revoked by processes, and beside processes, whose clocks are wrong.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::time::{Duration, sleep};

use super::process::Process;
use super::simulate;
use super::world::World;

const MINUTE_US: i64 = 60_000_000;

fn config() -> Value {
    json!({
        "jwt": {
            "issuer": "https://id.example", "audience": "api", "maxLifetime": "1h",
            "secret": "k7Qm2vXw9TzR4bNf8LsYcJ3hGdPe6UaV", "refresh": true,
        },
    })
}

/// A process that may decide about tokens, with a clock that is wrong by `skew_us`.
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
            let (world, _ending) = World::begin(1, 1);
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
