//! The options of the payload layer.

use serde_json::Value;

use crate::config::raw::Options;
use crate::error::ConfigError;
use crate::payload::rules::SchemaRules;

/// What to do with keys that begin with `$` or contain `.`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operators {
    /// Refuse them, unless the schema itself declares the key.
    Refuse,
    /// Let them through: for APIs that take such documents and never hand them to a database as they are.
    Allow,
}

/// How large and how odd a payload may be. The defaults fit an API; [`PayloadConfig::parse`] checks every field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PayloadConfig {
    max_bytes: usize,
    max_depth: u32,
    max_nodes: u32,
    max_keys: u32,
    operators: Operators,
}

impl Default for PayloadConfig {
    fn default() -> Self {
        Self {
            max_bytes: 100 << 10,
            max_depth: 32,
            max_nodes: 10_000,
            max_keys: 1000,
            operators: Operators::Refuse,
        }
    }
}

impl PayloadConfig {
    /// Reads the option `payload`; without it, the defaults.
    ///
    /// - `maxBytes`: size, `'100kb'`; 1 byte to 64 MiB
    /// - `maxDepth`: containers in one another, 32; 1 to 128
    /// - `maxNodes`: values in all, 10,000; 1 to 10,000,000
    /// - `maxKeys`: keys in one object, 1000; 1 to 1,000,000
    /// - `operators`: `'refuse'` or `'allow'` keys that begin with `$` or contain `.`
    pub fn parse(path: &str, value: Option<&Value>) -> Result<Self, ConfigError> {
        const OWN: &[&str] = &["maxBytes", "maxDepth", "maxNodes", "maxKeys", "operators"];
        // The others are read by [`SchemaRules::parse`].
        let known = [OWN, SchemaRules::KEYS].concat();
        let default = Self::default();
        let Some(value) = value else { return Ok(default) };
        let options = Options::read(path, value, &known)?;
        let number = |key, max, default: u32| {
            let number = options.integer(key, 1..=max)?;
            Ok::<_, ConfigError>(number.and_then(|n| u32::try_from(n).ok()).unwrap_or(default))
        };
        let max_bytes = options.size("maxBytes", 1..=64 << 20)?;
        Ok(Self {
            max_bytes: max_bytes.and_then(|n| usize::try_from(n).ok()).unwrap_or(default.max_bytes),
            max_depth: number("maxDepth", 128, default.max_depth)?,
            max_nodes: number("maxNodes", 10_000_000, default.max_nodes)?,
            max_keys: number("maxKeys", 1_000_000, default.max_keys)?,
            operators: options
                .one_of("operators", &[("refuse", Operators::Refuse), ("allow", Operators::Allow)])?
                .unwrap_or(default.operators),
        })
    }

    /// The most bytes of a body, for whoever reads it.
    #[must_use]
    pub fn max_bytes(&self) -> usize {
        self.max_bytes
    }

    /// The most containers in one another.
    #[must_use]
    pub fn max_depth(&self) -> u32 {
        self.max_depth
    }

    /// The most values.
    #[must_use]
    pub fn max_nodes(&self) -> u32 {
        self.max_nodes
    }

    /// The most keys in one object.
    #[must_use]
    pub fn max_keys(&self) -> u32 {
        self.max_keys
    }

    /// What to do with keys that begin with `$` or contain `.`.
    #[must_use]
    pub fn operators(&self) -> Operators {
        self.operators
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn without_options_the_limits_fit_an_api() {
        let config = PayloadConfig::parse("payload", None).unwrap();
        assert_eq!(config, PayloadConfig::default());
        assert_eq!((config.max_bytes(), config.max_depth()), (102_400, 32));
    }

    #[test]
    fn every_option_is_read() {
        let value = json!({ "maxBytes": "1mb", "maxDepth": 8, "maxNodes": 5, "maxKeys": 3, "operators": "allow" });
        let config = PayloadConfig::parse("payload", Some(&value)).unwrap();
        assert_eq!(config.max_bytes(), 1 << 20);
        assert_eq!((config.max_depth(), config.max_nodes(), config.max_keys()), (8, 5, 3));
        assert_eq!(config.operators(), Operators::Allow);
    }

    #[test]
    fn options_out_of_range_or_misspelt_are_refused_by_name() {
        for (value, text) in [
            (json!({ "maxBytes": 0 }), "`payload.maxBytes`"),
            (json!({ "maxBytes": "65mb" }), "`payload.maxBytes`"),
            (json!({ "maxDepth": 129 }), "`payload.maxDepth`"),
            (json!({ "maxDepth": 0 }), "`payload.maxDepth`"),
            (json!({ "maxNodes": 1.5 }), "`payload.maxNodes`"),
            (json!({ "maxkeys": 10 }), "did you mean `maxKeys`?"),
            (json!({ "operators": "strip" }), "`payload.operators` must be one of"),
            (json!(true), "`payload` must be an object"),
        ] {
            let error = PayloadConfig::parse("payload", Some(&value)).unwrap_err().to_string();
            assert!(error.contains(text), "{error}");
        }
    }
}
