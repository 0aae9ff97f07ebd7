//! `OpenAPI` 3.0 and 3.1 documents: the validators, the security demands and the routes of a whole
//! API from its own description.
//!
//! What it stops:
//!
//! - a description that nobody enforces: the document says `maxLength: 20`, `readOnly: true` or
//!   `security: [...]`, and the code does not (OWASP API3:2023, API5:2023, API9:2023)
//! - a rule that is lost on its way: every keyword, parameter style, media type and security scheme
//!   of the document is carried out, mapped by an option, or an error when the guard is built.
//!   Nothing passes in silence.
//! - a request that is judged by another operation's rules: the path is the canonical one of
//!   [`crate::request`], literal segments come before templates, and two templates that could both
//!   be meant are refused
//!
//! [`Api::read`] reads a document once and judges all of it. Inside, `document` knows versions and
//! references, `convert` turns schemas into JSON Schema 2020-12, `operation` reads parameters,
//! bodies, answers and `security`, `route` finds the operation of a request.

mod api;
mod body;
mod config;
mod convert;
mod document;
pub mod fuzz;
mod keywords;
mod kinds;
mod operation;
mod parameter;
mod response;
mod route;
mod security;
#[cfg(test)]
mod tests;

pub use api::{Api, Match};
pub use body::BodyKind;
pub use config::{OpenApiConfig, SchemeUse, Undeclared};
pub use operation::Operation;
pub use security::Demand;
