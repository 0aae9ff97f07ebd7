//! `Access-Control-Request-Headers`: the names that a preflight asks for.

/// Longer values are no browser's: the names alone come to less.
pub(super) const MAX_BYTES: usize = 2048;
/// Empty elements count too, so that a value of commas is not worth sending.
pub(super) const MAX_ELEMENTS: usize = 64;

/// The names in a value, or `None` where it is too long, has too many elements or has something
/// else than names.
///
/// Browsers send lower-case names, sorted and without spaces (Fetch section 4.8). Proxies are known
/// to put spaces in and to split and join lines, so optional whitespace and empty elements are read
/// over, as RFC 9110 section 5.6.1.2 demands, within the limits above.
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

/// Whether every name is in `allowed`, which is sorted and in lower case. Case does not count in a
/// header name.
pub(super) fn all_allowed(value: &str, allowed: &[Box<str>]) -> bool {
    parse(value).is_some_and(|mut names| {
        names.all(|name| {
            let wanted = || name.bytes().map(|byte| byte.to_ascii_lowercase());
            allowed.binary_search_by(|known| known.bytes().cmp(wanted())).is_ok()
        })
    })
}
