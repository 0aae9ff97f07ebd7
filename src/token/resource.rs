//! The API as an OAuth protected resource: its metadata (RFC 9728), and the parameters that point a
//! client to them in a challenge.
//!
//! A client without a token, or with one of too little scope, reads in `WWW-Authenticate` where the
//! metadata is, and there which authorization server to ask, for which resource (RFC 8707) and
//! which scopes. This is also how clients of the Model Context Protocol log in.

use serde_json::{Map, Value, json};
use url::Url;

use crate::bearer::{DpopMode, Source};
use crate::config::options::{Options, string_at};
use crate::error::ConfigError;
use crate::refusal::Refusal;
use crate::token::config::TokenConfig;
use crate::token::issuer::Issuer;

const MAX_ITEMS: usize = 100;
const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";

/// The options of `jwt.resource`.
#[derive(Debug)]
pub struct ProtectedResource {
    /// The identifier of this API, as tokens have it in `aud`.
    url: String,
    /// Where its metadata is (RFC 9728 section 3.1).
    metadata: Url,
    scopes: Vec<String>,
    servers: Vec<String>,
    name: Option<String>,
    documentation: Option<String>,
}

impl ProtectedResource {
    /// Reads `resource`: the URL of this API, or `{ url, scopes?, authorizationServers?, name?,
    /// documentation? }`.
    ///
    /// # Errors
    /// The URL is not `https` (or `http` on a loopback address), or has a query or a fragment.
    pub(super) fn parse(options: &Options<'_>) -> Result<Option<Self>, ConfigError> {
        let Some(value) = options.get("resource") else { return Ok(None) };
        let at = options.path_of("resource");
        if !value.is_object() {
            let (url, metadata) = identifier(&at, string_at(&at, value)?)?;
            let (scopes, servers) = (Vec::new(), Vec::new());
            return Ok(Some(Self {
                url,
                metadata,
                scopes,
                servers,
                name: None,
                documentation: None,
            }));
        }
        let known = ["url", "scopes", "authorizationServers", "name", "documentation"];
        let options = Options::read(at, value, &known)?;
        let value =
            options.require("url", "the URL of this API, such as 'https://api.example.com'")?;
        let at = options.path_of("url");
        let (url, metadata) = identifier(&at, string_at(&at, value)?)?;
        let is_scope = |text: &str| {
            text.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\'))
        };
        let scopes = texts(&options, "scopes", "must be a scope", is_scope)?;
        let is_url = |text: &str| secure_url(text).is_some();
        let servers = texts(&options, "authorizationServers", "must be a URL with https", is_url)?;
        let text = |key: &str| options.string(key).map(|text| text.map(str::to_owned));
        let (name, documentation) = (text("name")?, text("documentation")?);
        if documentation.as_deref().is_some_and(|text| !is_url(text)) {
            return Err(options.invalid("documentation", "must be a URL with https"));
        }
        Ok(Some(Self { url, metadata, scopes, servers, name, documentation }))
    }

    /// The identifier of this API, as tokens have it in `aud`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The path of the metadata on this API.
    #[must_use]
    pub fn path(&self) -> &str {
        self.metadata.path()
    }

    /// The metadata (RFC 9728 section 2).
    #[must_use]
    pub fn document(&self, config: &TokenConfig) -> Value {
        let mut members = Map::new();
        let servers: Vec<&str> = if self.servers.is_empty() {
            config.issuers().map(Issuer::name).filter(|name| secure_url(name).is_some()).collect()
        } else {
            self.servers.iter().map(String::as_str).collect()
        };
        members.insert("resource".into(), self.url.clone().into());
        if !servers.is_empty() {
            members.insert("authorization_servers".into(), json!(servers));
        }
        if !self.scopes.is_empty() {
            members.insert("scopes_supported".into(), json!(self.scopes));
        }
        let methods: Vec<&str> = config
            .presentation
            .sources()
            .iter()
            .filter_map(|source| match source {
                Source::Header => Some("header"),
                Source::Query(_) => Some("query"),
                Source::Named(_) | Source::Cookie(_) => None,
            })
            .collect();
        members.insert("bearer_methods_supported".into(), json!(methods));
        if config.presentation.dpop == DpopMode::Required {
            members.insert("dpop_bound_access_tokens_required".into(), true.into());
        }
        for (key, text) in
            [("resource_name", &self.name), ("resource_documentation", &self.documentation)]
        {
            if let Some(text) = text {
                members.insert(key.into(), text.clone().into());
            }
        }
        Value::Object(members)
    }

    /// Adds the parameters to the challenge of a refusal: `resource_metadata` (RFC 9728 section
    /// 5.1), and `scope` (RFC 6750 section 3) where the client has to ask for a token.
    pub fn complete(&self, refusal: &mut Refusal, scopes: &[String]) {
        let status = refusal.status;
        let challenge = refusal.headers.iter_mut().find(|(name, _)| *name == "WWW-Authenticate");
        let Some((_, challenge)) = challenge else { return };
        let scopes = if scopes.is_empty() { &self.scopes } else { scopes };
        if status == 401 && !scopes.is_empty() && !challenge.contains(", scope=\"") {
            challenge.extend([", scope=\"", &scopes.join(" "), "\""]);
        }
        challenge.extend([", resource_metadata=\"", self.metadata.as_str(), "\""]);
    }
}

fn texts(
    options: &Options<'_>,
    key: &str,
    problem: &str,
    fits: impl Fn(&str) -> bool,
) -> Result<Vec<String>, ConfigError> {
    let Some(items) = options.list(key)? else { return Ok(Vec::new()) };
    let at = options.path_of(key);
    if items.is_empty() || items.len() > MAX_ITEMS {
        return Err(ConfigError::invalid(at, format!("must have 1 to {MAX_ITEMS} items")));
    }
    let mut texts: Vec<String> = Vec::new();
    for (i, item) in items.iter().enumerate() {
        let at = format!("{at}[{i}]");
        let text = string_at(&at, item)?;
        if text.is_empty() || !fits(text) {
            return Err(ConfigError::invalid(at, problem));
        }
        texts.push(text.to_owned());
    }
    Ok(texts)
}

/// The identifier of the resource as written, and the URL of its metadata: the well-known path
/// stands between host and path (RFC 9728 section 3.1).
fn identifier(path: &str, text: &str) -> Result<(String, Url), ConfigError> {
    let url = secure_url(text).filter(|url| url.query().is_none() && !text.contains('#'));
    let Some(url) = url else {
        return Err(ConfigError::invalid(
            path,
            "must be the URL of this API, with https and without query and fragment",
        )
        .suggest("write 'https://api.example.com' or 'https://api.example.com/mcp'"));
    };
    let mut metadata = url.clone();
    metadata.set_path(&format!("{WELL_KNOWN}{}", url.path().trim_end_matches('/')));
    Ok((text.to_owned(), metadata))
}

/// A URL with `https`, or with `http` on a loopback address.
fn secure_url(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok()?;
    let is_loopback = match url.host()? {
        url::Host::Domain(name) => name == "localhost",
        url::Host::Ipv4(ip) => ip.is_loopback(),
        url::Host::Ipv6(ip) => ip.is_loopback(),
    };
    let is_plain =
        text.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\'));
    let is_secure = url.scheme() == "https" || url.scheme() == "http" && is_loopback;
    let is_anonymous = url.username().is_empty() && url.password().is_none();
    (is_plain && is_secure && is_anonymous).then_some(url)
}
