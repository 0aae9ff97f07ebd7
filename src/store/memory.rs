//! The memory store: shards under locks, keyed fingerprints, and stores shared by name.

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, DefaultHasher, Hasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::{Mutex, MutexGuard};

use super::config::MemoryConfig;
use super::notices::RuntimeOverrides;
use super::table::{Record, Shard};
use crate::error::{ConfigCode, ConfigError};

const SHARDS: usize = 32;
const FEW: usize = 4;

/// Bounded counts in this process. See the [module](super) for what it guarantees.
#[derive(Debug)]
pub struct MemoryStore {
    shards: Vec<Padded>,
    /// Held while a table is copied into a larger one. It is taken after a shard's lock, never
    /// before one.
    growing: Mutex<()>,
    max_bytes: u64,
    notices: RuntimeOverrides,
    /// The latest end of a signal in the store.
    signals_until_us: AtomicU64,
    /// The id of the next count of requests in flight, see `in_flight_slots.rs`.
    next_count: AtomicU64,
    low: RandomState,
    high: RandomState,
}

/// A shard on its own cache lines, so that threads in neighbouring shards don't slow each other
/// down.
#[derive(Debug)]
#[repr(align(64))]
struct Padded(Mutex<Shard>);

/// The fingerprint of a key, and the rule that it belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    pub(crate) low: u64,
    pub(crate) high: u64,
    /// The rule. Its keys share a count where they have no bucket entry of their own.
    pub(crate) family: u64,
}

impl Key {
    /// Another key in the same shard, for another record of the same subject.
    #[must_use]
    pub const fn variant(self, salt: u64) -> Self {
        Self { low: self.low, high: self.high ^ salt, family: self.family ^ salt }
    }

    fn shard(&self) -> usize {
        usize::try_from(self.low % SHARDS as u64).unwrap_or(0)
    }
}

/// The common start of all keys of one rule, hashed already.
#[derive(Debug, Clone)]
pub struct Prefix {
    low: DefaultHasher,
    high: DefaultHasher,
    family: u64,
}

impl Prefix {
    /// Begins a key.
    #[must_use]
    pub fn key(&self) -> KeyBuilder {
        KeyBuilder { low: self.low.clone(), high: self.high.clone(), family: self.family }
    }
}

/// A key under construction. Its input must be prefix-free: lengths before texts.
#[derive(Debug)]
pub struct KeyBuilder {
    low: DefaultHasher,
    high: DefaultHasher,
    family: u64,
}

impl KeyBuilder {
    /// The key.
    #[must_use]
    pub fn build(self) -> Key {
        Key { low: self.low.finish(), high: self.high.finish(), family: self.family }
    }
}

impl Hasher for KeyBuilder {
    fn write(&mut self, bytes: &[u8]) {
        self.low.write(bytes);
        self.high.write(bytes);
    }

    fn finish(&self) -> u64 {
        self.low.finish()
    }
}

impl MemoryStore {
    /// A separate store of at most `max_bytes`, but never less than its smallest tables need (about
    /// 64 KB).
    #[must_use]
    pub fn new(max_bytes: u64) -> Self {
        let fixed = size_of::<Self>() + SHARDS * (size_of::<Padded>() + Shard::EXTRA_BYTES);
        let room = usize::try_from(max_bytes).unwrap_or(usize::MAX).saturating_sub(fixed);
        // Only one shard grows at a time. Meanwhile it also has a table of half its final size.
        let max_buckets = (room / (2 * SHARDS + 1)).saturating_mul(2) / Shard::BUCKET_BYTES;
        let shard = || Padded(Mutex::new(Shard::new(max_buckets.max(4))));
        Self {
            shards: (0..SHARDS).map(|_| shard()).collect(),
            growing: Mutex::new(()),
            max_bytes,
            notices: RuntimeOverrides::default(),
            signals_until_us: AtomicU64::new(0),
            next_count: AtomicU64::new(0),
            low: RandomState::new(),
            high: RandomState::new(),
        }
    }

    /// The store of a configuration: a new one, or for a `shared` name the existing one.
    ///
    /// A shared store lives as long as it has users. Two sizes for one name are an error.
    pub fn open(config: &MemoryConfig) -> Result<Arc<Self>, ConfigError> {
        static SHARED: Mutex<BTreeMap<String, Weak<MemoryStore>>> = Mutex::new(BTreeMap::new());
        let max_bytes = config.max_bytes.unwrap_or(MemoryConfig::DEFAULT_BYTES);
        let Some(name) = &config.shared else { return Ok(Arc::new(Self::new(max_bytes))) };
        let mut shared = SHARED.lock();
        if let Some(store) = shared.get(name).and_then(Weak::upgrade) {
            if config.max_bytes.is_some_and(|wanted| wanted != store.max_bytes) {
                return Err(ConfigError::new(
                    ConfigCode::ConflictingOptions,
                    format!("{}.maxBytes", config.path),
                    "is not what another guard gave for the store of this `shared` name",
                )
                .suggest("write the same size everywhere, or leave it out here"));
            }
            return Ok(store);
        }
        shared.retain(|_, store| store.strong_count() > 0);
        let store = Arc::new(Self::new(max_bytes));
        shared.insert(name.clone(), Arc::downgrade(&store));
        Ok(store)
    }

    /// Prepares keys that begin with `parts`. Different parts make different keys, whatever
    /// follows.
    #[must_use]
    pub fn prefix(&self, parts: &[&[u8]]) -> Prefix {
        let mut hashers = [self.low.build_hasher(), self.high.build_hasher()];
        for hasher in &mut hashers {
            hasher.write_usize(parts.len());
            for part in parts {
                hasher.write_usize(part.len());
                hasher.write(part);
            }
        }
        let [low, high] = hashers;
        let family = low.finish();
        Prefix { low, high, family }
    }

    /// Locks the shards of `keys`, so that all keys are checked and charged together. The locks are
    /// taken in the order of the shards, so threads can't deadlock. A thread must not lock twice.
    #[must_use]
    pub fn lock(&self, keys: impl Iterator<Item = Key>) -> Locked<'_> {
        let mut wanted = 0u32;
        for key in keys {
            wanted |= 1 << key.shard();
        }
        let mut locked = Locked { few: [const { None }; FEW], more: Vec::new(), store: self };
        let mut places = locked.few.iter_mut();
        while wanted != 0 {
            let number = wanted.trailing_zeros() as usize;
            wanted &= wanted - 1;
            let Some(shard) = self.shards.get(number) else { break };
            let guard = (number, shard.0.lock());
            match places.next() {
                Some(place) => *place = Some(guard),
                None => locked.more.push(guard),
            }
        }
        locked
    }

    /// Ends a request of `key`; `count` is the return value of [`Locked::begins`]. If the key was
    /// forgotten meanwhile, this frees no slot of a later count.
    pub fn ended(&self, key: &Key, count: u64) {
        if let Some(shard) = self.shards.get(key.shard()) {
            shard.0.lock().in_flight_slots.give_back(key, count);
        }
    }

    /// How many keys have requests in flight.
    #[cfg(test)]
    #[must_use]
    pub fn keys_with_slots(&self) -> usize {
        self.shards.iter().map(|shard| shard.0.lock().in_flight_slots.len()).sum()
    }

    /// Whether the store may have a signal that has not ended.
    #[must_use]
    pub fn has_signals(&self, now_us: u64) -> bool {
        self.signals_until_us.load(Ordering::Acquire) > now_us
    }

    /// Notes that a signal was stored that ends at `until_us`.
    pub fn note_signal(&self, until_us: u64) {
        self.signals_until_us.fetch_max(until_us, Ordering::AcqRel);
    }

    /// The runtime overrides for all guards of this store.
    #[must_use]
    pub fn notices(&self) -> &RuntimeOverrides {
        &self.notices
    }

    /// Forgets all keys, and what was changed for all that use it.
    pub fn clear(&self) {
        for shard in &self.shards {
            shard.0.lock().clear();
        }
        self.signals_until_us.store(0, Ordering::Release);
        self.notices.clear();
    }

    /// The bytes that it takes now, by its allocations.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let tables: usize = self.shards.iter().map(|shard| shard.0.lock().bytes()).sum();
        (size_of::<Self>() + self.shards.capacity() * size_of::<Padded>() + tables) as u64
    }

    /// The bytes that it may take.
    #[must_use]
    pub fn max_bytes(&self) -> u64 {
        self.max_bytes
    }

    /// How many records have not expired at `now_us`. It scans the whole table, so it is for tests
    /// and metrics.
    #[must_use]
    pub fn len(&self, now_us: u64) -> usize {
        self.shards.iter().map(|shard| shard.0.lock().len(now_us)).sum()
    }

    /// Whether it has no live record.
    #[must_use]
    pub fn is_empty(&self, now_us: u64) -> bool {
        self.len(now_us) == 0
    }
}

/// Some shards, locked until this is dropped.
#[derive(Debug)]
pub struct Locked<'s> {
    /// Nearly every request needs at most this many shards; only one with more allocates.
    few: [Option<(usize, MutexGuard<'s, Shard>)>; FEW],
    more: Vec<(usize, MutexGuard<'s, Shard>)>,
    store: &'s MemoryStore,
}

impl Locked<'_> {
    /// The record of `key`, which must be one of the locked keys. For a key without an entry of its
    /// own it may be the shared count.
    #[must_use]
    pub fn get(&self, key: &Key, now_us: u64) -> Option<Record> {
        let number = key.shard();
        let mut locked = self.few.iter().flatten().chain(&self.more);
        locked.find(|(locked, _)| *locked == number)?.1.get(key, now_us)
    }

    /// As [`Self::get`], but never a shared count.
    #[must_use]
    pub fn get_own(&self, key: &Key, now_us: u64) -> Option<Record> {
        let number = key.shard();
        let mut locked = self.few.iter().flatten().chain(&self.more);
        locked.find(|(locked, _)| *locked == number)?.1.get_own(key, now_us)
    }

    /// Keeps `record`. `false`: there was no room and nothing is kept, so the request must be
    /// refused.
    #[must_use]
    pub fn put(&mut self, key: &Key, record: Record, now_us: u64) -> bool {
        let growing = &self.store.growing;
        self.shard_mut(key).is_some_and(|shard| shard.put(key, record, now_us, growing))
    }

    /// Keeps `record` only if `key` has an entry of its own already.
    pub fn update(&mut self, key: &Key, record: Record) {
        if let Some(shard) = self.shard_mut(key) {
            shard.update(key, record);
        }
    }

    /// Keeps `record` under `key` alone, never as a shared count. `false`: there was no room.
    #[must_use]
    pub fn put_own(&mut self, key: &Key, record: Record, now_us: u64) -> bool {
        let growing = &self.store.growing;
        self.shard_mut(key).is_some_and(|shard| shard.put_own(key, record, now_us, growing))
    }

    /// Forgets `key`.
    pub fn remove(&mut self, key: &Key) {
        if let Some(shard) = self.shard_mut(key) {
            shard.remove(key);
        }
    }

    /// How many requests of `key` are in flight.
    #[must_use]
    pub fn in_flight_slots(&self, key: &Key) -> u32 {
        let number = key.shard();
        let mut locked = self.few.iter().flatten().chain(&self.more);
        locked
            .find(|(locked, _)| *locked == number)
            .map_or(0, |(_, shard)| shard.in_flight_slots.count(key))
    }

    /// Starts a request of `key`. Returns the count id, which [`MemoryStore::ended`] needs at its
    /// end.
    pub fn begins(&mut self, key: &Key) -> u64 {
        let store = self.store;
        let next = || store.next_count.fetch_add(1, Ordering::Relaxed);
        self.shard_mut(key).map_or(u64::MAX, |shard| shard.in_flight_slots.take(key, next))
    }

    /// Frees all slots of `key`.
    pub fn forget_slots(&mut self, key: &Key) {
        if let Some(shard) = self.shard_mut(key) {
            shard.in_flight_slots.forget(key);
        }
    }

    fn shard_mut(&mut self, key: &Key) -> Option<&mut Shard> {
        let number = key.shard();
        let mut locked = self.few.iter_mut().flatten().chain(&mut self.more);
        locked.find(|(locked, _)| *locked == number).map(|(_, shard)| &mut **shard)
    }
}
