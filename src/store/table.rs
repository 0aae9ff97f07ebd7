//! One shard of the memory store: a table of fixed size.
//!
//! Every key has two buckets of eight entries, and goes into the emptier one ("the power of two
//! choices"). So a table is about two thirds full (measured: 66 to 74 %) before some key finds no
//! room; one of the smallest store, with 70 buckets, is now and then only half full. There are no
//! chains and no tombstones: lookup, eviction and replacement touch these sixteen entries and
//! nothing else.

use parking_lot::Mutex;

use super::in_flight_slots::UnderWay;
use super::memory::Key;

const WAYS: usize = 8;
/// The most rules with a shared count in one shard at a time.
const MAX_OVERFLOW: usize = 16;
/// `used` of a record whose quota is used up.
pub const SPENT: u16 = u16::MAX;

/// The record of a key. Times are microseconds on the monotonic clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Record {
    /// The state of the rule; all zeros at first.
    pub state: [u64; 2],
    /// From here on the record is without effect and may be dropped.
    pub expires_us: u64,
    /// Until here the key is blocked by hand; 0 if it is not.
    pub blocked_until_us: u64,
    /// The used share of the quota, from 0 to [`SPENT`]. The least used record is dropped first; a
    /// spent one is never dropped.
    pub used: u16,
}

impl Record {
    /// Whether it must not be dropped before it expires.
    fn is_kept(&self, now_us: u64) -> bool {
        self.used == SPENT || self.blocked_until_us > now_us
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Entry {
    high: u64,
    record: Record,
}

/// The tags, the low halves of the fingerprints, are stored apart from the records: eight of them
/// fill one cache line.
#[derive(Debug, Default)]
struct Buckets {
    tags: Vec<[u64; WAYS]>,
    entries: Vec<[Entry; WAYS]>,
}

impl Buckets {
    fn new(buckets: usize) -> Self {
        Self { tags: vec![[0; WAYS]; buckets], entries: vec![[Entry::default(); WAYS]; buckets] }
    }

    /// The two buckets of a key.
    fn buckets_of(&self, high: u64) -> [usize; 2] {
        // Scales 32 random bits to the number of buckets, without a division.
        let scale = |bits: u64| {
            usize::try_from(((bits & 0xffff_ffff) * self.tags.len() as u64) >> 32).unwrap_or(0)
        };
        [scale(high), scale(high >> 32)]
    }

    fn find(&self, key: &Key) -> Option<&Entry> {
        self.buckets_of(key.high).into_iter().find_map(|bucket| {
            let tags = self.tags.get(bucket)?.iter();
            tags.zip(self.entries.get(bucket)?)
                .find(|(tag, entry)| **tag == key.low && entry.high == key.high)
                .map(|(_, entry)| entry)
        })
    }

    fn find_mut(&mut self, key: &Key) -> Option<&mut Entry> {
        let (bucket, way) = self.buckets_of(key.high).into_iter().find_map(|bucket| {
            let mut places = self.tags.get(bucket)?.iter().zip(self.entries.get(bucket)?);
            let way = places.position(|(tag, e)| *tag == key.low && e.high == key.high)?;
            Some((bucket, way))
        })?;
        self.entries.get_mut(bucket)?.get_mut(way)
    }

    /// Inserts a new key into a free entry or that of an expired record.
    fn insert(&mut self, key: &Key, record: Record, now_us: u64) -> bool {
        let is_free = |entry: &&Entry| entry.record.expires_us <= now_us;
        let [one, two] = self.buckets_of(key.high);
        let free = |bucket: usize| {
            self.entries.get(bucket).map_or(0, |entries| entries.iter().filter(is_free).count())
        };
        let bucket = if free(two) > free(one) { two } else { one };
        let way =
            self.entries.get(bucket).and_then(|entries| entries.iter().position(|e| is_free(&e)));
        way.is_some_and(|way| self.set(bucket, way, key, record))
    }

    /// Replaces the least used record, and among equals the one that expires first. It never
    /// replaces a record that must be kept.
    fn replace(&mut self, key: &Key, record: Record, now_us: u64) -> bool {
        let mut least: Option<((u16, u64), usize, usize)> = None;
        for bucket in self.buckets_of(key.high) {
            for (way, entry) in self.entries.get(bucket).into_iter().flatten().enumerate() {
                let rank = (entry.record.used, entry.record.expires_us);
                if !entry.record.is_kept(now_us) && least.is_none_or(|(best, ..)| rank < best) {
                    least = Some((rank, bucket, way));
                }
            }
        }
        least.is_some_and(|(_, bucket, way)| self.set(bucket, way, key, record))
    }

    fn set(&mut self, bucket: usize, way: usize, key: &Key, record: Record) -> bool {
        let tag = self.tags.get_mut(bucket).and_then(|tags| tags.get_mut(way));
        let entry = self.entries.get_mut(bucket).and_then(|entries| entries.get_mut(way));
        let (Some(tag), Some(entry)) = (tag, entry) else { return false };
        *tag = key.low;
        *entry = Entry { high: key.high, record };
        true
    }
}

/// A table, and the counts that keys without an entry share.
#[derive(Debug)]
pub(crate) struct Shard {
    places: Buckets,
    max_buckets: usize,
    /// The table has `max_buckets >> halvings` buckets.
    halvings: u32,
    overflow: Vec<(u64, Record)>,
    /// The end of the last shared count.
    overflow_until_us: u64,
    pub(crate) in_flight_slots: UnderWay,
}

impl Shard {
    /// The bytes of one bucket.
    pub(crate) const BUCKET_BYTES: usize = WAYS * (size_of::<u64>() + size_of::<Entry>());
    /// The bytes that a shard takes besides itself and its buckets.
    pub(crate) const EXTRA_BYTES: usize = MAX_OVERFLOW * size_of::<(u64, Record)>();

    /// An empty shard with a small table that can grow to `max_buckets`.
    pub(crate) fn new(max_buckets: usize) -> Self {
        let halvings = (max_buckets / 4).max(1).ilog2();
        Self {
            places: Buckets::new(max_buckets >> halvings),
            max_buckets,
            halvings,
            overflow: Vec::with_capacity(MAX_OVERFLOW),
            overflow_until_us: 0,
            in_flight_slots: UnderWay::default(),
        }
    }

    /// The bytes of its allocations.
    pub(crate) fn bytes(&self) -> usize {
        self.places.tags.capacity() * size_of::<[u64; WAYS]>()
            + self.places.entries.capacity() * size_of::<[Entry; WAYS]>()
            + self.overflow.capacity() * size_of::<(u64, Record)>()
    }

    /// The number of records that have not expired.
    pub(crate) fn len(&self, now_us: u64) -> usize {
        self.places.entries.iter().flatten().filter(|e| e.record.expires_us > now_us).count()
    }

    /// The record of a key. A key without a record gets the shared count while one is in use.
    /// `None`: never seen.
    pub(crate) fn get(&self, key: &Key, now_us: u64) -> Option<Record> {
        let own = self.places.find(key).map(|entry| entry.record);
        own.filter(|record| record.expires_us > now_us).or_else(|| {
            if self.overflow_until_us <= now_us {
                return None;
            }
            let shared = self.overflow.iter().find(|(family, _)| *family == key.family)?;
            Some(shared.1).filter(|record| record.expires_us > now_us)
        })
    }

    /// The record of `key` itself.
    pub(crate) fn get_own(&self, key: &Key, now_us: u64) -> Option<Record> {
        let own = self.places.find(key).map(|entry| entry.record);
        own.filter(|record| record.expires_us > now_us)
    }

    /// Keeps `record` under its own key. `false`: there is no room, and nothing is kept.
    pub(crate) fn put_own(
        &mut self,
        key: &Key,
        record: Record,
        now_us: u64,
        growing: &Mutex<()>,
    ) -> bool {
        if let Some(entry) = self.places.find_mut(key) {
            entry.record = record;
            return true;
        }
        loop {
            if self.places.insert(key, record, now_us) {
                return true;
            }
            if !self.grow(now_us, growing) {
                return self.places.replace(key, record, now_us);
            }
        }
    }

    /// Keeps `record`, if need be as the shared count. `false`: nothing is kept, because there is
    /// no room for another shared count either.
    pub(crate) fn put(
        &mut self,
        key: &Key,
        record: Record,
        now_us: u64,
        growing: &Mutex<()>,
    ) -> bool {
        if self.put_own(key, record, now_us, growing) {
            return true;
        }
        let same = |(family, _): &&mut (u64, Record)| *family == key.family;
        let over = |(_, kept): &&mut (u64, Record)| kept.expires_us <= now_us;
        if let Some(place) = self.overflow.iter_mut().find(same) {
            place.1 = record;
        } else if let Some(place) = self.overflow.iter_mut().find(over) {
            *place = (key.family, record);
        } else if self.overflow.len() < MAX_OVERFLOW {
            self.overflow.push((key.family, record));
        } else {
            return false;
        }
        self.overflow_until_us = self.overflow_until_us.max(record.expires_us);
        true
    }

    /// Keeps `record` if the key has an entry already.
    pub(crate) fn update(&mut self, key: &Key, record: Record) {
        if let Some(entry) = self.places.find_mut(key) {
            entry.record = record;
        }
    }

    /// Forgets a key.
    pub(crate) fn remove(&mut self, key: &Key) {
        self.update(key, Record::default());
    }

    /// Forgets all keys, and what is under way of them.
    pub(crate) fn clear(&mut self) {
        *self = Self::new(self.max_buckets);
    }

    /// Doubles the table and drops expired records. `false`: it has its full size.
    fn grow(&mut self, now_us: u64, growing: &Mutex<()>) -> bool {
        let Some(halvings) = self.halvings.checked_sub(1) else { return false };
        // During a copy both tables exist. The byte limit has room for one copy, so only one runs
        // at a time.
        let _one_at_a_time = growing.lock();
        let mut places = Buckets::new(self.max_buckets >> halvings);
        for (tags, entries) in self.places.tags.iter().zip(&self.places.entries) {
            for (low, entry) in tags.iter().zip(entries) {
                if entry.record.expires_us > now_us {
                    let key = Key { low: *low, high: entry.high, family: 0 };
                    // The new table is at most half full: the chance that both buckets of a key are
                    // full is negligible.
                    let _ = places.insert(&key, entry.record, now_us)
                        || places.replace(&key, entry.record, now_us);
                }
            }
        }
        self.places = places;
        self.halvings = halvings;
        true
    }
}
