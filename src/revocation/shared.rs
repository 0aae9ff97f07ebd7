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

/// The list that processes share. All methods take `&self` and may be called by many threads. None
/// of them blocks: a call that needs the store sends its result through a [`Reply`], called once on
/// the store's thread.
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

/// The state of a shared list, for monitoring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// Whether it was read to its end and is fresh enough to decide by.
    pub freshness: Freshness,
    /// The cause of the store's outage; `None` if the store answers.
    pub fault: Option<StoreError>,
    /// The age of the last proof that nothing is missing; `None` for never.
    pub age: Option<Duration>,
    /// The number of revocations.
    pub counts: Counts,
    /// The number of entries that the store has lost and that are not republished yet.
    pub missing: usize,
}

impl SharedRevocations {
    /// The list of `issuer` at these servers and under their prefix. All guards of this process
    /// with the same servers and prefix share one copy, in worker threads too. The copy follows the
    /// stream until its last user is dropped.
    ///
    /// `max_lifetime` is [`crate::token::Issuer::max_lifetime`]. It is published to the other
    /// processes before this one decides anything: each process keeps its revocations for the
    /// longest lifetime at any of them.
    #[must_use]
    pub fn shared(
        connector: &Arc<Connector>,
        config: RevocationConfig,
        max_lifetime: Duration,
        issuer: &str,
    ) -> Self {
        Self::with(Feed::shared(connector), config, max_lifetime, issuer)
    }

    /// The same, with a copy that is not shared.
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
        feed.lower_staleness_bound(config.max_staleness);
        let list = Self { rules: Rules::new(Namer::agreed(issuer), max_lifetime), feed, config };
        list.announce(Lived::Tokens, max_lifetime);
        list
    }

    /// Publishes a lifetime of this guard to the other processes.
    fn announce(&self, of: Lived, longest: Duration) {
        let seconds = u32::try_from(longest.min(MAX_MAX_LIFETIME).as_secs()).unwrap_or(u32::MAX);
        self.feed.announce(Lifetime { issuer: self.issuer(), of, seconds });
    }

    fn issuer(&self) -> u128 {
        self.rules.namer.name(Kind::Issuer, "")
    }

    /// The rules, updated with the published lifetimes of all guards.
    fn rules(&self) -> &Rules {
        let longest = |of| Duration::from_secs(self.feed.longest(self.issuer(), of));
        self.rules.keep_for(longest(Lived::Tokens));
        self.rules.keep_sessions_for(longest(Lived::Sessions));
        &self.rules
    }

    /// The action before [`Self::check`]. `wants_fresh` is true if the route requires an answer of
    /// the store.
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

    /// Whether the copy is fresh enough to decide by.
    #[must_use]
    pub fn freshness(&self, now: Now) -> Freshness {
        self.feed.freshness(now, self.config.max_staleness)
    }

    /// Whether `token` is still valid by the copy of this process. Call [`Self::gate`] first.
    pub fn check(&self, token: &Verified) -> Result<(), Revoked> {
        if self.feed.sets.refuse(&self.rules.namer, token) { Err(Revoked(())) } else { Ok(()) }
    }

    /// Reads new entries from the store. After an `Ok`, [`Self::check`] sees every entry that was
    /// stored before the call. Concurrent calls share a round trip; each waits at most the store's
    /// `timeout`.
    pub fn refresh(&self, reply: Reply<()>) {
        self.feed.refresh(reply);
    }

    /// Revokes the token with this `jti`; see [`super::Revocations::revoke_token`].
    ///
    /// As with the other calls, an `Err` means that nothing was done and `reply` is not called.
    /// Otherwise this process refuses the token at once, and calls `reply` with `Ok` when the store
    /// has the entry, perhaps before this method returns. After an error it is unknown whether the
    /// other processes will apply it: revoke again.
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

    /// As [`Self::revoke_token`], for the result of [`crate::token::Verifier::revocable`].
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
            // Our clock alone does not determine the moment up to which to revoke.
            Clocks::Both(_, None) => reply(Err(StoreError::Unavailable)),
            _ => self.feed.publish_subject(cursor, entry, reply),
        }
        Ok(())
    }

    /// The second up to which the tokens of `subject` are revoked, by the copy of this process.
    #[must_use]
    pub fn subject_before(&self, subject: &str) -> Option<u64> {
        self.feed.sets.subject_before(self.rules.namer.name(Kind::Subject, subject))
    }

    /// As [`super::Revocations::keep_sessions_for`], for the other processes too.
    pub fn keep_sessions_for(&self, max_session: Duration) {
        self.rules.keep_sessions_for(max_session);
        self.announce(Lived::Sessions, max_session);
    }

    /// Whether the session `sid` is revoked, by the copy of this process.
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

    /// Revokes every token that the key `kid` signed or will sign, for as long as any copy of the
    /// list exists.
    pub fn revoke_key(&self, kid: &str, now: Now, reply: Reply<()>) -> Result<(), RevokeError> {
        self.publish(self.rules.key(kid)?, now, reply)
    }

    /// The state of the list.
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
