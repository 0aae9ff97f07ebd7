//! Reads `multipart/form-data` (RFC 7578) as it arrives, strictly and within bounds.
//!
//! A request with files has many readers: proxies, firewalls, this one, the handler and the
//! programs that open a file later. They differ on parts without a name, names given twice, folded
//! headers, what stands around the boundaries, and on whether a client's claims about a file are
//! true. An attacker looks for a body that one of them reads differently. So there is one reading
//! here, and the rest is refused. It stops:
//!
//! - parser differentials: anything before the first delimiter and behind the last one, text beside
//!   a delimiter, a part without its end, headers folded, repeated or without a colon, parameters
//!   repeated, escaped or unknown, `multipart/mixed` inside, encodings of a part (CWE-436)
//! - files of another kind than their name and their `Content-Type` claim: the content decides
//!   (CWE-434, CWE-646)
//! - names that are paths, or hide what they are: separators, control characters, bidirectional
//!   overrides, names of devices (CWE-22, CWE-451)
//! - exhaustion: the bytes of the fields, the headers of a part, and the number and size of files
//!   are bounded, and no file is held here (CWE-400)
//!
//! [`FileRules`] has what a route declares about files. [`Reader::push`] takes the body piece by
//! piece and returns what belongs to which file; the fields of text stay in the reader, for the
//! schema. [`Boundary`] is read from the media type.

mod boundary;
pub mod fuzz;
mod head;
mod kind;
mod name;
mod params;
mod reader;
mod rules;
#[cfg(test)]
mod tests;
mod utf8;

pub use boundary::Boundary;
pub use kind::FileKind;
pub use reader::{Event, Reader};
pub use rules::{FileField, FileRules};

use std::borrow::Cow;

use crate::json::fault::Pointer;
use crate::refusal::{FieldError, Refusal};

/// A body that is not written as RFC 7578 has it. The rest of it is not read: the connection ends.
#[cold]
fn malformed(reason: &'static str, what: &'static str) -> Refusal {
    Refusal::new(
        400,
        "malformed_multipart",
        format!("the body is no multipart/form-data that is read here: {what}"),
    )
    .because(Cow::Borrowed(reason))
    .header("Connection", "close")
}

/// A refusal of one field or file.
#[cold]
fn refused(status: u16, code: &'static str, detail: &'static str, error: FieldError) -> Refusal {
    let mut refusal = Refusal::new(status, code, detail).header("Connection", "close");
    refusal.errors.push(error);
    refusal
}

/// An error of the field with this name.
fn error_of(name: &str, code: &'static str, detail: impl Into<String>) -> FieldError {
    let mut pointer = Pointer::root();
    pointer.key(name);
    FieldError { location: "body", pointer: pointer.finish(), code, detail: detail.into() }
}
