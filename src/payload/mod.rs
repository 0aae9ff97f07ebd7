//! The payload layer: strict JSON on the raw bytes of a body, JSON Schema on the result, and the
//! same schemas for forms, query, route parameters and headers.
//!
//! Before a JavaScript object exists, it stops:
//!
//! - parser differentials: duplicate keys (RFC 8259 section 4 leaves them open), bytes that are not
//!   UTF-8 (section 8.1), lone surrogates (section 8.2), byte order marks, integers beyond 2^53 - 1
//!   (section 6, RFC 7493 section 2.2), charsets such as utf-7. OWASP ASVS 5.0, 1.5.3
//! - prototype pollution: `__proto__`, and `constructor` with `prototype` in it, in every spelling
//!   (CWE-1321)
//! - operator injection into document databases: keys that begin with `$` or contain `.` (CWE-943)
//! - parameter pollution: a repeated name in a form or query that is not a list, and names with
//!   brackets (CWE-235)
//! - compressed bombs: codings are off by default; if enabled, a size and a ratio bound them
//!   (CWE-409)
//! - exhaustion: size, depth, number of values and of keys are capped, no recursion depends on a
//!   client's depth, patterns run in linear time, and the number of listed errors is bounded
//!   (CWE-400, CWE-1333)
//! - mass assignment: keys that a schema does not declare are refused (OWASP API3:2023)
//!
//! [`PayloadConfig`] holds the limits and checks the declared type of a body. [`Schemas`] holds the
//! schemas of a route and checks one request with [`Schemas::check`]. Inside, `form`, `text` and
//! `plan` convert text to the declared types, and `respond` checks answers. The parser is in
//! [`crate::json`], the compiled schemas in [`crate::schema`].

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
mod tree;

pub use check::{Checked, Parts, Schemas};
pub use config::{BodyTypes, PayloadConfig};
pub use media::{BodyError, Coding, Format, Reading};
pub(crate) use plan::STYLE;
pub use respond::{OnResponse, Reply, Responses};
pub use text::TextSchema;
