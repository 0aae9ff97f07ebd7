//! How many requests of a key are under way in this process.
//!
//! A key is here as long as one of its requests is, and no longer: so there are never more keys
//! than requests, none is ever dropped to make room for another, and a flood of keys pushes out
//! nothing.

use std::collections::HashMap;

use super::memory::Key;

/// A table that was larger than this gives its memory back when it is empty.
const KEPT: usize = 1024;

/// What is known of one key.
#[derive(Debug, Clone, Copy)]
struct Taken {
    /// Which count this is: after it was set back, a slot of the one before frees nothing of it.
    count_id: u64,
    slots: u32,
}

/// The keys of one shard with requests under way.
#[derive(Debug, Default)]
pub(crate) struct UnderWay(HashMap<(u64, u64), Taken>);

impl UnderWay {
    /// How many slots of a key are taken.
    pub(crate) fn count(&self, key: &Key) -> u32 {
        self.0.get(&name(key)).map_or(0, |taken| taken.slots)
    }

    /// Takes a slot; `next` names the count where this is its first. Answers the count that it is
    /// part of.
    pub(crate) fn take(&mut self, key: &Key, next: impl FnOnce() -> u64) -> u64 {
        let taken = self.0.entry(name(key)).or_insert_with(|| Taken { count_id: next(), slots: 0 });
        taken.slots = taken.slots.saturating_add(1);
        taken.count_id
    }

    /// Gives back a slot of the count `count_id`.
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

    /// How many keys there are.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

fn name(key: &Key) -> (u64, u64) {
    (key.low, key.high)
}
