use proptest::prelude::*;
use serde_json::{Value, json};

use crate::json::Limits;
use crate::payload::{Format, Parts, Schemas};
use crate::refusal::Refusal;
use crate::schema::SchemaRules;
use crate::schema::tests::create_user;

fn schemas(value: &Value) -> Schemas {
    Schemas::parse("validate", value.as_object().unwrap(), true, &SchemaRules::default()).unwrap()
}

fn refused(value: &Value) -> String {
    Schemas::parse("validate", value.as_object().unwrap(), true, &SchemaRules::default())
        .unwrap_err()
        .to_string()
}

fn parts<'a>(config: &'a Limits, query: &'a str) -> Parts<'a> {
    Parts {
        limits: config,
        body: None,
        format: Format::Json,
        query,
        params: &[],
        headers: &[],
        language: None,
        multipart: None,
        keep_body: false,
    }
}

fn query(schema: &Value, query: &str) -> Result<Value, Refusal> {
    let config = Limits::default();
    let checked = schemas(&json!({ "query": schema })).check(&parts(&config, query))?;
    Ok(serde_json::from_str(&checked.query.unwrap()).unwrap())
}

fn code(result: Result<Value, Refusal>) -> (u16, &'static str, String) {
    let refusal = result.unwrap_err();
    let pointer = refusal.errors.first().map(|error| error.pointer.clone()).unwrap_or_default();
    (refusal.status, refusal.code, pointer)
}

fn search() -> Value {
    json!({ "properties": {
        "q": { "type": "string" },
        "page": { "type": "integer", "minimum": 1, "default": 1 },
        "price": { "type": ["number", "null"] },
        "exact": { "type": "boolean" },
        "tags": { "type": "array", "items": { "type": "string" }, "maxItems": 3 },
        "ids": { "$ref": "#/$defs/Ids" },
        "sort": { "anyOf": [{ "type": "array", "items": { "type": "string" } }, { "type": "string" }] }
    }, "$defs": { "Ids": { "type": "array", "items": { "$ref": "#/$defs/Id" } }, "Id": { "type": "integer" } } })
}

#[test]
fn text_becomes_the_declared_types() {
    for (text, expected) in [
        ("", json!({ "page": 1 })),
        ("page=2", json!({ "page": 2 })),
        (
            "q=5&exact=true&price=1.5e1",
            json!({ "q": "5", "exact": true, "price": 15.0, "page": 1 }),
        ),
        ("q=a+b%20c%2Bd%26&", json!({ "q": "a b c+d&", "page": 1 })),
        ("q=%E6%97%A5&q2=", json!(null)),
        ("q", json!({ "q": "", "page": 1 })),
        ("q=a=b", json!({ "q": "a=b", "page": 1 })),
        ("q=%22%5C%0A", json!({ "q": "\"\\\n", "page": 1 })),
        ("tags=a", json!({ "tags": ["a"], "page": 1 })),
        ("tags=a&page=3&tags=1", json!({ "tags": ["a", "1"], "page": 3 })),
        ("tags[]=a&tags%5B%5D=b", json!({ "tags": ["a", "b"], "page": 1 })),
        ("sort[]=a", json!({ "sort": ["a"], "page": 1 })),
        ("ids=1&ids=2", json!({ "ids": [1, 2], "page": 1 })),
        ("sort=a", json!({ "sort": "a", "page": 1 })),
        ("sort=a&sort=b", json!({ "sort": ["a", "b"], "page": 1 })),
    ] {
        match query(&search(), text) {
            Ok(found) => assert_eq!(found, expected, "{text}"),
            Err(refusal) => assert!(expected.is_null(), "{text}: {refusal:?}"),
        }
    }
}

#[test]
fn text_that_is_not_the_declared_type_is_refused() {
    for (text, pointer) in [
        ("page=0", "#/page"),
        ("page=", "#/page"),
        ("page=+5", "#/page"),
        ("page=%205", "#/page"),
        ("page=0x10", "#/page"),
        ("page=1.5", "#/page"),
        ("page=01", "#/page"),
        ("page=true", "#/page"),
        ("exact=1", "#/exact"),
        ("exact=TRUE", "#/exact"),
        ("price=null", "#/price"),
        ("ids=1&ids=x", "#/ids/1"),
        ("tags=a&tags=b&tags=c&tags=d", "#/tags"),
        ("other=1", "#/other"),
    ] {
        let (status, code, found) = code(query(&search(), text));
        assert_eq!((status, code, found.as_str()), (422, "validation_failed", pointer), "{text}");
    }
}

#[test]
fn a_query_that_could_be_read_in_two_ways_is_refused() {
    for (text, expected) in [
        ("page=1&page=2", (400, "duplicate_key", "#/page")),
        ("q=1&%71=2", (400, "duplicate_key", "#/q")),
        ("other=1&other=1", (400, "duplicate_key", "#/other")),
        ("__proto__=1", (400, "forbidden_key", "#/__proto__")),
        ("%5F_proto__=1", (400, "forbidden_key", "#/__proto__")),
        ("$where=1", (400, "operator_key", "#/$where")),
        ("tags=a&tags[]=b", (400, "duplicate_key", "#/tags")),
        ("q[]=a", (400, "bracketed_key", "#/q")),
        ("q[$gt]=", (400, "bracketed_key", "#/q%5B$gt%5D")),
        ("q[x]=", (400, "bracketed_key", "#/q%5Bx%5D")),
        ("tags[0]=a", (400, "bracketed_key", "#/tags%5B0%5D")),
        ("tags[][]=a", (400, "bracketed_key", "#/tags%5B%5D%5B%5D")),
        ("[]=a", (400, "bracketed_key", "#/%5B%5D")),
        ("other[]=a", (400, "bracketed_key", "#/other")),
        ("q.x=1", (400, "operator_key", "#/q.x")),
        ("q=%00", (400, "forbidden_character", "#/q")),
        ("page=9007199254740993", (400, "unsafe_number", "#/page")),
        ("page=1e999", (400, "unsafe_number", "#/page")),
        ("=1", (400, "malformed_query", "")),
        ("q=a]=b", (400, "bracketed_key", "")),
        ("q=%", (400, "malformed_query", "")),
        ("q=%4", (400, "malformed_query", "")),
        ("q=%zz", (400, "malformed_query", "")),
        ("q=%ff", (400, "malformed_query", "")),
        ("q=%c0%af", (400, "malformed_query", "")),
        ("q=%ed%a0%80", (400, "malformed_query", "")),
        ("%ff=1", (400, "malformed_query", "")),
    ] {
        let (status, code, pointer) = code(query(&search(), text));
        assert_eq!((status, code, pointer.as_str()), expected, "{text}");
    }
}

#[test]
fn parameters_have_types_and_may_be_more_than_declared() {
    let schemas = schemas(
        &json!({ "params": { "properties": { "id": { "type": "integer" } }, "required": ["id"] } }),
    );
    let config = Limits::default();
    let params = [("id", "42"), ("0", "rest/of/path")];
    let checked = schemas.check(&Parts { params: &params, ..parts(&config, "ignored=%") }).unwrap();
    assert_eq!(checked.params.as_deref(), Some(r#"{"id":42,"0":"rest/of/path"}"#));
    assert_eq!(checked.query, None);
    let refusal =
        schemas.check(&Parts { params: &[("id", "42; drop")], ..parts(&config, "") }).unwrap_err();
    assert_eq!(
        (refusal.errors[0].location, refusal.errors[0].pointer.as_str()),
        ("params", "#/id")
    );
}

#[test]
fn only_declared_headers_are_looked_at_and_each_may_come_once() {
    let schemas = schemas(&json!({ "headers": { "properties": {
        "x-tenant": { "type": "string", "format": "uuid" }, "x-retry": { "type": "integer", "default": 0 },
        "x-list": { "type": "array", "items": { "type": "string" } }
    }, "required": ["x-tenant", "x-key"] } }));
    let config = Limits::default();
    let check = |headers: &[(&str, &str)]| schemas.check(&Parts { headers, ..parts(&config, "") });
    let tenant = ("x-tenant", "2eb8aa08-aa98-11ea-b4aa-73b441d16380");
    let checked = check(&[
        ("host", "a"),
        tenant,
        ("x.y", "$"),
        ("cookie", "a"),
        ("cookie", "b"),
        ("x-key", "1"),
    ])
    .unwrap();
    assert_eq!(
        serde_json::from_str::<Value>(&checked.headers.unwrap()).unwrap(),
        json!({ "x-tenant": tenant.1, "x-key": "1", "x-retry": 0 })
    );
    for headers in [
        &[tenant, tenant, ("x-key", "1")][..],
        &[tenant, ("x-key", "1"), ("x-list", "a"), ("x-list", "b")],
    ] {
        let refusal = check(headers).unwrap_err();
        assert_eq!(
            (refusal.status, refusal.code, refusal.errors[0].location),
            (400, "duplicate_key", "headers")
        );
    }
    assert_eq!(check(&[tenant]).unwrap_err().errors[0].pointer, "#/x-key");
}

#[test]
fn all_parts_are_judged_in_one_answer() {
    let schemas = schemas(&json!({
        "body": create_user(), "query": search(),
        "params": { "properties": { "id": { "type": "integer" } } },
        "headers": { "required": ["x-key"] }
    }));
    let config = Limits::default();
    let refusal =
        schemas.check(&Parts { params: &[("id", "x")], ..parts(&config, "page=x") }).unwrap_err();
    let found: Vec<_> =
        refusal.errors.iter().map(|e| (e.location, e.pointer.as_str(), e.code)).collect();
    assert_eq!(
        found,
        [
            ("body", "#", "required"),
            ("query", "#/page", "type"),
            ("params", "#/id", "type"),
            ("headers", "#/x-key", "required"),
        ]
    );
    let refusal =
        schemas.check(&Parts { body: Some(b"{"), ..parts(&config, "page=x") }).unwrap_err();
    assert_eq!((refusal.status, refusal.code), (400, "malformed_json"));
    let refusal =
        schemas.check(&Parts { body: Some(b""), ..parts(&config, "page=%") }).unwrap_err();
    assert_eq!((refusal.status, refusal.code), (400, "malformed_query"));
}

#[test]
fn a_body_is_handed_on_only_where_it_is_asked_for() {
    let schemas = schemas(&json!({ "body": { "properties": { "a": {} } } }));
    let config = Limits::default();
    let check = |keep_body| {
        schemas
            .check(&Parts { body: Some(b"{\"a\":[1]}"), keep_body, ..parts(&config, "") })
            .unwrap()
            .body
    };
    assert_eq!(check(true), Some(json!({ "a": [1] })));
    assert_eq!(check(false), None);
}

#[test]
fn a_body_without_a_schema_must_be_clean_all_the_same() {
    let config = Limits::default();
    let check = |body| Schemas::default().check(&Parts { body: Some(body), ..parts(&config, "") });
    assert!(check(b"{\"anything\":1}").is_ok());
    assert_eq!(check(b"{\"a\":1,\"a\":2}").unwrap_err().code, "duplicate_key");
}

#[test]
fn schemas_that_can_never_fit_text_are_refused() {
    for (value, part) in [
        (
            json!({ "query": { "properties": { "page": { "type": "integer", "default": "1" } } } }),
            "`validate.query` has a default for `page` that does not match its own schema",
        ),
        (json!({ "headers": { "properties": { "X-Tenant": {} } } }), "write `x-tenant`"),
        (json!({ "headers": { "required": ["X-Tenant"] } }), "write `x-tenant`"),
        (json!({ "params": 5 }), "`validate.params` must be a JSON Schema"),
        (json!({ "body": null }), "`validate.body` must be a JSON Schema"),
    ] {
        let text = refused(&value);
        assert!(text.contains(part), "{text}");
    }
}

proptest! {
    #[test]
    fn any_query_is_refused_or_becomes_an_object_of_clean_json(text in "[a-z$._%&=+\\[\\]\"\\\\0-9é]{0,40}") {
        let schema = json!({ "properties": search()["properties"], "$defs": search()["$defs"], "additionalProperties": true });
        match query(&schema, &text) {
            Ok(value) => prop_assert!(value.is_object()),
            Err(refusal) => prop_assert!(matches!(refusal.status, 400 | 422)),
        }
    }

    #[test]
    fn a_string_arrives_as_it_was_sent(value in "\\PC{0,20}") {
        let encoded: Vec<String> = value.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let encoded = encoded.concat();
        let read = query(&search(), &format!("q={encoded}")).unwrap();
        prop_assert_eq!(read["q"].as_str(), Some(value.as_str()));
    }
}

#[test]
fn a_token_in_the_query_is_no_member_of_it() {
    let rules = SchemaRules::default().with_token_names(["access_token", "t.k"].into_iter());
    let read = |schema: &Value, query: &str| {
        let schemas = json!({ "query": schema });
        let schemas = Schemas::parse("", schemas.as_object().unwrap(), true, &rules).unwrap();
        let config = Limits::default();
        let checked = schemas.check(&parts(&config, query))?;
        Ok(serde_json::from_str::<Value>(&checked.query.unwrap()).unwrap())
    };
    let closed = json!({ "properties": { "page": { "type": "integer" } } });
    let open = json!({ "additionalProperties": true });
    for query in [
        "page=1&access_token=a.b.c",
        "access_token=a.b.c&page=1",
        "%61ccess_token=a.b.c&page=1",
        "page=1&t.k=x&access_token",
        // The layer that verifies the token reports its faults.
        "page=1&access_token=%ff&access_token=x",
    ] {
        assert_eq!(read(&closed, query).unwrap(), json!({ "page": 1 }), "{query}");
        assert_eq!(read(&open, query).unwrap(), json!({ "page": "1" }), "{query}");
    }
    // A similar name is not a token's name.
    for query in ["Access_token=x", "access_tokens=x", "access_token+=x"] {
        assert_eq!(code(read(&closed, query)).1, "validation_failed", "{query}");
    }
    assert_eq!(code(read(&closed, "access_token[]=x")).1, "bracketed_key");
    // A route can refuse tokens in the query by declaring the name as `false`.
    let none = json!({ "properties": { "access_token": false } });
    assert_eq!(code(read(&none, "access_token=x")).1, "validation_failed");
    // A form is not a query.
    let schemas = json!({ "body": closed });
    let schemas = Schemas::parse("", schemas.as_object().unwrap(), true, &rules).unwrap();
    let config = Limits::default();
    let body = Some(b"access_token=x".as_slice());
    let form = Parts { body, format: Format::Form, ..parts(&config, "") };
    assert_eq!(schemas.check(&form).unwrap_err().code, "validation_failed");
}

#[test]
fn a_schema_of_the_query_that_wants_the_token_is_refused() {
    let rules = SchemaRules::default().with_token_names(["access_token"].into_iter());
    for schema in [
        json!({ "properties": { "access_token": { "type": "string" } } }),
        json!({ "required": ["access_token"] }),
        json!({ "allOf": [{ "properties": { "access_token": {} } }] }),
    ] {
        let parse = |location: &str| {
            let schemas = json!({ location: schema });
            Schemas::parse("", schemas.as_object().unwrap(), true, &rules)
        };
        let error = parse("query").unwrap_err();
        assert_eq!((error.code().as_str(), error.path()), ("ERR_CONFLICTING_OPTIONS", "query"));
        assert!(error.to_string().contains("`access_token`"), "{error}");
        assert!(parse("params").is_ok() && parse("body").is_ok());
    }
}
