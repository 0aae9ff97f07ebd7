//! The headers of a part.

use super::{error_of, malformed, name, params, refused};
use crate::net::is_token;
use crate::refusal::Refusal;

/// The most bytes of the headers of one part, and the most lines.
pub(super) const MAX_BYTES: usize = 4096;
const MAX_LINES: usize = 16;

/// The headers of a part.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PartHead {
    /// The name of the field.
    pub(super) name: String,
    /// The name of the file; empty where a browser sends an input in which no file was chosen.
    /// `None` for a field of text.
    pub(super) file: Option<String>,
    /// The media type in lower case, without its parameters.
    pub(super) kind: Option<String>,
    /// The announced size.
    pub(super) length: Option<u64>,
}

/// Reads the lines of a part's headers, without the empty line at their end.
///
/// RFC 7578 section 4.8 defines `Content-Disposition`, `Content-Type` and, deprecated,
/// `Content-Transfer-Encoding`; further headers are without meaning, and some clients send them.
/// Each may come once, and lines are not folded.
pub(super) fn read(block: &[u8]) -> Result<PartHead, Refusal> {
    let Ok(text) = str::from_utf8(block) else {
        return Err(malformed("part_unicode", "the headers of a part are no UTF-8"));
    };
    let mut known: Vec<(String, &str)> = Vec::new();
    for line in text.split("\r\n") {
        let field = line.split_once(':').filter(|(name, _)| is_token(name));
        let Some((name, value)) = field else {
            return Err(malformed("part_header", "a line of a part's headers is no header"));
        };
        if value.chars().any(|c| c.is_control() && c != '\t') {
            return Err(malformed("part_control", "a header of a part has a control character"));
        }
        let name = name.to_ascii_lowercase();
        if known.iter().any(|(other, _)| *other == name) {
            return Err(malformed("part_header_twice", "a header of a part comes twice"));
        }
        if known.len() == MAX_LINES {
            return Err(too_long());
        }
        known.push((name, value.trim_matches([' ', '\t'])));
    }
    let header = |wanted| known.iter().find(|(name, _)| name == wanted).map(|(_, value)| *value);
    let (name, file) = disposition(header("content-disposition"))?;
    let refused = |code, detail| Err(refused(415, code, detail, error_of(&name, code, detail)));
    let coding = header("content-transfer-encoding").unwrap_or("binary");
    let is_plain = ["7bit", "8bit", "binary"].iter().any(|own| coding.eq_ignore_ascii_case(own));
    if !is_plain || header("content-encoding").is_some() {
        return refused("unsupported_encoding", "a part must be sent without an encoding");
    }
    let kind = match header("content-type").map(media_type).transpose()? {
        Some((kind, true)) => Some(kind),
        Some((_, false)) => {
            return refused("unsupported_charset", "a part must be sent in utf-8");
        }
        None => None,
    };
    if kind.as_deref().is_some_and(|kind| kind.starts_with("multipart/")) {
        return Err(malformed("part_nested", "a part is a multipart body itself"));
    }
    let length = header("content-length").map(|text| {
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let length = text.parse().ok().filter(|_| is_number);
        length.ok_or_else(|| malformed("part_length", "the Content-Length of a part is no number"))
    });
    let length = length.transpose()?;
    Ok(PartHead { name, file, kind, length })
}

/// A part's headers are more than [`MAX_BYTES`] or [`MAX_LINES`].
pub(super) fn too_long() -> Refusal {
    malformed("part_headers_long", "the headers of a part are too long")
}

/// The names of the field and of the file.
fn disposition(value: Option<&str>) -> Result<(String, Option<String>), Refusal> {
    let Some(value) = value else {
        return Err(malformed("part_nameless", "a part has no Content-Disposition"));
    };
    let unreadable = || {
        let what = "the Content-Disposition of a part is not `form-data` with a `name` and at most a `filename`, each once and without a backslash";
        malformed("part_disposition", what)
    };
    let (kind, params) = params::read(value).ok_or_else(unreadable)?;
    let param = |wanted| params.iter().find(|(name, _)| name == wanted).map(|(_, value)| *value);
    let is_known = |name: &str| matches!(name, "name" | "filename" | "filename*");
    let field = param("name").filter(|name| !name.is_empty());
    let (true, true, Some(field)) = (
        kind.eq_ignore_ascii_case("form-data"),
        params.iter().all(|(name, _)| is_known(name)),
        field,
    ) else {
        return Err(unreadable());
    };
    let extended = param("filename*").map(|text| name::extended(text).ok_or_else(unreadable));
    let file = match (param("filename"), extended.transpose()?) {
        (Some(plain), Some(extended)) if !name::is_same(plain, &extended) => {
            let what = "the `filename` and the `filename*` of a part differ";
            return Err(malformed("part_names_differ", what));
        }
        (_, Some(extended)) => Some(extended),
        (Some(plain), None) => Some(plain.to_owned()),
        (None, None) => None,
    };
    match file {
        Some(file) if !file.is_empty() && !name::is_plain(&file) => {
            let detail = "must be a name without a path, of at most 255 bytes, and without control or invisible characters";
            Err(refused(
                400,
                "forbidden_file_name",
                "the name of a file is one that is never accepted",
                error_of(field, "forbidden_file_name", detail),
            ))
        }
        file => Ok((field.to_owned(), file)),
    }
}

/// A media type in lower case, and whether its charset is UTF-8 or not given.
fn media_type(value: &str) -> Result<(String, bool), Refusal> {
    let read = params::read(value);
    let Some((essence, params)) = read.filter(|(essence, _)| {
        essence.split_once('/').is_some_and(|(kind, sub)| is_token(kind) && is_token(sub))
    }) else {
        return Err(malformed("part_type", "the Content-Type of a part can't be read"));
    };
    let is_utf8 = |value: &str| value.eq_ignore_ascii_case("utf-8");
    let charset = params.iter().find(|(name, _)| name == "charset");
    Ok((essence.to_ascii_lowercase(), charset.is_none_or(|(_, value)| is_utf8(value))))
}
