//! Executes commands on the servers, on the store's thread.
//!
//! One task for each server keeps a connection, and writes a heartbeat every two seconds to check
//! that the server takes writes. Another task collects the commands since its last turn and sends
//! them as one pipeline. Five failures in a row, or a broken connection, open the server's circuit
//! breaker: no command is sent until a heartbeat succeeds again. In a cluster each primary has its
//! own breaker ([`cluster_driver`](super::cluster_driver)).

use std::sync::Arc;
use std::time::Duration;

use redis::{Pipeline, RedisError, Value};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::error::Elapsed;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::cluster_driver::{dispatch, follow, is_lost};
use super::connect::{Connector, Link};
use super::fault::{fault_of, first_fault};
use super::nodes::{Cluster, Node, Watch};
use super::script::{By, Call, Results, Scripts, calls, proofs_key, read};
use super::setup;
use crate::clock::Now;
use crate::quota::{CommandResult, StoreCommand};
use crate::store::ask::{QueuedCommand, Responder};
use crate::store::error::StoreError;
use crate::store::fault::OutageCause;
use crate::store::outage::{EVICTS, FAR};
use crate::store::runtime::{
    BACKOFF, CONNECT_TIMEOUT, HEARTBEAT, PROBE, SILENCE_MS, jittered, spawn_beside,
};
use crate::store::status::Status;

const LIVE: &str = include_str!("lua/heartbeat.lua");
const BEGAN: &str = concat!(include_str!("lua/proofs.lua"), include_str!("lua/began.lua"));

pub(super) struct Driver {
    pub(super) connector: Arc<Connector>,
    pub(super) scripts: Scripts,
    /// The combined state of the servers.
    pub(super) status: Arc<Status>,
    /// The id of this process in the list of live ones.
    process: String,
    servers: Servers,
}

/// The servers that execute commands.
#[derive(Clone)]
enum Servers {
    /// One server at a time.
    One(Arc<Node>),
    Cluster(Arc<Cluster>),
}

/// Executes commands until all senders are gone, and keeps `status` current.
pub(crate) async fn run(
    connector: Arc<Connector>,
    status: Arc<Status>,
    mut asks: UnboundedReceiver<Vec<QueuedCommand>>,
) {
    let scripts = Scripts::new(&connector.config().prefix);
    let timeout = connector.config().timeout.max(PROBE);
    let servers = match connector.cluster(Some(timeout)) {
        Some((opener, seeds)) => Servers::Cluster(Arc::new(Cluster::new(opener, seeds))),
        None => Servers::One(Node::new(None, Arc::clone(&status))),
    };
    let process = process_name();
    let driver = Arc::new(Driver { connector, scripts, status, process, servers: servers.clone() });
    let keeper = match servers {
        Servers::One(node) => spawn_beside(keep_connected(Arc::clone(&driver), node)),
        Servers::Cluster(cluster) => spawn_beside(follow(Arc::clone(&driver), cluster)),
    };
    while let Some(mut batch) = asks.recv().await {
        while let Ok(more) = asks.try_recv() {
            batch.extend(more);
        }
        driver.send(batch);
    }
    keeper.abort();
}

/// Connects to a server, and reconnects forever.
///
/// Servers, and the proxies before them, close idle connections. So the server counts as away only
/// if a new connection fails too.
pub(super) async fn keep_connected(driver: Arc<Driver>, node: Arc<Node>) {
    let mut pause = BACKOFF.0;
    loop {
        let fault = match driver.connect(&node).await {
            Ok(link) => {
                pause = BACKOFF.0;
                // A report that is still pending is about the last connection.
                let _ = timeout(Duration::ZERO, node.broken.notified()).await;
                node.link.send_replace(Some(link.clone()));
                node.status.recovered();
                driver.look_around();
                let since = Instant::now();
                let fault = driver.heartbeat_until_broken(&node, link.clone()).await.err();
                if link.is_over() && node.status.is_available() {
                    node.link.send_replace(None);
                    if since.elapsed() < BACKOFF.1 {
                        sleep(jittered(pause)).await;
                    }
                    continue;
                }
                // If a command broke the connection, it has set the cause.
                fault
            }
            Err(fault) => Some(fault),
        };
        node.status.lost();
        if fault.is_some() {
            node.status.set_fault(fault);
        }
        node.link.send_replace(None);
        driver.look_around();
        if let Some(cluster) = driver.cluster() {
            // Another node may have taken its place.
            cluster.stale.notify_one();
        }
        sleep(jittered(pause)).await;
        pause = (pause * 2).min(BACKOFF.1);
    }
}

impl Driver {
    pub(super) fn cluster(&self) -> Option<&Arc<Cluster>> {
        match &self.servers {
            Servers::One(_) => None,
            Servers::Cluster(cluster) => Some(cluster),
        }
    }

    /// Sends commands.
    fn send(self: &Arc<Self>, batch: Vec<QueuedCommand>) {
        let driver = Arc::clone(self);
        match &self.servers {
            Servers::One(node) => drop(spawn_beside(run_batch(driver, Arc::clone(node), batch))),
            Servers::Cluster(cluster) => {
                drop(spawn_beside(dispatch(driver, Arc::clone(cluster), batch)));
            }
        }
    }

    async fn connect(&self, node: &Node) -> Result<Link, OutageCause> {
        let opening = async {
            if let (Some(address), Some(cluster)) = (&node.address, self.cluster()) {
                return cluster.opener.open(address).await.map(Link::Single);
            }
            let timeout = self.connector.config().timeout.max(PROBE);
            self.connector.connect(Some(timeout)).await
        };
        let opened = timeout(CONNECT_TIMEOUT, opening).await.map_err(|_| OutageCause::Timeout)?;
        let mut link = opened.map_err(|error| fault_of(&error))?;
        let mut distance: Option<Duration> = None;
        for command in self.scripts.load() {
            let sent = Instant::now();
            match timeout(PROBE, link.command(&command)).await {
                // The commands behind it would give a less precise cause.
                Ok(Err(error)) if error.is_io_error() => return Err(fault_of(&error)),
                // A user who may not load scripts may still run them.
                Ok(_) => {
                    let round_trip = sent.elapsed();
                    distance = Some(distance.map_or(round_trip, |known| known.min(round_trip)));
                }
                Err(_) => {}
            }
        }
        self.beat(node, &mut link).await?;
        if let Some(distance) = distance {
            node.status.set_distance(distance);
            if let Some(text) = setup::advice_on_distance(self.connector.config(), distance) {
                self.status.advise(FAR, text);
            }
        }
        if let Some(text) = setup::advice_on_memory(&mut link).await {
            self.status.advise(EVICTS, text);
        }
        Ok(link)
    }

    /// The longest that a request waits for an answer.
    pub(super) fn patience(&self) -> Duration {
        self.connector.config().patience(self.status.distance())
    }

    /// Sends heartbeats until one fails or the connection is reported as broken.
    async fn heartbeat_until_broken(&self, node: &Node, mut link: Link) -> Result<(), OutageCause> {
        while timeout(jittered(HEARTBEAT), node.broken.notified()).await.is_err() {
            self.beat(node, &mut link).await?;
            self.look_around();
        }
        Ok(())
    }

    /// Writes a heartbeat; an error if it did not arrive. On a new connection it runs before the
    /// server counts as available, so the start of its proof memory is read by then.
    async fn beat(&self, node: &Node, link: &mut Link) -> Result<(), OutageCause> {
        let prefix = &self.connector.config().prefix;
        let mut live = format!("{prefix}live");
        let proofs = proofs_key(prefix);
        let mut has_proofs = true;
        if let (Some(cluster), Some(address)) = (self.cluster(), &node.address) {
            let view = cluster.known().ok_or(OutageCause::Slots)?;
            live = view.live_key(address, &live).ok_or(OutageCause::Slots)?;
            let owner = view.owner(&proofs).and_then(|owner| view.map.nodes.get(owner));
            has_proofs = owner == Some(address);
        }
        if has_proofs && self.status.keeps_proofs() {
            let mut command = redis::cmd("EVAL");
            let sent = Now::read();
            command.arg(BEGAN).arg(1).arg(proofs).arg(self.scripts.proofs_time(sent));
            match timeout(PROBE, link.command(&command)).await {
                Ok(Ok(Value::Int(shown))) => {
                    self.scripts.proofs_clock.observe(shown, sent, Now::read());
                }
                Ok(Err(error)) if self.is_elsewhere(&error) => return Ok(()),
                other => return Err(failed(&other)),
            }
        }
        let mut command = redis::cmd("EVAL");
        command.arg(LIVE).arg(1).arg(live).arg(&self.process).arg(SILENCE_MS);
        let sent = Now::read();
        let values = match timeout(PROBE, link.command(&command)).await {
            Ok(Ok(Value::Array(values))) => values,
            Ok(Err(error)) if self.is_elsewhere(&error) => return Ok(()),
            other => return Err(failed(&other)),
        };
        let [Value::Int(time), Value::Int(alive)] = values.as_slice() else {
            return Err(OutageCause::Protocol);
        };
        if let (Ok(time), Ok(alive)) = (u64::try_from(*time), u32::try_from(*alive)) {
            node.status.observe(time, sent);
            node.status.count_instances(alive);
        }
        Ok(())
    }
}

/// Why a reply is not the expected one.
fn failed(answer: &Result<Result<Value, RedisError>, Elapsed>) -> OutageCause {
    match answer {
        Err(_) => OutageCause::Timeout,
        Ok(Err(error)) => fault_of(error),
        Ok(Ok(_)) => OutageCause::Protocol,
    }
}

impl Driver {
    /// Whether a node of a cluster reports that the slot of its heartbeat has moved. The node is
    /// well, and gets another heartbeat key once the slot map is read again.
    fn is_elsewhere(&self, error: &RedisError) -> bool {
        let Some(cluster) = self.cluster() else { return false };
        let is_elsewhere = matches!(error.code(), Some("MOVED" | "ASK" | "TRYAGAIN"));
        if is_elsewhere {
            cluster.stale.notify_one();
        }
        is_elsewhere
    }
}

/// Sends a batch to the one server and completes all receivers within the store's timeout.
async fn run_batch(driver: Arc<Driver>, node: Arc<Node>, batch: Vec<QueuedCommand>) {
    let deadline = Instant::now() + driver.patience();
    let (questions, responders): (Vec<StoreCommand>, Vec<Responder>) =
        batch.into_iter().map(|ask| (ask.question, ask.responder)).unzip();
    let error = match timeout_at(deadline, execute(&driver, &node, &questions)).await {
        Ok(Ok(answers)) => {
            return Responder::complete_all(responders.into_iter().zip(answers));
        }
        Ok(Err(error)) => error,
        Err(_) => StoreError::Timeout,
    };
    Responder::complete_all(responders.into_iter().map(|responder| (responder, Err(error))));
}

/// One result for each command, or one fault for all of them.
async fn execute(
    driver: &Arc<Driver>,
    node: &Node,
    questions: &[StoreCommand],
) -> Result<Vec<Result<CommandResult, StoreError>>, StoreError> {
    if !node.status.is_available() {
        return Err(StoreError::Unavailable);
    }
    let mut watch = Watch::new(node);
    let mut link = node.linked().await.ok_or(StoreError::Unavailable)?;
    let calls = calls(questions, false);
    let sent = Now::read();
    let exchanged = driver.exchange(node, &mut link, calls.iter(), questions, By::Digest).await;
    let mut replies = watch.take(exchanged)?;
    let unknown: Vec<usize> =
        (0..).zip(&replies).filter(|(_, reply)| is_noscript(reply)).map(|(i, _)| i).collect();
    if !unknown.is_empty() {
        let again = unknown.iter().filter_map(|i| calls.get(*i));
        let exchanged = driver.exchange(node, &mut link, again, questions, By::Text).await;
        let known_now = watch.take(exchanged)?;
        for (i, reply) in unknown.into_iter().zip(known_now) {
            if let Some(place) = replies.get_mut(i) {
                *place = reply;
            }
        }
    }
    let results = read(&calls, &replies, questions);
    if let Some(Ok(answer)) = results.answers.first()
        && let Some(standing) = answer.statuses.first()
        && standing.now_us > 0
    {
        node.status.observe(standing.now_us, sent);
    }
    watch.answered = results.answers.iter().all(Result::is_ok);
    if !watch.answered {
        watch.fault = first_fault(&replies);
    }
    Ok(results.answers)
}

impl Driver {
    /// Sends calls as one pipeline. Returns one reply for each.
    async fn exchange<'c>(
        &self,
        node: &Node,
        link: &mut Link,
        calls: impl Iterator<Item = &'c Call>,
        questions: &[StoreCommand],
        by: By,
    ) -> Result<Vec<Value>, RedisError> {
        let mut pipeline = Pipeline::new();
        for call in calls {
            pipeline.add_command(self.scripts.command(call, questions, by));
        }
        let answers = link.send(&pipeline).await;
        if let Err(error) = &answers
            && is_lost(error)
        {
            node.note_loss(fault_of(error));
        }
        answers
    }
}

/// In a cluster each subject is judged by itself. If one refuses, the charges of the others are
/// given back; until that arrives, they are a request short.
pub(super) fn refund(driver: &Arc<Driver>, questions: &[StoreCommand], results: &Results) {
    let refunds: Vec<QueuedCommand> = results
        .refunds(questions)
        // It has no receiver.
        .map(|question| QueuedCommand { question, responder: Responder::new(Box::new(drop)) })
        .collect();
    if !refunds.is_empty() {
        driver.send(refunds);
    }
}

pub(super) fn is_noscript(value: &Value) -> bool {
    matches!(value, Value::ServerError(error) if error.code() == "NOSCRIPT")
}

fn process_name() -> String {
    let mut bytes = [0; 8];
    // Without randomness, processes with equal ids on different hosts count as one.
    let _ = crate::random::fill(&mut bytes);
    format!("{:x}-{:016x}", std::process::id(), u64::from_le_bytes(bytes))
}
