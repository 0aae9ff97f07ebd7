//! What the check of a body costs in the core, its parser alone and with its schema: `cargo bench
//! --bench payload`. With `-- once` it runs few times, for counting instructions.
//! `bench/payload.mjs` measures the same from Node.
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a measurement of real time, and no part of the library"
)]

use std::hint::black_box;
use std::time::Instant;

use keepstone::json::Limits;
use keepstone::schema::Schema;
use serde_json::{Value, json};

fn text(max: u32) -> Value {
    json!({ "type": "string", "minLength": 1, "maxLength": max })
}

fn object(properties: &Value) -> Value {
    let required: Vec<_> = properties.as_object().unwrap().keys().cloned().collect();
    json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false })
}

fn signup() -> (Value, Value) {
    let schema = object(&json!({
        "username": { "type": "string", "minLength": 3, "maxLength": 20, "pattern": "^[a-zA-Z0-9]+$" },
        "email": { "type": "string", "format": "email" },
        "password": { "type": "string", "minLength": 12 },
    }));
    (
        schema,
        json!({ "username": "user12abc", "email": "user12@example.com", "password": "correct horse 12 battery" }),
    )
}

fn order(lines: u32) -> (Value, Value) {
    let zip = json!({ "type": "string", "pattern": "^[0-9]{5}$" });
    let schema = object(&json!({
        "id": { "type": "integer", "minimum": 1 },
        "customer": object(&json!({
            "name": text(100), "email": { "type": "string", "format": "email" },
            "address": object(&json!({ "street": text(100), "city": text(100), "zip": zip })),
        })),
        "lines": { "type": "array", "minItems": 1, "maxItems": 1000, "items": object(&json!({
            "sku": text(40), "quantity": { "type": "integer", "minimum": 1 }, "price": { "type": "number", "minimum": 0 },
            "note": text(200), "gift": { "type": "boolean" },
        })) },
        "paid": { "type": "boolean" },
    }));
    let line = |n: u32| json!({ "sku": format!("SKU-1-{n}"), "quantity": n + 1, "price": 9.99 + f64::from(n), "note": "leave at the door, please", "gift": n.is_multiple_of(2) });
    let lines: Vec<_> = (0..lines).map(line).collect();
    let value = json!({
        "id": 1001, "customer": { "name": "Customer 1", "email": "customer1@example.com", "address": { "street": "1 High Street", "city": "Springfield", "zip": "12345" } },
        "lines": lines, "paid": true,
    });
    (schema, value)
}

fn time(count: u32, mut run: impl FnMut()) -> f64 {
    let mut best = f64::MAX;
    // For counting instructions.
    let (rounds, count) =
        if std::env::args().any(|argument| argument == "once") { (1, 100) } else { (9, count) };
    for _ in 0..rounds {
        let start = Instant::now();
        for _ in 0..count {
            run();
        }
        best = best.min(start.elapsed().as_secs_f64() * 1e9 / f64::from(count));
    }
    best
}

fn main() {
    // `cargo bench` passes flags of its own; `cargo test --benches` only wants to see it start.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let config = Limits::default();
    for (name, (schema, value)) in
        [("signup", signup()), ("order, 7 lines", order(7)), ("order, 60 lines", order(60))]
    {
        let schema = Schema::compile("body", &schema, true).unwrap();
        let body = value.to_string();
        let bytes = body.as_bytes();
        let count = 20_000_000 / u32::try_from(bytes.len()).unwrap();
        let parse = time(count, || {
            config
                .with_document(black_box(bytes), None, |document| {
                    black_box(document.nodes());
                })
                .unwrap();
        });
        let check = time(count, || schema.validate(black_box(bytes), &config).unwrap());
        println!(
            "{name:16} {:5} B: parse {parse:6.0} ns, parse and check {check:6.0} ns",
            bytes.len()
        );
    }
}
