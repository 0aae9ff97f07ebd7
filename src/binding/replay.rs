//! Proofs that were used: each is taken once (RFC 9449 section 11.1).
//!
//! In Redis one script uses a proof up, in Memcached `add` and `cas` do, in the same batches and
//! under the same timeout as the limits. In this process a proof is a record that no flood can push
//! out.
//!
//! The rules:
//!
//! 1. A proof is used up when the limits have admitted its request. A client over its limit fills
//!    no list.
//! 2. A proof that this process knows to be used is refused before the limits: a replay charges
//!    nobody. Where another process has taken the proof, each process charges the first replay that
//!    it sees, and no other.
//! 3. One key uses at most [`MAX_OF_ONE_KEY`] in the time for which they are remembered, twice as
//!    many where it was idle before. Nobody gets 503 because of somebody else's key.
//! 4. A list knows when it began. A proof that was made before may have been used: it is refused.
//!    So a restart of this process or of the server, `FLUSHALL` and a failover make no used proof
//!    good again.
//! 5. Whoever is refused by rule 4 gets a nonce, and passes with it at once. Most clients write
//!    `iat` in whole seconds, so this is about proofs of the very second in which the list began,
//!    too; and a nonce says exactly when it was given.
//!
//! What rule 4 does not see: a client whose clock is ahead dates its proofs ahead. One that was
//! used just before the list began passes once more, for as long as that clock is ahead of the
//! process's: `jwt.clockTolerance` at most, where that is not behind.

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

/// How long a used proof is remembered: as long as it could be taken, by the clock that is the
/// furthest behind, since one that was ahead has taken it. The same everywhere, since processes
/// share what they remember.
const KEPT: Duration = MAX_AGE.saturating_add(MAX_TOLERANCE).saturating_add(SLACK);
/// How far clocks may differ, or be set back, before a proof that was used could be forgotten too
/// early.
const SLACK: Duration = Duration::from_secs(10);
/// How many proofs one key uses at most in the time for which they are remembered: 769 requests a
/// second.
const MAX_OF_ONE_KEY: u32 = 100_000;
/// The place of the mark within the record of a proof, which has nothing else in it.
const TAG: u32 = 4;

/// Notices when the clock of this machine is set back.
///
/// How old a proof is says that clock; how long it is remembered says another one, which nobody
/// sets: the monotonic one here, that of the store elsewhere. Set back, the first makes a proof
/// young again that the second lets be forgotten. So whatever may have been used before that is not
/// taken any more, until the clock has caught up.
#[derive(Debug, Default)]
pub struct ClockRollback {
    /// The highest that the clock was ahead of the monotonic one.
    lead_us: AtomicU64,
    /// The time at which it was set back last, by the clock as it was before.
    until_us: AtomicU64,
}

impl ClockRollback {
    /// Up to when proofs may have been used that nobody remembers: those made until then are not to
    /// be taken. 0 for a clock that was not set back.
    pub fn until_us(&self, now: Now) -> u64 {
        let lead_us = now.unix_us.saturating_sub(now.mono_us);
        let before_us = self.lead_us.fetch_max(lead_us, Ordering::Relaxed);
        if before_us > lead_us.saturating_add(micros(SLACK)) {
            let until_us = now.mono_us.saturating_add(before_us);
            self.until_us.fetch_max(until_us, Ordering::Relaxed);
            // From here on as it is now. Whoever has read the clock before may put it up again, and
            // it is noticed again.
            self.lead_us.store(lead_us, Ordering::Relaxed);
        }
        self.until_us.load(Ordering::Relaxed)
    }

    /// That of this process: a proof is for all its guards.
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

/// The proofs that were used.
#[derive(Debug)]
pub enum ReplayCache {
    /// In this process: one list for all guards and threads.
    Local(Arc<Remembered>),
    /// In a store that processes share.
    Shared {
        /// Which decides.
        store: Arc<SharedStore>,
        /// Those that this process knows to be used in this store: they are refused without asking
        /// anybody. Each store has its own, and [`ReplayCache::mark`] names it: a request that two
        /// guards with two stores admit has its proof used once in each.
        known: Arc<Remembered>,
        /// Alike for all guards whose options lead to the same records.
        name: String,
    },
}

/// What becomes of a proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// It is used now, and was not before.
    First,
    /// It was used before.
    Again,
    /// It is older than the list of those that were used.
    Forgotten,
    /// Its key has used too many.
    TooMany,
    /// Nobody can say.
    Unknown,
}

/// What there is to do with a proof.
#[derive(Debug)]
pub enum ReplayStep {
    /// Nothing more.
    Done(Use),
    /// The store has to be asked; [`ReplayCache::answered`] reads its answer.
    Ask(Arc<SharedStore>, StoreCommand),
}

impl ReplayCache {
    /// The list of this process. It takes up to 64 MB, about 800 000 proofs; beyond that, none is
    /// taken until the first are too old. It lives as long as the process: a guard that is built
    /// anew still knows what was used.
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
        // A clock that is set back before the first proof comes is noticed, too.
        ClockRollback::here().until_us(Now::read());
        store.status().keep_proofs();
        let known = Remembered::new(Arc::clone(store.used_proofs()), Now::read());
        let name = match store.connector() {
            Some(connector) => connector.config().identity(),
            None => format!("{:p}", Arc::as_ptr(store)),
        };
        Self::Shared { store: Arc::clone(store), known: Arc::new(known), name }
    }

    /// A list of its own in `store`, which begins at `began`.
    #[must_use]
    pub fn in_memory(store: Arc<MemoryStore>, began: Now) -> Self {
        Self::Local(Arc::new(Remembered::new(store, began)))
    }

    /// Whether a proof is older than the list, as far as this process can tell: it may have been
    /// used. Redis says it itself.
    #[must_use]
    pub fn is_older(&self, proof: &Proof, now: Now) -> bool {
        let began_us = match self {
            Self::Local(list) => list.began_us,
            Self::Shared { store, .. } if store.connector().is_some() => return false,
            Self::Shared { store, .. } => store.status().connected_us(),
        };
        // By the clock as it is now: one that was wrong at first has been set right since.
        proof.made_us < now.unix_us.saturating_sub(now.mono_us.saturating_sub(began_us))
    }

    /// Whether this process knows that a proof was used. It uses nothing up.
    #[must_use]
    pub fn knows(&self, proof: &Proof, now: Now) -> bool {
        let (Self::Local(list) | Self::Shared { known: list, .. }) = self;
        list.has(&proof.id, now)
    }

    /// Uses a proof, if it was not used before.
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

    /// What the store's answer about a proof means.
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
            Ok(CommandResult { standings, .. }) => match standings.as_slice() {
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

    /// Names this list and a proof in it, for a second layer that meets the same request.
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

/// Proofs that this process knows to be used.
#[derive(Debug)]
pub struct Remembered {
    store: Arc<MemoryStore>,
    used: Prefix,
    makers: Prefix,
    /// How many proofs one key may have in here.
    rule: Rule,
    /// When it began, on the monotonic clock.
    began_us: u64,
}

impl Remembered {
    fn new(store: Arc<MemoryStore>, began: Now) -> Self {
        let (used, makers) = (store.prefix(&[b"used proof"]), store.prefix(&[b"maker"]));
        Self { store, used, makers, rule: of_one_key(), began_us: began.mono_us }
    }

    /// That of this process: a proof is for all its guards that have no shared store.
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

    /// Notes one that is used in another list. Where there is no room, that list still knows it.
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

/// The record of a proof, which nothing pushes out before the proof is too old.
fn spent(now: Now) -> Record {
    let until_us = now.mono_us.saturating_add(micros(KEPT));
    Record { expires_us: until_us, blocked_until_us: until_us, used: SPENT, ..Record::default() }
}

fn of_one_key() -> Rule {
    Rule::new(Algorithm::Gcra, MAX_OF_ONE_KEY, KEPT, MAX_OF_ONE_KEY)
}

/// A store that `keeps_all` it is given is full some time, so it counts what each key has used.
/// Memcached forgets instead.
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
