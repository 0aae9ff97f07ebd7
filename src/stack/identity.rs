//! Layers 4 and 5: whose the request is, and whether the token still holds.

use std::sync::Arc;

use super::Stack;
use crate::engine::Known;
use crate::exchange::{Awaited, Exchange, StoreAsk, TokenDemand, Verdict};
use crate::refusal::Refusal;
use crate::request::Request;
use crate::revocation::stale_refusal;
use crate::token::{TokenDenial, Verified, bearer};

impl Stack {
    // 4 and 5: `Some` where the shared store has to be asked
    pub(super) fn check_token(
        &self,
        request: &Request,
        x: &mut Exchange,
    ) -> Result<Option<Verdict>, Refusal> {
        let (Some(tokens), true) = (&self.engine.tokens, self.token != TokenDemand::Ignore) else {
            return Ok(None);
        };
        // `Request::read` has refused a second header of this name.
        let Some(value) = request.header("authorization") else {
            return match self.token {
                TokenDemand::Required => Err(TokenDenial::Missing.to_refusal()),
                TokenDemand::Optional | TokenDemand::Ignore => Ok(None),
            };
        };
        let token = bearer(&[value]).map_err(|denial| denial.to_refusal())?.unwrap_or_default();
        let verified =
            tokens.verifier.verify(token, x.now).map_err(|denial| denial.to_refusal())?;
        match tokens.known(self.fresh, x.now) {
            Known::Now => self.accept_token(x, verified).map(|()| None),
            Known::After(list) => {
                x.awaited = Some(Awaited::Revocations(verified));
                Ok(Some(Verdict::AskStore(StoreAsk::Revocations(list))))
            }
            Known::No => Err(stale_refusal()),
        }
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
