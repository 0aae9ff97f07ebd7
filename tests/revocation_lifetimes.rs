//! Guards over one Redis whose tokens live for different times: what one of them revokes is kept
//! for the longest.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub,
    dead_code,
    reason = "helpers of tests are tests"
)]

#[path = "support/redis.rs"]
mod server;

use std::sync::{Arc, mpsc};
use std::time::Duration;

use keepstone::clock::Now;
use keepstone::redis::{Connector, RedisConfig};
use keepstone::revocation::{Freshness, RevocationConfig, SharedRevocations};
use keepstone::store::{Reply, StoreError};
use keepstone::token::Fingerprint;
use redis::streams::StreamRangeReply;
use serde_json::json;

use server::Server;

const SHORT: Duration = Duration::from_secs(60);
const LONG: Duration = Duration::from_secs(7 * 86_400);

fn list(server: &Server, lifetime: Duration, issuer: &str) -> SharedRevocations {
    let config = RedisConfig::parse("store.redis", &json!(server.url())).unwrap();
    let connector = Arc::new(Connector::new(config, "store.redis").unwrap());
    SharedRevocations::new(&connector, RevocationConfig::default(), lifetime, issuer)
}

fn ready(list: &SharedRevocations) {
    let fresh = || list.freshness(Now::read()) == Freshness::Fresh;
    let start = Now::read().mono_us;
    while !fresh() {
        assert!(Now::read().mono_us - start < 20_000_000, "the list is not ready");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn wait(ask: impl FnOnce(Reply<()>)) -> Result<(), StoreError> {
    let (sender, receiver) = mpsc::channel();
    ask(Box::new(move |answer| {
        let _ = sender.send(answer);
    }));
    receiver.recv_timeout(Duration::from_secs(20)).unwrap()
}

/// The entries of the stream of this kind.
fn entries(server: &Server, kind: u8) -> Vec<Vec<u8>> {
    let mut command = redis::cmd("XRANGE");
    command.arg("keepstone:{rev}").arg("-").arg("+");
    let stream: StreamRangeReply = command.query(&mut server.connection()).unwrap();
    let values = stream.ids.iter().filter_map(|id| id.get::<Vec<u8>>("v"));
    values.filter(|value| value[0] == kind).collect()
}

/// The minute until which the only entry of this kind is kept; `at` is where its name ends.
fn until(server: &Server, kind: u8, at: usize) -> u64 {
    let entries = entries(server, kind);
    assert_eq!(entries.len(), 1);
    u64::from(u32::from_be_bytes(entries[0][at..at + 4].try_into().unwrap()))
}

#[test]
fn a_guard_with_short_tokens_revokes_for_as_long_as_another_ones_live() {
    let server = Server::start();
    let long = list(&server, LONG, "issuer");
    ready(&long);
    let short = list(&server, SHORT, "issuer");
    ready(&short);
    let now = Now::read();
    wait(|reply| short.revoke_session("s", None, now, reply).unwrap()).unwrap();
    wait(|reply| short.revoke_subject("u", None, now, reply).unwrap()).unwrap();
    wait(|reply| short.revoke_token("t", None, now, reply).unwrap()).unwrap();
    let longest = (now.unix_seconds() + LONG.as_secs()) / 60;
    for (kind, at) in [(1, 9), (2, 17), (3, 17)] {
        let until = until(&server, kind, at);
        assert!((longest..longest + 5).contains(&until), "{kind}: {until}, not {longest}");
    }
}

#[test]
fn it_holds_whichever_of_them_starts_first_and_for_sessions_that_go_on() {
    let server = Server::start();
    let short = list(&server, SHORT, "issuer");
    ready(&short);
    let long = list(&server, SHORT * 2, "issuer");
    long.keep_sessions_for(LONG);
    ready(&long);
    // What a third one reads, the first has long since read.
    let third = list(&server, SHORT, "issuer");
    ready(&third);
    let now = Now::read();
    wait(|reply| third.revoke_subject("u", None, now, reply).unwrap()).unwrap();
    assert!(until(&server, 3, 17) >= (now.unix_seconds() + LONG.as_secs()) / 60);
}

#[test]
fn a_token_is_kept_to_its_own_expiry_though_none_lives_so_long_here() {
    let server = Server::start();
    let short = list(&server, SHORT, "issuer");
    ready(&short);
    let now = Now::read();
    let expires_at = now.unix_seconds() + LONG.as_secs();
    let token = Fingerprint::of_jti("t");
    wait(|reply| short.revoke_fingerprint(token, Some(expires_at), now, reply).unwrap()).unwrap();
    assert!(until(&server, 1, 9) >= expires_at / 60);
}

#[test]
fn another_issuers_lifetime_changes_nothing_and_the_same_one_is_said_once() {
    let server = Server::start();
    ready(&list(&server, LONG, "another issuer"));
    for _ in 0..3 {
        let short = list(&server, SHORT, "issuer");
        ready(&short);
        let now = Now::read();
        wait(|reply| short.revoke_session("s", None, now, reply).unwrap()).unwrap();
    }
    assert_eq!(entries(&server, 5).len(), 2);
    let latest = Now::read().unix_seconds() / 60 + 5;
    for entry in entries(&server, 2) {
        assert!(u64::from(u32::from_be_bytes(entry[17..21].try_into().unwrap())) < latest);
    }
}
