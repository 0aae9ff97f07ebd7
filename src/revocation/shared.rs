//! A list of revocations that processes share through a store.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::config::RevocationConfig;
use super::entry::{Entry, Kind, Lifetime, Lived, Namer};
use super::feed::Feed;
use super::replica::{self, Freshness, Gate};
use super::revocations::{Clocks, Counts, RevokeError, Revoked, Rules, not_empty};
use crate::clock::Now;
use crate::redis::Connector;
use crate::store::{Reply, StoreError};
use crate::token::{Fingerprint, MAX_MAX_LIFETIME, Verified};

/// The list that processes share. All methods take `&self` and may be called by many threads, and
/// none of them waits: what needs the store answers through a [`Reply`], called once on the store's
/// thread.
pub struct SharedRevocations {
    rules: Rules,
    feed: Arc<Feed>,
    config: RevocationConfig,
}

impl fmt::Debug for SharedRevocations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedRevocations").field("config", &self.config).finish_non_exhaustive()
    }
}

/// How a shared list stands, for those who watch over it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// Whether it has been read to its end, and is fresh enough to decide by.
    pub freshness: Freshness,
    /// Why the store does not answer; `None` where it does.
    pub fault: Option<StoreError>,
    /// How long ago it was certain that nothing is missing; `None` for never.
    pub age: Option<Duration>,
    /// How many are revoked.
    pub counts: Counts,
    /// How many entries the store has lost and has not been given again yet.
    pub missing: usize,
}

impl SharedRevocations {
    /// The list of `issuer` at these servers and under their prefix. All guards of this process
    /// that name the same servers and prefix have one copy, in worker threads too; it is followed
    /// as long as somebody uses it.
    ///
    /// `max_lifetime` is [`crate::token::Issuer::max_lifetime`]. It is told to the other processes
    /// before anything is decided here: what any of them revokes is kept for the longest lifetime
    /// that one of them has.
    #[must_use]
    pub fn shared(
        connector: &Arc<Connector>,
        config: RevocationConfig,
        max_lifetime: Duration,
        issuer: &str,
    ) -> Self {
        Self::with(Feed::shared(connector), config, max_lifetime, issuer)
    }

    /// The same, with a copy that nobody else has.
    #[must_use]
    pub fn new(
        connector: &Arc<Connector>,
        config: RevocationConfig,
        max_lifetime: Duration,
        issuer: &str,
    ) -> Self {
        Self::with(Feed::start(connector), config, max_lifetime, issuer)
    }

    fn with(
        feed: Arc<Feed>,
        config: RevocationConfig,
        max_lifetime: Duration,
        issuer: &str,
    ) -> Self {
        feed.keep_within(config.max_staleness);
        let list = Self { rules: Rules::new(Namer::agreed(issuer), max_lifetime), feed, config };
        list.announce(Lived::Tokens, max_lifetime);
        list
    }

    /// Tells the other processes how long something lives at this guard.
    fn announce(&self, of: Lived, longest: Duration) {
        let seconds = u32::try_from(longest.min(MAX_MAX_LIFETIME).as_secs()).unwrap_or(u32::MAX);
        self.feed.announce(Lifetime { issuer: self.issuer(), of, seconds });
    }

    fn issuer(&self) -> u128 {
        self.rules.namer.name(Kind::Issuer, "")
    }

    /// The rules by what is known now of the guards that use the list.
    fn rules(&self) -> &Rules {
        let longest = |of| Duration::from_secs(self.feed.longest(self.issuer(), of));
        self.rules.keep_for(longest(Lived::Tokens));
        self.rules.keep_sessions_for(longest(Lived::Sessions));
        &self.rules
    }

    /// What to do before [`Self::check`]. `wants_fresh` is the route's demand for an answer of the
    /// store.
    #[must_use]
    pub fn gate(&self, wants_fresh: bool, now: Now) -> Gate {
        match replica::gate(&self.config, self.freshness(now), wants_fresh) {
            Gate::RefreshFirst if !self.feed.can_prove(now) => Gate::Refuse,
            gate => gate,
        }
    }

    /// As [`super::Revocations::look_at_clock`].
    pub fn look_at_clock(&self, now: Now) {
        self.rules.look(now);
    }

    /// Whether the copy may be decided by.
    #[must_use]
    pub fn freshness(&self, now: Now) -> Freshness {
        self.feed.freshness(now, self.config.max_staleness)
    }

    /// Whether `token` is still good, as far as this process knows: ask [`Self::gate`] first.
    pub fn check(&self, token: &Verified) -> Result<(), Revoked> {
        if self.feed.sets.refuse(&self.rules.namer, token) { Err(Revoked(())) } else { Ok(()) }
    }

    /// Reads what is new at the store. After an `Ok`, [`Self::check`] knows of everything that was
    /// stored before the call. Calls at one time share a round trip, each waits at most the store's
    /// `timeout`.
    pub fn refresh(&self, reply: Reply<()>) {
        self.feed.refresh(reply);
    }

    /// Revokes the token with this `jti`; see [`super::Revocations::revoke_token`].
    ///
    /// As with the other calls, an `Err` means that nothing was done and `reply` is not called.
    /// Otherwise the token is refused here at once, and `reply` is called with `Ok` when the store
    /// has it, perhaps before this returns. With an error nobody knows whether the other processes
    /// will hear of it: revoke it again.
    pub fn revoke_token(
        &self,
        jti: &str,
        expires_at: Option<u64>,
        now: Now,
        reply: Reply<()>,
    ) -> Result<(), RevokeError> {
        not_empty(jti)?;
        self.revoke_fingerprint(Fingerprint::of_jti(jti), expires_at, now, reply)
    }

    /// As [`Self::revoke_token`], for what [`crate::token::Verifier::revocable`] found.
    pub fn revoke_fingerprint(
        &self,
        fingerprint: Fingerprint,
        expires_at: Option<u64>,
        now: Now,
        reply: Reply<()>,
    ) -> Result<(), RevokeError> {
        self.publish(self.rules().token(fingerprint, expires_at, self.clocks(now))?, now, reply)
    }

    /// Revokes the tokens of `subject` up to a second; see [`super::Revocations::revoke_subject`].
    pub fn revoke_subject(
        &self,
        subject: &str,
        before: Option<u64>,
        now: Now,
        reply: Reply<()>,
    ) -> Result<(), RevokeError> {
        let name = self.rules.namer.name(Kind::Subject, subject);
        let (cursor, known) = self.feed.known_subject(name);
        let clocks = self.clocks(now);
        let entry = self.rules().subject(subject, before, known, clocks)?;
        if before.is_some() {
            return self.publish(entry, now, reply);
        }
        self.feed.sets.apply(&entry, self.feed.minute(now))?;
        match clocks {
            // By our clock alone nobody knows up to when.
            Clocks::Both(_, None) => reply(Err(StoreError::Unavailable)),
            _ => self.feed.publish_subject(cursor, entry, reply),
        }
        Ok(())
    }

    /// The second up to which the tokens of `subject` are revoked, as far as this process knows.
    #[must_use]
    pub fn subject_before(&self, subject: &str) -> Option<u64> {
        self.feed.sets.subject_before(self.rules.namer.name(Kind::Subject, subject))
    }

    /// As [`super::Revocations::keep_sessions_for`], for the other processes too.
    pub fn keep_sessions_for(&self, max_session: Duration) {
        self.rules.keep_sessions_for(max_session);
        self.announce(Lived::Sessions, max_session);
    }

    /// Whether the session `sid` is revoked, as far as this process knows.
    #[must_use]
    pub fn is_session_revoked(&self, sid: &str) -> bool {
        self.feed.sets.has_session(self.rules.namer.name(Kind::Session, sid))
    }

    /// Revokes a session; see [`super::Revocations::revoke_session`].
    pub fn revoke_session(
        &self,
        sid: &str,
        until: Option<u64>,
        now: Now,
        reply: Reply<()>,
    ) -> Result<(), RevokeError> {
        self.publish(self.rules().session(sid, until, self.clocks(now))?, now, reply)
    }

    /// Revokes every token that the key `kid` signed or will sign, for as long as the list exists
    /// anywhere.
    pub fn revoke_key(&self, kid: &str, now: Now, reply: Reply<()>) -> Result<(), RevokeError> {
        self.publish(self.rules.key(kid)?, now, reply)
    }

    /// How it stands.
    #[must_use]
    pub fn status(&self, now: Now) -> Status {
        Status {
            freshness: self.freshness(now),
            fault: self.feed.fault(),
            age: self.feed.age(now),
            counts: self.feed.sets.counts(),
            missing: self.feed.missing(),
        }
    }

    fn clocks(&self, now: Now) -> Clocks {
        let server_s = self.feed.clock.unix_us(now).map(|unix_us| unix_us / 1_000_000);
        Clocks::Both(self.rules.own_clock(now), server_s)
    }

    fn publish(&self, entry: Entry, now: Now, reply: Reply<()>) -> Result<(), RevokeError> {
        self.feed.sets.apply(&entry, self.feed.minute(now))?;
        self.feed.publish(entry, reply);
        Ok(())
    }
}
