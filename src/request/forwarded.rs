//! The facts that proxies add to a request: `X-Forwarded-For` and `X-Forwarded-Proto`, as far as
//! trusted proxies wrote them.

use std::net::{IpAddr, Ipv4Addr};

use super::{Naming, Request};
use crate::net::TrustedProxies;

impl Request {
    /// Applies the forwarded headers of trusted proxies: the client address, and whether the
    /// request came over TLS. The client is the rightmost address in `X-Forwarded-For` that is not
    /// a trusted proxy, since the client can forge everything left of it.
    pub(super) fn believe_proxies(&mut self, peer: Option<IpAddr>, trusted: &TrustedProxies) {
        if trusted.is_empty() {
            // A handshake bypasses the application of Express, whose `trust proxy` may name the
            // proxies.
            if self.naming == Naming::Clear
                && self.flags.handshake
                && !trusted.known
                && self.client.is_none()
                && self.header("x-forwarded-for").is_some()
            {
                self.naming = Naming::InDoubt;
            }
            // Express's own `trust proxy` has already decided.
            self.client = self.client.or(peer);
            return;
        }
        self.client = peer;
        self.naming = Naming::Clear;
        if !trusted.trusts(peer) {
            if self.header("x-forwarded-for").is_some() {
                self.naming = Naming::Outside;
            }
            return;
        }
        let mut client = Some(peer);
        // The number of proxies that the request has passed, by the addresses that they wrote.
        let mut depth = 0_usize;
        'walk: for (name, value) in self.headers.iter().rev() {
            if self.text(name) != "x-forwarded-for" {
                continue;
            }
            for hop in self.text(value).rsplit(',') {
                depth += 1;
                // This hop must not be confused with the proxy that wrote it.
                let address = parse_address(hop.trim());
                client = address.map(Some);
                if !address.is_some_and(|address| trusted.contains(address)) {
                    break 'walk;
                }
            }
        }
        if client.is_none() {
            self.naming = Naming::Unreadable;
        }
        self.client = client.flatten();
        if let Some(proto) = self.forwarded_proto(depth) {
            // Some proxies write the scheme of a WebSocket.
            self.secure = proto.eq_ignore_ascii_case("https") || proto.eq_ignore_ascii_case("wss");
        }
    }

    /// The entry of `X-Forwarded-Proto` that the first trusted proxy wrote: the entry at `depth`
    /// from the right, since the client can forge everything left of it. Proxies that replace the
    /// header, or pass it on, leave fewer entries: the first one counts then, and where they wrote
    /// no addresses (`depth` is 0).
    fn forwarded_proto(&self, depth: usize) -> Option<&str> {
        let mut first = None;
        let mut passed = 0_usize;
        for (name, value) in self.headers.iter().rev() {
            if self.text(name) != "x-forwarded-proto" {
                continue;
            }
            // Empty entries of a list do not count (RFC 9110 section 5.6.1.2).
            for entry in self.text(value).rsplit(',').map(str::trim).filter(|e| !e.is_empty()) {
                first = Some(entry);
                passed += 1;
                if passed == depth {
                    return first;
                }
            }
        }
        first
    }
}

/// An address as sockets and proxies write it: with a zone, IPv4-mapped, in brackets, or with a
/// port.
pub(super) fn parse_address(text: &str) -> Option<IpAddr> {
    // Most requests have no address from Express, and a failing parse costs time.
    if text.is_empty() {
        return None;
    }
    if let Ok(address) = text.parse::<Ipv4Addr>() {
        return Some(IpAddr::V4(address));
    }
    let bare = match text.strip_prefix('[') {
        Some(rest) => {
            let (inside, behind) = rest.split_once(']')?;
            if !behind.is_empty() && !behind.strip_prefix(':').is_some_and(is_port) {
                return None;
            }
            inside
        }
        None => match text.split_once(':') {
            // The colons of an IPv6 address do not start a port.
            Some((address, port)) if address.contains('.') => {
                let address = address.parse::<Ipv4Addr>().ok()?;
                return is_port(port).then_some(IpAddr::V4(address));
            }
            _ => text,
        },
    };
    let address = match bare.split_once('%') {
        Some((address, _zone)) => IpAddr::V6(address.parse().ok()?),
        None => bare.parse().ok()?,
    };
    Some(address.to_canonical())
}

fn is_port(text: &str) -> bool {
    (1..=5).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
}
