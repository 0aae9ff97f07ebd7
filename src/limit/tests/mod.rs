//! The behaviour that users rely on.

mod admin;
mod charge;
mod config;
mod exceed;
mod flood;
mod in_flight;
mod limiter;
mod live;
mod signal;
mod threads;

use std::sync::Arc;

use serde_json::Value;

use super::{LimitMask, LimitPolicy, Limiter, Outcome, Subject};
use crate::clock::Now;
use crate::net::ClientKey;
use crate::store::MemoryStore;

const SECOND: u64 = 1_000_000;
/// Noon of some day, so that aligned windows begin here too.
const NOON: u64 = 1_800_000_000 / 86_400 * 86_400 * SECOND + 43_200 * SECOND;

fn at(us: u64) -> Now {
    Now::at_unix_us(NOON + us)
}

fn limiter(policies: &Value) -> Limiter {
    let policies = LimitPolicy::parse_all("rateLimit", policies).unwrap();
    Limiter::new(policies, Arc::new(MemoryStore::new(1 << 20)), "").unwrap()
}

/// `GET /` by one client.
fn request(client: &ClientKey) -> Subject<'_> {
    Subject {
        client,
        user: None,
        token: None,
        route: "/",
        method: "GET",
        path: "/",
        roles: &[],
        custom_keys: &[],
        custom_costs: &[],
    }
}

fn check<'l>(limiter: &'l Limiter, subject: &Subject<'_>, now: Now) -> Outcome<'l> {
    limiter.check(LimitMask::ALL, subject, now).unwrap()
}

/// The number of admitted requests among `tries` at one instant.
fn admitted(limiter: &Limiter, subject: &Subject<'_>, tries: usize, now: Now) -> usize {
    (0..tries).filter(|_| check(limiter, subject, now).allowed).count()
}
