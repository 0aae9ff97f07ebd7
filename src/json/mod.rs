//! Strict JSON on bytes: RFC 8259 to the letter, without what two readers take in two ways.
//!
//! `parser` turns bytes into a tape in one pass, within [`Limits`]; a [`Document`] shows it.
//! `number` keeps numbers that JavaScript would change apart, `write` turns a tape into text again,
//! `fault` names what is wrong with a text.

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
pub use limits::{Limits, Operators};
pub use tape::Document;
