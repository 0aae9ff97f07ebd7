//! A cache of verified tokens.
//!
//! A client sends the same token with each request, and its signature and claims do not change in
//! between. Every hit checks again what can change: the times of the token, the lifetime of its key
//! and of the issuer's key set, and, behind this layer, revocation.
//!
//! - Refusals are never cached, so forged tokens cannot fill the cache.
//! - A hit compares the whole token. The hash only locates the entry, so a fast hash suffices.
//! - The options of a guard never change, and each guard has its own cache.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::Arc;

use foldhash::quality::RandomState;
use parking_lot::Mutex;

use crate::clock::Now;
use crate::keys::key::Key;
use crate::token::claims::Times;
use crate::token::issuer::Issuer;
use crate::token::verify::Verified;

const SHARDS: usize = 16;
/// The overhead of an entry beside its texts: maps, strings, the slot in the table.
const ENTRY_BYTES: usize = 512;

/// Verified tokens, bounded in bytes. Safe to share between threads.
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

/// A verified token, with everything that a hit checks again.
#[derive(Debug)]
pub(super) struct Entry {
    token: Box<str>,
    pub(super) verified: Arc<Verified>,
    pub(super) times: Times,
    /// The key that verified the token. It reports whether it may still be used.
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

    /// Whether the key that verified the token may still be used, and its issuer's key set, too.
    pub(super) fn has_current_key(&self, now: Now) -> bool {
        self.key.usable_at(now.unix_seconds()) && self.issuer.keys.are_current(now)
    }

    /// An estimate: the claims are kept as text and, after the first use, also as a map of about
    /// three times that size.
    fn bytes(&self) -> usize {
        self.token.len() + 4 * self.verified.claims.json().len() + ENTRY_BYTES
    }
}

impl Cache {
    /// A cache of about `max_bytes` at most.
    pub(super) fn new(max_bytes: usize) -> Self {
        Self {
            keyed: RandomState::default(),
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            shard_bytes: max_bytes / SHARDS,
        }
    }

    /// The entry of exactly this token.
    pub(super) fn get(&self, token: &str) -> Option<Arc<Entry>> {
        let hash = self.keyed.hash_one(token);
        let shard = self.shard(hash)?.lock();
        shard.entries.get(&hash).filter(|entry| *entry.token == *token).cloned()
    }

    /// Stores a token. A full shard drops all its entries: their tokens are verified once more.
    pub(super) fn put(&self, entry: Arc<Entry>) {
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
        let replaced = shard.entries.insert(hash, entry).map_or(0, |old| old.bytes());
        shard.bytes = (shard.bytes + bytes).saturating_sub(replaced);
    }

    fn shard(&self, hash: u64) -> Option<&Mutex<Shard>> {
        // The top four bits: the table of the shard places by the low bits.
        self.shards.get(usize::try_from(hash >> 60).ok()?)
    }

    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().bytes).sum()
    }
}
