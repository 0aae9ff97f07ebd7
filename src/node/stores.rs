//! The state of a guard's store, and the warnings about a shared one.

use std::cell::RefCell;
use std::sync::{Arc, Weak};

use napi_derive::napi;
use serde_json::{Value, json};

use super::guard::guard_of;
use crate::clock::Now;
use crate::guard::Store;
use crate::shared_store::SharedStore;
use crate::store::{OutageCause, StoreNotice};

thread_local! {
    // The number of the last notice of each store that this thread has received.
    static TOLD: RefCell<Vec<(Weak<SharedStore>, u64)>> = const { RefCell::new(Vec::new()) };
}

/// The next warning about the shared store of a guard, `{code, message}`: each is returned once in
/// a thread, to any of its guards. Empty without one.
#[napi(catch_unwind)]
pub fn store_notice(guard: f64) -> String {
    let Ok(opened) = guard_of(guard) else { return String::new() };
    let Store::Shared(store) = opened.store() else { return String::new() };
    let Some((number, notice)) = store.status().notice(Now::read()) else { return String::new() };
    if !is_news(store, number, &notice) {
        return String::new();
    }
    let message = format!("the store ({}) {}", store.kind(), notice.text);
    json!({ "code": notice.code, "message": message }).to_string()
}

fn is_news(store: &Arc<SharedStore>, number: u64, notice: &StoreNotice) -> bool {
    TOLD.with_borrow_mut(|told| {
        told.retain(|(store, _)| store.strong_count() > 0);
        let known = told.iter_mut().find(|(known, _)| known.as_ptr() == Arc::as_ptr(store));
        if let Some((_, last)) = known {
            return std::mem::replace(last, number) != number;
        }
        told.push((Arc::downgrade(store), number));
        !notice.is_end()
    })
}

/// Why the shared store of a guard is unavailable, as a sentence; empty if it is available or if
/// there is none.
#[napi(catch_unwind)]
pub fn store_fault(guard: f64) -> String {
    let Ok(opened) = guard_of(guard) else { return String::new() };
    let Store::Shared(store) = opened.store() else { return String::new() };
    store.status().fault().map(|fault| fault.to_string()).unwrap_or_default()
}

/// The store in `HealthReport` of index.d.ts.
pub(super) fn store_health(store: &Store, now: Now) -> Value {
    match store {
        Store::Memory(store) => json!({
            "kind": "memory", "bytes": store.bytes(), "maxBytes": store.max_bytes(),
            "keys": store.len(now.mono_us),
        }),
        Store::Shared(shared) => {
            let (status, local) = (shared.status(), shared.local());
            // Rounded to the nearest.
            let skew = status.clock_ahead_us(now).map(|us| us.saturating_add(500).div_euclid(1000));
            json!({
                "kind": shared.kind(), "bytes": local.bytes(), "maxBytes": local.max_bytes(),
                "keys": local.len(now.mono_us),
                "available": status.has_answered() && status.is_available(), "away": status.away(), "instances": status.instances(), "waiting": status.waiting(),
                "error": status.fault().map(OutageCause::kind), "clockSkewMs": skew,
            })
        }
    }
}
