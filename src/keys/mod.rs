//! Keys: what they are made of, how strong they are, and which of them a token belongs to.
//!
//! `material` and `jwk` read keys, `strength` refuses weak ones, and a [`Key`](key::Key) has one
//! algorithm for good. `ring` holds the keys of an issuer and finds the one that a header names;
//! [`RemoteKeys`] fetches rings, [`Rotation`] makes keys one after the other, [`SealKey`] seals the
//! records of sessions.

pub(crate) mod algorithm;
mod error;
pub(crate) mod header;
pub(crate) mod jwk;
pub(crate) mod key;
pub(crate) mod key_options;
pub(crate) mod material;
pub(crate) mod remote;
pub(crate) mod ring;
pub(crate) mod rotation;
pub(crate) mod seal;
pub(crate) mod strength;

pub use algorithm::Algorithm;
pub use error::KeyError;
pub(crate) use header::Header;
pub use remote::{Fault, Fetch, Fetched, OperatorWarning, RemoteKeys, RemoteState, RemoteStatus};
pub use rotation::{Rotation, RotationConfig, RotationError, Storage, Turn};
pub use seal::{SEAL_BYTES, SealKey, Seals};
