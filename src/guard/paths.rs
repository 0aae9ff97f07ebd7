//! `paths`: where a path may have an encoded slash or an empty segment, which is 400 elsewhere.
//!
//! Node's routers keep both inside of the path as it was sent, and so do the layers: `%2F` never
//! splits a segment, and an empty segment is one. What a handler makes of the value is its affair:
//! a file server, or a proxy to another server, may decode once more or merge slashes. So whatever
//! leads out of the listed part of the tree stays refused there: dot segments in any spelling, a
//! segment that begins with an encoded slash, and slashes and dots that are encoded twice.

use serde_json::Value;

use super::path_pattern::{Advice, PathPattern};
use crate::config::options::{Options, string_at};
use crate::error::ConfigError;
use crate::request::{PathForms, Request};

/// The most entries of a list: every request is compared with all of them.
const MAX_ENTRIES: usize = 100;

/// The option `paths`, checked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct PathRules {
    encoded_slashes: Vec<PathPattern>,
    empty_segments: Vec<PathPattern>,
}

impl PathRules {
    /// Reads the user's value at `paths`.
    ///
    /// # Errors
    /// A list that is empty or too long, an entry that does not end in `/*`, and one that another
    /// one makes useless.
    pub(crate) fn parse(options: &Options<'_>) -> Result<Self, ConfigError> {
        let Some(value) = options.get("paths") else { return Ok(Self::default()) };
        let path = options.path_of("paths");
        let rules = Options::read(&path, value, &["encodedSlashes", "emptySegments"])?;
        if !rules.has("encodedSlashes") && !rules.has("emptySegments") {
            return Err(ConfigError::invalid(path, "allows nothing")
                .suggest("write `paths: { encodedSlashes: ['/files/*'] }`, or leave it out"));
        }
        Ok(Self {
            encoded_slashes: list(&rules, "encodedSlashes")?,
            empty_segments: list(&rules, "emptySegments")?,
        })
    }

    /// The forms that the path of `request` may have.
    pub(crate) fn forms(&self, request: &Request) -> PathForms {
        let (method, path) = (request.method(), request.raw_path());
        let is_in =
            |list: &[PathPattern]| list.iter().any(|pattern| pattern.includes(method, path));
        PathForms {
            encoded_slashes: is_in(&self.encoded_slashes),
            empty_segments: is_in(&self.empty_segments),
        }
    }
}

fn list(options: &Options<'_>, key: &str) -> Result<Vec<PathPattern>, ConfigError> {
    let Some(items) = options.list(key)? else { return Ok(Vec::new()) };
    let list = options.path_of(key);
    if items.is_empty() || items.len() > MAX_ENTRIES {
        let problem = format!("must have 1 to {MAX_ENTRIES} entries");
        return Err(ConfigError::invalid(list, problem)
            .suggest("leave it out if no path has such segments"));
    }
    let mut patterns: Vec<PathPattern> = Vec::with_capacity(items.len());
    for (i, item) in items.iter().enumerate() {
        let at = format!("{list}[{i}]");
        let pattern = entry(&at, item)?;
        let same = |other: &PathPattern| other.covers(&pattern) || pattern.covers(other);
        if let Some(other) = patterns.iter().position(same) {
            let problem = format!("overlaps with `{list}[{other}]`");
            return Err(ConfigError::invalid(at, problem).suggest("leave out the narrower one"));
        }
        patterns.push(pattern);
    }
    Ok(patterns)
}

fn entry(at: &str, item: &Value) -> Result<PathPattern, ConfigError> {
    let pattern = PathPattern::parse(at, string_at(at, item)?, ADVICE)?;
    if !pattern.is_below() {
        return Err(ConfigError::invalid(at, "must end in '/*': it is about the segments below")
            .suggest(ADVICE.example));
    }
    Ok(pattern)
}

const ADVICE: Advice = Advice {
    example: "write '/files/*' for all below '/files', or 'GET /files/*' for one method of it",
    everything: (
        "would allow them in every path",
        "name the routes whose parameters have them, such as '/files/*'",
    ),
};

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(paths: &Value) -> Result<PathRules, ConfigError> {
        let config = json!({ "paths": paths });
        PathRules::parse(&Options::read("", &config, &["paths"])?)
    }

    #[test]
    fn an_entry_is_about_the_segments_below_a_path_as_it_is_written() {
        parse(&json!({ "encodedSlashes": ["/files/*", "GET /a/b/*"] })).unwrap();
        parse(&json!({ "emptySegments": ["/proxy/*"], "encodedSlashes": ["/proxy/*"] })).unwrap();
        for (paths, part) in [
            (json!({}), "paths"),
            (json!([]), "paths"),
            (json!({ "encodedSlash": ["/a/*"] }), "encodedSlashes"),
            (json!({ "encodedSlashes": [] }), "1 to 100"),
            (json!({ "encodedSlashes": "/a/*" }), "must be a list"),
            (json!({ "encodedSlashes": ["/a"] }), "must end in"),
            (json!({ "encodedSlashes": ["/*"] }), "every path"),
            (json!({ "encodedSlashes": ["/:a/*"] }), "plain path"),
            (json!({ "encodedSlashes": ["/a%2Fb/*"] }), "no request can have"),
            (json!({ "emptySegments": ["/a//*"] }), "paths.emptySegments[0]"),
            (json!({ "emptySegments": ["/a/../*"] }), "paths.emptySegments[0]"),
            (json!({ "emptySegments": ["/a/*", "GET /a/b/*"] }), "paths.emptySegments[1]"),
            (json!({ "emptySegments": ["GET /a/b/*", "/a/*"] }), "overlaps"),
            (json!({ "emptySegments": [{ "path": "/a/*" }] }), "must be a string"),
        ] {
            let error = parse(&paths).expect_err(&paths.to_string()).to_string();
            assert!(error.contains(part), "{paths}: {error}");
        }
    }
}
