//! One request.

use super::config::Csrf;
use crate::refusal::Refusal;
use crate::request::{Request, authority};

impl Csrf {
    /// Whether a browser may have been made to send this request by somebody else's page.
    ///
    /// # Errors
    /// It may: 403 `csrf_failed`.
    pub fn check(&self, request: &Request) -> Result<(), Refusal> {
        // RFC 9110 section 9.2.1, without TRACE, which no browser sends. An upgrade is no reading:
        // a WebSocket takes the user's cookies along, and its messages may do anything.
        let reads = matches!(request.method(), "GET" | "HEAD" | "OPTIONS");
        if reads && !request.asks_upgrade() && !request.is_handshake() {
            return Ok(());
        }
        let origin = request.header("origin");
        let trusted =
            || origin.is_some_and(|origin| self.origins.iter().any(|known| known == origin));
        match request.header("sec-fetch-site") {
            // `none`: the user has typed the address, or opened a bookmark.
            Some("same-origin" | "none") => Ok(()),
            Some(_) if trusted() => Ok(()),
            Some(_) => Err(refusal("the request was made by a page of another site")),
            None => match origin {
                Some(origin) if own(request).as_deref() == Some(origin) || trusted() => Ok(()),
                Some(_) => Err(refusal("the request was made by a page of another origin")),
                // Not a browser; and if it is, there is nothing in the request that it has added by
                // itself.
                None if request.header("cookie").is_none() => Ok(()),
                None => Err(refusal("a request with cookies needs Sec-Fetch-Site or Origin")),
            },
        }
    }
}

fn refusal(detail: &'static str) -> Refusal {
    Refusal::new(403, "csrf_failed", detail)
}

/// Our origin as a browser would write it, from the host that the request is for.
fn own(request: &Request) -> Option<String> {
    let secure = request.secure();
    let scheme = if secure { "https" } else { "http" };
    Some(format!("{scheme}://{}", authority(request.header("host")?, secure)?))
}
