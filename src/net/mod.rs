//! The formats of the network: addresses and networks, origins, percent-encoding, query strings,
//! HTTP tokens.

mod cidr;
mod client_key;
pub(crate) mod origin;
pub(crate) mod percent;
mod proxies;
pub(crate) mod query;

pub use cidr::{Cidr, CidrMap};
pub use client_key::ClientKey;
pub use proxies::TrustedProxies;

/// A token of RFC 9110 section 5.6.2.
pub(crate) fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}
