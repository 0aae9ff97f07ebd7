//! The checked options of a guard and of a stack. Each layer's own `config.rs` does the work; this
//! file lists the options, and the contradictions between them.

use super::options::{Options, Switch};
use crate::error::{ConfigCode, ConfigError};
use crate::net::Ipv6Prefix;

/// The options of a guard: `GuardConfig` of index.d.ts. `log`, `onRefuse` and `sessions` stay in
/// JavaScript; they are listed for error messages only.
pub(crate) const GUARD_OPTIONS: [&str; 23] = [
    "profile",
    "headers",
    "cors",
    "csrf",
    "hosts",
    "trustedProxies",
    "ipv6Prefix",
    "clients",
    "store",
    "rateLimit",
    "rateLimitHeaders",
    "jwt",
    "apiKeys",
    "identify",
    "authenticate",
    "public",
    "paths",
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

/// The options of one route's stack: `RouteOptions` of index.d.ts. `headers` is the schema of
/// request headers here.
pub(crate) const ROUTE_OPTIONS: [&str; 16] = [
    "responseHeaders",
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

/// `ipv6Prefix`: how many bits of an IPv6 address identify a client, 32 to 128. Default 56.
pub(crate) fn ipv6_prefix(options: &Options<'_>) -> Result<Ipv6Prefix, ConfigError> {
    let range = u64::from(Ipv6Prefix::MIN)..=u64::from(Ipv6Prefix::MAX);
    let length = options.integer("ipv6Prefix", range).map_err(|error| {
        error.suggest("write 56 or 48 for the network of a customer, or 64 for each of its parts")
    })?;
    Ok(length.and_then(Ipv6Prefix::new).unwrap_or_default())
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
