//! The formats of the network: addresses and networks, origins, percent-encoding, query strings,
//! HTTP tokens.

mod cidr;
mod client_key;
pub(crate) mod origin;
pub(crate) mod percent;
mod proxies;
pub(crate) mod query;

pub use cidr::{Cidr, CidrMap};
pub use client_key::{ClientKey, Ipv6Prefix};
pub use proxies::TrustedProxies;

use std::net::IpAddr;

/// Whether an address is of a private network or of this machine: of RFC 1918, of RFC 6598, which
/// carriers and clusters share among themselves, or unique local (RFC 4193). Link-local addresses
/// are not: clouds serve credentials there.
pub(crate) fn is_private_network(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(ip) => {
            let [first, second, ..] = ip.octets();
            ip.is_private() || ip.is_loopback() || first == 100 && second & 0xc0 == 64
        }
        IpAddr::V6(ip) => ip.is_unique_local() || ip.is_loopback(),
    }
}

/// Whether a header can't carry credentials: a page may set it on a request to another site without
/// asking (the CORS-safelisted ones of the Fetch standard, section 2.2.2), or browsers, proxies and
/// HTTP itself write it.
pub(crate) fn is_reserved_header(lower: &str) -> bool {
    const NAMES: [&str; 24] = [
        "accept",
        "accept-charset",
        "accept-encoding",
        "accept-language",
        "connection",
        "content-encoding",
        "content-language",
        "content-length",
        "content-type",
        "date",
        "expect",
        "forwarded",
        "host",
        "keep-alive",
        "origin",
        "range",
        "referer",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "user-agent",
        "via",
        "x-real-ip",
    ];
    NAMES.contains(&lower)
        || ["sec-", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "access-control-"]
            .iter()
            .any(|start| lower.starts_with(start))
}

/// A token of RFC 9110 section 5.6.2.
pub(crate) fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}
