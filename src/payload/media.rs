//! What a body says it is. Anything but JSON in UTF-8, as it is, is refused before a byte of it is read.

use crate::payload::config::PayloadConfig;
use crate::refusal::Refusal;

impl PayloadConfig {
    /// Whether a body with these header values is to be read: `application/json` or a `+json` type, in UTF-8 (said or
    /// not), without a content coding. The refusal is a 415.
    ///
    /// A charset such as utf-7 hides `<` from every check but the browser's; a coding hides a bomb.
    pub fn accepts(
        &self,
        content_type: Option<&str>,
        content_encoding: Option<&str>,
    ) -> Result<(), Refusal> {
        let Some(parsed) = content_type.and_then(parse).filter(|parsed| parsed.is_json) else {
            return Err(Refusal::new(
                415,
                "unsupported_media_type",
                "the body must be sent as application/json",
            ));
        };
        if !parsed.is_utf8 {
            return Err(Refusal::new(415, "unsupported_charset", "the body must be sent in utf-8"));
        }
        if content_encoding.is_some_and(|coding| !trimmed(coding).eq_ignore_ascii_case("identity"))
        {
            let refusal = Refusal::new(
                415,
                "unsupported_encoding",
                "the body must be sent without a content encoding",
            );
            return Err(refusal.header("Accept-Encoding", "identity"));
        }
        Ok(())
    }
}

struct MediaType {
    is_json: bool,
    is_utf8: bool,
}

/// Reads a media type by RFC 9110 section 8.3.1; `None` where it is none.
fn parse(text: &str) -> Option<MediaType> {
    let (essence, mut rest) =
        text.split_once(';').map_or((text, ""), |(essence, rest)| (essence, rest));
    let (kind, subtype) = trimmed(essence).split_once('/')?;
    if !is_token(kind) || !is_token(subtype) {
        return None;
    }
    let suffix = subtype.len().checked_sub(5).and_then(|at| subtype.get(at..));
    let has_suffix =
        subtype.len() > 5 && suffix.is_some_and(|suffix| suffix.eq_ignore_ascii_case("+json"));
    let is_json = kind.eq_ignore_ascii_case("application") && subtype.eq_ignore_ascii_case("json")
        || has_suffix;
    let mut charset: Option<bool> = None;
    while !trimmed(rest).is_empty() {
        let (name, is_utf8, tail) = parameter(trimmed(rest))?;
        rest = tail;
        if name.eq_ignore_ascii_case("charset") && charset.replace(is_utf8).is_some() {
            return None;
        }
    }
    Some(MediaType { is_json, is_utf8: charset.unwrap_or(true) })
}

/// One parameter from the start of `text`: its name, whether its value is `utf-8`, and what follows its semicolon.
fn parameter(text: &str) -> Option<(&str, bool, &str)> {
    let (name, value) = text.split_once('=')?;
    if !is_token(name) {
        return None;
    }
    if let Some(quoted) = value.strip_prefix('"') {
        let mut unquoted = String::new();
        let mut chars = quoted.char_indices();
        let end = loop {
            match chars.next()? {
                (at, '"') => break at,
                (_, '\\') => unquoted.push(chars.next()?.1),
                (_, c) if c.is_control() && c != '\t' => return None,
                (_, c) => unquoted.push(c),
            }
        };
        let rest = trimmed(quoted.get(end + 1..)?);
        let rest = if rest.is_empty() { rest } else { rest.strip_prefix(';')? };
        return Some((name, unquoted.eq_ignore_ascii_case("utf-8"), rest));
    }
    let (value, rest) = value.split_once(';').unwrap_or((value, ""));
    let value = trimmed(value);
    is_token(value).then(|| (name, value.eq_ignore_ascii_case("utf-8"), rest))
}

/// A token by RFC 9110 section 5.6.2.
fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|c| c.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&c))
}

fn trimmed(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(content_type: Option<&str>, encoding: Option<&str>) -> &'static str {
        match PayloadConfig::default().accepts(content_type, encoding) {
            Ok(()) => "accepted",
            Err(refusal) => {
                assert_eq!(refusal.status, 415);
                refusal.code
            }
        }
    }

    #[test]
    fn json_in_utf8_is_accepted_in_every_spelling() {
        for text in [
            "application/json",
            "Application/JSON",
            "application/json; charset=utf-8",
            "application/json;charset=UTF-8",
            "application/json ; charset=\"utf-8\"",
            "application/json; charset=\"ut\\f-8\"; v=1",
            "application/problem+json",
            "application/vnd.api+json; profile=\"a;b\\\"c\"",
            "application/json;",
        ] {
            assert_eq!(code(Some(text), None), "accepted", "{text}");
        }
        assert_eq!(code(Some("application/json"), Some("Identity")), "accepted");
    }

    #[test]
    fn other_types_are_refused() {
        for text in [
            None,
            Some(""),
            Some("json"),
            Some("text/plain"),
            Some("text/json"),
            Some("application/json5"),
            Some("application/+json"),
            Some("application/x-www-form-urlencoded"),
            Some("multipart/form-data; boundary=application/json"),
            Some("application/json, text/plain"),
            Some("application/json; charset"),
            Some("application/json; charset=\"utf-8"),
            Some("application/json; charset=utf-8; charset=utf-7"),
            Some("application/json\u{a0}"),
        ] {
            assert_eq!(code(text, None), "unsupported_media_type", "{text:?}");
        }
    }

    #[test]
    fn charsets_that_hide_characters_are_refused() {
        for charset in ["utf-7", "utf-16", "iso-8859-1", "\"utf-7\"", "utf8", "us-ascii"] {
            let text = format!("application/json; charset={charset}");
            assert_eq!(code(Some(&text), None), "unsupported_charset", "{text}");
        }
    }

    #[test]
    fn encoded_bodies_are_refused() {
        for coding in ["gzip", "deflate", "br", "zstd", "identity, gzip", ""] {
            assert_eq!(
                code(Some("application/json"), Some(coding)),
                "unsupported_encoding",
                "{coding}"
            );
        }
    }
}
