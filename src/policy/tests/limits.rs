//! Policies and inputs that want too much.

use super::super::{FaultKind, InputParts};
use super::*;

fn fault(rule: &str, input: &Json) -> FaultKind {
    let set = rules(rule).unwrap_or_else(|error| panic!("{rule}: {error}"));
    match ask_json(&set, input) {
        Outcome::Fault { kind, .. } => kind,
        other => panic!("{rule}: {other:?}"),
    }
}

#[test]
fn loops_without_end_are_stopped() {
    let xs = json!({ "xs": (0..200).collect::<Vec<u32>>() });
    for rule in [
        "allow if { some a in input.xs; some b in input.xs; some c in input.xs; some d in input.xs; a + b + c + d < 0 }",
        "allow if count([1 | some a in input.xs; some b in input.xs; some c in input.xs; some d in input.xs]) == 1",
        "allow if not busy\nbusy if { a = input.xs[_]; b = input.xs[_]; c = input.xs[_]; d = input.xs[_]; a + b + c + d < 0 }",
        "allow if every a in input.xs { every b in input.xs { every c in input.xs { every d in input.xs { a + b + c + d >= 0 } } } }",
        "allow if not f(1)\nf(x) if { some a in input.xs; some b in input.xs; some c in input.xs; some d in input.xs; a + b + c + d < x - 1 }",
        "n := numbers.range(1, 50000)\nallow if { some a in n; some b in n; a + b < 0 }",
    ] {
        assert_eq!(fault(rule, &xs), FaultKind::TimeLimit, "{rule}");
    }
}

#[test]
fn functions_that_would_run_past_the_limit_are_bounded() {
    for (rule, input) in [
        ("allow if count(numbers.range(1, input.n)) > 0", json!({ "n": 3_000_000 })),
        ("allow if count(numbers.range(input.n, 1)) > 0", json!({ "n": -3_000_000 })),
        ("allow if count(numbers.range_step(1, input.n, 2)) > 0", json!({ "n": 3_000_000 })),
        ("allow if count(numbers.range_step(1, 10, input.n)) > 0", json!({ "n": 0 })),
        ("allow if bits.lsh(1, input.n) > 0", json!({ "n": 2_000_000 })),
        ("allow if sprintf(input.f, [1]) != \"\"", json!({ "f": "%099999999d" })),
        ("allow if sprintf(input.f, [1]) != \"\"", json!({ "f": "%.99999f" })),
        ("allow if sprintf(input.f, [1]) != \"\"", json!({ "f": "%²d" })),
        ("allow if count(net.cidr_expand(input.n)) > 0", json!({ "n": "10.0.0.0/8" })),
        ("allow if count(net.cidr_expand(input.n)) > 0", json!({ "n": "::/0" })),
        (
            "allow if replace(input.a, \"a\", input.b) != \"\"",
            json!({ "a": "a".repeat(20_000), "b": "b".repeat(20_000) }),
        ),
        (
            "allow if replace(input.a, \"\", input.b) != \"\"",
            json!({ "a": "a".repeat(20_000), "b": "b".repeat(20_000) }),
        ),
        (
            "allow if regex.replace(input.a, \"a\", input.b) != \"\"",
            json!({ "a": "a".repeat(20_000), "b": "b".repeat(20_000) }),
        ),
        (
            "allow if concat(input.a, numbers.range(1, 90000)) != \"\"",
            json!({ "a": "a".repeat(20_000) }),
        ),
        (
            "allow if strings.replace_n(input.p, input.a) != \"\"",
            json!({ "a": "a".repeat(1_000), "p": { "a": "b".repeat(1_000), "b": "c".repeat(1_000), "c": "d".repeat(1_000) } }),
        ),
        ("allow if units.parse(input.n) > 0", json!({ "n": "1e999999999" })),
        ("allow if to_number(input.n) > 0", json!({ "n": "1e999999999" })),
        (
            "x := concat(\"\", [input.a, input.a, input.a, input.a])\ny := concat(\"\", [x, x, x, x, x, x])\nz := concat(\"\", [y, y, y, y, y, y])\nallow if z",
            json!({ "a": "a".repeat(10_000) }),
        ),
        (
            "allow if strings.any_prefix_match(numbers.range(1, 50000), numbers.range(1, 50000))",
            json!({}),
        ),
    ] {
        assert_eq!(fault(rule, &input), FaultKind::Evaluation, "{rule}");
    }
}

#[test]
fn bounded_functions_still_work() {
    let set = rules(
        r#"
        allow if {
            numbers.range(1, 3) == [1, 2, 3]
            numbers.range_step(1, 5, 2) == [1, 3, 5]
            bits.lsh(1, 10) == 1024
            sprintf("%s-%03d-%v-%%", ["a", 7, [1]]) == "a-007-[1]-%"
            count(net.cidr_expand("10.0.0.0/30")) == 4
            replace("a.b.c", ".", "/") == "a/b/c"
            regex.replace("a1b22", "[0-9]+", "-") == "a-b-"
            concat(",", ["a", "b"]) == "a,b"
            concat(",", {"a", "b"}) == "a,b"
            strings.replace_n({"<": "&lt;", ">": "&gt;"}, "<b>") == "&lt;b&gt;"
            strings.count("cheese", "e") == 3
            strings.count("héé", "") == 4
            strings.any_prefix_match(["/api/x"], ["/api", "/v1"])
            array.concat([1], [2]) == [1, 2]
            units.parse("10K") == 10000
            units.parse_bytes("1Mi") == 1048576
            to_number("1.5e3") == 1500
            numbers.range(1, 2, out)
            out == [1, 2]
        }
        "#,
    )
    .unwrap();
    let outcome = ask_json(&set, &json!({}));
    assert!(outcome.is_allowed(), "{outcome:?}");
}

#[test]
fn counting_an_empty_text_does_not_panic() {
    let set = rules("allow if strings.count(input.a, input.b) == 4").unwrap();
    assert!(ask_json(&set, &json!({ "a": "abc", "b": "" })).is_allowed());
    assert!(!ask_json(&set, &json!({ "a": "", "b": "" })).is_allowed());
}

#[test]
fn after_a_fault_the_next_request_is_judged_as_ever() {
    let set = rules("allow if input.ok\nallow if { some a in input.xs; some b in input.xs; some c in input.xs; some d in input.xs; a + b + c + d < 0 }").unwrap();
    let hostile = json!({ "xs": (0..200).collect::<Vec<u32>>() });
    for _ in 0..3 {
        assert!(ask_json(&set, &json!({ "xs": [], "ok": true })).is_allowed());
        assert!(matches!(
            ask_json(&set, &hostile),
            Outcome::Fault { kind: FaultKind::TimeLimit, .. }
        ));
        assert!(!ask_json(&set, &json!({ "xs": [] })).is_allowed());
    }
}

#[test]
fn an_input_that_is_too_large_or_too_deep_denies() {
    let set = rules("allow if not input.body.blocked").unwrap();
    let ask_body =
        |body: &Json| ask(&set, &InputParts { body: Some(body), ..InputParts::default() });
    assert!(ask_body(&json!({})).is_allowed());
    assert!(matches!(ask_body(&json!("x".repeat(70_000))), Outcome::Deny { .. }));
    assert!(matches!(ask_body(&json!(vec![""; 40_000])), Outcome::Deny { .. }));
    let deep = |levels: usize| (0..levels).fold(json!(1), |inner, _| json!([inner]));
    assert!(ask_body(&deep(32)).is_allowed());
    assert!(matches!(ask_body(&deep(33)), Outcome::Deny { .. }));
}

#[test]
fn what_the_policy_does_not_read_does_not_count() {
    let body = json!("x".repeat(200_000));
    let parts = InputParts { method: "GET", body: Some(&body), ..InputParts::default() };
    assert!(ask(&rules("allow if input.method == \"GET\"").unwrap(), &parts).is_allowed());
}

#[test]
fn print_and_trace_change_nothing() {
    let set =
        rules("allow if { print(\"secret\", input.x); trace(\"secret\"); input.x == 1 }").unwrap();
    for _ in 0..3 {
        assert!(ask_json(&set, &json!({ "x": 1 })).is_allowed());
        assert!(!ask_json(&set, &json!({ "x": 2 })).is_allowed());
    }
}
