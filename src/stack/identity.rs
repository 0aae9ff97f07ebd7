//! Layers 4 and 5: whose the request is, and whether the token still holds.

use std::sync::Arc;

use super::Stack;
use crate::clock::Now;
use crate::engine::Known;
use crate::exchange::{Awaited, Exchange, StoreAsk, TokenDemand, Verdict};
use crate::refusal::Refusal;
use crate::request::Request;
use crate::revocation::stale_refusal;
use crate::token::{TokenDenial, Unverified, Verified, bearer};

impl Stack {
    // 4 and 5: `Some` where the shared store has to be asked
    pub(super) fn check_token(
        &self,
        request: &Request,
        x: &mut Exchange,
    ) -> Result<Option<Verdict>, Refusal> {
        if self.engine.tokens.is_none() || self.token == TokenDemand::Ignore {
            return Ok(None);
        }
        // `Request::read` has refused a second header of this name.
        let Some(value) = request.header("authorization") else {
            return match self.token {
                TokenDemand::Required => Err(TokenDenial::Missing.to_refusal()),
                TokenDemand::Optional | TokenDemand::Ignore => Ok(None),
            };
        };
        let token = bearer(&[value]).map_err(|denial| denial.to_refusal())?.unwrap_or_default();
        self.judge_token(token, Asking::First, x)
    }

    /// Layer 4 for one token, and on to the list of layer 5.
    fn judge_token(
        &self,
        token: &str,
        asking: Asking,
        x: &mut Exchange,
    ) -> Result<Option<Verdict>, Refusal> {
        let Some(tokens) = &self.engine.tokens else { return Ok(None) };
        let judged = match asking {
            Asking::First | Asking::Again => tokens.verifier.attempt(token, x.now),
            Asking::Never => tokens.verifier.verify(token, x.now).map_err(Unverified::Denied),
        };
        let verified = match judged {
            Ok(verified) => verified,
            Err(Unverified::Denied(denial)) => return Err(denial.to_refusal()),
            Err(Unverified::Ask(keys)) => {
                let again = asking == Asking::First;
                x.awaited = Some(Awaited::Keys { token: Arc::from(token), again });
                return Ok(Some(Verdict::AskStore(StoreAsk::Keys(keys))));
            }
        };
        match tokens.known(self.fresh, x.now) {
            Known::Now => self.accept_token(x, verified).map(|()| None),
            Known::After(list) => {
                x.awaited = Some(Awaited::Revocations(verified));
                Ok(Some(Verdict::AskStore(StoreAsk::Revocations(list))))
            }
            Known::No => Err(stale_refusal()),
        }
    }

    // 4, when the issuer was asked for its keys
    pub(super) fn keys_arrived(
        &self,
        token: &str,
        again: bool,
        now: Now,
        x: &mut Exchange,
    ) -> Result<Option<Verdict>, Refusal> {
        // The wait may have been a long one, for a token's times too.
        x.now = now;
        self.judge_token(token, if again { Asking::Again } else { Asking::Never }, x)
    }

    // 5
    pub(super) fn accept_token(
        &self,
        x: &mut Exchange,
        verified: Arc<Verified>,
    ) -> Result<(), Refusal> {
        if let Some(tokens) = &self.engine.tokens {
            tokens.check(&verified).map_err(|denial| denial.to_refusal())?;
        }
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
