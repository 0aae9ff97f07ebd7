//! What a request carries on its way through the layers, and what comes of it: `src/stack/mod.rs`
//! has the way.

use std::borrow::Cow;
use std::sync::Arc;

use crate::binding::Proof;
use crate::clock::Now;
use crate::limit::{DelaySlot, Limiter, Pending, Reservation};
use crate::payload::{Checked, Format, Reading};
use crate::quota::{CommandResult, StoreCommand};
use crate::refusal::Refusal;
use crate::remote_keys::RemoteKeys;
use crate::request::Request;
use crate::revocation::SharedRevocations;
use crate::shared_store::SharedStore;
use crate::stack::Stack;
use crate::store::StoreError;
use crate::token::{Scheme, Verified};

/// What only JavaScript knows of a request.
#[derive(Debug, Default)]
pub struct HostInput {
    /// What the application's function said of the request's origin.
    pub origin: Option<bool>,
    /// Whether an earlier stack or layer of the same guard has decided about CORS, and this one
    /// leaves it at that.
    pub skips_cors: bool,
    /// With `skips_cors`, for a handshake: whether that decision lets its origin open a socket.
    pub admitted: bool,
    /// Route parameters, as Express decoded them.
    pub params: Vec<(String, String)>,
    /// Numbers of the limits by which an earlier stack of the same guard has counted this request.
    pub counted: Vec<u64>,
    /// What earlier layers have noted of proofs that they took from this request.
    pub proofs: Vec<String>,
    /// Earlier stacks that have let this request pass: after a wait here, they are asked again.
    pub earlier: Vec<Arc<Stack>>,
    /// Whether the request has waited since those were asked.
    pub waited: bool,
}

/// What the application's own functions gave for one limit.
#[derive(Debug, Default, Clone)]
pub struct CallbackResults {
    /// The limit's name.
    pub name: String,
    /// What to count by.
    pub key: Option<String>,
    /// How much this request costs.
    pub cost: Option<u32>,
}

/// Where a request stands when the core has said all it can for now.
#[derive(Debug)]
pub enum Step {
    /// Every layer has passed.
    Pass {
        /// The checked parts, where there is something to tell of them.
        checked: Option<Box<Checked>>,
        /// Whether a body was read and checked.
        body: bool,
    },
    /// Read the body, and come back with [`Stack::after_body`], or with [`Stack::without_body`].
    ReadBody {
        /// Most bytes to read.
        max_bytes: u64,
        /// What they are. Compressed ones are to be decompressed first.
        reading: Reading,
    },
    /// Ask the application's key and cost functions, and come back with
    /// [`Stack::resume_with_callbacks`].
    RunCallbacks,
    /// Look at the certificate of the connection, and come back with
    /// [`Stack::resume_with_certificate`].
    AskCertificate,
    /// Ask the shared store, and come back with [`Stack::resume_with_store`].
    AskStore(StoreAsk),
    /// A CORS preflight: answer with this status and no body.
    Preflight {
        /// 204 where it is allowed, 403 where not.
        status: u16,
    },
    /// The limits admit it, but not yet: come back with [`Stack::resume_after_delay`].
    Delay {
        /// In so many milliseconds.
        ms: u64,
    },
    /// Refuse.
    Refuse(Refusal),
}

/// What a request wants to know of a shared store.
#[derive(Debug)]
pub enum StoreAsk {
    /// What was revoked lately.
    Revocations(Arc<SharedRevocations>),
    /// Whether its limits admit it.
    Limits(Arc<SharedStore>, StoreCommand),
    /// Not the store, but the issuer of its token: what its keys are.
    Keys(Arc<RemoteKeys>),
    /// Whether its proof was used before.
    Proof(Arc<SharedStore>, StoreCommand),
}

/// What a shared store said.
#[derive(Debug)]
pub enum StoreAnswer {
    /// It was told what was asked, or has taken what it was given.
    Done(Result<(), StoreError>),
    /// It has judged.
    Judged(Result<CommandResult, StoreError>),
}

impl StoreAnswer {
    /// Whether it has done what it was told.
    pub fn done(self) -> Result<(), StoreError> {
        match self {
            Self::Done(done) => done,
            Self::Judged(answer) => answer.and(Err(StoreError::Refused)),
        }
    }

    /// What it has judged.
    pub fn judged(self) -> Result<CommandResult, StoreError> {
        match self {
            Self::Judged(answer) => answer,
            Self::Done(done) => done.and(Err(StoreError::Refused)),
        }
    }
}

/// What a request waits for before its layers go on: a shared store, an issuer, or what its
/// connection says of the client.
#[derive(Debug)]
pub enum Suspension {
    /// Layer 4: whether the client has the certificate that the token is bound to.
    Certificate(PendingIdentity),
    /// Layer 5, of this token: nobody is told whose it is before.
    Revocations(PendingIdentity),
    /// Behind layer 6: whether the proof was used before.
    Proof,
    /// What was revoked while the request has waited: see `src/stack/again.rs`.
    Again(Door),
    /// Layer 6, of the limiter that has asked: its limits may be others by now.
    Limits(Pending, Arc<Limiter>),
    /// Layer 4: the issuer of the token is asked for its keys. It may be asked once more, where
    /// what was on its way had begun before the token came.
    Keys {
        /// Whether this was the first time.
        again: bool,
    },
}

/// Where a request that has waited is asked again who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// Before the policy is asked, and the body is read.
    Policy,
    /// Before the body is judged.
    Body,
}

/// A token that is good by itself, and is still to be found good for this request.
#[derive(Debug)]
pub struct PendingIdentity {
    /// What it says.
    pub verified: Arc<Verified>,
    /// How it was presented.
    pub scheme: Scheme,
    /// The proof that came with it, to be used up.
    pub proof: Option<Box<Proof>>,
}

/// A request on its way, with what the layers have found out about it.
#[derive(Debug)]
pub struct RequestContext {
    /// The request itself; `None` if its head could not be read.
    pub request: Option<Request>,
    /// The instant that every layer sees. It moves on with every wait.
    pub now: Now,
    /// When it was asked last whether token and client are still welcome, on the monotonic clock.
    pub judged_us: u64,
    /// When a store has said last what is revoked, on the same clock.
    pub store_said_us: u64,
    /// What only JavaScript knows.
    pub extras: HostInput,
    /// Response headers so far.
    pub headers: Vec<(&'static str, Cow<'static, str>)>,
    /// Who it is, once a token was verified.
    pub identity: Option<Arc<Verified>>,
    /// The proof that came with its token, until it is used up.
    pub proof: Option<Box<Proof>>,
    /// What a later layer is to know of the proof that was taken: [`HostInput::proofs`] gives it
    /// back.
    pub proof_mark: Option<String>,
    /// Whether a list says that it is not limited.
    pub unlimited: bool,
    /// What the limits said, in their order.
    pub limits: Vec<LimitView>,
    /// What it waits for.
    pub awaited: Option<Suspension>,
    /// What its body is, once that was judged.
    pub format: Format,
    /// For how many milliseconds a limit will hold it back.
    pub delay_ms: Option<u64>,
    /// Its places among the requests that limits hold back.
    pub delay_slots: Vec<DelaySlot>,
    /// What may be given back once its response is known.
    pub charged: Option<Reservation>,
    /// Why the policy decided as it did, in its own words.
    pub reasons: Vec<String>,
    /// Whether the edge has told who the client is, and whose the token: each is told once.
    pub written: bool,
    /// See [`Self::written`].
    pub identity_written: bool,
    /// How many of the limits it has told.
    pub limits_written: usize,
}

impl RequestContext {
    /// An exchange of which nothing is known yet.
    #[must_use]
    pub fn new(extras: HostInput, now: Now) -> Self {
        let judged_us = if extras.waited { 0 } else { now.mono_us };
        Self {
            request: None,
            now,
            judged_us,
            store_said_us: judged_us,
            extras,
            headers: Vec::new(),
            identity: None,
            proof: None,
            proof_mark: None,
            unlimited: false,
            limits: Vec::new(),
            awaited: None,
            format: Format::default(),
            delay_ms: None,
            delay_slots: Vec::new(),
            charged: None,
            reasons: Vec::new(),
            written: false,
            identity_written: false,
            limits_written: 0,
        }
    }

    /// What was told is not told again. The limits stay for a policy that reads the body.
    pub fn forget_written(&mut self) {
        self.written = true;
        self.identity_written |= self.identity.is_some();
        self.limits_written = self.limits.len();
        self.headers.clear();
        self.reasons.clear();
    }
}

/// How one limit stands after this request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitView {
    /// The limit's name.
    pub name: Arc<str>,
    /// Requests per window.
    pub limit: u64,
    /// How many more requests would pass now.
    pub remaining: u64,
    /// Whole seconds until there are more.
    pub reset_s: u64,
    /// Its number.
    pub id: u64,
    /// `None` for a limit that refuses; else whether this one, which only watches, would have.
    pub shadow: Option<bool>,
}
