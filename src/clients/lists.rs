//! The lists that change at runtime.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::RwLock;

use super::config::ClientsConfig;
use crate::net::{Cidr, CidrMap};
use crate::quota::SubjectKey;

/// The maximum number of entries, all lists together.
const MAX_ENTRIES: usize = 100_000;

/// The action for a listed client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListAction {
    /// Exempt from limits; other layers may still refuse the request.
    Allowed,
    /// Refused.
    Blocked,
}

/// A client on a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ListedClient {
    /// The clients of a network.
    Network(Cidr),
    /// A user, at any address.
    User(SubjectKey),
}

/// The entry of a client: the action, its end, and the reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The action.
    pub standing: ListAction,
    /// On the monotonic clock: no step of a wall clock ends it early or late.
    pub until_us: u64,
    /// As stated by the caller that added the entry; for the log only.
    pub reason: Arc<str>,
}

/// The result of a look-up in the lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListMatch {
    /// Not listed.
    No,
    /// Exempt from limits.
    Allowed,
    /// Refused, for this reason.
    Blocked(Arc<str>),
}

/// There is no room for another entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListCapacityError;

/// The lists of a store: a copy in this process, which every request reads.
#[derive(Debug, Default)]
pub struct Lists {
    entries: RwLock<Entries>,
    /// The number of entries. Most stores have none, and then no lock is taken.
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
    /// Adds an entry for a client, or replaces the existing one.
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

    /// Removes a client from the lists.
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

    /// The end of a client's entry, on the monotonic clock; `None` if it has none.
    #[must_use]
    pub fn until(&self, who: ListedClient) -> Option<u64> {
        let entries = self.entries.read();
        let entry = match who {
            ListedClient::Network(network) => entries.networks.get(network),
            ListedClient::User(user) => entries.users.get(&user),
        };
        entry.map(|entry| entry.until_us)
    }

    /// Looks a client up in these lists and in the configured ones.
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

    /// Looks a user up. `name` computes the user's key in the lists.
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
