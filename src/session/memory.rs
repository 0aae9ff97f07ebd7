//! Families in the memory of this process.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;

use crate::clock::{Now, micros};
use crate::session::config::RefreshConfig;
use crate::session::family::{Family, NewFamily, Outcome, RefreshAttempt};
use crate::session::secret::FamilyKey;

/// The maximum number of families at one time.
pub const MAX_FAMILIES: usize = 1_000_000;
/// The maximum size of all families, in bytes.
pub const MAX_FAMILY_BYTES: usize = 1 << 30;
const SHARDS: usize = 64;
const MINUTE_US: u64 = 60_000_000;

/// There is no room for one more family. No other is dropped to make room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("there are too many sessions with a refresh token at one time")]
pub struct CapacityError;

/// Families by key. All methods take `&self` and may be called by many threads. Concurrent calls
/// are ordered by the lock of the family's shard.
#[derive(Debug)]
pub struct MemoryFamilies {
    keyed: RandomState,
    /// The maximum number of families, and of bytes, in a shard.
    room: (usize, usize),
    shards: Vec<Mutex<Shard>>,
}

#[derive(Debug, Default)]
struct Shard {
    families: HashMap<FamilyKey, Family>,
    bytes: usize,
    swept_us: u64,
}

impl Default for MemoryFamilies {
    fn default() -> Self {
        Self::with_room(MAX_FAMILIES, MAX_FAMILY_BYTES)
    }
}

impl MemoryFamilies {
    /// Room for approximately this number of families and bytes.
    pub(super) fn with_room(families: usize, bytes: usize) -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self { keyed: RandomState::new(), room: (families / SHARDS, bytes / SHARDS), shards }
    }

    /// The families of all guards of this process with the same `name`, in worker threads too.
    #[must_use]
    pub fn shared(name: &str) -> Arc<Self> {
        static SHARED: Mutex<BTreeMap<String, Weak<MemoryFamilies>>> = Mutex::new(BTreeMap::new());
        let mut shared = SHARED.lock();
        if let Some(families) = shared.get(name).and_then(Weak::upgrade) {
            return families;
        }
        shared.retain(|_, families| families.strong_count() > 0);
        let families = Arc::new(Self::default());
        shared.insert(name.to_owned(), Arc::downgrade(&families));
        families
    }

    /// Begins a family, which replaces the earlier family of its session.
    pub fn open(
        &self,
        opening: NewFamily,
        config: &RefreshConfig,
        now: Now,
    ) -> Result<(), CapacityError> {
        let place = opening.place;
        let Some(shard) = self.shard(place) else { return Err(CapacityError) };
        let mut shard = shard.lock();
        shard.sweep(now.mono_us, MINUTE_US);
        let family = Family::open(opening, config, now.mono_us);
        let full = |shard: &Shard, more: usize| {
            shard.families.len() >= self.room.0 || shard.bytes + more > self.room.1
        };
        if full(&shard, family.bytes()) {
            shard.sweep(now.mono_us, 0);
            if full(&shard, family.bytes()) {
                return Err(CapacityError);
            }
        }
        shard.bytes += family.bytes();
        let before = shard.families.insert(place, family);
        shard.bytes = shard.bytes.saturating_sub(before.as_ref().map_or(0, Family::bytes));
        Ok(())
    }

    /// Uses a token; see [`Family::present`].
    #[must_use]
    pub fn present(
        &self,
        presented: &RefreshAttempt,
        config: &RefreshConfig,
        remembered: Duration,
        now: Now,
    ) -> Outcome {
        let Some(shard) = self.shard(presented.place) else { return Outcome::Unknown };
        let mut shard = shard.lock();
        let Some(family) = shard.families.get_mut(&presented.place) else {
            return Outcome::Unknown;
        };
        let before = family.bytes();
        let outcome = family.present(presented, config, micros(remembered), now.mono_us);
        let after = family.bytes();
        shard.bytes = (shard.bytes + after).saturating_sub(before);
        outcome
    }

    /// Ends a family.
    pub fn close(&self, place: FamilyKey) {
        let Some(shard) = self.shard(place) else { return };
        let mut shard = shard.lock();
        let before = shard.families.remove(&place);
        shard.bytes = shard.bytes.saturating_sub(before.as_ref().map_or(0, Family::bytes));
    }

    /// Ends all families, and forgets them.
    pub fn clear(&self) {
        for shard in &self.shards {
            *shard.lock() = Shard::default();
        }
    }

    /// The number of families, including those that are over but not dropped yet.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().families.len()).sum()
    }

    /// Whether there are no families.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn shard(&self, place: FamilyKey) -> Option<&Mutex<Shard>> {
        // The high bits: the map uses its own hash.
        self.shards.get(usize::try_from(self.keyed.hash_one(place) >> 58).ok()?)
    }
}

impl Shard {
    /// Drops the families that are over, at most once in `every_us`.
    fn sweep(&mut self, now_us: u64, every_us: u64) {
        if now_us.saturating_sub(self.swept_us) < every_us {
            return;
        }
        self.swept_us = now_us;
        self.families.retain(|_, family| !family.is_over(now_us));
        if self.families.capacity() > 64 && self.families.len() * 4 < self.families.capacity() {
            self.families.shrink_to_fit();
        }
        self.bytes = self.families.values().map(Family::bytes).sum();
    }
}
