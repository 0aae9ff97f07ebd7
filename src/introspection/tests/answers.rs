//! Options and answers.

use base64::Engine as _;
use proptest::prelude::*;

use super::*;
use crate::introspection::answer::read;

fn head(status: u16, content_type: &str) -> AnswerHead {
    AnswerHead { status, content_type: Some(content_type.to_owned()) }
}

/// `Some` for an active token, `None` for an inactive one.
fn judge(head: &AnswerHead, body: &[u8]) -> Result<Option<String>, AskError> {
    read(head, body).map(|answer| match answer {
        Answer::Active(text, _) => Some(text.to_owned()),
        Answer::Inactive => None,
    })
}

#[test]
fn a_clear_answer_is_active_or_it_is_not() {
    for media in ["application/json", "Application/JSON", "application/json; charset=utf-8"] {
        let body = br#" {"sub":"a","active":true} "#;
        assert!(judge(&head(200, media), body).unwrap().is_some(), "{media}");
        assert_eq!(judge(&head(200, media), br#"{"active":false,"sub":1}"#), Ok(None), "{media}");
    }
}

#[test]
fn anything_but_a_clear_answer_is_an_error_of_the_endpoint() {
    let json = |body: &str| judge(&head(200, "application/json"), body.as_bytes());
    for body in [
        "",
        "true",
        "[]",
        "{}",
        "null",
        r#""active""#,
        r#"{"active":"true"}"#,
        r#"{"active":1}"#,
        r#"{"active":null}"#,
        r#"{"active":[true]}"#,
        r#"{"active":{"active":true}}"#,
        r#"{"Active":true}"#,
        r#"{"active ":true}"#,
        r#"{"active":false,"active":true}"#,
        r#"{"active":true,"active":true}"#,
        r#"{"active":true,"\u0061ctive":false}"#,
        r#"{"active":true,"sub":"a","sub":"b"}"#,
        r#"{"active":true,"x":{"a":1,"a":2}}"#,
        r#"{"active":true,"__proto__":{}}"#,
        r#"{"active":true,"uid":9007199254740993}"#,
        r#"{"active":true}{"active":true}"#,
        r#"{"active":true"#,
        r#"{"active":true,}"#,
        "{active:true}",
        r#"{"result":{"active":true}}"#,
        "\u{feff}{\"active\":true}",
        "<html>active: true</html>",
        "active=true",
    ] {
        assert_eq!(json(body), Err(AskError::Malformed), "{body}");
    }
    assert_eq!(
        judge(&head(200, "application/json"), b"{\"active\":true,\"a\":\"\xff\"}"),
        Err(AskError::Malformed)
    );
    for status in [0, 201, 203, 204, 206, 301, 302, 304, 400, 401, 403, 404, 429, 500, 503] {
        assert_eq!(judge(&head(status, "application/json"), ACTIVE), Err(AskError::Status(status)));
    }
    for media in [
        "",
        "text/html",
        "text/json",
        "application/json+x",
        "application/jsonp",
        "application/token-introspection+jwt",
        "x application/json",
    ] {
        assert_eq!(judge(&head(200, media), ACTIVE), Err(AskError::ContentType), "{media}");
    }
    assert_eq!(
        judge(&AnswerHead { status: 200, content_type: None }, ACTIVE),
        Err(AskError::ContentType)
    );
}

#[test]
fn credentials_are_encoded_before_they_are_joined() {
    let one = endpoint(&json!({ "clientId": "a:b c", "clientSecret": "é%+&\u{1f511}" }));
    let (_, basic) = one.headers.0.iter().find(|(name, _)| name == "authorization").unwrap();
    let plain = decoded(basic.strip_prefix("Basic ").unwrap());
    assert_eq!(plain, "a%3Ab+c:%C3%A9%25%2B%26%F0%9F%94%91");
}

fn decoded(text: &str) -> String {
    let bytes = base64::engine::general_purpose::STANDARD.decode(text).unwrap();
    String::from_utf8(bytes).unwrap()
}

#[test]
fn the_token_is_one_value_of_the_form() {
    let mut world = World::new(&json!({}));
    for token in ["a+b/c==", "a&token=b", "%26"] {
        world.wait(token, 1);
        let form = world.due().remove(0).form;
        let pairs: Vec<(String, String)> =
            url::form_urlencoded::parse(form.as_bytes()).into_owned().collect();
        let hint = ("token_type_hint".to_owned(), "access_token".to_owned());
        assert_eq!(pairs, [("token".to_owned(), token.to_owned()), hint]);
    }
}

#[test]
fn headers_stand_in_for_credentials_and_do_not_replace_the_form() {
    let options = json!({ "introspection": {
        "url": "https://id.example/i", "headers": { "Authorization": "Bearer x", "Content-Type": "text/plain", "accept": "*/*" },
    } });
    let one = parse(&options).unwrap().unwrap();
    let get = |name: &str| {
        let all: Vec<_> = one.headers.0.iter().filter(|(other, _)| other == name).collect();
        assert_eq!(all.len(), 1);
        all[0].1.clone()
    };
    assert_eq!(get("authorization"), "Bearer x");
    assert_eq!(get("content-type"), "application/x-www-form-urlencoded");
    assert_eq!(get("accept"), "application/json");
}

#[test]
fn options_that_are_wrong_are_refused_with_their_path() {
    let good = json!({ "url": "https://id.example/i", "clientId": "a", "clientSecret": "b" });
    let with = |key: &str, value: Value| {
        let mut options = good.clone();
        options[key] = value;
        options
    };
    let without = |key: &str| {
        let mut options = good.clone();
        options.as_object_mut().unwrap().remove(key);
        options
    };
    for (options, path) in [
        (json!(true), "jwt.introspection"),
        (without("url"), "jwt.introspection.url"),
        (without("clientId"), "jwt.introspection.clientId"),
        (without("clientSecret"), "jwt.introspection.clientSecret"),
        (with("clientId", json!("")), "jwt.introspection.clientId"),
        (with("clientSecret", json!("a\nb")), "jwt.introspection.clientSecret"),
        (with("clientSecret", json!(5)), "jwt.introspection.clientSecret"),
        (with("headers", json!({ "authorization": "x" })), "jwt.introspection.clientId"),
        (with("url", json!("http://id.example/i")), "jwt.introspection.url"),
        (with("url", json!("https://u:p@id.example/i")), "jwt.introspection.url"),
        (with("url", json!("/introspect")), "jwt.introspection.url"),
        (with("url", json!("file:///etc/passwd")), "jwt.introspection.url"),
        (with("cacheFor", json!("0s")), "jwt.introspection.cacheFor"),
        (with("cacheFor", json!("6m")), "jwt.introspection.cacheFor"),
        (with("cacheFor", json!(10)), "jwt.introspection.cacheFor"),
        (with("timeout", json!("50ms")), "jwt.introspection.timeout"),
        (with("timeout", json!("11s")), "jwt.introspection.timeout"),
        (with("jwts", json!("yes")), "jwt.introspection.jwts"),
        (with("iss", json!(false)), "jwt.introspection.iss"),
        (with("tokenType", json!("Bearer")), "jwt.introspection.tokenType"),
        (with("cachefor", json!("1s")), "jwt.introspection.cachefor"),
    ] {
        let error = parse(&json!({ "introspection": options })).unwrap_err();
        assert_eq!(error.path(), path, "{options}");
        assert!(!error.to_string().contains("a\nb"));
    }
    assert!(parse(&json!({ "introspection": with("url", json!("http://127.0.0.1:1/i")) })).is_ok());
    let mut private = with("url", json!("http://keycloak:8080/i"));
    assert!(parse(&json!({ "introspection": private.clone() })).is_err());
    private["allowHttp"] = true.into();
    assert!(parse(&json!({ "introspection": private })).is_ok());
}

fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("true".to_owned()),
        Just("false".to_owned()),
        "\"(true|false|1)\"",
        "[0-9]{1,18}",
        Just("null".to_owned()),
        Just("[true]".to_owned()),
        Just("{\"active\":true}".to_owned()),
    ]
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = read(&head(200, "application/json"), &bytes);
    }

    /// For `serde_json`, and so for `JSON.parse`, an answer that counts as active has one
    /// `active`, and it is `true`.
    #[test]
    fn only_one_active_that_is_true_counts(
        members in proptest::collection::vec(("(active|Active|sub|act|\\\\u0061ctive)", value()), 0..6),
        cut in 0_usize..4,
    ) {
        let inner: Vec<String> = members.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
        let text = format!("{{{}}}", inner.join(","));
        let text = if cut == 0 { text.trim_end_matches('}') } else { &text };
        let judged = judge(&head(200, "application/json"), text.as_bytes());
        if let Ok(Some(_)) = judged {
            let parsed: Value = serde_json::from_str(text).unwrap();
            prop_assert_eq!(&parsed["active"], &Value::Bool(true));
            let spelt = members.iter().filter(|(name, _)| name == "active" || name == "\\u0061ctive");
            prop_assert_eq!(spelt.count(), 1);
        }
    }
}
