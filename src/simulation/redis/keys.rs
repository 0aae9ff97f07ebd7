//! What a Redis keeps: values with their ends.

use std::collections::BTreeMap;
use std::sync::Arc;

/// The name of a key, a member or a field.
pub(crate) type Name = Vec<u8>;

/// The id of an entry of a stream.
pub(super) type EntryId = (u64, u64);

/// A value of one of the types that are used here. A clone costs nothing: the log of a primary
/// keeps one for each change.
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
    /// The newest id that was ever given.
    pub(super) last: EntryId,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Stored {
    pub(super) data: Data,
    /// When it is over, in milliseconds on the wall clock of whoever keeps it.
    pub(super) until_ms: Option<u64>,
}

/// A key as a command has left it, as replicas are told: `None` where it is gone.
#[derive(Debug, Clone)]
pub(super) struct Change {
    key: Name,
    stored: Option<Stored>,
}

/// All keys, and which of them were changed since the last look.
#[derive(Debug, Clone, Default)]
pub(super) struct Keys {
    stored: BTreeMap<Name, Stored>,
    changed: Vec<Name>,
}

impl Keys {
    /// What is left of it at `now_ms`. What is over goes away, as on a primary.
    pub(super) fn get(&mut self, key: &[u8], now_ms: u64) -> Option<&Stored> {
        let is_over = self.stored.get(key)?.until_ms.is_some_and(|until_ms| until_ms <= now_ms);
        if is_over {
            self.remove(key);
        }
        self.stored.get(key)
    }

    /// For changing it in place.
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

    /// What was changed since the last call.
    pub(super) fn take_changes(&mut self) -> Vec<Change> {
        let mut changed = std::mem::take(&mut self.changed);
        changed.sort();
        changed.dedup();
        let change = |key: Name| Change { stored: self.stored.get(&key).cloned(), key };
        changed.into_iter().map(change).collect()
    }

    /// Does what a primary has done.
    pub(super) fn apply(&mut self, change: &Change) {
        match &change.stored {
            Some(stored) => self.stored.insert(change.key.clone(), stored.clone()),
            None => self.stored.remove(&change.key),
        };
    }
}
