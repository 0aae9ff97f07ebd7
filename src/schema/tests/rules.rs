//! The settings that schemas of a guard share: drafts, registered schemas, formats, texts;
//! sanitizers; and the schemas of answers.

use serde_json::{Value, json};

use crate::json::Limits;
use crate::payload::{Checked, Format, Parts, Schemas};
use crate::payload::{OnResponse, Reply, Responses};
use crate::refusal::Refusal;
use crate::schema::Schema;
use crate::schema::SchemaRules;

fn rules(payload: &Value) -> SchemaRules {
    SchemaRules::parse("payload", Some(payload)).unwrap()
}

fn refused_rules(payload: &Value) -> String {
    SchemaRules::parse("payload", Some(payload)).unwrap_err().to_string()
}

fn schemas(rules: &SchemaRules, value: &Value) -> Schemas {
    Schemas::parse("", value.as_object().unwrap(), false, rules).unwrap()
}

fn check(
    schemas: &Schemas,
    body: Option<&Value>,
    query: &str,
    language: Option<&str>,
) -> Result<Checked, Refusal> {
    let config = Limits::default();
    let bytes = body.map(|body| body.to_string().into_bytes());
    schemas.check(&Parts {
        limits: &config,
        body: bytes.as_deref(),
        format: Format::Json,
        query,
        params: &[],
        headers: &[],
        language,
        multipart: None,
        keep_body: true,
    })
}

fn accepts(schema: &Value, rules: &SchemaRules, body: &Value) -> bool {
    let schema = Schema::compile_with("body", schema, true, rules).unwrap();
    schema.validate(body.to_string().as_bytes(), &Limits::default()).is_ok()
}

#[test]
fn a_schema_is_of_the_draft_that_it_or_the_guard_names() {
    // Up to draft 4 a boolean makes a bound exclusive; from draft 6 on `exclusiveMinimum` is a
    // number.
    let old = json!({ "properties": { "a": { "minimum": 1, "exclusiveMinimum": true } } });
    let new = json!({ "properties": { "a": { "exclusiveMinimum": 1 } } });
    let draft_4 = rules(&json!({ "draft": "4" }));
    assert!(!accepts(&old, &draft_4, &json!({ "a": 1 })));
    assert!(accepts(&old, &draft_4, &json!({ "a": 2 })));
    assert!(Schema::compile_with("body", &new, true, &draft_4).is_err());
    for draft in ["6", "7", "2019-09", "2020-12"] {
        let rules = rules(&json!({ "draft": draft }));
        assert!(!accepts(&new, &rules, &json!({ "a": 1 })), "{draft}");
        assert!(Schema::compile_with("body", &old, true, &rules).is_err(), "{draft}");
    }
    let named = json!({ "$schema": "http://json-schema.org/draft-04/schema#", "properties": old["properties"] });
    assert!(!accepts(&named, &SchemaRules::default(), &json!({ "a": 1 })));
    assert!(refused_rules(&json!({ "draft": "5" })).contains("must be one of"));
}

#[test]
fn a_reference_finds_a_registered_schema_and_nothing_else() {
    let registered = json!({ "schemas": {
        "https://api.example.com/user.json": {
            "$id": "https://api.example.com/user.json",
            "type": "object",
            "properties": { "name": { "type": "string", "x-trim": true }, "home": { "$ref": "address.json#/$defs/home" }, "friend": { "$ref": "#" } },
            "required": ["name"], "additionalProperties": false
        },
        "https://api.example.com/address.json": { "$defs": { "home": { "type": "object", "properties": { "zip": { "type": "string", "minLength": 5 } } } } }
    } });
    let rules = rules(&registered);
    let schema =
        json!({ "properties": { "user": { "$ref": "https://api.example.com/user.json" } } });
    let name = |name: &str| json!({ "user": { "name": name, "home": { "zip": "12345" } } });
    assert!(accepts(&schema, &rules, &name("Ada")));
    assert!(!accepts(
        &schema,
        &rules,
        &json!({ "user": { "name": "Ada", "home": { "zip": "1" } } })
    ));
    assert!(!accepts(&schema, &rules, &json!({ "user": { "name": "Ada", "admin": true } })));
    assert!(!accepts(
        &schema,
        &rules,
        &json!({ "user": { "name": "Ada", "friend": { "name": 1 } } })
    ));
    // Every feature treats it as part of the schema that refers to it.
    let schemas = schemas(
        &rules,
        &json!({ "body": schema, "query": { "properties": { "zip": { "$ref": "https://api.example.com/address.json#/$defs/home/properties/zip" } } } }),
    );
    let checked = check(&schemas, Some(&name(" Ada ")), "zip=12345", None).unwrap();
    assert_eq!(checked.body.unwrap()["user"]["name"], "Ada");
    assert_eq!(checked.query.as_deref(), Some("{\"zip\":\"12345\"}"));

    let unknown = json!({ "$ref": "https://api.example.com/nobody.json" });
    let error = Schema::compile_with("body", &unknown, true, &rules).unwrap_err().to_string();
    assert!(error.contains("'https://api.example.com/nobody.json'"), "{error}");
    for (payload, part) in [
        (json!({ "schemas": { "user.json": {} } }), "absolute URIs"),
        (
            json!({ "schemas": { "https://a.example/b": { "requried": [] } } }),
            "did you mean `required`?",
        ),
        (
            json!({ "schemas": { "https://a.example/b": { "$ref": "https://c.example/d" } } }),
            "https://c.example/d",
        ),
        (json!({ "schemas": { "https://a.example/b": true } }), "objects"),
    ] {
        let error = refused_rules(&payload);
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn formats_of_ones_own_are_asserted() {
    let rules = rules(&json!({ "formats": {
        "sku": { "source": "^[a-z]{3}-\\d+$", "flags": "i" }, "word": "^\\w+$", "free": "\0function"
    } }));
    let schema = json!({ "properties": { "sku": { "format": "sku" }, "word": { "format": "word" }, "free": { "format": "free" } } });
    assert!(accepts(
        &schema,
        &rules,
        &json!({ "sku": "ABC-12", "word": "a1", "free": "judged by the shim" })
    ));
    assert!(!accepts(&schema, &rules, &json!({ "sku": "AB-12" })));
    assert!(!accepts(&schema, &rules, &json!({ "word": "a b" })));
    let misspelt = json!({ "format": "skus" });
    let error = Schema::compile_with("body", &misspelt, true, &rules).unwrap_err().to_string();
    assert!(error.contains("did you mean 'sku'?"), "{error}");
    for (payload, part) in [
        (json!({ "formats": { "a": "(?=x)" } }), "linear time"),
        (json!({ "formats": { "a": { "source": "x", "flags": "g" } } }), "flag 'g'"),
        (json!({ "formats": { "a": 5 } }), "a regular expression or a function"),
        (json!({ "keywords": { "minLength": "\0function" } }), "is a keyword already"),
        (json!({ "keywords": { "even": true } }), "must be a function"),
    ] {
        let error = refused_rules(&payload);
        assert!(error.contains(part), "{error}");
    }
    let even = self::rules(&json!({ "keywords": { "tpye": "\0function" } }));
    assert!(Schema::compile_with("body", &json!({ "tpye": 1 }), true, &even).is_ok());
}

#[test]
fn a_schema_may_ask_for_backtracking_and_gets_it_within_bounds() {
    let schema = json!({ "x-regex": "backtracking", "type": "string", "pattern": "^(?=.*\\d)(?=.*[a-z]).{3,}$" });
    let none = SchemaRules::default();
    assert!(accepts(&schema, &none, &json!("abc1")));
    assert!(!accepts(&schema, &none, &json!("abcd")));
    // A match that would take an hour is given up, and the value is refused.
    let slow =
        json!({ "x-regex": "backtracking", "type": "string", "pattern": "^(?=a)(?:(a|aa)\\1?)+$" });
    assert!(!accepts(&slow, &none, &json!(format!("{}!", "a".repeat(5000)))));
}

#[test]
fn sanitizers_change_a_string_before_it_is_checked_and_the_handler_sees_that() {
    let schemas = schemas(
        &SchemaRules::default(),
        &json!({
            "body": { "properties": {
                "email": { "type": "string", "format": "email", "x-normalize-email": true, "x-lowercase": true },
                "name": { "type": "string", "x-trim": true, "x-nfc": true, "minLength": 2, "maxLength": 3 },
                "tags": { "type": "array", "items": { "type": "string", "x-lowercase": true } },
                "n": {}
            }, "allOf": [{ "properties": { "n": { "x-trim": true } } }] },
            "query": { "properties": { "q": { "type": "string", "x-trim": true, "minLength": 1 } } }
        }),
    );
    let body = json!({ "email": " Ada@Example.COM", "name": "  A\u{30a}da\n", "tags": ["A", "b\""], "n": " 1 " });
    let wanted =
        json!({ "email": "ada@example.com", "name": "Åda", "tags": ["a", "b\""], "n": "1" });
    let checked = check(&schemas, Some(&body), "q=+a+", None).unwrap();
    let text = checked.changed.unwrap();
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), wanted);
    assert_eq!(checked.body.unwrap(), wanted);
    assert_eq!(checked.query.as_deref(), Some("{\"q\":\"a\"}"));
    // The length is checked after trimming.
    let refusal = check(&schemas, Some(&json!({ "name": " a " })), "q=+", None).unwrap_err();
    let found: Vec<_> =
        refusal.errors.iter().map(|e| (e.location, e.pointer.as_str(), e.code)).collect();
    assert_eq!(found, [("body", "#/name", "minLength"), ("query", "#/q", "minLength")]);
    // Without a change, nothing is written.
    assert_eq!(check(&schemas, Some(&json!({ "name": "Ada" })), "", None).unwrap().changed, None);
}

#[test]
fn a_sanitizer_that_might_apply_or_not_is_refused() {
    let trim = json!({ "type": "string", "x-trim": true });
    for schema in [
        json!({ "anyOf": [trim, { "type": "null" }] }),
        json!({ "properties": { "a": { "oneOf": [trim] } } }),
        json!({ "not": trim }),
        json!({ "if": trim, "then": {} }),
        json!({ "patternProperties": { "^a": trim } }),
        json!({ "anyOf": [{ "$ref": "#/$defs/a" }], "$defs": { "a": { "properties": { "b": trim } } } }),
    ] {
        let error = Schema::compile("body", &schema, true).unwrap_err().to_string();
        assert!(error.contains("may apply or not"), "{schema}: {error}");
    }
    // Where it always applies, it may be anywhere, even in a recursive schema.
    let tree = json!({ "$ref": "#/$defs/node", "$defs": { "node": { "type": "object", "properties": { "name": trim, "child": { "$ref": "#/$defs/node" } }, "additionalProperties": false } } });
    let schemas = schemas(&SchemaRules::default(), &json!({ "body": tree }));
    let body = json!({ "name": " a ", "child": { "name": " b " } });
    let checked = check(&schemas, Some(&body), "", None).unwrap();
    assert_eq!(checked.body.unwrap(), json!({ "name": "a", "child": { "name": "b" } }));
}

#[test]
fn errors_speak_the_applications_words_in_the_language_that_the_client_asks_for() {
    let rules = rules(&json!({ "messages": {
        "required": "please give {key}",
        "de": { "required": "bitte {key} angeben", "minLength": "mindestens {limit} Zeichen" },
        "pt-BR": { "required": "informe {key}" }
    } }));
    let schemas = schemas(
        &rules,
        &json!({ "body": { "properties": { "name": { "minLength": 3 } }, "required": ["name"] } }),
    );
    let told = |language: Option<&str>| {
        let refusal = check(&schemas, Some(&json!({})), "", language).unwrap_err();
        let tag = refusal.headers.iter().find(|(name, _)| *name == "Content-Language");
        assert!(refusal.headers.contains(&("Vary", "Accept-Language".to_owned())));
        (refusal.errors[0].detail.clone(), tag.map(|(_, tag)| tag.clone()))
    };
    assert_eq!(told(None).0, "please give name");
    assert_eq!(told(Some("fr, de;q=0")), ("please give name".to_owned(), None));
    assert_eq!(
        told(Some("fr;q=0.9, de-AT;q=0.5")),
        ("bitte name angeben".to_owned(), Some("de".to_owned()))
    );
    assert_eq!(
        told(Some("de;q=0.2,PT;q=0.3")),
        ("informe name".to_owned(), Some("pt-BR".to_owned()))
    );
    let refusal = check(&schemas, Some(&json!({ "name": "a" })), "", Some("de")).unwrap_err();
    assert_eq!(refusal.errors[0].detail, "mindestens 3 Zeichen");
    let refusal = check(&schemas, Some(&json!({ "name": "a" })), "", None).unwrap_err();
    assert_eq!(refusal.errors[0].detail, "must have at least 3 characters");
    for (payload, part) in [
        (json!({ "messages": { "requird": "x" } }), "did you mean `required`?"),
        (json!({ "messages": { "deutsch!": {} } }), "language tag"),
        (json!({ "messages": { "de": { "minlength": "x" } } }), "did you mean `minLength`?"),
        (json!({ "messages": { "type": "" } }), "one line"),
    ] {
        let error = refused_rules(&payload);
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn the_errors_of_one_answer_stay_within_eight_kilobytes() {
    let long = "x".repeat(60);
    let nested = |inner: Value| json!({ "type": "object", "additionalProperties": inner });
    let schema = nested(nested(nested(nested(
        json!({ "type": "string", "pattern": format!("^{}$", "\"[a]".repeat(60)) }),
    ))));
    let mut body = Value::Object((0..30).map(|i| (format!("{i}{long}"), json!("b"))).collect());
    for _ in 0..3 {
        body = json!({ long.clone(): body });
    }
    let schema = Schema::compile("body", &schema, true).unwrap();
    let refusal = schema.validate(body.to_string().as_bytes(), &Limits::default()).unwrap_err();
    assert!(refusal.truncated && !refusal.errors.is_empty());
    let written: String = refusal
        .errors
        .iter()
        .map(|e| {
            json!({ "in": e.location, "pointer": e.pointer, "code": e.code, "detail": e.detail })
                .to_string()
        })
        .collect();
    assert!(written.len() < 7600, "{}", written.len());
}

fn responses(value: &Value, on: OnResponse) -> Responses {
    Responses::parse("response", value, on, &SchemaRules::default()).unwrap()
}

#[test]
fn what_an_answer_does_not_declare_is_dropped_at_every_depth() {
    let user = json!({ "type": "object", "properties": { "id": { "type": "integer" }, "name": { "type": "string" } }, "required": ["id"] });
    let schema = json!({ "200": { "type": "object", "properties": { "users": { "type": "array", "items": user }, "owner": { "anyOf": [user, { "type": "null" }] },
        "any": { "type": "object" }, "map": { "type": "object", "additionalProperties": { "type": "number" } } } } });
    let strip = responses(&schema, OnResponse::Strip);
    let body = json!({ "users": [{ "id": 1, "password": "x" }, { "name": "\u{1}\"", "id": 2 }], "owner": { "id": 3, "secret": { "a": 1 } }, "any": { "x": [1e3] }, "map": { "a.b": 1 }, "debug": 1 });
    let Some(Reply::Stripped(text)) = strip.judge(200, body.to_string().as_bytes()) else {
        panic!()
    };
    let text: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        text,
        json!({ "users": [{ "id": 1 }, { "name": "\u{1}\"", "id": 2 }], "owner": { "id": 3 }, "any": { "x": [1000.0] }, "map": { "a.b": 1 } })
    );
    assert_eq!(strip.judge(200, text.to_string().as_bytes()), Some(Reply::AsIs));
    assert_eq!(strip.judge(201, b"{}"), None);
    let Some(Reply::Wrong(refusal)) =
        strip.judge(200, b"{\"users\":[{\"id\":\"1\",\"password\":\"x\"}]}")
    else {
        panic!()
    };
    assert_eq!((refusal.errors[0].pointer.as_str(), refusal.errors.len()), ("#/users/0/id", 1));
    let fail = responses(&schema, OnResponse::Fail);
    let Some(Reply::Wrong(refusal)) = fail.judge(200, b"{\"debug\":1}") else { panic!() };
    assert_eq!(
        (refusal.errors[0].location, refusal.errors[0].pointer.as_str()),
        ("response", "#/debug")
    );
}

#[test]
fn the_schema_of_an_answer_is_the_one_nearest_to_its_status() {
    let only = |value: &str| json!({ "const": value });
    let all = responses(
        &json!({ "201": only("exact"), "2xx": only("class"), "default": only("rest") }),
        OnResponse::Fail,
    );
    for (status, text) in [(201, "\"exact\""), (200, "\"class\""), (404, "\"rest\"")] {
        assert_eq!(all.judge(status, text.as_bytes()), Some(Reply::AsIs), "{status}");
        assert!(matches!(all.judge(status, b"1"), Some(Reply::Wrong(_))), "{status}");
    }
    for (value, part) in [
        (json!({ "99": {} }), "200 to 599"),
        (json!({ "ok": {} }), "'default'"),
        (json!([]), "by status"),
    ] {
        let error = Responses::parse("response", &value, OnResponse::Fail, &SchemaRules::default())
            .unwrap_err()
            .to_string();
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn a_function_under_a_keyword_that_no_check_reads_is_refused() {
    let rules = rules(
        &json!({ "keywords": { "even": "\0function" }, "formats": { "iban": "\0function" } }),
    );
    for inner in [json!({ "even": true }), json!({ "properties": { "a": { "format": "iban" } } })] {
        let schema = json!({ "contentMediaType": "application/json", "contentSchema": inner });
        let error = Schema::compile_with("body", &schema, true, &rules).unwrap_err().to_string();
        assert!(error.contains("#/contentSchema asks a function"), "{error}");
    }
}

fn refused_by(schema: &Value, document: &Value) -> Vec<(String, &'static str, String)> {
    let schema = Schema::compile("body", schema, true).unwrap();
    let config = Limits::default();
    let refusal = schema.validate(document.to_string().as_bytes(), &config).unwrap_err();
    assert_eq!(refusal.status, 422);
    refusal.errors.iter().map(|it| (it.pointer.clone(), it.code, it.detail.clone())).collect()
}

#[test]
fn what_the_matches_of_a_document_may_cost_is_bounded() {
    let none = SchemaRules::default();
    let text = |pattern: &str| json!({ "x-regex": "backtracking", "pattern": pattern });
    let long = json!("a".repeat(99_000));
    assert!(!accepts(&text("(?=.*[0-9]).{8,}"), &none, &long));
    assert!(!accepts(&text("(?<!b)a*c"), &none, &long));
    assert!(accepts(&text("^(?!.*b)a"), &none, &long), "a long text that takes few steps");

    let words = json!({ "x-regex": "backtracking", "items": { "pattern": "^(?:(a+\\s?)\\1?)+$" } });
    let list = |n: usize| json!(vec!["aaaaaaaaaaaaaaaaaaaaaaaaaaaab"; n]);
    assert!(!accepts(&words, &none, &list(3_000)));
    let easy = json!({ "x-regex": "backtracking", "items": { "pattern": "^(?=.*\\d)\\w+$" } });
    assert!(accepts(&easy, &none, &json!(vec!["abc1"; 9_000])), "cheap matches never run out");
}

#[test]
fn a_match_that_is_given_up_is_an_error_at_its_place_and_never_a_match() {
    let slow = "^(?:(a|aa)\\1?)+$";
    let text = format!("{}b", "a".repeat(5_000));
    let body = json!({ "x-regex": "backtracking", "properties": { "p": { "type": "string", "pattern": slow } } });
    let place = |pointer: &str| {
        vec![(pointer.to_owned(), "pattern", format!("must match the pattern {slow}"))]
    };
    assert_eq!(refused_by(&body, &json!({ "p": text })), place("#/p"));
    let items = json!({ "x-regex": "backtracking", "items": { "pattern": slow } });
    assert_eq!(refused_by(&items, &json!(["aa", text])), place("#/1"));

    let not = json!({ "x-regex": "backtracking", "not": { "pattern": slow } });
    let found = refused_by(&not, &json!(text));
    let detail = "must match a pattern that could not be checked".to_owned();
    assert_eq!(found, [("#".to_owned(), "pattern", detail)]);

    let keys = json!({ "x-regex": "backtracking", "patternProperties": { "^(?!x-)": {} } });
    let error = Schema::compile("body", &keys, true).unwrap_err().to_string();
    assert!(error.contains("is for `pattern` alone"), "{error}");
}
