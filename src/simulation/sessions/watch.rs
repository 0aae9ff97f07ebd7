//! The promises of the documentation, each with its id, and the observations of clients.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::time::Duration;

use super::super::history::{Promise, Violation};
use super::super::process::{Login, Outcome};
use super::super::service::Service;
use crate::clock::micros;

/// docs/internals/guarantees.md, docs/guides/sessions.md
pub(super) const PROMISES: &[Promise] = &[
    REVOKED_WITHIN_BOUND,
    REVOKED_HERE_AT_ONCE,
    GOOD_TOKENS_PASS,
    ENDED_SESSIONS_STAY_ENDED,
    SESSIONS_GO_ON,
    USED_TOKENS_END_SESSIONS,
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
const USED_TOKENS_END_SESSIONS: Promise = (
    "session.replay",
    "a used refresh token presented after reuseWindow ends the session and gives nothing",
);
const EXACT_LIMIT: Promise = (
    "limit.exact",
    "a key is admitted at most burst + rate x W in any span W by the store's clock",
);

/// The default of `maxStaleness`.
const BOUND_US: u64 = 5_000_000;
/// The maximum delay between the decision about a call and its answer.
const SLACK_US: u64 = 100_000;

/// A token or a session that was revoked.
#[derive(Debug, Clone, Default)]
struct Revoked {
    /// The time of the first acknowledgement, and the acknowledging process.
    stored: Option<(u64, usize)>,
}

/// A used refresh token: the time of the first request with it, and of its answer.
#[derive(Debug, Clone, Copy)]
struct Use {
    asked_us: u64,
    told_us: u64,
}

#[derive(Debug, Default)]
struct Seen {
    revoked: BTreeMap<String, Revoked>,
    ended: BTreeMap<String, Revoked>,
    /// The sessions of access tokens.
    session_of: BTreeMap<String, String>,
    /// How often refresh tokens were presented.
    presented: BTreeMap<String, usize>,
    used: BTreeMap<String, Use>,
    /// Sessions with a refresh whose answer was lost.
    uncertain: BTreeSet<String>,
    /// Sessions whose tokens were refused as revoked without a recorded end, with the refusing
    /// process.
    refused: Vec<(String, usize)>,
    admitted: BTreeMap<String, Vec<u64>>,
    violations: Vec<Violation>,
}

/// Compares the observations of clients with the promises.
#[derive(Debug)]
pub(super) struct Watch {
    service: Arc<Service>,
    reuse_window_us: u64,
    seen: Mutex<Seen>,
}

impl Watch {
    pub(super) fn new(service: &Arc<Service>, reuse_window: Duration) -> Self {
        let reuse_window_us = micros(reuse_window);
        Self { service: Arc::clone(service), reuse_window_us, seen: Mutex::default() }
    }

    pub(super) fn verdict(&self) -> Result<(), Violation> {
        let mut seen = self.seen.lock();
        let refused = std::mem::take(&mut seen.refused);
        for (session, process) in refused {
            if !seen.ended.contains_key(&session) && !seen.uncertain.contains(&session) {
                seen.violated(GOOD_TOKENS_PASS, format!("process {process} refuses its session"));
            }
        }
        seen.violations.first().cloned().map_or(Ok(()), Err)
    }

    fn now_us(&self) -> u64 {
        self.service.world.true_us()
    }

    /// Whether the servers may have lost the entry that `process` stored at `stored_us`, so that it
    /// can't be restored.
    fn is_lost(&self, stored_us: u64, process: usize) -> bool {
        let troubles = self.service.troubles.lock();
        // The answer was in flight for a moment.
        troubles.is_unreliable(process) && troubles.has_lost(stored_us.saturating_sub(SLACK_US))
    }

    pub(super) fn revoking(&self, token: &str) {
        self.seen.lock().revoked.entry(token.to_owned()).or_default();
    }

    pub(super) fn revoked(&self, token: &str, process: usize) {
        let now_us = self.now_us();
        let mut seen = self.seen.lock();
        let revoked = seen.revoked.entry(token.to_owned()).or_default();
        revoked.stored.get_or_insert((now_us, process));
    }

    pub(super) fn ending(&self, session: &str) {
        self.seen.lock().ended.entry(session.to_owned()).or_default();
    }

    pub(super) fn ended(&self, session: &str, process: usize) {
        let now_us = self.now_us();
        let mut seen = self.seen.lock();
        let ended = seen.ended.entry(session.to_owned()).or_default();
        ended.stored.get_or_insert((now_us, process));
    }

    /// Checks the outcome of a request with a token that began at `began_us`.
    pub(super) fn token_answered(
        &self,
        token: &str,
        process: usize,
        began_us: u64,
        outcome: &Outcome,
    ) {
        let mut seen = self.seen.lock();
        let of_session = || seen.ended.get(seen.session_of.get(token)?);
        let revoked = seen.revoked.get(token).or_else(of_session).cloned();
        match (revoked, outcome) {
            (None, Outcome::Refused("token_revoked")) => {
                match seen.session_of.get(token).cloned() {
                    // A refresh in flight may have ended it.
                    Some(session) => seen.refused.push((session, process)),
                    None => {
                        seen.violated(GOOD_TOKENS_PASS, format!("process {process} refuses it"));
                    }
                }
            }
            (Some(Revoked { stored: Some((stored_us, by)) }), Outcome::Passed) => {
                if by == process && began_us > stored_us {
                    seen.violated(REVOKED_HERE_AT_ONCE, format!("process {process} takes it"));
                }
                let late_us = began_us.saturating_sub(stored_us);
                if late_us > BOUND_US + SLACK_US && !self.is_lost(stored_us, by) {
                    let what =
                        format!("process {process} takes it {late_us} us after {by} had it stored");
                    seen.violated(REVOKED_WITHIN_BOUND, what);
                }
            }
            _ => {}
        }
    }

    /// Checks a refresh that began at `began_us` and returned tokens.
    pub(super) fn refreshed(&self, session: &str, began_us: u64) {
        let mut seen = self.seen.lock();
        let Some(Revoked { stored: Some((stored_us, by)) }) = seen.ended.get(session).cloned()
        else {
            return;
        };
        if began_us > stored_us + BOUND_US + SLACK_US && !self.is_lost(stored_us, by) {
            let late_us = began_us - stored_us;
            seen.violated(ENDED_SESSIONS_STAY_ENDED, format!("{late_us} us after it had ended"));
        }
    }

    /// Records an access token of a session.
    pub(super) fn issued(&self, login: &Login) {
        self.seen.lock().session_of.insert(login.access.clone(), login.session.clone());
    }

    /// Records that a refresh token is presented.
    pub(super) fn presenting(&self, login: &Login) {
        *self.seen.lock().presented.entry(login.refresh.clone()).or_default() += 1;
    }

    /// Records that it returned its successor; true for the first time.
    pub(super) fn used(&self, login: &Login, asked_us: u64) -> bool {
        let told_us = self.now_us();
        let mut seen = self.seen.lock();
        let is_new = !seen.used.contains_key(&login.refresh);
        seen.used.entry(login.refresh.clone()).or_insert(Use { asked_us, told_us });
        is_new
    }

    /// Checks a used token that was presented at `began_us` and returned its successor.
    pub(super) fn replayed(&self, login: &Login, began_us: u64) {
        let mut seen = self.seen.lock();
        let Some(Use { asked_us, told_us }) = seen.used.get(&login.refresh).copied() else {
            return;
        };
        let troubles = self.service.troubles.lock();
        let is_window_certain = self.reuse_window_us == 0 || troubles.clock_steps.is_empty();
        let is_over = began_us > told_us + self.reuse_window_us;
        if is_over && is_window_certain && !troubles.has_lost(asked_us) {
            drop(troubles);
            let what = format!("it gives tokens {} us after its use", began_us - told_us);
            seen.violated(USED_TOKENS_END_SESSIONS, what);
        }
    }

    /// Records a refresh without an answer.
    pub(super) fn refresh_unanswered(&self, session: &str) {
        self.seen.lock().uncertain.insert(session.to_owned());
    }

    /// Checks a refusal of the current token of a session.
    pub(super) fn session_refused(&self, Login { session, refresh, .. }: &Login) {
        let mut seen = self.seen.lock();
        let troubles = self.service.troubles.lock();
        // Of two concurrent uses, one may come after the window.
        let is_twice = seen.presented.get(refresh).is_some_and(|count| *count > 1)
            && (self.reuse_window_us == 0 || !troubles.clock_steps.is_empty());
        let is_excused =
            is_twice || seen.ended.contains_key(session) || seen.uncertain.contains(session);
        if !is_excused && troubles.lost_us.is_empty() {
            drop(troubles);
            seen.violated(SESSIONS_GO_ON, "it was refused".to_owned());
        }
    }

    /// Checks a request under a limit of 5 in a minute.
    pub(super) fn limited(&self, address: &str, outcome: &Outcome) {
        let now_us = self.now_us();
        let mut seen = self.seen.lock();
        if !outcome.is_passed() {
            return;
        }
        seen.admitted.entry(address.to_owned()).or_default().push(now_us);
        let is_certain = {
            let troubles = self.service.troubles.lock();
            troubles.lost_us.is_empty() && troubles.clock_steps.is_empty()
        };
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
}
