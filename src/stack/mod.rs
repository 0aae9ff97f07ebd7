//! The path of a request through the layers, in order. Read this file first.
//!
//! ```text
//!  before the body    1  headers go on          every refusal carries them
//!                     2  CORS                   its headers too; a preflight is answered here
//!                     3  path and host          one canonical path for all; lists of clients
//!                     4  CSRF, identity         token: signature, claims, its binding; all local;
//!                                               else an API key, else the function `identify`
//!                     5  revocation             local; then the requirements of the route
//!                     6  rate limits            all limits of this request at once, or none is
//!                                               charged; the proof of a request that they admit
//!                                               is used up
//!                     7  policy                 the resource of the request is asked for; then
//!                                               the policy, if it doesn't need the body
//!                     8  media type, length     then the body is read, if the request still passes
//!  after the body     9  payload                bytes, then all parts against the schemas
//!                    10  policy                 if it needs the body
//!                        the handler
//! ```
//!
//! Why this order: headers and CORS come first, since a browser shows a refusal without them as a
//! network error. The token comes before the limits, so that a limit can count by user; it is
//! checked locally and costs microseconds. A forged token is refused before it counts against any
//! client. The body comes last, since an attacker would like to make us read it.
//!
//! A layer refuses with `Err(Refusal)`. Otherwise a request must pass every layer.
//!
//! A request may wait: for its turn at a limit, for its body, for a store, for an issuer, for a
//! function of the application. Identity and client are checked again after the wait, where layers
//! 7 and 9 begin: see `recheck.rs`.

mod asks;
mod build;
mod context;
mod describe;
mod identity;
mod limits;
mod policy;
mod recheck;
mod sources;
mod watch;

use std::borrow::Cow;
use std::sync::Arc;

use crate::clock::Now;
use crate::cors::{Cors, CorsKind, CorsRequest};
use crate::csrf::Csrf;
use crate::guard::{Callback, Exemption, Guard, TokenRequirement};
use crate::headers::HeaderSet;
use crate::identity::IdentityAnswer;
use crate::json::Limits;
use crate::limit::{LimitError, ReloadableLimiter};
use crate::multipart::{Boundary, Reader};
use crate::payload::{
    BodyError, Checked, Format, Parts, PayloadConfig, Reading, Responses, Schemas,
};
use crate::policy::{QueryId, ResourceAnswer, ResourceAsk};
use crate::refusal::Refusal;
use crate::request::Request;
use crate::requirements::Requirements;
use crate::revocation::stale_refusal;

use limits::{not_counted, not_counted_by};

pub use context::{
    CallbackResults, EarlierStack, HostInput, Layer, LimitView, PendingIdentity, RecheckPoint,
    RequestContext, Step, StoreAnswer, StoreAsk, Suspension,
};
pub use watch::{Watch, WatchEnd};

/// What decides which bodies a stack takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyScope {
    /// The options of the guard, for all routes: a later layer of the guard may declare others.
    Guard,
    /// Options of the stack, but none for the types of bodies.
    Narrowed,
    /// The stack itself: by a schema of the body, by `types`, or since its policy reads the body.
    Declared,
}

/// One stack: the layers that run, narrowed for one route. Built by [`Guard::stack`].
#[derive(Debug)]
pub struct Stack {
    pub(crate) guard: Arc<Guard>,
    /// The fixed response headers: the shim sets them before it calls the core.
    pub headers: Option<HeaderSet>,
    pub(crate) cors: Option<Arc<Cors>>,
    pub(crate) hosts: bool,
    /// Whether it checks the lists of clients.
    pub(crate) clients: bool,
    /// Whether a token is read, and whether it is required: [`Stack::token_for`] applies the
    /// exemption of a request.
    pub(crate) token: TokenRequirement,
    /// Which exemptions of the guard's public paths hold here. A route's own options come first:
    /// `require`, `authenticate` and `jwt` end that of the identity, `rateLimit` that of the
    /// limits.
    pub(crate) exemptible: Exemption,
    /// Whether the shared store itself must confirm that a token is not revoked.
    pub(crate) fresh: bool,
    /// Further requirements for a token.
    pub(crate) demands: Requirements,
    pub(crate) csrf: Option<Arc<Csrf>>,
    /// The CSRF check of handshakes: CORS does not keep other origins from opening sockets, so this
    /// is on unless `csrf` is false.
    pub(crate) handshake_csrf: Option<Arc<Csrf>>,
    pub(crate) limiter: Option<Arc<ReloadableLimiter>>,
    /// The numbers and names of its limits, in their order: each number counts a request once,
    /// however many stacks the request passes.
    pub(crate) limit_ids: Vec<(u64, Arc<str>)>,
    /// Functions of the application that the limits need.
    pub callbacks: Vec<Callback>,
    pub(crate) policy: Option<QueryId>,
    /// The question to the application before the policy is evaluated.
    pub(crate) resource: Option<ResourceAsk>,
    /// `None`: the application handles the body.
    pub(crate) payload: Option<PayloadConfig>,
    pub(crate) schemas: Option<Schemas>,
    /// What decides which bodies are taken.
    pub(crate) bodies: BodyScope,
    /// The schemas of answers.
    pub(crate) responses: Option<Arc<Responses>>,
}

impl Stack {
    /// Layers 1 to 8. `head` is in the format that `src/request/mod.rs` reads.
    #[must_use]
    pub fn before_body(&self, head: String, extras: HostInput, now: Now) -> (RequestContext, Step) {
        let mut ctx = RequestContext::new(extras, now);
        ctx.layer = Some(Layer::Request);
        let step = match Request::read(head, &self.guard.trusted_proxies) {
            Ok(mut request) => {
                let step = self.identify(&mut request, &mut ctx);
                ctx.request = Some(request);
                step.and_then(|step| self.go_on(&mut ctx, step))
            }
            Err(refusal) => Err(refusal),
        };
        (ctx, step.unwrap_or_else(|refusal| self.refuse(refusal)))
    }

    /// Continues after layer 5 with the results of the application's functions.
    #[must_use]
    pub fn resume_with_callbacks(
        &self,
        ctx: &mut RequestContext,
        keys: &[CallbackResults],
        now: Now,
    ) -> Step {
        ctx.now = now;
        self.admit(ctx, keys).unwrap_or_else(|refusal| self.refuse(refusal))
    }

    /// Continues with the certificate of the connection, in the format of Node's `fingerprint256`;
    /// `None` without one.
    #[must_use]
    pub fn resume_with_certificate(
        &self,
        ctx: &mut RequestContext,
        fingerprint: Option<&str>,
        now: Now,
    ) -> Step {
        ctx.now = now;
        let step = self.check_certificate(ctx, fingerprint);
        step.and_then(|step| self.go_on(ctx, step)).unwrap_or_else(|refusal| self.refuse(refusal))
    }

    /// Continues with the result of the application's function for the identity.
    #[must_use]
    pub fn resume_with_identity(
        &self,
        ctx: &mut RequestContext,
        answer: IdentityAnswer,
        now: Now,
    ) -> Step {
        ctx.now = now;
        let step = self.identity_answered(ctx, answer);
        step.and_then(|step| self.go_on(ctx, step)).unwrap_or_else(|refusal| self.refuse(refusal))
    }

    /// Continues with the application's answer about the resource.
    #[must_use]
    pub fn resume_with_resource(
        &self,
        ctx: &mut RequestContext,
        answer: ResourceAnswer,
        now: Now,
    ) -> Step {
        ctx.now = now;
        let step = self.resource_answered(ctx, answer);
        step.unwrap_or_else(|refusal| self.refuse(refusal))
    }

    /// Continues with the answer of the shared store or an issuer, or with the lack of one.
    #[must_use]
    pub fn resume_with_store(
        &self,
        ctx: &mut RequestContext,
        answer: StoreAnswer,
        now: Now,
    ) -> Step {
        ctx.now = now;
        self.answered(ctx, answer).unwrap_or_else(|refusal| self.refuse(refusal))
    }

    fn answered(&self, ctx: &mut RequestContext, answer: StoreAnswer) -> Result<Step, Refusal> {
        match (ctx.suspension.take(), answer) {
            (Some(Suspension::Revocations(candidate)), StoreAnswer::Done(answer)) => {
                answer.map_err(|_| stale_refusal())?;
                ctx.revocations_read_us = ctx.now.mono_us;
                self.check_revoked(ctx, candidate)?;
                self.identified(ctx)
            }
            (Some(Suspension::Again(door)), StoreAnswer::Done(answer)) => {
                answer.map_err(|_| stale_refusal())?;
                ctx.revocations_read_us = ctx.now.mono_us;
                match door {
                    RecheckPoint::Policy => self.before_policy(ctx),
                    // The bytes are not kept here: they are requested once more.
                    RecheckPoint::Body => self.enter(ctx, door),
                }
            }
            (Some(Suspension::Proof), StoreAnswer::Judged(answer)) => {
                ctx.layer = Some(Layer::Authenticate);
                self.proof_answered(ctx, &answer)?;
                self.apply_delay(ctx)
            }
            (Some(Suspension::Keys { again }), _) => {
                let step = self.keys_arrived(again, ctx)?;
                self.go_on(ctx, step)
            }
            // The wait keeps the answer until the token is verified with it.
            (Some(Suspension::Introspection(_wait)), _) => {
                let step = self.keys_arrived(false, ctx)?;
                self.go_on(ctx, step)
            }
            (Some(Suspension::IntrospectionAgain(door, _wait)), _) => match door {
                RecheckPoint::Policy => self.before_policy(ctx),
                RecheckPoint::Body => self.enter(ctx, door),
            },
            (Some(Suspension::Limits(pending, limiter)), StoreAnswer::Judged(answer)) => {
                ctx.layer = Some(Layer::RateLimit);
                let check = limiter.finish(pending, answer, ctx.now);
                let check = check.map_err(|error| not_counted_by(&limiter, error))?;
                self.counted(ctx, &limiter, check)
            }
            _ => Err(not_counted(LimitError::StoreAway)),
        }
    }

    /// Continues with a request that a limit has delayed.
    #[must_use]
    pub fn resume_after_delay(&self, ctx: &mut RequestContext, now: Now) -> Step {
        ctx.delay_slots.clear();
        ctx.now = now;
        self.before_policy(ctx).unwrap_or_else(|refusal| self.refuse(refusal))
    }

    /// Layers 9 and 10, on the bytes of the body.
    #[must_use]
    pub fn after_body(&self, ctx: &mut RequestContext, body: &[u8], now: Now) -> Step {
        ctx.now = now;
        self.judge_body(ctx, body).unwrap_or_else(|refusal| self.refuse(refusal))
    }

    /// Layers 9 and 10, once the reader of a multipart body has all of it.
    #[must_use]
    pub fn after_parts(&self, ctx: &mut RequestContext, now: Now) -> Step {
        ctx.now = now;
        ctx.layer = Some(Layer::Payload);
        // No byte has come: the request has no body.
        ctx.multipart.take_if(|reader| reader.is_untouched());
        let ended = ctx.multipart.as_ref().map_or(Ok(()), |reader| reader.finish());
        let step = ended.and_then(|()| self.judge_body(ctx, &[]));
        step.unwrap_or_else(|refusal| self.refuse(refusal))
    }

    /// Ends a request. A challenge points the client to the metadata of this resource.
    fn refuse(&self, mut refusal: Refusal) -> Step {
        let resource = self.guard.tokens.as_ref().and_then(|tokens| tokens.verifier.resource());
        if let Some(resource) = resource {
            resource.complete(&mut refusal, self.demands.scopes());
        }
        Step::Refuse(refusal)
    }

    /// Refuses a request whose body could not be read.
    #[must_use]
    pub fn without_body(&self, ctx: &mut RequestContext, fault: BodyError) -> Step {
        let known = match fault {
            BodyError::Unread => ctx.body_refusal.take(),
            BodyError::Parts => ctx.multipart.as_ref().and_then(|reader| reader.refusal()).cloned(),
            _ => None,
        };
        Step::Refuse(known.unwrap_or_else(|| fault.refusal()))
    }

    /// Whether it declares which bodies it takes.
    #[must_use]
    pub fn declares_body(&self) -> bool {
        self.bodies == BodyScope::Declared
    }

    /// Whether a stack before it leaves the body to this one.
    #[must_use]
    pub fn takes_body(&self) -> bool {
        self.bodies != BodyScope::Guard
    }

    /// Whether nothing but a JSON body that was read before is to be checked, and `body` certainly
    /// passes. The caller has to check that the media type is JSON.
    #[must_use]
    pub fn accepts_body(&self, body: &[u8]) -> bool {
        let (Some(payload), Some(schemas)) = (&self.payload, &self.schemas) else { return false };
        self.policy.is_none()
            && self.token == TokenRequirement::Ignore
            && self.limiter.is_none()
            && payload.types().json
            && schemas.passes_fast_path(body, Format::Json, payload.limits())
    }

    /// Layers 2 to 5: identity and target. `Some` ends the request or suspends it.
    fn identify(
        &self,
        request: &mut Request,
        ctx: &mut RequestContext,
    ) -> Result<Option<Step>, Refusal> {
        let preflight = self.put_cors(request, ctx);
        request.canonicalise(self.guard.paths.forms(request))?;
        request.check_view()?;
        if self.hosts {
            self.guard.check_host(request)?;
        }
        let exemption = self.exemption(request);
        ctx.token = self.token_for(exemption);
        ctx.layer = Some(Layer::Clients);
        ctx.unlimited = self.check_client(request, ctx.now, &mut ctx.reasons)? || exemption.limits;
        if let Some(status) = preflight {
            ctx.layer = Some(Layer::Cors);
            return Ok(Some(Step::Preflight { status }));
        }
        self.check_token(request, ctx)
    }

    /// Returns a step of layers 2 to 5, or continues after them.
    fn go_on(&self, ctx: &mut RequestContext, step: Option<Step>) -> Result<Step, Refusal> {
        match step {
            Some(step) => Ok(step),
            None => self.identified(ctx),
        }
    }

    /// After layer 5: the application's own functions are called first, if the limits need them.
    fn identified(&self, ctx: &mut RequestContext) -> Result<Step, Refusal> {
        let user = ctx.identity.as_deref().and_then(|verified| verified.subject.as_deref());
        ctx.layer = Some(Layer::Clients);
        ctx.unlimited |= self.check_user(user, ctx.now, &mut ctx.reasons)?;
        if self.asks_keys() { Ok(Step::RunCallbacks) } else { self.admit(ctx, &[]) }
    }

    /// Layers 6 to 8: is the action allowed, and is the body acceptable.
    fn admit(&self, ctx: &mut RequestContext, keys: &[CallbackResults]) -> Result<Step, Refusal> {
        ctx.layer = Some(Layer::RateLimit);
        match self.count(ctx, keys)? {
            Some(step) => Ok(step),
            None => self.admitted(ctx),
        }
    }

    /// After layer 6: an admitted request uses up its proof.
    fn admitted(&self, ctx: &mut RequestContext) -> Result<Step, Refusal> {
        ctx.layer = Some(Layer::Authenticate);
        match self.use_proof(ctx)? {
            Some(step) => Ok(step),
            None => self.apply_delay(ctx),
        }
    }

    /// After layer 6: the request may have to wait for its turn.
    fn apply_delay(&self, ctx: &mut RequestContext) -> Result<Step, Refusal> {
        match ctx.delay_ms.take() {
            Some(ms) => Ok(Step::Delay { ms }),
            None => self.before_policy(ctx),
        }
    }

    /// Layers 7 and 8, for a request that is still admitted.
    fn before_policy(&self, ctx: &mut RequestContext) -> Result<Step, Refusal> {
        if let Some(ask) = self.resource.filter(|_| ctx.resource.is_none()) {
            ctx.suspension = Some(Suspension::Resource);
            return Ok(Step::AskResource(ask));
        }
        match self.ask_again(ctx, RecheckPoint::Policy)? {
            Some(step) => Ok(step),
            None => self.enter(ctx, RecheckPoint::Policy),
        }
    }

    /// Continues after a door, up to the body.
    fn enter(&self, ctx: &mut RequestContext, door: RecheckPoint) -> Result<Step, Refusal> {
        if door == RecheckPoint::Policy && self.policy.is_some() && !self.policy_reads_body() {
            self.ask_policy(ctx, None)?;
        }
        match self.ask_body(ctx)? {
            Some(step) => Ok(step),
            None => self.accept(ctx, None),
        }
    }

    /// Layer 8. `None` if there is no body to read: none was sent, or one of a kind that no route
    /// asks for, which is left to the application unread.
    fn ask_body(&self, ctx: &mut RequestContext) -> Result<Option<Step>, Refusal> {
        let Some(payload) = &self.payload else { return Ok(None) };
        let Some(request) = ctx.request.as_ref().filter(|request| request.has_body()) else {
            return Ok(None);
        };
        ctx.layer = Some(Layer::Payload);
        let content_type = request.header("content-type");
        let is_parsed = request.is_parsed();
        let max_bytes = payload.max_bytes(content_type);
        let length = request.content_length().filter(|length| *length > 0);
        let reading = if is_parsed {
            payload.parsed(content_type, request.header("content-encoding"), self.declares_body())
        } else if !self.declares_body() && PayloadConfig::is_other_kind(content_type) {
            return Ok(None);
        } else if length.is_some_and(|length| length > max_bytes) {
            let fits = payload.accepts(content_type, request.header("content-encoding"));
            fits.and(Err(Limits::too_large()))
        } else {
            payload.accepts(content_type, request.header("content-encoding"))
        };
        let reading = reading.and_then(|reading| {
            if reading.format == Format::Multipart && ctx.multipart.is_none() {
                let boundary = Boundary::read(content_type.unwrap_or_default())?;
                let files = Arc::clone(payload.files());
                ctx.multipart = Some(Box::new(Reader::new(&boundary, files, payload.limits())));
            }
            Ok(reading)
        });
        match reading {
            Ok(reading) => {
                ctx.format = reading.format;
                Ok(Some(Step::ReadBody { max_bytes, reading }))
            }
            Err(refusal) if length.is_some() && self.declares_body() => Err(refusal),
            // No byte may follow, or a later layer may take them.
            Err(refusal) => {
                ctx.body_refusal = Some(refusal);
                Ok(Some(Step::ReadBody { max_bytes: 0, reading: Reading::default() }))
            }
        }
    }

    /// Layers 9 and 10 for a request with a body, if it is still admitted.
    fn judge_body(&self, ctx: &mut RequestContext, body: &[u8]) -> Result<Step, Refusal> {
        match self.ask_again(ctx, RecheckPoint::Body)? {
            Some(step) => Ok(step),
            None => self.accept(ctx, Some(body)),
        }
    }

    /// Layers 9 and 10.
    fn accept(&self, ctx: &mut RequestContext, body: Option<&[u8]>) -> Result<Step, Refusal> {
        let body = body.filter(|bytes| !bytes.is_empty());
        let is_sent = body.is_some() || ctx.multipart.is_some();
        if let Some(refusal) = ctx.body_refusal.take_if(|_| body.is_some()) {
            return Err(refusal);
        }
        let policy = self.policy.is_some() && self.policy_reads_body();
        ctx.layer = Some(Layer::Payload);
        let checked = self.check_payload(ctx, body, policy).map_err(|refusal| {
            let is_of_body = body.is_some() && self.schemas.is_none();
            if is_of_body && !self.declares_body() { refusal.deferrable() } else { refusal }
        })?;
        if policy {
            self.ask_policy(ctx, checked.as_ref().and_then(|checked| checked.body.as_ref()))?;
        }
        Ok(Step::Pass { checked, body: is_sent && self.payload.is_some() })
    }

    // 2
    fn put_cors(&self, request: &Request, ctx: &mut RequestContext) -> Option<u16> {
        let holder = ctx.extras.cors_of.as_deref().unwrap_or(self);
        let cors = holder.cors.as_ref().filter(|_| !ctx.extras.skips_cors)?;
        let answer = cors.judge(&CorsRequest {
            method: request.method(),
            origin: request.header("origin"),
            request_method: request.header("access-control-request-method"),
            request_headers: request.header("access-control-request-headers"),
            callback_verdict: ctx.extras.origin,
        });
        ctx.headers
            .extend(answer.headers().map(|(name, value)| (name, Cow::Owned(value.to_owned()))));
        ctx.cors_denied = answer.denied;
        match answer.kind {
            CorsKind::Preflight { status } => Some(status),
            CorsKind::Continue => None,
        }
    }

    /// Whether the application's functions are called before the limits.
    fn asks_keys(&self) -> bool {
        !self.callbacks.is_empty()
    }

    fn policy_reads_body(&self) -> bool {
        self.guard.policy.as_ref().is_some_and(crate::policy::PolicySet::reads_body)
    }

    // 9
    fn check_payload(
        &self,
        ctx: &RequestContext,
        body: Option<&[u8]>,
        keep_body: bool,
    ) -> Result<Option<Box<Checked>>, Refusal> {
        let Some(request) = &ctx.request else { return Ok(None) };
        // A route that leaves its body to the application still checks its query, params and
        // headers.
        let config = self.payload.as_ref().unwrap_or(&self.guard.payload);
        let none;
        let schemas = match &self.schemas {
            Some(schemas) => schemas,
            None if body.is_none() && ctx.multipart.is_none() => return Ok(None),
            None => {
                none = Schemas::default();
                &none
            }
        };
        // The usual case, on the fast path.
        let settles = |body| schemas.passes_fast_path(body, ctx.format, config.limits());
        if !keep_body && body.is_some_and(settles) {
            return Ok(None);
        }
        let params: Vec<(&str, &str)> =
            ctx.extras.params.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let headers: Vec<(&str, &str)> =
            if schemas.wants_headers() { request.headers().collect() } else { Vec::new() };
        schemas
            .check(&Parts {
                limits: config.limits(),
                body,
                format: ctx.format,
                multipart: ctx.multipart.as_deref(),
                query: request.query(),
                params: &params,
                headers: &headers,
                language: schemas
                    .wants_language()
                    .then(|| request.header("accept-language"))
                    .flatten(),
                keep_body,
            })
            .map(|checked| Some(Box::new(checked)))
    }
}
