//! The storage of limits: small records under keyed fingerprints, in bounded memory.
//!
//! The attack: a limiter that remembers every key can be filled with keys. An IPv6 customer or a
//! botnet sends each request from a new address. Then the process runs out of memory (governor
//! #171, rate-limiter-flexible #152). Or, with an LRU as a cap, the flood evicts the attacker's own
//! exhausted counter and so releases it.
//!
//! [`MemoryStore`] guarantees under any load:
//!
//! - Its memory stays at or below `maxBytes` ([`MemoryStore::bytes`] counts it), also while it
//!   grows.
//! - A flood can't release a key that is blocked by hand, or that had too little left for another
//!   request after its last one. It stays until the block ends and all of its quota is back.
//! - If keys must be dropped, those that used the smallest share of their quota go first.
//! - If all buckets of a new key are full of such blocked keys, new keys share one count per shard
//!   and rule. They are limited together rather than not at all. A key that gets an entry of its
//!   own meanwhile starts with the shared count.
//! - No two keys share a record by accident or on purpose. Each store identifies keys by a 128-bit
//!   fingerprint under a random key of its own. Among the 2^20 keys of a default store, two are
//!   equal with a chance of 2^-89, and without the random key an attacker can't search for a pair.
//!
//! Requests in flight are counted beside the records ([`in_flight_slots`]), one entry for each key
//! with any. A request takes more memory than its entry, so a bound on requests bounds the entries
//! too.
//!
//! The store reclaims expired records when it needs their room. There is no timer and no thread,
//! and a check allocates only when a table grows.

pub mod ask;
pub mod config;
pub mod error;
pub(crate) mod fault;
pub(crate) mod in_flight_slots;
pub(crate) mod memory;
pub mod notices;
pub(crate) mod outage;
pub(crate) mod record;
pub mod runtime;
pub(crate) mod status;
pub(crate) mod table;
pub(crate) mod tcp;
#[cfg(test)]
mod tests;

pub use config::MemoryConfig;
pub use error::{Reply, StoreError};
pub use fault::OutageCause;
pub use memory::{Key, KeyBuilder, Locked, MemoryStore, Prefix};
pub use notices::{MAX_REASON, Notice, RuntimeOverrides};
pub use outage::StoreNotice;
pub use status::Status;
pub use table::{Record, SPENT};
