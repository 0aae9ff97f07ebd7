//! The keys with their times, as one text. `plan.rs` decides the changes.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};

use crate::clock::{Now, micros};
use crate::keys::algorithm::Algorithm;
use crate::keys::key::Key;
use crate::keys::seal::SealKey;
use crate::rotation::RotationError;
use crate::rotation::config::{GAP, LOOK, SPREAD};
use crate::rotation::make::{new_pem, read_pem};

const VERSION: u64 = 1;
/// The maximum number of keys. Rotation never makes more.
pub(crate) const MAX_KEYS: usize = 100;
const YEAR_9999: u64 = 253_370_764_800;
/// The maximum number of writes in the history of a text.
const MAX_WRITES: usize = 32;

/// All keys, in the order in which they sign.
#[derive(Debug, Clone, Default)]
pub(crate) struct State {
    pub(crate) keys: Vec<Entry>,
    /// The secret that seals session records. It outlives the keys, since a session lives longer
    /// than they do.
    record_secret: Option<Secret>,
    pub(crate) written: Written,
}

/// The history of the writes that led to a text.
#[derive(Debug, Clone, Default)]
pub(crate) struct Written {
    /// The second of the last write, by the clock of its process.
    pub(crate) at_s: Option<u64>,
    /// Their random ids, the last one at the end. They distinguish an older text from a newer one
    /// without a clock.
    pub(crate) ids: Vec<String>,
}

/// 32 bytes in base64url.
#[derive(Clone, PartialEq, Eq)]
struct Secret(Arc<str>);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

impl Secret {
    fn new() -> Result<Self, RotationError> {
        let mut bytes = [0; 32];
        crate::random::fill(&mut bytes).map_err(|_| RotationError::Random)?;
        Ok(Self(Arc::from(URL_SAFE_NO_PAD.encode(bytes))))
    }

    fn read(text: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        (bytes.len() == 32).then(|| Self(Arc::from(text)))
    }
}

#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) key: Arc<Key>,
    pem: Arc<str>,
    /// The second at which it was added to the set.
    pub(crate) published_s: u64,
    /// The second from which it signs, until the next one does.
    pub(crate) from_s: u64,
    /// The remaining seconds of a retired key, which no longer signs, before it is deleted.
    pub(crate) left_s: Option<u64>,
    /// Not part of the stored text.
    seen: Seen,
}

/// The times at which this process saw a key in the storage, on its monotonic clock in
/// microseconds: for the first time, since when without a break, and for the last time.
#[derive(Debug, Clone, Copy)]
struct Seen {
    first: u64,
    from: u64,
    last: u64,
    /// The last time that the storage had a text without it.
    missed: Option<u64>,
}

impl Seen {
    fn at(now: Now) -> Self {
        let now_us = now.mono_us;
        Self { first: now_us, from: now_us, last: now_us, missed: None }
    }

    /// Whether it was in the storage for long enough that the others have polled once.
    fn is_spread(self) -> bool {
        self.from.saturating_add(micros(LOOK)) <= self.last
    }

    /// Records that it was found again. After a gap between polls the others may not have it yet.
    fn again(self, now: Now) -> Self {
        if self.is_spread() || self.last.saturating_add(micros(GAP)) >= now.mono_us {
            return Self { last: now.mono_us, ..self };
        }
        self.anew(now)
    }

    /// Records that it was missing. Processes that have read the same texts have it; the others do
    /// not.
    fn missed(self, now: Now) -> Self {
        let seen = if self.is_spread() { self } else { self.anew(now) };
        Self { missed: Some(now.mono_us), ..seen }
    }

    fn anew(self, now: Now) -> Self {
        Self { first: self.first, missed: self.missed, ..Self::at(now) }
    }
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entry")
            .field("kid", &self.key.kid)
            .field("from_s", &self.from_s)
            .field("left_s", &self.left_s)
            .finish_non_exhaustive()
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.key.kid == other.key.kid
            && self.key.algorithm == other.key.algorithm
            && (self.published_s, self.from_s, self.left_s)
                == (other.published_s, other.from_s, other.left_s)
    }
}

impl Eq for Entry {}

impl Entry {
    pub(crate) fn new(
        algorithm: Algorithm,
        published_s: u64,
        from_s: u64,
        now: Now,
    ) -> Result<Self, RotationError> {
        let pem = new_pem(algorithm)?;
        let key = read_pem(&pem, algorithm).map_err(|_| RotationError::Random)?;
        Ok(Self {
            key: Arc::new(key),
            pem: Arc::from(pem),
            published_s,
            from_s,
            left_s: None,
            seen: Seen::at(now),
        })
    }

    pub(crate) fn may_sign(&self) -> bool {
        self.left_s.is_none()
    }

    /// Whether the others have found it in the storage, too.
    pub(crate) fn is_spread(&self) -> bool {
        self.seen.is_spread()
    }

    /// Whether all processes have it, whichever text they had read.
    pub(crate) fn is_settled(&self, now: Now) -> bool {
        let missed_us = self.seen.missed;
        missed_us.is_none_or(|missed_us| missed_us.saturating_add(micros(SPREAD)) <= now.mono_us)
    }

    /// Whether it signs from now on.
    ///
    /// 1. The process must have seen it for two minutes: before that, the others may not have it.
    /// 2. The process must have found it in the storage again: its own write may be lost.
    fn is_due(&self, now: Now) -> bool {
        self.may_sign()
            && self.from_s <= now.unix_seconds()
            && self.is_spread()
            && self.seen.from.saturating_add(micros(SPREAD)) <= now.mono_us
    }

    pub(crate) fn kid(&self) -> &str {
        self.key.kid.as_deref().unwrap_or_default()
    }
}

impl State {
    /// Parses the text of [`Self::write`]. A key that `known` has keeps its object.
    pub(crate) fn read(text: &str, known: &Self, now: Now) -> Result<Self, RotationError> {
        let invalid = RotationError::Invalid;
        let value: Value = serde_json::from_str(text).map_err(|_| invalid("it is not JSON"))?;
        if value.get("version").and_then(Value::as_u64) != Some(VERSION) {
            return Err(invalid("its `version` is not 1"));
        }
        let items = value.get("keys").and_then(Value::as_array);
        let items = items.filter(|items| !items.is_empty() && items.len() <= MAX_KEYS);
        let items = items.ok_or(invalid("its `keys` is no list of 1 to 100"))?;
        let mut keys: Vec<Entry> = Vec::with_capacity(items.len());
        for item in items {
            let entry = read_entry(item, known, now)?;
            if keys.iter().any(|other| other.kid() == entry.kid()) {
                return Err(invalid("a key is there twice"));
            }
            keys.push(entry);
        }
        let record_secret = match value.get("recordSecret") {
            None => None,
            Some(text) => Some(
                text.as_str()
                    .and_then(Secret::read)
                    .ok_or(invalid("its `recordSecret` is not 32 bytes in base64url"))?,
            ),
        };
        Ok(Self { keys, record_secret, written: Written::read(&value) })
    }

    /// The state of a process with the state `self` after it has `found` a text.
    ///
    /// 1. A text that descends from the state of the process replaces it. Keys that it lacks were
    ///    removed.
    /// 2. Any other text is older: a backup, a storage that lags, or the result of a lost write.
    ///    Then no key that verifies is dropped: the keys of both count, and the result must be
    ///    saved.
    pub(crate) fn joined(&self, found: &Self, keep_s: u64, now: Now) -> Self {
        let comes_from_it = |last: &String| found.written.ids.contains(last);
        let mut joined = found.clone();
        if self.written.ids.last().is_none_or(comes_from_it) {
            // A process that started from an older text may just have signed with a key that was
            // retired long ago.
            for known in self.keys.iter().filter(|known| known.may_sign()) {
                let found = joined.keys.iter_mut().find(|entry| entry.kid() == known.kid());
                if let Some(left_s) = found.and_then(|entry| entry.left_s.as_mut()) {
                    *left_s = keep_s.max(*left_s);
                }
            }
            if found.written.comes_from_others(&self.written) {
                self.look_anew(&mut joined, now);
            }
            self.see_anew(&mut joined, now);
            return joined;
        }
        self.look_anew(&mut joined, now);
        for known in &self.keys {
            let found = joined.keys.iter_mut().find(|entry| entry.kid() == known.kid());
            if let Some(entry) = found {
                // If only one of both has retired it, a process may just have signed with it.
                let differs = entry.may_sign() != known.may_sign();
                entry.left_s =
                    if differs { Some(u64::MAX) } else { entry.left_s.max(known.left_s) };
            } else if joined.keys.len() < MAX_KEYS {
                joined.keys.push(Entry { seen: known.seen.missed(now), ..known.clone() });
            }
        }
        joined.record_secret = self.record_secret.clone().or(joined.record_secret);
        // Keep ids of both, each once, so that a reader of either text detects the join.
        let theirs = found.written.ids.iter().filter(|id| !self.written.ids.contains(id)).cloned();
        let theirs = last_of(&theirs.collect::<Vec<_>>(), MAX_WRITES / 2 - 1);
        joined.written.ids = theirs;
        joined.written.ids.extend(last_of(&self.written.ids, MAX_WRITES / 2));
        joined
    }

    /// The storage had another text since the last poll. Other processes may have read that one, so
    /// they may lack a key that this process had not found again before.
    fn look_anew(&self, joined: &mut Self, now: Now) {
        for known in self.keys.iter().filter(|known| !known.is_spread()) {
            let same = joined.keys.iter_mut().find(|entry| entry.kid() == known.kid());
            if let Some(entry) = same {
                entry.seen = known.seen.anew(now);
            }
        }
    }

    /// An older text has brought back a retired key. A process that had deleted it does not have it
    /// yet, so it signs as late as a new key.
    fn see_anew(&self, joined: &mut Self, now: Now) {
        for known in self.keys.iter().filter(|known| !known.may_sign()) {
            let back = |entry: &&mut Entry| entry.kid() == known.kid() && entry.may_sign();
            if let Some(entry) = joined.keys.iter_mut().find(back) {
                entry.seen = Seen::at(now);
            }
        }
    }

    /// Whether both are equal except for their history of writes.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.keys == other.keys && self.record_secret == other.record_secret
    }

    /// Makes the secret if there is none.
    pub(crate) fn ensure_secret(&mut self) -> Result<(), RotationError> {
        if self.record_secret.is_none() {
            self.record_secret = Some(Secret::new()?);
        }
        Ok(())
    }

    /// The text to store, as a new write. It contains the private keys.
    pub(crate) fn write(&self, now_s: u64) -> Result<String, RotationError> {
        let keys: Vec<Value> = self.keys.iter().map(write_entry).collect();
        let mut ids = self.written.ids.clone();
        let mut id = [0; 8];
        getrandom::fill(&mut id).map_err(|_| RotationError::Random)?;
        ids.push(URL_SAFE_NO_PAD.encode(id));
        let ids = ids.get(ids.len().saturating_sub(MAX_WRITES)..).unwrap_or_default();
        let mut state = json!({ "version": VERSION, "at": now_s, "writes": ids, "keys": keys });
        if let (Some(secret), Some(state)) = (&self.record_secret, state.as_object_mut()) {
            state.insert("recordSecret".to_owned(), (&*secret.0).into());
        }
        let mut text = format!("{state:#}");
        text.push('\n');
        Ok(text)
    }

    /// The last key whose time has come and that the others have.
    pub(crate) fn due(&self, now: Now) -> Option<usize> {
        self.keys.iter().rposition(|entry| entry.is_due(now))
    }

    /// The key that signs at this second.
    pub(crate) fn current(&self, now: Now) -> Option<usize> {
        // No key is due by a clock that is behind, or in a process that has just started. Then the
        // others have the key that was seen first, but not one from an older text.
        let may_sign = || self.keys.iter().enumerate().filter(|(_, entry)| entry.may_sign());
        self.due(now)
            .or_else(|| may_sign().min_by_key(|(_, entry)| entry.seen.first).map(|(i, _)| i))
            .or_else(|| self.keys.len().checked_sub(1))
    }

    /// The key that signs after the current one.
    pub(crate) fn next(&self, now: Now) -> Option<usize> {
        let current = self.current(now)?;
        let mut later = self.keys.iter().enumerate().skip(current + 1);
        later.find(|(_, entry)| entry.may_sign()).map(|(i, _)| i)
    }

    /// The `kid` and start of the key that signs. With `next`, those of the next key if it signs
    /// soon.
    pub(crate) fn newest(&self, now: Now, next: bool) -> Option<(String, u64)> {
        let soon = now.unix_seconds().saturating_add(SPREAD.as_secs());
        let next = self.next(now).filter(|_| next).and_then(|i| self.keys.get(i));
        let entry = match next.filter(|entry| entry.from_s <= soon) {
            Some(entry) => entry,
            None => self.keys.get(self.current(now)?)?,
        };
        Some((entry.kid().to_owned(), entry.from_s))
    }

    /// Withdraws the keys that are not in `new`.
    pub(crate) fn withdraw_for(&self, new: &Self) {
        for old in &self.keys {
            if !new.keys.iter().any(|entry| Arc::ptr_eq(&entry.key, &old.key)) {
                old.key.withdraw();
            }
        }
    }

    pub(crate) fn find(&self, kid: &str) -> Option<Arc<Key>> {
        let found = self.keys.iter().find(|entry| entry.kid() == kid);
        found.map(|entry| Arc::clone(&entry.key))
    }

    pub(crate) fn signing(&self, now: Now) -> Option<Arc<Key>> {
        self.keys.get(self.current(now)?).map(|entry| Arc::clone(&entry.key))
    }

    /// The key that seals session records.
    pub(crate) fn seal_key(&self) -> Option<Arc<SealKey>> {
        let secret = self.record_secret.as_ref()?;
        SealKey::derive(secret.0.as_bytes(), "jwt.rotation")
    }

    pub(crate) fn public(&self) -> Vec<Map<String, Value>> {
        self.keys.iter().filter_map(|entry| entry.key.public_jwk()).collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}

/// The last `count` ids, or fewer.
fn last_of(ids: &[String], count: usize) -> Vec<String> {
    ids.get(ids.len().saturating_sub(count)..).unwrap_or_default().to_vec()
}

impl Written {
    /// Whether its history contains `known` and parallel writes: two texts were joined.
    fn comes_from_others(&self, known: &Self) -> bool {
        let place = known.ids.last().and_then(|last| self.ids.iter().rposition(|id| id == last));
        let Some(place) = place else { return false };
        let is_known = |id: &String| known.ids.contains(id);
        !self.ids.iter().take(place).all(is_known) || self.ids.iter().skip(place + 1).any(is_known)
    }

    fn read(value: &Value) -> Self {
        let ids = value.get("writes").and_then(Value::as_array).into_iter().flatten();
        let ids = ids.filter_map(Value::as_str).filter(|id| id.len() <= 16);
        Self {
            at_s: value.get("at").and_then(Value::as_u64).filter(|second| *second < YEAR_9999),
            ids: ids.take(MAX_WRITES).map(str::to_owned).collect(),
        }
    }
}

fn read_entry(item: &Value, known: &State, now: Now) -> Result<Entry, RotationError> {
    let invalid = RotationError::Invalid;
    let text = |name| item.get(name).and_then(Value::as_str);
    let second = |name| item.get(name).and_then(Value::as_u64).filter(|second| *second < YEAR_9999);
    let algorithm = text("alg").and_then(Algorithm::from_name);
    let (Some(algorithm), Some(pem), Some(kid)) = (algorithm, text("pem"), text("kid")) else {
        return Err(invalid("a key lacks its `kid`, `alg` or `pem`"));
    };
    let (Some(published_s), Some(from_s)) = (second("published"), second("from")) else {
        return Err(invalid("a key lacks its `published` or `from`, in seconds"));
    };
    let left_s = second("left");
    if left_s.is_none() && item.get("left").is_some() {
        return Err(invalid("the `left` of a key is no number of seconds"));
    }
    let same = known
        .keys
        .iter()
        .find(|known| known.kid() == kid && known.key.algorithm == algorithm && *known.pem == *pem);
    let (key, seen) = if let Some(same) = same {
        (Arc::clone(&same.key), same.seen.again(now))
    } else {
        let key = read_pem(pem, algorithm).map_err(|_| invalid("a key can't be read"))?;
        (Arc::new(key), Seen::at(now))
    };
    let entry = Entry { key, pem: Arc::from(pem), published_s, from_s, left_s, seen };
    if entry.kid() != kid {
        return Err(invalid("a `kid` is not the thumbprint of its key"));
    }
    if !entry.key.can_sign() {
        return Err(invalid("a key has no private part"));
    }
    Ok(entry)
}

fn write_entry(entry: &Entry) -> Value {
    let mut value = json!({
        "kid": entry.kid(), "alg": entry.key.algorithm.name(), "published": entry.published_s,
        "from": entry.from_s, "pem": &*entry.pem,
    });
    if let (Some(left_s), Some(value)) = (entry.left_s, value.as_object_mut()) {
        value.insert("left".to_owned(), left_s.into());
    }
    value
}
