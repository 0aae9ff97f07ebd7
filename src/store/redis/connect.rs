//! Connections to the servers of a [`RedisConfig`], whatever their arrangement.

use std::time::Duration;

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::sentinel::{SentinelClientBuilder, SentinelServerType};
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionInfo, Pipeline, RedisError, TlsMode, Value,
};
use tokio::task::JoinSet;

use super::config::{RedisConfig, Topology, is_tls};
use crate::error::ConfigError;
use crate::store::runtime::CONNECT_TIMEOUT;

/// Makes connections. It makes none before it is asked.
#[derive(Debug)]
pub struct Connector {
    config: RedisConfig,
    /// For [`Connector::store`] alone: `WAIT` holds up what is sent behind it.
    lasting: tokio::sync::Mutex<Option<Link>>,
}

/// A connection that many tasks use at once; a clone is the same connection.
#[derive(Clone)]
pub enum Link {
    /// To one server, the primary.
    Single(MultiplexedConnection),
    /// To the nodes of a cluster.
    Cluster(ClusterConnection),
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Single(_) => "Single",
            Self::Cluster(_) => "Cluster",
        })
    }
}

impl Connector {
    /// Checks what can be checked without a server: certificates and keys that can't be read are errors of the
    /// configuration at `path`.
    pub fn new(config: RedisConfig, path: &str) -> Result<Self, ConfigError> {
        let connector = Self { config, lasting: tokio::sync::Mutex::default() };
        let unreadable = |_| {
            ConfigError::invalid(format!("{path}.tls"), "has a certificate or key that can't be read")
                .suggest("give PEM: the authority as `ca`, the client's certificate as `cert` and its key as `key`")
        };
        match &connector.config.topology {
            Topology::Single(node) => connector.client(node).map(drop).map_err(unreadable)?,
            Topology::Cluster(nodes) => {
                connector.cluster(nodes, None).map(drop).map_err(unreadable)?;
            }
            Topology::Sentinel { primary, .. } => {
                connector.client(primary).map(drop).map_err(unreadable)?;
            }
        }
        Ok(connector)
    }

    /// What it connects to.
    #[must_use]
    pub fn config(&self) -> &RedisConfig {
        &self.config
    }

    /// Whether keys live on several servers, so that one script can't see them all.
    #[must_use]
    pub fn is_cluster(&self) -> bool {
        matches!(self.config.topology, Topology::Cluster(_))
    }

    /// A new connection. `patience` is the longest that an answer may take on it; `None` for ever, which is for
    /// commands that block, and such a connection must be used for nothing else.
    pub async fn connect(&self, patience: Option<Duration>) -> Result<Link, RedisError> {
        let connecting = async {
            match &self.config.topology {
                Topology::Single(node) => self.single(&self.client(node)?, patience).await,
                Topology::Cluster(nodes) => {
                    let client = self.cluster(nodes, patience)?;
                    client.get_async_connection().await.map(Link::Cluster)
                }
                Topology::Sentinel { nodes, name, primary } => {
                    let client = self.find_primary(nodes, name, primary).await?;
                    self.single(&client, patience).await
                }
            }
        };
        tokio::time::timeout(CONNECT_TIMEOUT, connecting).await.unwrap_or_else(|_| Err(timed_out()))
    }

    /// Sends a command that writes, and waits until as many replicas have it as `minReplicas` says:
    /// the answer, and whether they have it. The command and `WAIT` go to one server on one
    /// connection, since a server counts the replicas that have what this connection wrote.
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
            Some(link) => Ok(link.clone()),
            None => Ok(kept.insert(self.connect(Some(LASTING_PATIENCE)).await?).clone()),
        }
    }

    async fn single(
        &self,
        client: &Client,
        patience: Option<Duration>,
    ) -> Result<Link, RedisError> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(patience);
        client.get_multiplexed_async_connection_with_config(&config).await.map(Link::Single)
    }

    fn client(&self, node: &ConnectionInfo) -> Result<Client, RedisError> {
        match &self.config.certificates {
            Some(certificates) => Client::build_with_tls(node.clone(), certificates.clone()),
            None => Client::open(node.clone()),
        }
    }

    fn cluster(
        &self,
        nodes: &[ConnectionInfo],
        patience: Option<Duration>,
    ) -> Result<ClusterClient, RedisError> {
        // Redirections are followed; what fails otherwise is for the breaker to see, not to be tried again here.
        let mut builder = ClusterClient::builder(nodes.to_vec())
            .connection_timeout(CONNECT_TIMEOUT)
            .response_timeout(patience.unwrap_or(FOR_EVER))
            .retries(3)
            .min_retry_wait(1)
            .max_retry_wait(10);
        if nodes.iter().any(is_tls) {
            builder = builder.tls(TlsMode::Secure);
        }
        if let Some(certificates) = &self.config.certificates {
            builder = builder.certs(certificates.clone());
        }
        builder.build()
    }

    /// Asks the sentinels who is primary now, and checks that it thinks so too.
    async fn find_primary(
        &self,
        nodes: &[ConnectionInfo],
        name: &str,
        primary: &ConnectionInfo,
    ) -> Result<Client, RedisError> {
        let addresses = nodes.iter().map(|node| node.addr().clone());
        let mut builder = SentinelClientBuilder::new(addresses, name, SentinelServerType::Master)?;
        let encrypted = nodes.iter().any(is_tls);
        if encrypted {
            builder = builder
                .set_client_to_sentinel_tls_mode(TlsMode::Secure)
                .set_client_to_redis_tls_mode(TlsMode::Secure);
        }
        if let Some(certificates) = &self.config.certificates {
            builder = builder
                .set_client_to_sentinel_certificates(certificates.clone())
                .set_client_to_redis_certificates(certificates.clone());
        }
        let settings = primary.redis_settings();
        builder = builder.set_client_to_redis_db(settings.db());
        if let Some(username) = settings.username() {
            builder = builder.set_client_to_redis_username(username);
        }
        if let Some(password) = settings.password() {
            builder = builder.set_client_to_redis_password(password);
        }
        if let Some(first) = nodes.first().map(ConnectionInfo::redis_settings) {
            if let Some(username) = first.username() {
                builder = builder.set_client_to_sentinel_username(username);
            }
            if let Some(password) = first.password() {
                builder = builder.set_client_to_sentinel_password(password);
            }
        }
        builder.build()?.async_get_client().await
    }
}

/// How long a server waits for its replicas. Whoever revokes waits a second in all.
const REPLICATION_MS: u64 = 700;
/// The longest that an answer may take on a connection where commands wait for replicas.
const LASTING_PATIENCE: Duration = Duration::from_secs(1);

/// Longer than any command blocks: a cluster's connection always has a limit.
const FOR_EVER: Duration = Duration::from_secs(3600);

impl Link {
    /// Sends `pipeline` and gives one value for each of its commands; what a server said no to is a
    /// [`Value::ServerError`] in its place.
    pub async fn send(&mut self, pipeline: &Pipeline) -> Result<Vec<Value>, RedisError> {
        let count = pipeline.len();
        match self {
            Self::Single(link) => link.req_packed_commands(pipeline, 0, count).await,
            Self::Cluster(link) => link.req_packed_commands(pipeline, 0, count).await,
        }
    }

    /// As [`Self::send`], for commands that may be about different nodes of a cluster: in any order, and what has failed
    /// where others have not is a [`Value::Nil`].
    pub async fn send_apart(&mut self, pipeline: &Pipeline) -> Result<Vec<Value>, RedisError> {
        let Self::Cluster(link) = self else { return self.send(pipeline).await };
        let mut sent = JoinSet::new();
        for (place, command) in pipeline.cmd_iter().cloned().enumerate() {
            let mut link = link.clone();
            sent.spawn(async move { (place, link.req_packed_command(&command).await) });
        }
        let mut values = vec![Value::Nil; pipeline.len()];
        let (mut arrived, mut failure) = (false, None);
        while let Some(Ok((place, answer))) = sent.join_next().await {
            match (answer, values.get_mut(place)) {
                (Ok(value), Some(to)) => (*to, arrived) = (value, true),
                (Err(error), _) => failure = Some(error),
                (Ok(_), None) => {}
            }
        }
        match failure {
            Some(error) if !arrived => Err(error),
            _ => Ok(values),
        }
    }

    /// Sends one command.
    pub async fn command(&mut self, command: &Cmd) -> Result<Value, RedisError> {
        let value = match self {
            Self::Single(link) => link.req_packed_command(command).await,
            Self::Cluster(link) => link.req_packed_command(command).await,
        }?;
        value.extract_error()
    }
}

fn unreadable() -> RedisError {
    std::io::Error::from(std::io::ErrorKind::InvalidData).into()
}

fn timed_out() -> RedisError {
    std::io::Error::from(std::io::ErrorKind::TimedOut).into()
}
