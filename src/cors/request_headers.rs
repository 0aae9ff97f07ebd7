//! `Access-Control-Request-Headers`: the header names that a preflight requests.

/// No browser sends a longer value: the names alone stay below this bound.
pub(super) const MAX_BYTES: usize = 2048;
/// Empty elements count too, so a value of commas alone gains nothing.
pub(super) const MAX_ELEMENTS: usize = 64;

/// The names in a value. `None` if it is too long, has too many elements, or contains a non-token.
///
/// Browsers send lower-case names, sorted and without spaces (Fetch section 4.8). Some proxies
/// insert spaces, and split and join lines. So optional whitespace and empty elements are skipped,
/// as RFC 9110 section 5.6.1.2 demands, within the limits above.
pub(super) fn parse(value: &str) -> Option<impl Iterator<Item = &str>> {
    if value.len() > MAX_BYTES || value.split(',').count() > MAX_ELEMENTS {
        return None;
    }
    let names = || value.split(',').map(trim).filter(|name| !name.is_empty());
    names().all(crate::net::is_token).then(names)
}

fn trim(element: &str) -> &str {
    element.trim_matches([' ', '\t'])
}

/// Whether every name is in `allowed`, which is sorted and in lower case. Header names are compared
/// without case.
pub(super) fn all_allowed(value: &str, allowed: &[Box<str>]) -> bool {
    parse(value).is_some_and(|mut names| {
        names.all(|name| {
            let wanted = || name.bytes().map(|byte| byte.to_ascii_lowercase());
            allowed.binary_search_by(|known| known.bytes().cmp(wanted())).is_ok()
        })
    })
}
