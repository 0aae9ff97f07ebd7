//! Keys: what they are made of, how strong they are, and which of them a token belongs to.
//!
//! `material` and `jwk` read keys, `strength` refuses weak ones, and a [`Key`](key::Key) has one
//! algorithm for good. `ring` holds keys of an issuer and finds the one that a header names;
//! [`SealKey`] seals the records of sessions.

pub(crate) mod algorithm;
mod error;
pub(crate) mod jwk;
pub(crate) mod key;
pub(crate) mod key_options;
pub(crate) mod key_set;
pub(crate) mod material;
pub(crate) mod ring;
pub(crate) mod seal;
pub(crate) mod strength;

pub use algorithm::Algorithm;
pub use error::KeyError;
pub use key_set::LeftOut;
pub use seal::{SEAL_BYTES, SealKey, Seals};
