//! `Cache-Control` (RFC 9111 section 5.2.2). It is checked, since a cache ignores an unknown
//! directive.

use crate::config::options::did_you_mean;
use crate::error::{ConfigCode, ConfigError};

const PLAIN: [&str; 9] = [
    "immutable",
    "must-revalidate",
    "must-understand",
    "no-cache",
    "no-store",
    "no-transform",
    "private",
    "proxy-revalidate",
    "public",
];
const SECONDS: [&str; 4] = ["max-age", "s-maxage", "stale-if-error", "stale-while-revalidate"];

/// Checks a value of the option `cacheControl` and returns it in canonical spelling: `no-store`,
/// `private, max-age=60`.
pub(super) fn parse(path: &str, text: &str) -> Result<String, ConfigError> {
    let mut directives: Vec<String> = Vec::new();
    for part in text.split(',') {
        let part = part.trim_matches(' ').to_ascii_lowercase();
        let (name, seconds) = match part.split_once('=') {
            Some((name, seconds)) => (name, Some(seconds)),
            None => (part.as_str(), None),
        };
        judge(path, name, seconds)?;
        let names = |directive: &String| directive.split('=').next() == Some(name);
        if directives.iter().any(names) {
            return Err(conflict(path, "has a directive twice").suggest("leave out one of the two"));
        }
        directives.push(part);
    }
    let has = |name: &str| directives.iter().any(|one| one.split('=').next() == Some(name));
    if has("no-store")
        && ["public", "immutable", "max-age", "s-maxage"].iter().any(|name| has(name))
    {
        return Err(conflict(
            path,
            "must not have no-store beside a directive that allows storing",
        )
        .suggest("write 'no-store' alone"));
    }
    if has("private") && (has("public") || has("s-maxage")) {
        return Err(conflict(path, "must not have private beside a directive for shared caches")
            .suggest("write 'private, max-age=60', or leave out private"));
    }
    Ok(directives.join(", "))
}

fn judge(path: &str, name: &str, seconds: Option<&str>) -> Result<(), ConfigError> {
    let error = |problem: &str| ConfigError::invalid(path, problem);
    let example = "write a value such as 'no-store' or 'private, max-age=60'";
    if PLAIN.contains(&name) {
        return match seconds {
            None => Ok(()),
            Some(_) => Err(error("gives a value to a directive that has none").suggest(example)),
        };
    }
    if SECONDS.contains(&name) {
        let whole = seconds.is_some_and(|seconds| {
            (1..=10).contains(&seconds.len()) && seconds.bytes().all(|byte| byte.is_ascii_digit())
        });
        return if whole {
            Ok(())
        } else {
            Err(error("must have whole seconds after max-age, s-maxage and stale-")
                .suggest(example))
        };
    }
    if name.is_empty() {
        return Err(error("must not be empty, nor have an empty part").suggest(example));
    }
    let known: Vec<&str> = PLAIN.iter().chain(&SECONDS).copied().collect();
    Err(error("has a directive that caches don't know").suggest(did_you_mean(name, &known)))
}

fn conflict(path: &str, problem: &str) -> ConfigError {
    ConfigError::new(ConfigCode::ConflictingOptions, path, problem)
}
