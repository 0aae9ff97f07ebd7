//! A store that all processes of a service share, as the limiter sees it: questions go out in batches, answers come
//! back by a callback, and no request ever waits longer than the store's timeout.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::sync::mpsc::error::SendError;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use super::ask::{Answer, Ask, Question, Waiter};
use super::error::{Reply, StoreError};
use super::memory::MemoryStore;
use super::notices::Notice;
use super::redis::notices::{self, Publication};
use super::redis::{Connector, RedisConfig, driver};
use super::runtime;
use super::status::Status;
use crate::error::ConfigError;

/// A shared store, one for all guards and threads of the process that name the same servers and prefix.
#[derive(Debug)]
pub struct SharedStore {
    asks: UnboundedSender<Vec<Ask>>,
    status: Arc<Status>,
    /// What the store said last, and what is counted here while it is away. It is on the store's clock.
    local: Arc<MemoryStore>,
    connector: Arc<Connector>,
    said: UnboundedSender<Publication>,
}

impl SharedStore {
    /// The store of a configuration; `path` is where the user wrote it. It returns at once: the servers are connected
    /// to in the background.
    pub fn open(config: RedisConfig, path: &str) -> Result<Arc<Self>, ConfigError> {
        type Stores = HashMap<[u8; 32], Weak<SharedStore>>;
        static STORES: Mutex<Option<Stores>> = Mutex::new(None);
        let digest = config.digest;
        let local = MemoryStore::open(&config.local)?;
        let connector = Arc::new(Connector::new(config, path)?);
        let mut stores = STORES.lock();
        let stores = stores.get_or_insert_default();
        if let Some(store) = stores.get(&digest).and_then(Weak::upgrade) {
            return Ok(store);
        }
        stores.retain(|_, store| store.strong_count() > 0);
        let status = Arc::new(Status::default());
        let (asks, receiver) = unbounded_channel();
        if !runtime::spawn(driver::run(Arc::clone(&connector), Arc::clone(&status), receiver)) {
            status.lost();
        }
        let (said, publications) = unbounded_channel();
        let (of, clock, copy) =
            (Arc::clone(&connector), Arc::clone(&status), Arc::downgrade(&local));
        // Without a thread, whoever says something is told that nobody hears it.
        let _ = runtime::spawn(notices::run(of, clock, copy, publications));
        let store = Arc::new(Self { asks, status, local, connector, said });
        stores.insert(digest, Arc::downgrade(&store));
        Ok(store)
    }

    /// How it is doing.
    #[must_use]
    pub fn status(&self) -> &Status {
        &self.status
    }

    /// How to reach its servers.
    #[must_use]
    pub fn connector(&self) -> &Arc<Connector> {
        &self.connector
    }

    /// What is kept of it in this process.
    #[must_use]
    pub fn local(&self) -> &Arc<MemoryStore> {
        &self.local
    }

    /// Puts a question together; [`Self::submit`] sends it. Dropping it answers it with [`StoreError::Unavailable`].
    #[must_use]
    pub fn ask(&self, question: Question, reply: Reply<Answer>) -> Ask {
        let status = Arc::clone(&self.status);
        if !status.enter() {
            // It is not sent either: it would only make the others late.
            reply(Err(StoreError::Overloaded));
            return Ask { question, waiter: Waiter::told() };
        }
        let reply: Reply<Answer> = Box::new(move |answer| {
            status.leave();
            reply(answer);
        });
        Ask { question, waiter: Waiter::new(reply) }
    }

    /// Says something to all processes; the reply comes when the store keeps it.
    pub fn say(&self, notice: Notice, reply: Reply<()>) {
        if let Err(SendError(Publication { reply, .. })) =
            self.said.send(Publication { notice, reply })
        {
            reply(Err(StoreError::Unavailable));
        }
    }

    /// Sends questions, those of one tick together: they leave as one pipeline.
    pub fn submit(&self, mut asks: Vec<Ask>) {
        asks.retain(|ask| ask.waiter.waits());
        // Where nobody receives, they are dropped and so answered.
        drop(self.asks.send(asks));
    }
}
