//! What a piece of a multipart body brings for files, as text for the shim.

use super::answer::list;
use crate::multipart::Event;

/// The events of a piece, a JSON list of lists that begin with a
/// letter: `["f", field, name]` a file begins, `["d", text, start, end]` it has a text that came
/// with an earlier piece and then these bytes, `["k", type]` its kind, `["e"]` its end. Empty if
/// there is nothing.
pub(crate) fn write(events: &[Event], delimiter: &[u8]) -> String {
    let mut out = String::new();
    if events.is_empty() {
        return out;
    }
    let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
    list(&mut out, |list| {
        for event in events {
            list.list(|item| match event {
                Event::File { field, name } => {
                    item.string("f").number(count(*field)).string(name);
                }
                Event::Data { held, start, end } => {
                    let early = delimiter.get(..*held).unwrap_or_default();
                    item.string("d").string(str::from_utf8(early).unwrap_or_default());
                    item.number(count(*start)).number(count(*end));
                }
                Event::Kind(kind) => {
                    item.string("k").string(kind);
                }
                Event::End => {
                    item.string("e");
                }
            });
        }
    });
    out
}
