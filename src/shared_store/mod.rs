//! The store that all processes of a service share: one handle for Redis and Memcached.

mod backend;
mod config;
mod slots;
mod store;

pub use backend::Backend;
pub use config::StoreConfig;
pub use slots::SharedSlot;
pub use store::SharedStore;
