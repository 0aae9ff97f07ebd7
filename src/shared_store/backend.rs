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
    /// Its name in `health()`.
    const KIND: &'static str;

    /// Identifies the configuration: guards with equal digests share a store.
    fn digest(&self) -> [u8; 32];

    /// The configuration of the store in this process.
    fn local(&self) -> &MemoryConfig;

    /// The least number of processes that divide the limits during an outage.
    fn processes(&self) -> u32 {
        1
    }

    /// Executes commands until all senders are gone, and keeps `status` current. It runs on the
    /// thread of [`crate::store::runtime`].
    fn run(
        self,
        status: Arc<Status>,
        asks: UnboundedReceiver<Vec<QueuedCommand>>,
    ) -> impl Future<Output = ()> + Send + 'static;

    /// The connector to its servers, if it is a store that never drops data: for revocations and
    /// listed clients.
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
