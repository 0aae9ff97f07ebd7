//! Memcached as the store that all processes of a service share.
//!
//! The record of a subject, an address, a user or a route, is one item with the state of all of its
//! limits, as in Redis. Memcached runs no scripts. So a record is read, judged in this process
//! ([`judge`]), and written over the version that was read (`gets` and `cas`); if that fails, all
//! of it is repeated, three times at most. A process judges its commands on one record together
//! ([`record_queue`]), so it competes only with other processes.
//!
//! Guarantees and their limits:
//!
//! - **No lost update.** Two processes never charge the same record without seeing each other.
//! - **All or nothing** within a subject. A request with several subjects has several records. If
//!   one of them changed meanwhile and then refuses, the charges of the others are given back;
//!   until that arrives, they are a request short. A charge on a server that is gone can't be given
//!   back and stays.
//! - **Time** is the server's, which `stats` reports in whole seconds; see `Clock` in [`server`].
//!   The wall clocks of the processes decide nothing. Their estimates of the server's clock differ
//!   by s: less than 0.1 s as a rule, 2 s at most just after one has connected. In any span W a
//!   subject is admitted at most burst + limit / window × (W + s). No process sets the time of a
//!   record back ([`crate::quota::algorithm::Rule::earliest`]), so aligned windows hold.
//! - **Counts can be lost**: Memcached loses all of them when it restarts or is flushed, and single
//!   ones when it is full, which a flood of other keys can cause. A subject without a record starts
//!   anew. Give limits a large enough server of their own, or use Redis if a count must not be
//!   lost.
//!
//! **Several servers.** Rendezvous hashing assigns each subject to one of them. A server that is
//! away affects its own subjects and no others: `onStoreFailure` decides about their requests.

pub mod config;
mod connection;
mod driver;
mod judge;
mod record_queue;
mod server;
#[cfg(test)]
mod tests;
mod wire;

pub use config::MemcachedConfig;
pub(crate) use driver::run;
