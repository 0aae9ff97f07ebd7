//! Configuration: what JavaScript sends is parsed into checked types once, when a guard is built.
//!
//! [`raw`] reads options and says what is wrong with them; every layer has a `config.rs` that turns its options into
//! a type that cannot be wrong; [`checked`] puts them together. A request never meets an unvalidated option.

pub(crate) mod checked;
pub mod raw;
