//! `guard.limits` where it is about clients rather than about one limit. Answers as `src/node/manage.rs` does.

use std::sync::Arc;

use napi_derive::napi;
use serde_json::Value;

use super::inbox;
use super::manage::{Failure, engine, later, parse, span, write};
use crate::clients::{Prefix, Standing, Who};
use crate::clock::{Now, micros};
use crate::config::raw::Options;
use crate::engine::{Engine, Store};
use crate::error::ConfigError;
use crate::limit::user_key;
use crate::stack::StoreAnswer;
use crate::store::{Notice, StoreError};

const MAX_REASON: usize = 200;

/// Whether a guard or one of its stacks has a limit of this name.
#[napi(catch_unwind)]
pub fn knows_limit(guard: u32, name: String) -> String {
    write(engine(guard).map(|engine| engine.limiter_with(&name).is_some().into()))
}

/// Puts somebody on a list (`action` is `block` or `allow`), or takes them off (`unblock`). `key` and `ttl` are JSON.
#[napi(catch_unwind)]
pub fn list_client(
    guard: u32,
    action: String,
    key: String,
    ttl: String,
    reason: Option<String>,
) -> String {
    let listed = || {
        let engine = engine(guard)?;
        let who = who(&parse(&key)?)?;
        let reason = reason.unwrap_or_default();
        if reason.len() > MAX_REASON || reason.chars().any(char::is_control) {
            let problem = format!("must be at most {MAX_REASON} bytes, without control characters");
            return Err(ConfigError::invalid("reason", problem).into());
        }
        let standing = match action.as_str() {
            "block" => Standing::Blocked,
            "allow" => Standing::Allowed,
            _ => return Ok((engine, Notice::unlisted(who))),
        };
        let ms = micros(span("ttl", &parse(&ttl)?)?).div_ceil(1000);
        Ok((engine, Notice::listed(who, standing, &reason, ms)))
    };
    match listed() {
        Ok((engine, notice)) => say(&engine, notice),
        Err(error) => write(Err(error)),
    }
}

/// Says something to this process at once, and to the others where a store is shared.
pub(super) fn say(engine: &Arc<Engine>, notice: Notice) -> String {
    let now_us = engine.store().clock_us(Now::read());
    let Ok(()) = engine.store().notices().hear(&notice, now_us) else {
        let full = "there is no room for another entry; take some off the lists";
        return write(Err(Failure::new("ERR_INVALID_ARGUMENT", full)));
    };
    let Store::Shared(store) = engine.store() else { return write(Ok(Value::Null)) };
    let finish = |answer| {
        write(match answer {
            StoreAnswer::Done(Ok(())) => Ok(Value::Null),
            StoreAnswer::Done(Err(error)) | StoreAnswer::Judged(Err(error)) => Err(error.into()),
            StoreAnswer::Judged(Ok(_)) => Err(StoreError::Refused.into()),
        })
    };
    later(finish, |ticket| {
        let reply = inbox::reply(ticket).ok_or(StoreError::Unavailable)?;
        store.say(notice, reply);
        Ok(())
    })
}

/// An address, a network, or `{ user }`.
fn who(key: &Value) -> Result<Who, Failure> {
    let invalid = |problem: &str| {
        let error = ConfigError::invalid("key", problem);
        Failure::from(error.suggest("write '203.0.113.7', '203.0.113.0/24' or { user: 'id' }"))
    };
    if key.is_object() {
        let options = Options::read("key", key, &["user"])?;
        return match options.string("user")? {
            Some(user) if !user.is_empty() => Ok(Who::User(user_key(user))),
            _ => Err(invalid("must name a user")),
        };
    }
    let network = key.as_str().and_then(Prefix::parse);
    let network = network.ok_or_else(|| invalid("must be an address, a network or a user"))?;
    if network.length() == 0 {
        return Err(invalid("would hold every client there is"));
    }
    Ok(Who::Network(network))
}
