//! The headers for the shim to set.

/// The changes to responses, fixed when the guard is built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderSet {
    /// On every response: name and value, sorted by name, no name twice.
    pub always: Vec<(String, String)>,
    /// On responses to secure requests only: `Strict-Transport-Security`. RFC 6797 section 7.2
    /// forbids it elsewhere.
    pub secure: Vec<(String, String)>,
    /// Names of headers to remove from every response, in lower case, sorted. Always has
    /// `x-powered-by`.
    pub remove: Vec<String>,
    /// The policy that needs a fresh nonce for each response, if `csp.nonce` is on. It is then not
    /// in `always`.
    pub nonce: Option<NonceHeader>,
}

/// A `Content-Security-Policy` with gaps for the nonce.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NonceHeader {
    /// The header's name.
    pub name: String,
    /// The text before, between and after the nonces: always two parts or more.
    pub parts: Vec<String>,
}

impl NonceHeader {
    /// The header's value for one response. `nonce` is base64 of 16 random bytes, and is never
    /// reused.
    #[must_use]
    pub fn value(&self, nonce: &str) -> String {
        self.parts.join(nonce)
    }
}
