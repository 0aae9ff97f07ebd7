//! `guard.fromOpenApi`: documents are read here once, and used for every request.

use std::sync::Arc;

use napi_derive::napi;
use parking_lot::RwLock;
use serde_json::{Value, json};

use super::guard::{ErrorPayload, guard_of, parse, write};
use super::slots::{self, Slots};
use crate::openapi::{Api, BodyKind, Demand, Match, Operation};
use crate::refusal::Refusal;
use crate::requirements::words;

/// The documents by number, with the number of their guard. An API does not hold its guard, so this
/// table keeps no guard alive.
static APIS: RwLock<Slots<(u64, Arc<Api>)>> = RwLock::new(Slots::new());

fn api(number: f64) -> Option<Arc<Api>> {
    APIS.read().get(slots::from_js(number)?).map(|(_, api)| Arc::clone(api))
}

/// Releases the documents of a guard that is closed.
pub(super) fn release_of(guard: u64) {
    APIS.write().retain(|(owner, _)| *owner != guard);
}

fn known(number: f64) -> Result<Arc<Api>, ErrorPayload> {
    api(number).ok_or_else(|| ErrorPayload::new("ERR_CLOSED", "the document is closed"))
}

/// Reads a document (JSON) with options (JSON). Returns `{api, refusesUnknown, bases, operations}`:
/// its number, its base paths, and the input and the security requirements of each operation.
#[napi(catch_unwind)]
pub fn open_api(guard: f64, document: String, options: String) -> String {
    write((|| {
        let api = Api::read(&guard_of(guard)?, &parse(&document)?, &parse(&options)?)?;
        let operations: Vec<Value> = api.operations().iter().map(describe).collect();
        let refuses = api.refuses_unknown();
        let bases: Vec<String> = api.bases().collect();
        let full = || {
            ErrorPayload::new(
                "ERR_INTERNAL",
                "too many documents are open; read each of them once, not for every request",
            )
        };
        let owner = slots::from_js(guard).ok_or_else(full)?;
        let number = APIS.write().insert((owner, Arc::new(api))).ok_or_else(full)?;
        Ok(json!({
            "api": number,
            "refusesUnknown": refuses,
            "bases": bases,
            "operations": operations,
        }))
    })())
}

/// The scopes in the claims of a token, a list as JSON: as the layers of the core read them.
#[napi(catch_unwind)]
pub fn open_api_scopes(claims: String) -> String {
    let claims = serde_json::from_str(&claims).unwrap_or_default();
    json!(words::scopes(&claims)).to_string()
}

/// Releases a document.
#[napi(catch_unwind)]
pub fn open_api_release(api: f64) {
    let taken = slots::from_js(api).and_then(|api| APIS.write().take(api));
    drop(taken);
}

/// The number of the operation with this name: its `operationId`, or `METHOD /path`.
#[napi(catch_unwind)]
pub fn open_api_operation(api: f64, name: String) -> String {
    write(known(api).and_then(|api| Ok(api.named(&name)?.into())))
}

/// The schemas of an operation in the format of `stack`, with a body of this media type or without
/// one.
#[napi(catch_unwind)]
pub fn open_api_schemas(api: f64, operation: u32, body: Option<u32>) -> String {
    write((|| {
        let size = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
        let schemas = known(api)?.schemas(size(operation), body.map(size));
        schemas
            .ok_or_else(|| ErrorPayload::new("ERR_INVALID_ARGUMENT", "there is no such operation"))
    })())
}

/// Finds the operation of a request. The answer begins with its kind:
///
/// - `=` and the operation's number, a line break and its path parameters as JSON (empty without
///   any)
/// - `!` and the methods of the path, if it has only others
/// - `?` for an unknown path
/// - `-` for a path outside of the document
/// - `x` and code, status and detail in lines for a path that is refused
///
/// `mount` is the path under which the handler is mounted.
#[napi(catch_unwind)]
pub fn open_api_find(api: f64, method: String, target: String, mount: String) -> String {
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
