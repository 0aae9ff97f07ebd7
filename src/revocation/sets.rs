//! The exact sets that a check reads.

use std::collections::{BTreeMap, HashMap};
use std::hash::RandomState;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::RwLock;

use super::entry::{Entry, Kind, Lifetime, Lived, Namer};
use super::forgetting::Forgetting;
use super::revocations::{Counts, MAX_KEYS, MAX_LIFETIMES, MAX_SUBJECTS, MAX_TOKENS, RevokeError};
use super::table::Table;
use crate::clock::Now;
use crate::token::Verified;

/// The revocations, by name. All methods take `&self` and may be called by many threads.
#[derive(Debug)]
pub(super) struct Sets {
    forgetting: Forgetting,
    tokens: Table,
    subjects: Names<SubjectEntry>,
    sessions: Names<u32>,
    keys: Names<()>,
    /// The lifetimes of tokens and sessions at the guards, each with the last minute in which it
    /// holds.
    lifetimes: RwLock<BTreeMap<Lifetime, u32>>,
}

#[derive(Debug, Clone, Copy)]
struct SubjectEntry {
    /// Tokens with this `iat` or an earlier one are refused.
    before_s: u64,
    until: u32,
}

/// A map of names. Its length is outside the lock, so that an empty map costs no lock.
#[derive(Debug)]
struct Names<T> {
    map: RwLock<HashMap<u128, T, RandomState>>,
    len: AtomicUsize,
}

impl<T: Copy> Names<T> {
    fn new() -> Self {
        Self {
            map: RwLock::new(HashMap::with_hasher(RandomState::new())),
            len: AtomicUsize::new(0),
        }
    }

    fn len(&self) -> usize {
        self.len.load(Ordering::Acquire)
    }

    fn get(&self, name: u128) -> Option<T> {
        self.map.read().get(&name).copied()
    }

    /// Adds or changes an entry. An error if it exceeds `most`, even after a sweep by `stays`.
    fn put(
        &self,
        name: u128,
        most: usize,
        stays: impl Fn(&T) -> bool,
        change: impl FnOnce(Option<T>) -> T,
    ) -> Result<(), RevokeError> {
        let mut map = self.map.write();
        let known = map.get(&name).copied();
        if known.is_none() && map.len() >= most {
            map.retain(|_, entry| stays(entry));
        }
        let result = if known.is_none() && map.len() >= most {
            Err(RevokeError::Full)
        } else {
            map.insert(name, change(known));
            Ok(())
        };
        self.len.store(map.len(), Ordering::Release);
        result
    }

    fn retain(&self, stays: impl Fn(&T) -> bool) {
        let mut map = self.map.write();
        map.retain(|_, entry| stays(entry));
        if map.capacity() > 64 && map.len() * 4 < map.capacity() {
            map.shrink_to_fit();
        }
        self.len.store(map.len(), Ordering::Release);
    }

    fn refuses(&self, name: impl FnOnce() -> Option<u128>, by: impl FnOnce(T) -> bool) -> bool {
        self.len() > 0 && name().and_then(|name| self.get(name)).is_some_and(by)
    }

    fn to_vec(&self, entry: impl Fn(u128, T) -> Entry) -> Vec<Entry> {
        self.map.read().iter().map(|(name, kept)| entry(*name, *kept)).collect()
    }
}

impl Sets {
    pub(super) fn new(forgetting: Forgetting) -> Self {
        Self {
            forgetting,
            tokens: Table::new(),
            subjects: Names::new(),
            sessions: Names::new(),
            keys: Names::new(),
            lifetimes: RwLock::default(),
        }
    }

    /// The minute before which entries may be dropped.
    pub(super) fn minute(&self, now: Now) -> u32 {
        self.forgetting.minute(now)
    }

    /// Applies `entry`. Nothing is ever revoked less: of two entries about one thing the later
    /// `before` and the later end hold, in whatever order they arrive.
    pub(super) fn apply(&self, entry: &Entry, now_minute: u32) -> Result<(), RevokeError> {
        if !entry.is_needed(now_minute) {
            return Ok(());
        }
        match *entry {
            Entry::Mark => Ok(()),
            Entry::Token { name, until } => {
                if self.tokens.insert(name, until, now_minute, MAX_TOKENS) {
                    return Ok(());
                }
                // Full, but some entries may be over.
                self.tokens.sweep(now_minute);
                if self.tokens.insert(name, until, now_minute, MAX_TOKENS) {
                    Ok(())
                } else {
                    Err(RevokeError::Full)
                }
            }
            Entry::Session { name, until } => self.sessions.put(
                name,
                MAX_SUBJECTS,
                |until| *until >= now_minute,
                |known| known.map_or(until, |known| known.max(until)),
            ),
            Entry::Subject { name, before_s, until } => self.subjects.put(
                name,
                MAX_SUBJECTS,
                |entry| entry.until >= now_minute,
                |known| SubjectEntry {
                    before_s: known.map_or(before_s, |known| known.before_s.max(before_s)),
                    until: known.map_or(until, |known| known.until.max(until)),
                },
            ),
            Entry::Key { name } => self.keys.put(name, MAX_KEYS, |()| true, |_| ()),
            Entry::Lifetime { lifetime, until } => self.take_lifetime(lifetime, until, now_minute),
        }
    }

    fn take_lifetime(
        &self,
        lifetime: Lifetime,
        until: u32,
        now_minute: u32,
    ) -> Result<(), RevokeError> {
        let mut lifetimes = self.lifetimes.write();
        if let Some(kept) = lifetimes.get_mut(&lifetime) {
            *kept = until.max(*kept);
            return Ok(());
        }
        if lifetimes.len() >= MAX_LIFETIMES {
            lifetimes.retain(|_, until| *until >= now_minute);
            if lifetimes.len() >= MAX_LIFETIMES {
                return Err(RevokeError::Full);
            }
        }
        lifetimes.insert(lifetime, until);
        Ok(())
    }

    /// The longest lifetime that a guard has published, in seconds.
    pub(super) fn longest(&self, issuer: u128, of: Lived) -> u64 {
        let of_issuer = |seconds| Lifetime { issuer, of, seconds };
        let lifetimes = self.lifetimes.read();
        let mut all = lifetimes.range(of_issuer(0)..=of_issuer(u32::MAX));
        all.next_back().map_or(0, |(lifetime, _)| u64::from(lifetime.seconds))
    }

    /// The last minute in which a lifetime holds.
    pub(super) fn lifetime_until(&self, lifetime: &Lifetime) -> Option<u32> {
        self.lifetimes.read().get(lifetime).copied()
    }

    /// Whether `token` was revoked. An empty set costs a load, any other a hash and a look-up.
    pub(super) fn refuse(&self, namer: &Namer, token: &Verified) -> bool {
        let name = |kind, name: Option<&str>| name.map(|name| namer.name(kind, name));
        let is_named = |fingerprint| self.tokens.contains_with(|| namer.token(fingerprint));
        is_named(token.fingerprint)
            || token.text_fingerprint.is_some_and(is_named)
            || self.keys.refuses(|| name(Kind::Key, token.key_id.as_deref()), |()| true)
            || self.sessions.refuses(|| name(Kind::Session, token.session.as_deref()), |_| true)
            || self.subjects.refuses(
                || name(Kind::Subject, token.subject.as_deref()),
                |entry| token.issued_at <= entry.before_s,
            )
    }

    pub(super) fn has_session(&self, name: u128) -> bool {
        self.sessions.len() > 0 && self.sessions.get(name).is_some()
    }

    pub(super) fn subject_before(&self, name: u128) -> Option<u64> {
        self.subjects.get(name).map(|entry| entry.before_s)
    }

    pub(super) fn sweep(&self, now_minute: u32) {
        self.tokens.sweep(now_minute);
        self.subjects.retain(|entry| entry.until >= now_minute);
        self.sessions.retain(|until| *until >= now_minute);
        self.lifetimes.write().retain(|_, until| *until >= now_minute);
    }

    /// Forgets all that is revoked.
    pub(super) fn clear(&self) {
        self.tokens.clear();
        self.subjects.retain(|_| false);
        self.sessions.retain(|_| false);
        self.keys.retain(|()| false);
    }

    /// The tokens that are needed in `now_minute`, each with its minute.
    pub(super) fn tokens(&self, now_minute: u32) -> HashMap<u64, u32> {
        self.tokens.to_map(now_minute)
    }

    /// All entries except tokens that are needed in `now_minute`.
    pub(super) fn others(&self, now_minute: u32) -> Vec<Entry> {
        let mut all = self.keys.to_vec(|name, ()| Entry::Key { name });
        all.extend(self.sessions.to_vec(|name, until| Entry::Session { name, until }));
        all.extend(self.subjects.to_vec(|name, kept| Entry::Subject {
            name,
            before_s: kept.before_s,
            until: kept.until,
        }));
        let lifetimes = self.lifetimes.read();
        all.extend(
            lifetimes
                .iter()
                .map(|(lifetime, until)| Entry::Lifetime { lifetime: *lifetime, until: *until }),
        );
        all.retain(|entry| entry.is_needed(now_minute));
        all
    }

    pub(super) fn counts(&self) -> Counts {
        Counts {
            tokens: self.tokens.len(),
            subjects: self.subjects.len(),
            sessions: self.sessions.len(),
            keys: self.keys.len(),
            token_bytes: self.tokens.bytes(),
        }
    }
}
