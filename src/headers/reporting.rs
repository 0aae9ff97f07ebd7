//! `Reporting-Endpoints`: the addresses to which browsers send their reports.

use serde_json::Value;

use crate::config::options::{describe, string_at};
use crate::error::ConfigError;
use crate::net::origin;

/// Reads the option `reportingEndpoints`: names and https addresses, sorted by name.
pub(super) fn parse<'a>(
    path: &str,
    value: &'a Value,
) -> Result<Vec<(&'a str, &'a str)>, ConfigError> {
    let Value::Object(map) = value else {
        return Err(ConfigError::invalid(
            path,
            format!("must be an object of names and addresses, not {}", describe(value)),
        )
        .suggest("write it as in { csp: 'https://reports.example.com/csp' }"));
    };
    let mut endpoints = Vec::with_capacity(map.len());
    for (name, url) in map {
        let path = format!("{path}.{name}");
        if !is_key(name) {
            return Err(ConfigError::invalid(
                path,
                "must be a name of lower-case letters, digits, '-', '_' and '.'",
            )
            .suggest("write a name such as 'csp' or 'default'"));
        }
        let url = string_at(&path, url)?;
        https_url(&path, url)?;
        endpoints.push((name.as_str(), url));
    }
    endpoints.sort_unstable();
    Ok(endpoints)
}

/// The header's value, a dictionary of strings (RFC 9651 section 3.2).
pub(super) fn text(endpoints: &[(&str, &str)]) -> String {
    // No checked address contains a quote or a backslash, so nothing needs an escape.
    let members: Vec<String> =
        endpoints.iter().map(|(name, url)| format!("{name}=\"{url}\"")).collect();
    members.join(", ")
}

/// Checks an absolute https address without user, password or fragment, in characters that need no
/// escape in a header.
pub(super) fn https_url(path: &str, text: &str) -> Result<(), ConfigError> {
    let error = |problem: &str| {
        Err(ConfigError::invalid(path, problem)
            .suggest("write an address such as 'https://reports.example.com/csp'"))
    };
    let Some(rest) = text.strip_prefix("https://") else {
        return error("must start with https://");
    };
    if text.bytes().any(|byte| !byte.is_ascii_graphic() || b"\"\\<>^`{|};,".contains(&byte)) {
        return error("must be an address in ASCII, without spaces, quotes, ',' or ';'");
    }
    if text.contains('#') {
        return error("must not have a fragment");
    }
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let authority = rest.split_at_checked(end).map_or(rest, |(authority, _)| authority);
    match origin::parse(&format!("https://{authority}")) {
        Ok(origin) if !origin.wildcard => Ok(()),
        Ok(_) => error("must have a host without a wildcard"),
        Err(fault) => error(fault.problem),
    }
}

/// Whether `name` is a key of RFC 9651 section 3.1.2.
fn is_key(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_lowercase() || first == '*')
        && name.bytes().all(|byte| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-.*".contains(&byte)
        })
}
