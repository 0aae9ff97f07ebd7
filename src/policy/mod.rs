//! Request authorization with policy as code: Rego, evaluated in the process, denying by default.
//!
//! It stops broken access control (OWASP API1:2023 and API5:2023): a route without an authorization
//! check. A rule is evaluated for every request, and only `true`, or an object whose `allow` is
//! `true`, lets it pass. Undefined, any other type, an error, an exceeded limit and a panic all
//! deny.
//!
//! The engine is [regorus], through its interpreter. Its bytecode machine is faster, but turns
//! conflicts and errors of built-in functions into undefined, so that `allow if not blocked`
//! allows. This module closes the gaps of the interpreter:
//!
//! - Data at a rule's path replaces the rule. It is refused (`load.rs`).
//! - An unknown function fails only when it is reached. It is refused (`load.rs`).
//! - Recursion ends with the stack. It is refused (`graph.rs`).
//! - Some constructs mean something else than in OPA, without an error. They are rewritten
//!   (`rewrite.rs`) or refused (`exact.rs`).
//! - Built-in functions ignore the time limit, and `strings.count(x, "")` panics. They are bounded
//!   (`builtins`).
//! - An error leaves state behind in the engine. That engine is not used again (`evaluate.rs`).
//! - `print` writes to standard error. Its output is collected and dropped.
//!
//! Sources: the OPA documentation (openpolicyagent.org/docs), OPA #7694 (data and rules at one
//! path), RFC 9110 section 15.5.4 (403).

mod builtins;
mod cache;
mod config;
mod decision;
mod evaluate;
mod exact;
mod files;
mod graph;
mod input;
mod load;
mod needs;
mod resource;
mod rewrite;
mod scan;
mod syntax;
#[cfg(test)]
mod tests;

pub use config::{Limits, PolicyConfig, PolicySource, RegoVersion};
pub use decision::{FaultKind, Outcome};
pub use evaluate::{PolicySet, QueryId};
pub use input::{InputParts, QueryPart, RateView, TokenView};
pub use resource::{ResourceAnswer, ResourceAsk};
