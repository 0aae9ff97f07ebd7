//! The lists that change while the guard runs.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::RwLock;

use super::config::ClientsConfig;
use crate::net::{Cidr, CidrMap};
use crate::quota::SubjectKey;

/// No list has more entries than this.
const MAX_ENTRIES: usize = 100_000;

/// What a list says of somebody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListAction {
    /// Not limited, and not refused either.
    Allowed,
    /// Refused.
    Blocked,
}

/// Who is listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ListedClient {
    /// The clients of a network.
    Network(Cidr),
    /// A user, whatever the address.
    User(SubjectKey),
}

/// What is listed of somebody, until when, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What it says.
    pub standing: ListAction,
    /// On the monotonic clock: no step of a wall clock ends it early or late.
    pub until_us: u64,
    /// In the words of whoever listed it; for the log alone.
    pub reason: Arc<str>,
}

/// What the lists say of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListMatch {
    /// Nothing.
    No,
    /// It is not limited.
    Allowed,
    /// It is refused, for this reason.
    Blocked(Arc<str>),
}

/// There is no room for another entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListCapacityError;

/// The lists of a store: a copy in this process, which every request looks at.
#[derive(Debug, Default)]
pub struct Lists {
    entries: RwLock<Entries>,
    /// How many there are: most stores have none, and then nobody takes the lock.
    count: AtomicUsize,
}

#[derive(Debug, Default)]
struct Entries {
    networks: CidrMap<Entry>,
    users: HashMap<SubjectKey, Entry>,
}

impl Entries {
    fn len(&self) -> usize {
        self.networks.len() + self.users.len()
    }

    fn sweep(&mut self, now_us: u64) {
        for network in self.networks.select(|entry| entry.until_us <= now_us) {
            self.networks.remove(network);
        }
        self.users.retain(|_, entry| entry.until_us > now_us);
    }
}

impl Lists {
    /// Lists somebody, in the place of what was said before.
    ///
    /// # Errors
    /// There is no room.
    pub fn put(
        &self,
        who: ListedClient,
        entry: Entry,
        now_us: u64,
    ) -> Result<(), ListCapacityError> {
        let mut entries = self.entries.write();
        if entries.len() >= MAX_ENTRIES {
            entries.sweep(now_us);
            if entries.len() >= MAX_ENTRIES {
                return Err(ListCapacityError);
            }
        }
        match who {
            ListedClient::Network(network) => drop(entries.networks.insert(network, entry)),
            ListedClient::User(user) => drop(entries.users.insert(user, entry)),
        }
        self.count.store(entries.len(), Ordering::Release);
        Ok(())
    }

    /// Takes somebody off the lists.
    pub fn remove(&self, who: ListedClient) {
        let mut entries = self.entries.write();
        match who {
            ListedClient::Network(network) => entries.networks.remove(network),
            ListedClient::User(user) => drop(entries.users.remove(&user)),
        }
        self.count.store(entries.len(), Ordering::Release);
    }

    /// Takes all clients and users off the lists.
    pub fn clear(&self) {
        let mut entries = self.entries.write();
        *entries = Entries::default();
        self.count.store(0, Ordering::Release);
    }

    /// Until when somebody is listed, on the monotonic clock; `None` where he is not.
    #[must_use]
    pub fn until(&self, who: ListedClient) -> Option<u64> {
        let entries = self.entries.read();
        let entry = match who {
            ListedClient::Network(network) => entries.networks.get(network),
            ListedClient::User(user) => entries.users.get(&user),
        };
        entry.map(|entry| entry.until_us)
    }

    /// What is said of a client, by these lists and by the configured ones.
    #[must_use]
    pub fn client(&self, config: &ClientsConfig, address: IpAddr, now_us: u64) -> ListMatch {
        if config.networks.is_empty() && self.is_empty() {
            return ListMatch::No;
        }
        let address = Cidr::of(address);
        let configured = config.networks.find(address, |_| true);
        if !self.is_empty() {
            let entries = self.entries.read();
            let found = entries.networks.find(address, |entry| entry.until_us > now_us);
            if let Some((length, entry)) = found
                && configured.is_none_or(|(other, _)| length >= other)
            {
                return ListMatch::by(entry);
            }
        }
        match configured {
            None => ListMatch::No,
            Some((_, ListAction::Allowed)) => ListMatch::Allowed,
            Some((_, ListAction::Blocked)) => ListMatch::Blocked(Arc::from("configured")),
        }
    }

    /// What is said of a user. `name` makes the name that the lists know it by.
    #[must_use]
    pub fn user(&self, name: impl FnOnce() -> SubjectKey, now_us: u64) -> ListMatch {
        if self.is_empty() {
            return ListMatch::No;
        }
        let entries = self.entries.read();
        if entries.users.is_empty() {
            return ListMatch::No;
        }
        let entry = entries.users.get(&name()).filter(|entry| entry.until_us > now_us);
        entry.map_or(ListMatch::No, ListMatch::by)
    }

    fn is_empty(&self) -> bool {
        self.count.load(Ordering::Acquire) == 0
    }
}

impl ListMatch {
    fn by(entry: &Entry) -> Self {
        match entry.standing {
            ListAction::Allowed => Self::Allowed,
            ListAction::Blocked => Self::Blocked(Arc::clone(&entry.reason)),
        }
    }
}
