//! Memcached as the store that all processes of a service share.
//!
//! The record of a subject, an address, a user or a route, is one item with the state of every
//! limit that counts it, as in Redis. Memcached runs no scripts: a record is read, judged here
//! ([`judge`]), and written over the version that was read (`gets` and `cas`), or else all of that
//! is done again, three times at most. What a process asks about one record it judges together
//! ([`lanes`]), so that it competes with other processes alone.
//!
//! What that guarantees, and what not:
//!
//! - **No lost update.** Two processes never charge the same record without seeing each other.
//! - **All or nothing** within a subject. A request that is counted by several subjects has several
//!   records: where one of them was changed meanwhile and then refuses, what the others were
//!   charged is given back; until that arrives, they are a request short. What can't be given back,
//!   since a server has gone, stays charged.
//! - **Time** is the server's, which it tells in whole seconds (`stats`); see `Clock` in
//!   [`server`]. Wall clocks of the processes decide nothing. Their ideas of the server's clock
//!   differ by s: less than 0.1 s as a rule, 2 s at most just after one has connected. In any span
//!   W a subject is admitted at most burst + limit / window × (W + s). No process sets the time of
//!   a record back ([`crate::quota::algorithm::Rule::earliest`]), so aligned windows hold.
//! - **Counts can be lost**: Memcached forgets all of them when it restarts or is flushed, and
//!   single ones when it is full, which a flood of other keys can bring about. A subject whose
//!   record is gone begins anew. Give limits a server of their own that is large enough, or use
//!   Redis where a count must not be lost.
//!
//! **Several servers.** Each subject has one of them, by rendezvous hashing. One that is away takes
//! its subjects along, and no others: requests that they count are judged as `onStoreFailure` says.

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
