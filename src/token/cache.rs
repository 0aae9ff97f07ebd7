//! Tokens that were verified already.
//!
//! A client sends the same token with each request, and nothing about its signature and claims
//! changes in between. What does change is asked on every hit: the token's own times, the life of
//! its key and of its issuer's keys as a whole, and, behind this layer, revocation. A refusal is
//! never kept, so nobody can fill the cache with forgeries, and a hit compares the whole token: its
//! hash only says where to look, so a fast one will do. The options never change; another guard has
//! another cache.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::Arc;

use foldhash::quality::RandomState;
use parking_lot::Mutex;

use crate::keys::key::Key;
use crate::token::claims::Times;
use crate::token::issuer::Issuer;
use crate::token::verify::Verified;

const SHARDS: usize = 16;
/// What an entry takes beside the texts in it: maps, strings, the table's own place.
const ENTRY_BYTES: usize = 512;

/// Verified tokens, bounded in bytes. It can be used by many threads.
#[derive(Debug)]
pub(super) struct Cache {
    keyed: RandomState,
    shards: Vec<Mutex<Shard>>,
    shard_bytes: usize,
}

#[derive(Debug, Default)]
struct Shard {
    entries: HashMap<u64, Arc<Entry>, RandomState>,
    bytes: usize,
}

/// A token that was verified, with what must be asked again.
#[derive(Debug)]
pub(super) struct Entry {
    token: Box<str>,
    pub(super) verified: Arc<Verified>,
    pub(super) times: Times,
    /// The very key that verified it, which says itself whether it may still be used.
    pub(super) key: Arc<Key>,
    pub(super) issuer: Arc<Issuer>,
}

impl Entry {
    pub(super) fn new(
        token: &str,
        verified: Arc<Verified>,
        times: Times,
        key: Arc<Key>,
        issuer: Arc<Issuer>,
    ) -> Self {
        Self { token: Box::from(token), verified, times, key, issuer }
    }

    /// The claims are kept as text and as a map, and the map, once there is one, takes about three
    /// times the text.
    fn bytes(&self) -> usize {
        self.token.len() + 4 * self.verified.claims.json().len() + ENTRY_BYTES
    }
}

impl Cache {
    /// A cache that takes about `max_bytes` at the most.
    pub(super) fn new(max_bytes: usize) -> Self {
        Self {
            keyed: RandomState::default(),
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            shard_bytes: max_bytes / SHARDS,
        }
    }

    /// What is known of exactly this token.
    pub(super) fn get(&self, token: &str) -> Option<Arc<Entry>> {
        let hash = self.keyed.hash_one(token);
        let shard = self.shard(hash)?.lock();
        shard.entries.get(&hash).filter(|entry| *entry.token == *token).cloned()
    }

    /// Keeps a token. A shard that is full forgets all it has: its tokens are verified once more.
    pub(super) fn put(&self, entry: Entry) {
        let bytes = entry.bytes();
        let hash = self.keyed.hash_one(&*entry.token);
        let Some(shard) = self.shard(hash) else { return };
        if bytes > self.shard_bytes {
            return;
        }
        let mut shard = shard.lock();
        if shard.bytes + bytes > self.shard_bytes {
            shard.entries.clear();
            shard.bytes = 0;
        }
        let replaced = shard.entries.insert(hash, Arc::new(entry)).map_or(0, |old| old.bytes());
        shard.bytes = (shard.bytes + bytes).saturating_sub(replaced);
    }

    fn shard(&self, hash: u64) -> Option<&Mutex<Shard>> {
        // The low bits choose the place in the table.
        self.shards.get(usize::try_from(hash >> 60).ok()?)
    }

    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().bytes).sum()
    }
}
