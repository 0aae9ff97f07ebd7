//! The location of an issuer's keys: the URL of a JWK set, or metadata that names one.

use std::time::Duration;

use serde_json::Value;
use url::{Host, Url};

use crate::config::options::{Options, is_function, string_at};
use crate::error::{ConfigCode, ConfigError};

const MAX_URL: usize = 2048;
const VAULT_PATH: &str = "/v1/identity/oidc";

/// The URL to fetch from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// The URL of a JWK set.
    Set(String),
    /// The URL of metadata, which must name exactly this `issuer`.
    Metadata {
        /// The URL of the metadata.
        url: String,
        /// The required `issuer`.
        issuer: String,
        /// Whether the issuer uses `http`, which is possible only on this machine. Then the set may
        /// use it too.
        loopback: bool,
    },
}

impl Source {
    /// Parses the options `jwks` (if it is a URL) and `discovery`. `None` if the options contain
    /// the keys.
    pub(crate) fn parse(
        options: &Options<'_>,
        issuer: &str,
        by_preset: bool,
    ) -> Result<Option<Self>, ConfigError> {
        let url = options.get("jwks").filter(|value| value.is_string() || is_function(value));
        let metadata = well_known(options, by_preset)?;
        let (name, source) = match (url, metadata) {
            (None, None) => return Ok(None),
            (Some(value), None) => {
                let path = options.path_of("jwks");
                let url = fetchable(&path, string_at(&path, value)?)?;
                ("jwks", Self::Set(url.into()))
            }
            (url, Some(well_known)) => {
                if url.is_some() || options.has("jwks") {
                    return Err(conflict(options, "jwks", "discovery"));
                }
                let path = options.path_of("issuer");
                let base = fetchable(&path, issuer)?;
                if base.query().is_some() {
                    return Err(ConfigError::invalid(path, "must have no query for `discovery`"));
                }
                let source = Self::Metadata {
                    url: well_known.url_of(issuer, &base),
                    issuer: issuer.to_owned(),
                    loopback: base.scheme() == "http",
                };
                ("discovery", source)
            }
        };
        for other in ["secret", "keys"] {
            if options.has(other) {
                return Err(conflict(options, other, name));
            }
        }
        Ok(Some(source))
    }
}

fn conflict(options: &Options<'_>, key: &str, other: &str) -> ConfigError {
    ConfigError::new(
        ConfigCode::ConflictingOptions,
        options.path_of(key),
        format!("can't stand beside `{other}`: an issuer publishes all of its keys, or none"),
    )
    .suggest("leave one of them out")
}

/// The well-known location of the metadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WellKnown {
    /// `OpenID` Connect Discovery 1.0, section 4: appended to the issuer.
    Oidc,
    /// RFC 8414 section 3: between the host and the path of the issuer.
    Oauth,
}

impl WellKnown {
    fn url_of(self, issuer: &str, base: &Url) -> String {
        match self {
            Self::Oidc => {
                format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'))
            }
            Self::Oauth => {
                let path = base.path().trim_end_matches('/').to_owned();
                let mut url = base.clone();
                url.set_path(&format!("/.well-known/oauth-authorization-server{path}"));
                url.into()
            }
        }
    }
}

fn well_known(options: &Options<'_>, preset: bool) -> Result<Option<WellKnown>, ConfigError> {
    match options.get("discovery") {
        None => Ok(preset.then_some(WellKnown::Oidc)),
        Some(Value::Bool(true)) => Ok(Some(WellKnown::Oidc)),
        Some(Value::Bool(false)) if !preset => Ok(None),
        Some(Value::String(text)) if text == "oauth" && !preset => Ok(Some(WellKnown::Oauth)),
        Some(_) => Err(options
            .invalid("discovery", "must be true, or 'oauth' for the metadata of RFC 8414")
            .suggest("leave it out where there is `jwks` or a preset")),
    }
}

/// Parses `staleFor`.
pub(crate) fn parse_stale_for(options: &Options<'_>) -> Result<Duration, ConfigError> {
    const MINUTE: u64 = 60;
    let range = Duration::from_secs(10 * MINUTE)..=Duration::from_secs(24 * 60 * MINUTE);
    Ok(options.duration("staleFor", range)?.unwrap_or(Duration::from_secs(60 * MINUTE)))
}

/// The issuer of Vault's identity tokens, from an address without a path or from the full issuer. A
/// namespace is between `/v1/` and `identity`; a provider of Vault follows after `oidc`.
pub(crate) fn vault_issuer(path: &str, text: &str) -> Result<String, ConfigError> {
    let url = fetchable(path, text)?;
    if url.path() == "/" && url.query().is_none() {
        return Ok(format!("{}{VAULT_PATH}", text.trim_end_matches('/')));
    }
    let segments: Vec<&str> = url.path().split('/').skip(1).collect();
    let oidc = segments.windows(2).any(|pair| pair == ["identity", "oidc"]);
    if segments.first() == Some(&"v1") && oidc && !text.ends_with('/') {
        return Ok(text.to_owned());
    }
    Err(ConfigError::invalid(path, "must be the address of Vault, or an issuer of its identity tokens")
        .suggest("write 'https://vault.example.com:8200' or 'https://vault.example.com:8200/v1/identity/oidc'"))
}

/// Checks a URL to fetch keys from: `https`, or `http` on this machine, where no network is
/// involved.
pub(crate) fn fetchable(path: &str, text: &str) -> Result<Url, ConfigError> {
    let bad = |problem: &str| Err(ConfigError::invalid(path, problem));
    let Some(url) = (text.len() <= MAX_URL).then(|| Url::parse(text).ok()).flatten() else {
        return bad("must be a URL such as 'https://id.example.com/.well-known/jwks.json'");
    };
    if text.chars().any(|char| char.is_control() || char.is_whitespace()) {
        return bad("must be a URL without whitespace");
    }
    if !url.username().is_empty() || url.password().is_some() || text.contains('#') {
        return bad("must be a URL without a user, a password and a fragment");
    }
    match url.scheme() {
        "https" => Ok(url),
        "http" if is_loopback(&url) => Ok(url),
        _ => bad("must be a URL with https: who can change what is fetched chooses whom you trust"),
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}
