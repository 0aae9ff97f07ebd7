//! Equivalent schemas of 3.0 and of 3.1 give the same results.

use serde_json::{Value, json};

use super::{read, with_body};
use crate::json::Limits;
use crate::schema::Schema;

/// Whether a body passes the schema of the only operation.
fn passes(version: &str, schema: &Value, schemas: &Value, body: &Value) -> bool {
    let api = read(&with_body(version, schema, schemas)).unwrap();
    let composed = api.schemas(0, Some(0)).unwrap();
    let compiled = Schema::compile("body", &composed["body"], true).unwrap();
    compiled.validate(body.to_string().as_bytes(), &Limits::default()).is_ok()
}

#[test]
fn what_3_0_and_3_1_write_differently_has_the_same_verdicts() {
    // [3.0, 3.1, accepted, refused]
    let table = json!([
        [{ "type": "string" }, { "type": "string" }, ["a"], [1, null, [], {}]],
        [{ "type": "string", "nullable": true }, { "type": ["string", "null"] }, ["a", null], [1, {}]],
        [{ "type": "string", "nullable": false }, { "type": "string" }, ["a"], [null]],
        // A null must be in the list, too (the clarification of 3.0.3).
        [{ "type": "string", "nullable": true, "enum": ["a"] }, { "type": ["string", "null"], "enum": ["a"] }, ["a"], [null, "b"]],
        [{ "type": "string", "nullable": true, "enum": ["a", null] }, { "enum": ["a", null] }, ["a", null], ["b"]],
        [{ "nullable": true, "maxLength": 1 }, { "maxLength": 1 }, ["a", null, 1], ["ab"]],
        [{ "type": "integer", "minimum": 1, "exclusiveMinimum": true }, { "type": "integer", "exclusiveMinimum": 1 }, [2], [1, 0]],
        [{ "type": "integer", "minimum": 1, "exclusiveMinimum": false }, { "type": "integer", "minimum": 1 }, [1], [0]],
        [{ "type": "number", "maximum": 9.5, "exclusiveMaximum": true }, { "type": "number", "exclusiveMaximum": 9.5 }, [9.4], [9.5, 10]],
        [{ "type": "integer", "format": "int32" }, { "type": "integer", "format": "int32" }, [2_147_483_647, -2_147_483_648_i64], [2_147_483_648_u64, -2_147_483_649_i64, 1.5]],
        [{ "type": "integer", "format": "int32", "minimum": 5, "maximum": 9_999_999_999_u64 }, { "type": "integer", "minimum": 5, "maximum": 2_147_483_647 }, [5], [4, 3_000_000_000_u64]],
        [{ "type": "integer", "format": "int64" }, { "type": "integer" }, [9_007_199_254_740_991_u64], ["1"]],
        [{ "type": "integer", "format": "uint8" }, { "type": "integer", "minimum": 0, "maximum": 255 }, [0, 255], [-1, 256]],
        [{ "type": "number", "format": "double" }, { "type": "number", "format": "float" }, [1.5], ["1.5"]],
        [{ "type": "string", "format": "byte" }, { "type": "string", "format": "byte" }, ["", "YQ==", "YWI=", "YWJj"], ["Y", "YQ=", "YQ", "a b=", "YWJj\n"]],
        [{ "type": "string", "format": "byte", "pattern": "^Y" }, { "type": "string", "format": "byte", "pattern": "^Y" }, ["YWJj"], ["ZWJj", "YY"]],
        [{ "type": "string", "format": "password" }, { "type": "string", "format": "password" }, ["secret"], [1]],
        [{ "type": "string", "format": "email" }, { "type": "string", "format": "email" }, ["a@b.co"], ["a@b"]],
        [{ "type": "string", "format": "uuid", "example": "x", "xml": { "name": "id" } }, { "type": "string", "format": "uuid", "examples": ["x"] }, ["2eb8aa08-aa98-11ea-b4aa-73b441d16380"], ["x"]],
        [{ "type": "array", "items": { "type": "integer", "nullable": true }, "maxItems": 2 }, { "type": "array", "items": { "type": ["integer", "null"] }, "maxItems": 2 }, [[], [1, null]], [["a"], [1, 2, 3]]],
        [{ "type": "object", "additionalProperties": { "type": "string" } }, { "type": "object", "additionalProperties": { "type": "string" } }, [{ "a": "b" }], [{ "a": 1 }]],
        [{ "not": { "type": "string" } }, { "not": { "type": "string" } }, [1], ["a"]],
        [{ "oneOf": [{ "type": "string" }, { "type": "integer" }], "discriminator": { "propertyName": "kind" } }, { "oneOf": [{ "type": "string" }, { "type": "integer" }] }, ["a", 1], [null, true]],
        // Closed at the top, with the declarations of all its parts; open below.
        [{ "type": "object", "properties": { "a": { "type": "object", "properties": { "b": {} } } } }, { "properties": { "a": { "type": "object", "properties": { "b": {} } } }, "type": "object" }, [{}, { "a": { "c": 1 } }], [{ "b": 1 }, { "a": 1 }]],
        [{ "allOf": [{ "type": "object", "properties": { "a": {} } }, { "type": "object", "properties": { "b": {} } }] }, { "allOf": [{ "properties": { "a": {} } }], "properties": { "b": {} }, "type": "object" }, [{ "a": 1, "b": 2 }], [{ "c": 1 }, 1]],
        [{ "type": "object", "properties": { "a": {} }, "additionalProperties": true }, { "type": "object", "properties": { "a": {} }, "unevaluatedProperties": true }, [{ "b": 1 }], [1]],
    ]);
    for row in table.as_array().unwrap() {
        for (version, schema) in [("3.0.3", &row[0]), ("3.1.0", &row[1])] {
            for (expected, values) in [(true, &row[2]), (false, &row[3])] {
                for value in values.as_array().unwrap() {
                    let got = passes(version, schema, &json!({}), value);
                    assert_eq!(got, expected, "{version}: {schema} of {value}");
                }
            }
        }
    }
}

#[test]
fn a_client_must_not_send_what_is_read_only_and_need_not_send_it() {
    let pet = json!({
        "type": "object",
        "required": ["id", "name", "owner"],
        "properties": {
            "id": { "type": "integer", "readOnly": true },
            "name": { "type": "string" },
            "secret": { "type": "string", "writeOnly": true },
            "owner": { "$ref": "#/components/schemas/Owner" },
            "made": { "allOf": [{ "$ref": "#/components/schemas/Made" }] },
        },
    });
    let schemas = json!({
        "Pet": pet,
        "Owner": { "type": "string", "readOnly": true },
        "Made": { "type": "object", "readOnly": true, "properties": { "by": { "type": "string" } } },
        "Named": { "type": "object", "properties": { "id": { "type": "integer", "readOnly": true } } },
    });
    let pet = json!({ "$ref": "#/components/schemas/Pet" });
    let apart = json!({ "allOf": [{ "$ref": "#/components/schemas/Named" }, { "type": "object", "required": ["id"] }] });
    for version in ["3.0.3", "3.1.1"] {
        let passes = |schema: &Value, body: &Value| passes(version, schema, &schemas, body);
        assert!(passes(&pet, &json!({ "name": "Rex" })));
        assert!(passes(&pet, &json!({ "name": "Rex", "secret": "x" })));
        assert!(!passes(&pet, &json!({})), "what else is required stays so");
        for (key, value) in [
            ("id", json!(1)),
            ("id", json!(null)),
            ("owner", json!("me")),
            ("made", json!({ "by": "x" })),
        ] {
            assert!(!passes(&pet, &json!({ "name": "Rex", key: value })), "{key}");
        }
        assert!(passes(&apart, &json!({})), "required elsewhere");
        assert!(!passes(&apart, &json!({ "id": 1 })));
    }
}

#[test]
fn references_lead_anywhere_in_the_document_and_may_be_cycles() {
    let schemas = json!({
        "Tree": { "type": "object", "required": ["children"], "additionalProperties": false, "properties": {
            "children": { "type": "array", "items": { "$ref": "#/components/schemas/Tree" } },
        } },
        "a/b c": { "type": "object", "properties": { "x": { "type": "integer" } } },
        "Deep": { "$ref": "#/components/schemas/a~1b%20c/properties/x" },
        "Shared": { "allOf": [{ "$ref": "#/components/schemas/Deep" }, { "$ref": "#/components/schemas/Deep" }] },
        "Loop": { "oneOf": [{ "$ref": "#/components/schemas/Back" }, { "type": "string" }] },
        "Back": { "allOf": [{ "$ref": "#/components/schemas/Deep" }, { "not": { "$ref": "#/components/schemas/Loop" } }] },
    });
    for version in ["3.0.0", "3.1.0"] {
        let to = |name: &str| json!({ "$ref": format!("#/components/schemas/{name}") });
        let passes = |schema: &Value, body: &Value| passes(version, schema, &schemas, body);
        assert!(passes(&to("Tree"), &json!({ "children": [{ "children": [] }] })));
        assert!(!passes(&to("Tree"), &json!({ "children": [{ "children": [1] }] })));
        assert!(passes(&to("Deep"), &json!(1)));
        assert!(!passes(&to("Deep"), &json!("1")));
        assert!(passes(&to("Shared"), &json!(1)), "twice is no cycle");
        // For the same value, the check would never end.
        let error = read(&with_body(version, &to("Loop"), &schemas)).unwrap_err();
        assert_eq!(error.path(), "components.schemas.Loop", "{error}");
    }
}

#[test]
fn a_document_of_3_1_may_name_another_dialect() {
    let tuple =
        json!({ "type": "array", "items": [{ "type": "integer" }], "additionalItems": false });
    let mut document = with_body("3.1.0", &tuple, &json!({}));
    document["jsonSchemaDialect"] = json!("http://json-schema.org/draft-07/schema#");
    let api = read(&document).unwrap();
    let schema = Schema::compile("body", &api.schemas(0, Some(0)).unwrap()["body"], true).unwrap();
    let config = Limits::default();
    assert!(schema.validate(b"[1]", &config).is_ok());
    assert!(schema.validate(b"[1,2]", &config).is_err());
    document["jsonSchemaDialect"] = json!("https://spec.openapis.org/oas/3.1/dialect/base");
    assert!(read(&document).is_err(), "2020-12 has `prefixItems`");
}

#[test]
fn schemas_that_would_check_something_else_are_refused_at_their_place() {
    let body = "paths./things.post.requestBody.content.application/json.schema";
    // [version, schema, the place below the body's schema, text of the error]
    let table = json!([
        ["3.0.3", { "type": ["string", "null"] }, ".type", "nullable"],
        ["3.0.3", { "type": "null" }, ".type", "nullable"],
        ["3.0.3", { "type": "strng" }, ".type", "did you mean 'string'?"],
        ["3.0.3", { "const": 1 }, ".const", "OpenAPI 3.0"],
        ["3.0.3", { "maxlength": 1 }, ".maxlength", "did you mean `maxLength`?"],
        ["3.0.3", { "readonly": true }, ".readonly", "did you mean `readOnly`?"],
        ["3.0.3", { "exclusiveMinimum": 5 }, ".exclusiveMinimum", "true or false"],
        ["3.0.3", { "exclusiveMinimum": true }, ".exclusiveMinimum", "without `minimum`"],
        ["3.0.3", { "$ref": "#/components/schemas/A", "nullable": true }, ".nullable", "ignored beside `$ref`"],
        ["3.0.3", { "$ref": "#/components/schemas/A", "readOnly": true }, ".readOnly", "ignored beside `$ref`"],
        ["3.0.3", { "properties": { "a": { "required": true } } }, ".properties.a.required", "list of names"],
        ["3.0.3", { "items": [{}] }, ".items", "must be a schema"],
        ["3.0.3", true, "", "must be a schema"],
        ["3.1.0", { "type": "string", "nullable": true }, ".nullable", "['string', 'null']"],
        ["3.1.0", { "$id": "https://x.example/a" }, ".$id", "references mean"],
        ["3.1.0", { "$dynamicRef": "#a" }, ".$dynamicRef", "references mean"],
        ["3.1.0", { "properties": { "a": { "$schema": "https://json-schema.org/draft/2019-09/schema" } } }, ".properties.a.$schema", "dialect of the whole document"],
        ["3.1.0", { "maxlength": 1 }, ".maxlength", "maxLength"],
        ["3.1.0", { "type": "string", "pattern": "(?=a)" }, ".pattern", "linear"],
        ["3.1.0", { "type": "string", "format": "phone" }, ".format", "format"],
        ["3.1.0", { "properties": { "a b/c": { "type": "strng" } } }, ".properties.a b/c.type", ""],
        ["3.1.0", { "$ref": "#/components/schemas/Nope" }, ".$ref", "leads nowhere"],
        ["3.1.0", { "$ref": "other.yaml#/a" }, ".$ref", "bundle"],
        ["3.1.0", { "$ref": "#Pet" }, ".$ref", "#/components/schemas/Name"],
    ]);
    for row in table.as_array().unwrap() {
        let version = row[0].as_str().unwrap();
        let error = read(&with_body(version, &row[1], &json!({ "A": {} }))).unwrap_err();
        assert_eq!(error.path(), format!("{body}{}", row[2].as_str().unwrap()), "{}", row[1]);
        assert!(error.to_string().contains(row[3].as_str().unwrap()), "{error}");
    }
    let bad = json!({ "Bad": { "properties": { "x": { "type": "string", "pattern": "\\1" } } } });
    let to_bad = json!({ "type": "array", "items": { "$ref": "#/components/schemas/Bad" } });
    let error = read(&with_body("3.0.0", &to_bad, &bad)).unwrap_err();
    assert_eq!(error.path(), "components.schemas.Bad.properties.x.pattern");
}

#[test]
fn a_named_format_may_be_left_unchecked_and_undeclared_members_may_pass() {
    let schema = json!({ "type": "object", "properties": { "tel": { "type": "string", "format": "phone" } } });
    let document = with_body("3.1.0", &schema, &json!({}));
    let options = json!({ "ignoreFormats": ["phone"], "undeclared": "accept" });
    let api = super::Api::read(&super::guard(), &document, &options).unwrap();
    let schemas = api.schemas(0, Some(0)).unwrap();
    let schema = Schema::compile("body", &schemas["body"], true).unwrap();
    let body = br#"{"tel":"x","other":1}"#;
    assert!(schema.validate(body, &Limits::default()).is_ok());
    assert_eq!(schemas["query"]["additionalProperties"], json!(true));
}
