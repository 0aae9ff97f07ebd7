//! keepstone: the security layers of a Node.js API in one core.
//!
//! Read [`stack`] first: it is the way of a request through the layers, in order.
#![deny(unsafe_code)]
#![cfg_attr(not(feature = "node"), forbid(unsafe_code))]

pub mod clock;
pub mod config;
pub mod error;
#[cfg(feature = "node")]
pub mod node;
pub mod panics;
pub mod refusal;
pub mod request;

pub mod clients;
pub mod cors;
pub mod csrf;
pub mod few;
pub mod guard;
pub mod headers;
pub mod json;
pub mod keys;
pub mod limit;
pub mod net;
pub mod openapi;
pub mod payload;
pub mod policy;
pub mod quota;
mod random;
pub mod revocation;
pub mod schema;
pub mod session;
#[cfg(test)]
mod simulation;
pub mod stack;
pub mod store;
pub mod token;
