//! The core's answer about one request: one text, since a string is the cheapest value to pass to
//! JavaScript. `shim/answer.js` names the lines.
//!
//! It consists of lines in a fixed order; an empty line is an absent value. JavaScript splits it
//! with one `split` and parses JSON only in the lines that a handler needs. Parsing all of it as
//! one JSON document costs more than the decision, since V8 looks up every short string in it. A
//! line that is always present can't be read from an `Object.prototype` that a bug of the
//! application polluted. No value has a line break: JSON escapes it, and no header may have one.
//!
//! A request that waits for a shared store is answered by its ticket alone, a number.
//!
//! - 0: `0` pass, `1` read the body, `2` refuse, `3` answer a preflight, `4` call the application's
//!   key and cost functions, `6` wait, `7` read the connection's certificate, `8` call the
//!   application's function for the identity, `9` call its function for the resource
//! - 1, 2, 3: status, code and problem+json text of a refusal
//! - 4: the most bytes of the body to read, and after a blank `form`, `multipart` or `json` and its
//!   content coding unless it is plain JSON; milliseconds to wait; for a refusal by a rate limit,
//!   its name; for another refusal, U+001F and its reason; for an identity its source, the
//!   milliseconds to wait for it, and for an API key the milliseconds to keep its record and the
//!   digest, separated by blanks; for a resource the milliseconds to wait for it
//! - 5: `1` if the body was checked and may be parsed as JSON, `2` if line 14 has it: it was a
//!   form, or a sanitizer has changed it; for a refusal and a preflight, the layer that decided, or
//!   `3` for `payload` and a body that a later layer of the guard may take instead
//! - 6: `1` if the request came over TLS; then `o` if a peer outside of `trustedProxies` named a
//!   client, `p` if it is one with a public address
//! - 7: response headers: names and values in turn, separated by U+001F
//! - 8: the response header `RateLimit`: the other headers are usually those of the previous
//!   request, this one never
//! - 9, 10: verified claims, an object; the identity, `[jti, exp, iat, kid, alg, issuer]`, where a
//!   missing time is 0 and `alg` null for an identity that is no JWT, and if it is bound `dpop`,
//!   `mtls` or `dpop+mtls`, and the mark of its proof
//! - 11: client address
//! - 12, 13: limits, `[[name, limit, remaining, reset, number]]`, each shadow limit with a final
//!   `0` or `1`: whether it would have refused; reasons of the policy, a list
//! - 14: the `body` of a form or after a sanitizer's changes, checked `query`, `params`, `headers`
//!   and `cookies`, an object
//! - 15: ticket of the suspended request
//! - 16: receipt of a reservation that may be refunded once the response is known; the line is
//!   present only with a receipt

use std::net::IpAddr;
use std::time::Duration;

use crate::identity::IdentityAsk;
use crate::keys::algorithm::Algorithm;
use crate::limit::push_number;
use crate::net::is_private_network;
use crate::payload::{Checked, Format, Reading};
use crate::refusal::Refusal;
use crate::request::Request;
use crate::stack::{RequestContext, Step};
use crate::token::Verified;

/// The result of a call of the request path.
#[derive(Debug)]
pub(crate) enum DecideOutput {
    /// The lines of an answer.
    Lines(String),
    /// The ticket of a request that waits for a shared store.
    Waits(u64),
}

/// The separator of header names and values: no field may contain it (RFC 9110 section 5.5).
const SEPARATOR: char = '\u{1f}';

/// The header that has a line of its own.
const RATE_LIMIT: &str = "RateLimit";

/// The lines of an answer, in their order; `shim/answer.js` has the same names and numbers.
#[cfg(test)]
const LINES: [&[&str]; 17] = [
    &["KIND"],
    &["STATUS"],
    &["CODE"],
    &["PROBLEM"],
    &["READING", "WAIT_MS", "CAUSE", "ASK"],
    &["HAS_BODY", "LAYER"],
    &["SECURE"],
    &["HEADERS"],
    &["RATE_LIMIT"],
    &["CLAIMS"],
    &["TOKEN"],
    &["CLIENT"],
    &["LIMITS"],
    &["REASONS"],
    &["CHECKED"],
    &["TICKET"],
    &["RECEIPT"],
];

/// The answer for a request, without the ticket of a suspended one: [`close`] adds it.
pub(crate) fn open(ctx: &RequestContext, step: &Step) -> String {
    let mut out = String::with_capacity(768);
    let new = !ctx.written;
    let refusal = if let Step::Refuse(refusal) = step { Some(refusal) } else { None };
    let (kind, status) = match step {
        Step::Pass { .. } => ('0', None),
        Step::ReadBody { .. } => ('1', None),
        Step::Refuse(refusal) => ('2', Some(refusal.status)),
        Step::Preflight { status } => ('3', Some(*status)),
        Step::RunCallbacks => ('4', None),
        // It has an answer of its own, [`DecideOutput::Waits`].
        Step::AskStore(_) => ('2', None),
        Step::Delay { .. } => ('6', None),
        Step::AskCertificate => ('7', None),
        Step::AskIdentity(_) => ('8', None),
        Step::AskResource(_) => ('9', None),
    };
    out.push(kind);
    out.push('\n');
    if let Some(status) = status {
        push_number(&mut out, u64::from(status));
    }
    out.push('\n');
    if let Some(refusal) = refusal {
        out.push_str(refusal.code);
    }
    out.push('\n');
    if let Some(refusal) = refusal {
        out.push_str(&problem(refusal));
    }
    out.push('\n');
    match step {
        Step::ReadBody { max_bytes, reading } => push_reading(&mut out, *max_bytes, *reading),
        Step::Delay { ms } => push_number(&mut out, *ms),
        Step::AskIdentity(ask) => push_ask(&mut out, ask),
        Step::AskResource(ask) => push_number(&mut out, millis(ask.timeout)),
        Step::Preflight { .. } => {
            if let Some(denied) = ctx.cors_denied {
                out.push(SEPARATOR);
                out.push_str(denied.as_str());
            }
        }
        Step::Refuse(refusal) => push_cause(&mut out, refusal),
        _ => {}
    }
    out.push('\n');
    if let Some(mark) = body_mark(step) {
        out.push(mark);
    } else if let (Step::Refuse(_) | Step::Preflight { .. }, Some(layer)) = (step, ctx.layer) {
        out.push_str(layer.as_str());
    }
    out.push('\n');
    if let Some(request) = ctx.request.as_ref().filter(|_| new) {
        push_connection(&mut out, request);
    }
    out.push('\n');
    push_headers(&mut out, ctx, refusal);
    out.push('\n');
    if let Some((_, value)) = ctx.headers.iter().find(|(name, _)| *name == RATE_LIMIT) {
        push_line(&mut out, value);
    }
    out.push('\n');
    let identity = ctx.identity.as_deref().filter(|_| !ctx.identity_written);
    if let Some(identity) = identity {
        // The token reader accepts line breaks between members of the claims; inside a string JSON
        // allows none.
        push_line(&mut out, identity.claims.json());
    }
    out.push('\n');
    if let Some(identity) = identity {
        list(&mut out, |token| {
            token.string_or_null(identity.id.as_deref());
            token.number(identity.expires_at).number(identity.issued_at);
            token.string_or_null(identity.key_id.as_deref());
            token.string_or_null(alg_of(identity)).string(&identity.issuer);
            if let Some(confirmation) = &identity.confirmation {
                token.string(confirmation.name()).string_or_null(ctx.proof_mark.as_deref());
            }
        });
    }
    out.push('\n');
    if let Some(client) = ctx.request.as_ref().and_then(Request::client).filter(|_| new) {
        push_address(&mut out, client);
    }
    out.push('\n');
    push_limits(&mut out, ctx);
    out.push('\n');
    if !ctx.reasons.is_empty() {
        list(&mut out, |list| {
            for reason in &ctx.reasons {
                list.string(reason);
            }
        });
    }
    out.push('\n');
    if let Step::Pass { checked: Some(checked), .. } = step {
        push_checked(&mut out, checked);
    }
    out
}

/// The line of the body.
fn body_mark(step: &Step) -> Option<char> {
    match step {
        Step::Pass { body: true, checked } => {
            let has_text = checked.as_ref().is_some_and(|checked| body_text(checked).is_some());
            Some(if has_text { '2' } else { '1' })
        }
        Step::Refuse(refusal) if refusal.is_deferrable => Some('3'),
        _ => None,
    }
}

/// Whether a body has passed and no other value has to be returned.
pub(crate) fn is_plain_pass(ctx: &RequestContext, step: &Step) -> bool {
    let Step::Pass { checked, body: true } = step else { return false };
    let nothing = |checked: &Checked| {
        let Checked { query, params, headers, cookies, form, changed, .. } = checked;
        [query, params, headers, cookies, form, changed].iter().all(|text| text.is_none())
    };
    let told = ctx.written
        && (ctx.identity_written || ctx.identity.is_none())
        && ctx.headers.is_empty()
        && ctx.reasons.is_empty()
        && ctx.limits.len() == ctx.limits_written;
    told && checked.as_deref().is_none_or(nothing)
}

/// Adds the ticket and the receipt, if there are any.
pub(crate) fn close(mut answer: String, ticket: Option<u64>, receipt: Option<u64>) -> String {
    answer.push('\n');
    if let Some(ticket) = ticket {
        push_number(&mut answer, ticket);
    }
    if let Some(receipt) = receipt {
        answer.push('\n');
        push_number(&mut answer, receipt);
    }
    answer
}

/// The algorithm of a token, empty for one that its issuer was asked about; `None` for an identity
/// that is no token.
fn alg_of(identity: &Verified) -> Option<&'static str> {
    let introspected = identity.text_fingerprint.map(|_| "");
    identity.alg.map(Algorithm::name).or(introspected)
}

fn push_connection(out: &mut String, request: &Request) {
    if request.secure() {
        out.push('1');
    }
    if request.has_outside_proxy() {
        let is_private = request.client().is_none_or(is_private_network);
        out.push(if is_private { 'o' } else { 'p' });
    }
}

fn push_headers(out: &mut String, ctx: &RequestContext, refusal: Option<&Refusal>) {
    let more = refusal.map(|refusal| refusal.headers.as_slice()).unwrap_or_default();
    let own = ctx.headers.iter().filter(|(name, _)| *name != RATE_LIMIT);
    let own = own.map(|(name, value)| (*name, value.as_ref()));
    for (i, (name, value)) in
        own.chain(more.iter().map(|(name, value)| (*name, value.as_str()))).enumerate()
    {
        if i > 0 {
            out.push(SEPARATOR);
        }
        out.push_str(name);
        out.push(SEPARATOR);
        push_line(out, value);
    }
}

fn push_cause(out: &mut String, refusal: &Refusal) {
    if let Some(limit) = &refusal.limit {
        push_line(out, limit);
    } else if let Some(reason) = &refusal.reason {
        out.push(SEPARATOR);
        push_line(out, reason);
    }
}

fn push_reading(out: &mut String, max_bytes: u64, reading: Reading) {
    push_number(out, max_bytes);
    match (reading.format, reading.coding) {
        (Format::Json, None) => {}
        (Format::Json, Some(_)) => out.push_str(" json"),
        (Format::Form, _) => out.push_str(" form"),
        (Format::Multipart, _) => out.push_str(" multipart"),
    }
    if let Some(coding) = reading.coding {
        out.push(' ');
        out.push_str(coding.name());
    }
}

fn push_ask(out: &mut String, ask: &IdentityAsk) {
    out.push_str(ask.source.issuer());
    out.push(' ');
    push_number(out, millis(ask.timeout));
    if let Some((digest, cache_for)) = &ask.key {
        out.push(' ');
        push_number(out, millis(*cache_for));
        out.push(' ');
        out.push_str(digest);
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Appends a text that must not end its line.
fn push_line(out: &mut String, text: &str) {
    if memchr::memchr2(b'\n', 0x1f, text.as_bytes()).is_none() {
        out.push_str(text);
    } else {
        out.extend(
            text.chars().map(|char| if matches!(char, '\n' | SEPARATOR) { ' ' } else { char }),
        );
    }
}

fn push_limits(out: &mut String, ctx: &RequestContext) {
    let limits = ctx.limits.get(ctx.limits_written..).unwrap_or_default();
    if limits.is_empty() {
        return;
    }
    list(out, |list| {
        for limit in limits {
            list.list(|item| {
                item.string(&limit.name).number(limit.limit).number(limit.remaining);
                item.number(limit.reset_s).number(limit.id);
                if let Some(refused) = limit.shadow {
                    item.number(u64::from(refused));
                }
            });
        }
    });
}

/// The body as JSON text, if its bytes differ from the handler's value.
fn body_text(checked: &Checked) -> Option<&str> {
    checked.form.as_deref().or(checked.changed.as_deref())
}

fn push_checked(out: &mut String, checked: &Checked) {
    let parts = [
        ("body", body_text(checked)),
        ("query", checked.query.as_deref()),
        ("params", checked.params.as_deref()),
        ("headers", checked.headers.as_deref()),
        ("cookies", checked.cookies.as_deref()),
    ];
    if parts.iter().all(|(_, json)| json.is_none()) {
        return;
    }
    let mut before = '{';
    for (name, json) in parts {
        if let Some(json) = json {
            out.push(before);
            before = ',';
            push_string(out, name);
            out.push(':');
            push_line(out, json);
        }
    }
    out.push('}');
}

/// Writes a JSON list.
pub(crate) fn list(out: &mut String, write: impl FnOnce(&mut List<'_>)) {
    out.push('[');
    write(&mut List { out, first: true });
    out.push(']');
}

/// The items of a list.
#[derive(Debug)]
pub(crate) struct List<'a> {
    out: &'a mut String,
    first: bool,
}

impl List<'_> {
    fn next(&mut self) {
        if !self.first {
            self.out.push(',');
        }
        self.first = false;
    }

    fn null(&mut self) -> &mut Self {
        self.next();
        self.out.push_str("null");
        self
    }

    pub(crate) fn string_or_null(&mut self, text: Option<&str>) -> &mut Self {
        match text {
            Some(text) => self.string(text),
            None => self.null(),
        }
    }

    pub(crate) fn string(&mut self, text: &str) -> &mut Self {
        self.next();
        push_string(self.out, text);
        self
    }

    pub(crate) fn number(&mut self, number: u64) -> &mut Self {
        self.next();
        push_number(self.out, number);
        self
    }

    pub(crate) fn list(&mut self, write: impl FnOnce(&mut List<'_>)) -> &mut Self {
        self.next();
        self.out.push('[');
        write(&mut List { out: self.out, first: true });
        self.out.push(']');
        self
    }
}

/// The most bytes of a problem document, so that no body causes an answer that is larger than its
/// request.
const MAX_PROBLEM: usize = 8192;

/// A refusal as RFC 9457 problem+json, of at most 8 kB: errors beyond that are left out.
pub(crate) fn problem(refusal: &Refusal) -> String {
    const END: &str = "],\"truncated\":false}";
    let mut out = open_problem(refusal.status, refusal.code, Some(&refusal.detail));
    if !refusal.errors.is_empty() {
        out.push_str(",\"errors\":[");
        let mut truncated = refusal.truncated;
        for (i, error) in refusal.errors.iter().enumerate() {
            let before = out.len();
            out.push_str(if i == 0 { "{\"in\":" } else { ",{\"in\":" });
            push_string(&mut out, error.location);
            out.push_str(",\"pointer\":");
            push_string(&mut out, &error.pointer);
            out.push_str(",\"code\":");
            push_string(&mut out, error.code);
            out.push_str(",\"detail\":");
            push_string(&mut out, &error.detail);
            out.push('}');
            if i > 0 && out.len() + END.len() > MAX_PROBLEM {
                out.truncate(before);
                truncated = true;
                break;
            }
        }
        out.push_str("],\"truncated\":");
        out.push_str(if truncated { "true" } else { "false" });
    }
    out.push('}');
    out
}

/// The problem document of a refusal by the host itself, such as a fault of the application's
/// functions.
pub(crate) fn plain_problem(status: u16, code: &str, detail: Option<&str>) -> String {
    let mut out = open_problem(status, code, detail);
    out.push('}');
    out
}

/// The members that every problem document has, without the closing brace.
fn open_problem(status: u16, code: &str, detail: Option<&str>) -> String {
    let mut out = String::with_capacity(256);
    out.push_str("{\"type\":\"about:blank\",\"title\":");
    push_string(&mut out, title(status));
    out.push_str(",\"status\":");
    push_number(&mut out, u64::from(status));
    out.push_str(",\"code\":");
    push_string(&mut out, code);
    if let Some(detail) = detail {
        out.push_str(",\"detail\":");
        push_string(&mut out, detail);
    }
    out
}

/// The reason phrase of a status (RFC 9110 section 15, RFC 6585).
fn title(status: u16) -> &'static str {
    match status {
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        413 => "Content Too Large",
        415 => "Unsupported Media Type",
        422 => "Unprocessable Content",
        429 => "Too Many Requests",
        503 => "Service Unavailable",
        // Statuses that a policy may choose by its own `status`.
        402 => "Payment Required",
        404 => "Not Found",
        408 => "Request Timeout",
        405 => "Method Not Allowed",
        409 => "Conflict",
        410 => "Gone",
        412 => "Precondition Failed",
        423 => "Locked",
        428 => "Precondition Required",
        451 => "Unavailable For Legal Reasons",
        _ if (400..500).contains(&status) => "Request Refused",
        _ => "Internal Server Error",
    }
}

/// An address in its usual notation, with a fast path for IPv4.
fn push_address(out: &mut String, address: IpAddr) {
    use std::fmt::Write as _;
    match address {
        IpAddr::V4(address) => {
            for (i, octet) in address.octets().into_iter().enumerate() {
                if i > 0 {
                    out.push('.');
                }
                push_number(out, u64::from(octet));
            }
        }
        // Writing to a string can't fail.
        IpAddr::V6(_) => drop(write!(out, "{address}")),
    }
}

/// A JSON string. Most strings here are plain ASCII, which is copied in one piece.
fn push_string(out: &mut String, text: &str) {
    out.push('"');
    if text.bytes().all(|byte| byte >= 0x20 && byte != b'"' && byte != b'\\') {
        out.push_str(text);
    } else {
        for char in text.chars() {
            match char {
                '"' => out.push_str("\\\""),
                '\\' => out.push_str("\\\\"),
                control if u32::from(control) < 0x20 => {
                    use std::fmt::Write as _;
                    let _ = write!(out, "\\u{:04x}", u32::from(control));
                }
                other => out.push(other),
            }
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Now;
    use crate::refusal::FieldError;
    use crate::stack::HostInput;
    use proptest::prelude::*;

    #[test]
    fn the_shim_reads_each_line_where_it_is_written() {
        let shim = include_str!("../../shim/answer.js");
        let (_, lines) = shim.split_once("// Lines.").unwrap();
        let numbers: Vec<(&str, usize)> = lines
            .lines()
            .filter_map(|line| line.trim().trim_end_matches(',').split_once(": "))
            .map(|(name, number)| (name, number.parse().unwrap()))
            .collect();
        let expected: Vec<(&str, usize)> = LINES
            .iter()
            .enumerate()
            .flat_map(|(number, names)| names.iter().map(move |name| (*name, number)))
            .collect();
        assert_eq!(numbers, expected);
        let refusal = Refusal::new(401, "token_missing", "a token is required");
        let ctx = RequestContext::new(HostInput::default(), Now::at_unix_us(1));
        let written = open(&ctx, &Step::Refuse(refusal));
        // The ticket and the receipt are added behind it.
        assert_eq!(written.split('\n').count(), LINES.len() - 2);
    }

    #[test]
    fn a_refusal_is_problem_json() {
        let mut refusal =
            Refusal::new(422, "validation_failed", "the request does not match its schema");
        refusal.errors.push(FieldError {
            location: "body",
            pointer: "#/a\"b".into(),
            code: "required",
            detail: "is missing".into(),
        });
        let value: serde_json::Value = serde_json::from_str(&problem(&refusal)).unwrap();
        assert_eq!(value["status"], 422);
        assert_eq!(value["errors"][0]["pointer"], "#/a\"b");
        assert_eq!(value["truncated"], false);
    }

    #[test]
    fn a_problem_has_8_kb_at_most_and_says_what_it_leaves_out() {
        let mut refusal =
            Refusal::new(422, "validation_failed", "the request does not match its schema");
        for i in 0..crate::refusal::MAX_ERRORS {
            refusal.errors.push(FieldError {
                location: "headers",
                pointer: format!("#/{}{i}", "%F0%9F%98%80".repeat(107)),
                code: "unevaluatedProperties",
                detail: format!("`{}` is not expected here", "\u{1}".repeat(64)),
            });
        }
        let text = problem(&refusal);
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        let listed = value["errors"].as_array().unwrap();
        assert!(text.len() <= MAX_PROBLEM && text.len() > MAX_PROBLEM - 2048, "{}", text.len());
        assert_eq!(listed[0]["pointer"], refusal.errors[0].pointer);
        assert!(listed.len() < crate::refusal::MAX_ERRORS);
        assert_eq!(value["truncated"], true);
    }

    proptest! {
        #[test]
        fn an_address_is_written_as_ever(v4: u32, v6: u128) {
            for address in [IpAddr::V4(v4.into()), IpAddr::V6(v6.into())] {
                let mut out = String::new();
                push_address(&mut out, address);
                prop_assert_eq!(out, address.to_string());
            }
        }

        #[test]
        fn every_string_is_read_back_as_it_was(text in any::<String>()) {
            let mut out = String::new();
            list(&mut out, |list| {
                list.string(&text).string_or_null(None).list(|list| { list.number(7).string_or_null(Some(&text)); });
            });
            prop_assert!(!out.contains('\n'), "it stays on its line");
            let value: serde_json::Value = serde_json::from_str(&out).unwrap();
            prop_assert_eq!(value[0].as_str(), Some(text.as_str()));
            prop_assert_eq!(value[2][1].as_str(), Some(text.as_str()));
        }
    }
}
