//! The error of a fetch from an issuer.

use std::fmt;

/// The reason why a fetch returned no keys. It never repeats text of the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum FetchError {
    /// It did not answer in time.
    Timeout,
    /// It could not be reached.
    Network,
    /// Its certificate was not accepted.
    Tls,
    /// It redirected, and redirects are not followed.
    Redirect,
    /// It answered with a status other than 200, or with an unexpected 304.
    Status(u16),
    /// It answered with more than 256 KiB.
    TooLarge,
    /// The answer is not a JWK set, or not one unambiguous JSON object.
    Malformed,
    /// Its metadata is for another issuer.
    Issuer,
    /// Its metadata has no acceptable `jwks_uri`.
    SetUrl,
    /// Its set was refused.
    Set(String),
}

impl FetchError {
    /// The name of the error in `guard.health()`.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Network => "network",
            Self::Tls => "tls",
            Self::Redirect => "redirect",
            Self::Status(_) => "status",
            Self::TooLarge => "too-large",
            Self::Malformed => "malformed",
            Self::Issuer => "issuer",
            Self::SetUrl => "jwks-uri",
            Self::Set(_) => "set",
        }
    }

    /// Parses the name of an error from the JavaScript host. Unknown names count as network errors.
    #[must_use]
    pub fn from_kind(kind: &str) -> Self {
        match kind {
            "timeout" => Self::Timeout,
            "tls" => Self::Tls,
            "redirect" => Self::Redirect,
            "too-large" => Self::TooLarge,
            _ => Self::Network,
        }
    }
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Timeout => f.write_str("it did not answer in time"),
            Self::Network => f.write_str("it can't be reached"),
            Self::Tls => f.write_str(
                "its certificate is not accepted; NODE_EXTRA_CA_CERTS names further authorities",
            ),
            Self::Redirect => f.write_str("it redirects, and redirects are not followed"),
            Self::Status(status) => write!(f, "it answered with status {status}"),
            Self::TooLarge => f.write_str("it answered with more than 256 KiB"),
            Self::Malformed => {
                f.write_str("its answer is no JSON object of the right form, or has a member twice")
            }
            Self::Issuer => f.write_str("its metadata names another issuer"),
            Self::SetUrl => f.write_str("its metadata has no `jwks_uri` with https"),
            Self::Set(problem) => write!(f, "its key set {problem}"),
        }
    }
}
