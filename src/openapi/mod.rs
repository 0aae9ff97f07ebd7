//! `OpenAPI` 3.0 and 3.1 documents: they provide the validators, the security requirements and the
//! routes of a whole API.
//!
//! It stops:
//!
//! - an unenforced description: the document has `maxLength: 20`, `readOnly: true` or
//!   `security: [...]`, and the code does not enforce it (OWASP API3:2023, API5:2023, API9:2023)
//! - a lost rule: every keyword, parameter style, media type and security scheme of the document is
//!   enforced, mapped by an option, or an error when the guard is built. Nothing is ignored
//!   silently.
//! - a request that is checked by another operation's rules: the path is the canonical one of
//!   [`crate::request`], literal segments come before templates, and a request that fits two
//!   templates alike is refused
//!
//! [`Api::read`] reads a document once and checks all of it. Inside, `document` handles versions
//! and references, `convert` converts schemas to JSON Schema 2020-12, `operation` reads parameters,
//! bodies, answers and `security`, `judge` compiles all schemas, and [`crate::router`] finds the
//! operation of a request. Every fault is collected, and reading goes on behind it, so that all are
//! reported at once.

mod api;
mod body;
mod config;
mod convert;
mod discriminator;
mod document;
mod endless;
pub mod fuzz;
mod judge;
mod keywords;
mod kinds;
mod operation;
mod parameter;
mod response;
mod security;
#[cfg(test)]
mod tests;
mod version_30;

pub use api::{Api, Match};
pub use body::BodyKind;
pub use config::{OpenApiConfig, SchemeUse, Tolerance, Undeclared};
pub use operation::Operation;
pub use security::Demand;
