//! The kinds of files, by their content.

use serde_json::json;

use super::{latin1, part, read};

/// The kind of a file with this content and `Content-Type`, where a field takes `types`.
fn kind(types: &[&str], declared: &str, content: &str) -> String {
    let head =
        format!("Content-Disposition: form-data; name=f; filename=f\r\nContent-Type: {declared}");
    let body = latin1(&format!("{}--b--", part(&head, content)));
    let rules = json!({ "f": { "types": types } });
    let found = [usize::MAX, 3].map(|step| read(&rules, &body, step));
    assert_eq!(found[0], found[1], "pieces change the kind");
    let [found, _] = found;
    match found {
        Ok(found) => found[1].trim_start_matches("kind ").to_owned(),
        Err(code) => code.split(' ').next().unwrap_or_default().to_owned(),
    }
}

const PNG: &str = "\u{89}PNG\r\n\u{1a}\n\0\0\0\rIHDR";
const GIF: &str = "GIF89a\u{1}\0\u{1}\0\0\0\0";
const PDF: &str = "%PDF-1.7\n%\u{e2}\u{e3}\u{cf}\u{d3}\n";
const ZIP: &str = "PK\u{3}\u{4}\u{14}\0\0\0\u{8}\0";
const EXE: &str = "MZ\u{90}\0\u{3}\0\0\0";
const PHP: &str = "<?php system($_GET['c']);";

#[test]
fn a_signature_counts_and_the_name_and_the_content_type_do_not() {
    assert_eq!(kind(&["image/png"], "text/html", PNG), "image/png");
    assert_eq!(kind(&["image/png"], "image/png", GIF), "415");
    assert_eq!(kind(&["image/png", "image/gif"], "image/png", GIF), "image/gif");
    assert_eq!(kind(&["image/*"], "image/png", GIF), "image/gif");
    assert_eq!(kind(&["image/*"], "image/png", EXE), "415");
    assert_eq!(kind(&["image/*"], "image/png", PHP), "415");
    assert_eq!(kind(&["application/pdf"], "application/pdf", PDF), "application/pdf");
    assert_eq!(kind(&["application/pdf"], "application/pdf", ZIP), "415");
    assert_eq!(kind(&["application/zip"], "application/zip", ZIP), "application/zip");
    assert_eq!(kind(&["image/png"], "image/png", ""), "415");
}

#[test]
fn a_text_has_the_kind_that_the_client_names_among_those_that_are_accepted() {
    assert_eq!(kind(&["text/plain"], "text/plain", "hello"), "text/plain");
    assert_eq!(kind(&["text/csv"], "text/csv", "a,b\r\n1,2"), "text/csv");
    assert_eq!(kind(&["text/csv"], "text/csv", "\u{ef}\u{bb}\u{bf}a,b"), "text/csv");
    assert_eq!(kind(&["text/csv"], "application/vnd.ms-excel", "a,b"), "415");
    assert_eq!(kind(&["text/csv", "text/plain"], "application/vnd.ms-excel", "a,b"), "text/plain");
    assert_eq!(kind(&["application/json"], "application/json", "{}"), "application/json");
    // By chance the beginning of a bitmap.
    assert_eq!(kind(&["text/csv"], "text/csv", "BMW,3"), "text/csv");
    assert_eq!(kind(&["text/plain"], "text/plain", ""), "text/plain");
}

#[test]
fn a_text_that_is_a_page_or_a_script_is_none_that_was_asked_for() {
    assert_eq!(kind(&["text/csv"], "text/csv", "<script >alert(1)</script>"), "415");
    assert_eq!(kind(&["text/plain"], "text/plain", " <!DOCTYPE html><html>"), "415");
    assert_eq!(kind(&["text/plain"], "text/plain", "<?xml version=\"1.0\"?><svg/>"), "415");
    assert_eq!(kind(&["text/plain"], "text/plain", "#!/bin/sh"), "415");
    assert_eq!(kind(&["text/plain"], "text/plain", PDF), "415");
    assert_eq!(kind(&["text/xml"], "text/xml", "<?xml version=\"1.0\"?><a/>"), "text/xml");
    assert_eq!(
        kind(&["application/xml"], "application/xml", "<?xml version=\"1.0\"?><a/>"),
        "application/xml"
    );
    assert_eq!(kind(&["image/svg+xml"], "image/svg+xml", "<svg/>"), "image/svg+xml");
    assert_eq!(
        kind(&["image/*"], "image/svg+xml", "<svg/>"),
        "415",
        "an image that runs scripts is named"
    );
}

#[test]
fn a_text_is_one_from_its_first_byte_to_its_last() {
    let long = "x".repeat(20_000);
    assert_eq!(kind(&["text/csv"], "text/csv", &long), "text/csv");
    for end in ["\0", "\u{ff}", "\u{c3}", "\u{1}", "\u{ed}\u{a0}\u{80}"] {
        assert_eq!(kind(&["text/csv"], "text/csv", &format!("a{end}")), "415", "{end:?}");
        assert_eq!(kind(&["text/csv"], "text/csv", &format!("{long}{end}")), "415", "{end:?}");
    }
    assert_eq!(kind(&["text/csv"], "text/csv", &format!("{long}\u{c3}\u{a4}")), "text/csv");
}

#[test]
fn a_picture_of_text_alone_is_no_picture() {
    assert_eq!(kind(&["image/gif"], "image/gif", "GIF89a/*\n*/=1;alert(1)"), "415");
}

#[test]
fn any_kind_is_told_by_its_signature_or_not_at_all() {
    assert_eq!(kind(&["*/*"], "image/png", EXE), "application/vnd.microsoft.portable-executable");
    assert_eq!(kind(&["*/*"], "image/png", "\u{1}\u{2}"), "application/octet-stream");
    assert_eq!(kind(&["*/*"], "image/png", "hello"), "application/octet-stream");
    assert_eq!(kind(&["*/*", "text/plain"], "image/png", "hello"), "text/plain");
}
