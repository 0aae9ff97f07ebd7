//! The compact form of signed tokens (RFC 7515) and the dates in them (RFC 7519 section 2), for
//! access tokens and proofs.

mod compact;
mod date;
mod header;

pub(crate) use compact::MAX_TOKEN_BYTES;
pub(crate) use compact::{Compact, Malformed};
pub(crate) use date::{DateError, date};
pub(crate) use header::Header;
