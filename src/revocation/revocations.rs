//! The list of revocations, and the check of a verified token.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use thiserror::Error;

use super::entry::{Entry, Kind, Namer};
use super::forgetting::{Forgetting, Shown};
use super::sets::Sets;
use crate::bearer::TokenError;
use crate::clock::MAX_TOLERANCE;
use crate::clock::Now;
use crate::token::{Fingerprint, MAX_MAX_LIFETIME, Verified};

/// The maximum number of revoked tokens at one time: about 100 MB.
pub const MAX_TOKENS: usize = 5_000_000;
/// The maximum number of revoked subjects, and of revoked sessions, at one time.
pub const MAX_SUBJECTS: usize = 1_000_000;
/// The maximum number of revoked keys.
pub const MAX_KEYS: usize = 10_000;
/// The maximum number of different lifetimes of the guards over one store.
pub(super) const MAX_LIFETIMES: usize = 10_000;

/// A smaller number is not a time since 1970 but a duration: 2001-09-09.
const LEAST_TIME_S: u64 = 1_000_000_000;
/// A larger number is a time in milliseconds: the year 5138.
const MAX_TIME_S: u64 = 100_000_000_000;

/// A verified token that was revoked. It has no reason, since the bearer must not learn it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Revoked(pub(super) ());

impl From<Revoked> for TokenError {
    fn from(_: Revoked) -> Self {
        Self::Revoked
    }
}

/// The reason why nothing was revoked. Report it to the caller: the token is still valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RevokeError {
    /// There is no room. No earlier revocation is dropped to make room.
    #[error("too many are revoked at one time, this one is not")]
    Full,
    /// The number is not a time in seconds.
    #[error("the time must be in seconds since 1970; write Math.floor(Date.now() / 1000)")]
    NotSeconds,
    /// The time is in the future: tokens that are not issued yet can't be revoked.
    #[error("the time must not lie ahead")]
    Future,
    /// One of two clocks is wrong, so the moment up to which to revoke is unknown.
    #[error(
        "the clocks of this process and of the store differ by more than a minute, so nobody knows which tokens were issued until now; set the clock that is wrong, nothing was revoked"
    )]
    Clock,
    /// The clock was set back: the same.
    #[error(
        "the clock of this process was set back by more than a minute, so nobody knows which tokens were issued until now; nothing was revoked, try again when it has caught up, or say with `before` up to when"
    )]
    ClockSetBack,
    /// An empty name would match nothing, or everything.
    #[error("the name of what is revoked must not be empty")]
    Empty,
}

/// The number of revocations of each kind, including those that the next sweep drops.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Single tokens.
    pub tokens: usize,
    /// Subjects.
    pub subjects: usize,
    /// Sessions.
    pub sessions: usize,
    /// Keys.
    pub keys: usize,
    /// Bytes of the table of tokens.
    pub token_bytes: usize,
}

/// The list of revocations in this process. All methods take `&self` and may be called by many
/// threads.
#[derive(Debug)]
pub struct Revocations {
    rules: Rules,
    sets: Sets,
}

/// Computes the entry for a request to revoke.
#[derive(Debug)]
pub(super) struct Rules {
    pub(super) namer: Namer,
    max_lifetime_s: AtomicU64,
    /// The maximum lifetime of a session, if that is longer.
    max_session_s: AtomicU64,
    shown: Shown,
}

impl Rules {
    /// For tokens that live at most `max_lifetime`.
    pub(super) fn new(namer: Namer, max_lifetime: Duration) -> Self {
        let rules = Self {
            namer,
            max_lifetime_s: AtomicU64::new(0),
            max_session_s: AtomicU64::new(0),
            shown: Shown::default(),
        };
        rules.keep_for(max_lifetime);
        rules
    }

    /// Detects that the clock of this process was set back.
    pub(super) fn look(&self, now: Now) {
        self.shown.look(now);
    }

    /// The present and the past readings of this process's clock.
    pub(super) fn own_clock(&self, now: Now) -> Own {
        self.look(now);
        Own {
            now: now.unix_seconds(),
            issued: self.shown.issued_s(now),
            furthest: self.shown.furthest_s(now),
        }
    }

    /// Raises the maximum lifetime of tokens.
    pub(super) fn keep_for(&self, max_lifetime: Duration) {
        self.max_lifetime_s.fetch_max(max_lifetime.as_secs().saturating_add(1), Ordering::AcqRel);
    }

    /// Raises the maximum lifetime of sessions with refresh tokens.
    pub(super) fn keep_sessions_for(&self, max_session: Duration) {
        self.max_session_s.fetch_max(max_session.as_secs().saturating_add(1), Ordering::AcqRel);
    }

    pub(super) fn token(
        &self,
        fingerprint: Fingerprint,
        expires_at: Option<u64>,
        clocks: Clocks,
    ) -> Result<Entry, RevokeError> {
        let latest = self.latest_expiry(clocks);
        let expires_at = match expires_at {
            None => latest,
            Some(at) => seconds(at)?.min(self.latest_anywhere(latest, clocks)),
        };
        Ok(Entry::Token { name: self.namer.token(fingerprint), until: until_minute(expires_at) })
    }

    /// `known` is the moment up to which the subject is revoked already.
    pub(super) fn subject(
        &self,
        subject: &str,
        before: Option<u64>,
        known: Option<u64>,
        clocks: Clocks,
    ) -> Result<Entry, RevokeError> {
        not_empty(subject)?;
        let before_s = match before {
            None => behind(known, clocks.agreed_s()?),
            Some(before) => seconds(before)?,
        };
        if before.is_some_and(|before| before > clocks.now_s()) {
            return Err(RevokeError::Future);
        }
        let longest = self
            .max_lifetime_s
            .load(Ordering::Acquire)
            .max(self.max_session_s.load(Ordering::Acquire));
        let until = until_minute(before_s.saturating_add(longest));
        let name = self.namer.name(Kind::Subject, subject);
        Ok(Entry::Subject { name, before_s, until })
    }

    pub(super) fn session(
        &self,
        sid: &str,
        until: Option<u64>,
        clocks: Clocks,
    ) -> Result<Entry, RevokeError> {
        not_empty(sid)?;
        let session_s = self.max_session_s.load(Ordering::Acquire);
        // A failover may restore the record of the session as it was. Then only this entry ends the
        // session.
        let going_on = clocks.latest_s().saturating_add(session_s);
        let latest = self.latest_expiry(clocks).max(going_on);
        let until = until_minute(until.map_or(Ok(latest), seconds)?.max(latest));
        Ok(Entry::Session { name: self.namer.name(Kind::Session, sid), until })
    }

    pub(super) fn key(&self, kid: &str) -> Result<Entry, RevokeError> {
        not_empty(kid)?;
        Ok(Entry::Key { name: self.namer.name(Kind::Key, kid) })
    }

    /// The latest `exp` of a token that is accepted now or was issued before now: `iat` may be
    /// ahead by the tolerance.
    fn latest_expiry(&self, clocks: Clocks) -> u64 {
        clocks
            .latest_s()
            .saturating_add(self.max_lifetime_s.load(Ordering::Acquire))
            .saturating_add(MAX_TOLERANCE.as_secs())
    }

    /// The same for every guard that may use the list. A guard in another process may allow the
    /// maximum lifetime.
    fn latest_anywhere(&self, latest: u64, clocks: Clocks) -> u64 {
        match self.namer {
            Namer::Private(_) => latest,
            Namer::Agreed(_) => clocks.latest_s() + (MAX_MAX_LIFETIME + MAX_TOLERANCE).as_secs(),
        }
    }
}

/// The time by our own clock and, if processes share the list, by the server's. Either may be
/// wrong.
#[derive(Debug, Clone, Copy)]
pub(super) enum Clocks {
    Own(Own),
    /// The server's time is `None` if it has never answered.
    Both(Own, Option<u64>),
}

/// The time by our own clock, in seconds; see [`Shown`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Own {
    now: u64,
    issued: u64,
    furthest: u64,
}

impl Clocks {
    /// No token has a later `iat`.
    fn now_s(self) -> u64 {
        match self {
            Self::Own(own) => own.issued,
            Self::Both(own, server_s) => own.issued.max(server_s.unwrap_or(0)),
        }
    }

    /// At least the time of the correct clock: an entry may be kept too long, but never too short.
    fn latest_s(self) -> u64 {
        match self {
            Self::Both(own, None) => own.furthest.saturating_add(MAX_MAX_LIFETIME.as_secs()),
            Self::Own(own) | Self::Both(own, Some(_)) => self.now_s().max(own.furthest),
        }
    }

    /// The moment up to which tokens are refused. It must not be too late, since that would refuse
    /// logins.
    fn agreed_s(self) -> Result<u64, RevokeError> {
        let most_s = MAX_TOLERANCE.as_secs();
        let (Self::Own(own) | Self::Both(own, _)) = self;
        if let Self::Both(own, Some(server_s)) = self
            && own.now.abs_diff(server_s) > most_s
        {
            return Err(RevokeError::Clock);
        }
        if own.issued > own.now.saturating_add(most_s) {
            return Err(RevokeError::ClockSetBack);
        }
        Ok(self.now_s())
    }
}

/// The second up to which the tokens issued until `now_s` are refused. If the tokens until `known`
/// are refused already, a login after that has an `iat` after `known`, which may be ahead of
/// `now_s`; so the result is after `known` too. A `known` further ahead than clocks may differ is
/// ignored, since no token has such an `iat`.
pub(super) fn behind(known: Option<u64>, now_s: u64) -> u64 {
    let furthest_s = now_s.saturating_add(2 * MAX_TOLERANCE.as_secs());
    let is_issued = |known: &u64| (now_s..=furthest_s).contains(known);
    known.filter(is_issued).map_or(now_s, |known| known.saturating_add(1))
}

impl Revocations {
    /// The list of all guards of this process with the same `name` and `issuer`, in worker threads
    /// too. It lives until its last user is dropped, and keeps entries for the longest of their
    /// lifetimes.
    #[must_use]
    pub fn shared(max_lifetime: Duration, name: &str, issuer: &str) -> Arc<Self> {
        type Lists = BTreeMap<(String, String), Weak<Revocations>>;
        static SHARED: Mutex<Lists> = Mutex::new(BTreeMap::new());
        let mut shared = SHARED.lock();
        let key = (name.to_owned(), issuer.to_owned());
        let list = shared.get(&key).and_then(Weak::upgrade).unwrap_or_else(|| {
            shared.retain(|_, list| list.strong_count() > 0);
            let list = Arc::new(Self::new(max_lifetime));
            shared.insert(key, Arc::downgrade(&list));
            list
        });
        list.rules.keep_for(max_lifetime);
        list
    }

    /// An empty list for tokens that live at most `max_lifetime`, which is
    /// [`crate::token::Issuer::max_lifetime`].
    #[must_use]
    pub fn new(max_lifetime: Duration) -> Self {
        let sets = Sets::new(Forgetting::unconfirmed());
        Self { rules: Rules::new(Namer::private(), max_lifetime), sets }
    }

    /// Revokes the token with this `jti`.
    ///
    /// `expires_at`, in seconds since 1970, is the expiry of the token or a later time; without it
    /// the longest lifetime counts. A time that is long over stores nothing, since such a token is
    /// refused anyway.
    pub fn revoke_token(
        &self,
        jti: &str,
        expires_at: Option<u64>,
        now: Now,
    ) -> Result<(), RevokeError> {
        not_empty(jti)?;
        self.revoke_fingerprint(Fingerprint::of_jti(jti), expires_at, now)
    }

    /// As [`Self::revoke_token`], for the result of [`crate::token::Verifier::revocable`].
    pub fn revoke_fingerprint(
        &self,
        fingerprint: Fingerprint,
        expires_at: Option<u64>,
        now: Now,
    ) -> Result<(), RevokeError> {
        self.apply(self.rules.token(fingerprint, expires_at, self.clock(now))?, now)
    }

    /// Revokes every token of `subject` that was issued at `before` or earlier, in seconds since
    /// 1970; `None` is now.
    ///
    /// * A token that is issued within the same second is refused too: `iat` is in seconds, so the
    ///   order is unknown. To issue a token that is accepted, see [`Self::subject_before`].
    /// * An issuer whose clock is ahead writes too late an `iat`. A `before` does not account for
    ///   that, so such a token may be missed, by as much as the clock is ahead.
    /// * If the clock of this process was set back, `None` covers the latest time it had shown: see
    ///   [`RevokeError::ClockSetBack`].
    /// * An earlier call with a later `before` stays in force.
    pub fn revoke_subject(
        &self,
        subject: &str,
        before: Option<u64>,
        now: Now,
    ) -> Result<(), RevokeError> {
        let known = self.subject_before(subject);
        self.apply(self.rules.subject(subject, before, known, self.clock(now))?, now)
    }

    /// The second up to which the tokens of `subject` are revoked. A new token must have a later
    /// `iat` to be accepted.
    #[must_use]
    pub fn subject_before(&self, subject: &str) -> Option<u64> {
        self.sets.subject_before(self.rules.namer.name(Kind::Subject, subject))
    }

    /// Keeps revoked sessions and subjects for the maximum lifetime of a session with refresh
    /// tokens: see [`crate::session::RefreshConfig::lifetime`].
    pub fn keep_sessions_for(&self, max_session: Duration) {
        self.rules.keep_sessions_for(max_session);
    }

    /// Whether the session `sid` is revoked.
    #[must_use]
    pub fn is_session_revoked(&self, sid: &str) -> bool {
        self.sets.has_session(self.rules.namer.name(Kind::Session, sid))
    }

    /// Revokes every token of the session `sid`, also those issued later, until `until` (seconds
    /// since 1970), but at least for the longest lifetime of a token and of a session.
    pub fn revoke_session(
        &self,
        sid: &str,
        until: Option<u64>,
        now: Now,
    ) -> Result<(), RevokeError> {
        self.apply(self.rules.session(sid, until, self.clock(now))?, now)
    }

    /// Revokes every token that the key `kid` signed or will sign, for the life of this list.
    pub fn revoke_key(&self, kid: &str) -> Result<(), RevokeError> {
        self.sets.apply(&self.rules.key(kid)?, 0)
    }

    /// Whether `token` is still valid. An empty list costs a load, any other a hash and a look-up.
    pub fn check(&self, token: &Verified) -> Result<(), Revoked> {
        if self.sets.refuse(&self.rules.namer, token) { Err(Revoked(())) } else { Ok(()) }
    }

    /// Takes back all that is revoked: for tests.
    pub fn clear(&self) {
        self.sets.clear();
    }

    /// Drops entries that can't refuse a token any more. Call it about once a minute. Without it
    /// the list stays correct, but keeps its memory until the next revocation.
    pub fn sweep(&self, now: Now) {
        self.sets.sweep(self.sets.minute(now));
    }

    /// The number of revocations.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.sets.counts()
    }

    /// Detects that the clock of this process was set back, since tokens may have an `iat` from
    /// before. Call it wherever tokens are issued or accepted.
    pub fn look_at_clock(&self, now: Now) {
        self.rules.look(now);
    }

    fn clock(&self, now: Now) -> Clocks {
        Clocks::Own(self.rules.own_clock(now))
    }

    fn apply(&self, entry: Entry, now: Now) -> Result<(), RevokeError> {
        self.sets.apply(&entry, self.sets.minute(now))
    }
}

pub(super) fn not_empty(name: &str) -> Result<(), RevokeError> {
    if name.is_empty() { Err(RevokeError::Empty) } else { Ok(()) }
}

fn seconds(at: u64) -> Result<u64, RevokeError> {
    if (LEAST_TIME_S..MAX_TIME_S).contains(&at) { Ok(at) } else { Err(RevokeError::NotSeconds) }
}

pub(super) fn minute(seconds: u64) -> u32 {
    u32::try_from(seconds / 60).unwrap_or(u32::MAX)
}

/// The minute in which the last token with this expiry is accepted: a verifier may be late by its
/// tolerance.
fn until_minute(expires_at: u64) -> u32 {
    minute(expires_at.saturating_add(MAX_TOLERANCE.as_secs()))
}
