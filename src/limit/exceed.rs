//! The options that select the requests that count, and the action for requests that exceed a limit
//! or can't be judged.

use std::time::Duration;

use crate::config::options::Options;
use crate::error::{ConfigCode, ConfigError};
use crate::quota::algorithm::{Algorithm, Rule};

/// The default maximum delay of a request.
const DELAY: Duration = Duration::from_secs(5);
const MAX_DELAY: Duration = Duration::from_secs(60);
const DELAYED: u32 = 1000;
const MAX_DELAYED: u64 = 100_000;

/// The requests that count in the end. All are charged before they are admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Count {
    /// Every request.
    All,
    /// Requests with a failed response: a status of 400 or more, or none.
    Failed,
    /// All other requests.
    Succeeded,
}

impl Count {
    /// Whether a request with this outcome gets its charge back.
    #[must_use]
    pub fn gives_back(self, failed: bool) -> bool {
        match self {
            Self::All => false,
            Self::Failed => !failed,
            Self::Succeeded => failed,
        }
    }
}

/// The action for a request that exceeds the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnExceed {
    /// It is refused.
    Reject,
    /// It waits for its turn. `longest` bounds the wait, and `most` the number of waiting requests
    /// in this guard.
    Delay {
        /// The maximum wait.
        longest: Duration,
        /// The maximum number of waiting requests.
        most: u32,
    },
    /// It passes, and is only reported.
    Shadow,
}

/// The action for a request that a shared store can't judge. A store in this process does not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnStoreFailure {
    /// This process judges it, by its share of the limit.
    Local,
    /// It is refused with 503.
    Closed,
    /// It passes, uncounted.
    Open,
}

impl OnExceed {
    pub(super) fn apply(self, rule: Rule) -> Rule {
        match self {
            Self::Reject => rule,
            Self::Delay { longest, .. } => rule.with_delay(longest),
            Self::Shadow => rule.watching(),
        }
    }
}

impl Count {
    pub(super) fn parse(options: &Options<'_>) -> Result<Self, ConfigError> {
        let words =
            [("all", Count::All), ("failed", Count::Failed), ("succeeded", Count::Succeeded)];
        Ok(options.one_of("count", &words)?.unwrap_or(Count::All))
    }
}

impl OnExceed {
    pub(super) fn parse(options: &Options<'_>, algorithm: Algorithm) -> Result<Self, ConfigError> {
        let words = [
            ("reject", OnExceed::Reject),
            ("delay", OnExceed::Delay { longest: DELAY, most: DELAYED }),
            ("shadow", OnExceed::Shadow),
        ];
        let found = options.one_of("onExceed", &words)?.unwrap_or(OnExceed::Reject);
        let OnExceed::Delay { .. } = found else {
            if let Some(key) = ["maxDelay", "maxDelayed"].into_iter().find(|key| options.has(key)) {
                let error =
                    conflict(options.path_of(key), "is about requests that wait, and none do");
                return Err(error.suggest("add `onExceed: 'delay'`, or leave it out"));
            }
            return Ok(found);
        };
        if !algorithm.has_burst() {
            let problem =
                "is 'delay', which needs an algorithm that lets requests through one by one";
            return Err(conflict(options.path_of("onExceed"), problem)
                .suggest("use the algorithm 'gcra', or refuse what exceeds the limit"));
        }
        let longest = options.duration("maxDelay", Duration::from_millis(1)..=MAX_DELAY)?;
        let most = options.integer("maxDelayed", 1..=MAX_DELAYED)?;
        Ok(OnExceed::Delay {
            longest: longest.unwrap_or(DELAY),
            most: most.and_then(|most| u32::try_from(most).ok()).unwrap_or(DELAYED),
        })
    }
}

/// Whether the store judges each request, and the action while the store is unavailable.
pub(super) fn exactness(
    options: &Options<'_>,
    count: Count,
    on_exceed: OnExceed,
) -> Result<(bool, OnStoreFailure), ConfigError> {
    let words = [
        ("local", OnStoreFailure::Local),
        ("closed", OnStoreFailure::Closed),
        ("open", OnStoreFailure::Open),
    ];
    let said = options.one_of("onStoreFailure", &words)?;
    let exact = options.bool("exact")?.unwrap_or(false);
    let shadow = on_exceed == OnExceed::Shadow;
    if shadow && said == Some(OnStoreFailure::Closed) {
        let problem = "is 'closed', but a limit with `onExceed: 'shadow'` refuses nothing";
        return Err(conflict(options.path_of("onStoreFailure"), problem).suggest("leave it out"));
    }
    // `exact`, or a limit on failed requests, protects something that must not be decided by a
    // guess. So the default is to refuse.
    let guards = (exact || count == Count::Failed) && !shadow;
    let otherwise = if guards { OnStoreFailure::Closed } else { OnStoreFailure::Local };
    // Only the store has the state for refunds and for the next turn.
    let asks = count != Count::All || on_exceed != OnExceed::Reject;
    Ok((exact || asks, said.unwrap_or(otherwise)))
}

/// The option at `path` conflicts with another one.
pub(super) fn conflict(path: impl Into<String>, problem: impl Into<String>) -> ConfigError {
    ConfigError::new(ConfigCode::ConflictingOptions, path, problem)
}
