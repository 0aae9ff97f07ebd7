//! The internals of a guard: the checked configuration of every layer and the state that the layers
//! share.
//!
//! It is built once and never changes, except for its counters and revocations. Stacks borrow their
//! parts from it.

mod forget;
mod limits;
mod path_pattern;
mod paths;
mod public;
pub mod refresh;
mod tokens;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use parking_lot::RwLock;
use serde_json::Value;

use crate::clients::{ClientsConfig, ListMatch};
use crate::clock::Now;
use crate::config::guard::{GUARD_OPTIONS, contradictions, hosts, ipv6_prefix};
use crate::config::options::{Options, Switch};
use crate::config::proxies::trusted_proxies;
use crate::cors::Cors;
use crate::csrf::Csrf;
use crate::error::{ConfigCode, ConfigError};
use crate::headers::{HeaderSet, HeadersConfig, PROFILES, Profile};
use crate::limit::{LimitPolicy, RateLimitHeaders, ReloadableLimiter, user_key};
use crate::net::{Ipv6Prefix, TrustedProxies};
use crate::payload::PayloadConfig;
use crate::policy::{PolicyConfig, PolicySet};
use crate::redis::Connector;
use crate::refusal::Refusal;
use crate::request::Request;
use crate::schema::SchemaRules;
use crate::shared_store::{SharedStore, StoreConfig};
use crate::store::{MemoryStore, RuntimeOverrides};

pub use limits::Callback;
pub(crate) use limits::callbacks;
pub use tokens::{Known, RevocationList, TokenRequirement, Tokens};

use limits::{DeclaredLimit, declared_limits, limiter};
pub(crate) use paths::PathRules;
pub(crate) use public::{Exemption, PublicPaths};

/// A guard.
#[derive(Debug)]
pub struct Guard {
    pub(crate) trusted_proxies: TrustedProxies,
    pub(crate) hosts: Option<Vec<String>>,
    pub(crate) clients: ClientsConfig,
    /// Where a path may have forms that are refused elsewhere.
    pub(crate) paths: PathRules,
    /// Paths that need no identity.
    pub(crate) public: PublicPaths,
    pub(crate) headers: Option<HeaderSet>,
    pub(crate) cors: Option<Arc<Cors>>,
    pub(crate) csrf: Option<Arc<Csrf>>,
    /// Whether `csrf` is false.
    pub(crate) csrf_off: bool,
    pub(crate) store: Store,
    /// The rate limits that the guard declares.
    pub(crate) limits: Vec<DeclaredLimit>,
    /// The response headers that show the state of limits.
    pub(crate) rate_limit_headers: RateLimitHeaders,
    /// How many bits of an IPv6 address identify a client, for limits and lists.
    pub(crate) ipv6_prefix: Ipv6Prefix,
    /// Numbers for limits that routes declare, above those of the guard itself.
    pub(crate) next_limit: AtomicU64,
    /// The limits of all stacks, for `guard.limits`; those of the guard itself first.
    pub(crate) limiters: RwLock<Vec<Arc<ReloadableLimiter>>>,
    /// Verifies, issues and revokes tokens.
    pub tokens: Option<Tokens>,
    pub(crate) payload: PayloadConfig,
    /// Rules that the schemas of all routes share.
    pub(crate) schema_rules: SchemaRules,
    pub(crate) policy: Option<PolicySet>,
    pub(crate) profile: Profile,
}

/// The store of a guard's counters.
#[derive(Debug, Clone)]
pub enum Store {
    /// In this process.
    Memory(Arc<MemoryStore>),
    /// In servers that all processes share.
    Shared(Arc<SharedStore>),
}

impl Store {
    /// Whether it has answered yet. A store in this process is always ready.
    #[must_use]
    pub fn has_answered(&self) -> bool {
        match self {
            Self::Memory(_) => true,
            Self::Shared(store) => store.status().has_answered(),
        }
    }

    /// The overrides that apply to all its users, as far as they have reached this process.
    #[must_use]
    pub fn notices(&self) -> &RuntimeOverrides {
        match self {
            Self::Memory(store) => store.notices(),
            Self::Shared(store) => store.local().notices(),
        }
    }
}

/// Which layers a stack has: all of them, or one that is mounted alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layers {
    /// `guard.securityStack()`.
    All,
    /// `guard.headers()`.
    Headers,
    /// `guard.cors()`.
    Cors,
    /// `guard.csrf()`.
    Csrf,
    /// `guard.rateLimit()`.
    RateLimit,
    /// `guard.authenticate()`.
    Token,
    /// `guard.authorize()`.
    Policy,
    /// `guard.validate()`.
    Payload,
    /// `guard.require()`.
    Require,
}

impl Guard {
    /// Checks the configuration of a guard, an object with the options of `GuardConfig` in
    /// index.d.ts.
    ///
    /// # Errors
    /// The first error in it.
    pub fn new(config: &Value) -> Result<Self, ConfigError> {
        let options = Options::read("", config, &GUARD_OPTIONS)?;
        contradictions(&options)?;
        let profile = options.one_of("profile", &PROFILES)?.unwrap_or_default();
        let headers = match Switch::read(&options, "headers") {
            Switch::Off => None,
            Switch::Absent => Some(header_set(profile, None)?),
            Switch::On(value) => Some(header_set(profile, Some(value))?),
        };
        let rate_limit_headers = RateLimitHeaders::parse(&options)?;
        let cors = match Switch::read(&options, "cors") {
            Switch::On(value) => {
                let readable = rate_limit_headers.readable();
                Some(Arc::new(Cors::parse("cors", value, &readable)?))
            }
            Switch::Off | Switch::Absent => None,
        };
        let (store, shared_name) = match StoreConfig::parse("store", options.get("store"))? {
            StoreConfig::Memory(config) => {
                (Store::Memory(MemoryStore::open(&config)?), config.shared)
            }
            StoreConfig::Redis(config) => {
                let connector = Arc::new(Connector::new(*config, "store.redis")?);
                (Store::Shared(SharedStore::open(connector)?), None)
            }
            StoreConfig::Memcached(config) => (Store::Shared(SharedStore::open(*config)?), None),
        };
        let limits = match Switch::read(&options, "rateLimit") {
            Switch::Off => Vec::new(),
            Switch::Absent => {
                let policy = LimitPolicy::default_policy();
                vec![DeclaredLimit { policy, path: "rateLimit".to_owned(), id: 0 }]
            }
            Switch::On(value) => declared_limits(value)?,
        };
        let ipv6_prefix = ipv6_prefix(&options)?;
        let base = limiter(&limits, &store, ipv6_prefix)?;
        let tokens = tokens::tokens(&options, &store, shared_name.as_deref())?;
        let csrf = csrf(&options, tokens.as_ref())?;
        let token_names = tokens.iter().flat_map(Tokens::query_names);
        let schema_rules =
            SchemaRules::parse("payload", options.get("payload"))?.with_token_names(token_names);
        let policy = match Switch::read(&options, "policy") {
            Switch::On(value) => Some(PolicySet::compile(&PolicyConfig::parse("policy", value)?)?),
            Switch::Off | Switch::Absent => None,
        };
        Ok(Self {
            trusted_proxies: trusted_proxies(&options)?,
            hosts: hosts(&options)?,
            clients: ClientsConfig::parse("clients", options.get("clients"), ipv6_prefix)?,
            paths: PathRules::parse(&options)?,
            public: PublicPaths::parse(&options, tokens.is_some())?,
            headers,
            cors,
            csrf,
            csrf_off: options.get("csrf") == Some(&Value::Bool(false)),
            store,
            limits,
            rate_limit_headers,
            ipv6_prefix,
            next_limit: AtomicU64::new(1000),
            limiters: RwLock::new(vec![base]),
            tokens,
            payload: PayloadConfig::parse("payload", options.get("payload"))?,
            schema_rules,
            policy,
            profile,
        })
    }

    /// The store of its counters.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The entry of a client in the lists. A client without an address is on none.
    pub(crate) fn listed_client(&self, request: &Request, now: Now) -> ListMatch {
        let Some(address) = request.client() else { return ListMatch::No };
        self.store.notices().lists.client(&self.clients, address, now.mono_us)
    }

    /// The entry of a user in the lists.
    pub(crate) fn listed_user(&self, user: &str, now: Now) -> ListMatch {
        self.store.notices().lists.user(|| user_key(user), now.mono_us)
    }

    /// Refuses a request whose `Host` is not in `hosts`. With a name that resolves elsewhere, an
    /// attacker's page can reach an API that trusts its network (DNS rebinding), and links built
    /// from `Host` lead to the attacker.
    pub(crate) fn check_host(&self, request: &Request) -> Result<(), Refusal> {
        let Some(hosts) = &self.hosts else { return Ok(()) };
        let host = request.header("host").unwrap_or_default().to_ascii_lowercase();
        let name = match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
            _ => host.as_str(),
        };
        if hosts.iter().any(|allowed| *allowed == host || allowed == name) {
            return Ok(());
        }
        Err(Refusal::new(403, "host_not_allowed", "this host is not served here"))
    }
}

/// The option `csrf`. It is on by default, and can't be off, if an identity may come in a cookie.
pub(crate) fn csrf(
    options: &Options<'_>,
    tokens: Option<&Tokens>,
) -> Result<Option<Arc<Csrf>>, ConfigError> {
    let cookies = tokens.is_some_and(Tokens::takes_cookies);
    match Switch::read(options, "csrf") {
        Switch::On(value) => Csrf::parse("csrf", value).map(|csrf| Some(Arc::new(csrf))),
        Switch::Off if cookies => {
            let why = "can't be false where `jwt.from` has a cookie, or `identify` may read one: any page could act in the user's name";
            Err(ConfigError::new(ConfigCode::ConflictingOptions, options.path_of("csrf"), why)
                .suggest("list the pages that may in `csrf.origins`"))
        }
        Switch::Absent if cookies => Ok(Some(Arc::default())),
        Switch::Absent | Switch::Off => Ok(None),
    }
}

pub(crate) fn header_set(
    profile: Profile,
    value: Option<&Value>,
) -> Result<HeaderSet, ConfigError> {
    Ok(HeadersConfig::parse(profile, "headers", value)?.header_set().clone())
}
