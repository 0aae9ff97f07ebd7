//! The request path: what the shim calls for every request.

use std::sync::Arc;

use serde_json::Value;

use super::answer::{self, Told};
use super::inbox;
use super::registry::{self, Ticketed, Waiting};
use crate::clock::Now;
use crate::limit::Charged;
use crate::payload::{BodyFault, Reply};
use crate::refusal::Refusal;
use crate::stack::{Exchange, Extras, Keys, StoreAsk, Verdict};

/// Decides a request up to its body.
/// `stack` is a stack's number, `head` the head as `src/request/mod.rs` reads it, `extras` what only JavaScript knows as
/// JSON. Returns the answer of `src/node/answer.rs`.
pub(super) fn decide(stack: u64, head: String, extras: Option<String>) -> Told {
    #[cfg(debug_assertions)]
    super::panics::point();
    let Some(mounted) = registry::mounted(stack) else { return refused(closed()) };
    let extras = match read_extras(extras.as_deref()) {
        Ok(extras) => extras,
        Err(refusal) => return refused(refusal),
    };
    let (exchange, verdict) = mounted.stack.before_body(head, extras, Now::read());
    answer_for(Box::new(Waiting { mounted, exchange }), verdict)
}

/// Goes on with a request whose key and cost functions were asked: `keys` is `[[limit, 'key' | 'cost', value]]`.
pub(super) fn resume(ticket: u64, keys: String) -> Told {
    let Some(mut waiting) = registry::take_request(ticket) else {
        return refused(unreadable());
    };
    let Some(keys) = read_keys(&keys) else { return refused(unreadable()) };
    let verdict = waiting.mounted.stack.resume(&mut waiting.exchange, &keys, Now::read());
    answer_for(waiting, verdict)
}

/// Goes on with a request whose token is bound to a certificate: `fingerprint` is the `fingerprint256` of the
/// connection's, if it has one.
pub(super) fn certified(ticket: u64, fingerprint: Option<String>) -> Told {
    let Some(mut waiting) = registry::take_request(ticket) else {
        return refused(unreadable());
    };
    let shown = fingerprint.as_deref();
    let verdict = waiting.mounted.stack.certified(&mut waiting.exchange, shown, Now::read());
    answer_for(waiting, verdict)
}

/// Goes on with a request whose body was read. No answer is the usual one: it passes, and there is nothing to add.
pub(super) fn decide_body(ticket: u64, body: &[u8]) -> Option<Told> {
    #[cfg(debug_assertions)]
    super::panics::point();
    let Some(mut waiting) = registry::take_request(ticket) else {
        return Some(refused(unreadable()));
    };
    // To read the clock costs as much as to check a small body.
    let looks = waiting.mounted.stack.looks_again(&waiting.exchange);
    let now = if looks { Now::read() } else { waiting.exchange.now };
    let verdict = waiting.mounted.stack.after_body(&mut waiting.exchange, body, now);
    (!answer::is_plain_pass(&waiting.exchange, &verdict)).then(|| answer_for(waiting, verdict))
}

/// Refuses a request whose body could not be had: `why` is `late`, `swells`, `large` or `garbled`.
pub(super) fn refuse_body(ticket: u64, why: String) -> Told {
    let (Some(waiting), Some(fault)) = (registry::take_request(ticket), BodyFault::named(&why))
    else {
        return refused(unreadable());
    };
    let verdict = waiting.mounted.stack.without_body(fault);
    answer_for(waiting, verdict)
}

/// Goes on with a request that a limit has held back.
pub(super) fn wake(ticket: u64) -> Told {
    let Some(mut waiting) = registry::take_request(ticket) else {
        return refused(unreadable());
    };
    let verdict = waiting.mounted.stack.wake(&mut waiting.exchange, Now::read());
    answer_for(waiting, verdict)
}

/// Gives back the places of a request, and what does not count of its charge, now that its response is known. `true` where a store has to
/// be told, which `flush` does.
pub(super) fn finished(receipt: u64, failed: bool) -> bool {
    let Some(Ticketed::Charged(charged)) = registry::take(receipt) else { return false };
    let questions = charged.settle(failed, Now::read());
    let any = !questions.is_empty();
    for (store, question) in questions {
        inbox::tell(&store, question);
    }
    any
}

/// Judges a handler's answer, its status and its JSON text, by the schemas of `stack`. Nothing where it goes out as it is;
/// otherwise `0` and the text to send instead, or `1` and a problem document that says what is wrong with it.
pub(super) fn judge_response(stack: u64, status: u32, body: &[u8]) -> Option<String> {
    let wrong = |refusal: &Refusal| format!("1{}", answer::problem(refusal));
    let Some(responses) = registry::responses(stack) else { return Some(wrong(&closed())) };
    match responses.judge(u16::try_from(status).unwrap_or_default(), body) {
        None | Some(Reply::AsIs) => None,
        Some(Reply::Stripped(text)) => Some(format!("0{text}")),
        Some(Reply::Wrong(refusal)) => Some(wrong(&refusal)),
    }
}

/// Forgets a waiting request, whose client went away.
pub(super) fn abandon(ticket: u64) {
    drop(registry::take(ticket));
}

/// Goes on with what has waited for a shared store. For a request it returns what `decide` does, for a call of
/// `guard.limits` what `src/node/manage.rs` does.
pub(super) fn settle(ticket: u64) -> Told {
    let (Some(arrival), Some(waiting)) = (inbox::take(ticket), registry::take(ticket)) else {
        return refused(unreadable());
    };
    match waiting {
        Ticketed::Call(finish) => Told::Lines(finish(arrival)),
        Ticketed::Charged(_) => refused(unreadable()),
        Ticketed::Request(mut waiting) => {
            let verdict = waiting.mounted.stack.settle(&mut waiting.exchange, arrival, Now::read());
            answer_for(waiting, verdict)
        }
    }
}

fn answer_for(mut waiting: Box<Waiting>, verdict: Verdict) -> Told {
    if let Verdict::AskStore(ask) = verdict {
        return ask_store(waiting, ask);
    }
    let opened = answer::open(&waiting.exchange, &verdict);
    let charged = waiting.exchange.charged.take();
    let holds_places = charged.as_ref().is_some_and(Charged::holds_places);
    // Where there is no room to keep it, no cost is given back. A place is given back at once, so that the request would be
    // under way without one.
    let receipt = charged.and_then(|charged| registry::wait(Ticketed::Charged(charged)));
    if holds_places && receipt.is_none() {
        return refused(overloaded());
    }
    if matches!(verdict, Verdict::Pass { .. } | Verdict::Preflight { .. } | Verdict::Refuse(_)) {
        return Told::Lines(answer::close(opened, None, receipt));
    }
    // The next answer says only what is new.
    waiting.exchange.forget_written();
    let Some(ticket) = registry::wait(Ticketed::Request(waiting)) else {
        // This answer tells of no receipt, so nobody would hand it in: its places would stay taken for ever.
        drop(receipt.and_then(registry::take));
        return refused(overloaded());
    };
    Told::Lines(answer::close(opened, Some(ticket), receipt))
}

/// Nothing is told of a request that waits for a store but its ticket: the answer that follows tells all, and this way
/// costs half.
fn ask_store(waiting: Box<Waiting>, ask: StoreAsk) -> Told {
    let mounted = Arc::clone(&waiting.mounted);
    let Some(inbox) = &mounted.listener else { return refused(unreadable()) };
    let waiting = registry::wait(Ticketed::Request(waiting));
    let Some(ticket) = waiting else { return refused(overloaded()) };
    inbox::ask(ask, inbox, ticket);
    Told::Waits(ticket)
}

fn overloaded() -> Refusal {
    let why = "too many requests wait for their body or for the store";
    Refusal::new(503, "overloaded", why).header("Retry-After", "1")
}

fn refused(refusal: Refusal) -> Told {
    let nobody = Exchange::new(Extras::default(), Now::read());
    Told::Lines(answer::close(answer::open(&nobody, &Verdict::Refuse(refusal)), None, None))
}

fn closed() -> Refusal {
    Refusal::new(503, "guard_closed", "the guard of this API is closed").header("Retry-After", "1")
}

/// The shim and the core disagree: never a pass.
fn unreadable() -> Refusal {
    Refusal::new(500, "internal_error", "the request could not be decided")
}

fn read_extras(json: Option<&str>) -> Result<Extras, Refusal> {
    let Some(json) = json else { return Ok(Extras::default()) };
    let Ok(Value::Object(mut given)) = serde_json::from_str(json) else {
        return Err(unreadable());
    };
    let origin = given.get("origin").and_then(Value::as_bool);
    let skips_cors = given.get("skipsCors").and_then(Value::as_bool).unwrap_or(false);
    let admitted = given.get("admitted").and_then(Value::as_bool).unwrap_or(false);
    let params = match given.remove("params") {
        Some(Value::Object(params)) => {
            let read = params.into_iter().map(|(name, value)| Some((name, param(value)?)));
            // What can't be read would be missed by a schema or a policy.
            read.collect::<Option<Vec<_>>>().ok_or_else(unreadable)?
        }
        Some(_) => return Err(unreadable()),
        None => Vec::new(),
    };
    let counted = match given.remove("counted") {
        Some(Value::Array(ids)) => ids.iter().filter_map(Value::as_u64).collect(),
        _ => Vec::new(),
    };
    let proofs = match given.remove("proofs") {
        Some(Value::Array(marks)) => {
            marks.iter().filter_map(|mark| mark.as_str().map(str::to_owned)).collect()
        }
        _ => Vec::new(),
    };
    let earlier = match given.remove("earlier") {
        Some(Value::Array(stacks)) => {
            let stacks = stacks.iter().map(|stack| registry::stack(stack.as_u64()?));
            match stacks.collect::<Option<Vec<_>>>() {
                Some(stacks) => stacks,
                None => return Err(closed()),
            }
        }
        _ => Vec::new(),
    };
    let waited = given.get("waited").and_then(Value::as_bool).unwrap_or(false);
    Ok(Extras { origin, skips_cors, admitted, params, counted, proofs, earlier, waited })
}

/// A route parameter: Express 5 gives a list of segments for a wildcard, and `app.param` of the
/// application may have made a number or a truth value of a text.
fn param(value: Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text),
        Value::Array(segments) => {
            Some(segments.iter().filter_map(Value::as_str).collect::<Vec<_>>().join("/"))
        }
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        Value::Null | Value::Object(_) => None,
    }
}

fn read_keys(json: &str) -> Option<Vec<Keys>> {
    let Value::Array(rows) = serde_json::from_str(json).ok()? else { return None };
    rows.into_iter()
        .map(|row| {
            let Value::Array(row) = row else { return None };
            let [Value::String(name), Value::String(option), value] = row.as_slice() else {
                return None;
            };
            let mut keys = Keys { name: name.clone(), ..Keys::default() };
            match option.as_str() {
                "key" => keys.key = Some(value.as_str()?.to_owned()),
                "cost" => keys.cost = Some(u32::try_from(value.as_u64()?).ok()?),
                _ => return None,
            }
            Some(keys)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::guard::{Engine, Layers};
    use crate::node::registry::Mounted;
    use crate::stack::Stack;

    fn fill() -> u64 {
        let mut last = 0;
        while let Some(ticket) = registry::wait(Ticketed::Call(Box::new(|_| String::new()))) {
            last = ticket;
        }
        last
    }

    fn post(stack: &Arc<Stack>) -> String {
        let head = ["12", "POST", "/", "192.0.2.1", "", "b", "", ""].into_iter();
        let headers = ["Content-Type", "application/json", "Content-Length", "2"];
        let head = head.chain(headers).collect::<Vec<_>>().join("\n");
        let (exchange, verdict) = stack.before_body(head, Extras::default(), Now::read());
        let mounted = Arc::new(Mounted { stack: Arc::clone(stack), listener: None });
        match answer_for(Box::new(Waiting { mounted, exchange }), verdict) {
            Told::Lines(lines) => lines,
            Told::Waits(_) => panic!("no store is asked"),
        }
    }

    #[test]
    fn a_request_that_finds_no_ticket_to_wait_for_its_body_leaves_its_place_to_the_next_one() {
        let options = json!({ "rateLimit": { "name": "uploads", "concurrent": 1 } });
        let engine = Arc::new(Engine::new(&options).unwrap());
        let stack = Arc::new(engine.stack(&json!({}), Layers::All).unwrap());
        // One is left, for the receipt of what it was charged.
        let one = fill();
        drop(registry::take(one));
        assert!(post(&stack).contains("overloaded"));
        let freed = fill();
        assert_eq!(freed & 0xF_FFFF, one & 0xF_FFFF, "the receipt has left its slot");
        drop((registry::take(freed), registry::take(0)));
        let answer = post(&stack);
        assert!(answer.starts_with("1\n"), "{answer}");
    }
}
