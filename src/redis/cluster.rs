//! Connections to the nodes of a cluster: one for each node, made when first needed. A node that
//! hangs delays no command for another node.

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use redis::{
    Cmd, ConnectionAddr, ConnectionInfo, ErrorKind, Pipeline, RedisError, TlsCertificates, Value,
};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::fault::{fault_in, fault_of};
use super::open::Connection;
use super::slots::{Address, Redirect, SlotMap, slot_of_command};
use crate::store::fault::OutageCause;
use crate::store::runtime::CONNECT_TIMEOUT;

/// The most redirects of a command.
const MAX_REDIRECTS: usize = 4;
/// The delay before a command is sent again whose keys live on two nodes.
const LATER: Duration = Duration::from_millis(5);
/// How long the replies of other servers are awaited after the first one.
const SECOND_OPINION: Duration = Duration::from_millis(50);

/// Makes connections to nodes.
#[derive(Clone)]
pub(super) struct Opener {
    /// The connection settings of every node, except for its address.
    pub(super) template: ConnectionInfo,
    pub(super) certificates: Option<TlsCertificates>,
    /// The longest wait for a reply; `None`: forever.
    pub(super) patience: Option<Duration>,
}

impl Opener {
    /// A connection to the node at `address`.
    pub(super) async fn open(&self, address: &Address) -> Result<Connection, RedisError> {
        let (host, port) = (address.host.clone(), address.port);
        let at = match self.template.addr() {
            ConnectionAddr::TcpTls { .. } => {
                ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None }
            }
            _ => ConnectionAddr::Tcp(host, port),
        };
        let info = self.template.clone().set_addr(at);
        let opening = Connection::open(&info, self.certificates.as_ref(), self.patience);
        timeout(CONNECT_TIMEOUT, opening).await.unwrap_or_else(|_| Err(timed_out()))
    }

    /// The slot map, from nodes that are connected to for this.
    pub(super) async fn discover(&self, nodes: &[Address]) -> Result<SlotMap, OutageCause> {
        let why = Why::default();
        let asked = nodes.iter().cloned().map(|address| {
            let (opener, why) = (self.clone(), why.clone());
            async move {
                let asking = async {
                    let link = opener.open(&address).await.map_err(|error| fault_of(&error))?;
                    ask_slots(link, &address).await
                };
                let late = |_| Err(OutageCause::Timeout);
                why.note(timeout(CONNECT_TIMEOUT, asking).await.unwrap_or_else(late))
            }
        });
        most_say(asked).await.ok_or_else(|| why.fault())
    }
}

/// The cause to report if no server answers: the first one from a server that could be reached.
#[derive(Clone, Default)]
pub(super) struct Why(Arc<Mutex<Option<OutageCause>>>);

impl Why {
    /// Passes a server's answer on, and notes the cause if there is none.
    pub(super) fn note<T>(&self, said: Result<T, OutageCause>) -> Option<T> {
        said.map_err(|fault| {
            let mut known = self.0.lock();
            if known.is_none_or(OutageCause::is_unreachable) {
                *known = Some(fault);
            }
        })
        .ok()
    }

    pub(super) fn fault(&self) -> OutageCause {
        self.0.lock().unwrap_or(OutageCause::Timeout)
    }
}

/// The slot map, as one node reports it.
pub(super) async fn ask_slots(
    mut link: Connection,
    address: &Address,
) -> Result<SlotMap, OutageCause> {
    let mut command = redis::cmd("CLUSTER");
    command.arg("SLOTS");
    let answer = link.command(&command).await.map_err(|error| fault_of(&error))?;
    if let Some(fault) = fault_in(&answer) {
        return Err(fault);
    }
    // A cluster without any served slot names no primary.
    SlotMap::read(&answer, &address.host).ok_or(OutageCause::Slots)
}

/// The answer of most servers among those that answer soon after the first one. So a server that
/// hangs delays no one, and a server cut off from the others, which missed a failover, is outvoted.
pub(super) async fn most_say<T: PartialEq + Send + 'static>(
    asked: impl Iterator<Item = impl Future<Output = Option<T>> + Send + 'static>,
) -> Option<T> {
    let votes = votes(asked).await;
    let most = votes.iter().map(|(_, count)| *count).max()?;
    votes.into_iter().find(|(_, count)| *count == most).map(|(said, _)| said)
}

/// The answers of the servers that answer soon after the first one, each with its number of votes.
pub(super) async fn votes<T: PartialEq + Send + 'static>(
    asked: impl Iterator<Item = impl Future<Output = Option<T>> + Send + 'static>,
) -> Vec<(T, usize)> {
    let mut asking = JoinSet::new();
    for question in asked {
        asking.spawn(question);
    }
    let mut votes: Vec<(T, usize)> = Vec::new();
    let mut until = None;
    loop {
        let answer = match until {
            None => asking.join_next().await,
            Some(until) => timeout_at(until, asking.join_next()).await.ok().flatten(),
        };
        let Some(answer) = answer else { return votes };
        let Ok(Some(said)) = answer else { continue };
        match votes.iter_mut().find(|(known, _)| *known == said) {
            Some((_, count)) => *count += 1,
            None => votes.push((said, 1)),
        }
        until.get_or_insert_with(|| Instant::now() + SECOND_OPINION);
    }
}

/// A source of connections to nodes.
pub(super) trait Reach: Sync {
    /// The connection to a node.
    fn reach(
        &self,
        address: &Address,
    ) -> impl Future<Output = Result<Connection, RedisError>> + Send;

    /// Notes that a slot has moved, so the slot map must be read again.
    fn rebased(&self);
}

/// Sends commands to a node and follows its redirects. Returns one value for each command.
pub(super) async fn exchange(
    nodes: &impl Reach,
    address: &Address,
    commands: &Pipeline,
) -> Result<Vec<Value>, RedisError> {
    let mut link = nodes.reach(address).await?;
    let mut values = link.send(commands).await?;
    for _ in 0..MAX_REDIRECTS {
        let mut again: BTreeMap<Redirect, Vec<usize>> = BTreeMap::new();
        for (place, value) in values.iter().enumerate() {
            if let Some(redirect) = Redirect::read(value, &address.host) {
                again.entry(redirect).or_default().push(place);
            }
        }
        if again.is_empty() {
            break;
        }
        for (redirect, places) in again {
            let sent = places.iter().filter_map(|place| commands.cmd_iter().nth(*place));
            let answers = send_on(nodes, address, &redirect, sent).await?;
            for (place, answer) in places.into_iter().zip(answers) {
                if let Some(value) = values.get_mut(place) {
                    *value = answer;
                }
            }
        }
    }
    Ok(values)
}

async fn send_on<'c>(
    nodes: &impl Reach,
    from: &Address,
    redirect: &Redirect,
    commands: impl Iterator<Item = &'c Cmd>,
) -> Result<Vec<Value>, RedisError> {
    let is_asking = matches!(redirect, Redirect::Ask(_));
    let mut pipeline = Pipeline::new();
    for command in commands {
        if is_asking {
            pipeline.cmd("ASKING");
        }
        pipeline.add_command(command.clone());
    }
    let to = match redirect {
        Redirect::Moved(address) | Redirect::Ask(address) => address,
        Redirect::Later => from,
    };
    match redirect {
        Redirect::Moved(_) => nodes.rebased(),
        Redirect::Ask(_) => {}
        Redirect::Later => sleep(LATER).await,
    }
    let mut link = nodes.reach(to).await?;
    let answers = link.send(&pipeline).await?;
    let step = if is_asking { 2 } else { 1 };
    Ok(answers.into_iter().skip(step - 1).step_by(step).collect())
}

/// Connections to the nodes of a cluster for many tasks at once; a clone shares them.
#[derive(Clone)]
pub struct ClusterLink(Arc<Links>);

impl std::fmt::Debug for ClusterLink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ClusterLink")
    }
}

/// A connection that is made when first needed. The lock is held meanwhile.
type Kept = Arc<tokio::sync::Mutex<Option<Connection>>>;

struct Links {
    opener: Opener,
    seeds: Vec<Address>,
    map: Mutex<Arc<SlotMap>>,
    is_stale: AtomicBool,
    nodes: Mutex<HashMap<Address, Kept>>,
}

impl ClusterLink {
    /// Reads the slot map from the nodes at `seeds`. A node that hangs does not matter if another
    /// one answers.
    pub(super) async fn connect(opener: Opener, seeds: Vec<Address>) -> Result<Self, RedisError> {
        let map = opener.discover(&seeds).await.map_err(std::io::Error::from)?;
        Ok(Self(Arc::new(Links {
            opener,
            seeds,
            map: Mutex::new(Arc::new(map)),
            is_stale: AtomicBool::new(false),
            nodes: Mutex::default(),
        })))
    }

    /// Sends commands whose keys are in one slot. Returns one value for each.
    pub(super) async fn send(&self, commands: &Pipeline) -> Result<Vec<Value>, RedisError> {
        let links = &self.0;
        if links.is_stale.swap(false, Ordering::AcqRel) {
            links.look_again().await;
        }
        let map = Arc::clone(&links.map.lock());
        let slot = commands.cmd_iter().find_map(slot_of_command);
        let node = slot.and_then(|slot| map.nodes.get(map.owner(slot)?));
        let Some(node) = node else {
            links.rebased();
            return Err(unreachable_nodes());
        };
        let answer = exchange(&**links, node, commands).await;
        if answer.is_err() {
            // Another node may have taken its place, and a broken connection is not used again.
            links.rebased();
            links.nodes.lock().remove(node);
        }
        answer
    }
}

impl Links {
    async fn look_again(&self) {
        let mut nodes = self.map.lock().nodes.clone();
        nodes.extend(self.seeds.iter().cloned());
        nodes.sort();
        nodes.dedup();
        if let Ok(map) = self.opener.discover(&nodes).await {
            self.nodes.lock().retain(|address, _| map.has(address));
            *self.map.lock() = Arc::new(map);
        } else {
            self.rebased();
        }
    }
}

impl Reach for Links {
    async fn reach(&self, address: &Address) -> Result<Connection, RedisError> {
        let node = Arc::clone(self.nodes.lock().entry(address.clone()).or_default());
        let mut kept = node.lock().await;
        match &*kept {
            Some(link) if !link.is_closed() => Ok(link.clone()),
            _ => Ok(kept.insert(self.opener.open(address).await?).clone()),
        }
    }

    fn rebased(&self) {
        self.is_stale.store(true, Ordering::Release);
    }
}

/// The error of a timeout.
pub(super) fn timed_out() -> RedisError {
    std::io::Error::from(std::io::ErrorKind::TimedOut).into()
}

/// The error when no node answers, or none has the slot.
pub(super) fn unreachable_nodes() -> RedisError {
    (ErrorKind::ClusterConnectionNotFound, "no node of the cluster answers for the key").into()
}
