//! Floods of keys on a store of 1 MB.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use serde_json::json;

use super::{admitted, at, check, limiter, request};
use crate::limit::{Limiter, Subject};
use crate::net::ClientKey;

const MB: u64 = 1 << 20;

fn address(number: u32) -> ClientKey {
    ClientKey::from(IpAddr::V4(Ipv4Addr::from_bits(number)))
}

fn block_some(limiter: &Limiter) -> Vec<ClientKey> {
    let blocked: Vec<ClientKey> = (0..200).map(|i| address(0xcb00_7100 + i)).collect();
    for client in &blocked {
        assert_eq!(admitted(limiter, &request(client), 11, at(0)), 10);
    }
    blocked
}

#[test]
fn a_flood_of_a_million_addresses_releases_no_blocked_key_and_stays_in_its_memory() {
    for (algorithm, flood) in
        [("gcra", 1_000_000), ("fixed-window", 100_000), ("sliding-window", 100_000)]
    {
        let limiter =
            limiter(&json!({ "name": "a", "limit": 10, "window": "1h", "algorithm": algorithm }));
        let by_hand = "198.51.100.1";
        limiter.block("a", &[by_hand], Duration::from_secs(3600), at(0)).unwrap();
        let blocked = block_some(&limiter);
        for i in 0..flood {
            assert!(check(&limiter, &request(&address(i)), at(u64::from(i))).allowed);
        }
        let now = at(1_000_000);
        assert!(limiter.store().bytes() <= MB, "{}", limiter.store().bytes());
        assert!(limiter.store().len(now.mono_us) > 15_000, "the room is used");
        for client in &blocked {
            assert!(!check(&limiter, &request(client), now).allowed, "{algorithm}");
        }
        assert!(!check(&limiter, &request(&ClientKey::parse(by_hand)), now).allowed);
    }
}

#[test]
fn a_client_cannot_flood_its_own_nearly_used_counter_away() {
    let limiter = limiter(&json!({ "name": "a", "limit": 10, "window": "1h" }));
    let client = address(0xcb00_7100);
    assert_eq!(admitted(&limiter, &request(&client), 9, at(0)), 9);
    for i in 0..100_000 {
        let _ = check(&limiter, &request(&address(i)), at(0));
    }
    assert_eq!(admitted(&limiter, &request(&client), 9, at(0)), 1);
}

#[test]
fn a_key_that_cannot_pay_for_one_more_request_is_not_flooded_away() {
    let limiter = limiter(&json!({ "name": "a", "limit": 6, "window": "1h", "cost": 5 }));
    let blocked: Vec<ClientKey> = (0..200).map(|i| address(0xcb00_7100 + i)).collect();
    for client in &blocked {
        assert_eq!(admitted(&limiter, &request(client), 2, at(0)), 1);
    }
    for i in 0..100_000 {
        let _ = check(&limiter, &request(&address(i)), at(0));
    }
    for client in &blocked {
        assert!(!check(&limiter, &request(client), at(0)).allowed);
    }
}

#[test]
fn refused_requests_of_a_high_cost_take_no_place_from_others() {
    let limiter =
        limiter(&json!({ "name": "a", "limit": 10, "window": "1h", "cost": "\0function" }));
    let cost = |client: &ClientKey, cost| {
        let subject = Subject { custom_costs: &[Some(cost)], ..request(client) };
        check(&limiter, &subject, at(0)).allowed
    };
    for i in 0..50_000 {
        assert!(cost(&address(i), 1));
        assert!(!cost(&address(i), 10));
    }
    assert_eq!(admitted_at_cost_1(&limiter, &address(0xcb00_7100)), 10);
}

fn admitted_at_cost_1(limiter: &Limiter, client: &ClientKey) -> usize {
    let subject = Subject { custom_costs: &[Some(1)], ..request(client) };
    admitted(limiter, &subject, 20, at(0))
}

#[test]
fn when_blocked_keys_take_all_the_room_new_keys_share_what_one_may_have() {
    // A limit of 1: the first request of every address exhausts it.
    let limiter = limiter(&json!({ "name": "a", "limit": 1, "window": "1h" }));
    let first: Vec<ClientKey> = (0..5_000).map(|i| address(0xcb00_0000 + i)).collect();
    for client in &first {
        assert!(check(&limiter, &request(client), at(0)).allowed);
    }
    let passed = (0..1_000_000u32)
        .filter(|i| check(&limiter, &request(&address(*i)), at(0)).allowed)
        .count();
    let now = at(0);
    let kept = limiter.store().len(now.mono_us);
    assert!(limiter.store().bytes() <= MB);
    // Each admitted key has an entry, or is one of at most 32 that a shard counts together.
    assert!(passed + first.len() <= kept + 32, "{passed} passed, {kept} kept");
    for client in first.iter().copied().chain((0..1_000).map(address)) {
        assert!(!check(&limiter, &request(&client), now).allowed);
    }
    // After the hour all is as before.
    let later = now.plus(Duration::from_secs(3600));
    for client in &first {
        assert!(check(&limiter, &request(client), later).allowed);
    }
}

#[test]
fn nothing_is_dropped_while_half_of_the_room_is_free() {
    let limiter = limiter(&json!({ "name": "a", "limit": 10, "window": "1h" }));
    for i in 0..9_000 {
        assert!(check(&limiter, &request(&address(i)), at(0)).allowed);
    }
    for i in 0..9_000 {
        let state = check(&limiter, &request(&address(i)), at(0)).states[0];
        assert_eq!(state.remaining, 8, "address {i}");
    }
}

#[test]
fn a_store_takes_little_until_it_is_needed() {
    let store = crate::store::MemoryStore::new(64 * MB);
    assert!(store.bytes() < 300_000, "{}", store.bytes());
}
