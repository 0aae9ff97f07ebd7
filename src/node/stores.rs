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
    // What this thread has received of each store.
    static TOLD: RefCell<Vec<Received>> = const { RefCell::new(Vec::new()) };
}

/// The notices of a store that a thread has received.
struct Received {
    store: Weak<SharedStore>,
    /// The number of the last notice about an outage; 0 for none.
    last: u64,
    /// How many notices about its setup.
    advice: usize,
}

/// The next warning about the shared store of a guard, `{code, message}`: each is returned once in
/// a thread, to any of its guards. Empty without one.
#[napi(catch_unwind)]
pub fn store_notice(guard: f64) -> String {
    let Ok(opened) = guard_of(guard) else { return String::new() };
    let Store::Shared(store) = opened.store() else { return String::new() };
    let Some(notice) = next_notice(store) else { return String::new() };
    let message = format!("the store ({}) {}", store.kind(), notice.text);
    json!({ "code": notice.code, "message": message }).to_string()
}

fn next_notice(store: &Arc<SharedStore>) -> Option<StoreNotice> {
    let outage = store.status().notice(Now::read());
    TOLD.with_borrow_mut(|all| {
        all.retain(|told| told.store.strong_count() > 0);
        let place = all.iter().position(|told| told.store.as_ptr() == Arc::as_ptr(store));
        let place = place.unwrap_or_else(|| {
            all.push(Received { store: Arc::downgrade(store), last: 0, advice: 0 });
            all.len() - 1
        });
        let told = all.get_mut(place)?;
        if let Some((number, notice)) = outage {
            let known = std::mem::replace(&mut told.last, number);
            // The end of an outage is no news where its start was none.
            if known != number && !(known == 0 && notice.is_end()) {
                return Some(notice);
            }
        }
        let advice = store.status().advice(told.advice)?;
        told.advice += 1;
        Some(advice)
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
