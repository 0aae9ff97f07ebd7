//! The checked header options.

use serde_json::Value;

use super::csp::Csp;
use super::frame::{Frame, FrameOption};
use super::{HeaderSet, PROFILES, Profile, cache, permissions, reporting};
use crate::config::options::{Options, Switch, describe, nearest, quoted, string_at};
use crate::error::{ConfigCode, ConfigError};
use crate::net::is_token;

/// Two years, as the preload list recommends.
const HSTS_DEFAULT: u64 = 63_072_000;
/// The minimum of the preload list.
const HSTS_PRELOAD: u64 = 31_536_000;
/// Ten years. A larger value is probably in milliseconds.
const HSTS_MAX: u64 = 315_360_000;

const OPTIONS: [&str; 11] = [
    "csp",
    "hsts",
    "frameOptions",
    "referrerPolicy",
    "corp",
    "coop",
    "coep",
    "permissionsPolicy",
    "cacheControl",
    "reportingEndpoints",
    "remove",
];

const REFERRER_POLICIES: [&str; 7] = [
    "no-referrer",
    "no-referrer-when-downgrade",
    "origin",
    "origin-when-cross-origin",
    "same-origin",
    "strict-origin",
    "strict-origin-when-cross-origin",
];

/// Headers that describe the response or that another layer needs.
const NEEDED: [&str; 13] = [
    "allow",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "date",
    "keep-alive",
    "location",
    "retry-after",
    "set-cookie",
    "transfer-encoding",
    "vary",
    "www-authenticate",
];

/// A checked header configuration: see [`HeadersConfig::header_set`].
#[derive(Debug, Clone)]
pub struct HeadersConfig {
    set: HeaderSet,
}

impl HeadersConfig {
    /// Reads `HeadersOptions`; `None` means the profile's defaults. `path` is the path of the
    /// options, `headers`.
    ///
    /// Every header has one option. `false` omits the header; an absent option means the profile's
    /// default:
    ///
    /// * `csp`: `{ directives, reportOnly, nonce }`. `directives` maps a directive's name to its
    ///   list of sources, merged over the profile's; `false` removes one. `reportOnly` (default
    ///   false) reports instead of enforcing. `nonce` (default false, web profile only) adds a
    ///   fresh nonce to `script-src` and `style-src`
    /// * `hsts`: `{ maxAge, includeSubDomains, preload }`, seconds 0 to 315360000. Default two
    ///   years, true, false
    /// * `frameOptions`: `'DENY'` or `'SAMEORIGIN'`
    /// * `referrerPolicy`: a token, or a list; browsers apply the last token that they support
    /// * `corp`: `'same-origin'`, `'same-site'` or `'cross-origin'`
    /// * `coop`: `'same-origin'`, `'same-origin-allow-popups'`, `'noopener-allow-popups'` or
    ///   `'unsafe-none'`
    /// * `coep`: `'require-corp'`, `'credentialless'` or `'unsafe-none'`
    /// * `permissionsPolicy`: maps a feature to its list of origins (`'self'`, `'*'`, https
    ///   origins), merged over the defaults; `[]` switches it off, `false` removes it from the
    ///   header
    /// * `cacheControl`: the header's text
    /// * `reportingEndpoints`: maps a name to an https address
    /// * `remove`: names of response headers to remove, in addition to `X-Powered-By`
    ///
    /// `X-Content-Type-Options: nosniff` has no option.
    pub fn parse(profile: Profile, path: &str, value: Option<&Value>) -> Result<Self, ConfigError> {
        let nothing = Value::Object(serde_json::Map::new());
        let options =
            Options::read(path, value.unwrap_or(&nothing), &OPTIONS).map_err(helmet_name)?;
        Self::with(profile, &options)
    }

    /// Reads the options of a route, which also has `profile`. Default: `profile`, the guard's.
    pub(crate) fn parse_route(
        profile: Profile,
        path: &str,
        value: &Value,
    ) -> Result<Self, ConfigError> {
        let known = [["profile"].as_slice(), &OPTIONS].concat();
        let options = Options::read(path, value, &known).map_err(helmet_name)?;
        let own = options.one_of("profile", &PROFILES)?;
        Self::with(own.unwrap_or(profile), &options)
    }

    fn with(profile: Profile, options: &Options<'_>) -> Result<Self, ConfigError> {
        let web = profile == Profile::Web;
        let endpoints = match Switch::read(options, "reportingEndpoints") {
            Switch::On(value) => reporting::parse(&options.path_of("reportingEndpoints"), value)?,
            Switch::Absent | Switch::Off => Vec::new(),
        };
        let frame = frame_option(options)?;
        let csp = csp(options, profile, frame, &endpoints)?;

        let mut always: Vec<(String, String)> = Vec::with_capacity(12);
        let mut put = |name: &str, value: String| always.push((name.to_owned(), value));
        put("X-Content-Type-Options", "nosniff".to_owned());
        if web {
            put("Origin-Agent-Cluster", "?1".to_owned());
        }
        if let Some(frame) = frame_header(profile, frame, csp.as_ref()) {
            put("X-Frame-Options", frame.header().to_owned());
        }
        let referrer = if web { "strict-origin-when-cross-origin" } else { "no-referrer" };
        if let Some(value) = referrer_policy(options, referrer)? {
            put("Referrer-Policy", value);
        }
        let same_origin = Some("same-origin");
        if let Some(value) =
            token(options, "corp", &["same-origin", "same-site", "cross-origin"], same_origin)?
        {
            put("Cross-Origin-Resource-Policy", value);
        }
        let coop =
            ["same-origin", "same-origin-allow-popups", "noopener-allow-popups", "unsafe-none"];
        if let Some(value) = token(options, "coop", &coop, same_origin.filter(|_| web))? {
            put("Cross-Origin-Opener-Policy", value);
        }
        if let Some(value) =
            token(options, "coep", &["require-corp", "credentialless", "unsafe-none"], None)?
        {
            put("Cross-Origin-Embedder-Policy", value);
        }
        if let Some(value) = permissions_policy(options)? {
            put("Permissions-Policy", value);
        }
        if let Some(value) = cache_control(options, web)? {
            put("Cache-Control", value);
        }
        if !endpoints.is_empty() {
            put("Reporting-Endpoints", reporting::text(&endpoints));
        }
        always.extend(csp.as_ref().and_then(Csp::header));
        always.sort_unstable();
        let set = HeaderSet {
            always,
            secure: hsts(options)?
                .map(|value| ("Strict-Transport-Security".to_owned(), value))
                .into_iter()
                .collect(),
            remove: Vec::new(),
            nonce: csp.as_ref().and_then(Csp::nonce_header),
        };
        let remove = removed(options, &set)?;
        Ok(Self { set: HeaderSet { remove, ..set } })
    }

    /// The headers for the shim to set.
    #[must_use]
    pub fn header_set(&self) -> &HeaderSet {
        &self.set
    }
}

/// Suggests this package's option for a name of helmet's. The spelling check finds no option near
/// it.
fn helmet_name(error: ConfigError) -> ConfigError {
    let ours = match error.path().rsplit('.').next() {
        Some("contentSecurityPolicy") => "csp",
        Some("strictTransportSecurity") => "hsts",
        Some("frameguard") => "frameOptions",
        Some("crossOriginResourcePolicy") => "corp",
        Some("crossOriginOpenerPolicy") => "coop",
        Some("crossOriginEmbedderPolicy") => "coep",
        Some("noSniff" | "xContentTypeOptions") => {
            return error.suggest("leave it out: nosniff is always sent");
        }
        Some("hidePoweredBy" | "xPoweredBy") => {
            return error.suggest("leave it out: X-Powered-By is always removed");
        }
        _ => return error,
    };
    error.suggest(format!("did you mean `{ours}`?"))
}

fn csp(
    options: &Options<'_>,
    profile: Profile,
    frame: FrameOption,
    endpoints: &[(&str, &str)],
) -> Result<Option<Csp>, ConfigError> {
    let value = match Switch::read(options, "csp") {
        Switch::Off => return Ok(None),
        Switch::Absent => None,
        Switch::On(value) => Some(value),
    };
    let names: Vec<&str> = endpoints.iter().map(|(name, _)| *name).collect();
    Csp::parse(profile, &options.path_of("csp"), value, frame, &names).map(Some)
}

fn frame_option(options: &Options<'_>) -> Result<FrameOption, ConfigError> {
    if matches!(Switch::read(options, "frameOptions"), Switch::Off) {
        return Ok(FrameOption::Off);
    }
    let words = [("DENY", Frame::Deny), ("SAMEORIGIN", Frame::SameOrigin)];
    let given = options.one_of("frameOptions", &words)?;
    Ok(given.map_or(FrameOption::Absent, FrameOption::Only))
}

/// `X-Frame-Options` follows `frame-ancestors` if only that is given. CSP alone covers values
/// without an equivalent in `X-Frame-Options`.
fn frame_header(profile: Profile, option: FrameOption, csp: Option<&Csp>) -> Option<Frame> {
    match option {
        FrameOption::Off => None,
        FrameOption::Only(frame) => Some(frame),
        FrameOption::Absent => match csp {
            Some(csp) if csp.decides_framing() => csp.framing(),
            _ if profile == Profile::Api => Some(Frame::Deny),
            _ => Some(Frame::SameOrigin),
        },
    }
}

/// A header whose value is one of `words`, or off.
fn token(
    options: &Options<'_>,
    key: &str,
    words: &[&'static str],
    default: Option<&'static str>,
) -> Result<Option<String>, ConfigError> {
    if matches!(Switch::read(options, key), Switch::Off) {
        return Ok(None);
    }
    let pairs: Vec<(&str, &'static str)> = words.iter().map(|word| (*word, *word)).collect();
    let given = options.one_of(key, &pairs)?;
    Ok(given.or(default).map(str::to_owned))
}

fn referrer_policy(options: &Options<'_>, default: &str) -> Result<Option<String>, ConfigError> {
    let path = options.path_of("referrerPolicy");
    match Switch::read(options, "referrerPolicy") {
        Switch::Absent => Ok(Some(default.to_owned())),
        Switch::Off => Ok(None),
        Switch::On(Value::Array(items)) if items.is_empty() => {
            Err(ConfigError::invalid(path, "must not be empty").suggest("write 'no-referrer'"))
        }
        Switch::On(Value::Array(items)) => {
            let mut list: Vec<&str> = Vec::with_capacity(items.len());
            for (i, item) in items.iter().enumerate() {
                let path = format!("{path}[{i}]");
                let policy = referrer_token(&path, item)?;
                if list.contains(&policy) {
                    return Err(
                        conflict(path, "is listed twice").suggest("leave out one of the two")
                    );
                }
                list.push(policy);
            }
            Ok(Some(list.join(", ")))
        }
        Switch::On(value) => Ok(Some(referrer_token(&path, value)?.to_owned())),
    }
}

fn referrer_token<'a>(path: &str, value: &'a Value) -> Result<&'a str, ConfigError> {
    let text = string_at(path, value)?;
    if REFERRER_POLICIES.contains(&text) {
        return Ok(text);
    }
    if text == "unsafe-url" {
        return Err(ConfigError::invalid(
            path,
            "must not be unsafe-url, which sends paths and queries to every site",
        )
        .suggest("write 'strict-origin-when-cross-origin'"));
    }
    let error =
        ConfigError::invalid(path, format!("must be one of {}", quoted(&REFERRER_POLICIES)));
    Err(match nearest(text, &REFERRER_POLICIES) {
        Some(policy) => error.suggest(format!("did you mean '{policy}'?")),
        None => error,
    })
}

fn permissions_policy(options: &Options<'_>) -> Result<Option<String>, ConfigError> {
    let value = match Switch::read(options, "permissionsPolicy") {
        Switch::Off => return Ok(None),
        Switch::Absent => None,
        Switch::On(value) => Some(value),
    };
    let text = permissions::parse(&options.path_of("permissionsPolicy"), value)?;
    Ok((!text.is_empty()).then_some(text))
}

/// An API's answers belong to one user; a site's pages and files set their own value.
fn cache_control(options: &Options<'_>, web: bool) -> Result<Option<String>, ConfigError> {
    let path = options.path_of("cacheControl");
    match Switch::read(options, "cacheControl") {
        Switch::Off => Ok(None),
        Switch::Absent => Ok((!web).then(|| "no-store".to_owned())),
        Switch::On(value) => cache::parse(&path, string_at(&path, value)?).map(Some),
    }
}

fn hsts(options: &Options<'_>) -> Result<Option<String>, ConfigError> {
    let nothing = Value::Object(serde_json::Map::new());
    let value = match Switch::read(options, "hsts") {
        Switch::Off => return Ok(None),
        Switch::Absent => &nothing,
        Switch::On(value) => value,
    };
    let path = options.path_of("hsts");
    let hsts = Options::read(path.as_str(), value, &["maxAge", "includeSubDomains", "preload"])?;
    let max_age = hsts
        .integer("maxAge", 0..=HSTS_MAX)
        .map_err(|error| error.suggest("write seconds, such as 63072000 for two years"))?
        .unwrap_or(HSTS_DEFAULT);
    let sub_domains = hsts.bool("includeSubDomains")?.unwrap_or(true);
    let preload = hsts.bool("preload")?.unwrap_or(false);
    if preload && max_age < HSTS_PRELOAD {
        return Err(conflict(
            format!("{path}.maxAge"),
            "must be a year or more beside preload, or the list turns it down",
        )
        .suggest("write 63072000, or leave out preload"));
    }
    if preload && !sub_domains {
        return Err(conflict(
            format!("{path}.includeSubDomains"),
            "must be true beside preload, or the list turns it down",
        )
        .suggest("leave out one of the two"));
    }
    let mut text = format!("max-age={max_age}");
    if sub_domains {
        text.push_str("; includeSubDomains");
    }
    if preload {
        text.push_str("; preload");
    }
    Ok(Some(text))
}

fn removed(options: &Options<'_>, set: &HeaderSet) -> Result<Vec<String>, ConfigError> {
    let path = options.path_of("remove");
    let mut names = vec!["x-powered-by".to_owned()];
    for (i, item) in options.list("remove")?.unwrap_or_default().iter().enumerate() {
        let path = format!("{path}[{i}]");
        let Value::String(text) = item else {
            return Err(ConfigError::invalid(
                path,
                format!("must be a string, not {}", describe(item)),
            ));
        };
        if !is_token(text) {
            return Err(ConfigError::invalid(
                path,
                "must be a header name: letters, digits and '-'",
            )
            .suggest("write one name per item, such as 'Server'"));
        }
        let name = text.to_ascii_lowercase();
        let ours = set.always.iter().chain(&set.secure).map(|(name, _)| name);
        if ours
            .chain(set.nonce.iter().map(|nonce| &nonce.name))
            .any(|our| our.eq_ignore_ascii_case(&name))
        {
            return Err(conflict(path, "is a header that this layer sends")
                .suggest("switch it off by its own option; nosniff has none"));
        }
        if NEEDED.contains(&name.as_str()) || name.starts_with("access-control-") {
            return Err(ConfigError::invalid(
                path,
                "is a header that a response or another layer needs",
            )
            .suggest("leave it out"));
        }
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

fn conflict(path: impl Into<String>, problem: &str) -> ConfigError {
    ConfigError::new(ConfigCode::ConflictingOptions, path, problem)
}
