//! What is called when a guard is built or managed: `{"ok": ...}` or `{"error": {code, message, path?, suggestion?}}`.

use std::sync::Arc;
use std::time::Duration;

use napi_derive::napi;
use serde_json::{Map, Value, json};

use super::inbox;
use super::registry::{self, Ticketed};
use crate::clock::Now;
use crate::config::raw::{Options, describe};
use crate::engine::{Engine, Known, Layers, RevocationList, Store, Tokens};
use crate::error::ConfigError;
use crate::limit::{KeyState, LimitError, Manual};
use crate::policy::Outcome;
use crate::refusal::Refusal;
use crate::revocation::{Freshness, Revocations, RevokeError, SharedRevocations, stale_refusal};
use crate::stack::{Stack, StoreAnswer, StoreAsk};
use crate::store::{Reply, StoreError};
use crate::token::{IssueError, IssueOptions, TokenDenial};

/// An error on its way to a `GuardError`.
pub(super) struct Failure(Value);

pub(super) type Answer = Result<Value, Failure>;

impl Failure {
    pub(super) fn new(code: &str, message: &str) -> Self {
        Self(json!({ "code": code, "message": message }))
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        let mut fields = Map::new();
        fields.insert("code".into(), error.code().as_str().into());
        fields.insert("message".into(), error.to_string().into());
        fields.insert("path".into(), error.path().into());
        if let Some(suggestion) = error.suggestion() {
            fields.insert("suggestion".into(), suggestion.into());
        }
        Self(Value::Object(fields))
    }
}

impl From<LimitError> for Failure {
    fn from(error: LimitError) -> Self {
        let code = if matches!(error, LimitError::UnknownPolicy) {
            "ERR_UNKNOWN_LIMIT"
        } else {
            "ERR_INVALID_ARGUMENT"
        };
        Self::new(code, &error.to_string())
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self(
            json!({ "code": "ERR_STORE_UNAVAILABLE", "status": 503, "message": error.to_string() }),
        )
    }
}

impl From<RevokeError> for Failure {
    fn from(error: RevokeError) -> Self {
        Self::new("ERR_INVALID_ARGUMENT", &error.to_string())
    }
}

impl From<TokenDenial> for Failure {
    fn from(denial: TokenDenial) -> Self {
        denial.to_refusal().into()
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self(json!({ "code": refusal.code, "status": refusal.status, "message": refusal.detail }))
    }
}

pub(super) fn write(answer: Answer) -> String {
    match answer {
        Ok(value) => json!({ "ok": value }),
        Err(Failure(error)) => json!({ "error": error }),
    }
    .to_string()
}

pub(super) fn engine(guard: u32) -> Result<Arc<Engine>, Failure> {
    registry::guard(guard).ok_or_else(|| Failure::new("ERR_CLOSED", "the guard is closed"))
}

fn full() -> Failure {
    Failure::new(
        "ERR_INTERNAL",
        "too many guards or stacks are open; build them once, not for every request",
    )
}

pub(super) fn parse(json: &str) -> Result<Value, Failure> {
    serde_json::from_str(json)
        .map_err(|_| Failure::new("ERR_INVALID_ARGUMENT", "the argument can't be written as JSON"))
}

/// Builds a guard from its configuration (JSON, see `src/config/raw.rs`). Answers `{guard, unknownInput, shared}`: its
/// number, members of `input` that the policy reads and no request has, and whether its store is a shared one.
#[napi(catch_unwind)]
pub fn create_guard(config: String) -> String {
    write((|| {
        let engine = Engine::new(&parse(&config)?)?;
        let unknown = engine.policy.as_ref().map_or(&[][..], |set| set.unknown_input()).to_vec();
        let shared = matches!(engine.store(), Store::Shared(_));
        let guard = registry::add_guard(Arc::new(engine)).ok_or_else(full)?;
        Ok(json!({ "guard": guard, "unknownInput": unknown, "shared": shared }))
    })())
}

/// Builds a stack of a guard. `only` is the one layer that it has, or empty for all. Answers its number, its fixed
/// response headers, and what it will ask the application for.
#[napi(catch_unwind)]
pub fn stack(guard: u32, options: String, only: String) -> String {
    write((|| {
        let engine = engine(guard)?;
        let layers = match only.as_str() {
            "" => Layers::All,
            "headers" => Layers::Headers,
            "cors" => Layers::Cors,
            "rateLimit" => Layers::RateLimit,
            "jwt" => Layers::Token,
            "policy" => Layers::Policy,
            "payload" => Layers::Payload,
            "require" => Layers::Require,
            _ => return Err(Failure::new("ERR_INTERNAL", "there is no such layer")),
        };
        let stack = Arc::new(engine.stack(&parse(&options)?, layers)?);
        let mut plan = plan(&stack);
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
    plan.insert("askOrigin".into(), stack.asks_origin().into());
    plan.insert("askKeys".into(), asks.into());
    plan.insert("wantsParams".into(), stack.wants_params().into());
    plan.insert("hasShadow".into(), stack.has_shadow().into());
    plan
}

/// Forgets a guard and its stacks; requests that reach them are refused with 503.
#[napi(catch_unwind)]
pub fn release(guard: u32) -> String {
    registry::release(guard);
    write(Ok(Value::Null))
}

/// How a guard is doing: `HealthReport` of index.d.ts.
#[napi(catch_unwind)]
pub fn health(guard: u32) -> String {
    write((|| {
        let engine = engine(guard)?;
        let now = Now::read();
        let list = engine.tokens.as_ref().map(|tokens| &tokens.revocations);
        let shared = match list {
            Some(RevocationList::Shared(list)) => Some(list.status(now)),
            _ => None,
        };
        let revoked = match list {
            Some(RevocationList::Local(list)) => Some(list.counts()),
            _ => shared.map(|status| status.counts),
        };
        let ready = engine.store().has_answered()
            && shared.is_none_or(|status| status.freshness != Freshness::NotReady);
        Ok(json!({
            "ready": ready,
            "store": store_health(engine.store(), now),
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

fn store_health(store: &Store, now: Now) -> Value {
    match store {
        Store::Memory(store) => json!({
            "kind": "memory", "bytes": store.bytes(), "maxBytes": store.max_bytes(),
            "keys": store.len(now.mono_us),
        }),
        Store::Shared(shared) => {
            let (status, local) = (shared.status(), shared.local());
            json!({
                "kind": shared.kind(), "bytes": local.bytes(), "maxBytes": local.max_bytes(),
                "keys": local.len(status.clock(now).mono_us),
                "available": status.is_available(), "instances": status.instances(), "waiting": status.waiting(),
            })
        }
    }
}

/// Carries out a call of `guard.limits`: at once in this process, or later in a shared store.
fn call_limit(guard: u32, name: &str, key: &[String], manual: Manual) -> String {
    let limiter = engine(guard)
        .and_then(|engine| engine.limiter_with(name).ok_or(LimitError::UnknownPolicy.into()));
    let limiter = match limiter {
        Ok(limiter) => limiter,
        Err(error) => return write(Err(error)),
    };
    let key: Vec<&str> = key.iter().map(String::as_str).collect();
    let Some(store) = limiter.shared_store().cloned() else {
        return write(limiter.call(name, &key, manual, Now::read()).map_or_else(
            |error| Err(error.into()),
            |state| Ok(state.as_ref().map_or(Value::Null, key_state)),
        ));
    };
    let (pending, question) = match limiter.manual_question(name, &key, manual) {
        Ok(asked) => asked,
        Err(error) => return write(Err(error.into())),
    };
    let finish = move |answer| {
        write(match answer {
            StoreAnswer::Judged(Ok(answer)) => limiter
                .manual_answer(&pending, &answer)
                .map(|state| if manual.tells() { key_state(&state) } else { Value::Null })
                .map_err(Failure::from),
            StoreAnswer::Judged(Err(error)) | StoreAnswer::Done(Err(error)) => Err(error.into()),
            StoreAnswer::Done(Ok(())) => Err(StoreError::Refused.into()),
        })
    };
    later(finish, |ticket| {
        inbox::ask(StoreAsk::Limits(store, question), ticket)
            .then_some(())
            .ok_or_else(|| StoreError::Unavailable.into())
    })
}

/// Answers `{"later": ticket}`: `ask` asks a store, and `finish` makes the answer of what it says.
pub(super) fn later(
    finish: impl FnOnce(StoreAnswer) -> String + 'static,
    ask: impl FnOnce(u32) -> Result<(), Failure>,
) -> String {
    let Some(ticket) = registry::wait(Ticketed::Call(Box::new(finish))) else {
        return write(Err(StoreError::Overloaded.into()));
    };
    match ask(ticket) {
        Ok(()) => json!({ "later": ticket }).to_string(),
        Err(error) => {
            drop(registry::take(ticket));
            write(Err(error))
        }
    }
}

fn key_state(state: &KeyState) -> Value {
    json!({
        "allowed": state.allowed,
        "limit": state.limit,
        "remaining": state.remaining,
        "reset": state.reset_s,
        "retryAfter": state.retry_after_s,
        "blockedFor": state.blocked_s,
    })
}

/// Judges `cost` for a key of a limit and counts it if it is admitted. Answers `KeyState` of index.d.ts.
///
/// This and the calls below may answer `{"later": ticket}` instead: the answer then comes with `settle`.
#[napi(catch_unwind)]
pub fn limit_consume(guard: u32, name: String, key: Vec<String>, cost: u32) -> String {
    call_limit(guard, &name, &key, Manual::Consume(cost))
}

/// How a key of a limit stands. Answers `KeyState` of index.d.ts.
#[napi(catch_unwind)]
pub fn limit_get(guard: u32, name: String, key: Vec<String>) -> String {
    call_limit(guard, &name, &key, Manual::Get)
}

/// Takes `cost` from a key whether it has it or not.
#[napi(catch_unwind)]
pub fn limit_penalize(guard: u32, name: String, key: Vec<String>, cost: u32) -> String {
    call_limit(guard, &name, &key, Manual::Penalize(cost))
}

/// Gives `cost` back to a key.
#[napi(catch_unwind)]
pub fn limit_reward(guard: u32, name: String, key: Vec<String>, cost: u32) -> String {
    call_limit(guard, &name, &key, Manual::Reward(cost))
}

/// Refuses a key for a duration (JSON of a `Duration`), whatever it has left.
#[napi(catch_unwind)]
pub fn limit_block(guard: u32, name: String, key: Vec<String>, duration: String) -> String {
    match block_span(&duration) {
        Ok(span) => call_limit(guard, &name, &key, Manual::Block(span)),
        Err(error) => write(Err(error)),
    }
}

fn block_span(json: &str) -> Result<Duration, Failure> {
    span("duration", &parse(json)?)
}

/// A time for which something holds, from 1 ms to 400 days.
pub(super) fn span(name: &str, value: &Value) -> Result<Duration, Failure> {
    let given = json!({ name: value });
    let options = Options::read("", &given, &[name])?;
    let range = Duration::from_millis(1)..=Duration::from_secs(400 * 86_400);
    let missing = || Failure::new("ERR_MISSING_OPTION", &format!("`{name}` must be given"));
    if value.is_null() {
        return Err(missing());
    }
    options.duration(name, range)?.ok_or_else(missing)
}

/// Forgets what a key has used, and its block.
#[napi(catch_unwind)]
pub fn limit_reset(guard: u32, name: String, key: Vec<String>) -> String {
    call_limit(guard, &name, &key, Manual::Reset)
}

fn tokens_of(engine: &Engine) -> Result<&Tokens, Failure> {
    let error =
        || Failure::new("ERR_MISSING_OPTION", "`jwt` must be set on the guard to work with tokens");
    engine.tokens.as_ref().ok_or_else(error)
}

fn with_tokens(guard: u32, run: impl FnOnce(&Tokens, Now) -> Answer) -> String {
    write((|| run(tokens_of(&*engine(guard)?)?, Now::read()))())
}

/// Issues an access token with `claims` (JSON). Answers `{accessToken, expiresIn, tokenType}`.
#[napi(catch_unwind)]
pub fn token_issue(guard: u32, claims: String, options: String) -> String {
    with_tokens(guard, |tokens, now| {
        let claims = match parse(&claims)? {
            Value::Object(claims) => claims,
            other => {
                return Err(ConfigError::invalid(
                    "claims",
                    format!("must be an object, not {}", describe(&other)),
                )
                .into());
            }
        };
        let options = parse(&options)?;
        let options = Options::read("options", &options, &["expiresIn"])?;
        let range = Duration::from_secs(1)..=crate::token::MAX_MAX_LIFETIME;
        // A token for somebody who was logged out everywhere a moment ago must not fall under that.
        let subject = claims.get("sub").and_then(Value::as_str);
        let after = subject.and_then(|subject| tokens.subject_before(subject));
        let options = IssueOptions { expires_in: options.duration("expiresIn", range)?, after };
        let error = || {
            Failure::new(
                "ERR_MISSING_OPTION",
                "no key can sign; give `jwt.secret` or a private key in `jwt.keys`",
            )
        };
        let signer = tokens.signer.as_ref().ok_or_else(error)?;
        let issued = signer
            .issue(claims, options, now)
            .map_err(|error| Failure::new(issue_code(&error), &error.to_string()))?;
        Ok(
            json!({ "accessToken": issued.token, "expiresIn": issued.expires_in_s, "tokenType": "Bearer" }),
        )
    })
}

const fn issue_code(error: &IssueError) -> &'static str {
    match error {
        IssueError::Lifetime => "ERR_INVALID_OPTION",
        _ => "ERR_INVALID_ARGUMENT",
    }
}

/// Verifies a token, revocation included. Answers its claims, or `{"later": ticket}` where the shared store is asked.
#[napi(catch_unwind)]
pub fn token_verify(guard: u32, token: String) -> String {
    let verify = || {
        let engine = engine(guard)?;
        let tokens = tokens_of(&engine)?;
        let now = Now::read();
        Ok((tokens.verifier.verify(&token, now)?, tokens.known(false, now), Arc::clone(&engine)))
    };
    let (verified, known, engine) = match verify() {
        Ok(found) => found,
        Err(error) => return write(Err(error)),
    };
    let claims = move || {
        let checked = tokens_of(&engine).and_then(|tokens| Ok(tokens.check(&verified)?));
        match checked {
            // As the token has them: to write them anew would cost more than all the rest for a known token.
            Ok(()) => format!("{{\"ok\":{}}}", verified.claims_json),
            Err(error) => write(Err(error)),
        }
    };
    match known {
        Known::Now => claims(),
        Known::No => write(Err(stale())),
        Known::After(list) => later(
            move |answer| match answer {
                StoreAnswer::Done(Ok(())) => claims(),
                _ => write(Err(stale())),
            },
            move |ticket| {
                if inbox::ask(StoreAsk::Revocations(list), ticket) { Ok(()) } else { Err(stale()) }
            },
        ),
    }
}

/// Nobody knows at the moment what is revoked.
fn stale() -> Failure {
    stale_refusal().into()
}

/// The public keys as a JWK set; empty where there is but a secret.
#[napi(catch_unwind)]
pub fn token_jwks(guard: u32) -> String {
    with_tokens(guard, |tokens, now| {
        Ok(tokens.signer.as_ref().map_or_else(|| json!({ "keys": [] }), |signer| signer.jwks(now)))
    })
}

/// Revokes: in this process at once, or in a shared store, which answers later that it has stored it.
fn revoke(
    guard: u32,
    local: impl FnOnce(&Tokens, &Revocations, Now) -> Result<(), Failure>,
    shared: impl FnOnce(&Tokens, &SharedRevocations, Now, Reply<()>) -> Result<(), Failure>,
) -> String {
    let engine = match engine(guard) {
        Ok(engine) => engine,
        Err(error) => return write(Err(error)),
    };
    let tokens = match tokens_of(&engine) {
        Ok(tokens) => tokens,
        Err(error) => return write(Err(error)),
    };
    let now = Now::read();
    let off = || Failure::new("ERR_MISSING_OPTION", "`revocation` is off on this guard");
    let RevocationList::Shared(list) = &tokens.revocations else {
        let done = tokens.to_revoke(now).ok_or_else(off).and_then(|list| local(tokens, list, now));
        return write(done.map(|()| Value::Null));
    };
    later(
        |answer| {
            write(match answer {
                StoreAnswer::Done(Ok(())) => Ok(Value::Null),
                StoreAnswer::Done(Err(error)) | StoreAnswer::Judged(Err(error)) => {
                    Err(error.into())
                }
                StoreAnswer::Judged(Ok(_)) => Err(StoreError::Refused.into()),
            })
        },
        |ticket| {
            let reply = inbox::reply(ticket).ok_or(StoreError::Unavailable)?;
            shared(tokens, list, now, reply)
        },
    )
}

/// Revokes one token: the whole token, or its `jti` with its `exp` in seconds.
///
/// This and the calls below answer `{"later": ticket}` where the list is shared.
#[napi(catch_unwind)]
pub fn revoke_token(guard: u32, token_or_jti: String, exp: Option<f64>) -> String {
    let find = |tokens: &Tokens, now| {
        let revocable = tokens.verifier.revocable(&token_or_jti, now)?;
        let until = revocable.expires_at.or_else(|| exp.and_then(whole_seconds));
        Ok::<_, Failure>((revocable.fingerprint, until))
    };
    revoke(
        guard,
        |tokens, list, now| {
            let (fingerprint, until) = find(tokens, now)?;
            Ok(list.revoke_fingerprint(fingerprint, until, now)?)
        },
        |tokens, list, now, reply| {
            let (fingerprint, until) = find(tokens, now)?;
            Ok(list.revoke_fingerprint(fingerprint, until, now, reply)?)
        },
    )
}

/// Revokes all tokens of a subject that were issued up to `before`, in seconds; by default up to now.
#[napi(catch_unwind)]
pub fn revoke_subject(guard: u32, subject: String, before: Option<f64>) -> String {
    let before = before.and_then(whole_seconds);
    revoke(
        guard,
        |_, list, now| Ok(list.revoke_subject(&subject, before, now)?),
        |_, list, now, reply| Ok(list.revoke_subject(&subject, before, now, reply)?),
    )
}

/// Revokes all tokens of a session.
#[napi(catch_unwind)]
pub fn revoke_session(guard: u32, session: String) -> String {
    revoke(
        guard,
        |_, list, now| Ok(list.revoke_session(&session, None, now)?),
        |_, list, now, reply| Ok(list.revoke_session(&session, None, now, reply)?),
    )
}

/// Revokes all tokens that a key has signed.
#[napi(catch_unwind)]
pub fn revoke_key(guard: u32, key: String) -> String {
    revoke(
        guard,
        |_, list, _| Ok(list.revoke_key(&key)?),
        |_, list, now, reply| Ok(list.revoke_key(&key, now, reply)?),
    )
}

/// Asks the policy about an input made by hand (JSON). Answers `PolicyDecision` of index.d.ts.
#[napi(catch_unwind)]
pub fn policy_evaluate(guard: u32, input: String, query: Option<String>) -> String {
    write((|| {
        let engine = engine(guard)?;
        let error =
            || Failure::new("ERR_MISSING_OPTION", "`policy` must be set on the guard to ask it");
        let set = engine.policy.as_ref().ok_or_else(error)?;
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

/// Seconds, rounded up: a revocation may last too long, never too short.
fn whole_seconds(seconds: f64) -> Option<u64> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked to be in range"
    )]
    (0.0..253_402_300_800.0).contains(&seconds).then_some(seconds.ceil() as u64)
}
