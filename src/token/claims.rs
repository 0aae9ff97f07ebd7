//! Checks the registered claims of a token (RFC 7519 section 4.1): first the type, then the value.
//!
//! A check that skips a claim of the wrong type is no check: `aud: 5`, `exp: "never"` and an `iss`
//! that is a list were each a hole in a well-known library (CVE-2026-25537, CVE-2025-30144).

use std::sync::Arc;

use serde_json::{Number, Value};

use crate::bearer::{ClaimError, TokenError};
use crate::binding::Confirmation;
use crate::clock::Now;
use crate::introspection::Endpoint;
use crate::jose::{self, DateError, Malformed};
use crate::json::object::{Members, Shallow, read_members};
use crate::token::issuer::Issuer;

/// The times of a token in microseconds since the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Times {
    /// 0 without `iat`, so that every revocation of the subject is about the token.
    pub(crate) issued_us: u64,
    pub(crate) expires_us: u64,
    /// Whether the token has an `iat`.
    pub(crate) has_iat: bool,
    pub(crate) not_before_us: Option<u64>,
}

/// The registered claims after the checks.
#[derive(Debug)]
pub(super) struct Registered {
    pub(super) times: Times,
    /// `iss`, if it names a tenant.
    pub(super) iss: Option<String>,
    /// `tid`, a tenant of Microsoft Entra.
    pub(super) tenant: Option<String>,
    /// The key or certificate that the token is bound to.
    pub(super) confirmation: Option<Confirmation>,
    /// `sub`.
    pub(super) subject: Option<String>,
    /// `jti`.
    pub(super) id: Option<String>,
    /// `sid`.
    pub(super) session: Option<String>,
}

/// Reads the claims of a payload.
pub(super) fn read(text: &str) -> Result<Members<'_>, TokenError> {
    read_members(text).map_err(|_| TokenError::Malformed(Malformed::Payload))
}

/// Checks everything about the claims except the current time.
pub(super) fn check(config: &Issuer, claims: &Members<'_>) -> Result<Registered, TokenError> {
    let iss = check_issuer(config, claims)?;
    check_with(config, claims, iss, || times(config, claims))
}

/// As [`check`], for the answer of an introspection endpoint (RFC 7662 section 2.2), which may lack
/// claims that a JWT must have.
///
/// 1. `iss` may be missing by option.
/// 2. Without `exp`, the token ends `maxLifetime` after its `iat`. If both are missing, which takes
///    an option, it ends `maxLifetime` after the answer, and the next answer decides anew.
/// 3. `token_type` must fit the token's binding. An endpoint may call a refresh token active, and
///    only its `token_type` differs, or is missing. It may be missing by option.
pub(super) fn check_answer(
    config: &Issuer,
    endpoint: &Endpoint,
    claims: &Members<'_>,
    now: Now,
) -> Result<Registered, TokenError> {
    let iss = match claims.get("iss") {
        None if !endpoint.needs_iss => None,
        _ => check_issuer(config, claims)?,
    };
    let registered = check_with(config, claims, iss, || {
        if claims.get("exp").is_some() {
            return times(config, claims);
        }
        let not_before_us =
            claims.get("nbf").map(|value| numeric_date("nbf", value)).transpose()?;
        let issued_us = issued_us(config, claims)?;
        let from_us = issued_us.unwrap_or(now.unix_us);
        Ok(Times {
            issued_us: issued_us.unwrap_or(0),
            expires_us: from_us.saturating_add(config.max_lifetime_us),
            has_iat: issued_us.is_some(),
            not_before_us,
        })
    })?;
    let is_bound = registered.confirmation.is_some_and(|bound| bound.key.is_some());
    match claims.get("token_type") {
        None if !endpoint.needs_token_type => {}
        None => return Err(TokenError::Claims(ClaimError::Missing("token_type"))),
        Some(Shallow::Text(kind)) => {
            let wanted = if is_bound { "DPoP" } else { "Bearer" };
            if !kind.eq_ignore_ascii_case(wanted) {
                return Err(TokenError::Type);
            }
        }
        Some(_) => return Err(self::kind("token_type")),
    }
    Ok(registered)
}

fn check_with(
    config: &Issuer,
    claims: &Members<'_>,
    iss: Option<String>,
    times: impl FnOnce() -> Result<Times, TokenError>,
) -> Result<Registered, TokenError> {
    match (&config.audience, claims.get("aud")) {
        (Some(audience), _) => {
            check_audience(audience, config.audience_alias.as_deref(), required(claims, "aud")?)?;
        }
        (None, None) => {}
        // An empty list names no audience.
        (None, Some(aud)) if aud.nested() == Some(Value::Array(Vec::new())) => {}
        // A token that names an audience is meant for that one.
        (None, Some(_)) => return Err(TokenError::Audience),
    }
    for claim in &config.claims {
        claim.check(claims)?;
    }
    let subject = subject(config, claims)?;
    let [id, session] = ["jti", "sid"].map(|name| {
        let Some(value) = claims.get(name) else { return Ok(None) };
        // All subjects with an empty name would be one subject.
        let text = value.as_str().filter(|text| !text.is_empty());
        text.map(|text| Some(text.to_owned())).ok_or_else(|| kind(name))
    });
    let (id, session) = (id?, session?);
    let confirmation = confirmation(claims)?;
    let times = times()?;
    match times.expires_us.checked_sub(times.issued_us) {
        None | Some(0) => Err(TokenError::Claims(ClaimError::Order)),
        Some(lifetime) if times.has_iat && lifetime > config.max_lifetime_us => {
            Err(TokenError::Lifetime)
        }
        Some(_) => {
            let tenant = claims.get("tid").and_then(Shallow::as_str).map(str::to_owned);
            Ok(Registered { times, iss, tenant, confirmation, subject, id, session })
        }
    }
}

/// `sub`: a text; with `subject: 'lenient'` a whole number too, and an empty text counts as none.
fn subject(config: &Issuer, claims: &Members<'_>) -> Result<Option<String>, TokenError> {
    match claims.get("sub") {
        None => Ok(None),
        Some(Shallow::Text(text)) if !text.is_empty() => Ok(Some(text.as_ref().to_owned())),
        Some(Shallow::Text(_)) if config.is_lenient_subject => Ok(None),
        Some(Shallow::Number(number)) if config.is_lenient_subject && number.is_u64() => {
            Ok(Some(number.to_string()))
        }
        Some(_) => Err(kind("sub")),
    }
}

fn times(config: &Issuer, claims: &Members<'_>) -> Result<Times, TokenError> {
    let expires_us = numeric_date("exp", required(claims, "exp")?)?;
    let not_before_us = claims.get("nbf").map(|value| numeric_date("nbf", value)).transpose()?;
    let issued_us = issued_us(config, claims)?;
    Ok(Times {
        issued_us: issued_us.unwrap_or(0),
        expires_us,
        has_iat: issued_us.is_some(),
        not_before_us,
    })
}

fn issued_us(config: &Issuer, claims: &Members<'_>) -> Result<Option<u64>, TokenError> {
    match claims.get("iat") {
        None if config.is_iat_optional => Ok(None),
        _ => numeric_date("iat", required(claims, "iat")?).map(Some),
    }
}

/// Reads the key or certificate that the token is bound to. The proof of it is checked elsewhere.
fn confirmation(claims: &Members<'_>) -> Result<Option<Confirmation>, TokenError> {
    let Some(value) = claims.get("cnf") else { return Ok(None) };
    let read = value.nested().as_ref().and_then(Confirmation::read);
    read.map(Some).ok_or(TokenError::Claims(ClaimError::Confirmation))
}

/// Checks that the token is valid at `now`.
pub(super) fn check_time(config: &Issuer, times: &Times, now: Now) -> Result<(), TokenError> {
    let soon = now.unix_us.saturating_add(config.tolerance_us);
    if !times.has_iat && times.expires_us > soon.saturating_add(config.max_lifetime_us) {
        return Err(TokenError::Lifetime);
    }
    if times.has_iat && times.issued_us > soon || times.not_before_us.is_some_and(|at| at > soon) {
        return Err(TokenError::NotYetValid);
    }
    if now.unix_us >= times.expires_us.saturating_add(config.tolerance_us) {
        return Err(TokenError::Expired);
    }
    Ok(())
}

/// Checks the issuer: `iss` names it, and for a JWT-SVID `sub` does (JWT-SVID specification,
/// section 3).
///
/// Returns `iss` where it names a tenant.
fn check_issuer(config: &Issuer, claims: &Members<'_>) -> Result<Option<String>, TokenError> {
    let Some(domain) = &config.spiffe else {
        let Shallow::Text(iss) = required(claims, "iss")? else { return Err(kind("iss")) };
        return match &config.tenants {
            Some(tenants) => tenants.check(iss, claims).map(|()| Some(iss.as_ref().to_owned())),
            None if **iss == *config.issuer => Ok(None),
            None => Err(TokenError::Issuer),
        };
    };
    if claims.get("iss").is_some_and(|issuer| issuer.as_str().is_none_or(str::is_empty)) {
        return Err(kind("iss"));
    }
    match required(claims, "sub")? {
        Shallow::Text(subject) if domain.holds(subject) => Ok(None),
        Shallow::Text(_) => Err(TokenError::Issuer),
        _ => Err(kind("sub")),
    }
}

/// The issuer of a token whose signature is not verified yet. The claim selects the keys to verify
/// with and decides nothing else. A subject of a SPIFFE trust domain belongs to that domain,
/// whatever `iss` contains.
pub(super) fn issuer_of<'a>(
    issuers: &'a [Arc<Issuer>],
    claims: &Members<'_>,
) -> Result<&'a Arc<Issuer>, TokenError> {
    if let Some(Shallow::Text(subject)) = claims.get("sub") {
        let of = |issuer: &&Arc<Issuer>| {
            issuer.spiffe.as_ref().is_some_and(|domain| domain.claims(subject))
        };
        if let Some(issuer) = issuers.iter().find(of) {
            return Ok(issuer);
        }
    }
    let Shallow::Text(name) = required(claims, "iss")? else { return Err(kind("iss")) };
    // No two issuers of a configuration can have one name.
    let takes = |issuer: &&'a Arc<Issuer>| {
        issuer.spiffe.is_none() && issuer.keys.verify_any() && issuer.is_named(name)
    };
    issuers.iter().find(takes).ok_or(TokenError::Issuer)
}

fn required<'m, 'a>(
    claims: &'m Members<'a>,
    name: &'static str,
) -> Result<&'m Shallow<'a>, TokenError> {
    claims.get(name).ok_or(TokenError::Claims(ClaimError::Missing(name)))
}

fn kind(name: &'static str) -> TokenError {
    TokenError::Claims(ClaimError::Kind(name))
}

/// `alias` is another spelling of the audience.
fn check_audience(
    audience: &[String],
    alias: Option<&str>,
    value: &Shallow<'_>,
) -> Result<(), TokenError> {
    let ours = |text: &str| {
        audience.iter().any(|audience| audience == text) || alias.is_some_and(|alias| alias == text)
    };
    let found = if let Shallow::Text(text) = value {
        ours(text)
    } else {
        let Some(Value::Array(items)) = value.nested() else { return Err(kind("aud")) };
        let mut found = false;
        for item in items {
            found |= ours(item.as_str().ok_or_else(|| kind("aud"))?);
        }
        found
    };
    if found { Ok(()) } else { Err(TokenError::Audience) }
}

/// A `NumericDate`: seconds, possibly with a fraction.
pub(crate) fn date(name: &'static str, value: &Value) -> Result<u64, TokenError> {
    date_of(name, value.as_number())
}

fn numeric_date(name: &'static str, value: &Shallow<'_>) -> Result<u64, TokenError> {
    date_of(name, if let Shallow::Number(number) = value { Some(number) } else { None })
}

fn date_of(name: &'static str, number: Option<&Number>) -> Result<u64, TokenError> {
    jose::date(number.ok_or_else(|| kind(name))?).map_err(|error| match error {
        DateError::Kind => kind(name),
        DateError::Milliseconds => TokenError::Claims(ClaimError::Milliseconds(name)),
    })
}
