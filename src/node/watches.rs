//! `req.guard.signal`: the open responses and sockets of this thread, and which of them would be
//! refused by now.

use std::cell::RefCell;

use napi_derive::napi;
use serde_json::{Value, json};

use super::completions;
use super::registry::{self, PendingEntry};
use super::requests::{closed, host_identity, overloaded};
use super::slots::{self, Slots};
use crate::clock::Now;
use crate::refusal::Refusal;
use crate::revocation::stale_refusal;
use crate::stack::{Layer, StoreAnswer, StoreAsk, Watch, WatchEnd};

/// A watch, and the number of its stack.
struct Watched {
    stack: u64,
    watch: Watch,
    /// Whether it waits for a store or an issuer: it is checked when that has answered.
    is_waiting: bool,
}

thread_local! {
    static WATCHES: RefCell<Slots<Watched>> = const { RefCell::new(Slots::new()) };
}

/// Watches a request that `stack` has let pass: `head` is its head in the format of
/// `src/request/mod.rs`, `source` and `json` are the identity that a function of the application
/// has returned for it, and `anonymous` is true if it passed without a user. Answers
/// `{"ok": number}`, or `{"ok": end}` with an object as [`watches_ended`] writes it: the request
/// would be refused already.
#[napi(catch_unwind)]
pub fn watch(
    stack: f64,
    head: String,
    source: Option<String>,
    json: Option<String>,
    anonymous: bool,
) -> String {
    let begin = || -> Result<u64, Refusal> {
        let stack = slots::from_js(stack).ok_or_else(closed)?;
        let mounted = registry::mounted(stack).ok_or_else(closed)?;
        let identity = source.zip(json).and_then(|(source, json)| host_identity(&source, &json));
        let watch = mounted.stack.watch(head, identity, anonymous)?;
        let watched = Watched { stack, watch, is_waiting: false };
        WATCHES.with_borrow_mut(|watches| watches.insert(watched)).ok_or_else(overloaded)
    };
    match begin() {
        Ok(number) => json!({ "ok": number }),
        Err(refusal) => json!({ "ok": end_of(&refusal, None) }),
    }
    .to_string()
}

/// Checks the watches of this thread. Returns those whose request would be refused now, as JSON:
/// `[number, {status, code, detail, reason, layer}]`; and those that have to ask a store or an
/// issuer first, as `[number, ticket]`. Empty without any. A watch that has ended is gone.
#[napi(catch_unwind)]
pub fn watches_ended() -> String {
    let now = Now::read();
    let mut rows = Vec::new();
    WATCHES.with_borrow_mut(|watches| {
        for (number, watched) in watches.iter_mut().filter(|(_, watched)| !watched.is_waiting) {
            match check(watched, false, now) {
                Ok(None) => {}
                Ok(Some(ask)) => match ask_for(number, watched, ask) {
                    Ok(ticket) => rows.push(json!([number, ticket])),
                    Err(refusal) => rows.push(json!([number, end_of(&refusal, None)])),
                },
                Err(end) => rows.push(json!([number, end_of(&end.refusal, end.layer)])),
            }
        }
        for row in &rows {
            if let (Some(number), true) = (row[0].as_u64(), row[1].is_object()) {
                watches.take(number);
            }
        }
    });
    if rows.is_empty() { String::new() } else { Value::Array(rows).to_string() }
}

/// Ends a watch: its response is over.
#[napi(catch_unwind)]
pub fn unwatch(number: f64) {
    if let Some(number) = slots::from_js(number) {
        WATCHES.with_borrow_mut(|watches| watches.take(number));
    }
}

fn check(
    watched: &mut Watched,
    is_asked: bool,
    now: Now,
) -> Result<Option<StoreAsk>, Box<WatchEnd>> {
    // A closed guard checks no tokens any more.
    let Some(mounted) = registry::mounted(watched.stack) else {
        return Err(Box::new(WatchEnd { refusal: closed(), layer: None }));
    };
    mounted.stack.check_watch(&mut watched.watch, is_asked, now)
}

/// Asks a store or an issuer about a watch. The ticket is that of a call that answers
/// `{"ok": end}`, or `{"ok": null}` for a request that would still be admitted.
fn ask_for(number: u64, watched: &mut Watched, ask: StoreAsk) -> Result<u64, Refusal> {
    let mounted = registry::mounted(watched.stack).ok_or_else(closed)?;
    let queue = mounted.listener.clone().ok_or_else(closed)?;
    // The answer about a token is kept as long as a wait for it.
    let wait = match &ask {
        StoreAsk::Introspection(wait) => Some(wait.clone()),
        _ => None,
    };
    let kept = queue.clone();
    let finish = Box::new(move |answer| {
        let end = answered(number, wait.is_some(), answer);
        drop((wait, kept));
        json!({ "ok": end }).to_string()
    });
    let ticket = registry::wait(PendingEntry::Call(finish)).ok_or_else(overloaded)?;
    watched.is_waiting = true;
    completions::ask(ask, &queue, ticket);
    Ok(ticket)
}

fn answered(number: u64, by_issuer: bool, answer: StoreAnswer) -> Option<Value> {
    WATCHES.with_borrow_mut(|watches| {
        let watched = watches.get_mut(number)?;
        watched.is_waiting = false;
        let end = match answer.done() {
            Err(_) if !by_issuer => end_of(&stale_refusal(), Some(Layer::Authenticate)),
            // Whatever the issuer has answered, the check of the token finds it.
            _ => {
                let end = check(watched, true, Now::read()).err()?;
                end_of(&end.refusal, end.layer)
            }
        };
        watches.take(number);
        Some(end)
    })
}

fn end_of(refusal: &Refusal, layer: Option<Layer>) -> Value {
    json!({
        "status": refusal.status,
        "code": refusal.code,
        "detail": refusal.detail,
        "reason": refusal.reason,
        "layer": layer.map(Layer::as_str),
    })
}
