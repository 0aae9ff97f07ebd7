//! Layer 4 for identities that are no tokens: which credential of a request counts, and the
//! questions to the application.
//!
//! The rules:
//!
//! 1. A token comes first, then an API key, then `identify`. A token and an API key on one request
//!    are refused: which of them counts would be a guess.
//! 2. A credential that is refused ends the request. It is never replaced by another identity.
//! 3. `identify` is asked only about a request without a credential. Credentials of a scheme that
//!    no layer here reads, such as `Basic`, are left to it.
//! 4. A result that is not understood is a fault of the application: 500, never a pass.

use std::sync::Arc;

use super::Stack;
use crate::bearer::{PresentedToken, Scheme, TokenError};
use crate::clock::Now;
use crate::guard::{TokenRequirement, Tokens};
use crate::identity::{HostIdentity, IdentityAnswer, IdentityAsk, IdentityError, IdentitySource};
use crate::refusal::Refusal;
use crate::request::Request;
use crate::stack::{PendingIdentity, RequestContext, Step, Suspension};
use crate::token::Verified;

/// The credential of a request.
#[derive(Debug)]
pub(super) enum Credential<'r> {
    /// A token.
    Token(PresentedToken<'r>),
    /// An API key.
    ApiKey(&'r str),
    /// Neither.
    None,
}

impl Credential<'_> {
    /// Whether it came in a header that no page of another site can make a browser send.
    pub(super) const fn is_in_header(&self) -> bool {
        match self {
            Self::Token(found) => found.in_header,
            Self::ApiKey(_) => true,
            Self::None => false,
        }
    }
}

/// Finds the credential of a request.
pub(super) fn credential_of<'r>(
    tokens: &Tokens,
    request: &'r Request,
) -> Result<Credential<'r>, Refusal> {
    let presentation = tokens.verifier.presentation();
    let scheme = presentation.scheme();
    let found = presentation.find(request);
    if tokens.sources.is_empty() {
        let found = found.map_err(|denial| denial.to_refusal_by(scheme))?;
        return Ok(found.map_or(Credential::None, Credential::Token));
    }
    let refuse = |error: IdentityError| error.to_refusal(challenge_of(tokens));
    let key = tokens.sources.key_of(request).map_err(refuse)?;
    let keys = tokens.sources.api_keys.as_ref();
    let is_key_place = keys.is_some_and(crate::identity::ApiKeys::is_in_authorization);
    match (key, found) {
        // Both readers have found the same text.
        (Some(key), Ok(Some(found))) if is_key_place && found.in_header => {
            Ok(Credential::ApiKey(key))
        }
        (Some(_), Ok(Some(_)) | Err(TokenError::Ambiguous)) => {
            Err(refuse(IdentityError::Ambiguous))
        }
        (Some(key), Ok(None) | Err(TokenError::Missing)) => Ok(Credential::ApiKey(key)),
        (Some(key), Err(_)) if is_key_place => Ok(Credential::ApiKey(key)),
        (_, Err(TokenError::Missing)) | (None, Ok(None)) => Ok(Credential::None),
        // No issuer may learn of it.
        (None, Ok(Some(found))) if keys.is_some_and(|keys| keys.digest(found.token).is_ok()) => {
            Err(refuse(IdentityError::KeyPlace))
        }
        (None, Ok(Some(found))) => Ok(Credential::Token(found)),
        (_, Err(denial)) => Err(denial.to_refusal_by(scheme)),
    }
}

/// Asks for the record of an API key, if the key has the right form.
pub(super) fn ask_key(
    tokens: &Tokens,
    key: &str,
    ctx: &mut RequestContext,
) -> Result<Step, Refusal> {
    let ask = tokens.sources.ask_key(key);
    Ok(suspend(ctx, ask.map_err(|error| error.to_refusal(tokens.sources.scheme()))?))
}

fn suspend(ctx: &mut RequestContext, ask: IdentityAsk) -> Step {
    ctx.suspension = Some(Suspension::Identity(ask.clone()));
    Step::AskIdentity(ask)
}

/// The scheme of the challenge of a guard: that of tokens, if it reads any.
fn challenge_of(tokens: &Tokens) -> Scheme {
    if tokens.has_issuers() {
        tokens.verifier.presentation().scheme()
    } else {
        tokens.sources.scheme()
    }
}

/// The refusal of a revoked identity.
pub(super) fn revoked_refusal(verified: &Verified, denial: &TokenError, scheme: Scheme) -> Refusal {
    match IdentitySource::of_issuer(&verified.issuer) {
        Some(source) => IdentityError::Revoked(source).to_refusal(scheme),
        None => denial.to_refusal_by(scheme),
    }
}

/// Judges the identity of a request once more; `None` for an anonymous request.
pub(super) fn judge_again(
    tokens: &Tokens,
    credential: &Credential<'_>,
    identity: Option<&HostIdentity>,
    now: Now,
) -> Result<Option<Arc<Verified>>, Refusal> {
    let scheme = tokens.sources.scheme();
    let ask = match credential {
        Credential::ApiKey(key) => Some(tokens.sources.ask_key(key)),
        _ => tokens.sources.ask_identify().map(Ok),
    };
    let (Some(identity), Some(ask)) = (identity, ask) else {
        return match credential {
            // A key has a record, or its request has not passed.
            Credential::ApiKey(_) => Err(IdentityError::KeyUnknown.to_refusal(scheme)),
            _ => Ok(None),
        };
    };
    let judged = ask.and_then(|ask| {
        if ask.source != identity.source {
            return Err(IdentityError::Revoked(identity.source));
        }
        tokens.sources.judge(&ask, &identity.json, now)
    });
    judged.map(Some).map_err(|error| error.to_refusal(scheme))
}

/// A request without an identity.
fn anonymous(tokens: &Tokens, token: TokenRequirement) -> Result<Option<Step>, Refusal> {
    if token != TokenRequirement::Required {
        return Ok(None);
    }
    let scheme = challenge_of(tokens);
    Err(if tokens.sources.is_empty() {
        TokenError::Missing.to_refusal_by(scheme)
    } else {
        IdentityError::Missing.to_refusal(scheme)
    })
}

/// A request without a credential: the application may find its user.
pub(super) fn ask_identify(
    tokens: &Tokens,
    ctx: &mut RequestContext,
) -> Result<Option<Step>, Refusal> {
    match tokens.sources.ask_identify() {
        Some(ask) => Ok(Some(suspend(ctx, ask))),
        None => anonymous(tokens, ctx.token),
    }
}

impl Stack {
    /// Continues with the result of the application's function.
    pub(super) fn identity_answered(
        &self,
        ctx: &mut RequestContext,
        answer: IdentityAnswer,
    ) -> Result<Option<Step>, Refusal> {
        let (Some(Suspension::Identity(ask)), Some(tokens)) =
            (ctx.suspension.take(), &self.guard.tokens)
        else {
            return Err(Refusal::new(500, "internal_error", "the request could not be decided"));
        };
        let scheme = tokens.sources.scheme();
        let refuse = |error: IdentityError| error.to_refusal(scheme);
        let json = match (answer, ask.source) {
            (IdentityAnswer::Found(json), _) => json,
            (IdentityAnswer::Nobody, IdentitySource::Identify) => {
                return anonymous(tokens, ctx.token);
            }
            (IdentityAnswer::Nobody, IdentitySource::ApiKey) => {
                return Err(refuse(IdentityError::KeyUnknown));
            }
            (IdentityAnswer::Timeout, source) => {
                return Err(refuse(IdentityError::Timeout(source)));
            }
        };
        let verified = tokens.sources.judge(&ask, &json, ctx.now).map_err(refuse)?;
        ctx.host_identity = Some(HostIdentity { source: ask.source, json });
        self.ask_revocations(
            ctx,
            PendingIdentity { verified, scheme, in_cookie: false, proof: None },
        )
    }
}
