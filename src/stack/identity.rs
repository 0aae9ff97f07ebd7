//! Layers 4 and 5: the identity of the request, the revocation of its token, and the requirements
//! of the route.

use std::borrow::Cow;

use super::Stack;
use super::sources::{Credential, ask_identify, ask_key, credential_of, revoked_refusal};
use crate::bearer::{DpopMode, PresentedToken, Scheme, TokenError, TokenSources};
use crate::binding::{
    ClockRollback, Freshness, Nonces, Proof, ProofError, ProofRequest, ProofUrl, ReplayStep,
    Thumbprint, Use, read_proof,
};
use crate::clock::Now;
use crate::cors::Cors;
use crate::guard::{Exemption, Known, TokenRequirement, Tokens};
use crate::quota::CommandResult;
use crate::refusal::Refusal;
use crate::request::Request;
use crate::requirements::words;
use crate::revocation::stale_refusal;
use crate::stack::{Layer, PendingIdentity, RequestContext, Step, StoreAsk, Suspension};
use crate::store::StoreError;
use crate::token::{Verified, VerifyError};

impl Stack {
    // 4 and 5: `Some` if the request has to wait
    pub(super) fn check_token(
        &self,
        request: &Request,
        ctx: &mut RequestContext,
    ) -> Result<Option<Step>, Refusal> {
        self.find_token(request, KeyFetch::First, ctx)
    }

    // 4, after the issuer was asked for its keys
    pub(super) fn keys_arrived(
        &self,
        again: bool,
        ctx: &mut RequestContext,
    ) -> Result<Option<Step>, Refusal> {
        let Some(request) = ctx.request.take() else {
            return Err(TokenError::KeysUnavailable.to_refusal());
        };
        let asking = if again { KeyFetch::Again } else { KeyFetch::Never };
        let step = self.find_token(&request, asking, ctx);
        ctx.request = Some(request);
        step
    }

    fn find_token(
        &self,
        request: &Request,
        asking: KeyFetch,
        ctx: &mut RequestContext,
    ) -> Result<Option<Step>, Refusal> {
        // Without verification a token proves nothing: every client can write `Bearer x`.
        let tokens = self.guard.tokens.as_ref().filter(|_| self.token != TokenRequirement::Ignore);
        let found = tokens.map(|tokens| (tokens, credential_of(tokens, request)));
        let csrf = if request.is_handshake() { &self.handshake_csrf } else { &self.csrf };
        if let Some(csrf) = csrf {
            // A cross-site page cannot set `Authorization` or the header of API keys, so a
            // credential there rules out CSRF.
            let is_in_header = matches!(&found, Some((_, Ok(found))) if found.is_in_header())
                || self.is_cors_alone() && self.has_credential_in_header(request);
            if !is_in_header && !self.admits_handshake(request, ctx) {
                ctx.layer = Some(Layer::Csrf);
                csrf.check(request, self.carries_ambient_credential(request))?;
            }
        }
        let Some((tokens, found)) = found else { return Ok(None) };
        ctx.layer = Some(Layer::Authenticate);
        let found = match found? {
            Credential::Token(found) => found,
            Credential::ApiKey(key) => return ask_key(tokens, key, ctx).map(Some),
            Credential::None => return ask_identify(tokens, ctx),
        };
        let deny = |denial: TokenError| denial.to_refusal_by(found.scheme);
        let judged = match asking {
            KeyFetch::First | KeyFetch::Again => {
                tokens.verifier.verify_bound_or_wait(found.token, ctx.now)
            }
            KeyFetch::Never => {
                tokens.verifier.verify_bound(found.token, ctx.now).map_err(VerifyError::Denied)
            }
        };
        let verified = match judged {
            Ok(verified) => verified,
            Err(VerifyError::Denied(denial))
                if counts_as_anonymous(ctx.token, found.in_cookie, &denial) =>
            {
                self.clear_cookies(ctx);
                return Ok(None);
            }
            Err(VerifyError::Denied(denial)) => return Err(deny(denial)),
            Err(VerifyError::Pending(keys)) => {
                ctx.suspension = Some(Suspension::Keys { again: asking == KeyFetch::First });
                return Ok(Some(Step::AskStore(StoreAsk::Keys(keys))));
            }
            Err(VerifyError::Introspecting(wait)) => {
                ctx.suspension = Some(Suspension::Introspection(wait.clone()));
                return Ok(Some(Step::AskStore(StoreAsk::Introspection(wait))));
            }
        };
        let bound = verified.confirmation;
        let proof = self.check_proof(tokens, request, &found, &verified, ctx)?;
        let candidate = PendingIdentity {
            verified,
            scheme: found.scheme,
            in_cookie: found.in_cookie,
            proof: proof.map(Box::new),
        };
        if bound.is_some_and(|bound| bound.certificate.is_some()) {
            ctx.suspension = Some(Suspension::Certificate(candidate));
            return Ok(Some(Step::AskCertificate));
        }
        self.ask_revocations(ctx, candidate)
    }

    /// What a request is exempt from here, by its path.
    pub(super) fn exemption(&self, request: &Request) -> Exemption {
        let found = self.guard.public.exemption(request);
        Exemption {
            identity: found.identity && self.exemptible.identity,
            limits: found.limits && self.exemptible.limits,
        }
    }

    /// Whether a request with this exemption needs a token. On a public path a token that is
    /// absent, or dead in a cookie, counts as none; one in a header that is refused ends the
    /// request as everywhere: a browser does not send it by itself, so its client claims to be that
    /// user.
    pub(super) fn token_for(&self, exemption: Exemption) -> TokenRequirement {
        match self.token {
            TokenRequirement::Ignore => TokenRequirement::Ignore,
            _ if exemption.identity => TokenRequirement::Lenient,
            token => token,
        }
    }

    /// Removes the cookies that a token may come in: without that, the browser would send the dead
    /// one with each request.
    fn clear_cookies(&self, ctx: &mut RequestContext) {
        let presentation = self.guard.tokens.iter().map(|tokens| tokens.verifier.presentation());
        for name in presentation.flat_map(TokenSources::cookie_names) {
            let cookie = format!("{name}=; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=0");
            ctx.headers.push(("Set-Cookie", Cow::Owned(cookie)));
        }
    }

    /// Whether it is a CORS layer alone, which decides about handshakes by its own rules and reads
    /// no tokens.
    fn is_cors_alone(&self) -> bool {
        self.cors.is_some() && !self.clients
    }

    fn has_credential_in_header(&self, request: &Request) -> bool {
        self.guard.tokens.as_ref().is_some_and(
            |tokens| matches!(credential_of(tokens, request), Ok(found) if found.is_in_header()),
        )
    }

    /// Whether the request carries a credential that its sender did not add.
    fn carries_ambient_credential(&self, request: &Request) -> bool {
        request.header("cookie").is_some() || self.has_named_header(request)
    }

    /// Whether it has a header of a proxy that a token may come in.
    fn has_named_header(&self, request: &Request) -> bool {
        self.guard
            .tokens
            .as_ref()
            .is_some_and(|tokens| tokens.verifier.presentation().has_named_header(request))
    }

    /// Whether `identify` may find a password that the browser added by itself: once its user has
    /// typed it, the browser sends it with the requests of every page.
    fn has_browser_login(&self, request: &Request) -> bool {
        let is_asked = self.guard.tokens.as_ref().is_some_and(|tokens| {
            tokens.sources.identify.is_some() && self.token != TokenRequirement::Ignore
        });
        let scheme = || request.header("authorization").and_then(|value| value.split(' ').next());
        let is_by_browser =
            |scheme: &str| BROWSER_SCHEMES.iter().any(|known| scheme.eq_ignore_ascii_case(known));
        is_asked && scheme().is_some_and(is_by_browser)
    }

    /// Whether the CORS decision in force allows the page that opens a socket to use this API in
    /// this way.
    fn admits_handshake(&self, request: &Request, ctx: &RequestContext) -> bool {
        if ctx.extras.skips_cors {
            // That decision is about cookies, not about a header of a proxy.
            return request.is_handshake()
                && ctx.extras.admitted
                && !self.has_named_header(request)
                && !self.has_browser_login(request);
        }
        let ambient = self.carries_ambient_credential(request) || self.has_browser_login(request);
        let admits = |cors: &Cors| {
            cors.admits_handshake(request.header("origin"), ambient, ctx.extras.origin)
        };
        request.is_handshake() && self.cors.as_deref().is_some_and(admits)
    }

    /// Checks the token's binding to a key against the proof of the request.
    fn check_proof(
        &self,
        tokens: &Tokens,
        request: &Request,
        found: &PresentedToken<'_>,
        verified: &Verified,
        ctx: &mut RequestContext,
    ) -> Result<Option<Proof>, Refusal> {
        let presentation = tokens.verifier.presentation();
        let deny = |denial: TokenError| Err(denial.to_refusal_by(found.scheme));
        let key = verified.confirmation.as_ref().and_then(|bound| bound.key);
        let key = match (key, found.scheme) {
            (Some(key), Scheme::Dpop) => key,
            // With `off`, the scheme is not even supported.
            (Some(_), _) => return deny(TokenError::Bound),
            (None, Scheme::Dpop) => return deny(TokenError::Unbound),
            (None, _) if presentation.dpop == DpopMode::Required => {
                return deny(TokenError::Unbound);
            }
            (None, _) => return Ok(None),
        };
        // The client chooses `Host`, and the proof is checked against it.
        self.guard.check_host(request)?;
        let fault = |fault| TokenError::Proof(fault).to_refusal();
        let text = request.header("dpop").ok_or_else(|| fault(ProofError::Missing))?;
        let url = ProofUrl::of(request);
        let asked = ProofRequest {
            method: request.method(),
            url: url.as_ref(),
            token: found.token,
            now: ctx.now,
            ahead_us: tokens.verifier.tolerance_us(verified),
            forgotten_until_us: ClockRollback::here().until_us(ctx.now),
        };
        let mut proof = read_proof(text, &asked).map_err(fault)?;
        if proof.key != key {
            return Err(fault(ProofError::Binding));
        }
        if let Some(nonces) = &presentation.nonces {
            let freshness = proof
                .nonce
                .as_deref()
                .map_or(Freshness::Unknown, |nonce| nonces.judge(nonce, ctx.now));
            if freshness != Freshness::Current {
                ctx.headers.push(("DPoP-Nonce", Cow::Owned(nonces.current(ctx.now))));
            }
            if freshness == Freshness::Unknown {
                return deny(TokenError::Nonce);
            }
        }
        if let Some((nonce, nonces)) = proof.nonce.as_deref().zip(nonces_of(tokens))
            && let Some(given_us) = nonces.given_us(nonce)
        {
            proof.made_us =
                earliest_proof_time(proof.made_us, given_us, nonces.is_agreed(), ctx.now);
        }
        if tokens.proofs.is_older(&proof, ctx.now) {
            return Err(give_nonce(tokens, ctx));
        }
        Ok(Some(proof))
    }

    /// Continues with the certificate of the connection.
    pub(super) fn check_certificate(
        &self,
        ctx: &mut RequestContext,
        fingerprint: Option<&str>,
    ) -> Result<Option<Step>, Refusal> {
        let Some(Suspension::Certificate(candidate)) = ctx.suspension.take() else {
            return Err(TokenError::Certificate.to_refusal());
        };
        let wanted = candidate.verified.confirmation.and_then(|bound| bound.certificate);
        let shown = fingerprint.and_then(Thumbprint::from_fingerprint);
        if shown.is_none() || shown != wanted {
            return Err(TokenError::Certificate.to_refusal_by(candidate.scheme));
        }
        self.ask_revocations(ctx, candidate)
    }

    // 5
    pub(super) fn ask_revocations(
        &self,
        ctx: &mut RequestContext,
        candidate: PendingIdentity,
    ) -> Result<Option<Step>, Refusal> {
        let Some(tokens) = &self.guard.tokens else { return Ok(None) };
        match tokens.known(self.fresh, ctx.now) {
            Known::Now => self.check_revoked(ctx, candidate).map(|()| None),
            Known::After(list) => {
                ctx.suspension = Some(Suspension::Revocations(candidate));
                Ok(Some(Step::AskStore(StoreAsk::Revocations(list))))
            }
            Known::No => Err(stale_refusal()),
        }
    }

    // 5
    pub(super) fn check_revoked(
        &self,
        ctx: &mut RequestContext,
        candidate: PendingIdentity,
    ) -> Result<(), Refusal> {
        let Some(tokens) = &self.guard.tokens else { return Ok(()) };
        let PendingIdentity { verified, scheme, in_cookie, proof } = candidate;
        match tokens.check(&verified) {
            Err(denial) if counts_as_anonymous(ctx.token, in_cookie, &denial) => {
                self.clear_cookies(ctx);
                return Ok(());
            }
            checked => checked.map_err(|denial| revoked_refusal(&verified, &denial, scheme))?,
        }
        if let Some(proof) = proof {
            let mark = tokens.proofs.mark(&proof.id);
            // An earlier layer of this very request may have used it.
            let used = ctx.extras.proofs.contains(&mark);
            ctx.proof_mark = Some(mark);
            if !used {
                // A proof that this process has already recorded as used charges no limit.
                if tokens.proofs.knows(&proof, ctx.now) {
                    return Err(TokenError::Replayed.to_refusal());
                }
                ctx.proof = Some(proof);
            }
        }
        ctx.layer = Some(Layer::Require);
        self.check_demands(&verified, scheme, ctx.now)?;
        ctx.identity = Some(verified);
        Ok(())
    }

    /// Whether a token meets the requirements of this route.
    pub(super) fn check_demands(
        &self,
        verified: &Verified,
        scheme: Scheme,
        now: Now,
    ) -> Result<(), Refusal> {
        let tokens = self.guard.tokens.as_ref();
        let tolerance_us = tokens.map_or(0, |tokens| tokens.verifier.tolerance_us(verified));
        let met = self.demands.check(verified, now, tolerance_us);
        met.map_err(|unmet| {
            let is_resource = tokens.is_some_and(|tokens| tokens.verifier.resource().is_some());
            let granted =
                if is_resource { words::scopes(verified.claims.map()) } else { Vec::new() };
            unmet.to_refusal(scheme, &granted)
        })
    }

    /// Uses up the proof of a request, after the limits: a client over a limit can't fill the list
    /// of used proofs. `Some`: the store has to be asked.
    pub(super) fn use_proof(&self, ctx: &mut RequestContext) -> Result<Option<Step>, Refusal> {
        let (Some(tokens), Some(proof)) = (&self.guard.tokens, ctx.proof.take()) else {
            return Ok(None);
        };
        match tokens.proofs.take(&proof, ctx.now) {
            ReplayStep::Done(outcome) => proof_outcome(tokens, ctx, outcome).map(|()| None),
            ReplayStep::Ask(store, question) => {
                ctx.proof = Some(proof);
                ctx.suspension = Some(Suspension::Proof);
                Ok(Some(Step::AskStore(StoreAsk::Proof(store, question))))
            }
        }
    }

    /// Continues with the store's answer about the proof.
    pub(super) fn proof_answered(
        &self,
        ctx: &mut RequestContext,
        answer: &Result<CommandResult, StoreError>,
    ) -> Result<(), Refusal> {
        let (Some(tokens), Some(proof)) = (&self.guard.tokens, ctx.proof.take()) else {
            return Err(TokenError::Replayed.to_refusal());
        };
        let outcome = tokens.proofs.answered(&proof, answer, ctx.now);
        proof_outcome(tokens, ctx, outcome)
    }
}

/// Whether a token that is refused counts as none. A silent issuer is no fault of the token.
pub(super) fn counts_as_anonymous(
    token: TokenRequirement,
    in_cookie: bool,
    denial: &TokenError,
) -> bool {
    in_cookie && token == TokenRequirement::Lenient && !denial.is_unavailable()
}

/// Only an unused proof lets its request pass. A refused request has no identity.
fn proof_outcome(tokens: &Tokens, ctx: &mut RequestContext, outcome: Use) -> Result<(), Refusal> {
    let refusal = match outcome {
        Use::First => return Ok(()),
        Use::Again => TokenError::Replayed.to_refusal(),
        Use::Forgotten => give_nonce(tokens, ctx),
        Use::TooMany => {
            let why = "this key has used too many DPoP proofs in a short time";
            Refusal::new(429, "dpop_too_many", why).header("Retry-After", "1")
        }
        Use::Unknown => {
            let why = "nobody can say whether the DPoP proof was used before, try again soon with another one";
            Refusal::new(503, "store_unavailable", why).header("Retry-After", "1")
        }
    };
    ctx.identity = None;
    Err(refusal)
}

/// The nonces in the options, or else those of this process.
fn nonces_of(tokens: &Tokens) -> Option<&Nonces> {
    match &tokens.verifier.presentation().nonces {
        Some(nonces) => Some(nonces),
        None => Nonces::here(),
    }
}

/// Refuses a proof that may have been used before the recorded period. With our nonce the next
/// proof is certain to be new.
fn give_nonce(tokens: &Tokens, ctx: &mut RequestContext) -> Refusal {
    if let Some(nonces) = nonces_of(tokens)
        && !ctx.headers.iter().any(|(name, _)| *name == "DPoP-Nonce")
    {
        ctx.headers.push(("DPoP-Nonce", Cow::Owned(nonces.current(ctx.now))));
    }
    TokenError::Nonce.to_refusal()
}

/// Whether the issuer of a token may be asked for its keys.
#[derive(Clone, Copy, PartialEq, Eq)]
enum KeyFetch {
    First,
    Again,
    Never,
}

/// The earliest creation time of a proof whose nonce was issued at `given_us`. Two kinds of nonces
/// give no such bound:
///
/// 1. A nonce in the future comes from a process whose clock is ahead.
/// 2. A nonce of another process may be later than the proof's own time: the clock of that process
///    may have been ahead, and time has only caught up with it.
fn earliest_proof_time(made_us: u64, given_us: u64, is_agreed: bool, now: Now) -> u64 {
    let is_too_late = is_agreed && given_us > made_us.saturating_add(WHOLE_SECOND_US);
    if given_us > now.unix_us || is_too_late { made_us } else { made_us.max(given_us) }
}

/// The schemes of `Authorization` that browsers fill in by themselves.
const BROWSER_SCHEMES: [&str; 4] = ["basic", "digest", "negotiate", "ntlm"];

/// Most clients write `iat` in whole seconds, rounded down.
const WHOLE_SECOND_US: u64 = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_that_lies_ahead_makes_no_proof_younger() {
        let now = Now::at_unix_us(100);
        let made = |given| earliest_proof_time(50, given, false, now);
        assert_eq!([40, 60, 100, 101].map(made), [50, 60, 100, 50]);
    }

    #[test]
    fn a_nonce_that_did_lie_ahead_makes_no_proof_younger_later() {
        let (now, made_us) = (Now::at_unix_us(90_000_000), 50_000_000);
        let made = |given, is_agreed| earliest_proof_time(made_us, given, is_agreed, now);
        assert_eq!(made(51_000_000, true), 51_000_000);
        assert_eq!(made(51_000_001, true), made_us);
        assert_eq!(made(58_000_000, true), made_us);
        // A nonce of this process alone uses this process's clock.
        assert_eq!(made(58_000_000, false), 58_000_000);
    }
}
