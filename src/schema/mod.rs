//! JSON Schema over the tape: compiled strictly, checked within a budget, explained without
//! submitted values.
//!
//! [`Schema`] is one compiled schema. `keywords` refuses keywords that are misspelt or unknown to
//! the draft. `references` and `registry` resolve `$ref`. `pattern` rewrites regular expressions so
//! that they run in linear time. The `jsonschema` crate validates the tape (`tape_json`). Before
//! it, `fast_path` quickly accepts most documents that match. `explain` writes the errors of those
//! that do not.

mod compiled;
mod declared;
pub(crate) mod explain;
pub(crate) mod fast_path;
pub(crate) mod keywords;
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
pub(crate) use keywords::is_keyword;
pub use rules::SchemaRules;
