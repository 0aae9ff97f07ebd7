//! The requirements of a route for a verified token: `guard.require`.

pub mod words;

#[cfg(test)]
mod tests;

use std::time::Duration;

use serde_json::{Map, Value};

use crate::bearer::Scheme;
use crate::bearer::challenge;
use crate::clock::{Now, micros};
use crate::config::options::{Options, describe, string_at};
use crate::error::{ConfigCode, ConfigError};
use crate::refusal::Refusal;
use crate::token::{Verified, date};

const MAX_WORDS: usize = 50;
const MAX_CLAIMS: usize = 20;
const MAX_AGE: Duration = Duration::from_secs(366 * 24 * 60 * 60);
/// Bounds the scopes of a token that a challenge repeats: their number, and the bytes of the list.
const MAX_KEPT_SCOPES: usize = 100;
const MAX_SCOPE_LIST: usize = 1024;

/// The requirements of a route. A token must meet all that are set.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Requirements {
    /// The token must have all of them.
    scopes: Vec<String>,
    /// The token must have one of them.
    roles: Vec<String>,
    /// Each claim must have one of its values.
    claims: Vec<(ClaimPath, Vec<Value>)>,
    max_age: Option<Duration>,
}

/// A claim, given by name or by JSON Pointer (RFC 6901).
#[derive(Debug, Clone, PartialEq, Eq)]
enum ClaimPath {
    Name(String),
    Pointer(String),
}

/// A requirement that a token does not meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequirementError<'d> {
    /// The token lacks one of these scopes.
    Scope(&'d [String]),
    /// The token has none of the roles.
    Role,
    /// A claim is missing or has another value.
    Claims,
    /// The login is too old, or its time is unknown.
    Age {
        /// The longest time since the login.
        max_age: Duration,
        /// The scopes that the route needs as well.
        scopes: &'d [String],
    },
}

impl Requirements {
    /// Reads `scope`, `role`, `claims` and `maxAge`:
    ///
    /// * `scope`: a space-separated string or a list of strings; the token must have all of them
    /// * `role`: a string or a list; the token must have one of them
    /// * `claims`: an object from the name of a claim, or a JSON Pointer to one, to a string, a
    ///   number or a boolean or a list of such
    /// * `maxAge`: a duration from 1 s to 366 d since `auth_time`
    ///
    /// # Errors
    /// Returns the first invalid option. An empty list is invalid: it would require nothing, or a
    /// thing that no token has.
    pub fn parse(options: &Options<'_>) -> Result<Self, ConfigError> {
        let scopes = names(options, "scope", is_scope)?;
        let roles = names(options, "role", |text| !text.chars().any(char::is_control))?;
        let range = Duration::from_secs(1)..=MAX_AGE;
        let (claims, max_age) = (claims(options)?, options.duration("maxAge", range)?);
        Ok(Self { scopes, roles, claims, max_age })
    }

    /// The scopes that a token must have.
    #[must_use]
    pub fn scopes(&self) -> &[String] {
        &self.scopes
    }

    /// The names of the requirements that are no scopes.
    #[must_use]
    pub fn others(&self) -> Vec<&'static str> {
        let all = [
            ("role", !self.roles.is_empty()),
            ("claims", !self.claims.is_empty()),
            ("maxAge", self.max_age.is_some()),
        ];
        all.into_iter().filter(|(_, is_set)| *is_set).map(|(name, _)| name).collect()
    }

    /// Whether there are no requirements.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Returns the first requirement that the token does not meet. `tolerance_us` is the allowed
    /// clock skew of its issuer.
    pub fn check(
        &self,
        token: &Verified,
        now: Now,
        tolerance_us: u64,
    ) -> Result<(), RequirementError<'_>> {
        // Most routes require nothing: skip reading the scopes and roles.
        if self.is_empty() {
            return Ok(());
        }
        let claims = token.claims.map();
        let scopes = words::scopes(claims);
        if !self.scopes.iter().all(|scope| scopes.contains(&scope.as_str())) {
            return Err(RequirementError::Scope(&self.scopes));
        }
        let has_role = words::roles(claims).any(|role| self.roles.iter().any(|one| one == role));
        if !self.roles.is_empty() && !has_role {
            return Err(RequirementError::Role);
        }
        let met = |(path, values): &(ClaimPath, Vec<Value>)| {
            path.find(claims).is_some_and(|claim| values.iter().any(|value| holds(claim, value)))
        };
        if !self.claims.iter().all(met) {
            return Err(RequirementError::Claims);
        }
        match self.max_age {
            Some(max_age) if !logged_in_within(claims, max_age, now, tolerance_us) => {
                Err(RequirementError::Age { max_age, scopes: &self.scopes })
            }
            _ => Ok(()),
        }
    }
}

impl RequirementError<'_> {
    /// The answer to the client: RFC 6750 section 3.1, and RFC 9470 section 3 for the age.
    ///
    /// `granted` are the scopes of the refused token that the next one should have as well, none
    /// for an API that is no protected resource. A client asks for exactly the scopes in the
    /// challenge: without those it has, a new token would lack what the last route needed, and the
    /// client would go back and forth between two tokens.
    #[must_use]
    pub fn to_refusal(&self, scheme: Scheme, granted: &[&str]) -> Refusal {
        const SCOPE: &str = "insufficient_scope";
        let refuse = |status, code: &'static str, error, detail: &'static str, more: &[_]| {
            Refusal::new(status, code, detail)
                .header("WWW-Authenticate", challenge(scheme, Some((error, detail)), more))
        };
        match self {
            Self::Scope(scopes) => {
                let detail = "a scope that is needed here is missing";
                refuse(403, SCOPE, SCOPE, detail, &[("scope", &scope_list(scopes, granted))])
            }
            // No challenge: a client would ask for another token, and none has more roles.
            Self::Role => {
                Refusal::new(403, "insufficient_role", "a role that is needed here is missing")
            }
            Self::Claims => {
                Refusal::new(403, "insufficient_claims", "a claim is not what is needed here")
            }
            Self::Age { max_age, scopes } => {
                let code = "insufficient_user_authentication";
                let detail = "a more recent login is needed here";
                let max_age = max_age.as_secs().to_string();
                let list = scope_list(scopes, granted);
                let more = [("max_age", max_age.as_str()), ("scope", list.as_str())];
                let more = if granted.is_empty() { &more[..1] } else { &more[..] };
                refuse(401, code, code, detail, more)
            }
        }
    }
}

/// Whether a text is a scope of RFC 6749 section 3.3. It goes into a header unescaped.
fn is_scope(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\'))
}

/// The scopes for a new token: the needed ones, and the granted ones that fit.
fn scope_list(needed: &[String], granted: &[&str]) -> String {
    let mut list = needed.join(" ");
    for scope in granted.iter().take(MAX_KEPT_SCOPES).filter(|scope| is_scope(scope)) {
        let is_listed = list.split(' ').any(|listed| listed == *scope);
        if is_listed || list.len() + 1 + scope.len() > MAX_SCOPE_LIST {
            continue;
        }
        if !list.is_empty() {
            list.push(' ');
        }
        list.push_str(scope);
    }
    list
}

impl ClaimPath {
    fn find<'c>(&self, claims: &'c Map<String, Value>) -> Option<&'c Value> {
        match self {
            Self::Name(name) => claims.get(name),
            Self::Pointer(pointer) => {
                let mut parts = pointer.split('/').skip(1).map(unescaped);
                let first = claims.get(&parts.next()?)?;
                // Only objects: the index of a list item has no meaning.
                parts.try_fold(first, |value, part| value.as_object()?.get(&part))
            }
        }
    }
}

/// Decodes a reference token of a JSON Pointer (RFC 6901 section 4).
fn unescaped(part: &str) -> String {
    part.replace("~1", "/").replace("~0", "~")
}

/// Whether a claim equals the wanted scalar, or is a list that contains it.
fn holds(claim: &Value, wanted: &Value) -> bool {
    match claim {
        Value::Array(items) => items.iter().any(|item| same(item, wanted)),
        one => same(one, wanted),
    }
}

fn same(claim: &Value, wanted: &Value) -> bool {
    match (claim, wanted) {
        // `5.0` and `5` are the same number in JavaScript.
        (Value::Number(claim), Value::Number(wanted)) => claim.as_f64() == wanted.as_f64(),
        _ => claim == wanted,
    }
}

/// Whether `auth_time` is within `max_age`. `iat` is no substitute: every refresh renews it.
fn logged_in_within(
    claims: &Map<String, Value>,
    max_age: Duration,
    now: Now,
    tolerance_us: u64,
) -> bool {
    let Some(Ok(at)) = claims.get("auth_time").map(|value| date("auth_time", value)) else {
        return false;
    };
    at <= now.unix_us.saturating_add(tolerance_us)
        && now.unix_us < at.saturating_add(micros(max_age)).saturating_add(tolerance_us)
}

fn names(
    options: &Options<'_>,
    key: &str,
    fits: impl Fn(&str) -> bool,
) -> Result<Vec<String>, ConfigError> {
    let Some(value) = options.get(key) else { return Ok(Vec::new()) };
    let path = options.path_of(key);
    let mut words: Vec<String> = Vec::new();
    let mut add = |path: &str, text: &str| {
        if text.is_empty() || text.len() > 256 || !fits(text) || text.trim() != text {
            return Err(ConfigError::invalid(path, format!("must be the name of a {key}")));
        }
        if !words.iter().any(|known| known == text) {
            words.push(text.to_owned());
        }
        Ok(())
    };
    match value {
        Value::Array(items) if items.is_empty() => {
            return Err(ConfigError::invalid(path, format!("must name at least one {key}"))
                .suggest("leave it out to demand none"));
        }
        Value::Array(items) => {
            for (i, item) in items.iter().enumerate() {
                let path = format!("{path}[{i}]");
                add(&path, string_at(&path, item)?)?;
            }
        }
        one => {
            let text = string_at(&path, one)?;
            if key == "scope" {
                text.split(' ').try_for_each(|word| add(&path, word))?;
            } else {
                add(&path, text)?;
            }
        }
    }
    if words.len() > MAX_WORDS {
        return Err(ConfigError::invalid(path, format!("must name at most {MAX_WORDS}")));
    }
    Ok(words)
}

fn claims(options: &Options<'_>) -> Result<Vec<(ClaimPath, Vec<Value>)>, ConfigError> {
    let Some(value) = options.get("claims") else { return Ok(Vec::new()) };
    let path = options.path_of("claims");
    let wanted = "must be an object from the names of claims to what they must be";
    let Some(members) = value.as_object().filter(|members| !members.is_empty()) else {
        return Err(ConfigError::invalid(path, wanted).suggest("write { email_verified: true }"));
    };
    if members.len() > MAX_CLAIMS {
        return Err(ConfigError::invalid(path, format!("must name at most {MAX_CLAIMS} claims")));
    }
    members.iter().map(|(name, value)| claim(&path, name, value)).collect()
}

fn claim(path: &str, name: &str, value: &Value) -> Result<(ClaimPath, Vec<Value>), ConfigError> {
    let at = format!("{path}.{name}");
    if name.is_empty() {
        return Err(ConfigError::invalid(path, "has a claim without a name"));
    }
    let claim = match name.strip_prefix('/') {
        None => ClaimPath::Name(name.to_owned()),
        Some(rest) if is_pointer(rest) => ClaimPath::Pointer(name.to_owned()),
        Some(_) => {
            return Err(ConfigError::invalid(at, "must be a JSON Pointer (RFC 6901)")
                .suggest("write '/realm_access/level', with ~1 for a slash within a name"));
        }
    };
    for (other, works) in
        [("scope", "scope"), ("scp", "scope"), ("role", "role"), ("roles", "role")]
    {
        if name == other {
            return Err(ConfigError::new(
                ConfigCode::ConflictingOptions,
                at,
                format!("is what `{works}` is for, which knows how a token has several"),
            ));
        }
    }
    let values = match value {
        Value::Array(values) if !values.is_empty() => values.clone(),
        one => vec![one.clone()],
    };
    for value in &values {
        let scalar = match value {
            Value::String(text) => !text.starts_with('\0'),
            Value::Number(_) | Value::Bool(_) => true,
            _ => false,
        };
        if !scalar {
            let problem = format!(
                "must be a string, a number, a boolean or a list of such, not {}",
                describe(value)
            );
            return Err(ConfigError::invalid(at, problem));
        }
    }
    Ok((claim, values))
}

/// Whether every `~` starts an escape and no part is empty.
fn is_pointer(rest: &str) -> bool {
    let escaped = rest.split('~').skip(1).all(|part| part.starts_with(['0', '1']));
    escaped && rest.split('/').all(|part| !part.is_empty())
}
