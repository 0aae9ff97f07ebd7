//! What can go wrong besides a limit being reached. None of it is a pass.

/// Why a limiter could not judge or carry out something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LimitError {
    /// No policy has this name.
    #[error("there is no rate limit policy of this name")]
    UnknownPolicy,
    /// The key has another number of parts than the policy's `key`.
    #[error("the key must have as many parts as the policy's `key`: {wanted}")]
    KeyParts {
        /// How many it must have.
        wanted: usize,
    },
    /// The part of a key that stands for a client address is none.
    #[error("the key must be an IP address, since the policy counts by address")]
    NoAddress,
    /// The policy's `key` function gave nothing for this request.
    #[error("the policy's `key` function must return a string")]
    MissingKey,
    /// The policy's `cost` function gave nothing for this request.
    #[error("the policy's `cost` function must return a whole number, 0 or more")]
    MissingCost,
    /// The policy counts requests under way, and what was asked is about limits in time.
    #[error(
        "the policy counts requests that are under way: only `get`, `set` and `reset` are about such"
    )]
    InFlight,
    /// The shared store gave no answer, and the policy is not to be judged without it.
    #[error("the store is not available")]
    StoreAway,
    /// The shared store gave no answer, and the policy at this place in the limiter is `'closed'`
    /// then.
    #[error("the store is not available")]
    Closed {
        /// Which policy it is.
        policy: usize,
    },
    /// The store has no place that it may use: all that the key could take hold blocked keys.
    /// Nothing was changed.
    #[error("the store is full of blocked keys; give it more `maxBytes`")]
    StoreFull,
}
