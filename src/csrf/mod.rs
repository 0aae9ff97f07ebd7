//! Protection against cross-site request forgery: a page of another site makes a browser send a
//! request.
//!
//! The attack: a browser adds the user's cookies to a request of any page, so a form on any page
//! can act in the user's name. A token in a header is safe from that; a token in a cookie is not.
//! So where tokens may come in cookies, this layer is always on and can't be switched off.
//!
//! The layer issues and checks no token. It relies on headers that the browser sets and that pages
//! can't change. `Sec-Fetch-Site` (Fetch Metadata) states whether the requesting page has the same
//! origin. If it is missing, `Origin` names that page's origin. Go's `http.CrossOriginProtection`
//! and OWASP's cheat sheet do the same; three rules here are stricter:
//!
//! - `same-site` is refused: another host of the domain may have another owner. List the origin of
//!   a host that you trust.
//! - Without both headers, a request with cookies is refused. No current browser sends one.
//! - `Origin` must have the API's scheme, not only its host.
//!
//! Methods that change nothing (GET, HEAD, OPTIONS) pass, unless the request asks for an upgrade: a
//! WebSocket handshake is a GET, carries the user's cookies and is not subject to CORS (cross-site
//! WebSocket hijacking). A handler that changes state on GET has no protection.

mod config;
mod judge;
#[cfg(test)]
mod tests;

pub use config::Csrf;
