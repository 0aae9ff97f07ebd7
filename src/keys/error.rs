//! Why there is no key for a token.

/// Why a token's header leads to no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyError {
    /// No key has its `kid`.
    Unknown,
    /// The key is outside of its `notBefore` and `notAfter`, or was withdrawn.
    Time,
    /// Its `alg` is not that of the key.
    Algorithm,
    /// The keys of the issuer could not be fetched or read.
    Unavailable,
}
