//! A value with parameters: `form-data; name="a"; filename="b.png"` (RFC 9110 section 5.6.6).

use crate::net::is_token;

/// What a value has: the text before the first semicolon, and its parameters in their order, with
/// names in lower case.
pub(super) type Value<'t> = (&'t str, Vec<(String, &'t str)>);

/// The most parameters of one value.
const MAX: usize = 16;

/// Reads a value. `None` if it is malformed, if a parameter comes twice, and for a backslash in a
/// quoted text: some readers take it for an escape (RFC 9110 section 5.6.4), others for a part of
/// the text (HTML, "multipart/form-data encoding algorithm"), so that they see the text end at
/// different places.
pub(super) fn read(text: &str) -> Option<Value<'_>> {
    let (first, mut rest) = text.split_once(';').unwrap_or((text, ""));
    let mut params: Vec<(String, &str)> = Vec::new();
    while !trimmed(rest).is_empty() {
        let (name, value) = trimmed(rest).split_once('=')?;
        let name = name.to_ascii_lowercase();
        let is_known = params.iter().any(|(known, _)| *known == name);
        if !is_token(&name) || is_known || params.len() == MAX {
            return None;
        }
        let value = if let Some(quoted) = value.strip_prefix('"') {
            let (value, behind) = quoted.split_once('"')?;
            if value.contains('\\') || value.chars().any(char::is_control) {
                return None;
            }
            let behind = trimmed(behind);
            rest = if behind.is_empty() { behind } else { behind.strip_prefix(';')? };
            value
        } else {
            let (value, behind) = value.split_once(';').unwrap_or((value, ""));
            rest = behind;
            let value = trimmed(value);
            if !is_token(value) {
                return None;
            }
            value
        };
        params.push((name, value));
    }
    Some((trimmed(first), params))
}

fn trimmed(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}
