//! The option `store`, checked.

use serde_json::Value;

use crate::config::options::Options;
use crate::error::{ConfigCode, ConfigError};
use crate::memcached::MemcachedConfig;
use crate::redis::RedisConfig;
use crate::store::MemoryConfig;
use crate::store::config::max_bytes;

/// The store of all counts.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum StoreConfig {
    /// In this process.
    Memory(MemoryConfig),
    /// In servers that all processes share.
    Redis(Box<RedisConfig>),
    /// In servers that all processes share, with a weaker guarantee.
    Memcached(Box<MemcachedConfig>),
}

impl StoreConfig {
    /// Reads `value`, the option at `path` (`store`). Without it, a memory store of the default
    /// size.
    pub fn parse(path: &str, value: Option<&Value>) -> Result<Self, ConfigError> {
        let memory_path = format!("{path}.memory");
        let Some(value) = value else { return Ok(Self::Memory(MemoryConfig::new(&memory_path))) };
        let options = Options::read(path, value, &["memory", "redis", "memcached"])?;
        let shared = ["redis", "memcached"].into_iter().find(|kind| options.has(kind));
        if let Some(shared) = shared {
            one_store(&options, shared)?;
        }
        if let Some(redis) = options.get("redis") {
            let redis = RedisConfig::parse(&options.path_of("redis"), redis)?;
            return Ok(Self::Redis(Box::new(redis)));
        }
        if let Some(memcached) = options.get("memcached") {
            let memcached = MemcachedConfig::parse(&options.path_of("memcached"), memcached)?;
            return Ok(Self::Memcached(Box::new(memcached)));
        }
        // `{ redis: process.env.REDIS_URL }` without that variable must not silently count in this
        // process alone.
        let memory = options.get("memory").ok_or_else(|| {
            ConfigError::new(
                ConfigCode::MissingOption,
                path,
                "names no store: an address that is undefined is none",
            )
            .suggest("set the variable that it is read from; `memory: {}` counts in each process by itself")
        })?;
        let options = Options::read(&memory_path, memory, &["maxBytes", "shared"])?;
        let shared = options.string("shared")?;
        if shared.is_some_and(|name| name.is_empty() || name.len() > 128) {
            return Err(options.invalid("shared", "must be a name of 1 to 128 bytes"));
        }
        Ok(Self::Memory(MemoryConfig {
            max_bytes: max_bytes(&options)?,
            shared: shared.map(str::to_owned),
            path: memory_path,
        }))
    }
}

fn one_store(options: &Options<'_>, shared: &str) -> Result<(), ConfigError> {
    let others = ["memory", "redis", "memcached"].into_iter().filter(|kind| *kind != shared);
    let Some(other) = others.into_iter().find(|kind| options.has(kind)) else { return Ok(()) };
    let problem = format!("can't stand beside `{shared}`: there is one store");
    let error = ConfigError::new(ConfigCode::ConflictingOptions, options.path_of(other), problem);
    Err(if other == "memory" {
        error.suggest(format!("give `{shared}` a `maxBytes` to bound what is kept in this process"))
    } else {
        error.suggest("leave one of them out")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn memory(value: &Value) -> MemoryConfig {
        let StoreConfig::Memory(memory) = StoreConfig::parse("store", Some(value)).unwrap() else {
            panic!("another store")
        };
        memory
    }

    #[test]
    fn without_options_it_is_a_memory_store_of_its_own() {
        let StoreConfig::Memory(config) = StoreConfig::parse("store", None).unwrap() else {
            panic!("another store")
        };
        assert_eq!(config, memory(&json!({ "memory": {} })));
        assert_eq!((config.max_bytes, config.shared), (None, None));
    }

    #[test]
    fn size_and_name_are_read() {
        let config = memory(&json!({ "memory": { "maxBytes": "128mb", "shared": "api" } }));
        assert_eq!((config.max_bytes, config.shared.as_deref()), (Some(128 << 20), Some("api")));
    }

    #[test]
    fn what_cannot_be_used_is_refused_by_its_path() {
        for (value, path, code) in [
            (json!({}), "store", ConfigCode::MissingOption),
            (json!({ "memcached": [] }), "store.memcached", ConfigCode::InvalidOption),
            (
                json!({ "memcached": ["a"], "redis": "redis://a" }),
                "store.memcached",
                ConfigCode::ConflictingOptions,
            ),
            (
                json!({ "memcached": ["a"], "memory": {} }),
                "store.memory",
                ConfigCode::ConflictingOptions,
            ),
            (json!({ "memroy": {} }), "store.memroy", ConfigCode::UnknownOption),
            (json!({ "memory": { "max": 1 } }), "store.memory.max", ConfigCode::UnknownOption),
            (
                json!({ "memory": { "maxBytes": 1 } }),
                "store.memory.maxBytes",
                ConfigCode::InvalidOption,
            ),
            (
                json!({ "memory": { "maxBytes": "17000mb" } }),
                "store.memory.maxBytes",
                ConfigCode::InvalidOption,
            ),
            (
                json!({ "memory": { "shared": "" } }),
                "store.memory.shared",
                ConfigCode::InvalidOption,
            ),
            (
                json!({ "memory": { "shared": 5 } }),
                "store.memory.shared",
                ConfigCode::InvalidOption,
            ),
            (json!({ "memory": true }), "store.memory", ConfigCode::InvalidOption),
            (json!("redis"), "store", ConfigCode::InvalidOption),
        ] {
            let error = StoreConfig::parse("store", Some(&value)).unwrap_err();
            assert_eq!((error.path(), error.code()), (path, code), "{value}");
            assert!(!error.to_string().contains("hunter2"));
        }
    }
}
