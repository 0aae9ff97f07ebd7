//! An exact set of fingerprints, each with the minute of its expiry.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::RwLock;

/// A power of two. A sweep blocks the checks of one shard only.
const SHARDS: usize = 64;
const LEAST_SLOTS: usize = 16;
/// A free slot. A hash of zero is stored as one.
const FREE: u64 = 0;

/// The set. Its hashes must be uniformly distributed already; it stores them as they are.
#[derive(Debug)]
pub(super) struct Table {
    shards: Vec<RwLock<Shard>>,
    len: AtomicUsize,
}

/// Open addressing with linear probing. The arrays are separate so that a slot is 12 bytes, not 16.
#[derive(Debug, Default)]
struct Shard {
    hashes: Vec<u64>,
    minutes: Vec<u32>,
    len: usize,
    swept: u32,
}

impl Table {
    pub(super) fn new() -> Self {
        let shards = (0..SHARDS).map(|_| RwLock::new(Shard::default())).collect();
        Self { shards, len: AtomicUsize::new(0) }
    }

    /// The number of entries, including those that may be dropped.
    pub(super) fn len(&self) -> usize {
        self.len.load(Ordering::Acquire)
    }

    /// The size of the slots, in bytes.
    pub(super) fn bytes(&self) -> usize {
        const SLOT: usize = size_of::<u64>() + size_of::<u32>();
        self.shards.iter().map(|shard| shard.read().hashes.capacity() * SLOT).sum()
    }

    /// `hash` is called only if the table is not empty.
    pub(super) fn contains_with(&self, hash: impl FnOnce() -> u64) -> bool {
        if self.len() == 0 {
            return false;
        }
        let hash = stored(hash());
        self.shard(hash)
            .is_some_and(|shard| shard.read().find(hash).is_some_and(|(_, found)| found))
    }

    /// Adds `hash` until the end of `minute`, or extends the entry. `false` if the table already
    /// holds `most` entries.
    pub(super) fn insert(&self, hash: u64, minute: u32, now_minute: u32, most: usize) -> bool {
        let hash = stored(hash);
        let Some(shard) = self.shard(hash) else { return false };
        let mut shard = shard.write();
        let before = shard.len;
        if shard.swept < now_minute {
            shard.rebuild(now_minute, 0);
        }
        if let Some((slot, true)) = shard.find(hash) {
            if let Some(kept) = shard.minutes.get_mut(slot) {
                *kept = minute.max(*kept);
            }
            self.count(before, shard.len);
            return true;
        }
        // The count is exact with one writer; writers to other shards may overshoot by one each.
        let room = self.len().saturating_sub(before) + shard.len < most;
        if room {
            if (shard.len + 1) * 8 > shard.hashes.len() * 7 {
                shard.rebuild(now_minute, 1);
            }
            shard.place(hash, minute);
        }
        self.count(before, shard.len);
        room
    }

    /// All entries that are needed in `now_minute`, each with its minute.
    pub(super) fn to_map(&self, now_minute: u32) -> HashMap<u64, u32> {
        let mut all = HashMap::with_capacity(self.len());
        for shard in &self.shards {
            let shard = shard.read();
            let slots = shard.hashes.iter().zip(&shard.minutes);
            let kept = slots.filter(|(hash, minute)| **hash != FREE && **minute >= now_minute);
            all.extend(kept.map(|(hash, minute)| (*hash, *minute)));
        }
        all
    }

    /// Drops the entries that are over.
    pub(super) fn sweep(&self, now_minute: u32) {
        for shard in &self.shards {
            let mut shard = shard.write();
            let before = shard.len;
            if shard.swept < now_minute {
                shard.rebuild(now_minute, 0);
            }
            self.count(before, shard.len);
        }
    }

    /// Forgets all.
    pub(super) fn clear(&self) {
        for shard in &self.shards {
            let mut shard = shard.write();
            self.count(shard.len, 0);
            *shard = Shard::default();
        }
    }

    fn count(&self, before: usize, after: usize) {
        if after >= before {
            self.len.fetch_add(after - before, Ordering::AcqRel);
        } else {
            self.len.fetch_sub(before - after, Ordering::AcqRel);
        }
    }

    /// The top bits choose the shard, all bits the slot in it.
    fn shard(&self, hash: u64) -> Option<&RwLock<Shard>> {
        self.shards.get(scale(hash, self.shards.len()))
    }
}

impl Shard {
    /// The slot of `hash` and true, or a free slot for it and false; `None` if there are no slots.
    fn find(&self, hash: u64) -> Option<(usize, bool)> {
        let slots = self.hashes.len();
        // All hashes of a shard have the same top bits: rotate them away.
        let mut slot = scale(hash.rotate_left(6), slots);
        for _ in 0..slots {
            match *self.hashes.get(slot)? {
                FREE => return Some((slot, false)),
                found if found == hash => return Some((slot, true)),
                _ => slot = if slot + 1 == slots { 0 } else { slot + 1 },
            }
        }
        None
    }

    fn place(&mut self, hash: u64, minute: u32) {
        let Some((slot, false)) = self.find(hash) else { return };
        if let (Some(to), Some(until)) = (self.hashes.get_mut(slot), self.minutes.get_mut(slot)) {
            (*to, *until) = (hash, minute);
            self.len += 1;
        }
    }

    /// Drops the entries that are over, and makes room for `more`. The slots are resized only if
    /// the load requires it.
    fn rebuild(&mut self, now_minute: u32, more: usize) {
        self.swept = now_minute;
        let live = self
            .minutes
            .iter()
            .zip(&self.hashes)
            .filter(|(minute, hash)| **hash != FREE && **minute >= now_minute)
            .count();
        let wanted = live + more;
        let slots = self.hashes.len();
        let too_full = wanted * 8 > slots * 7;
        let too_empty = slots > LEAST_SLOTS && wanted * 4 < slots;
        if live == self.len && !too_full && !too_empty {
            return;
        }
        // 12 slots for 7 entries: a load of 0.583, which is 7/8 after growing by half.
        let slots =
            if too_full || too_empty { (wanted * 12 / 7 + 1).max(LEAST_SLOTS) } else { slots };
        let slots = if wanted == 0 { 0 } else { slots };
        let hashes = std::mem::replace(&mut self.hashes, vec![FREE; slots]);
        let minutes = std::mem::replace(&mut self.minutes, vec![0; slots]);
        self.len = 0;
        for (hash, minute) in hashes.into_iter().zip(minutes) {
            if hash != FREE && minute >= now_minute {
                self.place(hash, minute);
            }
        }
    }
}

fn stored(hash: u64) -> u64 {
    hash.max(1)
}

/// Maps a hash onto `0..len` by its top bits.
fn scale(hash: u64, len: usize) -> usize {
    #[expect(clippy::cast_possible_truncation, reason = "less than len")]
    let scaled = ((u128::from(hash) * len as u128) >> 64) as usize;
    scaled
}
