//! The possible answers of a process that connects to a primary without the last revocation.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::time::{Duration, sleep};

use super::process::Process;
use super::simulate;
use super::tests::started;
use super::world::World;

fn config(revocation: &Value) -> Value {
    json!({
        "jwt": {
            "issuer": "https://id.example", "audience": "api",
            "secret": "k7Qm2vXw9TzR4bNf8LsYcJ3hGdPe6UaV", "refresh": true,
        },
        "revocation": revocation,
    })
}

async fn one(world: &Arc<World>, revocation: &Value) -> Process {
    started(world, 1, &config(revocation)).await.remove(0)
}

#[test]
fn nobody_takes_what_the_next_primary_lacks_before_the_one_who_revoked_it_is_back() {
    simulate(async {
        let (world, _ending) = World::begin_calm(1, 2);
        let revoker = one(&world, &json!({})).await;
        let mut others = Vec::new();
        for revocation in [json!({}), json!({ "mode": "strict" }), json!({ "onStale": "probe" })] {
            others.push(one(&world, &revocation).await);
        }
        let login = revoker.log_in("ada").await.unwrap();
        let token = revoker
            .issue_with(json!({ "sub": "ada", "sid": login.session }).as_object().unwrap().clone());
        sleep(Duration::from_secs(5)).await;
        // The replica receives nothing more, and only the revoker has the revocation.
        world.change(1, |server| server.is_held = true);
        for other in &others {
            world.cut_off(other.number, 0, true);
            world.cut_off(other.number, 1, true);
        }
        world.cut_off(revoker.number, 1, true);
        revoker.log_out(&login.session).await.unwrap();
        sleep(Duration::from_secs(6)).await;
        world.change(0, |server| server.is_alive = false);
        world.promote(1);
        others.push(Process::start(&world, config(&json!({}))));
        for other in &others {
            world.cut_off(other.number, 1, false);
        }
        for step in 0..200 {
            if step == 24 {
                world.cut_off(revoker.number, 1, false);
            }
            for other in &others {
                let code = other.request(Some(&token), "192.0.2.1").await.code();
                assert_ne!(code, "passed", "process {} after {step} steps", other.number);
                assert!(other.refresh(&login).await.is_err(), "process {}", other.number);
            }
            sleep(Duration::from_millis(25)).await;
        }
        for other in &others {
            let code = other.request(Some(&token), "192.0.2.1").await.code();
            assert_eq!(code, "token_revoked", "process {}", other.number);
        }
    });
}
