//! Connections to the servers of a [`RedisConfig`], whatever their arrangement.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use redis::{Cmd, ConnectionAddr, Pipeline, RedisError, Value};

use super::cluster::{ClusterLink, Opener, timed_out, unreachable_nodes};
use super::config::{RedisConfig, Topology};
use super::open::Connection;
use super::sentinel::{self, Primaries, Replaced};
use super::slots::Address;
use super::tls;
use crate::error::ConfigError;
use crate::store::runtime::CONNECT_TIMEOUT;

/// Makes connections, on demand only.
#[derive(Debug)]
pub struct Connector {
    config: RedisConfig,
    /// For [`Connector::write_lasting`] alone: `WAIT` blocks the commands behind it.
    lasting: tokio::sync::Mutex<Option<Link>>,
    /// The primaries that sentinels have named.
    primaries: Arc<Primaries>,
}

/// A connection for many tasks at once; a clone is the same connection.
#[derive(Clone)]
pub enum Link {
    /// To one server, the primary.
    Single(Connection),
    /// To the primary that sentinels have named, until they name another one.
    Named(Connection, Replaced),
    /// To the nodes of a cluster.
    Cluster(ClusterLink),
    /// To servers of a simulation.
    #[cfg(test)]
    #[expect(private_interfaces, reason = "nobody else sees it")]
    Simulated(crate::simulation::Connection),
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Single(_) => "Single",
            Self::Named(..) => "Named",
            Self::Cluster(_) => "Cluster",
            #[cfg(test)]
            Self::Simulated(_) => "Simulated",
        })
    }
}

impl Connector {
    /// Checks the certificates and keys, without a connection. Unreadable ones are errors of the
    /// configuration at `path`.
    pub fn new(config: RedisConfig, path: &str) -> Result<Self, ConfigError> {
        let lasting = tokio::sync::Mutex::default();
        let connector = Self { config, lasting, primaries: Arc::default() };
        if let Some(certificates) = &connector.config.certificates {
            tls::check(certificates).map_err(|_| {
                ConfigError::invalid(format!("{path}.tls"), "has a certificate or key that can't be read")
                    .suggest("give PEM: the authority as `ca`, the client's certificate as `cert` and its key as `key`")
            })?;
        }
        Ok(connector)
    }

    /// The configuration.
    #[must_use]
    pub fn config(&self) -> &RedisConfig {
        &self.config
    }

    /// Whether keys live on several servers, out of reach of a single script.
    #[must_use]
    pub fn is_cluster(&self) -> bool {
        matches!(self.config.topology, Topology::Cluster(_))
    }

    /// A new connection. `patience` is the longest wait for a reply on it; `None` means forever.
    /// That is for blocking commands, and such a connection must serve nothing else.
    pub async fn connect(&self, patience: Option<Duration>) -> Result<Link, RedisError> {
        let connecting = async {
            #[cfg(test)]
            if let Some(connecting) = crate::simulation::connect(patience) {
                return connecting.await.map(Link::Simulated);
            }
            let certificates = self.config.certificates.as_ref();
            match &self.config.topology {
                Topology::Single(node) => {
                    Connection::open(node, certificates, patience).await.map(Link::Single)
                }
                Topology::Cluster(_) => {
                    let (opener, seeds) = self.cluster(patience).ok_or_else(unreachable_nodes)?;
                    ClusterLink::connect(opener, seeds).await.map(Link::Cluster)
                }
                Topology::Sentinel { nodes, name, primary } => {
                    self.primaries.watch(nodes, name, certificates);
                    let primary =
                        sentinel::find_primary(nodes, name, primary, certificates).await?;
                    let replaced = self.primaries.reach(primary.addr());
                    let link = Connection::open(&primary, certificates, patience).await?;
                    Ok(Link::Named(link, replaced))
                }
            }
        };
        tokio::time::timeout(CONNECT_TIMEOUT, connecting).await.unwrap_or_else(|_| Err(timed_out()))
    }

    /// Sends a command that writes, and waits until `minReplicas` replicas have it. Returns the
    /// reply, and whether they have it. The command and `WAIT` use one connection to one server,
    /// since a server counts the replicas that have the writes of this connection.
    pub(crate) async fn write_lasting(&self, write: &Cmd) -> Result<(Value, bool), RedisError> {
        let mut link = self.lasting_link().await?;
        let wanted = i64::from(self.config.min_replicas);
        let mut pipeline = Pipeline::new();
        pipeline.add_command(write.clone());
        pipeline.cmd("WAIT").arg(wanted).arg(REPLICATION_MS);
        let answers = link.send(&pipeline).await.and_then(|answers| {
            let answers = <[Value; 2]>::try_from(answers).map_err(|_| unreadable())?;
            let [answer, count] = answers.map(Value::extract_error);
            match (answer?, count?) {
                (answer, Value::Int(count)) => Ok((answer, count >= wanted)),
                _ => Err(unreadable()),
            }
        });
        if answers.is_err() {
            *self.lasting.lock().await = None;
        }
        answers
    }

    async fn lasting_link(&self) -> Result<Link, RedisError> {
        let mut kept = self.lasting.lock().await;
        match &*kept {
            Some(link) if !link.is_over() => Ok(link.clone()),
            _ => Ok(kept.insert(self.connect(Some(LASTING_PATIENCE)).await?).clone()),
        }
    }

    /// The opener for the nodes of a cluster, and the configured addresses.
    pub(super) fn cluster(&self, patience: Option<Duration>) -> Option<(Opener, Vec<Address>)> {
        let Topology::Cluster(nodes) = &self.config.topology else { return None };
        let seeds = nodes.iter().filter_map(|node| match node.addr() {
            ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => {
                Some(Address { host: host.clone(), port: *port })
            }
            _ => None,
        });
        let template = nodes.first()?.clone();
        let certificates = self.config.certificates.clone();
        Some((Opener { template, certificates, patience }, seeds.collect()))
    }
}

/// How long a server waits for its replicas. The caller of a revocation waits a second in all.
const REPLICATION_MS: u64 = 700;
/// The longest wait for a reply on a connection with `WAIT` commands.
const LASTING_PATIENCE: Duration = Duration::from_secs(1);

impl Link {
    /// Whether it is unusable from now on: it was closed, or its server was replaced as the
    /// primary. The connections of a cluster are renewed one by one.
    pub(crate) fn is_over(&self) -> bool {
        match self {
            Self::Single(link) => link.is_closed(),
            Self::Named(link, replaced) => link.is_closed() || replaced.load(Ordering::Acquire),
            Self::Cluster(_) => false,
            #[cfg(test)]
            Self::Simulated(_) => false,
        }
    }

    /// Sends `pipeline` and returns one value for each of its commands. A command that the server
    /// refused has a [`Value::ServerError`] in its place.
    pub async fn send(&mut self, pipeline: &Pipeline) -> Result<Vec<Value>, RedisError> {
        if self.is_over() {
            return Err(given_up());
        }
        match self {
            Self::Single(link) | Self::Named(link, _) => link.send(pipeline).await,
            Self::Cluster(link) => link.send(pipeline).await,
            #[cfg(test)]
            Self::Simulated(link) => link.send(pipeline.cmd_iter()).await,
        }
    }

    /// Sends one command.
    pub async fn command(&mut self, command: &Cmd) -> Result<Value, RedisError> {
        if self.is_over() {
            return Err(given_up());
        }
        let value = match self {
            Self::Single(link) | Self::Named(link, _) => link.command(command).await,
            Self::Cluster(link) => {
                let mut one = Pipeline::with_capacity(1);
                one.add_command(command.clone());
                link.send(&one).await.map(|mut values| values.pop().unwrap_or(Value::Nil))
            }
            #[cfg(test)]
            Self::Simulated(link) => link.send_one(command).await,
        }?;
        value.extract_error()
    }
}

fn given_up() -> RedisError {
    std::io::Error::from(std::io::ErrorKind::ConnectionReset).into()
}

fn unreadable() -> RedisError {
    std::io::Error::from(std::io::ErrorKind::InvalidData).into()
}
