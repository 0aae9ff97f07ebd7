//! The kinds of store that processes share.

use std::future::Future;
use std::sync::Arc;

use tokio::sync::mpsc::UnboundedReceiver;

use crate::memcached::{self, MemcachedConfig};
use crate::redis::{self, Connector};
use crate::store::ask::QueuedCommand;
use crate::store::{MemoryConfig, Status};

/// A kind of store that processes share.
pub trait Backend: Sized {
    /// What `health()` calls it.
    const KIND: &'static str;

    /// What tells two configurations apart: guards with the same one share a store.
    fn digest(&self) -> [u8; 32];

    /// What is kept in this process.
    fn local(&self) -> &MemoryConfig;

    /// How many processes share the limits at least while it is away.
    fn processes(&self) -> u32 {
        1
    }

    /// Answers what comes until nobody can ask any more, and says how it is doing. It runs on the
    /// thread of [`crate::store::runtime`].
    fn run(
        self,
        status: Arc<Status>,
        asks: UnboundedReceiver<Vec<QueuedCommand>>,
    ) -> impl Future<Output = ()> + Send + 'static;

    /// How to reach its servers, where it is one that keeps all that it is given: revocations, and
    /// who is listed.
    fn connector(&self) -> Option<Arc<Connector>> {
        None
    }
}

impl Backend for Arc<Connector> {
    const KIND: &'static str = "redis";

    fn digest(&self) -> [u8; 32] {
        self.config().digest
    }

    fn local(&self) -> &MemoryConfig {
        &self.config().local
    }

    fn processes(&self) -> u32 {
        self.config().processes
    }

    fn run(
        self,
        status: Arc<Status>,
        asks: UnboundedReceiver<Vec<QueuedCommand>>,
    ) -> impl Future<Output = ()> + Send + 'static {
        redis::run(self, status, asks)
    }

    fn connector(&self) -> Option<Arc<Connector>> {
        Some(Arc::clone(self))
    }
}

impl Backend for MemcachedConfig {
    const KIND: &'static str = "memcached";

    fn digest(&self) -> [u8; 32] {
        self.digest()
    }

    fn local(&self) -> &MemoryConfig {
        &self.local
    }

    fn processes(&self) -> u32 {
        self.processes
    }

    fn run(
        self,
        status: Arc<Status>,
        asks: UnboundedReceiver<Vec<QueuedCommand>>,
    ) -> impl Future<Output = ()> + Send + 'static {
        memcached::run(self, status, asks)
    }
}
