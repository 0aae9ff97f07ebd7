//! `guard.tokens`: issuing and verifying.

use std::sync::Arc;
use std::time::Duration;

use napi_derive::napi;
use serde_json::{Map, Value, json};

use super::completions;
use super::guard::{Answer, ErrorPayload, clock, guard_of, later, parse, write};
use crate::bearer::TokenError;
use crate::clock::Now;
use crate::config::options::{Options, describe};
use crate::error::ConfigError;
use crate::guard::refresh::{OpenError, RefreshError, RenewedSession, Slot, Used};
use crate::guard::{Guard, Known, Tokens};
use crate::revocation::stale_refusal;
use crate::stack::{StoreAnswer, StoreAsk};
use crate::store::StoreError;
use crate::token::{IssueError, IssueOptions, Issued, Signer, VerifyError};

pub(super) fn tokens_of(opened: &Guard) -> Result<&Tokens, ErrorPayload> {
    let error = || {
        ErrorPayload::new(
            "ERR_MISSING_OPTION",
            "`jwt` must be set on the guard to work with tokens",
        )
    };
    opened.tokens.as_ref().filter(|tokens| tokens.has_issuers()).ok_or_else(error)
}

/// The identities of a guard, whatever their source.
pub(super) fn identities_of(opened: &Guard) -> Result<&Tokens, ErrorPayload> {
    let error = || {
        ErrorPayload::new(
            "ERR_MISSING_OPTION",
            "`jwt`, `apiKeys` or `identify` must be set on the guard to revoke anything",
        )
    };
    opened.tokens.as_ref().ok_or_else(error)
}

fn with_tokens(guard: f64, run: impl FnOnce(&Tokens, Now) -> Answer) -> String {
    write((|| run(tokens_of(&*guard_of(guard)?)?, Now::read()))())
}

/// Issues an access token with `claims` (JSON), and a refresh token on request. Answers
/// `{accessToken, refreshToken?, expiresIn, tokenType}`, or `{"later": ticket}` if the session is
/// stored in a shared store. An access token of more than `max_size` bytes, the room that its
/// cookie has, is refused, and no session begins.
#[napi(catch_unwind)]
pub fn token_issue(guard: f64, claims: String, options: String, max_size: Option<u32>) -> String {
    let opened = match guard_of(guard) {
        Ok(opened) => opened,
        Err(error) => return write(Err(error)),
    };
    let now = Now::read();
    let prepare = || {
        let tokens = tokens_of(&opened)?;
        tokens.look_at_clock(now);
        let claims = object("claims", &claims)?;
        let options = parse(&options)?;
        let options = Options::read("options", &options, &["expiresIn", "refresh"])?;
        let range = Duration::from_secs(1)..=crate::token::MAX_MAX_LIFETIME;
        let expires_in = options.duration("expiresIn", range)?;
        let refresh = match (options.bool("refresh")?, &tokens.refresh) {
            (Some(false), _) | (None, None) => None,
            (_, Some(refresh)) => Some(refresh),
            (Some(true), None) => return Err(without_refresh()),
        };
        // A token for a user who was logged out everywhere a moment ago must not be covered by that
        // revocation.
        let subject = claims.get("sub").and_then(Value::as_str);
        let after = subject.and_then(|subject| tokens.subject_before(subject));
        let kept = refresh.map(|refresh| (refresh, claims.clone()));
        let issued = signer_of(tokens)?
            .issue(claims, IssueOptions { expires_in, after }, now)
            .map_err(issue_failure)?;
        if max_size.is_some_and(|most| issued.token.len() > most as usize) {
            let code = "ERR_INVALID_ARGUMENT";
            return Err(ErrorPayload(
                json!({ "code": code, "path": "claims", "message": TOO_LARGE }),
            ));
        }
        let begun = kept.map(|(refresh, claims)| {
            let first = refresh.begin(claims, &issued, expires_in).map_err(issue_failure);
            first.map(|(token, opening)| (refresh, token, opening))
        });
        Ok((issued, begun.transpose()?))
    };
    let (issued, begun) = match prepare() {
        Ok(prepared) => prepared,
        Err(error) => return write(Err(error)),
    };
    let Some((refresh, token, opening)) = begun else {
        return write(Ok(answer(&issued, None)));
    };
    let stored = answer(&issued, Some(token));
    if !refresh.is_shared() {
        let opened = refresh.open(opening, now, || None);
        return write(opened.unwrap_or(Ok(())).map(|()| stored).map_err(open_failure));
    }
    later(
        guard,
        move |answer: StoreAnswer| {
            write(answer.done().map(|()| stored).map_err(ErrorPayload::from))
        },
        |queue, ticket| {
            let opened = refresh.open(opening, now, || Some(queue.reply(ticket)));
            opened.unwrap_or(Ok(())).map_err(open_failure)
        },
    )
}

const TOO_LARGE: &str =
    "`claims` make a cookie of more than 4096 bytes, which browsers do not keep; give fewer claims";

/// Uses a refresh token. Answers like [`token_issue`], or with `asks` returns the input of
/// [`token_continue`]: `{refreshToken, born, expiresIn, claims, presented}`.
#[napi(catch_unwind)]
pub fn token_refresh(guard: f64, token: String, asks: bool) -> String {
    let opened = match guard_of(guard) {
        Ok(opened) => opened,
        Err(error) => return write(Err(error)),
    };
    let now = Now::read();
    let used = match tokens_of(&opened).and_then(|tokens| {
        let refresh = tokens.refresh.as_ref().ok_or_else(without_refresh)?;
        // A token must not be used up in vain.
        signer_of(tokens)?.check(now).map_err(issue_failure)?;
        Ok(refresh.present(tokens, &token, now))
    }) {
        Ok(used) => used,
        Err(error) => return write(Err(error)),
    };
    let finish = move |opened: &Guard, continued: Result<RenewedSession, RefreshError>| {
        let continued = continued.map_err(refresh_failure)?;
        if asks {
            return Ok(continued.to_json());
        }
        continue_with(tokens_of(opened)?, &continued, None)
    };
    let token = match used {
        Used::Now(continued) => return write(finish(&opened, continued)),
        Used::Ask(token) => token,
    };
    let slot = Arc::new(Slot::default());
    let (outcome, asking, asked) = (Arc::clone(&slot), Arc::clone(&opened), token.clone());
    later(
        guard,
        move |answer: StoreAnswer| {
            write((|| {
                answer.done()?;
                let tokens = tokens_of(&opened)?;
                let refresh = tokens.refresh.as_ref().ok_or_else(without_refresh)?;
                let outcome = outcome.lock().take().ok_or(StoreError::Refused)?;
                finish(&opened, refresh.conclude(tokens, &token, outcome, now))
            })())
        },
        |queue, ticket| {
            let refresh = tokens_of(&asking)?.refresh.as_ref().ok_or_else(without_refresh)?;
            refresh.ask(&asked, now, slot, queue.reply(ticket));
            Ok(())
        },
    )
}

/// Issues the access token of a renewed session: `continued` (JSON) is the answer of
/// [`token_refresh`], `claims` (JSON) are the application's, in place of the session's.
#[napi(catch_unwind)]
pub fn token_continue(guard: f64, continued: String, claims: String) -> String {
    with_tokens(guard, |tokens, _| {
        let continued = RenewedSession::from_json(&parse(&continued)?)
            .ok_or_else(|| ErrorPayload::new("ERR_INTERNAL", "there is no such session"))?;
        // The application's function may have been slow.
        continued.check(tokens).map_err(refresh_failure)?;
        continue_with(tokens, &continued, Some(object("claims", &claims)?))
    })
}

fn continue_with(
    tokens: &Tokens,
    continued: &RenewedSession,
    claims: Option<Map<String, Value>>,
) -> Answer {
    let issued = continued.issue(signer_of(tokens)?, claims, Now::read()).map_err(issue_failure)?;
    Ok(answer(&issued, Some(continued.refresh_token.clone())))
}

fn answer(issued: &Issued, refresh_token: Option<String>) -> Value {
    let kind = if issued.dpop { "DPoP" } else { "Bearer" };
    let mut answer =
        json!({ "accessToken": issued.token, "expiresIn": issued.expires_in_s, "tokenType": kind });
    if let (Some(token), Some(answer)) = (refresh_token, answer.as_object_mut()) {
        answer.insert("refreshToken".to_owned(), token.into());
    }
    answer
}

fn object(name: &str, json: &str) -> Result<Map<String, Value>, ErrorPayload> {
    match parse(json)? {
        Value::Object(object) => Ok(object),
        other => {
            let problem = format!("must be an object, not {}", describe(&other));
            Err(ConfigError::invalid(name, problem).into())
        }
    }
}

fn signer_of(tokens: &Tokens) -> Result<&Signer, ErrorPayload> {
    tokens.signer.as_ref().ok_or_else(|| {
        ErrorPayload::new(
            "ERR_MISSING_OPTION",
            "no key can sign; give `jwt.secret` or a private key in `jwt.keys`",
        )
    })
}

fn without_refresh() -> ErrorPayload {
    ErrorPayload::new(
        "ERR_MISSING_OPTION",
        "`jwt.refresh` must be set on the guard for refresh tokens",
    )
}

#[expect(clippy::needless_pass_by_value, reason = "for `map_err`")]
fn issue_failure(error: IssueError) -> ErrorPayload {
    if error == IssueError::NotLoaded {
        return ErrorPayload(
            json!({ "code": "ERR_KEY_STORAGE", "status": 503, "message": error.to_string() }),
        );
    }
    if error == IssueError::Ahead {
        return clock(&error.to_string());
    }
    ErrorPayload::new(issue_code(&error), &error.to_string())
}

fn open_failure(error: OpenError) -> ErrorPayload {
    match error {
        OpenError::CapacityError(full) => {
            ErrorPayload::new("ERR_INVALID_ARGUMENT", &full.to_string())
        }
        OpenError::Store(error) => error.into(),
    }
}

fn refresh_failure(error: RefreshError) -> ErrorPayload {
    let refused = |code: &str, message: &str| {
        ErrorPayload(json!({ "code": code, "status": 401, "message": message }))
    };
    match error {
        // The caller gets the same answer as for any other ended session.
        RefreshError::Unsealed => unsealed(refresh_failure(RefreshError::Invalid)),
        RefreshError::Invalid => refused(
            "ERR_REFRESH_INVALID",
            "the refresh token is not good, or not any more; log in again",
        ),
        RefreshError::Reused => refused(
            "ERR_REFRESH_REUSED",
            "the refresh token was used before, so its session has ended; log in again",
        ),
        RefreshError::Clock => clock(
            "the session did not begin at a time that can be by the clock of this process; set the clock, nothing was used",
        ),
        RefreshError::Revoked => TokenError::Revoked.into(),
        RefreshError::Stale => stale(),
        RefreshError::Store(error) => error.into(),
        RefreshError::Issue(error) => issue_failure(error),
        RefreshError::Revoke(error) => error.into(),
    }
}

/// Adds a warning for the operator to the caller's error.
fn unsealed(ErrorPayload(mut failure): ErrorPayload) -> ErrorPayload {
    if let Some(failure) = failure.as_object_mut() {
        let warning = json!({
            "code": "GUARD_SESSION_RECORD",
            "message": "the record of a session in the store was not made with a key of this guard, so its refresh token was \
                        refused: somebody else writes into the store, or the keys were changed",
        });
        failure.insert("warning".to_owned(), warning);
    }
    ErrorPayload(failure)
}

const fn issue_code(error: &IssueError) -> &'static str {
    match error {
        IssueError::Lifetime => "ERR_INVALID_OPTION",
        IssueError::NoKey => "ERR_MISSING_OPTION",
        IssueError::Random => "ERR_INTERNAL",
        _ => "ERR_INVALID_ARGUMENT",
    }
}

/// Verifies a token, including revocation. Returns its claims, or `{"later": ticket}` if the shared
/// store or the issuer is asked.
#[napi(catch_unwind)]
pub fn token_verify(guard: f64, token: String) -> String {
    match guard_of(guard).and_then(|opened| tokens_of(&opened).map(|_| Arc::clone(&opened))) {
        Ok(opened) => verify(guard, opened, token, 2),
        Err(error) => write(Err(error)),
    }
}

/// The issuer may be asked `asks` times: the fetch in flight when the token arrived may have begun
/// too early.
fn verify(guard: f64, opened: Arc<Guard>, token: String, asks: u8) -> String {
    let now = Now::read();
    let judged = tokens_of(&opened).and_then(|tokens| {
        let judged = if asks == 0 {
            tokens.verifier.verify(&token, now).map_err(VerifyError::Denied)
        } else {
            tokens.verifier.verify_or_wait(&token, now)
        };
        match judged {
            Ok(verified) => Ok(Ok((verified, tokens.known(false, now)))),
            Err(VerifyError::Pending(keys)) => Ok(Err((StoreAsk::Keys(keys), None))),
            Err(VerifyError::Introspecting(wait)) => {
                Ok(Err((StoreAsk::Introspection(wait.clone()), Some(wait))))
            }
            Err(VerifyError::Denied(denial)) => Err(denial.into()),
        }
    });
    let (verified, known) = match judged {
        Ok(Ok(found)) => found,
        Ok(Err((ask, introspection))) => {
            let asks = if introspection.is_some() { 0 } else { asks - 1 };
            return later(
                guard,
                move |_| {
                    let answer = verify(guard, opened, token, asks);
                    // It keeps the answer of the issuer until here.
                    drop(introspection);
                    answer
                },
                move |queue, ticket| {
                    completions::ask(ask, queue, ticket);
                    Ok(())
                },
            );
        }
        Err(error) => return write(Err(error)),
    };
    let claims = move |waited: bool| {
        let checked = tokens_of(&opened).and_then(|tokens| {
            if waited {
                // It may have expired meanwhile.
                tokens.verifier.verify(&token, Now::read())?;
            }
            Ok(tokens.check(&verified)?)
        });
        match checked {
            // As in the token: writing them again would cost more than everything else for a cached
            // token.
            Ok(()) => format!("{{\"ok\":{}}}", verified.claims.json()),
            Err(error) => write(Err(error)),
        }
    };
    match known {
        Known::Now => claims(false),
        Known::No => write(Err(stale())),
        Known::After(list) => later(
            guard,
            move |answer| match answer {
                StoreAnswer::Done(Ok(())) => claims(true),
                _ => write(Err(stale())),
            },
            move |queue, ticket| {
                completions::ask(StoreAsk::Revocations(list), queue, ticket);
                Ok(())
            },
        ),
    }
}

/// The revocation list is currently not available.
fn stale() -> ErrorPayload {
    stale_refusal().into()
}

/// The metadata of the protected resource: `{path, document}`, or null if `jwt.resource` is not
/// set.
#[napi(catch_unwind)]
pub fn protected_resource(guard: f64) -> String {
    with_tokens(guard, |tokens, _| {
        let resource = tokens.verifier.resource().zip(tokens.verifier.resource_document());
        Ok(resource.map_or(
            Value::Null,
            |(resource, document)| json!({ "path": resource.path(), "document": document }),
        ))
    })
}

/// The public keys as a JWK set; empty if there is only a secret.
#[napi(catch_unwind)]
pub fn token_jwks(guard: f64) -> String {
    with_tokens(guard, |tokens, now| {
        Ok(tokens.signer.as_ref().map_or_else(|| json!({ "keys": [] }), |signer| signer.jwks(now)))
    })
}
