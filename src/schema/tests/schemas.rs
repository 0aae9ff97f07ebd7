use proptest::prelude::*;
use serde_json::{Value, json};

use super::create_user;
use crate::error::ConfigCode;
use crate::json::Limits;
use crate::payload::{PayloadConfig, fuzz};
use crate::refusal::Refusal;
use crate::schema::Schema;

fn compiled(schema: &Value) -> Schema {
    Schema::compile("body", schema, true).unwrap()
}

fn refused(schema: &Value) -> String {
    let error = Schema::compile("body", schema, true).unwrap_err();
    assert_eq!(error.code(), ConfigCode::InvalidSchema);
    assert_eq!(error.path(), "body");
    error.to_string()
}

fn validate(schema: &Value, body: &Value) -> Result<(), Refusal> {
    compiled(schema).validate(body.to_string().as_bytes(), &Limits::default())
}

/// `pointer code detail` of each error.
fn errors(schema: &Value, body: &Value) -> Vec<String> {
    let refusal = validate(schema, body).unwrap_err();
    assert_eq!((refusal.status, refusal.code), (422, "validation_failed"));
    refusal.errors.iter().map(|e| format!("{} {} {}", e.pointer, e.code, e.detail)).collect()
}

#[test]
fn a_user_as_the_schema_wants_is_accepted() {
    for body in [
        json!({ "username": "ada", "email": "ada@example.com", "password": "correct horse" }),
        json!({ "username": "A".repeat(20), "email": "a.b+c@x-y.co.uk", "password": "é".repeat(12) }),
    ] {
        assert_eq!(validate(&create_user(), &body), Ok(()), "{body}");
    }
}

#[test]
fn each_fault_of_a_user_is_named_in_plain_words() {
    let body = json!({ "username": "a!", "email": "Ada <ada@example.com>", "password": "hunter2", "isAdmin": true });
    let mut found = errors(&create_user(), &body);
    found.sort();
    assert_eq!(
        found,
        [
            "#/email format must be an email address",
            "#/isAdmin additionalProperties `isAdmin` is not expected here",
            "#/password minLength must have at least 12 characters",
            "#/username minLength must have at least 3 characters",
            "#/username pattern must match the pattern ^[a-zA-Z0-9]+$",
        ]
    );
    assert_eq!(errors(&create_user(), &json!([])), ["# type must be an object"]);
    let mut found = errors(&create_user(), &json!({ "username": {"a": 1} }));
    found.sort();
    assert_eq!(
        found,
        [
            "#/email required `email` is required",
            "#/password required `password` is required",
            "#/username type must be a string",
        ]
    );
}

#[test]
fn a_submitted_value_is_never_echoed() {
    let secret = "hunter2-secret";
    let schema = json!({ "properties": {
        "a": { "type": "integer" }, "b": { "enum": ["x", "y", "z"] }, "c": { "format": "ipv4" }, "d": { "maxLength": 1 },
        "e": { "const": 1 }, "f": { "not": {} }, "g": { "anyOf": [{ "type": "null" }, { "maxLength": 2 }] },
        "h": { "items": false }, "i": { "propertyNames": { "maxLength": 3 } }, "j": { "contains": { "type": "null" } }
    } });
    let body = json!({ "a": secret, "b": secret, "c": secret, "d": secret, "e": secret, "f": secret, "g": secret,
        "h": [secret], "i": { "long key": secret }, "j": [secret] });
    let refusal = validate(&schema, &body).unwrap_err();
    assert_eq!(refusal.errors.len(), 10, "{:?}", refusal.errors);
    assert!(!format!("{refusal:?}").contains(secret), "{refusal:?}");
}

#[test]
fn errors_say_what_would_be_right() {
    for (schema, value, text) in [
        (json!({ "type": ["string", "null"] }), json!(1), "must be null or a string"),
        (json!({ "enum": [1, 2, 3] }), json!(4), "must be one of the 3 allowed values"),
        (json!({ "minimum": 18 }), json!(17), "must be at least 18"),
        (json!({ "exclusiveMaximum": 1.5 }), json!(2), "must be less than 1.5"),
        (json!({ "multipleOf": 5 }), json!(7), "must be a multiple of 5"),
        (json!({ "minItems": 1 }), json!([]), "must have at least 1 element"),
        (
            json!({ "uniqueItems": true }),
            json!([{ "a": 1, "b": 2 }, { "b": 2.0, "a": 1 }]),
            "must not have the same element twice",
        ),
        (
            json!({ "format": "date-time" }),
            json!("today"),
            "must be a date and time such as 2026-01-31T12:00:00Z",
        ),
        (json!({ "format": "uuid" }), json!("1"), "must be a UUID"),
        (json!({ "format": "uri" }), json!("a b"), "must be an absolute URI"),
        (
            json!({ "oneOf": [{ "type": "number" }, { "minimum": 1 }] }),
            json!(5),
            "must match only one of the allowed forms",
        ),
        (json!(false), json!(1), "is not expected here"),
    ] {
        let schema = json!({ "properties": { "v": schema } });
        let found = errors(&schema, &json!({ "v": value }));
        assert!(found.len() == 1 && found[0].ends_with(text), "{found:?}");
    }
}

#[test]
fn of_several_forms_the_errors_of_the_one_that_was_meant_are_told() {
    let schema = json!({ "properties": { "v": { "anyOf": [{ "type": "string", "minLength": 5 }, { "type": "null" }] } } });
    assert_eq!(
        errors(&schema, &json!({ "v": "x" })),
        ["#/v minLength must have at least 5 characters"]
    );
    let shape = |kind: &str, field: &str| {
        json!({ "properties": { "kind": { "const": kind }, field: { "type": "number" } },
        "required": ["kind", field], "additionalProperties": false })
    };
    let schema = json!({ "oneOf": [shape("circle", "radius"), shape("square", "side")] });
    assert_eq!(
        errors(&schema, &json!({ "kind": "square", "side": "1" })),
        ["#/side type must be a number"]
    );
    assert_eq!(
        errors(&schema, &json!({ "kind": "star" })),
        ["# oneOf must match one of the allowed forms"]
    );
}

#[test]
fn keys_that_the_schema_does_not_declare_are_refused_by_default() {
    let open = json!({ "a": 1, "isAdmin": true });
    let a = json!({ "a": {} });
    for schema in [
        json!({ "properties": a }),
        json!({ "properties": {}, "allOf": [{ "properties": a }] }),
        json!({ "$ref": "#/$defs/A", "$defs": { "A": { "properties": a } } }),
        json!({ "anyOf": [{ "properties": a, "required": ["a"] }, { "properties": { "b": {} } }] }),
        json!({ "$schema": "https://json-schema.org/draft/2019-09/schema", "allOf": [{ "properties": a }] }),
        json!({ "$schema": "http://json-schema.org/draft-07/schema#", "properties": a }),
        json!({ "properties": {}, "patternProperties": { "^a$": {} } }),
        json!({ "if": { "properties": a }, "then": {}, "properties": { "b": {} } }),
    ] {
        let found = errors(&schema, &open);
        assert!(found.len() == 1 && found[0].starts_with("#/isAdmin "), "{schema}: {found:?}");
        assert_eq!(validate(&schema, &json!({ "a": 1 })), Ok(()), "{schema}");
    }
    for schema in [
        json!(true),
        json!({}),
        json!({ "type": "object" }),
        json!({ "properties": a, "additionalProperties": true }),
        json!({ "allOf": [{ "properties": a }], "unevaluatedProperties": true }),
        json!({ "allOf": [{ "properties": a, "additionalProperties": true }] }),
    ] {
        assert_eq!(validate(&schema, &open), Ok(()), "{schema}");
    }
    let schema = Schema::compile("params", &json!({ "properties": a }), false).unwrap();
    assert_eq!(schema.validate(open.to_string().as_bytes(), &Limits::default()), Ok(()));
}

#[test]
fn draft_7_must_say_itself_whether_a_composed_object_is_closed() {
    let draft = "http://json-schema.org/draft-07/schema#";
    let text = refused(&json!({ "$schema": draft, "allOf": [{ "properties": { "a": {} } }] }));
    assert!(text.contains("additionalProperties: false or true"), "{text}");
    let target = json!({ "properties": { "a": {} }, "additionalProperties": false });
    let schema =
        json!({ "$schema": draft, "$ref": "#/definitions/A", "definitions": { "A": target } });
    assert!(validate(&schema, &json!({ "b": 1 })).is_err());
}

#[test]
fn a_schema_may_declare_keys_that_look_like_operators() {
    let schema = json!({ "properties": { "$type": {}, "deep": { "properties": { "a.b": {} } } } });
    assert_eq!(validate(&schema, &json!({ "$type": 1, "deep": { "a.b": 1 } })), Ok(()));
    let refusal = validate(&schema, &json!({ "deep": { "$gt": 1 } })).unwrap_err();
    assert_eq!((refusal.status, refusal.code), (400, "operator_key"));
}

#[test]
fn a_schema_that_would_check_less_than_it_seems_to_is_refused() {
    let remote = "https://example.com/user.json";
    for (schema, part) in [
        (json!("string"), "must be a JSON Schema (an object, true or false), not this string"),
        (
            json!({ "requried": ["a"] }),
            "#/requried is no keyword of JSON Schema and would check nothing; did you mean `required`?",
        ),
        (json!({ "properties": { "a": { "minLenght": 1 } } }), "#/properties/a/minLenght"),
        (json!({ "items": { "Type": "string" } }), "did you mean `type`?"),
        (json!({ "type": "strng" }), "#/type"),
        (json!({ "minLength": "3" }), "#/minLength must be an integer"),
        (
            json!({ "$schema": "https://json-schema.org/draft/2099/schema" }),
            "#/$schema is no draft that is supported",
        ),
        (
            json!({ "$schema": "http://json-schema.org/draft-03/schema#" }),
            "#/$schema is no draft that is supported",
        ),
        (
            json!({ "$schema": "http://json-schema.org/draft-04/schema#", "const": 1 }),
            "#/const is no keyword of draft 4",
        ),
        (
            json!({ "$schema": "http://json-schema.org/draft-06/schema#", "if": {}, "then": {} }),
            "is no keyword of draft 6",
        ),
        (json!({ "x-tirm": true }), "did you mean `x-trim`?"),
        (json!({ "x-normalizeEmail": true }), "did you mean `x-normalize-email`?"),
        (json!({ "x-trim": "yes" }), "#/x-trim must be true or false"),
        (
            json!({ "properties": { "a": { "x-regex": "backtracking" } } }),
            "write it at the top of the schema",
        ),
        (json!({ "x-regex": "fast" }), "must be 'linear' or 'backtracking'"),
        (json!({ "$schema": 7 }), "#/$schema"),
        (
            json!({ "properties": { "a": { "$ref": remote } } }),
            "#/properties/a/$ref ('https://example.com/user.json') leads to no schema that is known here",
        ),
        (
            json!({ "properties": { "a": { "$ref": "file:///etc/passwd" } } }),
            "#/properties/a/$ref ('file:///etc/passwd') leads to no schema",
        ),
        (
            json!({ "$id": "https://example.com/a", "$ref": remote }),
            "can't be resolved within the schema",
        ),
        (json!({ "$ref": "#/$defs/Nobody" }), "#/$ref ('#/$defs/Nobody') leads nowhere"),
        (
            json!({ "properties": { "a": { "pattern": "(?=x)x" } } }),
            "#/properties/a/pattern is a pattern that can't be checked in linear time",
        ),
        (json!({ "properties": { "a": { "pattern": "(a)\\1" } } }), "linear time"),
        (
            json!({ "properties": { "a": { "format": "emial" } } }),
            "#/properties/a/format is a format that draft 2020-12 does not have here; did you mean 'email'?",
        ),
        (json!({ "additionalItems": false }), "#/additionalItems is no keyword of draft 2020-12"),
        (
            json!({ "$schema": "http://json-schema.org/draft-07/schema#", "unevaluatedProperties": false }),
            "is no keyword of draft 7",
        ),
        (
            json!({ "$schema": "http://json-schema.org/draft-07/schema#", "properties": { "a": { "$ref": "#", "minLength": 1 } } }),
            "makes draft 7 ignore the `minLength` beside it",
        ),
    ] {
        let text = refused(&schema);
        assert!(text.contains(part), "{text}\n  should have: {part}");
    }
}

#[test]
fn keywords_and_names_of_ones_own_are_left_alone() {
    for schema in [
        json!({ "x-trim": true, "x-requried": 1, "errorMessage": {}, "markdownDescription": "", "~standard": {} }),
        json!({ "properties": { "requried": { "type": "string" }, "typ": true } }),
        json!({ "$defs": { "requird": { "enum": [{ "minLenght": 1 }] } }, "default": { "typ": 1 }, "examples": [{ "typ": 1 }] }),
    ] {
        assert!(Schema::compile("body", &schema, true).is_ok(), "{schema}");
    }
}

#[test]
fn formats_are_asserted_in_every_draft() {
    for draft in [
        "https://json-schema.org/draft/2020-12/schema",
        "https://json-schema.org/draft/2019-09/schema",
        "http://json-schema.org/draft-07/schema#",
        "http://json-schema.org/draft-06/schema#",
        "http://json-schema.org/draft-04/schema#",
    ] {
        for (format, good, bad) in [
            ("email", "a@b.co", "a@b"),
            ("uuid", "2eb8aa08-aa98-11ea-b4aa-73b441d16380", "2eb8aa08"),
            ("date-time", "2026-11-22T04:00:00Z", "2026-11-22"),
            ("ipv4", "10.0.0.1", "10.0.0.256"),
            ("ipv6", "::1", ":::"),
            ("uri", "https://a.example/b", "/b"),
        ] {
            let schema = json!({ "$schema": draft, "format": format });
            assert_eq!(validate(&schema, &json!(good)), Ok(()), "{draft} {format}");
            assert!(validate(&schema, &json!(bad)).is_err(), "{draft} {format}");
        }
    }
}

#[test]
fn at_most_twenty_errors_are_listed() {
    let keys: Value = (0..50).map(|i| (format!("k{i}"), json!(i))).collect();
    let refusal = validate(&create_user(), &keys).unwrap_err();
    assert_eq!((refusal.errors.len(), refusal.truncated), (20, true));
    let schema = json!({ "items": { "type": "string" } });
    let refusal = validate(&schema, &json!(vec![1; 20])).unwrap_err();
    assert_eq!((refusal.errors.len(), refusal.truncated), (20, false));
}

#[test]
fn a_large_body_that_is_wrong_everywhere_gets_one_error_and_is_marked() {
    let schema =
        json!({ "items": { "required": ["a", "b"], "properties": { "c": { "type": "string" } } } });
    let body = json!(vec![json!({ "c": 1 }); 4000]);
    let refusal = validate(&schema, &body).unwrap_err();
    assert_eq!((refusal.errors.len(), refusal.truncated), (1, true));
    assert!(refusal.errors[0].pointer.starts_with("#/0"), "{:?}", refusal.errors);
}

#[test]
fn a_choice_inside_a_recursion_is_refused_without_taking_forever() {
    let branch = |tag: &str| json!({ "properties": { "child": { "$ref": "#" }, "tag": { "const": tag } }, "required": ["tag"] });
    let schema =
        json!({ "anyOf": [branch("a"), branch("b"), branch("c")], "unevaluatedProperties": true });
    let mut body = json!({ "tag": "z" });
    for _ in 0..30 {
        body = json!({ "tag": "a", "child": body });
    }
    let found = errors(&schema, &body);
    assert_eq!(
        found,
        ["# schema does not match the schema, and is too large or too deep to say where"]
    );
    assert_eq!(errors(&schema, &json!({ "tag": "z" })).len(), 1);
}

#[test]
fn a_body_of_hostile_keys_is_cut_in_the_errors() {
    let key = format!("{}\u{1b}[31m", "x".repeat(200));
    let found = errors(
        &create_user(),
        &json!({ "username": "abc", "email": "a@b.co", "password": "123456789012", key: 1 }),
    );
    assert_eq!(found.len(), 1);
    assert!(found[0].len() < 300 && !found[0].contains('\u{1b}'), "{found:?}");
}

#[test]
fn schemas_may_be_shared_between_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<Schema>();
    shared::<crate::payload::Schemas>();
    shared::<PayloadConfig>();
}

proptest! {
    #[test]
    fn any_schema_and_any_body_are_survived(
        keyword in "(type|properties|items|\\$ref|format|pattern|enum|anyOf|required|minimum|[a-z]{3,8})",
        value in "(null|1|\"string\"|\"#\"|\"email\"|\\[\"a\"\\]|\\{\"a\":\\{\"type\":\"string\"\\}\\}|\\[\\{\"type\":\"null\"\\},\\{\"minLength\":3\\}\\]|[\"\\[{}\\]:a1,]{0,12})",
        body in "(\"a\"|1|null|\\[1,\"a\"\\]|\\{\"a\":1,\"b\":\\{\\}\\}|[\"\\[{}\\]:a1,]{0,12})",
    ) {
        fuzz::fuzz_schema(format!("{{\"{keyword}\":{value}}}").as_bytes(), body.as_bytes());
    }
}
