//! Whole documents: parameters, bodies, security, and refusals.

use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::{document, guard, read, without_tokens};
use crate::guard::Guard;
use crate::openapi::fuzz::fuzz_document;
use crate::openapi::{Api, BodyKind, Demand};

/// A document with one operation, `POST /things/{id}`, that has these members.
fn operation(version: &str, members: &Value) -> Value {
    let mut operation = members.clone();
    let id =
        json!({ "name": "id", "in": "path", "required": true, "schema": { "type": "integer" } });
    let own = operation.get("parameters").and_then(Value::as_array).cloned().unwrap_or_default();
    operation["parameters"] = own.into_iter().chain([id]).collect();
    document(version, &json!({ "/things/{id}": { "post": operation } }))
}

fn query(parameter: &Value) -> Value {
    let mut parameter = parameter.clone();
    parameter["in"] = json!("query");
    json!({ "parameters": [parameter] })
}

#[test]
fn only_versions_that_are_read_are_read() {
    let paths = json!({ "/a": { "get": { "responses": {} } } });
    for version in ["3.0.0", "3.0.4", "3.1.0", "3.1.1", "3.2.0"] {
        assert!(read(&document(version, &paths)).is_ok(), "{version}");
    }
    for version in ["2.0", "3.0", "3.2", "3.3.0", "3.1", "4.0.0", "3.0.x", "3.1.0-rc0", "", "30.0"]
    {
        let error = read(&document(version, &paths)).unwrap_err();
        assert_eq!(
            (error.path(), error.code().as_str()),
            ("openapi", "ERR_INVALID_OPENAPI"),
            "{version}"
        );
    }
    for (broken, path) in [
        (json!("openapi: 3.0.0"), "doc"),
        (json!([]), "doc"),
        (json!({}), "openapi"),
        (json!({ "swagger": "2.0" }), "swagger"),
        (json!({ "openapi": 3.1 }), "openapi"),
        (json!({ "openapi": "3.1.0" }), "paths"),
        (json!({ "openapi": "3.1.0", "paths": [] }), "paths"),
        (json!({ "openapi": "3.1.0", "paths": {} }), "paths"),
        (json!({ "openapi": "3.1.0", "path": {} }), "path"),
        (json!({ "openapi": "3.0.0", "jsonSchemaDialect": "x" }), "jsonSchemaDialect"),
        (json!({ "openapi": "3.1.0", "jsonSchemaDialect": "x" }), "jsonSchemaDialect"),
    ] {
        let error = read(&broken).unwrap_err();
        assert_eq!(error.path(), path, "{error}");
    }
}

#[test]
fn misspelt_fields_and_loose_ends_are_refused_at_their_place() {
    let at = "paths./things/{id}.post";
    for (members, path, words) in [
        (json!({ "paramters": [] }), ".paramters", "did you mean `parameters`?"),
        (
            json!({ "requestBody": { "content": { "application/json": { "shema": {} } } } }),
            ".requestBody.content.application/json.shema",
            "did you mean `schema`?",
        ),
        (json!({ "requestBody": { "content": {} } }), ".requestBody.content", "at least one"),
        (
            json!({ "requestBody": { "content": { "json": {} } } }),
            ".requestBody.content.json",
            "no media type",
        ),
        (
            json!({ "requestBody": { "$ref": "#/components/requestBodies/X" } }),
            ".requestBody.$ref",
            "leads nowhere",
        ),
        (
            json!({ "requestBody": { "required": "yes", "content": { "application/json": {} } } }),
            ".requestBody.required",
            "true or false",
        ),
        (query(&json!({ "name": "q" })), ".parameters.0", "must have a `schema`"),
        (query(&json!({ "schema": {} })), ".parameters.0.name", "must be there"),
        (
            query(&json!({ "name": "q", "schema": {}, "style": "fom" })),
            ".parameters.0.style",
            "did you mean 'form'?",
        ),
        (
            query(&json!({ "name": "q", "schema": {}, "style": "deepObject" })),
            ".parameters.0",
            "unreadable: 'pass'",
        ),
        (
            query(
                &json!({ "name": "q", "schema": { "type": "object" }, "style": "pipeDelimited" }),
            ),
            ".parameters.0",
            "its style",
        ),
        (
            query(&json!({ "name": "q", "schema": { "type": ["object", "array"] } })),
            ".parameters.0",
            "an object or a list",
        ),
        (
            query(&json!({ "name": "q", "content": { "text/csv": {} } })),
            ".parameters.0",
            "`content`",
        ),
        (
            query(&json!({ "name": "q", "schema": { "type": "integer", "default": "x" } })),
            ".parameters.0.schema.default",
            "default for `q`",
        ),
        (
            json!({ "parameters": [{ "name": "a", "in": "body", "schema": {} }] }),
            ".parameters.0.in",
            "requestBody",
        ),
        (
            json!({ "parameters": [{ "name": "b", "in": "path", "required": true, "schema": {} }] }),
            ".parameters.0",
            "is not in the path",
        ),
        (
            json!({ "parameters": [{ "name": "b", "in": "path", "schema": {} }] }),
            ".parameters.0.required",
            "must be true",
        ),
        (
            json!({ "parameters": [{ "name": "q", "in": "query", "schema": {} }, { "name": "q", "in": "query", "schema": {} }] }),
            ".parameters.1",
            "twice",
        ),
        (
            json!({ "parameters": [{ "name": "c", "in": "cookie", "schema": { "type": "array", "items": {} } }] }),
            ".parameters.0",
            "explode",
        ),
        (json!({ "parameters": {} }), ".parameters", ""),
        (json!({ "security": [{ "nope": [] }] }), ".security.0.nope", "names no scheme"),
        (json!({ "security": {} }), ".security", "list of alternatives"),
    ] {
        let document = if members["parameters"].is_object() {
            document("3.1.0", &json!({ "/things/{id}": { "post": members } }))
        } else {
            operation("3.1.0", &members)
        };
        let error = read(&document).unwrap_err();
        assert_eq!(error.path(), format!("{at}{path}"), "{error}");
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[test]
fn what_contradicts_itself_is_refused() {
    let missing = document("3.1.0", &json!({ "/a/{id}": { "get": { "responses": {} } } }));
    assert!(read(&missing).unwrap_err().to_string().contains("no path parameter for `{id}`"));
    let twice =
        json!({ "/a": { "get": { "operationId": "x" } }, "/b": { "get": { "operationId": "x" } } });
    assert_eq!(read(&document("3.1.0", &twice)).unwrap_err().path(), "paths./b.get.operationId");
    let circle = json!({ "/a": { "$ref": "#/paths/~1a" } });
    assert!(read(&document("3.1.0", &circle)).unwrap_err().to_string().contains("back to itself"));
}

#[test]
fn parameters_of_the_path_are_shared_and_those_of_the_operation_win() {
    let mut document = document(
        "3.0.0",
        &json!({ "/things/{id}": {
        "parameters": [
            { "name": "id", "in": "path", "required": true, "schema": { "type": "integer" } },
            { "$ref": "#/components/parameters/Limit" },
        ],
        "get": { "parameters": [{ "name": "limit", "in": "query", "schema": { "type": "string" } }] },
        "put": {},
    } }),
    );
    document["components"] = json!({
        "parameters": { "Limit": { "name": "limit", "in": "query", "required": true, "schema": { "$ref": "#/components/schemas/Limit" } } },
        "schemas": { "Limit": { "type": "integer", "maximum": 100, "default": 20 } },
    });
    let api = read(&document).unwrap();
    let get = api.schemas(api.named("GET /things/{id}").unwrap(), None).unwrap();
    assert_eq!(get["query"]["properties"]["limit"]["type"], "string");
    assert_eq!(get["params"]["required"], json!(["id"]));
    assert_eq!(get["payload"], json!(false), "its body is the application's affair");
    let put = api.schemas(api.named("PUT /things/{id}").unwrap(), None).unwrap();
    assert_eq!(put["query"]["properties"]["limit"], json!({ "$ref": "#/$defs/s0", "default": 20 }));
    assert_eq!(put["query"]["$defs"]["s0"]["maximum"], 100);
    assert_eq!(put["query"]["required"], json!(["limit"]));
}

#[test]
fn headers_go_by_lower_case_and_what_is_said_elsewhere_is_left_out() {
    let header = |name: &str| json!({ "name": name, "in": "header", "required": true, "schema": { "type": "string" } });
    let members =
        json!({ "parameters": [header("X-Tenant"), header("Authorization"), header("accept")] });
    let api = read(&operation("3.1.0", &members)).unwrap();
    let schemas = api.schemas(0, None).unwrap();
    assert_eq!(schemas["headers"]["required"], json!(["x-tenant"]));
}

#[test]
fn bodies_that_are_not_read_need_an_option() {
    let members = json!({ "requestBody": { "content": {
        "application/json; charset=utf-8": { "schema": { "type": "object" } },
        "multipart/form-data": { "schema": { "type": "object" } },
        "*/*": {},
    } } });
    let document = operation("3.0.0", &members);
    let error = read(&document).unwrap_err();
    assert!(error.path().ends_with("content.multipart/form-data"), "{error}");
    let api = Api::read(&guard(), &document, &json!({ "unreadable": "pass" })).unwrap();
    let media: Vec<_> = api.operations()[0].media().collect();
    assert_eq!(
        media,
        [
            ("application/json", BodyKind::Json),
            ("multipart/form-data", BodyKind::Unread),
            ("*/*", BodyKind::Json),
        ]
    );
    assert_eq!(api.schemas(0, Some(1)).unwrap()["payload"], json!(false));
    assert_eq!(api.schemas(0, Some(2)).unwrap()["body"], json!(true));
    assert_eq!(api.schemas(0, Some(3)), None);
}

/// A form with that schema and that `encoding`.
fn with_form(schema: &Value, encoding: &Value) -> Value {
    let form = json!({ "schema": schema, "encoding": encoding });
    let content =
        json!({ "application/json": {}, "application/x-www-form-urlencoded": form, "*/*": {} });
    operation("3.1.0", &json!({ "requestBody": { "content": content } }))
}

#[test]
fn forms_are_read_by_their_own_schema_and_json_by_its_own() {
    let schema = json!({ "type": "object", "properties": {
        "n": { "type": "integer", "default": 1 },
        "tags": { "type": "array", "items": { "type": "string" } },
        "id": { "type": "string", "readOnly": true },
    } });
    let api = read(&with_form(&schema, &json!({}))).unwrap();
    let media: Vec<_> = api.operations()[0].media().collect();
    assert_eq!(media[1], ("application/x-www-form-urlencoded", BodyKind::Form));
    let schemas = |body| api.schemas(0, Some(body)).unwrap();
    assert_eq!(schemas(0)["payload"], json!({ "types": ["json"] }));
    assert_eq!(schemas(1)["payload"], json!({ "types": ["form"] }));
    assert_eq!(schemas(1)["body"]["properties"]["n"]["default"], json!(1));
    assert_eq!(schemas(2)["payload"], json!({ "types": ["json"] }));
    // If the body may be a form, defaults are filled in, and must be valid.
    let bad =
        json!({ "type": "object", "properties": { "n": { "type": "integer", "default": "x" } } });
    let error = read(&with_form(&bad, &json!({}))).unwrap_err();
    assert!(error.to_string().contains("default for `n`"), "{error}");
}

#[test]
fn a_form_that_has_no_one_reading_is_refused_or_left_to_the_application() {
    let object = json!({ "type": "object" });
    let with = |member: Value| json!({ "allOf": [{ "properties": { "a": member } }] });
    for (schema, encoding, why) in [
        (with(object.clone()), json!({}), "an object"),
        (with(json!({ "properties": {} })), json!({}), "an object"),
        (with(json!({ "type": "array", "items": object })), json!({}), "a list"),
        (json!({ "type": "array", "items": { "type": "string" } }), json!({}), "no object"),
        (
            with(json!({ "type": "array", "items": object })),
            json!({ "a": { "style": "pipeDelimited" } }),
            "no unique form",
        ),
    ] {
        let document = with_form(&schema, &encoding);
        let error = read(&document).unwrap_err();
        assert!(error.path().ends_with("form-urlencoded"), "{error}");
        assert!(error.to_string().contains(why), "{error}");
        let api = Api::read(&guard(), &document, &json!({ "unreadable": "pass" })).unwrap();
        assert_eq!(api.schemas(0, Some(1)).unwrap()["payload"], json!(false), "{schema}");
    }
}

#[test]
fn a_query_that_holds_what_is_not_read_is_not_checked_where_that_was_asked_for() {
    let document = operation(
        "3.0.0",
        &query(&json!({ "name": "filter", "style": "deepObject", "schema": {} })),
    );
    let api = Api::read(&guard(), &document, &json!({ "unreadable": "pass" })).unwrap();
    assert_eq!(api.schemas(0, None).unwrap().get("query"), None);
}

fn secured(security: &Value) -> Value {
    let mut document = operation("3.1.0", &json!({ "security": security }));
    document["components"] = json!({ "securitySchemes": {
        "bearer": { "type": "http", "scheme": "Bearer" },
        "oauth": { "type": "oauth2", "flows": {} },
        "oidc": { "type": "openIdConnect", "openIdConnectUrl": "https://id.example.com" },
        "key": { "type": "apiKey", "in": "header", "name": "X-Key" },
        "queryKey": { "type": "apiKey", "in": "query", "name": "api_key" },
        "basic": { "type": "http", "scheme": "basic" },
        "mtls": { "type": "mutualTLS" },
    } });
    document
}

#[test]
fn every_scheme_is_carried_out_or_mapped_or_an_error() {
    let token =
        |scopes: &[&str]| Demand::Token { scopes: scopes.iter().map(|&s| s.to_owned()).collect() };
    let function =
        |scheme: &str| Demand::Function { scheme: scheme.to_owned(), scopes: Vec::new() };
    let all = json!({ "security": { "key": "\0function", "queryKey": "\0function", "basic": "token", "mtls": false } });
    for (security, options, wanted) in [
        (json!([]), json!({}), vec![]),
        (json!([{}]), json!({}), vec![vec![]]),
        (json!([{ "bearer": [] }]), json!({}), vec![vec![token(&[])]]),
        (
            json!([{ "oauth": ["read", "write"] }, { "oidc": ["admin"] }]),
            json!({}),
            vec![vec![token(&["read", "write"])], vec![token(&["admin"])]],
        ),
        (
            json!([{ "bearer": [], "key": [] }]),
            all.clone(),
            vec![vec![token(&[]), function("key")]],
        ),
        (json!([{ "basic": [] }]), all.clone(), vec![vec![token(&[])]]),
        (json!([{ "mtls": [] }]), all.clone(), vec![vec![]]),
        (
            json!([{ "bearer": [] }]),
            json!({ "security": { "bearer": "\0function" } }),
            vec![vec![function("bearer")]],
        ),
    ] {
        let api = Api::read(&guard(), &secured(&security), &options).unwrap();
        assert_eq!(api.operations()[0].alternatives(), wanted, "{security}");
    }
    for scheme in ["key", "queryKey", "basic", "mtls"] {
        let error = read(&secured(&json!([{ scheme: [] }]))).unwrap_err();
        assert_eq!(error.path(), format!("paths./things/{{id}}.post.security.0.{scheme}"));
        assert!(error.to_string().contains(&format!("`{scheme}`")), "{error}");
    }
    let bearer = secured(&json!([{ "bearer": [] }]));
    let error = Api::read(&without_tokens(), &bearer, &json!({})).unwrap_err();
    assert!(error.to_string().contains("has no `jwt`"), "{error}");
    // The key counts as a declared name of the query.
    let api = Api::read(&guard(), &secured(&json!([{ "queryKey": [] }])), &all).unwrap();
    assert!(api.schemas(0, None).unwrap()["query"]["properties"]["api_key"].is_object());
    for (bad, path) in [
        (json!({ "security": { "kye": false } }), "options.security.kye"),
        (json!({ "security": { "key": "tokn" } }), "options.security.key"),
        (json!({ "security": { "key": true } }), "options.security.key"),
        (json!({ "security": [] }), "options.security"),
        (json!({ "secure": {} }), "options.secure"),
        (json!({ "unknown": "deny" }), "options.unknown"),
        (json!({ "unreadable": true }), "options.unreadable"),
        (json!({ "ignoreFormats": "x" }), "options.ignoreFormats"),
        (json!([]), "options"),
    ] {
        assert_eq!(Api::read(&guard(), &bearer, &bad).unwrap_err().path(), path);
    }
    for scopes in [json!("read"), json!(["a b"]), json!(["a\"b"]), json!([1])] {
        assert!(read(&secured(&json!([{ "oauth": scopes }]))).is_err());
    }
}

#[test]
fn an_operation_is_found_by_its_name() {
    let paths = json!({ "/a": { "get": { "operationId": "listThings" }, "post": {} } });
    let api = read(&document("3.1.0", &paths)).unwrap();
    assert_eq!(api.named("listThings").unwrap(), api.named("GET /a").unwrap());
    assert!(api.named("POST /a").is_ok());
    assert!(api.named("listThing").unwrap_err().to_string().contains("did you mean 'listThings'?"));
}

/// JSON that consists mostly of keywords of documents.
fn any_json() -> impl Strategy<Value = Value> {
    let word = prop::sample::select(vec![
        "string",
        "object",
        "array",
        "integer",
        "#/components/schemas/A",
        "#/paths",
        "#",
        "#/a",
        "x:y",
        "query",
        "path",
        "header",
        "cookie",
        "form",
        "simple",
        "id",
        "",
        "int32",
        "byte",
        "3.0.0",
        "3.1.0",
        "/v1",
        "http://[",
        "{",
        "\0function",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-3..300_i64).prop_map(Value::from),
        word.prop_map(Value::from),
    ];
    let key = prop::sample::select(vec![
        "$ref",
        "schema",
        "schemas",
        "properties",
        "items",
        "allOf",
        "oneOf",
        "type",
        "format",
        "nullable",
        "required",
        "readOnly",
        "enum",
        "default",
        "minimum",
        "exclusiveMinimum",
        "additionalProperties",
        "parameters",
        "name",
        "in",
        "style",
        "explode",
        "content",
        "application/json",
        "requestBody",
        "security",
        "servers",
        "url",
        "get",
        "post",
        "id",
        "A",
        "x-y",
        "$schema",
        "pattern",
        "a{b",
        "",
    ]);
    leaf.prop_recursive(6, 64, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map(key.clone(), inner, 0..5).prop_map(|map| {
                Value::Object(
                    map.into_iter().map(|(k, v)| (k.to_owned(), v)).collect::<Map<_, _>>(),
                )
            }),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn no_document_panics(
        version in prop::sample::select(vec!["3.0.3", "3.1.0"]),
        path in prop::sample::select(vec!["/a", "/a/{id}", "/{", "a", "/a{id}.b", "/%zz", "/é"]),
        operation in any_json(), item in any_json(), schema in any_json(), schemes in any_json(), whole in any_json(),
    ) {
        let guard = guard();
        fuzz_document(&guard, &whole);
        let id = json!({ "name": "id", "in": "path", "required": true, "schema": schema.clone() });
        let built = json!({
            "openapi": version,
            "paths": { path: { "get": operation.clone(), "post": {
                "parameters": if path.contains("{id}") { json!([id]) } else { json!([]) },
                "requestBody": { "content": { "application/json": { "schema": schema.clone() } } },
            } }, "/other": item },
            "components": { "schemas": { "A": schema }, "securitySchemes": schemes },
        });
        fuzz_document(&guard, &built);
        let mut alone = built.clone();
        alone["paths"].as_object_mut().unwrap().remove("/other");
        alone["paths"][path].as_object_mut().unwrap().remove("get");
        fuzz_document(&guard, &alone);
    }
}

#[test]
fn a_token_in_the_query_is_declared_by_no_operation_and_refused_where_none_is_asked_for() {
    let config = json!({
        "rateLimit": false,
        "jwt": {
            "issuer": "https://id.example.com", "audience": "api", "secret": "Zx3bTq8LmVn5RkWc7YpJd2HsFg9AuEo4",
            "from": ["header", { "query": "access_token" }, { "query": "api_key" }],
        },
    });
    let guard = Arc::new(Guard::new(&config).unwrap());
    let names = |security: Value, options: Value| {
        let api = Api::read(&guard, &secured(&security), &options).unwrap();
        api.schemas(0, None).unwrap()["query"]["properties"].clone()
    };
    let none = json!({ "access_token": false, "api_key": false });
    assert_eq!(names(json!([]), json!({})), none);
    assert_eq!(names(json!([{}]), json!({})), none);
    assert_eq!(names(json!([]), json!({ "undeclared": "accept" })), json!({}));
    assert_eq!(names(json!([{ "bearer": [] }]), json!({})), json!({}));
    // The external verifier may be the guard itself.
    assert_eq!(names(json!([{ "oidc": [] }]), json!({ "security": { "oidc": false } })), json!({}));
    let key = json!({ "security": { "queryKey": "\0function" } });
    assert_eq!(names(json!([{ "queryKey": [] }]), key), json!({ "access_token": false }));

    let mut wanting = secured(&json!([{ "bearer": [] }]));
    wanting["paths"]["/things/{id}"]["post"]["parameters"]
        .as_array_mut()
        .unwrap()
        .push(json!({ "name": "access_token", "in": "query", "schema": { "type": "string" } }));
    let error = Api::read(&guard, &wanting, &json!({})).unwrap_err();
    assert_eq!(error.path(), "paths./things/{id}.post.parameters");
    assert!(error.to_string().contains("`access_token`"), "{error}");
}
