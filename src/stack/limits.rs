//! Layer 6: all limits of a request at once, or none is charged.

use std::borrow::Cow;
use std::sync::Arc;

use super::Stack;
use crate::limit::{
    Check, LimitError, LimitMask as Limits, Limiter, Outcome as Counted, Pending, Reservation,
    Subject,
};
use crate::net::ClientKey;
use crate::quota::StoreCommand;
use crate::refusal::Refusal;
use crate::requirements::words;
use crate::stack::{CallbackResults, LimitView, RequestContext, Step, StoreAsk, Suspension};
use crate::token::Verified;

impl Stack {
    // 6: `Some` if the shared store has to be asked
    pub(super) fn count(
        &self,
        ctx: &mut RequestContext,
        keys: &[CallbackResults],
    ) -> Result<Option<Step>, Refusal> {
        if ctx.unlimited {
            return Ok(None);
        }
        let (Some(limiter), Some(request)) = (&self.limiter, &ctx.request) else { return Ok(None) };
        let limiter = limiter.current();
        let mut which = Limits::ALL;
        for (index, (id, _)) in self.limit_ids.iter().enumerate() {
            if ctx.extras.counted.contains(id) {
                which = which.without(Limits::NONE.with(index));
            }
        }
        let mut custom_keys = Vec::new();
        let mut custom_costs = Vec::new();
        for given in keys {
            if let Some(index) = limiter.index_of(&given.name) {
                custom_keys.resize(custom_keys.len().max(index + 1), Vec::new());
                custom_costs.resize(custom_costs.len().max(index + 1), None);
                if let (Some(key), Some(cost)) =
                    (custom_keys.get_mut(index), custom_costs.get_mut(index))
                {
                    key.extend(given.key.as_deref());
                    *cost = given.cost.or(*cost);
                }
            }
        }
        let identity = ctx.identity.as_deref();
        let token = identity.map(token_key);
        let check = limiter.begin(
            which,
            &Subject {
                client: &request.client().map_or(ClientKey::UNKNOWN, |address| {
                    ClientKey::of(address, self.guard.ipv6_prefix)
                }),
                user: identity.and_then(|verified| verified.subject.as_deref()),
                token: token.as_deref(),
                // Without a pattern all paths share one counter: a client chooses its paths, so it
                // must not choose its quota.
                route: request.route_id().unwrap_or_default(),
                method: request.method(),
                path: request.path(),
                roles: &identity
                    .filter(|_| limiter.reads_roles())
                    .map(|verified| words::tiers(verified.claims.map()))
                    .unwrap_or_default(),
                custom_keys: &custom_keys,
                custom_costs: &custom_costs,
            },
            ctx.now,
        );
        match check.map_err(|error| not_counted_by(&limiter, error))? {
            Check::Done(outcome) => self.note(ctx, &limiter, outcome).map(|()| None),
            Check::Ask(pending, question) => ask_limits(ctx, &limiter, pending, question).map(Some),
        }
    }

    /// Layers 6 to 8, after the shared store has answered.
    pub(super) fn counted(
        &self,
        ctx: &mut RequestContext,
        limiter: &Arc<Limiter>,
        check: Check<'_>,
    ) -> Result<Step, Refusal> {
        match check {
            Check::Done(outcome) => {
                self.note(ctx, limiter, outcome)?;
                self.admitted(ctx)
            }
            Check::Ask(pending, question) => ask_limits(ctx, limiter, pending, question),
        }
    }

    /// Records the outcome of the limits. A refusal by one of them ends the request, and a limit
    /// may delay it.
    fn note(
        &self,
        ctx: &mut RequestContext,
        limiter: &Arc<Limiter>,
        outcome: Counted<'_>,
    ) -> Result<(), Refusal> {
        let mut outcome = outcome;
        let refusal = outcome.to_refusal();
        self.guard.rate_limit_headers.write(&mut outcome, ctx.now, &mut ctx.headers);
        // Both are in the order of the limits, and the outcome omits limits that do not apply to
        // this request.
        let mut declared = self.limit_ids.iter();
        for state in &outcome.states {
            let Some((id, name)) = declared.find(|(_, name)| **name == *state.name) else {
                continue;
            };
            ctx.limits.push(LimitView {
                name: Arc::clone(name),
                limit: state.limit,
                remaining: state.remaining,
                reset_s: state.reset_s,
                id: *id,
                shadow: state.shadow.then_some(state.violated),
            });
        }
        if let Some(refusal) = refusal {
            return Err(refusal);
        }
        if !outcome.charges.is_empty() || !outcome.held.is_empty() {
            ctx.charged =
                Some(Reservation::new(Arc::clone(limiter), outcome.charges, outcome.held));
        }
        if outcome.delay_us > 0 {
            ctx.delay_slots = outcome.delay_slots;
            ctx.delay_ms = Some(outcome.delay_us.div_ceil(1000));
        }
        Ok(())
    }
}

fn ask_limits(
    ctx: &mut RequestContext,
    limiter: &Arc<Limiter>,
    pending: Pending,
    question: StoreCommand,
) -> Result<Step, Refusal> {
    let store = limiter.shared_store().ok_or_else(|| not_counted(LimitError::StoreAway))?;
    ctx.suspension = Some(Suspension::Limits(pending, Arc::clone(limiter)));
    Ok(Step::AskStore(StoreAsk::Limits(Arc::clone(store), question)))
}

/// A request that a limit of `limiter` could not count.
pub(super) fn not_counted_by(limiter: &Limiter, error: LimitError) -> Refusal {
    let name = match error {
        LimitError::Closed { policy } => limiter.name_of(policy),
        _ => None,
    };
    not_counted(error).by_limit(name)
}

/// A request that could not be counted never passes uncounted.
pub(super) fn not_counted(error: LimitError) -> Refusal {
    match error {
        LimitError::StoreAway | LimitError::Closed { .. } => Refusal::new(
            503,
            "store_unavailable",
            "the request could not be counted, try again soon",
        )
        .header("Retry-After", "1"),
        _ => Refusal::new(500, "internal_error", "a rate limit could not be counted"),
    }
}

/// The key of a token: its `jti`, or a digest of the token without one.
fn token_key(verified: &Verified) -> Cow<'_, str> {
    use std::fmt::Write as _;
    match &verified.id {
        Some(id) => Cow::Borrowed(id),
        None => Cow::Owned(verified.fingerprint.as_bytes().iter().fold(
            String::new(),
            |mut hex, byte| {
                // Writing to a string can't fail.
                let _ = write!(hex, "{byte:02x}");
                hex
            },
        )),
    }
}
