//! The error of a key lookup.

/// The reason why no key fits the header of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyError {
    /// No key has its `kid`, or that key is not usable now.
    Unknown,
    /// Its `alg` differs from the algorithm of the key.
    Algorithm,
    /// The issuer's keys could not be fetched or read.
    Unavailable,
}
