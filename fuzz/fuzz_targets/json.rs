//! The strict JSON parser.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| keepstone::payload::fuzz::fuzz_json(data));
