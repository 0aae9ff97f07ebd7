//! The number of requests in flight in this process, by key.
//!
//! A key has an entry only while one of its requests is in flight. So there are never more keys
//! than requests, no entry is dropped for another, and a flood of keys evicts nothing.

use std::collections::HashMap;

use super::memory::Key;

/// A table larger than this frees its memory when it is empty.
const KEPT: usize = 1024;

/// The count of one key.
#[derive(Debug, Clone, Copy)]
struct Taken {
    /// The id of this count. After a reset, a slot of an earlier count frees nothing of this one.
    count_id: u64,
    slots: u32,
}

/// The keys of one shard with requests in flight.
#[derive(Debug, Default)]
pub(crate) struct UnderWay(HashMap<(u64, u64), Taken>);

impl UnderWay {
    /// How many slots of a key are taken.
    pub(crate) fn count(&self, key: &Key) -> u32 {
        self.0.get(&name(key)).map_or(0, |taken| taken.slots)
    }

    /// Takes a slot and returns the id of its count; `next` makes the id if this is the first slot.
    pub(crate) fn take(&mut self, key: &Key, next: impl FnOnce() -> u64) -> u64 {
        let taken = self.0.entry(name(key)).or_insert_with(|| Taken { count_id: next(), slots: 0 });
        taken.slots = taken.slots.saturating_add(1);
        taken.count_id
    }

    /// Frees a slot of the count `count_id`.
    pub(crate) fn give_back(&mut self, key: &Key, count_id: u64) {
        let Some(taken) = self.0.get_mut(&name(key)).filter(|taken| taken.count_id == count_id)
        else {
            return;
        };
        taken.slots = taken.slots.saturating_sub(1);
        if taken.slots == 0 {
            self.forget(key);
        }
    }

    /// Frees all slots of a key.
    pub(crate) fn forget(&mut self, key: &Key) {
        self.0.remove(&name(key));
        if self.0.is_empty() && self.0.capacity() > KEPT {
            self.0 = HashMap::new();
        }
    }

    /// The number of keys.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

fn name(key: &Key) -> (u64, u64) {
    (key.low, key.high)
}
