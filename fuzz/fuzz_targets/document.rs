//! An OpenAPI document.
#![no_main]

use std::sync::{Arc, OnceLock};

use keepstone::guard::Guard;

static GUARD: OnceLock<Arc<Guard>> = OnceLock::new();

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Ok(document) = serde_json::from_slice(data) else { return };
    let options = serde_json::json!({ "rateLimit": false });
    let guard = GUARD.get_or_init(|| Arc::new(Guard::new(&options).expect("the options are sound")));
    keepstone::openapi::fuzz::fuzz_document(guard, &document);
});
