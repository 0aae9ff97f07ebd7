//! `Authorization` values, compact tokens, claims and `DPoP` proofs.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| keepstone::token::fuzz_token(data));
