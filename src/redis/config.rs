//! `store.redis`, checked: the servers, the credentials, and the longest wait of a request.

use std::fmt;
use std::time::Duration;

use redis::{
    ClientTlsConfig, ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _, ProtocolVersion,
    TlsCertificates,
};
use serde_json::Value;

use crate::config::options::{Options, bytes, describe, string_at};
use crate::error::{ConfigCode, ConfigError};
use crate::store::config::{
    DEFAULT_PREFIX, DEFAULT_TIMEOUT, MemoryConfig, local, prefix, processes, timeout,
};

const OPTIONS: &[&str] = &[
    "url",
    "cluster",
    "sentinel",
    "username",
    "password",
    "db",
    "tls",
    "prefix",
    "timeout",
    "processes",
    "maxBytes",
    "minReplicas",
];
const SCHEMES: [&str; 4] = ["redis", "rediss", "valkey", "valkeys"];
const UNIX_SCHEMES: [&str; 3] = ["unix", "redis+unix", "valkey+unix"];
const MAX_NODES: usize = 64;
/// The longest that a request waits for a distant store, unless `timeout` is given.
const MAX_PATIENCE: Duration = Duration::from_millis(250);
const MAX_REPLICAS: u64 = 16;
const MAX_DB: i64 = 65_535;

/// A Redis or Valkey store that all processes share.
#[derive(Clone)]
pub struct RedisConfig {
    /// The addresses of the servers.
    pub topology: Topology,
    /// The start of all keys. Guards with the same prefix share their counts.
    pub prefix: String,
    /// The longest that a request waits for a result.
    pub timeout: Duration,
    /// Whether `timeout` was given. Otherwise a distant store gets more time.
    pub(super) is_timeout_given: bool,
    /// The least number of processes that divide the limits during an outage.
    pub(crate) processes: u32,
    /// The store in this process: copies of the last results, and the counts of an outage.
    pub local: MemoryConfig,
    /// How many replicas must acknowledge a write that a failover must not lose, before it counts
    /// as stored: revocations, ended sessions and runtime overrides of clients and limits. 0 to 16.
    pub min_replicas: u8,
    /// Equal for the same options. Guards with equal digests share a connection.
    pub digest: [u8; 32],
    /// A private certificate authority and the client's certificate, both in PEM.
    pub(super) certificates: Option<TlsCertificates>,
}

/// How the servers are arranged.
#[derive(Clone)]
pub enum Topology {
    /// One server.
    Single(ConnectionInfo),
    /// Redis Cluster: some of its nodes, which name the others.
    Cluster(Vec<ConnectionInfo>),
    /// A primary that sentinels monitor under a name.
    Sentinel {
        /// The sentinels.
        nodes: Vec<ConnectionInfo>,
        /// The sentinels' name of the primary.
        name: String,
        /// The connection settings of the primary, except for its address.
        primary: ConnectionInfo,
    },
}

/// Shows the kind only: addresses may contain passwords.
impl fmt::Debug for RedisConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisConfig")
            .field("topology", &self.topology)
            .field("prefix", &self.prefix)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Topology {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Single(_) => "Single",
            Self::Cluster(_) => "Cluster",
            Self::Sentinel { .. } => "Sentinel",
        })
    }
}

impl RedisConfig {
    /// Reads `value`, the option at `path` (`store.redis`): a URL, or an object of options.
    pub fn parse(path: &str, value: &Value) -> Result<Self, ConfigError> {
        if let Value::String(url) = value {
            return Ok(Self {
                topology: Topology::Single(server(path, url)?),
                prefix: DEFAULT_PREFIX.to_owned(),
                timeout: DEFAULT_TIMEOUT,
                is_timeout_given: false,
                processes: 1,
                local: MemoryConfig::new(path),
                min_replicas: 0,
                digest: digest(value),
                certificates: None,
            });
        }
        if !value.is_object() {
            let problem = format!("must be a URL or an object, not {}", describe(value));
            return Err(ConfigError::invalid(path, problem).suggest(
                "write 'redis://127.0.0.1:6379', or set the variable that it is read from",
            ));
        }
        let options = Options::read(path, value, OPTIONS)?;
        let topology = topology(&options)?;
        let certificates = certificates(&options)?;
        if certificates.is_some() && !topology.nodes().all(is_tls) {
            return Err(ConfigError::new(
                ConfigCode::ConflictingOptions,
                options.path_of("tls"),
                "is about encrypted connections, and an address is not encrypted",
            )
            .suggest("write 'rediss://' instead of 'redis://'"));
        }
        Ok(Self {
            topology,
            prefix: prefix(&options)?,
            timeout: timeout(&options)?,
            is_timeout_given: options.has("timeout"),
            processes: processes(&options)?,
            local: local(path, &options)?,
            min_replicas: min_replicas(&options)?,
            digest: digest(value),
            certificates,
        })
    }
}

impl RedisConfig {
    /// The longest that a request waits for a store whose round trip takes `distance`: `timeout`
    /// if it was given; otherwise three round trips, from the default of `timeout` to a quarter of
    /// a second.
    pub(super) fn patience(&self, distance: Duration) -> Duration {
        if self.is_timeout_given {
            return self.timeout;
        }
        distance.saturating_mul(3).clamp(self.timeout, MAX_PATIENCE)
    }

    /// Equal for two configurations that lead to the same keys. It contains no password.
    pub(crate) fn identity(&self) -> String {
        let node = |node: &ConnectionInfo| {
            let settings = node.redis_settings();
            format!("{} {} {:?}", node.addr(), settings.db(), settings.username())
        };
        let mut nodes: Vec<String> = self.topology.nodes().map(node).collect();
        nodes.sort();
        let name = match &self.topology {
            Topology::Single(_) => "single".to_owned(),
            Topology::Cluster(_) => "cluster".to_owned(),
            Topology::Sentinel { name, primary, .. } => {
                let settings = primary.redis_settings();
                format!("sentinel {name:?} {} {:?}", settings.db(), settings.username())
            }
        };
        format!("{:?} {name} {nodes:?}", self.prefix)
    }
}

impl Topology {
    /// The configured addresses.
    fn nodes(&self) -> impl Iterator<Item = &ConnectionInfo> {
        match self {
            Self::Single(node) => std::slice::from_ref(node),
            Self::Cluster(nodes) | Self::Sentinel { nodes, .. } => nodes.as_slice(),
        }
        .iter()
    }
}

/// A digest, so that the passwords in the options are not stored once more.
fn digest(value: &Value) -> [u8; 32] {
    let digest =
        aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, value.to_string().as_bytes());
    digest.as_ref().try_into().unwrap_or_default()
}

fn min_replicas(options: &Options<'_>) -> Result<u8, ConfigError> {
    let count = options.integer("minReplicas", 0..=MAX_REPLICAS)?.unwrap_or(0);
    Ok(u8::try_from(count).unwrap_or(u8::MAX))
}

pub(super) fn is_tls(node: &ConnectionInfo) -> bool {
    matches!(node.addr(), redis::ConnectionAddr::TcpTls { .. })
}

fn topology(options: &Options<'_>) -> Result<Topology, ConfigError> {
    let given: Vec<&str> =
        ["url", "cluster", "sentinel"].into_iter().filter(|key| options.has(key)).collect();
    match given.as_slice() {
        [] => Err(ConfigError::new(
            ConfigCode::MissingOption,
            options.path_of("url"),
            "must be given: where the server is",
        )
        .suggest("write 'redis://127.0.0.1:6379'; or give `cluster` or `sentinel`")),
        [_, second, ..] => Err(ConfigError::new(
            ConfigCode::ConflictingOptions,
            options.path_of(second),
            "can't stand beside another way to find the servers",
        )
        .suggest("give one of `url`, `cluster` and `sentinel`")),
        ["cluster"] => {
            if options.has("db") {
                return Err(ConfigError::new(
                    ConfigCode::ConflictingOptions,
                    options.path_of("db"),
                    "means nothing to a cluster, which has one database",
                ));
            }
            let nodes = nodes(options, "cluster")?;
            let nodes = nodes.into_iter().map(|node| credentials(options, node));
            Ok(Topology::Cluster(nodes.collect::<Result<_, _>>()?))
        }
        ["sentinel"] => sentinel(options),
        [_] => {
            let url = options.string("url")?.unwrap_or_default();
            Ok(Topology::Single(credentials(options, server(&options.path_of("url"), url)?)?))
        }
    }
}

fn sentinel(options: &Options<'_>) -> Result<Topology, ConfigError> {
    let path = options.path_of("sentinel");
    let value = options.get("sentinel").unwrap_or(&Value::Null);
    let sentinel = Options::read(&path, value, &["nodes", "name"])?;
    sentinel.require("name", "it is what the sentinels call the primary")?;
    let name = sentinel.string("name")?.unwrap_or_default();
    if name.is_empty() {
        return Err(sentinel.invalid("name", "must not be empty"));
    }
    sentinel.require("nodes", "they are where the sentinels are")?;
    let nodes = nodes(&sentinel, "nodes")?;
    let Some(first) = nodes.first() else {
        return Err(sentinel.invalid("nodes", "must name at least one sentinel"));
    };
    // The options beside `sentinel` apply to the primary. The credentials for all sentinels are
    // those in the URL of the first one.
    let anonymous = first.clone().set_redis_settings(redis::RedisConnectionInfo::default());
    let primary = credentials(options, anonymous)?;
    Ok(Topology::Sentinel { name: name.to_owned(), primary, nodes })
}

fn nodes(options: &Options<'_>, key: &str) -> Result<Vec<ConnectionInfo>, ConfigError> {
    let path = options.path_of(key);
    let items = options.list(key)?.unwrap_or_default();
    if items.is_empty() || items.len() > MAX_NODES {
        return Err(options.invalid(key, format!("must be a list of 1 to {MAX_NODES} URLs")));
    }
    let mut nodes = Vec::with_capacity(items.len());
    for (i, item) in items.iter().enumerate() {
        let at = format!("{path}[{i}]");
        nodes.push(node(&at, string_at(&at, item)?)?);
    }
    if nodes.iter().any(is_tls) && !nodes.iter().all(is_tls) {
        return Err(options
            .invalid(key, "must be encrypted all or none")
            .suggest("write 'rediss://' for each of them"));
    }
    Ok(nodes)
}

/// Parses the address of a single server, which may be a Unix socket.
fn server(path: &str, url: &str) -> Result<ConnectionInfo, ConfigError> {
    let scheme = url.split_once("://").map(|(scheme, _)| scheme).unwrap_or_default();
    if !UNIX_SCHEMES.contains(&scheme) {
        return node(path, url);
    }
    if cfg!(not(unix)) {
        return Err(ConfigError::invalid(path, "must be a host and a port on this system"));
    }
    let socket = url.into_connection_info().ok().filter(
        |socket| matches!(socket.addr(), ConnectionAddr::Unix(path) if path.file_name().is_some()),
    );
    let socket = socket.ok_or_else(|| {
        ConfigError::invalid(path, "can't be read as the URL of a Unix socket")
            .suggest("write 'unix:///run/redis.sock', with the whole path of the socket")
    })?;
    checked(path, socket)
}

/// Parses one address of a host. Its text never goes into an error: it may contain a password.
fn node(path: &str, url: &str) -> Result<ConnectionInfo, ConfigError> {
    let scheme = url.split_once("://").map(|(scheme, _)| scheme).unwrap_or_default();
    if !SCHEMES.contains(&scheme) {
        return Err(ConfigError::invalid(path, "must be a URL of a Redis or Valkey server")
            .suggest(
                "write 'redis://127.0.0.1:6379', or 'rediss://' for an encrypted connection",
            ));
    }
    if url.contains('#') {
        return Err(ConfigError::invalid(
            path,
            "must have no fragment: a server's certificate is always checked",
        )
        .suggest("give the authority that signed it as `tls.ca`"));
    }
    let node = url.into_connection_info().map_err(|_| {
        ConfigError::invalid(path, "can't be read as a URL of a Redis server")
            .suggest("write 'redis://user:password@host:6379/0', with special characters in the password percent-encoded")
    })?;
    let (ConnectionAddr::Tcp(_, port) | ConnectionAddr::TcpTls { port, .. }) = node.addr() else {
        return Err(ConfigError::invalid(path, "must be a host and a port"));
    };
    if *port == 0 {
        return Err(ConfigError::invalid(path, "must have a port from 1 to 65535"));
    }
    checked(path, node)
}

/// Checks the settings in the URL of a server.
fn checked(path: &str, node: ConnectionInfo) -> Result<ConnectionInfo, ConfigError> {
    let settings = node.redis_settings();
    if !(0..=MAX_DB).contains(&settings.db()) {
        let problem = format!("must have a database from 0 to {MAX_DB}");
        return Err(ConfigError::invalid(path, problem));
    }
    if settings.protocol() != ProtocolVersion::RESP2 {
        return Err(ConfigError::invalid(path, "must not ask for another protocol than RESP2")
            .suggest("leave `protocol` out"));
    }
    Ok(node)
}

/// Adds `username`, `password` and `db`, which override those of the URL.
fn credentials(options: &Options<'_>, node: ConnectionInfo) -> Result<ConnectionInfo, ConfigError> {
    let mut settings = node.redis_settings().clone();
    if let Some(username) = options.string("username")? {
        if !options.has("password") {
            return Err(ConfigError::new(
                ConfigCode::MissingOption,
                options.path_of("password"),
                "must be given with a `username`",
            ));
        }
        settings = settings.set_username(username);
    }
    if let Some(password) = options.string("password")? {
        if password.is_empty() {
            return Err(options
                .invalid("password", "must not be empty")
                .suggest("leave it out where the server asks for none"));
        }
        settings = settings.set_password(password);
    }
    if let Some(db) = options.integer("db", 0..=MAX_DB.unsigned_abs())? {
        settings = settings.set_db(i64::try_from(db).unwrap_or_default());
    }
    Ok(node.set_redis_settings(settings))
}

fn certificates(options: &Options<'_>) -> Result<Option<TlsCertificates>, ConfigError> {
    let Some(value) = options.get("tls") else { return Ok(None) };
    let tls = Options::read(options.path_of("tls"), value, &["ca", "cert", "key"])?;
    let client_tls = match (pem(&tls, "cert")?, pem(&tls, "key")?) {
        (Some(client_cert), Some(client_key)) => Some(ClientTlsConfig { client_cert, client_key }),
        (None, None) => None,
        (cert, _) => {
            let missing = if cert.is_none() { "cert" } else { "key" };
            return Err(ConfigError::new(
                ConfigCode::MissingOption,
                tls.path_of(missing),
                "must be given: a client certificate is its `cert` and its `key`",
            ));
        }
    };
    Ok(Some(TlsCertificates { client_tls, root_cert: pem(&tls, "ca")? }))
}

fn pem(options: &Options<'_>, key: &str) -> Result<Option<Vec<u8>>, ConfigError> {
    let Some(value) = options.get(key) else { return Ok(None) };
    let text = bytes(value).or_else(|| value.as_str().map(|text| text.as_bytes().to_vec()));
    let is_pem = |text: &Vec<u8>| memchr::memmem::find(text, b"-----BEGIN ").is_some();
    text.filter(is_pem).map(Some).ok_or_else(|| {
        options
            .invalid(key, "must be PEM text or a Buffer of it")
            .suggest("write the contents of the file, not its name")
    })
}
