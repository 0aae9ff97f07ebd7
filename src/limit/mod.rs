//! Rate limits: how often a client, a user, a token or a route may send requests.
//!
//! The attack: a client sends far more requests than any honest one, to guess passwords and tokens,
//! to scrape, or to exhaust the service for all others (OWASP API4:2023, unrestricted resource
//! consumption). There are also attacks on limiters themselves, each of which has succeeded against
//! some limiter:
//!
//! - a new IPv6 address for each request, or IPv4 written as IPv6 (CVE-2026-30827): see
//!   [`ClientKey`](crate::net::ClientKey);
//! - a flood of addresses that evicts the attacker's own counter from a cache, or fills the memory:
//!   see [`crate::store`];
//! - many requests at once that are all judged before one is counted: a request is judged and
//!   counted under one lock;
//! - another spelling of the path or method that reaches the same handler: `/V1/login/` and `HEAD`
//!   are counted as the request that Express handles;
//! - requests that are few, but slow or heavy: see [`in_flight`];
//! - requests that one policy refuses and that drain another: a request is counted by all its
//!   policies or by none, and a refusal costs nothing.
//!
//! [`LimitPolicy`] is the checked option; [`Limiter`] judges; [`crate::quota::algorithm`] has the
//! arithmetic and the guarantees of each algorithm. Headers:
//! draft-ietf-httpapi-ratelimit-headers-11; the status is 429 (RFC 6585 section 4).
//!
//! Each tier of a policy counts a client separately, since each is another limit. The gain of a
//! verified identity that changes its tier is bounded: the sum of the tiers it has at different
//! times.

mod admin;
mod charge;
mod config;
mod error;
mod exceed;
mod header_fields;
mod headers;
pub mod in_flight;
mod limiter;
mod live;
mod outcome;
mod remote;
mod signal;
mod subject;
#[cfg(test)]
mod tests;

pub use admin::KeyState;
pub use charge::{Charge, DelaySlot, Reservation};
pub use config::{Cost, KeyPart, KeySpec, LimitPolicy, MAX_POLICIES_PER_LIST};
pub use error::LimitError;
pub use exceed::{Count, OnExceed, OnStoreFailure};
pub use header_fields::RateLimitHeaders;
#[cfg(feature = "node")]
pub(crate) use headers::push_number;
pub use in_flight::ConcurrencyPermit;
pub use limiter::{LimitMask, Limiter, MAX_POLICIES};
pub use live::ReloadableLimiter;
pub use outcome::{LimitState, Outcome};
pub use remote::{AdminOp, Check, Pending, PendingAdminOp};
pub use signal::{Signal, SignalTarget};
pub use subject::{Subject, user_key};
