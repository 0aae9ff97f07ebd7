//! The reader of multipart bodies: the first byte is the size of the pieces.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let (step, body) = data.split_first().unwrap_or((&1, &[]));
    keepstone::multipart::fuzz::fuzz_multipart(body, usize::from(*step));
});
