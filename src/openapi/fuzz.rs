//! The body of the fuzz target for documents, so that property tests run it too.

use std::sync::Arc;

use serde_json::{Value, json};

use super::api::{Api, Match};
use crate::guard::Guard;

/// Reads `document` as an API. Nothing may panic. If it is accepted, the schemas of every operation
/// must compile, and a path made from its template must find it.
///
/// # Panics
///
/// If one of these does not hold. The fuzzer detects that.
pub fn fuzz_document(guard: &Arc<Guard>, document: &Value) {
    for options in [
        json!({}),
        json!({ "unreadable": "pass", "undeclared": "accept", "basePath": "", "responses": "strip" }),
    ] {
        let Ok(api) = Api::read(guard, document, &options) else { continue };
        for (number, operation) in api.operations().iter().enumerate() {
            for body in std::iter::once(None).chain((0..operation.media().count()).map(Some)) {
                let schemas = api.schemas(number, body);
                assert!(schemas.is_some_and(|schemas| schemas.is_object()), "it has no schemas");
            }
            let name = format!("{} {}", operation.method(), operation.path());
            assert!(api.named(&name).is_ok(), "it is not found by its name");
            let _: Match = api.find(operation.method(), operation.path(), "");
        }
    }
}
