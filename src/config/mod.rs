//! Configuration: the JSON from JavaScript is parsed into checked types once, when a guard is
//! built.
//!
//! [`options`] reads options and reports errors in them; every layer has a `config.rs` that turns
//! its options into a type that is always valid; [`guard`] lists the options of a guard and of a
//! route, and [`proxies`] reads `trustedProxies`. No unvalidated option reaches a request.

pub(crate) mod guard;
pub mod options;
mod other_names;
pub(crate) mod proxies;
