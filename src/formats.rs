//! Formats that the crate `jsonschema` checks too loosely, not in every draft, or for too long.

use std::sync::OnceLock;

use jsonschema::Validator;
use serde_json::{Value, json};

/// The check of a format that this module defines instead of the crate.
pub(crate) fn own(name: &str) -> Option<fn(&str) -> bool> {
    match name {
        "email" => Some(is_email),
        "uuid" => Some(is_uuid),
        _ => None,
    }
}

/// Whether mail servers accept this email address: a dot-atom of at most 64 characters (RFC 5321
/// section 4.5.3.1.1), `@`, and a domain name of at least two labels.
///
/// The grammar of RFC 5321 also allows quotes, comments, display names, addresses in brackets and
/// hosts without a dot; the crate accepts `Name <a@b.co>` and `a@b`. In a sign-up form these are
/// mistakes.
pub(crate) fn is_email(text: &str) -> bool {
    let bytes = text.as_bytes();
    let Some(at) = bytes.iter().take(MAX_LOCAL + 1).position(|byte| *byte == b'@') else {
        return false;
    };
    let (local, domain) = bytes.split_at(at);
    bytes.len() <= 254 && is_dot_atom(local) && is_domain(domain.get(1..).unwrap_or_default())
}

/// The maximum number of characters before the `@`.
const MAX_LOCAL: usize = 64;

/// Whether these are atoms with single dots between them (RFC 5322 section 3.2.3). The loop has no
/// early exit: a branch that the processor mispredicts costs more than the computation.
fn is_dot_atom(bytes: &[u8]) -> bool {
    let (mut before, mut all, mut wrong) = (DOT, ATOM, 0);
    for &byte in bytes {
        let class = class_of(byte);
        all &= class;
        wrong |= before & class & DOT;
        before = class;
    }
    all != 0 && (wrong | before & DOT) == 0
}

/// Whether these are at least two labels of a host name (RFC 1123 section 2.1). The last label must
/// have a letter: in an address like `a@10.0.0.1` it is a number.
fn is_domain(bytes: &[u8]) -> bool {
    let (mut before, mut all, mut any, mut wrong) = (DOT, HOST, 0, 0);
    for &byte in bytes {
        let class = class_of(byte);
        all &= class;
        any |= class;
        // A dot after a dot or a hyphen, or a hyphen after a dot.
        wrong |= class & ((before | before >> 1) & DOT | before << 1 & HYPHEN);
        before = class;
    }
    let ends = before & END != 0 && bytes.len() <= 253;
    let is_dot = |byte: &u8| *byte == b'.';
    let last = bytes.rsplit(is_dot).next().unwrap_or_default();
    let has_letter = |label: &[u8]| label.iter().any(|byte| class_of(*byte) & LETTER != 0);
    let is_short = |label: &[u8]| label.len() <= MAX_LABEL;
    all != 0
        && any & DOT != 0
        && wrong == 0
        && ends
        && has_letter(last)
        && (is_short(bytes) || bytes.split(is_dot).all(is_short))
}

/// The maximum number of characters of a label.
const MAX_LABEL: usize = 63;

/// The classes of a byte: characters of a dot-atom; first and last characters of a label; letters;
/// the dot and the hyphen, which [`is_domain`] shifts onto each other; and characters of a host
/// name.
const ATOM: u8 = 1;
const END: u8 = 2;
const LETTER: u8 = 4;
const DOT: u8 = 8;
const HYPHEN: u8 = 16;
const HOST: u8 = 32;

fn class_of(byte: u8) -> u8 {
    static CLASSES: [u8; 256] = classes();
    CLASSES.get(usize::from(byte)).copied().unwrap_or_default()
}

#[expect(clippy::indexing_slicing, reason = "the compiler runs it, and would not go on")]
const fn classes() -> [u8; 256] {
    let mut classes = [0; 256];
    let mut byte = 0_u8;
    while byte < 128 {
        classes[byte as usize] = match byte {
            b'a'..=b'z' | b'A'..=b'Z' => ATOM | HOST | END | LETTER,
            b'0'..=b'9' => ATOM | HOST | END,
            b'.' => ATOM | HOST | DOT,
            b'-' => ATOM | HOST | HYPHEN,
            b'!' | b'#'..=b'\'' | b'*' | b'+' | b'/' | b'=' | b'?' | b'^'..=b'`' | b'{'..=b'~' => {
                ATOM
            }
            _ => 0,
        };
        byte += 1;
    }
    classes
}

/// Whether this is a UUID of RFC 9562 section 4: 32 hex digits in five groups. The crate supports
/// the format only from draft 2019-09 on.
pub(crate) fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(i, c)| match i {
            8 | 13 | 18 | 23 => c == b'-',
            _ => c.is_ascii_hexdigit(),
        })
}

/// The maximum length of a regular expression in bytes. Each is compiled, which takes 4 ms for 100
/// kB of brackets.
const MAX_REGEX: usize = 16_384;

/// Whether this is a regular expression of ECMA-262 that the crate supports, of at most 16 kB.
pub(crate) fn is_regex(text: &str) -> bool {
    static REGEX: OnceLock<Option<Validator>> = OnceLock::new();
    let build = || {
        let schema = json!({ "format": "regex" });
        jsonschema::options().should_validate_formats(true).build(&schema).ok()
    };
    let is_one = |regex: &Validator| regex.is_valid(&Value::String(text.to_owned()));
    text.len() <= MAX_REGEX && REGEX.get_or_init(build).as_ref().is_some_and(is_one)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The definition of an email in plain code.
    fn is_email_in_words(text: &str) -> bool {
        let Some((local, domain)) = text.split_once('@') else { return false };
        let is_atom = |part: &str| {
            let is_atext = |c: u8| c.is_ascii_alphanumeric() || b"!#$%&'*+/=?^_`{|}~-".contains(&c);
            !part.is_empty() && part.bytes().all(is_atext)
        };
        let is_label = |part: &str| {
            (1..=63).contains(&part.len())
                && part.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-')
                && !part.starts_with('-')
                && !part.ends_with('-')
        };
        let Some((_, top)) = domain.rsplit_once('.') else { return false };
        text.len() <= 254
            && local.len() <= 64
            && domain.len() <= 253
            && local.split('.').all(is_atom)
            && domain.split('.').all(is_label)
            && top.bytes().any(|c| c.is_ascii_alphabetic())
    }

    /// Texts that are emails or nearly so, also at the limits of their lengths.
    fn nearly_email() -> impl Strategy<Value = String> {
        let label =
            prop_oneof![4 => "[a-z0-9.-]{0,5}", 1 => "[a-z]{62,64}", 1 => "[A-Z0-9é_ ]{1,3}"];
        let local = prop_oneof![4 => "[a-z.+@-]{0,8}", 1 => "[a-z]{63,65}", 1 => "[ -~]{0,4}"];
        (local, "[@.]?@?", prop::collection::vec(label, 0..6), "[.@ ]?")
            .prop_map(|(local, at, labels, end)| format!("{local}{at}{}{end}", labels.join(".")))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(5000))]

        #[test]
        fn an_email_is_one_however_it_is_read(text in nearly_email()) {
            prop_assert_eq!(is_email(&text), is_email_in_words(&text), "{}", text);
        }
    }

    #[test]
    fn a_regular_expression_is_one_of_ecmascript_and_no_longer_than_anybody_writes() {
        for text in ["", "^a+$", "(?<year>[0-9]{4})", "\\p{Letter}", "[a-z&&^b]", "(a)\\1(?!b)"] {
            assert!(is_regex(text), "{text}");
        }
        for text in ["(", "[", "\\", "\\a", "a**", "[[a]]", "(?P<a>b)"] {
            assert!(!is_regex(text), "{text}");
        }
        assert!(is_regex(&"a".repeat(MAX_REGEX)));
        assert!(!is_regex(&"a".repeat(MAX_REGEX + 1)));
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
