//! The promises of the documentation, each by its id, and what clients have seen.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parking_lot::Mutex;

use super::process::Outcome;
use super::world::World;

/// A promise: its id in the documentation, and what it says.
pub(super) type Promise = (&'static str, &'static str);

/// docs/scaling.md, docs/sessions.md
pub(super) const PROMISES: &[Promise] = &[
    REVOKED_WITHIN_BOUND,
    REVOKED_HERE_AT_ONCE,
    GOOD_TOKENS_PASS,
    ENDED_SESSIONS_STAY_ENDED,
    SESSIONS_GO_ON,
    EXACT_LIMIT,
];

const REVOKED_WITHIN_BOUND: Promise =
    ("revocation.bound", "no process takes a token that was revoked longer than maxStaleness ago");
const REVOKED_HERE_AT_ONCE: Promise =
    ("revocation.here", "the process that revokes refuses the token from then on");
const GOOD_TOKENS_PASS: Promise =
    ("revocation.good", "a token that nobody has revoked is never refused as one");
const ENDED_SESSIONS_STAY_ENDED: Promise =
    ("session.ended", "a session that was ended gives no tokens");
const SESSIONS_GO_ON: Promise =
    ("session.current", "the current token of a session is never taken for a used one");
const EXACT_LIMIT: Promise = (
    "limit.exact",
    "a key is admitted at most burst + rate x W in any span W by the store's clock",
);

/// The default of `maxStaleness`.
const BOUND_US: u64 = 5_000_000;
/// How long a call may be on its way when it was decided.
const SLACK_US: u64 = 100_000;

/// What was promised and did not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Violation {
    pub(super) promise: &'static str,
    pub(super) seen: String,
}

/// A token or a session that was revoked.
#[derive(Debug, Clone, Default)]
struct Revoked {
    /// When somebody was first told that it is, and by which process.
    stored: Option<(u64, usize)>,
    /// Data was lost after that, and the process that could put it back is gone.
    excused: bool,
}

#[derive(Debug, Default)]
struct Seen {
    revoked: BTreeMap<String, Revoked>,
    ended: BTreeMap<String, Revoked>,
    /// Sessions with a refresh whose answer was lost.
    unanswered: BTreeSet<String>,
    admitted: BTreeMap<String, Vec<u64>>,
    /// Processes that have died or were cut off.
    unreliable: Vec<usize>,
    lost_us: Vec<u64>,
    clock_was_set: bool,
    violations: Vec<Violation>,
}

/// Compares what clients see with what was promised.
#[derive(Debug)]
pub(super) struct Watch {
    world: Arc<World>,
    seen: Mutex<Seen>,
}

impl Watch {
    pub(super) fn new(world: &Arc<World>) -> Self {
        Self { world: Arc::clone(world), seen: Mutex::default() }
    }

    pub(super) fn verdict(&self) -> Result<(), Violation> {
        self.seen.lock().violations.first().cloned().map_or(Ok(()), Err)
    }

    /// A process is not relied on any more: it has died, or is cut off.
    pub(super) fn unreliable(&self, process: usize) {
        let mut seen = self.seen.lock();
        seen.unreliable.push(process);
        seen.excuse();
    }

    /// The servers may have lost something that was stored.
    pub(super) fn data_lost(&self) {
        let mut seen = self.seen.lock();
        seen.lost_us.push(self.world.true_us());
        seen.excuse();
    }

    pub(super) fn server_clock_set(&self) {
        self.seen.lock().clock_was_set = true;
    }

    pub(super) fn revoking(&self, token: &str) {
        self.seen.lock().revoked.entry(token.to_owned()).or_default();
    }

    pub(super) fn revoked(&self, token: &str, process: usize) {
        let now_us = self.world.true_us();
        let mut seen = self.seen.lock();
        let revoked = seen.revoked.entry(token.to_owned()).or_default();
        revoked.stored.get_or_insert((now_us, process));
        seen.excuse();
    }

    pub(super) fn ending(&self, session: &str) {
        self.seen.lock().ended.entry(session.to_owned()).or_default();
    }

    pub(super) fn ended(&self, session: &str, process: usize) {
        let now_us = self.world.true_us();
        let mut seen = self.seen.lock();
        let ended = seen.ended.entry(session.to_owned()).or_default();
        ended.stored.get_or_insert((now_us, process));
        seen.excuse();
    }

    /// A request with a token that had begun at `began_us`.
    pub(super) fn token_answered(
        &self,
        token: &str,
        process: usize,
        began_us: u64,
        outcome: &Outcome,
    ) {
        let mut seen = self.seen.lock();
        let revoked = seen.revoked.get(token).cloned();
        match (revoked, outcome) {
            (None, Outcome::Refused("token_revoked")) => {
                seen.violated(GOOD_TOKENS_PASS, format!("process {process} refuses it"));
            }
            (Some(Revoked { stored: Some((stored_us, by)), excused }), Outcome::Passed) => {
                if by == process && began_us > stored_us {
                    seen.violated(REVOKED_HERE_AT_ONCE, format!("process {process} takes it"));
                }
                let late_us = began_us.saturating_sub(stored_us);
                if !excused && late_us > BOUND_US + SLACK_US {
                    let what =
                        format!("process {process} takes it {late_us} us after {by} had it stored");
                    seen.violated(REVOKED_WITHIN_BOUND, what);
                }
            }
            _ => {}
        }
    }

    /// A refresh that had begun at `began_us` gave tokens.
    pub(super) fn refreshed(&self, session: &str, began_us: u64) {
        let mut seen = self.seen.lock();
        let Some(Revoked { stored: Some((stored_us, _)), excused: false }) =
            seen.ended.get(session).cloned()
        else {
            return;
        };
        if began_us > stored_us + BOUND_US + SLACK_US {
            let late_us = began_us - stored_us;
            seen.violated(ENDED_SESSIONS_STAY_ENDED, format!("{late_us} us after it had ended"));
        }
    }

    /// Nobody was told what came of a refresh.
    pub(super) fn refresh_unanswered(&self, session: &str) {
        self.seen.lock().unanswered.insert(session.to_owned());
    }

    /// The current token of a session was refused.
    pub(super) fn session_refused(&self, session: &str) {
        let mut seen = self.seen.lock();
        let is_excused = seen.ended.contains_key(session) || seen.unanswered.contains(session);
        if !is_excused && seen.lost_us.is_empty() {
            seen.violated(SESSIONS_GO_ON, "it was refused".to_owned());
        }
    }

    /// A request by a limit of 5 in a minute.
    pub(super) fn limited(&self, address: &str, outcome: &Outcome) {
        let now_us = self.world.true_us();
        let mut seen = self.seen.lock();
        if !outcome.is_passed() {
            return;
        }
        seen.admitted.entry(address.to_owned()).or_default().push(now_us);
        let is_certain = seen.lost_us.is_empty() && !seen.clock_was_set;
        let times = &seen.admitted[address];
        let over = times.iter().enumerate().find(|(i, from_us)| {
            let most = 5 + (now_us - **from_us + SLACK_US) * 5 / 60_000_000;
            (times.len() - i) as u64 > most
        });
        if let Some((i, from_us)) = over.filter(|_| is_certain) {
            let what = format!("{} of {address} since {from_us}", times.len() - i);
            seen.violated(EXACT_LIMIT, what);
        }
    }
}

impl Seen {
    fn violated(&mut self, promise: Promise, seen: String) {
        self.violations.push(Violation { promise: promise.0, seen });
    }

    /// What was stored, and may be lost with the process that knew of it.
    fn excuse(&mut self) {
        let Self { revoked, ended, unreliable, lost_us, .. } = self;
        for revoked in revoked.values_mut().chain(ended.values_mut()) {
            let Some((stored_us, by)) = revoked.stored else { continue };
            revoked.excused |=
                unreliable.contains(&by) && lost_us.iter().any(|lost_us| *lost_us >= stored_us);
        }
    }
}
