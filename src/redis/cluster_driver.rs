//! The driver of a cluster. It splits commands by node and sends those for one node as one
//! pipeline, so a node that hangs delays only its own commands.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use redis::{ErrorKind, Pipeline, RedisError, Value};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::cluster::exchange;
use super::driver::{Driver, is_noscript, keep_connected};
use super::fault::{fault_of, first_fault};
use super::nodes::{Cluster, Node, View, Watch, is_answer, look_around};
use super::script::{By, Call, calls, read};
use super::slots::slot_of_command;
use super::store_error;
use crate::clock::Now;
use crate::quota::StoreCommand;
use crate::store::ask::{QueuedCommand, Responder};
use crate::store::error::StoreError;
use crate::store::runtime::{BACKOFF, Task, jittered, spawn_beside};

/// How often the slot map is read, and how often while a node is away.
const LOOK: Duration = Duration::from_secs(10);
const LOOK_AWAY: Duration = Duration::from_millis(500);
/// Redirects within this time cause one read of the slot map. If the last read after a redirect
/// changed nothing, the longer time applies.
const GATHER: Duration = Duration::from_millis(2);
const GATHER_AGAIN: Duration = Duration::from_millis(100);

/// Finds the nodes of the cluster, again and again, forever.
pub(super) async fn follow(driver: Arc<Driver>, cluster: Arc<Cluster>) {
    let mut tasks = HashMap::new();
    let mut pause = BACKOFF.0;
    let mut was_stale = false;
    loop {
        let keep =
            |node: Arc<Node>| Task::of(&spawn_beside(keep_connected(Arc::clone(&driver), node)));
        let found = cluster.discover().await;
        let fault = found.as_ref().err().copied();
        if let Ok(map) = found {
            pause = BACKOFF.0;
            let is_new = cluster.known().is_none_or(|view| view.map != map);
            if is_new {
                cluster.install(map, &mut tasks, keep);
            }
            driver.look_around();
            let away = tasks.values().any(|(node, _)| !node.status.is_available());
            let wait = jittered(if away { LOOK_AWAY } else { LOOK });
            let gather = if was_stale && !is_new { GATHER_AGAIN } else { GATHER };
            was_stale = timeout(wait, cluster.stale.notified()).await.is_ok();
            if was_stale {
                sleep(gather).await;
            }
        } else {
            driver.look_around();
            if cluster.known().is_none() {
                driver.status.set_fault(fault);
            }
            sleep(jittered(pause)).await;
            pause = (pause * 2).min(BACKOFF.1);
        }
    }
}

impl Driver {
    /// Publishes the combined state of the nodes.
    pub(super) fn look_around(&self) {
        let Some(cluster) = self.cluster() else { return };
        match cluster.known() {
            Some(view) => {
                look_around(&view.nodes, view.map.is_whole(), &self.status, Now::read());
            }
            None => self.status.lost(),
        }
    }
}

/// Sends commands, those for the same nodes together.
pub(super) async fn dispatch(
    driver: Arc<Driver>,
    cluster: Arc<Cluster>,
    batch: Vec<QueuedCommand>,
) {
    let deadline = Instant::now() + driver.patience();
    let view = if driver.status.is_available() {
        timeout_at(deadline, cluster.view()).await.ok().flatten()
    } else {
        cluster.known()
    };
    let Some(view) = view else {
        let error = StoreError::Unavailable;
        return Responder::complete_all(batch.into_iter().map(|ask| (ask.responder, Err(error))));
    };
    let mut groups: BTreeMap<Vec<usize>, Vec<QueuedCommand>> = BTreeMap::new();
    for ask in batch {
        if let Some(nodes) = nodes_of(&driver, &view, &ask.question) {
            groups.entry(nodes).or_default().push(ask);
        } else {
            cluster.stale.notify_one();
            ask.responder.complete(Err(StoreError::Unavailable));
        }
    }
    for (nodes, asks) in groups {
        let (driver, cluster, view) =
            (Arc::clone(&driver), Arc::clone(&cluster), Arc::clone(&view));
        spawn_beside(async move {
            let (questions, responders): (Vec<StoreCommand>, Vec<Responder>) =
                asks.into_iter().map(|ask| (ask.question, ask.responder)).unzip();
            let sender = Sender { driver: &driver, cluster: &cluster, view: &view, deadline };
            let answers = sender.answers(&nodes, &questions).await;
            Responder::complete_all(responders.into_iter().zip(answers));
        });
    }
}

/// The indexes of a command's nodes, in order; `None` if a key has no node.
fn nodes_of(driver: &Driver, view: &View, question: &StoreCommand) -> Option<Vec<usize>> {
    let mut nodes = Vec::with_capacity(1);
    let mut has_all = true;
    driver.scripts.each_key(question, |key| match view.owner(key) {
        Some(node) if nodes.contains(&node) => {}
        Some(node) => nodes.push(node),
        None => has_all = false,
    });
    nodes.sort_unstable();
    has_all.then_some(nodes)
}

/// The context for sending commands.
#[derive(Clone, Copy)]
struct Sender<'d> {
    driver: &'d Arc<Driver>,
    cluster: &'d Arc<Cluster>,
    view: &'d Arc<View>,
    deadline: Instant,
}

impl Sender<'_> {
    /// One result for each command. All commands have the same nodes.
    async fn answers(
        self,
        nodes: &[usize],
        questions: &[StoreCommand],
    ) -> Vec<Result<crate::quota::CommandResult, StoreError>> {
        let is_available = |node: &usize| {
            self.view.nodes.get(*node).is_some_and(|node| node.status.is_available())
        };
        // Checked before another node charges anything.
        if !nodes.iter().all(is_available) {
            return questions.iter().map(|_| Err(StoreError::Unavailable)).collect();
        }
        let calls = calls(questions, true);
        let all: Vec<&Call> = calls.iter().collect();
        let (mut replies, mut fault) = self.send(&all, questions, By::Digest).await;
        let unknown: Vec<usize> =
            (0..).zip(&replies).filter(|(_, reply)| is_noscript(reply)).map(|(i, _)| i).collect();
        if !unknown.is_empty() {
            let again: Vec<&Call> = unknown.iter().filter_map(|i| calls.get(*i)).collect();
            let (known_now, other) = self.send(&again, questions, By::Text).await;
            fault = fault.or(other);
            for (i, reply) in unknown.into_iter().zip(known_now) {
                if let Some(place) = replies.get_mut(i) {
                    *place = reply;
                }
            }
        }
        let mut results = read(&calls, &replies, questions);
        super::driver::refund(self.driver, questions, &results);
        if let Some(fault) = fault {
            for answer in results.answers.iter_mut().filter(|answer| answer.is_err()) {
                *answer = Err(fault);
            }
        }
        results.answers
    }

    /// Sends calls, each to its node. Returns one reply for each, and the cause of missing ones.
    async fn send(
        self,
        calls: &[&Call],
        questions: &[StoreCommand],
        by: By,
    ) -> (Vec<Value>, Option<StoreError>) {
        let mut by_node: BTreeMap<usize, (Vec<usize>, Pipeline)> = BTreeMap::new();
        for (place, call) in calls.iter().enumerate() {
            let command = self.driver.scripts.command(call, questions, by);
            let node = slot_of_command(&command).and_then(|slot| self.view.map.owner(slot));
            if let Some(node) = node {
                let (places, pipeline) = by_node.entry(node).or_default();
                places.push(place);
                pipeline.add_command(command);
            }
        }
        let mut values = vec![Value::Nil; calls.len()];
        let mut fault = None;
        let mut sending = JoinSet::new();
        let is_one = by_node.len() == 1;
        for (node, (places, pipeline)) in by_node {
            let Some(node) = self.view.nodes.get(node).map(Arc::clone) else { continue };
            let (cluster, deadline) = (Arc::clone(self.cluster), self.deadline);
            let asking =
                async move { (places, ask_node(&cluster, &node, &pipeline, deadline).await) };
            if is_one {
                take(asking.await, &mut values, &mut fault);
            } else {
                sending.spawn(asking);
            }
        }
        while let Some(sent) = sending.join_next().await {
            if let Ok(sent) = sent {
                take(sent, &mut values, &mut fault);
            }
        }
        (values, fault)
    }
}

type Sent = (Vec<usize>, Result<Vec<Value>, StoreError>);

fn take((places, answer): Sent, values: &mut [Value], fault: &mut Option<StoreError>) {
    match answer {
        Ok(answers) => {
            for (place, answer) in places.into_iter().zip(answers) {
                if let Some(value) = values.get_mut(place) {
                    *value = answer;
                }
            }
        }
        Err(error) => *fault = Some(error),
    }
}

async fn ask_node(
    cluster: &Cluster,
    node: &Node,
    commands: &Pipeline,
    deadline: Instant,
) -> Result<Vec<Value>, StoreError> {
    let address = node.address.as_ref().ok_or(StoreError::Unavailable)?;
    let mut watch = Watch::new(node);
    match timeout_at(deadline, exchange(cluster, address, commands)).await {
        Ok(Ok(values)) => {
            watch.answered = values.iter().all(is_answer);
            if !watch.answered {
                watch.fault = first_fault(&values);
            }
            Ok(values)
        }
        Ok(Err(error)) => {
            watch.fault = fault_of(&error);
            if is_lost(&error) {
                node.note_loss(watch.fault);
            }
            Err(store_error(&error))
        }
        Err(_) => Err(StoreError::Timeout),
    }
}

/// Whether the connection is unusable.
pub(super) fn is_lost(error: &RedisError) -> bool {
    !error.is_timeout()
        // The command was redirected to another node, which is away.
        && error.kind() != ErrorKind::ClusterConnectionNotFound
        && (error.is_io_error() || error.is_connection_dropped() || error.is_unrecoverable_error())
}
