//! Why a shared store gave no result. Each is a fault of the service: never a 401, never a 429.

use thiserror::Error;

/// Why a shared store gave no result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum StoreError {
    /// It did not answer in time.
    #[error("the store did not answer in time")]
    Timeout,
    /// It is away. After too many failures in a row, no command is sent to it for a moment.
    #[error("the store is not available")]
    Unavailable,
    /// It answered with an error or with an unreadable result: it is a replica, a permission is
    /// missing, or its memory is full.
    #[error("the store refused the command")]
    Refused,
    /// More commands are in flight than it could answer in time.
    #[error("too many requests wait for the store")]
    Overloaded,
    /// The record was stored, but fewer replicas than `minReplicas` acknowledged it in time.
    #[error(
        "the store has it, but fewer replicas than `store.redis.minReplicas` do: a failover may lose it; call again"
    )]
    NotReplicated,
    /// Other processes changed the same record again and again while this command ran.
    #[error("too many processes change the same count at once")]
    Contended,
}

/// The callback for a result. It is called once, on the store's thread, so it must be quick.
pub type Reply<T> = Box<dyn FnOnce(Result<T, StoreError>) + Send>;

/// Calls back once. Dropping it calls back with [`StoreError::Unavailable`].
pub(crate) struct Replying<T>(Option<Reply<T>>);

impl<T> Replying<T> {
    pub(crate) fn new(reply: Reply<T>) -> Self {
        Self(Some(reply))
    }

    pub(crate) fn give(mut self, result: Result<T, StoreError>) {
        if let Some(reply) = self.0.take() {
            reply(result);
        }
    }
}

impl<T> Drop for Replying<T> {
    fn drop(&mut self) {
        if let Some(reply) = self.0.take() {
            reply(Err(StoreError::Unavailable));
        }
    }
}

impl<T> std::fmt::Debug for Replying<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Replying")
    }
}
