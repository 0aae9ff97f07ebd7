//! Why there is no key for a token.

use std::sync::Arc;

use super::remote::RemoteKeys;

/// Why a token's header leads to no key.
#[derive(Debug)]
pub enum KeyError {
    /// No key has its `kid`, or that key may not be used now.
    Unknown,
    /// Its `alg` is not that of the key.
    Algorithm,
    /// Nobody knows: the keys of the issuer could not be had.
    Unavailable,
    /// The issuer is being asked for its keys; the token may be good.
    Pending(Arc<RemoteKeys>),
}
