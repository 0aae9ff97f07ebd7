//! Layers 7 and 10: the policy, and before it the resource of the request.

use serde_json::Value;

use super::Stack;
use crate::keys::algorithm::Algorithm;
use crate::policy::{InputParts, Outcome, QueryPart, RateView, ResourceAnswer, TokenView};
use crate::refusal::Refusal;
use crate::request::Request;
use crate::stack::{Layer, RequestContext, Step, Suspension};

impl Stack {
    /// The headers of a request without those that contain a token or an API key.
    fn headers_for_policy<'r>(&self, request: &'r Request) -> Vec<(&'r str, &'r str)> {
        let tokens = self.guard.tokens.as_ref();
        let is_secret = |name: &str| {
            tokens.is_some_and(|tokens| {
                tokens.verifier.presentation().is_named_header(name)
                    || tokens.sources.is_key_header(name)
            })
        };
        request.headers().filter(|(name, _)| !is_secret(name)).collect()
    }

    // 7 and 10
    pub(super) fn ask_policy(
        &self,
        ctx: &mut RequestContext,
        body: Option<&Value>,
    ) -> Result<(), Refusal> {
        let (Some(set), Some(query), Some(request)) =
            (&self.guard.policy, &self.policy, &ctx.request)
        else {
            return Ok(());
        };
        ctx.layer = Some(Layer::Policy);
        set.check_query(request.query())?;
        let path: Vec<&str> = request.raw_segments().collect();
        let decoded_path: Vec<&str> =
            if set.reads_decoded_path() { request.segments().collect() } else { Vec::new() };
        let headers: Vec<(&str, &str)> =
            if set.reads_headers() { self.headers_for_policy(request) } else { Vec::new() };
        let params: Vec<(&str, &str)> =
            ctx.extras.params.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let identity = ctx.identity.as_deref();
        let client =
            request.client().filter(|_| set.reads_client()).map(|address| address.to_string());
        // A policy can reason about the tightest limit; shadow limits are left out.
        let limits = ctx.limits.iter().filter(|limit| limit.shadow.is_none());
        let rate = limits.min_by_key(|limit| limit.remaining);
        let input = InputParts {
            method: request.method(),
            path: &path,
            decoded_path: &decoded_path,
            raw_path: request.raw_path(),
            route: request.route(),
            params: &params,
            query: QueryPart::Raw(request.query()),
            headers: &headers,
            user: identity.map(|verified| verified.claims.map()),
            token: identity.map(|verified| TokenView {
                issuer: Some(&verified.issuer),
                jti: verified.id.as_deref(),
                exp: Some(verified.expires_at).filter(|at| *at != 0),
                alg: verified.alg.map(Algorithm::name),
                kid: verified.key_id.as_deref(),
            }),
            client_ip: client.as_deref().unwrap_or_default(),
            rate: rate.map(|limit| RateView {
                limit: limit.limit,
                remaining: limit.remaining,
                reset: limit.reset_s,
            }),
            body,
            resource: ctx.resource.as_ref(),
        };
        let outcome = set.evaluate(query, &input, ctx.now);
        note_outcome(ctx, outcome)
    }

    /// Before layer 7: a request without a usable answer is refused.
    pub(super) fn resource_answered(
        &self,
        ctx: &mut RequestContext,
        answer: ResourceAnswer,
    ) -> Result<Step, Refusal> {
        let (Some(Suspension::Resource), Some(set)) = (ctx.suspension.take(), &self.guard.policy)
        else {
            return Err(Refusal::new(500, "internal_error", "the request could not be decided"));
        };
        match set.read_resource(answer) {
            Ok(resource) => {
                ctx.resource = Some(resource);
                self.before_policy(ctx)
            }
            Err(outcome) => {
                ctx.layer = Some(Layer::Policy);
                note_outcome(ctx, outcome)?;
                Err(Refusal::new(500, "internal_error", "the request could not be decided"))
            }
        }
    }
}

/// Keeps the reasons of an outcome, and refuses a request that it does not let pass.
fn note_outcome(ctx: &mut RequestContext, outcome: Outcome) -> Result<(), Refusal> {
    let refusal = outcome.to_refusal();
    match outcome {
        Outcome::Allow { reasons } | Outcome::Deny { reasons, .. } => {
            ctx.reasons.extend(reasons);
        }
        Outcome::Fault { kind, place } => {
            let place = place.map(|place| format!(" at {place}")).unwrap_or_default();
            ctx.reasons.push(format!("policy fault: {kind}{place}"));
        }
    }
    refusal.map_or(Ok(()), Err)
}
