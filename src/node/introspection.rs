//! Token introspection: the shim makes the requests, as scheduled by the core.

use napi_derive::napi;
use serde_json::{Map, Value, json};

use super::guard::{ErrorPayload, guard_of, write};
use super::issuers::notice_of;
use super::tokens::tokens_of;
use crate::clock::Now;
use crate::guard::Tokens;
use crate::introspection::{AnswerHead, AskError, Question};

/// The requests that are due: `{"requests": [{issuer, number, url, headers, form, timeout}],
/// "in": ms, "notices": [...]}`: `issuer` is the number of the issuer among those of the options,
/// `timeout` is in milliseconds, and `in` is the time until the next call, `null` for never.
#[napi(catch_unwind)]
pub fn introspection_due(guard: f64) -> String {
    write((|| {
        let opened = guard_of(guard)?;
        let found = opened.tokens.as_ref().and_then(Tokens::introspection);
        let Some((at, issuer, introspection)) = found else {
            return Ok(json!({ "requests": [], "in": null, "notices": [] }));
        };
        let (questions, wait, notice) = introspection.due(Now::read());
        let requests: Vec<Value> =
            questions.into_iter().map(|question| question_json(at, question)).collect();
        // Rounded up: a caller that is slightly early would have to call again.
        let ms = wait.map(|wait| wait.as_micros().div_ceil(1000).max(1));
        let ms = ms.map(|ms| u64::try_from(ms).unwrap_or(u64::MAX));
        let notices: Vec<Value> =
            notice.iter().map(|notice| notice_of(issuer.name(), notice)).collect();
        Ok(json!({ "requests": requests, "in": ms, "notices": notices }))
    })())
}

fn question_json(issuer: usize, question: Question) -> Value {
    let headers: Map<String, Value> =
        question.headers.into_iter().map(|(name, value)| (name, value.into())).collect();
    json!({
        "issuer": issuer, "number": question.number, "url": question.url, "headers": headers, "form": question.form,
        "timeout": u64::try_from(question.timeout.as_millis()).unwrap_or(u64::MAX),
    })
}

/// Takes the answer to a request. Returns the warning to emit, `{code, message}` or `null`.
#[napi(catch_unwind)]
pub fn introspection_answered(
    guard: f64,
    number: u32,
    status: u32,
    content_type: Option<String>,
    body: &[u8],
) -> String {
    let status = u16::try_from(status).unwrap_or_default();
    let head = AnswerHead { status, content_type };
    answered(guard, number, Ok((&head, body)))
}

/// Takes a failed request: `why` is `timeout`, `network`, `tls`, `redirect`, `too-large` or
/// `headers`. Answers like `introspectionAnswered`.
#[napi(catch_unwind)]
pub fn introspection_failed(guard: f64, number: u32, why: String) -> String {
    answered(guard, number, Err(AskError::from_kind(&why)))
}

fn answered(guard: f64, number: u32, came: Result<(&AnswerHead, &[u8]), AskError>) -> String {
    write((|| {
        let opened = guard_of(guard)?;
        let found = tokens_of(&opened)?.introspection();
        let (_, issuer, _) =
            found.ok_or_else(|| ErrorPayload::new("ERR_INTERNAL", "no issuer is asked"))?;
        let notice = issuer.introspected(number, came, Now::read());
        Ok(notice.map_or(Value::Null, |notice| notice_of(issuer.name(), &notice)))
    })())
}
