//! JSON Schema over the tape: compiled strictly, judged within a budget, explained without what was
//! sent.
//!
//! [`Schema`] is one compiled schema. `keywords` refuses what is misspelt or unknown to the draft,
//! `references` and `registry` find what `$ref` names, `pattern` writes regular expressions so that
//! they run in linear time. The `jsonschema` crate validates the tape (`tape_json`); `fast_path`
//! says a quick yes to most of what matches, before it. `explain` finds the words for what does not
//! match.

mod compiled;
pub(crate) mod explain;
pub(crate) mod fast_path;
pub(crate) mod keywords;
pub(crate) mod messages;
mod parse;
pub(crate) mod pattern_keys;
pub(crate) mod references;
pub(crate) mod registry;
pub(crate) mod reserved;
mod rules;
pub(crate) mod sanitize;
pub(crate) mod shape;
#[cfg(test)]
pub(crate) mod tests;

pub use compiled::Schema;
pub(crate) use compiled::{IN_PLACE, in_place_schemas};
pub use rules::SchemaRules;
