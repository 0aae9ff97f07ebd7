//! Checks before a wait are repeated after it.
//!
//! The attack: a request whose token is valid on arrival sends its body a byte at a time, or waits
//! for its turn at a limit. Meanwhile its token expires, its user logs out, or its client is
//! blocked. Without a second check the handler runs.
//!
//! The rules:
//!
//! 1. Every resumption after a wait sets [`RequestContext::now`].
//! 2. Layers 7 and 9 begin with [`Stack::ask_again`]: no request reaches a handler by another path.
//!    So a new kind of wait can't miss the check.
//! 3. If less than [`RECHECK_AFTER`] has passed since the last check, nothing is checked. So a
//!    check is never older than that when the handler runs, and a request that has not waited pays
//!    for one comparison.
//! 4. Everything that time can change is checked: the lists of clients, the token (its times, its
//!    key, the keys of its issuer), the times of an identity that is no token, revocations, the
//!    route's requirements, and a policy that reads the time. The application's functions are not
//!    called again: an application that ends a session or deletes a key revokes it as well. The
//!    rest is not checked: host, path, CSRF, proof, certificate. Limits have counted the request,
//!    and an admitted request stays admitted.
//! 5. The replica of the revocations is always checked. A route that requires the store's own
//!    answer asks the store again if that answer is older than [`REVOCATION_READ_TTL`]: a slow body
//!    costs one more store command, and not one for each packet.
//! 6. An issuer is asked about its token again once its last answer is older than `cacheFor`.
//! 7. Earlier layers of the same request are checked as well ([`HostInput::earlier`]): the body may
//!    be read by `guard.validate()`, which reads no token.
//!
//! [`HostInput::earlier`]: crate::stack::HostInput::earlier

use std::time::Duration;

use super::Stack;
use super::identity::counts_as_anonymous;
use super::sources::{Credential, credential_of, judge_again, revoked_refusal};
use crate::clients::ListMatch;
use crate::clock::{Now, micros};
use crate::guard::{Known, TokenRequirement};
use crate::identity::HostIdentity;
use crate::refusal::Refusal;
use crate::request::Request;
use crate::revocation::stale_refusal;
use crate::stack::{Layer, RecheckPoint, RequestContext, Step, StoreAsk, Suspension};
use crate::token::{KeptToken, VerifyError};

/// How long a check of token and client stays valid.
const RECHECK_AFTER: Duration = Duration::from_millis(10);
/// How long an answer of the store stays valid, if a route requires one.
const REVOCATION_READ_TTL: Duration = Duration::from_secs(1);

/// The state of a request before it is checked again.
#[derive(Debug, Clone, Copy)]
pub(super) struct Before {
    /// The time of the last answer of the store, on the monotonic clock.
    pub(super) revocations_read_us: u64,
    /// Whether the route requires the store's own answer.
    pub(super) is_fresh: bool,
    /// Whether it has passed without a user: a dead cookie counted as none.
    pub(super) is_anonymous: bool,
}

/// What a check leaves for the decision event, and for the next check.
pub(super) struct Notes<'c> {
    pub(super) reasons: &'c mut Vec<String>,
    pub(super) layer: &'c mut Option<Layer>,
    pub(super) kept: &'c mut KeptToken,
}

impl Stack {
    /// Checks again whether a request that has waited is still admitted. `Some`: the store has to
    /// be asked first.
    pub(super) fn ask_again(
        &self,
        ctx: &mut RequestContext,
        door: RecheckPoint,
    ) -> Result<Option<Step>, Refusal> {
        if ctx.now.mono_us.saturating_sub(ctx.rechecked_us) < micros(RECHECK_AFTER) {
            return Ok(None);
        }
        let Some(request) = &ctx.request else { return Ok(None) };
        // Whether a list exempts the client is ignored: the limits have already decided.
        ctx.layer = Some(Layer::Clients);
        self.check_client(request, ctx.now, &mut ctx.reasons)?;
        let own = ctx.identity.is_some().then_some((self, ctx.host_identity.as_ref()));
        let is_anonymous = ctx.identity.is_none() && ctx.extras.anonymous;
        let revocations_read_us = ctx.revocations_read_us;
        let earlier =
            ctx.extras.earlier.iter().map(|passed| (&*passed.stack, passed.identity.as_ref()));
        for (stack, identity) in own.into_iter().chain(earlier) {
            let before = Before { revocations_read_us, is_fresh: stack.fresh, is_anonymous };
            let notes = Notes {
                reasons: &mut ctx.reasons,
                layer: &mut ctx.layer,
                kept: &mut KeptToken::default(),
            };
            let again = stack.check_again(request, identity, ctx.now, before, notes)?;
            if let Some(ask) = again {
                ctx.suspension = Some(match &ask {
                    StoreAsk::Introspection(wait) => {
                        Suspension::IntrospectionAgain(door, wait.clone())
                    }
                    _ => Suspension::Again(door),
                });
                return Ok(Some(Step::AskStore(ask)));
            }
        }
        ctx.rechecked_us = ctx.now.mono_us;
        if door == RecheckPoint::Body && !self.policy_reads_body() && self.policy_reads_time() {
            self.ask_policy(ctx, None)?;
        }
        Ok(None)
    }

    /// Checks client and identity of a request once more; `identity` is what the application's
    /// function has returned for it. `Some`: this has to be asked first.
    pub(super) fn check_again(
        &self,
        request: &Request,
        identity: Option<&HostIdentity>,
        now: Now,
        before: Before,
        notes: Notes<'_>,
    ) -> Result<Option<StoreAsk>, Refusal> {
        let Notes { reasons, layer, kept } = notes;
        *layer = Some(Layer::Clients);
        self.check_client(request, now, reasons)?;
        *layer = Some(Layer::Authenticate);
        let tokens = self.guard.tokens.as_ref().filter(|_| self.token != TokenRequirement::Ignore);
        let Some(tokens) = tokens else { return Ok(None) };
        let token = self.token_for(self.exemption(request));
        let (verified, scheme, in_cookie) = match credential_of(tokens, request)? {
            Credential::Token(found) => {
                let verified = match tokens.verifier.verify_kept(found.token, kept, now) {
                    Ok(verified) => verified,
                    Err(VerifyError::Introspecting(wait)) => {
                        return Ok(Some(StoreAsk::Introspection(wait)));
                    }
                    Err(error) => {
                        let denial = error.denial();
                        if before.is_anonymous
                            && counts_as_anonymous(token, found.in_cookie, &denial)
                        {
                            return Ok(None);
                        }
                        return Err(denial.to_refusal_by(found.scheme));
                    }
                };
                (verified, found.scheme, found.in_cookie)
            }
            other => match judge_again(tokens, &other, identity, now)? {
                Some(verified) => (verified, tokens.sources.scheme(), false),
                None => return Ok(None),
            },
        };
        let is_recent =
            now.mono_us.saturating_sub(before.revocations_read_us) < micros(REVOCATION_READ_TTL);
        match tokens.known(before.is_fresh, now) {
            Known::Now => {}
            Known::After(_) if is_recent => {}
            Known::After(list) => return Ok(Some(StoreAsk::Revocations(list))),
            Known::No => return Err(stale_refusal()),
        }
        match tokens.check(&verified) {
            Err(denial)
                if before.is_anonymous && counts_as_anonymous(token, in_cookie, &denial) =>
            {
                return Ok(None);
            }
            checked => checked.map_err(|denial| revoked_refusal(&verified, &denial, scheme))?,
        }
        *layer = Some(Layer::Require);
        self.check_demands(&verified, scheme, now)?;
        *layer = Some(Layer::Clients);
        self.check_user(verified.subject.as_deref(), now, reasons)?;
        Ok(None)
    }

    /// Refuses a blocked client. Returns whether a list exempts the client from limits.
    pub(super) fn check_client(
        &self,
        request: &Request,
        now: Now,
        reasons: &mut Vec<String>,
    ) -> Result<bool, Refusal> {
        if !self.clients {
            return Ok(false);
        }
        is_allowed(self.guard.listed_client(request, now), reasons)
    }

    /// As [`Self::check_client`], for the user of a token.
    pub(super) fn check_user(
        &self,
        user: Option<&str>,
        now: Now,
        reasons: &mut Vec<String>,
    ) -> Result<bool, Refusal> {
        match user {
            Some(user) if self.clients => is_allowed(self.guard.listed_user(user, now), reasons),
            _ => Ok(false),
        }
    }

    /// Whether the policy may decide differently at a later time.
    fn policy_reads_time(&self) -> bool {
        self.policy.is_some()
            && self.guard.policy.as_ref().is_some_and(crate::policy::PolicySet::reads_time)
    }

    /// Whether any check of this request has to be repeated.
    #[must_use]
    pub fn needs_recheck(&self, ctx: &RequestContext) -> bool {
        self.clients
            || self.policy.is_some()
            || ctx.identity.is_some()
            || !ctx.extras.earlier.is_empty()
    }

    /// Whether a later layer repeats the checks of this stack if the request waits there.
    #[must_use]
    pub fn is_rechecked_later(&self) -> bool {
        self.clients || self.token != TokenRequirement::Ignore
    }
}

fn is_allowed(listed: ListMatch, reasons: &mut Vec<String>) -> Result<bool, Refusal> {
    match listed {
        ListMatch::No => Ok(false),
        ListMatch::Allowed => Ok(true),
        ListMatch::Blocked(reason) => {
            reasons.push(format!("client blocked: {reason}"));
            Err(Refusal::new(403, "client_blocked", "this client is blocked"))
        }
    }
}
