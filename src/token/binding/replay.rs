//! Proofs that were used: each is taken once (RFC 9449 section 11.1).
//!
//! "Once" over processes that race is what the limiter has solved already, so a proof is a subject with a limit of one in
//! the time for which it could be taken again: one script in Redis, `add` and `cas` in Memcached, in the same batches and
//! under the same timeout as the limits. In this process it is a record that no flood can push out.

use std::hash::Hasher as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::proof::{MAX_AGE, ProofId};
use crate::clock::{Now, micros};
use crate::error::ConfigError;
use crate::few::Few;
use crate::limit::algorithm::{Algorithm, Rule};
use crate::store::ask::{Action, Answer, Demand, Question, SubjectAsk, SubjectKey};
use crate::store::{
    Key, MemoryConfig, MemoryStore, Prefix, Record, SPENT, SharedStore, StoreError,
};
use crate::token::config::MAX_TOLERANCE;

/// How long a used proof is remembered: as long as it could be taken, by the clock that is the furthest behind, since one
/// that was ahead has taken it. The same everywhere, since processes share what they remember.
const KEPT: Duration = MAX_AGE.saturating_add(MAX_TOLERANCE).saturating_add(SLACK);
/// How far clocks may differ, or be set back, before a proof that was used could be forgotten too early.
const SLACK: Duration = Duration::from_secs(10);
/// The place of the mark within the record of a proof, which has nothing else in it.
const TAG: u32 = 4;

/// Notices when the clock of this machine is set back.
///
/// How old a proof is says that clock; how long it is remembered says another one, which nobody sets: the monotonic one
/// here, that of the store elsewhere. Set back, the first makes a proof young again that the second lets be forgotten. So
/// whatever may have been used before that is not taken any more, until the clock has caught up.
#[derive(Debug, Default)]
pub struct SetBack {
    /// The highest that the clock was ahead of the monotonic one.
    lead_us: AtomicU64,
    /// The time at which it was set back last, by the clock as it was before.
    until_us: AtomicU64,
}

impl SetBack {
    /// Up to when proofs may have been used that nobody remembers: those made until then are not to be taken. 0 for a
    /// clock that was not set back.
    pub fn until_us(&self, now: Now) -> u64 {
        let lead_us = now.unix_us.saturating_sub(now.mono_us);
        let before_us = self.lead_us.fetch_max(lead_us, Ordering::Relaxed);
        if before_us > lead_us.saturating_add(micros(SLACK)) {
            let until_us = now.mono_us.saturating_add(before_us);
            self.until_us.fetch_max(until_us, Ordering::Relaxed);
            // From here on as it is now. Whoever has read the clock before may put it up again, and it is noticed again.
            self.lead_us.store(lead_us, Ordering::Relaxed);
        }
        self.until_us.load(Ordering::Relaxed)
    }

    /// That of this process: a proof is for all its guards.
    #[must_use]
    pub fn here() -> &'static Self {
        static HERE: SetBack = SetBack { lead_us: AtomicU64::new(0), until_us: AtomicU64::new(0) };
        &HERE
    }
}

/// The proofs that were used.
#[derive(Debug)]
pub enum UsedProofs {
    /// In this process: one list for all guards and threads.
    Local {
        /// Where they are.
        store: Arc<MemoryStore>,
        /// What their keys begin with.
        prefix: Prefix,
    },
    /// In a store that processes share.
    Shared(Arc<SharedStore>),
}

/// What becomes of a proof.
#[derive(Debug)]
pub enum Use {
    /// It is used now, and was not before.
    First,
    /// It was used before.
    Again,
    /// The store has to be asked; [`UsedProofs::read`] reads its answer.
    Ask(Arc<SharedStore>, Question),
    /// Nobody can say.
    Unknown,
}

impl UsedProofs {
    /// The list of this process. It takes up to 64 MB, about 800 000 proofs; beyond that, none is taken until the first
    /// are too old.
    pub fn local() -> Result<Self, ConfigError> {
        // No option can name it: a text with this first character is refused there.
        let name = "\0used proofs".to_owned();
        let mut config = MemoryConfig::new("store.memory");
        config.shared = Some(name);
        Ok(Self::in_memory(MemoryStore::open(&config)?))
    }

    /// A list of its own in `store`.
    #[must_use]
    pub fn in_memory(store: Arc<MemoryStore>) -> Self {
        let prefix = store.prefix(&[b"used proof"]);
        Self::Local { store, prefix }
    }

    /// Uses a proof, if it was not used before.
    #[must_use]
    pub fn take(&self, id: &ProofId, now: Now) -> Use {
        match self {
            Self::Local { store, prefix } => take_here(store, prefix, id, now.mono_us),
            Self::Shared(store) if !store.status().is_available() => Use::Unknown,
            Self::Shared(store) => Use::Ask(Arc::clone(store), question(id)),
        }
    }

    /// What the store's answer means.
    #[must_use]
    pub fn read(answer: &Result<Answer, StoreError>) -> Use {
        match answer {
            Ok(Answer { admitted: true, .. }) => Use::First,
            Ok(_) => Use::Again,
            Err(_) => Use::Unknown,
        }
    }

    /// Names this list and a proof in it, for a second layer that meets the same request.
    #[must_use]
    pub fn mark(&self, id: &ProofId) -> String {
        use base64::Engine as _;
        let id = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(id.as_bytes());
        match self {
            Self::Local { store, .. } => format!("{:p}.{id}", Arc::as_ptr(store)),
            Self::Shared(store) => format!("{:p}.{id}", Arc::as_ptr(store)),
        }
    }
}

fn take_here(store: &MemoryStore, prefix: &Prefix, id: &ProofId, now_us: u64) -> Use {
    let mut key = prefix.key();
    key.write(id.as_bytes());
    let key: Key = key.build();
    let mut locked = store.lock(std::iter::once(key));
    if locked.get_own(&key, now_us).is_some() {
        return Use::Again;
    }
    let until_us = now_us.saturating_add(micros(KEPT));
    let record = Record {
        expires_us: until_us,
        blocked_until_us: until_us,
        used: SPENT,
        ..Record::default()
    };
    if locked.put_own(&key, record, now_us) { Use::First } else { Use::Unknown }
}

fn question(id: &ProofId) -> Question {
    let rule = Rule::new(Algorithm::Gcra, 1, KEPT, 1);
    let demands = Few::from([Demand { tag: TAG, rule, cost: 1 }]);
    let subjects = vec![SubjectAsk { subject: SubjectKey(*id.as_bytes()), demands }];
    Question::about(Action::Consume, subjects)
}
