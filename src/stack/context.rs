//! The state of a request on its way through the layers, and the result. `src/stack/mod.rs` has the
//! order of the layers.

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::Value;

use crate::bearer::Scheme;
use crate::binding::Proof;
use crate::clock::Now;
use crate::cors::CorsError;
use crate::guard::TokenRequirement;
use crate::identity::{HostIdentity, IdentityAsk};
use crate::limit::{DelaySlot, Limiter, Pending, Reservation};
use crate::multipart::Reader;
use crate::payload::{Checked, Format, Reading};
use crate::policy::ResourceAsk;
use crate::quota::{CommandResult, StoreCommand};
use crate::refusal::Refusal;
use crate::remote_keys::RemoteKeys;
use crate::request::Request;
use crate::revocation::SharedRevocations;
use crate::shared_store::SharedStore;
use crate::stack::Stack;
use crate::store::StoreError;
use crate::token::{IntrospectionWait, Verified};

/// Facts about a request that only JavaScript has.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "facts that are independent of each other")]
pub struct HostInput {
    /// The result of the application's function for the request's origin.
    pub origin: Option<bool>,
    /// Whether an earlier stack or layer of the same guard has decided about CORS, and this one
    /// keeps its decision.
    pub skips_cors: bool,
    /// For a preflight: the stack whose CORS policy holds for the request that the page means to
    /// send, if that is not this one.
    pub cors_of: Option<Arc<Stack>>,
    /// With `skips_cors`, for a handshake: whether that decision allows its origin to open a
    /// socket.
    pub admitted: bool,
    /// Route parameters, as Express decoded them.
    pub params: Vec<(String, String)>,
    /// Numbers of the limits by which an earlier stack of the same guard has counted this request.
    pub counted: Vec<u64>,
    /// Marks of the proofs that earlier layers accepted from this request.
    pub proofs: Vec<String>,
    /// Earlier stacks that have let this request pass: after a wait here, their checks are
    /// repeated.
    pub earlier: Vec<EarlierStack>,
    /// Whether the request has waited since those checks.
    pub waited: bool,
    /// Whether no earlier layer has found a user.
    pub anonymous: bool,
}

/// A stack that has let the request pass.
#[derive(Debug)]
pub struct EarlierStack {
    /// The stack.
    pub stack: Arc<Stack>,
    /// The identity that it got from a function of the application.
    pub identity: Option<HostIdentity>,
}

/// The results of the application's own functions for one limit.
#[derive(Debug, Default, Clone)]
pub struct CallbackResults {
    /// The limit's name.
    pub name: String,
    /// The key to count by, or the next part of it.
    pub key: Option<String>,
    /// The cost of this request.
    pub cost: Option<u32>,
}

/// The next step of a request.
#[derive(Debug)]
pub enum Step {
    /// Every layer has passed.
    Pass {
        /// The checked parts, if they have to be returned.
        checked: Option<Box<Checked>>,
        /// Whether a body was read and checked.
        body: bool,
    },
    /// Read the body, and come back with [`Stack::after_body`], or with [`Stack::without_body`]. A
    /// multipart body goes to [`RequestContext::multipart`] piece by piece, and then
    /// [`Stack::after_parts`] follows.
    ReadBody {
        /// The most bytes to read. 0: only whether there are any, since they would be refused.
        max_bytes: u64,
        /// Their format. Compressed bytes must be decompressed first.
        reading: Reading,
    },
    /// Call the application's key and cost functions, and come back with
    /// [`Stack::resume_with_callbacks`].
    RunCallbacks,
    /// Read the certificate of the connection, and come back with
    /// [`Stack::resume_with_certificate`].
    AskCertificate,
    /// Call a function of the application for the identity, and come back with
    /// [`Stack::resume_with_identity`].
    AskIdentity(IdentityAsk),
    /// Call the application's function for the resource, and come back with
    /// [`Stack::resume_with_resource`].
    AskResource(ResourceAsk),
    /// Ask the shared store, and come back with [`Stack::resume_with_store`].
    AskStore(StoreAsk),
    /// A CORS preflight: answer with this status and no body.
    Preflight {
        /// 204 if it is allowed, 403 if not.
        status: u16,
    },
    /// The limits admit it, but later: come back with [`Stack::resume_after_delay`].
    Delay {
        /// The delay in milliseconds.
        ms: u64,
    },
    /// Refuse.
    Refuse(Refusal),
}

/// A command of a request to a shared store.
#[derive(Debug)]
pub enum StoreAsk {
    /// Read the latest revocations.
    Revocations(Arc<SharedRevocations>),
    /// Check whether its limits admit it.
    Limits(Arc<SharedStore>, StoreCommand),
    /// Not a store command: ask the issuer of its token for keys.
    Keys(Arc<RemoteKeys>),
    /// Nor this: ask the issuer of its token about the token.
    Introspection(IntrospectionWait),
    /// Check whether its proof was used before.
    Proof(Arc<SharedStore>, StoreCommand),
}

/// The answer of a shared store.
#[derive(Debug)]
pub enum StoreAnswer {
    /// The requested data was read, or the command was carried out.
    Done(Result<(), StoreError>),
    /// The result of a check.
    Judged(Result<CommandResult, StoreError>),
}

impl StoreAnswer {
    /// Whether the command was carried out.
    pub fn done(self) -> Result<(), StoreError> {
        match self {
            Self::Done(done) => done,
            Self::Judged(answer) => answer.and(Err(StoreError::Refused)),
        }
    }

    /// The result of the check.
    pub fn judged(self) -> Result<CommandResult, StoreError> {
        match self {
            Self::Judged(answer) => answer,
            Self::Done(done) => done.and(Err(StoreError::Refused)),
        }
    }
}

/// The reason for which a request is suspended: a shared store, an issuer, the application, or the
/// certificate of its connection.
#[derive(Debug)]
pub enum Suspension {
    /// Layer 4: whether the client has the certificate that the token is bound to.
    Certificate(PendingIdentity),
    /// Layer 4: a function of the application is asked for the identity.
    Identity(IdentityAsk),
    /// Layer 5, for this token: its identity is not exposed before.
    Revocations(PendingIdentity),
    /// After layer 6: whether the proof was used before.
    Proof,
    /// Revocations during the wait: see `src/stack/recheck.rs`.
    Again(RecheckPoint),
    /// Layer 6, for the limiter that has asked: its limits may have changed meanwhile.
    Limits(Pending, Arc<Limiter>),
    /// Layer 4: the issuer of the token is asked for its keys. It may be asked once more, if the
    /// fetch in flight began before the token arrived.
    Keys {
        /// Whether this was the first time.
        again: bool,
    },
    /// Layer 4: the issuer is asked about the token.
    Introspection(IntrospectionWait),
    /// The same after a wait: see `src/stack/recheck.rs`.
    IntrospectionAgain(RecheckPoint, IntrospectionWait),
    /// Before layer 7: the application is asked for the resource.
    Resource,
}

/// The point at which the identity of a request that has waited is checked again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecheckPoint {
    /// Before the policy is evaluated and the body is read.
    Policy,
    /// Before the body is checked.
    Body,
}

/// A token, or another identity, that is valid by itself, but not yet verified for this request.
#[derive(Debug)]
pub struct PendingIdentity {
    /// Its claims.
    pub verified: Arc<Verified>,
    /// How it was presented.
    pub scheme: Scheme,
    /// Whether it came in a cookie.
    pub in_cookie: bool,
    /// Its proof, still unused.
    pub proof: Option<Box<Proof>>,
}

/// The layer that judges a request, as the decision event calls it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layer {
    /// The head: its path, its host, its view.
    Request,
    /// The lists of clients and users.
    Clients,
    /// CORS.
    Cors,
    /// CSRF.
    Csrf,
    /// Tokens, API keys and `identify`: whether the identity is good, and not revoked.
    Authenticate,
    /// The requirements of the route.
    Require,
    /// The rate limits.
    RateLimit,
    /// The policy.
    Policy,
    /// The body and the schemas.
    Payload,
}

impl Layer {
    /// Its name in the decision event: `DecisionLayer` of index.d.ts.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Clients => "clients",
            Self::Cors => "cors",
            Self::Csrf => "csrf",
            Self::Authenticate => "authenticate",
            Self::Require => "require",
            Self::RateLimit => "rateLimit",
            Self::Policy => "policy",
            Self::Payload => "payload",
        }
    }
}

/// A request in progress, with the results of its layers so far.
#[derive(Debug)]
pub struct RequestContext {
    /// The request itself; `None` if its head could not be read.
    pub request: Option<Request>,
    /// The instant that every layer uses. It advances with every wait.
    pub now: Now,
    /// The time of the last check of token and client, on the monotonic clock.
    pub rechecked_us: u64,
    /// The time of the store's last answer about revocations, on the same clock.
    pub revocations_read_us: u64,
    /// The layer that judges it; `None` before the first one.
    pub layer: Option<Layer>,
    /// Facts that only JavaScript has.
    pub extras: HostInput,
    /// Response headers so far.
    pub headers: Vec<(&'static str, Cow<'static, str>)>,
    /// Its identity, once it was verified.
    pub identity: Option<Arc<Verified>>,
    /// The result of the application's function that the identity was made of.
    pub host_identity: Option<HostIdentity>,
    /// The resource that the application has named, null without one; `None` before it is asked.
    pub resource: Option<Value>,
    /// The proof of its token, until it is used up.
    pub proof: Option<Box<Proof>>,
    /// A mark of the accepted proof, for later layers: [`HostInput::proofs`] returns it.
    pub proof_mark: Option<String>,
    /// Whether this request needs a token: a path may be public.
    pub token: TokenRequirement,
    /// Whether a list exempts it from limits.
    pub unlimited: bool,
    /// The states of the limits, in their order.
    pub limits: Vec<LimitView>,
    /// The reason for which it is suspended.
    pub suspension: Option<Suspension>,
    /// Why its body is refused unless it is empty: its headers are not as they must be.
    pub body_refusal: Option<Refusal>,
    /// The format of its body, once that was checked.
    pub format: Format,
    /// The reader of its body, if that is multipart.
    pub multipart: Option<Box<Reader>>,
    /// The delay in milliseconds that a limit imposes.
    pub delay_ms: Option<u64>,
    /// Its slots among the requests that limits delay.
    pub delay_slots: Vec<DelaySlot>,
    /// The reservation that may be refunded once its response is known.
    pub charged: Option<Reservation>,
    /// The reasons that the policy returned.
    pub reasons: Vec<String>,
    /// Why CORS gives a page of another origin no leave, for the decision event.
    pub cors_denied: Option<CorsError>,
    /// Whether the answers so far include the client and the token: each is written once.
    pub written: bool,
    /// See [`Self::written`].
    pub identity_written: bool,
    /// The number of limits written so far.
    pub limits_written: usize,
}

impl RequestContext {
    /// A context without any results yet.
    #[must_use]
    pub fn new(extras: HostInput, now: Now) -> Self {
        let rechecked_us = if extras.waited { 0 } else { now.mono_us };
        Self {
            request: None,
            now,
            rechecked_us,
            revocations_read_us: rechecked_us,
            layer: None,
            extras,
            headers: Vec::new(),
            identity: None,
            host_identity: None,
            resource: None,
            proof: None,
            proof_mark: None,
            token: TokenRequirement::Required,
            unlimited: false,
            limits: Vec::new(),
            suspension: None,
            body_refusal: None,
            format: Format::default(),
            multipart: None,
            delay_ms: None,
            delay_slots: Vec::new(),
            charged: None,
            reasons: Vec::new(),
            cors_denied: None,
            written: false,
            identity_written: false,
            limits_written: 0,
        }
    }

    /// Values already written are not written again. The limits stay for a policy that reads the
    /// body.
    pub fn forget_written(&mut self) {
        self.written = true;
        self.identity_written |= self.identity.is_some();
        self.limits_written = self.limits.len();
        self.headers.clear();
        self.reasons.clear();
    }
}

/// The state of one limit after this request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitView {
    /// The limit's name.
    pub name: Arc<str>,
    /// Requests per window.
    pub limit: u64,
    /// The number of further requests that would pass now.
    pub remaining: u64,
    /// Whole seconds until more units are refilled.
    pub reset_s: u64,
    /// Its number.
    pub id: u64,
    /// `None` for an enforcing limit; for a shadow limit, whether it would have refused.
    pub shadow: Option<bool>,
}
