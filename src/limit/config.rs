//! The option `rateLimit`: one policy or a list of them, checked.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;

use super::exceed::{Count, OnExceed, OnStoreFailure, conflict, exactness};
use super::in_flight;
use crate::config::options::{Options, describe, is_function, quoted, string_at};
use crate::error::{ConfigCode, ConfigError};
use crate::quota::algorithm::{Algorithm, Rule};
use crate::request::sendable;

/// The maximum number of policies in a list.
pub const MAX_POLICIES_PER_LIST: usize = 16;
const MAX_NAME: usize = 64;
const MAX_TIERS: usize = 64;
const MAX_LIMIT: u64 = 1_000_000_000;
const MIN_WINDOW: Duration = Duration::from_millis(10);
const MAX_WINDOW: Duration = Duration::from_secs(400 * 86_400);
/// A burst that takes longer than this to refill limits only the first requests.
const MAX_REFILL: Duration = Duration::from_secs(4_000 * 86_400);

const OPTIONS: &[&str] = &[
    "name",
    "limit",
    "window",
    "algorithm",
    "burst",
    "cost",
    "key",
    "tiers",
    "methods",
    "paths",
    "exact",
    "onStoreFailure",
    "count",
    "onExceed",
    "maxDelay",
    "maxDelayed",
    "concurrent",
    "timeout",
];
const LATER: &[&str] = &["format"];

/// One checked policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitPolicy {
    pub(super) name: String,
    pub(super) rule: Rule,
    pub(super) cost: Cost,
    pub(super) key: KeySpec,
    pub(super) tiers: Vec<Tier>,
    pub(super) scope: Scope,
    /// Whether the shared store decides every request.
    pub(super) exact: bool,
    pub(super) on_failure: OnStoreFailure,
    pub(super) count: Count,
    pub(super) on_exceed: OnExceed,
}

/// The cost of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cost {
    /// Always this much, 1 or more.
    Fixed(u32),
    /// The result of the user's function for this request.
    Function,
}

/// The unit of counting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySpec {
    /// Each combination of these, at least one, without duplicates.
    Parts(Vec<KeyPart>),
    /// Each string that the user's function returns.
    Function,
}

/// One part of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyPart {
    /// The client address, see [`crate::net::ClientKey`].
    Ip,
    /// The subject of the verified token; the client address for anonymous requests.
    User,
    /// The verified token itself; the client address for anonymous requests.
    Token,
    /// The route, for all methods, ignoring case and a trailing slash.
    Route,
    /// The string that the user's function returns; a key may have several.
    Custom,
}

impl KeySpec {
    /// The places of functions in the list of parts; the function of [`KeySpec::Function`] is no
    /// part of a list.
    pub(crate) fn functions(&self) -> impl Iterator<Item = usize> {
        let parts = if let Self::Parts(parts) = self { parts.as_slice() } else { &[] };
        let custom = |(_, part): &(usize, &KeyPart)| **part == KeyPart::Custom;
        parts.iter().enumerate().filter(custom).map(|(place, _)| place)
    }

    /// Whether functions return a part of it.
    pub(super) fn has_functions(&self) -> bool {
        *self == Self::Function || self.functions().next().is_some()
    }
}

/// Another limit for identities with a certain role or plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tier {
    pub(super) name: String,
    pub(super) rule: Rule,
}

/// The requests that a policy applies to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Scope {
    /// Empty: every method.
    methods: Vec<String>,
    /// Empty: every path.
    paths: Vec<PathPattern>,
}

/// Without a trailing slash.
#[derive(Debug, Clone, PartialEq, Eq)]
enum PathPattern {
    Exact(String),
    /// The path itself and everything below.
    Below(String),
}

impl LimitPolicy {
    /// Reads the user's value at `path`: one policy, or a list of 1 to 16 with unique names.
    pub fn parse_all(path: &str, value: &Value) -> Result<Vec<Self>, ConfigError> {
        let Value::Array(items) = value else { return Ok(vec![Self::parse(path, value)?]) };
        if items.is_empty() || items.len() > MAX_POLICIES_PER_LIST {
            let problem = format!("must have 1 to {MAX_POLICIES_PER_LIST} policies");
            return Err(ConfigError::invalid(path, problem)
                .suggest("to have no rate limit at all, write false"));
        }
        let mut policies: Vec<Self> = Vec::with_capacity(items.len());
        for (i, item) in items.iter().enumerate() {
            let path = format!("{path}[{i}]");
            let policy = Self::parse(&path, item)?;
            if policies.iter().any(|other| other.name == policy.name) {
                let problem = "must be unique, another policy of this list has it";
                return Err(ConfigError::invalid(format!("{path}.name"), problem));
            }
            policies.push(policy);
        }
        Ok(policies)
    }

    /// The default without configuration: 100 requests per minute and client address.
    #[must_use]
    pub fn default_policy() -> Self {
        Self {
            name: "default".to_owned(),
            rule: Rule::new(Algorithm::Gcra, 100, Duration::from_secs(60), 100),
            cost: Cost::Fixed(1),
            key: KeySpec::Parts(vec![KeyPart::Ip]),
            tiers: Vec::new(),
            scope: Scope::default(),
            exact: false,
            on_failure: OnStoreFailure::Local,
            count: Count::All,
            on_exceed: OnExceed::Reject,
        }
    }

    /// Its name: letters, digits, `_`, `.`, `-`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The cost of a request.
    #[must_use]
    pub fn cost(&self) -> Cost {
        self.cost
    }

    /// The unit of counting.
    #[must_use]
    pub fn key(&self) -> &KeySpec {
        &self.key
    }

    /// The limit of identities without a tier.
    #[must_use]
    pub fn rule(&self) -> &Rule {
        &self.rule
    }

    fn parse(path: &str, value: &Value) -> Result<Self, ConfigError> {
        refuse_later(path, value)?;
        let options = Options::read(path, value, OPTIONS)?;
        if options.has("concurrent") {
            return in_flight::parse(&options);
        }
        if options.has("timeout") {
            let problem = "is about requests under way, and this policy counts them in time";
            return Err(conflict(options.path_of("timeout"), problem)
                .suggest("write `concurrent` rather than `limit` and `window`, or leave it out"));
        }
        let algorithm = algorithm(&options)?;
        options.require("limit", "how many requests a window has")?;
        options.require("window", "how long a window is")?;
        let rule = rule(&options, algorithm, None)?;
        let tiers = tiers(&options, &rule)?;
        let count = Count::parse(&options)?;
        let on_exceed = OnExceed::parse(&options, algorithm)?;
        let (exact, on_failure) = exactness(&options, count, on_exceed)?;
        let kind = |rule| on_exceed.apply(rule);
        let cost = cost(&options, &rule, &tiers)?;
        Ok(Self {
            exact,
            on_failure,
            count,
            on_exceed,
            name: name(&options)?,
            cost,
            key: key(&options)?,
            scope: scope(&options)?,
            rule: kind(rule),
            tiers: tiers.into_iter().map(|tier| Tier { rule: kind(tier.rule), ..tier }).collect(),
        })
    }
}

impl LimitPolicy {
    /// This policy with other figures, as passed to `guard.limits.set`: `name`, `limit`, and
    /// optionally `window`, `burst` and `tiers`. For a limit of requests in flight: `concurrent`
    /// and `tiers`.
    ///
    /// # Errors
    /// The first invalid figure.
    pub fn changed(&self, value: &Value) -> Result<Self, ConfigError> {
        const CHANGES: &[&str] = &["name", "limit", "window", "burst", "tiers", "concurrent"];
        if let Some(key) = value.as_object().and_then(|map| {
            map.keys()
                .find(|key| OPTIONS.contains(&key.as_str()) && !CHANGES.contains(&key.as_str()))
        }) {
            return Err(ConfigError::invalid(
                format!("policy.{key}"),
                "can't be changed while the guard runs",
            )
            .suggest("leave it out, and change it where the guard is built"));
        }
        if self.is_in_flight() {
            return in_flight::changed(self, value);
        }
        if value.get("concurrent").is_some() {
            let problem = "can't be given to a limit of requests in time";
            return Err(conflict("policy.concurrent", problem).suggest("write `limit`"));
        }
        let options =
            Options::read("policy", value, &["name", "limit", "window", "burst", "tiers"])?;
        let own = rule(&options, self.rule.algorithm(), Some(&self.rule))?;
        let tiers = match options.get("tiers") {
            None => self.tiers.clone(),
            Some(_) => tiers(&options, &own)?,
        };
        let capacities = tiers.iter().map(|tier| tier.rule.capacity()).chain([own.capacity()]);
        if let Cost::Fixed(cost) = self.cost
            && capacities.min().is_some_and(|least| least < u64::from(cost))
        {
            let problem =
                "would be less than the policy's `cost`, so that no request could ever be admitted";
            return Err(options.invalid("limit", problem));
        }
        let kind = |rule| self.on_exceed.apply(rule);
        Ok(Self {
            rule: kind(own),
            tiers: tiers.into_iter().map(|tier| Tier { rule: kind(tier.rule), ..tier }).collect(),
            ..self.clone()
        })
    }
}

impl Scope {
    /// Whether the policy applies to requests with this method and path.
    ///
    /// It matches as widely as Express routes: paths ignore case and a trailing slash, and GET
    /// includes HEAD. All of these reach the same handler and would otherwise bypass the limit.
    pub(super) fn includes(&self, method: &str, path: &str) -> bool {
        let method_fits =
            |wanted: &String| wanted == method || (wanted == "GET" && method == "HEAD");
        let path = without_slash(path);
        let path_fits = |pattern: &PathPattern| match pattern {
            PathPattern::Exact(exact) => path.eq_ignore_ascii_case(exact),
            PathPattern::Below(base) => match path.split_at_checked(base.len()) {
                Some((front, rest)) => {
                    front.eq_ignore_ascii_case(base) && (rest.is_empty() || rest.starts_with('/'))
                }
                None => false,
            },
        };
        (self.methods.is_empty() || self.methods.iter().any(method_fits))
            && (self.paths.is_empty() || self.paths.iter().any(path_fits))
    }
}

fn without_slash(path: &str) -> &str {
    path.strip_suffix('/').unwrap_or(path)
}

fn refuse_later(path: &str, value: &Value) -> Result<(), ConfigError> {
    let Some(later) = LATER.iter().find(|key| value.get(key).is_some()) else { return Ok(()) };
    let error = ConfigError::new(
        ConfigCode::UnknownOption,
        format!("{path}.{later}"),
        "is not available yet",
    );
    Err(error.suggest("leave it out: the headers are those of draft 11"))
}

pub(super) fn scope(options: &Options<'_>) -> Result<Scope, ConfigError> {
    Ok(Scope { methods: methods(options)?, paths: paths(options)? })
}

pub(super) fn name(options: &Options<'_>) -> Result<String, ConfigError> {
    options.require("name", "it is what headers, logs and `guard.limits` call the policy")?;
    let name = options.string("name")?.unwrap_or_default();
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    if (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(plain) {
        return Ok(name.to_owned());
    }
    Err(options
        .invalid("name", format!("must be 1 to {MAX_NAME} letters, digits, '_', '.' or '-'"))
        .suggest("write a short name such as 'login'"))
}

fn algorithm(options: &Options<'_>) -> Result<Algorithm, ConfigError> {
    let found = options.one_of(
        "algorithm",
        &[
            ("gcra", Algorithm::Gcra),
            ("token-bucket", Algorithm::TokenBucket),
            ("leaky-bucket", Algorithm::LeakyBucket),
            ("fixed-window", Algorithm::FixedWindow),
            ("sliding-window", Algorithm::SlidingWindow),
        ],
    )?;
    Ok(found.unwrap_or(Algorithm::Gcra))
}

/// `limit`, `window` and `burst` of a policy, or of a tier of the policy with the rule `own`.
fn rule(
    options: &Options<'_>,
    algorithm: Algorithm,
    own: Option<&Rule>,
) -> Result<Rule, ConfigError> {
    let limit = positive(options, "limit")?.ok_or_else(|| {
        let why = "must be given: how many requests a window has";
        ConfigError::new(ConfigCode::MissingOption, options.path_of("limit"), why)
    })?;
    let window = options.duration("window", MIN_WINDOW..=MAX_WINDOW)?;
    let window = window
        .or_else(|| own.map(|rule| Duration::from_micros(rule.window_us())))
        .unwrap_or(MIN_WINDOW);
    if options.has("burst") && !algorithm.has_burst() {
        let problem = "means nothing to an algorithm with windows";
        return Err(conflict(options.path_of("burst"), problem)
            .suggest("leave it out, or use the algorithm 'gcra'"));
    }
    let burst = match positive(options, "burst")? {
        Some(burst) => burst,
        None if own.is_some_and(|rule| rule.capacity() != rule.limit()) => {
            return Err(ConfigError::new(
                ConfigCode::MissingOption,
                options.path_of("burst"),
                "must be given, since the policy has a `burst` that its `limit` does not imply",
            ));
        }
        None => limit,
    };
    let rule = Rule::new(algorithm, limit, window, burst);
    if u128::from(burst) * window.as_micros() > u128::from(limit) * MAX_REFILL.as_micros() {
        return Err(options
            .invalid("burst", "must come back within 4000 days at `limit` per `window`")
            .suggest("write a smaller burst, or leave it out"));
    }
    Ok(rule)
}

/// A number from 1 to 10^9.
fn positive(options: &Options<'_>, key: &str) -> Result<Option<u32>, ConfigError> {
    let number = options.integer(key, 0..=MAX_LIMIT).map_err(|_| {
        let wanted = format!("must be a whole number from 1 to {MAX_LIMIT}");
        let given = options.get(key).filter(|value| !value.is_number()).map(describe);
        options.invalid(key, given.map_or(wanted.clone(), |what| format!("{wanted}, not {what}")))
    })?;
    match number.map(u32::try_from) {
        None => Ok(None),
        Some(Ok(number @ 1..)) => Ok(Some(number)),
        Some(_) => Err(options
            .invalid(key, "must be 1 or more")
            .suggest("to let nobody through, deny it in a policy rule or remove the route")),
    }
}

fn tiers(options: &Options<'_>, own: &Rule) -> Result<Vec<Tier>, ConfigError> {
    tiers_with(options, "{ pro: { limit: 1000 } }", &["limit", "window", "burst"], |tier| {
        rule(tier, own.algorithm(), Some(own))
    })
}

/// The tiers of a policy, each with the options `known`; `rule` reads their limit.
pub(super) fn tiers_with(
    options: &Options<'_>,
    example: &str,
    known: &[&str],
    rule: impl Fn(&Options<'_>) -> Result<Rule, ConfigError>,
) -> Result<Vec<Tier>, ConfigError> {
    let Some(value) = options.get("tiers") else { return Ok(Vec::new()) };
    let path = options.path_of("tiers");
    let Value::Object(map) = value else {
        let problem = format!(
            "must be an object of role or plan names and their limits, not {}",
            describe(value)
        );
        return Err(ConfigError::invalid(path, problem).suggest(format!("write {example}")));
    };
    if map.is_empty() || map.len() > MAX_TIERS {
        return Err(ConfigError::invalid(path, format!("must have 1 to {MAX_TIERS} tiers")));
    }
    map.iter()
        .map(|(name, value)| {
            if name.is_empty() || name.len() > 128 || name.chars().any(char::is_control) {
                return Err(ConfigError::invalid(
                    path.as_str(),
                    "must have names of 1 to 128 characters, none of them a control character",
                ));
            }
            let rule = rule(&Options::read(format!("{path}.{name}"), value, known)?)?;
            Ok(Tier { name: name.clone(), rule })
        })
        .collect()
}

fn cost(options: &Options<'_>, own: &Rule, tiers: &[Tier]) -> Result<Cost, ConfigError> {
    if options.get("cost").is_some_and(is_function) {
        return Ok(Cost::Function);
    }
    let most = tiers.iter().map(|tier| tier.rule.capacity()).chain([own.capacity()]).min();
    let most = most.unwrap_or(1);
    let cost = match options.integer("cost", 1..=most) {
        Err(error) => {
            return Err(error.suggest(format!(
                "a request that costs more than {most}, the smallest limit or burst, could never be admitted"
            )));
        }
        Ok(cost) => cost.unwrap_or(1),
    };
    Ok(Cost::Fixed(u32::try_from(cost).unwrap_or(u32::MAX)))
}

pub(super) fn key(options: &Options<'_>) -> Result<KeySpec, ConfigError> {
    const PARTS: &[(&str, KeyPart)] = &[
        ("ip", KeyPart::Ip),
        ("user", KeyPart::User),
        ("token", KeyPart::Token),
        ("route", KeyPart::Route),
    ];
    let words: Vec<&str> = PARTS.iter().map(|(word, _)| *word).collect();
    match options.get("key") {
        None => return Ok(KeySpec::Parts(vec![KeyPart::Ip])),
        Some(value) if is_function(value) => return Ok(KeySpec::Function),
        Some(Value::Array(_)) => {}
        Some(_) => {
            let part = options.one_of("key", PARTS).map_err(|error| {
                error.suggest(format!(
                    "write {}, a function that returns a string, or a list of these",
                    quoted(&words)
                ))
            })?;
            return Ok(KeySpec::Parts(part.into_iter().collect()));
        }
    }
    let items = options.list("key")?.unwrap_or_default();
    if items.is_empty() {
        return Err(options
            .invalid("key", "must not be an empty list: everybody would share one count")
            .suggest(format!("write one or more of {}", quoted(&words))));
    }
    let mut parts = Vec::with_capacity(items.len());
    for (i, item) in items.iter().enumerate() {
        let at = format!("{}[{i}]", options.path_of("key"));
        if is_function(item) {
            parts.push(KeyPart::Custom);
            continue;
        }
        let word = string_at(&at, item)?;
        let Some((_, part)) = PARTS.iter().find(|(name, _)| *name == word) else {
            let problem = format!("must be one of {}, or a function", quoted(&words));
            return Err(ConfigError::invalid(at, problem));
        };
        if parts.contains(part) {
            return Err(ConfigError::invalid(at, "is in the list already"));
        }
        parts.push(*part);
    }
    Ok(KeySpec::Parts(parts))
}

fn methods(options: &Options<'_>) -> Result<Vec<String>, ConfigError> {
    let Some(methods) = options.strings("methods")? else { return Ok(Vec::new()) };
    if methods.is_empty() {
        return Err(empty(options, "methods", "every method"));
    }
    let mut seen = BTreeSet::new();
    for (i, method) in methods.iter().enumerate() {
        let at = format!("{}[{i}]", options.path_of("methods"));
        // RFC 9110 section 9.1: a method is a token, and methods differ by case.
        let token = |b: u8| b.is_ascii_uppercase() || b == b'-';
        if method.is_empty() || method.len() > 32 || !method.bytes().all(token) {
            return Err(ConfigError::invalid(at, "must be a method in upper case")
                .suggest("write 'POST' rather than 'post'"));
        }
        if !seen.insert(*method) {
            return Err(ConfigError::invalid(at, "is in the list already"));
        }
    }
    Ok(methods.into_iter().map(str::to_owned).collect())
}

fn paths(options: &Options<'_>) -> Result<Vec<PathPattern>, ConfigError> {
    let Some(paths) = options.strings("paths")? else { return Ok(Vec::new()) };
    if paths.is_empty() {
        return Err(empty(options, "paths", "every path"));
    }
    paths
        .iter()
        .enumerate()
        .map(|(i, path)| {
            let at = format!("{}[{i}]", options.path_of("paths"));
            let error = |problem: &str| {
                ConfigError::invalid(at.as_str(), problem).suggest(
                    "write '/v1/login' for one path, or '/v1/*' for '/v1' and everything below it",
                )
            };
            if !path.starts_with('/') {
                return Err(error("must start with '/'"));
            }
            let base = path.strip_suffix("/*").unwrap_or(path);
            if base.contains(['*', ':', '?', '#', '(', ')', '{', '}']) {
                return Err(error("must be a plain path, with '*' as its last segment or nowhere"));
            }
            if !base.bytes().all(|b| b.is_ascii_graphic()) {
                return Err(error(
                    "must be written as it is sent: ASCII without spaces, the rest percent-encoded",
                ));
            }
            // Compared with the decoded path, so that every spelling that a router may accept is
            // counted.
            let segments = without_slash(base).split('/').skip(1);
            let sent = segments.map(|raw| sendable(raw).filter(|text| !text.is_empty()));
            let sent: Option<Vec<_>> = sent.collect();
            let sent = sent.ok_or_else(|| error("is a path that no request can have"))?;
            let decoded: String = sent.iter().flat_map(|text| ["/", text]).collect();
            if base.len() == path.len() {
                Ok(PathPattern::Exact(decoded))
            } else {
                Ok(PathPattern::Below(decoded))
            }
        })
        .collect()
}

fn empty(options: &Options<'_>, key: &str, all: &str) -> ConfigError {
    options
        .invalid(key, "must not be an empty list: the policy would be about nothing")
        .suggest(format!("leave it out for {all}"))
}
