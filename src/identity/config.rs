//! The checked options `identify` and `apiKeys`.

use std::time::Duration;

use serde_json::Value;

use super::api_key::{ApiKeys, KeyPlace};
use super::error::IdentityError;
use super::{IdentityAsk, IdentitySource};
use crate::bearer::Scheme;
use crate::config::options::{Options, Switch, is_function, string_at};
use crate::error::{ConfigCode, ConfigError};
use crate::net::{is_reserved_header, is_token};
use crate::request::Request;
use crate::token::MAX_MAX_LIFETIME;

const TIMEOUT: Duration = Duration::from_secs(5);
const MAX_TIMEOUT: Duration = Duration::from_secs(60);
const MIN_LIFETIME: Duration = Duration::from_secs(60);
const MAX_CACHE: Duration = Duration::from_secs(60 * 60);
const MAX_PREFIXES: usize = 8;
const MAX_PREFIX: usize = 32;
const MAX_HEADER: usize = 128;

/// The checked option `identify`.
#[derive(Debug)]
pub struct Identify {
    timeout: Duration,
    pub(super) max_lifetime: Duration,
    pub(super) is_lenient_subject: bool,
}

/// The sources of identities beside tokens. Only the options create it.
#[derive(Debug, Default)]
pub struct IdentitySources {
    /// The option `apiKeys`.
    pub api_keys: Option<ApiKeys>,
    /// The option `identify`.
    pub identify: Option<Identify>,
}

impl IdentitySources {
    /// Reads `identify` and `apiKeys` of a guard:
    ///
    /// - `identify`: a function, or `{ claims, timeout, maxLifetime, subject }`: `claims` is the
    ///   function, `timeout` a duration from 100 ms to 60 s (default 5 s), `maxLifetime` the
    ///   longest life of a login, from 1 m to 366 d (default 366 d), `subject` `'strict'` (default)
    ///   or `'lenient'`, which also accepts a whole number
    /// - `apiKeys`: `{ prefix, lookup, header, scheme, timeout, cacheFor, subject }`: `prefix` a
    ///   text or a list of 1 to 8, `lookup` a function, `header` the name of a header (default
    ///   `x-api-key`) or `scheme` `'Bearer'` or `'ApiKey'` in `Authorization`, `cacheFor` a
    ///   duration from 1 s to 1 h (default: records are not kept)
    ///
    /// `reads_bearer`: whether tokens come in `Authorization`.
    ///
    /// # Errors
    /// The first error in them.
    pub fn parse(options: &Options<'_>, reads_bearer: bool) -> Result<Self, ConfigError> {
        let identify = match Switch::read(options, "identify") {
            Switch::Absent | Switch::Off => None,
            Switch::On(value) => Some(identify("identify", value)?),
        };
        let api_keys = match Switch::read(options, "apiKeys") {
            Switch::Absent | Switch::Off => None,
            Switch::On(value) => {
                Some(api_keys("apiKeys", value, reads_bearer || identify.is_some())?)
            }
        };
        Ok(Self { api_keys, identify })
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.api_keys.is_none() && self.identify.is_none()
    }

    /// Those that are on.
    pub fn iter(&self) -> impl Iterator<Item = IdentitySource> {
        let api_key = self.api_keys.as_ref().map(|_| IdentitySource::ApiKey);
        let identify = self.identify.as_ref().map(|_| IdentitySource::Identify);
        api_key.into_iter().chain(identify)
    }

    /// The longest life of an identity: its revocations are kept for that long.
    #[must_use]
    pub fn max_lifetime(&self, source: IdentitySource) -> Duration {
        match (source, &self.identify) {
            (IdentitySource::Identify, Some(identify)) => identify.max_lifetime,
            // An API key may live for years.
            _ => MAX_MAX_LIFETIME,
        }
    }

    /// The scheme of the challenge where no tokens are read.
    #[must_use]
    pub fn scheme(&self) -> Scheme {
        self.api_keys.as_ref().map_or(Scheme::Other("Session"), ApiKeys::scheme)
    }

    /// The API key of a request, not judged yet; `None` without one.
    ///
    /// # Errors
    /// As [`ApiKeys::find`].
    pub fn key_of<'r>(&self, request: &'r Request) -> Result<Option<&'r str>, IdentityError> {
        self.api_keys.as_ref().map_or(Ok(None), |keys| keys.find(request))
    }

    /// Whether a key comes in the header of this name, in lower case.
    #[must_use]
    pub fn is_key_header(&self, name: &str) -> bool {
        self.api_keys.as_ref().and_then(ApiKeys::header) == Some(name)
    }

    /// The question to the host about an API key.
    ///
    /// # Errors
    /// The text is no key, so the application is not asked.
    pub fn ask_key(&self, key: &str) -> Result<IdentityAsk, IdentityError> {
        let keys = self.api_keys.as_ref().ok_or(IdentityError::KeyForm)?;
        let digest = keys.digest(key)?;
        Ok(IdentityAsk {
            source: IdentitySource::ApiKey,
            timeout: keys.timeout,
            key: Some((digest, keys.cache_for)),
        })
    }

    /// The question to the host about a request without a credential; `None` without `identify`.
    #[must_use]
    pub fn ask_identify(&self) -> Option<IdentityAsk> {
        let timeout = self.identify.as_ref()?.timeout;
        Some(IdentityAsk { source: IdentitySource::Identify, timeout, key: None })
    }
}

fn identify(path: &str, value: &Value) -> Result<Identify, ConfigError> {
    if is_function(value) {
        return Ok(Identify {
            timeout: TIMEOUT,
            max_lifetime: MAX_MAX_LIFETIME,
            is_lenient_subject: false,
        });
    }
    if !value.is_object() {
        return Err(ConfigError::invalid(path, "must be a function of the request, or an object")
            .suggest("write identify: (req) => (req.session?.userId ? { sub: req.session.userId } : null)"));
    }
    let options = Options::read(path, value, &["claims", "timeout", "maxLifetime", "subject"])?;
    function(&options, "claims", "returns the claims of a request's user, or null")?;
    let life = options.duration("maxLifetime", MIN_LIFETIME..=MAX_MAX_LIFETIME)?;
    Ok(Identify {
        timeout: timeout(&options)?,
        max_lifetime: life.unwrap_or(MAX_MAX_LIFETIME),
        is_lenient_subject: is_lenient(&options)?,
    })
}

fn api_keys(path: &str, value: &Value, is_shared: bool) -> Result<ApiKeys, ConfigError> {
    let known = ["prefix", "lookup", "header", "scheme", "timeout", "cacheFor", "subject"];
    let options = Options::read(path, value, &known)?;
    function(&options, "lookup", "returns the record of a digest, or null")?;
    let cache = options.duration("cacheFor", Duration::from_secs(1)..=MAX_CACHE)?;
    Ok(ApiKeys {
        prefixes: prefixes(&options)?,
        place: place(&options, is_shared)?,
        timeout: timeout(&options)?,
        cache_for: cache.unwrap_or_default(),
        is_lenient_subject: is_lenient(&options)?,
    })
}

fn function(options: &Options<'_>, key: &str, what: &str) -> Result<(), ConfigError> {
    let value = options.require(key, what)?;
    if is_function(value) {
        return Ok(());
    }
    Err(options.invalid(key, format!("must be a function that {what}")))
}

fn timeout(options: &Options<'_>) -> Result<Duration, ConfigError> {
    let given = options.duration("timeout", Duration::from_millis(100)..=MAX_TIMEOUT)?;
    Ok(given.unwrap_or(TIMEOUT))
}

fn is_lenient(options: &Options<'_>) -> Result<bool, ConfigError> {
    Ok(options.one_of("subject", &[("strict", false), ("lenient", true)])?.unwrap_or(false))
}

fn prefixes(options: &Options<'_>) -> Result<Vec<String>, ConfigError> {
    let value = options.require("prefix", "begins each key, such as 'acme_live'")?;
    let path = options.path_of("prefix");
    let Value::Array(items) = value else { return Ok(vec![prefix(&path, value)?]) };
    if items.is_empty() || items.len() > MAX_PREFIXES {
        let problem = format!("must be a text, or a list of 1 to {MAX_PREFIXES}");
        return Err(ConfigError::invalid(path, problem).suggest("write 'acme_live'"));
    }
    let mut prefixes = Vec::with_capacity(items.len());
    for (i, item) in items.iter().enumerate() {
        let path = format!("{path}[{i}]");
        let prefix = prefix(&path, item)?;
        if prefixes.contains(&prefix) {
            return Err(ConfigError::invalid(path, "is there twice"));
        }
        prefixes.push(prefix);
    }
    Ok(prefixes)
}

/// Words of letters and digits with single `_` between them.
fn prefix(path: &str, value: &Value) -> Result<String, ConfigError> {
    let text = string_at(path, value)?;
    let is_word = |word: &str| {
        !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
    };
    let starts = text.starts_with(|first: char| first.is_ascii_lowercase());
    if text.len() < 2 || text.len() > MAX_PREFIX || !starts || !text.split('_').all(is_word) {
        let problem = format!(
            "must be 2 to {MAX_PREFIX} lower-case letters and digits, with single `_` between words"
        );
        return Err(ConfigError::invalid(path, problem)
            .suggest("write the name of your product and the environment, such as 'acme_live'"));
    }
    Ok(text.to_owned())
}

fn place(options: &Options<'_>, is_shared: bool) -> Result<KeyPlace, ConfigError> {
    let schemes = [("Bearer", KeyPlaceKind::Bearer), ("ApiKey", KeyPlaceKind::ApiKey)];
    let scheme = options.one_of("scheme", &schemes)?;
    let name = options.string("header")?;
    match (scheme, name) {
        (Some(_), Some(_)) => Err(ConfigError::new(
            ConfigCode::ConflictingOptions,
            options.path_of("header"),
            "can't stand beside `scheme`, which is about the header Authorization",
        )
        .suggest("leave one of them out")),
        (Some(KeyPlaceKind::ApiKey), None) => Ok(KeyPlace::ApiKeyScheme),
        (Some(KeyPlaceKind::Bearer), None) => Ok(KeyPlace::BearerScheme { shared: is_shared }),
        (None, None) => Ok(KeyPlace::Header("x-api-key".to_owned())),
        (None, Some(name)) => {
            let lower = name.to_ascii_lowercase();
            if name.len() > MAX_HEADER || !is_token(name) {
                return Err(options
                    .invalid("header", "must be the name of a header")
                    .suggest("write 'x-api-key'"));
            }
            if matches!(&*lower, "authorization" | "cookie" | "dpop") {
                return Err(options.invalid("header", "has a reader of its own").suggest(
                    "write `scheme: 'Bearer'` or `scheme: 'ApiKey'` for a key in Authorization",
                ));
            }
            if is_reserved_header(&lower) {
                return Err(options
                    .invalid("header", "is set by browsers, proxies or HTTP itself")
                    .suggest("write a name of your own, such as 'x-api-key'"));
            }
            Ok(KeyPlace::Header(lower))
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum KeyPlaceKind {
    Bearer,
    ApiKey,
}
