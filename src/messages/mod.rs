//! The application's own texts for errors, by code and by language.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::config::options::{Options, nearest, string_at};
use crate::error::ConfigError;

/// The core's codes for errors of a schema.
pub(crate) const CODES: &[&str] = &[
    "additionalItems",
    "additionalProperties",
    "anyOf",
    "const",
    "contains",
    "contentEncoding",
    "contentMediaType",
    "enum",
    "exclusiveMaximum",
    "exclusiveMinimum",
    "falseSchema",
    "format",
    "maxItems",
    "maxLength",
    "maxProperties",
    "maximum",
    "minItems",
    "minLength",
    "minProperties",
    "minimum",
    "multipleOf",
    "not",
    "oneOf",
    "pattern",
    "propertyNames",
    "required",
    "schema",
    "type",
    "unevaluatedItems",
    "unevaluatedProperties",
    "uniqueItems",
];

/// The maximum length of a text, in characters.
const LONGEST: usize = 200;

type Texts = BTreeMap<&'static str, Box<str>>;

/// Texts by code: the default ones, and those by language tag.
#[derive(Debug, Default)]
pub(crate) struct Messages {
    default: Texts,
    languages: Vec<(Box<str>, Texts)>,
}

impl Messages {
    /// Reads `messages`: texts by code, and under a language tag (RFC 5646) further texts by code.
    pub(crate) fn parse(path: &str, value: Option<&Value>) -> Result<Self, ConfigError> {
        let mut messages = Self::default();
        let map = match value {
            None => return Ok(messages),
            Some(Value::Object(map)) => map,
            Some(_) => return Err(ConfigError::invalid(path, "must be an object")),
        };
        for (key, value) in map {
            let here = format!("{path}.{key}");
            if value.is_object() {
                if !is_tag(key) {
                    let error = ConfigError::invalid(here, "must be a language tag");
                    return Err(error.suggest("write 'de' or 'pt-BR'"));
                }
                let options = Options::read(here.as_str(), value, CODES)?;
                let mut texts = Texts::new();
                for code in CODES {
                    if let Some(value) = options.get(code) {
                        texts.insert(code, text(&options.path_of(code), value)?);
                    }
                }
                messages.languages.push((key.as_str().into(), texts));
                continue;
            }
            let Some(code) = CODES.iter().find(|code| **code == *key) else {
                let error = ConfigError::invalid(here, "is no code of an error of a schema");
                return Err(match nearest(key, CODES) {
                    Some(code) => error.suggest(format!("did you mean `{code}`?")),
                    None => error.suggest("docs/guides/schemas.md has the codes"),
                });
            };
            messages.default.insert(code, text(&here, value)?);
        }
        Ok(messages)
    }

    /// The texts for a client whose `Accept-Language` is `accepted`.
    pub(crate) fn choose(&self, accepted: Option<&str>) -> Chosen<'_> {
        let language = accepted.and_then(|accepted| self.language(accepted));
        Chosen { messages: self, language }
    }

    /// The available language that the client prefers most: RFC 9110 section 12.5.4 with the lookup
    /// of RFC 4647 section 3.4. A plain `de` also selects the texts of `de-AT`.
    fn language(&self, accepted: &str) -> Option<&(Box<str>, Texts)> {
        let mut best: Option<(u16, &(Box<str>, Texts))> = None;
        for range in accepted.split(',').take(20) {
            let (range, weight) = range.split_once(';').unwrap_or((range, "q=1"));
            let weight = weight.trim().strip_prefix("q=").and_then(quality).unwrap_or(0);
            let found = self.find(range.trim());
            if let Some(found) = found.filter(|_| weight > best.map_or(0, |(weight, _)| weight)) {
                best = Some((weight, found));
            }
        }
        best.map(|(_, found)| found)
    }

    fn find(&self, range: &str) -> Option<&(Box<str>, Texts)> {
        let mut wanted = range;
        loop {
            if let Some(found) =
                self.languages.iter().find(|(tag, _)| tag.eq_ignore_ascii_case(wanted))
            {
                return Some(found);
            }
            match wanted.rsplit_once('-') {
                Some((front, _)) => wanted = front,
                None => break,
            }
        }
        let same = |tag: &str| {
            tag.split('-').next().is_some_and(|primary| primary.eq_ignore_ascii_case(range))
        };
        self.languages.iter().find(|(tag, _)| same(tag))
    }
}

/// The texts for one client.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Chosen<'a> {
    messages: &'a Messages,
    language: Option<&'a (Box<str>, Texts)>,
}

impl Chosen<'_> {
    /// The application's text for an error, with `{key}` and `{limit}` filled in; `None` if it has
    /// none.
    pub(crate) fn text(
        &self,
        code: &str,
        key: Option<&str>,
        limit: Option<&str>,
    ) -> Option<String> {
        let own = self.language.and_then(|(_, texts)| texts.get(code));
        let text = own.or_else(|| self.messages.default.get(code))?;
        let text = text.replace("{limit}", limit.unwrap_or_default());
        // The key is filled in last: the client chose it, and it may look like a placeholder.
        Some(text.replace("{key}", key.unwrap_or_default()))
    }

    /// Whether there are no texts at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.messages.default.is_empty() && self.language.is_none()
    }

    /// The language of the texts, if there are several.
    pub(crate) fn tag(&self) -> Option<&str> {
        self.language.map(|(tag, _)| &**tag)
    }

    /// Whether the answer depends on the client's `Accept-Language`.
    pub(crate) fn varies(&self) -> bool {
        !self.messages.languages.is_empty()
    }
}

fn text(path: &str, value: &Value) -> Result<Box<str>, ConfigError> {
    let text = string_at(path, value)?;
    if text.is_empty() || text.chars().count() > LONGEST || text.chars().any(char::is_control) {
        let problem = format!("must be one line of 1 to {LONGEST} characters");
        return Err(ConfigError::invalid(path, problem));
    }
    Ok(text.into())
}

/// A weight as thousandths: `1`, `0.8`, `0.123`.
fn quality(text: &str) -> Option<u16> {
    let value: f32 = text.trim().parse().ok()?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "from 0 to 1000, as was checked"
    )]
    (0.0..=1.0).contains(&value).then_some((value * 1000.0) as u16)
}

fn is_tag(text: &str) -> bool {
    let mut parts = text.split('-');
    let is_part = |part: &str| {
        (1..=8).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_alphanumeric())
    };
    parts.next().is_some_and(|first| {
        (2..=3).contains(&first.len()) && first.bytes().all(|byte| byte.is_ascii_alphabetic())
    }) && parts.all(is_part)
}
