//! The option `jwt.refresh`.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::config::options::Options;
use crate::error::{ConfigCode, ConfigError};
use crate::keys::algorithm::Algorithm;
use crate::keys::key::Key;
use crate::keys::key_options::secret_at;
use crate::keys::material::Material;
use crate::keys::seal::SealKey;

/// Old secrets are accepted until the last session that they sealed is over.
const MAX_SECRETS: usize = 10;
const KNOWN: [&str; 4] = ["lifetime", "idle", "reuseWindow", "secret"];
const DAY: Duration = Duration::from_secs(86_400);

/// The lifetimes of refresh tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct RefreshConfig {
    /// The maximum time from the login to the use of a family's last token: 1 minute to 366 days.
    pub lifetime: Duration,
    /// The maximum time between two uses of a family; `None` for no limit.
    pub idle: Option<Duration>,
    /// The time after its use in which a token returns the same successor again: 0 to 60 seconds.
    pub reuse_window: Duration,
}

impl Default for RefreshConfig {
    fn default() -> Self {
        Self { lifetime: 30 * DAY, idle: None, reuse_window: Duration::from_secs(10) }
    }
}

impl RefreshConfig {
    /// Parses `true`, `false` or `{ lifetime?, idle?, reuseWindow?, secret? }`; see [`secrets`].
    /// `None` if refresh tokens are off.
    pub fn parse(path: &str, value: Option<&Value>) -> Result<Option<Self>, ConfigError> {
        let default = Self::default();
        let value = match value {
            None | Some(Value::Bool(false)) => return Ok(None),
            Some(Value::Bool(true)) => return Ok(Some(default)),
            Some(value) => value,
        };
        let options = Options::read(path, value, &KNOWN)?;
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

/// The keys of the option `secret`, which seal records in a shared store: one secret of at least 32
/// bytes, or a list with the newest first. Empty if the option is not set.
pub(crate) fn secrets(path: &str, value: Option<&Value>) -> Result<Vec<Arc<SealKey>>, ConfigError> {
    let Some(value @ Value::Object(_)) = value else { return Ok(Vec::new()) };
    let options = Options::read(path, value, &KNOWN)?;
    let path = options.path_of("secret");
    let several = match options.get("secret") {
        None => return Ok(Vec::new()),
        Some(Value::Array(several)) => several.as_slice(),
        Some(one) => return Ok(vec![seal_key(&path, one)?]),
    };
    if several.is_empty() || several.len() > MAX_SECRETS {
        return Err(ConfigError::invalid(path, format!("must have 1 to {MAX_SECRETS} secrets")));
    }
    let at = |(i, one)| seal_key(&format!("{path}[{i}]"), one);
    several.iter().enumerate().map(at).collect()
}

fn seal_key(path: &str, value: &Value) -> Result<Arc<SealKey>, ConfigError> {
    let secret = secret_at(path, value)?;
    // It must be as strong as a secret that signs tokens: the sealed claims get signed.
    Key::new(path, Material::Secret(secret.clone()), Algorithm::Hs256)?;
    SealKey::derive(&secret, "jwt.refresh.secret")
        .ok_or_else(|| ConfigError::invalid(path, "can't be used as a key"))
}
