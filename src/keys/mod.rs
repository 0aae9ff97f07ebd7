//! Keys: their parts, their strength, and the choice of the key for a token.
//!
//! `material` and `jwk` read keys, and `strength` refuses weak ones. A [`Key`](key::Key) has
//! exactly one algorithm. `ring` holds the keys of an issuer and finds the one that a header names.
//! [`SealKey`] seals session records.

pub(crate) mod algorithm;
mod error;
pub(crate) mod jwk;
pub(crate) mod key;
pub(crate) mod key_options;
pub(crate) mod material;
pub(crate) mod ring;
pub(crate) mod seal;
pub(crate) mod strength;

pub use algorithm::Algorithm;
pub use error::KeyError;
pub use seal::{SEAL_BYTES, SealKey, Seals};
