//! Tests of the policies that load and of those that are refused.

use super::super::builtins;
use super::*;
use crate::error::ConfigCode;

fn refused(result: Result<PolicySet, ConfigError>) -> String {
    let error = result.map(|_| ()).unwrap_err();
    assert_eq!(error.code(), ConfigCode::InvalidPolicy, "{error}");
    assert_eq!(error.path(), "policy.policies");
    error.to_string()
}

#[test]
fn text_that_is_no_rego_names_file_line_and_column() {
    let text = refused(compile("package t\n\nallow if {\n  input.x ==\n}\n"));
    assert!(text.contains("t.rego:5:1"), "{text}");
    let text = refused(compile("package t\ndefault allow = false\nallow { input.x = }\n"));
    assert!(text.contains("t.rego:3:"), "{text}");
    assert!(!text.contains('\n'), "{text}");
}

#[test]
fn an_empty_module_is_refused() {
    for module in ["", "  \n\t\n"] {
        assert!(refused(compile(module)).contains("empty module: t.rego:1:1"));
    }
    assert!(refused(compile("# only a comment\n")).contains("t.rego"));
}

#[test]
fn a_version_that_is_named_is_kept_to() {
    let options = |version: &str, module: &str| json!({ "policies": { "t.rego": module }, "query": "data.t.allow", "regoVersion": version });
    let v0 = "package t\ndefault allow = false\nallow { input.x }";
    let v1 = "package t\ndefault allow := false\nallow if input.x";
    assert!(compile_with(&options("v0", v0)).is_ok());
    assert!(compile_with(&options("v1", v1)).is_ok());
    assert!(compile_with(&options("auto", v0)).is_ok());
    assert!(compile_with(&options("auto", v1)).is_ok());
    let text = refused(compile_with(&options("v1", v0)));
    assert!(text.contains("`if` keyword is required") && text.contains("t.rego:3:"), "{text}");
}

#[test]
fn v1_text_read_as_v0_does_not_become_a_rule_without_a_condition() {
    // Without the keyword, `allow if input.x` is three rules, and the first is `allow`, always
    // true.
    for rule in [
        "allow if input.x",
        "allow if { input.x }",
        "allow",
        "allow = true if { input.x }",
        "allow := true if input.x",
        "p contains 1 if { input.x }",
        "f(x) = x if { x }",
        "f(x)",
        "if { input.x }",
        "p[1] { every x in [1] { x } }",
        "p { some x in [1] }",
        "p { 1 in [1] }",
    ] {
        for (version, old) in [("v0", ""), ("auto", "old[x] { x := input.x }\n")] {
            let module = format!("package t\ndefault allow = false\n{old}{rule}\n");
            let options = json!({ "policies": { "t.rego": module }, "query": "data.t.allow", "regoVersion": version });
            let text = refused(compile_with(&options));
            assert!(text.contains("t.rego:"), "{rule}: {text}");
        }
    }
}

#[test]
fn a_partial_set_of_v0_loads() {
    let set = compile("package t\ndefault allow = false\ndeny[msg] { input.x; msg := \"x\" }\nallow { count(deny) == 0 }").unwrap();
    assert!(ask_json(&set, &json!({})).is_allowed());
    assert!(!ask_json(&set, &json!({ "x": 1 })).is_allowed());
}

#[test]
fn data_can_not_take_the_place_of_a_rule() {
    for data in [
        json!({ "httpapi": { "authz": { "allow": true } } }),
        json!({ "httpapi": { "authz": { "allow": {} } } }),
        json!({ "httpapi": { "authz": true } }),
        json!({ "httpapi": [] }),
        json!({ "httpapi": null }),
    ] {
        let error = compile_with(&json!({
            "policies": { "authz.rego": ARTICLE }, "data": data, "query": "data.httpapi.authz.allow",
        }))
        .unwrap_err();
        assert_eq!(error.path(), "policy.data");
        assert!(
            error.to_string().contains("overlaps the rule data.httpapi.authz.allow"),
            "{error}"
        );
    }
    for data in
        [json!({}), json!({ "users": [] }), json!({ "httpapi": { "authz": { "users": [] } } })]
    {
        let options = json!({ "policies": { "a.rego": ARTICLE }, "data": data, "query": "data.httpapi.authz.allow" });
        assert!(compile_with(&options).is_ok());
    }
}

#[test]
fn data_can_not_fill_a_partial_rule_or_a_helper() {
    for (rule, data) in [
        (
            "roles[user] contains role if { user := input.u; role := \"r\" }\nallow if \"admin\" in roles.eve",
            json!({ "t": { "roles": { "eve": ["admin"] } } }),
        ),
        (
            "blocked contains x if x := input.u\nallow if count(blocked) == 0",
            json!({ "t": { "blocked": [] } }),
        ),
        ("a.b.c := input.u\nallow if a.b.c", json!({ "t": { "a": { "b": 1 } } })),
        ("f(x) := x\nallow if f(input.u)", json!({ "t": { "f": 1 } })),
    ] {
        let module = format!("package t\nimport rego.v1\ndefault allow := false\n{rule}");
        let options =
            json!({ "policies": { "t.rego": module }, "query": "data.t.allow", "data": data });
        assert_eq!(compile_with(&options).unwrap_err().path(), "policy.data", "{rule}");
    }
}

#[test]
fn an_unknown_function_is_refused_even_where_no_request_reaches_it() {
    let text = refused(rules("allow if { false; startwith(input.path, \"x\") }"));
    assert!(text.contains("`startwith` does not exist"), "{text}");
    assert!(text.contains("did you mean `startswith`"), "{text}");
    assert!(text.contains("t.rego:4:"), "{text}");
    for call in [
        "http.send({\"method\": \"get\", \"url\": \"http://x\"})",
        "opa.runtime()",
        "rego.parse_module(\"a\", \"b\")",
        "io.jwt.decode(input.t)",
        "data.other.f(1)",
        "graph.reachable_paths({}, [])",
        "lib.f(1)",
    ] {
        refused(rules(&format!("allow if {call}")));
        refused(rules(&format!("allow if not {call}")));
        refused(rules(&format!("allow if count([1 | {call}]) == 0")));
        refused(rules(&format!("allow if every x in [1] {{ {call} }}")));
        refused(rules(&format!("allow := y if {{ x := {call}; y := x }}")));
        refused(rules(&format!("unused := {call}")));
        refused(rules(&format!("allow := {{\"allow\": {call}}}")));
        refused(rules(&format!("allow if true else := {call}")));
        refused(rules(&format!("allow if input.x with input.x as {call}")));
    }
}

#[test]
fn a_function_of_a_module_can_be_called_by_every_name_it_has() {
    for (import, call) in [
        ("import data.lib", "lib.ok(1)"),
        ("import data.lib as l", "l.ok(1)"),
        ("import data.lib.ok", "ok(1)"),
        ("import data.lib", "data.lib.ok(1)"),
        ("import data.lib", "mine(1)"),
        ("import data.lib", "data.lib.ok(1, true)"),
        ("import data.lib", "mine(1, true)"),
    ] {
        let set = compile_with(&json!({
            "policies": {
                "lib.rego": "package lib\nimport rego.v1\nok(x) := x == 1",
                "t.rego": format!("package t\nimport rego.v1\n{import}\ndefault allow := false\nmine(x) if x == 1\nallow if {call}"),
            },
            "query": "data.t.allow",
        }));
        let outcome = ask_json(&set.unwrap_or_else(|error| panic!("{call}: {error}")), &json!({}));
        assert!(outcome.is_allowed(), "{call}: {outcome:?}");
    }
}

#[test]
fn a_call_with_the_wrong_number_of_arguments_is_refused() {
    assert!(
        refused(rules("allow if startswith(input.raw_path)")).contains("takes 2 arguments, not 1")
    );
    assert!(refused(rules("f(x) if x\nallow if f(1, 2, 3)")).contains("takes 1 arguments, not 3"));
}

#[test]
fn recursion_is_refused() {
    for rule in [
        "allow if not allow",
        "allow if a\na if b\nb if a",
        "f(x) := f(x - 1)\nallow if f(3) == 0",
        "f(x) := g(x)\ng(x) := f(x)\nallow if f(3) == 0",
        "f(x) if r\nr if f(1)\nallow if r",
        "p contains x if { some x in p }\nallow if p[1]",
        "allow if data.t.allow",
        "allow if data.t[input.x]",
        "allow if count(data.t) > 0",
        "allow if count(data) > 0",
        "allow if { some x in data[input.x].y }",
        "a := [x | x := b]\nb := {x | some x in a}\nallow if a",
        "a if { every x in [1] { b } }\nb if a\nallow if a",
        "f(x) := 1 if { data.t.g(x) }\ng(x) := f(x)\nallow if f(1)",
        "default f(_) := 0\nf(x) := f(x)\nallow if f(1)",
        "f(x) if x\ng(x) if f(x) with f as g\nallow if g(1)",
        "a if true else := b\nb if a\nallow if b",
        "a := x if { x := b }\nb := x if { x := a }\nallow if a",
    ] {
        let text = refused(rules(rule));
        assert!(text.contains("recursion") && text.contains("t.rego:"), "{rule}: {text}");
    }
}

#[test]
fn recursion_across_packages_is_refused() {
    for (b, t) in [
        ("package b\nimport data.t\nx if t.y", "y if data.b.x"),
        ("package b\nimport data.t as other\nf(v) := other.g(v)", "g(v) := data.b.f(v)\ny if g(1)"),
        ("package t.sub\nx if data.t.y", "y if data.t.sub.x"),
    ] {
        let text = refused(compile_with(&json!({
            "policies": {
                "b.rego": b.replacen('\n', "\nimport rego.v1\n", 1),
                "t.rego": format!("package t\nimport rego.v1\ndefault allow := false\n{t}\nallow if y"),
            },
            "query": "data.t.allow",
        })));
        assert!(text.contains("recursion"), "{text}");
    }
}

#[test]
fn what_only_looks_like_recursion_loads() {
    for rule in [
        "user := input.user\nallow if { user := input.user; user.x }",
        "a := 1\nb := [y | some y in input.x]\nc if { some b; input.x[b] == a }\nallow if c",
        "f(f_) := f_\nallow if f(1) == 1",
        "role := r if { r := input.role }\nr := role\nallow if r",
        "a.b := 1\na.c := 2\nallow if a.b == 1",
        "p contains x if { some x in [1, 2] }\nq contains y if { p := [1]; some y in p }\nallow if q[1]",
        "is_x if input.x\nis_y if { not is_x; input.y }\nallow if is_y",
        "f(x) := x + 1\nallow if f(f(f(1))) == 4",
    ] {
        rules(rule).unwrap_or_else(|error| panic!("{rule}: {error}"));
    }
}

#[test]
fn the_query_must_be_a_rule_with_a_default_that_denies() {
    let error =
        |module: &str| compile(&format!("package t\nimport rego.v1\n{module}")).unwrap_err();
    let missing = error("alow := true");
    assert_eq!(missing.path(), "policy.query");
    assert!(missing.to_string().contains("did you mean 'data.t.alow'"), "{missing}");
    for module in
        ["allow if input.x", "allow contains 1 if input.x", "allow[x] := 1 if x := input.y"]
    {
        let text = error(module).to_string();
        assert!(
            text.contains("without a default") && text.contains("`default allow = false`"),
            "{text}"
        );
        assert!(text.contains("t.rego:3:"), "{text}");
    }
    let text = error("default allow := false\ndefault allow := false").to_string();
    assert!(text.contains("second default") && text.contains("t.rego:4:"), "{text}");
    for module in ["default allow := true", "default allow := {\"allow\": true}"] {
        let text = error(module).to_string();
        assert!(text.contains("allows by default"), "{text}");
    }
    assert!(error("allow(x) if x").to_string().contains("names a function"));
    assert!(compile("package t\nimport rego.v1\ndefault allow := {\"allow\": false}\n").is_ok());
}

#[test]
fn a_misspelt_rule_is_refused_or_denies() {
    match rules("allow if is_admn\nis_admin if input.user.role == \"admin\"") {
        Err(error) => assert_eq!(error.code(), ConfigCode::InvalidPolicy),
        Ok(set) => assert!(!ask_json(&set, &json!({ "user": { "role": "admin" } })).is_allowed()),
    }
    match rules("allow if not is_bloked\nis_blocked if input.user.blocked") {
        Err(error) => assert_eq!(error.code(), ConfigCode::InvalidPolicy),
        Ok(set) => assert!(!ask_json(&set, &json!({ "user": { "blocked": true } })).is_allowed()),
    }
}

#[test]
fn headers_are_read_by_names_that_can_match() {
    let text = refused(rules("allow if input.headers[\"X-Tenant\"] == \"a\""));
    assert!(text.contains("\"x-tenant\"") && text.contains("t.rego:4:"), "{text}");
    for name in ["authorization", "cookie"] {
        assert!(
            refused(rules(&format!("allow if not input.headers.{name}"))).contains("input.user")
        );
    }
    assert!(rules("allow if input.headers[\"x-tenant\"] == \"a\"").is_ok());
}

#[test]
fn a_folder_of_modules_is_loaded_whole() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("lib")).unwrap();
    std::fs::write(
        folder.path().join("authz.rego"),
        "package httpapi.authz\nimport data.lib\ndefault allow = false\nallow { lib.admin }",
    )
    .unwrap();
    std::fs::write(
        folder.path().join("lib/lib.rego"),
        "package lib\nadmin { input.user.role == \"admin\" }",
    )
    .unwrap();
    let options =
        json!({ "policies": folder.path().to_str().unwrap(), "query": "data.httpapi.authz.allow" });
    let set = compile_with(&options).unwrap();
    assert!(ask_json(&set, &json!({ "user": { "role": "admin" } })).is_allowed());
    assert!(!ask_json(&set, &json!({ "user": { "role": "user" } })).is_allowed());
    std::fs::write(folder.path().join("lib/data.json"), "{}").unwrap();
    assert!(refused(compile_with(&options)).contains("data.json"));
}

#[test]
fn no_name_of_a_function_is_suggested_that_is_denied() {
    assert_ne!(builtins::nearest("graph.reachable_path"), Some("graph.reachable_paths"));
}

proptest::proptest! {
    #[test]
    fn no_text_panics_the_gate(text in "(package t\n)?[ -~\n]{0,80}") {
        let _ = compile(&text);
    }

    #[test]
    fn no_mix_of_words_panics_the_gate(words in proptest::collection::vec(
        proptest::sample::select(vec!["package t", "\n", "import rego.v1", "default", "allow", ":=", "=", "if", "{", "}",
            "[", "]", "(", ")", "input", ".", "x", "data", "not", "some", "in", "every", "with", "as", "else", "contains",
            "|", ",", "\"s\"", "1", "true", "count"]), 0..30)) {
        let _ = compile(&format!("package t\nimport rego.v1\n{}", words.join(" ")));
    }
}

#[test]
fn a_package_can_not_lie_inside_a_rule() {
    // Its rule `allow` would turn the value of the rule above into `{"allow": true}`.
    let text = refused(compile_with(&json!({
        "policies": {
            "t.rego": "package t\nimport rego.v1\ndefault allow := false",
            "x.rego": "package t.allow\nimport rego.v1\nallow := true",
        },
        "query": "data.t.allow",
    })));
    assert!(text.contains("x.rego:3:1") && text.contains("data.t.allow"), "{text}");
}

#[test]
fn v0_with_future_keywords_loads() {
    let set = compile("package t\nimport future.keywords\ndefault allow = false\nallow { some x in input.xs; x == 1 }\nother[x] { x := 1 }").unwrap();
    assert!(ask_json(&set, &json!({ "xs": [1] })).is_allowed());
    assert!(!ask_json(&set, &json!({ "xs": [2] })).is_allowed());
    assert!(
        compile("package t\nimport future.keywords.if\ndefault allow = false\nallow if input.x")
            .is_ok()
    );
}
