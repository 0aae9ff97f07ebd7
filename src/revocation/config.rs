//! The options of the revocation layer.

use std::time::Duration;

use serde_json::Value;

use crate::config::options::Options;
use crate::error::{ConfigCode, ConfigError};

const SHARED: [&str; 3] = ["mode", "maxStaleness", "onStale"];

/// How revocations are kept. In memory there is nothing to choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct RevocationConfig {
    /// Where a check looks.
    pub mode: Mode,
    /// The longest that a revocation by another process may take to be known here: 1 second to 5
    /// minutes.
    pub max_staleness: Duration,
    /// What becomes of a request with a token when that can't be promised.
    pub on_stale: OnStale,
}

/// Where a check of a shared list looks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Mode {
    /// In the copy of this process.
    #[default]
    Replica,
    /// In the copy, after the store was asked what is new.
    Strict,
}

/// What happens while the copy of this process may be out of date.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnStale {
    /// 503 `revocation_stale`.
    #[default]
    Deny,
    /// The store is asked what is new, as with [`Mode::Strict`]; without an answer it is a 503.
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
    /// Parses the option `revocation`; `shared` is whether the store is one that other processes
    /// use too.
    ///
    /// `mode`, `maxStaleness` and `onStale` are about a shared list. With a list in this process
    /// they would promise what is not there, so they are refused.
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

    /// As [`Self::parse`], beside a store in Memcached. It may forget what it is given at any time,
    /// and then revoked tokens would pass: so the list is this process's own, and only where the
    /// user says that he knows.
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
