//! The request path: calls that the shim makes for every request.

use std::sync::Arc;

use serde_json::Value;

use super::answer::{self, DecideOutput};
use super::completions;
use super::parts;
use super::registry::{self, PendingEntry, SuspendedRequest};
use crate::clock::Now;
use crate::identity::{HostIdentity, IdentityAnswer, IdentitySource};
use crate::limit::Reservation;
use crate::payload::{BodyError, Reply};
use crate::policy::ResourceAnswer;
use crate::refusal::Refusal;
use crate::stack::{
    CallbackResults, EarlierStack, HostInput, Layer, RequestContext, Stack, Step, StoreAsk,
};

/// Decides a request up to its body.
/// `stack` is a stack's number, `head` the head in the format of `src/request/mod.rs`, `extras`
/// facts that only JavaScript has, as JSON. Returns the answer of `src/node/answer.rs`.
pub(super) fn decide(stack: u64, head: String, extras: Option<String>) -> DecideOutput {
    #[cfg(debug_assertions)]
    super::panics::point();
    let Some(mounted) = registry::mounted(stack) else { return refused(closed()) };
    let extras = match read_extras(extras.as_deref()) {
        Ok(extras) => extras,
        Err(refusal) => return refused(refusal),
    };
    let (exchange, step) = mounted.stack.before_body(head, extras, Now::read());
    answer_for(Box::new(SuspendedRequest { mounted, exchange }), step)
}

/// Continues with the request of a ticket. Where `go_on` can't read what the host has answered, the
/// request is refused.
fn resume(
    ticket: u64,
    go_on: impl FnOnce(&Stack, &mut RequestContext) -> Option<Step>,
) -> DecideOutput {
    let Some(mut waiting) = registry::take_request(ticket) else {
        return refused(unreadable());
    };
    match go_on(&waiting.mounted.stack, &mut waiting.exchange) {
        Some(step) => answer_for(waiting, step),
        None => refused(unreadable()),
    }
}

/// Continues with a request whose key and cost functions were called: `keys` is
/// `[[limit, 'key' | 'cost', value]]`.
pub(super) fn resume_with_callbacks(ticket: u64, keys: String) -> DecideOutput {
    resume(ticket, |stack, ctx| {
        Some(stack.resume_with_callbacks(ctx, &read_keys(&keys)?, Now::read()))
    })
}

/// Continues with a request whose token is bound to a certificate: `fingerprint` is the
/// `fingerprint256` of the connection's certificate, if it has one.
pub(super) fn resume_with_certificate(ticket: u64, fingerprint: Option<String>) -> DecideOutput {
    resume(ticket, |stack, ctx| {
        Some(stack.resume_with_certificate(ctx, fingerprint.as_deref(), Now::read()))
    })
}

/// Continues with a request whose identity the application was asked for: `json` is the result of
/// its function, if there is one. `failure` is `timeout` if none came in time.
pub(super) fn resume_with_identity(
    ticket: u64,
    json: Option<String>,
    failure: Option<String>,
) -> DecideOutput {
    resume(ticket, |stack, ctx| {
        let answer = match (json, failure.as_deref()) {
            (Some(json), None) => IdentityAnswer::Found(json),
            (None, None) => IdentityAnswer::Nobody,
            (None, Some("timeout")) => IdentityAnswer::Timeout,
            _ => return None,
        };
        Some(stack.resume_with_identity(ctx, answer, Now::read()))
    })
}

/// Continues with a request whose resource the application was asked for: `json` is the resource,
/// if there is one. `failure` is `timeout` or `failed` if the function gave no answer.
pub(super) fn resume_with_resource(
    ticket: u64,
    json: Option<String>,
    failure: Option<String>,
) -> DecideOutput {
    resume(ticket, |stack, ctx| {
        let answer = match (json, failure.as_deref()) {
            (Some(json), None) => ResourceAnswer::Found(json),
            (None, None) => ResourceAnswer::Nothing,
            (None, Some("timeout")) => ResourceAnswer::Timeout,
            (None, Some("failed")) => ResourceAnswer::Failed,
            _ => return None,
        };
        Some(stack.resume_with_resource(ctx, answer, Now::read()))
    })
}

/// Continues with a request whose body was read. The usual answer is `None`: the request passes
/// without changes.
pub(super) fn decide_body(ticket: u64, body: &[u8]) -> Option<DecideOutput> {
    #[cfg(debug_assertions)]
    super::panics::point();
    let Some(mut waiting) = registry::take_request(ticket) else {
        return Some(refused(unreadable()));
    };
    // Reading the clock costs as much as checking a small body.
    let looks = waiting.mounted.stack.needs_recheck(&waiting.exchange);
    let now = if looks { Now::read() } else { waiting.exchange.now };
    let step = waiting.mounted.stack.after_body(&mut waiting.exchange, body, now);
    (!answer::is_plain_pass(&waiting.exchange, &step)).then(|| answer_for(waiting, step))
}

/// Takes the next bytes of a multipart body, whose ticket stays valid. Returns what they bring for
/// files, as `src/node/parts.rs` writes it; `None` if they are refused:
/// [`refuse_body`] with `parts` follows.
pub(super) fn read_parts(ticket: u64, chunk: &[u8]) -> Option<String> {
    let read = registry::with_request(ticket, |waiting| {
        let reader = waiting.exchange.multipart.as_mut()?;
        let delimiter = reader.delimiter().to_vec();
        Some(parts::write(reader.push(chunk).ok()?, &delimiter))
    });
    read.flatten()
}

/// Continues with a request whose multipart body was read to its end.
pub(super) fn decide_parts(ticket: u64) -> DecideOutput {
    resume(ticket, |stack, ctx| Some(stack.after_parts(ctx, Now::read())))
}

/// Whether `body`, JSON that an earlier stack has read, certainly passes `stack`, which checks
/// nothing else. If not, the request takes the usual way, by [`decide`].
pub(super) fn accepts_body(stack: u64, body: &[u8]) -> bool {
    registry::mounted(stack).is_some_and(|mounted| mounted.stack.accepts_body(body))
}

/// Refuses a request whose body could not be read: `why` is `late`, `swells`, `large`, `garbled`,
/// `long`, `unread`, or `parts` if `read_parts` has refused it.
pub(super) fn refuse_body(ticket: u64, why: String) -> DecideOutput {
    let (Some(mut waiting), Some(fault)) = (registry::take_request(ticket), BodyError::named(&why))
    else {
        return refused(unreadable());
    };
    waiting.exchange.layer = Some(Layer::Payload);
    let step = waiting.mounted.stack.without_body(&mut waiting.exchange, fault);
    answer_for(waiting, step)
}

/// Continues with a request that a limit has delayed.
pub(super) fn resume_after_delay(ticket: u64) -> DecideOutput {
    resume(ticket, |stack, ctx| Some(stack.resume_after_delay(ctx, Now::read())))
}

/// Releases the slots of a request, and refunds the uncounted part of its charge, now that its
/// response is known. `true` if a store command has to be sent by `flush`.
pub(super) fn finished(receipt: u64, failed: bool) -> bool {
    let Some(PendingEntry::Reserved(charged)) = registry::take(receipt) else { return false };
    let questions = charged.settle(failed, Now::read());
    let any = !questions.is_empty();
    for (store, question) in questions {
        completions::send(&store, question);
    }
    any
}

/// Checks a handler's answer, its status and its JSON text, against the schemas of `stack`. `None`
/// if it is to be sent as it is; otherwise `0` and the text to send instead, or `1` and a problem
/// document with its errors.
pub(super) fn judge_response(stack: u64, status: u32, body: &[u8]) -> Option<String> {
    let wrong = |refusal: &Refusal| format!("1{}", answer::problem(refusal));
    let Some(responses) = registry::responses(stack) else { return Some(wrong(&closed())) };
    match responses.judge(u16::try_from(status).unwrap_or_default(), body) {
        None | Some(Reply::AsIs) => None,
        Some(Reply::Stripped(text)) => Some(format!("0{text}")),
        Some(Reply::Wrong(refusal)) => Some(wrong(&refusal)),
    }
}

/// Drops a suspended request whose client disconnected.
pub(super) fn abandon(ticket: u64) {
    drop(registry::take(ticket));
}

/// Continues with an entry that has waited for a shared store. For a request it returns the result
/// of `decide`, for a call of `guard.limits` that of `src/node/guard.rs`.
pub(super) fn resume_with_store(ticket: u64) -> DecideOutput {
    let (Some(arrival), Some(waiting)) = (completions::take(ticket), registry::take(ticket)) else {
        return refused(unreadable());
    };
    match waiting {
        PendingEntry::Call(finish) => DecideOutput::Lines(finish(arrival)),
        PendingEntry::Reserved(_) => refused(unreadable()),
        PendingEntry::Request(mut waiting) => {
            let step = waiting.mounted.stack.resume_with_store(
                &mut waiting.exchange,
                arrival,
                Now::read(),
            );
            answer_for(waiting, step)
        }
    }
}

fn answer_for(mut waiting: Box<SuspendedRequest>, step: Step) -> DecideOutput {
    if let Step::AskStore(ask) = step {
        return ask_store(waiting, ask);
    }
    let opened = answer::open(&waiting.exchange, &step);
    let charged = waiting.exchange.charged.take();
    let has_slots = charged.as_ref().is_some_and(Reservation::has_slots);
    // If there is no room to keep it, no cost is refunded. Its slots would be released at once, so
    // the request would be in flight without one.
    let receipt = charged.and_then(|charged| registry::wait(PendingEntry::Reserved(charged)));
    if has_slots && receipt.is_none() {
        return refused(overloaded());
    }
    if matches!(step, Step::Pass { .. } | Step::Preflight { .. } | Step::Refuse(_)) {
        return DecideOutput::Lines(answer::close(opened, None, receipt));
    }
    // The next answer contains only new values.
    waiting.exchange.forget_written();
    let Some(ticket) = registry::wait(PendingEntry::Request(waiting)) else {
        // This answer contains no receipt, so the receipt would never be handed in and its slots
        // would stay taken forever.
        drop(receipt.and_then(registry::take));
        return refused(overloaded());
    };
    DecideOutput::Lines(answer::close(opened, Some(ticket), receipt))
}

/// The answer for a request that waits for a store is only its ticket: the answer that follows
/// contains everything, and this costs half.
fn ask_store(waiting: Box<SuspendedRequest>, ask: StoreAsk) -> DecideOutput {
    let mounted = Arc::clone(&waiting.mounted);
    let Some(queue) = &mounted.listener else { return refused(unreadable()) };
    let waiting = registry::wait(PendingEntry::Request(waiting));
    let Some(ticket) = waiting else { return refused(overloaded()) };
    completions::ask(ask, queue, ticket);
    DecideOutput::Waits(ticket)
}

pub(super) fn overloaded() -> Refusal {
    let why = "too many requests wait for their body or for the store";
    Refusal::new(503, "overloaded", why).header("Retry-After", "1")
}

fn refused(refusal: Refusal) -> DecideOutput {
    let nobody = RequestContext::new(HostInput::default(), Now::read());
    DecideOutput::Lines(answer::close(answer::open(&nobody, &Step::Refuse(refusal)), None, None))
}

pub(super) fn closed() -> Refusal {
    Refusal::new(503, "guard_closed", "the guard of this API is closed").header("Retry-After", "1")
}

/// The shim and the core disagree: never a pass.
fn unreadable() -> Refusal {
    Refusal::new(500, "internal_error", "the request could not be decided")
}

fn read_extras(json: Option<&str>) -> Result<HostInput, Refusal> {
    let Some(json) = json else { return Ok(HostInput::default()) };
    let Ok(Value::Object(mut given)) = serde_json::from_str(json) else {
        return Err(unreadable());
    };
    let origin = given.get("origin").and_then(Value::as_bool);
    let skips_cors = given.get("skipsCors").and_then(Value::as_bool).unwrap_or(false);
    let admitted = given.get("admitted").and_then(Value::as_bool).unwrap_or(false);
    let cors_of = match given.get("corsOf").map(Value::as_u64) {
        Some(stack) => Some(stack.and_then(registry::stack).ok_or_else(closed)?),
        None => None,
    };
    let params = match given.remove("params") {
        Some(Value::Object(params)) => {
            let read = params.into_iter().map(|(name, value)| Some((name, param(value)?)));
            // A schema or a policy would miss an unreadable parameter.
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
            match stacks.into_iter().map(earlier_stack).collect::<Option<Vec<_>>>() {
                Some(stacks) => stacks,
                None => return Err(closed()),
            }
        }
        _ => Vec::new(),
    };
    let waited = given.get("waited").and_then(Value::as_bool).unwrap_or(false);
    let anonymous = given.get("anonymous").and_then(Value::as_bool).unwrap_or(false);
    Ok(HostInput {
        origin,
        skips_cors,
        cors_of,
        admitted,
        params,
        counted,
        proofs,
        earlier,
        waited,
        anonymous,
    })
}

/// An earlier stack: its number, or `[number, source, json]` with the identity that it got from a
/// function of the application.
fn earlier_stack(value: Value) -> Option<EarlierStack> {
    match value {
        Value::Array(parts) => {
            let [number, source, json] = parts.as_slice() else { return None };
            let identity = host_identity(source.as_str()?, json.as_str()?)?;
            Some(EarlierStack {
                stack: registry::stack(number.as_u64()?)?,
                identity: Some(identity),
            })
        }
        number => Some(EarlierStack { stack: registry::stack(number.as_u64()?)?, identity: None }),
    }
}

/// An identity that a function of the application has returned: its source, and its claims.
pub(super) fn host_identity(source: &str, json: &str) -> Option<HostIdentity> {
    Some(HostIdentity { source: IdentitySource::of_issuer(source)?, json: json.to_owned() })
}

/// A route parameter: Express 5 gives a list of segments for a wildcard, and `app.param` of the
/// application may have converted a text to a number or a boolean.
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

fn read_keys(json: &str) -> Option<Vec<CallbackResults>> {
    let Value::Array(rows) = serde_json::from_str(json).ok()? else { return None };
    rows.into_iter()
        .map(|row| {
            let Value::Array(row) = row else { return None };
            let [Value::String(name), Value::String(option), value] = row.as_slice() else {
                return None;
            };
            let mut keys = CallbackResults { name: name.clone(), ..CallbackResults::default() };
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
    use crate::guard::{Guard, Layers};
    use crate::node::registry::Mounted;
    use crate::stack::Stack;

    fn fill() -> u64 {
        let mut last = 0;
        while let Some(ticket) = registry::wait(PendingEntry::Call(Box::new(|_| String::new()))) {
            last = ticket;
        }
        last
    }

    fn post(stack: &Arc<Stack>) -> String {
        let head = ["12", "POST", "/", "192.0.2.1", "", "b", "", ""].into_iter();
        let headers = ["Content-Type", "application/json", "Content-Length", "2"];
        let head = head.chain(headers).collect::<Vec<_>>().join("\n");
        let (exchange, step) = stack.before_body(head, HostInput::default(), Now::read());
        let mounted = Arc::new(Mounted { stack: Arc::clone(stack), listener: None });
        match answer_for(Box::new(SuspendedRequest { mounted, exchange }), step) {
            DecideOutput::Lines(lines) => lines,
            DecideOutput::Waits(_) => panic!("no store is asked"),
        }
    }

    #[test]
    fn a_request_that_finds_no_ticket_to_wait_for_its_body_leaves_its_place_to_the_next_one() {
        let options = json!({ "rateLimit": { "name": "uploads", "concurrent": 1 } });
        let opened = Arc::new(Guard::new(&options).unwrap());
        let stack = Arc::new(opened.stack(&json!({}), Layers::All).unwrap());
        // One is left, for the receipt of its reservation.
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
