//! The options of the revocation layer.

use serde_json::Value;

use crate::config::raw::{Options, describe, did_you_mean};
use crate::error::{ConfigCode, ConfigError};

/// How revocations are kept. In memory there is nothing to choose.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RevocationConfig {}

impl RevocationConfig {
    /// Parses the option `revocation`: an object that must be empty as long as revocations live in memory.
    ///
    /// `mode`, `maxStaleness` and `onStale` are about a list that is shared with other processes. With a list in this
    /// process they would promise what is not there, so they are refused.
    pub fn parse(path: &str, value: &Value) -> Result<Self, ConfigError> {
        const SHARED: [&str; 3] = ["mode", "maxStaleness", "onStale"];
        let Value::Object(options) = value else {
            let problem = format!("must be an object or false, not {}", describe(value));
            return Err(ConfigError::invalid(path, problem));
        };
        let Some(key) = options.keys().next() else { return Ok(Self {}) };
        let at = format!("{path}.{key}");
        if SHARED.contains(&key.as_str()) {
            let problem = "needs a shared store, which is not available yet";
            return Err(ConfigError::new(ConfigCode::ConflictingOptions, at, problem).suggest(
                "leave it out: revocations are kept in this process and are never stale",
            ));
        }
        Err(ConfigError::new(ConfigCode::UnknownOption, at, "is not an option")
            .suggest(did_you_mean(key, &SHARED)))
    }

    /// As [`Self::parse`], beside a store in Memcached. It may forget what it is given at any time, and then revoked
    /// tokens would pass: so the list is this process's own, and only where the user says that he knows.
    pub fn parse_beside_memcached(path: &str, value: Option<&Value>) -> Result<Self, ConfigError> {
        let conflict = |at: String, problem| {
            ConfigError::new(ConfigCode::ConflictingOptions, at, problem).suggest(
                "use `store.redis`; or write `revocation: { scope: 'process' }` where it will do that each process knows its own revocations alone, or `revocation: false`",
            )
        };
        let unsafe_there = "can't be kept in Memcached, which may forget it";
        let Some(value) = value else { return Err(conflict(path.to_owned(), unsafe_there)) };
        let options = Options::read(path, value, &["scope", "mode", "maxStaleness", "onStale"])?;
        if let Some(key) =
            ["mode", "maxStaleness", "onStale"].into_iter().find(|key| options.has(key))
        {
            return Err(conflict(options.path_of(key), "is about a list that processes share"));
        }
        match options.one_of("scope", &[("process", ())])? {
            Some(()) => Ok(Self::default()),
            None => Err(conflict(path.to_owned(), unsafe_there)),
        }
    }
}
