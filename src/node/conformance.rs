//! The functions behind `keepstone/conformance`: single parsers of the core, for running external
//! test suites on the shipped addon. No request is handled here. Answers are those of
//! [`super::guard`].

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use napi_derive::napi;
use serde_json::{Map, Value, json};

use super::guard::{Answer, ErrorPayload, parse, write};
use crate::clock::Now;
use crate::config::options::{Options, describe};
use crate::error::ConfigError;
use crate::json::Limits;
use crate::payload::{Format, Parts, PayloadConfig, Schemas};
use crate::refusal::Refusal;
use crate::schema::Schema;
use crate::token::{CompactError, verify_compact};

impl From<CompactError> for ErrorPayload {
    fn from(error: CompactError) -> Self {
        match error {
            CompactError::Key(error) => error.into(),
            CompactError::Token(denial) => denial.into(),
        }
    }
}

/// Verifies a compact JWS with a JWK or a JWK set (JSON), and returns its payload in base64. No
/// claim is checked.
#[napi(catch_unwind)]
pub fn conformance_verify_compact(token: String, jwk: String) -> String {
    let payload = || -> Answer {
        Ok(STANDARD.encode(verify_compact(&token, &parse(&jwk)?, Now::read())?).into())
    };
    write(payload())
}

/// Whether bytes are JSON that the payload layer accepts with its defaults.
#[napi(catch_unwind)]
pub fn conformance_parse_json(bytes: &[u8]) -> String {
    write(match Limits::default().with_document(bytes, None, |_| ()) {
        Ok(()) => Ok(Value::Null),
        Err(refusal) => Err(refusal.into()),
    })
}

/// The value that the payload layer itself reads from a body with its defaults and without a
/// schema: from JSON, or from a form if `form` is set.
#[napi(catch_unwind)]
pub fn conformance_read_body(bytes: &[u8], form: bool) -> String {
    let parts = Parts {
        limits: &Limits::default(),
        body: Some(bytes),
        format: if form { Format::Form } else { Format::Json },
        query: "",
        params: &[],
        headers: &[],
        language: None,
        multipart: None,
        keep_body: true,
    };
    write(match Schemas::default().check(&parts) {
        Ok(checked) => Ok(checked.body.into()),
        Err(refusal) => Err(refusal.into()),
    })
}

/// Validates bytes against a schema (JSON) by the rules of its draft. `options` is JSON,
/// `{ draft?, registry?, formats? }`. Returns `{valid, errors}`.
#[napi(catch_unwind)]
pub fn conformance_validate_json(schema: String, bytes: &[u8], options: String) -> String {
    let verdict = || -> Answer {
        let (schema, config) = compiled(&parse(&schema)?, &parse(&options)?)?;
        Ok(match schema.validate(bytes, config.limits()) {
            Ok(()) => json!({ "valid": true, "errors": [] }),
            Err(refusal) => json!({ "valid": false, "errors": errors(&refusal) }),
        })
    };
    write(verdict())
}

fn compiled(schema: &Value, options: &Value) -> Result<(Schema, PayloadConfig), ConfigError> {
    let options = Options::read("options", options, &["draft", "registry", "formats"])?;
    let drafts = ["2020-12", "2019-09", "7", "6", "4"].map(|draft| (draft, draft));
    let draft = options.one_of("draft", &drafts)?.unwrap_or("2020-12");
    let none = Map::new();
    let registry = match options.get("registry") {
        None => &none,
        Some(Value::Object(documents)) => documents,
        Some(other) => {
            let problem = format!("must be an object of documents by URI, not {}", describe(other));
            return Err(options.invalid("registry", problem));
        }
    };
    let formats = options.bool("formats")?.unwrap_or(false);
    let schema = Schema::conformance(schema, draft, registry, formats)?;
    // The suites have keys such as `$ref` in their instances, and there is no database.
    let config = PayloadConfig::parse("payload", Some(&json!({ "operators": "allow" })))?;
    Ok((schema, config))
}

/// The errors of an instance; one that was refused before the schema check has one error, at its
/// root.
fn errors(refusal: &Refusal) -> Vec<Value> {
    if refusal.errors.is_empty() {
        return vec![
            json!({ "in": "body", "pointer": "#", "code": refusal.code, "detail": refusal.detail }),
        ];
    }
    let errors = refusal.errors.iter();
    errors
        .map(|error| {
            json!({ "in": error.location, "pointer": error.pointer, "code": error.code, "detail": error.detail })
        })
        .collect()
}
