//! The checked options of a guard and of a stack. Each layer's own `config.rs` does the work; this
//! file lists the options, and the contradictions between them.

use std::net::Ipv4Addr;

use ipnet::{IpNet, Ipv4Net};

use super::options::{Options, Switch};
use crate::error::{ConfigCode, ConfigError};
use crate::net::TrustedProxies;

/// The number of bits before the IPv4 address in an IPv4-mapped IPv6 address.
const COAT: u8 = 96;

/// The options of a guard: `GuardConfig` of index.d.ts. `log`, `onRefuse` and `sessions` stay in
/// JavaScript; they are listed for error messages only.
pub(crate) const GUARD_OPTIONS: [&str; 20] = [
    "profile",
    "headers",
    "cors",
    "csrf",
    "hosts",
    "trustedProxies",
    "clients",
    "store",
    "rateLimit",
    "jwt",
    "apiKeys",
    "identify",
    "authenticate",
    "public",
    "revocation",
    "payload",
    "policy",
    "sessions",
    "log",
    "onRefuse",
];

/// The options of `guard.validate`.
pub(crate) const SCHEMA_OPTIONS: [&str; 8] =
    ["body", "query", "params", "headers", "cookies", "response", "onResponse", "payload"];

/// The options of one route's stack: `RouteOptions` of index.d.ts. `headers` is a schema here.
pub(crate) const ROUTE_OPTIONS: [&str; 15] = [
    "cors",
    "csrf",
    "rateLimit",
    "jwt",
    "require",
    "authenticate",
    "payload",
    "policy",
    "body",
    "query",
    "params",
    "headers",
    "cookies",
    "response",
    "onResponse",
];

/// `trustedProxies`: networks in CIDR form, single addresses, or `unix` for the peers of a Unix
/// socket, which have no address. A network that contains every address is refused.
pub(crate) fn trusted_proxies(options: &Options<'_>) -> Result<TrustedProxies, ConfigError> {
    let path = options.path_of("trustedProxies");
    let Some(texts) = options.strings("trustedProxies")? else {
        return Ok(TrustedProxies::default());
    };
    let mut networks = Vec::with_capacity(texts.len());
    let mut unix = false;
    for (i, text) in texts.iter().enumerate() {
        if *text == "unix" {
            unix = true;
            continue;
        }
        let network = text
            .parse::<IpNet>()
            .or_else(|error| text.parse::<std::net::IpAddr>().map(IpNet::from).map_err(|_| error))
            .map_err(|_| {
                ConfigError::invalid(
                    format!("{path}[{i}]"),
                    "must be a network in CIDR form, an address or 'unix'",
                )
                .suggest("write '10.0.0.0/8' or '10.0.0.1'; 'unix' is the proxy at a Unix socket")
            })?;
        let network = plain(network);
        if network.is_none_or(|network| network.prefix_len() == 0) {
            let error = ConfigError::invalid(
                format!("{path}[{i}]"),
                "would let every client choose its own address",
            );
            return Err(error.suggest("name the networks of your proxies, such as '10.0.0.0/8'"));
        }
        networks.extend(network);
    }
    Ok(TrustedProxies::new(networks, unix))
}

/// A network in the form in which request addresses are read: IPv4-mapped IPv6 becomes IPv4. `None`
/// if an IPv6 network contains all mapped IPv4 addresses.
fn plain(network: IpNet) -> Option<IpNet> {
    let network = network.trunc();
    let IpNet::V6(v6) = network else { return Some(network) };
    if let (Some(v4), Some(length)) =
        (v6.addr().to_ipv4_mapped(), v6.prefix_len().checked_sub(COAT))
    {
        return Ipv4Net::new(v4, length).ok().map(IpNet::V4);
    }
    let coats = Ipv4Addr::UNSPECIFIED.to_ipv6_mapped();
    (!v6.contains(&coats)).then_some(network)
}

/// `hosts`: names, each with an optional port; without one, any port matches. Lower case.
pub(crate) fn hosts(options: &Options<'_>) -> Result<Option<Vec<String>>, ConfigError> {
    let path = options.path_of("hosts");
    let Some(texts) = options.strings("hosts")? else { return Ok(None) };
    if texts.is_empty() {
        return Err(ConfigError::invalid(path, "must name at least one host")
            .suggest("leave it out to accept any host"));
    }
    for (i, text) in texts.iter().enumerate() {
        let fine = !text.is_empty()
            && text.bytes().all(|byte| {
                byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-:[]".contains(&byte)
            });
        if !fine {
            let error = ConfigError::invalid(
                format!("{path}[{i}]"),
                "must be a host name in lower case, with a port where it has one",
            );
            return Err(error.suggest("write 'api.example.com' or 'api.example.com:8443', without 'https://' and without a path"));
        }
    }
    Ok(Some(texts.into_iter().map(str::to_owned).collect()))
}

/// Options that need another layer. They are refused at once, since the layer would otherwise
/// silently do less than requested.
pub(crate) fn contradictions(options: &Options<'_>) -> Result<(), ConfigError> {
    let on = |key| matches!(Switch::read(options, key), Switch::On(_));
    if on("revocation") && !on("jwt") && !on("apiKeys") && !on("identify") {
        let error = ConfigError::new(
            ConfigCode::ConflictingOptions,
            options.path_of("revocation"),
            "needs verified identities, and there is no `jwt`, `apiKeys` or `identify`",
        );
        return Err(error.suggest("add one of them, or leave `revocation` out"));
    }
    Ok(())
}
