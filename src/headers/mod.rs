//! Response headers limit what a browser may do with an answer of this API, and hide the server's
//! software.
//!
//! The attacks, and the headers against them:
//!
//! * A browser shows an answer as a page, and script in it runs (`Content-Security-Policy`,
//!   `X-Content-Type-Options`).
//! * A page frames the answer so that a click lands on it (`frame-ancestors`, `X-Frame-Options`).
//! * An attacker downgrades the connection and reads the answer (`Strict-Transport-Security`).
//! * Another site loads the answer as a resource to read it through a side channel
//!   (`Cross-Origin-Resource-Policy`).
//! * A shared cache keeps the answer and gives it to the next user (`Cache-Control: no-store`).
//! * A browser passes on an address with a secret in it (`Referrer-Policy`).
//! * A server names its software (`X-Powered-By`).
//!
//! All headers are checked and written when the guard is built; a request only sets the strings of
//! [`HeaderSet`]. The check refuses a policy that a browser would read differently from its intent:
//! an unknown directive, a keyword without its quotes, `'none'` beside another source, a nonce that
//! never changes, `preload` that the list would reject.
//!
//! # Profiles
//!
//! [`Profile::Api`] serves data, [`Profile::Web`] serves pages. The exact headers of both are in
//! the tests (`an_api_sends_exactly_these_headers`). Decisions that the table does not explain:
//!
//! * `upgrade-insecure-requests` is in neither: it breaks a site developed over plain http, and
//!   browsers block or upgrade mixed content by themselves.
//! * `require-trusted-types-for` is not in the web profile: it restricts a page's own libraries. To
//!   switch it on: `directives: { 'require-trusted-types-for': ["'script'"] }`.
//! * A web profile sends `Referrer-Policy: strict-origin-when-cross-origin`: `no-referrer` makes
//!   browsers send `Origin: null` with a site's own forms, which a CSRF check must refuse.
//! * `X-Frame-Options` and `frame-ancestors` always agree: give one, and the other follows.
//!
//! # For the shim
//!
//! 1. Set [`HeaderSet::always`] on every response before any layer can refuse, so that refusals
//!    carry them.
//! 2. Set [`HeaderSet::secure`] only if the request came over TLS, by the socket or a trusted proxy
//!    (RFC 6797 section 7.2).
//! 3. Remove the names in [`HeaderSet::remove`] when the response head is written, since Express
//!    and handlers add theirs late.
//!
//! With `csp.nonce: true` the policy is not in `always` but in [`HeaderSet::nonce`], in parts. Per
//! request:
//!
//! ```js
//! const nonce = crypto.randomBytes(16).toString('base64')   // 128 bits, new for each response
//! res.setHeader(set.nonce.name, set.nonce.parts.join(nonce))
//! ```
//!
//! and give `nonce` to the templates, `<script nonce="...">`. A page with a nonce must not be
//! cached.
//!
//! Sources: CSP Level 3, Trusted Types, RFC 6797, RFC 9110, RFC 9111 section 5.2, RFC 9651,
//! Referrer Policy, Permissions Policy, Reporting API, Fetch section 3.7 (CORP), HTML (COOP, COEP),
//! OWASP REST Security and HTTP Headers cheat sheets.

mod cache;
mod config;
mod csp;
mod frame;
mod permissions;
mod reporting;
mod set;
mod source;
#[cfg(test)]
mod tests;

pub use config::HeadersConfig;

/// The values of `profile`.
pub(crate) const PROFILES: [(&str, Profile); 2] = [("api", Profile::Api), ("web", Profile::Web)];

pub use set::{HeaderSet, NonceHeader};

/// The kind of responses that the server sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Profile {
    /// Data: nothing may be shown, run or framed.
    #[default]
    Api,
    /// Pages: a strict policy for a site that loads from itself.
    Web,
}
