//! Percent-encoding as in RFC 3986 section 2.1, read strictly.

use std::borrow::Cow;

/// Decodes `text` into `bytes`, a `+` as a space if `plus_is_space` (the query encoding of forms).
/// False if a `%` is not followed by two hex digits.
pub(crate) fn decode(text: &str, plus_is_space: bool, bytes: &mut Vec<u8>) -> bool {
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let mut digit = || rest.next().and_then(|byte| char::from(byte).to_digit(16));
                let (Some(high), Some(low)) = (digit(), digit()) else { return false };
                u8::try_from(high << 4 | low).unwrap_or_default()
            }
            b'+' if plus_is_space => b' ',
            byte => byte,
        });
    }
    true
}

/// Decodes a name or a value: a `+` is a space. `None` if it is not percent-encoded UTF-8.
pub(crate) fn form_decoded(text: &str) -> Option<Cow<'_, str>> {
    if !text.bytes().any(|byte| matches!(byte, b'%' | b'+')) {
        return Some(Cow::Borrowed(text));
    }
    let mut bytes = Vec::with_capacity(text.len());
    if !decode(text, true, &mut bytes) {
        return None;
    }
    String::from_utf8(bytes).map(Cow::Owned).ok()
}
