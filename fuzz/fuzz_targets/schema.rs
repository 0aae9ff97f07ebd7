//! A JSON Schema and a body, with a zero byte between them.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let at = data.iter().position(|byte| *byte == 0).unwrap_or(data.len());
    let (schema, body) = data.split_at(at);
    keepstone::payload::fuzz::fuzz_schema(schema, body.get(1..).unwrap_or_default());
});
