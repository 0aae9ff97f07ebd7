//! The checked options of the CSRF layer.

use serde_json::Value;

use crate::config::options::{Options, string_at};
use crate::error::{ConfigCode, ConfigError};
use crate::net::origin;

const MAX_ORIGINS: usize = 1000;

/// The trusted origins, in addition to the API's own.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Csrf {
    pub(super) origins: Vec<String>,
}

impl Csrf {
    /// Reads `CsrfOptions`: `origins`, a list of origins such as `https://app.example.com`. Their
    /// pages may send any request in the user's name. No wildcards. Default: only the API's own
    /// origin.
    ///
    /// `path` is the path of the options, `csrf`.
    pub fn parse(path: &str, value: &Value) -> Result<Self, ConfigError> {
        let options = Options::read(path, value, &["origins"])?;
        let Some(items) = options.list("origins")? else { return Ok(Self::default()) };
        let path = options.path_of("origins");
        if items.len() > MAX_ORIGINS {
            return Err(ConfigError::invalid(path, format!("must have at most {MAX_ORIGINS}")));
        }
        let mut origins: Vec<String> = Vec::with_capacity(items.len());
        for (i, item) in items.iter().enumerate() {
            let path = format!("{path}[{i}]");
            let text = string_at(&path, item)?;
            let exact = "list each origin that is meant, such as 'https://app.example.com'";
            if text == "*" {
                return Err(ConfigError::invalid(
                    path,
                    "must not be '*': any page could act for the user",
                )
                .suggest(exact));
            }
            let pattern = origin::parse(text).map_err(|fault| {
                ConfigError::invalid(&path, fault.problem).suggest(fault.suggestion)
            })?;
            if pattern.wildcard {
                return Err(ConfigError::invalid(path, "must be one origin, without a wildcard")
                    .suggest(exact));
            }
            if pattern.is_insecure() {
                return Err(ConfigError::invalid(
                    path,
                    "must be https: who can change a plain http page could act for the user",
                )
                .suggest("write 'https://'; http is for localhost, 127.0.0.1 and [::1] only"));
            }
            if origins.iter().any(|known| known == text) {
                return Err(ConfigError::new(
                    ConfigCode::ConflictingOptions,
                    path,
                    "is listed twice",
                )
                .suggest("leave out one of the two"));
            }
            origins.push(text.to_owned());
        }
        Ok(Self { origins })
    }
}
