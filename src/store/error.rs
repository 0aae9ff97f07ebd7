//! Why a shared store gave no answer. Each is a fault on our side: never a 401, never a 429.

use thiserror::Error;

/// Why a shared store gave no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum StoreError {
    /// It did not answer in time.
    #[error("the store did not answer in time")]
    Timeout,
    /// It is away, or has failed so often that it is not asked for a moment.
    #[error("the store is not available")]
    Unavailable,
    /// It answered, and said no or something that can't be read: a replica, a wrong permission, a
    /// full memory.
    #[error("the store refused the command")]
    Refused,
    /// More waits for it than it could answer in time.
    #[error("too many requests wait for the store")]
    Overloaded,
    /// It was stored, and fewer replicas than `minReplicas` have said in time that they have it.
    #[error(
        "the store has it, but fewer replicas than `store.redis.minReplicas` do: a failover may lose it; call again"
    )]
    NotReplicated,
    /// Others changed the same record again and again while this one was judged.
    #[error("too many processes change the same count at once")]
    Contended,
}

/// What is called once with the answer, on the store's thread. It must be quick.
pub type Reply<T> = Box<dyn FnOnce(Result<T, StoreError>) + Send>;

/// Calls back once, at the latest when it is dropped.
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
