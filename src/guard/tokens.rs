//! The token part of a guard: verification, signing and revocation.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::refresh::{self, Refresh};
use super::{Guard, Layers, Store};
use crate::bearer::{Source, TokenError};
use crate::binding::ReplayCache;
use crate::clock::Now;
use crate::config::options::{Options, Switch};
use crate::error::{ConfigCode, ConfigError};
use crate::identity::{ApiKeys, IdentitySource, IdentitySources};
use crate::remote_keys::{RemoteKeys, RemoteState};
use crate::revocation::{Gate, RevocationConfig, Revocations, SharedRevocations};
use crate::rotation::Rotation;
use crate::token::{Introspections, Issuer, Optionality, Signer, TokenConfig, Verified, Verifier};

/// The requirement of a stack for a request's token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenRequirement {
    /// No token is read.
    Ignore,
    /// Without a token the request is anonymous; an invalid token is refused in any case.
    Optional,
    /// As `Optional`, and a cookie whose token is no longer valid counts as none, and is cleared.
    Lenient,
    /// Without a token the request is refused.
    Required,
}

/// Everything about tokens, and about the other identities.
#[derive(Debug)]
pub struct Tokens {
    /// Verifies tokens; without issuers if `jwt` is off.
    pub verifier: Verifier,
    /// The sources of identities that are no tokens.
    pub sources: IdentitySources,
    /// `None` if no key can sign.
    pub signer: Option<Signer>,
    /// The revoked tokens of the issuer that signs here, or of the first one; of the first source
    /// without any.
    pub revocations: RevocationList,
    /// `None` if no refresh tokens are issued.
    pub refresh: Option<Refresh>,
    /// The revoked tokens of the other issuers, by their names: two issuers may use the same `jti`.
    others: Vec<(Arc<str>, RevocationList)>,
    /// The issuer that `revocations` belongs to.
    own: Arc<str>,
    /// Accepted proofs.
    pub proofs: ReplayCache,
    optional: Optionality,
    /// The last minute in which expired revocations were removed.
    swept_minute: AtomicU64,
}

/// A revocation list, and its location.
#[derive(Debug)]
pub enum RevocationList {
    /// `revocation` is off.
    Off,
    /// In this process.
    Local(Arc<Revocations>),
    /// In a store that other processes share.
    Shared(Arc<SharedRevocations>),
}

/// Whether the revocation list can be read.
#[derive(Debug)]
pub enum Known {
    /// It can: [`Tokens::check`] checks a token.
    Now,
    /// After the store was asked for new revocations.
    After(Arc<SharedRevocations>),
    /// Not at the moment: 503.
    No,
}

impl Tokens {
    /// Whether an identity may come in a cookie, which a browser sends with the requests of every
    /// page: in that of a token, or in those that `identify` reads.
    #[must_use]
    pub fn takes_cookies(&self) -> bool {
        self.verifier.presentation().takes_cookies() || self.sources.identify.is_some()
    }

    /// Whether `jwt` is on.
    #[must_use]
    pub fn has_issuers(&self) -> bool {
        self.verifier.issuers().next().is_some()
    }

    /// The names of query parameters that may carry a token.
    pub fn query_names(&self) -> impl Iterator<Item = &str> {
        self.verifier.presentation().query_names()
    }

    /// Layer 5, before a token is checked. `fresh`: whether the route requires the store's own
    /// answer.
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

    /// Detects that the clock of this process was set back; see [`Revocations::look_at_clock`].
    pub fn look_at_clock(&self, now: Now) {
        for list in self.lists() {
            match list {
                RevocationList::Off => {}
                RevocationList::Local(list) => list.look_at_clock(now),
                RevocationList::Shared(list) => list.look_at_clock(now),
            }
        }
    }

    /// Layer 5: whether a token was revoked, as far as this process has read: call [`Self::known`]
    /// first.
    ///
    /// # Errors
    /// It was revoked.
    pub fn check(&self, token: &Verified) -> Result<(), TokenError> {
        let checked = match self.list_of(&token.issuer) {
            RevocationList::Off => Ok(()),
            RevocationList::Local(list) => list.check(token),
            RevocationList::Shared(list) => list.check(token),
        };
        checked.map_err(TokenError::from)
    }

    /// The revoked tokens of an issuer, by its name as configured.
    #[must_use]
    pub fn list_of(&self, issuer: &str) -> &RevocationList {
        let other = self.others.iter().find(|(name, _)| **name == *issuer);
        other.map_or(&self.revocations, |(_, list)| list)
    }

    /// The revocation lists of all issuers in turn.
    pub fn lists(&self) -> impl Iterator<Item = &RevocationList> {
        [&self.revocations].into_iter().chain(self.others.iter().map(|(_, list)| list))
    }

    /// The issuer of a revocation: the given name, if an issuer has it; without a name, the only
    /// issuer. `None` if that is not certain.
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

    /// Whether this name, or the absence of one, refers to the issuer that signs here.
    #[must_use]
    pub fn is_own(&self, name: Option<&str>) -> bool {
        name.is_none_or(|name| *self.own == *name)
    }

    /// The issuers whose keys are at a URL, each with its number.
    pub fn remotes(&self) -> impl Iterator<Item = (usize, &str, &Arc<RemoteKeys>)> {
        let issuers = self.verifier.issuers().enumerate();
        issuers.filter_map(|(i, issuer)| Some((i, issuer.name(), issuer.remote()?)))
    }

    /// The issuer that is asked about tokens, with its number, and its questions.
    pub(crate) fn introspection(&self) -> Option<(usize, &Issuer, &Arc<Introspections>)> {
        let mut issuers = self.verifier.issuers().enumerate();
        issuers.find_map(|(i, issuer)| Some((i, issuer, issuer.introspection()?)))
    }

    /// Whether every issuer has provided keys at least once.
    #[must_use]
    pub fn has_keys(&self, now: Now) -> bool {
        self.remotes().all(|(_, _, keys)| keys.status(now).state != RemoteState::NotReady)
            && self.rotation().is_none_or(|rotation| rotation.is_loaded())
    }

    /// The signing keys that rotate automatically.
    #[must_use]
    pub fn rotation(&self) -> Option<&Arc<Rotation>> {
        self.signer.as_ref()?.rotation()
    }

    /// Releases all waiting requests, and asks no issuer any more.
    pub fn close(&self) {
        for (_, _, keys) in self.remotes() {
            keys.close();
        }
        if let Some((.., introspection)) = self.introspection() {
            introspection.close();
        }
    }

    /// Processes that share a store must accept each other's nonces.
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

    /// The second up to which a subject's tokens of this guard's own issuer are revoked.
    #[must_use]
    pub fn subject_before(&self, subject: &str) -> Option<u64> {
        match &self.revocations {
            RevocationList::Off => None,
            RevocationList::Local(list) => list.subject_before(subject),
            RevocationList::Shared(list) => list.subject_before(subject),
        }
    }

    /// Whether a session is revoked, as far as this process has read.
    #[must_use]
    pub fn is_session_revoked(&self, session: &str) -> bool {
        match &self.revocations {
            RevocationList::Off => false,
            RevocationList::Local(list) => list.is_session_revoked(session),
            RevocationList::Shared(list) => list.is_session_revoked(session),
        }
    }

    /// The list for revoking the tokens of an issuer in this process. It also removes expired
    /// revocations, once a minute at most: a request never waits for that.
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

    /// The issuer that signs here, or the first one.
    #[must_use]
    pub fn own_issuer(&self) -> Arc<str> {
        Arc::clone(&self.own)
    }

    /// The session of an access token that was signed here, revoked or not; `None` for any other
    /// token. A bound token needs a proof: it counts only if `proven` is its `jti`.
    ///
    /// # Errors
    /// The keys of this guard's own issuer are not known at the moment.
    pub fn own_session(
        &self,
        token: &str,
        proven: Option<&str>,
        now: Now,
    ) -> Result<Option<String>, TokenError> {
        let verified = match self.verifier.verify_early(token, now) {
            Ok(verified) => verified,
            // The keys of another issuer make no difference.
            Err(TokenError::KeysUnavailable) if !self.has_own_keys(now) => {
                return Err(TokenError::KeysUnavailable);
            }
            Err(_) => return Ok(None),
        };
        let is_proven = verified.confirmation.is_none()
            || proven.is_some_and(|proven| verified.id.as_deref() == Some(proven));
        let is_here = self.signer.is_some() && *verified.issuer == *self.own && is_proven;
        Ok(verified.session.clone().filter(|session| is_here && !session.is_empty()))
    }

    fn has_own_keys(&self, now: Now) -> bool {
        self.rotation().is_none_or(|rotation| rotation.is_loaded())
            && self
                .remotes()
                .filter(|(_, name, _)| *name == &*self.own)
                .all(|(_, _, keys)| keys.status(now).state != RemoteState::NotReady)
    }
}

impl Guard {
    /// A layer that needs an identity verifies the token itself: the result of an earlier handler
    /// is not passed through JavaScript, where any code could have changed it.
    pub(crate) fn token_demand(
        &self,
        options: &Options<'_>,
        layers: Layers,
    ) -> Result<TokenRequirement, ConfigError> {
        let unset = |key: &str, what: &str| {
            let problem = format!("must be set on the guard before a route can {what}");
            Err(ConfigError::invalid(key, problem))
        };
        let Some(tokens) = &self.tokens else {
            return match layers {
                Layers::Token | Layers::Require => unset("jwt", "ask for a token"),
                _ if options.has("jwt") => unset("jwt", "narrow it"),
                _ if options.has("authenticate") => {
                    let suggestion = "set `jwt`, `apiKeys` or `identify`";
                    Err(ConfigError::invalid(
                        "authenticate",
                        "has no effect on a guard without a source of identities",
                    )
                    .suggest(suggestion))
                }
                _ => Ok(TokenRequirement::Ignore),
            };
        };
        let key = match (options.has("jwt"), options.has("authenticate")) {
            (true, true) => return Err(said_twice()),
            (true, false) if layers == Layers::All && !tokens.has_issuers() => {
                let suggestion = "write `authenticate` for the identities of any source";
                return unset("jwt", "narrow it").map_err(|error| error.suggest(suggestion));
            }
            (true, false) => "jwt",
            (false, _) => "authenticate",
        };
        let narrowed = match Switch::read(options, key) {
            Switch::Absent => None,
            Switch::Off => return Ok(TokenRequirement::Ignore),
            Switch::On(value) => Optionality::read(&Options::read(key, value, &["optional"])?)?,
        };
        let optional = narrowed.unwrap_or(tokens.optional);
        Ok(match layers {
            Layers::Require => TokenRequirement::Required,
            Layers::All | Layers::Token if optional == Optionality::No => {
                TokenRequirement::Required
            }
            Layers::All | Layers::Token if optional == Optionality::Lenient => {
                TokenRequirement::Lenient
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
    let config = match Switch::read(options, "jwt") {
        Switch::On(value) => TokenConfig::parse("jwt", value)?,
        Switch::Absent | Switch::Off => TokenConfig::without_issuers(),
    };
    let reads_bearer = config.presentation.sources().contains(&Source::Header);
    let sources = IdentitySources::parse(options, reads_bearer)?;
    let optional = optionality(options, &config, &sources)?;
    if config.issuers().next().is_none() && sources.is_empty() {
        return Ok(None);
    }
    check_key_header(&config, &sources)?;
    let config = Arc::new(config);
    let proofs = match store {
        Store::Memory(_) => ReplayCache::local(),
        Store::Shared(store) => ReplayCache::shared(store),
    };
    // A shared store need not be reliable enough for revocations.
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
    let list_of = |name: &str, lifetime: Duration| match (&revocation, connector, shared_name) {
        (None, ..) => RevocationList::Off,
        (Some(revocation), Some(connector), _) => {
            let list = SharedRevocations::shared(connector, *revocation, lifetime, name);
            RevocationList::Shared(Arc::new(list))
        }
        (Some(_), _, Some(shared)) => {
            RevocationList::Local(Revocations::shared(lifetime, shared, name))
        }
        (Some(_), _, None) => RevocationList::Local(Arc::new(Revocations::new(lifetime))),
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
    // An API key or a session may live for years: its revocations are kept as long as any.
    let kept = config
        .issuers()
        .map(|issuer| (issuer.name(), issuer.max_lifetime()))
        .chain(sources.iter().map(|source| (source.issuer(), sources.max_lifetime(source))));
    let own = signer.as_ref().map(Signer::issuer).or_else(|| config.issuers().next());
    let first = sources.iter().next().map_or("", IdentitySource::issuer);
    let own: Arc<str> = Arc::from(own.map_or(first, Issuer::name));
    let mut revocations = RevocationList::Off;
    let mut others = Vec::new();
    for (name, lifetime) in kept {
        let list = list_of(name, lifetime);
        if *name == *own {
            revocations = list;
        } else {
            others.push((Arc::from(name), list));
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
        optional,
        sources,
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
    // Last, since it may write the first keys: refused options must leave no file behind.
    if let Some(rotation) = tokens.rotation() {
        rotation.open("jwt.rotation.storage", Now::read())?;
    }
    Ok(Some(tokens))
}

/// One header holds a token or an API key.
fn check_key_header(config: &TokenConfig, sources: &IdentitySources) -> Result<(), ConfigError> {
    if let Some(header) = sources.api_keys.as_ref().and_then(ApiKeys::header)
        && config.presentation.is_named_header(header)
    {
        let why = "is a header that `jwt.from` reads tokens from";
        return Err(ConfigError::new(ConfigCode::ConflictingOptions, "apiKeys.header", why)
            .suggest("give each of them a header of its own"));
    }
    Ok(())
}

/// Whether a request without an identity passes, unless its route decides otherwise.
fn optionality(
    options: &Options<'_>,
    config: &TokenConfig,
    sources: &IdentitySources,
) -> Result<Optionality, ConfigError> {
    let Some(value) = options.get("authenticate") else { return Ok(config.optional) };
    if config.issuers().next().is_none() && sources.is_empty() {
        let why = "needs a source of identities, and there is none";
        return Err(ConfigError::new(ConfigCode::ConflictingOptions, "authenticate", why)
            .suggest("set `jwt`, `apiKeys` or `identify`, or leave it out"));
    }
    let given = Optionality::read(&Options::read("authenticate", value, &["optional"])?)?;
    if given.is_some() && options.get("jwt").is_some_and(|jwt| jwt.get("optional").is_some()) {
        return Err(said_twice());
    }
    Ok(given.unwrap_or(config.optional))
}

/// `jwt` and `authenticate` are about one thing.
fn said_twice() -> ConfigError {
    let why = "says whether an identity is needed, and `jwt` says it as well";
    ConfigError::new(ConfigCode::ConflictingOptions, "authenticate", why)
        .suggest("leave one of the two out")
}
