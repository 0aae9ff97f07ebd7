//! All faults of a document at once, and the options that name exceptions.

use serde_json::{Value, json};

use super::{document, guard};
use crate::error::ConfigError;
use crate::openapi::{Api, Match};

fn with(document: &Value, options: &Value) -> Result<Api, ConfigError> {
    Api::read(&guard(), document, options)
}

/// A document with faults of every kind, and one operation without any.
fn broken() -> Value {
    let body = |schema: Value| json!({ "content": { "application/json": { "schema": schema } } });
    let mut document = document(
        "3.0.3",
        &json!({
            "/fine": { "get": { "operationId": "fine" } },
            "/a": {
                "get": { "operationId": "a", "paramters": [], "parameters": [
                    { "name": "x", "in": "query", "schema": { "type": "string", "format": "snow" } },
                    { "name": "y", "in": "query", "schema": { "type": "strin" } },
                    { "name": "z", "in": "query", "schema": { "type": "integer", "default": "one" } },
                ] },
                "post": { "operationId": "b", "requestBody": body(json!({ "$ref": "#/components/schemas/Shared" })) },
            },
            "/b/{id}": { "get": { "operationId": "c" } },
            "/c?x=1": { "get": { "operationId": "d" } },
            "/d": { "put": { "operationId": "e", "requestBody": body(json!({ "$ref": "#/components/schemas/Shared" })), "security": [{ "nope": [] }] } },
        }),
    );
    document["components"] = json!({ "schemas": { "Shared": { "type": "object", "properties": {
        "a": { "type": "string", "pattern": "(" },
        "b": { "type": "string", "format": "snow" },
        "c": { "type": "string", "pattern": "(?=x)" },
        "d": { "type": "string", "const": "x" },
        "e": { "$ref": "#/components/schemas/Gone" },
    } } } });
    document
}

#[test]
fn all_faults_are_reported_at_once_each_with_its_pointer_and_its_operations() {
    let error = with(&broken(), &json!({})).unwrap_err();
    let mut found: Vec<String> = error
        .faults()
        .iter()
        .map(|fault| format!("{} {}", fault.pointer().unwrap(), fault.operations().join(",")))
        .collect();
    found.sort();
    let shared = "/components/schemas/Shared/properties";
    let both = "POST /a,PUT /d";
    let mut wanted = vec![
        "/paths/~1a/get/paramters GET /a".to_owned(),
        "/paths/~1a/get/parameters/0/schema/format GET /a".to_owned(),
        "/paths/~1a/get/parameters/1/schema/type GET /a".to_owned(),
        "/paths/~1a/get/parameters/2/schema/default GET /a".to_owned(),
        format!("{shared}/a/pattern {both}"),
        format!("{shared}/b/format {both}"),
        format!("{shared}/c/pattern {both}"),
        format!("{shared}/d/const {both}"),
        format!("{shared}/e/$ref {both}"),
        "/paths/~1b~1{id}/get GET /b/{id}".to_owned(),
        "/paths/~1c?x=1 GET /c?x=1".to_owned(),
        "/paths/~1d/put/security/0/nope PUT /d".to_owned(),
    ];
    wanted.sort();
    assert_eq!(found, wanted);
    let text = error.to_string();
    assert!(text.starts_with("the document has 12 faults:\n"), "{text}");
    assert!(text.contains("`ignoreFormats: ['snow']`"), "{text}");
    // A pattern that is simply invalid is not called slow.
    let problem = |at: &str| {
        let pointer = format!("{shared}/{at}/pattern");
        let fault = error.faults().iter().find(|fault| fault.pointer() == Some(&pointer));
        fault.unwrap().problem().to_owned()
    };
    assert_eq!(problem("a"), "has a `(` without its `)`");
    assert!(problem("c").contains("linear time"), "{}", problem("c"));
}

#[test]
fn without_the_operations_of_its_faults_a_document_loads() {
    let error = with(&broken(), &json!({})).unwrap_err();
    let skip: Vec<&str> =
        error.faults().iter().flat_map(ConfigError::operations).map(String::as_str).collect();
    let api = with(&broken(), &json!({ "skip": skip })).unwrap();
    assert_eq!(api.operations().len(), 1);
    // A request for an operation that is left out is unknown, also where another template fits.
    assert_eq!(api.find("GET", "/a", ""), Match::Unknown);
    let paths = json!({
        "/users/me": { "get": { "operationId": "me" } },
        "/users/{id}": { "get": { "parameters": [{ "name": "id", "in": "path", "required": true, "schema": {} }] } },
    });
    let api = with(&document("3.1.0", &paths), &json!({ "skip": ["me"] })).unwrap();
    assert_eq!(api.find("GET", "/users/me", ""), Match::Unknown);
    assert!(matches!(api.find("GET", "/users/7", ""), Match::Operation { .. }));
    for (skip, suggestion) in
        [("mee", "did you mean 'me'?"), ("GET /nowhere/at/all", "operationId")]
    {
        let error = with(&document("3.1.0", &paths), &json!({ "skip": [skip] })).unwrap_err();
        assert_eq!(error.path(), "options.skip");
        assert!(error.to_string().contains(suggestion), "{error}");
    }
}

#[test]
fn what_a_document_cannot_have_is_tolerated_by_name_only() {
    let body = |schema: Value| json!({ "/x": { "post": { "requestBody": { "content": { "application/json": { "schema": schema } } } } } });
    let parameter =
        |parameters: Value| json!({ "/x/{id}": { "get": { "parameters": parameters } } });
    let id = json!({ "name": "id", "in": "path", "schema": {} });
    for (name, version, paths) in [
        ("unknown-fields", "3.1.0", json!({ "/x": { "get": { "rateLimit": 5 } } })),
        ("unknown-keywords", "3.0.0", body(json!({ "const": 1 }))),
        ("nullable", "3.1.0", body(json!({ "type": "string", "nullable": true }))),
        ("nullable", "3.0.0", body(json!({ "$ref": "#/components/schemas/A", "nullable": true }))),
        (
            "ref-siblings",
            "3.0.0",
            body(json!({ "$ref": "#/components/schemas/A", "maxLength": 1 })),
        ),
        ("path-queries", "3.1.0", json!({ "/x?a=b": { "get": {} } })),
        ("path-fragments", "3.1.0", json!({ "/x#b": { "get": {} } })),
        ("path-parameters", "3.1.0", parameter(json!([]))),
        ("path-parameters", "3.1.0", parameter(json!([id]))),
        (
            "operation-ids",
            "3.1.0",
            json!({ "/x": { "get": { "operationId": "a" }, "put": { "operationId": "a" } } }),
        ),
        (
            "defaults",
            "3.1.0",
            json!({ "/x": { "get": { "parameters": [
            { "name": "q", "in": "query", "schema": { "type": "integer", "default": "x" } } ] } } }),
        ),
    ] {
        let mut document = document(version, &paths);
        document["components"] = json!({ "schemas": { "A": { "type": "string" } } });
        let error = with(&document, &json!({})).unwrap_err();
        assert!(error.to_string().contains(&format!("tolerate: ['{name}']")), "{name}: {error}");
        let api = with(&document, &json!({ "tolerate": [name] }));
        assert!(api.is_ok(), "{name}: {api:?}");
    }
    let error =
        with(&document("3.1.0", &json!({})), &json!({ "tolerate": ["nullabel"] })).unwrap_err();
    assert_eq!(error.path(), "options.tolerate[0]");
    assert!(error.to_string().contains("nullable"), "{error}");
}

#[test]
fn formats_and_patterns_are_left_unchecked_by_name() {
    let paths = json!({ "/x": { "get": { "parameters": [
        { "name": "a", "in": "query", "schema": { "type": "string", "format": "snow" } },
        { "name": "b", "in": "query", "schema": { "type": "string", "pattern": "(?=x)", "maxLength": 2 } },
    ] } } });
    for version in ["3.0.3", "3.1.0"] {
        let options = json!({ "ignoreFormats": ["snow"], "ignorePatterns": ["(?=x)"] });
        let api = with(&document(version, &paths), &options).unwrap();
        let query = &api.schemas(0, None).unwrap()["query"]["properties"];
        assert_eq!(query["a"], json!({ "type": "string" }));
        assert_eq!(query["b"], json!({ "type": "string", "maxLength": 2 }));
    }
}

#[test]
fn null_is_accepted_where_the_option_reads_nullable() {
    use crate::json::Limits;
    use crate::schema::Schema;
    for (version, schema, accepted, refused) in [
        ("3.1.0", json!({ "type": "string", "nullable": true }), json!(["a", null]), json!([1])),
        (
            "3.1.0",
            json!({ "type": ["string", "integer"], "nullable": true }),
            json!(["a", 1, null]),
            json!([true]),
        ),
        (
            "3.1.0",
            json!({ "$ref": "#/components/schemas/A", "nullable": true }),
            json!(["a", null]),
            json!([1]),
        ),
        (
            "3.0.0",
            json!({ "$ref": "#/components/schemas/A", "nullable": true }),
            json!(["a", null]),
            json!([1]),
        ),
        (
            "3.0.0",
            json!({ "allOf": [{ "$ref": "#/components/schemas/A" }], "nullable": true }),
            json!(["a", null]),
            json!([1]),
        ),
        (
            "3.0.0",
            json!({ "type": "string", "enum": ["a"], "nullable": true }),
            json!(["a", null]),
            json!(["b"]),
        ),
        ("3.0.0", json!({ "type": "string", "nullable": false }), json!(["a"]), json!([null])),
        // What the error advises in place of `nullable` beside `$ref` needs no option.
        (
            "3.0.0",
            json!({ "anyOf": [{ "$ref": "#/components/schemas/A" }, { "type": "object", "nullable": true, "enum": [null] }] }),
            json!(["a", null]),
            json!([1, {}]),
        ),
    ] {
        let document = super::with_body(version, &schema, &json!({ "A": { "type": "string" } }));
        let api = with(&document, &json!({ "tolerate": ["nullable"] })).unwrap();
        let schema =
            Schema::compile("body", &api.schemas(0, Some(0)).unwrap()["body"], true).unwrap();
        let passes = |value: &Value| {
            schema.validate(value.to_string().as_bytes(), &Limits::default()).is_ok()
        };
        assert!(accepted.as_array().unwrap().iter().all(passes), "{schema:?} {accepted}");
        assert!(!refused.as_array().unwrap().iter().any(passes), "{schema:?} {refused}");
    }
}
