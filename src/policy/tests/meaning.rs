//! Rego that regorus reads in another way than OPA: it is rewritten, or refused, and never fails
//! open.

use super::*;
use crate::error::ConfigCode;

fn refused(module: &str) -> String {
    let error = rules(module).map(|_| ()).unwrap_err();
    assert_eq!(error.code(), ConfigCode::InvalidPolicy, "{module}: {error}");
    let text = error.to_string();
    assert!(text.contains("t.rego:"), "{module}: {text}");
    text
}

fn allows(module: &str, input: &Json) -> bool {
    let set = rules(module).unwrap_or_else(|error| panic!("{module}: {error}"));
    match ask_json(&set, input) {
        Outcome::Fault { kind, place } => panic!("{module}: {kind} {place:?}"),
        outcome => outcome.is_allowed(),
    }
}

#[test]
fn a_walk_finds_what_is_nested_however_it_is_written() {
    let (bad, good) = (json!({ "a": [{ "ok": false }] }), json!({ "a": [{ "ok": true }] }));
    for finds in [
        "[p, v] := walk(input); v == false",
        "[p, v] = walk(input); v == false",
        "[_, v] := walk(input); v == false",
        "walk(input) = [_, v]; v == false",
        "x := walk(input); x[1] == false",
        "x = walk(input); x[1] == false",
        "walk(input, [_, v]); v == false",
        "walk(input, [_, false])",
        "[_, false] = walk(input)",
        "count(input.a) == 1; [p, v] := walk(input.a); v == false; count(p) > 0",
        "some e in input.a; [_, v] := walk(e); v == false",
        "e := input.a[_]; [_, v] := walk(e); v == false",
        "e := input.a[_]; some i; e == input.a[i]; [_, v] := walk(e); v == false",
        "found := [v | [_, v] := walk(input)]; false in found",
        "count({p | [p, v] := walk(input); v == false}) > 0",
        "every e in input.a { [_, v] := walk(e); v == false }",
        "[p,\n v] := walk(\n  input\n)\n v == false",
    ] {
        let module = format!("allow if not bad\nbad if {{ {finds} }}");
        assert!(!allows(&module, &bad), "{finds}");
        assert!(allows(&module, &good), "{finds}");
    }
    for value in [
        "count(walk(input)) > 1",
        "walk(input)[_][1] == false",
        "some x in walk(input); x[1] == false",
        "not walk(input)",
        "xs := [walk(input)]; xs[0] == 1",
        "{\"x\": y} = walk(input)",
        "walk(walk(input), [_, false])",
    ] {
        refused(&format!("allow if not bad\nbad if {{ {value} }}"));
    }
}

#[test]
fn a_rewrite_keeps_the_lines_of_errors() {
    let module = "allow if {\n [p, v]\n :=\n walk(input)\n some i\n input.x[i]\n p == v\n}\nbroken if nothing.here(1)";
    assert!(refused(module).contains("t.rego:12:"));
}

#[test]
fn a_declaration_behind_an_iteration_is_no_fault() {
    let input = json!({ "roles": ["a", "b"], "grants": { "a": ["y"], "b": ["y", "x"] } });
    for body in [
        "role := input.roles[_]; some i; input.grants[role][i] == \"x\"",
        "some r; role := input.roles[r]; some i; input.grants[role][i] == \"x\"",
        "role := input.roles[_]\n some i, j\n input.grants[role][i] == \"x\"; input.roles[j] == role",
        "xs := [x | role := input.roles[_]; some i; x := input.grants[role][i]]; \"x\" in xs",
        "f(input.roles)",
    ] {
        let module = format!(
            "f(roles) if {{ r := roles[_]; some i; input.grants[r][i] == \"x\" }}\nallow if {{ {body} }}"
        );
        assert!(allows(&module, &input), "{body}");
        assert!(!allows(&module, &json!({ "roles": ["a"], "grants": { "a": ["y"] } })), "{body}");
    }
}

#[test]
fn an_object_as_a_pattern_is_refused_and_one_as_a_value_compares() {
    for body in [
        "{\"role\": r} = input.user; r == \"a\"",
        "{\"role\": r} := input.user; r == \"a\"",
        "input.user = {\"role\": r}; r == \"a\"",
        "x := input.user; x = {\"role\": r}; r == \"a\"",
        "[{\"role\": r}] = input.users; r == \"a\"",
        "[_, {\"role\": r}] := input.users; r == \"a\"",
        "some {\"role\": r} in input.users; r == \"a\"",
        "some {\"role\": \"a\"} in input.users",
        "some {\"role\": _} in input.users",
        "{\"role\": _} = input.user",
        "walk(input, [_, {\"role\": r}]); r == \"a\"",
        "walk(input, [_, {\"role\": \"a\"}])",
        "{\"role\": {\"name\": r}} = input.user; r == \"a\"",
        "not {\"role\": _} = input.user",
        "count([r | {\"role\": r} = input.user]) > 0",
    ] {
        let text = refused(&format!("allow if not bad\nbad if {{ {body} }}"));
        assert!(text.contains("pattern") || text.contains("unsafe"), "{body}: {text}");
    }
    for head in ["f({\"role\": r}) := r", "f([{\"role\": \"a\"}]) := 1", "f({}) := 1"] {
        refused(&format!("{head}\nallow if not f(input.user)"));
    }
    for (body, extra) in [
        ("{\"role\": \"a\"} = input.user", false),
        ("r := \"a\"; {\"role\": r} = input.user", false),
        ("some r in [\"a\"]; input.user = {\"role\": r}", false),
        ("{\"role\": \"a\"} == input.user", false),
        ("{\"role\": \"a\"} in [input.user]", false),
        ("x := {\"role\": input.user.role}; x.role == \"a\"", true),
        ("x = {\"role\": input.user.role}; x.role == \"a\"", true),
        ("r := input.user.role; x = {\"role\": r}; x.role == \"a\"", true),
    ] {
        let module = format!("allow if {{ {body} }}");
        assert!(allows(&module, &json!({ "user": { "role": "a" } })), "{body}");
        assert_eq!(allows(&module, &json!({ "user": { "role": "a", "x": 1 } })), extra, "{body}");
    }
}

#[test]
fn a_variable_that_nothing_binds_is_refused() {
    for body in [
        "some i; i < 3",
        "some i; startswith(i, \"a\")",
        "some i; not input.x[i]",
        "some i; x := i + 1; x == 2",
        "some i, j; i == j",
        "some i, j; i = j",
        "some i; every x in input.x { x == i }",
        "some i; input.x > 1",
        "some i; count([i | input.x]) > 0",
        "some i; { some j; input.x[j] == i } == true",
        "xs := [x | some x; input.y]; count(xs) == 0",
        "every x in input.x { some i; x < i }",
        "some i; not input.x[i]; some j; input.x[j]",
    ] {
        let module = format!("allow if not bad\nbad if {{ {body} }}");
        let error = rules(&module).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains("t.rego:5:"), "{body}: {error}");
    }
    refused("allow := x if { some x; input.y }");
    for body in [
        "some i; input.x[i] == 1",
        "some i, j; input.x[i] < input.x[j]; i != j",
        "some i; i = input.x[_]; i > 1",
        "some i; input.x[_] = i; i > 1",
        "some i; [i, _] = input.x; i == 1",
        "some i, v; walk(input, [i, v]); v == 1",
        "some i; count(input.x, i); i == 2",
        "some i; xs := [x | x := input.x[i]]; count(xs) == 1; input.x[i]",
        "some i; input.x[i] == 1; not input.y[i]",
        "some i, j; j = i + 1; i = input.x[_]; j == 2",
        "some i; f(1, i); i == 2",
        "some x in input.x; some i; input.x[i] == x",
        "some i; input.m[input.x[i]] == \"m\"",
    ] {
        let module = format!("f(x) := x + 1\nallow if {{ {body} }}");
        assert!(allows(&module, &json!({ "x": [1, 2], "m": ["k", "l", "m"] })), "{body}");
    }
}

#[test]
fn a_reference_that_needs_two_rules_is_refused() {
    let roles = "denied[u] contains r if { some u, rs in input.d; some r in rs }";
    let values = "m[u] := r if { some u, r in input.d }";
    for (rule, other, read) in [
        (roles, "denied.eve contains \"all\"", "denied.eve.pay"),
        (roles, "denied.eve contains \"all\"", "denied[\"eve\"].pay"),
        (roles, "denied.eve contains \"all\"", "data.t.denied.eve[input.what]"),
        (roles, "denied.eve contains \"all\"", "\"pay\" in denied.eve"),
        (values, "m.eve := \"all\" if input.no", "m.eve"),
        ("m[u].b := r if { some u, r in input.d }", "m.a.c := 1", "m.a.b"),
        ("m[u].b := r if { some u, r in input.d }", "m.a.c := 1", "m.a"),
        ("m.a[u] := r if { some u, r in input.d }", "m.a.x.y := 2", "m.a.x"),
    ] {
        for (first, second) in [(rule, other), (other, rule)] {
            let text = refused(&format!("{first}\n{second}\nallow if not {read}"));
            assert!(text.contains("at once"), "{read}: {text}");
        }
    }
    for (rule, other, read) in [
        (roles, "denied.eve contains \"all\"", "denied.bob.pay"),
        (roles, "denied.eve contains \"all\"", "denied[input.u].pay"),
        (roles, "denied.eve contains \"all\"", "count(denied) == 2"),
        (values, "m.eve := \"all\"", "m[input.u]"),
    ] {
        let module = format!("{rule}\n{other}\nallow if {read}");
        assert!(allows(&module, &json!({ "u": "bob", "d": { "bob": ["pay"] } })), "{read}");
    }
}
