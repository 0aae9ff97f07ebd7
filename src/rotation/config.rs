//! The option `jwt.rotation`.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use crate::clock::MAX_TOLERANCE;
use crate::config::options::{Options, describe, is_function, string_at};
use crate::error::{ConfigCode, ConfigError};
use crate::keys::algorithm::{Algorithm, Family};
use crate::keys::key_options::algorithm_at;
use crate::rotation::MAX_RETIRED;

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);
/// Other services may cache the set of `guard.jwks()` for 5 minutes, and then poll it about every 5
/// minutes.
const LEAST_OVERLAP: Duration = Duration::from_secs(600);
/// The interval at which a process polls the storage.
pub(crate) const LOOK: Duration = Duration::from_secs(60);
/// After a longer interval between two polls, the storage was unavailable or the process was
/// suspended.
pub(crate) const GAP: Duration = Duration::from_secs(90);
/// The time after which all processes have read a new state: they poll once a minute.
pub(crate) const SPREAD: Duration = Duration::from_secs(120);

/// The options of key rotation.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RotationConfig {
    /// The time for which a key signs: 1 hour to 366 days.
    pub every: Duration,
    /// The minimum time for which a key is published before it signs: 10 minutes to `every`.
    pub overlap: Duration,
    /// The algorithm of new keys. Any algorithm except HMAC.
    pub algorithm: Algorithm,
    /// The storage of the keys.
    pub storage: Storage,
}

/// The storage of the keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Storage {
    /// A file that only its owner can read.
    File(PathBuf),
    /// The application's functions `load` and `save`.
    Callbacks,
}

impl RotationConfig {
    /// Parses `{ every?, overlap?, alg?, storage }`. `allowed` lists the algorithms that the
    /// issuer's keys may have.
    pub(crate) fn parse(
        path: &str,
        value: &Value,
        allowed: Option<&[Algorithm]>,
    ) -> Result<Self, ConfigError> {
        let options = Options::read(path, value, &["every", "overlap", "alg", "storage"])?;
        let every = options.duration("every", HOUR..=366 * DAY)?.unwrap_or(30 * DAY);
        let overlap = options.duration("overlap", LEAST_OVERLAP..=every)?.unwrap_or(HOUR);
        let algorithm = match options.get("alg") {
            Some(value) => algorithm_at(&options.path_of("alg"), value)?,
            None => Algorithm::Es256,
        };
        if algorithm.family() == Family::Hmac {
            return Err(options
                .invalid("alg", "must be an algorithm of a key pair: a secret can't be published")
                .suggest("write 'ES256' or 'EdDSA'"));
        }
        if allowed.is_some_and(|allowed| !allowed.contains(&algorithm)) {
            return Err(ConfigError::new(
                ConfigCode::ConflictingOptions,
                options.path_of("alg"),
                "is not in `jwt.algorithms`",
            ));
        }
        Ok(Self { every, overlap, algorithm, storage: storage(&options)? })
    }

    /// Checks that the state has room for all keys whose tokens may be valid at one time.
    pub(crate) fn check_lifetime(
        &self,
        path: &str,
        max_lifetime: Duration,
    ) -> Result<(), ConfigError> {
        let retired = (max_lifetime + MAX_TOLERANCE).as_secs() / self.every.as_secs().max(1);
        if retired <= MAX_RETIRED {
            return Ok(());
        }
        let problem = format!(
            "is so short that tokens of more than {MAX_RETIRED} keys may be good at one time"
        );
        Err(ConfigError::new(ConfigCode::ConflictingOptions, format!("{path}.every"), problem)
            .suggest("write at least a ninetieth of `maxLifetime`"))
    }
}

fn storage(options: &Options<'_>) -> Result<Storage, ConfigError> {
    let why = "a path such as './keys.json', or { load, save }";
    let value = options.require("storage", why)?;
    let path = options.path_of("storage");
    if value.is_object() {
        let callbacks = Options::read(path, value, &["load", "save"])?;
        for name in ["load", "save"] {
            let given = callbacks.require(name, "a function, which may answer a promise")?;
            if !is_function(given) {
                let problem = format!("must be a function, not {}", describe(given));
                return Err(callbacks.invalid(name, problem));
            }
        }
        return Ok(Storage::Callbacks);
    }
    let text = string_at(&path, value)?;
    if text.trim().is_empty() {
        return Err(ConfigError::invalid(path, format!("must be {why}")));
    }
    Ok(Storage::File(PathBuf::from(text)))
}
