//! Layers 4 and 5: whose the request is, whether the token still holds, and whether its bearer may use it.

use std::borrow::Cow;

use super::Stack;
use crate::clock::Now;
use crate::cors::Cors;
use crate::engine::{Known, Tokens};
use crate::exchange::{Awaited, Candidate, Exchange, StoreAsk, TokenDemand, Verdict};
use crate::refusal::Refusal;
use crate::request::Request;
use crate::revocation::stale_refusal;
use crate::token::binding::{
    Freshness, Proof, ProofFault, ProofRequest, ProofUrl, SetBack, Thumbprint, Use, read_proof,
};
use crate::token::{DpopMode, Found, Scheme, TokenDenial, Unverified, Verified};

impl Stack {
    // 4 and 5: `Some` where something has to be asked
    pub(super) fn check_token(
        &self,
        request: &Request,
        x: &mut Exchange,
    ) -> Result<Option<Verdict>, Refusal> {
        self.find_token(request, Asking::First, x)
    }

    // 4, when the issuer was asked for its keys
    pub(super) fn keys_arrived(
        &self,
        again: bool,
        now: Now,
        x: &mut Exchange,
    ) -> Result<Option<Verdict>, Refusal> {
        // The wait may have been a long one, for a token's times too.
        x.now = now;
        let Some(request) = x.request.take() else {
            return Err(TokenDenial::KeysUnavailable.to_refusal());
        };
        let asking = if again { Asking::Again } else { Asking::Never };
        let step = self.find_token(&request, asking, x);
        x.request = Some(request);
        step
    }

    fn find_token(
        &self,
        request: &Request,
        asking: Asking,
        x: &mut Exchange,
    ) -> Result<Option<Verdict>, Refusal> {
        // What nobody verifies is no token: anybody can write `Bearer x`.
        let tokens = self.engine.tokens.as_ref().filter(|_| self.token != TokenDemand::Ignore);
        let found = tokens.map(|tokens| (tokens, tokens.verifier.presentation().find(request)));
        let csrf = if request.is_handshake() { &self.handshake_csrf } else { &self.csrf };
        if let Some(csrf) = csrf {
            // A cross-site page cannot set `Authorization`, so a token there rules out CSRF.
            let by_hand = matches!(&found, Some((_, Ok(Some(found)))) if found.in_header);
            if !by_hand && !self.admits_handshake(request, x) {
                csrf.check(request)?;
            }
        }
        let Some((tokens, found)) = found else { return Ok(None) };
        let scheme = tokens.verifier.presentation().scheme();
        let Some(found) = found.map_err(|denial| denial.to_refusal_by(scheme))? else {
            return match self.token {
                TokenDemand::Required => Err(TokenDenial::Missing.to_refusal_by(scheme)),
                TokenDemand::Optional | TokenDemand::Ignore => Ok(None),
            };
        };
        let deny = |denial: TokenDenial| denial.to_refusal_by(found.scheme);
        let judged = match asking {
            Asking::First | Asking::Again => tokens.verifier.attempt_bound(found.token, x.now),
            Asking::Never => {
                tokens.verifier.verify_bound(found.token, x.now).map_err(Unverified::Denied)
            }
        };
        let verified = match judged {
            Ok(verified) => verified,
            Err(Unverified::Denied(denial)) => return Err(deny(denial)),
            Err(Unverified::Ask(keys)) => {
                x.awaited = Some(Awaited::Keys { again: asking == Asking::First });
                return Ok(Some(Verdict::AskStore(StoreAsk::Keys(keys))));
            }
        };
        let bound = verified.confirmation;
        let proof = self.check_proof(tokens, request, &found, &verified, x)?;
        let candidate = Candidate { verified, scheme: found.scheme, proof: proof.map(|p| p.id) };
        if bound.is_some_and(|bound| bound.certificate.is_some()) {
            x.awaited = Some(Awaited::Certificate(candidate));
            return Ok(Some(Verdict::AskCertificate));
        }
        self.ask_revocations(x, candidate)
    }

    /// Whether CORS has given the page that opens a socket leave to use this API as it does.
    fn admits_handshake(&self, request: &Request, x: &Exchange) -> bool {
        let cookies = request.header("cookie").is_some();
        let admits =
            |cors: &Cors| cors.admits_handshake(request.header("origin"), cookies, x.extras.origin);
        request.is_handshake() && self.cors.as_deref().is_some_and(admits)
    }

    /// Whether what the token says of a key and what came with it agree.
    fn check_proof(
        &self,
        tokens: &Tokens,
        request: &Request,
        found: &Found<'_>,
        verified: &Verified,
        x: &mut Exchange,
    ) -> Result<Option<Proof>, Refusal> {
        let presentation = tokens.verifier.presentation();
        let deny = |denial: TokenDenial| Err(denial.to_refusal_by(found.scheme));
        let key = verified.confirmation.as_ref().and_then(|bound| bound.key);
        let key = match (key, found.scheme) {
            (Some(key), Scheme::Dpop) => key,
            // With `off`, the scheme is not even known.
            (Some(_), Scheme::Bearer) => return deny(TokenDenial::Bound),
            (None, Scheme::Dpop) => return deny(TokenDenial::Unbound),
            (None, Scheme::Bearer) if presentation.dpop == DpopMode::Required => {
                return deny(TokenDenial::Unbound);
            }
            (None, Scheme::Bearer) => return Ok(None),
        };
        // Whoever makes a request chooses its `Host`, and the proof is judged by that.
        self.engine.check_host(request)?;
        let fault = |fault| TokenDenial::Proof(fault).to_refusal();
        let text = request.header("dpop").ok_or_else(|| fault(ProofFault::Missing))?;
        let url = ProofUrl::of(request);
        let asked = ProofRequest {
            method: request.method(),
            url: url.as_ref(),
            token: found.token,
            now: x.now,
            ahead_us: tokens.verifier.tolerance_us(verified),
            forgotten_until_us: SetBack::here().until_us(x.now),
        };
        let proof = read_proof(text, &asked).map_err(fault)?;
        if proof.key != key {
            return Err(fault(ProofFault::Binding));
        }
        if let Some(nonces) = &presentation.nonces {
            let freshness = proof
                .nonce
                .as_deref()
                .map_or(Freshness::Unknown, |nonce| nonces.judge(nonce, x.now));
            if freshness != Freshness::Current {
                x.headers.push(("DPoP-Nonce", Cow::Owned(nonces.current(x.now))));
            }
            if freshness == Freshness::Unknown {
                return deny(TokenDenial::Nonce);
            }
        }
        Ok(Some(proof))
    }

    /// Goes on with the certificate of the connection.
    pub(super) fn check_certificate(
        &self,
        x: &mut Exchange,
        fingerprint: Option<&str>,
    ) -> Result<Option<Verdict>, Refusal> {
        let Some(Awaited::Certificate(candidate)) = x.awaited.take() else {
            return Err(TokenDenial::Certificate.to_refusal());
        };
        let wanted = candidate.verified.confirmation.and_then(|bound| bound.certificate);
        let shown = fingerprint.and_then(Thumbprint::from_fingerprint);
        if shown.is_none() || shown != wanted {
            return Err(TokenDenial::Certificate.to_refusal_by(candidate.scheme));
        }
        self.ask_revocations(x, candidate)
    }

    // 5
    fn ask_revocations(
        &self,
        x: &mut Exchange,
        candidate: Candidate,
    ) -> Result<Option<Verdict>, Refusal> {
        let Some(tokens) = &self.engine.tokens else { return Ok(None) };
        match tokens.known(self.fresh, x.now) {
            Known::Now => self.check_revoked(x, candidate),
            Known::After(list) => {
                x.awaited = Some(Awaited::Revocations(candidate));
                Ok(Some(Verdict::AskStore(StoreAsk::Revocations(list))))
            }
            Known::No => Err(stale_refusal()),
        }
    }

    // 5
    pub(super) fn check_revoked(
        &self,
        x: &mut Exchange,
        candidate: Candidate,
    ) -> Result<Option<Verdict>, Refusal> {
        let Some(tokens) = &self.engine.tokens else { return Ok(None) };
        tokens
            .check(&candidate.verified)
            .map_err(|denial| denial.to_refusal_by(candidate.scheme))?;
        let Some(id) = candidate.proof else {
            return self.accept_token(x, candidate).map(|()| None);
        };
        let mark = tokens.proofs.mark(&id);
        let taken = x.extras.proofs.contains(&mark);
        x.proof_mark = Some(mark);
        if taken {
            // By an earlier layer of this very request.
            return self.accept_token(x, candidate).map(|()| None);
        }
        let step = tokens.proofs.take(&id, x.now);
        self.used(x, candidate, step)
    }

    /// What becomes of a request whose proof is used up, or was before.
    pub(super) fn used(
        &self,
        x: &mut Exchange,
        candidate: Candidate,
        step: Use,
    ) -> Result<Option<Verdict>, Refusal> {
        match step {
            Use::First => self.accept_token(x, candidate).map(|()| None),
            Use::Again => Err(TokenDenial::Replayed.to_refusal()),
            Use::Ask(store, question) => {
                x.awaited = Some(Awaited::Proof(candidate));
                Ok(Some(Verdict::AskStore(StoreAsk::Proof(store, question))))
            }
            Use::Unknown => {
                let why = "nobody can say whether the DPoP proof was used before, try again soon with another one";
                Err(Refusal::new(503, "store_unavailable", why).header("Retry-After", "1"))
            }
        }
    }

    fn accept_token(&self, x: &mut Exchange, candidate: Candidate) -> Result<(), Refusal> {
        let Candidate { verified, scheme, .. } = candidate;
        let tokens = self.engine.tokens.as_ref();
        let tolerance_us = tokens.map_or(0, |tokens| tokens.verifier.tolerance_us(&verified));
        self.demands
            .check(&verified, x.now, tolerance_us)
            .map_err(|unmet| unmet.to_refusal(scheme))?;
        x.identity = Some(verified);
        Ok(())
    }
}

/// Whether the issuer of a token may be asked for its keys.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asking {
    First,
    Again,
    Never,
}
