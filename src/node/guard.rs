//! Calls that build or manage a guard. They answer `{"ok": ...}` or
//! `{"error": {code, message, path?, suggestion?}}`.

use std::panic::catch_unwind;
use std::sync::{Arc, OnceLock};

use napi::Env;
use napi_derive::napi;
use serde_json::{Map, Value, json};

use super::answer;
use super::completions::CompletionQueue;
use super::issuers::issuer_health;
use super::registry::{self, PendingEntry};
use super::slots;
use super::stores::store_health;
use super::testing::clock_of_shared_store;
use crate::bearer::TokenError;
use crate::clock::{Now, test_clock};
use crate::error::ConfigError;
use crate::guard::refresh::Refresh;
use crate::guard::{Guard, Layers, RevocationList, Store, TokenRequirement, Tokens};
use crate::limit::LimitError;
use crate::payload::PayloadConfig;
use crate::policy::Outcome;
use crate::refusal::Refusal;
use crate::revocation::{Counts, Freshness, RevokeError};
use crate::stack::{Stack, StoreAnswer};
use crate::store::StoreError;

/// An error that becomes a `GuardError`.
pub(super) struct ErrorPayload(pub(super) Value);

pub(super) type Answer = Result<Value, ErrorPayload>;

impl ErrorPayload {
    pub(super) fn new(code: &str, message: &str) -> Self {
        Self(json!({ "code": code, "message": message }))
    }
}

impl From<ConfigError> for ErrorPayload {
    fn from(error: ConfigError) -> Self {
        let mut fields = Map::new();
        fields.insert("code".into(), error.code().as_str().into());
        fields.insert("message".into(), error.to_string().into());
        fields.insert("path".into(), error.path().into());
        if let Some(suggestion) = error.suggestion() {
            fields.insert("suggestion".into(), suggestion.into());
        }
        let all =
            if error.faults().is_empty() { std::slice::from_ref(&error) } else { error.faults() };
        if all.iter().any(|fault| fault.pointer().is_some()) {
            fields.insert("faults".into(), all.iter().map(fault).collect());
        }
        Self(Value::Object(fields))
    }
}

/// One fault of a document.
fn fault(error: &ConfigError) -> Value {
    json!({
        "code": error.code().as_str(),
        "path": error.path(),
        "pointer": error.pointer(),
        "problem": error.problem(),
        "suggestion": error.suggestion(),
        "operations": error.operations(),
    })
}

impl From<LimitError> for ErrorPayload {
    fn from(error: LimitError) -> Self {
        let code = if matches!(error, LimitError::UnknownPolicy) {
            "ERR_UNKNOWN_LIMIT"
        } else {
            "ERR_INVALID_ARGUMENT"
        };
        Self::new(code, &error.to_string())
    }
}

impl From<StoreError> for ErrorPayload {
    fn from(error: StoreError) -> Self {
        Self(
            json!({ "code": "ERR_STORE_UNAVAILABLE", "status": 503, "message": error.to_string() }),
        )
    }
}

impl From<RevokeError> for ErrorPayload {
    fn from(error: RevokeError) -> Self {
        match error {
            RevokeError::Clock | RevokeError::ClockSetBack => clock(&error.to_string()),
            _ => Self::new("ERR_INVALID_ARGUMENT", &error.to_string()),
        }
    }
}

/// A clock is wrong. Nothing was done.
pub(super) fn clock(message: &str) -> ErrorPayload {
    ErrorPayload(json!({ "code": "ERR_CLOCK", "status": 503, "message": message }))
}

impl From<TokenError> for ErrorPayload {
    fn from(denial: TokenError) -> Self {
        let refusal = denial.to_refusal();
        let reason = refusal.reason.clone();
        let mut error = Self::from(refusal);
        if let (Some(reason), Value::Object(members)) = (reason, &mut error.0) {
            members.insert("reason".to_owned(), reason.into());
        }
        error
    }
}

impl From<Refusal> for ErrorPayload {
    fn from(refusal: Refusal) -> Self {
        Self(json!({ "code": refusal.code, "status": refusal.status, "message": refusal.detail }))
    }
}

pub(super) fn write(answer: Answer) -> String {
    match answer {
        Ok(value) => json!({ "ok": value }),
        Err(ErrorPayload(error)) => json!({ "error": error }),
    }
    .to_string()
}

pub(super) fn guard_of(guard: f64) -> Result<Arc<Guard>, ErrorPayload> {
    slots::from_js(guard)
        .and_then(registry::guard)
        .ok_or_else(|| ErrorPayload::new("ERR_CLOSED", "the guard is closed"))
}

fn full() -> ErrorPayload {
    ErrorPayload::new(
        "ERR_INTERNAL",
        "too many guards or stacks are open; build them once, not for every request",
    )
}

pub(super) fn parse(json: &str) -> Result<Value, ErrorPayload> {
    serde_json::from_str(json).map_err(|_| {
        ErrorPayload::new("ERR_INVALID_ARGUMENT", "the argument can't be written as JSON")
    })
}

static CORE: OnceLock<String> = OnceLock::new();

/// Distinguishes this core from another one in the process, whose numbers refer to other objects:
/// the addon may have been loaded from two files.
#[napi(catch_unwind)]
pub fn core_id() -> String {
    // Without random bytes two cores appear to be one. A number of the other core then finds
    // nothing, or a stack that refuses.
    CORE.get_or_init(|| getrandom::u64().map_or_else(|_| String::new(), |id| format!("{id:x}")))
        .clone()
}

/// Builds a guard from its configuration (JSON, see `src/config/options.rs`). Returns
/// `{guard, unknownInput, shared, fetches, introspects, rotation, refreshFor, leftOut}`: its
/// number, members of `input` that the policy reads and no request has, whether its store is
/// shared, whether keys have to be fetched for it, whether an issuer is asked about tokens, the
/// storage of rotating signing keys (`'file'`, `'callbacks'` or null), how many seconds an unused
/// refresh token is valid for, or null, and sentences about keys that can't be used.
#[napi(catch_unwind)]
pub fn create_guard(env: Env, config: String) -> String {
    write((|| {
        let owner = owner(env)?;
        let opened = Guard::new(&parse(&config)?)?;
        let unknown = opened.policy.as_ref().map_or(&[][..], |set| set.unknown_input()).to_vec();
        let shared = matches!(opened.store(), Store::Shared(_));
        if shared && !test_clock::ahead().is_zero() {
            return Err(clock_of_shared_store());
        }
        let tokens = opened.tokens.as_ref();
        let fetches = tokens.is_some_and(|tokens| tokens.remotes().next().is_some());
        let introspects = tokens.is_some_and(|tokens| tokens.introspection().is_some());
        let rotation = opened
            .tokens
            .as_ref()
            .and_then(|tokens| tokens.rotation())
            .map(|rotation| if rotation.is_by_callbacks() { "callbacks" } else { "file" });
        let refresh = opened.tokens.as_ref().and_then(|tokens| tokens.refresh.as_ref());
        let refresh_for = refresh.map(Refresh::token_life_s);
        let left_out = left_out(&opened);
        let guard = registry::add_guard(Arc::new(opened), owner).ok_or_else(full)?;
        Ok(json!({
            "guard": guard, "unknownInput": unknown, "shared": shared, "fetches": fetches, "introspects": introspects,
            "rotation": rotation, "refreshFor": refresh_for, "leftOut": left_out,
        }))
    })())
}

/// The keys of the options that can't be used, a sentence for each issuer that has any.
fn left_out(guard: &Guard) -> Vec<String> {
    let issuers = guard.tokens.iter().flat_map(|tokens| tokens.verifier.issuers());
    issuers
        .filter_map(|issuer| {
            let reasons: Vec<String> =
                issuer.left_out().into_iter().map(|key| key.reason).collect();
            let name = issuer.name();
            (!reasons.is_empty()).then(|| {
                format!("the issuer '{name}' has keys that can't be used: {}", reasons.join("; "))
            })
        })
        .collect()
}

/// The environment that builds a guard. Its guards are released with it: a worker thread ends
/// without `close()`, and without running its finalizers.
fn owner(env: Env) -> Result<usize, ErrorPayload> {
    let owner = env.raw().addr();
    if registry::is_new(owner) {
        let release = |owner| {
            // A panic must not reach Node.
            let _ = catch_unwind(|| registry::release_all(owner));
        };
        let hooked = env.add_env_cleanup_hook(owner, release);
        hooked.map_err(|_| ErrorPayload::new("ERR_INTERNAL", "the environment ends"))?;
    }
    Ok(owner)
}

/// Builds a stack of a guard. `only` is its single layer, or empty for all. Returns its number, its
/// fixed response headers, and the callbacks that it needs from the application.
#[napi(catch_unwind)]
pub fn stack(guard: f64, options: String, only: String) -> String {
    write((|| {
        let opened = guard_of(guard)?;
        let layers = match only.as_str() {
            "" => Layers::All,
            "headers" => Layers::Headers,
            "cors" => Layers::Cors,
            "csrf" => Layers::Csrf,
            "rateLimit" => Layers::RateLimit,
            "jwt" => Layers::Token,
            "policy" => Layers::Policy,
            "payload" => Layers::Payload,
            "require" => Layers::Require,
            _ => return Err(ErrorPayload::new("ERR_INTERNAL", "there is no such layer")),
        };
        let stack = Arc::new(opened.stack(&parse(&options)?, layers)?);
        let mut plan = plan(&stack);
        let guard = slots::from_js(guard).ok_or_else(full)?;
        let number = registry::add_stack(guard, stack).ok_or_else(full)?;
        plan.insert("stack".into(), number.into());
        Ok(Value::Object(plan))
    })())
}

fn plan(stack: &Stack) -> Map<String, Value> {
    let flat = |pairs: &[(String, String)]| {
        pairs.iter().flat_map(|(name, value)| [name.clone(), value.clone()]).collect::<Vec<_>>()
    };
    let headers = match &stack.headers {
        None => json!({ "always": [], "secure": [], "remove": [], "nonce": null }),
        Some(set) => json!({
            "always": flat(&set.always),
            "secure": flat(&set.secure),
            "remove": set.remove,
            "nonce": set.nonce.as_ref().map(|nonce| json!({ "name": nonce.name, "parts": nonce.parts })),
        }),
    };
    let asks: Vec<Value> = stack
        .callbacks
        .iter()
        .map(|asked| json!([asked.limit, asked.option, asked.path]))
        .collect();
    let mut plan = Map::new();
    plan.insert("headers".into(), headers);
    plan.insert("cors".into(), stack.has_cors().into());
    plan.insert("askOrigin".into(), stack.asks_origin().into());
    plan.insert("callbacks".into(), asks.into());
    plan.insert("asksResource".into(), stack.resource.is_some().into());
    plan.insert("wantsParams".into(), stack.wants_params().into());
    plan.insert("isAskedAgain".into(), stack.is_rechecked_later().into());
    plan.insert("hasShadow".into(), stack.has_shadow().into());
    let body = stack.payload.as_ref().map(|payload| {
        json!({
            "timeout": payload.timeout().as_secs_f64() * 1000.0,
            "ratio": payload.inflate(),
            "maxBytes": payload.limits().max_bytes,
            "rawBody": payload.raw_body(),
            "isDeclared": stack.declares_body(),
            "isTaken": stack.takes_body(),
            "isMultipart": payload.types().multipart,
            "files": files_of(payload),
        })
    });
    plan.insert("body".into(), body.into());
    plan.insert("wantsResponse".into(), stack.wants_response().into());
    plan.insert("readsIdentity".into(), (stack.token != TokenRequirement::Ignore).into());
    plan
}

/// What a stack asks of a request, as JSON: see `Stack::describe`. `path` has no query.
#[napi(catch_unwind)]
pub fn describe_stack(stack: f64, method: String, path: String) -> String {
    write((|| {
        let closed = || ErrorPayload::new("ERR_CLOSED", "the guard is closed");
        let number = slots::from_js(stack).ok_or_else(closed)?;
        Ok(registry::stack(number).ok_or_else(closed)?.describe(&method, &path))
    })())
}

/// The fields for files: `[name, isList]`, in the order in which events number them. `null` if none
/// are read.
fn files_of(payload: &PayloadConfig) -> Value {
    let fields = payload.files().fields().iter();
    let fields = fields.map(|field| json!([field.name, field.max_count.is_some()]));
    if payload.has_files() { fields.collect() } else { Value::Null }
}

/// Releases a guard and its stacks; requests that reach them are refused with 503.
#[napi(catch_unwind)]
pub fn release(guard: f64) {
    if let Some(guard) = slots::from_js(guard) {
        registry::release(guard);
    }
}

/// The text of a problem document (RFC 9457) that the host sends: `status` is 400 to 599, `code`
/// one of `docs/reference/errors.md`, `detail` one sentence without a final period.
#[napi(catch_unwind)]
pub fn problem(status: u16, code: String, detail: Option<String>) -> String {
    answer::plain_problem(status, &code, detail.as_deref())
}

/// Releases one stack of a guard, whose handler is no longer referenced.
#[napi(catch_unwind)]
pub fn release_stack(guard: f64, stack: f64) {
    if let (Some(guard), Some(stack)) = (slots::from_js(guard), slots::from_js(stack)) {
        registry::release_stack(guard, stack);
    }
}

/// The condition of a guard: `HealthReport` of index.d.ts.
#[napi(catch_unwind)]
pub fn health(guard: f64) -> String {
    write((|| {
        let opened = guard_of(guard)?;
        let now = Now::read();
        let list = opened.tokens.as_ref().map(|tokens| &tokens.revocations);
        let shared = match list {
            Some(RevocationList::Shared(list)) => Some(list.status(now)),
            _ => None,
        };
        // A shared list covers all issuers; in memory each issuer has its own.
        let revoked = match (shared, list) {
            (Some(status), _) => Some(status.counts),
            (None, None | Some(RevocationList::Off)) => None,
            (None, Some(_)) => opened.tokens.as_ref().map(local_counts),
        };
        let has_keys = opened.tokens.as_ref().is_none_or(|tokens| tokens.has_keys(now));
        let ready = opened.store().has_answered()
            && shared.is_none_or(|status| status.freshness != Freshness::NotReady)
            && has_keys;
        let issuers: Vec<Value> = opened
            .tokens
            .iter()
            .flat_map(|tokens| tokens.verifier.issuers())
            .map(|issuer| {
                let status = issuer.remote().map(|keys| keys.status(now));
                issuer_health(issuer, status.as_ref(), now)
            })
            .collect();
        Ok(json!({
            "ready": ready,
            "issuers": issuers,
            "store": store_health(opened.store(), now),
            "revocation": shared.map(|status| json!({
                "state": match status.freshness {
                    Freshness::Fresh => "fresh",
                    Freshness::Stale => "stale",
                    Freshness::NotReady => "not-ready",
                },
                "age": status.age.map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX)),
                "missing": status.missing,
            })),
            "revoked": revoked.map(|counts| json!({
                "tokens": counts.tokens, "subjects": counts.subjects, "sessions": counts.sessions, "keys": counts.keys,
            })),
        }))
    })())
}

fn local_counts(tokens: &Tokens) -> Counts {
    let mut sum = Counts::default();
    for list in tokens.lists() {
        if let RevocationList::Local(list) = list {
            let counts = list.counts();
            sum.tokens += counts.tokens;
            sum.subjects += counts.subjects;
            sum.sessions += counts.sessions;
            sum.keys += counts.keys;
        }
    }
    sum
}

/// Answers `{"later": ticket}`: `ask` asks a store for the queue and the ticket, and `finish`
/// converts its answer.
pub(super) fn later(
    guard: f64,
    finish: impl FnOnce(StoreAnswer) -> String + 'static,
    ask: impl FnOnce(&Arc<CompletionQueue>, u64) -> Result<(), ErrorPayload>,
) -> String {
    let Some(queue) = slots::from_js(guard).and_then(registry::listener) else {
        // It may have been closed since the call began.
        let why = guard_of(guard).map_or_else(|closed| closed, |_| StoreError::Unavailable.into());
        return write(Err(why));
    };
    // The queue exists until the answer is fetched, even if the guard is closed meanwhile.
    let kept = Arc::clone(&queue);
    let finish = Box::new(move |answer| {
        let answer = finish(answer);
        drop(kept);
        answer
    });
    let Some(ticket) = registry::wait(PendingEntry::Call(finish)) else {
        return write(Err(StoreError::Overloaded.into()));
    };
    match ask(&queue, ticket) {
        Ok(()) => json!({ "later": ticket }).to_string(),
        Err(error) => {
            drop(registry::take(ticket));
            write(Err(error))
        }
    }
}

/// Evaluates the policy for an input of the caller (JSON). Returns `PolicyDecision` of index.d.ts.
#[napi(catch_unwind)]
pub fn policy_evaluate(guard: f64, input: String, query: Option<String>) -> String {
    write((|| {
        let opened = guard_of(guard)?;
        let error = || {
            ErrorPayload::new("ERR_MISSING_OPTION", "`policy` must be set on the guard to ask it")
        };
        let set = opened.policy.as_ref().ok_or_else(error)?;
        let query = match query {
            Some(query) => set.query("query", &query)?,
            None => set.default_query(),
        };
        let (allow, reasons, fault) = match set.evaluate_json(&query, &parse(&input)?, Now::read())
        {
            Outcome::Allow { reasons } => (true, reasons, None),
            Outcome::Deny { reasons, .. } => (false, reasons, None),
            Outcome::Fault { kind, .. } => (false, Vec::new(), Some(kind.as_str())),
        };
        Ok(json!({ "allow": allow, "reasons": reasons, "fault": fault }))
    })())
}
