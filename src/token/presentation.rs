//! The places where a request may carry a token, and the proofs that must come with it.

use serde_json::Value;

use crate::binding::Nonces;
use crate::config::options::{Options, Switch, string_at};
use crate::error::{ConfigCode, ConfigError};
use crate::net::is_token;
use crate::request::{Request, decode_segment};
use crate::token::credentials::{Scheme, credentials};
use crate::token::denial::TokenError;

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
    /// Whether it came in the `Authorization` header. A cross-site page cannot make a browser send
    /// that header. It can make a browser send cookies, and it chooses the query freely.
    pub in_header: bool,
}

impl TokenSources {
    /// Reads `from`, `dpop` and `dpopNonce` of the option `jwt`.
    pub(super) fn parse(options: &Options<'_>) -> Result<Self, ConfigError> {
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
        Ok(Self { sources, dpop, nonces })
    }

    /// The names of query parameters that may carry a token.
    pub fn query_names(&self) -> impl Iterator<Item = &str> {
        self.sources.iter().filter_map(|source| match source {
            Source::Query(name) => Some(name.as_str()),
            _ => None,
        })
    }

    /// Whether a token may come in a cookie.
    #[must_use]
    pub fn takes_cookies(&self) -> bool {
        self.sources.iter().any(|source| matches!(source, Source::Cookie(_)))
    }

    /// The scheme of the challenge if no token came.
    #[must_use]
    pub fn scheme(&self) -> Scheme {
        if self.dpop == DpopMode::Required { Scheme::Dpop } else { Scheme::Bearer }
    }

    /// The token of a request; `None` if no place has one.
    ///
    /// # Errors
    /// [`TokenError::Ambiguous`] if there are several tokens, in two places or in one. RFC 6750
    /// section 2 allows one, and choosing would be a guess. [`TokenError::Missing`] if the
    /// credentials have another scheme.
    pub fn find<'r>(&self, request: &'r Request) -> Result<Option<PresentedToken<'r>>, TokenError> {
        let mut found = None;
        for source in &self.sources {
            let token =
                match source {
                    Source::Header => self.in_header(request)?,
                    Source::Cookie(name) => in_cookies(request, name)?.map(|token| {
                        PresentedToken { token, scheme: Scheme::Bearer, in_header: false }
                    }),
                    Source::Query(name) => in_query(request, name)?.map(|token| PresentedToken {
                        token,
                        scheme: Scheme::Bearer,
                        in_header: false,
                    }),
                };
            match (token, found.is_some()) {
                (Some(_), true) => return Err(TokenError::Ambiguous),
                (Some(_), false) => found = token,
                (None, _) => {}
            }
        }
        Ok(found)
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
        Ok(Some(PresentedToken { token, scheme, in_header: true }))
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
            _ => Err(ConfigError::invalid(path, "must be 'header', { cookie } or { query }")
                .suggest("write 'header' for the Authorization header")),
        };
    }
    let options = Options::read(path, value, &["cookie", "query"])?;
    match (options.string("cookie")?, options.string("query")?) {
        (Some(name), None) => cookie(&options.path_of("cookie"), name),
        (None, Some(name)) => query(&options.path_of("query"), name),
        _ => Err(ConfigError::invalid(path, "must be 'header', { cookie } or { query }")
            .suggest("write { cookie: '__Host-token' }")),
    }
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
