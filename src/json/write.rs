//! Writes a changed document as JSON text.

use crate::json::tape::{Document, Item};

/// The whole document as compact JSON; numbers keep their written form.
pub(crate) fn document(document: &Document<'_>) -> String {
    let mut out = String::with_capacity(document.text().len());
    value(document, 0, &mut out);
    out
}

/// One value. The recursion is safe: no tape is deeper than 128.
pub(crate) fn value(document: &Document<'_>, at: u32, out: &mut String) {
    match document.item(at) {
        Item::Object(span) => {
            out.push('{');
            for (i, (key, at)) in document.members(span).enumerate() {
                if i > 0 {
                    out.push(',');
                }
                string(key, out);
                out.push(':');
                value(document, at, out);
            }
            out.push('}');
        }
        Item::Array(span) => {
            out.push('[');
            for (i, at) in document.elements(span).enumerate() {
                if i > 0 {
                    out.push(',');
                }
                value(document, at, out);
            }
            out.push(']');
        }
        _ => scalar(document, at, out),
    }
}

/// A value that is not a container.
pub(crate) fn scalar(document: &Document<'_>, at: u32, out: &mut String) {
    match document.item(at) {
        Item::String(text) => string(text, out),
        Item::Number(rec) => out.push_str(document.span_text(rec)),
        Item::Bool(true) => out.push_str("true"),
        Item::Bool(false) => out.push_str("false"),
        _ => out.push_str("null"),
    }
}

/// A text in quotes, written run by run: most texts need no escape.
pub(crate) fn string(text: &str, out: &mut String) {
    out.push('"');
    let mut run = 0;
    for (at, byte) in text.bytes().enumerate() {
        if !matches!(byte, b'"' | b'\\' | 0..0x20) {
            continue;
        }
        out.push_str(text.get(run..at).unwrap_or_default());
        run = at + 1;
        out.push('\\');
        if byte < 0x20 {
            let hex = |nibble| char::from_digit(u32::from(nibble), 16).unwrap_or('0');
            out.push_str("u00");
            out.push(hex(byte >> 4));
            out.push(hex(byte & 15));
        } else {
            out.push(char::from(byte));
        }
    }
    out.push_str(text.get(run..).unwrap_or_default());
    out.push('"');
}
