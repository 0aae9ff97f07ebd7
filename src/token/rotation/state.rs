//! The keys with their moments, and what is to become of them.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};

use super::RotationError;
use super::config::{RotationConfig, SPREAD};
use super::make::{new_pem, read_pem};
use crate::token::algorithm::Algorithm;
use crate::token::key::Key;
use crate::token::seal::SealKey;

const VERSION: u64 = 1;
/// More are none that rotation made.
const MAX_KEYS: usize = 100;
const YEAR_9999: u64 = 253_370_764_800;

/// All keys, by the moment from which they sign.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct State {
    keys: Vec<Entry>,
    /// What the records of sessions are sealed with. It stays while the keys change: a session
    /// lives longer than they are kept.
    record_secret: Option<Secret>,
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
struct Entry {
    key: Arc<Key>,
    pem: Arc<str>,
    /// The second since which it is in the set.
    published_s: u64,
    /// The second from which it signs, until the next one does.
    from_s: u64,
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entry")
            .field("kid", &self.key.kid)
            .field("from_s", &self.from_s)
            .finish_non_exhaustive()
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.key.kid == other.key.kid
            && self.key.algorithm == other.key.algorithm
            && (self.published_s, self.from_s) == (other.published_s, other.from_s)
    }
}

impl Eq for Entry {}

impl Entry {
    fn new(algorithm: Algorithm, published_s: u64, from_s: u64) -> Result<Self, RotationError> {
        let pem = new_pem(algorithm)?;
        let key = read_pem(&pem, algorithm).map_err(|_| RotationError::Random)?;
        Ok(Self { key: Arc::new(key), pem: Arc::from(pem), published_s, from_s })
    }

    fn kid(&self) -> &str {
        self.key.kid.as_deref().unwrap_or_default()
    }
}

impl State {
    /// Reads what [`Self::write`] wrote. A key that `known` has stays the very same.
    pub(super) fn read(text: &str, known: &Self) -> Result<Self, RotationError> {
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
            let text = |name| item.get(name).and_then(Value::as_str);
            let second =
                |name| item.get(name).and_then(Value::as_u64).filter(|second| *second < YEAR_9999);
            let algorithm = text("alg").and_then(Algorithm::from_name);
            let (Some(algorithm), Some(pem), Some(kid)) = (algorithm, text("pem"), text("kid"))
            else {
                return Err(invalid("a key lacks its `kid`, `alg` or `pem`"));
            };
            let (Some(published_s), Some(from_s)) = (second("published"), second("from")) else {
                return Err(invalid("a key lacks its `published` or `from`, in seconds"));
            };
            let same = known.keys.iter().find(|known| {
                known.kid() == kid && known.key.algorithm == algorithm && *known.pem == *pem
            });
            let key = match same {
                Some(same) => Arc::clone(&same.key),
                None => {
                    Arc::new(read_pem(pem, algorithm).map_err(|_| invalid("a key can't be read"))?)
                }
            };
            let entry = Entry { key, pem: Arc::from(pem), published_s, from_s };
            if entry.kid() != kid {
                return Err(invalid("a `kid` is not the thumbprint of its key"));
            }
            if !entry.key.can_sign() {
                return Err(invalid("a key has no private part"));
            }
            if keys.iter().any(|other| other.kid() == kid) {
                return Err(invalid("a key is there twice"));
            }
            keys.push(entry);
        }
        keys.sort_by_key(|entry| entry.from_s);
        let record_secret = match value.get("recordSecret") {
            None => None,
            Some(text) => Some(
                text.as_str()
                    .and_then(Secret::read)
                    .ok_or(invalid("its `recordSecret` is not 32 bytes in base64url"))?,
            ),
        };
        Ok(Self { keys, record_secret })
    }

    /// The text to keep. It has the private keys.
    pub(super) fn write(&self) -> String {
        let keys: Vec<Value> = self
            .keys
            .iter()
            .map(|entry| {
                json!({
                    "kid": entry.kid(), "alg": entry.key.algorithm.name(), "published": entry.published_s,
                    "from": entry.from_s, "pem": &*entry.pem,
                })
            })
            .collect();
        let mut state = json!({ "version": VERSION, "keys": keys });
        if let (Some(secret), Some(state)) = (&self.record_secret, state.as_object_mut()) {
            state.insert("recordSecret".to_owned(), (&*secret.0).into());
        }
        let mut text = format!("{state:#}");
        text.push('\n');
        text
    }

    /// What is to be at this second: what nobody needs goes, and there is a next key. With `force` it signs as soon as all
    /// processes know it.
    pub(super) fn plan(
        &self,
        config: &RotationConfig,
        keep_s: u64,
        now_s: u64,
        force: bool,
    ) -> Result<Self, RotationError> {
        let (every_s, overlap_s) = (config.every.as_secs(), config.overlap.as_secs());
        let mut keys = self.keys.clone();
        if keys.is_empty() {
            // Who starts now reads both, and nobody has a token yet: nothing has to be waited for.
            let published_s = now_s.saturating_sub(SPREAD.as_secs());
            keys.push(Entry::new(config.algorithm, published_s, now_s)?);
            keys.push(Entry::new(config.algorithm, published_s, now_s.saturating_add(every_s))?);
        }
        // A clock that was ahead has left moments that are too far away. Seconds don't count: no two machines agree on them.
        let bound = |moment: &mut u64, latest: u64| {
            if *moment > latest.saturating_add(SPREAD.as_secs()) {
                *moment = latest;
            }
        };
        for entry in &mut keys {
            bound(&mut entry.published_s, now_s);
            bound(&mut entry.from_s, now_s.saturating_add(every_s.max(overlap_s)));
        }
        if let Some(first) = keys.first_mut() {
            bound(&mut first.from_s, now_s);
        }
        if force && let Some(next) = keys.iter_mut().find(|entry| entry.from_s > now_s) {
            let known_s = next.published_s.saturating_add(SPREAD.as_secs());
            next.from_s = next.from_s.min(known_s.max(now_s));
        }
        let record_secret = match &self.record_secret {
            Some(secret) => secret.clone(),
            None => Secret::new()?,
        };
        let mut planned = Self { keys, record_secret: Some(record_secret) };
        while let Some([_, second]) = planned.keys.first_chunk::<2>()
            && second.from_s.saturating_add(keep_s) <= now_s
        {
            planned.keys.remove(0);
        }
        let current = planned.current(now_s);
        if let Some(current) = current.and_then(|i| planned.keys.get(i))
            && planned.keys.last().is_some_and(|last| last.from_s <= now_s)
        {
            let from_s =
                current.from_s.saturating_add(every_s).max(now_s.saturating_add(overlap_s));
            planned.keys.push(Entry::new(config.algorithm, now_s, from_s)?);
        }
        Ok(planned)
    }

    fn current(&self, now_s: u64) -> Option<usize> {
        let last = self.keys.iter().rposition(|entry| entry.from_s <= now_s);
        // Before all of them, by a clock that went back: the oldest is the one that others know.
        last.or_else(|| (!self.keys.is_empty()).then_some(0))
    }

    /// The name of the key that signs, or with `next` of the one that signs next where that is soon, and its moment.
    pub(super) fn newest(&self, now_s: u64, next: bool) -> Option<(String, u64)> {
        let soon = now_s.saturating_add(SPREAD.as_secs());
        let next = next
            .then(|| self.keys.iter().find(|entry| entry.from_s > now_s && entry.from_s <= soon));
        let entry = match next.flatten() {
            Some(entry) => entry,
            None => self.keys.get(self.current(now_s)?)?,
        };
        Some((entry.kid().to_owned(), entry.from_s))
    }

    /// Ends the keys that are not in `new`.
    pub(super) fn withdraw_for(&self, new: &Self) {
        for old in &self.keys {
            if !new.keys.iter().any(|entry| Arc::ptr_eq(&entry.key, &old.key)) {
                old.key.withdraw();
            }
        }
    }

    /// Those that a token may have been signed with which is still good, or will be signed with.
    fn live(&self, keep_s: u64, now_s: u64) -> impl Iterator<Item = &Entry> {
        self.keys.iter().enumerate().filter_map(move |(i, entry)| {
            let over = self
                .keys
                .get(i + 1)
                .is_some_and(|successor| successor.from_s.saturating_add(keep_s) <= now_s);
            (!over).then_some(entry)
        })
    }

    pub(super) fn find(&self, kid: &str, keep_s: u64, now_s: u64) -> Option<Arc<Key>> {
        let mut live = self.live(keep_s, now_s);
        live.find(|entry| entry.kid() == kid).map(|entry| Arc::clone(&entry.key))
    }

    pub(super) fn signing(&self, now_s: u64) -> Option<Arc<Key>> {
        self.keys.get(self.current(now_s)?).map(|entry| Arc::clone(&entry.key))
    }

    /// What the records of sessions are sealed with.
    pub(super) fn seal_key(&self) -> Option<Arc<SealKey>> {
        let secret = self.record_secret.as_ref()?;
        SealKey::derive(secret.0.as_bytes(), "jwt.rotation")
    }

    pub(super) fn public(&self, keep_s: u64, now_s: u64) -> Vec<Map<String, Value>> {
        self.live(keep_s, now_s).filter_map(|entry| entry.key.public_jwk()).collect()
    }

    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}
