//! What `OpenAPI` 3.2 has added.

use serde_json::{Value, json};

use super::{document, found, guard, read};
use crate::json::Limits;
use crate::openapi::Api;
use crate::schema::Schema;

fn passes(api: &Api, part: &str, value: &Value) -> bool {
    let body = api.operations()[0].media().next().map(|_| 0);
    let composed = api.schemas(0, body).unwrap();
    let compiled = Schema::compile(part, &composed[part], true).unwrap();
    compiled.validate(value.to_string().as_bytes(), &Limits::default()).is_ok()
}

/// The paths of the faults of a document.
fn faults(document: &Value) -> Vec<String> {
    let error = read(document).unwrap_err();
    match error.faults() {
        [] => vec![error.path().to_owned()],
        faults => faults.iter().map(|fault| fault.path().to_owned()).collect(),
    }
}

#[test]
fn queries_and_other_methods_are_operations() {
    let paths = json!({ "/things/{id}": {
        "parameters": [{ "name": "id", "in": "path", "required": true, "schema": {} }],
        "query": { "operationId": "search" },
        "additionalOperations": { "COPY": { "operationId": "copy" }, "M-SEARCH": {} },
    } });
    let api = read(&document("3.2.0", &paths)).unwrap();
    for (request, wanted) in [
        ("QUERY /things/7", "QUERY /things/{id} id=7"),
        ("COPY /things/7", "COPY /things/{id} id=7"),
        ("M-SEARCH /things/7", "M-SEARCH /things/{id} id=7"),
        ("GET /things/7", "405 COPY, M-SEARCH, QUERY"),
    ] {
        let (method, target) = request.split_once(' ').unwrap();
        assert_eq!(found(&api, method, target), wanted, "{request}");
    }
    assert_eq!(api.named("search").unwrap(), api.named("QUERY /things/{id}").unwrap());
    // In 3.1, these fields would not be carried out.
    let old = faults(&document("3.1.1", &paths));
    assert_eq!(old.len(), 2, "{old:?}");
    for method in ["GET", "get", "Query", "A B", "purge", ""] {
        let paths = json!({ "/a": { "get": {}, "additionalOperations": { method: {} } } });
        assert_eq!(faults(&document("3.2.0", &paths)).len(), 1, "{method}");
    }
}

#[test]
fn references_may_name_the_document_by_its_own_uri() {
    let parameter = |reference: &str| {
        let schema = json!({ "$ref": reference });
        json!({ "/a": { "get": { "parameters": [{ "name": "n", "in": "query", "schema": schema }] } } })
    };
    let with = |own: &str, reference: &str| {
        let mut document = document("3.2.0", &parameter(reference));
        document["$self"] = json!(own);
        document["components"] = json!({ "schemas": { "N": { "type": "integer" } } });
        document
    };
    let uri = "https://api.example.com/openapi";
    for reference in
        ["#/components/schemas/N", "https://api.example.com/openapi#/components/schemas/N"]
    {
        let api = read(&with(uri, reference)).unwrap();
        assert!(passes(&api, "query", &json!({ "n": 1 })), "{reference}");
        assert!(!passes(&api, "query", &json!({ "n": "x" })), "{reference}");
    }
    for (own, reference) in [
        (uri, "https://api.example.com/openapi2#/components/schemas/N"),
        (uri, "openapi#/components/schemas/N"),
        ("openapi.json", "openapi.json#/components/schemas/N"),
        ("https://api.example.com/#x", "#/components/schemas/N"),
    ] {
        assert!(read(&with(own, reference)).is_err(), "{own} {reference}");
    }
}

#[test]
fn the_query_as_a_whole_is_read_as_a_form() {
    let whole = |required: bool, content: &Value| {
        let parameter =
            json!({ "name": "q", "in": "querystring", "required": required, "content": content });
        document("3.2.0", &json!({ "/a": { "get": { "parameters": [parameter] } } }))
    };
    let schema = json!({ "type": "object", "required": ["n"], "properties": { "n": { "type": "integer" } } });
    let form = json!({ "application/x-www-form-urlencoded": { "schema": schema } });
    let api = read(&whole(true, &form)).unwrap();
    for (query, wanted) in [
        (json!({ "n": 1 }), true),
        (json!({ "n": "x" }), false),
        (json!({}), false),
        (json!({ "n": 1, "other": 2 }), false),
    ] {
        assert_eq!(passes(&api, "query", &query), wanted, "{query}");
    }
    // A query that may be absent is not distinguishable from one that lacks `n`.
    assert_eq!(faults(&whole(false, &form)).len(), 1);
    for content in [
        json!({ "application/json": { "schema": schema } }),
        json!({ "text/plain": {} }),
        json!({ "application/x-www-form-urlencoded": {}, "application/json": {} }),
        json!({}),
    ] {
        assert_eq!(faults(&whole(true, &content)).len(), 1, "{content}");
    }
    let json = whole(true, &json!({ "application/json": { "schema": schema } }));
    let api = Api::read(&guard(), &json, &json!({ "unreadable": "pass" })).unwrap();
    assert!(api.schemas(0, None).unwrap().get("query").is_none());
    // Two readers of one query.
    let mut both = whole(true, &form);
    let parameters = both.pointer_mut("/paths/~1a/get/parameters").unwrap();
    parameters.as_array_mut().unwrap().push(json!({ "name": "x", "in": "query", "schema": {} }));
    assert_eq!(faults(&both), ["paths./a.get.parameters.1"]);
}

#[test]
fn objects_without_a_known_value_are_of_the_branch_that_the_discriminator_names() {
    let mut document = super::with_body(
        "3.2.0",
        &json!({
            "oneOf": [{ "$ref": "#/components/schemas/Cat" }, { "$ref": "#/components/schemas/Other" }],
            "discriminator": { "propertyName": "kind", "defaultMapping": "Other" },
        }),
        &json!({
            "Cat": { "type": "object", "required": ["lives"], "properties": { "kind": { "type": "string" }, "lives": { "type": "integer" } } },
            "Other": { "type": "object", "required": ["name"], "properties": { "kind": { "type": "string" }, "name": { "type": "string" } } },
        }),
    );
    let api = read(&document).unwrap();
    for (body, wanted) in [
        (json!({ "kind": "Cat", "lives": 9 }), true),
        (json!({ "kind": "Cat", "name": "x" }), false),
        (json!({ "kind": "Other", "name": "x" }), true),
        (json!({ "kind": "Bird", "name": "x" }), true),
        (json!({ "name": "x" }), true),
        (json!({ "kind": "Bird", "lives": 9 }), false),
        (json!({ "lives": 9 }), false),
        (json!("Cat"), false),
    ] {
        assert_eq!(passes(&api, "body", &body), wanted, "{body}");
    }
    let place = "/paths/~1things/post/requestBody/content/application~1json/schema/discriminator";
    document.pointer_mut(place).unwrap()["defaultMapping"] = json!("Nope");
    assert_eq!(faults(&document).len(), 1);
    document["openapi"] = json!("3.1.0");
    assert_eq!(faults(&document).len(), 1);
}

#[test]
fn media_types_may_stand_elsewhere_and_sequences_are_not_read_as_one_value() {
    let with = |content: &Value| {
        let operation = json!({ "requestBody": { "required": true, "content": content } });
        let mut document = document("3.2.0", &json!({ "/a": { "post": operation } }));
        let media = json!({ "N": { "schema": { "type": "integer" } } });
        document["components"] = json!({ "mediaTypes": media });
        document
    };
    let reference = json!({ "application/json": { "$ref": "#/components/mediaTypes/N" } });
    let api = read(&with(&reference)).unwrap();
    assert!(passes(&api, "body", &json!(7)) && !passes(&api, "body", &json!("x")));
    let sequence = json!({ "application/json": { "itemSchema": { "type": "integer" } } });
    assert_eq!(faults(&with(&sequence)).len(), 1);
    let lines = with(&json!({ "application/jsonl": { "itemSchema": { "type": "integer" } } }));
    assert_eq!(faults(&lines).len(), 1);
    assert!(Api::read(&guard(), &lines, &json!({ "unreadable": "pass" })).is_ok());
}

#[test]
fn cookies_of_the_new_style_are_read_like_forms_and_the_rest_says_nothing_about_requests() {
    let mut document = document(
        "3.2.0",
        &json!({ "/a": { "get": {
        "parameters": [{ "name": "ids", "in": "cookie", "style": "cookie", "explode": false, "schema": { "type": "array", "items": { "type": "integer" } } }],
        "responses": { "200": { "summary": "fine" } },
        "security": [{ "login": ["read"] }],
    } } }),
    );
    document["jsonSchemaDialect"] = json!("https://spec.openapis.org/oas/3.2/dialect/2025-09-17");
    document["tags"] = json!([{ "name": "a", "kind": "nav", "parent": "b" }]);
    document["servers"] = json!([{ "url": "/v1", "name": "first" }]);
    document["components"] = json!({ "securitySchemes": { "login": {
        "type": "oauth2", "oauth2MetadataUrl": "https://id.example.com/.well-known/oauth-authorization-server", "deprecated": false, "flows": {},
    } } });
    let api = read(&document).unwrap();
    assert!(passes(&api, "cookies", &json!({ "ids": [1, 2] })));
    document["paths"]["/a"]["get"]["parameters"][0]["in"] = json!("query");
    assert_eq!(faults(&document).len(), 1);
}
