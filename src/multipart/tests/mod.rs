//! Bodies as clients send them, and hostile ones.

use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::fuzz::fuzz_multipart;
use super::{Boundary, Event, FileRules, Reader, name};
use crate::json::Limits;

mod hostile;
mod kinds;

/// The rules of most tests: an image, and a list of anything.
fn rules() -> Value {
    json!({
        "avatar": { "types": ["image/png"], "maxBytes": "1kb", "optional": true },
        "scans": { "types": ["*/*"], "maxCount": 2, "optional": true },
    })
}

const PNG: &str = "\u{89}PNG\r\n\u{1a}\n";

/// What a body comes to: fields and files as text, or the code and reason of its refusal.
fn read(rules: &Value, body: &[u8], step: usize) -> Result<Vec<String>, String> {
    read_with(rules, body, step, &Limits::default())
}

fn read_with(
    rules: &Value,
    body: &[u8],
    step: usize,
    limits: &Limits,
) -> Result<Vec<String>, String> {
    let rules = Arc::new(FileRules::parse("payload.files", rules).unwrap());
    let boundary = Boundary::read("multipart/form-data; boundary=b").unwrap();
    let mut reader = Reader::new(&boundary, rules, limits);
    let delimiter = reader.delimiter().to_vec();
    let mut found = Vec::new();
    let mut bytes = Vec::new();
    let told = |refusal: crate::refusal::Refusal| {
        assert!(
            refusal.headers.iter().any(|(name, value)| *name == "Connection" && value == "close"),
            "the rest is read"
        );
        let place =
            refusal.errors.first().map(|error| format!(" {} {}", error.pointer, error.code));
        format!(
            "{} {}{}{}",
            refusal.status,
            refusal.code,
            refusal.reason.as_deref().map(|reason| format!(" {reason}")).unwrap_or_default(),
            place.unwrap_or_default()
        )
    };
    for piece in body.chunks(step) {
        for event in reader.push(piece).map_err(told)? {
            match event {
                Event::File { field, name } => found.push(format!("file {field} {name}")),
                Event::Data { held, start, end } => {
                    bytes.extend_from_slice(&delimiter[..*held]);
                    bytes.extend_from_slice(&piece[*start..*end]);
                }
                Event::Kind(kind) => found.push(format!("kind {kind}")),
                Event::End => {
                    found.push(format!("size {}", bytes.len()));
                    bytes.clear();
                }
            }
        }
    }
    reader.finish().map_err(|refusal| {
        format!("{} {} {}", refusal.status, refusal.code, refusal.reason.as_deref().unwrap())
    })?;
    found.extend(reader.fields().iter().map(|(name, value)| format!("{name}={value}")));
    Ok(found)
}

/// The bytes of a text whose characters are bytes.
fn latin1(text: &str) -> Vec<u8> {
    text.chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect()
}

/// A part with these headers and content.
fn part(head: &str, content: &str) -> String {
    format!("--b\r\n{head}\r\n\r\n{content}\r\n")
}

fn field(name: &str, value: &str) -> String {
    part(&format!("Content-Disposition: form-data; name=\"{name}\""), value)
}

fn file(name: &str, file: &str, content: &str) -> String {
    part(
        &format!(
            "Content-Disposition: form-data; name=\"{name}\"; filename=\"{file}\"\r\nContent-Type: application/octet-stream"
        ),
        content,
    )
}

#[test]
fn fields_and_files_come_in_any_order() {
    let body = [
        &*file("avatar", "me.png", PNG),
        &*field("title", "a\r\nb"),
        &*file("scans", "s", "x"),
        "--b--\r\n",
    ]
    .concat();
    let found = read(&rules(), &latin1(&body), 4096).unwrap();
    assert_eq!(
        found,
        [
            "file 0 me.png",
            "kind image/png",
            "size 8",
            "file 1 s",
            "kind application/octet-stream",
            "size 1",
            "title=a\r\nb"
        ]
    );
}

#[test]
fn every_piece_size_gives_the_same() {
    // Content that looks like the delimiter almost to its end.
    let near = "\r\n--\r\n--a\r\r\n-\r\n--\r\r\n--";
    let body = [&*file("scans", "s", near), &*field("t", near), "--b--"].concat();
    let whole = read(&rules(), body.as_bytes(), usize::MAX).unwrap();
    assert_eq!(whole[2], format!("size {}", near.len()));
    for step in 1..body.len() {
        assert_eq!(read(&rules(), body.as_bytes(), step).unwrap(), whole, "{step}");
    }
}

#[test]
fn what_the_clients_of_the_world_write_is_read() {
    for (who, head) in [
        (
            "curl",
            "Content-Disposition: form-data; name=\"scans\"; filename=\"a.txt\"\r\nContent-Type: text/plain",
        ),
        (
            "a browser",
            "Content-Disposition: form-data; name=\"scans\"; filename=\"übër \u{1f600}.png\"\r\nContent-Type: image/png",
        ),
        (
            ".NET",
            "Content-Type: image/png\r\nContent-Disposition: form-data; name=scans; filename=a.png; filename*=utf-8''a.png",
        ),
        (
            ".NET, not ASCII",
            "Content-Disposition: form-data; name=scans; filename=\"=?utf-8?B?w6QucG5n?=\"; filename*=utf-8''%C3%A4.png",
        ),
        (
            "urllib3 1",
            "Content-Disposition: form-data; name=\"scans\"; filename*=utf-8''%C3%A4.png",
        ),
        (
            "Dart",
            "content-type: application/octet-stream\r\ncontent-transfer-encoding: binary\r\ncontent-disposition: form-data; name=\"scans\"; filename=\"a.bin\"",
        ),
        (
            "Guzzle",
            "Content-Disposition: form-data; name=\"scans\"; filename=\"a\"\r\nContent-Length: 1\r\nContent-Type: text/plain; charset=UTF-8",
        ),
        (
            "a gateway",
            "Content-Disposition: form-data; name=\"scans[]\"; filename=\"a\"\r\nX-Extra: 1",
        ),
    ] {
        let body = [&*part(head, "x"), "--b--\r\n"].concat();
        let found = read(&rules(), body.as_bytes(), 7);
        assert!(found.is_ok_and(|found| found.len() == 3), "{who}");
    }
    // A leading line break, as some libraries write it, and a form without anything.
    for body in [format!("\r\n{}--b--", field("a", "")), "--b--\r\n".to_owned(), "--b--".to_owned()]
    {
        assert!(read(&rules(), body.as_bytes(), 3).is_ok(), "{body}");
    }
    // A file input in which no file was chosen.
    let body = [&*file("avatar", "", ""), "--b--"].concat();
    assert_eq!(read(&rules(), body.as_bytes(), 5).unwrap(), Vec::<String>::new());
}

#[test]
fn names_that_are_only_names_are_taken() {
    for good in [
        "a",
        "Screen Shot 2026-12-01 at 10.00.00.png",
        "résumé (1).pdf",
        "日本語.txt",
        ".env",
        "a..b",
        "com",
        "com10",
        "console.log",
        "👩‍👩‍👧.png",
        "50%25.txt",
    ] {
        assert!(name::is_plain(good), "{good}");
    }
    let long = "a".repeat(256);
    for bad in [
        "",
        ".",
        "..",
        "a/b",
        "../a",
        "C:\\a",
        "a:b",
        "a\u{0}b",
        "a\tb",
        "a\u{7f}",
        "a\u{85}",
        "\u{202e}gpj.exe",
        "a\u{200b}.png",
        "a\u{2066}",
        "a\u{feff}",
        "a.",
        "a ",
        " a",
        "a\u{a0}",
        "con",
        "NUL.txt",
        "aux .tar.gz",
        "COM1",
        "lpt².x",
        "a%2fb",
        "a%5Cb",
        "a%00",
        "a%0D%0Ab",
        &long,
    ] {
        assert!(!name::is_plain(bad), "{bad:?}");
    }
}

#[test]
fn only_a_boundary_of_rfc_2046_is_taken() {
    let code = |text: &str| Boundary::read(text).map_err(|refusal| refusal.code);
    for good in [
        "multipart/form-data; boundary=b",
        "Multipart/Form-Data;BOUNDARY=\"a b'()+_,-./:=?c\"; charset=utf-8",
        &format!("multipart/form-data; boundary={}", "a".repeat(70)),
    ] {
        assert!(code(good).is_ok(), "{good}");
    }
    for bad in [
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "multipart/form-data; boundary=\"\"",
        "multipart/form-data; boundary=a; boundary=b",
        "multipart/form-data; boundary=\"a \"",
        "multipart/form-data; boundary=\"a",
        "multipart/form-data; boundary=a b",
        "multipart/form-data; boundary=\"a\\b\"",
        "multipart/form-data; boundary=\"\u{e4}\"",
        "multipart/form-data; boundary=a@b",
        "multipart/form-data; boundary=a, b",
        &format!("multipart/form-data; boundary={}", "a".repeat(71)),
    ] {
        assert_eq!(code(bad), Err("malformed_multipart"), "{bad}");
    }
    assert_eq!(code("multipart/form-data; boundary=b; charset=utf-7"), Err("unsupported_charset"));
}

#[test]
fn options_that_can_not_be_meant_are_refused() {
    for (value, text) in [
        (json!([]), "`files` must be an object with a member for each field"),
        (json!({}), "`files` must have 1 to 64 fields"),
        (json!({ "a": {} }), "`files.a.types` must be given"),
        (json!({ "a": { "types": [] } }), "`files.a.types` must name at least one"),
        (json!({ "a": { "types": ["image/jpg"] } }), "write 'image/jpeg'"),
        (json!({ "a": { "types": ["png"] } }), "`files.a.types[0]` is no type"),
        (json!({ "a": { "types": ["application/*"] } }), "is no type"),
        (json!({ "a": { "types": ["*/*"], "maxbytes": 1 } }), "did you mean `maxBytes`?"),
        (json!({ "a": { "types": ["*/*"], "maxBytes": "65mb" } }), "more than 64 MiB"),
        (
            json!({ "a": { "types": ["*/*"], "maxBytes": "40mb", "maxCount": 2 } }),
            "more than 64 MiB",
        ),
        (json!({ "a": { "types": ["*/*"], "maxCount": 0 } }), "`files.a.maxCount` must be"),
        (
            json!({ "a": { "types": ["*/*"], "to": "/tmp" } }),
            "`files.a.to` must be a function or { directory }",
        ),
        (json!({ "a": { "types": ["*/*"], "to": {} } }), "`files.a.to.directory` must be given"),
        (json!({ "a": { "types": ["*/*"], "to": { "directory": "" } } }), "must not be empty"),
        (json!({ "__proto__": { "types": ["*/*"] } }), "is no name of a field"),
        (json!({ "a[]": { "types": ["*/*"] } }), "is no name of a field"),
        (json!({ "a.b": { "types": ["*/*"] } }), "is no name of a field"),
    ] {
        let error = FileRules::parse("files", &value).unwrap_err().to_string();
        assert!(error.contains(text), "{error}");
    }
    let to = json!({ "a": { "types": ["*/*"], "maxBytes": "900mb", "to": "\0function" }, "b": { "types": ["*/*"], "maxBytes": "900mb", "to": { "directory": "/x" } } });
    assert!(FileRules::parse("files", &to).is_ok());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_body_is_read_differently_in_pieces(
        parts in proptest::collection::vec(prop_oneof![
            Just("--b\r\n".to_owned()),
            Just("\r\n".to_owned()),
            Just("\r\n--b".to_owned()),
            Just("--b--".to_owned()),
            Just("Content-Disposition: form-data; name=\"f\"; filename=\"a\"\r\n\r\n".to_owned()),
            Just("Content-Disposition: form-data; name=g; filename=a\r\nContent-Type: text/csv\r\n\r\n".to_owned()),
            Just("Content-Disposition: form-data; name=t\r\n\r\n".to_owned()),
            "[\r\n\\-bx]{0,12}",
            "\\PC{0,9}",
        ], 0..12),
        step in 1_usize..20,
    ) {
        fuzz_multipart(parts.concat().as_bytes(), step);
    }

    #[test]
    fn a_written_body_is_read_as_it_was_meant(
        values in proptest::collection::vec("[\r\n\\-bäx]{0,30}", 0..6),
        step in 1_usize..50,
    ) {
        let values: Vec<_> = values.into_iter().filter(|value| !format!("\r\n{value}\r\n").contains("\r\n--b")).collect();
        let body: String = values.iter().map(|value| field("t", value)).collect();
        let found = read(&rules(), format!("{body}--b--\r\n").as_bytes(), step);
        prop_assert_eq!(found, Ok(values.iter().map(|value| format!("t={value}")).collect()));
    }
}
