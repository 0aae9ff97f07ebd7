//! The way of a request through the layers, in order. This is the first file to read.
//!
//! ```text
//!  before the body    1  headers go on          so that every refusal carries them (the shim holds the fixed ones)
//!                     2  CORS                   its headers too; a preflight is answered here
//!                     3  path and host          one canonical path for every layer behind; lists of clients
//!                     4  identity               token: signature, claims; all local
//!                     5  revocation             local
//!                     6  rate limits            all policies of this request at once, or none is charged
//!                     7  policy                 if it doesn't need the body
//!                     8  media type, length     then the body is read: only for a request that is still welcome
//!  after the body     9  payload                bytes, then body, query, params and headers against the schemas
//!                    10  policy                 if it needs the body
//!                        the handler
//! ```
//!
//! Why this order: headers and CORS come first, since a browser shows a refusal without them as a network error. The
//! token comes before the limits, so that a limit can count by user; it is checked locally and costs microseconds. A
//! forged token is refused before it counts against anybody. The body comes last, since reading it is what an attacker
//! would like to make us do.
//!
//! A layer refuses with `Err(Refusal)`. There is no other way out but passing every line.

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::clients::Listed;
use crate::clock::Now;
use crate::cors::{Cors, CorsKind, CorsRequest};
use crate::engine::{Engine, Known};
use crate::headers::HeaderSet;
use crate::limit::{
    Charged, Check, ClientKey, LimitError, Limiter, LiveLimiter, Outcome as Counted, Pending,
    PolicySet as Limits, Subject,
};
use crate::payload::{Checked, Parts, PayloadConfig, Schemas};
use crate::policy::{InputParts, Outcome, QueryId, QueryPart, RateView, TokenView};
use crate::refusal::Refusal;
use crate::request::Request;
use crate::revocation::stale_refusal;
use crate::store::ask::Question;
use crate::token::{TokenDenial, Verified, bearer};

pub use crate::exchange::{
    Awaited, Callback, Exchange, Extras, Keys, LimitView, StoreAnswer, StoreAsk, TokenDemand,
    Verdict, Waiting,
};

/// One stack: the layers that run, as they were narrowed for one route. Built by [`Engine::stack`].
#[derive(Debug)]
pub struct Stack {
    pub(crate) engine: Arc<Engine>,
    /// The fixed response headers: the shim puts them on before it asks.
    pub headers: Option<HeaderSet>,
    pub(crate) cors: Option<Arc<Cors>>,
    pub(crate) hosts: bool,
    /// Whether it asks the lists of clients.
    pub(crate) clients: bool,
    /// Whether a token is looked for, and whether there must be one.
    pub(crate) token: TokenDemand,
    /// Whether the shared store itself must say that a token was not revoked.
    pub(crate) fresh: bool,
    pub(crate) limiter: Option<Arc<LiveLimiter>>,
    /// The numbers and names of its limits, in their order: a request is counted once by each number, however many
    /// stacks it meets.
    pub(crate) limit_ids: Vec<(u32, Arc<str>)>,
    /// Functions of the application that the limits need.
    pub callbacks: Vec<Callback>,
    pub(crate) policy: Option<QueryId>,
    /// `None`: the body is the application's own affair.
    pub(crate) payload: Option<PayloadConfig>,
    pub(crate) schemas: Option<Schemas>,
}

impl Stack {
    /// Layers 1 to 8. `head` is what `src/request.rs` reads.
    #[must_use]
    pub fn before_body(&self, head: String, extras: Extras, now: Now) -> (Exchange, Verdict) {
        let mut x = Exchange::new(extras, now);
        let verdict = match Request::read(head, &self.engine.trusted_proxies) {
            Ok(mut request) => {
                let verdict = self.identify(&mut request, &mut x);
                x.request = Some(request);
                verdict.and_then(|verdict| match verdict {
                    Some(verdict) => Ok(verdict),
                    None => self.identified(&mut x),
                })
            }
            Err(refusal) => Err(refusal),
        };
        (x, verdict.unwrap_or_else(Verdict::Refuse))
    }

    /// Goes on behind layer 5 with what the application's functions gave.
    #[must_use]
    pub fn resume(&self, x: &mut Exchange, keys: &[Keys]) -> Verdict {
        self.admit(x, keys).unwrap_or_else(Verdict::Refuse)
    }

    /// Goes on with what the shared store has said, or without it.
    #[must_use]
    pub fn settle(&self, x: &mut Exchange, answer: StoreAnswer, now: Now) -> Verdict {
        let verdict = match (x.awaited.take(), answer) {
            (Some(Awaited::Revocations(verified)), StoreAnswer::Done(answer)) => {
                answer.map_err(|_| stale_refusal()).and_then(|()| {
                    self.accept_token(x, verified)?;
                    self.identified(x)
                })
            }
            (Some(Awaited::Limits(pending, limiter)), StoreAnswer::Judged(answer)) => {
                let check = limiter.finish(pending, answer, now).map_err(not_counted);
                check.and_then(|check| self.counted(x, &limiter, check))
            }
            _ => Err(not_counted(LimitError::StoreAway)),
        };
        verdict.unwrap_or_else(Verdict::Refuse)
    }

    /// Goes on with a request that a limit has held back.
    #[must_use]
    pub fn wake(&self, x: &mut Exchange, now: Now) -> Verdict {
        x.places.clear();
        x.now = now;
        self.welcome(x).unwrap_or_else(Verdict::Refuse)
    }

    /// Layers 9 and 10, on the bytes of the body.
    #[must_use]
    pub fn after_body(&self, x: &mut Exchange, body: &[u8]) -> Verdict {
        self.accept(x, Some(body)).unwrap_or_else(Verdict::Refuse)
    }

    /// Layers 2 to 5: who asks, and for what. `Some` ends the way.
    fn identify(
        &self,
        request: &mut Request,
        x: &mut Exchange,
    ) -> Result<Option<Verdict>, Refusal> {
        let preflight = self.put_cors(request, x);
        request.canonicalise()?;
        if self.hosts {
            self.engine.check_host(request)?;
        }
        if self.clients {
            let listed = self.engine.listed_client(request, x.now);
            check_listed(x, listed)?;
        }
        if let Some(status) = preflight {
            return Ok(Some(Verdict::Preflight { status }));
        }
        self.check_token(request, x)
    }

    /// Behind layer 5: the application's own functions are asked first, where the limits need them.
    fn identified(&self, x: &mut Exchange) -> Result<Verdict, Refusal> {
        if self.clients {
            let user = x.identity.as_deref().and_then(|verified| verified.subject.as_deref());
            let listed = user.map(|user| self.engine.listed_user(user, x.now));
            check_listed(x, listed.unwrap_or(Listed::No))?;
        }
        if self.asks_keys() { Ok(Verdict::AskKeys) } else { self.admit(x, &[]) }
    }

    /// Layers 6 to 8: may it do that, and may it send that.
    fn admit(&self, x: &mut Exchange, keys: &[Keys]) -> Result<Verdict, Refusal> {
        match self.count(x, keys)? {
            Some(verdict) => Ok(verdict),
            None => self.welcome(x),
        }
    }

    /// Layers 7 and 8.
    fn welcome(&self, x: &mut Exchange) -> Result<Verdict, Refusal> {
        if self.policy.is_some() && !self.policy_reads_body() {
            self.ask_policy(x, None)?;
        }
        if let Some(payload) = &self.payload
            && let Some(request) = &x.request
            && request.has_body()
        {
            payload.accepts(request.header("content-type"), request.header("content-encoding"))?;
            let max_bytes = u64::try_from(payload.max_bytes()).unwrap_or(u64::MAX);
            if request.content_length().is_some_and(|length| length > max_bytes) {
                return Err(PayloadConfig::too_large());
            }
            return Ok(Verdict::ReadBody { max_bytes });
        }
        self.accept(x, None)
    }

    /// Layers 9 and 10.
    fn accept(&self, x: &mut Exchange, body: Option<&[u8]>) -> Result<Verdict, Refusal> {
        let body = body.filter(|bytes| !bytes.is_empty());
        let policy = self.policy.is_some() && self.policy_reads_body();
        let checked = self.check_payload(x, body, policy)?;
        if policy {
            self.ask_policy(x, checked.as_ref().and_then(|checked| checked.body.as_ref()))?;
        }
        Ok(Verdict::Pass { checked, body: body.is_some() && self.payload.is_some() })
    }

    // 2
    fn put_cors(&self, request: &Request, x: &mut Exchange) -> Option<u16> {
        let answer = self.cors.as_ref()?.judge(&CorsRequest {
            method: request.method(),
            origin: request.header("origin"),
            request_method: request.header("access-control-request-method"),
            request_headers: request.header("access-control-request-headers"),
            callback_verdict: x.extras.origin,
        });
        x.headers
            .extend(answer.headers().map(|(name, value)| (name, Cow::Owned(value.to_owned()))));
        match answer.kind {
            CorsKind::Preflight { status } => Some(status),
            CorsKind::Continue => None,
        }
    }

    // 4 and 5: `Some` where the shared store has to be asked
    fn check_token(&self, request: &Request, x: &mut Exchange) -> Result<Option<Verdict>, Refusal> {
        let (Some(tokens), true) = (&self.engine.tokens, self.token != TokenDemand::Ignore) else {
            return Ok(None);
        };
        // `Request::read` has refused a second header of this name.
        let Some(value) = request.header("authorization") else {
            return match self.token {
                TokenDemand::Required => Err(TokenDenial::Missing.to_refusal()),
                TokenDemand::Optional | TokenDemand::Ignore => Ok(None),
            };
        };
        let token = bearer(&[value]).map_err(|denial| denial.to_refusal())?.unwrap_or_default();
        let verified =
            tokens.verifier.verify(token, x.now).map_err(|denial| denial.to_refusal())?;
        match tokens.known(self.fresh, x.now) {
            Known::Now => self.accept_token(x, verified).map(|()| None),
            Known::After(list) => {
                x.awaited = Some(Awaited::Revocations(verified));
                Ok(Some(Verdict::AskStore(StoreAsk::Revocations(list))))
            }
            Known::No => Err(stale_refusal()),
        }
    }

    // 5
    fn accept_token(&self, x: &mut Exchange, verified: Arc<Verified>) -> Result<(), Refusal> {
        if let Some(tokens) = &self.engine.tokens {
            tokens.check(&verified).map_err(|denial| denial.to_refusal())?;
        }
        x.identity = Some(verified);
        Ok(())
    }

    /// Whether the application's own function decides about origins.
    #[must_use]
    pub fn asks_origin(&self) -> bool {
        self.cors.as_ref().is_some_and(|cors| cors.has_function())
    }

    /// Whether a schema or the policy reads the route's parameters.
    #[must_use]
    pub fn wants_params(&self) -> bool {
        self.schemas.as_ref().is_some_and(Schemas::wants_params)
            || self.policy.is_some()
                && self.engine.policy.as_ref().is_some_and(crate::policy::PolicySet::reads_params)
    }

    /// Whether a limit of it only watches.
    #[must_use]
    pub fn has_shadow(&self) -> bool {
        self.limiter.as_ref().is_some_and(|limiter| limiter.now().has_shadow())
    }

    /// Whether the application's functions are to be asked before the limits.
    fn asks_keys(&self) -> bool {
        !self.callbacks.is_empty()
    }

    // 6: `Some` where the shared store has to be asked
    fn count(&self, x: &mut Exchange, keys: &[Keys]) -> Result<Option<Verdict>, Refusal> {
        if x.unlimited {
            return Ok(None);
        }
        let (Some(limiter), Some(request)) = (&self.limiter, &x.request) else { return Ok(None) };
        let limiter = limiter.now();
        let mut which = Limits::ALL;
        for (index, (id, _)) in self.limit_ids.iter().enumerate() {
            if x.extras.counted.contains(id) {
                which = which.without(Limits::NONE.with(index));
            }
        }
        let mut custom_keys = Vec::new();
        let mut custom_costs = Vec::new();
        for given in keys {
            if let Some(index) = limiter.index_of(&given.name) {
                custom_keys.resize(custom_keys.len().max(index + 1), None);
                custom_costs.resize(custom_costs.len().max(index + 1), None);
                if let (Some(key), Some(cost)) =
                    (custom_keys.get_mut(index), custom_costs.get_mut(index))
                {
                    *key = given.key.as_deref().or(*key);
                    *cost = given.cost.or(*cost);
                }
            }
        }
        let identity = x.identity.as_deref();
        let token = identity.map(token_key);
        let check = limiter.begin(
            which,
            &Subject {
                client: &request.client().map_or(ClientKey::UNKNOWN, ClientKey::from),
                user: identity.and_then(|verified| verified.subject.as_deref()),
                token: token.as_deref(),
                // Without a pattern all paths share one count: a client picks its paths, so it must not pick its quota.
                route: request.route().unwrap_or_default(),
                method: request.method(),
                path: request.path(),
                roles: &identity.map(|verified| roles(&verified.claims)).unwrap_or_default(),
                custom_keys: &custom_keys,
                custom_costs: &custom_costs,
            },
            x.now,
        );
        match check.map_err(not_counted)? {
            Check::Done(outcome) => self.note(x, &limiter, outcome),
            Check::Ask(pending, question) => ask_limits(x, &limiter, pending, question).map(Some),
        }
    }

    /// Layers 6 to 8, once the shared store has spoken.
    fn counted(
        &self,
        x: &mut Exchange,
        limiter: &Arc<Limiter>,
        check: Check<'_>,
    ) -> Result<Verdict, Refusal> {
        match check {
            Check::Done(outcome) => match self.note(x, limiter, outcome)? {
                Some(verdict) => Ok(verdict),
                None => self.welcome(x),
            },
            Check::Ask(pending, question) => ask_limits(x, limiter, pending, question),
        }
    }

    /// Tells what the limits said. A refusal by one of them ends the way, and one may hold the request back.
    fn note(
        &self,
        x: &mut Exchange,
        limiter: &Arc<Limiter>,
        outcome: Counted<'_>,
    ) -> Result<Option<Verdict>, Refusal> {
        let refusal = outcome.to_refusal();
        if !outcome.rate_limit.is_empty() {
            x.headers
                .push(("RateLimit-Policy", Cow::Owned(outcome.rate_limit_policy.into_owned())));
            x.headers.push(("RateLimit", Cow::Owned(outcome.rate_limit)));
        }
        // Both are in the order of the limits, and the outcome leaves out those that are not about this request.
        let mut declared = self.limit_ids.iter();
        for state in &outcome.states {
            let Some((id, name)) = declared.find(|(_, name)| **name == *state.name) else {
                continue;
            };
            x.limits.push(LimitView {
                name: Arc::clone(name),
                limit: state.limit,
                remaining: state.remaining,
                reset_s: state.reset_s,
                id: *id,
                shadow: state.shadow.then_some(state.violated),
            });
        }
        if let Some(refusal) = refusal {
            return Err(refusal);
        }
        if !outcome.charges.is_empty() {
            x.charged = Some(Charged::new(Arc::clone(limiter), outcome.charges));
        }
        if outcome.delay_us == 0 {
            return Ok(None);
        }
        x.places = outcome.places;
        Ok(Some(Verdict::Delay { ms: outcome.delay_us.div_ceil(1000) }))
    }

    fn policy_reads_body(&self) -> bool {
        self.engine.policy.as_ref().is_some_and(crate::policy::PolicySet::reads_body)
    }

    // 7 and 10
    fn ask_policy(&self, x: &mut Exchange, body: Option<&Value>) -> Result<(), Refusal> {
        let (Some(set), Some(query), Some(request)) =
            (&self.engine.policy, &self.policy, &x.request)
        else {
            return Ok(());
        };
        let path: Vec<&str> = request.segments().iter().map(String::as_str).collect();
        let headers: Vec<(&str, &str)> =
            if set.reads_headers() { request.headers().collect() } else { Vec::new() };
        let params: Vec<(&str, &str)> =
            x.extras.params.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let identity = x.identity.as_deref();
        let client =
            request.client().filter(|_| set.reads_client()).map(|address| address.to_string());
        // The tightest limit is the one that a policy can reason about, but for those that only watch.
        let limits = x.limits.iter().filter(|limit| limit.shadow.is_none());
        let rate = limits.min_by_key(|limit| limit.remaining);
        let input = InputParts {
            method: request.method(),
            path: &path,
            raw_path: request.raw_path(),
            route: request.route(),
            params: &params,
            query: QueryPart::Raw(request.query()),
            headers: &headers,
            user: identity.map(|verified| &verified.claims),
            token: identity.map(|verified| TokenView {
                jti: verified.id.as_deref(),
                exp: Some(verified.expires_at),
                alg: Some(verified.alg.name()),
                kid: verified.key_id.as_deref(),
            }),
            client_ip: client.as_deref().unwrap_or_default(),
            rate: rate.map(|limit| RateView {
                limit: limit.limit,
                remaining: limit.remaining,
                reset: limit.reset_s,
            }),
            body,
        };
        let outcome = set.evaluate(query, &input, x.now);
        let refusal = outcome.to_refusal();
        match outcome {
            Outcome::Allow { reasons } | Outcome::Deny { reasons, .. } => x.reasons.extend(reasons),
            Outcome::Fault { kind, place } => {
                let place = place.map(|place| format!(" at {place}")).unwrap_or_default();
                x.reasons.push(format!("policy fault: {kind}{place}"));
            }
        }
        refusal.map_or(Ok(()), Err)
    }

    // 9
    fn check_payload(
        &self,
        x: &Exchange,
        body: Option<&[u8]>,
        keep_body: bool,
    ) -> Result<Option<Checked>, Refusal> {
        let Some(request) = &x.request else { return Ok(None) };
        // A route that leaves its body to the application still has its query, params and headers checked.
        let config = self.payload.as_ref().unwrap_or(&self.engine.payload);
        let Some(schemas) = &self.schemas else {
            let Some(bytes) = body else { return Ok(None) };
            let body = config
                .with_document(bytes, None, |document| keep_body.then(|| document.to_value()))?;
            return Ok(Some(Checked { body, ..Checked::default() }));
        };
        let params: Vec<(&str, &str)> =
            x.extras.params.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let headers: Vec<(&str, &str)> =
            if schemas.wants_headers() { request.headers().collect() } else { Vec::new() };
        schemas
            .check(&Parts {
                config,
                body,
                query: request.query(),
                params: &params,
                headers: &headers,
                keep_body,
            })
            .map(Some)
    }
}

fn ask_limits(
    x: &mut Exchange,
    limiter: &Arc<Limiter>,
    pending: Pending,
    question: Question,
) -> Result<Verdict, Refusal> {
    let store = limiter.shared_store().ok_or_else(|| not_counted(LimitError::StoreAway))?;
    x.awaited = Some(Awaited::Limits(pending, Arc::clone(limiter)));
    Ok(Verdict::AskStore(StoreAsk::Limits(Arc::clone(store), question)))
}

/// Refuses a client that is blocked, and notes one that is not limited.
fn check_listed(x: &mut Exchange, listed: Listed) -> Result<(), Refusal> {
    match listed {
        Listed::No => {}
        Listed::Allowed => x.unlimited = true,
        Listed::Blocked(reason) => {
            x.reasons.push(format!("client blocked: {reason}"));
            return Err(Refusal::new(403, "client_blocked", "this client is blocked"));
        }
    }
    Ok(())
}

/// A request that could not be counted is never let through uncounted.
fn not_counted(error: LimitError) -> Refusal {
    match error {
        LimitError::StoreAway => Refusal::new(
            503,
            "store_unavailable",
            "the request could not be counted, try again soon",
        )
        .header("Retry-After", "1"),
        _ => Refusal::new(500, "internal_error", "a rate limit could not be counted"),
    }
}

/// What names a token: its `jti`, or a digest of it where it has none.
fn token_key(verified: &Verified) -> Cow<'_, str> {
    use std::fmt::Write as _;
    match &verified.id {
        Some(id) => Cow::Borrowed(id),
        None => Cow::Owned(verified.fingerprint.as_bytes().iter().fold(
            String::new(),
            |mut hex, byte| {
                // Writing to a string can't fail.
                let _ = write!(hex, "{byte:02x}");
                hex
            },
        )),
    }
}

/// The roles and plans of an identity, as tokens have them: `role`, `roles`, `plan`.
fn roles(claims: &Map<String, Value>) -> Vec<&str> {
    let one = |name| claims.get(name).and_then(Value::as_str);
    let several = claims
        .get("roles")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str);
    one("role").into_iter().chain(one("plan")).chain(several).collect()
}
