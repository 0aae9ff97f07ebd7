//! The errors other than an exceeded limit. None of them admits a request.

/// The reason why a limiter could not judge a request or execute a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LimitError {
    /// No policy has this name.
    #[error("there is no rate limit policy of this name")]
    UnknownPolicy,
    /// The key has another number of parts than the policy's `key`.
    #[error("the key must have as many parts as the policy's `key`: {wanted}")]
    KeyParts {
        /// The required number of parts.
        wanted: usize,
    },
    /// The part of a key for the client address is not an address.
    #[error("the key must be an IP address, since the policy counts by address")]
    NoAddress,
    /// The policy's `key` function returned no string for this request.
    #[error("the policy's `key` function must return a string")]
    MissingKey,
    /// The policy's `cost` function returned no number for this request.
    #[error("the policy's `cost` function must return a whole number, 0 or more")]
    MissingCost,
    /// The policy counts requests in flight, and the call is for limits in time.
    #[error(
        "the policy counts requests that are under way: only `get`, `set` and `reset` are about such"
    )]
    InFlight,
    /// The shared store did not answer, and the policy can't be judged without it.
    #[error("the store is not available")]
    StoreAway,
    /// The shared store did not answer, and the policy at this index in the limiter is `'closed'`.
    #[error("the store is not available")]
    Closed {
        /// The index of the policy.
        policy: usize,
    },
    /// The store has no room: all entries that the key could replace are blocked keys. Nothing was
    /// changed.
    #[error("the store is full of blocked keys; give it more `maxBytes`")]
    StoreFull,
}
