//! The location of an issuer's keys: the URL of a JWK set, or metadata that names one.

use std::fmt;
use std::time::Duration;

use serde_json::Value;
use url::{Host, Url};

use crate::config::options::{Options, is_function, string_at};
use crate::error::{ConfigCode, ConfigError};
use crate::keys::key_options::is_set;
use crate::net::{is_private_network, is_token};

const MAX_URL: usize = 2048;
const VAULT_PATH: &str = "/v1/identity/oidc";

/// The URL to fetch from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// The URL of a JWK set.
    Set { url: String, headers: RequestHeaders },
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

/// Request headers that the owner of a key set asks for, such as `Authorization`.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct RequestHeaders(pub(crate) Vec<(String, String)>);

impl fmt::Debug for RequestHeaders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The values are secrets.
        f.write_str("RequestHeaders")
    }
}

impl Source {
    /// Parses the options `jwks` (if it is a URL) and `discovery`. `None` if the options contain
    /// the keys.
    pub(crate) fn parse(
        options: &Options<'_>,
        issuer: &str,
        by_preset: bool,
    ) -> Result<Option<Self>, ConfigError> {
        let url = options.get("jwks").filter(|value| !is_set(value));
        let metadata = well_known(options, by_preset)?;
        let (name, source) = match (url, metadata) {
            (None, None) => return Ok(None),
            (Some(value), None) => ("jwks", Self::parse_set(&options.path_of("jwks"), value)?),
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
        if options.has("keys") {
            return Err(conflict(options, "keys", name));
        }
        Ok(Some(source))
    }

    /// A URL, or `{ url, headers?, allowHttp? }`. The headers may be a function: the edge calls it.
    fn parse_set(path: &str, value: &Value) -> Result<Self, ConfigError> {
        if !value.is_object() {
            let url = fetchable(path, string_at(path, value)?)?;
            return Ok(Self::Set { url: url.into(), headers: RequestHeaders::default() });
        }
        let options = Options::read(path, value, &["url", "headers", "allowHttp"])?;
        let (url, headers) = request_to(&options, "the URL of a JWK set")?;
        Ok(Self::Set { url, headers })
    }
}

/// Reads `url`, `headers` and `allowHttp` of a request to an issuer. The headers may be a function:
/// the edge calls it.
pub(crate) fn request_to(
    options: &Options<'_>,
    why: &str,
) -> Result<(String, RequestHeaders), ConfigError> {
    let at = options.path_of("url");
    let text = string_at(&at, options.require("url", why)?)?;
    let url = if options.bool("allowHttp")?.unwrap_or(false) {
        fetchable_in_private(&at, text)?
    } else {
        fetchable(&at, text)?
    };
    let headers = match options.get("headers") {
        None => RequestHeaders::default(),
        Some(value) if is_function(value) => RequestHeaders::default(),
        Some(value) => request_headers(&options.path_of("headers"), value)?,
    };
    Ok((url.into(), headers))
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

/// Checks a URL to fetch from: `https`, or `http` on this machine, where no network is
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

/// As [`fetchable`], and `http` too: not to an address that is public for certain,
/// nor to a link-local one, where clouds serve credentials. A name is taken as it is.
fn fetchable_in_private(path: &str, text: &str) -> Result<Url, ConfigError> {
    let Ok(url) = Url::parse(text) else { return fetchable(path, text) };
    let is_public = match url.host() {
        Some(Host::Ipv4(ip)) => !is_private_network(ip.into()),
        Some(Host::Ipv6(ip)) => !is_private_network(ip.into()),
        _ => false,
    };
    if url.scheme() != "http" {
        return fetchable(path, text);
    }
    if is_public {
        return Err(ConfigError::invalid(path, "must be a URL with https: its address is public"));
    }
    // All other rules are those of https.
    fetchable(path, &text.replacen("http", "https", 1)).map(|_| url)
}

const MAX_HEADERS: usize = 16;
/// Headers that belong to the connection.
const OF_CONNECTION: [&str; 5] =
    ["host", "connection", "content-length", "transfer-encoding", "upgrade"];

fn request_headers(path: &str, value: &Value) -> Result<RequestHeaders, ConfigError> {
    let members = value.as_object().filter(|members| members.len() <= MAX_HEADERS);
    let Some(members) = members else {
        return Err(ConfigError::invalid(
            path,
            format!("must be an object of at most {MAX_HEADERS} headers, or a function"),
        ));
    };
    let mut headers = Vec::with_capacity(members.len());
    for (name, value) in members {
        let at = format!("{path}.{name}");
        let text = string_at(&at, value)?;
        let is_plain = |byte: u8| byte == b' ' || byte.is_ascii_graphic();
        if !is_token(name)
            || OF_CONNECTION.contains(&name.to_ascii_lowercase().as_str())
            || text.is_empty()
            || !text.bytes().all(is_plain)
        {
            return Err(ConfigError::invalid(at, "must be a header with a value of visible ASCII"));
        }
        headers.push((name.to_ascii_lowercase(), text.to_owned()));
    }
    Ok(RequestHeaders(headers))
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}
