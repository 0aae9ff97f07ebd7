//! The payload layer: strict JSON on the raw bytes of a body, JSON Schema on that, and the same
//! schemas for forms, query, route parameters and headers.
//!
//! What it stops, before a JavaScript object exists:
//!
//! - two parsers that read one text differently: duplicate keys (RFC 8259 section 4 leaves them
//!   open), bytes that are no UTF-8 (section 8.1), lone surrogates (section 8.2), byte order marks,
//!   integers beyond 2^53 - 1 (section 6, RFC 7493 section 2.2), charsets such as utf-7. OWASP ASVS
//!   5.0, 1.5.3
//! - prototype pollution: `__proto__`, and `constructor` with `prototype` in it, in every spelling
//!   (CWE-1321)
//! - operator injection into document databases: keys that begin with `$` or contain `.` (CWE-943)
//! - parameter pollution: a name twice in a form or query that is no list, and names with brackets
//!   (CWE-235)
//! - compressed bombs: no coding is read unless asked for, then within a size and a ratio (CWE-409)
//! - exhaustion: size, depth, number of values and of keys are capped, nothing recurses on a
//!   client's depth, patterns run in linear time, and no more errors are written than someone reads
//!   (CWE-400, CWE-1333)
//! - mass assignment: keys that a schema does not declare are refused (OWASP API3:2023)
//!
//! [`PayloadConfig`] holds the limits and judges what a body says it is; [`Schemas`] holds the
//! schemas of a route and checks one request with [`Schemas::check`]. Inside, `form`, `text` and
//! `plan` give types to text, and `respond` judges answers. The parser is in [`crate::json`], the
//! compiled schemas in [`crate::schema`].

mod check;
mod config;
mod form;
pub mod fuzz;
mod media;
mod plan;
mod respond;
#[cfg(test)]
mod tests;
mod text;

pub use check::{Checked, Parts, Schemas};
pub use config::{BodyTypes, PayloadConfig};
pub use media::{BodyError, Coding, Format, Reading};
pub use respond::{OnResponse, Reply, Responses};
pub use text::TextSchema;
