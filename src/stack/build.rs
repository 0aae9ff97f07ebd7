//! Builds a stack: the guard's own options, narrowed by the route or reduced to one layer.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{BodyScope, Stack};
use crate::config::guard::{ROUTE_OPTIONS, SCHEMA_OPTIONS};
use crate::config::options::{Options, Switch};
use crate::cors::Cors;
use crate::csrf::Csrf;
use crate::error::{ConfigCode, ConfigError};
use crate::guard::{
    Exemption, Guard, Layers, RevocationList, TokenRequirement, Tokens, callbacks, csrf,
};
use crate::headers::{HeaderSet, HeadersConfig};
use crate::payload::{OnResponse, PayloadConfig, Responses, Schemas};
use crate::policy::{PolicySet, QueryId, ResourceAsk};
use crate::requirements::Requirements;
use crate::schema::SchemaRules;

/// The options of `guard.require`, and of `require` of a route.
const DEMANDS: [&str; 5] = ["fresh", "scope", "role", "claims", "maxAge"];

impl Guard {
    /// Builds a stack: all layers, narrowed by `route` (`RouteOptions` in index.d.ts), or one layer
    /// alone.
    ///
    /// # Errors
    /// The first error in the options.
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
            Layers::Require => &DEMANDS,
        };
        let options = Options::read("", route, known)?;
        let all = layers == Layers::All;
        let demands = match layers {
            Layers::Require => Some(options.clone()),
            _ => demands_of_route(&options)?,
        };
        let payload = self.payload_of(&options, layers)?;
        let has_schemas = matches!(layers, Layers::All | Layers::Payload);
        let schemas = if has_schemas { self.schemas(route, payload.as_ref())? } else { None };
        let responses = if has_schemas { self.responses(&options)? } else { None };
        let mut token = self.token_demand(&options, layers)?;
        if demands.is_some() && all {
            token = required(&options, token)?;
        }
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
        let handshake_default = if narrows { self.csrf.clone() } else { None };
        let default = || ((all && !csrf_off) || narrows).then(Arc::default);
        let (policy, resource) = self.query_of(&options, layers)?;
        let reads_body =
            policy.is_some() && self.policy.as_ref().is_some_and(PolicySet::reads_body);
        let says = matches!(Switch::read(&options, "payload"), Switch::On(_));
        let has_types =
            options.get("payload").is_some_and(|payload| payload.get("types").is_some());
        let declares = schemas.as_ref().is_some_and(Schemas::wants_body)
            || reads_body
            || has_types
            || says && layers == Layers::Payload;
        let bodies = match () {
            () if payload.is_some() && declares => BodyScope::Declared,
            () if says && has_schemas => BodyScope::Narrowed,
            () => BodyScope::Guard,
        };
        let stack = Stack {
            bodies,
            handshake_csrf: csrf.clone().or(handshake_default).or_else(default),
            csrf,
            headers: match layers {
                Layers::All => self.headers_of(&options, "responseHeaders")?,
                Layers::Headers => {
                    let headers = self.headers_of(&options, "headers")?;
                    Some(headers.ok_or_else(|| is_off("headers"))?)
                }
                _ => None,
            },
            cors: match layers {
                Layers::All => self.cors_of(&options)?,
                Layers::Cors => Some(self.cors_of(&options)?.ok_or_else(|| is_off("cors"))?),
                _ => None,
            },
            hosts: all && self.hosts.is_some(),
            clients: all || layers == Layers::RateLimit,
            exemptible: Exemption {
                identity: demands.is_none() && !options.has("jwt") && !options.has("authenticate"),
                limits: !options.has("rateLimit"),
            },
            token,
            fresh: demands
                .as_ref()
                .map(|demands| self.fresh(demands))
                .transpose()?
                .unwrap_or(false),
            demands: demands.as_ref().map(Requirements::parse).transpose()?.unwrap_or_default(),
            callbacks: callbacks(&limits),
            limit_ids: limits
                .iter()
                .map(|limit| (limit.id, Arc::from(limit.policy.name())))
                .collect(),
            limiter,
            policy,
            resource,
            payload,
            schemas,
            responses,
            guard: Arc::clone(self),
        };
        if (all || layers == Layers::Payload) && stack.payload.is_none() {
            self.check_body_is_read(&stack)?;
        }
        Ok(stack)
    }

    /// Whether the store itself must confirm that a token is not revoked.
    fn fresh(&self, options: &Options<'_>) -> Result<bool, ConfigError> {
        let fresh = options.bool("fresh")?.unwrap_or(false);
        let off = |tokens: &Tokens| matches!(tokens.revocations, RevocationList::Off);
        if fresh && self.tokens.as_ref().is_none_or(off) {
            let why = "asks whether a token was revoked, and `revocation` is off on the guard";
            return Err(ConfigError::new(
                ConfigCode::ConflictingOptions,
                options.path_of("fresh"),
                why,
            )
            .suggest("leave `fresh` out, or switch `revocation` on"));
        }
        Ok(fresh)
    }

    /// A route that leaves its body to the application can't have it checked.
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

    fn headers_of(
        &self,
        options: &Options<'_>,
        key: &str,
    ) -> Result<Option<HeaderSet>, ConfigError> {
        match Switch::read(options, key) {
            Switch::Absent => Ok(self.headers.clone()),
            Switch::Off => Ok(None),
            Switch::On(value) => {
                let config = HeadersConfig::parse_route(self.profile, key, value)?;
                Ok(Some(config.header_set().clone()))
            }
        }
    }

    fn cors_of(&self, options: &Options<'_>) -> Result<Option<Arc<Cors>>, ConfigError> {
        match Switch::read(options, "cors") {
            Switch::Absent => Ok(self.cors.clone()),
            Switch::Off => Ok(None),
            Switch::On(value) => {
                let readable = self.rate_limit_headers.readable();
                Ok(Some(Arc::new(Cors::parse("cors", value, &readable)?)))
            }
        }
    }

    /// A layer that is mounted alone and reads a token that may come in a cookie checks CSRF, too.
    fn csrf_of(
        &self,
        options: &Options<'_>,
        layers: Layers,
        token: TokenRequirement,
    ) -> Result<Option<Arc<Csrf>>, ConfigError> {
        if !matches!(layers, Layers::All | Layers::Csrf) {
            let cookies = self.tokens.as_ref().is_some_and(Tokens::takes_cookies);
            let looks = cookies && token != TokenRequirement::Ignore;
            return Ok(self.csrf.clone().filter(|_| looks));
        }
        match Switch::read(options, "csrf") {
            Switch::Absent if layers == Layers::Csrf && self.csrf.is_none() => {
                Ok(Some(Arc::default()))
            }
            Switch::Absent => Ok(self.csrf.clone()),
            Switch::Off if token != TokenRequirement::Ignore => csrf(options, self.tokens.as_ref()),
            Switch::Off => Ok(None),
            Switch::On(value) => Csrf::parse("csrf", value).map(|csrf| Some(Arc::new(csrf))),
        }
    }

    /// The rule of a stack, and the question to the application before it is evaluated.
    fn query_of(
        &self,
        options: &Options<'_>,
        layers: Layers,
    ) -> Result<(Option<QueryId>, Option<ResourceAsk>), ConfigError> {
        if !matches!(layers, Layers::All | Layers::Policy) {
            return Ok((None, None));
        }
        let Some(set) = &self.policy else {
            if layers == Layers::Policy || options.has("policy") {
                return Err(ConfigError::invalid(
                    "policy",
                    "must be set on the guard before a route can narrow it",
                ));
            }
            return Ok((None, None));
        };
        match Switch::read(options, "policy") {
            Switch::Absent => Ok((Some(set.default_query()), None)),
            Switch::Off => Ok((None, None)),
            Switch::On(value) => {
                let narrowed = Options::read("policy", value, &["query", "input", "timeout"])?;
                let query = match narrowed.string("query")? {
                    Some(query) => set.query("policy.query", query)?,
                    None => set.default_query(),
                };
                Ok((Some(query), ResourceAsk::parse(&narrowed, set.reads_resource())?))
            }
        }
    }

    fn schemas(
        &self,
        route: &Value,
        payload: Option<&PayloadConfig>,
    ) -> Result<Option<Schemas>, ConfigError> {
        let Value::Object(map) = route else { return Ok(None) };
        let types = payload.map(PayloadConfig::types);
        let forms = types.is_some_and(|types| types.form || types.multipart);
        let files = payload.map(|payload| payload.files().fields()).unwrap_or_default();
        let schemas = if files.is_empty() || map.contains_key("body") {
            Schemas::parse("", map, forms, &self.schema_rules)?
        } else {
            // Beside files without a schema there are no fields.
            let mut map = map.clone();
            map.insert("body".to_owned(), json!({ "type": "object", "properties": {} }));
            Schemas::parse("", &map, forms, &self.schema_rules)?
        };
        if let Some(file) = files.iter().find(|file| schemas.names_body_member(&file.name)) {
            let path = format!("payload.files.{}", file.name);
            let problem = "is declared by the schema of `body`, too, which judges fields of text";
            return Err(ConfigError::new(ConfigCode::ConflictingOptions, path, problem)
                .suggest("leave it out of the schema"));
        }
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

/// The requirements of a route for the identity of its requests; `None` without `require`. An
/// object without any is a mistake.
fn demands_of_route<'a>(options: &Options<'a>) -> Result<Option<Options<'a>>, ConfigError> {
    let Some(value) = options.get("require") else { return Ok(None) };
    let demands = Options::read("require", value, &DEMANDS)?;
    if DEMANDS.iter().any(|name| demands.has(name)) {
        return Ok(Some(demands));
    }
    Err(ConfigError::invalid("require", "names no demand")
        .suggest("write one such as { scope: 'orders:read' }, or leave `require` out"))
}

/// The token that a route with `require` asks for: it can't let anonymous requests pass.
fn required(
    options: &Options<'_>,
    token: TokenRequirement,
) -> Result<TokenRequirement, ConfigError> {
    let conflict = |why| Err(ConfigError::new(ConfigCode::ConflictingOptions, "require", why));
    match token {
        TokenRequirement::Ignore => conflict("asks for an identity, and these routes read none"),
        TokenRequirement::Optional | TokenRequirement::Lenient
            if options.has("jwt") || options.has("authenticate") =>
        {
            conflict("asks for an identity, and `optional` lets requests without one pass")
        }
        _ => Ok(TokenRequirement::Required),
    }
}

/// A layer that is mounted alone, without options and off on the guard: it would pass every
/// request.
fn is_off(layer: &str) -> ConfigError {
    ConfigError::invalid(layer, "is off on the guard, so this handler would do nothing")
        .suggest("give the handler options, or leave it out")
}
