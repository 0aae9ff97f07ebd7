//! Histories of sessions and revocations that are told in full.

use serde_json::{Value, json};
use tokio::time::{Duration, sleep};

use super::super::process::Process;
use super::super::simulate;
use super::super::tests::started;
use super::super::world::World;

fn config() -> Value {
    json!({
        "jwt": {
            "issuer": "https://id.example", "audience": "api",
            "secret": "k7Qm2vXw9TzR4bNf8LsYcJ3hGdPe6UaV", "refresh": true,
        },
    })
}

async fn code(process: &Process, token: &str) -> &'static str {
    process.request(Some(token), "192.0.2.1").await.code()
}

#[test]
fn a_revocation_that_has_the_id_of_a_lost_one_reaches_who_has_read_the_lost_one() {
    simulate(async {
        let (world, _ending) = World::begin(1, 2);
        let processes = started(&world, 2, &config()).await;
        let [one, other] = &processes[..] else { panic!("there are two") };
        let (lost, kept) = (one.issue("ada"), one.issue("eve"));
        // The clocks of the servers are behind the last id from now on: each id follows it.
        for server in 0..2 {
            world.change(server, |server| server.skew_us = -3_600_000_000);
        }
        world.change(1, |server| server.is_held = true);
        world.cut_off(one.number, 0, true);
        other.revoke_token(&lost).await.unwrap();
        sleep(Duration::from_secs(1)).await;
        world.cut_off(other.number, 1, true);
        world.change(0, |server| server.is_alive = false);
        world.promote(1);
        sleep(Duration::from_secs(3)).await;
        one.revoke_token(&kept).await.unwrap();
        world.cut_off(other.number, 1, false);
        sleep(Duration::from_secs(10)).await;
        assert_eq!(code(other, &kept).await, "token_revoked");
        assert_eq!(code(one, &lost).await, "token_revoked");
    });
}
