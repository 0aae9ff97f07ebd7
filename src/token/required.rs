//! Claims that a token must have, besides those of RFC 7519: `claims` of an issuer.
//!
//! Some providers issue access tokens without `aud`. What binds such a token to one API is another
//! claim, the client that it was issued to: `client_id`, `azp`, `appid` or `cid`. An issuer is
//! taken without `audience` only if `claims` names one of them, or if it issues for this API alone.

use std::sync::Arc;

use serde_json::Value;

use crate::bearer::{ClaimError, TokenError};
use crate::config::options::{Options, describe};
use crate::error::{ConfigCode, ConfigError};
use crate::json::object::Members;

/// Claims that name the client which a token was issued to.
const BINDING: [&str; 6] = ["client_id", "azp", "appid", "cid", "clientId", "resource"];
/// Claims with a rule of their own.
const JUDGED: [&str; 7] = ["iss", "aud", "exp", "iat", "nbf", "cnf", "jti"];
const MAX_CLAIMS: usize = 16;
const MAX_VALUES: usize = 100;
const MAX_NAME: usize = 256;

/// A claim and the values that it may have.
#[derive(Debug)]
pub(super) struct RequiredClaim {
    /// As the options write it: a name, or a JSON Pointer (RFC 6901) that starts with `/`.
    name: Arc<str>,
    /// The name of the claim, then of the members below it.
    path: Vec<String>,
    values: Vec<Value>,
}

impl RequiredClaim {
    /// Reads `claims`: an object from a claim's name to a value or a list of values: strings,
    /// whole numbers and booleans.
    pub(super) fn parse_all(options: &Options<'_>) -> Result<Vec<Self>, ConfigError> {
        let Some(value) = options.get("claims") else { return Ok(Vec::new()) };
        let at = options.path_of("claims");
        let Value::Object(members) = value else {
            return Err(ConfigError::invalid(
                at,
                format!("must be an object, not {}", describe(value)),
            )
            .suggest("write { client_id: 'my-client' }"));
        };
        if members.is_empty() || members.len() > MAX_CLAIMS {
            return Err(ConfigError::invalid(at, format!("must have 1 to {MAX_CLAIMS} claims")));
        }
        members.iter().map(|(name, value)| Self::parse(&at, name, value)).collect()
    }

    fn parse(at: &str, name: &str, value: &Value) -> Result<Self, ConfigError> {
        let at = format!("{at}.{name}");
        let path = path(name).ok_or_else(|| {
            ConfigError::invalid(
                at.as_str(),
                "must be the name of a claim, or a JSON Pointer such as '/firebase/sign_in_provider'",
            )
        })?;
        if path.first().is_some_and(|first| JUDGED.contains(&first.as_str())) {
            return Err(ConfigError::invalid(at, "is a claim with a rule of its own").suggest(
                "leave it out: `issuer`, `audience` and the times are judged in any case",
            ));
        }
        let values = match value {
            Value::Array(values) => values.clone(),
            value => vec![value.clone()],
        };
        let is_plain = |value: &Value| match value {
            Value::String(text) => !text.is_empty() && !text.starts_with('\0'),
            Value::Number(number) => number.is_i64() || number.is_u64(),
            Value::Bool(_) => true,
            _ => false,
        };
        if values.is_empty() || values.len() > MAX_VALUES || !values.iter().all(is_plain) {
            return Err(ConfigError::invalid(
                at,
                format!(
                    "must be a string, a whole number or a boolean, or a list of 1 to {MAX_VALUES} of them"
                ),
            ));
        }
        Ok(Self { name: Arc::from(name), path, values })
    }

    /// Whether the claim names the client that a token was issued to.
    pub(super) fn binds(&self) -> bool {
        BINDING.contains(&&*self.name) && self.values.iter().all(Value::is_string)
    }

    /// Whether a token has the claim with one of the values; of a claim that is a list, one of its
    /// elements must be one of them.
    pub(super) fn check(&self, claims: &Members<'_>) -> Result<(), TokenError> {
        let fail = |error: fn(Arc<str>) -> ClaimError| {
            Err(TokenError::Claims(error(Arc::clone(&self.name))))
        };
        let Some((first, below)) = self.path.split_first() else {
            return fail(ClaimError::Mismatch);
        };
        let Some(claim) = claims.get(first) else { return fail(ClaimError::Absent) };
        let Some(whole) = claim.value() else { return fail(ClaimError::Mismatch) };
        let mut value = &whole;
        for member in below {
            match value.get(member) {
                Some(inner) => value = inner,
                None => return fail(ClaimError::Absent),
            }
        }
        let fits = |value: &Value| self.values.contains(value);
        let met = match value {
            // A client is one: a list of them would be a token for others as well.
            Value::Array(_) if self.binds() => false,
            Value::Array(items) => items.iter().any(fits),
            value => fits(value),
        };
        if met { Ok(()) } else { fail(ClaimError::Mismatch) }
    }
}

/// Refuses an issuer without an audience whose tokens nothing binds to this API.
pub(super) fn check_binding(
    options: &Options<'_>,
    claims: &[RequiredClaim],
    is_dedicated: bool,
) -> Result<(), ConfigError> {
    if is_dedicated || claims.iter().any(RequiredClaim::binds) {
        return Ok(());
    }
    let problem = "is false, and nothing else binds a token to this API: any token of the issuer would be taken, also one for another API";
    Err(ConfigError::new(ConfigCode::ConflictingOptions, options.path_of("audience"), problem)
        .suggest("name the client in `claims`, such as claims: { client_id: 'my-client' } or { azp: 'my-client' }, or write `dedicatedIssuer: true` if the issuer issues tokens for this API alone"))
}

/// The steps to a claim: its name, then the members below it (RFC 6901).
fn path(name: &str) -> Option<Vec<String>> {
    let fits = |text: &str| {
        !text.is_empty() && text.len() <= MAX_NAME && !text.chars().any(char::is_control)
    };
    if !fits(name) {
        return None;
    }
    let Some(pointer) = name.strip_prefix('/') else { return Some(vec![name.to_owned()]) };
    let unescape = |part: &str| {
        let is_escaped = |rest: &str| rest.starts_with(['0', '1']);
        let sound = !part.is_empty() && part.split('~').skip(1).all(is_escaped);
        sound.then(|| part.replace("~1", "/").replace("~0", "~"))
    };
    pointer.split('/').map(unescape).collect()
}
