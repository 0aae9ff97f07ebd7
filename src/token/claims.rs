//! Checks the registered claims of a token (RFC 7519 section 4.1): first the type, then the value.
//!
//! A check that skips a claim of the wrong type is no check: `aud: 5`, `exp: "never"` and an `iss`
//! that is a list were each a hole in a well-known library (CVE-2026-25537, CVE-2025-30144).

use std::sync::Arc;

use serde_json::{Number, Value};

use crate::binding::Confirmation;
use crate::clock::Now;
use crate::jose::{self, DateError};
use crate::json::object::{Members, Shallow, read_members};
use crate::token::denial::{ClaimError, TokenError};
use crate::token::issuer::Issuer;

/// The times of a token in microseconds since the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Times {
    pub(super) issued: u64,
    pub(super) expires: u64,
    pub(super) not_before: Option<u64>,
}

/// The registered claims after the checks.
#[derive(Debug)]
pub(super) struct Registered {
    pub(super) times: Times,
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
    read_members(text).map_err(|_| TokenError::Malformed)
}

/// Checks everything about the claims except the current time.
pub(super) fn check(config: &Issuer, claims: &Members<'_>) -> Result<Registered, TokenError> {
    check_issuer(config, claims)?;
    check_audience(config, required(claims, "aud")?)?;
    let [subject, id, session] = ["sub", "jti", "sid"].map(|name| {
        let Some(value) = claims.get(name) else { return Ok(None) };
        // All subjects with an empty name would be one subject.
        let text = value.as_str().filter(|text| !text.is_empty());
        text.map(|text| Some(text.to_owned())).ok_or_else(|| kind(name))
    });
    let (subject, id, session) = (subject?, id?, session?);
    let confirmation = confirmation(claims)?;
    let times = Times {
        expires: numeric_date("exp", required(claims, "exp")?)?,
        issued: numeric_date("iat", required(claims, "iat")?)?,
        not_before: claims.get("nbf").map(|value| numeric_date("nbf", value)).transpose()?,
    };
    match times.expires.checked_sub(times.issued) {
        None | Some(0) => Err(TokenError::Claims(ClaimError::Order)),
        Some(lifetime) if lifetime > config.max_lifetime_us => Err(TokenError::Lifetime),
        Some(_) => Ok(Registered { times, confirmation, subject, id, session }),
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
    if times.issued > soon || times.not_before.is_some_and(|at| at > soon) {
        return Err(TokenError::NotYetValid);
    }
    if now.unix_us >= times.expires.saturating_add(config.tolerance_us) {
        return Err(TokenError::Expired);
    }
    Ok(())
}

/// Checks that `config` issued the token: by `iss`, and for a JWT-SVID by `sub` (JWT-SVID
/// specification, section 3).
fn check_issuer(config: &Issuer, claims: &Members<'_>) -> Result<(), TokenError> {
    let Some(domain) = &config.spiffe else {
        return match required(claims, "iss")? {
            Shallow::Text(issuer) if **issuer == *config.issuer => Ok(()),
            Shallow::Text(_) => Err(TokenError::Issuer),
            _ => Err(kind("iss")),
        };
    };
    if claims.get("iss").is_some_and(|issuer| issuer.as_str().is_none_or(str::is_empty)) {
        return Err(kind("iss"));
    }
    match required(claims, "sub")? {
        Shallow::Text(subject) if domain.holds(subject) => Ok(()),
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
    match required(claims, "iss")? {
        Shallow::Text(name) => issuers
            .iter()
            .find(|issuer| issuer.spiffe.is_none() && *issuer.issuer == **name)
            .ok_or(TokenError::Issuer),
        _ => Err(kind("iss")),
    }
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

fn check_audience(config: &Issuer, value: &Shallow<'_>) -> Result<(), TokenError> {
    let ours = |text: &str| config.audience.iter().any(|audience| audience == text);
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
pub(super) fn date(name: &'static str, value: &Value) -> Result<u64, TokenError> {
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
