//! Calls of `guard.limits` about clients instead of one limit. They answer like
//! `src/node/guard.rs`.

use std::sync::Arc;

use napi_derive::napi;
use serde_json::Value;

use super::completions;
use super::guard::{ErrorPayload, guard_of, later, parse, write};
use super::limits::span;
use crate::clients::{ListAction, ListedClient};
use crate::clock::{Now, micros};
use crate::config::options::{Options, string_at};
use crate::error::ConfigError;
use crate::guard::{Guard, Store};
use crate::limit::{LimitError, Signal, SignalTarget, user_key};
use crate::net::Cidr;
use crate::net::{ClientKey, Ipv6Prefix};
use crate::quota::StoreCommand;
use crate::shared_store::SharedStore;
use crate::stack::{StoreAnswer, StoreAsk};
use crate::store::{MAX_REASON, Notice};

/// Whether a guard or one of its stacks has a limit of this name.
#[napi(catch_unwind)]
pub fn knows_limit(guard: f64, name: String) -> String {
    write(guard_of(guard).map(|opened| opened.limiter_with(&name).is_some().into()))
}

/// The client that an address stands for in limits: the address, the network of an IPv6 address by
/// `ipv6Prefix` of the guard, or `unknown` for an empty text.
#[napi(catch_unwind)]
pub fn client_key(address: String, prefix: u32) -> String {
    let prefix = Ipv6Prefix::new(prefix.into()).unwrap_or_default();
    ClientKey::known(&address, prefix).unwrap_or(ClientKey::UNKNOWN).to_string()
}

/// Adds a client to a list (`action` is `block` or `allow`), or removes it (`unblock`). `key` and
/// `ttl` are JSON.
#[napi(catch_unwind)]
pub fn list_client(
    guard: f64,
    action: String,
    key: String,
    ttl: String,
    reason: Option<String>,
) -> String {
    let listed = || {
        let opened = guard_of(guard)?;
        let who = who(&parse(&key)?, opened.ipv6_prefix)?;
        let reason = reason.unwrap_or_default();
        if reason.len() > MAX_REASON || reason.chars().any(char::is_control) {
            let problem = format!("must be at most {MAX_REASON} bytes, without control characters");
            return Err(ConfigError::invalid("reason", problem).into());
        }
        let standing = match action.as_str() {
            "block" => ListAction::Blocked,
            "allow" => ListAction::Allowed,
            _ => {
                let notice = opened.store().notices().unlisted(who, Now::read().mono_us);
                return Ok((opened, notice));
            }
        };
        let ms = micros(span("ttl", &parse(&ttl)?)?).div_ceil(1000);
        Ok((opened, Notice::listed(who, standing, &reason, ms)))
    };
    match listed() {
        Ok((opened, notice)) => publish(guard, &opened, notice),
        Err(error) => write(Err(error)),
    }
}

/// Changes the figures of a limit: `policy` is JSON, `{ name, limit, window?, burst?, tiers? }`.
#[napi(catch_unwind)]
pub fn limit_set(guard: f64, policy: String) -> String {
    let changed = || {
        let (opened, value) = (guard_of(guard)?, parse(&policy)?);
        let name = value.get("name").map(|name| string_at("policy.name", name)).transpose()?;
        let name = name.unwrap_or_default();
        let notice = opened.change_limit(name, &value)?.ok_or(LimitError::UnknownPolicy)?;
        Ok::<_, ErrorPayload>((opened, notice))
    };
    match changed() {
        Ok((opened, notice)) => publish(guard, &opened, notice),
        Err(error) => write(Err(error)),
    }
}

/// Applies a notice in this process at once, and publishes it to the others if the store is shared.
pub(super) fn publish(guard: f64, opened: &Guard, notice: Notice) -> String {
    let Ok(()) = opened.store().notices().apply(&notice, Now::read().mono_us) else {
        let full = "there is no room for another entry; take some off the lists";
        return write(Err(ErrorPayload::new("ERR_INVALID_ARGUMENT", full)));
    };
    let Store::Shared(store) = opened.store() else { return write(Ok(Value::Null)) };
    let finish = |answer: StoreAnswer| {
        write(answer.done().map(|()| Value::Null).map_err(ErrorPayload::from))
    };
    later(guard, finish, |queue, ticket| {
        store.publish(notice, queue.reply(ticket));
        Ok(())
    })
}

/// An address, a network, or `{ user }`.
fn who(key: &Value, prefix: Ipv6Prefix) -> Result<ListedClient, ErrorPayload> {
    let invalid = |problem: &str| {
        let error = ConfigError::invalid("key", problem);
        ErrorPayload::from(error.suggest("write '203.0.113.7', '203.0.113.0/24' or { user: 'id' }"))
    };
    if key.is_object() {
        let options = Options::read("key", key, &["user"])?;
        return match options.string("user")? {
            Some(user) if !user.is_empty() => Ok(ListedClient::User(user_key(user))),
            _ => Err(invalid("must name a user")),
        };
    }
    let network = key.as_str().and_then(|text| Cidr::parse_client(text, prefix));
    let network = network.ok_or_else(|| invalid("must be an address, a network or a user"))?;
    if network.length() == 0 {
        return Err(invalid("would hold every client there is"));
    }
    Ok(ListedClient::Network(network))
}

/// Makes the limits of a client stricter or looser for a while. `key` and `options` are JSON:
/// `{ factor, ttl, policy? }`.
#[napi(catch_unwind)]
pub fn limit_signal(guard: f64, key: String, options: String) -> String {
    let asked = (|| {
        let (key, options) = (parse(&key)?, parse(&options)?);
        let options = Options::read("options", &options, &["factor", "ttl", "policy"])?;
        let signal = Signal {
            factor: factor(&options)?,
            ttl: span("options.ttl", options.get("ttl").unwrap_or(&Value::Null))?,
        };
        Ok::<_, ErrorPayload>((
            guard_of(guard)?,
            key,
            options.string("policy")?.map(str::to_owned),
            signal,
        ))
    })();
    let (opened, key, policy, signal) = match asked {
        Ok(asked) => asked,
        Err(error) => return write(Err(error)),
    };
    match whom(&key, opened.ipv6_prefix)
        .and_then(|whom| signal_to(&opened, whom, policy.as_deref(), signal))
    {
        Ok(None) => write(Ok(Value::Null)),
        Ok(Some((store, question))) => {
            let finish = move |answer: StoreAnswer| {
                // The cached state of the client was for another limit.
                if let Ok(whom) = whom(&key, opened.ipv6_prefix) {
                    for limiter in opened.limiters() {
                        limiter.forget_known(whom, policy.as_deref());
                    }
                }
                write(answer.judged().map(|_| Value::Null).map_err(ErrorPayload::from))
            };
            later(guard, finish, |queue, ticket| {
                completions::ask(StoreAsk::Limits(store, question), queue, ticket);
                Ok(())
            })
        }
        Err(error) => write(Err(error)),
    }
}

/// Stores a signal in this process, or returns the command for a shared store.
fn signal_to(
    opened: &Guard,
    whom: SignalTarget<'_>,
    policy: Option<&str>,
    signal: Signal,
) -> Result<Option<(Arc<SharedStore>, StoreCommand)>, ErrorPayload> {
    if policy.is_some_and(|name| opened.limiter_with(name).is_none()) {
        return Err(LimitError::UnknownPolicy.into());
    }
    let limiters = opened.limiters();
    let asked = if let Store::Shared(store) = opened.store() {
        let mut all: Option<StoreCommand> = None;
        for limiter in &limiters {
            let Some(question) = limiter.signal_question(whom, policy, signal) else { continue };
            match &mut all {
                None => all = Some(question),
                Some(all) => all.add(question),
            }
        }
        all.map(|question| Some((Arc::clone(store), question)))
    } else {
        let mut reached = 0;
        for limiter in &limiters {
            reached += limiter.signal(whom, policy, signal, Now::read())?;
        }
        (reached > 0).then_some(None)
    };
    asked.ok_or_else(|| {
        let text = "no limit counts by that alone: a signal reaches limits whose `key` is 'ip', 'user' or 'token'";
        ErrorPayload::new("ERR_INVALID_ARGUMENT", text)
    })
}

/// Thousandths, from 10 to 10000.
fn factor(options: &Options<'_>) -> Result<u16, ErrorPayload> {
    let value = options.require("factor", "how much of the limit there is for a while")?;
    let thousandths = value.as_f64().map(|factor| (factor * 1000.0).round());
    match thousandths.filter(|thousandths| (10.0..=10_000.0).contains(thousandths)) {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "checked to be in range"
        )]
        Some(thousandths) => Ok(thousandths as u16),
        None => Err(options
            .invalid("factor", "must be a number from 0.01 to 10")
            .suggest("write 0.1 for a tenth of each limit, or 1 for all of it again")
            .into()),
    }
}

/// An address, `{ user }` or `{ token }`.
fn whom(key: &Value, prefix: Ipv6Prefix) -> Result<SignalTarget<'_>, ErrorPayload> {
    let invalid = |problem: &str| {
        let error = ConfigError::invalid("key", problem);
        ErrorPayload::from(error.suggest("write '203.0.113.7', { user: 'id' } or { token: 'jti' }"))
    };
    if !key.is_object() {
        let client = key.as_str().and_then(|text| ClientKey::known(text, prefix));
        return client
            .map(SignalTarget::Address)
            .ok_or_else(|| invalid("must be an address, a user or a token"));
    }
    let options = Options::read("key", key, &["user", "token"])?;
    match (options.string("user")?, options.string("token")?) {
        (Some(user), None) if !user.is_empty() => Ok(SignalTarget::User(user)),
        (None, Some(token)) if !token.is_empty() => Ok(SignalTarget::Token(token)),
        _ => Err(invalid("must name a user or a token")),
    }
}
