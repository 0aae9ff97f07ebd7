//! Options as JavaScript sends them: one JSON document, with marked strings for values that JSON
//! can't represent.
//!
//! A function is the string `"\0function"`, and a `Buffer` is `"\0bytes:"` followed by base64. A
//! user's string that starts with NUL is refused, so it can't pass for a marker.

use std::ops::RangeInclusive;
use std::time::Duration;

use base64::Engine as _;
use serde_json::{Map, Value};

use super::other_names::advice;
use crate::error::{ConfigCode, ConfigError};

/// The marker that the shim sends for a function.
pub const FUNCTION: &str = "\0function";
const BYTES: &str = "\0bytes:";
const REGEXP: &str = "\0regexp";

/// The options of one object, with its path.
#[derive(Debug, Clone)]
pub struct Options<'a> {
    path: String,
    map: &'a Map<String, Value>,
}

impl<'a> Options<'a> {
    /// Reads `value` as an object whose keys are all in `known`. An unknown key is an error with a
    /// did-you-mean. `path` is empty for the top of the configuration.
    pub fn read(
        path: impl Into<String>,
        value: &'a Value,
        known: &[&str],
    ) -> Result<Self, ConfigError> {
        let path = path.into();
        let Value::Object(map) = value else {
            let shown = if path.is_empty() { "config".to_owned() } else { path };
            return Err(ConfigError::invalid(
                shown,
                format!("must be an object, not {}", describe(value)),
            ));
        };
        let options = Self { path, map };
        for key in map.keys() {
            if !known.contains(&key.as_str()) {
                let error = ConfigError::new(
                    ConfigCode::UnknownOption,
                    options.path_of(key),
                    "is not an option",
                );
                return Err(error.suggest(did_you_mean(key, known)));
            }
        }
        Ok(options)
    }

    /// The path of this object, empty at the top.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The path of a member: `cors.origins`.
    #[must_use]
    pub fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// The raw value, if the key is present.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&'a Value> {
        self.map.get(key)
    }

    /// Whether the key is present.
    #[must_use]
    pub fn has(&self, key: &str) -> bool {
        self.map.contains_key(key)
    }

    /// An error about a member of this object.
    pub fn invalid(&self, key: &str, problem: impl Into<String>) -> ConfigError {
        ConfigError::invalid(self.path_of(key), problem)
    }

    /// The value, or [`ConfigCode::MissingOption`].
    pub fn require(&self, key: &str, why: &str) -> Result<&'a Value, ConfigError> {
        self.get(key).ok_or_else(|| {
            ConfigError::new(
                ConfigCode::MissingOption,
                self.path_of(key),
                format!("must be given: {why}"),
            )
        })
    }

    /// `true` or `false`.
    pub fn bool(&self, key: &str) -> Result<Option<bool>, ConfigError> {
        self.typed(key, "true or false", Value::as_bool)
    }

    /// A string.
    pub fn string(&self, key: &str) -> Result<Option<&'a str>, ConfigError> {
        self.get(key).map(|value| string_at(&self.path_of(key), value)).transpose()
    }

    /// A whole number within `range`.
    pub fn integer(
        &self,
        key: &str,
        range: RangeInclusive<u64>,
    ) -> Result<Option<u64>, ConfigError> {
        let wanted = format!("a whole number from {} to {}", range.start(), range.end());
        self.typed(key, &wanted, |value| {
            whole_number(value).filter(|number| range.contains(number))
        })
    }

    /// A duration within `range`: a whole number with its unit (ms, s, m, h or d), `'60s'` or
    /// `'1h'`. A number alone is refused: for some packages it is seconds, for others milliseconds.
    pub fn duration(
        &self,
        key: &str,
        range: RangeInclusive<Duration>,
    ) -> Result<Option<Duration>, ConfigError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let duration = parse_duration(value).ok_or_else(|| self.not_a_duration(key, value))?;
        if range.contains(&duration) {
            return Ok(Some(duration));
        }
        let problem = format!("must be from {} to {}", show(*range.start()), show(*range.end()));
        Err(self.invalid(key, problem).suggest("write a number and a unit such as '60s'"))
    }

    fn not_a_duration(&self, key: &str, value: &Value) -> ConfigError {
        if let Some(number) = number_alone(value) {
            let readings =
                format!("write '{number}s' for seconds or '{number}ms' for milliseconds");
            return self.invalid(key, "must have a unit").suggest(readings);
        }
        if value.is_number() {
            return self
                .invalid(key, "must be a whole number with a unit")
                .suggest("write it like '60s' for seconds or '60ms' for milliseconds");
        }
        let problem = format!(
            "must be a duration, a whole number with one of the units ms, s, m, h, d, not {}",
            describe(value)
        );
        self.invalid(key, problem).suggest("write a number and a unit such as '60s'")
    }

    /// A size in bytes within `range`: `'100kb'` (units b, kb, mb; 1 kb = 1024 bytes) or a number
    /// of bytes.
    pub fn size(&self, key: &str, range: RangeInclusive<u64>) -> Result<Option<u64>, ConfigError> {
        let wanted =
            format!("a size from {} to {} bytes, such as '100kb'", range.start(), range.end());
        self.typed(key, &wanted, |value| parse_size(value).filter(|size| range.contains(size)))
    }

    /// A list of strings.
    pub fn strings(&self, key: &str) -> Result<Option<Vec<&'a str>>, ConfigError> {
        let Some(items) = self.list(key)? else { return Ok(None) };
        items
            .iter()
            .enumerate()
            .map(|(i, item)| string_at(&format!("{}[{i}]", self.path_of(key)), item))
            .collect::<Result<_, _>>()
            .map(Some)
    }

    /// A list of anything.
    pub fn list(&self, key: &str) -> Result<Option<&'a [Value]>, ConfigError> {
        self.typed(key, "a list", |value| value.as_array().map(Vec::as_slice))
    }

    /// The meaning of one of the given words.
    pub fn one_of<T: Copy>(
        &self,
        key: &str,
        words: &[(&str, T)],
    ) -> Result<Option<T>, ConfigError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let names: Vec<&str> = words.iter().map(|(name, _)| *name).collect();
        let found = value.as_str().and_then(|text| words.iter().find(|(name, _)| *name == text));
        if let Some((_, meaning)) = found {
            return Ok(Some(*meaning));
        }
        let error = self.invalid(key, format!("must be one of {}", quoted(&names)));
        Err(match value.as_str().and_then(|text| nearest(text, &names)) {
            Some(name) => error.suggest(format!("did you mean '{name}'?")),
            None => error,
        })
    }

    fn typed<T>(
        &self,
        key: &str,
        wanted: &str,
        read: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, ConfigError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        match read(value) {
            Some(read) => Ok(Some(read)),
            None => Err(self.invalid(key, format!("must be {wanted}{}", not_a(wanted, value)))),
        }
    }
}

/// A string at `path`; the markers of functions and bytes are refused.
pub fn string_at<'a>(path: &str, value: &'a Value) -> Result<&'a str, ConfigError> {
    match value {
        Value::String(text) if !text.starts_with('\0') => Ok(text),
        other => {
            Err(ConfigError::invalid(path, format!("must be a string, not {}", describe(other))))
        }
    }
}

/// Whether the value is a function.
#[must_use]
pub fn is_function(value: &Value) -> bool {
    value.as_str() == Some(FUNCTION)
}

/// The bytes of a `Buffer` or `Uint8Array`; `None` for any other value.
#[must_use]
pub fn bytes(value: &Value) -> Option<Vec<u8>> {
    let encoded = value.as_str()?.strip_prefix(BYTES)?;
    base64::engine::general_purpose::STANDARD.decode(encoded).ok()
}

/// A layer's option that is an object, or `false` to switch the layer off.
#[derive(Debug, Clone, Copy)]
pub enum Switch<'a> {
    /// The key is missing.
    Absent,
    /// `false`.
    Off,
    /// Anything else: the layer's own parser checks it.
    On(&'a Value),
}

impl<'a> Switch<'a> {
    /// Reads the option `key` of `options`.
    #[must_use]
    pub fn read(options: &Options<'a>, key: &str) -> Self {
        match options.get(key) {
            None => Self::Absent,
            Some(Value::Bool(false)) => Self::Off,
            Some(value) => Self::On(value),
        }
    }
}

/// The kind of a value, for error texts that must not repeat the value.
#[must_use]
pub fn describe(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(text) if text == FUNCTION => "a function",
        Value::String(text) if text.starts_with(BYTES) => "a Buffer",
        Value::String(text) if text == REGEXP => "a regular expression",
        Value::String(text) if text.starts_with('\0') => "a value of another type",
        Value::String(_) => "this string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// A suggestion: the advice for a name of another package, "did you mean `x`?", or the known
/// options.
#[must_use]
pub fn did_you_mean(word: &str, known: &[&str]) -> String {
    if let Some(advice) = advice(word, known) {
        return advice.to_owned();
    }
    match nearest(word, known) {
        Some(name) => format!("did you mean `{name}`?"),
        None => format!(
            "the options are {}",
            known.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
        ),
    }
}

/// The known word nearest to `word`, if one is near: by Jaro-Winkler, ignoring case, or because one
/// contains the other.
#[must_use]
pub fn nearest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    const NEAR: f64 = 0.75;
    let word = word.to_ascii_lowercase();
    let score = |name: &str| {
        let name = name.to_ascii_lowercase();
        // `allowedOrigins` contains `origins`: an option of another package is often ours with a
        // prefix.
        let part =
            name.len() >= 4 && (word.contains(&name) || name.contains(&word) && word.len() >= 4);
        if part { 1.0 } else { strsim::jaro_winkler(&word, &name) }
    };
    // Of two names that contain the word, the one of about its length is meant.
    let apart = |name: &str| name.len().abs_diff(word.len());
    let scored = known.iter().map(|name| (*name, score(name)));
    let best =
        scored.max_by(|a, b| a.1.total_cmp(&b.1).then_with(|| apart(b.0).cmp(&apart(a.0))))?;
    (best.1 >= NEAR).then_some(best.0)
}

/// `'a', 'b' or 'c'`.
#[must_use]
pub fn quoted(words: &[&str]) -> String {
    match words {
        [] => String::new(),
        [one] => format!("'{one}'"),
        [front @ .., last] => {
            let front: Vec<String> = front.iter().map(|word| format!("'{word}'")).collect();
            format!("{} or '{last}'", front.join(", "))
        }
    }
}

/// A whole number, also in the forms `5.0` and `1e3` of JavaScript's JSON.
#[must_use]
pub fn whole_number(value: &Value) -> Option<u64> {
    const MAX_SAFE: f64 = 9_007_199_254_740_991.0;
    if let Some(number) = value.as_u64() {
        return Some(number);
    }
    let number = value.as_f64()?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked to be whole and in range"
    )]
    (number.fract() == 0.0 && (0.0..=MAX_SAFE).contains(&number)).then_some(number as u64)
}

fn parse_duration(value: &Value) -> Option<Duration> {
    let text = value.as_str()?;
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    let number: u64 = number.parse().ok()?;
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.checked_mul(unit_ms).map(Duration::from_millis)
}

/// A duration without its unit: a whole number, or digits alone. Errors repeat it, so it is at most
/// 400 days in milliseconds, the longest duration of any option; a longer one may be a secret.
fn number_alone(value: &Value) -> Option<u64> {
    const MAX_MS: u64 = 400 * 86_400_000;
    let is_digits = |text: &&str| text.bytes().all(|byte| byte.is_ascii_digit());
    let number = match value.as_str() {
        Some(text) => Some(text).filter(is_digits)?.parse().ok(),
        None => whole_number(value),
    };
    number.filter(|number| *number <= MAX_MS)
}

fn parse_size(value: &Value) -> Option<u64> {
    if value.is_number() {
        return whole_number(value);
    }
    let text = value.as_str()?;
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    let number: u64 = number.parse().ok()?;
    let factor = match unit {
        "b" => 1,
        "kb" => 1 << 10,
        "mb" => 1 << 20,
        _ => return None,
    };
    number.checked_mul(factor)
}

fn show(duration: Duration) -> String {
    let ms = duration.as_millis();
    match ms {
        _ if ms > 0 && ms.is_multiple_of(86_400_000) => format!("{}d", ms / 86_400_000),
        _ if ms > 0 && ms.is_multiple_of(3_600_000) => format!("{}h", ms / 3_600_000),
        _ if ms > 0 && ms.is_multiple_of(60_000) => format!("{}m", ms / 60_000),
        _ if ms.is_multiple_of(1_000) => format!("{}s", ms / 1_000),
        _ => format!("{ms}ms"),
    }
}

/// Names the kind of the value, if the kind (and not the size) is wrong.
fn not_a(wanted: &str, value: &Value) -> String {
    let same_kind = wanted.contains("number") && value.is_number()
        || wanted.contains("size") && (value.is_number() || value.is_string());
    if same_kind { String::new() } else { format!(", not {}", describe(value)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_unknown_key_names_its_path_and_the_nearest_option() {
        let value = json!({ "allowedOrigins": [] });
        let error = Options::read("cors", &value, &["origins", "credentials"]).unwrap_err();
        assert_eq!(error.code(), ConfigCode::UnknownOption);
        assert_eq!(
            error.to_string(),
            "`cors.allowedOrigins` is not an option; did you mean `origins`?"
        );
    }

    #[test]
    fn a_name_of_another_package_leads_to_ours() {
        let known = ["name", "limit", "window", "key", "maxDelay", "onExceed"];
        for (theirs, ours) in [("max", "limit"), ("points", "limit"), ("keyGenerator", "key")] {
            assert_eq!(did_you_mean(theirs, &known), format!("did you mean `{ours}`?"));
        }
        let unit = "did you mean `window`? It takes a text with a unit: '60s'";
        assert_eq!(did_you_mean("windowMs", &known), unit);
        // In another object the name has no such meaning.
        assert_eq!(did_you_mean("max", &["maxDelay"]), "did you mean `maxDelay`?");
    }

    #[test]
    fn a_duration_is_a_whole_number_with_a_unit() {
        for (value, ms) in [
            (json!("60s"), 60_000),
            (json!("1h"), 3_600_000),
            (json!("400d"), 34_560_000_000),
            (json!("10ms"), 10),
            (json!("0s"), 0),
        ] {
            assert_eq!(parse_duration(&value), Some(Duration::from_millis(ms)), "{value}");
        }
        for value in [
            json!("60 sec"),
            json!("60"),
            json!(""),
            json!("s"),
            json!("-1s"),
            json!("1.5s"),
            json!(1500),
            json!(0),
            json!(1.5),
            json!(-1),
            json!("99999999999999999999s"),
            json!("213503982335d"),
        ] {
            assert_eq!(parse_duration(&value), None, "{value}");
        }
    }

    /// The text of the error for this duration.
    fn refusal_of(window: &Value) -> String {
        let value = json!({ "window": window });
        let options = Options::read("rateLimit", &value, &["window"]).unwrap();
        options.duration("window", Duration::ZERO..=Duration::MAX).unwrap_err().to_string()
    }

    #[test]
    fn a_duration_without_a_unit_is_refused_with_both_readings() {
        for (value, number) in [
            (json!(3600), "3600"),
            (json!("3600"), "3600"),
            (json!(0), "0"),
            (json!(-0.0), "0"),
            (json!(1e3), "1000"),
            (json!("007"), "7"),
            (json!(34_560_000_000_u64), "34560000000"),
        ] {
            let text = format!(
                "`rateLimit.window` must have a unit; write '{number}s' for seconds or \
                 '{number}ms' for milliseconds"
            );
            assert_eq!(refusal_of(&value), text, "{value}");
        }
    }

    #[test]
    fn a_number_that_is_no_duration_is_refused_and_not_repeated() {
        for value in [json!(1.5), json!(-1), json!(34_560_000_001_u64), json!(1e300)] {
            assert_eq!(
                refusal_of(&value),
                "`rateLimit.window` must be a whole number with a unit; write it like '60s' for \
                 seconds or '60ms' for milliseconds",
                "{value}"
            );
        }
        let card = refusal_of(&json!("4111111111111111"));
        assert!(card.contains("not this string") && !card.contains("4111"), "{card}");
    }

    #[test]
    fn a_value_is_never_repeated_in_an_error() {
        let value = json!({ "window": "hunter2-very-secret" });
        let options = Options::read("rateLimit", &value, &["window"]).unwrap();
        let text =
            options.duration("window", Duration::ZERO..=Duration::MAX).unwrap_err().to_string();
        assert!(!text.contains("hunter2"), "{text}");
    }

    #[test]
    fn functions_and_buffers_are_told_from_strings() {
        assert!(is_function(&json!("\0function")));
        assert_eq!(bytes(&json!("\0bytes:AQID")), Some(vec![1, 2, 3]));
        assert!(string_at("x", &json!("\0bytes:AQID")).is_err());
        assert_eq!(describe(&json!("\0bytes:AQID")), "a Buffer");
    }
}
