//! `Content-Security-Policy`: the profile's directives, the user's changes, and the check of the
//! merged policy.

use std::collections::BTreeMap;

use serde_json::Value;

use super::frame::{Frame, FrameOption};
use super::source::{self, Keywords};
use super::{NonceHeader, Profile};
use crate::config::options::{Options, describe, did_you_mean, string_at};
use crate::error::{ConfigCode, ConfigError};

/// Marks the nonce's positions until the header is split there. No checked source can contain it.
const NONCE: char = '\0';

/// The kind of values that a directive's list has.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Sources(Keywords),
    Sandbox,
    TrustedTypesFor,
    TrustedTypes,
    Webrtc,
    Flag,
    ReportTo,
    ReportUri,
}

use Keywords::{Plain, Script, Style};

/// The directives that browsers support, in the order in which they are sent.
const DIRECTIVES: [(&str, Kind); 27] = [
    ("default-src", Kind::Sources(Script)),
    ("base-uri", Kind::Sources(Plain)),
    ("child-src", Kind::Sources(Plain)),
    ("connect-src", Kind::Sources(Plain)),
    ("fenced-frame-src", Kind::Sources(Plain)),
    ("font-src", Kind::Sources(Plain)),
    ("form-action", Kind::Sources(Plain)),
    ("frame-ancestors", Kind::Sources(Plain)),
    ("frame-src", Kind::Sources(Plain)),
    ("img-src", Kind::Sources(Plain)),
    ("manifest-src", Kind::Sources(Plain)),
    ("media-src", Kind::Sources(Plain)),
    ("object-src", Kind::Sources(Plain)),
    ("script-src", Kind::Sources(Script)),
    ("script-src-attr", Kind::Sources(Script)),
    ("script-src-elem", Kind::Sources(Script)),
    ("style-src", Kind::Sources(Style)),
    ("style-src-attr", Kind::Sources(Style)),
    ("style-src-elem", Kind::Sources(Style)),
    ("worker-src", Kind::Sources(Script)),
    ("sandbox", Kind::Sandbox),
    ("trusted-types", Kind::TrustedTypes),
    ("require-trusted-types-for", Kind::TrustedTypesFor),
    ("webrtc", Kind::Webrtc),
    ("upgrade-insecure-requests", Kind::Flag),
    ("report-to", Kind::ReportTo),
    ("report-uri", Kind::ReportUri),
];

/// Obsolete directives that browsers ignore.
const OBSOLETE: [&str; 7] = [
    "block-all-mixed-content",
    "navigate-to",
    "plugin-types",
    "prefetch-src",
    "referrer",
    "reflected-xss",
    "require-sri-for",
];

const API: [(&str, &[&str]); 4] = [
    ("default-src", &["'none'"]),
    ("base-uri", &["'none'"]),
    ("form-action", &["'none'"]),
    ("frame-ancestors", &["'none'"]),
];
const WEB: [(&str, &[&str]); 8] = [
    ("default-src", &["'self'"]),
    ("base-uri", &["'none'"]),
    ("form-action", &["'self'"]),
    ("frame-ancestors", &["'self'"]),
    ("object-src", &["'none'"]),
    ("script-src", &["'self'"]),
    ("script-src-attr", &["'none'"]),
    ("style-src", &["'self'"]),
];

/// A checked policy.
#[derive(Debug, Clone)]
pub(super) struct Csp {
    lists: BTreeMap<&'static str, Vec<String>>,
    report_only: bool,
    nonce: bool,
    /// Whether the user gave `frame-ancestors` itself, not through `frameOptions`.
    frame_given: bool,
}

impl Csp {
    /// Reads the option `csp`. `endpoints` are the names in `reportingEndpoints`.
    pub(super) fn parse(
        profile: Profile,
        path: &str,
        value: Option<&Value>,
        frame: FrameOption,
        endpoints: &[&str],
    ) -> Result<Self, ConfigError> {
        let mut csp =
            Self { lists: defaults(profile), report_only: false, nonce: false, frame_given: false };
        let mut given = None;
        if let Some(value) = value {
            let options = Options::read(path, value, &["directives", "reportOnly", "nonce"])?;
            csp.report_only = options.bool("reportOnly")?.unwrap_or(false);
            csp.nonce = options.bool("nonce")?.unwrap_or(false);
            given = options.get("directives");
        }
        let directives = format!("{path}.directives");
        let mut frame_removed = false;
        if let Some(value) = given {
            csp.merge(&directives, value)?;
            let ancestors = value.get("frame-ancestors");
            frame_removed = ancestors.is_some_and(|list| !list.is_array());
            csp.frame_given = ancestors.is_some() && !frame_removed;
        }
        csp.agree_on_framing(&directives, frame, frame_removed)?;
        csp.judge_scripts(&directives, profile)?;
        csp.judge_reports(path, &directives, endpoints)?;
        if csp.nonce {
            csp.place_nonce(path, profile)?;
        }
        Ok(csp)
    }

    fn merge(&mut self, path: &str, value: &Value) -> Result<(), ConfigError> {
        let Value::Object(map) = value else {
            return Err(ConfigError::invalid(
                path,
                format!("must be an object of directives, not {}", describe(value)),
            )
            .suggest("write it as in { 'img-src': [\"'self'\", 'data:'] }"));
        };
        for (key, list) in map {
            let path = format!("{path}.{key}");
            let (name, kind) = directive(&path, key)?;
            match list {
                Value::Bool(false) if name == "default-src" => {
                    return Err(ConfigError::invalid(
                        path,
                        "can't be left out: without it, what no other directive names is open",
                    )
                    .suggest("write [\"'none'\"] or [\"'self'\"]"));
                }
                Value::Bool(false) => {
                    self.lists.remove(name);
                }
                Value::Array(items) => {
                    self.lists.insert(name, read_list(&path, kind, items)?);
                }
                other => {
                    return Err(ConfigError::invalid(
                        path,
                        format!("must be a list of strings or false, not {}", describe(other)),
                    )
                    .suggest(
                        "write a list such as [\"'self'\"], or false to leave the directive out",
                    ));
                }
            }
        }
        Ok(())
    }

    fn agree_on_framing(
        &mut self,
        path: &str,
        frame: FrameOption,
        removed: bool,
    ) -> Result<(), ConfigError> {
        let FrameOption::Only(frame) = frame else { return Ok(()) };
        if !self.frame_given {
            if !removed {
                self.lists.insert("frame-ancestors", vec![frame.source().to_owned()]);
            }
            return Ok(());
        }
        if self.report_only || self.framing() == Some(frame) {
            return Ok(());
        }
        Err(conflict(
            format!("{path}.frame-ancestors"),
            "says something else than frameOptions, which browsers ignore beside it",
        )
        .suggest("leave out one of the two: the other follows"))
    }

    /// Refuses script sources that let any injected script run: such a policy gives no protection.
    fn judge_scripts(&self, path: &str, profile: Profile) -> Result<(), ConfigError> {
        let names: &[&str] = if self.lists.contains_key("script-src") {
            &["script-src", "script-src-elem", "script-src-attr", "worker-src", "object-src"]
        } else {
            &["default-src", "script-src-elem", "script-src-attr", "worker-src", "object-src"]
        };
        for name in names {
            let Some(list) = self.lists.get(name) else { continue };
            let has = |word: &str| list.iter().any(|source| source == word);
            let path = || format!("{path}.{name}");
            // `place_nonce` adds the nonce to these directives.
            let trusted =
                self.nonce && name.starts_with("script-src") && *name != "script-src-attr"
                    || list.iter().any(|source| source.starts_with("'sha"));
            if profile == Profile::Api
                && ["'unsafe-inline'", "'unsafe-eval'", "'unsafe-hashes'"]
                    .iter()
                    .any(|word| has(word))
            {
                return Err(ConfigError::invalid(
                    path(),
                    "must not allow inline script or eval: an API runs none",
                )
                .suggest("leave out the 'unsafe-' keywords, or serve pages with profile: 'web'"));
            }
            // Sites allow event handler attributes alone as a step towards a strict policy.
            if has("'unsafe-inline'") && !trusted && *name != "script-src-attr" {
                return Err(ConfigError::invalid(
                    path(),
                    "must not have 'unsafe-inline': any injected script would run",
                )
                .suggest("write csp.nonce: true, or the hash of the script"));
            }
            if has("'strict-dynamic'") && !trusted {
                return Err(ConfigError::invalid(
                    path(),
                    "has 'strict-dynamic' without a nonce or hash, which blocks all scripts",
                )
                .suggest("write csp.nonce: true, or the hash of the script"));
            }
            // Workers are often made from a blob. Making one needs a running script.
            let broad = ["*", "http:", "https:", "data:", "blob:"];
            let open = broad
                .iter()
                .any(|source| has(source) && !(*source == "blob:" && *name == "worker-src"));
            if open && !has("'strict-dynamic'") {
                return Err(ConfigError::invalid(
                    path(),
                    "must not allow a whole scheme or every host: any injected script would run",
                )
                .suggest("list the hosts, such as 'https://cdn.example.com'"));
            }
        }
        Ok(())
    }

    fn judge_reports(
        &self,
        path: &str,
        directives: &str,
        endpoints: &[&str],
    ) -> Result<(), ConfigError> {
        let to = self.lists.get("report-to").and_then(|list| list.first());
        if let Some(name) = to
            && !endpoints.contains(&name.as_str())
        {
            return Err(conflict(
                format!("{directives}.report-to[0]"),
                "must be one of the names in reportingEndpoints",
            )
            .suggest("write reportingEndpoints: { csp: 'https://...' } and 'report-to': ['csp']"));
        }
        if !self.report_only {
            return Ok(());
        }
        if to.is_none() && !self.lists.contains_key("report-uri") {
            return Err(ConfigError::new(
                ConfigCode::MissingOption,
                format!("{directives}.report-to"),
                "must be given beside reportOnly: a policy that is neither enforced nor reported does nothing",
            )
            .suggest(format!("name one of reportingEndpoints, or leave out {path}.reportOnly")));
        }
        for name in ["sandbox", "upgrade-insecure-requests"] {
            if self.lists.contains_key(name) {
                return Err(conflict(
                    format!("{directives}.{name}"),
                    "is ignored beside reportOnly",
                )
                .suggest("leave out one of the two"));
            }
        }
        Ok(())
    }

    fn place_nonce(&mut self, path: &str, profile: Profile) -> Result<(), ConfigError> {
        let path = format!("{path}.nonce");
        if profile == Profile::Api {
            return Err(conflict(path, "has no use in profile 'api', which serves no pages")
                .suggest("write profile: 'web', or leave out the nonce"));
        }
        let mut places = 0;
        for name in ["script-src", "script-src-elem", "style-src", "style-src-elem"] {
            let Some(list) = self.lists.get_mut(name) else { continue };
            if list.iter().any(|source| source == "'none'") {
                continue;
            }
            if name.starts_with("style") && list.iter().any(|source| source == "'unsafe-inline'") {
                return Err(conflict(
                    path,
                    "makes browsers ignore the 'unsafe-inline' of style-src",
                )
                .suggest("allow style attributes alone: 'style-src-attr': [\"'unsafe-inline'\"]"));
            }
            list.push(format!("'nonce-{NONCE}'"));
            places += 1;
        }
        if places == 0 {
            return Err(conflict(
                path,
                "has no place to go: script-src and style-src are left out or 'none'",
            )
            .suggest("leave out the nonce"));
        }
        Ok(())
    }

    /// Whether the policy is enforced and the user gave `frame-ancestors`.
    pub(super) fn decides_framing(&self) -> bool {
        self.frame_given && !self.report_only
    }

    /// `frame-ancestors` as `X-Frame-Options`, if it has an equivalent.
    pub(super) fn framing(&self) -> Option<Frame> {
        self.lists.get("frame-ancestors").and_then(|list| Frame::of(list))
    }

    fn name(&self) -> String {
        let name = if self.report_only {
            "Content-Security-Policy-Report-Only"
        } else {
            "Content-Security-Policy"
        };
        name.to_owned()
    }

    fn text(&self) -> String {
        let directives: Vec<String> = DIRECTIVES
            .iter()
            .filter_map(|(name, _)| self.lists.get_key_value(name))
            .map(|(name, list)| {
                if list.is_empty() {
                    (*name).to_owned()
                } else {
                    format!("{name} {}", list.join(" "))
                }
            })
            .collect();
        directives.join("; ")
    }

    /// The header, if it is the same for every response.
    pub(super) fn header(&self) -> Option<(String, String)> {
        (!self.nonce).then(|| (self.name(), self.text()))
    }

    /// The header in parts, if each response has its own nonce.
    pub(super) fn nonce_header(&self) -> Option<NonceHeader> {
        self.nonce.then(|| NonceHeader {
            name: self.name(),
            parts: self.text().split(NONCE).map(str::to_owned).collect(),
        })
    }
}

fn defaults(profile: Profile) -> BTreeMap<&'static str, Vec<String>> {
    let table: &[(&'static str, &[&str])] = match profile {
        Profile::Api => &API,
        Profile::Web => &WEB,
    };
    table
        .iter()
        .map(|(name, list)| (*name, list.iter().map(|source| (*source).to_owned()).collect()))
        .collect()
}

fn conflict(path: impl Into<String>, problem: &str) -> ConfigError {
    ConfigError::new(ConfigCode::ConflictingOptions, path, problem)
}

fn directive(path: &str, key: &str) -> Result<(&'static str, Kind), ConfigError> {
    if OBSOLETE.contains(&key) {
        return Err(ConfigError::invalid(path, "is obsolete: browsers no longer read it")
            .suggest("leave it out"));
    }
    if let Some((name, kind)) = DIRECTIVES.iter().find(|(name, _)| *name == key) {
        return Ok((name, *kind));
    }
    // Other packages write `defaultSrc`.
    let mut kebab = String::new();
    for letter in key.chars() {
        if letter.is_ascii_uppercase() && !kebab.is_empty() && !kebab.ends_with('-') {
            kebab.push('-');
        }
        kebab.push(letter.to_ascii_lowercase());
    }
    let known: Vec<&str> = DIRECTIVES.iter().map(|(name, _)| *name).collect();
    let suggestion = match known.iter().find(|name| **name == kebab) {
        Some(name) => format!("write `{name}`"),
        None => did_you_mean(&kebab, &known),
    };
    Err(ConfigError::new(ConfigCode::UnknownOption, path, "is not a CSP directive")
        .suggest(suggestion))
}

fn read_list(path: &str, kind: Kind, items: &[Value]) -> Result<Vec<String>, ConfigError> {
    let mut list: Vec<String> = Vec::with_capacity(items.len());
    for (i, item) in items.iter().enumerate() {
        let path = format!("{path}[{i}]");
        let text = string_at(&path, item)?;
        judge_item(kind, &path, text)?;
        if list.iter().any(|earlier| earlier == text) {
            return Err(conflict(path, "is listed twice").suggest("leave out one of the two"));
        }
        list.push(text.to_owned());
    }
    if list.len() > 1 && list.iter().any(|item| item == "'none'") {
        return Err(conflict(path, "has 'none' beside other sources, which browsers then ignore")
            .suggest("write [\"'none'\"] alone, or the other sources without it"));
    }
    let error = |problem: &str, suggestion: &str| {
        Err(ConfigError::invalid(path, problem).suggest(suggestion))
    };
    match (kind, list.len()) {
        (Kind::Sources(_), 0) => {
            error("must not be empty", "write [\"'none'\"], or false to leave the directive out")
        }
        (Kind::TrustedTypes, 0) => {
            error("must not be empty", "write [\"'none'\"] or the names of the policies")
        }
        (Kind::ReportUri, 0) => {
            error("must not be empty", "write an address such as 'https://example.com/csp'")
        }
        (Kind::TrustedTypesFor, 0 | 2..) => error("must be one word", "write [\"'script'\"]"),
        (Kind::Webrtc, 0 | 2..) => error("must be one word", "write [\"'block'\"]"),
        (Kind::ReportTo, 0 | 2..) => {
            error("must be one name", "write one name of reportingEndpoints")
        }
        _ => Ok(list),
    }
}

fn judge_item(kind: Kind, path: &str, text: &str) -> Result<(), ConfigError> {
    match kind {
        Kind::Sources(keywords) => source::judge(keywords, path, text),
        Kind::Sandbox => source::sandbox(path, text),
        Kind::TrustedTypesFor => source::word(path, text, &["'script'"]),
        Kind::TrustedTypes => source::trusted_type(path, text),
        Kind::Webrtc => source::word(path, text, &["'allow'", "'block'"]),
        Kind::Flag => {
            Err(ConfigError::invalid(path, "must not be there: the directive has no values")
                .suggest("write an empty list to switch it on, false to leave it out"))
        }
        Kind::ReportTo => source::characters(path, text),
        Kind::ReportUri => {
            source::characters(path, text)?;
            if text.starts_with('/') && !text.starts_with("//") {
                return Ok(());
            }
            super::reporting::https_url(path, text)
        }
    }
}
