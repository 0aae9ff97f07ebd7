//! Bodies that two readers may read differently, and bodies that cost more to read than to send.

use super::{PNG, field, file, latin1, part, read, read_with, rules};
use crate::json::Limits;

const FIELD: &str = "Content-Disposition: form-data; name=\"a\"";

/// Asserts how a body is refused, in one piece and byte by byte.
fn refuses(body: &str, wanted: &str) {
    let bytes = latin1(body);
    for step in [usize::MAX, 1, 5] {
        let found = read(&rules(), &bytes, step);
        assert_eq!(found.as_ref().map_err(String::as_str), Err(wanted), "{body:?} in {step}");
    }
}

#[test]
fn a_frame_that_is_not_exactly_that_of_rfc_7578_is_refused() {
    let good = field("a", "1");
    for (body, reason) in [
        (format!("preamble\r\n{good}--b--"), "preamble"),
        (format!("\n{good}--b--"), "preamble"),
        (format!("\r\n\r\n{good}--b--"), "preamble"),
        (format!(" {good}--b--"), "preamble"),
        ("--c--".to_owned(), "preamble"),
        (format!("{good}--b--x"), "epilogue"),
        (format!("{good}--b--\n"), "epilogue"),
        (format!("{good}--b--\r\n\r\n"), "epilogue"),
        (format!("{good}--b--\r\n{good}--b--"), "epilogue"),
        (format!("{good}--b-- "), "epilogue"),
        (good.clone(), "cut_off"),
        (format!("{good}--b"), "cut_off"),
        (format!("{good}--b-"), "cut_off"),
        (format!("{good}--b--\r"), "cut_off"),
        ("--b\r\n".to_owned(), "cut_off"),
        (format!("--b\r\n{FIELD}"), "cut_off"),
        (format!("--b\r\n{FIELD}\r\n\r\n1"), "cut_off"),
        // Text beside a delimiter: another reader takes `bc` for another boundary.
        (format!("--bc\r\n{FIELD}\r\n\r\n1\r\n--b--"), "delimiter"),
        (format!("--b{FIELD}\r\n\r\n1\r\n--b--"), "delimiter"),
        (format!("--b \r\n{FIELD}\r\n\r\n1\r\n--b--"), "delimiter"),
        (format!("--b\n{FIELD}\n\n1\n--b--"), "delimiter"),
        (format!("--b\rx{FIELD}\r\n\r\n1\r\n--b--"), "delimiter"),
        (format!("--b-x\r\n{FIELD}\r\n\r\n1\r\n--b--"), "delimiter"),
        (format!("{good}--b \r\n"), "delimiter"),
        // The line break in front of it ends the headers, or begins the delimiter.
        (format!("--b\r\n{FIELD}\r\n\r\n--b--"), "delimiter"),
        (format!("--b\r\n{FIELD}\r\n\r\n--b\r\n{FIELD}\r\n\r\n1\r\n--b--"), "delimiter"),
    ] {
        refuses(&body, &format!("400 malformed_multipart {reason}"));
    }
}

#[test]
fn headers_of_a_part_that_are_not_one_header_a_line_are_refused() {
    for (head, reason) in [
        ("X: 1", "part_nameless"),
        ("\r\n", "part_nameless"),
        ("Content-Type: text/plain", "part_nameless"),
        ("Content-Disposition: form-data;\r\n name=\"a\"", "part_header"),
        ("Content-Disposition: form-data; name=\"a\"\r\ngarbage", "part_header"),
        ("Content-Disposition : form-data; name=\"a\"", "part_header"),
        (": form-data; name=\"a\"", "part_header"),
        (
            "Content-Disposition: form-data; name=\"a\"\r\ncontent-disposition: form-data; name=\"role\"",
            "part_header_twice",
        ),
        ("Content-Disposition: form-data; name=\"a\"\r\nX: 1\r\nx: 2", "part_header_twice"),
        ("Content-Disposition: form-data; name=\"a\"\nX: 1", "part_control"),
        ("Content-Disposition: form-data; name=\"a\"\rX: 1", "part_control"),
        ("Content-Disposition: form-data; name=\"a\0\"", "part_control"),
        ("Content-Disposition: form-data; name=\"\u{ff}\"", "part_unicode"),
        ("Content-Disposition: attachment; name=\"a\"", "part_disposition"),
        ("Content-Disposition: name=\"a\"", "part_disposition"),
        ("Content-Disposition: form-data", "part_disposition"),
        ("Content-Disposition: form-data; name=\"\"", "part_disposition"),
        ("Content-Disposition: form-data; name=\"a\"; name=\"role\"", "part_disposition"),
        ("Content-Disposition: form-data; name=\"a\"; NAME=role", "part_disposition"),
        ("Content-Disposition: form-data; name=\"a", "part_disposition"),
        ("Content-Disposition: form-data; name=a b", "part_disposition"),
        ("Content-Disposition: form-data; name=\"a\" x", "part_disposition"),
        ("Content-Disposition: form-data; name=\"a\\\"; filename=\\\"x\"", "part_disposition"),
        ("Content-Disposition: form-data; name=\"a\"; name*=utf-8''role", "part_disposition"),
        ("Content-Disposition: form-data; name=\"a\"; size=1", "part_disposition"),
        (
            "Content-Disposition: form-data; name=\"scans\"; filename=a; filename=b",
            "part_disposition",
        ),
        ("Content-Disposition: form-data; name=\"scans\"; filename=\"C:\\a\"", "part_disposition"),
        (
            "Content-Disposition: form-data; name=\"scans\"; filename*=iso-8859-1''a",
            "part_disposition",
        ),
        (
            "Content-Disposition: form-data; name=\"scans\"; filename*=utf-8''%ff",
            "part_disposition",
        ),
        ("Content-Disposition: form-data; name=\"scans\"; filename*=a", "part_disposition"),
        (
            "Content-Disposition: form-data; name=\"scans\"; filename=\"a.png\"; filename*=utf-8''a.php",
            "part_names_differ",
        ),
        (
            "Content-Disposition: form-data; name=\"a\"\r\nContent-Type: multipart/mixed; boundary=c",
            "part_nested",
        ),
        ("Content-Disposition: form-data; name=\"a\"\r\nContent-Type: text", "part_type"),
        (
            "Content-Disposition: form-data; name=\"a\"\r\nContent-Type: text/plain; charset=utf-8; charset=utf-7",
            "part_type",
        ),
        ("Content-Disposition: form-data; name=\"a\"\r\nContent-Length: x", "part_length"),
        ("Content-Disposition: form-data; name=\"a\"\r\nContent-Length: 2", "part_length"),
        ("Content-Disposition: form-data; name=\"a\"\r\nContent-Length: 0", "part_length"),
    ] {
        refuses(&format!("{}--b--", part(head, "1")), &format!("400 malformed_multipart {reason}"));
    }
}

#[test]
fn encodings_and_charsets_of_a_part_are_refused() {
    for (more, wanted) in [
        ("Content-Transfer-Encoding: base64", "415 unsupported_encoding #/a unsupported_encoding"),
        (
            "Content-Transfer-Encoding: quoted-printable",
            "415 unsupported_encoding #/a unsupported_encoding",
        ),
        ("Content-Encoding: gzip", "415 unsupported_encoding #/a unsupported_encoding"),
        (
            "Content-Type: text/plain; charset=utf-7",
            "415 unsupported_charset #/a unsupported_charset",
        ),
        ("Content-Type: text/html", "415 unsupported_media_type #/a unsupported_media_type"),
        (
            "Content-Type: application/octet-stream",
            "415 unsupported_media_type #/a unsupported_media_type",
        ),
    ] {
        refuses(&format!("{}--b--", part(&format!("{FIELD}\r\n{more}"), "1")), wanted);
    }
    refuses(
        &format!("{}--b--", field("_charset_", "utf-7")),
        "415 unsupported_charset #/_charset_ unsupported_charset",
    );
    refuses(&format!("{}--b--", field("a", "\u{ff}")), "400 invalid_unicode #/a invalid_unicode");
}

#[test]
fn a_file_where_none_is_declared_is_refused_by_its_head_alone() {
    // Nothing behind the headers is read.
    let head = "--b\r\nContent-Disposition: form-data; name=\"a\"; filename=\"x\"\r\n\r\n";
    refuses(head, "422 validation_failed #/a additionalProperties");
    let empty = "--b\r\nContent-Disposition: form-data; name=\"a\"; filename=\"\"\r\n\r\n";
    refuses(empty, "422 validation_failed #/a additionalProperties");
    refuses(
        "--b\r\nContent-Disposition: form-data; name=\"avatar\"\r\n\r\n",
        "422 validation_failed #/avatar file",
    );
    refuses(
        "--b\r\nContent-Disposition: form-data; name=\"avatar[]\"; filename=a\r\n\r\n",
        "422 validation_failed #/avatar%5B%5D additionalProperties",
    );
    refuses(
        "--b\r\nContent-Disposition: form-data; name=\"scans\"; filename=\"../x\"\r\n\r\n",
        "400 forbidden_file_name #/scans forbidden_file_name",
    );
    refuses(
        "--b\r\nContent-Disposition: form-data; name=\"scans\"; filename*=utf-8''..%2Fx\r\n\r\n",
        "400 forbidden_file_name #/scans forbidden_file_name",
    );
    refuses(&format!("{}--b--", file("scans", "", "x")), "400 malformed_multipart file_nameless");
}

#[test]
fn more_files_than_are_declared_are_refused() {
    let twice = [file("avatar", "a", PNG), file("avatar", "b", PNG)].concat();
    refuses(&twice, "400 duplicate_key #/avatar duplicate_key");
    refuses(&file("scans", "a", "x").repeat(3), "422 validation_failed #/scans maxItems");
    let spelt = [file("scans", "a", "x"), file("scans[]", "b", "x")].concat();
    refuses(&spelt, "400 duplicate_key #/scans%5B%5D duplicate_key");
}

#[test]
fn floods_are_refused_before_they_cost_anything() {
    let limits = Limits { max_bytes: 10_000, max_nodes: 20, ..Limits::default() };
    let code = |body: &str| read_with(&rules(), body.as_bytes(), 1000, &limits).unwrap_err();
    let long = "413 body_too_large";
    assert_eq!(code(&field("a", &"x".repeat(10_000))), long);
    assert_eq!(code(&field("a", &"\r\n--".repeat(2_500))), long);
    assert_eq!(code(&file("avatar", "", "").repeat(1000)), long, "parts without content");
    assert_eq!(code(&field("a", "").repeat(1000)), "400 too_many_nodes #/a too_many_nodes");
    let many = (0..20).map(|i| format!("X-{i}: 1")).collect::<Vec<_>>().join("\r\n");
    let headers = "400 malformed_multipart part_headers_long";
    assert_eq!(code(&part(&format!("{many}\r\n{FIELD}"), "")), headers);
    assert_eq!(code(&part(&format!("X: {}\r\n{FIELD}", "x".repeat(4096)), "")), headers);
    assert_eq!(
        code(&part(&format!("{FIELD}{}", "; a=b".repeat(300)), "")),
        "400 malformed_multipart part_disposition"
    );
    // A file is counted by itself.
    let big = format!("{PNG}{}", "\0".repeat(1016));
    let fits = latin1(&format!("{}--b--", file("avatar", "a", &big)));
    assert!(read(&rules(), &fits, 100).is_ok());
    refuses(&file("avatar", "a", &format!("{big}x")), "413 body_too_large #/avatar body_too_large");
}
