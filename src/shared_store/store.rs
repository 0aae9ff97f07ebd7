//! A store that all processes of a service share, as the limiter sees it: commands are sent in
//! batches, results arrive by callback, and no request waits longer than the store's timeout.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock, Weak};

use parking_lot::Mutex;
use tokio::sync::mpsc::error::SendError;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use super::backend::Backend;
use super::slots::ProcessSlots;
use crate::error::ConfigError;
use crate::quota::{CommandResult, StoreCommand};
use crate::redis::Connector;
use crate::redis::notices::{self, Publication};
use crate::store::ask::{QueuedCommand, Responder};
use crate::store::runtime;
use crate::store::{MemoryConfig, MemoryStore, Notice, Reply, Status, StoreError};

/// A shared store: one for all guards and threads of the process with the same servers and prefix.
#[derive(Debug)]
pub struct SharedStore {
    kind: &'static str,
    asks: UnboundedSender<Vec<QueuedCommand>>,
    status: Arc<Status>,
    /// The last results of the store, and the counts of an outage. It is on the store's clock.
    local: Arc<MemoryStore>,
    connector: Option<Arc<Connector>>,
    slots: Arc<ProcessSlots>,
    /// The channel of notices to all processes; `None` if they stay in this one.
    said: Option<UnboundedSender<Publication>>,
    /// See [`Self::used_proofs`].
    used_proofs: OnceLock<Arc<MemoryStore>>,
}

impl SharedStore {
    /// The store of a configuration. It returns at once and connects in the background.
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
            // Without a thread, `publish` replies with an error.
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
            slots: Arc::default(),
            said,
            used_proofs: OnceLock::new(),
        });
        stores.insert(identity, Arc::downgrade(&store));
        Ok(store)
    }

    /// Its name in `health()`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        self.kind
    }

    /// The connector to its servers, if it keeps revocations: only Redis does.
    #[must_use]
    pub fn connector(&self) -> Option<&Arc<Connector>> {
        self.connector.as_ref()
    }

    pub(super) fn slots(&self) -> &Arc<ProcessSlots> {
        &self.slots
    }

    /// Its state.
    #[must_use]
    pub fn status(&self) -> &Status {
        &self.status
    }

    /// The store in this process, see `local` of [`Backend`].
    #[must_use]
    pub fn local(&self) -> &Arc<MemoryStore> {
        &self.local
    }

    /// The used proofs of the shared store that this process has seen. They are on the clock of
    /// this process. Proofs used in another store are not among them.
    #[must_use]
    pub fn used_proofs(&self) -> &Arc<MemoryStore> {
        self.used_proofs.get_or_init(|| Arc::new(MemoryStore::new(MemoryConfig::DEFAULT_BYTES)))
    }

    /// Makes a command; [`Self::submit`] sends it. Dropping it completes it with
    /// [`StoreError::Unavailable`].
    #[must_use]
    pub fn ask(&self, question: StoreCommand, reply: Reply<CommandResult>) -> QueuedCommand {
        self.ask_for(question, Responder::new(reply))
    }

    /// As [`Self::ask`], for any receiver.
    #[must_use]
    pub fn ask_for(&self, question: StoreCommand, responder: Responder) -> QueuedCommand {
        if self.status.enter() {
            return QueuedCommand { question, responder: responder.entered(&self.status) };
        }
        // It is not sent: it would only delay the others.
        let mut ask = QueuedCommand { question, responder };
        ask.responder.settle(Err(StoreError::Overloaded));
        ask
    }

    /// Publishes a notice to all processes. The reply comes when the store keeps it, or at once if
    /// this kind of store keeps no notices.
    pub fn publish(&self, notice: Notice, reply: Reply<()>) {
        let Some(said) = &self.said else { return reply(Ok(())) };
        if let Err(SendError(Publication { reply, .. })) = said.send(Publication { notice, reply })
        {
            reply(Err(StoreError::Unavailable));
        }
    }

    /// Sends commands. Those of one event-loop turn are sent together, as one pipeline.
    pub fn submit(&self, mut asks: Vec<QueuedCommand>) {
        asks.retain(|ask| ask.responder.waits());
        // Without a receiver they are dropped, and so completed.
        drop(self.asks.send(asks));
    }
}
