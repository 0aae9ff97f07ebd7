//! Configuration: what JavaScript sends is parsed into checked types once, when a guard is built.
//!
//! [`options`] reads options and says what is wrong with them; every layer has a `config.rs` that
//! turns its options into a type that cannot be wrong; [`guard`] names the options of a guard and
//! of a route. A request never meets an unvalidated option.

pub(crate) mod guard;
pub mod options;
