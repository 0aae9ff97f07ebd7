//! Policies and inputs that exceed the limits.

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
fn patterns_and_texts_of_a_request_are_bounded() {
    let long = |text: &str, bytes: usize| text.repeat(bytes / text.len());
    let text = long("a", 30_000);
    for pattern in
        ["a", "a?", "[a-z]", "a|", "(", "*a", "?", "{", "a*", "(((a{1,8}){1,8}){1,8}){1,2}"]
    {
        let input = json!({ "p": long(pattern, 30_000), "a": text });
        for rule in [
            "allow if regex.is_valid(input.p)",
            "allow if regex.match(input.p, input.a)",
            "allow if count(regex.find_n(input.p, input.a, -1)) > 0",
            "allow if count(regex.find_all_string_submatch_n(input.p, input.a, -1)) > 0",
            "allow if count(regex.split(input.p, input.a)) > 0",
            "allow if regex.replace(input.a, input.p, \"b\") != \"\"",
            "allow if regex.template_match(input.p, input.a, \"<\", \">\")",
            "allow if glob.match(input.p, [\"/\"], input.a)",
        ] {
            assert_eq!(fault(rule, &input), FaultKind::Evaluation, "{rule} with {pattern}");
        }
    }
    // A short pattern is enough if the whole text is searched again for each match, or if the
    // matches have many groups.
    let quadratic = json!({ "p": ".*[^A-Z]|[A-Z]", "a": long("A", 30_000) });
    let groups = json!({ "p": format!("{}{}", "(".repeat(200), ")".repeat(200)), "a": text });
    for input in [&quadratic, &groups] {
        let rule = "allow if count(regex.find_all_string_submatch_n(input.p, input.a, -1)) > 0";
        assert_eq!(fault(rule, input), FaultKind::Evaluation);
    }
    for rule in [
        "allow if count(regex.find_n(input.p, input.a, -1)) > 0",
        "allow if count(regex.split(input.p, input.a)) > 0",
        "allow if regex.replace(input.a, input.p, \"b\") != \"\"",
    ] {
        assert_eq!(fault(rule, &quadratic), FaultKind::Evaluation, "{rule}");
    }
    let stars = json!({ "p": long("*a", 512), "a": text, "d": vec!["b"; 1_000] });
    assert_eq!(fault("allow if glob.match(input.p, [], input.a)", &stars), FaultKind::Evaluation);
    let rule = "allow if glob.match(\"*\", input.d, input.a)";
    assert_eq!(fault(rule, &stars), FaultKind::Evaluation);
}

#[test]
fn work_that_grows_with_the_square_of_a_request_is_bounded() {
    let text = "a".repeat(30_000);
    let many = |of: fn(usize) -> Json, count: usize| (0..count).map(of).collect::<Vec<Json>>();
    let copy = |_| json!({ "op": "copy", "from": "/x", "path": "/x/-" });
    for (rule, input) in [
        ("allow if trim(input.a, input.b) == \"\"", json!({ "a": text, "b": "é".repeat(8_000) })),
        (
            "allow if trim_left(input.a, input.b) == \"\"",
            json!({ "a": text, "b": "é".repeat(8_000) }),
        ),
        (
            "allow if trim_right(input.a, input.b) == \"\"",
            json!({ "a": text, "b": "é".repeat(8_000) }),
        ),
        ("allow if indexof(input.a, input.a) == 0", json!({ "a": text })),
        ("allow if count(indexof_n(input.a, input.a)) == 1", json!({ "a": text })),
        (
            "allow if object.union_n(input.a) != {}",
            json!({ "a": many(|i| json!({ i.to_string(): 1 }), 2_000) }),
        ),
        (
            "allow if union({ {x} | some x in input.a }) != {}",
            json!({ "a": many(|i| json!(i), 300) }),
        ),
        (
            "allow if intersection({ {x} | some x in input.a }) == {}",
            json!({ "a": many(|i| json!(i), 300) }),
        ),
        (
            "allow if object.subset(input.a, input.b)",
            json!({ "a": vec![1; 4_000], "b": vec![1; 2_000] }),
        ),
        (
            "allow if object.subset(input, {\"a\": input.b})",
            json!({ "a": vec![1; 4_000], "b": vec![1; 2_000] }),
        ),
        ("allow if json.patch({\"x\": [1]}, input.p) != {}", json!({ "p": many(copy, 25) })),
        ("allow if json.remove({}, [input.p]) == {}", json!({ "p": "a/".repeat(10_000) })),
        ("allow if json.filter({}, [input.p]) == {}", json!({ "p": vec!["a"; 10_000] })),
        (
            "allow if json.marshal_with_options(input.a, {\"pretty\": true, \"indent\": input.i}) != \"\"",
            json!({ "a": vec![1; 5_000], "i": " ".repeat(10_000) }),
        ),
        ("allow if product(input.a) > 0", json!({ "a": vec![u64::MAX; 2_000] })),
        (
            "allow if sprintf(input.f, input.a) != \"\"",
            json!({ "f": "%999d".repeat(3_000), "a": vec![1; 3_000] }),
        ),
        (
            "allow if count([p | walk(input.a, [p, _])]) > 0",
            json!({ "a": (0..28).fold(json!(vec![1; 6_000]), |inner, _| json!([inner])) }),
        ),
    ] {
        // Where other work takes the processor, the clock may end an evaluation first.
        let is_refused = (0..5).any(|_| fault(rule, &input) == FaultKind::Evaluation);
        assert!(is_refused, "{rule}");
    }
}

#[test]
fn a_pattern_in_the_policy_is_judged_when_it_loads() {
    for rule in [
        "allow if regex.match(`(`, input.a)".to_owned(),
        "allow if regex.match(\"\\\\w{5000}\", input.a)".to_owned(),
        "allow if regex.replace(input.a, `[`, \"\") == \"\"".to_owned(),
        "allow if glob.match(\"{a\", [], input.a)".to_owned(),
        format!("allow if glob.match(\"{}\", [], input.a)", "*a".repeat(100)),
    ] {
        let error = rules(&rule).unwrap_err().to_string();
        assert!(
            error.contains("t.rego:4:") && error.contains("match`")
                || error.contains("replace`")
                || error.contains("split`"),
            "{error}"
        );
    }
}

#[test]
fn a_function_on_the_texts_of_a_client_does_not_panic() {
    let set = rules(
        r#"
        allow if object.subset(input.list, input.part)
        allow if regex.template_match(input.template, input.text, "{", "}")
        "#,
    )
    .unwrap();
    for (input, allowed) in [
        (json!({ "list": [1, 2], "part": [] }), true),
        (json!({ "list": [1, 2, 3], "part": [2, 3] }), true),
        (json!({ "list": [1, 2, 3], "part": [3, 2] }), false),
        (json!({ "list": [1], "part": [1, 2] }), false),
        (json!({ "list": { "a": { "b": [1, 2] }, "c": 1 }, "part": { "a": { "b": [2] } } }), true),
        (json!({ "list": { "a": 1 }, "part": { "b": 1 } }), false),
        (json!({ "template": "urn:foo:{.*}", "text": "urn" }), false),
        (json!({ "template": "urn:foo:{.*}", "text": "urn:foo:bar:baz" }), true),
        (json!({ "template": "urn:foo:{[0-9]{3}}.x", "text": "urn:foo:123.x" }), true),
        (json!({ "template": "urn:foo:{[0-9]{3}}.x", "text": "urn:foo:123yx" }), false),
        (json!({ "template": "é{.*}", "text": "aé" }), false),
        (json!({ "template": "a{b|c}d", "text": "abd" }), true),
        (json!({ "template": "a{b|c}d", "text": "ab" }), false),
    ] {
        let outcome = ask_json(&set, &input);
        assert_eq!(outcome.is_allowed(), allowed, "{input}: {outcome:?}");
        assert!(matches!(outcome, Outcome::Allow { .. } | Outcome::Deny { .. }), "{outcome:?}");
    }
    for template in ["{a", "a}", "{a}}"] {
        let input = json!({ "template": template, "text": "a" });
        assert!(matches!(
            ask_json(&set, &input),
            Outcome::Fault { kind: FaultKind::Evaluation, .. }
        ));
    }
}

#[test]
fn a_quoted_glob_matches_itself_alone() {
    let set = rules(
        "allow if glob.match(concat(\"\", [\"user:\", glob.quote_meta(input.name)]), [\":\"], input.text)",
    )
    .unwrap();
    for name in ["*", "?", "[a-z]", "{ann,bob}", "a*b", "ann"] {
        let ask = |text: &str| ask_json(&set, &json!({ "name": name, "text": text })).is_allowed();
        assert!(ask(&format!("user:{name}")), "{name}");
        assert_eq!(ask("user:ann"), name == "ann", "{name}");
        assert!(!ask("user:b"), "{name}");
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
            regex.match("^/users/[0-9]+$", "/users/12")
            regex.split(`,\s*`, "a, b") == ["a", "b"]
            regex.find_n("[0-9]", "1a2", -1) == ["1", "2"]
            regex.find_all_string_submatch_n("(a)(b)", "ab", -1) == [["ab", "a", "b"]]
            not regex.is_valid("(")
            glob.match("/users/*/posts", ["/"], "/users/ann/posts")
            indexof("abc", "c") == 2
            trim("..a..", ".") == "a"
            object.union_n([{"a": 1}, {"b": 2}]) == {"a": 1, "b": 2}
            union({{1}, {2}}) == {1, 2}
            json.patch({"a": 1}, [{"op": "copy", "from": "/a", "path": "/b"}]) == {"a": 1, "b": 1}
            json.remove({"a": {"b": 1}}, ["a/b"]) == {"a": {}}
            json.filter({"a": {"b": 1}, "c": 1}, ["a/b"]) == {"a": {"b": 1}}
            product([2, 3]) == 6
            {p | walk({"a": [1]}, [p, _])} == {[], ["a"], ["a", 0]}
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
