//! Used proofs: each proof is accepted once (RFC 9449 section 11.1).
//!
//! In Redis one script marks a proof as used, in Memcached `add` and `cas` do, in the same batches
//! and under the same timeout as the limits. In this process a proof is a record that no flood can
//! evict.
//!
//! The rules:
//!
//! 1. A proof is used when the limits have admitted its request. So a client over its limit cannot
//!    fill a list.
//! 2. If this process has a record that a proof was used, it refuses the proof before the limits: a
//!    replay is charged to no client. If another process has accepted the proof, each process
//!    charges the first replay that it sees, and no other.
//! 3. One key uses at most [`MAX_OF_ONE_KEY`] proofs in the time for which they are remembered, and
//!    twice as many after an idle time. So one key cannot cause a 503 for another.
//! 4. A list has a start time. A proof that was made before it may have been used and is refused.
//!    So a restart of this process or of the server, `FLUSHALL` and a failover make no used proof
//!    good again.
//! 5. A client that is refused by rule 4 gets a nonce, and passes with it at once. Most clients
//!    write `iat` in whole seconds, so rule 4 also refuses proofs of the second in which the list
//!    began. A nonce has an exact time.
//!
//! Rule 4 has a gap: a client whose clock is ahead dates its proofs ahead. A proof that was used
//! just before the list began passes once more, for as long as the client's clock is ahead of the
//! process's: `jwt.clockTolerance` at most, unless the process's clock is behind.

use std::hash::Hasher as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::binding::proof::{MAX_AGE, Proof, ProofId};
use crate::clock::MAX_TOLERANCE;
use crate::clock::{Now, micros};
use crate::few::Few;
use crate::quota::algorithm::{Algorithm, Rule, State};
use crate::quota::{Action, CommandResult, LimitCheck, StoreCommand, SubjectCommand, SubjectKey};
use crate::shared_store::SharedStore;
use crate::store::{Key, MemoryConfig, MemoryStore, Prefix, Record, SPENT, StoreError};

/// The time for which a used proof is remembered: as long as it could be accepted by the clock that
/// is furthest behind, after the clock that is furthest ahead has accepted it. It is the same
/// everywhere, since processes share the records.
const KEPT: Duration = MAX_AGE.saturating_add(MAX_TOLERANCE).saturating_add(SLACK);
/// The amount by which clocks may differ or be set back before a used proof could be forgotten too
/// early.
const SLACK: Duration = Duration::from_secs(10);
/// The maximum number of proofs that one key uses in the time for which they are remembered: 769
/// requests a second.
const MAX_OF_ONE_KEY: u32 = 100_000;
/// The tag of the only limit in the record of a proof.
const TAG: u32 = 4;

/// Detects that the clock of this machine was set back.
///
/// The wall clock decides the age of a proof. Another clock decides how long it is remembered, and
/// that one is never set: the monotonic clock here, or the clock of the store. If the wall clock is
/// set back, a proof whose record has expired becomes young again. So proofs that may have been
/// used before are refused until the wall clock has caught up.
#[derive(Debug, Default)]
pub struct ClockRollback {
    /// The largest lead of the wall clock over the monotonic one.
    lead_us: AtomicU64,
    /// The time of the last rollback, by the clock before it.
    until_us: AtomicU64,
}

impl ClockRollback {
    /// Proofs made until this time may have been used without a record, and must be refused. 0 if
    /// the clock was not set back.
    pub fn until_us(&self, now: Now) -> u64 {
        let lead_us = now.unix_us.saturating_sub(now.mono_us);
        let before_us = self.lead_us.fetch_max(lead_us, Ordering::Relaxed);
        if before_us > lead_us.saturating_add(micros(SLACK)) {
            let until_us = now.mono_us.saturating_add(before_us);
            self.until_us.fetch_max(until_us, Ordering::Relaxed);
            // Continue with the current lead. A thread that has read the clock before may raise it
            // again; then the rollback is detected again.
            self.lead_us.store(lead_us, Ordering::Relaxed);
        }
        self.until_us.load(Ordering::Relaxed)
    }

    /// The instance of this process: all guards share it, since a proof counts for all of them.
    #[must_use]
    pub fn here() -> &'static Self {
        static HERE: ClockRollback =
            ClockRollback { lead_us: AtomicU64::new(0), until_us: AtomicU64::new(0) };
        #[cfg(test)]
        if let Some(own) = crate::simulation::set_back() {
            return own;
        }
        &HERE
    }
}

/// The used proofs.
#[derive(Debug)]
pub enum ReplayCache {
    /// In this process: one list for all guards and threads.
    Local(Arc<Remembered>),
    /// In a store that processes share.
    Shared {
        /// The store, which decides.
        store: Arc<SharedStore>,
        /// Proofs that this process has seen used in this store: they are refused without a store
        /// command. Each store has its own list, and [`ReplayCache::mark`] names it: if two guards
        /// with two stores admit a request, its proof is used once in each.
        known: Arc<Remembered>,
        /// Equal for all guards whose options lead to the same records.
        name: String,
    },
}

/// The result of using a proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// The first use.
    First,
    /// It was used before.
    Again,
    /// It is older than the list, so it may have been used.
    Forgotten,
    /// Its key has used too many proofs.
    TooMany,
    /// The list is full or the store does not answer.
    Unknown,
}

/// The next step for a proof.
#[derive(Debug)]
pub enum ReplayStep {
    /// The result is final.
    Done(Use),
    /// Send this command to the store; [`ReplayCache::answered`] reads the result.
    Ask(Arc<SharedStore>, StoreCommand),
}

impl ReplayCache {
    /// The list of this process. It takes up to 64 MB, about 800 000 proofs. When it is full, it
    /// accepts none until the oldest ones expire. It lives as long as the process: a rebuilt guard
    /// still has the used proofs.
    #[must_use]
    pub fn local() -> Self {
        ClockRollback::here().until_us(Now::read());
        Self::Local(Remembered::here())
    }

    /// Forgets what is in the list of this process, which a test clock that is released has dated
    /// ahead.
    pub fn forget_local() {
        Remembered::here().store.clear();
    }

    /// The list in a store.
    #[must_use]
    pub fn shared(store: &Arc<SharedStore>) -> Self {
        // Start now, to detect a clock that is set back before the first proof comes.
        ClockRollback::here().until_us(Now::read());
        store.status().keep_proofs();
        let known = Remembered::new(Arc::clone(store.used_proofs()), Now::read());
        let name = match store.connector() {
            Some(connector) => connector.config().identity(),
            None => format!("{:p}", Arc::as_ptr(store)),
        };
        Self::Shared { store: Arc::clone(store), known: Arc::new(known), name }
    }

    /// A separate list in `store`, which begins at `began`.
    #[must_use]
    pub fn in_memory(store: Arc<MemoryStore>, began: Now) -> Self {
        Self::Local(Arc::new(Remembered::new(store, began)))
    }

    /// Whether a proof is older than the list, as far as this process can determine: it may have
    /// been used. Redis decides it in its script.
    #[must_use]
    pub fn is_older(&self, proof: &Proof, now: Now) -> bool {
        let began_us = match self {
            Self::Local(list) => list.began_us,
            Self::Shared { store, .. } if store.connector().is_some() => return false,
            Self::Shared { store, .. } => store.status().connected_us(),
        };
        // By the current clock: a clock that was wrong at first is right by now.
        proof.made_us < now.unix_us.saturating_sub(now.mono_us.saturating_sub(began_us))
    }

    /// Whether this process has a record that the proof was used. The call does not use the proof.
    #[must_use]
    pub fn knows(&self, proof: &Proof, now: Now) -> bool {
        let (Self::Local(list) | Self::Shared { known: list, .. }) = self;
        list.has(&proof.id, now)
    }

    /// Uses a proof if it was not used before.
    #[must_use]
    pub fn take(&self, proof: &Proof, now: Now) -> ReplayStep {
        match self {
            Self::Local(list) => ReplayStep::Done(list.take(proof, now)),
            Self::Shared { store, .. } if !store.status().is_available() => {
                ReplayStep::Done(Use::Unknown)
            }
            Self::Shared { store, .. } => {
                let keeps_all = store.connector().is_some();
                ReplayStep::Ask(Arc::clone(store), question(proof, keeps_all, now))
            }
        }
    }

    /// Interprets the store's answer about a proof.
    #[must_use]
    pub fn answered(
        &self,
        proof: &Proof,
        answer: &Result<CommandResult, StoreError>,
        now: Now,
    ) -> Use {
        let outcome = match answer {
            Err(_) => Use::Unknown,
            Ok(CommandResult { admitted: true, .. }) => Use::First,
            Ok(CommandResult { statuses, .. }) => match statuses.as_slice() {
                [own, ..] if !own.fits => Use::Again,
                [_, maker] if !maker.fits => Use::TooMany,
                [_, _] => Use::Forgotten,
                _ => Use::Unknown,
            },
        };
        if let (Self::Shared { known, .. }, Use::First | Use::Again) = (self, outcome) {
            known.note(&proof.id, now);
        }
        outcome
    }

    /// Names this list and a proof in it, for a second layer that gets the same request.
    #[must_use]
    pub fn mark(&self, id: &ProofId) -> String {
        use base64::Engine as _;
        let id = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(id.as_bytes());
        match self {
            Self::Local(list) => format!("{:p}.{id}", Arc::as_ptr(list)),
            Self::Shared { name, .. } => format!("{name}.{id}"),
        }
    }
}

/// Proofs that this process has seen used.
#[derive(Debug)]
pub struct Remembered {
    store: Arc<MemoryStore>,
    used: Prefix,
    makers: Prefix,
    /// The limit of proofs for one key.
    rule: Rule,
    /// The start of the list on the monotonic clock.
    began_us: u64,
}

impl Remembered {
    fn new(store: Arc<MemoryStore>, began: Now) -> Self {
        let (used, makers) = (store.prefix(&[b"used proof"]), store.prefix(&[b"maker"]));
        Self { store, used, makers, rule: of_one_key(), began_us: began.mono_us }
    }

    /// The list of this process, shared by all guards without a shared store.
    fn here() -> Arc<Self> {
        static HERE: OnceLock<Arc<Remembered>> = OnceLock::new();
        let new = || {
            let store = Arc::new(MemoryStore::new(MemoryConfig::DEFAULT_BYTES));
            // Of the machine: other threads use it, and it outlives the test clock of this one.
            Arc::new(Self::new(store, Now::read_machine()))
        };
        Arc::clone(HERE.get_or_init(new))
    }

    fn key(&self, id: &ProofId) -> Key {
        let mut key = self.used.key();
        key.write(id.as_bytes());
        key.build()
    }

    fn has(&self, id: &ProofId, now: Now) -> bool {
        let key = self.key(id);
        self.store.lock(std::iter::once(key)).get_own(&key, now.mono_us).is_some()
    }

    /// Records a proof that was used in another list. If there is no room, that list still has it.
    fn note(&self, id: &ProofId, now: Now) {
        let key = self.key(id);
        let _ = self.store.lock(std::iter::once(key)).put_own(&key, spent(now), now.mono_us);
    }

    fn take(&self, proof: &Proof, now: Now) -> Use {
        let key = self.key(&proof.id);
        let mut maker = self.makers.key();
        maker.write(proof.key.as_bytes());
        let maker = maker.build();
        let mut locked = self.store.lock([key, maker].into_iter());
        if locked.get_own(&key, now.mono_us).is_some() {
            return Use::Again;
        }
        let clock_us = self.rule.clock(now);
        let known = locked.get_own(&maker, now.mono_us).unwrap_or_default();
        if !self.rule.fits(State(known.state), 1, clock_us) {
            return Use::TooMany;
        }
        let state = self.rule.charge(State(known.state), 1, clock_us);
        let lasts_us = self.rule.view(state, clock_us).expires_us;
        let count = Record {
            state: state.0,
            expires_us: now.mono_us.saturating_add(lasts_us),
            used: SPENT,
            ..Record::default()
        };
        let kept = locked.put_own(&maker, count, now.mono_us)
            && locked.put_own(&key, spent(now), now.mono_us);
        if kept { Use::First } else { Use::Unknown }
    }
}

/// The record of a used proof. It cannot be evicted before the proof is too old.
fn spent(now: Now) -> Record {
    let until_us = now.mono_us.saturating_add(micros(KEPT));
    Record { expires_us: until_us, blocked_until_us: until_us, used: SPENT, ..Record::default() }
}

fn of_one_key() -> Rule {
    Rule::new(Algorithm::Gcra, MAX_OF_ONE_KEY, KEPT, MAX_OF_ONE_KEY)
}

/// A store that `keeps_all` records can fill up, so the command also counts the proofs of each key.
/// Memcached evicts instead.
fn question(proof: &Proof, keeps_all: bool, now: Now) -> StoreCommand {
    let ask = |subject, rule| SubjectCommand {
        subject: SubjectKey(subject),
        demands: Few::from([LimitCheck { tag: TAG, rule, cost: 1 }]),
    };
    let own = ask(*proof.id.as_bytes(), Rule::new(Algorithm::Gcra, 1, KEPT, 1));
    if !keeps_all {
        return StoreCommand::about(Action::Consume, vec![own]);
    }
    let age_us = now.unix_us.saturating_sub(proof.made_us);
    let maker = ask(proof.maker(), of_one_key());
    StoreCommand::about(Action::Prove { age_us }, vec![own, maker])
}
