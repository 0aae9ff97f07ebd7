//! The client that an address stands for.
//!
//! One IPv4 address is one client. One IPv6 customer has a whole prefix, usually a /56 (RIPE-690;
//! RFC 6177 leaves /48 to /64), and can use a new address from it for each request. A limit on
//! single addresses would have no effect, so the prefix is the client: by default the /56. An IPv4
//! client that arrives over IPv6 stays that IPv4 client. Otherwise all of them would share one /56
//! (as all of `::ffff:0:0/96` did in CVE-2026-30827), or would evade their count over the other
//! protocol.

use std::fmt;
use std::hash::Hasher;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The counted client, if a policy counts by client address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClientKey(Client);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Client {
    V4(u32),
    /// The first bits, as many as the prefix has; the others are zero.
    V6(u128, Ipv6Prefix),
    /// A whole address of RFC 8215's local-use translation prefix.
    Translated(u128),
    Unknown,
}

const SLASH_48: u128 = u128::MAX << (128 - 48);
const SLASH_96: u128 = u128::MAX << (128 - 96);
/// `64:ff9b::/96`, the well-known prefix of RFC 6052 section 2.1: the last 32 bits are the IPv4
/// address.
const WELL_KNOWN_TRANSLATION: u128 = 0x0064_ff9b << 96;
/// `64:ff9b:1::/48`, RFC 8215. The operator of the translator chooses the position of the IPv4
/// address in it (RFC 6052 section 2.2 has five layouts), so it can't be extracted. The whole
/// address is the client: it differs exactly where the IPv4 address does. The translator writes it,
/// so a client can't vary it.
const LOCAL_TRANSLATION: u128 = 0x0064_ff9b_0001 << 80;

/// How many bits of an IPv6 address identify a client: the option `ipv6Prefix`, 32 to 128.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ipv6Prefix(u8);

impl Default for Ipv6Prefix {
    fn default() -> Self {
        Self(56)
    }
}

impl Ipv6Prefix {
    /// The shortest prefix: providers get no shorter one from their registry as a rule, so it would
    /// be all customers of several providers.
    pub const MIN: u8 = 32;
    /// The longest one: each address is a client of its own.
    pub const MAX: u8 = 128;

    /// `None` for a length outside of [`Self::MIN`] to [`Self::MAX`].
    #[must_use]
    pub fn new(length: u64) -> Option<Self> {
        let length = u8::try_from(length).ok()?;
        (Self::MIN..=Self::MAX).contains(&length).then_some(Self(length))
    }

    fn mask(self) -> u128 {
        u128::MAX << (128 - u32::from(self.0))
    }
}

impl ClientKey {
    /// The one key of all clients without a readable address. It is counted like any other: an
    /// unknown client is not exempt.
    pub const UNKNOWN: Self = Self(Client::Unknown);

    /// Reads an address as Node returns it: `203.0.113.7`, `2001:db8::7`, `::ffff:203.0.113.7`,
    /// `fe80::1%eth0`; also with a port (`203.0.113.7:4711`, `[2001:db8::7]:4711`), as some proxies
    /// write it. Anything else is [`ClientKey::UNKNOWN`]. IPv6 by its /56, the default.
    #[must_use]
    pub fn parse(address: &str) -> Self {
        Self::known(address, Ipv6Prefix::default()).unwrap_or(Self::UNKNOWN)
    }

    /// As [`ClientKey::parse`], by another prefix, and `None` for an unreadable address.
    #[must_use]
    pub fn known(address: &str, prefix: Ipv6Prefix) -> Option<Self> {
        // A zone names an interface of this machine and does not identify the client.
        let bare = match address.split_once('%') {
            Some((bare, zone)) if !zone.is_empty() && bare.contains(':') => bare,
            Some(_) => return None,
            None => address,
        };
        let ip = bare.parse::<IpAddr>().or_else(|_| bare.parse::<SocketAddr>().map(|a| a.ip()));
        ip.ok().map(|address| Self::of(address, prefix))
    }

    /// Writes the client to a hasher; two different clients never write the same bytes.
    pub(crate) fn write_to(self, hasher: &mut impl Hasher) {
        match self.0 {
            Client::V4(bits) => {
                hasher.write_u8(b'4');
                hasher.write_u32(bits);
            }
            Client::V6(bits, prefix) if prefix == Ipv6Prefix::default() => {
                hasher.write_u8(b'6');
                hasher.write_u128(bits);
            }
            // Guards with other prefixes may share the store, and a /64 is no /56.
            Client::V6(bits, Ipv6Prefix(length)) => {
                hasher.write_u8(b'p');
                hasher.write_u8(length);
                hasher.write_u128(bits);
            }
            Client::Translated(bits) => {
                hasher.write_u8(b't');
                hasher.write_u128(bits);
            }
            Client::Unknown => hasher.write_u8(b'?'),
        }
    }
}

impl ClientKey {
    /// The IPv4 address that an IPv6 address embeds, or the address itself.
    #[must_use]
    pub fn plain(address: IpAddr) -> IpAddr {
        let IpAddr::V6(v6) = address else { return address };
        if let Some(v4) = v6.to_ipv4_mapped() {
            return IpAddr::V4(v4);
        }
        let bits = v6.to_bits();
        if bits & SLASH_96 == WELL_KNOWN_TRANSLATION {
            #[expect(
                clippy::cast_possible_truncation,
                reason = "the last 32 bits are what we want"
            )]
            return IpAddr::V4(Ipv4Addr::from_bits(bits as u32));
        }
        address
    }

    /// The number of address bits that identify the client.
    #[must_use]
    pub fn width(address: IpAddr, prefix: Ipv6Prefix) -> u8 {
        match Self::of(address, prefix).0 {
            Client::V4(_) | Client::Unknown => 32,
            Client::V6(_, Ipv6Prefix(length)) => length,
            Client::Translated(_) => 128,
        }
    }

    /// The client of an address. `prefix` is about IPv6 addresses that embed no IPv4 address.
    #[must_use]
    pub fn of(address: IpAddr, prefix: Ipv6Prefix) -> Self {
        let bits = match Self::plain(address) {
            IpAddr::V4(v4) => return Self(Client::V4(v4.to_bits())),
            IpAddr::V6(v6) => v6.to_bits(),
        };
        Self(if bits & SLASH_48 == LOCAL_TRANSLATION {
            Client::Translated(bits)
        } else {
            Client::V6(bits & prefix.mask(), prefix)
        })
    }
}

/// By IPv6's /56, the default.
impl From<IpAddr> for ClientKey {
    fn from(address: IpAddr) -> Self {
        Self::of(address, Ipv6Prefix::default())
    }
}

/// `203.0.113.7`, `2001:db8::/56` or `unknown`.
impl fmt::Display for ClientKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Client::V4(bits) => Ipv4Addr::from_bits(bits).fmt(f),
            Client::V6(bits, Ipv6Prefix(length)) => {
                write!(f, "{}/{length}", Ipv6Addr::from_bits(bits))
            }
            Client::Translated(bits) => Ipv6Addr::from_bits(bits).fmt(f),
            Client::Unknown => f.write_str("unknown"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn client(address: &str) -> ClientKey {
        ClientKey::parse(address)
    }

    #[test]
    fn an_ipv4_address_is_a_client_of_its_own() {
        assert_ne!(client("203.0.113.7"), client("203.0.113.8"));
        assert_eq!(client("203.0.113.7").to_string(), "203.0.113.7");
    }

    #[test]
    fn an_ipv6_slash_56_is_one_client() {
        assert_eq!(client("2001:db8:0:1::1"), client("2001:db8:0:ff:ffff::2"));
        assert_ne!(client("2001:db8:0:100::1"), client("2001:db8:0:1::1"));
        assert_eq!(client("2001:db8:0:1::1").to_string(), "2001:db8::/56");
    }

    #[test]
    fn an_ipv4_client_stays_the_same_whichever_way_it_comes() {
        for way in
            ["::ffff:203.0.113.7", "::FFFF:cb00:7107", "64:ff9b::203.0.113.7", "64:ff9b::cb00:7107"]
        {
            assert_eq!(client(way), client("203.0.113.7"), "{way}");
        }
        assert_ne!(client("::ffff:203.0.113.8"), client("203.0.113.7"));
    }

    #[test]
    fn clients_behind_a_local_translator_do_not_share_one_count() {
        // RFC 6052 section 2.2: 203.0.113.7 and .8 under a /48 and under a /96.
        assert_ne!(client("64:ff9b:1:cb00:71:700::"), client("64:ff9b:1:cb00:71:800::"));
        assert_ne!(client("64:ff9b:1::203.0.113.7"), client("64:ff9b:1::203.0.113.8"));
        assert_ne!(client("64:ff9b:1::203.0.113.7"), client("203.0.113.7"));
    }

    #[test]
    fn a_zone_and_a_port_do_not_make_another_client() {
        assert_eq!(client("fe80::1%eth0"), client("fe80::1"));
        assert_eq!(client("fe80::1%1"), client("fe80::1%eth7"));
        assert_eq!(client("203.0.113.7:4711"), client("203.0.113.7"));
        assert_eq!(client("[2001:db8::7]:4711"), client("2001:db8::7"));
    }

    #[test]
    fn what_is_no_address_is_one_shared_unknown_client() {
        for odd in [
            "",
            " ",
            "unknown",
            "203.0.113",
            "203.0.113.256",
            "0203.0.113.7",
            "0xcb007107",
            "3405803783",
            "203.0.113.7, 198.51.100.1",
            " 203.0.113.7",
            "203.0.113.7\n",
            "203.0.113.7%eth0",
            "fe80::1%",
            "[::1]",
            "2001:db8:::1",
            "localhost",
            "_hidden",
            "203.0.113.7:99999",
            "1:2:3:4:5:6:7:8:9",
        ] {
            assert_eq!(client(odd), ClientKey::UNKNOWN, "{odd:?}");
        }
    }

    #[test]
    fn prefixes_are_32_to_128_and_keys_of_two_of_them_differ() {
        for length in [0, 31, 129, 256 + 56, u64::MAX] {
            assert_eq!(Ipv6Prefix::new(length), None, "{length}");
        }
        let written = |length| {
            let prefix = Ipv6Prefix::new(length).unwrap();
            let mut hasher = std::hash::DefaultHasher::new();
            ClientKey::known("2001:db8::", prefix).unwrap().write_to(&mut hasher);
            hasher.finish()
        };
        let keys: std::collections::HashSet<u64> = (32..=128).map(written).collect();
        assert_eq!(keys.len(), 97);
        assert_eq!(Ipv6Prefix::new(56), Some(Ipv6Prefix::default()));
    }

    proptest! {
        #[test]
        fn any_text_is_some_client(text in ".*") {
            let _ = client(&text);
        }

        #[test]
        fn every_address_is_read_and_mapped_ones_as_ipv4(bits: u32) {
            let v4 = Ipv4Addr::from_bits(bits);
            prop_assert_eq!(client(&v4.to_string()), ClientKey::from(IpAddr::V4(v4)));
            prop_assert_eq!(client(&v4.to_ipv6_mapped().to_string()), client(&v4.to_string()));
        }

        #[test]
        fn only_the_bits_of_the_prefix_of_an_ipv6_address_count(
            bits: u128, other: u128, length in 32_u64..=128,
        ) {
            let prefix = Ipv6Prefix::new(length).unwrap();
            let of = |bits| ClientKey::of(IpAddr::V6(Ipv6Addr::from_bits(bits)), prefix);
            prop_assume!(bits >> 96 != 0x0064_ff9b && bits >> 72 != 0);
            prop_assert_eq!(of(bits), of(bits & prefix.mask() | other & !prefix.mask()));
            let last = 1 << (128 - length);
            prop_assert_ne!(of(bits), of(bits ^ last));
            let text = of(bits).to_string();
            prop_assert!(text.ends_with(&format!("/{length}")), "{}", text);
        }

        #[test]
        fn embedded_ipv4_is_one_client_by_any_prefix(bits: u32, length in 32_u64..=128) {
            let prefix = Ipv6Prefix::new(length).unwrap();
            let v4 = Ipv4Addr::from_bits(bits);
            for text in [v4.to_string(), format!("::ffff:{v4}"), format!("64:ff9b::{v4}")] {
                prop_assert_eq!(ClientKey::known(&text, prefix), Some(client(&v4.to_string())));
            }
        }
    }
}
