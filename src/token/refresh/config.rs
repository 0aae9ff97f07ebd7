//! The option `jwt.refresh`.

use std::time::Duration;

use serde_json::Value;

use crate::config::raw::Options;
use crate::error::{ConfigCode, ConfigError};

const DAY: Duration = Duration::from_secs(86_400);

/// How refresh tokens live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct RefreshConfig {
    /// How long after the login the last token of a family may be used: 1 minute to 366 days.
    pub lifetime: Duration,
    /// How long a family lives without being used; `None` where that does not matter.
    pub idle: Option<Duration>,
    /// For so long after its use a token gives the same successor again: 0 to 60 seconds.
    pub reuse_window: Duration,
}

impl Default for RefreshConfig {
    fn default() -> Self {
        Self { lifetime: 30 * DAY, idle: None, reuse_window: Duration::from_secs(10) }
    }
}

impl RefreshConfig {
    /// Parses `true`, `false` or `{ lifetime?, idle?, reuseWindow? }`. `None` where there are to be no refresh tokens.
    pub fn parse(path: &str, value: Option<&Value>) -> Result<Option<Self>, ConfigError> {
        let default = Self::default();
        let value = match value {
            None | Some(Value::Bool(false)) => return Ok(None),
            Some(Value::Bool(true)) => return Ok(Some(default)),
            Some(value) => value,
        };
        let options = Options::read(path, value, &["lifetime", "idle", "reuseWindow"])?;
        let range = Duration::from_secs(60)..=366 * DAY;
        let lifetime = options.duration("lifetime", range.clone())?.unwrap_or(default.lifetime);
        let idle = options.duration("idle", range)?;
        if idle.is_some_and(|idle| idle > lifetime) {
            return Err(ConfigError::new(
                ConfigCode::ConflictingOptions,
                options.path_of("idle"),
                "must not be longer than `lifetime`, which ends a family anyhow",
            ));
        }
        let window = options.duration("reuseWindow", Duration::ZERO..=Duration::from_secs(60))?;
        Ok(Some(Self { lifetime, idle, reuse_window: window.unwrap_or(default.reuse_window) }))
    }
}
