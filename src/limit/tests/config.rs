use proptest::prelude::*;
use serde_json::{Value, json};

use crate::error::{ConfigCode, ConfigError};
use crate::limit::{Cost, KeyPart, KeySpec, LimitPolicy, OnStoreFailure};

fn parse(value: &Value) -> Result<Vec<LimitPolicy>, ConfigError> {
    LimitPolicy::parse_all("rateLimit", value)
}

/// A policy with one more option.
fn with(key: &str, value: Value) -> Value {
    let mut policy = json!({ "name": "api", "limit": 100, "window": "60s" });
    policy[key] = value;
    policy
}

fn refused(value: &Value) -> (String, ConfigCode) {
    let error = parse(value).unwrap_err();
    assert!(!error.to_string().contains("hunter2"), "{error}");
    (error.path().to_owned(), error.code())
}

#[test]
fn the_shortest_policy_is_name_limit_and_window() {
    let policies = parse(&json!({ "name": "api", "limit": 100, "window": "60s" })).unwrap();
    let [policy] = policies.as_slice() else { panic!("one policy") };
    assert_eq!(policy.name(), "api");
    assert_eq!((policy.rule().limit(), policy.rule().window_us()), (100, 60_000_000));
    assert_eq!(policy.rule().capacity(), 100);
    assert_eq!(policy.cost(), Cost::Fixed(1));
    assert_eq!(policy.key(), &KeySpec::Parts(vec![KeyPart::Ip]));
}

#[test]
fn the_default_policy_is_what_one_would_write_for_it() {
    let written = parse(&json!({ "name": "default", "limit": 100, "window": "60s" })).unwrap();
    assert_eq!(written, [LimitPolicy::default_policy()]);
}

#[test]
fn every_option_is_read() {
    let policies = parse(&json!([
        {
            "name": "login", "limit": 5, "window": "15m", "algorithm": "token-bucket", "burst": 3, "cost": 2,
            "key": ["ip", "route"], "tiers": { "pro": { "limit": 50, "window": "1h", "burst": 50 } },
            "methods": ["POST"], "paths": ["/v1/login", "/v1/auth/*"],
        },
        { "name": "own", "limit": 1, "window": "400d", "key": "\0function", "cost": "\0function" },
    ]))
    .unwrap();
    assert_eq!(policies[0].key(), &KeySpec::Parts(vec![KeyPart::Ip, KeyPart::Route]));
    assert_eq!((policies[0].cost(), policies[0].rule().capacity()), (Cost::Fixed(2), 3));
    assert_eq!((policies[1].cost(), policies[1].key()), (Cost::Function, &KeySpec::Function));
}

#[test]
fn what_cannot_be_meant_is_refused_by_its_path() {
    use ConfigCode::{ConflictingOptions, InvalidOption, MissingOption, UnknownOption};
    for (value, path, code) in [
        (json!({ "limit": 1, "window": "1s" }), "rateLimit.name", MissingOption),
        (json!({ "name": "a", "window": "1s" }), "rateLimit.limit", MissingOption),
        (json!({ "name": "a", "limit": 1 }), "rateLimit.window", MissingOption),
        (with("windowMs", json!(1)), "rateLimit.windowMs", UnknownOption),
        (with("name", json!("hunter2\"x")), "rateLimit.name", InvalidOption),
        (with("name", json!("")), "rateLimit.name", InvalidOption),
        (with("name", json!("n".repeat(65))), "rateLimit.name", InvalidOption),
        (with("limit", json!(0)), "rateLimit.limit", InvalidOption),
        (with("limit", json!(-1)), "rateLimit.limit", InvalidOption),
        (with("limit", json!(1.5)), "rateLimit.limit", InvalidOption),
        (with("limit", json!("hunter2")), "rateLimit.limit", InvalidOption),
        (with("limit", json!(1_000_000_001)), "rateLimit.limit", InvalidOption),
        (with("window", json!("9ms")), "rateLimit.window", InvalidOption),
        (with("window", json!("401d")), "rateLimit.window", InvalidOption),
        (with("window", json!("hunter2")), "rateLimit.window", InvalidOption),
        (with("algorithm", json!("gcrb")), "rateLimit.algorithm", InvalidOption),
        (with("burst", json!(0)), "rateLimit.burst", InvalidOption),
        (with("burst", json!(1_000_000_000)), "rateLimit.burst", InvalidOption),
        (with("cost", json!(0)), "rateLimit.cost", InvalidOption),
        (with("cost", json!(101)), "rateLimit.cost", InvalidOption),
        (with("key", json!("hunter2")), "rateLimit.key", InvalidOption),
        (with("key", json!([])), "rateLimit.key", InvalidOption),
        (with("key", json!(["ip", "ip"])), "rateLimit.key[1]", InvalidOption),
        (with("key", json!(["ip", "hunter2"])), "rateLimit.key[1]", InvalidOption),
        (with("tiers", json!({})), "rateLimit.tiers", InvalidOption),
        (with("tiers", json!([])), "rateLimit.tiers", InvalidOption),
        (with("tiers", json!({ "pro": 5 })), "rateLimit.tiers.pro", InvalidOption),
        (with("tiers", json!({ "pro": {} })), "rateLimit.tiers.pro.limit", MissingOption),
        (
            with("tiers", json!({ "pro": { "limit": 0 } })),
            "rateLimit.tiers.pro.limit",
            InvalidOption,
        ),
        (
            with("tiers", json!({ "pro": { "limits": 1 } })),
            "rateLimit.tiers.pro.limits",
            UnknownOption,
        ),
        (with("methods", json!([])), "rateLimit.methods", InvalidOption),
        (with("methods", json!(["post"])), "rateLimit.methods[0]", InvalidOption),
        (with("methods", json!(["GET", "GET"])), "rateLimit.methods[1]", InvalidOption),
        (with("paths", json!([])), "rateLimit.paths", InvalidOption),
        (with("paths", json!(["v1"])), "rateLimit.paths[0]", InvalidOption),
        (with("paths", json!(["/a", "/v1/*/x"])), "rateLimit.paths[1]", InvalidOption),
        (with("paths", json!(["/users/:id"])), "rateLimit.paths[0]", InvalidOption),
        (with("paths", json!(["/a?b=c"])), "rateLimit.paths[0]", InvalidOption),
        (with("paths", json!(["/ü"])), "rateLimit.paths[0]", InvalidOption),
        // No request can have these paths, so the limit would never count.
        (with("paths", json!(["/%6Cogin"])), "rateLimit.paths[0]", InvalidOption),
        (with("paths", json!(["/a//b"])), "rateLimit.paths[0]", InvalidOption),
        (with("paths", json!(["/a/../b/*"])), "rateLimit.paths[0]", InvalidOption),
        (with("paths", json!(["/a%2Fb"])), "rateLimit.paths[0]", InvalidOption),
        (with("format", json!("draft-7")), "rateLimit.format", UnknownOption),
        (with("concurrent", json!(20)), "rateLimit.limit", ConflictingOptions),
        (with("count", json!("hunter2")), "rateLimit.count", InvalidOption),
        (with("count", json!(true)), "rateLimit.count", InvalidOption),
        (with("onExceed", json!("hunter2")), "rateLimit.onExceed", InvalidOption),
        (with("maxDelay", json!("1s")), "rateLimit.maxDelay", ConflictingOptions),
        (with("maxDelayed", json!(1)), "rateLimit.maxDelayed", ConflictingOptions),
        (with("onStoreFailure", json!("pass")), "rateLimit.onStoreFailure", InvalidOption),
        (with("exact", json!("yes")), "rateLimit.exact", InvalidOption),
        (json!([]), "rateLimit", InvalidOption),
        (
            json!([with("key", json!("ip")), with("key", json!("ip"))]),
            "rateLimit[1].name",
            InvalidOption,
        ),
        (json!([with("limit", json!(0))]), "rateLimit[0].limit", InvalidOption),
        (json!(100), "rateLimit", InvalidOption),
        (json!(vec![Value::Null; 17]), "rateLimit", InvalidOption),
    ] {
        assert_eq!(refused(&value), (path.to_owned(), code), "{value}");
    }
    for algorithm in ["fixed-window", "sliding-window"] {
        let mut value = with("burst", json!(5));
        value["algorithm"] = json!(algorithm);
        assert_eq!(refused(&value), ("rateLimit.burst".to_owned(), ConflictingOptions));
    }
    let mut value = with("burst", json!(5));
    value["tiers"] = json!({ "pro": { "limit": 1000 } });
    assert_eq!(refused(&value), ("rateLimit.tiers.pro.burst".to_owned(), MissingOption));
    let mut value = with("cost", json!(5));
    value["tiers"] = json!({ "free": { "limit": 4 } });
    assert_eq!(refused(&value), ("rateLimit.cost".to_owned(), InvalidOption));
}

#[test]
fn a_limit_of_zero_says_what_to_do_instead() {
    let text = parse(&with("limit", json!(0))).unwrap_err().to_string();
    assert_eq!(
        text,
        "`rateLimit.limit` must be 1 or more; to let nobody through, deny it in a policy rule or remove the route"
    );
}

#[test]
fn options_of_later_versions_say_that_they_are_not_there_yet() {
    let text = parse(&with("format", json!("draft-7"))).unwrap_err().to_string();
    assert_eq!(
        text,
        "`rateLimit.format` is not available yet; leave it out: the headers are those of draft 11"
    );
}

#[test]
fn what_waits_or_only_watches_is_refused_where_it_can_mean_nothing() {
    use ConfigCode::{ConflictingOptions, InvalidOption};
    for (more, path, code) in [
        (json!({ "algorithm": "fixed-window" }), "rateLimit.onExceed", ConflictingOptions),
        (json!({ "algorithm": "sliding-window" }), "rateLimit.onExceed", ConflictingOptions),
        (json!({ "maxDelay": "0s" }), "rateLimit.maxDelay", InvalidOption),
        (json!({ "maxDelay": "61s" }), "rateLimit.maxDelay", InvalidOption),
        (json!({ "maxDelayed": 0 }), "rateLimit.maxDelayed", InvalidOption),
        (json!({ "maxDelayed": 100_001 }), "rateLimit.maxDelayed", InvalidOption),
        (
            json!({ "onExceed": "shadow", "maxDelay": "1s" }),
            "rateLimit.maxDelay",
            ConflictingOptions,
        ),
        (
            json!({ "onExceed": "shadow", "onStoreFailure": "closed" }),
            "rateLimit.onStoreFailure",
            ConflictingOptions,
        ),
    ] {
        let mut value = with("onExceed", json!("delay"));
        for (key, given) in more.as_object().unwrap() {
            value[key] = given.clone();
        }
        assert_eq!(refused(&value), (path.to_owned(), code), "{value}");
    }
}

#[test]
fn a_limit_of_failures_is_closed_without_its_store_and_one_that_watches_never_is() {
    let closed = |more: Value| {
        let mut value = with("limit", json!(5));
        for (key, given) in more.as_object().unwrap() {
            value[key] = given.clone();
        }
        let policies = parse(&value).unwrap();
        (policies[0].on_failure == OnStoreFailure::Closed, policies[0].exact)
    };
    assert_eq!(closed(json!({})), (false, false));
    assert_eq!(closed(json!({ "count": "failed" })), (true, true));
    assert_eq!(closed(json!({ "count": "succeeded" })), (false, true));
    assert_eq!(closed(json!({ "count": "failed", "onStoreFailure": "local" })), (false, true));
    assert_eq!(closed(json!({ "onExceed": "delay" })), (false, true));
    assert_eq!(closed(json!({ "onExceed": "shadow", "count": "failed" })), (false, true));
    assert_eq!(closed(json!({ "onExceed": "shadow", "exact": true })), (false, true));
}

proptest! {
    #[test]
    fn any_value_of_any_option_is_read_or_refused(key in "[a-zA-Z]{1,12}", text in ".*", number: f64) {
        for value in [json!(text), json!(number), json!([text]), json!({ text.clone(): number }), Value::Null] {
            for key in [key.as_str(), "name", "limit", "window", "burst", "cost", "key", "tiers", "methods", "paths", "count", "onExceed"] {
                let _ = parse(&with(key, value.clone()));
            }
        }
    }
}
