//! Origins as a browser writes them (RFC 6454 section 6.2, the URL standard's host serialisation).
//! The same parser reads the configured origins and those of requests.

use std::net::{Ipv4Addr, Ipv6Addr};

/// The maximum length of an accepted origin: a 253-byte host, a scheme and a port.
pub(crate) const MAX_BYTES: usize = 320;
const MAX_HOST: usize = 253;
const MAX_LABEL: usize = 63;

/// An origin, or with a leading `*.` all origins one label below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pattern<'a> {
    /// `https`, `http` or an application's own scheme such as `capacitor`.
    pub(crate) scheme: &'a str,
    /// Whether the pattern matches every host one label below `host`.
    pub(crate) wildcard: bool,
    /// The host without the `*.`; an IPv6 address keeps its brackets.
    pub(crate) host: &'a str,
    /// The port, if it is not the scheme's default.
    pub(crate) port: Option<u16>,
}

/// The reason why a text is not an origin, and a suggestion. Neither repeats the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OriginError {
    pub(crate) problem: &'static str,
    pub(crate) suggestion: &'static str,
}

const fn fault(problem: &'static str, suggestion: &'static str) -> OriginError {
    OriginError { problem, suggestion }
}

const EXAMPLE: &str = "write an origin such as 'https://app.example.com'";

impl Pattern<'_> {
    /// Whether its traffic can be read or changed in transit: plain http, except within this
    /// machine.
    pub(crate) fn is_insecure(&self) -> bool {
        self.scheme == "http" && !self.is_local()
    }

    /// Whether its host is this machine (RFC 6761 section 6.3 for names).
    fn is_local(&self) -> bool {
        self.host == "localhost"
            || self.host.ends_with(".localhost")
            || self.host == "[::1]"
            || self.host.parse::<Ipv4Addr>().is_ok_and(|address| address.is_loopback())
    }
}

/// Parses `http://localhost:*`, an origin of this machine with any port, and returns the part
/// before the port; `None` for a text of another form.
pub(crate) fn parse_any_port(text: &str) -> Option<Result<&str, OriginError>> {
    let origin = text.strip_suffix(":*")?;
    Some(parse(origin).and_then(|pattern| {
        let is_exact = !pattern.wildcard && pattern.port.is_none();
        let is_web = matches!(pattern.scheme, "http" | "https");
        if is_exact && is_web && pattern.is_local() {
            return Ok(origin);
        }
        Err(fault(
            "may have any port on this machine only, for development",
            "write it as in 'http://localhost:*', or name the port",
        ))
    }))
}

/// Whether `port` is written as in an origin of `scheme`.
pub(crate) fn is_port(scheme: &str, port: &str) -> bool {
    !port.is_empty() && port_of(scheme, port).is_ok()
}

/// Parses an origin in exactly the form that a browser sends, so that equal origins are equal
/// strings.
pub(crate) fn parse(text: &str) -> Result<Pattern<'_>, OriginError> {
    characters(text)?;
    let (scheme, rest) = text
        .split_once("://")
        .ok_or(fault("must start with a scheme", "write 'https://' in front of the host"))?;
    scheme_of(scheme)?;
    let authority = authority_of(rest)?;
    let (host, port) = host_and_port(authority)?;
    let (wildcard, host) = match host.strip_prefix("*.") {
        Some(host) => (true, host),
        None => (false, host),
    };
    host_of(host)?;
    let port = port.map(|port| port_of(scheme, port)).transpose()?;
    if wildcard {
        wildcard_of(scheme, host)?;
    }
    Ok(Pattern { scheme, wildcard, host, port })
}

fn characters(text: &str) -> Result<(), OriginError> {
    if text.is_empty() {
        return Err(fault("must not be empty", EXAMPLE));
    }
    if text == "null" {
        return Err(fault(
            "must not be null: every sandboxed frame and local file has that origin",
            "list the origins that are meant, such as 'https://app.example.com'",
        ));
    }
    if !text.is_ascii() {
        return Err(fault(
            "must be ASCII, as browsers send it",
            "write the host in Punycode, such as 'https://xn--bcher-kva.example'",
        ));
    }
    if text.bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
        return Err(fault(
            "must not have spaces or control characters",
            "write one origin per item, such as 'https://app.example.com'",
        ));
    }
    if text.len() > MAX_BYTES {
        return Err(fault("is longer than any origin", EXAMPLE));
    }
    Ok(())
}

fn scheme_of(scheme: &str) -> Result<(), OriginError> {
    if scheme.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Err(fault("must be lower case, as browsers send it", "write it in lower case"));
    }
    let mut bytes = scheme.bytes();
    let well_formed = bytes.next().is_some_and(|byte| byte.is_ascii_lowercase())
        && bytes.all(|byte| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"+-.".contains(&byte)
        });
    if !well_formed {
        return Err(fault("has a scheme that can't be", "write 'https://' in front of the host"));
    }
    match scheme {
        "ws" | "wss" => Err(fault(
            "must have the scheme of the page, which is never that of a WebSocket",
            "write 'https://' in front of the host",
        )),
        "file" | "data" | "blob" | "about" | "javascript" | "filesystem" => Err(fault(
            "has a scheme whose pages have the origin null, which can't be told apart",
            "serve the page over https and list its origin",
        )),
        _ => Ok(()),
    }
}

fn authority_of(rest: &str) -> Result<&str, OriginError> {
    if rest.contains('@') {
        return Err(fault("must have no user or password", EXAMPLE));
    }
    if let Some(authority) = rest.strip_suffix('/')
        && !authority.contains(['/', '?', '#', '\\'])
    {
        return Err(fault(
            "must not end with a slash: browsers send none, so it would never match",
            "leave out the slash at the end",
        ));
    }
    if rest.contains(['/', '?', '#', '\\']) {
        return Err(fault(
            "must be an origin, without path, query or fragment",
            "leave out all that follows the host and port",
        ));
    }
    Ok(rest)
}

fn host_and_port(authority: &str) -> Result<(&str, Option<&str>), OriginError> {
    if authority.starts_with('[') {
        let end = authority.find(']').ok_or(BAD_IPV6)?;
        let (host, rest) = authority.split_at_checked(end.saturating_add(1)).ok_or(BAD_IPV6)?;
        return match rest.strip_prefix(':') {
            Some(port) => Ok((host, Some(port))),
            None if rest.is_empty() => Ok((host, None)),
            None => Err(BAD_IPV6),
        };
    }
    match authority.split_once(':') {
        None => Ok((authority, None)),
        Some((_, rest)) if rest.contains(':') => Err(BAD_IPV6),
        Some((host, port)) => Ok((host, Some(port))),
    }
}

const BAD_IPV6: OriginError = fault(
    "must have an IPv6 address in brackets, in its shortest lower-case form",
    "write it as in 'http://[::1]:3000'",
);
const BAD_IPV4: OriginError = fault(
    "must have an IPv4 address as four decimal numbers without leading zeros",
    "write it as in 'http://127.0.0.1:3000'",
);

fn host_of(host: &str) -> Result<(), OriginError> {
    if host.starts_with('[') {
        return ipv6(host);
    }
    if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Err(fault("must be lower case, as browsers send it", "write it in lower case"));
    }
    if host.contains('*') {
        return Err(fault(
            "may have one '*' only, as the whole first label",
            "write it as in 'https://*.example.com'",
        ));
    }
    if host.ends_with('.') {
        return Err(fault("must not have a host that ends with a dot", "leave out the final dot"));
    }
    if host.is_empty() || host.len() > MAX_HOST || !host.split('.').all(is_label) {
        return Err(fault("must have a host of letters, digits, '-', '_' and dots", EXAMPLE));
    }
    // The URL standard parses a host whose last label is a number as an IPv4 address, in any
    // notation.
    let last = host.rsplit('.').next().unwrap_or_default();
    let numeric = last.bytes().all(|byte| byte.is_ascii_digit()) || last.starts_with("0x");
    if numeric && host.parse::<Ipv4Addr>().is_err() {
        return Err(BAD_IPV4);
    }
    Ok(())
}

/// One label of a host name, as browsers serialise it.
pub(crate) fn is_label(label: &str) -> bool {
    !label.is_empty()
        && label.len() <= MAX_LABEL
        && label.bytes().all(|byte| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_'
        })
}

fn ipv6(host: &str) -> Result<(), OriginError> {
    let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).ok_or(BAD_IPV6)?;
    let address: Ipv6Addr = inner.parse().map_err(|_| BAD_IPV6)?;
    if address.to_ipv4_mapped().is_some() {
        return Err(fault(
            "must not have an IPv4 address inside an IPv6 one",
            "write the IPv4 address",
        ));
    }
    if address.to_string() == inner { Ok(()) } else { Err(BAD_IPV6) }
}

fn port_of(scheme: &str, port: &str) -> Result<u16, OriginError> {
    let plain = port.bytes().all(|byte| byte.is_ascii_digit()) && !port.starts_with('0');
    let number = plain.then(|| port.parse::<u16>().ok()).flatten().ok_or(fault(
        "must have a port from 1 to 65535, without leading zeros",
        "write it as in 'http://localhost:3000', or leave out the colon",
    ))?;
    match (scheme, number) {
        ("https", 443) | ("http", 80) => Err(fault(
            "must not name the default port: browsers leave it out, so it would never match",
            if scheme == "https" { "leave out ':443'" } else { "leave out ':80'" },
        )),
        _ => Ok(number),
    }
}

fn wildcard_of(scheme: &str, host: &str) -> Result<(), OriginError> {
    if scheme != "https" && scheme != "http" {
        return Err(fault(
            "may have a wildcard with https or http only",
            "list the origins of that scheme one by one",
        ));
    }
    if host.parse::<Ipv4Addr>().is_ok() {
        return Err(fault(
            "must not have a wildcard in front of an address",
            "list the addresses one by one",
        ));
    }
    if host == "localhost" {
        return Ok(());
    }
    if !host.contains('.') || is_public_suffix(host) {
        return Err(fault(
            "must not have a wildcard for a domain under which anybody can have a name",
            "put the domain that you own behind the star, as in 'https://*.example.com'",
        ));
    }
    Ok(())
}

/// Whether the public can register names directly below `host`.
///
/// This is not the whole Public Suffix List (10,000 entries that change monthly). It covers the
/// common form of country registries (`co.uk`, `com.br`) and the most frequent hosting platforms.
/// All other suffixes are the user's responsibility.
fn is_public_suffix(host: &str) -> bool {
    const REGISTRY: [&str; 12] =
        ["ac", "co", "com", "edu", "go", "gob", "gov", "mil", "ne", "net", "or", "org"];
    const PLATFORMS: [&str; 46] = [
        "amplifyapp.com",
        "appspot.com",
        "awsapprunner.com",
        "azurestaticapps.net",
        "azurewebsites.net",
        "blogspot.com",
        "bubbleapps.io",
        "cloudapp.net",
        "cloudflare.net",
        "cloudfront.net",
        "codesandbox.io",
        "deno.dev",
        "elasticbeanstalk.com",
        "firebaseapp.com",
        "fly.dev",
        "github.io",
        "githubpreview.dev",
        "gitlab.io",
        "glitch.me",
        "herokuapp.com",
        "hf.space",
        "ltd.uk",
        "lovable.app",
        "me.uk",
        "myshopify.com",
        "netlify.app",
        "ngrok-free.app",
        "ngrok-free.dev",
        "ngrok.app",
        "ngrok.io",
        "now.sh",
        "onrender.com",
        "pages.dev",
        "plc.uk",
        "repl.co",
        "replit.app",
        "replit.dev",
        "run.app",
        "s3.amazonaws.com",
        "stackblitz.io",
        "surge.sh",
        "trycloudflare.com",
        "up.railway.app",
        "vercel.app",
        "web.app",
        "workers.dev",
    ];
    let registry = host
        .split_once('.')
        .is_some_and(|(name, country)| country.len() == 2 && REGISTRY.contains(&name));
    registry || PLATFORMS.contains(&host)
}
