//! A process of a service that counts in a shared store.

use std::sync::Arc;

use keepstone::clock::Now;
use keepstone::limit::{Check, LimitMask, LimitPolicy, Limiter, Subject};
use keepstone::net::ClientKey;
use keepstone::shared_store::SharedStore;
use serde_json::Value;

use super::ask::ask_all;
use super::redis::Server;

/// A process of a service, whose wall clock is wrong by `skew_s`.
#[derive(Debug)]
pub struct Process {
    limiter: Limiter,
    pub store: Arc<SharedStore>,
    skew_s: i64,
}

impl Process {
    pub fn start(server: &Server, prefix: &str, policies: &Value, skew_s: i64) -> Self {
        // A timeout of its own, or all would share one store, as threads of one process do.
        let timeout = u64::try_from(4_000 + skew_s).unwrap();
        let store = server.store(prefix, timeout);
        let policies = LimitPolicy::parse_all("rateLimit", policies).unwrap();
        let limiter = Limiter::shared(policies, Arc::clone(&store)).unwrap();
        Self { limiter, store, skew_s }
    }

    pub fn now(&self) -> Now {
        let now = Now::read();
        let unix_us = now.unix_us.checked_add_signed(self.skew_s * 1_000_000).unwrap();
        Now { unix_us, ..now }
    }

    /// Whether a request from `address` is admitted, and what is left by each limit.
    pub fn ask(&self, address: &str) -> (bool, Vec<u64>) {
        let subject = Subject {
            client: &ClientKey::parse(address),
            user: None,
            token: None,
            route: "",
            method: "GET",
            path: "/",
            roles: &[],
            custom_keys: &[],
            custom_costs: &[],
        };
        let mut check = self.limiter.begin(LimitMask::ALL, &subject, self.now()).unwrap();
        loop {
            match check {
                Check::Done(outcome) => {
                    let left = outcome.states.iter().map(|state| state.remaining).collect();
                    return (outcome.allowed, left);
                }
                Check::Ask(pending, question) => {
                    let answer = ask_all(&self.store, &[question]).remove(0);
                    check = self.limiter.finish(pending, answer, self.now()).unwrap();
                }
            }
        }
    }
}
