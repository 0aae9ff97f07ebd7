use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::few::Few;

const NOW: Now = Now::at_unix_us(1_800_000_000_500_000);

fn parse(value: &Value) -> Result<RateLimitHeaders, ConfigError> {
    let config = json!({ "rateLimitHeaders": value });
    RateLimitHeaders::parse(&Options::read("", &config, &["rateLimitHeaders"])?)
}

/// A limit by name, size, window, remaining and reset.
type Shown = (&'static str, u64, Option<u64>, u64, u64);

fn outcome(allowed: bool, shown: &[(Shown, bool)]) -> Outcome<'static> {
    let mut states = Few::with_capacity(shown.len());
    for ((name, limit, window_s, remaining, reset_s), violated) in shown.iter().copied() {
        let (shadow, in_flight) = (name == "shadow", window_s.is_none());
        states.push(LimitState {
            name,
            limit,
            window_s,
            remaining,
            reset_s,
            violated,
            shadow,
            in_flight,
        });
    }
    let is_shown = states.iter().any(|state| !state.shadow);
    Outcome {
        allowed,
        rate_limit: if is_shown { "the list".to_owned() } else { String::new() },
        rate_limit_policy: Cow::Borrowed("the policies"),
        retry_after: None,
        states,
        delay_us: 0,
        delay_slots: Vec::new(),
        charges: Vec::new(),
        held: Vec::new(),
    }
}

fn written(option: &Value, mut outcome: Outcome<'_>) -> Vec<(&'static str, String)> {
    let mut fields = Vec::new();
    parse(option).unwrap().write(&mut outcome, NOW, &mut fields);
    fields.into_iter().map(|(name, value)| (name, value.into_owned())).collect()
}

const TWO: [(Shown, bool); 2] =
    [(("api", 100, Some(60), 42, 3), false), (("daily", 1000, Some(86_400), 7, 90), false)];

fn pairs(list: &[(&'static str, &str)]) -> Vec<(&'static str, String)> {
    list.iter().map(|(name, value)| (*name, (*value).to_owned())).collect()
}

#[test]
fn each_draft_is_written_in_its_own_syntax_and_the_old_ones_show_the_limit_that_is_hit_first() {
    let new = [("RateLimit-Policy", "the policies"), ("RateLimit", "the list")];
    let old = [
        ("X-RateLimit-Limit", "1000"),
        ("X-RateLimit-Remaining", "7"),
        ("X-RateLimit-Reset", "1800000090"),
    ];
    let policy = ("RateLimit-Policy", "100;w=60, 1000;w=86400");
    let seven = [policy, ("RateLimit", "limit=1000, remaining=7, reset=90")];
    let six = [
        policy,
        ("RateLimit-Limit", "1000"),
        ("RateLimit-Remaining", "7"),
        ("RateLimit-Reset", "90"),
    ];
    for (option, wanted) in [
        (json!("draft-8"), pairs(&new)),
        (json!(["draft-8", "x-ratelimit"]), pairs(&[new.as_slice(), &old].concat())),
        (json!("draft-7"), pairs(&seven)),
        (json!("draft-6"), pairs(&six)),
        (json!("x-ratelimit"), pairs(&old)),
        (json!(["x-ratelimit", "draft-6"]), pairs(&[six.as_slice(), &old].concat())),
        (json!(false), Vec::new()),
    ] {
        assert_eq!(written(&option, outcome(true, &TWO)), wanted, "{option}");
    }
}

#[test]
fn the_limit_that_refused_is_shown_though_another_has_less_left() {
    let mut shown = TWO;
    shown[0].1 = true;
    let limit = |allowed| written(&json!("x-ratelimit"), outcome(allowed, &shown))[0].1.clone();
    assert_eq!((limit(false), limit(true)), ("100".to_owned(), "1000".to_owned()));
}

#[test]
fn shadow_limits_are_not_shown_and_old_drafts_name_no_windows_that_they_cannot_write() {
    for option in ["draft-8", "draft-7", "draft-6", "x-ratelimit"] {
        let shadow = outcome(true, &[(("shadow", 5, Some(60), 0, 9), false)]);
        assert_eq!(written(&json!(option), shadow), Vec::new(), "{option}");
    }
    let shown = [(("shadow", 5, Some(60), 0, 9), true), (("reports", 20, None, 3, 0), false)];
    let reports = [("RateLimit", "limit=20, remaining=3, reset=0")];
    assert_eq!(written(&json!("draft-7"), outcome(true, &shown)), pairs(&reports));
}

#[test]
fn other_values_are_refused_and_two_of_a_kind_as_well() {
    for (value, part) in [
        (json!("draft-11"), "'draft-8' for drafts 8 to 11"),
        (json!("legacy"), "rateLimitHeaders"),
        (json!(true), "not a boolean"),
        (json!(null), "rateLimitHeaders"),
        (json!([]), "rateLimitHeaders: false"),
        (json!([false]), "rateLimitHeaders[0]"),
        (json!(["draft-6", "x-ratelimit", "x-ratelimit"]), "rateLimitHeaders[2]"),
        (json!(["draft-6", "draft-7"]), "rateLimitHeaders[1]"),
        (json!({ "0": "draft-6" }), "rateLimitHeaders"),
    ] {
        let error = parse(&value).expect_err(&value.to_string()).to_string();
        assert!(error.contains(part), "{value}: {error}");
    }
}

#[test]
fn pages_may_read_what_is_sent() {
    let readable = |value| parse(&value).unwrap().readable();
    assert_eq!(readable(json!("draft-7")), ["RateLimit"]);
    assert_eq!(readable(json!(["draft-6", "x-ratelimit"])), [SIX, LEGACY].concat());
    assert_eq!(readable(json!(false)), [""; 0]);
}

proptest! {
    #[test]
    fn no_limit_has_less_left_than_the_one_that_is_shown(
        states in proptest::collection::vec((1_u64.., any::<u64>(), any::<u64>(), any::<bool>()), 1..5),
        allowed: bool,
    ) {
        let shown: Vec<(Shown, bool)> = states
            .iter()
            .map(|(limit, remaining, reset, violated)| (("a", *limit, Some(1), *remaining, *reset), *violated))
            .collect();
        let fields = written(&json!("x-ratelimit"), outcome(allowed, &shown));
        let numbers: Vec<u64> = fields.iter().map(|(_, value)| value.parse().unwrap()).collect();
        let refused = |violated: bool| !allowed && violated;
        let any_refused = states.iter().any(|(.., violated)| refused(*violated));
        let least = states.iter().filter(|(.., violated)| !any_refused || refused(*violated)).map(|(_, left, ..)| *left).min();
        prop_assert_eq!(Some(numbers[1]), least);
        prop_assert!(states.iter().any(|(limit, left, ..)| [*limit, *left] == numbers[..2]));
    }
}
