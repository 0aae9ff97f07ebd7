//! Fixed histories of sessions and revocations.

use serde_json::{Value, json};
use tokio::time::{Duration, sleep};

use super::super::process::Process;
use super::super::simulate;
use super::super::tests::started;
use super::super::world::World;
use crate::guard::refresh::RefreshError;

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
        let (world, _ending) = World::begin_calm(1, 2);
        let processes = started(&world, 2, &config()).await;
        let [one, other] = &processes[..] else { panic!("there are two") };
        let (lost, kept) = (one.issue("ada"), one.issue("eve"));
        // From now on the clocks of the servers are behind the last id: each id follows the
        // previous one.
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

#[test]
fn a_used_refresh_token_ends_the_session_whatever_the_clock_of_the_servers_says_meanwhile() {
    for skew_us in [0, 3_600_000_000, -3_600_000_000] {
        simulate(async {
            let (world, _ending) = World::begin_calm(1, 1);
            let mut config = config();
            config["jwt"]["refresh"] = json!({ "reuseWindow": "0s" });
            let processes = started(&world, 2, &config).await;
            let [one, other] = &processes[..] else { panic!("there are two") };
            let login = one.log_in("ada").await.unwrap();
            let next = one.refresh(&login).await.unwrap();
            world.change(0, |server| server.skew_us = skew_us);
            let replayed = other.refresh(&login).await;
            assert!(matches!(replayed, Err(RefreshError::Reused)), "{skew_us} {replayed:?}");
            assert!(one.refresh(&next).await.is_err(), "{skew_us}");
            sleep(Duration::from_secs(1)).await;
            assert_eq!(code(one, &next.access).await, "token_revoked", "{skew_us}");
        });
    }
}

#[test]
fn a_lost_logout_is_put_back_at_once_by_whoever_reaches_the_next_primary() {
    let told = [(850, 36..46), (900, 71..81), (950, 111..121)];
    for (reached_ms, seed) in
        told.into_iter().flat_map(|(ms, seeds)| seeds.map(move |seed| (ms, seed)))
    {
        simulate(async {
            let (world, _ending) = World::begin_calm(seed, 2);
            let processes = started(&world, 2, &config()).await;
            let [one, other] = &processes[..] else { panic!("there are two") };
            let login = one.log_in("ada").await.unwrap();
            sleep(Duration::from_secs(1)).await;
            world.cut_off(other.number, 0, true);
            world.cut_off(other.number, 1, true);
            sleep(Duration::from_secs(5)).await;
            world.change(1, |server| server.is_held = true);
            one.revoke_subject("ada").await.unwrap().unwrap();
            sleep(Duration::from_millis(20)).await;
            world.cut_off(one.number, 1, true);
            world.change(0, |server| server.is_alive = false);
            world.promote(1);
            world.cut_off(other.number, 1, false);
            sleep(Duration::from_millis(reached_ms)).await;
            world.cut_off(one.number, 1, false);
            for _ in 0..200 {
                let refreshed = other.refresh(&login).await;
                assert!(refreshed.is_err(), "{reached_ms} {seed}");
                sleep(Duration::from_millis(10)).await;
            }
        });
    }
}
