//! Fixed histories.

use serde_json::{Value, json};
use tokio::time::{Duration, sleep};

use super::history::{AnyKind, KINDS};
use super::limits::Client;
use super::process::Process;
use super::simulate;
use super::world::World;

fn config() -> Value {
    json!({
        "jwt": {
            "issuer": "https://id.example", "audience": "api",
            "secret": "k7Qm2vXw9TzR4bNf8LsYcJ3hGdPe6UaV", "refresh": true,
        },
        "rateLimit": { "name": "api", "limit": 5, "window": "1m", "exact": true },
    })
}

#[test]
fn a_revocation_reaches_the_other_process_and_limits_are_shared() {
    simulate(async {
        let (world, _ending) = World::begin_calm(7, 2);
        let (one, other) = (Process::start(&world, config()), Process::start(&world, config()));
        while !(one.is_ready() && other.is_ready()) {
            sleep(Duration::from_millis(100)).await;
        }
        let token = one.issue("ada");
        assert_eq!(other.request(Some(&token), "192.0.2.1").await.code(), "passed");
        one.revoke_token(&token).await.unwrap();
        assert_eq!(one.request(Some(&token), "192.0.2.1").await.code(), "token_revoked");
        sleep(Duration::from_secs(1)).await;
        assert_eq!(other.request(Some(&token), "192.0.2.1").await.code(), "token_revoked");
        let token = other.issue("eve");
        for _ in 0..4 {
            assert_eq!(one.request(Some(&token), "192.0.2.1").await.code(), "passed");
        }
        assert_eq!(other.request(Some(&token), "192.0.2.1").await.code(), "rate_limited");
        let login = one.log_in("ada").await.unwrap();
        let next = other.refresh(&login).await.unwrap();
        one.log_out(&next.session).await.unwrap();
        assert!(other.refresh(&next).await.is_err());
        one.block("192.0.2.7", true).await.unwrap();
        sleep(Duration::from_secs(3)).await;
        assert_eq!(other.request(Some(&token), "192.0.2.7").await.code(), "client_blocked");
    });
}

#[test]
fn a_clock_that_is_set_back_in_the_middle_of_a_refresh_costs_no_session() {
    simulate(async {
        let (world, _ending) = World::begin_calm(7, 1);
        let process = Process::start(&world, config());
        while !process.is_ready() {
            sleep(Duration::from_millis(100)).await;
        }
        let login = process.log_in("ada").await.unwrap();
        world.change(0, |server| server.hangs = true);
        let refreshing = tokio::spawn({
            let (process, login) = (process.clone(), login.clone());
            async move { process.refresh(&login).await }
        });
        sleep(Duration::from_millis(100)).await;
        world.skew(process.number, -3_600_000_000);
        world.change(0, |server| server.hangs = false);
        let next = refreshing.await.unwrap().unwrap();
        world.skew(process.number, 0);
        process.refresh(&next).await.unwrap();
    });
}

/// The processes of a service, once they may decide about tokens.
pub(super) async fn started(
    world: &std::sync::Arc<World>,
    count: usize,
    config: &Value,
) -> Vec<Process> {
    let processes: Vec<_> = (0..count).map(|_| Process::start(world, config.clone())).collect();
    while !processes.iter().all(Process::is_ready) {
        sleep(Duration::from_millis(100)).await;
    }
    processes
}

#[test]
fn what_a_process_says_of_a_client_holds_there_at_once_whatever_it_reads_meanwhile() {
    for after_ms in (0..40).map(|step| 100 * step) {
        simulate(async {
            let (world, _ending) = World::begin_calm(1, 1);
            let processes = started(&world, 2, &config()).await;
            let [one, other] = &processes[..] else { panic!("there are two") };
            let token = one.issue("eve");
            // The other process can't receive it yet, and publishes an override itself.
            world.cut_off(other.number, 0, true);
            one.block("192.0.2.7", false).await.unwrap();
            sleep(Duration::from_millis(after_ms)).await;
            let said = tokio::spawn({
                let other = other.clone();
                async move { other.block("192.0.2.7", true).await }
            });
            sleep(Duration::from_millis(50)).await;
            world.cut_off(other.number, 0, false);
            if said.await.unwrap().is_ok() {
                let seen = other.request(Some(&token), "192.0.2.7").await;
                assert_eq!(seen.code(), "client_blocked", "after {after_ms} ms");
            }
        });
    }
}

#[test]
fn a_used_proof_is_not_taken_by_a_process_whose_clock_was_set_back_before_its_first_proof() {
    simulate(async {
        let (world, _ending) = World::begin_calm(1, 1);
        let processes = started(&world, 2, &config()).await;
        let [one, other] = &processes[..] else { panic!("there are two") };
        let client = Client::new(one);
        let proof = client.proof(world.true_us() + 1_000_000, None);
        sleep(Duration::from_secs(2)).await;
        assert_eq!(client.show(one, &proof).await, "passed");
        world.skew(other.number, -100_000_000);
        // Redis remembers it for 130 s, and by that clock it is 40 s old.
        sleep(Duration::from_secs(140)).await;
        assert_eq!(client.show(other, &proof).await, "dpop_proof");
    });
}

#[test]
fn a_used_proof_is_not_taken_again_when_time_has_caught_up_with_its_nonce() {
    simulate(async {
        let (world, _ending) = World::begin_calm(1, 1);
        let mut config = config();
        config["rateLimit"]["limit"] = 1_000.into();
        config["jwt"]["dpopNonce"] = json!({ "secret": "mV3xQ8rTz5LkYw2NcB7dHs9PfJa4GuEe" });
        let processes = started(&world, 2, &config).await;
        let [one, other] = &processes[..] else { panic!("there are two") };
        let ahead = Process::start_at(&world, config.clone(), 8_000_000);
        sleep(Duration::from_secs(5)).await;
        let client = Client::new(one);
        let asked = client.proof(world.true_us(), None);
        let headers = [("Authorization", client.authorization.as_str()), ("DPoP", &asked)];
        let (_, exchange) = ahead.ask_for("/proof", "192.0.2.1", &headers).await;
        let nonce = exchange.headers.iter().find(|(name, _)| *name == "DPoP-Nonce");
        let nonce = nonce.expect("there is a nonce").1.clone();
        let proof = client.proof(world.true_us(), Some(&nonce));
        assert_eq!(client.show(one, &proof).await, "passed");
        sleep(Duration::from_millis(1_500)).await;
        world.change(0, |server| server.restart(7, 0));
        sleep(Duration::from_millis(2_500)).await;
        for process in [other, one].repeat(30) {
            assert_ne!(client.show(process, &proof).await, "passed");
            sleep(Duration::from_millis(500)).await;
        }
        // The client continues with the next nonce.
        let next = client.proof(world.true_us(), Some(&nonce));
        assert_eq!(client.show(other, &next).await, "passed");
    });
}

/// The first seed and the number of histories, from `KEEPSTONE_SEED` and `KEEPSTONE_HISTORIES`.
fn wanted() -> (u64, u64) {
    let number = |name: &str, usual: u64| {
        std::env::var(name).map_or(usual, |text| text.parse().expect("it is a number"))
    };
    (number("KEEPSTONE_SEED", 1), number("KEEPSTONE_HISTORIES", 200))
}

/// The kind of a seed's history, or the kind in `KEEPSTONE_KIND`.
fn kind_of(seed: u64) -> &'static AnyKind {
    match std::env::var("KEEPSTONE_KIND") {
        Ok(name) => KINDS.iter().find(|kind| kind.name == name).expect("there is such a kind"),
        Err(_) => &KINDS[usize::try_from(seed).unwrap_or_default() % KINDS.len()],
    }
}

#[test]
fn the_promises_hold_in_any_history() {
    let (first, count) = wanted();
    let mut found = 0;
    for seed in first..first + count {
        let kind = kind_of(seed);
        let Some((violation, shortest)) = (kind.find)(seed) else { continue };
        println!("seed {seed} ({}): {violation:?}", kind.name);
        for step in shortest {
            println!("    {step}");
        }
        found += 1;
        assert!(found < 3, "more are not needed");
    }
    assert_eq!(found, 0);
}

#[test]
fn every_promise_stands_in_the_documentation_by_its_id() {
    let scaling = include_str!("../../docs/internals/guarantees.md");
    for (id, promise) in KINDS.iter().flat_map(|kind| kind.promises) {
        assert!(scaling.contains(&format!("| `{id}` | {promise} |")), "{id}: {promise}");
    }
}
