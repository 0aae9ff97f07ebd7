//! Redis and Valkey as the store that all processes of a service share.
//!
//! The record of a subject, an address, a user or a route, is one value with the state of all of
//! its limits. Scripts judge and change it on the server's own clock: all limits of a request at
//! once, all or nothing, and never a key without an expiry. `lua/consume.lua` has the arithmetic of
//! `src/quota/algorithm.rs`, exact on doubles.

mod acknowledged;
mod bounded;
mod cluster;
mod cluster_driver;
pub mod config;
mod connect;
mod driver;
mod fault;
mod nodes;
pub(crate) mod notices;
mod open;
mod proofs_clock;
mod script;
mod sentinel;
mod setup;
mod slots;
mod tls;

use redis::{ErrorKind, RedisError, ServerErrorKind};

use crate::store::StoreError;

pub use config::{RedisConfig, Topology};
pub use connect::{Connector, Link};
pub(crate) use driver::run;
pub use open::Connection;
pub(crate) use script::Script;

/// Maps an error of a server to a store error.
pub(crate) fn store_error(error: &RedisError) -> StoreError {
    match error.kind() {
        _ if error.is_timeout() => StoreError::Timeout,
        ErrorKind::Server(
            ServerErrorKind::BusyLoading
            | ServerErrorKind::ClusterDown
            | ServerErrorKind::MasterDown
            | ServerErrorKind::TryAgain,
        ) => StoreError::Unavailable,
        ErrorKind::Server(_) | ErrorKind::Extension | ErrorKind::Parse => StoreError::Refused,
        _ => StoreError::Unavailable,
    }
}
