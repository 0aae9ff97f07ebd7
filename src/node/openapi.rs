//! `guard.fromOpenApi`: documents are read here once, and asked for every request.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use napi_derive::napi;
use parking_lot::RwLock;
use serde_json::{Value, json};

use super::manage::{Failure, engine, parse, write};
use crate::openapi::{Api, BodyKind, Demand, Match, Operation};
use crate::refusal::Refusal;

/// The documents by number. An API does not hold its guard, so that this keeps none alive.
static APIS: RwLock<Option<HashMap<u32, Arc<Api>>>> = RwLock::new(None);
static NEXT: AtomicU32 = AtomicU32::new(1);

fn api(number: u32) -> Option<Arc<Api>> {
    APIS.read().as_ref()?.get(&number).map(Arc::clone)
}

fn known(number: u32) -> Result<Arc<Api>, Failure> {
    api(number).ok_or_else(|| Failure::new("ERR_CLOSED", "the document is closed"))
}

/// Reads a document (JSON) with options (JSON). Answers `{api, refusesUnknown, bases, operations}`:
/// its number, its base paths, and what each operation takes and demands.
#[napi(catch_unwind)]
pub fn open_api(guard: u32, document: String, options: String) -> String {
    write((|| {
        let api = Api::read(&engine(guard)?, &parse(&document)?, &parse(&options)?)?;
        let operations: Vec<Value> = api.operations().iter().map(describe).collect();
        let refuses = api.refuses_unknown();
        let bases: Vec<String> = api.bases().collect();
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        APIS.write().get_or_insert_default().insert(number, Arc::new(api));
        Ok(json!({
            "api": number,
            "refusesUnknown": refuses,
            "bases": bases,
            "operations": operations,
        }))
    })())
}

/// Forgets a document.
#[napi(catch_unwind)]
pub fn open_api_release(api: u32) {
    if let Some(apis) = APIS.write().as_mut() {
        apis.remove(&api);
    }
}

/// The number of the operation with that name: its `operationId`, or `METHOD /path`.
#[napi(catch_unwind)]
pub fn open_api_operation(api: u32, name: String) -> String {
    write(known(api).and_then(|api| Ok(api.named(&name)?.into())))
}

/// The schemas of an operation as `stack` takes them, with a body of that media type or without one.
#[napi(catch_unwind)]
pub fn open_api_schemas(api: u32, operation: u32, body: Option<u32>) -> String {
    write((|| {
        let size = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
        let schemas = known(api)?.schemas(size(operation), body.map(size));
        schemas.ok_or_else(|| Failure::new("ERR_INVALID_ARGUMENT", "there is no such operation"))
    })())
}

/// The operation that a request is about. The answer begins with its kind: `=` and the operation's number, a line break
/// and its path parameters as JSON (empty without any); `!` and the methods of the path, where it has others; `?` for an
/// unknown path; `-` for one outside of the document; `x` and code, status and detail in lines for a path that is refused.
/// `mount` is the path under which the handler is mounted.
#[napi(catch_unwind)]
pub fn open_api_find(api: u32, method: String, target: String, mount: String) -> String {
    #[cfg(debug_assertions)]
    super::panics::point();
    let found = match self::api(api) {
        Some(api) => api.find(&method, &target, &mount),
        None => {
            Match::Refused(Refusal::new(503, "guard_closed", "the guard of this API is closed"))
        }
    };
    match found {
        Match::Operation { operation, params } if params.is_empty() => format!("={operation}\n"),
        Match::Operation { operation, params } => {
            let params = params.into_iter().map(|(name, value)| (name, Value::String(value)));
            format!("={operation}\n{}", Value::Object(params.collect()))
        }
        Match::OtherMethods(methods) => format!("!{}", methods.join(", ")),
        Match::Unknown => "?".to_owned(),
        Match::Outside => "-".to_owned(),
        Match::Refused(refusal) => {
            format!("x{}\n{}\n{}", refusal.code, refusal.status, refusal.detail)
        }
    }
}

fn describe(operation: &Operation) -> Value {
    let media: Vec<Value> =
        operation.media().map(|(media, kind)| json!([media, kind == BodyKind::Unread])).collect();
    let demand = |demand: &Demand| match demand {
        Demand::Token { scopes } => json!({ "scopes": scopes }),
        Demand::Function { scheme, scopes } => json!({ "scheme": scheme, "scopes": scopes }),
    };
    let security: Vec<Value> = operation
        .alternatives()
        .iter()
        .map(|alternative| alternative.iter().map(demand).collect())
        .collect();
    json!({
        "operationId": operation.id(),
        "method": operation.method(),
        "path": operation.path(),
        "media": media,
        "bodyRequired": operation.body_required(),
        "security": security,
        "challenges": operation.challenges(),
    })
}
