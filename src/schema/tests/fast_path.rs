//! The fast path, compared with the crate.

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::json::Limits;
use crate::payload::PayloadConfig;
use crate::schema::Schema;
use crate::schema::SchemaRules;
use crate::schema::fast_path::Pattern;

fn open() -> Limits {
    *PayloadConfig::parse("payload", Some(&json!({ "operators": "allow" }))).unwrap().limits()
}

/// The result of the fast path for `value`, if the schema has one, and the crate's result.
fn verdicts(schema: &Schema, value: &Value) -> (Option<bool>, bool) {
    let text = value.to_string();
    open().with_document(text.as_bytes(), None, |document| schema.compare_paths(document)).unwrap()
}

fn compiled(schema: &Value) -> Schema {
    Schema::compile("body", schema, false).unwrap()
}

#[test]
fn the_usual_keywords_are_accepted_without_the_crate() {
    let schema = compiled(&json!({
        "$id": "https://example.com/user",
        "title": "a user",
        "type": "object",
        "properties": {
            "name": { "type": "string", "minLength": 3, "maxLength": 20, "pattern": "^[a-zA-Z0-9_-]+$" },
            "email": { "type": "string", "format": "email", "x-trim": true },
            "born": { "type": "string", "format": "date" },
            "age": { "type": ["integer", "null"], "minimum": 0, "exclusiveMaximum": 150 },
            "step": { "multipleOf": 0.5 },
            "role": { "enum": ["user", "admin"], "default": "user" },
            "tags": { "type": "array", "items": { "$ref": "#/$defs/tag" }, "maxItems": 3, "uniqueItems": true },
            "point": { "prefixItems": [{ "type": "number" }, { "type": "number" }], "items": false },
            "pet": { "anyOf": [{ "const": "cat" }, { "type": "object", "required": ["name"] }] },
            "more": { "additionalProperties": { "type": "boolean" }, "propertyNames": { "maxLength": 2 } },
        },
        "required": ["name", "email"],
        "additionalProperties": false,
        "$defs": { "tag": { "type": "string", "~maxLength": 4 } },
    }));
    for value in [
        json!({ "name": "ada", "email": "ada@example.com" }),
        json!({ "name": "ada", "email": "ada@example.com", "born": "1815-12-10", "age": 36.0, "step": 1.5, "role": "admin" }),
        json!({ "name": "ada", "email": "ada@example.com", "age": null, "tags": ["a", "bc"], "point": [1, 2.5] }),
        json!({ "name": "ada", "email": "ada@example.com", "pet": "cat", "more": { "a": true } }),
        json!({ "name": "ada", "email": "ada@example.com", "pet": { "name": 1 } }),
    ] {
        assert_eq!(verdicts(&schema, &value), (Some(true), true), "{value}");
    }
}

#[test]
fn what_does_not_match_is_never_accepted() {
    for (schema, value) in [
        (json!(false), json!(1)),
        (json!({ "type": "integer" }), json!(1.5)),
        (json!({ "type": ["string", "null"] }), json!(1)),
        (json!({ "minLength": 2 }), json!("é")),
        (json!({ "maxLength": 1 }), json!("ab")),
        (json!({ "~minLength": 3 }), json!("\u{1f600}")),
        (json!({ "~maxLength": 1 }), json!("\u{1f600}")),
        (json!({ "pattern": "^[a-z]{2}$" }), json!("abc")),
        (json!({ "pattern": "a|b" }), json!("c")),
        (json!({ "format": "email" }), json!("a@b")),
        (json!({ "format": "date" }), json!("2026-02-30")),
        (json!({ "minimum": 1 }), json!(0.5)),
        (json!({ "exclusiveMinimum": 1 }), json!(1)),
        (json!({ "exclusiveMaximum": 1 }), json!(1.0)),
        (json!({ "multipleOf": 2 }), json!(3)),
        (json!({ "multipleOf": 0.01 }), json!(0.015)),
        (json!({ "multipleOf": 0.01 }), json!(-0.001)),
        (json!({ "multipleOf": 0.1 }), json!(1.15)),
        (json!({ "enum": [1, "1"] }), json!(true)),
        (json!({ "enum": [1, 2], "const": 2 }), json!(1)),
        (json!({ "required": ["a"] }), json!({ "b": 1 })),
        (json!({ "required": ["a"], "additionalProperties": false }), json!({ "a": 1 })),
        (
            json!({ "required": ["a"], "additionalProperties": { "type": "string" } }),
            json!({ "a": 1 }),
        ),
        (json!({ "minProperties": 1 }), json!({})),
        (json!({ "maxProperties": 0 }), json!({ "a": 1 })),
        (json!({ "properties": { "a": false } }), json!({ "a": 1 })),
        (json!({ "items": { "type": "string" } }), json!(["a", 1])),
        (json!({ "prefixItems": [{ "const": 1 }] }), json!([2])),
        (json!({ "prefixItems": [true], "items": false }), json!([1, 2])),
        (json!({ "minItems": 2 }), json!([1])),
        (json!({ "uniqueItems": true }), json!([1, 1.0])),
        (json!({ "allOf": [{ "type": "string" }, { "minLength": 2 }] }), json!("a")),
        (json!({ "anyOf": [{ "type": "string" }, { "minimum": 2 }] }), json!(1)),
        (
            json!({ "$ref": "#/$defs/a", "type": "string", "$defs": { "a": { "maxLength": 1 } } }),
            json!("ab"),
        ),
        (
            json!({ "properties": { "next": { "$ref": "#" } }, "additionalProperties": false }),
            json!({ "next": { "next": { "x": 1 } } }),
        ),
        (json!({ "propertyNames": { "maxLength": 1 } }), json!({ "ab": 1 })),
        (json!({ "dependentRequired": { "a": ["b"] } }), json!({ "a": 1 })),
    ] {
        let (quick, crates) = verdicts(&compiled(&schema), &value);
        assert_eq!(
            (quick.unwrap_or_else(|| panic!("{schema} has none")), crates),
            (false, false),
            "{schema} {value}"
        );
    }
}

#[test]
fn schemas_with_other_keywords_are_left_to_the_crate() {
    for schema in [
        json!({ "oneOf": [{ "type": "string" }, { "minLength": 2 }] }),
        json!({ "not": { "type": "string" } }),
        json!({ "if": { "type": "string" }, "then": { "minLength": 2 } }),
        json!({ "patternProperties": { "^a": { "type": "string" } } }),
        json!({ "propertyNames": { "$ref": "#/$defs/name" }, "$defs": { "name": true } }),
        json!({ "contains": { "type": "string" } }),
        json!({ "unevaluatedProperties": false }),
        json!({ "$schema": "http://json-schema.org/draft-04/schema#", "minimum": 1, "exclusiveMinimum": true }),
        json!({ "$schema": "http://json-schema.org/draft-07/schema#", "items": [{ "type": "string" }] }),
    ] {
        assert_eq!(verdicts(&compiled(&schema), &json!("x")).0, None, "{schema}");
    }
}

#[test]
fn a_format_of_the_application_is_not_taken_for_ours() {
    let rules = json!({ "formats": { "email": "^root$" } });
    let rules = SchemaRules::parse("payload", Some(&rules));
    let schema =
        Schema::compile_with("body", &json!({ "format": "email" }), true, &rules.unwrap()).unwrap();
    assert_eq!(verdicts(&schema, &json!("root")), (Some(true), true));
    assert_eq!(verdicts(&schema, &json!("a@example.com")), (Some(false), false));
}

#[test]
fn a_schema_that_only_refers_to_itself_ends() {
    let schema = compiled(
        &json!({ "anyOf": [{ "$ref": "#/$defs/a" }, { "$ref": "#/$defs/a" }], "$defs": { "a": { "items": { "$ref": "#" } } } }),
    );
    let mut value = json!(1);
    for _ in 0..30 {
        value = json!([value]);
    }
    assert_eq!(verdicts(&schema, &value), (Some(true), true));
}

/// Pieces of patterns; some have the simple form and some do not.
fn pattern() -> impl Strategy<Value = String> {
    let atom = prop_oneof![
        Just("a".to_owned()),
        Just("[a-c]".to_owned()),
        Just("[a-zA-Z0-9_-]".to_owned()),
        Just("\\d".to_owned()),
        Just("[\\w.-]".to_owned()),
        Just("\\.".to_owned()),
        Just("[^a]".to_owned()),
        Just(".".to_owned()),
        Just("(a|b)".to_owned()),
        Just("-".to_owned()),
        Just("[+-]".to_owned()),
        Just("[ -~]".to_owned()),
        Just("\\w".to_owned()),
        Just("[a\\-z]".to_owned()),
    ];
    let times = prop_oneof![
        4 => Just(""), 2 => Just("+"), 1 => Just("*"), 1 => Just("?"), 1 => Just("{2}"), 1 => Just("{1,}"), 1 => Just("{0,3}"), 1 => Just("+?"),
    ];
    let part = (atom, times).prop_map(|(atom, times)| format!("{atom}{times}"));
    let bound = (prop::bool::weighted(0.9), prop::bool::weighted(0.9));
    (prop::collection::vec(part, 0..4), bound).prop_map(|(parts, (start, end))| {
        format!("{}{}{}", if start { "^" } else { "" }, parts.concat(), if end { "$" } else { "" })
    })
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof!["[abcz09_.-]{0,5}", "[a-z]{1,4}", "[ -~é\u{1f600}]{0,4}"]
}

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(Value::from),
        (-3..4_i32).prop_map(Value::from),
        (-6..7_i32).prop_map(|n| json!(f64::from(n) / 2.0)),
        text().prop_map(Value::from),
        Just(json!("a@b.co")),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    scalar().prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-d]", inner, 0..4)
                .prop_map(|map| map.into_iter().collect()),
        ]
    })
}

fn keyword(
    inner: impl Strategy<Value = Value> + Clone + 'static,
) -> BoxedStrategy<(&'static str, Value)> {
    let small = 0..4_u32;
    let kind = prop::sample::select(vec![
        "null", "boolean", "integer", "number", "string", "array", "object",
    ]);
    let half = (-4..5_i32).prop_map(|n| json!(f64::from(n) / 2.0));
    let list = prop::collection::vec(inner.clone(), 1..3).prop_map(Value::from);
    let named = prop::collection::btree_map("[a-d]", inner.clone(), 0..4)
        .prop_map(|map| map.into_iter().collect::<Value>());
    let required = prop::collection::btree_set("[a-d]", 0..3).prop_map(|names| json!(names));
    prop_oneof![
        3 => kind.clone().prop_map(|name| ("type", json!(name))),
        1 => prop::collection::btree_set(kind, 1..3).prop_map(|names| ("type", json!(names))),
        1 => prop::collection::vec(scalar(), 1..4).prop_map(|list| ("enum", json!(list))),
        1 => value().prop_map(|value| ("const", value)),
        1 => small.clone().prop_map(|n| ("minLength", json!(n))),
        1 => small.clone().prop_map(|n| ("maxLength", json!(n))),
        1 => small.clone().prop_map(|n| ("~maxLength", json!(n))),
        2 => pattern().prop_map(|pattern| ("pattern", json!(pattern))),
        1 => prop::sample::select(vec!["email", "uuid", "date", "ipv4"]).prop_map(|name| ("format", json!(name))),
        1 => half.clone().prop_map(|n| ("minimum", n)),
        1 => half.clone().prop_map(|n| ("exclusiveMaximum", n)),
        1 => (1..4_i32).prop_map(|n| ("multipleOf", json!(f64::from(n) / 2.0))),
        2 => named.prop_map(|map| ("properties", map)),
        2 => required.prop_map(|names| ("required", names)),
        1 => inner.clone().prop_map(|schema| ("additionalProperties", schema)),
        1 => Just(("additionalProperties", json!(false))),
        1 => small.clone().prop_map(|n| ("maxProperties", json!(n))),
        1 => small.clone().prop_map(|n| ("minProperties", json!(n))),
        1 => inner.clone().prop_map(|schema| ("items", schema)),
        1 => list.clone().prop_map(|list| ("prefixItems", list)),
        1 => small.prop_map(|n| ("minItems", json!(n))),
        1 => Just(("uniqueItems", json!(true))),
        1 => list.clone().prop_map(|list| ("allOf", list)),
        1 => list.prop_map(|list| ("anyOf", list)),
        1 => prop::sample::select(vec!["#", "#/$defs/x"]).prop_map(|to| ("$ref", json!(to))),
        1 => inner.prop_map(|schema| ("propertyNames", schema)),
    ]
    .boxed()
}

fn schema() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(json!({})),
        any::<bool>().prop_map(Value::from),
        Just(json!({ "type": "string" }))
    ];
    let inner = leaf.prop_recursive(3, 16, 4, |inner| {
        prop::collection::vec(keyword(inner.boxed()), 0..4)
            .prop_map(|list| list.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
    });
    let inner = inner.boxed();
    (prop::collection::vec(keyword(inner.clone()), 1..5), inner).prop_map(|(list, x)| {
        let mut map: serde_json::Map<_, _> =
            list.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        map.insert("$defs".to_owned(), json!({ "x": x }));
        Value::Object(map)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn a_quick_yes_is_a_yes_of_the_crate(schema in schema(), values in prop::collection::vec(value(), 1..12)) {
        // Some of these refer only to themselves or have an invalid pattern.
        if let Ok(compiled) = Schema::compile("body", &schema, false) {
            for value in values {
                let (quick, crates) = verdicts(&compiled, &value);
                prop_assert!(quick != Some(true) || crates, "{schema} {value}");
            }
        }
    }

    #[test]
    fn a_simple_pattern_accepts_what_the_engine_accepts(pattern in pattern(), texts in prop::collection::vec(text(), 1..20)) {
        if let (Some(simple), Ok(schema)) = (Pattern::read(&pattern), Schema::compile("body", &json!({ "pattern": pattern }), false)) {
            for text in texts {
                let (_, engine) = verdicts(&schema, &json!(text));
                prop_assert!(!simple.accepts(&text) || engine, "{pattern} {text}");
            }
        }
    }
}

/// A closed schema that a value matches.
fn schema_of(value: &Value) -> Value {
    match value {
        Value::Null => json!({ "type": "null" }),
        Value::Bool(_) => json!({ "type": "boolean" }),
        Value::Number(_) => json!({ "type": "number", "maximum": 3 }),
        Value::String(_) => json!({ "type": "string", "maxLength": 8 }),
        Value::Array(list) => {
            json!({ "type": "array", "prefixItems": list.iter().map(schema_of).collect::<Vec<_>>(), "items": { "type": "integer" } })
        }
        Value::Object(map) => {
            let properties: serde_json::Map<_, _> =
                map.iter().map(|(key, value)| (key.clone(), schema_of(value))).collect();
            let required: Vec<_> = map.keys().take(2).collect();
            json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false })
        }
    }
}

#[test]
fn a_plain_body_of_a_closed_schema_is_accepted_while_it_is_read() {
    let schema = compiled(&json!({
        "type": "object",
        "properties": {
            "name": { "type": "string", "minLength": 3, "pattern": "^[a-z]+$" },
            "email": { "type": "string", "format": "email" },
            "born": { "type": "string", "format": "date" },
            "role": { "enum": ["user", "admin"] },
            "age": { "type": ["integer", "null"], "minimum": 0 },
            "home": { "$ref": "#/$defs/place" },
            "": { "type": "boolean" },
        },
        "required": ["name"],
        "additionalProperties": false,
        "$defs": { "place": { "type": "array", "items": { "type": "number", "multipleOf": 0.5 }, "maxItems": 2 } },
    }));
    let config = Limits::default();
    for (text, scanned) in [
        (
            r#"{"name":"ada","email":"ada@example.com","born":"1815-12-10","role":"admin","age":36.0,"home":[1.5,-2],"":true}"#,
            true,
        ),
        (" { \"age\" : null ,\r\n\"name\"\t: \"ada\" , \"home\" : [ ] } ", true),
        (r#"{"name":"ad"}"#, false),
        (r#"{"name":"a\u0064a"}"#, false),
        (r#"{"n\u0061me":"ada"}"#, false),
        (r#"{"name":"ada","name":"ada"}"#, false),
        (r#"{"name":"ada","more":1}"#, false),
        (r#"{"name":"ada","role":"root"}"#, false),
        (r#"{"name":"ada","born":"1815-02-30"}"#, false),
        (r#"{"name":"ada","age":9007199254740993}"#, false),
        (r#"{"name":"ada","home":[1,2,3]}"#, false),
        (r#"{"name":"ada","home":[0.25]}"#, false),
        (r#"{"name":"ada",}"#, false),
        (r#"{"name":"ada"}}"#, false),
        (r#"{"name":"ada""#, false),
        (r#"{"name" "ada"}"#, false),
        (r#"{"age":1}"#, false),
        ("{}", false),
        ("", false),
        ("\u{feff}{\"name\":\"ada\"}", false),
        ("{\"name\":\"a\nda\"}", false),
    ] {
        assert_eq!(schema.accepts_bytes(text.as_bytes(), &config), scanned, "{text}");
    }
    assert!(!schema.accepts_bytes(b"{\"name\":\"ad\xff\"}", &config), "bytes that are no text");
}

#[test]
fn members_are_found_in_whatever_order_they_came_before() {
    let number = json!({ "type": "integer" });
    let names = ["a", "bb", "a much longer name", "d"];
    let properties: serde_json::Map<_, _> =
        names.iter().map(|name| ((*name).to_owned(), number.clone())).collect();
    let schema = compiled(
        &json!({ "type": "object", "properties": properties, "required": ["d"], "additionalProperties": false }),
    );
    let accepts_bytes = |names: &[&str]| {
        let members: Vec<_> = names.iter().map(|name| format!("\"{name}\":1")).collect();
        let text = format!("{{{}}}", members.join(","));
        schema.accepts_bytes(text.as_bytes(), &Limits::default())
    };
    for shift in 0..names.len() {
        let mut order = names;
        order.rotate_left(shift);
        assert!(accepts_bytes(&order) && accepts_bytes(&order), "{order:?}");
        let twice = [order.as_slice(), &order[..1]].concat();
        assert!(!accepts_bytes(&twice), "{twice:?}");
        assert!(
            !accepts_bytes(&["a", "bb", "d", "e"])
                && accepts_bytes(&["d"])
                && !accepts_bytes(&["a"])
        );
    }
}

#[test]
fn a_body_over_a_limit_is_not_accepted_while_it_is_read() {
    let item = json!({ "type": "object", "properties": { "a": { "type": "integer" }, "b": { "type": "integer" } }, "additionalProperties": false });
    let schema = compiled(&json!({ "type": "array", "items": item }));
    let text = r#"[{"a":1,"b":2}]"#;
    for (limit, enough) in [("maxDepth", 2), ("maxNodes", 4), ("maxKeys", 2)] {
        let with =
            |n: i32| *PayloadConfig::parse("payload", Some(&json!({ limit: n }))).unwrap().limits();
        assert!(schema.accepts_bytes(text.as_bytes(), &with(enough)), "{limit}");
        assert!(!schema.accepts_bytes(text.as_bytes(), &with(enough - 1)), "{limit}");
    }
    let small =
        *PayloadConfig::parse("payload", Some(&json!({ "maxBytes": 10 }))).unwrap().limits();
    assert!(!schema.accepts_bytes(text.as_bytes(), &small));
}

#[test]
fn a_name_that_the_parser_would_refuse_is_not_accepted_because_a_schema_has_it() {
    for name in ["__proto__", "prototype", "constructor", "$set", "a.b", "a[0]", "a\"b", "a\\b"] {
        let schema = json!({ "type": "object", "properties": { name: { "type": "integer" } }, "additionalProperties": false });
        let schema = compiled(&schema);
        let text = format!("{{\"{name}\":1}}");
        assert!(!schema.accepts_bytes(text.as_bytes(), &Limits::default()), "{name}");
    }
}

/// Changes a text at some positions, like an attacker who looks for a gap.
fn edits() -> impl Strategy<Value = Vec<(prop::sample::Index, u8, String)>> {
    let piece = prop_oneof![
        "[\\{\\}\\[\\],:\" \\\\0-9.eE+-]{0,2}",
        prop::sample::select(vec![
            "\"a\":1,", "true", "null", ",", "\\u0061", "\n", "\u{1}", "1e400", "-", "00"
        ])
        .prop_map(str::to_owned),
    ];
    prop::collection::vec((any::<prop::sample::Index>(), 0..3_u8, piece), 0..3)
}

fn edited(text: &str, edits: &[(prop::sample::Index, u8, String)]) -> String {
    let mut chars: Vec<char> = text.chars().collect();
    for (place, taken, piece) in edits {
        let from = place.index(chars.len() + 1);
        let to = (from + usize::from(*taken)).min(chars.len());
        chars.splice(from..to, piece.chars());
    }
    chars.into_iter().collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn what_is_accepted_while_it_is_read_the_parser_and_the_crate_accept(value in value(), edits in edits(), any in schema(), tight in any::<bool>()) {
        let limits = if tight { json!({ "maxDepth": 2, "maxNodes": 5, "maxKeys": 2 }) } else { json!({}) };
        let config = *PayloadConfig::parse("payload", Some(&limits)).unwrap().limits();
        let text = edited(&value.to_string(), &edits);
        for schema in [schema_of(&value), any] {
            let Ok(schema) = Schema::compile("body", &schema, false) else { continue };
            if schema.accepts_bytes(text.as_bytes(), &config) {
                let said = config.with_document(text.as_bytes(), None, |document| schema.compare_paths(document));
                prop_assert_eq!(said.map_err(|refusal| refusal.code), Ok((Some(true), true)), "{}", text);
            }
        }
    }
}
