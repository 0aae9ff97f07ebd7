//! CORS decides which other origins' pages may read this API's answers (Fetch standard, section
//! 3.2).
//!
//! A browser lets a page send a request anywhere, with the user's cookies. It shows the page the
//! answer only if the answer names the page's origin. The attack exploits a server that allows
//! origins by mistake: it mirrors every origin, trusts `null` (any sandboxed frame has it), or
//! compares by a loose pattern, so that `https://evilexample.com` passes for `example.com`. With
//! credentials, every such page reads the user's data. The second fault is a cache that serves one
//! origin's answer to another because `Vary: Origin` is missing.
//!
//! Hence:
//!
//! 1. There is no default origin.
//! 2. Every origin is exact, or is a wildcard of exactly one label below a domain that can have an
//!    owner.
//! 3. `null`, plain-text origins with credentials, and `*` with credentials are refused when the
//!    guard is built.
//! 4. `Vary: Origin` is on every answer that depends on the origin.
//!
//! CORS blocks no request. A simple `GET`, `HEAD` or `POST` of another origin arrives without a
//! preflight and is handled. The `csrf` layer stops CSRF; tokens and policy control access.
//!
//! Several stacks and layers of one guard may judge one request. The innermost decision wins: the
//! shim first removes the headers of the outer ones (`shim/response-decisions.js`).
//!
//! # A preflight is answered here
//!
//! `OPTIONS` with `Origin` and `Access-Control-Request-Method` is a preflight; any other `OPTIONS`
//! goes on to the application. An allowed preflight gets 204 and the allowed methods and headers. A
//! refused one (by origin, method or header) gets **403 and no CORS header but `Vary`**. The
//! browser refuses the request either way. With 403, a log, a metric or `curl` shows the refusal,
//! and a proxy that checks only the status does not take it for a permission. [`CorsError`] is the
//! reason, for the log.
//!
//! # For the shim
//!
//! * Append `Vary` to the existing value (`res.vary`), never replace it; set the other headers.
//! * With a function as `origins`, call it with the origin from [`Cors::asks`] and hand in its
//!   result. An error, a rejection or a timeout is `None` or `Some(false)`, never a pass.
//! * A request of the API's own pages may carry `Origin` too (every `POST` does). That origin is
//!   not listed, so the request gets no CORS headers and needs none.
//!
//! Sources: Fetch standard sections 3.2 and 4.8, RFC 6454, RFC 9110 sections 5.6.1 and 12.5.5.

mod config;
mod judge;
mod names;
mod request_headers;
#[cfg(test)]
mod tests;

pub use config::Cors;
pub use judge::{CorsAnswer, CorsError, CorsKind, CorsRequest};
