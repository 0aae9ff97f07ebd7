//! `discriminator`: the branch that the value names, and no other.

use serde_json::{Value, json};

use super::{read, with_body};
use crate::json::Limits;
use crate::schema::Schema;

fn passes(version: &str, schema: &Value, schemas: &Value, body: &Value) -> bool {
    let api = read(&with_body(version, schema, schemas)).unwrap();
    let composed = api.schemas(0, Some(0)).unwrap();
    let compiled = Schema::compile("body", &composed["body"], true).unwrap();
    compiled.validate(body.to_string().as_bytes(), &Limits::default()).is_ok()
}

fn pets() -> Value {
    let pet = |own: &str, required: bool| {
        let names = if required { json!(["petType", own]) } else { json!(["petType"]) };
        json!({ "type": "object", "required": names, "properties": { "petType": { "type": "string" }, own: { "type": "integer" } } })
    };
    json!({
        "Cat": pet("lives", true),
        "Dog": pet("barks", false),
        "Fixed": { "type": "object", "required": ["petType"], "properties": {
            "petType": { "type": "string", "enum": ["bird", "fish"] }, "wings": { "type": "integer" } } },
        "Inherited": { "allOf": [{ "$ref": "#/components/schemas/Fixed" }, { "properties": { "age": { "type": "integer" } } }] },
    })
}

fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

#[test]
fn the_value_chooses_the_branch_and_no_other_branch_helps() {
    let cats_and_dogs = json!([reference("Cat"), reference("Dog")]);
    let mapping = json!({ "kitty": "#/components/schemas/Cat", "Dog": "Cat", "puppy": "Dog" });
    for version in ["3.0.3", "3.1.0"] {
        for key in ["oneOf", "anyOf"] {
            let plain =
                json!({ key: cats_and_dogs, "discriminator": { "propertyName": "petType" } });
            let mapped = json!({ key: cats_and_dogs, "discriminator": { "propertyName": "petType", "mapping": mapping } });
            let fixed = json!({ key: [reference("Cat"), reference("Inherited")], "discriminator": { "propertyName": "petType" } });
            for (schema, body, expected) in [
                // Both branches match this one, so `oneOf` alone would refuse it.
                (&plain, json!({ "petType": "Cat", "lives": 9 }), true),
                (&plain, json!({ "petType": "Dog", "barks": 1 }), true),
                // The other branch matches these, so `oneOf` alone would accept them.
                (&plain, json!({ "petType": "Cat", "barks": 1 }), false),
                (&plain, json!({ "petType": "Cat", "lives": "x" }), false),
                (&plain, json!({ "petType": "Cat" }), false),
                (&plain, json!({ "petType": "Cow", "lives": 9 }), false),
                (&plain, json!({ "petType": "cat", "lives": 9 }), false),
                (&plain, json!({ "petType": 1, "lives": 9 }), false),
                (&plain, json!({ "lives": 9 }), false),
                (&plain, json!({ "petType": "Cat", "lives": 9, "admin": true }), false),
                (&plain, json!("Cat"), false),
                (&plain, json!(null), false),
                (&mapped, json!({ "petType": "kitty", "lives": 9 }), true),
                (&mapped, json!({ "petType": "kitty" }), false),
                (&mapped, json!({ "petType": "puppy" }), true),
                // `mapping` comes before the name of a schema.
                (&mapped, json!({ "petType": "Dog", "lives": 9 }), true),
                (&mapped, json!({ "petType": "Dog", "barks": 9 }), false),
                (&mapped, json!({ "petType": "Cat", "lives": 9 }), true),
                // Constants of a branch are its names, also behind references.
                (&fixed, json!({ "petType": "bird", "wings": 2 }), true),
                (&fixed, json!({ "petType": "fish", "age": 2 }), true),
                (&fixed, json!({ "petType": "bird", "lives": 9 }), false),
                (&fixed, json!({ "petType": "Inherited" }), false),
                (&fixed, json!({ "petType": "Cat", "lives": 9 }), true),
            ] {
                assert_eq!(
                    passes(version, schema, &pets(), &body),
                    expected,
                    "{version} {schema} of {body}"
                );
            }
        }
    }
}

#[test]
fn branches_that_no_object_matches_are_for_other_values() {
    let schema = json!({
        "oneOf": [reference("Cat"), reference("Dog"), { "type": "null" }, { "type": "string", "maxLength": 2 }],
        "discriminator": { "propertyName": "petType" },
    });
    for (body, expected) in [
        (json!(null), true),
        (json!("ab"), true),
        (json!("abc"), false),
        (json!(1), false),
        (json!({ "petType": "Cat", "lives": 1 }), true),
        (json!({ "petType": "Cat" }), false),
        (json!({}), false),
    ] {
        assert_eq!(passes("3.1.0", &schema, &pets(), &body), expected, "{body}");
    }
}

#[test]
fn a_discriminator_below_the_top_and_among_other_keywords_holds() {
    let pet = json!({ "oneOf": [reference("Cat"), reference("Dog")], "discriminator": { "propertyName": "petType" } });
    let mut both = pet.clone();
    both["allOf"] = json!([{ "required": ["age"] }]);
    both["properties"] = json!({ "age": { "type": "integer" } });
    let list =
        json!({ "type": "object", "properties": { "pets": { "type": "array", "items": pet } } });
    for (schema, body, expected) in [
        (&list, json!({ "pets": [{ "petType": "Cat", "lives": 1 }, { "petType": "Dog" }] }), true),
        (&list, json!({ "pets": [{ "petType": "Cat", "lives": 1 }, { "petType": "Cat" }] }), false),
        (&both, json!({ "petType": "Cat", "lives": 1, "age": 1 }), true),
        (&both, json!({ "petType": "Cat", "lives": 1 }), false),
        (&both, json!({ "petType": "Cat", "age": 1 }), false),
        (&both, json!({ "petType": "Cat", "lives": 1, "age": 1, "x": 1 }), false),
    ] {
        assert_eq!(passes("3.1.0", schema, &pets(), &body), expected, "{schema} of {body}");
    }
}

#[test]
fn a_discriminator_that_names_nothing_is_a_fault() {
    let inline = json!({ "type": "object", "properties": { "x": {} } });
    for (schema, path) in [
        (
            json!({ "oneOf": [reference("Cat"), inline], "discriminator": { "propertyName": "petType" } }),
            "",
        ),
        (json!({ "oneOf": [reference("Cat")], "discriminator": {} }), ".propertyName"),
        (
            json!({ "oneOf": [reference("Cat")], "discriminator": { "propertyName": "petType", "maping": {} } }),
            ".maping",
        ),
        (
            json!({ "oneOf": [reference("Cat")], "discriminator": { "propertyName": "petType", "mapping": { "a": "Cow" } } }),
            ".mapping.a",
        ),
        (
            json!({ "oneOf": [reference("Cat")], "discriminator": { "propertyName": "petType", "mapping": { "a": 1 } } }),
            ".mapping.a",
        ),
    ] {
        let error = read(&with_body("3.1.0", &schema, &pets())).unwrap_err();
        assert!(error.path().ends_with(&format!("schema.discriminator{path}")), "{error}");
    }
    // In a parent of `allOf` it has no effect on validity (section 4.8.25.2).
    let mut parent = pets();
    parent["Cat"]["discriminator"] =
        json!({ "propertyName": "petType", "mapping": { "dog": "Dog" } });
    assert!(passes("3.1.0", &reference("Cat"), &parent, &json!({ "petType": "dog", "lives": 1 })));
}
