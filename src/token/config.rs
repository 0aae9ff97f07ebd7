//! The options of the token layer, judged once.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::algorithm::Algorithm;
use super::cache::Cache;
use super::key_options::keys;
use super::presentation::Presentation;
use super::ring::KeyRing;
use crate::clock::micros;
use crate::config::raw::{Options, Switch, nearest, string_at};
use crate::error::ConfigError;

const KNOWN: [&str; 14] = [
    "issuer",
    "audience",
    "secret",
    "keys",
    "jwks",
    "algorithms",
    "typ",
    "clockTolerance",
    "maxLifetime",
    "from",
    "dpop",
    "dpopNonce",
    "optional",
    "cache",
];
const DEFAULT_TOLERANCE: Duration = Duration::from_secs(10);
/// No clock tolerance is longer: revocations are kept this long past a token's expiry.
pub const MAX_TOLERANCE: Duration = Duration::from_secs(60);
const DEFAULT_MAX_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);
/// The longest `maxLifetime` that can be asked for.
pub const MAX_MAX_LIFETIME: Duration = Duration::from_secs(366 * 24 * 60 * 60);
const MAX_TEXT: usize = 1024;

/// What a token must be to be taken. It can't be made but by [`TokenConfig::parse`].
#[derive(Debug)]
pub struct TokenConfig {
    pub(super) issuer: Arc<str>,
    pub(super) audience: Vec<String>,
    pub(super) keys: KeyRing,
    /// Lower case, without `application/`.
    pub(super) typ: Option<String>,
    pub(super) tolerance_us: u64,
    pub(super) max_lifetime_us: u64,
    pub(super) cache: Option<Cache>,
    /// How a token may come.
    pub(super) presentation: Presentation,
    /// Whether a request without a token passes as anonymous. A bad token is refused all the same.
    pub optional: bool,
}

impl TokenConfig {
    /// Parses the option `jwt`, an object:
    ///
    /// | key | what |
    /// |---|---|
    /// | `issuer` | string, required: the exact `iss` |
    /// | `audience` | string or list of strings, required: one of them must be in `aud` |
    /// | `secret` | string or Buffer of at least 32, 48 or 64 bytes for HS256 (default), HS384, HS512 |
    /// | `keys` | list of `{ kid?, alg, key, notBefore?, notAfter? }`, where `key` is PEM text, a Buffer or a JWK |
    /// | `jwks` | a JWK set with public keys |
    /// | `algorithms` | list: no key may have another algorithm |
    /// | `typ` | string: the `typ` that a header must have. Without it: none, `JWT` or `at+jwt` |
    /// | `clockTolerance` | duration up to 60 s, default 10 s |
    /// | `maxLifetime` | duration from 1 s to 366 d, default 24 h: `exp - iat` is at most that |
    /// | `from` | list of `'header'`, `{ cookie }`, `{ query }`: where a token is looked for, default `['header']` |
    /// | `dpop` | `'off'`, `'if-bound'` (default) or `'required'`: which tokens need a proof (RFC 9449) |
    /// | `dpopNonce` | `true` or `{ secret?, lifetime? }`: proofs need a nonce of ours, default false |
    /// | `cache` | `{ maxBytes }` from 64 kb to 1024 mb, default 8 mb, for tokens that were verified; or `false` |
    /// | `optional` | whether a request without a token passes, default false |
    ///
    /// At least one of `secret`, `keys` and `jwks` must be there.
    pub fn parse(path: &str, value: &Value) -> Result<Self, ConfigError> {
        let options = Options::read(path, value, &KNOWN)?;
        let issuer = issuer(&options)?;
        let audience = audience(&options)?;
        let algorithms = algorithms(&options)?;
        let keys = keys(&options, algorithms.as_deref())?;
        let presentation = Presentation::parse(&options)?;
        let tolerance = options.duration("clockTolerance", Duration::ZERO..=MAX_TOLERANCE)?;
        let lifetime =
            options.duration("maxLifetime", Duration::from_secs(1)..=MAX_MAX_LIFETIME)?;
        Ok(Self {
            issuer,
            audience,
            keys,
            typ: typ(&options)?,
            tolerance_us: micros(tolerance.unwrap_or(DEFAULT_TOLERANCE)),
            max_lifetime_us: micros(lifetime.unwrap_or(DEFAULT_MAX_LIFETIME)),
            cache: cache(&options)?,
            presentation,
            optional: options.bool("optional")?.unwrap_or(false),
        })
    }

    /// The exact `iss` of the tokens that are taken.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The longest time between `iat` and `exp`.
    #[must_use]
    pub const fn max_lifetime(&self) -> Duration {
        Duration::from_micros(self.max_lifetime_us)
    }
}

fn cache(options: &Options<'_>) -> Result<Option<Cache>, ConfigError> {
    const DEFAULT: u64 = 8 << 20;
    let max_bytes = match Switch::read(options, "cache") {
        Switch::Off => return Ok(None),
        Switch::Absent => None,
        Switch::On(value) => Options::read(options.path_of("cache"), value, &["maxBytes"])?
            .size("maxBytes", 64 << 10..=1 << 30)?,
    };
    Ok(Some(Cache::new(usize::try_from(max_bytes.unwrap_or(DEFAULT)).unwrap_or(usize::MAX))))
}

/// A text without control characters, neither empty nor endless.
pub(super) fn plain_text<'a>(path: &str, value: &'a Value) -> Result<&'a str, ConfigError> {
    let text = string_at(path, value)?;
    if text.is_empty()
        || text.len() > MAX_TEXT
        || text.trim() != text
        || text.chars().any(char::is_control)
    {
        return Err(ConfigError::invalid(
            path,
            format!("must be 1 to {MAX_TEXT} bytes of text without whitespace around it"),
        ));
    }
    Ok(text)
}

fn issuer(options: &Options<'_>) -> Result<Arc<str>, ConfigError> {
    let value = options
        .require("issuer", "the `iss` of the tokens to take, such as 'https://id.example.com'")?;
    plain_text(&options.path_of("issuer"), value).map(Arc::from)
}

fn audience(options: &Options<'_>) -> Result<Vec<String>, ConfigError> {
    let value = options.require("audience", "the `aud` that names this API, such as 'my-api'")?;
    let path = options.path_of("audience");
    let Some(items) = value.as_array() else {
        return Ok(vec![plain_text(&path, value)?.to_owned()]);
    };
    let mut audience: Vec<String> = Vec::new();
    for (i, item) in items.iter().enumerate() {
        let path = format!("{path}[{i}]");
        let text = plain_text(&path, item)?;
        if audience.iter().any(|other| other == text) {
            return Err(ConfigError::invalid(path, "is there twice"));
        }
        audience.push(text.to_owned());
    }
    if audience.is_empty() {
        return Err(ConfigError::invalid(path, "must name at least one audience"));
    }
    Ok(audience)
}

pub(super) fn algorithm_at(path: &str, value: &Value) -> Result<Algorithm, ConfigError> {
    let name = string_at(path, value)?;
    if let Some(algorithm) = Algorithm::from_name(name) {
        return Ok(algorithm);
    }
    if name.eq_ignore_ascii_case("none") {
        return Err(ConfigError::invalid(
            path,
            "must not be 'none': an unsigned token proves nothing",
        ));
    }
    let names = Algorithm::ALL.map(Algorithm::name);
    let error = ConfigError::invalid(path, format!("must be one of {}", names.join(", ")));
    Err(match nearest(name, &names) {
        Some(name) => error.suggest(format!("did you mean '{name}'?")),
        None => error,
    })
}

fn algorithms(options: &Options<'_>) -> Result<Option<Vec<Algorithm>>, ConfigError> {
    let Some(items) = options.list("algorithms")? else { return Ok(None) };
    let path = options.path_of("algorithms");
    if items.is_empty() {
        return Err(ConfigError::invalid(path, "must name at least one algorithm"));
    }
    let at = |(i, item)| algorithm_at(&format!("{path}[{i}]"), item);
    items.iter().enumerate().map(at).collect::<Result<_, _>>().map(Some)
}

fn typ(options: &Options<'_>) -> Result<Option<String>, ConfigError> {
    let Some(value) = options.get("typ") else { return Ok(None) };
    let path = options.path_of("typ");
    let text = plain_text(&path, value)?;
    let media = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$&^_.+-/".contains(&byte);
    if !text.bytes().all(media) || bare_typ(text).is_empty() {
        return Err(
            ConfigError::invalid(path, "must be a media type").suggest("write 'at+jwt' or 'JWT'")
        );
    }
    Ok(Some(bare_typ(text).to_ascii_lowercase()))
}

/// A `typ` without the `application/` that RFC 7515 section 4.1.9 says may be left out.
pub(super) fn bare_typ(typ: &str) -> &str {
    const PREFIX: &str = "application/";
    match typ.split_at_checked(PREFIX.len()) {
        Some((prefix, rest)) if prefix.eq_ignore_ascii_case(PREFIX) => rest,
        _ => typ,
    }
}
