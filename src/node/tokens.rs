//! `guard.tokens`: issuing and verifying.

use std::sync::Arc;
use std::time::Duration;

use napi_derive::napi;
use serde_json::{Value, json};

use super::inbox;
use super::manage::{Answer, Failure, engine, later, parse, write};
use crate::clock::Now;
use crate::config::raw::{Options, describe};
use crate::engine::{Engine, Known, Tokens};
use crate::error::ConfigError;
use crate::revocation::stale_refusal;
use crate::stack::{StoreAnswer, StoreAsk};
use crate::token::{IssueError, IssueOptions, Unverified};

pub(super) fn tokens_of(engine: &Engine) -> Result<&Tokens, Failure> {
    let error =
        || Failure::new("ERR_MISSING_OPTION", "`jwt` must be set on the guard to work with tokens");
    engine.tokens.as_ref().ok_or_else(error)
}

fn with_tokens(guard: u32, run: impl FnOnce(&Tokens, Now) -> Answer) -> String {
    write((|| run(tokens_of(&*engine(guard)?)?, Now::read()))())
}

/// Issues an access token with `claims` (JSON). Answers `{accessToken, expiresIn, tokenType}`.
#[napi(catch_unwind)]
pub fn token_issue(guard: u32, claims: String, options: String) -> String {
    with_tokens(guard, |tokens, now| {
        let claims = match parse(&claims)? {
            Value::Object(claims) => claims,
            other => {
                return Err(ConfigError::invalid(
                    "claims",
                    format!("must be an object, not {}", describe(&other)),
                )
                .into());
            }
        };
        let options = parse(&options)?;
        let options = Options::read("options", &options, &["expiresIn"])?;
        let range = Duration::from_secs(1)..=crate::token::MAX_MAX_LIFETIME;
        // A token for somebody who was logged out everywhere a moment ago must not fall under that.
        let subject = claims.get("sub").and_then(Value::as_str);
        let after = subject.and_then(|subject| tokens.subject_before(subject));
        let options = IssueOptions { expires_in: options.duration("expiresIn", range)?, after };
        let error = || {
            Failure::new(
                "ERR_MISSING_OPTION",
                "no key can sign; give `jwt.secret` or a private key in `jwt.keys`",
            )
        };
        let signer = tokens.signer.as_ref().ok_or_else(error)?;
        let issued = signer
            .issue(claims, options, now)
            .map_err(|error| Failure::new(issue_code(&error), &error.to_string()))?;
        Ok(
            json!({ "accessToken": issued.token, "expiresIn": issued.expires_in_s, "tokenType": "Bearer" }),
        )
    })
}

const fn issue_code(error: &IssueError) -> &'static str {
    match error {
        IssueError::Lifetime => "ERR_INVALID_OPTION",
        _ => "ERR_INVALID_ARGUMENT",
    }
}

/// Verifies a token, revocation included. Answers its claims, or `{"later": ticket}` where the shared store or the
/// issuer is asked.
#[napi(catch_unwind)]
pub fn token_verify(guard: u32, token: String) -> String {
    match engine(guard).and_then(|engine| tokens_of(&engine).map(|_| Arc::clone(&engine))) {
        Ok(engine) => verify(engine, token, 2),
        Err(error) => write(Err(error)),
    }
}

/// The issuer may be asked `asks` times: what was on its way when the token came may have begun too early.
fn verify(engine: Arc<Engine>, token: String, asks: u8) -> String {
    let now = Now::read();
    let judged = tokens_of(&engine).and_then(|tokens| {
        let judged = if asks == 0 {
            tokens.verifier.verify(&token, now).map_err(Unverified::Denied)
        } else {
            tokens.verifier.attempt(&token, now)
        };
        match judged {
            Ok(verified) => Ok(Ok((verified, tokens.known(false, now)))),
            Err(Unverified::Ask(keys)) => Ok(Err(keys)),
            Err(Unverified::Denied(denial)) => Err(denial.into()),
        }
    });
    let (verified, known) = match judged {
        Ok(Ok(found)) => found,
        Ok(Err(keys)) => {
            return later(
                move |_| verify(engine, token, asks - 1),
                move |ticket| {
                    if inbox::ask(StoreAsk::Keys(keys), ticket) { Ok(()) } else { Err(stale()) }
                },
            );
        }
        Err(error) => return write(Err(error)),
    };
    let claims = move || {
        let checked = tokens_of(&engine).and_then(|tokens| Ok(tokens.check(&verified)?));
        match checked {
            // As the token has them: to write them anew would cost more than all the rest for a known token.
            Ok(()) => format!("{{\"ok\":{}}}", verified.claims_json),
            Err(error) => write(Err(error)),
        }
    };
    match known {
        Known::Now => claims(),
        Known::No => write(Err(stale())),
        Known::After(list) => later(
            move |answer| match answer {
                StoreAnswer::Done(Ok(())) => claims(),
                _ => write(Err(stale())),
            },
            move |ticket| {
                if inbox::ask(StoreAsk::Revocations(list), ticket) { Ok(()) } else { Err(stale()) }
            },
        ),
    }
}

/// Nobody knows at the moment what is revoked.
fn stale() -> Failure {
    stale_refusal().into()
}

/// The public keys as a JWK set; empty where there is but a secret.
#[napi(catch_unwind)]
pub fn token_jwks(guard: u32) -> String {
    with_tokens(guard, |tokens, now| {
        Ok(tokens.signer.as_ref().map_or_else(|| json!({ "keys": [] }), |signer| signer.jwks(now)))
    })
}
