//! The decision about one request. Its header values were written when the guard was built.

use super::config::{Cors, Origins};
use super::request_headers;
use crate::net::origin;

/// The answer depends on `Origin`.
const VARY_ORIGIN: &str = "Origin";
/// All three headers decide whether an `OPTIONS` request is a preflight and whether it is allowed.
const VARY_OPTIONS: &str = "Origin, Access-Control-Request-Method, Access-Control-Request-Headers";

/// The input of a CORS decision. Header values are as in Node: lines of one name are joined by
/// `, `.
#[derive(Debug, Clone, Copy, Default)]
pub struct CorsRequest<'a> {
    /// The request's method, case unchanged.
    pub method: &'a str,
    /// `Origin`.
    pub origin: Option<&'a str>,
    /// `Access-Control-Request-Method`.
    pub request_method: Option<&'a str>,
    /// `Access-Control-Request-Headers`.
    pub request_headers: Option<&'a str>,
    /// The result of the user's function for the origin from [`Cors::asks`]. `None` counts as
    /// false.
    pub callback_verdict: Option<bool>,
}

/// The responder to the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CorsKind {
    /// The next layer, with these headers set.
    Continue,
    /// This layer, at once: a preflight. 204 if allowed, 403 if not; no body.
    Preflight {
        /// The response status.
        status: u16,
    },
}

/// The reason for a refusal of a cross-origin request. It is for logs and metrics: the client gets
/// only the status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CorsError {
    /// The origin is not listed, or the function did not return true.
    Origin,
    /// A preflight requests a method that is not allowed.
    Method,
    /// A preflight requests a header that is not allowed, or its list is malformed.
    Header,
}

impl CorsError {
    /// The stable code, e.g. `cors_origin`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Origin => "cors_origin",
            Self::Method => "cors_method",
            Self::Header => "cors_header",
        }
    }
}

/// The CORS decision about one request. It borrows every value and allocates nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CorsAnswer<'a> {
    /// The responder.
    pub kind: CorsKind,
    /// The reason, if refused.
    pub denied: Option<CorsError>,
    vary: Option<&'static str>,
    allow_origin: Option<&'a str>,
    allow_credentials: bool,
    /// On an allowed preflight.
    allow_methods: Option<&'a str>,
    allow_headers: Option<&'a str>,
    max_age: Option<&'a str>,
    /// On every other request.
    expose_headers: Option<&'a str>,
}

impl<'a> CorsAnswer<'a> {
    /// The response headers, at most six. Append `Vary` to the existing value; set the others.
    pub fn headers(&self) -> impl Iterator<Item = (&'static str, &'a str)> {
        [
            ("Vary", self.vary),
            ("Access-Control-Allow-Origin", self.allow_origin),
            ("Access-Control-Allow-Credentials", self.allow_credentials.then_some("true")),
            ("Access-Control-Allow-Methods", self.allow_methods),
            ("Access-Control-Allow-Headers", self.allow_headers),
            ("Access-Control-Max-Age", self.max_age),
            ("Access-Control-Expose-Headers", self.expose_headers),
        ]
        .into_iter()
        .filter_map(|(name, value)| value.map(|value| (name, value)))
    }

    fn empty(vary: Option<&'static str>) -> Self {
        Self {
            kind: CorsKind::Continue,
            denied: None,
            vary,
            allow_origin: None,
            allow_credentials: false,
            allow_methods: None,
            allow_headers: None,
            max_age: None,
            expose_headers: None,
        }
    }

    fn refuse(mut self, why: CorsError, preflight: bool) -> Self {
        self.denied = Some(why);
        if preflight {
            self.kind = CorsKind::Preflight { status: 403 };
        }
        self
    }
}

impl Cors {
    /// Whether the user's function decides about origins.
    #[must_use]
    pub fn has_function(&self) -> bool {
        matches!(self.origins, Origins::Function)
    }

    /// The origin to pass to the user's function before [`Cors::judge`]. `None` if there is no
    /// function or no `Origin`, or if the origin is refused regardless of the function: `null`, not
    /// an origin, or plain http with credentials.
    #[must_use]
    pub fn asks<'a>(&self, origin: Option<&'a str>) -> Option<&'a str> {
        let origin = origin.filter(|_| matches!(self.origins, Origins::Function))?;
        let pattern = origin::parse(origin).ok()?;
        let refused = pattern.wildcard || self.credentials && pattern.is_insecure();
        (!refused).then_some(origin)
    }

    /// Judges a request. Without `Origin`, and unless `origins` is `['*']`, the answer is `Vary`
    /// alone.
    #[must_use]
    pub fn judge<'a>(&'a self, request: &CorsRequest<'a>) -> CorsAnswer<'a> {
        let mut answer = CorsAnswer::empty(self.vary(request.method));
        let preflight = match (request.method, request.origin, request.request_method) {
            ("OPTIONS", Some(_), Some(method)) => Some(method),
            _ => None,
        };
        if request.origin.is_none() && !matches!(self.origins, Origins::Any) {
            return answer;
        }
        let Some(allow_origin) = self.allow_origin(request) else {
            return answer.refuse(CorsError::Origin, preflight.is_some());
        };
        if let Some(method) = preflight {
            if !self.methods.iter().any(|allowed| allowed == method) {
                return answer.refuse(CorsError::Method, true);
            }
            let asked = request.request_headers.unwrap_or_default();
            if !request_headers::all_allowed(asked, &self.request_headers) {
                return answer.refuse(CorsError::Header, true);
            }
            answer.kind = CorsKind::Preflight { status: 204 };
            answer.allow_methods = Some(&self.allow_methods);
            answer.allow_headers = self.allow_headers.as_deref();
            answer.max_age = Some(&self.max_age);
        } else {
            answer.expose_headers = self.expose_headers.as_deref();
        }
        answer.allow_origin = Some(allow_origin);
        answer.allow_credentials = self.credentials;
        answer
    }

    /// Whether pages of this origin may open a socket, which no CORS header guards. `ambient` is
    /// whether the request carries a credential that its sender did not add, such as a cookie.
    /// `callback_verdict` is as in [`CorsRequest`].
    #[must_use]
    pub fn admits_handshake(
        &self,
        origin: Option<&str>,
        ambient: bool,
        callback_verdict: Option<bool>,
    ) -> bool {
        let request = CorsRequest { origin, callback_verdict, ..CorsRequest::default() };
        origin.is_some() && (self.credentials || !ambient) && self.allow_origin(&request).is_some()
    }

    /// Also set if the request has no `Origin`, since a cache may serve the answer to another
    /// origin.
    fn vary(&self, method: &str) -> Option<&'static str> {
        match (method, &self.origins) {
            ("OPTIONS", _) => Some(VARY_OPTIONS),
            (_, Origins::Any) => None,
            _ => Some(VARY_ORIGIN),
        }
    }

    fn allow_origin<'a>(&self, request: &CorsRequest<'a>) -> Option<&'a str> {
        let origin = request.origin;
        match &self.origins {
            Origins::Any => Some("*"),
            Origins::Listed(listed) => origin.filter(|origin| listed.has(origin)),
            Origins::Function => {
                self.asks(origin).filter(|_| request.callback_verdict == Some(true))
            }
        }
    }
}
