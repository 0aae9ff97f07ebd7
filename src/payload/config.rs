//! The options of the payload layer.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::config::options::{Options, describe, did_you_mean, quoted};
use crate::error::{ConfigCode, ConfigError};
use crate::json::{Limits, Operators};
use crate::multipart::{Boundary, FileRules};
use crate::schema::SchemaRules;

/// The kinds of bodies that are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BodyTypes {
    /// `application/json`, and types that end with `+json`.
    pub json: bool,
    /// `application/x-www-form-urlencoded`.
    pub form: bool,
    /// `multipart/form-data`.
    pub multipart: bool,
}

/// The default of `inflate.ratio`: the maximum growth of a compressed body.
const RATIO: u32 = 20;

/// The limits on a payload. The defaults fit an API; [`PayloadConfig::parse`] checks every field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PayloadConfig {
    limits: Limits,
    types: BodyTypes,
    /// The maximum growth of a compressed body; `None` refuses compressed bodies.
    inflate: Option<u32>,
    timeout: Duration,
    /// Whether the handler gets the bytes as they arrived.
    raw_body: bool,
    /// The fields for files of a route that reads multipart bodies.
    files: Arc<FileRules>,
}

impl Default for PayloadConfig {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            types: BodyTypes { json: true, form: false, multipart: false },
            inflate: None,
            timeout: Duration::from_secs(30),
            raw_body: false,
            files: Arc::default(),
        }
    }
}

impl PayloadConfig {
    /// Reads the option `payload` of a guard; without it, the defaults apply. Multipart bodies are
    /// read where a route asks for them.
    ///
    /// - `types`: the kinds of bodies that are read, a list of `'json'`, `'form'` and, on a route,
    ///   `'multipart'`; `['json']`
    /// - `maxBytes`: size, `'100kb'`; 1 byte to 64 MiB
    /// - `maxDepth`: nesting of containers, 32; 1 to 128
    /// - `maxNodes`: number of values in total, 10,000; 1 to 10,000,000
    /// - `maxKeys`: keys in one object, 1000; 1 to 1,000,000
    /// - `operators`: `'refuse'` or `'allow'` keys that begin with `$` or contain `.`
    /// - `inflate`: whether compressed bodies are read, `false`; `true`, or `{ ratio }` with their
    ///   maximum growth, 20; 1 to 1000
    /// - `timeout`: the maximum time for a body to arrive, `'30s'`; 10 ms to 1 hour
    /// - `rawBody`: whether the handler gets the bytes as they arrived, `false`
    /// - `files`: on a route with `types: ['multipart']`, the fields that take files
    pub fn parse(path: &str, value: Option<&Value>) -> Result<Self, ConfigError> {
        let read = Self::default().narrowed(path, value)?;
        let has_files = value.is_some_and(|value| value.get("files").is_some());
        if !has_files && !read.types.multipart {
            return Ok(read);
        }
        let name = if has_files { "files" } else { "types" };
        let problem = "asks for multipart bodies, which are read where a route asks for them";
        Err(ConfigError::invalid(format!("{path}.{name}"), problem).suggest(
            "write it on the route: guard.validate({ payload: { types: ['multipart'], files } })",
        ))
    }

    /// Reads the option `payload` of a route. Omitted options keep the values of `self`.
    pub fn narrowed(&self, path: &str, value: Option<&Value>) -> Result<Self, ConfigError> {
        const OWN: &[&str] = &[
            "types",
            "maxBytes",
            "maxDepth",
            "maxNodes",
            "maxKeys",
            "operators",
            "inflate",
            "timeout",
            "rawBody",
            "files",
        ];
        // [`SchemaRules::parse`] reads the others.
        let known = [OWN, SchemaRules::KEYS].concat();
        let Some(value) = value else { return Ok(self.clone()) };
        let options = Options::read(path, value, &known)?;
        let number = |key, max, default: u32| {
            let number = options.integer(key, 1..=max)?;
            Ok::<_, ConfigError>(number.and_then(|n| u32::try_from(n).ok()).unwrap_or(default))
        };
        let max_bytes = options.size("maxBytes", 1..=64 << 20)?;
        let timeout = Duration::from_millis(10)..=Duration::from_secs(3600);
        let before = self.limits;
        let operators = [("refuse", Operators::Refuse), ("allow", Operators::Allow)];
        let read = Self {
            limits: Limits {
                max_bytes: max_bytes
                    .and_then(|n| usize::try_from(n).ok())
                    .unwrap_or(before.max_bytes),
                max_depth: number("maxDepth", 128, before.max_depth)?,
                max_nodes: number("maxNodes", 10_000_000, before.max_nodes)?,
                max_keys: number("maxKeys", 1_000_000, before.max_keys)?,
                operators: options.one_of("operators", &operators)?.unwrap_or(before.operators),
            },
            types: body_types(&options)?.unwrap_or(self.types),
            inflate: inflate(&options, self.inflate)?,
            timeout: options.duration("timeout", timeout)?.unwrap_or(self.timeout),
            raw_body: options.bool("rawBody")?.unwrap_or(self.raw_body),
            files: match options.get("files") {
                Some(value) => Arc::new(FileRules::parse(&options.path_of("files"), value)?),
                None => Arc::clone(&self.files),
            },
        };
        read.check_multipart(&options)?;
        Ok(read)
    }

    /// Files come in multipart bodies alone: in JSON a member could claim to be one.
    fn check_multipart(&self, options: &Options<'_>) -> Result<(), ConfigError> {
        let conflict = |key: &str, problem| {
            ConfigError::new(ConfigCode::ConflictingOptions, options.path_of(key), problem)
        };
        let BodyTypes { json, form, multipart } = self.types;
        if self.has_files() && (json || form || !multipart) {
            return Err(conflict("files", "come in multipart bodies alone")
                .suggest("write `types: ['multipart']` beside it"));
        }
        if multipart && self.raw_body {
            return Err(conflict(
                "rawBody",
                "keeps the bytes of a body, and those of a multipart body are not kept",
            )
            .suggest("write `rawBody: false` on this route"));
        }
        Ok(())
    }

    /// The limits on a body.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The kinds of bodies that are read.
    #[must_use]
    pub fn types(&self) -> BodyTypes {
        self.types
    }

    /// The maximum growth of a compressed body; `None` refuses compressed bodies.
    #[must_use]
    pub fn inflate(&self) -> Option<u32> {
        self.inflate
    }

    /// Whether the handler gets the bytes as they arrived, as `req.guard.rawBody`.
    #[must_use]
    pub fn raw_body(&self) -> bool {
        self.raw_body
    }

    /// The fields for files.
    #[must_use]
    pub fn files(&self) -> &Arc<FileRules> {
        &self.files
    }

    /// The most bytes of a body of this type: files are counted by themselves.
    #[must_use]
    pub fn max_bytes(&self, content_type: Option<&str>) -> u64 {
        let is_multipart = self.types.multipart && Boundary::is_form_data(content_type);
        let files = if is_multipart { self.files.max_bytes() } else { 0 };
        u64::try_from(self.limits.max_bytes).unwrap_or(u64::MAX).saturating_add(files)
    }

    /// Whether it reads files. The body is then multipart, and required.
    #[must_use]
    pub fn has_files(&self) -> bool {
        !self.files.fields().is_empty()
    }

    /// The maximum time for a body to arrive.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        self.timeout
    }
}

fn body_types(options: &Options<'_>) -> Result<Option<BodyTypes>, ConfigError> {
    const WORDS: &[&str] = &["json", "form", "multipart"];
    let Some(words) = options.strings("types")? else { return Ok(None) };
    let mut types = BodyTypes { json: false, form: false, multipart: false };
    for (i, word) in words.iter().enumerate() {
        match *word {
            "json" => types.json = true,
            "form" => types.form = true,
            "multipart" => types.multipart = true,
            other => {
                let path = format!("{}[{i}]", options.path_of("types"));
                let problem = format!("must be one of {}", quoted(WORDS));
                return Err(ConfigError::invalid(path, problem).suggest(did_you_mean(other, WORDS)));
            }
        }
    }
    if words.is_empty() {
        return Err(options
            .invalid("types", "must name at least one kind of body")
            .suggest("write ['json'], or `payload: false` on a route that reads its body itself"));
    }
    Ok(Some(types))
}

fn inflate(options: &Options<'_>, before: Option<u32>) -> Result<Option<u32>, ConfigError> {
    match options.get("inflate") {
        None => Ok(before),
        Some(Value::Bool(on)) => Ok(on.then_some(RATIO)),
        Some(value @ Value::Object(_)) => {
            let inner = Options::read(options.path_of("inflate"), value, &["ratio"])?;
            let ratio = inner.integer("ratio", 1..=1000)?;
            Ok(Some(ratio.and_then(|n| u32::try_from(n).ok()).unwrap_or(RATIO)))
        }
        Some(other) => Err(options
            .invalid(
                "inflate",
                format!("must be true, false or an object, not {}", describe(other)),
            )
            .suggest("write true, or { ratio: 20 }")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn without_options_the_limits_fit_an_api() {
        let config = PayloadConfig::parse("payload", None).unwrap();
        assert_eq!(config, PayloadConfig::default());
        assert_eq!((config.limits().max_bytes, config.limits().max_depth), (102_400, 32));
    }

    #[test]
    fn every_option_is_read() {
        let value = json!({ "maxBytes": "1mb", "maxDepth": 8, "maxNodes": 5, "maxKeys": 3, "operators": "allow" });
        let config = PayloadConfig::parse("payload", Some(&value)).unwrap();
        assert_eq!(config.limits().max_bytes, 1 << 20);
        assert_eq!(
            (config.limits().max_depth, config.limits().max_nodes, config.limits().max_keys),
            (8, 5, 3)
        );
        assert_eq!(config.limits().operators, Operators::Allow);
        let value = json!({ "types": ["form"], "inflate": { "ratio": 5 }, "timeout": "2s", "rawBody": true });
        let config = PayloadConfig::parse("payload", Some(&value)).unwrap();
        assert!(config.raw_body() && !PayloadConfig::default().raw_body());
        assert_eq!(config.types(), BodyTypes { json: false, form: true, multipart: false });
        assert_eq!((config.inflate(), config.timeout()), (Some(5), Duration::from_secs(2)));
    }

    #[test]
    fn compressed_bodies_are_read_only_where_that_is_asked_for() {
        let inflate = |value: Value| {
            let value = json!({ "inflate": value });
            PayloadConfig::parse("payload", Some(&value)).unwrap().inflate()
        };
        assert_eq!(PayloadConfig::default().inflate(), None);
        assert_eq!(inflate(json!(false)), None);
        assert_eq!((inflate(json!(true)), inflate(json!({}))), (Some(20), Some(20)));
    }

    #[test]
    fn a_route_keeps_what_it_does_not_narrow() {
        let guard = json!({ "maxDepth": 4, "operators": "allow", "inflate": true });
        let guard = PayloadConfig::parse("payload", Some(&guard)).unwrap();
        let route = guard.narrowed("payload", Some(&json!({ "types": ["form"] }))).unwrap();
        assert_eq!((route.limits().max_depth, route.limits().operators), (4, Operators::Allow));
        assert_eq!((route.inflate(), route.types().json), (Some(20), false));
    }

    #[test]
    fn options_out_of_range_or_misspelt_are_refused_by_name() {
        for (value, text) in [
            (json!({ "maxBytes": 0 }), "`payload.maxBytes`"),
            (json!({ "maxBytes": "65mb" }), "`payload.maxBytes`"),
            (json!({ "maxDepth": 129 }), "`payload.maxDepth`"),
            (json!({ "maxDepth": 0 }), "`payload.maxDepth`"),
            (json!({ "maxNodes": 1.5 }), "`payload.maxNodes`"),
            (json!({ "maxkeys": 10 }), "did you mean `maxKeys`?"),
            (json!({ "types": [] }), "`payload.types` must name at least one"),
            (json!({ "types": ["json", "forms"] }), "`payload.types[1]` must be one of"),
            (json!({ "types": "form" }), "`payload.types` must be a list"),
            (json!({ "inflate": 20 }), "`payload.inflate` must be true, false or an object"),
            (json!({ "inflate": { "ratio": 0 } }), "`payload.inflate.ratio`"),
            (json!({ "inflate": { "rate": 5 } }), "did you mean `ratio`?"),
            (json!({ "timeout": "5ms" }), "`payload.timeout` must be from"),
            (json!({ "timeout": false }), "`payload.timeout` must be a duration"),
            (json!({ "rawBody": 1 }), "`payload.rawBody` must be"),
            (json!({ "operators": "strip" }), "`payload.operators` must be one of"),
            (json!(true), "`payload` must be an object"),
        ] {
            let error = PayloadConfig::parse("payload", Some(&value)).unwrap_err().to_string();
            assert!(error.contains(text), "{error}");
        }
    }
}
