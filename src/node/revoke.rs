//! `guard.revoke`: tokens that are not accepted any more.

use std::sync::Arc;

use napi_derive::napi;
use serde_json::Value;

use super::guard::{ErrorPayload, guard_of, later, write};
use super::tokens::{identities_of, tokens_of};
use crate::clock::Now;
use crate::guard::{RevocationList, Tokens};
use crate::identity::IdentitySource;
use crate::revocation::{Revocations, SharedRevocations};
use crate::stack::StoreAnswer;
use crate::store::{Reply, StoreError};
use crate::token::{Fingerprint, name_misuse, token_or_jti_misuse};

/// The issuer whose tokens are revoked: a `jti`, subject, session or key name is unique only within
/// one issuer. Without a name it is the only issuer.
fn named(tokens: &Tokens, name: Option<&str>) -> Result<Arc<str>, ErrorPayload> {
    let why = match name {
        None => {
            "`options.issuer` must be given, since the guard has several issuers: write { issuer: 'https://id.example.com' }, or 'identify' or 'api-key' for identities that are no tokens"
        }
        Some(_) => "`options.issuer` is no issuer of this guard; write it as `jwt` has it",
    };
    tokens.issuer_named(name).ok_or_else(|| ErrorPayload::new("ERR_INVALID_ARGUMENT", why))
}

/// Refuses an argument that would revoke nothing while the call succeeds. The text never contains
/// it.
fn fits(name: &str, why: Option<&'static str>) -> Result<(), ErrorPayload> {
    why.map_or(Ok(()), |why| {
        Err(ErrorPayload::new("ERR_INVALID_ARGUMENT", &format!("`{name}` {why}")))
    })
}

/// The issuer for the name of a subject, a session or a key: see [`fits`] and [`named`].
fn issuer_of(
    tokens: &Tokens,
    argument: (&str, &str),
    issuer: Option<&str>,
) -> Result<(Arc<str>, ()), ErrorPayload> {
    let (name, text) = argument;
    fits(name, name_misuse(text))?;
    Ok((named(tokens, issuer)?, ()))
}

/// Revokes in this process at once, or in a shared store, which acknowledges the revocation later.
/// `find` returns the issuer and the revoked value.
fn revoke<T>(
    guard: f64,
    find: impl FnOnce(&Tokens, Now) -> Result<(Arc<str>, T), ErrorPayload>,
    local: impl FnOnce(&Tokens, &Revocations, T, Now) -> Result<(), ErrorPayload>,
    shared: impl FnOnce(&Tokens, &SharedRevocations, T, Now, Reply<()>) -> Result<(), ErrorPayload>,
) -> String {
    let opened = match guard_of(guard) {
        Ok(opened) => opened,
        Err(error) => return write(Err(error)),
    };
    let tokens = match identities_of(&opened) {
        Ok(tokens) => tokens,
        Err(error) => return write(Err(error)),
    };
    let now = Now::read();
    let off = || ErrorPayload::new("ERR_MISSING_OPTION", "`revocation` is off on this guard");
    let (issuer, what) = match find(tokens, now) {
        Ok(found) => found,
        Err(error) => return write(Err(error)),
    };
    let RevocationList::Shared(list) = tokens.list_of(&issuer) else {
        let list = tokens.to_revoke_of(&issuer, now).ok_or_else(off);
        let done = list.and_then(|list| local(tokens, list, what, now));
        return write(done.map(|()| Value::Null));
    };
    later(
        guard,
        |answer: StoreAnswer| {
            write(answer.done().map(|()| Value::Null).map_err(ErrorPayload::from))
        },
        |queue, ticket| shared(tokens, list, what, now, queue.reply(ticket)),
    )
}

/// Revokes one token: the whole token, or its `jti` with its `exp` in seconds.
///
/// This and the calls below answer `{"later": ticket}` if the list is shared. `issuer` names the
/// issuer of the token.
#[napi(catch_unwind)]
pub fn revoke_token(
    guard: f64,
    token_or_jti: String,
    exp: Option<f64>,
    issuer: Option<String>,
) -> String {
    let find = |tokens: &Tokens, now: Now| {
        fits("token", token_or_jti_misuse(&token_or_jti))?;
        if tokens.sources.api_keys.as_ref().is_some_and(|keys| keys.has_prefix(&token_or_jti)) {
            fits("token", Some("is an API key: write guard.apiKeys.revoke(key)"))?;
        }
        let revocable = tokens.verifier.revocable(&token_or_jti, now)?;
        let issuer = match (revocable.issuer, issuer) {
            (Some(own), Some(name)) if *own != *name => {
                let why = "`options.issuer` is not the issuer of the token; leave it out";
                return Err(ErrorPayload::new("ERR_INVALID_ARGUMENT", why));
            }
            (Some(own), _) => own,
            (None, name) => named(tokens, name.as_deref())?,
        };
        let until = revocable.expires_at.or_else(|| exp.and_then(whole_seconds));
        Ok((issuer, (revocable.fingerprint, until)))
    };
    revoke(
        guard,
        find,
        |_, list, (fingerprint, until), now| {
            Ok(list.revoke_fingerprint(fingerprint, until, now)?)
        },
        |_, list, (fingerprint, until), now, reply| {
            Ok(list.revoke_fingerprint(fingerprint, until, now, reply)?)
        },
    )
}

/// Revokes an API key by the key itself, its digest or its id.
#[napi(catch_unwind)]
pub fn api_key_revoke(guard: f64, key: String) -> String {
    let find = |tokens: &Tokens, _| {
        let id = super::api_keys::keys_of(tokens)?.id_of(&key);
        let why = "must be an API key of this guard, its digest or its id";
        fits("key", id.is_none().then_some(why))?;
        let id = Fingerprint::of_jti(&id.unwrap_or_default());
        Ok((Arc::from(IdentitySource::ApiKey.issuer()), id))
    };
    revoke(
        guard,
        find,
        |_, list, fingerprint, now| Ok(list.revoke_fingerprint(fingerprint, None, now)?),
        |_, list, fingerprint, now, reply| {
            Ok(list.revoke_fingerprint(fingerprint, None, now, reply)?)
        },
    )
}

/// Revokes all tokens of a subject that were issued up to `before`, in seconds; by default up to
/// now.
#[napi(catch_unwind)]
pub fn revoke_subject(
    guard: f64,
    subject: String,
    before: Option<f64>,
    issuer: Option<String>,
) -> String {
    // Tokens are compared by the whole second in which they were issued.
    let before = before.map(f64::floor).and_then(whole_seconds);
    revoke(
        guard,
        |tokens, _| issuer_of(tokens, ("sub", &subject), issuer.as_deref()),
        |_, list, (), now| Ok(list.revoke_subject(&subject, before, now)?),
        |_, list, (), now, reply| Ok(list.revoke_subject(&subject, before, now, reply)?),
    )
}

/// Revokes all tokens of a session.
#[napi(catch_unwind)]
pub fn revoke_session(guard: f64, session: String, issuer: Option<String>) -> String {
    // One issuer gives refresh tokens; a session of another issuer may have the same name.
    let own = |tokens: &Tokens| tokens.is_own(issuer.as_deref());
    end_session(guard, &session, own, |tokens, _| {
        issuer_of(tokens, ("sid", &session), issuer.as_deref())
    })
}

/// Revokes the session that an access token of this guard's own issuer belongs to, and answers as
/// [`revoke_session`]; false for any other token. The token may be revoked already. If it is bound
/// to a key or a certificate, it counts only if `proven` is its `jti`: then a layer has checked
/// its proof.
#[napi(catch_unwind)]
pub fn revoke_session_of(guard: f64, token: String, proven: Option<String>) -> String {
    let found = guard_of(guard).and_then(|opened| {
        Ok(tokens_of(&opened)?.own_session(&token, proven.as_deref(), Now::read())?)
    });
    match found {
        Ok(Some(session)) => {
            end_session(guard, &session, |_| true, |tokens, _| Ok((tokens.own_issuer(), ())))
        }
        Ok(None) => write(Ok(Value::Bool(false))),
        Err(error) => write(Err(error)),
    }
}

/// Revokes a session; `own` returns whether it belongs to the issuer that signs here.
fn end_session(
    guard: f64,
    session: &str,
    own: impl Fn(&Tokens) -> bool,
    find: impl FnOnce(&Tokens, Now) -> Result<(Arc<str>, ()), ErrorPayload>,
) -> String {
    revoke(
        guard,
        find,
        |tokens, list, (), now| {
            list.revoke_session(session, None, now)?;
            if let Some(refresh) = tokens.refresh.as_ref().filter(|_| own(tokens)) {
                refresh.close(session);
            }
            Ok(())
        },
        |tokens, list, (), now, reply| {
            // First the list: its access tokens are then refused, and so is a concurrent refresh.
            let reply = match tokens
                .refresh
                .as_ref()
                .filter(|_| own(tokens))
                .and_then(|refresh| refresh.closing(session))
            {
                Some(close) => Box::new(move |done: Result<(), StoreError>| match done {
                    Ok(()) => close(reply),
                    Err(error) => reply(Err(error)),
                }),
                None => reply,
            };
            Ok(list.revoke_session(session, None, now, reply)?)
        },
    )
}

/// Revokes all tokens that a key has signed.
#[napi(catch_unwind)]
pub fn revoke_key(guard: f64, key: String, issuer: Option<String>) -> String {
    revoke(
        guard,
        |tokens, _| issuer_of(tokens, ("kid", &key), issuer.as_deref()),
        |_, list, (), _| Ok(list.revoke_key(&key)?),
        |_, list, (), now, reply| Ok(list.revoke_key(&key, now, reply)?),
    )
}

/// Seconds, rounded up: a revocation may last too long, but never too short.
fn whole_seconds(seconds: f64) -> Option<u64> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked to be in range"
    )]
    (0.0..253_402_300_800.0).contains(&seconds).then_some(seconds.ceil() as u64)
}
