//! The option `clients`, checked.

use serde_json::Value;

use super::lists::ListAction;
use crate::config::options::Options;
use crate::error::{ConfigCode, ConfigError};
use crate::net::{Cidr, CidrMap, Ipv6Prefix};

const MAX_NETWORKS: usize = 10_000;

/// Networks that are exempt from limits, and networks that are refused.
#[derive(Debug, Default)]
pub struct ClientsConfig {
    pub(super) networks: CidrMap<ListAction>,
}

impl ClientsConfig {
    /// Reads the user's value at `path` (`clients`). A single IPv6 address stands for its network
    /// of `prefix`.
    ///
    /// # Errors
    /// The first error in it.
    pub fn parse(
        path: &str,
        value: Option<&Value>,
        prefix: Ipv6Prefix,
    ) -> Result<Self, ConfigError> {
        let mut config = Self::default();
        let Some(value) = value else { return Ok(config) };
        let options = Options::read(path, value, &["allow", "block"])?;
        for (key, standing) in [("allow", ListAction::Allowed), ("block", ListAction::Blocked)] {
            let texts = options.strings(key)?.unwrap_or_default();
            if texts.len() > MAX_NETWORKS {
                let problem = format!("must have at most {MAX_NETWORKS} networks");
                return Err(options.invalid(key, problem));
            }
            for (i, text) in texts.into_iter().enumerate() {
                let at = format!("{}[{i}]", options.path_of(key));
                let network = Cidr::parse_client(text, prefix).ok_or_else(|| {
                    ConfigError::invalid(&*at, "must be a network in CIDR form or an address")
                        .suggest("write '203.0.113.0/24' or '203.0.113.7'")
                })?;
                if network.length() == 0 {
                    return Err(ConfigError::invalid(at, "would hold every client there is")
                        .suggest("name the networks, such as '203.0.113.0/24'"));
                }
                match config.networks.insert(network, standing) {
                    None => {}
                    Some(other) if other == standing => {
                        return Err(ConfigError::invalid(at, "is in the list already"));
                    }
                    Some(_) => {
                        let problem = "is in `allow` and in `block`";
                        return Err(ConfigError::new(ConfigCode::ConflictingOptions, at, problem)
                            .suggest("leave it in one of them"));
                    }
                }
            }
        }
        Ok(config)
    }
}
