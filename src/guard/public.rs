//! `public`: paths that need no identity, and by entry no limit.
//!
//! A limit matches as widely as any router does: a spelling that it misses would be unlimited.
//! An exemption is the other way round: see `path_pattern.rs`.

use serde_json::Value;

use super::path_pattern::{Advice, PathPattern};
use crate::config::options::{Options, describe};
use crate::error::{ConfigCode, ConfigError};
use crate::request::Request;

/// The most entries of the list: every request is compared with all of them.
const MAX_ENTRIES: usize = 100;

/// The option `public`, checked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct PublicPaths(Vec<Entry>);

/// What a request is exempt from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Exemption {
    /// It needs no identity.
    pub(crate) identity: bool,
    /// The limits of the guard are not for it.
    pub(crate) limits: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    pattern: PathPattern,
    /// Whether it has no limits.
    unlimited: bool,
}

impl PublicPaths {
    /// Reads the user's value at `path`. `has_identity`: whether the guard has a source of
    /// identities.
    ///
    /// # Errors
    /// A text that is no path, a spelling that no request can have, a pattern that opens
    /// everything, and an entry that another one makes useless.
    pub(crate) fn parse(options: &Options<'_>, has_identity: bool) -> Result<Self, ConfigError> {
        let Some(items) = options.list("public")? else { return Ok(Self::default()) };
        let list = options.path_of("public");
        if items.is_empty() || items.len() > MAX_ENTRIES {
            let problem = format!("must have 1 to {MAX_ENTRIES} entries");
            return Err(ConfigError::invalid(list, problem)
                .suggest("leave it out if every path needs an identity"));
        }
        let mut entries: Vec<Entry> = Vec::with_capacity(items.len());
        for (i, item) in items.iter().enumerate() {
            let at = format!("{list}[{i}]");
            let entry = Entry::parse(&at, item)?;
            if !has_identity && !entry.unlimited {
                let why =
                    "needs no identity anyway: the guard has no `jwt`, `apiKeys` or `identify`";
                return Err(ConfigError::new(ConfigCode::ConflictingOptions, at, why)
                    .suggest("leave it out, or write `limits: false` to free it from limits"));
            }
            let covers = |(_, other): &(usize, &Entry)| other.covers(&entry);
            if let Some((other, _)) = entries.iter().enumerate().find(covers) {
                let problem = format!("adds nothing: `{list}[{other}]` covers it");
                return Err(ConfigError::invalid(at, problem).suggest("leave one of them out"));
            }
            if let Some(other) = entries.iter().position(|other| entry.covers(other)) {
                let problem = format!("covers `{list}[{other}]`, which then adds nothing");
                return Err(ConfigError::invalid(at, problem).suggest("leave one of them out"));
            }
            entries.push(entry);
        }
        Ok(Self(entries))
    }

    /// The exemption of a request whose path is canonical. Every entry that fits counts, whatever
    /// their order.
    pub(crate) fn exemption(&self, request: &Request) -> Exemption {
        self.look_up(request.method(), request.raw_path())
    }

    fn look_up(&self, method: &str, path: &str) -> Exemption {
        let mut found = Exemption::default();
        for entry in self.0.iter().filter(|entry| entry.includes(method, path)) {
            found.identity = true;
            found.limits |= entry.unlimited;
        }
        found
    }
}

impl Entry {
    fn parse(at: &str, value: &Value) -> Result<Self, ConfigError> {
        let (text, unlimited, at) = match value {
            Value::String(text) => (text.as_str(), false, at.to_owned()),
            Value::Object(_) => {
                let options = Options::read(at, value, &["path", "limits"])?;
                options.require("path", "it is what the entry is about")?;
                let unlimited = match options.bool("limits")? {
                    Some(true) => {
                        return Err(options
                            .invalid("limits", "is either false or left out")
                            .suggest("leave it out: the limits hold for a public path"));
                    }
                    found => found.is_some(),
                };
                (options.string("path")?.unwrap_or_default(), unlimited, options.path_of("path"))
            }
            other => {
                let problem = format!("must be a path, not {}", describe(other));
                return Err(ConfigError::invalid(at, problem).suggest(EXAMPLE));
            }
        };
        Ok(Self { pattern: PathPattern::parse(&at, text, ADVICE)?, unlimited })
    }

    fn includes(&self, method: &str, path: &str) -> bool {
        self.pattern.includes(method, path)
    }

    /// Whether each request that `other` is about gets from this entry all that `other` gives.
    fn covers(&self, other: &Self) -> bool {
        self.pattern.covers(&other.pattern) && (self.unlimited || !other.unlimited)
    }
}

const ADVICE: Advice = Advice {
    example: EXAMPLE,
    everything: (
        "would make every path public",
        "name the paths, or write `authenticate: { optional: true }` to require no identity",
    ),
};

const EXAMPLE: &str = "write '/health' for one path, 'POST /v1/login' for one method of it, '/docs/*' \
     for '/docs' and everything below it, or { path: '/health', limits: false }";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn parse(list: &Value) -> Result<PublicPaths, ConfigError> {
        let config = json!({ "public": list });
        PublicPaths::parse(&Options::read("", &config, &["public"]).unwrap(), true)
    }

    fn is_public(list: &Value, method: &str, path: &str) -> bool {
        parse(list).unwrap().look_up(method, path).identity
    }

    #[test]
    fn a_path_is_public_as_it_is_written_and_in_no_other_spelling() {
        let list = json!(["/health", "POST /v1/login", "/docs/*"]);
        for (method, path) in [
            ("GET", "/health"),
            ("PUT", "/health"),
            ("POST", "/v1/login"),
            ("GET", "/docs"),
            ("GET", "/docs/"),
            ("GET", "/docs/a/b.css"),
        ] {
            assert!(is_public(&list, method, path), "{method} {path}");
        }
        for (method, path) in [
            ("GET", "/health/"),
            ("GET", "/Health"),
            ("GET", "/healthy"),
            ("GET", "/health/x"),
            ("GET", "/health;x"),
            ("GET", "/health%20"),
            ("GET", "/v1/login"),
            ("post", "/v1/login"),
            ("GET", "/docsets"),
            ("GET", "/Docs/a"),
            ("GET", "/x/docs/a"),
            ("GET", "/"),
            ("OPTIONS", "*"),
        ] {
            assert!(!is_public(&list, method, path), "{method} {path}");
        }
    }

    #[test]
    fn an_encoded_spelling_of_a_public_path_is_another_path() {
        assert!(!is_public(&json!(["/a.json"]), "GET", "/a%2Ejson"));
        assert!(is_public(&json!(["/%C3%A9"]), "GET", "/%C3%A9"));
        assert!(!is_public(&json!(["/%C3%A9"]), "GET", "/%c3%a9"));
    }

    #[test]
    fn head_goes_with_get_and_not_the_other_way() {
        assert!(is_public(&json!(["GET /a"]), "HEAD", "/a"));
        assert!(!is_public(&json!(["HEAD /a"]), "GET", "/a"));
    }

    #[test]
    fn an_entry_frees_its_own_paths_alone_from_limits() {
        let list = json!(["/docs/*", { "path": "GET /docs/live", "limits": false }]);
        let paths = parse(&list).unwrap();
        let both = |method| {
            let found = paths.look_up(method, "/docs/live");
            (found.identity, found.limits)
        };
        assert_eq!((both("GET"), both("POST")), ((true, true), (true, false)));
    }

    #[test]
    fn an_entry_that_no_request_can_have_or_that_opens_too_much_is_refused() {
        for entry in [
            "",
            "health",
            "*",
            "/*",
            "GET /*",
            "/health*",
            "/*/health",
            "/a/**",
            "/users/:id",
            "/users/{id}",
            "/(a|b)",
            "/a?b=1",
            "/a#b",
            "/health/",
            "/docs//*",
            "//health",
            "/a//b",
            "/./a",
            "/a/../b",
            "/%2e%2e/a",
            "/%61dmin",
            "/a%2fb",
            "/a%5cb",
            "/a\\b",
            "/é",
            "/a b",
            "get /a",
            "GET  /a",
            " /a",
            "GET",
            "https://a.example/health",
            "/a%",
            "/a%00",
        ] {
            let error = parse(&json!([entry])).expect_err(entry).to_string();
            assert!(error.contains("public[0]"), "{error}");
        }
        for entry in [json!(1), json!(null), json!(["/a"]), json!({}), json!({ "limits": false })] {
            assert!(parse(&json!([entry])).is_err(), "{entry}");
        }
        for list in [json!([]), json!("/a"), json!({ "path": "/a" }), json!(vec!["/a"; 101])] {
            assert!(parse(&list).is_err(), "{list}");
        }
        assert!(parse(&json!([{ "path": "/a", "limits": true }])).is_err());
        assert!(parse(&json!([{ "path": "/a", "limit": false }])).is_err());
    }

    #[test]
    fn an_entry_that_another_makes_useless_is_refused_in_either_order() {
        let free = |path: &str| json!({ "path": path, "limits": false });
        for [wide, narrow] in [
            [json!("/a"), json!("/a")],
            [json!("/a"), json!("GET /a")],
            [json!("GET /a"), json!("HEAD /a")],
            [json!("/a/*"), json!("/a")],
            [json!("/a/*"), json!("/a/b/*")],
            [free("/a/*"), json!("POST /a/b")],
            [free("/a"), json!("/a")],
        ] {
            let text = parse(&json!([wide, narrow])).unwrap_err().to_string();
            assert!(text.contains("adds nothing"), "{text}");
            let text = parse(&json!([narrow, wide])).unwrap_err().to_string();
            assert!(text.contains("adds nothing"), "{text}");
        }
        for [one, other] in [
            [json!("GET /a"), json!("POST /a")],
            [json!("/a/*"), json!("/ab")],
            [json!("/a"), free("GET /a")],
        ] {
            parse(&json!([one, other])).unwrap();
        }
    }

    #[test]
    fn without_a_source_of_identities_only_limits_can_be_lifted() {
        let read = |list: Value| {
            let config = json!({ "public": list });
            PublicPaths::parse(&Options::read("", &config, &["public"]).unwrap(), false)
        };
        assert!(read(json!(["/a"])).is_err());
        read(json!([{ "path": "/a", "limits": false }])).unwrap();
    }

    proptest! {
        #[test]
        fn what_is_accepted_opens_the_written_path_or_below_it_and_nothing_else(
            entry in "(GET |POST |)(/[a-z.%*:/]{0,8}|/\\PC{0,6})", path in "/[a-z./*]{0,8}",
        ) {
            if let Ok(list) = parse(&json!([entry])) {
                let written = entry.split_once(' ').map_or(entry.as_str(), |(_, path)| path);
                let base = written.strip_suffix("/*");
                let wanted = path == base.unwrap_or(written)
                    || base.is_some_and(|base| path.starts_with(&format!("{base}/")));
                let opened = list.look_up("GET", &path).identity;
                prop_assert_eq!(opened, wanted && !entry.starts_with("POST "));
            }
        }
    }
}
