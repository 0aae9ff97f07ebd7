use proptest::prelude::*;
use serde_json::{Value, json};

use crate::json::Document;
use crate::json::Limits;
use crate::payload::{PayloadConfig, fuzz};

fn config(options: &Value) -> Limits {
    *PayloadConfig::parse("payload", Some(options)).unwrap().limits()
}

fn read(text: &[u8]) -> Result<Value, (u16, &'static str)> {
    read_with(&Limits::default(), text)
}

fn read_with(config: &Limits, text: &[u8]) -> Result<Value, (u16, &'static str)> {
    config.with_document(text, None, value_of).map_err(|refusal| (refusal.status, refusal.code))
}

fn value_of(document: &Document<'_>) -> Value {
    document.to_value()
}

fn fault(text: &str) -> (&'static str, String, String) {
    let refusal = Limits::default().with_document(text.as_bytes(), None, |_| ()).unwrap_err();
    let error = refusal.errors[0].clone();
    assert_eq!(refusal.code, error.code);
    assert_eq!(error.location, "body");
    (error.code, error.pointer, error.detail)
}

#[test]
fn plain_json_is_read_as_everyone_reads_it() {
    for text in [
        "null",
        " true ",
        "\t[\r\n]",
        "{}",
        "\"\"",
        "-0",
        "0.1",
        "1e3",
        "[1,-2.5e-3,[[]],{\"a\":{\"b\":[null,false]}}]",
        r#"{"a":"\"\\\/\b\f\n\r\t\u00e9\ud834\udd1e","é":"日本","":0}"#,
        r#"{"constructor":1,"prototype":2,"toString":3,"proto":{"constructor":{"name":1}}}"#,
        r#"{"a long enough string to be read in words":"and one with an escape \n near its end, further on"}"#,
    ] {
        assert_eq!(read(text.as_bytes()), Ok(serde_json::from_str(text).unwrap()), "{text}");
    }
}

#[test]
fn what_is_not_json_is_refused() {
    for text in [
        "",
        " ",
        "{",
        "[",
        "]",
        "}",
        "[1",
        "{\"a\"",
        "{\"a\":",
        "{\"a\":1",
        "{\"a\":1,}",
        "[1,]",
        "[,1]",
        "[1 2]",
        "{,}",
        "{1:2}",
        "{a:1}",
        "{'a':1}",
        "{\"a\" 1}",
        "{\"a\":1 \"b\":2}",
        "[1}",
        "{\"a\":1]",
        "nul",
        "nulll",
        "True",
        "NaN",
        "Infinity",
        "-",
        "+1",
        "01",
        "1.",
        ".1",
        "0x1",
        "1e",
        "--1",
        "\"",
        "\"a",
        "\"\\",
        "\"\\x\"",
        "\"\\u12\"",
        "\"\\u+123\"",
        "\"a\nb\"",
        "\"\t\"",
        "// c\n1",
        "/**/1",
        "1 2",
        "{}{}",
        "[1]x",
        "\u{b}1",
        "\u{a0}1",
        "\u{2028}1",
        "{\"a\":1,\"b\"}",
        "[\"a\":1]",
        "{\"a\":1,,\"b\":2}",
        "{\"a\"::1}",
        "undefined",
        "\"\u{0}\"",
        "\u{0}",
    ] {
        assert_eq!(read(text.as_bytes()), Err((400, "malformed_json")), "{text:?}");
    }
}

#[test]
fn a_key_twice_in_one_object_is_refused_in_every_spelling() {
    for text in [
        r#"{"a":1,"a":1}"#,
        r#"{"a":1,"\u0061":2}"#,
        r#"{"role":"user","x":{"y":[1]},"ro\u006ce":"admin"}"#,
        r#"{"":1,"":2}"#,
        r#"{"é":1,"\u00e9":2}"#,
        r#"{"a":{"b":1,"c":2,"b":3}}"#,
        r#"[{"a":[],"a":[]}]"#,
    ] {
        assert_eq!(read(text.as_bytes()), Err((400, "duplicate_key")), "{text}");
    }
    assert!(read(r#"{"a":{"a":1},"b":{"a":1},"A":0}"#.as_bytes()).is_ok());
}

#[test]
fn a_duplicate_is_found_in_an_object_of_any_size() {
    for size in [2, 15, 16, 17, 18, 100, 999] {
        for twin in [0, size / 2, size - 1] {
            let members: Vec<String> =
                (0..size).map(|i| format!("\"k{i}\":{{\"x\":[{i}]}}")).collect();
            let clean = format!("{{{}}}", members.join(","));
            assert!(read(clean.as_bytes()).is_ok(), "{size}");
            let twice = format!("{{{},\"\\u006b{twin}\":0}}", members.join(","));
            assert_eq!(read(twice.as_bytes()), Err((400, "duplicate_key")), "{size} {twin}");
        }
    }
}

#[test]
fn keys_that_pollute_prototypes_are_refused_in_every_spelling() {
    for text in [
        r#"{"__proto__":{}}"#,
        r#"{"__proto__":null}"#,
        r#"{"\u005f_proto__":{}}"#,
        r#"{"a":[{"__prot\u006f__":1}]}"#,
        r#"{"constructor":{"prototype":{"x":1}}}"#,
        r#"{"constructor":{"a":1,"prototyp\u0065":1}}"#,
        r#"{"con\u0073tructor":{"prototype":1}}"#,
        r#"[{"a":{"constructor":{"prototype":[]}}}]"#,
    ] {
        assert_eq!(read(text.as_bytes()), Err((400, "forbidden_key")), "{text}");
    }
    for text in [
        r#"{"prototype":1}"#,
        r#"{"constructor":"prototype"}"#,
        r#"{"constructor":[{"prototype":1}]}"#,
        r#"{"constructor":{"a":{"prototype":1}}}"#,
        r#"{"__proto":1,"a":"__proto__"}"#,
    ] {
        assert!(read(text.as_bytes()).is_ok(), "{text}");
    }
}

#[test]
fn keys_that_a_database_takes_for_operators_are_refused_unless_allowed() {
    for text in [
        r#"{"password":{"$gt":""}}"#,
        r#"{"\u0024where":"1"}"#,
        r#"{"a.b":1}"#,
        r#"{".":1}"#,
        r#"[{"$":0}]"#,
    ] {
        assert_eq!(read(text.as_bytes()), Err((400, "operator_key")), "{text}");
        assert!(
            read_with(&config(&json!({ "operators": "allow" })), text.as_bytes()).is_ok(),
            "{text}"
        );
    }
    assert!(read(r#"{"a$":"$gt","b":"a.b"}"#.as_bytes()).is_ok());
}

#[test]
fn text_that_is_not_clean_unicode_is_refused() {
    let texts: &[&[u8]] = &[
        b"\xef\xbb\xbf{}",
        b"\"\xff\"",
        b"\"\xc0\xaf\"",
        b"\"\xed\xa0\x80\"",
        b"\"\xf4\x90\x80\x80\"",
        b"{\"\xe9\":1}",
        b"\xff\xfe[\x00]\x00",
        br#""\ud800""#,
        br#""\udc00""#,
        br#""\ud800\ud800""#,
        br#""\ud800x""#,
        br#""\ud800\n""#,
        br#"{"\udfff":1}"#,
    ];
    for text in texts {
        assert_eq!(read(text), Err((400, "invalid_unicode")), "{}", text.escape_ascii());
    }
}

#[test]
fn the_null_character_is_refused_in_strings_and_keys() {
    for text in [r#""a\u0000b""#, r#"{"\u0000":1}"#, r#"{"a\u0000":1}"#] {
        assert_eq!(read(text.as_bytes()), Err((400, "forbidden_character")), "{text}");
    }
}

#[test]
fn numbers_that_javascript_would_change_are_refused() {
    for text in [
        "9007199254740993",
        "{\"id\":-9007199254740992}",
        "[1e400]",
        "-1e400",
        "9007199254740993.0",
        "1e-999",
    ] {
        assert_eq!(read(text.as_bytes()), Err((400, "unsafe_number")), "{text}");
    }
}

#[test]
fn depth_nodes_keys_and_bytes_are_capped() {
    let small = config(&json!({ "maxBytes": 64, "maxDepth": 3, "maxNodes": 8, "maxKeys": 2 }));
    for (text, expected) in [
        ("[[[1]]]", None),
        ("[[[[1]]]]", Some((400, "too_deep"))),
        (r#"{"a":{"b":{"c":{}}}}"#, Some((400, "too_deep"))),
        ("[1,1,1,1,1,1,1]", None),
        ("[1,1,1,1,1,1,1,1]", Some((400, "too_many_nodes"))),
        (r#"{"a":1,"b":2}"#, None),
        (r#"{"a":1,"b":2,"c":3}"#, Some((400, "too_many_keys"))),
        ("[                                                              ]", None),
        (
            "[                                                               ]",
            Some((413, "body_too_large")),
        ),
    ] {
        assert_eq!(read_with(&small, text.as_bytes()).err(), expected, "{text}");
    }
    let bomb = "[".repeat(100_000);
    assert_eq!(read(bomb.as_bytes()), Err((400, "too_deep")));
    let widest = config(&json!({ "maxDepth": 128 }));
    let deep = format!("{}1{}", "[".repeat(128), "]".repeat(128));
    assert!(read_with(&widest, deep.as_bytes()).is_ok());
}

#[test]
fn a_fault_says_where_it_is() {
    for (text, code, pointer, byte) in [
        (r#"{"a":[0,{"b/c":{"x":1,"x":2}}]}"#, "duplicate_key", "#/a/1/b~1c/x", 22),
        (r#"{"user":{"__proto__":1}}"#, "forbidden_key", "#/user/__proto__", 9),
        (r#"{"a":[1,9007199254740993]}"#, "unsafe_number", "#/a/1", 8),
        (r#"{"a":1,"b":tru}"#, "malformed_json", "#/b", 11),
        (r#"{"a":1,}"#, "malformed_json", "#", 7),
        (r#"{"q":{"$ne":1}}"#, "operator_key", "#/q/$ne", 6),
        ("tru", "malformed_json", "#", 0),
        ("[1] 2", "malformed_json", "#", 4),
        (r#"{"ä":{"a.b":1}}"#, "operator_key", "#/%C3%A4/a.b", 7),
    ] {
        let (found, at, detail) = fault(text);
        assert_eq!((found, at.as_str()), (code, pointer), "{text}");
        assert!(detail.ends_with(&format!("at byte {byte}")), "{text}: {detail}");
    }
}

#[test]
fn a_pointer_never_repeats_more_of_a_body_than_is_sane() {
    let key = "k".repeat(5000);
    let (_, pointer, _) = fault(&format!("{{\"{key}\":{{\"{key}\":nope}}}}"));
    assert!(pointer.len() < 200, "{}", pointer.len());
    let deep = format!("{}nope", format!("{{\"{}\":", "\u{1F600}".repeat(100)).repeat(30));
    let (_, pointer, _) = fault(&deep);
    assert!(pointer.len() < 2000, "{}", pointer.len());
}

#[test]
fn one_document_inside_another_has_its_own_buffers() {
    let config = Limits::default();
    let both = config.with_document(b"[1,\"\\n\"]", None, |outer| {
        let inner = config.with_document(b"{\"a\":\"\\t\"}", None, value_of).unwrap();
        (outer.to_value(), inner)
    });
    assert_eq!(both.unwrap(), (json!([1, "\n"]), json!({ "a": "\t" })));
}

/// JSON text with many edge cases.
fn texts() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        any::<bool>().prop_map(|b| b.to_string()),
        any::<i64>().prop_map(|n| n.to_string()),
        any::<f64>().prop_map(|n| n.to_string()),
        "-?(0|[1-9][0-9]{0,18})(\\.[0-9]{1,20})?([eE][+-]?[0-9]{1,3})?",
        "\"([a-z$._é\u{1F600}\u{7f}]|\\\\u[0-9a-fA-F]{4}|\\\\[nt\"/\\\\]){0,12}\"",
    ];
    leaf.prop_recursive(5, 64, 20, |inner| {
        let space = "[ \n]{0,2}";
        prop_oneof![
            (proptest::collection::vec(inner.clone(), 0..20), space).prop_map(
                |(items, space)| format!("[{space}{}]", items.join(&format!(",{space}")))
            ),
            proptest::collection::vec(("[a-f_$]{0,3}|\\\\u006[0-9]|__proto__", inner), 0..20)
                .prop_map(|members| {
                    let members: Vec<String> =
                        members.into_iter().map(|(k, v)| format!("\"{k}\" :{v}")).collect();
                    format!("{{{}}}", members.join(","))
                }),
        ]
    })
}

proptest! {
    #[test]
    fn whatever_is_accepted_everyone_reads_alike(text in texts()) {
        fuzz::fuzz_json(text.as_bytes());
    }

    #[test]
    fn a_damaged_text_is_refused_or_read_alike(text in texts(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = text.into_bytes();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        fuzz::fuzz_json(&bytes);
        fuzz::fuzz_json(&bytes[..at]);
    }

    #[test]
    fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        fuzz::fuzz_json(&bytes);
    }

    #[test]
    fn any_json_of_safe_values_is_accepted(
        keys in proptest::collection::btree_set("[a-zA-Z0-9é ]{1,8}", 0..40),
        number in -9_007_199_254_740_991_i64..=9_007_199_254_740_991,
        string in "[^\u{0}]{0,40}",
    ) {
        let value: Value = keys.into_iter().map(|key| (key, json!([number, string, { "x": null }]))).collect();
        prop_assert_eq!(read(value.to_string().as_bytes()), Ok(value));
    }
}

#[test]
fn keys_that_are_paths_to_a_prototype_are_refused_also_where_operators_pass() {
    let allow = config(&json!({ "operators": "allow" }));
    for text in [
        r#"{"__proto__.admin":1}"#,
        r#"{"a.__proto__":1}"#,
        r#"{"a[__proto__].b":1}"#,
        r#"{"a[\"__proto__\"]":1}"#,
        r#"{"constructor.prototype.admin":1}"#,
        r#"{"a.constructor[prototype]":1}"#,
        r#"{"a[constructor]['prototype']":1}"#,
        r#"{"constructor":{"prototype.admin":1}}"#,
        r#"{"a.constructor":{"prototype":1}}"#,
        r#"{"\u005f_proto__\u002eadmin":1}"#,
    ] {
        assert_eq!(read_with(&allow, text.as_bytes()), Err((400, "forbidden_key")), "{text}");
    }
    for text in [
        r#"{"a.b":1,"$set":{"x.y[0]":2}}"#,
        r#"{"constructor.name":1,"prototype.x":2,"my__proto__.x":3,"proto[x]":4}"#,
        r#"{"myconstructor":{"prototype":1}}"#,
    ] {
        assert!(read_with(&allow, text.as_bytes()).is_ok(), "{text}");
    }
}
