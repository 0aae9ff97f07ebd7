//! The proxies whose forwarded headers are trusted.

use std::net::IpAddr;

use ipnet::IpNet;

/// The proxies whose forwarded headers are trusted: `trustedProxies`.
#[derive(Debug, Default, Clone)]
pub struct TrustedProxies {
    networks: Vec<IpNet>,
    unix: bool,
    /// Whether the option is set; an empty list means that there are no proxies.
    pub(crate) known: bool,
}

impl TrustedProxies {
    /// The networks in CIDR form; a single address is a network of one. `unix` is true if a peer
    /// without an address, as on a Unix socket, is a proxy too.
    #[must_use]
    pub fn new(networks: Vec<IpNet>, unix: bool) -> Self {
        Self { networks, unix, known: true }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.networks.is_empty() && !self.unix
    }

    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(&address))
    }

    pub(crate) fn trusts(&self, peer: Option<IpAddr>) -> bool {
        peer.map_or(self.unix, |address| self.contains(address))
    }
}
