//! A guard's inside: the checked configuration of every layer and what the layers share.
//!
//! It is built once and never changes, but for what it counts and revokes; stacks borrow their parts from it.

mod limits;
pub mod refresh;
mod tokens;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use parking_lot::RwLock;
use serde_json::Value;

use crate::clients::{ClientsConfig, Listed};
use crate::clock::Now;
use crate::config::checked::{
    GUARD_OPTIONS, ROUTE_OPTIONS, SCHEMA_OPTIONS, contradictions, hosts, trusted_proxies,
};
use crate::config::raw::{Options, Switch};
use crate::cors::Cors;
use crate::csrf::Csrf;
use crate::error::{ConfigCode, ConfigError};
use crate::headers::{HeaderSet, HeadersConfig, Profile};
use crate::limit::{LimitPolicy, LiveLimiter, user_key};
use crate::payload::{OnResponse, PayloadConfig, Responses, Schemas};
use crate::policy::{PolicyConfig, PolicySet, QueryId};
use crate::refusal::Refusal;
use crate::request::{Request, TrustedProxies};
use crate::schema::SchemaRules;
use crate::stack::{Stack, TokenDemand};
use crate::store::redis::Connector;
use crate::store::{MemoryStore, Notices, SharedStore, StoreConfig};
use crate::token::Demands;

pub use tokens::{Known, RevocationList, Tokens};

use limits::{DeclaredLimit, callbacks, declared_limits, limiter};

/// A guard.
#[derive(Debug)]
pub struct Engine {
    pub(crate) trusted_proxies: TrustedProxies,
    hosts: Option<Vec<String>>,
    clients: ClientsConfig,
    headers: Option<HeaderSet>,
    cors: Option<Arc<Cors>>,
    csrf: Option<Arc<Csrf>>,
    /// Whether `csrf` is false.
    csrf_off: bool,
    store: Store,
    policies: Vec<DeclaredLimit>,
    /// Numbers for limits that routes declare, above those of the guard itself.
    next_limit: AtomicU64,
    /// The limits of all stacks, for `guard.limits`; those of the guard itself first.
    limiters: RwLock<Vec<Arc<LiveLimiter>>>,
    /// Verifies, issues and revokes tokens.
    pub tokens: Option<Tokens>,
    pub(crate) payload: PayloadConfig,
    /// What the schemas of all routes share.
    schema_rules: SchemaRules,
    pub(crate) policy: Option<PolicySet>,
    profile: Profile,
}

/// Where a guard counts.
#[derive(Debug, Clone)]
pub enum Store {
    /// In this process.
    Memory(Arc<MemoryStore>),
    /// In servers that all processes share.
    Shared(Arc<SharedStore>),
}

impl Store {
    /// Whether it has answered yet. One in this process need not be waited for.
    #[must_use]
    pub fn has_answered(&self) -> bool {
        match self {
            Self::Memory(_) => true,
            Self::Shared(store) => store.status().has_answered(),
        }
    }

    /// What is said to all who use it, as far as this process knows.
    #[must_use]
    pub fn notices(&self) -> &Notices {
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

impl Engine {
    /// Checks the configuration of a guard, an object with the options of `GuardConfig` in index.d.ts.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn new(config: &Value) -> Result<Self, ConfigError> {
        let options = Options::read("", config, &GUARD_OPTIONS)?;
        contradictions(&options)?;
        let profile = options
            .one_of("profile", &[("api", Profile::Api), ("web", Profile::Web)])?
            .unwrap_or_default();
        let headers = match Switch::read(&options, "headers") {
            Switch::Off => None,
            Switch::Absent => Some(header_set(profile, None)?),
            Switch::On(value) => Some(header_set(profile, Some(value))?),
        };
        let cors = match Switch::read(&options, "cors") {
            Switch::On(value) => Some(Arc::new(Cors::parse("cors", value)?)),
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
        let policies = match Switch::read(&options, "rateLimit") {
            Switch::Off => Vec::new(),
            Switch::Absent => {
                let policy = LimitPolicy::default_policy();
                vec![DeclaredLimit { policy, path: "rateLimit".to_owned(), id: 0 }]
            }
            Switch::On(value) => declared_limits(value)?,
        };
        let base = limiter(&policies, &store)?;
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
            clients: ClientsConfig::parse("clients", options.get("clients"))?,
            headers,
            cors,
            csrf,
            csrf_off: options.get("csrf") == Some(&Value::Bool(false)),
            store,
            policies,
            next_limit: AtomicU64::new(1000),
            limiters: RwLock::new(vec![base]),
            tokens,
            payload: PayloadConfig::parse("payload", options.get("payload"))?,
            schema_rules,
            policy,
            profile,
        })
    }

    /// Builds a stack: of all layers, as `route` narrows them (`RouteOptions` in index.d.ts), or of one layer alone.
    ///
    /// # Errors
    /// The first thing that is wrong with the options.
    pub fn stack(self: &Arc<Self>, route: &Value, layers: Layers) -> Result<Stack, ConfigError> {
        let known: &[&str] = match layers {
            Layers::All => &ROUTE_OPTIONS,
            Layers::Headers => &["headers"],
            Layers::Cors => &["cors"],
            Layers::Csrf => &["csrf"],
            Layers::RateLimit => &["rateLimit"],
            Layers::Token => &["jwt"],
            Layers::Policy => &["policy"],
            Layers::Payload => &SCHEMA_OPTIONS,
            Layers::Require => &["fresh", "scope", "role", "claims", "maxAge"],
        };
        let options = Options::read("", route, known)?;
        let all = layers == Layers::All;
        let payload = self.payload_of(&options, layers)?;
        let forms = payload.as_ref().is_some_and(|payload| payload.types().form);
        let has_schemas = matches!(layers, Layers::All | Layers::Payload);
        let schemas = if has_schemas { self.schemas(route, forms)? } else { None };
        let responses = if has_schemas { self.responses(&options)? } else { None };
        let token = self.token_demand(&options, layers)?;
        let (limits, limiter) = self.limits_of(&options, all || layers == Layers::RateLimit)?;
        if layers == Layers::RateLimit && limits.is_empty() {
            return Err(is_off("rateLimit"));
        }
        let csrf = self.csrf_of(&options, layers, token)?;
        let csrf_off = match options.get("csrf") {
            Some(value) => *value == Value::Bool(false),
            None => self.csrf_off,
        };
        let narrows = layers == Layers::Cors && options.get("cors").is_some() && !csrf_off;
        let guards = if narrows { self.csrf.clone() } else { None };
        let default = || ((all && !csrf_off) || narrows).then(Arc::default);
        let stack = Stack {
            handshake_csrf: csrf.clone().or(guards).or_else(default),
            csrf,
            headers: match layers {
                Layers::All => self.headers.clone(),
                Layers::Headers => match options.get("headers") {
                    Some(value) => Some(header_set(self.profile, Some(value))?),
                    None => Some(self.headers.clone().ok_or_else(|| is_off("headers"))?),
                },
                _ => None,
            },
            cors: match layers {
                Layers::All => self.cors_of(&options)?,
                Layers::Cors => Some(self.cors_of(&options)?.ok_or_else(|| is_off("cors"))?),
                _ => None,
            },
            hosts: all && self.hosts.is_some(),
            clients: all || layers == Layers::RateLimit,
            token,
            fresh: self.fresh(&options)?,
            demands: if layers == Layers::Require {
                Demands::parse(&options)?
            } else {
                Demands::default()
            },
            callbacks: callbacks(&limits),
            limit_ids: limits
                .iter()
                .map(|limit| (limit.id, Arc::from(limit.policy.name())))
                .collect(),
            limiter,
            policy: self.query_of(&options, layers)?,
            payload,
            schemas,
            responses,
            engine: Arc::clone(self),
        };
        if (all || layers == Layers::Payload) && stack.payload.is_none() {
            self.check_body_is_read(&stack)?;
        }
        Ok(stack)
    }

    /// Whether the store itself must say that a token was not revoked.
    fn fresh(&self, options: &Options<'_>) -> Result<bool, ConfigError> {
        let fresh = options.bool("fresh")?.unwrap_or(false);
        let off = |tokens: &Tokens| matches!(tokens.revocations, RevocationList::Off);
        if fresh && self.tokens.as_ref().is_none_or(off) {
            let why = "asks whether a token was revoked, and `revocation` is off on the guard";
            return Err(ConfigError::new(ConfigCode::ConflictingOptions, "fresh", why)
                .suggest("leave `fresh` out, or switch `revocation` on"));
        }
        Ok(fresh)
    }

    /// A route that leaves its body to the application can't have it judged.
    fn check_body_is_read(&self, stack: &Stack) -> Result<(), ConfigError> {
        let conflict = |why| ConfigError::new(ConfigCode::ConflictingOptions, "payload", why);
        if stack.schemas.as_ref().is_some_and(Schemas::wants_body) {
            return Err(conflict("is false, so the schema of `body` would check nothing")
                .suggest("leave one of them out"));
        }
        if stack.policy.is_some() && self.policy.as_ref().is_some_and(PolicySet::reads_body) {
            return Err(conflict("is false, but the policy reads `input.body`")
                .suggest("leave `payload` out, or write `policy: false` on this route"));
        }
        Ok(())
    }

    /// Where it counts.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// What the lists say of a client. Who has no address is on none.
    pub(crate) fn listed_client(&self, request: &Request, now: Now) -> Listed {
        let Some(address) = request.client() else { return Listed::No };
        self.store.notices().lists.client(&self.clients, address, now.mono_us)
    }

    /// What the lists say of a user.
    pub(crate) fn listed_user(&self, user: &str, now: Now) -> Listed {
        self.store.notices().lists.user(|| user_key(user), now.mono_us)
    }

    /// Refuses a request whose `Host` is none of `hosts`: with a name that leads elsewhere, an attacker's page can reach
    /// an API that trusts its network (DNS rebinding), and links made from `Host` lead to the attacker.
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

    fn cors_of(&self, options: &Options<'_>) -> Result<Option<Arc<Cors>>, ConfigError> {
        match Switch::read(options, "cors") {
            Switch::Absent => Ok(self.cors.clone()),
            Switch::Off => Ok(None),
            Switch::On(value) => Ok(Some(Arc::new(Cors::parse("cors", value)?))),
        }
    }

    /// A layer that is mounted alone and looks at a token that may have come in a cookie has it, too.
    fn csrf_of(
        &self,
        options: &Options<'_>,
        layers: Layers,
        token: TokenDemand,
    ) -> Result<Option<Arc<Csrf>>, ConfigError> {
        if !matches!(layers, Layers::All | Layers::Csrf) {
            let cookies = self.tokens.as_ref().is_some_and(Tokens::takes_cookies);
            let looks = cookies && token != TokenDemand::Ignore;
            return Ok(self.csrf.clone().filter(|_| looks));
        }
        match Switch::read(options, "csrf") {
            Switch::Absent if layers == Layers::Csrf && self.csrf.is_none() => {
                Ok(Some(Arc::default()))
            }
            Switch::Absent => Ok(self.csrf.clone()),
            Switch::Off if token != TokenDemand::Ignore => csrf(options, self.tokens.as_ref()),
            Switch::Off => Ok(None),
            Switch::On(value) => Csrf::parse("csrf", value).map(|csrf| Some(Arc::new(csrf))),
        }
    }

    fn query_of(
        &self,
        options: &Options<'_>,
        layers: Layers,
    ) -> Result<Option<QueryId>, ConfigError> {
        if !matches!(layers, Layers::All | Layers::Policy) {
            return Ok(None);
        }
        let Some(set) = &self.policy else {
            if layers == Layers::Policy || options.has("policy") {
                return Err(ConfigError::invalid(
                    "policy",
                    "must be set on the guard before a route can narrow it",
                ));
            }
            return Ok(None);
        };
        match Switch::read(options, "policy") {
            Switch::Absent => Ok(Some(set.default_query())),
            Switch::Off => Ok(None),
            Switch::On(value) => {
                let narrowed = Options::read("policy", value, &["query"])?;
                match narrowed.string("query")? {
                    Some(query) => set.query("policy.query", query).map(Some),
                    None => Ok(Some(set.default_query())),
                }
            }
        }
    }

    fn schemas(&self, route: &Value, forms: bool) -> Result<Option<Schemas>, ConfigError> {
        let Value::Object(map) = route else { return Ok(None) };
        let schemas = Schemas::parse("", map, forms, &self.schema_rules)?;
        Ok((!schemas.is_empty()).then_some(schemas))
    }

    fn responses(&self, options: &Options<'_>) -> Result<Option<Arc<Responses>>, ConfigError> {
        const WAYS: &[(&str, OnResponse)] =
            &[("strip", OnResponse::Strip), ("warn", OnResponse::Warn), ("fail", OnResponse::Fail)];
        let on = options.one_of("onResponse", WAYS)?;
        match (options.get("response"), on) {
            (Some(schemas), on) => {
                let on = on.unwrap_or(OnResponse::Strip);
                let read = Responses::parse("response", schemas, on, &self.schema_rules)?;
                Ok(Some(Arc::new(read)))
            }
            (None, Some(_)) => Err(options
                .invalid(
                    "onResponse",
                    "says what becomes of answers, but there is no schema for them",
                )
                .suggest("write `response: { 200: schema }` beside it")),
            (None, None) => Ok(None),
        }
    }

    fn payload_of(
        &self,
        options: &Options<'_>,
        layers: Layers,
    ) -> Result<Option<PayloadConfig>, ConfigError> {
        match (layers, Switch::read(options, "payload")) {
            (Layers::All | Layers::Payload, Switch::Off) => Ok(None),
            (Layers::All | Layers::Payload, Switch::On(value)) => {
                SchemaRules::refuse_in_route("payload", value)?;
                self.payload.narrowed("payload", Some(value)).map(Some)
            }
            (Layers::All | Layers::Payload, _) => Ok(Some(self.payload.clone())),
            // A policy that reads the body needs it.
            (Layers::Policy, _) => Ok(self
                .policy
                .as_ref()
                .filter(|set| set.reads_body())
                .map(|_| self.payload.clone())),
            _ => Ok(None),
        }
    }
}

/// A layer that is mounted alone, without options and off on the guard: it would let everything
/// pass.
fn is_off(layer: &str) -> ConfigError {
    ConfigError::invalid(layer, "is off on the guard, so this handler would do nothing")
        .suggest("give the handler options, or leave it out")
}

/// The option `csrf`. It is on by itself, and can't be off, where a token may come in a cookie.
fn csrf(options: &Options<'_>, tokens: Option<&Tokens>) -> Result<Option<Arc<Csrf>>, ConfigError> {
    let cookies = tokens.is_some_and(Tokens::takes_cookies);
    match Switch::read(options, "csrf") {
        Switch::On(value) => Csrf::parse("csrf", value).map(|csrf| Some(Arc::new(csrf))),
        Switch::Off if cookies => {
            let why = "can't be false where `jwt.from` has a cookie: any page could act in the user's name";
            Err(ConfigError::new(ConfigCode::ConflictingOptions, options.path_of("csrf"), why)
                .suggest("list the pages that may in `csrf.origins`"))
        }
        Switch::Absent if cookies => Ok(Some(Arc::default())),
        Switch::Absent | Switch::Off => Ok(None),
    }
}

fn header_set(profile: Profile, value: Option<&Value>) -> Result<HeaderSet, ConfigError> {
    Ok(HeadersConfig::parse(profile, "headers", value)?.header_set().clone())
}
