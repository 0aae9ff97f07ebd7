//! The properties of the memory store that limits rely on.

use std::hash::Hasher as _;
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::json;

use super::{Key, MemoryConfig, MemoryStore, Record, SPENT};
use crate::error::{ConfigCode, ConfigError};
use crate::shared_store::StoreConfig;

const MB: u64 = 1 << 20;

fn key(store: &MemoryStore, number: u64) -> Key {
    let mut key = store.prefix(&[b"test"]).key();
    key.write_u64(number);
    key.build()
}

fn put(store: &MemoryStore, key: Key, record: Record, now: u64) -> bool {
    store.lock(std::iter::once(key)).put(&key, record, now)
}

fn get(store: &MemoryStore, key: Key, now: u64) -> Option<Record> {
    store.lock(std::iter::once(key)).get(&key, now)
}

fn record(number: u64, expires_us: u64, used: u16) -> Record {
    Record { state: [number, number], expires_us, blocked_until_us: 0, used }
}

fn open(config: &serde_json::Value) -> Result<Arc<MemoryStore>, ConfigError> {
    let StoreConfig::Memory(memory) = StoreConfig::parse("store", Some(config))? else {
        panic!("another store")
    };
    MemoryStore::open(&memory)
}

#[test]
fn a_record_is_kept_until_it_expires() {
    let store = MemoryStore::new(MB);
    let one = key(&store, 1);
    assert_eq!(get(&store, one, 5), None);
    assert!(put(&store, one, record(7, 100, 1), 5));
    assert_eq!(get(&store, one, 99).unwrap().state, [7, 7]);
    assert_eq!(get(&store, one, 100), None);
    assert_eq!(get(&store, key(&store, 2), 5), None);
}

#[test]
fn a_cleared_store_has_no_key_and_a_request_from_before_frees_no_place_of_a_later_one() {
    let store = MemoryStore::new(MB);
    for number in 0..10_000 {
        assert!(put(&store, key(&store, number), record(number, 1_000, SPENT), 1));
    }
    let one = key(&store, 1);
    let before = store.lock(std::iter::once(one)).begins(&one);
    store.note_signal(1_000);
    store.clear();
    assert!(store.is_empty(1) && !store.has_signals(1) && store.keys_with_slots() == 0);
    store.lock(std::iter::once(one)).begins(&one);
    store.ended(&one, before);
    assert_eq!(store.keys_with_slots(), 1);
    assert!(put(&store, one, record(1, 1_000, 1), 1) && store.len(1) == 1);
}

#[test]
fn a_table_that_grows_loses_nothing_and_never_passes_its_size() {
    for max in [MB, 3 * MB + 12_345, 10 * MB] {
        let store = MemoryStore::new(max);
        // The keys fall into random places. In a store of 1 MB, with 32 tables of 70 buckets, some
        // key finds no room at 45 % in one store of 30.
        let many = max / 56 * 35 / 100;
        for i in 0..many {
            assert!(put(&store, key(&store, i), record(i, 1_000, 1), 1));
            if i % 1000 == 0 {
                assert!(store.bytes() <= max);
            }
        }
        for i in 0..many {
            assert_eq!(get(&store, key(&store, i), 1).unwrap().state, [i, i], "{i} of {many}");
        }
        for i in many..4 * many {
            assert!(put(&store, key(&store, i), record(i, 1_000, 1), 1));
        }
        assert!(store.bytes() <= max && store.bytes() > max * 9 / 10, "{}", store.bytes());
        assert!(store.len(1) as u64 > max / 64, "64 bytes a key are enough");
    }
}

#[test]
fn what_used_least_is_dropped_first_and_what_is_spent_or_blocked_is_not() {
    let store = MemoryStore::new(MB);
    for i in 0..300 {
        let mut kept = record(i, 1_000, if i < 100 { SPENT } else { 60_000 });
        if i >= 200 {
            kept = Record { blocked_until_us: 1_000, used: 0, ..kept };
        }
        assert!(put(&store, key(&store, i), kept, 1));
    }
    for i in 1_000..200_000 {
        assert!(put(&store, key(&store, i), record(i, 1_000, 600), 1));
    }
    for i in 0..300 {
        assert_eq!(get(&store, key(&store, i), 1).unwrap().state, [i, i], "{i}");
    }
}

#[test]
fn expired_records_make_room_without_a_timer() {
    let store = MemoryStore::new(MB);
    for round in 1..20 {
        for i in 0..10_000 {
            let record = record(i, round * 1_000, SPENT);
            assert!(put(&store, key(&store, round * 1_000_000 + i), record, round * 1_000 - 999));
        }
        for i in 0..10_000 {
            let key = key(&store, round * 1_000_000 + i);
            assert_eq!(get(&store, key, round * 1_000 - 1).unwrap().state, [i, i]);
        }
    }
}

#[test]
fn a_key_that_gets_a_place_while_a_shared_count_is_in_use_starts_with_that() {
    let store = MemoryStore::new(MB);
    for i in 0..100_000 {
        assert!(put(&store, key(&store, i), record(i, 1_000, SPENT), 1));
    }
    let unseen =
        (1_000_000..2_000_000).map(|i| key(&store, i)).find(|key| get(&store, *key, 1).is_some());
    assert!(get(&store, unseen.unwrap(), 1).is_some());
    // Another rule has no shared count yet, and starts afresh.
    let mut other = store.prefix(&[b"other"]).key();
    other.write_u64(1);
    assert_eq!(get(&store, other.build(), 1), None);
    // After it expired, no key starts with it.
    assert_eq!(get(&store, unseen.unwrap(), 1_000), None);
}

#[test]
fn a_block_that_finds_no_place_is_not_said_to_be_kept() {
    let store = MemoryStore::new(MB);
    let mut refused = 0;
    for i in 0..100_000 {
        let key = key(&store, i);
        let kept = store.lock(std::iter::once(key)).put_own(&key, record(i, 1_000, SPENT), 1);
        assert_eq!(get(&store, key, 1).is_some(), kept);
        refused += u32::from(!kept);
    }
    assert!(refused > 0);
}

#[test]
fn fingerprints_differ_from_store_to_store() {
    let (one, two) = (MemoryStore::new(MB), MemoryStore::new(MB));
    assert_ne!(key(&one, 1), key(&two, 1));
    assert_eq!(key(&one, 1), key(&one, 1));
}

#[test]
fn guards_that_give_one_name_share_one_store() {
    let one = open(&json!({ "memory": { "shared": "a", "maxBytes": "2mb" } })).unwrap();
    let two = open(&json!({ "memory": { "shared": "a" } })).unwrap();
    let other = open(&json!({ "memory": { "shared": "b" } })).unwrap();
    let own = open(&json!({ "memory": {} })).unwrap();
    assert!(Arc::ptr_eq(&one, &two));
    assert!(!Arc::ptr_eq(&one, &other) && !Arc::ptr_eq(&other, &own));
    assert_eq!((two.max_bytes(), own.max_bytes()), (2 * MB, MemoryConfig::DEFAULT_BYTES));
    let error = open(&json!({ "memory": { "shared": "a", "maxBytes": "3mb" } })).unwrap_err();
    assert_eq!(error.code(), ConfigCode::ConflictingOptions);
    assert_eq!(error.path(), "store.memory.maxBytes");

    let from_a_thread = std::thread::spawn(|| open(&json!({ "memory": { "shared": "a" } })));
    assert!(Arc::ptr_eq(&one, &from_a_thread.join().unwrap().unwrap()));
}

proptest! {
    #[test]
    fn prefixes_of_different_parts_never_make_one_key(
        a in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..4), 0..4),
        b in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..4), 0..4),
    ) {
        let store = MemoryStore::new(MB);
        let build = |parts: &[Vec<u8>]| {
            let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
            store.prefix(&parts).key().build()
        };
        prop_assert_eq!(build(&a) == build(&b), a == b);
    }
}
