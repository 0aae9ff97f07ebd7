//! Open responses and sockets, for which the checks of their request are repeated.
//!
//! The attack: a stream of events or a WebSocket is opened with a valid token, and is still fed
//! after the token has expired, its user has logged out, or its client was blocked. Every new
//! request would be refused, but this one was decided long ago.
//!
//! [`Watch`] has what `recheck.rs` needs of the request. The host repeats the check of all watches
//! at an interval, in one call. A check is local: it reads the replica of the revocations, also
//! where the route requires the store's own answer, and verifies no signature twice. Where
//! `revocation` always asks the store, or an issuer is asked about its tokens again, the check
//! waits for that answer.

use crate::clock::Now;
use crate::identity::HostIdentity;
use crate::refusal::Refusal;
use crate::request::Request;
use crate::stack::recheck::{Before, Notes};
use crate::stack::{Layer, Stack, StoreAsk};
use crate::token::KeptToken;

/// A request whose response or socket is open.
#[derive(Debug)]
pub struct Watch {
    request: Request,
    /// What the application's function has returned for it.
    identity: Option<HostIdentity>,
    is_anonymous: bool,
    kept: KeptToken,
}

/// Why a request would be refused now, and by which layer.
#[derive(Debug)]
pub struct WatchEnd {
    /// The refusal.
    pub refusal: Refusal,
    /// The layer; `None` before the first one.
    pub layer: Option<Layer>,
}

impl Stack {
    /// Watches a request that this stack has let pass. `head` is in the format that
    /// `src/request/mod.rs` reads, `identity` is what the application's function has returned for
    /// it, and `is_anonymous` is true if it passed without a user.
    ///
    /// # Errors
    /// The head or its path can't be read.
    pub fn watch(
        &self,
        head: String,
        identity: Option<HostIdentity>,
        is_anonymous: bool,
    ) -> Result<Watch, Refusal> {
        let mut request = Request::read(head, &self.guard.trusted_proxies)?;
        request.canonicalise(self.guard.paths.forms(&request))?;
        Ok(Watch { request, identity, is_anonymous, kept: KeptToken::default() })
    }

    /// Checks whether the request would still be admitted. `Some`: this has to be asked first.
    /// `is_asked` is true after that: then the store's answer is the latest.
    ///
    /// # Errors
    /// It would be refused.
    pub fn check_watch(
        &self,
        watch: &mut Watch,
        is_asked: bool,
        now: Now,
    ) -> Result<Option<StoreAsk>, Box<WatchEnd>> {
        let mut layer = Some(Layer::Request);
        let notes = Notes { reasons: &mut Vec::new(), layer: &mut layer, kept: &mut watch.kept };
        let before = Before {
            revocations_read_us: if is_asked { now.mono_us } else { 0 },
            is_fresh: false,
            is_anonymous: watch.is_anonymous,
        };
        self.check_again(&watch.request, watch.identity.as_ref(), now, before, notes)
            .map_err(|refusal| Box::new(WatchEnd { refusal, layer }))
    }
}
