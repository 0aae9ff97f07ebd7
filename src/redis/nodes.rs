//! The servers of the driver: each with its own connection, circuit breaker and clock, so that one
//! that hangs does not affect another.

use std::collections::HashMap;
use std::sync::Arc;

use redis::{RedisError, Value};
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use super::cluster::{Opener, Reach, ask_slots, most_say, unreachable_nodes};
use super::connect::Link;
use super::fault::fault_of;
use super::open::Connection;
use super::slots::{Address, SlotMap, slot_of};
use crate::clock::Now;
use crate::store::error::StoreError;
use crate::store::fault::OutageCause;
use crate::store::runtime::{PROBE, Task};
use crate::store::status::Status;

/// A server: the only one, the primary that sentinels name, or a primary of a cluster.
pub(super) struct Node {
    /// Its address, in a cluster.
    pub(super) address: Option<Address>,
    pub(super) status: Arc<Status>,
    pub(super) link: watch::Sender<Option<Link>>,
    pub(super) broken: Notify,
}

impl Node {
    pub(super) fn new(address: Option<Address>, status: Arc<Status>) -> Arc<Self> {
        Arc::new(Self { address, status, link: watch::channel(None).0, broken: Notify::new() })
    }

    /// Marks the connection as unusable, so that no command waits for it.
    pub(super) fn note_loss(&self, fault: OutageCause) {
        self.status.blame(fault);
        self.status.lost();
        self.broken.notify_one();
    }

    /// The connection, or the one that is being made. `None` if the server is away.
    ///
    /// A connection that was closed while nothing was sent on it is not returned: nothing is lost
    /// with it, so its commands wait for the next one.
    pub(super) async fn linked(&self) -> Option<Link> {
        let mut links = self.link.subscribe();
        let link = links.wait_for(|link| {
            let is_over = link.as_ref().is_some_and(Link::is_over);
            if is_over {
                self.broken.notify_one();
            }
            !self.status.is_available() || link.is_some() && !is_over
        });
        let link = link.await.ok()?.clone();
        link.filter(|_| self.status.is_available())
    }
}

/// Records the outcome of an exchange with a node, even if its future is dropped.
pub(super) struct Watch<'n> {
    node: &'n Node,
    /// Whether the node answered as expected.
    pub(super) answered: bool,
    /// Why it did not.
    pub(super) fault: OutageCause,
}

impl<'n> Watch<'n> {
    pub(super) fn new(node: &'n Node) -> Self {
        // A dropped exchange counts as a timeout.
        Self { node, answered: false, fault: OutageCause::Timeout }
    }

    /// The replies to an exchange, or the error for its receivers.
    pub(super) fn take(
        &mut self,
        answers: Result<Vec<Value>, RedisError>,
    ) -> Result<Vec<Value>, StoreError> {
        answers.map_err(|error| {
            self.fault = fault_of(&error);
            if error.is_timeout() { StoreError::Timeout } else { StoreError::Unavailable }
        })
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        if self.answered {
            self.node.status.succeeded();
            return;
        }
        if self.node.status.failed() {
            self.node.note_loss(self.fault);
        } else {
            self.node.status.blame(self.fault);
        }
    }
}

/// Whether the server executed the command, or returned an error that is no fault of its own.
pub(super) fn is_answer(value: &Value) -> bool {
    match value {
        Value::ServerError(error) => matches!(error.code(), "NOSCRIPT" | "WRONGTYPE"),
        Value::Nil => false,
        _ => true,
    }
}

/// A snapshot of the primaries of a cluster and their slots.
pub(super) struct View {
    pub(super) map: SlotMap,
    /// In the order of the nodes in the map.
    pub(super) nodes: Vec<Arc<Node>>,
}

impl View {
    /// The index of the node of a key.
    pub(super) fn owner(&self, key: &str) -> Option<usize> {
        self.map.owner(slot_of(key.as_bytes()))
    }

    /// The key of this node's list of live processes. Each node has its own, so that a heartbeat
    /// proves that this node takes writes.
    pub(super) fn live_key(&self, node: &Address, key: &str) -> Option<String> {
        let place = self.map.nodes.iter().position(|known| known == node)?;
        if self.owner(key) == Some(place) {
            return Some(key.to_owned());
        }
        Some(format!("{key}:{{{}}}", self.map.tag(place)?))
    }
}

/// Publishes the combined state of the nodes to other threads. If they are not the `whole` cluster,
/// the node of the missing slots counts as away.
pub(super) fn look_around(nodes: &[Arc<Node>], whole: bool, all: &Status, now: Now) {
    let statuses = || nodes.iter().map(|node| &node.status);
    if statuses().any(|status| status.is_available()) {
        all.recovered();
    } else {
        all.lost();
    }
    let fault = statuses().find_map(|status| status.fault());
    all.set_fault(fault.or((!whole).then_some(OutageCause::Slots)));
    all.set_distance(statuses().map(|status| status.distance()).max().unwrap_or_default());
    let away = statuses().filter(|status| !status.is_available()).count();
    all.count_away(away + usize::from(!whole));
    all.count_instances(statuses().map(|status| status.instances()).max().unwrap_or(1));
    // Of several clocks, take the one that is ahead. Local copies of other nodes' records then end
    // too early, not too late.
    let connected = statuses().filter(|status| status.has_answered());
    if let Some(now_us) = connected.map(|status| status.clock(now).unix_us).max() {
        all.observe(now_us, now);
    }
}

/// The nodes of a cluster.
pub(super) struct Cluster {
    pub(super) opener: Opener,
    pub(super) seeds: Vec<Address>,
    /// `None` until a node has answered.
    pub(super) view: watch::Sender<Option<Arc<View>>>,
    /// Notified after a redirect, or when a node is away.
    pub(super) stale: Notify,
}

impl Cluster {
    pub(super) fn new(opener: Opener, seeds: Vec<Address>) -> Self {
        Self { opener, seeds, view: watch::channel(None).0, stale: Notify::new() }
    }

    /// The current nodes, once any has answered.
    pub(super) async fn view(&self) -> Option<Arc<View>> {
        let mut view = self.view.subscribe();
        view.wait_for(Option::is_some).await.ok()?.clone()
    }

    pub(super) fn known(&self) -> Option<Arc<View>> {
        self.view.borrow().clone()
    }

    /// The current slot map: the answer of most connected nodes, or else of any node that can be
    /// reached.
    pub(super) async fn discover(&self) -> Result<SlotMap, OutageCause> {
        let known = self.known();
        let nodes = known.iter().flat_map(|view| &view.nodes);
        let linked = nodes.filter(|node| node.status.is_available()).filter_map(|node| {
            let Some(Link::Single(link)) = node.link.borrow().clone() else { return None };
            let address = node.address.clone()?;
            Some(async move { timeout(PROBE, ask_slots(link, &address)).await.ok()?.ok() })
        });
        if let Some(map) = most_say(linked).await {
            return Ok(map);
        }
        let known = known.iter().flat_map(|view| view.map.nodes.iter().cloned());
        let mut addresses: Vec<Address> = known.chain(self.seeds.iter().cloned()).collect();
        addresses.sort();
        addresses.dedup();
        self.opener.discover(&addresses).await
    }

    /// Applies a slot map. `keep` starts a task that keeps a new node connected.
    pub(super) fn install(
        &self,
        map: SlotMap,
        tasks: &mut HashMap<Address, (Arc<Node>, Task)>,
        keep: impl Fn(Arc<Node>) -> Task,
    ) {
        tasks.retain(|address, _| map.has(address));
        let node = |address: &Address| {
            let (node, _) = tasks.entry(address.clone()).or_insert_with(|| {
                let node = Node::new(Some(address.clone()), Arc::default());
                let task = keep(Arc::clone(&node));
                (node, task)
            });
            Arc::clone(node)
        };
        let nodes = map.nodes.iter().map(node).collect();
        self.view.send_replace(Some(Arc::new(View { map, nodes })));
    }

    /// The node at an address, once the slot map has it.
    async fn node(&self, address: &Address) -> Option<Arc<Node>> {
        let is_it = |node: &&Arc<Node>| node.address.as_ref() == Some(address);
        let find = |view: &Option<Arc<View>>| {
            view.as_ref().and_then(|view| view.nodes.iter().find(is_it).cloned())
        };
        let mut view = self.view.subscribe();
        let view = view.wait_for(|view| find(view).is_some()).await.ok()?;
        find(&view)
    }
}

impl Reach for Cluster {
    async fn reach(&self, address: &Address) -> Result<Connection, RedisError> {
        let node = self.node(address).await.ok_or_else(unreachable_nodes)?;
        match node.linked().await {
            Some(Link::Single(link)) => Ok(link),
            _ => Err(unreachable_nodes()),
        }
    }

    fn rebased(&self) {
        self.stale.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(alive: u32, available: bool, clock: Option<(u64, Now)>) -> Arc<Node> {
        let node = Node::new(None, Arc::default());
        node.status.count_instances(alive);
        if !available {
            node.status.lost();
        }
        if let Some((store_us, sent)) = clock {
            node.status.observe(store_us, sent);
        }
        node
    }

    #[test]
    fn a_node_that_is_away_takes_the_others_not_along() {
        let all = Status::default();
        let now = Now::at_unix_us(1_000_000);
        look_around(&[node(1, false, None), node(3, true, None)], true, &all, now);
        assert_eq!((all.is_available(), all.away(), all.instances()), (true, 1, 3));
        look_around(&[node(1, false, None), node(1, false, None)], true, &all, now);
        assert!(!all.is_available());
    }

    #[test]
    fn whoever_had_the_slots_that_nobody_serves_is_away() {
        let range = |first, last| {
            let primary = vec![Value::BulkString(b"10.0.0.1".to_vec()), Value::Int(7000)];
            Value::Array(vec![Value::Int(first), Value::Int(last), Value::Array(primary)])
        };
        let (all, now) = (Status::default(), Now::at_unix_us(1_000_000));
        for (ranges, away) in [
            (vec![range(0, 16_383)], 0),
            (vec![range(0, 9_000), range(9_001, 16_383)], 0),
            (vec![range(0, 9_000), range(9_002, 16_383)], 1),
            (vec![range(1, 16_383)], 1),
            (vec![range(0, 16_382)], 1),
        ] {
            let map = SlotMap::read(&Value::Array(ranges), "10.0.0.1").unwrap();
            look_around(&[node(1, true, None)], map.is_whole(), &all, now);
            assert_eq!(all.away(), away);
        }
    }

    #[test]
    fn of_several_clocks_the_one_that_is_ahead_counts() {
        let all = Status::default();
        let now = Now { unix_us: 5, mono_us: 1_000_000 };
        look_around(&[node(1, true, None)], true, &all, now);
        assert!(!all.has_answered());
        let nodes = [node(1, true, Some((7_000_000, now))), node(1, true, Some((9_000_000, now)))];
        look_around(&nodes, true, &all, now);
        assert_eq!(all.clock(now).unix_us, 9_000_000);
    }

    #[test]
    fn five_failures_of_a_node_in_a_row_open_its_own_breaker() {
        let (hangs, answers) = (node(1, true, None), node(1, true, None));
        for _ in 0..5 {
            drop(Watch::new(&hangs));
            Watch::new(&answers).answered = true;
        }
        assert!(!hangs.status.is_available());
        assert!(answers.status.is_available());
    }
}
