//! The option `trustedProxies`.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};
use serde_json::Value;

use super::options::{Options, describe, nearest, string_at};
use crate::error::ConfigError;
use crate::net::TrustedProxies;

/// The number of bits before the IPv4 address in an IPv4-mapped IPv6 address (RFC 4291 section
/// 2.5.5.2).
const MAPPED_PREFIX: u8 = 96;

/// The peers of a Unix socket, which have no address.
const UNIX: &str = "unix";

/// The names of networks, as Express has them.
const PRESETS: [(&str, &[&str]); 3] = [
    ("loopback", &["127.0.0.0/8", "::1/128"]),
    ("linklocal", &["169.254.0.0/16", "fe80::/10"]),
    ("uniquelocal", &["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"]),
];

const NAMES: [&str; 4] = ["loopback", "linklocal", "uniquelocal", UNIX];

/// `trustedProxies`: networks in CIDR form, single addresses, and [`NAMES`].
///
/// # Errors
/// If it is no list of them, or a network contains every address.
pub(crate) fn trusted_proxies(options: &Options<'_>) -> Result<TrustedProxies, ConfigError> {
    let path = options.path_of("trustedProxies");
    let items = match options.get("trustedProxies") {
        None => return Ok(TrustedProxies::default()),
        Some(Value::Array(items)) => items,
        Some(other) => {
            let problem = format!("must be a list of networks, not {}", describe(other));
            return Err(ConfigError::invalid(path, problem).suggest(list_for(other)));
        }
    };
    let mut networks = Vec::with_capacity(items.len());
    let mut unix = false;
    for (i, item) in items.iter().enumerate() {
        let path = format!("{path}[{i}]");
        let text = string_at(&path, item)?;
        if text == UNIX {
            unix = true;
        } else if let Some((_, preset)) = PRESETS.iter().find(|(name, _)| *name == text) {
            networks.extend(preset.iter().filter_map(|network| network.parse::<IpNet>().ok()));
        } else {
            networks.push(network(&path, text)?);
        }
    }
    Ok(TrustedProxies::new(networks, unix))
}

fn network(path: &str, text: &str) -> Result<IpNet, ConfigError> {
    let read = text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
    let Some(read) = read else {
        let problem = "must be a network in CIDR form, an address or the name of a network";
        return Err(ConfigError::invalid(path, problem).suggest(entry_for(text)));
    };
    plain(read).filter(|network| network.prefix_len() > 0).ok_or_else(|| {
        ConfigError::invalid(path, "would let every client choose its own address")
            .suggest("name the networks of your proxies, such as '10.0.0.0/8'")
    })
}

/// A network in the form in which request addresses are read: IPv4-mapped IPv6 becomes IPv4. `None`
/// if an IPv6 network contains all mapped IPv4 addresses.
fn plain(network: IpNet) -> Option<IpNet> {
    let network = network.trunc();
    let IpNet::V6(v6) = network else { return Some(network) };
    if let (Some(v4), Some(length)) =
        (v6.addr().to_ipv4_mapped(), v6.prefix_len().checked_sub(MAPPED_PREFIX))
    {
        return Ipv4Net::new(v4, length).ok().map(IpNet::V4);
    }
    let mapped = Ipv4Addr::UNSPECIFIED.to_ipv6_mapped();
    (!v6.contains(&mapped)).then_some(network)
}

/// What to write instead of a value that is no list: Express's `trust proxy` takes all of these.
fn list_for(value: &Value) -> String {
    match value {
        Value::Bool(true) => "name the networks of your proxies, such as ['10.0.0.0/8']: `true` \
                              would let any client choose its address"
            .to_owned(),
        Value::Bool(false) => "write [] if there is no proxy".to_owned(),
        Value::Number(_) => "name the networks of your proxies, such as ['10.0.0.0/8'], instead \
                             of counting them"
            .to_owned(),
        Value::String(text) if text.contains(',') => {
            "write a list with a text of its own for each: ['loopback', '10.0.0.0/8']".to_owned()
        }
        Value::String(text) if NAMES.contains(&text.as_str()) => {
            format!("write it in a list: ['{text}']")
        }
        _ => "write a list: ['10.0.0.0/8']".to_owned(),
    }
}

/// What to write instead of a text that is no network.
fn entry_for(text: &str) -> String {
    let is_host = |text: &str| text.eq_ignore_ascii_case("localhost");
    let has_port = text.rsplit_once(':').is_some_and(|(host, _)| {
        host.parse::<Ipv4Addr>().is_ok() || host.ends_with(']') || is_host(host)
    });
    let name = if is_host(text) {
        Some("loopback")
    } else if text.eq_ignore_ascii_case("private") {
        Some("uniquelocal")
    } else {
        nearest(text, &NAMES).filter(|_| !text.contains(['.', ':', '/']))
    };
    match name {
        _ if text.contains(',') => "give each network a text of its own".to_owned(),
        _ if has_port => "write the address without a port: '10.0.0.1'".to_owned(),
        _ if text.starts_with('[') => "write the address without brackets: '::1'".to_owned(),
        _ if text.contains('%') => "write the address without a zone: 'fe80::1'".to_owned(),
        Some(name) => format!("did you mean '{name}'?"),
        None => format!(
            "write '10.0.0.0/8' or '10.0.0.1'; 'loopback', 'linklocal' and 'uniquelocal' are \
             networks, '{UNIX}' is the proxy at a Unix socket"
        ),
    }
}
