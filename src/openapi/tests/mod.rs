//! Typical documents, and their results.

mod discriminators;
mod documents;
mod faults;
mod responses;
mod routes;
mod schemas;
mod version_32;

use std::sync::Arc;

use serde_json::{Value, json};

use super::{Api, Match};
use crate::error::ConfigError;
use crate::guard::Guard;

/// A guard that verifies tokens.
fn guard() -> Arc<Guard> {
    let config = json!({
        "rateLimit": false,
        "jwt": { "issuer": "https://id.example.com", "audience": "api", "secret": "Zx3bTq8LmVn5RkWc7YpJd2HsFg9AuEo4" },
    });
    Arc::new(Guard::new(&config).unwrap())
}

/// A guard that verifies no tokens.
fn without_tokens() -> Arc<Guard> {
    Arc::new(Guard::new(&json!({ "rateLimit": false })).unwrap())
}

fn read(document: &Value) -> Result<Api, ConfigError> {
    Api::read(&guard(), document, &json!({}))
}

/// A document with these paths.
fn document(version: &str, paths: &Value) -> Value {
    json!({ "openapi": version, "info": { "title": "t", "version": "1" }, "paths": paths })
}

/// A document with one operation, `POST /things`, and a body of that schema.
fn with_body(version: &str, schema: &Value, schemas: &Value) -> Value {
    let paths = json!({ "/things": { "post": {
        "requestBody": { "required": true, "content": { "application/json": { "schema": schema } } },
        "responses": {},
    } } });
    let mut document = document(version, &paths);
    document["components"] = json!({ "schemas": schemas });
    document
}

/// The search result for a request, in short form.
fn found(api: &Api, method: &str, target: &str) -> String {
    match api.find(method, target, "") {
        Match::Operation { operation, params } => {
            let operation = &api.operations()[operation];
            let params: Vec<String> =
                params.iter().map(|(name, value)| format!(" {name}={value}")).collect();
            format!("{} {}{}", operation.method(), operation.path(), params.concat())
        }
        Match::OtherMethods(methods) => format!("405 {}", methods.join(", ")),
        Match::Unknown => "404".to_owned(),
        Match::Outside => "outside".to_owned(),
        Match::Refused(refusal) => refusal.code.to_owned(),
    }
}
