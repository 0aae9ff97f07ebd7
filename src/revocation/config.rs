//! The options of the revocation layer.

use std::time::Duration;

use serde_json::Value;

use crate::config::options::Options;
use crate::error::{ConfigCode, ConfigError};

const SHARED: [&str; 3] = ["mode", "maxStaleness", "onStale"];

/// The options of a shared list. A list in memory has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct RevocationConfig {
    /// The source that a check reads.
    pub mode: Mode,
    /// The maximum delay until this process applies a revocation by another process: 1 second to 5
    /// minutes.
    pub max_staleness: Duration,
    /// The decision about requests with a token while that bound is exceeded.
    pub on_stale: OnStale,
}

/// The source that a check of a shared list reads.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Mode {
    /// The copy in this process.
    #[default]
    Replica,
    /// The copy, after a refresh from the store.
    Strict,
}

/// The action while the copy in this process may be stale.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnStale {
    /// Refuse with 503 `revocation_stale`.
    #[default]
    Deny,
    /// Refresh from the store, as with [`Mode::Strict`]. If the store does not answer: 503.
    Probe,
}

impl Default for RevocationConfig {
    fn default() -> Self {
        Self {
            mode: Mode::default(),
            max_staleness: Duration::from_secs(5),
            on_stale: OnStale::default(),
        }
    }
}

impl RevocationConfig {
    /// Parses the option `revocation`. `shared` is true if the store is shared by several
    /// processes.
    ///
    /// `mode`, `maxStaleness` and `onStale` configure a shared list. They are refused for a list in
    /// the memory of this process, where they would have no effect.
    pub fn parse(path: &str, value: &Value, shared: bool) -> Result<Self, ConfigError> {
        if !value.is_object() {
            let problem = format!(
                "must be an object or false, not {}",
                crate::config::options::describe(value)
            );
            return Err(ConfigError::invalid(path, problem));
        }
        let options = Options::read(path, value, &SHARED)?;
        if let Some(key) = SHARED.into_iter().find(|key| !shared && options.has(key)) {
            let problem = "needs a shared store, and this one is in the memory of the process";
            return Err(ConfigError::new(
                ConfigCode::ConflictingOptions,
                options.path_of(key),
                problem,
            )
            .suggest("leave it out: revocations are kept in this process and are never stale"));
        }
        let default = Self::default();
        Ok(Self {
            mode: options
                .one_of("mode", &[("replica", Mode::Replica), ("strict", Mode::Strict)])?
                .unwrap_or_default(),
            max_staleness: options
                .duration("maxStaleness", Duration::from_secs(1)..=Duration::from_secs(300))?
                .unwrap_or(default.max_staleness),
            on_stale: options
                .one_of("onStale", &[("deny", OnStale::Deny), ("probe", OnStale::Probe)])?
                .unwrap_or_default(),
        })
    }

    /// As [`Self::parse`], with a store in Memcached. Memcached may evict an entry at any time, and
    /// a revoked token would then pass. So the list stays in this process, and the user must opt in
    /// with `scope: 'process'`.
    pub fn parse_beside_memcached(path: &str, value: Option<&Value>) -> Result<Self, ConfigError> {
        let conflict = |at: String, problem| {
            ConfigError::new(ConfigCode::ConflictingOptions, at, problem).suggest(
                "use `store.redis`; or write `revocation: { scope: 'process' }` where it will do that each process knows its own revocations alone, or `revocation: false`",
            )
        };
        let unsafe_there = "can't be kept in Memcached, which may forget it";
        let Some(value) = value else { return Err(conflict(path.to_owned(), unsafe_there)) };
        let options = Options::read(path, value, &["scope", "mode", "maxStaleness", "onStale"])?;
        if let Some(key) = SHARED.into_iter().find(|key| options.has(key)) {
            return Err(conflict(options.path_of(key), "is about a list that processes share"));
        }
        match options.one_of("scope", &[("process", ())])? {
            Some(()) => Ok(Self::default()),
            None => Err(conflict(path.to_owned(), unsafe_there)),
        }
    }
}
