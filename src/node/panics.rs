//! Deliberate panics, in debug builds only: the tests use them to show that no panic reaches Node.

use std::sync::atomic::{AtomicBool, Ordering};

use napi_derive::napi;

static PANIC_NEXT: AtomicBool = AtomicBool::new(false);

/// Panics at once.
#[napi(catch_unwind)]
pub fn debug_panic() {
    panic_now("a deliberate panic");
}

/// Panics with a text of the caller.
#[napi(catch_unwind)]
pub fn debug_panic_saying(text: String) {
    panic_now(&text);
}

/// Makes the next decision panic.
#[napi(catch_unwind)]
pub fn debug_panic_next() {
    PANIC_NEXT.store(true, Ordering::SeqCst);
}

/// The point at which the next decision panics.
pub(super) fn point() {
    if PANIC_NEXT.swap(false, Ordering::SeqCst) {
        panic_now("a deliberate panic");
    }
}

#[expect(clippy::panic, reason = "this is what it is for")]
fn panic_now(text: &str) {
    panic!("{text}");
}
