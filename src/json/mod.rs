//! Strict JSON on bytes: RFC 8259 to the letter, without constructs that two parsers read
//! differently.
//!
//! `parser` turns bytes into a tape in one pass, within [`Limits`]; a [`Document`] is the view of
//! it. `number` detects numbers that JavaScript would change. `write` turns a tape into text again.
//! `fault` names the faults of a text.

pub(crate) mod fault;
mod limits;
pub(crate) mod number;
pub(crate) mod object;
pub(crate) mod parser;
pub(crate) mod tape;
pub(crate) mod tape_json;
#[cfg(test)]
mod tests;
pub(crate) mod write;

pub use fault::FaultCode;
pub(crate) use limits::is_operator_like;
pub use limits::{Limits, Operators};
pub use tape::Document;
