//! A deterministic simulation: several processes with the real code of the product, a store with
//! replicas, and the network between them, on one thread and in virtual time. A seed reproduces a
//! history.
//!
//! Real code: guards, limits, leases, the list of revocations, sessions, runtime overrides, the
//! Redis drivers, and the Lua scripts. Models: Redis itself ([`redis`]), the network ([`network`]),
//! clocks and random numbers ([`world`]).

mod clocks;
mod faults;
mod history;
mod limits;
mod network;
mod process;
mod redis;
mod returning;
mod service;
mod sessions;
mod world;

pub(crate) use network::{Connection, connect};
pub(crate) use world::{fill_random, now, set_back, spawn};

/// Runs a history in virtual time.
fn simulate<T>(history: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime can be had");
    runtime.block_on(history)
}

mod tests;
