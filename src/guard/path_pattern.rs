//! Paths in options of the guard: `'/health'`, `'POST /v1/login'`, `'/docs/*'`.
//!
//! A pattern matches the path as sent, byte by byte. It grants something, so a spelling that it
//! misses is safe, and one that it had too much would open another route. So case and a trailing
//! slash count, and `/a%2Ejson` is not `/a.json`: Express runs another handler for it.

use crate::error::ConfigError;
use crate::request::sendable;

/// The longest method, as in the options of limits.
const MAX_METHOD: usize = 32;

/// A method, and a path or everything below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PathPattern {
    /// `None`: every method. `GET` includes `HEAD`.
    method: Option<String>,
    /// Without the star.
    path: String,
    /// Whether everything below the path is meant as well.
    below: bool,
}

/// The advice of an option, in its error messages.
#[derive(Debug, Clone, Copy)]
pub(super) struct Advice {
    /// For a text that is no pattern.
    pub(super) example: &'static str,
    /// The problem with `'/*'`, and what to write instead.
    pub(super) everything: (&'static str, &'static str),
}

impl PathPattern {
    /// Reads the text of an entry, which stands at `at`.
    ///
    /// # Errors
    /// A text that is no path, a spelling that no request can have, and a pattern of every path.
    pub(super) fn parse(at: &str, text: &str, advice: Advice) -> Result<Self, ConfigError> {
        let error = |problem: &str| Err(ConfigError::invalid(at, problem).suggest(advice.example));
        let (method, path) = match text.split_once(' ') {
            Some((method, path)) => (Some(method), path),
            None => (None, text),
        };
        let is_letter = |byte: u8| byte.is_ascii_uppercase() || byte == b'-';
        if let Some(method) = method
            && (method.is_empty() || method.len() > MAX_METHOD || !method.bytes().all(is_letter))
        {
            return error("must begin with a method in upper case and one blank, or with the path");
        }
        if !path.starts_with('/') {
            return error("must have a path that starts with '/'");
        }
        let below = path.ends_with("/*");
        let base = path.strip_suffix("/*").unwrap_or(path);
        if below && base.is_empty() {
            let (problem, instead) = advice.everything;
            return Err(ConfigError::invalid(at, problem).suggest(instead));
        }
        if base.contains(['*', '(', ')', '{', '}', '[', ']']) || base.contains("/:") {
            return error("must be a plain path, with '*' as its last segment or nowhere");
        }
        if base.contains(['?', '#']) {
            return error("must be a path without a query and a fragment");
        }
        if base.len() > 1 && base.ends_with('/') {
            return error("must not end with a slash: a request's path is compared as it was sent");
        }
        let is_sent = |raw: &str| sendable(raw).is_some_and(|text| !text.is_empty());
        if base != "/" && !base.split('/').skip(1).all(is_sent) {
            return error(
                "is a path that no request can have: write it as it is sent, in ASCII, without \
                 empty and dot segments and without encoded letters and slashes",
            );
        }
        Ok(Self { method: method.map(str::to_owned), path: base.to_owned(), below })
    }

    /// Whether it is about everything below its path, too.
    pub(super) fn is_below(&self) -> bool {
        self.below
    }

    pub(super) fn includes(&self, method: &str, path: &str) -> bool {
        self.takes_method(method) && self.takes_path(path)
    }

    fn takes_method(&self, method: &str) -> bool {
        let is_head_of_get = |wanted: &str| wanted == "GET" && method == "HEAD";
        self.method.as_deref().is_none_or(|wanted| wanted == method || is_head_of_get(wanted))
    }

    fn takes_path(&self, path: &str) -> bool {
        match path.strip_prefix(self.path.as_str()) {
            Some("") => true,
            Some(rest) => self.below && rest.starts_with('/'),
            None => false,
        }
    }

    /// Whether each request that `other` is about is one that this is about.
    pub(super) fn covers(&self, other: &Self) -> bool {
        let methods = match &other.method {
            Some(method) => self.takes_method(method),
            None => self.method.is_none(),
        };
        methods && self.takes_path(&other.path) && (self.below || !other.below)
    }
}
