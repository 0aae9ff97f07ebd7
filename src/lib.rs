//! keepstone: the security layers of a Node.js API in one core.
//!
//! Read [`stack`] first: it leads a request through the layers, in order.
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

pub mod bearer;
pub mod binding;
pub mod clients;
pub mod cors;
pub mod csrf;
pub mod few;
mod formats;
pub mod guard;
pub mod headers;
pub mod identity;
pub mod introspection;
pub mod jose;
pub mod json;
pub mod keys;
pub mod limit;
pub mod memcached;
mod messages;
pub mod multipart;
pub mod net;
pub mod openapi;
mod pattern;
pub mod payload;
pub mod policy;
pub mod quota;
mod random;
pub mod redis;
pub mod remote_keys;
pub mod requirements;
pub mod revocation;
pub mod rotation;
pub mod router;
pub mod schema;
pub mod session;
pub mod shared_store;
#[cfg(test)]
mod simulation;
pub mod stack;
pub mod store;
pub mod token;
