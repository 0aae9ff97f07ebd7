//! Response headers: what a browser may do with an answer of this API, and what nobody needs to
//! know of the server.
//!
//! The attacks: an answer shown as a page so that script in it runs (`Content-Security-Policy`,
//! `X-Content-Type-Options`); framed so that a click lands on it (`frame-ancestors`,
//! `X-Frame-Options`); read over a connection that somebody downgraded
//! (`Strict-Transport-Security`); loaded as a resource by another site to be read through a side
//! channel (`Cross-Origin-Resource-Policy`); kept by a shared cache and given to the next user
//! (`Cache-Control: no-store`); an address with a secret in it passed on (`Referrer-Policy`); and a
//! server that names its software (`X-Powered-By`).
//!
//! All is judged and written when the guard is built; a request costs setting the strings of
//! [`HeaderSet`]. A policy that a browser would read otherwise than it looks is refused then: an
//! unknown directive, a keyword without its quotes, `'none'` beside something else, a nonce that
//! never changes, `preload` that the list would turn down.
//!
//! # Profiles
//!
//! [`Profile::Api`] serves data, [`Profile::Web`] serves pages. The exact headers of both stand in
//! the tests (`an_api_sends_exactly_these_headers`). Decisions that are not plain from the table:
//!
//! * `upgrade-insecure-requests` is in neither: it breaks a site developed over plain http, and
//!   browsers block or upgrade mixed content by themselves.
//! * `require-trusted-types-for` is not in the web profile: it changes what a page's own libraries
//!   may do. It is one line to switch on: `directives: { 'require-trusted-types-for': ["'script'"]
//!   }`.
//! * A web profile sends `Referrer-Policy: strict-origin-when-cross-origin`: `no-referrer` makes
//!   browsers send `Origin: null` with a site's own forms, which a CSRF check must refuse.
//! * `X-Frame-Options` and `frame-ancestors` always say the same: give one, the other follows.
//!
//! # For the shim
//!
//! Set [`HeaderSet::always`] on every response before any layer can refuse, so that refusals carry
//! them; [`HeaderSet::secure`] only where the request came over TLS, by the socket or a trusted
//! proxy (RFC 6797 section 7.2); remove the names in [`HeaderSet::remove`] when the response head
//! is written, since Express and handlers add theirs late.
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
pub use set::{HeaderSet, NonceHeader};

/// What the server serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Profile {
    /// Data: nothing may be shown, run or framed.
    #[default]
    Api,
    /// Pages: a strict policy for a site that loads from itself.
    Web,
}
