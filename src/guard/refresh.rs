//! Sessions that continue by refresh tokens, over both kinds of store.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::tokens::{RevocationList, Tokens};
use crate::clock::MAX_TOLERANCE;
use crate::clock::Now;
use crate::error::{ConfigCode, ConfigError};
use crate::keys::Seals;
use crate::redis::Connector;
use crate::revocation::{Gate, RevokeError, SharedRevocations};
use crate::session::RedisFamilies;
use crate::session::{
    CapacityError, FamilyKey, MemoryFamilies, NewFamily, Outcome, RefreshAttempt, RefreshConfig,
    RefreshToken, SessionData, audience_mark, longest_s,
};
use crate::store::{Reply, StoreError};
use crate::token::{IssueError, IssueOptions, Issued, Signer};

/// How long a refresh waits for the revocation list.
const PATIENCE_US: u64 = 1_000_000;

/// The families of refresh tokens of a guard.
#[derive(Debug)]
pub struct Refresh {
    config: RefreshConfig,
    issuer: Arc<str>,
    /// Distinguishes its sessions from those of a guard for another audience.
    audience: [u8; 16],
    /// Has the keys that seal records in a store.
    signer: Signer,
    /// How long a family that ended by a replay is remembered: the lifetime of its access tokens.
    remembered: Duration,
    families: Families,
}

#[derive(Debug)]
enum Families {
    Local(Arc<MemoryFamilies>),
    Shared(Arc<RedisFamilies>, Arc<SharedRevocations>),
}

impl Refresh {
    /// Ends all sessions that are kept in this process.
    pub(super) fn forget_all(&self) {
        if let Families::Local(families) = &self.families {
            families.clear();
        }
    }
}

/// Why a refresh token yielded no tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RefreshError {
    /// It is not a valid token, or its family has ended.
    Invalid,
    /// No key of this guard sealed the record of its session: either a third party with write
    /// access to the store changed it, or the keys were changed.
    Unsealed,
    /// It was used before; its family and its session have ended.
    Reused,
    /// Its session or its subject was revoked.
    Revoked,
    /// The revocation list is currently not available.
    Stale,
    /// Its session began in the future of this process, whose clock is behind; or it has ended by
    /// this clock but not by the store's. Nothing was used.
    Clock,
    /// A store gave no answer. Nothing is lost: within the window the same token may be presented
    /// again.
    Store(StoreError),
    /// The access token can't be issued.
    Issue(IssueError),
    /// Its session can't be revoked.
    Revoke(RevokeError),
}

/// A renewed session: the basis of its next access token.
#[derive(Debug)]
pub struct RenewedSession {
    /// The refresh token for the client's next renewal.
    pub refresh_token: String,
    kept: SessionData,
    /// The wall clock when the token was presented, in microseconds since 1970.
    presented_us: u64,
}

impl RenewedSession {
    /// Whether the session and its subject are still valid, as far as this process has read.
    pub fn check(&self, tokens: &Tokens) -> Result<(), RefreshError> {
        let kept = &self.kept;
        let revoked = kept.session().is_none_or(|session| tokens.is_session_revoked(session))
            || kept
                .subject()
                .and_then(|subject| tokens.subject_before(subject))
                .is_some_and(|before| before >= kept.login_s);
        if revoked { Err(RefreshError::Revoked) } else { Ok(()) }
    }

    /// The input of [`Self::from_json`], after the application has been asked for other claims.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({
            "refreshToken": self.refresh_token, "audience": self.kept.audience, "born": self.kept.login_s,
            "expiresIn": self.kept.expires_in_s, "claims": self.kept.claims,
            "presented": self.presented_us,
        })
    }

    /// Reads the output of [`Self::to_json`].
    #[must_use]
    pub fn from_json(value: &Value) -> Option<Self> {
        Some(Self {
            refresh_token: value.get("refreshToken")?.as_str()?.to_owned(),
            kept: SessionData {
                audience: serde_json::from_value(value.get("audience")?.clone()).ok()?,
                login_s: value.get("born")?.as_u64()?,
                expires_in_s: value.get("expiresIn")?.as_u64(),
                claims: value.get("claims")?.as_object()?.clone(),
            },
            presented_us: value.get("presented")?.as_u64()?,
        })
    }
}

/// The result of presenting a refresh token.
#[derive(Debug)]
pub enum Used {
    /// It was decided in this process.
    Now(Result<RenewedSession, RefreshError>),
    /// The store has to be asked, with [`Refresh::ask`].
    Ask(Box<RefreshToken>),
}

impl Refresh {
    /// How many seconds an unused refresh token is valid for.
    #[must_use]
    pub fn token_life_s(&self) -> u64 {
        self.config.idle.unwrap_or(self.config.lifetime).as_secs()
    }

    /// Builds it from `config`. Fails without revocation, and with a store that may evict records:
    /// a stolen token could not end its session.
    pub(super) fn new(
        config: RefreshConfig,
        signer: &Signer,
        revocations: &RevocationList,
        connector: Option<&Arc<Connector>>,
        shared_name: Option<&str>,
    ) -> Result<Self, ConfigError> {
        let issuer = signer.issuer();
        let families = match (revocations, connector) {
            (RevocationList::Off, _) => {
                let problem = "needs `revocation`: a stolen token must be able to end its session";
                return Err(conflict(problem).suggest("leave `revocation` out, or `jwt.refresh`"));
            }
            (RevocationList::Local(list), _) => {
                list.keep_sessions_for(config.lifetime);
                Families::Local(match shared_name {
                    Some(name) => MemoryFamilies::shared(name),
                    None => Arc::default(),
                })
            }
            (RevocationList::Shared(list), Some(connector)) => {
                list.keep_sessions_for(config.lifetime);
                Families::Shared(RedisFamilies::new(connector), Arc::clone(list))
            }
            (RevocationList::Shared(_), None) => return Err(memcached()),
        };
        let remembered = issuer.max_lifetime() + 2 * MAX_TOLERANCE;
        Ok(Self {
            config,
            issuer: Arc::from(issuer.name()),
            audience: audience_mark(issuer.audience()),
            signer: signer.clone(),
            remembered,
            families,
        })
    }

    /// Whether the store has to be asked.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        matches!(self.families, Families::Shared(..))
    }

    /// The keys that seal records now; `None` while the keys are not loaded.
    fn seals(&self, now: Now) -> Option<Seals> {
        self.signer.seals(now)
    }

    /// The key of a session's family.
    fn place(&self, session: &str) -> FamilyKey {
        FamilyKey::of(&self.issuer, session)
    }

    /// Makes the first token of a family for an access token that was issued with `claims`. It may
    /// be handed out once [`Self::open`] has stored the family.
    pub fn begin(
        &self,
        mut claims: Map<String, Value>,
        issued: &Issued,
        expires_in: Option<Duration>,
    ) -> Result<(String, NewFamily), IssueError> {
        claims.insert("sid".to_owned(), issued.session.clone().into());
        let expires_in_s = expires_in.map(|expires_in| expires_in.as_secs());
        let (audience, login_s) = (self.audience, issued.issued_at_s);
        let kept = SessionData { audience, login_s, expires_in_s, claims };
        let token = RefreshToken::first(self.place(&issued.session)).ok_or(IssueError::Random)?;
        Ok((token.text(), token.opening(&issued.session, kept.encode())))
    }

    /// Stores a family. `None`: the answer comes by `reply`, which is called only then.
    pub fn open(
        &self,
        opening: NewFamily,
        now: Now,
        reply: impl FnOnce() -> Option<Reply<()>>,
    ) -> Option<Result<(), OpenError>> {
        match &self.families {
            Families::Local(families) => {
                Some(families.open(opening, &self.config, now).map_err(OpenError::CapacityError))
            }
            Families::Shared(families, _) => match (reply(), self.seals(now)) {
                (Some(reply), Some(seals)) => {
                    families.open(opening, self.config, seals, reply);
                    None
                }
                _ => Some(Err(OpenError::Store(StoreError::Unavailable))),
            },
        }
    }

    fn presentation(&self, token: &RefreshToken, now: Now) -> Option<RefreshAttempt> {
        let tolerance = self.signer.issuer().tolerance();
        let latest_born_s = now.plus(tolerance).unix_seconds();
        let longest_s = longest_s(&self.config);
        // Families in this process end by the monotonic clock.
        let earliest_born_s =
            if self.is_shared() { now.unix_seconds().saturating_sub(longest_s) } else { 0 };
        Some(token.presentation(self.audience)?.by_clock(earliest_born_s, latest_born_s))
    }

    /// Uses a token.
    #[must_use]
    pub fn present(&self, tokens: &Tokens, text: &str, now: Now) -> Used {
        let Some(token) = RefreshToken::read(text) else {
            return Used::Now(Err(RefreshError::Invalid));
        };
        tokens.look_at_clock(now);
        let families = match &self.families {
            Families::Local(families) => families,
            // Revocations are checked when the store has answered; if they can't be read, nothing
            // is begun.
            Families::Shared(_, list) => {
                return match list.gate(true, now) {
                    Gate::Refuse => Used::Now(Err(RefreshError::Stale)),
                    Gate::Check | Gate::RefreshFirst => Used::Ask(Box::new(token)),
                };
            }
        };
        let Some(presented) = self.presentation(&token, now) else {
            return Used::Now(Err(RefreshError::Issue(IssueError::Random)));
        };
        let outcome = families.present(&presented, &self.config, self.remembered, now);
        if let (Outcome::Reused { session }, RevocationList::Local(list)) =
            (&outcome, &tokens.revocations)
            && let Err(error) = list.revoke_session(session, None, now)
        {
            return Used::Now(Err(RefreshError::Revoke(error)));
        }
        Used::Now(self.conclude(tokens, &token, outcome, now))
    }

    /// Asks the store at `now`, and stores the result in `outcome` before `reply` is called.
    ///
    /// If the token was used before, the session is revoked and the store has acknowledged it.
    /// Otherwise all revocations until now have been read. [`Self::conclude`] interprets the
    /// result.
    pub fn ask(&self, token: &RefreshToken, now: Now, outcome: Arc<Slot>, reply: Reply<()>) {
        let (Families::Shared(families, list), Some(presented), Some(seals)) =
            (&self.families, self.presentation(token, now), self.seals(now))
        else {
            return reply(Err(StoreError::Unavailable));
        };
        let list = Arc::clone(list);
        let answered = move |answer| {
            let answer = match answer {
                Ok(answer) => answer,
                Err(error) => return reply(Err(error)),
            };
            let reused = match &answer {
                Outcome::Reused { session } => Some(session.clone()),
                Outcome::Next { .. } => None,
                Outcome::Unknown | Outcome::Unsealed | Outcome::Ahead => {
                    *outcome.lock() = Some(answer);
                    return reply(Ok(()));
                }
            };
            *outcome.lock() = Some(answer);
            match reused {
                Some(session) => revoke(&list, &session, reply),
                None => catch_up(list, Now::read(), reply),
            }
        };
        families.present(presented, self.config, self.remembered, seals, Box::new(answered));
    }

    /// The session that continues after the answer to a token that was presented at `presented`.
    pub fn conclude(
        &self,
        tokens: &Tokens,
        token: &RefreshToken,
        outcome: Outcome,
        presented: Now,
    ) -> Result<RenewedSession, RefreshError> {
        let (salt, kept) = match outcome {
            Outcome::Unknown => return Err(RefreshError::Invalid),
            Outcome::Unsealed => return Err(RefreshError::Unsealed),
            Outcome::Ahead => return Err(RefreshError::Clock),
            Outcome::Reused { .. } => return Err(RefreshError::Reused),
            Outcome::Next { salt, kept } => (salt, kept),
        };
        let kept = SessionData::decode(&kept).ok_or(RefreshError::Store(StoreError::Refused))?;
        // The store judges expiry by its own clock; a session must not last forever by that clock.
        let longest_s = longest_s(&self.config);
        if self.is_shared() && Now::read().unix_seconds().saturating_sub(kept.login_s) > longest_s {
            return Err(RefreshError::Invalid);
        }
        let refresh_token = token.successor(&salt).text();
        let continued = RenewedSession { refresh_token, kept, presented_us: presented.unix_us };
        continued.check(tokens).map(|()| continued)
    }

    /// Ends the family of a session that was revoked, if families are in this process.
    pub fn close(&self, session: &str) {
        if let Families::Local(families) = &self.families {
            families.close(self.place(session));
        }
    }

    /// A function that ends the family of a session in the store once its revocation is stored;
    /// `None` if the families are in this process.
    #[must_use]
    pub fn closing(&self, session: &str) -> Option<impl FnOnce(Reply<()>) + Send + 'static> {
        let Families::Shared(families, _) = &self.families else { return None };
        let (families, place) = (Arc::clone(families), self.place(session));
        Some(move |reply| families.close(place, reply))
    }
}

/// Holds the store's answer.
pub type Slot = parking_lot::Mutex<Option<Outcome>>;

/// Why a family was not stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenError {
    /// No space is left.
    CapacityError(CapacityError),
    /// The store gave no answer.
    Store(StoreError),
}

impl RenewedSession {
    /// Issues the access token, with `claims` instead of those of the session if given. `sub` and
    /// `sid` stay.
    ///
    /// If the clock was set back since the refresh token was presented, the token is issued with
    /// the time of presentation: the refresh token is used up already.
    pub fn issue(
        &self,
        signer: &Signer,
        claims: Option<Map<String, Value>>,
        now: Now,
    ) -> Result<Issued, IssueError> {
        let mut claims = claims.unwrap_or_else(|| self.kept.claims.clone());
        for name in ["sub", "sid"] {
            match self.kept.claims.get(name) {
                Some(kept) => claims.insert(name.to_owned(), kept.clone()),
                None => claims.remove(name),
            };
        }
        let options = IssueOptions {
            // `maxLifetime` may have been reduced since the login.
            expires_in: self
                .kept
                .expires_in_s
                .map(|seconds| Duration::from_secs(seconds).min(signer.issuer().max_lifetime())),
            after: self.kept.login_s.checked_sub(1),
        };
        let now = Now { unix_us: now.unix_us.max(self.presented_us), ..now };
        signer.issue(claims, options, now)
    }
}

/// Reads the revocations until now. A refresh waits longer than a request: if the store is late, it
/// is asked again.
fn catch_up(list: Arc<SharedRevocations>, since: Now, reply: Reply<()>) {
    let asked = Arc::clone(&list);
    asked.refresh(Box::new(move |done| {
        let is_early = || Now::read().mono_us.saturating_sub(since.mono_us) < PATIENCE_US;
        match done {
            Err(StoreError::Timeout) if is_early() => catch_up(list, since, reply),
            done => reply(done),
        }
    }));
}

/// Revokes a session in the store, and always answers.
fn revoke(list: &SharedRevocations, session: &str, reply: Reply<()>) {
    let waiting = Arc::new(parking_lot::Mutex::new(Some(reply)));
    let told = Arc::clone(&waiting);
    let tell = move |done| {
        if let Some(reply) = told.lock().take() {
            reply(done);
        }
    };
    if list.revoke_session(session, None, Now::read(), Box::new(tell)).is_err()
        && let Some(reply) = waiting.lock().take()
    {
        reply(Err(StoreError::Refused));
    }
}

fn conflict(problem: &str) -> ConfigError {
    ConfigError::new(ConfigCode::ConflictingOptions, "jwt.refresh", problem)
}

/// With a store that may evict records.
pub(super) fn memcached() -> ConfigError {
    conflict("can't be kept in Memcached, which may forget it and then take a stolen token for a good one")
        .suggest("use `store.redis`, or leave `jwt.refresh` out")
}

/// Without a signing key.
pub(super) fn without_signer() -> ConfigError {
    conflict("needs a key that can sign: the access tokens are issued here")
        .suggest("give `jwt.secret`, or a private key in `jwt.keys`")
}
