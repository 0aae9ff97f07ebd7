//! The places where a request may carry a token, and the proofs that must come with it.

use serde_json::Value;

use super::credentials::{Scheme, credentials};
use super::denial::TokenError;
use crate::binding::Nonces;
use crate::config::options::{Options, Switch, string_at};
use crate::error::{ConfigCode, ConfigError};
use crate::jose::{MAX_TOKEN_BYTES, MAX_TOKEN_SIZE};
use crate::net::{is_reserved_header, is_token};
use crate::request::{Request, decode_segment};

const MAX_SOURCES: usize = 8;
const MAX_NAME: usize = 128;
/// Browsers accept a cookie with this prefix only over TLS, for exactly this host and all paths.
/// Neither another host of the domain nor an attacker on the network can set one (RFC 6265bis
/// section 4.1.3.2).
const HOST_PREFIX: &str = "__Host-";

/// One place to look for a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The `Authorization` header (RFC 6750 section 2.1, RFC 9449 section 7.1).
    Header,
    /// The header of this name, in lower case, which holds the token alone: a proxy that logs users
    /// in adds it.
    Named(String),
    /// The cookie of this name.
    Cookie(String),
    /// The parameter of this name in the query (RFC 6750 section 2.3).
    Query(String),
}

/// The option `dpop`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DpopMode {
    /// Proofs are not checked, so tokens that need one are refused.
    Off,
    /// Tokens that are bound to a key need a proof; other tokens must not have one.
    #[default]
    IfBound,
    /// Every token must be bound to a key and come with a proof.
    Required,
}

/// The places where a request may carry a token. Only the options create it.
#[derive(Debug)]
pub struct TokenSources {
    sources: Vec<Source>,
    /// The most bytes of a token.
    pub(crate) max_token_bytes: usize,
    /// The tokens that need a proof.
    pub dpop: DpopMode,
    /// The nonces that a proof must contain; `None` if it needs none.
    pub nonces: Option<Nonces>,
}

/// The token of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PresentedToken<'r> {
    /// The token.
    pub token: &'r str,
    /// The scheme of the header. A token in a cookie or in the query is a bearer token.
    pub scheme: Scheme,
    /// Whether it came in the `Authorization` header, which no page of another site can make a
    /// browser send. A browser adds cookies to every request, and such a page
    /// can choose the query. A proxy adds a header of its own to every request, too.
    pub in_header: bool,
    /// Whether it came in a cookie.
    pub in_cookie: bool,
}

impl TokenSources {
    /// Reads `from`, `dpop` and `dpopNonce` of the option `jwt`.
    pub(crate) fn parse(options: &Options<'_>) -> Result<Self, ConfigError> {
        let sources = sources(options)?;
        let words = [
            ("off", DpopMode::Off),
            ("if-bound", DpopMode::IfBound),
            ("required", DpopMode::Required),
        ];
        let dpop = options.one_of("dpop", &words)?.unwrap_or_default();
        let conflict = |key: &str, problem: &str| {
            Err(ConfigError::new(ConfigCode::ConflictingOptions, options.path_of(key), problem))
        };
        if dpop == DpopMode::Required && sources != [Source::Header] {
            return conflict(
                "from",
                "must be ['header'] where `dpop` is 'required': a proof belongs to the Authorization header",
            );
        }
        let nonces = match Switch::read(options, "dpopNonce") {
            Switch::Absent | Switch::Off => None,
            Switch::On(value) => Some(Nonces::parse(&options.path_of("dpopNonce"), value)?),
        };
        if nonces.is_some() && dpop == DpopMode::Off {
            return conflict("dpopNonce", "does nothing where `dpop` is 'off'");
        }
        let max = options.size("maxTokenSize", 1024..=MAX_TOKEN_SIZE as u64)?;
        let max_token_bytes = max.and_then(|max| usize::try_from(max).ok());
        let max_token_bytes = max_token_bytes.unwrap_or(MAX_TOKEN_BYTES);
        Ok(Self { sources, max_token_bytes, dpop, nonces })
    }

    /// No place: tokens are not read.
    pub(crate) fn nowhere() -> Self {
        Self {
            sources: Vec::new(),
            max_token_bytes: MAX_TOKEN_BYTES,
            dpop: DpopMode::Off,
            nonces: None,
        }
    }

    /// The names of query parameters that may carry a token.
    pub fn query_names(&self) -> impl Iterator<Item = &str> {
        self.sources.iter().filter_map(|source| match source {
            Source::Query(name) => Some(name.as_str()),
            _ => None,
        })
    }

    /// Whether a token may come without the caller's doing: in a cookie, or in a header that a
    /// proxy adds. A page of another site can make a browser send such a request.
    #[must_use]
    pub fn takes_cookies(&self) -> bool {
        self.sources.iter().any(|source| matches!(source, Source::Cookie(_) | Source::Named(_)))
    }

    /// The scheme of the challenge if no token came.
    #[must_use]
    pub fn scheme(&self) -> Scheme {
        if self.dpop == DpopMode::Required { Scheme::Dpop } else { Scheme::Bearer }
    }

    /// The token of a request, `None` where none of the places has one.
    ///
    /// Credentials of another scheme in `Authorization` count only if no other place has a token: a
    /// proxy in front may ask for a password there.
    ///
    /// # Errors
    /// Two places have one, or one has two: RFC 6750 section 2 allows one, and which of them counts
    /// would be a guess. Credentials of another scheme alone are [`TokenError::Missing`].
    pub fn find<'r>(&self, request: &'r Request) -> Result<Option<PresentedToken<'r>>, TokenError> {
        let by_browser = |token: &'r str| PresentedToken {
            token,
            scheme: Scheme::Bearer,
            in_header: false,
            in_cookie: false,
        };
        let (mut found, mut other_scheme) = (None, false);
        for source in &self.sources {
            let token = match source {
                Source::Header => match self.in_header(request) {
                    Err(TokenError::Missing) => {
                        other_scheme = true;
                        None
                    }
                    found => found?,
                },
                Source::Named(name) => in_named(request, name)?.map(by_browser),
                Source::Cookie(name) => in_cookies(request, name)?
                    .map(|token| PresentedToken { in_cookie: true, ..by_browser(token) }),
                Source::Query(name) => in_query(request, name)?.map(by_browser),
            };
            match (token, found.is_some()) {
                (Some(_), true) => return Err(TokenError::Ambiguous),
                (Some(_), false) => found = token,
                (None, _) => {}
            }
        }
        if found.is_none() && other_scheme { Err(TokenError::Missing) } else { Ok(found) }
    }

    /// Where a token is looked for.
    pub(crate) fn sources(&self) -> &[Source] {
        &self.sources
    }

    /// Whether a request has a header of a proxy that a token may come in.
    #[must_use]
    pub fn has_named_header(&self, request: &Request) -> bool {
        request.headers().any(|(header, _)| self.is_named_header(header))
    }

    /// Whether a token may come in the header of this name, in lower case.
    #[must_use]
    pub fn is_named_header(&self, name: &str) -> bool {
        self.sources.iter().any(|source| matches!(source, Source::Named(known) if known == name))
    }

    /// The names of the cookies that a token may come in.
    pub fn cookie_names(&self) -> impl Iterator<Item = &str> {
        self.sources.iter().filter_map(|source| match source {
            Source::Cookie(name) => Some(name.as_str()),
            _ => None,
        })
    }

    fn in_header<'r>(
        &self,
        request: &'r Request,
    ) -> Result<Option<PresentedToken<'r>>, TokenError> {
        // `Request::read` has already refused a second header of this name.
        let Some(value) = request.header("authorization") else { return Ok(None) };
        let (scheme, token) = credentials(value)?;
        if scheme == Scheme::Dpop && self.dpop == DpopMode::Off {
            return Err(TokenError::Missing);
        }
        Ok(Some(PresentedToken { token, scheme, in_header: true, in_cookie: false }))
    }
}

/// The value of a header that holds a token alone.
fn in_named<'r>(request: &'r Request, name: &str) -> Result<Option<&'r str>, TokenError> {
    let mut values =
        request.headers().filter(|(header, _)| *header == name).map(|(_, value)| value);
    match (values.next(), values.next()) {
        (_, Some(_)) => Err(TokenError::Ambiguous),
        (value, None) => Ok(value),
    }
}

/// The value of a cookie. Names are compared without trimming or decoding: a browser protects the
/// name `__Host-a`, but not ` __Host-a` or `__Host%2da`.
fn in_cookies<'r>(request: &'r Request, name: &str) -> Result<Option<&'r str>, TokenError> {
    let headers = request.headers().filter(|(header, _)| *header == "cookie");
    let mut found = None;
    for pair in headers.flat_map(|(_, value)| value.split(';')) {
        let pair = pair.strip_prefix(' ').unwrap_or(pair);
        let Some((found_name, value)) = pair.split_once('=') else { continue };
        if found_name != name {
            continue;
        }
        if found.is_some() {
            return Err(TokenError::Ambiguous);
        }
        found = Some(value);
    }
    Ok(found)
}

/// The value of a query parameter, not decoded: a token needs no encoding. The name is decoded, as
/// the application would decode it.
fn in_query<'r>(request: &'r Request, name: &str) -> Result<Option<&'r str>, TokenError> {
    let mut found = None;
    for pair in request.query().split('&') {
        let (found_name, value) = pair.split_once('=').unwrap_or((pair, ""));
        if decode_segment(found_name).as_deref() != Some(name) {
            continue;
        }
        if found.is_some() {
            return Err(TokenError::Ambiguous);
        }
        found = Some(value);
    }
    Ok(found)
}

fn sources(options: &Options<'_>) -> Result<Vec<Source>, ConfigError> {
    let Some(items) = options.list("from")? else { return Ok(vec![Source::Header]) };
    let path = options.path_of("from");
    if items.is_empty() || items.len() > MAX_SOURCES {
        return Err(ConfigError::invalid(path, format!("must name 1 to {MAX_SOURCES} places"))
            .suggest("write ['header']"));
    }
    let mut sources = Vec::with_capacity(items.len());
    for (i, item) in items.iter().enumerate() {
        let source = source(&format!("{path}[{i}]"), item)?;
        if sources.contains(&source) {
            return Err(ConfigError::invalid(format!("{path}[{i}]"), "is there twice"));
        }
        sources.push(source);
    }
    Ok(sources)
}

fn source(path: &str, value: &Value) -> Result<Source, ConfigError> {
    if value.is_string() {
        return match string_at(path, value)? {
            "header" => Ok(Source::Header),
            _ => Err(ConfigError::invalid(path, KINDS)
                .suggest("write 'header' for the Authorization header")),
        };
    }
    let options = Options::read(path, value, &["header", "cookie", "query"])?;
    match (options.string("header")?, options.string("cookie")?, options.string("query")?) {
        (Some(name), None, None) => header(&options.path_of("header"), name),
        (None, Some(name), None) => cookie(&options.path_of("cookie"), name),
        (None, None, Some(name)) => query(&options.path_of("query"), name),
        _ => Err(ConfigError::invalid(path, KINDS).suggest("write { cookie: '__Host-token' }")),
    }
}

const KINDS: &str = "must be 'header', { header }, { cookie } or { query }";

/// The name of a header, in lower case.
fn header(path: &str, name: &str) -> Result<Source, ConfigError> {
    if name.len() > MAX_NAME || !is_token(name) {
        return Err(ConfigError::invalid(path, "must be the name of a header")
            .suggest("write a name such as 'x-goog-iap-jwt-assertion'"));
    }
    let name = name.to_ascii_lowercase();
    if matches!(&*name, "authorization" | "cookie" | "dpop") {
        return Err(ConfigError::invalid(path, "has a reader of its own")
            .suggest("write 'header' for Authorization, { cookie } for a cookie"));
    }
    if is_reserved_header(&name) {
        return Err(ConfigError::invalid(path, "is set by browsers, proxies or HTTP itself")
            .suggest("write a name such as 'x-goog-iap-jwt-assertion'"));
    }
    Ok(Source::Named(name))
}

fn cookie(path: &str, name: &str) -> Result<Source, ConfigError> {
    let suggestion = "write a name such as '__Host-token', and set the cookie with Secure, HttpOnly, SameSite and Path=/";
    let Some(rest) = name.strip_prefix(HOST_PREFIX) else {
        return Err(ConfigError::invalid(
            path,
            "must start with '__Host-': any other cookie can be set by other hosts of the domain and over plain http",
        )
        .suggest(suggestion));
    };
    // RFC 6265 section 4.1.1: the name is an HTTP token.
    if name.len() > MAX_NAME || !is_token(rest) {
        return Err(ConfigError::invalid(path, "must be the name of a cookie").suggest(suggestion));
    }
    Ok(Source::Cookie(name.to_owned()))
}

fn query(path: &str, name: &str) -> Result<Source, ConfigError> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if name.is_empty() || name.len() > MAX_NAME || !name.bytes().all(fits) {
        return Err(ConfigError::invalid(
            path,
            "must be 1 to 128 letters, digits, '-', '_' or '.'",
        )
        .suggest("write 'access_token'"));
    }
    Ok(Source::Query(name.to_owned()))
}
