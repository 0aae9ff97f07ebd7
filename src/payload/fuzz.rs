//! The bodies of the fuzz targets, so that property tests run them too.

use serde_json::Value;

use crate::json::Limits;
use crate::json::tape::Document;
use crate::schema::Schema;

/// Feeds `data` to the parser. Nothing may panic. Every other parser must read an accepted text the
/// same: it is valid for `serde_json`, has the same value, and keeps it when written and read
/// again.
///
/// # Panics
///
/// If one of these does not hold. The fuzzer detects that.
pub fn fuzz_json(data: &[u8]) {
    let limits = Limits::default();
    let Ok(value) = limits.with_document(data, None, |document| {
        assert_eq!(document.text().as_bytes(), data, "the document is not the text");
        document.to_value()
    }) else {
        return;
    };
    let custom_formats = serde_json::from_slice::<Value>(data);
    assert!(
        custom_formats.is_ok_and(|custom_formats| same(&value, &custom_formats)),
        "accepted, but read differently elsewhere"
    );
    let written = value.to_string();
    let again = limits.with_document(written.as_bytes(), None, value_of);
    // The written text may be longer and exceed the size limit.
    assert!(
        written.len() > limits.max_bytes || again.is_ok_and(|again| again == value),
        "read differently when written out"
    );
}

/// Compiles `schema`, if it is JSON, and validates `data`. Nothing may panic. A refusal must be
/// sendable: with a status, and with errors if it is a 422. The full check must accept every
/// document that the fast path accepts.
///
/// # Panics
///
/// If one of these does not hold.
pub fn fuzz_schema(schema: &[u8], data: &[u8]) {
    let Ok(schema) = serde_json::from_slice::<Value>(schema) else { return };
    let Ok(schema) = Schema::compile("body", &schema, true) else { return };
    let limits = Limits::default();
    let said = limits.with_document(data, Some(&schema), |document| schema.compare_paths(document));
    let matches = said.as_ref().is_ok_and(|(_, matches)| *matches);
    let is_quick =
        schema.accepts_bytes(data, &limits) || said.is_ok_and(|(quick, _)| quick == Some(true));
    assert!(matches || !is_quick, "accepted in haste");
    if let Err(refusal) = schema.validate(data, &limits) {
        assert!(matches!(refusal.status, 400 | 413 | 422), "a status of another layer");
        assert!(refusal.status != 422 || !refusal.errors.is_empty(), "refused without a reason");
        assert!(refusal.errors.len() <= crate::refusal::MAX_ERRORS, "too many errors");
    }
}

fn value_of(document: &Document<'_>) -> Value {
    document.to_value()
}

/// `serde_json` may read a double one unit off in its last place; any larger difference fails.
fn same(ours: &Value, custom_formats: &Value) -> bool {
    match (ours, custom_formats) {
        (Value::Number(a), Value::Number(b)) => {
            let (Some(x), Some(y)) = (a.as_f64(), b.as_f64()) else { return false };
            a == b || a.is_f64() && (x - y).abs() <= x.abs() * 2.0 * f64::EPSILON
        }
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(a, b)))
        }
        _ => ours == custom_formats,
    }
}
