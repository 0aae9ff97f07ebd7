//! Formats that the crate checks too loosely, not in every draft, or for too long.

use std::sync::OnceLock;

use jsonschema::Validator;
use serde_json::{Value, json};

/// The check of a format that is decided here and not by the crate.
pub(crate) fn own(name: &str) -> Option<fn(&str) -> bool> {
    match name {
        "email" => Some(is_email),
        "uuid" => Some(is_uuid),
        _ => None,
    }
}

/// An email address as mail servers take it: a dot-atom of at most 64 characters (RFC 5321 section 4.5.3.1.1), `@`, and
/// a domain name of at least two labels.
///
/// The grammar of RFC 5321 also allows quotes, comments, display names, addresses in brackets and hosts without a dot;
/// the crate accepts `Name <a@b.co>` and `a@b`. Whoever signs up with one of those wants something else.
pub(crate) fn is_email(text: &str) -> bool {
    let Some((local, domain)) = text.split_once('@') else { return false };
    let atom = |part: &str| {
        !part.is_empty()
            && part
                .bytes()
                .all(|c| c.is_ascii_alphanumeric() || b"!#$%&'*+/=?^_`{|}~-".contains(&c))
    };
    text.len() <= 254 && local.len() <= 64 && local.split('.').all(atom) && is_domain(domain)
}

fn is_domain(domain: &str) -> bool {
    let label = |part: &str| {
        (1..=63).contains(&part.len())
            && part.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-')
            && !part.starts_with('-')
            && !part.ends_with('-')
    };
    let Some((front, top)) = domain.rsplit_once('.') else { return false };
    domain.len() <= 253
        && front.split('.').all(label)
        && label(top)
        // An address like `a@10.0.0.1` has a number for its top level.
        && top.bytes().any(|c| c.is_ascii_alphabetic())
}

/// A UUID as in RFC 9562 section 4: 32 hex digits in five groups. The crate knows it from draft 2019-09 on only.
pub(crate) fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(i, c)| match i {
            8 | 13 | 18 | 23 => c == b'-',
            _ => c.is_ascii_hexdigit(),
        })
}

/// The most bytes of a regular expression. Each is compiled, which takes 4 ms for 100 kB of brackets.
const MOST_REGEX: usize = 16_384;

/// A regular expression of ECMA-262 as the crate knows them, of at most 16 kB.
pub(crate) fn is_regex(text: &str) -> bool {
    static REGEX: OnceLock<Option<Validator>> = OnceLock::new();
    let build = || {
        let schema = json!({ "format": "regex" });
        jsonschema::options().should_validate_formats(true).build(&schema).ok()
    };
    let is_one = |regex: &Validator| regex.is_valid(&Value::String(text.to_owned()));
    text.len() <= MOST_REGEX && REGEX.get_or_init(build).as_ref().is_some_and(is_one)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_regular_expression_is_one_of_ecmascript_and_no_longer_than_anybody_writes() {
        for text in ["", "^a+$", "(?<year>[0-9]{4})", "\\p{Letter}", "[a-z&&^b]", "(a)\\1(?!b)"] {
            assert!(is_regex(text), "{text}");
        }
        for text in ["(", "[", "\\", "\\a", "a**", "[[a]]", "(?P<a>b)"] {
            assert!(!is_regex(text), "{text}");
        }
        assert!(is_regex(&"a".repeat(MOST_REGEX)));
        assert!(!is_regex(&"a".repeat(MOST_REGEX + 1)));
    }

    #[test]
    fn addresses_that_mail_servers_take_are_emails() {
        for text in [
            "ada@example.com",
            "a.b+c@sub.example.co.uk",
            "o'neil_9@x-y.io",
            "a@xn--bcher-kva.example",
        ] {
            assert!(is_email(text), "{text}");
        }
    }

    #[test]
    fn names_hosts_quotes_and_lists_are_no_emails() {
        let long = format!("{}@example.com", "a".repeat(65));
        for text in [
            "",
            "@",
            "a@",
            "@b.co",
            "a@b",
            "Name <a@b.co>",
            "<a@b.co>",
            "\"x y\"@e.co",
            "a b@c.de",
            "a@b.co,c@d.ef",
            "a@[127.0.0.1]",
            "a@127.0.0.1",
            "a@b..co",
            "a..b@c.de",
            ".a@b.co",
            "a.@b.co",
            "a@-b.co",
            "a@b-.co",
            "a@b.co.",
            "a@b@c.de",
            "a@b.co\n",
            "ä@b.co",
            "a@bü.de",
            &long,
        ] {
            assert!(!is_email(text), "{text}");
        }
    }

    #[test]
    fn only_the_hyphenated_form_is_a_uuid() {
        assert!(is_uuid("2EB8AA08-aa98-11ea-b4aa-73b441d16380"));
        for text in [
            "",
            "2eb8aa08aa9811eab4aa73b441d16380",
            "{2eb8aa08-aa98-11ea-b4aa-73b441d16380}",
            "2eb8aa08-aa98-11ea-b4aa-73b441d1638g",
            "2eb8aa08-aa98-11ea-b4aa73b441d16380-",
        ] {
            assert!(!is_uuid(text), "{text}");
        }
    }
}
