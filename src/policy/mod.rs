//! Request authorization with policy as code: Rego, evaluated in the process, that denies by
//! default.
//!
//! The attack it stops is broken access control (OWASP API1:2023 and API5:2023): a route that
//! forgets to ask who may do what. A rule is asked about every request, and only `true`, or an
//! object whose `allow` is `true`, lets it pass. Undefined, any other type, an error, a limit that
//! is reached and a panic all deny.
//!
//! The engine is [regorus], through its interpreter. Its bytecode machine is faster, but turns
//! conflicts and errors of built-in functions into undefined, so that `allow if not blocked`
//! allows. What the interpreter leaves open is closed here:
//!
//! - data at a rule's path takes the rule's place: `load.rs`: refused
//! - an unknown function fails only when it is reached: `load.rs`: refused
//! - recursion, which ends with the stack: `graph.rs`: refused
//! - built-in functions do not see the time limit; `strings.count(x, "")` panics: `builtins.rs`:
//!   bounded
//! - an error leaves state behind in the engine: `evaluate.rs`: that engine is not used again
//! - `print` writes to standard error: collected and dropped
//!
//! Sources: the OPA documentation (openpolicyagent.org/docs), OPA #7694 (data and rules in one
//! place), RFC 9110 section 15.5.4 (403).

mod builtins;
mod cache;
mod config;
mod decision;
mod evaluate;
mod files;
mod graph;
mod input;
mod load;
mod needs;
mod scan;
#[cfg(test)]
mod tests;

pub use config::{Limits, PolicyConfig, PolicySource, RegoVersion};
pub use decision::{FaultKind, Outcome};
pub use evaluate::{PolicySet, QueryId};
pub use input::{InputParts, QueryPart, RateView, TokenView};
