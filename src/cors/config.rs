//! The checked CORS options, with every fixed header value already written.

use std::collections::HashSet;

use foldhash::fast::RandomState;
use serde_json::Value;

use super::names::{exposed_header, method, no_duplicates, request_header};
use crate::config::options::{Options, is_function, string_at};
use crate::error::{ConfigCode, ConfigError};
use crate::net::origin::{self, OriginError};

/// Chromium keeps no preflight longer than this.
const DEFAULT_MAX_AGE: u64 = 7200;
/// Firefox's limit, the longest of any browser.
const MAX_MAX_AGE: u64 = 86_400;
/// The maximum number of headers in one preflight.
const MAX_HEADERS: usize = super::request_headers::MAX_ELEMENTS;

type Set = HashSet<Box<str>, RandomState>;

/// A checked CORS configuration, ready to judge requests: see [`Cors::judge`].
#[derive(Debug, Clone)]
pub struct Cors {
    pub(super) origins: Origins,
    pub(super) credentials: bool,
    pub(super) methods: Vec<String>,
    pub(super) allow_methods: Box<str>,
    /// Lower case, sorted.
    pub(super) request_headers: Vec<Box<str>>,
    /// `None` if no header is allowed.
    pub(super) allow_headers: Option<Box<str>>,
    pub(super) expose_headers: Option<Box<str>>,
    pub(super) max_age: Box<str>,
}

/// The origins that get CORS headers.
#[derive(Debug, Clone)]
pub(super) enum Origins {
    /// `['*']`: every page, without credentials.
    Any,
    /// The listed origins.
    Listed(Listed),
    /// The user's function decides.
    Function,
}

/// Exact origins, and for each wildcard the text after its first dot, by scheme.
#[derive(Debug, Clone, Default)]
pub(super) struct Listed {
    exact: Set,
    below_https: Set,
    below_http: Set,
    /// Origins of this machine whose port does not matter, without it.
    any_port: Set,
}

impl Listed {
    /// Whether `origin`, as the request claims it, is in the list. A malformed `origin` matches
    /// nothing, because the stored origins are well-formed.
    pub(super) fn has(&self, origin: &str) -> bool {
        if self.exact.contains(origin) || self.has_any_port(origin) {
            return true;
        }
        let (rest, below) = if let Some(rest) = origin.strip_prefix("https://") {
            (rest, &self.below_https)
        } else if let Some(rest) = origin.strip_prefix("http://") {
            (rest, &self.below_http)
        } else {
            return false;
        };
        !below.is_empty()
            && rest
                .split_once('.')
                .is_some_and(|(label, domain)| origin::is_label(label) && below.contains(domain))
    }

    fn has_any_port(&self, origin: &str) -> bool {
        if self.any_port.is_empty() {
            return false;
        }
        let scheme = origin.split_once(':').map_or("", |(scheme, _)| scheme);
        let has_port = |(base, port)| self.any_port.contains(base) && origin::is_port(scheme, port);
        self.any_port.contains(origin) || origin.rsplit_once(':').is_some_and(has_port)
    }

    fn add(&mut self, pattern: &origin::Pattern<'_>, text: &str) -> bool {
        if !pattern.wildcard {
            return self.exact.insert(text.into());
        }
        let domain = match pattern.port {
            Some(port) => format!("{}:{port}", pattern.host),
            None => pattern.host.to_owned(),
        };
        let below =
            if pattern.scheme == "https" { &mut self.below_https } else { &mut self.below_http };
        below.insert(domain.into())
    }
}

impl Cors {
    /// Reads `CorsOptions`:
    ///
    /// * `origins` (required): a list of origins such as `https://app.example.com`,
    ///   `http://localhost:3000` or `https://*.example.com` (the star is exactly one label), or
    ///   `http://localhost:*` for any port on this machine; or
    ///   `['*']`, without credentials; or a function
    /// * `credentials`: whether requests may carry cookies and client certificates. Default false
    /// * `methods`: the methods that a preflight may request. Default
    ///   `GET, HEAD, PUT, PATCH, POST, DELETE`
    /// * `requestHeaders`: the headers that a preflight may request. Default `authorization` and
    ///   `content-type`
    /// * `exposeHeaders`: response headers that pages may read, in addition to the CORS-safelisted
    ///   ones. Default `readable`, the headers that show the state of limits, and `Retry-After`, so
    ///   that a page can wait before it tries again
    /// * `maxAge`: how long a browser caches the answer to a preflight, in seconds, 0 to 86400.
    ///   Default 7200
    ///
    /// `path` is the path of the options, `cors`.
    pub fn parse(path: &str, value: &Value, readable: &[&str]) -> Result<Self, ConfigError> {
        let known =
            ["origins", "credentials", "methods", "requestHeaders", "exposeHeaders", "maxAge"];
        let options = Options::read(path, value, &known)?;
        let credentials = options.bool("credentials")?.unwrap_or(false);
        let origins = origins(&options, credentials)?;
        let methods = methods(&options)?;
        let mut request_headers = header_names(&options, "requestHeaders", request_header)?
            .unwrap_or_else(|| vec!["authorization".to_owned(), "content-type".to_owned()]);
        request_headers.sort_unstable();
        let expose_headers = header_names(&options, "exposeHeaders", exposed_header)?
            .unwrap_or_else(|| {
                [readable, &["Retry-After"]].concat().into_iter().map(str::to_owned).collect()
            });
        let max_age = options.integer("maxAge", 0..=MAX_MAX_AGE).map_err(|error| {
            error.suggest(format!("write seconds, such as {DEFAULT_MAX_AGE} for two hours"))
        })?;
        Ok(Self {
            origins,
            credentials,
            allow_methods: methods.join(",").into(),
            methods,
            allow_headers: joined(&request_headers),
            request_headers: request_headers.into_iter().map(Into::into).collect(),
            expose_headers: joined(&expose_headers),
            max_age: max_age.unwrap_or(DEFAULT_MAX_AGE).to_string().into(),
        })
    }
}

fn joined(names: &[String]) -> Option<Box<str>> {
    (!names.is_empty()).then(|| names.join(",").into())
}

fn origins(options: &Options<'_>, credentials: bool) -> Result<Origins, ConfigError> {
    let value = options
        .require(
            "origins",
            "there is no default, since a page of a listed origin reads every answer",
        )
        .map_err(|error| {
            error.suggest("write a list such as ['https://app.example.com'], or cors: false")
        })?;
    if is_function(value) {
        return Ok(Origins::Function);
    }
    let path = options.path_of("origins");
    let Some(items) = value.as_array() else {
        return Err(ConfigError::invalid(path, "must be a list of origins or a function")
            .suggest("write a list such as ['https://app.example.com']"));
    };
    if items.is_empty() {
        return Err(ConfigError::invalid(path, "must not be empty")
            .suggest("write cors: false where no other origin may read the answers"));
    }
    if items.iter().any(|item| item == "*") {
        return any_origin(&path, items.len(), credentials);
    }
    let mut listed = Listed::default();
    for (i, item) in items.iter().enumerate() {
        let path = format!("{path}[{i}]");
        let text = string_at(&path, item)?;
        let as_error = |fault: OriginError| {
            ConfigError::invalid(&path, fault.problem).suggest(fault.suggestion)
        };
        if let Some(any_port) = origin::parse_any_port(text) {
            if !listed.any_port.insert(any_port.map_err(as_error)?.into()) {
                return Err(conflict(path, "is listed twice").suggest("leave out one of the two"));
            }
            continue;
        }
        let pattern = origin::parse(text).map_err(as_error)?;
        if credentials && pattern.is_insecure() {
            return Err(conflict(
                path,
                "must be https beside credentials: who can change a plain http page could use the user's session",
            )
            .suggest("write 'https://', or leave out credentials; http is for localhost, 127.0.0.1 and [::1] only"));
        }
        if !listed.add(&pattern, text) {
            return Err(conflict(path, "is listed twice").suggest("leave out one of the two"));
        }
    }
    Ok(Origins::Listed(listed))
}

fn any_origin(path: &str, items: usize, credentials: bool) -> Result<Origins, ConfigError> {
    if items > 1 {
        return Err(conflict(path, "has '*' beside other origins")
            .suggest("write ['*'] alone, or the origins without it"));
    }
    if credentials {
        return Err(conflict(
            path,
            "must not be '*' beside credentials: browsers refuse the answer, and any page could read the user's data",
        )
        .suggest("list the origins that are meant, or leave out credentials"));
    }
    Ok(Origins::Any)
}

fn conflict(path: impl Into<String>, problem: &str) -> ConfigError {
    ConfigError::new(ConfigCode::ConflictingOptions, path, problem)
}

fn methods(options: &Options<'_>) -> Result<Vec<String>, ConfigError> {
    let Some(items) = options.strings("methods")? else {
        return Ok(["GET", "HEAD", "PUT", "PATCH", "POST", "DELETE"].map(str::to_owned).into());
    };
    let path = options.path_of("methods");
    if items.is_empty() {
        return Err(ConfigError::invalid(path, "must not be empty")
            .suggest("leave it out for GET, HEAD, PUT, PATCH, POST and DELETE"));
    }
    for (i, item) in items.iter().enumerate() {
        method(&format!("{path}[{i}]"), item)?;
    }
    let methods: Vec<String> = items.into_iter().map(str::to_owned).collect();
    no_duplicates(&path, &methods)?;
    Ok(methods)
}

fn header_names(
    options: &Options<'_>,
    key: &str,
    judge: fn(&str, &str) -> Result<String, ConfigError>,
) -> Result<Option<Vec<String>>, ConfigError> {
    let Some(items) = options.strings(key)? else { return Ok(None) };
    let path = options.path_of(key);
    if items.len() > MAX_HEADERS {
        return Err(ConfigError::invalid(path, format!("must have at most {MAX_HEADERS} names")));
    }
    let names = items
        .iter()
        .enumerate()
        .map(|(i, item)| judge(&format!("{path}[{i}]"), item))
        .collect::<Result<Vec<_>, _>>()?;
    no_duplicates(&path, &names)?;
    Ok(Some(names))
}
