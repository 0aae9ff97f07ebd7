//! Parses keys from the options: a secret, a list of keys, a JWK set.

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::config::options::{
    Options, bytes, describe, is_function, nearest, string_at, whole_number,
};
use crate::error::{ConfigCode, ConfigError};
use crate::keys::algorithm::{Algorithm, Family};
use crate::keys::key::Key;
use crate::keys::key_set::{KeySet, LeftOut, judge_set};
use crate::keys::material::{Material, invalid_key};
use crate::keys::ring::KeyRing;
use crate::keys::{jwk, material};

pub(crate) fn keys(
    options: &Options<'_>,
    allowed: Option<&[Algorithm]>,
    set: SetOrigin,
) -> Result<(KeyRing, Vec<LeftOut>), ConfigError> {
    let (mut keys, mut left_out) = (Vec::new(), Vec::new());
    if options.has("secret") {
        keys.push(secret_key(options, allowed)?);
    }
    if let Some(items) = options.list("keys")? {
        for (i, item) in items.iter().enumerate() {
            let path = format!("{}[{i}]", options.path_of("keys"));
            keys.push((path.clone(), key_input(&path, item, allowed)?));
        }
    }
    are_distinct(&keys)?;
    if let Some(value) = options.get("jwks").filter(|value| is_set(value)) {
        let set = jwk_set(&options.path_of("jwks"), value, allowed, set)?;
        keys.extend(set.keys);
        left_out = set.left_out;
    }
    if keys.is_empty() {
        return Err(ConfigError::new(
            ConfigCode::MissingOption,
            options.path(),
            "must have a key: `secret`, `keys`, `jwks` or `discovery`",
        ));
    }
    Ok((KeyRing::new(keys)?, left_out))
}

/// The key of `secret`, with its path.
pub(crate) fn secret_key(
    options: &Options<'_>,
    allowed: Option<&[Algorithm]>,
) -> Result<(String, Key), ConfigError> {
    let value = options.require("secret", "a string or a Buffer")?;
    let path = options.path_of("secret");
    let algorithm = secret_algorithm(options, allowed)?;
    let material = Material::Secret(secret_at(&path, value)?);
    let key = Key::new(&path, material, algorithm)?;
    Ok((path, key))
}

/// Whether `jwks` holds the keys themselves: not a URL, nor an object that names one.
pub(crate) fn is_set(jwks: &Value) -> bool {
    !jwks.is_string() && jwks.get("url").is_none()
}

/// Holds keys of one's own to more than those of a set: each has a `kid` of its own, and one use.
fn are_distinct(keys: &[(String, Key)]) -> Result<(), ConfigError> {
    for (i, (path, key)) in keys.iter().enumerate() {
        for (other_path, other) in keys.iter().take(i) {
            let problem = match &key.kid {
                _ if key.same_public(other) => {
                    format!("is the same key as `{other_path}`: one key has one use")
                }
                kid if *kid != other.kid => continue,
                Some(_) => format!("has the same kid as `{other_path}`"),
                None => format!("must have a kid, since `{other_path}` has none either"),
            };
            return Err(ConfigError::new(ConfigCode::ConflictingOptions, path.as_str(), problem));
        }
    }
    Ok(())
}

fn secret_algorithm(
    options: &Options<'_>,
    allowed: Option<&[Algorithm]>,
) -> Result<Algorithm, ConfigError> {
    let Some(allowed) = allowed else { return Ok(Algorithm::Hs256) };
    let mut hmac = allowed.iter().copied().filter(|algorithm| algorithm.family() == Family::Hmac);
    match (hmac.next(), hmac.next()) {
        (Some(algorithm), None) => Ok(algorithm),
        _ => Err(ConfigError::new(
            ConfigCode::ConflictingOptions,
            options.path_of("algorithms"),
            "must name exactly one of HS256, HS384 and HS512 when there is a `secret`: one key has one algorithm",
        )),
    }
}

pub(crate) fn secret_at(path: &str, value: &Value) -> Result<Vec<u8>, ConfigError> {
    if let Some(bytes) = bytes(value) {
        return Ok(bytes);
    }
    if is_function(value) || !value.is_string() {
        let problem = format!("must be a string or a Buffer, not {}", describe(value));
        return Err(ConfigError::invalid(path, problem));
    }
    string_at(path, value).map(|text| text.as_bytes().to_vec())
}

fn key_input(path: &str, value: &Value, allowed: Option<&[Algorithm]>) -> Result<Key, ConfigError> {
    let options = Options::read(path, value, &["kid", "alg", "key", "notBefore", "notAfter"])?;
    let alg = options.require("alg", "one key has exactly one algorithm, such as 'ES256'")?;
    let algorithm = algorithm_at(&options.path_of("alg"), alg)?;
    if allowed.is_some_and(|allowed| !allowed.contains(&algorithm)) {
        return Err(ConfigError::new(
            ConfigCode::ConflictingOptions,
            options.path_of("alg"),
            "is not in `algorithms`",
        ));
    }
    let value = options.require("key", "PEM text, a Buffer or a JWK object")?;
    let at = options.path_of("key");
    let mut kid =
        options.get("kid").map(|kid| plain_text(&options.path_of("kid"), kid)).transpose()?;
    let material = match value {
        Value::Object(jwk) => {
            if !jwk::algorithms(&at, jwk)?.contains(&algorithm) {
                return Err(invalid_key(&at, format!("is not a key for {}", algorithm.name())));
            }
            let inner = jwk_kid(&at, jwk)?;
            if kid.is_some() && inner.is_some() && kid != inner {
                return Err(ConfigError::new(
                    ConfigCode::ConflictingOptions,
                    options.path_of("kid"),
                    "must be the JWK's own kid",
                ));
            }
            kid = kid.or(inner);
            jwk::read(&at, jwk, algorithm)?
        }
        _ if algorithm.family() == Family::Hmac => Material::Secret(secret_at(&at, value)?),
        _ => {
            let bytes = secret_at(&at, value)?;
            let text = String::from_utf8(bytes)
                .map_err(|_| invalid_key(&at, "must be PEM text or a JWK object"))?;
            material::from_pem(&at, &text, algorithm)?
        }
    };
    let mut key = Key::new(&at, material, algorithm)?;
    if let Value::Object(jwk) = value {
        key.issuer = jwk_issuer(&at, jwk)?;
    }
    key.kid = kid.map(Arc::from);
    key.not_before = instant(&options, "notBefore")?.unwrap_or(0);
    key.not_after = instant(&options, "notAfter")?.unwrap_or(u64::MAX);
    if key.not_before >= key.not_after {
        return Err(ConfigError::new(
            ConfigCode::ConflictingOptions,
            options.path_of("notAfter"),
            "must be later than notBefore",
        ));
    }
    Ok(key)
}

/// The member `issuer`, with which Microsoft Entra names the issuer that a key signs for.
fn jwk_issuer(path: &str, jwk: &Map<String, Value>) -> Result<Option<Box<str>>, ConfigError> {
    let issuer = jwk.get("issuer").map(|issuer| plain_text(&format!("{path}.issuer"), issuer));
    Ok(issuer.transpose()?.map(Box::from))
}

fn jwk_kid<'a>(path: &str, jwk: &'a Map<String, Value>) -> Result<Option<&'a str>, ConfigError> {
    jwk.get("kid").map(|kid| plain_text(&format!("{path}.kid"), kid)).transpose()
}

/// The origin of a JWK set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SetOrigin {
    /// Published by an issuer. It must not contain secrets, since they would be public.
    Public,
    /// A SPIFFE bundle: also public. Only its keys for JWT-SVIDs count, and each of these has a
    /// `kid`.
    Bundle,
    /// From an external test suite: all keys are secrets or all are public, and secrets may be
    /// guessable.
    Vectors,
}

/// The keys of a JWK set that stands in the options.
pub(crate) fn jwk_set(
    path: &str,
    value: &Value,
    allowed: Option<&[Algorithm]>,
    of: SetOrigin,
) -> Result<KeySet, ConfigError> {
    let Some(items) = value.get("keys").and_then(Value::as_array) else {
        return Err(ConfigError::invalid(path, "must be a JWK set: an object with a list `keys`"));
    };
    judge_set(path, &format!("{path}.keys"), items, allowed, of)
}

/// One key of a set; `None` if the set has it for another use.
pub(crate) fn set_member(
    path: &str,
    jwk: &Map<String, Value>,
    allowed: Option<&[Algorithm]>,
    of: SetOrigin,
) -> Result<Option<Key>, ConfigError> {
    let mut jwk = Cow::Borrowed(jwk);
    if of == SetOrigin::Bundle {
        // SPIFFE Trust Domain and Bundle, section 4.2.2: skip keys for other kinds of SVID.
        if jwk.get("use").is_none_or(|used| used != "jwt-svid") {
            return Ok(None);
        }
        jwk.to_mut().remove("use");
        if !jwk.contains_key("kid") {
            return Err(invalid_key(path, "must have a kid, as it is for JWT-SVIDs"));
        }
    }
    let mut fits = jwk::algorithms(path, &jwk)?;
    fits.retain(|algorithm| allowed.is_none_or(|allowed| allowed.contains(algorithm)));
    let algorithm = match fits.as_slice() {
        [] => return Ok(None),
        [one] | [one @ Algorithm::EdDsa, ..] => *one,
        _ => {
            return Err(invalid_key(path, "has no alg, and several would fit").suggest(
                "name the one that the issuer signs with, such as `algorithms: ['RS256']`",
            ));
        }
    };
    let material = jwk::read(path, &jwk, algorithm)?;
    let mut key = match of {
        SetOrigin::Public | SetOrigin::Bundle => Key::new(path, material, algorithm)?,
        SetOrigin::Vectors => Key::however_guessable(path, material, algorithm)?,
    };
    key.kid = jwk_kid(path, &jwk)?.map(Arc::from);
    key.issuer = jwk_issuer(path, &jwk)?;
    Ok(Some(key))
}

/// Parses Unix time in seconds, or a date in the format of `Date.prototype.toJSON`.
fn instant(options: &Options<'_>, key: &str) -> Result<Option<u64>, ConfigError> {
    const YEAR_9999: u64 = 253_370_764_800;
    let Some(value) = options.get(key) else { return Ok(None) };
    let seconds = match value {
        Value::String(text) => iso_date(text),
        value => whole_number(value),
    };
    if seconds.is_some_and(|seconds| seconds >= YEAR_9999) {
        return Err(options.invalid(key, "must be in seconds and looks like milliseconds"));
    }
    seconds.map(Some).ok_or_else(|| {
        options.invalid(
            key,
            "must be a Date, seconds since 1970 or a date in UTC such as '2027-01-31T00:00:00Z'",
        )
    })
}

/// Parses `2027-01-31` or `2027-01-31T12:30:00Z`. A fraction of a second is dropped.
fn iso_date(text: &str) -> Option<u64> {
    let (date, time) = text.split_once('T').unwrap_or((text, "00:00:00Z"));
    let digits = |text: &str, len: usize| {
        (text.len() == len && text.bytes().all(|byte| byte.is_ascii_digit()))
            .then(|| text.parse::<u64>().ok())?
    };
    let mut parts = date.splitn(3, '-');
    let (year, month, day) =
        (digits(parts.next()?, 4)?, digits(parts.next()?, 2)?, digits(parts.next()?, 2)?);
    let time = time.strip_suffix('Z')?;
    let (time, fraction) = time.split_once('.').unwrap_or((time, "0"));
    digits(fraction, fraction.len())?;
    let mut parts = time.splitn(3, ':');
    let (hour, minute, second) =
        (digits(parts.next()?, 2)?, digits(parts.next()?, 2)?, digits(parts.next()?, 2)?);
    let leap =
        |year: u64| year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400);
    let month_days = |month: u64| match month {
        2 => 28 + u64::from(leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    if year < 1970 || !(1..=12).contains(&month) || !(1..=month_days(month)).contains(&day) {
        return None;
    }
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let days = (1970..year).map(|year| 365 + u64::from(leap(year))).sum::<u64>()
        + (1..month).map(month_days).sum::<u64>()
        + (day - 1);
    Some(days * 86_400 + hour * 3_600 + minute * 60 + second)
}

const MAX_TEXT: usize = 1024;

/// A non-empty text of bounded length without control characters.
pub(crate) fn plain_text<'a>(path: &str, value: &'a Value) -> Result<&'a str, ConfigError> {
    let text = string_at(path, value)?;
    if text.is_empty()
        || text.len() > MAX_TEXT
        || text.trim() != text
        || text.chars().any(char::is_control)
    {
        return Err(ConfigError::invalid(
            path,
            format!("must be 1 to {MAX_TEXT} bytes of text without whitespace around it"),
        ));
    }
    Ok(text)
}

pub(crate) fn algorithm_at(path: &str, value: &Value) -> Result<Algorithm, ConfigError> {
    let name = string_at(path, value)?;
    if let Some(algorithm) = Algorithm::from_name(name) {
        return Ok(algorithm);
    }
    if name.eq_ignore_ascii_case("none") {
        return Err(ConfigError::invalid(
            path,
            "must not be 'none': an unsigned token proves nothing",
        ));
    }
    let names = Algorithm::ALL.map(Algorithm::name);
    let error = ConfigError::invalid(path, format!("must be one of {}", names.join(", ")));
    Err(match nearest(name, &names) {
        Some(name) => error.suggest(format!("did you mean '{name}'?")),
        None => error,
    })
}

#[cfg(test)]
mod tests {
    use super::iso_date;

    #[test]
    fn a_date_is_read_as_javascript_writes_it() {
        for (text, seconds) in [
            ("1970-01-01", 0),
            ("2000-02-29T00:00:00Z", 951_782_400),
            ("2026-11-22T04:31:04.123Z", 1_795_321_864),
            ("2027-01-31T12:30:00Z", 1_801_398_600),
        ] {
            assert_eq!(iso_date(text), Some(seconds), "{text}");
        }
        for text in [
            "",
            "2027",
            "2027-1-1",
            "2027-02-29",
            "2027-13-01",
            "2027-00-01",
            "2027-01-01T24:00:00Z",
            "2027-01-01T00:00:00",
            "2027-01-01T00:00:00+01:00",
            "27-01-01",
            "2027-01-01T00:00:00.Z",
            "-027-01-01",
            "1969-01-01",
        ] {
            // A fraction without digits is malformed; a time without a zone is ambiguous.
            assert_eq!(iso_date(text), None, "{text}");
        }
    }
}
