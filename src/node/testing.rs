//! `keepstone/testing`: a clock that tests move, and a guard that forgets. The shim refuses both in
//! production.

use std::time::Duration;

use napi_derive::napi;
use serde_json::Value;

use super::guard::{ErrorPayload, guard_of, write};
use super::registry;
use crate::binding::ReplayCache;
use crate::clock::{Now, test_clock};

const CODE: &str = "ERR_TESTING";

/// A shared store counts by a clock of its own, which no test moves.
pub(super) fn clock_of_shared_store() -> ErrorPayload {
    ErrorPayload::new(
        CODE,
        "a test clock can't be moved while a guard has a shared store, which keeps its own time; test with the memory store",
    )
}

/// Moves the clock of this thread on by so many milliseconds.
#[napi(catch_unwind)]
pub fn test_clock_advance(ms: f64) -> String {
    write((|| {
        if registry::has_shared_store() {
            return Err(clock_of_shared_store());
        }
        let by = Duration::try_from_secs_f64(ms / 1000.0).ok();
        if by.is_some_and(test_clock::advance) {
            return Ok(Value::Null);
        }
        Err(ErrorPayload::new(CODE, "a test clock goes on, by up to 100 years in all"))
    })())
}

/// This thread reads the clocks of the machine again.
#[napi(catch_unwind)]
pub fn test_clock_release() {
    if !test_clock::ahead().is_zero() {
        test_clock::release();
        ReplayCache::forget_local();
    }
}

/// What the guards of this thread take for the time, in milliseconds since 1970.
#[napi(catch_unwind)]
pub fn test_clock_now() -> f64 {
    Duration::from_micros(Now::read().unix_us).as_secs_f64() * 1000.0
}

/// Forgets what a guard has counted, revoked and begun in the memory of this process.
#[napi(catch_unwind)]
pub fn forget_all(guard: f64) -> String {
    write((|| {
        if guard_of(guard)?.forget_all() {
            return Ok(Value::Null);
        }
        Err(ErrorPayload::new(
            CODE,
            "the guard has a shared store, which other processes use too; give each test run a `prefix` of its own instead",
        ))
    })())
}
