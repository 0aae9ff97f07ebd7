//! Schemas whose parts have names: all code that walks them resolves a name as the validator does.

use serde_json::{Value, json};

use crate::json::Limits;
use crate::payload::{Format, Parts, Schemas};
use crate::payload::{OnResponse, Reply, Responses};
use crate::schema::Schema;
use crate::schema::SchemaRules;

const OLD: &str = "http://json-schema.org/draft-07/schema#";
const OLDEST: &str = "http://json-schema.org/draft-04/schema#";

fn rules(schemas: &Value) -> SchemaRules {
    SchemaRules::parse("payload", Some(&json!({ "schemas": schemas }))).unwrap()
}

#[test]
fn a_schema_that_refers_to_itself_for_the_same_value_is_refused() {
    let (user, group) = ("https://example.com/user.json", "https://example.com/group.json");
    let around =
        json!({ "schemas": { user: { "$ref": group }, group: { "allOf": [{ "$ref": user }] } } });
    let error = SchemaRules::parse("payload", Some(&around)).unwrap_err().to_string();
    assert!(error.contains("refers to itself for the same value"), "{error}");
    let none = SchemaRules::default();
    for (schema, rules) in [
        (json!({ "$ref": "#" }), &none),
        (
            json!({ "properties": { "u": { "$ref": "#/$defs/U" } }, "$defs": { "U": { "$ref": "#/$defs/U" } } }),
            &none,
        ),
        (
            json!({ "$ref": "#/$defs/A", "$defs": { "A": { "anyOf": [{ "$ref": "#/$defs/B" }, {}] }, "B": { "not": { "$ref": "#/$defs/A" } } } }),
            &none,
        ),
        (json!({ "$ref": "#me", "$anchor": "me" }), &none),
        (
            json!({ "$schema": OLD, "definitions": { "U": { "$ref": "#/definitions/U" } }, "items": { "$ref": "#/definitions/U" } }),
            &none,
        ),
        (json!({ "dependentSchemas": { "a": { "$ref": "#" } } }), &none),
    ] {
        let error = Schema::compile_with("body", &schema, true, rules).unwrap_err().to_string();
        assert!(error.contains("refers to itself for the same value"), "{schema}: {error}");
    }
    let tree =
        json!({ "type": "object", "properties": { "children": { "items": { "$ref": "#" } } } });
    assert!(Schema::compile("body", &tree, true).is_ok());
}

fn stripped(schema: &Value, rules: &SchemaRules, answer: &Value) -> Value {
    let responses =
        Responses::parse("response", &json!({ "200": schema }), OnResponse::Strip, rules).unwrap();
    match responses.judge(200, answer.to_string().as_bytes()) {
        Some(Reply::Stripped(text)) => serde_json::from_str(&text).unwrap(),
        Some(Reply::AsIs) => answer.clone(),
        other => panic!("{schema}: {other:?}"),
    }
}

/// A user with a friend, whose schema is the reference `friend`.
fn user(friend: &str) -> Value {
    json!({ "type": "object", "properties": { "name": { "type": "string" }, "friend": { "$ref": friend } }, "required": ["name"] })
}

fn with(mut schema: Value, key: &str, value: &str) -> Value {
    schema[key] = value.into();
    schema
}

/// Schemas of a user that refer to parts of themselves, each in another way.
fn recursive() -> Vec<Value> {
    let defs = |name: &str, schema: Value| json!({ "$defs": { "node": schema }, "$ref": name });
    vec![
        // The form that TypeBox's `Type.Cyclic` has.
        defs("Node", with(user("Node"), "$id", "Node")),
        defs("#node", with(user("#node"), "$anchor", "node")),
        defs("#node", with(user("#/$defs/node"), "$dynamicAnchor", "node")),
        with(user("#"), "$id", "https://example.com/user.json"),
        with(user("user.json"), "$id", "https://example.com/user.json"),
        with(user("https://example.com/user.json#"), "$id", "https://example.com/user.json"),
        with(
            defs("parts/node.json", with(user("../parts/node.json"), "$id", "parts/node.json")),
            "$id",
            "https://example.com/user.json",
        ),
        // A pointer starts at the schema that has the name.
        defs("urn:example:node", with(user("#"), "$id", "urn:example:node")),
        defs(
            "Node",
            json!({ "$id": "Node", "$ref": "#/$defs/in%20side", "$defs": { "in side": user("#/$defs/in%20side") } }),
        ),
        json!({ "$schema": OLD, "definitions": { "node": with(user("#node"), "$id", "#node") }, "allOf": [{ "$ref": "#node" }] }),
        json!({ "$schema": OLD, "definitions": { "node": with(user("#"), "$id", "Node") }, "$ref": "Node" }),
        json!({ "$schema": OLDEST, "definitions": { "node": with(user("#node"), "id", "#node") }, "$ref": "#node" }),
        json!({ "$schema": OLDEST, "definitions": { "node": with(user("Node"), "id", "Node") }, "$ref": "Node" }),
        // A schema under a name of the author's own is found by its pointer, and contains
        // references as well.
        json!({ "$ref": "#/models/node", "models": { "node": user("#named") }, "$defs": { "a": with(user("#/models/node"), "$anchor", "named") } }),
    ]
}

#[test]
fn what_an_answer_does_not_declare_is_dropped_behind_a_reference_by_name() {
    let sent = json!({ "name": "ada", "passwordHash": "x", "friend": { "name": "bob", "passwordHash": "y", "friend": { "name": "eve", "passwordHash": "z" } } });
    let left = json!({ "name": "ada", "friend": { "name": "bob", "friend": { "name": "eve" } } });
    for schema in recursive() {
        assert_eq!(stripped(&schema, &SchemaRules::default(), &sent), left, "{schema}");
        let schema = Schema::compile("response", &schema, false).unwrap();
        let judge =
            |body: &Value| schema.validate(body.to_string().as_bytes(), &Limits::default()).is_ok();
        assert!(judge(&left));
        assert!(!judge(&json!({ "name": "ada", "friend": { "name": "bob", "friend": {} } })));
    }
}

#[test]
fn registered_schemas_may_have_names_inside() {
    let registered = json!({
        "https://a.example/user.json": with(json!({ "$ref": "#user", "$defs": { "u": with(user("#user"), "$anchor", "user") } }), "$id", "https://a.example/user.json"),
        "https://a.example/team.json": { "$ref": "Team", "$defs": { "t": { "$id": "Team", "properties": { "lead": { "$ref": "user.json" }, "sub": { "$ref": "#" } } } } },
        "https://a.example/other.json": { "$ref": "#user", "$defs": { "u": { "$anchor": "user", "type": "null" } } }
    });
    let rules = rules(&registered);
    let schema = json!({ "properties": { "team": { "$ref": "https://a.example/team.json" }, "none": { "$ref": "https://a.example/other.json" } } });
    let lead = json!({ "name": "ada", "passwordHash": "x" });
    let sent = json!({ "team": { "lead": lead, "sub": { "lead": lead, "x": 1 } }, "none": null });
    let left = json!({ "team": { "lead": { "name": "ada" }, "sub": { "lead": { "name": "ada" } } }, "none": null });
    assert_eq!(stripped(&schema, &rules, &sent), left);
    // A target of a reference from a part with a URI of its own.
    let schema = json!({ "$defs": { "a": { "$id": "https://b.example/a", "properties": { "team": { "$ref": "https://a.example/team.json" } } } }, "$ref": "https://b.example/a" });
    let (sent, left) =
        (json!({ "team": { "lead": lead } }), json!({ "team": { "lead": { "name": "ada" } } }));
    assert_eq!(stripped(&schema, &rules, &sent), left);
}

#[test]
fn a_registered_schema_may_have_members_with_the_names_of_keywords() {
    let name = json!({ "type": "string", "minLength": 2 });
    let reference = json!({ "$ref": "#/$defs/Name" });
    let rules = rules(&json!({ "https://a.example/b": {
        "$defs": { "Name": name, "enum": { "properties": { "const": reference } } },
        "properties": { "default": reference, "examples": { "$ref": "#/$defs/enum" }, "enum": { "const": { "$ref": "#/$defs/Name" } } }
    } }));
    let schema = json!({ "properties": { "b": { "$ref": "https://a.example/b" } } });
    let schema = Schema::compile_with("body", &schema, true, &rules).unwrap();
    let judge = |b: Value| {
        schema.validate(json!({ "b": b }).to_string().as_bytes(), &Limits::default()).is_ok()
    };
    assert!(judge(json!({ "default": "ab", "examples": { "const": "ab" } })));
    assert!(!judge(json!({ "default": "a" })));
    assert!(!judge(json!({ "examples": { "const": "a" } })));
    // Data stays unchanged.
    assert!(!judge(json!({ "enum": { "$ref": "#/$defs/https:~1~1a.example~1b/$defs/Name" } })));
}

#[test]
fn sanitizers_text_and_closing_know_what_a_name_leads_to() {
    let rules = SchemaRules::default();
    let schemas = json!({
        "body": { "$ref": "Node", "$defs": { "n": { "$id": "Node", "properties": { "name": { "$ref": "#text" } }, "$defs": { "t": { "$anchor": "text", "type": "string", "x-trim": true } } } } },
        "query": { "properties": { "n": { "$ref": "#number" } }, "$defs": { "n": { "$anchor": "number", "type": "integer" } } }
    });
    let schemas = Schemas::parse("", schemas.as_object().unwrap(), false, &rules).unwrap();
    let config = Limits::default();
    let check = |body: &[u8]| {
        schemas.check(&Parts {
            limits: &config,
            body: Some(body),
            format: Format::Json,
            query: "n=5",
            params: &[],
            headers: &[],
            language: None,
            multipart: None,
            keep_body: true,
        })
    };
    let checked = check(b"{\"name\":\" ada \"}").unwrap();
    assert_eq!(checked.body.unwrap()["name"], "ada");
    assert_eq!(checked.query.as_deref(), Some("{\"n\":5}"));
    assert!(check(b"{\"isAdmin\":true}").is_err());
}

#[test]
fn a_reference_that_can_not_be_followed_is_refused_where_members_or_strings_depend_on_it() {
    let draft = "https://json-schema.org/draft/2019-09/schema";
    let lost = [
        json!({ "properties": { "a": { "$dynamicRef": "#node" } }, "$defs": { "n": { "$dynamicAnchor": "node" } } }),
        json!({ "$schema": draft, "$recursiveAnchor": true, "properties": { "a": { "$recursiveRef": "#" } } }),
        json!({ "allOf": [{ "$id": "https://a.example/a", "$ref": "#x", "$defs": { "x": { "$anchor": "x" } } }], "properties": { "b": { "$dynamicRef": "#" } } }),
    ];
    for schema in lost {
        let response = json!({ "200": schema });
        let error =
            Responses::parse("response", &response, OnResponse::Warn, &SchemaRules::default())
                .unwrap_err();
        assert_eq!(error.path(), "response.200");
        let text = error.to_string();
        assert!(text.contains("has a reference that can't be followed"), "{text}");
        assert!(text.contains("as a JSON Pointer"), "{text}");
        // A schema that is only checked needs no walk.
        assert!(Schema::compile("body", &schema, true).is_ok(), "{schema}");
        let mut trims = schema;
        trims["properties"]["c"] = json!({ "type": "string", "x-trim": true });
        let text = Schema::compile("body", &trims, true).unwrap_err().to_string();
        assert!(text.contains("has a reference that can't be followed"), "{text}");
    }
    // A name of two parts is ambiguous.
    let twice = json!({ "$ref": "#a", "$defs": { "b": { "$anchor": "a", "properties": {} }, "c": { "$anchor": "a" } } });
    let error = Responses::parse(
        "response",
        &json!({ "200": twice }),
        OnResponse::Strip,
        &SchemaRules::default(),
    );
    assert!(error.is_err());
}
