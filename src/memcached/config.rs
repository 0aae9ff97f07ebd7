//! `store.memcached`, checked: the servers, the key prefix, and the longest wait of a request.

use std::fmt;
use std::net::Ipv6Addr;
use std::time::Duration;

use serde_json::Value;

use crate::config::options::{Options, describe, string_at};
use crate::error::ConfigError;
use crate::store::config::{
    DEFAULT_PREFIX, DEFAULT_TIMEOUT, MemoryConfig, local, prefix, processes, timeout,
};

const OPTIONS: &[&str] = &["servers", "prefix", "timeout", "processes", "maxBytes"];
const SCHEME: &str = "memcached://";
const DEFAULT_PORT: u16 = 11_211;
/// As many as a [`super::record_queue::Servers`] set has bits.
pub(super) const MAX_SERVERS: usize = 64;

/// A Memcached store that all processes share.
#[derive(Debug, Clone)]
pub struct MemcachedConfig {
    /// The servers: 1 to 64, each once.
    pub(super) servers: Vec<Address>,
    /// The start of all keys. Guards with the same prefix share their counts.
    pub(super) prefix: String,
    /// The longest that a request waits for a result.
    pub(super) timeout: Duration,
    /// The least number of processes that divide the limits during an outage.
    pub(crate) processes: u32,
    /// The store in this process: copies of the last results, and the counts of an outage.
    pub(crate) local: MemoryConfig,
}

/// The address of a server. Its text decides which subjects the server gets, so all processes must
/// write it alike.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Address {
    /// A name in lower case or an IP address.
    pub(super) host: String,
    pub(super) port: u16,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.host, self.port)
    }
}

impl MemcachedConfig {
    /// Equal for two configurations of one store.
    pub(crate) fn digest(&self) -> [u8; 32] {
        let limits = (self.timeout, self.processes, self.local.max_bytes);
        let text = format!("{:?}", (&self.servers, &self.prefix, limits));
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
        digest.as_ref().try_into().unwrap_or_default()
    }

    /// Reads `value`, the option at `path` (`store.memcached`): a list of servers, or an object of
    /// options.
    pub fn parse(path: &str, value: &Value) -> Result<Self, ConfigError> {
        if let Value::Array(list) = value {
            return Ok(Self {
                servers: servers(path, list)?,
                prefix: DEFAULT_PREFIX.to_owned(),
                timeout: DEFAULT_TIMEOUT,
                processes: 1,
                local: MemoryConfig::new(path),
            });
        }
        if !value.is_object() {
            let problem =
                format!("must be a list of servers or an object, not {}", describe(value));
            return Err(ConfigError::invalid(path, problem).suggest("write ['127.0.0.1:11211']"));
        }
        let options = Options::read(path, value, OPTIONS)?;
        options.require("servers", "they are where the counts are kept")?;
        let list = options.list("servers")?.unwrap_or_default();
        Ok(Self {
            servers: servers(&options.path_of("servers"), list)?,
            prefix: prefix(&options)?,
            timeout: timeout(&options)?,
            processes: processes(&options)?,
            local: local(path, &options)?,
        })
    }
}

fn servers(path: &str, list: &[Value]) -> Result<Vec<Address>, ConfigError> {
    if list.is_empty() || list.len() > MAX_SERVERS {
        let problem = format!("must be a list of 1 to {MAX_SERVERS} servers");
        return Err(ConfigError::invalid(path, problem).suggest("write ['127.0.0.1:11211']"));
    }
    let mut servers: Vec<Address> = Vec::with_capacity(list.len());
    for (i, item) in list.iter().enumerate() {
        let at = format!("{path}[{i}]");
        let server = address(string_at(&at, item)?).ok_or_else(|| {
            ConfigError::invalid(&at, "must be the address of a Memcached server")
                .suggest("write 'host:11211', '[::1]:11211' or 'memcached://host:11211'")
        })?;
        if servers.contains(&server) {
            return Err(ConfigError::invalid(&at, "names a server that is in the list already")
                .suggest("name each server once"));
        }
        servers.push(server);
    }
    // Their order in the list has no meaning.
    servers.sort();
    Ok(servers)
}

/// `host`, `host:port`, `[address]:port`, with or without the scheme.
fn address(text: &str) -> Option<Address> {
    let text =
        text.strip_prefix(SCHEME).map_or(text, |rest| rest.strip_suffix('/').unwrap_or(rest));
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']')?;
            host.parse::<Ipv6Addr>().ok()?;
            (host, if port.is_empty() { None } else { Some(port.strip_prefix(':')?) })
        }
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let port = match port {
        Some(port) if port.bytes().all(|byte| byte.is_ascii_digit()) => port.parse().ok()?,
        Some(_) => return None,
        None => DEFAULT_PORT,
    };
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    let fine = host.parse::<Ipv6Addr>().is_ok() || host.bytes().all(is_name);
    (fine && (1..=253).contains(&host.len()) && port > 0)
        .then(|| Address { host: host.to_ascii_lowercase(), port })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ConfigCode;
    use serde_json::json;

    fn parse(value: &Value) -> Result<MemcachedConfig, ConfigError> {
        MemcachedConfig::parse("store.memcached", value)
    }

    #[test]
    fn servers_are_written_in_several_ways_and_their_order_means_nothing() {
        let config = parse(&json!([
            "memcached://Cache-2.internal:11212/",
            "127.0.0.1:11211",
            "[::1]:1",
            "cache-1",
            "[2001:db8::1]"
        ]))
        .unwrap();
        let shown: Vec<String> = config.servers.iter().map(Address::to_string).collect();
        assert_eq!(
            shown,
            [
                "127.0.0.1 11211",
                "2001:db8::1 11211",
                "::1 1",
                "cache-1 11211",
                "cache-2.internal 11212"
            ]
        );
        assert_eq!(
            (config.prefix.as_str(), config.timeout),
            ("keepstone:", Duration::from_millis(25))
        );
        assert_eq!(config.processes, 1);
    }

    #[test]
    fn an_object_has_more_options() {
        let config = parse(&json!({
            "servers": ["a"], "prefix": "shop:", "timeout": "100ms", "processes": 12,
            "maxBytes": "8mb"
        }))
        .unwrap();
        assert_eq!((config.prefix.as_str(), config.timeout), ("shop:", Duration::from_millis(100)));
        assert_eq!((config.processes, config.local.max_bytes), (12, Some(8 << 20)));
    }

    #[test]
    fn what_cannot_be_used_is_refused_by_its_path() {
        let many: Vec<String> = (0..65).map(|i| format!("hunter2-{i}")).collect();
        for (value, path, code) in [
            (json!([]), "", ConfigCode::InvalidOption),
            (json!(many), "", ConfigCode::InvalidOption),
            (json!("127.0.0.1:11211"), "", ConfigCode::InvalidOption),
            (json!(true), "", ConfigCode::InvalidOption),
            (json!([5]), "[0]", ConfigCode::InvalidOption),
            (json!(["a", ""]), "[1]", ConfigCode::InvalidOption),
            (json!(["hunter2:"]), "[0]", ConfigCode::InvalidOption),
            (json!(["hunter2:0"]), "[0]", ConfigCode::InvalidOption),
            (json!(["hunter2:65536"]), "[0]", ConfigCode::InvalidOption),
            (json!(["hunter2:+1"]), "[0]", ConfigCode::InvalidOption),
            (json!(["a b"]), "[0]", ConfigCode::InvalidOption),
            (json!(["::1"]), "[0]", ConfigCode::InvalidOption),
            (json!(["[::1"]), "[0]", ConfigCode::InvalidOption),
            (json!(["[hunter2]:1"]), "[0]", ConfigCode::InvalidOption),
            (json!(["redis://hunter2:6379"]), "[0]", ConfigCode::InvalidOption),
            (json!(["memcached://me:hunter2@a:1"]), "[0]", ConfigCode::InvalidOption),
            (json!(["a:11211", "memcached://A"]), "[1]", ConfigCode::InvalidOption),
            (json!({}), ".servers", ConfigCode::MissingOption),
            (json!({ "servers": [] }), ".servers", ConfigCode::InvalidOption),
            (json!({ "servers": "a" }), ".servers", ConfigCode::InvalidOption),
            (json!({ "servers": ["a:x"] }), ".servers[0]", ConfigCode::InvalidOption),
            (json!({ "server": ["a"] }), ".server", ConfigCode::UnknownOption),
            (json!({ "servers": ["a"], "prefix": "a b" }), ".prefix", ConfigCode::InvalidOption),
            (json!({ "servers": ["a"], "timeout": "6s" }), ".timeout", ConfigCode::InvalidOption),
            (json!({ "servers": ["a"], "processes": 0 }), ".processes", ConfigCode::InvalidOption),
            (
                json!({ "servers": ["a"], "processes": 1.5 }),
                ".processes",
                ConfigCode::InvalidOption,
            ),
            (json!({ "servers": ["a"], "maxBytes": 1 }), ".maxBytes", ConfigCode::InvalidOption),
        ] {
            let error = parse(&value).unwrap_err();
            assert_eq!(error.path(), format!("store.memcached{path}"), "{value}");
            assert_eq!(error.code(), code, "{value}");
            assert!(!error.to_string().contains("hunter2"));
        }
    }
}
