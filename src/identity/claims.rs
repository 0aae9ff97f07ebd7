//! Judges the results of the application's functions: as strictly as the claims of a token.

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::api_key::{id_of_digest, is_same_digest};
use super::error::IdentityError;
use super::{IdentityAsk, IdentitySource, IdentitySources};
use crate::bearer::{ClaimError, TokenError};
use crate::clock::{MAX_TOLERANCE, Now, micros};
use crate::jose::{self, DateError};
use crate::json::object::{Members, read_members, read_object};
use crate::token::{Claims, Fingerprint, Verified};

/// The most bytes of claims or of a record, as JSON.
pub(super) const MAX_BYTES: usize = 16 << 10;
/// The members of an API key's record.
const RECORD: [&str; 5] = ["digest", "sub", "claims", "exp", "iat"];

impl IdentitySources {
    /// Judges the result of an application's function: `json` is what the function of `ask` has
    /// returned.
    ///
    /// # Errors
    /// The identity is no longer valid or of another key, or the result is none.
    pub fn judge(
        &self,
        ask: &IdentityAsk,
        json: &str,
        now: Now,
    ) -> Result<Arc<Verified>, IdentityError> {
        let source = ask.source;
        let unusable = |what: &'static str| IdentityError::Unusable(source, Cow::Borrowed(what));
        if json.len() > MAX_BYTES {
            return Err(unusable("too_large"));
        }
        let verified = match (source, &ask.key) {
            (IdentitySource::ApiKey, Some((digest, _))) => {
                let text = claims_of_record(json, digest)?;
                let lenient = self.api_keys.as_ref().is_some_and(|keys| keys.is_lenient_subject);
                let mut verified = read_claims(source, text, lenient, now)?;
                let id = id_of_digest(digest);
                verified.fingerprint = Fingerprint::of_jti(id);
                verified.id = Some(id.to_owned());
                verified
            }
            (IdentitySource::ApiKey, None) => return Err(IdentityError::KeyUnknown),
            (IdentitySource::Identify, _) => {
                let lenient = self.identify.as_ref().is_some_and(|asked| asked.is_lenient_subject);
                let verified = read_claims(source, json.to_owned(), lenient, now)?;
                // A revocation must not lapse before the login that it is about.
                let oldest = now.unix_seconds().saturating_sub(self.max_lifetime(source).as_secs());
                if verified.issued_at != 0 && verified.issued_at < oldest {
                    return Err(IdentityError::Expired(source));
                }
                verified
            }
        };
        Ok(Arc::new(verified))
    }
}

/// The claims in the record of the key with this digest, as JSON text: its `claims`, and its
/// `sub`, `exp` and `iat`.
fn claims_of_record(json: &str, digest: &str) -> Result<String, IdentityError> {
    let source = IdentitySource::ApiKey;
    let unusable = |what: String| IdentityError::Unusable(source, Cow::Owned(what));
    let fault = |error: ClaimError| IdentityError::unusable(source, &TokenError::Claims(error));
    let mut record = read_object(json).map_err(|_| unusable("form".to_owned()))?;
    // A misspelt `exp` would give a key that never ends.
    if record.keys().any(|name| !RECORD.contains(&name.as_str())) {
        return Err(unusable("unknown_member".to_owned()));
    }
    match record.remove("digest") {
        Some(Value::String(own)) if is_same_digest(&own, digest) => {}
        Some(Value::String(_)) => return Err(IdentityError::KeyMismatch),
        Some(_) => return Err(fault(ClaimError::Kind("digest"))),
        None => return Err(fault(ClaimError::Missing("digest"))),
    }
    let mut claims = match record.remove("claims") {
        None => Map::new(),
        Some(Value::Object(claims)) => claims,
        Some(_) => return Err(fault(ClaimError::Kind("claims"))),
    };
    for name in ["sub", "exp", "iat", "jti"] {
        if claims.contains_key(name) {
            return Err(unusable(format!("reserved_claim:{name}")));
        }
    }
    claims.append(&mut record);
    Ok(Value::Object(claims).to_string())
}

/// Reads claims: `sub` is required, `exp`, `nbf`, `iat`, `jti` and `sid` are judged if they are
/// there (RFC 7519 section 4.1).
fn read_claims(
    source: IdentitySource,
    text: String,
    is_lenient_subject: bool,
    now: Now,
) -> Result<Verified, IdentityError> {
    let fault = |error: ClaimError| IdentityError::unusable(source, &TokenError::Claims(error));
    let (subject, id, session, issued_us, expires_us) = {
        let claims = read_members(&text)
            .map_err(|_| IdentityError::Unusable(source, Cow::Borrowed("form")))?;
        // Nothing here could check a proof.
        if claims.get("cnf").is_some() {
            return Err(fault(ClaimError::Confirmation));
        }
        let subject = subject(&claims, is_lenient_subject).map_err(fault)?;
        let id = name(&claims, "jti").map_err(fault)?;
        let session = name(&claims, "sid").map_err(fault)?;
        let [expires_us, not_before_us, issued_us] =
            ["exp", "nbf", "iat"].map(|name| date(&claims, name));
        let (expires_us, issued_us) = (expires_us.map_err(fault)?, issued_us.map_err(fault)?);
        let not_before_us = not_before_us.map_err(fault)?;
        if let (Some(expires_us), Some(issued_us)) = (expires_us, issued_us)
            && expires_us <= issued_us
        {
            return Err(fault(ClaimError::Order));
        }
        let soon = now.unix_us.saturating_add(micros(MAX_TOLERANCE));
        if issued_us.is_some_and(|at| at > soon) || not_before_us.is_some_and(|at| at > now.unix_us)
        {
            return Err(IdentityError::NotYetValid(source));
        }
        if expires_us.is_some_and(|at| now.unix_us >= at) {
            return Err(IdentityError::Expired(source));
        }
        (subject, id, session, issued_us, expires_us)
    };
    let fingerprint = match (&id, &session) {
        (Some(id), _) => Fingerprint::of_jti(id),
        (None, Some(session)) => Fingerprint::of_identity("sid", session),
        (None, None) => Fingerprint::of_identity("sub", &subject),
    };
    Ok(Verified {
        claims: Claims::new(text),
        issuer: Arc::from(source.issuer()),
        subject: Some(subject),
        id,
        session,
        issued_at: issued_us.unwrap_or(0) / 1_000_000,
        expires_at: expires_us.map_or(0, |at| at.div_ceil(1_000_000)),
        key_id: None,
        alg: None,
        fingerprint,
        text_fingerprint: None,
        confirmation: None,
    })
}

fn subject(claims: &Members<'_>, is_lenient: bool) -> Result<String, ClaimError> {
    use crate::json::object::Shallow::{Number, Text};
    match claims.get("sub") {
        Some(Text(text)) if !text.is_empty() => Ok(text.as_ref().to_owned()),
        // The reader has refused whole numbers that JavaScript can't represent.
        Some(Number(number)) if is_lenient && number.is_u64() => Ok(number.to_string()),
        Some(_) => Err(ClaimError::Kind("sub")),
        None => Err(ClaimError::Missing("sub")),
    }
}

fn name(claims: &Members<'_>, name: &'static str) -> Result<Option<String>, ClaimError> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    let text = value.as_str().filter(|text| !text.is_empty());
    text.map(|text| Some(text.to_owned())).ok_or(ClaimError::Kind(name))
}

/// A `NumericDate`, in microseconds.
fn date(claims: &Members<'_>, name: &'static str) -> Result<Option<u64>, ClaimError> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    let crate::json::object::Shallow::Number(number) = value else {
        return Err(ClaimError::Kind(name));
    };
    jose::date(number).map(Some).map_err(|error| match error {
        DateError::Kind => ClaimError::Kind(name),
        DateError::Milliseconds => ClaimError::Milliseconds(name),
    })
}
