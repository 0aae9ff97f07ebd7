//! What a guard knows of tokens: who verifies, who signs, and what is revoked.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::refresh::{self, Refresh};
use super::{Guard, Layers, Store};
use crate::binding::ReplayCache;
use crate::clock::Now;
use crate::config::options::{Options, Switch};
use crate::error::{ConfigCode, ConfigError};
use crate::remote_keys::{RemoteKeys, RemoteState};
use crate::revocation::{Gate, RevocationConfig, Revocations, SharedRevocations};
use crate::rotation::Rotation;
use crate::token::{Issuer, Signer, TokenConfig, TokenError, Verified, Verifier};

/// What a stack wants of a request's token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenRequirement {
    /// No token is looked at.
    Ignore,
    /// Without a token the request is anonymous; a bad token is refused all the same.
    Optional,
    /// Without a token the request is refused.
    Required,
}

/// Everything about tokens.
#[derive(Debug)]
pub struct Tokens {
    /// Says whose a token is.
    pub verifier: Verifier,
    /// `None` where no key can sign.
    pub signer: Option<Signer>,
    /// What is revoked of the tokens of the first issuer, or of the one that signs here.
    pub revocations: RevocationList,
    /// `None` where no refresh tokens are given.
    pub refresh: Option<Refresh>,
    /// What is revoked of the tokens of the other issuers, by their names: two issuers may well use
    /// one `jti`.
    others: Vec<(Arc<str>, RevocationList)>,
    /// The issuer that `revocations` belongs to.
    own: Arc<str>,
    /// Proofs that were taken.
    pub proofs: ReplayCache,
    optional: bool,
    /// The last minute in which revocations were forgotten that no token needs any more.
    swept_minute: AtomicU64,
}

/// What is revoked, and where that is written.
#[derive(Debug)]
pub enum RevocationList {
    /// `revocation` is off.
    Off,
    /// In this process.
    Local(Arc<Revocations>),
    /// In a store that other processes share.
    Shared(Arc<SharedRevocations>),
}

/// Whether the list of revocations can be looked at.
#[derive(Debug)]
pub enum Known {
    /// It can: [`Tokens::check`] says whether a token is good.
    Now,
    /// When the store was asked what is new.
    After(Arc<SharedRevocations>),
    /// Not at the moment: 503.
    No,
}

impl Tokens {
    /// Whether a token may come in a cookie, which a browser sends whoever made it send the
    /// request.
    #[must_use]
    pub fn takes_cookies(&self) -> bool {
        self.verifier.presentation().takes_cookies()
    }

    /// The names under which a token may come in the query.
    pub fn query_names(&self) -> impl Iterator<Item = &str> {
        self.verifier.presentation().query_names()
    }

    /// Layer 5, before a token is checked. `fresh` is whether the route wants the store's own word.
    #[must_use]
    pub fn known(&self, fresh: bool, now: Now) -> Known {
        self.look_at_clock(now);
        let RevocationList::Shared(shared) = &self.revocations else { return Known::Now };
        match shared.gate(fresh, now) {
            Gate::Check => Known::Now,
            Gate::RefreshFirst => Known::After(Arc::clone(shared)),
            Gate::Refuse => Known::No,
        }
    }

    /// Notices where the clock of this process was set back; see [`Revocations::look_at_clock`].
    pub fn look_at_clock(&self, now: Now) {
        for list in self.lists() {
            match list {
                RevocationList::Off => {}
                RevocationList::Local(list) => list.look_at_clock(now),
                RevocationList::Shared(list) => list.look_at_clock(now),
            }
        }
    }

    /// Layer 5: whether a token was revoked, as far as is known here: ask [`Self::known`] first.
    ///
    /// # Errors
    /// It was.
    pub fn check(&self, token: &Verified) -> Result<(), TokenError> {
        let checked = match self.list_of(&token.issuer) {
            RevocationList::Off => Ok(()),
            RevocationList::Local(list) => list.check(token),
            RevocationList::Shared(list) => list.check(token),
        };
        checked.map_err(|_| TokenError::Revoked)
    }

    /// What is revoked of the tokens of an issuer, by its name as configured.
    #[must_use]
    pub fn list_of(&self, issuer: &str) -> &RevocationList {
        let other = self.others.iter().find(|(name, _)| **name == *issuer);
        other.map_or(&self.revocations, |(_, list)| list)
    }

    /// What is revoked, of one issuer after the other.
    pub fn lists(&self) -> impl Iterator<Item = &RevocationList> {
        [&self.revocations].into_iter().chain(self.others.iter().map(|(_, list)| list))
    }

    /// The name under which something is revoked: the one that was given, if it is of an issuer;
    /// without one the only issuer's. `None` where that is not certain.
    #[must_use]
    pub fn issuer_named(&self, name: Option<&str>) -> Option<Arc<str>> {
        match name {
            None => self.others.is_empty().then(|| Arc::clone(&self.own)),
            Some(name) => [&self.own]
                .into_iter()
                .chain(self.others.iter().map(|(name, _)| name))
                .find(|known| ***known == *name)
                .map(Arc::clone),
        }
    }

    /// Whether this name, or none, is that of the issuer that signs here.
    #[must_use]
    pub fn is_own(&self, name: Option<&str>) -> bool {
        name.is_none_or(|name| *self.own == *name)
    }

    /// The issuers whose keys are at a URL, each with its number.
    pub fn remotes(&self) -> impl Iterator<Item = (usize, &str, &Arc<RemoteKeys>)> {
        let issuers = self.verifier.issuers().enumerate();
        issuers.filter_map(|(i, issuer)| Some((i, issuer.name(), issuer.remote()?)))
    }

    /// Whether every issuer has given keys at some time.
    #[must_use]
    pub fn has_keys(&self, now: Now) -> bool {
        self.remotes().all(|(_, _, keys)| keys.status(now).state != RemoteState::NotReady)
            && self.rotation().is_none_or(|rotation| rotation.is_loaded())
    }

    /// The signing keys that change by themselves.
    #[must_use]
    pub fn rotation(&self) -> Option<&Arc<Rotation>> {
        self.signer.as_ref()?.rotation()
    }

    /// Lets nobody wait any more, and asks no issuer.
    pub fn close(&self) {
        for (_, _, keys) in self.remotes() {
            keys.close();
        }
    }

    /// Where processes share a store, they must know each other's nonces.
    fn check_nonces(&self) -> Result<(), ConfigError> {
        let nonces = self.verifier.presentation().nonces.as_ref();
        let shared = matches!(self.proofs, ReplayCache::Shared { .. });
        if shared && nonces.is_some_and(|nonces| !nonces.is_agreed()) {
            return Err(ConfigError::new(
                ConfigCode::MissingOption,
                "jwt.dpopNonce.secret",
                "must be there beside a shared store: other processes would not know the nonces of this one",
            )
            .suggest("give all processes one secret, made with `openssl rand -base64 48`"));
        }
        Ok(())
    }

    /// The second up to which the tokens of a subject are revoked, of those that are issued here.
    #[must_use]
    pub fn subject_before(&self, subject: &str) -> Option<u64> {
        match &self.revocations {
            RevocationList::Off => None,
            RevocationList::Local(list) => list.subject_before(subject),
            RevocationList::Shared(list) => list.subject_before(subject),
        }
    }

    /// Whether a session is revoked, as far as is known here.
    #[must_use]
    pub fn is_session_revoked(&self, session: &str) -> bool {
        match &self.revocations {
            RevocationList::Off => false,
            RevocationList::Local(list) => list.is_session_revoked(session),
            RevocationList::Shared(list) => list.is_session_revoked(session),
        }
    }

    /// Where to revoke the tokens of an issuer in this process. What no token needs any more is
    /// forgotten here, once a minute at the most: a request never waits for that.
    pub fn to_revoke_of(&self, issuer: &str, now: Now) -> Option<&Revocations> {
        let minute = now.unix_seconds() / 60;
        if self.swept_minute.swap(minute, Ordering::Relaxed) != minute {
            for list in self.lists() {
                if let RevocationList::Local(revocations) = list {
                    revocations.sweep(now);
                }
            }
        }
        match self.list_of(issuer) {
            RevocationList::Local(revocations) => Some(revocations),
            RevocationList::Off | RevocationList::Shared(_) => None,
        }
    }
}

impl Guard {
    /// A layer that needs to know who it is looks at the token itself: what an earlier handler
    /// found is not handed through JavaScript, where any code could have changed it.
    pub(crate) fn token_demand(
        &self,
        options: &Options<'_>,
        layers: Layers,
    ) -> Result<TokenRequirement, ConfigError> {
        let Some(tokens) = &self.tokens else {
            return match layers {
                Layers::Token | Layers::Require => Err(ConfigError::invalid(
                    "jwt",
                    "must be set on the guard before a route can ask for a token",
                )),
                _ if options.has("jwt") => Err(ConfigError::invalid(
                    "jwt",
                    "must be set on the guard before a route can narrow it",
                )),
                _ => Ok(TokenRequirement::Ignore),
            };
        };
        let narrowed = match Switch::read(options, "jwt") {
            Switch::Absent => None,
            Switch::Off => return Ok(TokenRequirement::Ignore),
            Switch::On(value) => Options::read("jwt", value, &["optional"])?.bool("optional")?,
        };
        Ok(match layers {
            Layers::Require => TokenRequirement::Required,
            Layers::All | Layers::Token if !narrowed.unwrap_or(tokens.optional) => {
                TokenRequirement::Required
            }
            Layers::All | Layers::Token | Layers::RateLimit | Layers::Policy => {
                TokenRequirement::Optional
            }
            Layers::Headers | Layers::Cors | Layers::Csrf | Layers::Payload => {
                TokenRequirement::Ignore
            }
        })
    }
}

pub(super) fn tokens(
    options: &Options<'_>,
    store: &Store,
    shared_name: Option<&str>,
) -> Result<Option<Tokens>, ConfigError> {
    let Switch::On(value) = Switch::read(options, "jwt") else { return Ok(None) };
    let config = Arc::new(TokenConfig::parse("jwt", value)?);
    let proofs = match store {
        Store::Memory(_) => ReplayCache::local(),
        Store::Shared(store) => ReplayCache::shared(store),
    };
    // A store may be shared and yet be none that a revocation can be trusted to.
    let (connector, may_forget) = match store {
        Store::Memory(_) => (None, false),
        Store::Shared(store) => (store.connector(), store.connector().is_none()),
    };
    let revocation = match Switch::read(options, "revocation") {
        Switch::Off => None,
        _ if may_forget => {
            let given = options.get("revocation");
            Some(RevocationConfig::parse_beside_memcached("revocation", given)?)
        }
        Switch::Absent => Some(RevocationConfig::default()),
        Switch::On(value) => {
            Some(RevocationConfig::parse("revocation", value, connector.is_some())?)
        }
    };
    let list_of = |issuer: &Issuer| {
        let (lifetime, name) = (issuer.max_lifetime(), issuer.name());
        match (&revocation, connector, shared_name) {
            (None, ..) => RevocationList::Off,
            (Some(revocation), Some(connector), _) => {
                let list = SharedRevocations::shared(connector, *revocation, lifetime, name);
                RevocationList::Shared(Arc::new(list))
            }
            (Some(revocation), _, Some(shared)) => {
                RevocationList::Local(Revocations::shared(*revocation, lifetime, shared, name))
            }
            (Some(revocation), _, None) => {
                RevocationList::Local(Arc::new(Revocations::new(*revocation, lifetime)))
            }
        }
    };
    let signer = Signer::new(Arc::clone(&config));
    let rotating = config.issuers().filter(|issuer| issuer.rotation().is_some());
    for issuer in rotating {
        if signer.as_ref().is_none_or(|signer| signer.issuer().name() != issuer.name()) {
            return Err(ConfigError::new(
                ConfigCode::ConflictingOptions,
                "jwt.issuers",
                "has `rotation` with one issuer and a key that signs with another before it",
            )
            .suggest("let one issuer sign here: give the others public keys"));
        }
    }
    let own = signer.as_ref().map(Signer::issuer).or_else(|| config.issuers().next());
    let own: Arc<str> = Arc::from(own.map_or("", Issuer::name));
    let mut revocations = RevocationList::Off;
    let mut others = Vec::new();
    for issuer in config.issuers() {
        let list = list_of(issuer);
        if *issuer.name() == *own {
            revocations = list;
        } else {
            others.push((Arc::from(issuer.name()), list));
        }
    }
    let refresh = match config.refresh {
        None => None,
        Some(_) if may_forget => return Err(refresh::memcached()),
        Some(options) => {
            let signer = signer.as_ref().ok_or_else(refresh::without_signer)?;
            Some(Refresh::new(options, signer, &revocations, connector, shared_name)?)
        }
    };
    let tokens = Tokens {
        optional: config.optional,
        signer,
        verifier: Verifier::new(config),
        revocations,
        refresh,
        others,
        own,
        proofs,
        swept_minute: AtomicU64::new(0),
    };
    tokens.check_nonces()?;
    // The last thing, since it may write the first keys: options that are refused leave no file
    // behind.
    if let Some(rotation) = tokens.rotation() {
        rotation.open("jwt.rotation.storage", Now::read())?;
    }
    Ok(Some(tokens))
}
