//! Percent-encoding as in RFC 3986 section 2.1, read strictly.

/// Decodes `text` into `bytes`, a `+` as a space if `plus_is_space` (the query encoding of forms). False where a `%` has
/// no two hex digits behind it.
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
