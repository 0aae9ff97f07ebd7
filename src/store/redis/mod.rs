//! Redis and Valkey as the store that all processes of a service share.
pub mod config;
mod connect;

pub use config::{RedisConfig, Topology};
pub use connect::{Connector, Link};
