//! A store that all processes of a service share, as the limiter sees it: questions go out in
//! batches, answers come back by a callback, and no request ever waits longer than the store's
//! timeout.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, OnceLock, Weak};

use parking_lot::Mutex;
use tokio::sync::mpsc::error::SendError;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::ask::{QueuedCommand, Responder};
use super::config::MemoryConfig;
use super::error::{Reply, StoreError};
use super::memory::MemoryStore;
use super::notices::Notice;
use super::places::Places;
use super::redis::Connector;
use super::redis::notices::{self, Publication};
use super::runtime;
use super::status::Status;
use crate::error::ConfigError;
use crate::quota::{CommandResult, StoreCommand};

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
    /// thread of [`super::runtime`].
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

/// A shared store, one for all guards and threads of the process that name the same servers and
/// prefix.
#[derive(Debug)]
pub struct SharedStore {
    kind: &'static str,
    asks: UnboundedSender<Vec<QueuedCommand>>,
    status: Arc<Status>,
    /// What the store said last, and what is counted here while it is away. It is on the store's
    /// clock.
    local: Arc<MemoryStore>,
    connector: Option<Arc<Connector>>,
    places: Arc<Places>,
    /// Where what is said to all processes goes; `None` where it stays in this one.
    said: Option<UnboundedSender<Publication>>,
    /// See [`Self::used_proofs`].
    used_proofs: OnceLock<Arc<MemoryStore>>,
}

impl SharedStore {
    /// The store of a configuration. It returns at once: the servers are connected to in the
    /// background.
    pub fn open<B: Backend>(backend: B) -> Result<Arc<Self>, ConfigError> {
        type Stores = HashMap<(&'static str, [u8; 32]), Weak<SharedStore>>;
        static STORES: Mutex<Option<Stores>> = Mutex::new(None);
        let identity = (B::KIND, backend.digest());
        let local = MemoryStore::open(backend.local())?;
        let mut stores = STORES.lock();
        let stores = stores.get_or_insert_default();
        if let Some(store) = stores.get(&identity).and_then(Weak::upgrade) {
            return Ok(store);
        }
        stores.retain(|_, store| store.strong_count() > 0);
        let status = Arc::new(Status::shared_by(backend.processes()));
        let (asks, receiver) = unbounded_channel();
        let connector = backend.connector();
        let said = connector.as_ref().map(|connector| {
            let (said, publications) = unbounded_channel();
            let copy = Arc::downgrade(&local);
            // Without a thread, whoever says something is told that nobody hears it.
            let _ = runtime::spawn(notices::run(Arc::clone(connector), copy, publications));
            said
        });
        if !runtime::spawn(backend.run(Arc::clone(&status), receiver)) {
            status.lost();
        }
        let store = Arc::new(Self {
            kind: B::KIND,
            asks,
            status,
            local,
            connector,
            places: Arc::default(),
            said,
            used_proofs: OnceLock::new(),
        });
        stores.insert(identity, Arc::downgrade(&store));
        Ok(store)
    }

    /// What `health()` calls it.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        self.kind
    }

    /// How to reach its servers, where it keeps revocations: Redis does.
    #[must_use]
    pub fn connector(&self) -> Option<&Arc<Connector>> {
        self.connector.as_ref()
    }

    pub(super) fn places(&self) -> &Arc<Places> {
        &self.places
    }

    /// How it is doing.
    #[must_use]
    pub fn status(&self) -> &Status {
        &self.status
    }

    /// What is kept of it in this process.
    #[must_use]
    pub fn local(&self) -> &Arc<MemoryStore> {
        &self.local
    }

    /// The proofs that this process knows to be used in it. They are on the clock of this process,
    /// and a proof that was used in another store is not among them.
    #[must_use]
    pub fn used_proofs(&self) -> &Arc<MemoryStore> {
        self.used_proofs.get_or_init(|| Arc::new(MemoryStore::new(MemoryConfig::DEFAULT_BYTES)))
    }

    /// Puts a question together; [`Self::submit`] sends it. Dropping it answers it with
    /// [`StoreError::Unavailable`].
    #[must_use]
    pub fn ask(&self, question: StoreCommand, reply: Reply<CommandResult>) -> QueuedCommand {
        self.ask_for(question, Responder::new(reply))
    }

    /// As [`Self::ask`], for whoever else waits.
    #[must_use]
    pub fn ask_for(&self, question: StoreCommand, waiter: Responder) -> QueuedCommand {
        if self.status.enter() {
            return QueuedCommand { question, waiter: waiter.entered(&self.status) };
        }
        // It is not sent: it would only make the others late.
        let mut ask = QueuedCommand { question, waiter };
        ask.waiter.settle(Err(StoreError::Overloaded));
        ask
    }

    /// Says something to all processes; the reply comes when the store keeps it, or at once where
    /// it keeps no such thing.
    pub fn say(&self, notice: Notice, reply: Reply<()>) {
        let Some(said) = &self.said else { return reply(Ok(())) };
        if let Err(SendError(Publication { reply, .. })) = said.send(Publication { notice, reply })
        {
            reply(Err(StoreError::Unavailable));
        }
    }

    /// Sends questions, those of one tick together: they leave as one pipeline.
    pub fn submit(&self, mut asks: Vec<QueuedCommand>) {
        asks.retain(|ask| ask.waiter.waits());
        // Where nobody receives, they are dropped and so answered.
        drop(self.asks.send(asks));
    }
}
