//! Redis and Valkey as the store that all processes of a service share.
//!
//! The record of a subject, an address, a user or a route, is one value with the state of every limit that counts it.
//! Scripts judge and change it on the server's own clock: all limits of a request at once, all or nothing, and never a
//! key without an expiry. `lua/judge.lua` has the arithmetic of `src/limit/algorithm.rs`, exact on doubles.

pub mod config;
mod connect;
mod driver;
mod families;
pub(super) mod notices;
mod script;

pub use config::{RedisConfig, Topology};
pub use connect::{Connector, Link};
pub use families::RedisFamilies;
