//! Where limits are kept: small records under keyed fingerprints, in bounded memory.
//!
//! The attack: a limiter that remembers every key it meets can be filled with keys. An IPv6
//! customer or a botnet sends each request under a new address, and either the process runs out of
//! memory (governor #171, rate-limiter-flexible
//! #152) or, where an LRU caps it, the flood pushes the attacker's own exhausted counter out and so
//! releases it.
//!
//! What [`MemoryStore`] guarantees, whatever comes:
//!
//! - its memory stays at or below `maxBytes` ([`MemoryStore::bytes`] counts it), while it grows
//!   too;
//! - a key that is blocked by hand, or that had too little left for another request after its last
//!   one, stays remembered until the block ends and all of its quota is back: a flood can't release
//!   it;
//! - where keys must be dropped, it is those that have used the smallest share of their quota;
//! - where all the places that a new key may take hold such blocked keys, new keys share one count
//!   per shard and rule, so that they are limited together rather than not at all, and a key that
//!   gets a place of its own while that goes on starts with what the shared count has used;
//! - no two keys share a record by accident or on purpose: keys are known by a 128-bit fingerprint
//!   that is keyed at random in each store. With the 2^20 keys of a default store two of them are
//!   alike with a chance of 2^-89, and without the key nobody can look for a pair.
//!
//! Requests that are under way are counted beside the records ([`under_way`]), one entry for each
//! key that has any: the requests themselves take more memory than that, and what bounds them
//! bounds it.
//!
//! Expired records are reclaimed as their place is needed. There is no timer and no thread, and no
//! allocation in a check except when a table grows.

pub mod ask;
pub mod config;
pub mod error;
pub(crate) mod fault;
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
pub(crate) mod under_way;

pub use config::MemoryConfig;
pub use error::{Reply, StoreError};
pub use fault::OutageCause;
pub use memory::{Key, KeyBuilder, Locked, MemoryStore, Prefix};
pub use notices::{MAX_REASON, Notice, RuntimeOverrides};
pub use outage::StoreNotice;
pub use status::Status;
pub use table::{Record, SPENT};
