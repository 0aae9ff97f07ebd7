//! The registered claims of a token (RFC 7519 section 4.1), strictly by kind before by value.
//!
//! A check that a claim of the wrong kind slips through is no check: `aud: 5`, `exp: "never"` and an `iss` that is a
//! list have each been a hole in a well-known library (CVE-2026-25537, CVE-2025-30144).

use std::sync::Arc;

use serde_json::{Map, Value};

use super::binding::Confirmation;
use super::denial::{ClaimFault, TokenDenial};
use super::issuer::Issuer;
use crate::clock::Now;

/// 9999-01-01: what is beyond is no date but a time in milliseconds.
const YEAR_9999_S: u64 = 253_370_764_800;
const SECOND_US: u64 = 1_000_000;

/// The times of a token in microseconds since the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Times {
    pub(super) issued: u64,
    pub(super) expires: u64,
    pub(super) not_before: Option<u64>,
}

/// Checks everything about the claims but whether this is the time for them, and answers their times and what the token is
/// bound to.
pub(super) fn check(
    config: &Issuer,
    claims: &Map<String, Value>,
) -> Result<(Times, Option<Confirmation>), TokenDenial> {
    check_issuer(config, claims)?;
    check_audience(config, required(claims, "aud")?)?;
    for name in ["sub", "jti", "sid"] {
        // An empty name would be one for all.
        if claims.get(name).is_some_and(|value| value.as_str().is_none_or(str::is_empty)) {
            return Err(kind(name));
        }
    }
    let confirmation = confirmation(claims)?;
    let times = Times {
        expires: date("exp", required(claims, "exp")?)?,
        issued: date("iat", required(claims, "iat")?)?,
        not_before: claims.get("nbf").map(|value| date("nbf", value)).transpose()?,
    };
    match times.expires.checked_sub(times.issued) {
        None | Some(0) => Err(TokenDenial::Claims(ClaimFault::Order)),
        Some(lifetime) if lifetime > config.max_lifetime_us => Err(TokenDenial::Lifetime),
        Some(_) => Ok((times, confirmation)),
    }
}

/// What the token is bound to. Nothing is checked of it here but that it can be understood.
fn confirmation(claims: &Map<String, Value>) -> Result<Option<Confirmation>, TokenDenial> {
    let Some(value) = claims.get("cnf") else { return Ok(None) };
    let read = Confirmation::read(value);
    read.map(Some).ok_or(TokenDenial::Claims(ClaimFault::Confirmation))
}

/// Checks whether this is the time for a token.
pub(super) fn check_time(config: &Issuer, times: &Times, now: Now) -> Result<(), TokenDenial> {
    let soon = now.unix_us.saturating_add(config.tolerance_us);
    if times.issued > soon || times.not_before.is_some_and(|at| at > soon) {
        return Err(TokenDenial::NotYetValid);
    }
    if now.unix_us >= times.expires.saturating_add(config.tolerance_us) {
        return Err(TokenDenial::Expired);
    }
    Ok(())
}

/// Who has issued the token: `iss` says so, and for a JWT-SVID `sub` does (JWT-SVID specification, section 3).
fn check_issuer(config: &Issuer, claims: &Map<String, Value>) -> Result<(), TokenDenial> {
    let Some(domain) = &config.spiffe else {
        return match required(claims, "iss")? {
            Value::String(issuer) if **issuer == *config.issuer => Ok(()),
            Value::String(_) => Err(TokenDenial::Issuer),
            _ => Err(kind("iss")),
        };
    };
    if claims.get("iss").is_some_and(|issuer| issuer.as_str().is_none_or(str::is_empty)) {
        return Err(kind("iss"));
    }
    match required(claims, "sub")? {
        Value::String(subject) if domain.holds(subject) => Ok(()),
        Value::String(_) => Err(TokenDenial::Issuer),
        _ => Err(kind("sub")),
    }
}

/// The issuer of a token whose signature is not verified yet, which chooses the keys that it must be by and nothing
/// else. A subject of a SPIFFE trust domain is its own, whatever `iss` says.
pub(super) fn issuer_of<'a>(
    issuers: &'a [Arc<Issuer>],
    claims: &Map<String, Value>,
) -> Result<&'a Arc<Issuer>, TokenDenial> {
    if let Some(Value::String(subject)) = claims.get("sub") {
        let of = |issuer: &&Arc<Issuer>| {
            issuer.spiffe.as_ref().is_some_and(|domain| domain.claims(subject))
        };
        if let Some(issuer) = issuers.iter().find(of) {
            return Ok(issuer);
        }
    }
    match required(claims, "iss")? {
        Value::String(name) => issuers
            .iter()
            .find(|issuer| issuer.spiffe.is_none() && *issuer.issuer == **name)
            .ok_or(TokenDenial::Issuer),
        _ => Err(kind("iss")),
    }
}

fn required<'a>(
    claims: &'a Map<String, Value>,
    name: &'static str,
) -> Result<&'a Value, TokenDenial> {
    claims.get(name).ok_or(TokenDenial::Claims(ClaimFault::Missing(name)))
}

fn kind(name: &'static str) -> TokenDenial {
    TokenDenial::Claims(ClaimFault::Kind(name))
}

fn check_audience(config: &Issuer, value: &Value) -> Result<(), TokenDenial> {
    let ours = |text: &str| config.audience.iter().any(|audience| audience == text);
    let found = match value {
        Value::String(text) => ours(text),
        Value::Array(items) => {
            let mut found = false;
            for item in items {
                found |= ours(item.as_str().ok_or_else(|| kind("aud"))?);
            }
            found
        }
        _ => return Err(kind("aud")),
    };
    if found { Ok(()) } else { Err(TokenDenial::Audience) }
}

/// A `NumericDate`: seconds, possibly with a fraction.
pub(super) fn date(name: &'static str, value: &Value) -> Result<u64, TokenDenial> {
    let Value::Number(number) = value else { return Err(kind(name)) };
    if let Some(seconds) = number.as_u64() {
        return in_range(name, seconds).map(|seconds| seconds * SECOND_US);
    }
    let seconds =
        number.as_f64().filter(|seconds| seconds.is_sign_positive()).ok_or_else(|| kind(name))?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "positive, and `as` saturates"
    )]
    let (whole, micros) = (seconds.trunc() as u64, (seconds.fract() * 1e6) as u64);
    in_range(name, whole).map(|whole| whole * SECOND_US + micros)
}

fn in_range(name: &'static str, seconds: u64) -> Result<u64, TokenDenial> {
    if seconds < YEAR_9999_S {
        Ok(seconds)
    } else {
        Err(TokenDenial::Claims(ClaimFault::Milliseconds(name)))
    }
}
