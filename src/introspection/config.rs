//! The option `introspection` of an issuer, validated once.

use std::borrow::Cow;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use url::form_urlencoded::byte_serialize;

use crate::config::options::{Options, string_at};
use crate::error::{ConfigCode, ConfigError};
use crate::remote_keys::{RequestHeaders, request_to};

const KNOWN: [&str; 10] = [
    "url",
    "headers",
    "allowHttp",
    "clientId",
    "clientSecret",
    "cacheFor",
    "timeout",
    "jwts",
    "iss",
    "tokenType",
];
const DEFAULT_CACHE_FOR: Duration = Duration::from_secs(10);
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(2);
const MAX_CREDENTIAL: usize = 1024;

/// The introspection endpoint of an issuer, and the rules for its answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub(super) url: String,
    /// All request headers, the credentials too.
    pub(super) headers: RequestHeaders,
    /// How long an answer is used.
    pub(super) cache_for: Duration,
    /// How long the endpoint may take for its whole answer, and a token may wait for its turn.
    pub(super) timeout: Duration,
    /// Whether it is asked about JWTs of this issuer, too.
    pub(crate) takes_jwts: bool,
    /// Whether an answer must have `iss`.
    pub(crate) needs_iss: bool,
    /// Whether an answer must have `token_type`.
    pub(crate) needs_token_type: bool,
}

impl Endpoint {
    /// Reads the option `introspection`, an object:
    ///
    /// - `url`: string, required: `https`, or `http` on this machine
    /// - `clientId` and `clientSecret`: strings: HTTP Basic credentials as RFC 6749 section 2.3.1
    ///   has them; or `headers`: up to 16 headers, or a function, which the edge calls
    /// - `allowHttp`: `true`: `http` in a private network, default false
    /// - `cacheFor`: duration from 1 s to 5 m, default 10 s
    /// - `timeout`: duration from 100 ms to 10 s, default 2 s
    /// - `jwts`: `true`: JWTs of this issuer are introspected, too, default false
    /// - `iss`: `'required'` (default) or `'optional'`: whether an answer must name the issuer
    /// - `tokenType`: `'required'` (default) or `'optional'`: whether it must have `token_type`
    pub(crate) fn parse(parent: &Options<'_>) -> Result<Option<Self>, ConfigError> {
        let Some(value) = parent.get("introspection") else { return Ok(None) };
        let options = Options::read(parent.path_of("introspection"), value, &KNOWN)?;
        let (url, own) = request_to(&options, "the URL of the introspection endpoint")?;
        let second = Duration::from_secs(1);
        let cache_for = options.duration("cacheFor", second..=300 * second)?;
        let timeout = options.duration("timeout", second / 10..=10 * second)?;
        let needs = |key: &str| {
            let words = [("required", true), ("optional", false)];
            Ok(options.one_of(key, &words)?.unwrap_or(true))
        };
        let mut headers = own;
        headers.0.extend(credentials(&options)?.map(|basic| ("authorization".to_owned(), basic)));
        for (name, value) in
            [("accept", "application/json"), ("content-type", "application/x-www-form-urlencoded")]
        {
            headers.0.retain(|(other, _)| other != name);
            headers.0.push((name.to_owned(), value.to_owned()));
        }
        Ok(Some(Self {
            url,
            headers,
            cache_for: cache_for.unwrap_or(DEFAULT_CACHE_FOR),
            timeout: timeout.unwrap_or(DEFAULT_TIMEOUT),
            takes_jwts: options.bool("jwts")?.unwrap_or(false),
            needs_iss: needs("iss")?,
            needs_token_type: needs("tokenType")?,
        }))
    }
}

/// The value of `Authorization`; `None` where `headers` has the credentials. Without any, everyone
/// could ask the endpoint about tokens (RFC 7662 section 2.1), so no endpoint allows that.
fn credentials(options: &Options<'_>) -> Result<Option<String>, ConfigError> {
    if options.has("headers") {
        return match ["clientId", "clientSecret"].into_iter().find(|key| options.has(key)) {
            None => Ok(None),
            Some(key) => Err(ConfigError::new(
                ConfigCode::ConflictingOptions,
                options.path_of(key),
                "can't stand beside `headers`, which has the credentials",
            )
            .suggest("leave one of them out")),
        };
    }
    let why = "what this API is called at the issuer; or write `headers` with other credentials";
    let [id, secret] = [("clientId", why), ("clientSecret", "the secret of that client")]
        .map(|(key, why)| credential(options, key, why));
    Ok(Some(format!("Basic {}", STANDARD.encode(format!("{}:{}", id?, secret?)))))
}

fn credential(options: &Options<'_>, key: &str, why: &str) -> Result<String, ConfigError> {
    let text = string_at(&options.path_of(key), options.require(key, why)?)?;
    if text.is_empty() || text.len() > MAX_CREDENTIAL || text.chars().any(char::is_control) {
        let problem = format!("must be 1 to {MAX_CREDENTIAL} bytes without control characters");
        return Err(options.invalid(key, problem));
    }
    Ok(form_encoded(text).into_owned())
}

/// A text as a value of `application/x-www-form-urlencoded`.
pub(super) fn form_encoded(text: &str) -> Cow<'_, str> {
    byte_serialize(text.as_bytes()).collect::<String>().into()
}
