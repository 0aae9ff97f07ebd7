//! The result: headers as the shim sets them.

/// What to put on responses, fixed when the guard is built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderSet {
    /// On every response: name and value, sorted by name, no name twice.
    pub always: Vec<(String, String)>,
    /// On responses to secure requests only: `Strict-Transport-Security`. RFC 6797 section 7.2
    /// forbids it elsewhere.
    pub secure: Vec<(String, String)>,
    /// Names to take off every response, in lower case, sorted. Always has `x-powered-by`.
    pub remove: Vec<String>,
    /// The policy that needs a fresh nonce for each response, where `csp.nonce` is on; it is not in
    /// `always` then.
    pub nonce: Option<NonceHeader>,
}

/// A `Content-Security-Policy` with gaps for the nonce.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NonceHeader {
    /// The header's name.
    pub name: String,
    /// The text before, between and after the places of the nonce: always two or more.
    pub parts: Vec<String>,
}

impl NonceHeader {
    /// The header's value for one response. `nonce` is base64 of 16 random bytes, never used
    /// before.
    #[must_use]
    pub fn value(&self, nonce: &str) -> String {
        self.parts.join(nonce)
    }
}
