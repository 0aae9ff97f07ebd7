//! `guard.limits`: calls about a key of a limit.

use std::time::Duration;

use napi_derive::napi;
use serde_json::{Value, json};

use super::completions;
use super::guard::{ErrorPayload, guard_of, later, parse, write};
use crate::clock::Now;
use crate::config::options::Options;
use crate::error::{ConfigCode, ConfigError};
use crate::limit::{AdminOp, KeyState, LimitError};
use crate::stack::{StoreAnswer, StoreAsk};

/// Carries out a call of `guard.limits`: at once in this process, or later in a shared store.
fn call_limit(guard: f64, name: &str, key: &[String], op: AdminOp) -> String {
    let limiter = guard_of(guard)
        .and_then(|opened| opened.limiter_with(name).ok_or(LimitError::UnknownPolicy.into()));
    let limiter = match limiter {
        Ok(limiter) => limiter,
        Err(error) => return write(Err(error)),
    };
    let key: Vec<&str> = key.iter().map(String::as_str).collect();
    let Some(store) = limiter.shared_store().cloned() else {
        return write(limiter.call(name, &key, op, Now::read()).map_or_else(
            |error| Err(error.into()),
            |state| Ok(state.as_ref().map_or(Value::Null, key_state)),
        ));
    };
    let (pending, question) = match limiter.manual_question(name, &key, op) {
        Ok(asked) => asked,
        Err(error) => return write(Err(error.into())),
    };
    let finish = move |answer: StoreAnswer| {
        write(answer.judged().map_err(ErrorPayload::from).and_then(|answer| {
            let state = limiter.manual_answer(&pending, &answer)?;
            Ok(if op.has_reply() { key_state(&state) } else { Value::Null })
        }))
    };
    later(guard, finish, |queue, ticket| {
        completions::ask(StoreAsk::Limits(store, question), queue, ticket);
        Ok(())
    })
}

fn key_state(state: &KeyState) -> Value {
    let mut told = json!({
        "allowed": state.allowed,
        "limit": state.limit,
        "remaining": state.remaining,
        "reset": state.reset_s,
        "retryAfter": state.retry_after_s,
        "blockedFor": state.blocked_s,
    });
    if let (Some(taken), Some(fields)) = (state.taken, told.as_object_mut()) {
        fields.insert("taken".into(), taken.into());
    }
    told
}

/// Checks `cost` for a key of a limit and counts it if it is admitted. Returns `KeyState` of
/// index.d.ts.
///
/// This and the calls below may answer `{"later": ticket}` instead: `resumeWithStore` then returns
/// the answer.
#[napi(catch_unwind)]
pub fn limit_consume(guard: f64, name: String, key: Vec<String>, cost: u32) -> String {
    call_limit(guard, &name, &key, AdminOp::Consume(cost))
}

/// The state of a key of a limit. Returns `KeyState` of index.d.ts.
#[napi(catch_unwind)]
pub fn limit_get(guard: f64, name: String, key: Vec<String>) -> String {
    call_limit(guard, &name, &key, AdminOp::Get)
}

/// Takes `cost` from a key, even if less is left.
#[napi(catch_unwind)]
pub fn limit_penalize(guard: f64, name: String, key: Vec<String>, cost: u32) -> String {
    call_limit(guard, &name, &key, AdminOp::Penalize(cost))
}

/// Gives `cost` back to a key.
#[napi(catch_unwind)]
pub fn limit_reward(guard: f64, name: String, key: Vec<String>, cost: u32) -> String {
    call_limit(guard, &name, &key, AdminOp::Reward(cost))
}

/// Refuses a key for a duration (JSON of a `Duration`), regardless of its remaining units.
#[napi(catch_unwind)]
pub fn limit_block(guard: f64, name: String, key: Vec<String>, duration: String) -> String {
    match block_span(&duration) {
        Ok(span) => call_limit(guard, &name, &key, AdminOp::Block(span)),
        Err(error) => write(Err(error)),
    }
}

fn block_span(json: &str) -> Result<Duration, ErrorPayload> {
    span("duration", &parse(json)?)
}

/// The duration of a block or a signal, from 1 ms to 400 days.
pub(super) fn span(name: &str, value: &Value) -> Result<Duration, ErrorPayload> {
    let given = json!({ name: value });
    let options = Options::read("", &given, &[name])?;
    let range = Duration::from_millis(1)..=Duration::from_secs(400 * 86_400);
    let missing =
        || ErrorPayload::from(ConfigError::new(ConfigCode::MissingOption, name, "must be given"));
    if value.is_null() {
        return Err(missing());
    }
    options.duration(name, range)?.ok_or_else(missing)
}

/// Clears the used units of a key, and its block, and frees its slots.
#[napi(catch_unwind)]
pub fn limit_reset(guard: f64, name: String, key: Vec<String>) -> String {
    call_limit(guard, &name, &key, AdminOp::Reset)
}
