//! The interface to Node: the only module that uses napi.
//!
//! There are three kinds of exports. Those of [`call`] run on every request: integers and strings
//! in, one text out. Those of [`completions`] pass commands to shared stores and answers back, in
//! batches. All others run when a guard is built or managed and answer `{"ok": ...}` or
//! `{"error": ...}` as JSON, so that an error keeps its code, path and suggestion.
//!
//! Every export catches panics, which become JavaScript errors: the shim then refuses the request.

#![expect(
    clippy::needless_pass_by_value,
    clippy::must_use_candidate,
    reason = "Node calls these, and Node-API gives strings and lists by value"
)]

mod answer;
pub mod api_keys;
mod background;
pub mod call;
pub mod clients;
pub mod completions;
pub mod conformance;
pub mod guard;
pub mod introspection;
pub mod issuers;
pub mod limits;
pub mod openapi;
mod registry;
mod requests;
pub mod revoke;
pub mod rotation;
mod slots;
pub mod stores;
pub mod testing;
pub mod tokens;
pub mod watches;

#[cfg(debug_assertions)]
pub mod panics;
mod parts;
