//! Keys that issuers publish: the shim fetches them, as scheduled by the core.

use napi_derive::napi;
use serde_json::{Map, Value, json};

use super::guard::{ErrorPayload, guard_of, parse, write};
use super::tokens::tokens_of;
use crate::clock::Now;
use crate::guard::Tokens;
use crate::introspection::{AskError, IntrospectionStatus};
use crate::remote_keys::{FetchError, Fetched, OperatorWarning, RemoteState, RemoteStatus};
use crate::token::Issuer;

/// The fetches that are due: `{"requests": [{issuer, number, url, headers}], "in": ms, "notices":
/// [...]}`, where `in` is the time until the next call, `null` for never.
#[napi(catch_unwind)]
pub fn keys_due(guard: f64) -> String {
    write((|| {
        let opened = guard_of(guard)?;
        let now = Now::read();
        let (mut fetches, mut notices, mut wait) = (Vec::new(), Vec::new(), None);
        for (issuer, name, keys) in opened.tokens.iter().flat_map(Tokens::remotes) {
            let (fetch, after, notice) = keys.due(now);
            fetches.extend(fetch.map(|fetch| {
                let headers: Map<String, Value> = fetch
                    .headers
                    .into_iter()
                    .map(|(name, value)| (name.into_owned(), value.into()))
                    .collect();
                json!({ "issuer": issuer, "number": fetch.number, "url": fetch.url, "headers": headers })
            }));
            notices.extend(notice.map(|notice| notice_of(name, &notice)));
            wait = [wait, after].into_iter().flatten().min();
        }
        // Rounded up: a caller that is slightly early would have to call again.
        let ms = wait.map(|wait| wait.as_micros().div_ceil(1000).max(1));
        let ms = ms.map(|ms| u64::try_from(ms).unwrap_or(u64::MAX));
        Ok(json!({ "requests": fetches, "in": ms, "notices": notices }))
    })())
}

/// Takes the answer of an issuer: `head` is JSON,
/// `{status, etag, lastModified, cacheControl, age}`. Returns the warning to emit,
/// `{code, message}` or `null`.
#[napi(catch_unwind)]
pub fn keys_fetched(guard: f64, issuer: u32, number: u32, head: String, body: &[u8]) -> String {
    let head = parse(&head).map(|head| {
        let text = |name: &str| head.get(name).and_then(Value::as_str).map(str::to_owned);
        let status = head.get("status").and_then(Value::as_u64);
        Fetched {
            status: status.and_then(|status| u16::try_from(status).ok()).unwrap_or(0),
            etag: text("etag"),
            last_modified: text("lastModified"),
            cache_control: text("cacheControl"),
            age: text("age"),
        }
    });
    match head {
        Ok(head) => answered(guard, issuer, number, Ok((&head, body))),
        Err(error) => write(Err(error)),
    }
}

/// Takes a failed fetch: `why` is `timeout`, `network`, `tls`, `redirect` or `too-large`. Answers
/// like `keysFetched`.
#[napi(catch_unwind)]
pub fn keys_failed(guard: f64, issuer: u32, number: u32, why: String) -> String {
    answered(guard, issuer, number, Err(FetchError::from_kind(&why)))
}

fn answered(
    guard: f64,
    issuer: u32,
    number: u32,
    came: Result<(&Fetched, &[u8]), FetchError>,
) -> String {
    write((|| {
        let opened = guard_of(guard)?;
        let mut remotes = tokens_of(&opened)?.remotes();
        let found = remotes.find(|(i, ..)| u32::try_from(*i) == Ok(issuer));
        let (_, name, keys) =
            found.ok_or_else(|| ErrorPayload::new("ERR_INTERNAL", "there is no such issuer"))?;
        let notice = keys.answered(number, came, Now::read());
        Ok(notice.map_or(Value::Null, |notice| notice_of(name, &notice)))
    })())
}

pub(super) fn notice_of(issuer: &str, notice: &OperatorWarning) -> Value {
    json!({ "code": notice.code, "message": format!("the issuer '{issuer}' {}", notice.text) })
}

/// An issuer in `HealthReport` of index.d.ts.
pub(super) fn issuer_health(issuer: &Issuer, remote: Option<&RemoteStatus>, now: Now) -> Value {
    let introspection = issuer.introspection().map(|introspection| introspection.status(now));
    let state = match remote.map(|status| status.state) {
        _ if !issuer.has_keys() && introspection.is_some_and(|status| status.is_failing) => {
            "failing"
        }
        _ if issuer.rotation().is_some_and(|rotation| !rotation.is_loaded()) => "not-ready",
        None | Some(RemoteState::Fresh) => "ready",
        Some(RemoteState::NotReady) => "not-ready",
        Some(RemoteState::Failing) => "failing",
        Some(RemoteState::Stale) => "stale",
    };
    let age = remote.and_then(|status| status.age);
    let error = remote.and_then(|status| status.fault.as_ref()).map(FetchError::kind);
    json!({
        "issuer": issuer.name(),
        "state": state,
        "keys": issuer.key_count(),
        "age": age.map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX)),
        "error": error,
        "introspection": introspection.map(|status| introspection_health(&status)),
        "leftOut": issuer.left_out().iter().map(|key| json!({ "index": key.index, "reason": key.reason })).collect::<Vec<_>>(),
    })
}

fn introspection_health(status: &IntrospectionStatus) -> Value {
    let age = status.age.map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
    json!({
        "state": if status.is_failing { "failing" } else { "ready" },
        "error": status.fault.map(AskError::kind),
        "age": age,
        "inFlight": status.in_flight,
        "waiting": status.waiting,
    })
}
