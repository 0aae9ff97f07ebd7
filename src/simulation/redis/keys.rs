//! The data of a Redis server: values with their expiry.

use std::collections::BTreeMap;
use std::sync::Arc;

/// The name of a key, a member or a field.
pub(crate) type Name = Vec<u8>;

/// The id of an entry of a stream.
pub(super) type EntryId = (u64, u64);

/// A value of one of the types in use. A clone is cheap: the log of a primary keeps one for each
/// change.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Data {
    Text(Arc<[u8]>),
    Hash(Arc<BTreeMap<Name, Vec<u8>>>),
    Sorted(Arc<BTreeMap<Name, f64>>),
    Stream(Arc<Stream>),
}

#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Stream {
    pub(super) entries: BTreeMap<EntryId, Vec<Vec<u8>>>,
    /// The highest id that was ever assigned.
    pub(super) last: EntryId,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Stored {
    pub(super) data: Data,
    /// The expiry, in milliseconds on the wall clock of the server that has the value.
    pub(super) until_ms: Option<u64>,
}

/// A key after a command, as sent to the replicas: `None` if it is gone.
#[derive(Debug, Clone)]
pub(super) struct Change {
    key: Name,
    stored: Option<Stored>,
}

/// All keys, and the names of those changed since the last call of `take_changes`.
#[derive(Debug, Clone, Default)]
pub(super) struct Keys {
    stored: BTreeMap<Name, Stored>,
    changed: Vec<Name>,
}

impl Keys {
    /// The value at `now_ms`. An expired one is removed, as on a primary.
    pub(super) fn get(&mut self, key: &[u8], now_ms: u64) -> Option<&Stored> {
        let is_over = self.stored.get(key)?.until_ms.is_some_and(|until_ms| until_ms <= now_ms);
        if is_over {
            self.remove(key);
        }
        self.stored.get(key)
    }

    /// The value, to be changed in place.
    pub(super) fn get_mut(&mut self, key: &[u8], now_ms: u64) -> Option<&mut Stored> {
        self.get(key, now_ms)?;
        self.changed.push(key.to_vec());
        self.stored.get_mut(key)
    }

    pub(super) fn put(&mut self, key: &[u8], data: Data, until_ms: Option<u64>) {
        self.changed.push(key.to_vec());
        self.stored.insert(key.to_vec(), Stored { data, until_ms });
    }

    pub(super) fn remove(&mut self, key: &[u8]) -> bool {
        self.changed.push(key.to_vec());
        self.stored.remove(key).is_some()
    }

    pub(super) fn clear(&mut self) {
        self.changed.extend(std::mem::take(&mut self.stored).into_keys());
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &Name> {
        self.stored.keys()
    }

    /// The changes since the last call.
    pub(super) fn take_changes(&mut self) -> Vec<Change> {
        let mut changed = std::mem::take(&mut self.changed);
        changed.sort();
        changed.dedup();
        let change = |key: Name| Change { stored: self.stored.get(&key).cloned(), key };
        changed.into_iter().map(change).collect()
    }

    /// Repeats a change of the primary.
    pub(super) fn apply(&mut self, change: &Change) {
        match &change.stored {
            Some(stored) => self.stored.insert(change.key.clone(), stored.clone()),
            None => self.stored.remove(&change.key),
        };
    }
}
