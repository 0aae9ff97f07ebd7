//! Networks, and a map that finds the longest one that contains an address.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::{ClientKey, Ipv6Prefix};

/// A network: an address with all bits after its length zero. IPv4 embedded in IPv6 is IPv4.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cidr {
    v4: bool,
    /// From 0 to 32, or to 128.
    length: u8,
    bits: u128,
}

impl Cidr {
    /// The network of a single address, with its full length.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        match ClientKey::plain(address) {
            IpAddr::V4(v4) => Self { v4: true, length: 32, bits: u128::from(v4.to_bits()) },
            IpAddr::V6(v6) => Self { v4: false, length: 128, bits: v6.to_bits() },
        }
    }

    /// Reads a network in CIDR form, or an address, which stands for its client as in
    /// [`ClientKey`]: an IPv6 address for its network of `prefix`. `None` for anything else.
    #[must_use]
    pub fn parse_client(text: &str, prefix: Ipv6Prefix) -> Option<Self> {
        let Some((address, _)) = text.split_once('/') else {
            let address: IpAddr = text.parse().ok()?;
            return Some(Self::of(address).cut(ClientKey::width(address, prefix)));
        };
        let network: IpNet = text.parse().ok()?;
        let written: IpAddr = address.parse().ok()?;
        let (whole, length) = (Self::of(written), network.prefix_len());
        // An IPv4 network in IPv6 notation.
        let length = if whole.v4 && written.is_ipv6() { length.checked_sub(96)? } else { length };
        Some(whole.cut(length))
    }

    /// As [`Cidr::parse_client`], by the default prefix.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::parse_client(text, Ipv6Prefix::default())
    }

    /// Its first `length` bits.
    #[must_use]
    fn cut(self, length: u8) -> Self {
        let whole = if self.v4 { 32 } else { 128 };
        let length = length.min(whole);
        let gone = u32::from(whole - length);
        let bits = self.bits.checked_shr(gone).and_then(|kept| kept.checked_shl(gone));
        Self { v4: self.v4, length, bits: bits.unwrap_or(0) }
    }

    /// The number of significant bits.
    #[must_use]
    pub const fn length(self) -> u8 {
        self.length
    }
}

/// `203.0.113.0/24`.
impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match u32::try_from(self.bits) {
            Ok(bits) if self.v4 => write!(f, "{}/{}", Ipv4Addr::from_bits(bits), self.length),
            _ => write!(f, "{}/{}", Ipv6Addr::from_bits(self.bits), self.length),
        }
    }
}

/// A map by networks. A look-up probes once for each length in use, usually a few.
#[derive(Debug)]
pub struct CidrMap<T> {
    map: HashMap<Cidr, T>,
    /// The number of networks of each length, of IPv4 and of IPv6, the longest first.
    lengths: [Vec<(u8, usize)>; 2],
}

impl<T> Default for CidrMap<T> {
    fn default() -> Self {
        Self { map: HashMap::new(), lengths: [Vec::new(), Vec::new()] }
    }
}

impl<T> CidrMap<T> {
    /// Sets the value of a network, and returns the earlier value.
    pub fn insert(&mut self, prefix: Cidr, value: T) -> Option<T> {
        let old = self.map.insert(prefix, value);
        if old.is_none() {
            let lengths = self.lengths_mut(prefix);
            if let Some((_, count)) = lengths.iter_mut().find(|(known, _)| *known == prefix.length)
            {
                *count += 1;
            } else {
                lengths.push((prefix.length, 1));
                lengths.sort_unstable_by(|one, two| two.cmp(one));
            }
        }
        old
    }

    /// The value of exactly this network.
    #[must_use]
    pub fn get(&self, prefix: Cidr) -> Option<&T> {
        self.map.get(&prefix)
    }

    /// Removes a network.
    pub fn remove(&mut self, prefix: Cidr) {
        if self.map.remove(&prefix).is_some() {
            let lengths = self.lengths_mut(prefix);
            for (_, count) in lengths.iter_mut().filter(|(length, _)| *length == prefix.length) {
                *count -= 1;
            }
            lengths.retain(|(_, count)| *count > 0);
        }
    }

    /// The value of the longest network that contains an address and for which `counts` is true,
    /// with its length.
    pub fn find(&self, address: Cidr, counts: impl Fn(&T) -> bool) -> Option<(u8, &T)> {
        let [four, six] = &self.lengths;
        let lengths = if address.v4 { four } else { six };
        lengths.iter().find_map(|(length, _)| {
            let value = self.map.get(&address.cut(*length)).filter(|value| counts(value))?;
            Some((*length, value))
        })
    }

    /// The number of networks.
    #[must_use]
    pub fn len(&self) -> usize {
        self.map.len()
    }

    /// Whether there are no networks.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// The networks for whose values `goes` is true.
    pub fn select(&self, goes: impl Fn(&T) -> bool) -> Vec<Cidr> {
        self.map.iter().filter(|(_, value)| goes(value)).map(|(prefix, _)| *prefix).collect()
    }

    fn lengths_mut(&mut self, prefix: Cidr) -> &mut Vec<(u8, usize)> {
        let [four, six] = &mut self.lengths;
        if prefix.v4 { four } else { six }
    }
}
