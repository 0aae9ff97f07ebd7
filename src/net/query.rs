//! Query strings that parsers split differently.
//!
//! A policy or a schema decides about the pairs that we read. The handler uses the pairs of its own
//! parser: `qs` in Express 4, `querystring` in Express 5. If the two could have different names or
//! values, the request is refused:
//!
//! 1. Both stop after 1,000 parts, empty ones included, and drop the rest.
//! 2. `qs` nests brackets: `role[]=a`, `role[x]=a` and `[role]=a` all fill `role`.
//! 3. `qs` looks for `]=` before `=`: in `a=b]=c` the name is `a=b]`.
//! 4. `qs` drops an empty name and `__proto__`.
//! 5. A broken percent-encoding is kept as it is, or replaced, or cuts the text.
//!
//! A duplicate name is a list in all parsers.

use crate::net::percent::form_decoded;
use crate::refusal::Refusal;

/// The maximum number of parts between `&` that Express reads.
const MAX_PARTS: usize = 1_000;

/// Checks the split of the query, for a reader with its own rules for names.
pub(crate) fn check_split(query: &str) -> Result<(), Refusal> {
    if memchr::memchr_iter(b'&', query.as_bytes()).count() >= MAX_PARTS {
        let why = "the query has more than 1000 parts, empty ones included";
        return Err(Refusal::new(400, "too_many_keys", why));
    }
    for part in parts(query) {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        if name.is_empty() {
            return Err(malformed("a name in the query is empty"));
        }
        if !ends_with_bracket(name) && has_bracket_before_equals(value) {
            let why = "a value in the query has a bracket before an equals sign: encode the sign";
            return Err(Refusal::new(400, "bracketed_key", why));
        }
    }
    Ok(())
}

/// Checks the names too. `differs` is true for a name that the reader and `qs` interpret
/// differently.
pub(crate) fn check_names(query: &str, differs: impl Fn(&str) -> bool) -> Result<(), Refusal> {
    check_split(query)?;
    for part in parts(query) {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        let encoded = || malformed("the query must be percent-encoded UTF-8");
        let name = form_decoded(name).ok_or_else(encoded)?;
        form_decoded(value).ok_or_else(encoded)?;
        if name == "__proto__" {
            let why = "a name in the query is not allowed";
            return Err(Refusal::new(400, "forbidden_key", why));
        }
        if differs(&name) {
            let why = "a name in the query has brackets, and the policy reads what they fill";
            return Err(Refusal::new(400, "bracketed_key", why));
        }
    }
    Ok(())
}

/// Whether `qs` nests a name that we read as flat.
pub(crate) fn has_brackets(name: &str) -> bool {
    name.contains(['[', ']'])
}

/// Whether `name` is not in `wanted` but fills a member of `req.query` from which one of them is
/// read.
pub(crate) fn fills_other<'n>(
    name: &str,
    mut wanted: impl Iterator<Item = &'n str> + Clone,
) -> bool {
    !wanted.clone().any(|wanted| wanted == name) && wanted.any(|wanted| root(wanted) == root(name))
}

/// The member of Express 4's `req.query` that a name fills: `role` of `role[x]` and of `[role]`.
fn root(name: &str) -> &str {
    name.split(['[', ']']).find(|piece| !piece.is_empty()).unwrap_or_default()
}

/// Whether `qs` reads a closing bracket at its end.
fn ends_with_bracket(raw: &str) -> bool {
    raw.ends_with(']') || raw.len() >= 3 && raw.get(raw.len() - 3..).is_some_and(is_bracket)
}

fn is_bracket(encoded: &str) -> bool {
    encoded.eq_ignore_ascii_case("%5d")
}

/// Whether `qs` finds `]=` in it.
fn has_bracket_before_equals(raw: &str) -> bool {
    raw.match_indices('=').any(|(at, _)| raw.get(..at).is_some_and(ends_with_bracket))
}

fn parts(query: &str) -> impl Iterator<Item = &str> {
    query.split('&').filter(|part| !part.is_empty())
}

fn malformed(why: &'static str) -> Refusal {
    Refusal::new(400, "malformed_query", why)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(query: &str, wanted: &[&str]) -> Result<(), &'static str> {
        check_names(query, |name| fills_other(name, wanted.iter().copied()))
            .map_err(|refusal| refusal.code)
    }

    fn all(query: &str) -> Result<(), &'static str> {
        check_names(query, has_brackets).map_err(|refusal| refusal.code)
    }

    #[test]
    fn a_name_that_others_read_alike_passes() {
        for query in ["", "role=a", "role=a&role=b", "&&role=a&", "role", "r%6Fle=a+b", "role==a"] {
            assert_eq!(names(query, &["role"]), Ok(()), "{query}");
            assert_eq!(all(query), Ok(()), "{query}");
        }
    }

    #[test]
    fn brackets_that_fill_a_wanted_name_are_refused() {
        for query in [
            "role[]=a",
            "role[x]=a",
            "role%5B%5D=a",
            "role%5b0%5d=a",
            "[role]=a",
            "x=1&role[a][b]=c",
            "role[=a",
            "role]=a",
        ] {
            assert_eq!(names(query, &["role"]), Err("bracketed_key"), "{query}");
            assert_eq!(all(query), Err("bracketed_key"), "{query}");
        }
        assert_eq!(names("filter[x]=1&tag[]=a&x[role]=1", &["role"]), Ok(()));
    }

    #[test]
    fn a_wanted_name_may_have_brackets_itself() {
        let wanted = &["page[size]", "page[at]"];
        assert_eq!(names("page[size]=5&page%5Bat%5D=1&page[size]=6", wanted), Ok(()));
        for query in ["page=5", "page[size][]=5", "[page][size]=5", "page[other]=5"] {
            assert_eq!(names(query, wanted), Err("bracketed_key"), "{query}");
        }
    }

    #[test]
    fn what_others_split_elsewhere_is_refused() {
        for query in ["a=b]=c", "a=b%5D=c", "a=b%5d=c", "x=1&a=]=role"] {
            assert_eq!(names(query, &["role"]), Err("bracketed_key"), "{query}");
        }
        for query in ["a=b]", "a=]", "a=b=]", "f[x]=a]=b", "f[x%5D=a]=b"] {
            assert_eq!(names(query, &["role"]), Ok(()), "{query}");
        }
        for query in ["=a", "&=", "a=1&=&b=2", "%=a", "a=%", "a=%ff", "a=%c0%af", "%ed%a0%80=1"] {
            assert_eq!(names(query, &["role"]), Err("malformed_query"), "{query}");
        }
        assert_eq!(names("%5F_proto__=a", &["role"]), Err("forbidden_key"));
    }

    #[test]
    fn parts_that_others_drop_are_refused() {
        let most = "a=1&".repeat(999);
        assert_eq!(names(&format!("{most}role=a"), &["role"]), Ok(()));
        assert_eq!(names(&format!("{most}a=1&role=a"), &["role"]), Err("too_many_keys"));
        assert_eq!(names(&format!("{}role=a", "&".repeat(1_000)), &["role"]), Err("too_many_keys"));
    }
}
