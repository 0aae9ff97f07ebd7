//! Whether a browser was made to send a request by a page of somebody else (cross-site request
//! forgery).
//!
//! The attack: a browser adds the user's cookies to a request whoever makes it send one, so a form
//! on any page can act in the user's name. A token in a header is safe from that, one in a cookie
//! is not; so where tokens may come in cookies, this layer is on by itself, and can't be switched
//! off.
//!
//! There is no token to hand out and to check: browsers say what they do. `Sec-Fetch-Site` (Fetch
//! Metadata) tells whether the page that made the request is of the same origin; where it is
//! missing, `Origin` names that page's origin. Pages can change neither. Go's
//! `http.CrossOriginProtection` and OWASP's cheat sheet do the same; stricter here:
//!
//! - `same-site` is refused: another host of the domain is somebody else. List its origin where it
//!   is not.
//! - without both headers, a request with cookies is refused. No browser of these years sends such.
//! - `Origin` must have our scheme, too, not only our host.
//!
//! Methods that change nothing (GET, HEAD, OPTIONS) pass, unless the request asks for an upgrade: a
//! WebSocket handshake is a GET, carries the user's cookies and is bound by no CORS (cross-site
//! WebSocket hijacking). A handler that changes something on GET is not protected by anything.

mod config;
mod judge;
#[cfg(test)]
mod tests;

pub use config::Csrf;
