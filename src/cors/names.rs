//! Method and header names: the ones that may be listed, and the ones that a browser never
//! requests.

use crate::config::options::nearest;
use crate::error::{ConfigCode, ConfigError};
use crate::net::is_token;

/// The methods that Node's HTTP parser accepts and the Fetch standard lets a page send. No other
/// method can arrive.
const METHODS: [&str; 33] = [
    "ACL",
    "BIND",
    "CHECKOUT",
    "COPY",
    "DELETE",
    "GET",
    "HEAD",
    "LINK",
    "LOCK",
    "M-SEARCH",
    "MERGE",
    "MKACTIVITY",
    "MKCALENDAR",
    "MKCOL",
    "MOVE",
    "NOTIFY",
    "OPTIONS",
    "PATCH",
    "POST",
    "PROPFIND",
    "PROPPATCH",
    "PURGE",
    "PUT",
    "QUERY",
    "REBIND",
    "REPORT",
    "SEARCH",
    "SOURCE",
    "SUBSCRIBE",
    "UNBIND",
    "UNLINK",
    "UNLOCK",
    "UNSUBSCRIBE",
];

/// Fetch section 2.2.1.
const FORBIDDEN_METHODS: [&str; 3] = ["CONNECT", "TRACE", "TRACK"];

/// Fetch section 2.2.2, "forbidden request-header"; names that start with `proxy-` or `sec-` are
/// forbidden too.
const FORBIDDEN_REQUEST_HEADERS: [&str; 19] = [
    "accept-charset",
    "accept-encoding",
    "connection",
    "content-length",
    "cookie",
    "cookie2",
    "date",
    "dnt",
    "expect",
    "host",
    "keep-alive",
    "origin",
    "referer",
    "set-cookie",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
];

/// Checks an allowed method: a page can send it, Node can receive it, and it is in upper case.
pub(super) fn method(path: &str, text: &str) -> Result<(), ConfigError> {
    if text == "*" {
        return Err(ConfigError::invalid(path, "must be a method, not a wildcard")
            .suggest("list the methods that the API has, such as 'GET' and 'POST'"));
    }
    let upper = text.to_ascii_uppercase();
    if FORBIDDEN_METHODS.contains(&upper.as_str()) {
        return Err(ConfigError::invalid(path, "is a method that no page can send").suggest(
            "leave it out: CONNECT, TRACE and TRACK are forbidden by the Fetch standard",
        ));
    }
    if METHODS.contains(&text) {
        return Ok(());
    }
    if let Some(known) = METHODS.iter().find(|known| **known == upper) {
        return Err(ConfigError::invalid(path, "must be upper case: methods are case-sensitive")
            .suggest(format!("write '{known}'")));
    }
    let error = ConfigError::invalid(path, "must be a method that Node's HTTP parser knows");
    Err(match nearest(text, &METHODS) {
        Some(known) => error.suggest(format!("did you mean '{known}'?")),
        None => error.suggest("write a method such as 'GET', 'POST' or 'PATCH'"),
    })
}

/// Checks an allowed request header and returns it in lower case.
pub(super) fn request_header(path: &str, text: &str) -> Result<String, ConfigError> {
    let name = header_name(path, text)?;
    let forbidden = FORBIDDEN_REQUEST_HEADERS.contains(&name.as_str())
        || name.starts_with("proxy-")
        || name.starts_with("sec-");
    if forbidden {
        return Err(ConfigError::invalid(path, "is a header that no page can set")
            .suggest("leave it out: the browser sends it without asking, or never"));
    }
    Ok(name)
}

/// Checks an exposed response header and returns it in lower case.
pub(super) fn exposed_header(path: &str, text: &str) -> Result<String, ConfigError> {
    let name = header_name(path, text)?;
    if name == "set-cookie" || name == "set-cookie2" {
        return Err(ConfigError::invalid(path, "is a header that no page can read")
            .suggest("leave it out: the browser keeps cookies to itself"));
    }
    Ok(name)
}

fn header_name(path: &str, text: &str) -> Result<String, ConfigError> {
    if text == "*" {
        return Err(ConfigError::invalid(path, "must be a header name, not a wildcard").suggest(
            "list the headers by name: the wildcard leaves out authorization and credentials",
        ));
    }
    if !is_token(text) {
        return Err(ConfigError::invalid(path, "must be a header name: letters, digits and '-'")
            .suggest("write one name per item, such as 'content-type'"));
    }
    let name = text.to_ascii_lowercase();
    if name.starts_with("access-control-") {
        return Err(ConfigError::invalid(path, "is a header of CORS itself")
            .suggest("leave it out: this layer sends and reads it"));
    }
    Ok(name)
}

/// Refuses a list with a duplicate. `names` are compared byte by byte.
pub(super) fn no_duplicates(path: &str, names: &[String]) -> Result<(), ConfigError> {
    for (i, name) in names.iter().enumerate() {
        if names.iter().take(i).any(|earlier| earlier == name) {
            return Err(ConfigError::new(
                ConfigCode::ConflictingOptions,
                format!("{path}[{i}]"),
                "is listed twice",
            )
            .suggest("leave out one of the two"));
        }
    }
    Ok(())
}
