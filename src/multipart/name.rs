//! Names of files: labels for people, never a path.

use base64::Engine as _;

use crate::net::percent;

/// The longest name of a file in bytes: what file systems take.
const MAX_BYTES: usize = 255;

/// Names that Windows opens as a device, whatever stands behind the first dot.
const DEVICES: [&str; 6] = ["con", "prn", "aux", "nul", "conin$", "conout$"];

/// Whether a text is a name that is the same everywhere. Refused are separators of paths and
/// streams (`/`, `\`, `:`), control characters, characters that turn the direction of the text or
/// are invisible (a name that ends with `gpj.exe` may be shown as one that ends with `exe.jpg`),
/// `.` and `..`, blanks around it and a dot at its end, which Windows drops, names of devices, and
/// an encoding of what is refused: browsers write `"` as `%22` and line breaks as `%0D` and `%0A`,
/// and do not mark it, so that nothing here is decoded.
pub(super) fn is_plain(name: &str) -> bool {
    const HIDDEN: [&str; 5] = ["%00", "%0a", "%0d", "%2f", "%5c"];
    let lower = name.to_ascii_lowercase();
    let stem = lower.split('.').next().unwrap_or_default().trim_end();
    let is_port = ["com", "lpt"].iter().any(|port| {
        let rest = stem.strip_prefix(port).unwrap_or_default();
        matches!(rest, "¹" | "²" | "³")
            || rest.len() == 1 && rest.bytes().all(|c| c.is_ascii_digit())
    });
    (1..=MAX_BYTES).contains(&name.len())
        && !name.chars().any(is_misleading)
        && !name.starts_with(char::is_whitespace)
        && !name.ends_with(|c: char| c.is_whitespace() || c == '.')
        && !HIDDEN.iter().any(|hidden| lower.contains(hidden))
        && !DEVICES.contains(&stem)
        && !is_port
}

/// Separators, control characters, and characters that are not seen: those that turn the direction
/// of a text (Unicode TR 9, section 2), line and paragraph separators, joiners of nothing, tags and
/// characters of no text.
fn is_misleading(c: char) -> bool {
    c.is_control()
        || matches!(c, '/' | '\\' | ':' | '\u{61c}' | '\u{180e}' | '\u{feff}' | '\u{fffd}')
        || matches!(c, '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(c, '\u{2060}'..='\u{206f}' | '\u{fff0}'..='\u{fffb}' | '\u{fffe}' | '\u{ffff}')
        || matches!(c, '\u{e0000}'..='\u{e007f}')
}

/// The text of `filename*` (RFC 8187): UTF-8, percent-encoded, with no or any language.
pub(super) fn extended(text: &str) -> Option<String> {
    let (charset, rest) = text.split_once('\'')?;
    let (_language, value) = rest.split_once('\'')?;
    let is_attr = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$&+-.^_`|~%".contains(&byte);
    if !charset.eq_ignore_ascii_case("utf-8") || !value.bytes().all(is_attr) {
        return None;
    }
    let mut bytes = Vec::with_capacity(value.len());
    percent::decode(value, false, &mut bytes).then(|| String::from_utf8(bytes).ok()).flatten()
}

/// Whether `plain`, the value of `filename`, is the same name as `extended`. .NET sends both, and
/// writes what is not ASCII as an encoded word (RFC 2047 section 4.1).
pub(super) fn is_same(plain: &str, extended: &str) -> bool {
    let lower = plain.to_ascii_lowercase();
    let word = lower.starts_with("=?utf-8?b?").then(|| plain.get("=?utf-8?b?".len()..)).flatten();
    let Some(word) = word.and_then(|word| word.strip_suffix("?=")) else {
        return plain == extended;
    };
    base64::engine::general_purpose::STANDARD
        .decode(word)
        .is_ok_and(|bytes| bytes == extended.as_bytes())
}
