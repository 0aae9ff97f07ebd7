//! The check of one request.

use super::config::Csrf;
use crate::refusal::Refusal;
use crate::request::{Request, authority};

impl Csrf {
    /// Refuses a request that a page of another site may have made the browser send. `ambient` is
    /// whether it carries a credential that its sender did not add: a cookie, or a token in a
    /// header that a proxy adds.
    ///
    /// # Errors
    /// 403 `csrf_failed`.
    pub fn check(&self, request: &Request, ambient: bool) -> Result<(), Refusal> {
        // RFC 9110 section 9.2.1, without TRACE, which no browser sends. An upgrade is not a read:
        // a WebSocket carries the user's cookies, and its messages may do anything.
        let reads = matches!(request.method(), "GET" | "HEAD" | "OPTIONS");
        if reads && !request.asks_upgrade() && !request.is_handshake() {
            return Ok(());
        }
        let origin = request.header("origin");
        let trusted =
            || origin.is_some_and(|origin| self.origins.iter().any(|known| known == origin));
        match request.header("sec-fetch-site") {
            // `none`: the user typed the address or opened a bookmark.
            Some("same-origin" | "none") => Ok(()),
            Some(_) if trusted() => Ok(()),
            Some(_) => Err(refusal("the request was made by a page of another site")),
            None => match origin {
                Some(origin) if own(request).as_deref() == Some(origin) || trusted() => Ok(()),
                Some(_) => Err(refusal("the request was made by a page of another origin")),
                None if !ambient => Ok(()),
                None => Err(refusal("a request with cookies needs Sec-Fetch-Site or Origin")),
            },
        }
    }
}

fn refusal(detail: &'static str) -> Refusal {
    Refusal::new(403, "csrf_failed", detail)
}

/// The API's own origin as a browser writes it, from the request's `Host`.
fn own(request: &Request) -> Option<String> {
    let secure = request.secure();
    let scheme = if secure { "https" } else { "http" };
    Some(format!("{scheme}://{}", authority(request.header("host")?, secure)?))
}
