//! CORS: which other origins' pages may read this API's answers, by the Fetch standard (section
//! 3.2).
//!
//! A browser lets a page send a request anywhere, with the user's cookies, but shows it the answer
//! only if the answer names the page's origin. The attack is a server that names origins it does
//! not mean: it mirrors whatever it is sent, trusts `null` (any sandboxed frame has it), or
//! compares by a loose pattern, so that `https://evilexample.com` passes for `example.com`; with
//! credentials, every such page reads the user's data. The second fault is a cache that serves one
//! origin's answer to another, for want of `Vary: Origin`.
//!
//! Hence: no default origin; every origin is written out or is a wildcard of exactly one label
//! below a domain that somebody owns; `null`, plain-text origins with credentials and `*` with
//! credentials are refused when the guard is built; `Vary: Origin` is on every answer that would be
//! another one for another origin.
//!
//! What CORS is not: it keeps no request out. A simple `GET`, `HEAD` or `POST` of another origin
//! arrives without preflight and is handled; CSRF is stopped by the `csrf` layer, and access by
//! tokens and policy.
//!
//! Several stacks and layers of one guard may judge one request. The innermost decision wins: the
//! shim first removes the headers of the outer ones (`shim/response-decisions.js`).
//!
//! # A preflight is answered here
//!
//! `OPTIONS` with `Origin` and `Access-Control-Request-Method` is a preflight; any other `OPTIONS`
//! goes on to the application. Allowed, it gets 204 and what it may send. Not allowed (origin,
//! method or header), it gets **403 and no CORS header but `Vary`**. The browser refuses either
//! way; 403 is what a log, a metric or `curl` can see as a refusal, and no proxy that looks at the
//! status alone takes it for a yes. [`CorsError`] says why, for the log.
//!
//! # For the shim
//!
//! * `Vary` is to be added to what is there (`res.vary`), never to replace it; the other headers
//!   are set.
//! * With a function as `origins`, ask it about the origin that [`Cors::asks`] names, and hand in
//!   what it said. An error, a rejection or a timeout is `None` or `Some(false)`, never a pass.
//! * A request of the API's own pages may carry `Origin` too (every `POST` does). It is not listed,
//!   so it gets no CORS headers and needs none.
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
