//! Rate limits: how often a client, a user, a token or a route may ask.
//!
//! The attack: somebody asks far more often than any honest client, to guess passwords and tokens,
//! to scrape, or to use the service up for everybody else (OWASP API4:2023, unrestricted resource
//! consumption). And the attacks on limiters themselves, each of which some limiter has fallen to:
//!
//! - a new IPv6 address for each request, or IPv4 written as IPv6 (CVE-2026-30827): see
//!   [`ClientKey`];
//! - a flood of addresses that pushes the attacker's own counter out of a cache, or fills the
//!   memory: see [`crate::store`];
//! - many requests at once that are all judged before one is counted: a request is judged and
//!   counted under one lock;
//! - another spelling of the path or method that reaches the same handler: `/V1/login/` and `HEAD`
//!   are counted as what Express makes of them;
//! - requests that are few, but slow or heavy: see [`in_flight`];
//! - requests that are refused by one policy and used to drain another: a request is counted by all
//!   its policies or by none, and a refusal costs nothing.
//!
//! [`LimitPolicy`] is the option, checked; [`Limiter`] judges; [`algorithm`] has the arithmetic and
//! what each algorithm guarantees. Headers: draft-ietf-httpapi-ratelimit-headers-11; the status is
//! 429 (RFC 6585 section 4).
//!
//! A client is counted apart in each tier of a policy, since each is another limit. What a verified
//! identity could win by this is bounded: the sum of the tiers that it has at different times.

mod admin;
mod charge;
mod config;
mod error;
mod exceed;
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
#[cfg(feature = "node")]
pub(crate) use headers::push_number;
pub use in_flight::ConcurrencyPermit;
pub use limiter::{LimitMask, Limiter, MAX_POLICIES};
pub use live::ReloadableLimiter;
pub use outcome::{LimitState, Outcome};
pub use remote::{AdminOp, Check, Pending, PendingAdminOp};
pub use signal::{Signal, SignalTarget};
pub use subject::{Subject, user_key};
