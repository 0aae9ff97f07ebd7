//! The options that all stores share, checked.

use std::time::Duration;

use crate::config::options::Options;
use crate::error::ConfigError;

pub(crate) const DEFAULT_PREFIX: &str = "keepstone:";
/// The largest number for `processes`.
const MAX_PROCESSES: u64 = 100_000;
/// The longest that a request waits for a shared store, unless `timeout` is set.
pub(crate) const DEFAULT_TIMEOUT: Duration = Duration::from_millis(25);

/// A store in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryConfig {
    /// The most bytes that the store takes, from 1 MB to 16 GB. `None` means
    /// [`MemoryConfig::DEFAULT_BYTES`], or the size of the shared store that has this name already.
    pub max_bytes: Option<u64>,
    /// All guards of this process that give the same name share one store, in worker threads too.
    pub shared: Option<String>,
    /// The option as the user writes it, for errors.
    pub(crate) path: String,
}

impl MemoryConfig {
    /// 64 MB: over 800 000 keys at once before any is dropped. The store grows as it fills, so a
    /// small service never takes that much.
    pub const DEFAULT_BYTES: u64 = 64 << 20;
    const MIN_BYTES: u64 = 1 << 20;
    const MAX_BYTES: u64 = 16 << 30;

    /// A store of its own with the default size.
    #[must_use]
    pub fn new(path: &str) -> Self {
        Self { max_bytes: None, shared: None, path: path.to_owned() }
    }
}

/// `prefix` of a shared store: the text at the start of all of its keys.
pub(crate) fn prefix(options: &Options<'_>) -> Result<String, ConfigError> {
    let prefix = options.string("prefix")?.unwrap_or(DEFAULT_PREFIX);
    let plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'{' | b'}' | b'*' | b'?');
    if (1..=64).contains(&prefix.len()) && prefix.bytes().all(plain) {
        return Ok(prefix.to_owned());
    }
    // Braces would put all keys of a cluster into one slot.
    Err(options
        .invalid("prefix", "must be 1 to 64 visible ASCII characters without { } * ?")
        .suggest("write a name and a colon such as 'shop:'"))
}

/// `timeout` of a shared store: the longest that a request waits for an answer.
pub(crate) fn timeout(options: &Options<'_>) -> Result<Duration, ConfigError> {
    let timeout = options.duration("timeout", Duration::from_millis(1)..=Duration::from_secs(5))?;
    Ok(timeout.unwrap_or(DEFAULT_TIMEOUT))
}

/// `processes` of a shared store: the least number of processes that divide the limits during an
/// outage.
pub(crate) fn processes(options: &Options<'_>) -> Result<u32, ConfigError> {
    Ok(options
        .integer("processes", 1..=MAX_PROCESSES)?
        .and_then(|n| n.try_into().ok())
        .unwrap_or(1))
}

/// `maxBytes` of a shared store configured at `path`: the bound of its records in this process.
pub(crate) fn local(path: &str, options: &Options<'_>) -> Result<MemoryConfig, ConfigError> {
    Ok(MemoryConfig { max_bytes: max_bytes(options)?, ..MemoryConfig::new(path) })
}

/// `maxBytes`, see [`MemoryConfig::max_bytes`].
pub(crate) fn max_bytes(options: &Options<'_>) -> Result<Option<u64>, ConfigError> {
    options.size("maxBytes", MemoryConfig::MIN_BYTES..=MemoryConfig::MAX_BYTES)
}
