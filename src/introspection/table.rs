//! A table of answers, bounded in entries and bytes. The oldest entries leave first.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use foldhash::quality::RandomState;

/// The keyed digest of a token.
pub(super) type Digest = [u8; 32];

/// The overhead of an entry: key, order, allocation.
const ENTRY_BYTES: usize = 256;

#[derive(Debug)]
pub(super) struct Table<V> {
    entries: HashMap<Digest, Slot<V>, RandomState>,
    /// The order of insertion. A pair whose number is not that of its entry is out of date.
    order: VecDeque<(Digest, u64)>,
    bytes: usize,
    max_entries: usize,
    max_bytes: usize,
    inserted: u64,
}

#[derive(Debug)]
struct Slot<V> {
    value: Arc<V>,
    bytes: usize,
    number: u64,
}

impl<V> Table<V> {
    pub(super) fn new(max_entries: usize, max_bytes: usize) -> Self {
        Self {
            entries: HashMap::default(),
            order: VecDeque::new(),
            bytes: 0,
            max_entries,
            max_bytes,
            inserted: 0,
        }
    }

    pub(super) fn get(&self, key: &Digest) -> Option<&Arc<V>> {
        self.entries.get(key).map(|slot| &slot.value)
    }

    /// Stores a value of about `bytes` bytes. A value that is too large for the whole table is not
    /// stored.
    pub(super) fn put(&mut self, key: Digest, value: Arc<V>, bytes: usize) {
        let bytes = bytes.saturating_add(ENTRY_BYTES);
        self.remove(&key);
        if bytes > self.max_bytes {
            return;
        }
        while self.entries.len() >= self.max_entries || self.bytes + bytes > self.max_bytes {
            if !self.remove_oldest() {
                return;
            }
        }
        self.inserted += 1;
        let number = self.inserted;
        self.bytes += bytes;
        self.entries.insert(key, Slot { value, bytes, number });
        self.order.push_back((key, number));
        if self.order.len() > 2 * self.entries.len() + 64 {
            let entries = &self.entries;
            self.order.retain(|(key, number)| is_current(entries, key, *number));
        }
    }

    pub(super) fn remove(&mut self, key: &Digest) {
        if let Some(slot) = self.entries.remove(key) {
            self.bytes -= slot.bytes;
        }
    }

    /// Removes the oldest entries while `is_over` holds.
    pub(super) fn remove_while(&mut self, is_over: impl Fn(&V) -> bool) {
        while let Some((key, number)) = self.order.front() {
            let slot = self.entries.get(key).filter(|slot| slot.number == *number);
            if slot.is_some_and(|slot| !is_over(&slot.value)) || !self.remove_oldest() {
                return;
            }
        }
    }

    /// Whether anything was there to remove.
    fn remove_oldest(&mut self) -> bool {
        let Some((key, number)) = self.order.pop_front() else { return false };
        if is_current(&self.entries, &key, number) {
            self.remove(&key);
        }
        true
    }

    #[cfg(test)]
    pub(super) fn sizes(&self) -> (usize, usize, usize) {
        (self.entries.len(), self.bytes, self.order.len())
    }
}

fn is_current<V>(
    entries: &HashMap<Digest, Slot<V>, RandomState>,
    key: &Digest,
    number: u64,
) -> bool {
    entries.get(key).is_some_and(|slot| slot.number == number)
}
