//! Answers as described by a document.

use serde_json::{Value, json};

use super::{document, guard};
use crate::error::ConfigError;
use crate::guard::Layers;
use crate::openapi::Api;
use crate::payload::Reply;
use crate::refusal::FieldError;

/// An API of one operation, `GET /things`, with these answers.
fn read(version: &str, responses: &Value, on: &str, schemas: &Value) -> Result<Api, ConfigError> {
    let mut document =
        document(version, &json!({ "/things": { "get": { "responses": responses } } }));
    document["components"] = json!({
        "schemas": schemas,
        "responses": { "Gone": { "description": "gone", "content": of(&json!({ "type": "object", "properties": { "since": {} } })) } },
    });
    Api::read(&guard(), &document, &json!({ "responses": on }))
}

fn of(schema: &Value) -> Value {
    json!({ "application/json": { "schema": schema } })
}

/// The result for an answer, in short form.
fn reply(api: &Api, status: u16, answer: &Value) -> String {
    let stack = guard().stack(&api.schemas(0, None).unwrap(), Layers::Payload).unwrap();
    match stack
        .responses
        .as_ref()
        .and_then(|responses| responses.judge(status, answer.to_string().as_bytes()))
    {
        None => "unjudged".to_owned(),
        Some(Reply::AsIs) => "as it is".to_owned(),
        Some(Reply::Stripped(text)) => text,
        Some(Reply::Wrong(refusal)) => {
            let told = |error: &FieldError| format!("{} {}", error.pointer, error.code);
            refusal.errors.iter().map(told).collect::<Vec<_>>().join(", ")
        }
    }
}

#[test]
fn an_answer_is_judged_by_the_schema_of_its_status_and_the_less_exact_ones_where_it_has_none() {
    let responses = json!({
        "200": { "description": "fine", "content": of(&json!({ "$ref": "#/components/schemas/User" })) },
        "204": { "description": "nothing" },
        "206": { "description": "a part", "content": { "image/png": {}, "application/json": {} } },
        "2XX": { "description": "so so", "content": {
            "application/json": { "schema": { "$ref": "#/components/schemas/Id" } },
            "application/hal+json": { "schema": { "$ref": "#/components/schemas/Id" } },
            "text/csv": { "schema": { "type": "string" } },
        } },
        "410": { "$ref": "#/components/responses/Gone" },
        "101": { "description": "other words" },
        "default": { "description": "not fine", "content": of(&json!({ "type": "object", "properties": { "code": { "type": "string" } } })) },
        "x-notes": 1,
    });
    let schemas = json!({
        "Id": { "type": "object", "required": ["id"], "properties": { "id": { "type": "integer" } } },
        "User": { "allOf": [{ "$ref": "#/components/schemas/Id" }, { "type": "object", "properties": { "friends": { "type": "array", "items": { "$ref": "#/components/schemas/User" } } } }] },
    });
    for version in ["3.0.3", "3.1.0"] {
        let api = read(version, &responses, "strip", &schemas).unwrap();
        let user = json!({ "id": 1, "friends": [{ "id": 2, "hash": "x" }], "hash": "x" });
        for (status, answer, expected) in [
            (200, &user, r#"{"friends":[{"id":2}],"id":1}"#),
            (200, &json!({ "id": 1 }), "as it is"),
            (200, &json!({ "friends": [] }), "#/id required"),
            (201, &user, r#"{"id":1}"#),
            (204, &user, "as it is"),
            (206, &user, "as it is"),
            (410, &json!({ "since": 5, "hash": "x" }), r#"{"since":5}"#),
            (404, &json!({ "code": "a", "id": 1 }), r#"{"code":"a"}"#),
            (500, &json!({ "code": 1 }), "#/code type"),
        ] {
            assert_eq!(reply(&api, status, answer), expected, "{version} {status} {answer}");
        }
    }
}

#[test]
fn what_is_write_only_never_leaves_and_what_is_read_only_is_required() {
    let schemas = json!({
        "Secret": { "type": "string", "writeOnly": true },
        "Account": { "type": "object", "required": ["id", "password", "pin"], "additionalProperties": { "type": "string" }, "properties": {
            "id": { "type": "integer", "readOnly": true },
            "password": { "type": "string", "writeOnly": true },
            "pin": { "allOf": [{ "$ref": "#/components/schemas/Secret" }] },
        } },
    });
    let body = of(&json!({ "$ref": "#/components/schemas/Account" }));
    let account = json!({ "id": 1, "password": "hunter2", "pin": "1234", "more": "yes" });
    for version in ["3.0.3", "3.1.0"] {
        let responses = json!({ "200": { "description": "fine", "content": body } });
        let told = |on: &str, answer: &Value| {
            reply(&read(version, &responses, on, &schemas).unwrap(), 200, answer)
        };
        assert_eq!(told("strip", &account), r#"{"id":1,"more":"yes"}"#);
        assert_eq!(told("fail", &account), "#/password falseSchema, #/pin falseSchema");
        assert_eq!(told("strip", &json!({ "more": "yes" })), "#/id required");
        assert_eq!(told("fail", &json!({ "id": 1 })), "as it is");
    }
    // One schema, in both directions.
    let mut document = document(
        "3.0.3",
        &json!({ "/things": { "post": {
            "requestBody": { "content": body },
            "responses": { "default": { "description": "fine", "content": body } },
        } } }),
    );
    document["components"] = json!({ "schemas": schemas });
    let api = Api::read(&guard(), &document, &json!({ "responses": "warn" })).unwrap();
    let schemas = api.schemas(0, Some(0)).unwrap();
    assert_eq!(schemas["onResponse"], "warn");
    let validator = crate::schema::Schema::compile("body", &schemas["body"], true).unwrap();
    let passes = |value: &Value| {
        validator.validate(value.to_string().as_bytes(), &crate::json::Limits::default())
    };
    passes(&json!({ "password": "hunter2", "pin": "1234" })).unwrap();
    passes(&account).unwrap_err();
    let answer: String = reply(&api, 200, &json!({ "id": 1 }));
    assert_eq!(answer, "as it is");
}

#[test]
fn answers_are_looked_at_only_where_that_is_asked_for() {
    let responses = json!({ "2xx": { "content": of(&json!({ "format": "what" })) } });
    let paths = json!({ "/things": { "get": { "responses": responses } } });
    let api = Api::read(&guard(), &document("3.1.0", &paths), &json!({})).unwrap();
    assert_eq!(reply(&api, 200, &json!({ "a": 1 })), "unjudged");
    let described =
        json!({ "200": { "description": "fine" }, "default": { "content": { "text/csv": {} } } });
    let api = read("3.1.0", &described, "strip", &json!({})).unwrap();
    assert_eq!(reply(&api, 200, &json!({ "a": 1 })), "unjudged");
    assert!(api.schemas(0, None).unwrap().get("response").is_none());
}

#[test]
fn what_can_not_be_judged_of_an_answer_is_an_error_at_its_place() {
    let at = "paths./things.get.responses";
    let table = json!([
        [{ "2xx": {} }, ".2xx", "write '200', '2XX' or 'default'"],
        [{ "600": {} }, ".600", "is no status"],
        [{ "200": { "contents": {} } }, ".200.contents", "did you mean `content`?"],
        [{ "200": [] }, ".200", "must be an answer (an object)"],
        [{ "200": { "content": { "json": {} } } }, ".200.content.json", "is no media type"],
        [{ "200": { "content": { "application/json": { "schema": { "type": "string" } }, "*/*": { "schema": { "type": "object" } } } } }, ".200.content.application/json", "give both one schema"],
        [{ "200": { "content": of(&json!({ "items": { "format": "what" } })) } }, ".200.content.application/json.schema.items.format", "set `ignoreFormats: ['what']`"],
        [{ "200": { "content": of(&json!({ "$dynamicRef": "#a" })) } }, ".200.content.application/json.schema.$dynamicRef", "would change what references mean"],
        [{ "200": { "$ref": "#/components/responses/None" } }, ".200.$ref", "leads nowhere"],
        [[], "", "must be answers by status (an object)"],
    ]);
    for row in table.as_array().unwrap() {
        let error = read("3.1.0", &row[0], "strip", &json!({})).unwrap_err();
        let (path, words) = (row[1].as_str().unwrap(), row[2].as_str().unwrap());
        assert_eq!(error.path(), format!("{at}{path}"), "{error}");
        assert!(error.to_string().contains(words), "{error}");
    }
    // Version 3.0 ignores keywords beside `$ref`, so this property would be sent.
    let schema = json!({ "properties": { "pin": { "$ref": "#/components/schemas/Pin", "writeOnly": true } } });
    let responses = json!({ "200": { "content": of(&schema) } });
    let schemas = json!({ "Pin": { "type": "string" } });
    let error = read("3.0.3", &responses, "strip", &schemas).unwrap_err();
    assert!(error.path().ends_with("properties.pin.writeOnly"), "{error}");
    read("3.1.0", &responses, "strip", &schemas).unwrap();
    let error = read("3.1.0", &responses, "stripe", &schemas).unwrap_err();
    assert_eq!(error.path(), "options.responses");
}
