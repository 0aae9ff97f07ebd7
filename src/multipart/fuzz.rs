//! The body of the fuzz target, so that property tests run it too.

use std::sync::Arc;

use serde_json::json;

use super::{Boundary, Event, FileRules, Reader};
use crate::json::Limits;

/// What a body means: its fields, and the name, the kind and the content of each file.
type Meaning = (Vec<(String, String)>, Vec<(String, String, Vec<u8>)>);

/// Reads a body with the boundary `b` in one piece, and in pieces of `step` bytes.
///
/// # Panics
/// If the two differ, or if the reader refers to bytes that a piece does not have.
pub fn fuzz_multipart(body: &[u8], step: usize) {
    let whole = read(body, usize::MAX);
    let pieces = read(body, step.max(1));
    // Which of two faults is met first may depend on the pieces; whether there is one may not.
    assert_eq!(whole, pieces, "pieces change the meaning of a body");
}

/// The meaning of a body that is accepted.
fn read(body: &[u8], step: usize) -> Option<Meaning> {
    let types = json!(["*/*", "text/plain"]);
    let rules = json!({ "f": { "types": types, "maxCount": 3 }, "g": { "types": ["text/csv", "image/*"], "maxBytes": 50, "optional": true } });
    let rules = FileRules::parse("files", &rules).ok()?;
    let boundary = Boundary::read("multipart/form-data; boundary=b").ok()?;
    let mut reader = Reader::new(&boundary, Arc::new(rules), &Limits::default());
    let delimiter = reader.delimiter().to_vec();
    let mut files: Vec<(String, String, Vec<u8>)> = Vec::new();
    for piece in body.chunks(step.min(body.len().max(1))) {
        for event in reader.push(piece).ok()? {
            match event {
                Event::File { name, .. } => files.push((name.clone(), String::new(), Vec::new())),
                Event::Data { held, start, end } => {
                    let (_, _, bytes) = files.last_mut()?;
                    bytes.extend_from_slice(delimiter.get(..*held)?);
                    bytes.extend_from_slice(piece.get(*start..*end)?);
                }
                Event::Kind(kind) => files.last_mut()?.1 = kind.to_string(),
                Event::End => assert!(!files.last()?.1.is_empty(), "a file of no kind"),
            }
        }
    }
    reader.finish().ok()?;
    Some((reader.fields().to_vec(), files))
}
