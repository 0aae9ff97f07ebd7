use std::borrow::Cow;
use std::collections::HashMap;

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::json::Limits;
use crate::payload::form::Form;
use crate::payload::plan::Plan;
use crate::payload::{Format, Parts, PayloadConfig, Schemas};
use crate::refusal::Refusal;
use crate::schema::SchemaRules;

fn parts<'a>(config: &'a Limits, body: &'a [u8]) -> Parts<'a> {
    Parts {
        limits: config,
        body: Some(body),
        format: Format::Form,
        query: "",
        params: &[],
        headers: &[],
        language: None,
        multipart: None,
        keep_body: true,
    }
}

/// The result of reading a form, with a schema or without one.
fn read(schema: Option<&Value>, options: &Value, body: &[u8]) -> Result<Value, Refusal> {
    let config = *PayloadConfig::parse("payload", Some(options)).unwrap().limits();
    let schemas = schema.map_or_else(Schemas::default, |schema| {
        let schemas = json!({ "body": schema });
        Schemas::parse("", schemas.as_object().unwrap(), true, &SchemaRules::default()).unwrap()
    });
    let checked = schemas.check(&parts(&config, body))?;
    if body.is_empty() {
        // An empty body is not a form without members.
        assert_eq!(checked.form, None);
        return Ok(json!({}));
    }
    let form = serde_json::from_str::<Value>(&checked.form.unwrap()).unwrap();
    assert_eq!(Some(&form), checked.body.as_ref(), "a policy sees what the handler sees");
    Ok(form)
}

fn loose(body: &str) -> Result<Value, Refusal> {
    read(None, &json!({}), body.as_bytes())
}

/// Code and detail of the one fault of a form.
fn fault(read: Result<Value, Refusal>) -> (&'static str, String, String) {
    let refusal = read.unwrap_err();
    assert_eq!(refusal.status, 400);
    let [error] = refusal.errors.as_slice() else { panic!("{refusal:?}") };
    assert_eq!((error.location, error.code), ("body", refusal.code));
    let at = error.detail.rsplit_once(", at byte ").map_or("", |(_, at)| at);
    (refusal.code, error.pointer.clone(), at.to_owned())
}

fn order() -> Value {
    json!({ "properties": {
        "name": { "type": "string", "minLength": 1 },
        "amount": { "type": "integer", "minimum": 1 },
        "gift": { "type": "boolean", "default": false },
        "tags": { "type": "array", "items": { "type": "string" } },
        "ids": { "type": "array", "items": { "type": "integer" } },
        "card[number]": { "type": "string" },
        "$meta": { "type": "string" }
    }, "required": ["name"] })
}

#[test]
fn a_list_in_one_text_is_not_taken_apart_beyond_what_a_document_may_have() {
    let schema = json!({ "properties": { "ids": { "type": "array", "x-text-style": "," } } });
    let plan = Plan::of(&schema);
    let config =
        *PayloadConfig::parse("payload", Some(&json!({ "maxNodes": 10 }))).unwrap().limits();
    let text = vec!["1"; 50_000].join(",");
    for value in [Cow::Borrowed(text.as_str()), Cow::Owned(text.clone())] {
        let mut form = Form::new(Some(&plan), 0, &config);
        form.member("ids", value).unwrap();
        let built: Value = serde_json::from_str(&form.finish()).unwrap();
        // One more than allowed, so that the document is refused.
        assert_eq!(built["ids"].as_array().unwrap().len(), 11);
    }
    let body = format!("ids={text}");
    let refused = read(Some(&schema), &json!({ "maxNodes": 10 }), body.as_bytes());
    assert_eq!(fault(refused).0, "too_many_nodes");
    let fits = read(Some(&schema), &json!({ "maxNodes": 10 }), b"ids=1,2,3,4,5,6,7,8");
    assert_eq!(fits.unwrap()["ids"].as_array().unwrap().len(), 8);
}

#[test]
fn without_a_schema_a_form_is_strings_and_lists_of_strings() {
    for (text, expected) in [
        ("a=1&b=true&c=", json!({ "a": "1", "b": "true", "c": "" })),
        ("a+b=c%20d%2B", json!({ "a b": "c d+" })),
        ("a", json!({ "a": "" })),
        ("&&a=1&", json!({ "a": "1" })),
        ("a==b=", json!({ "a": "=b=" })),
        ("t[]=1&t[]=2&a=3", json!({ "t": ["1", "2"], "a": "3" })),
        ("t%5B%5D=1", json!({ "t": ["1"] })),
        ("caf%C3%A9=%F0%9F%98%80", json!({ "café": "😀" })),
        ("café=ü", json!({ "café": "ü" })),
        ("a=%0D%0A%22%5C", json!({ "a": "\r\n\"\\" })),
        ("=x", json!({ "": "x" })),
    ] {
        assert_eq!(loose(text).unwrap(), expected, "{text}");
    }
}

#[test]
fn with_a_schema_a_form_has_types_and_defaults() {
    let read = |text: &str| read(Some(&order()), &json!({}), text.as_bytes());
    for (text, expected) in [
        ("name=Ada&amount=3", json!({ "name": "Ada", "amount": 3, "gift": false })),
        ("name=5&gift=true&ids=1&ids=2", json!({ "name": "5", "gift": true, "ids": [1, 2] })),
        (
            "name=a&tags[]=x&ids[]=7",
            json!({ "name": "a", "gift": false, "tags": ["x"], "ids": [7] }),
        ),
        (
            "name=a&card[number]=1&%24meta=x",
            json!({ "name": "a", "gift": false, "card[number]": "1", "$meta": "x" }),
        ),
    ] {
        assert_eq!(read(text).unwrap(), expected, "{text}");
    }
    for (text, pointer) in [
        ("amount=3", "#/name"),
        ("name=", "#/name"),
        ("name=a&amount=0", "#/amount"),
        ("name=a&amount=1e", "#/amount"),
        ("name=a&gift=1", "#/gift"),
        ("name=a&ids=1&ids=x", "#/ids/1"),
        ("name=a&admin=true", "#/admin"),
    ] {
        let refusal = read(text).unwrap_err();
        assert_eq!(
            (refusal.status, refusal.errors[0].location, refusal.errors[0].pointer.as_str()),
            (422, "body", pointer),
            "{text}"
        );
    }
}

#[test]
fn what_parsers_read_in_two_ways_is_refused_with_its_place() {
    for (text, expected) in [
        ("a=1&a=2", ("duplicate_key", "#/a", "4")),
        ("a=1&%61=2", ("duplicate_key", "#/a", "4")),
        ("a=1&b=2&a[]=2", ("duplicate_key", "#/a", "8")),
        ("x=1&__proto__=1", ("forbidden_key", "#/__proto__", "4")),
        ("x=1&__proto__[]=1", ("forbidden_key", "#/__proto__", "4")),
        ("x=1&%5f_proto__=1", ("forbidden_key", "#/__proto__", "4")),
        ("__proto__[admin]=1", ("bracketed_key", "#/__proto__%5Badmin%5D", "0")),
        (
            "constructor[prototype][x]=1",
            ("bracketed_key", "#/constructor%5Bprototype%5D%5Bx%5D", "0"),
        ),
        ("x=1&constructor.prototype.x=1", ("forbidden_key", "#/constructor.prototype.x", "4")),
        ("password[$ne]=", ("bracketed_key", "#/password%5B$ne%5D", "0")),
        ("a[b]=1", ("bracketed_key", "#/a%5Bb%5D", "0")),
        ("a[0]=1", ("bracketed_key", "#/a%5B0%5D", "0")),
        ("a]=1", ("bracketed_key", "#/a%5D", "0")),
        ("y=%24&$where=1", ("operator_key", "#/$where", "6")),
        ("user.role=admin", ("operator_key", "#/user.role", "0")),
        ("a=1&b=x%00", ("forbidden_character", "#/b", "4")),
        ("t[]=1&a=0&t[]=%00", ("forbidden_character", "#/t/1", "10")),
        ("a=1&b=%", ("malformed_form", "#", "4")),
        ("a=%4", ("malformed_form", "#", "0")),
        ("a=%u0041", ("malformed_form", "#", "0")),
        ("a=%ff", ("malformed_form", "#", "0")),
        ("a=1\n", ("malformed_form", "#", "3")),
        ("a=1&b=\u{1}", ("malformed_form", "#", "6")),
        ("a=\u{7f}", ("malformed_form", "#", "2")),
        ("a=%c0%af", ("malformed_form", "#", "0")),
        ("a=%ed%a0%80", ("malformed_form", "#", "0")),
        ("%fe=1", ("malformed_form", "#", "0")),
        ("\u{feff}a=1", ("invalid_unicode", "#", "0")),
    ] {
        let (code, pointer, at) = fault(loose(text));
        assert_eq!((code, pointer.as_str(), at.as_str()), expected, "{text}");
    }
    let bytes = read(None, &json!({}), b"a=1&b=\xff");
    assert_eq!(fault(bytes), ("invalid_unicode", "#".to_owned(), "6".to_owned()));
    let schema = Some(order());
    let typed = |text: &str| read(schema.as_ref(), &json!({}), text.as_bytes());
    for (text, expected) in [
        ("name=a&name=b", ("duplicate_key", "#/name", "7")),
        ("name=a&gift=true&gift=false", ("duplicate_key", "#/gift", "17")),
        ("tags=a&name=a&tags[]=b", ("duplicate_key", "#/tags", "14")),
        ("name[]=a", ("bracketed_key", "#/name", "0")),
        ("name=a&amount=9007199254740993", ("unsafe_number", "#/amount", "7")),
        ("name=a&ids=1&ids=1e999", ("unsafe_number", "#/ids/1", "13")),
    ] {
        let (code, pointer, at) = fault(typed(text));
        assert_eq!((code, pointer.as_str(), at.as_str()), expected, "{text}");
    }
}

#[test]
fn a_form_is_bounded_in_bytes_names_and_values() {
    let read = |options: Value, text: &str| read(None, &options, text.as_bytes());
    let pairs = |n: usize, name: &str| {
        let pairs: Vec<String> = (0..n).map(|i| name.replace('#', &i.to_string())).collect();
        pairs.join("&")
    };
    assert!(read(json!({ "maxNodes": 4 }), "a=1&b=2&c=3").is_ok());
    for (options, text, code) in [
        (json!({ "maxNodes": 3 }), pairs(3, "a#"), "too_many_nodes"),
        (json!({}), pairs(20_000, "a[]"), "too_many_nodes"),
        (json!({}), pairs(9_000, "a#[]"), "too_many_keys"),
        (json!({ "maxKeys": 2 }), pairs(3, "a#"), "too_many_keys"),
        (json!({}), pairs(1001, "a#"), "too_many_keys"),
        (json!({ "maxDepth": 1 }), pairs(1, "a[]"), "too_deep"),
    ] {
        assert_eq!(read(options, &text).unwrap_err().code, code, "{}", text.len());
    }
    let large = read(json!({ "maxBytes": 10 }), "a=123456789").unwrap_err();
    assert_eq!((large.status, large.code), (413, "body_too_large"));
}

#[test]
fn sanitizers_change_the_values_of_a_form_before_they_are_checked() {
    let text = json!({ "type": "string", "x-trim": true, "x-lowercase": true, "minLength": 2 });
    let schema = json!({ "properties": {
        "name": text,
        "tags": { "type": "array", "items": text },
        "plan": { "type": "string", "x-lowercase": true, "default": "FREE" },
        "n": { "type": "integer" }
    } });
    let schema = Some(&schema);
    let form = read(schema, &json!({}), b"name=+AB+&n=1&tags=Cd&tags=%22E+").unwrap();
    let wanted = json!({ "name": "ab", "n": 1, "tags": ["cd", "\"e"], "plan": "free" });
    assert_eq!(form, wanted);
    let refusal = read(schema, &json!({}), b"name=+A+").unwrap_err();
    assert_eq!((refusal.status, refusal.errors[0].pointer.as_str()), (422, "#/name"));
}

#[test]
fn a_schema_of_a_body_may_have_defaults_of_its_own_only_where_no_form_is_read_into_it() {
    let schema =
        json!({ "body": { "properties": { "a": { "type": "integer", "default": "1" } } } });
    let rules = SchemaRules::default();
    let parse = |forms| Schemas::parse("", schema.as_object().unwrap(), forms, &rules);
    assert!(parse(false).is_ok());
    let text = parse(true).unwrap_err().to_string();
    assert!(text.contains("default for `a` that does not match"), "{text}");
}

/// Percent-encodes the alphanumerics that `mask` selects, and all other bytes. A selected space
/// becomes `+`.
fn encoded(text: &str, mask: u32) -> String {
    let mut out = String::new();
    for (i, byte) in text.bytes().enumerate() {
        match byte {
            b' ' if mask >> (i % 32) & 1 == 1 => out.push('+'),
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' if mask >> (i % 32) & 1 == 0 => {
                out.push(char::from(byte));
            }
            byte => {
                let hex = format!("%{byte:02x}");
                out.push_str(&if i % 2 == 0 { hex } else { hex.to_uppercase() });
            }
        }
    }
    out
}

proptest! {
    #[test]
    fn names_and_values_arrive_as_they_were_sent(
        pairs in prop::collection::hash_map("[^\\x00\\[\\].$]{1,8}", "[^\\x00]{0,12}", 0..8),
        mask: u32,
    ) {
        let pairs: HashMap<String, String> =
            pairs.into_iter().filter(|(name, _)| name != "__proto__").collect();
        let text: Vec<String> = pairs
            .iter()
            .map(|(name, value)| format!("{}={}", encoded(name, mask), encoded(value, mask)))
            .collect();
        prop_assert_eq!(loose(&text.join("&")).unwrap(), json!(pairs));
    }

    #[test]
    fn any_form_is_refused_or_becomes_strings_and_lists_of_them(
        text in "([a-c_$.]{0,3}(\\[[a-b0$]?\\]){0,2}(=[a-c%0-9+&;]{0,4})?&?){0,6}",
    ) {
        match loose(&text) {
            Ok(value) => {
                let members = value.as_object().unwrap();
                let is_text = |value: &Value| value.is_string();
                for (name, value) in members {
                    prop_assert!(name != "__proto__" && !name.starts_with('$') && !name.contains(['.', '[', ']']));
                    prop_assert!(is_text(value) || value.as_array().is_some_and(|list| list.iter().all(is_text)));
                }
            }
            Err(refusal) => prop_assert_eq!(refusal.status, 400),
        }
    }

    #[test]
    fn any_bytes_as_a_form_are_survived_with_and_without_a_schema(bytes: Vec<u8>) {
        for schema in [None, Some(&order())] {
            if let Err(refusal) = read(schema, &json!({}), &bytes) {
                prop_assert!(matches!(refusal.status, 400 | 422));
            }
        }
    }

    #[test]
    fn every_split_of_one_list_reads_alike(values in prop::collection::vec("[a-z0-9]{0,4}", 1..6)) {
        let plain: Vec<String> = values.iter().map(|value| format!("tags={value}")).collect();
        let spelt: Vec<String> = values.iter().map(|value| format!("tags[]={value}")).collect();
        let read = |pairs: Vec<String>| {
            read(Some(&order()), &json!({}), format!("name=a&{}", pairs.join("&")).as_bytes())
        };
        prop_assert_eq!(read(plain).unwrap(), read(spelt).unwrap());
    }
}
