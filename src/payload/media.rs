//! The declared type of a body, and the refusals of unreadable bodies. Anything but JSON (and
//! forms, if enabled) in UTF-8 is refused before any byte of it is read.

use crate::json::Limits;
use crate::multipart::Boundary;
use crate::net::is_token;
use crate::payload::config::{BodyTypes, PayloadConfig};
use crate::refusal::Refusal;

/// The format of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// JSON.
    #[default]
    Json,
    /// `application/x-www-form-urlencoded`.
    Form,
    /// `multipart/form-data`: read piece by piece, by [`crate::multipart::Reader`].
    Multipart,
}

/// A content coding of RFC 9110 section 8.4.1, or that of RFC 7932.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coding {
    /// gzip, RFC 1952.
    Gzip,
    /// deflate in a zlib wrapper, RFC 1950: the meaning of the name in HTTP.
    Deflate,
    /// br, RFC 7932.
    Brotli,
}

impl Coding {
    /// Its name in `Content-Encoding`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
            Self::Brotli => "br",
        }
    }

    fn named(name: &str) -> Option<Self> {
        let is = |other: &str| name.eq_ignore_ascii_case(other);
        match () {
            () if is("gzip") || is("x-gzip") => Some(Self::Gzip),
            () if is("deflate") => Some(Self::Deflate),
            () if is("br") => Some(Self::Brotli),
            () => None,
        }
    }
}

/// The way to read the bytes of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reading {
    /// The format.
    pub format: Format,
    /// The compression.
    pub coding: Option<Coding>,
}

/// The reason why the bytes of a body are not available.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyError {
    /// They took longer than `timeout`.
    Late,
    /// Decompressed, they exceed `inflate.ratio`.
    Swells,
    /// Decompressed, they exceed `maxBytes`.
    Large,
    /// They do not match their content coding, or data follows it.
    Garbled,
    /// They exceed `maxBytes` of the layer that a stack has left them to.
    Long,
    /// They were not read, since their headers are refused already.
    Unread,
    /// A piece of a multipart body was refused: its reader has the refusal.
    Parts,
}

impl BodyError {
    /// The error by its name in the shim.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "late" => Some(Self::Late),
            "swells" => Some(Self::Swells),
            "large" => Some(Self::Large),
            "garbled" => Some(Self::Garbled),
            "long" => Some(Self::Long),
            "unread" => Some(Self::Unread),
            "parts" => Some(Self::Parts),
            _ => None,
        }
    }

    /// The refusal.
    #[must_use]
    pub fn refusal(self) -> Refusal {
        match self {
            Self::Late => Refusal::new(
                408,
                "body_timeout",
                "the body has not arrived within the time that it may take",
            )
            .header("Connection", "close"),
            Self::Swells => Refusal::new(
                413,
                "body_expands",
                "the body grows by more than is accepted when it is decompressed",
            ),
            Self::Large => Refusal::new(
                413,
                "body_too_large",
                "the body is larger than is accepted when it is decompressed",
            ),
            Self::Garbled => Refusal::new(
                400,
                "malformed_encoding",
                "the body is not what its content encoding says, from its first byte to its last",
            ),
            Self::Long => Limits::too_large(),
            Self::Parts => Refusal::new(
                400,
                "malformed_multipart",
                "the body is no multipart/form-data that is read here",
            ),
            Self::Unread => {
                Refusal::new(415, "unsupported_media_type", "the body is of no kind that is read")
            }
        }
    }
}

impl PayloadConfig {
    /// Whether a body of this type is none that the guard reads, and none that a parser may take
    /// for one: multipart, octet-stream, text, event streams and the like. Types that are
    /// malformed or have `json` in their name are in doubt, and forms are what parsers of forms
    /// read.
    #[must_use]
    pub fn is_other_kind(content_type: Option<&str>) -> bool {
        let Some(text) = content_type else { return false };
        let essence = text.split(';').next().unwrap_or_default().to_ascii_lowercase();
        let is_other = |parsed: MediaType| matches!(parsed.format, None | Some(Format::Multipart));
        parse(text).is_some_and(is_other) && !essence.contains("json")
    }

    /// The format of a body that another parser has read. That parser has undone its charset, and
    /// its content coding without a ratio: so a coding needs `inflate` here, too. Without
    /// `is_declared` (no schema, no option for it) the parser's object is judged as JSON.
    pub fn parsed(
        &self,
        content_type: Option<&str>,
        content_encoding: Option<&str>,
        is_declared: bool,
    ) -> Result<Reading, Refusal> {
        self.coding(content_encoding)?;
        let types = self.types();
        let is_multipart = Boundary::is_form_data(content_type);
        let is_form =
            content_type.and_then(parse).and_then(|parsed| parsed.format) == Some(Format::Form);
        match () {
            () if !is_declared => Ok(Reading::default()),
            () if is_multipart || is_form && types.form => {
                Ok(Reading { format: Format::Form, coding: None })
            }
            () if !is_form && types.json => Ok(Reading::default()),
            () => self.accepts(content_type, None),
        }
    }

    /// The way to read a body with these header values. The type must be `application/json`, a
    /// `+json` type or a form, if `types` allows it; the charset must be UTF-8 or absent; a content
    /// coding needs `inflate`. The refusal is a 415.
    ///
    /// A charset such as utf-7 hides `<` from every check but the browser's; a coding hides a bomb.
    pub fn accepts(
        &self,
        content_type: Option<&str>,
        content_encoding: Option<&str>,
    ) -> Result<Reading, Refusal> {
        let types = self.types();
        let parsed = content_type.and_then(parse);
        let format = parsed.as_ref().and_then(|parsed| parsed.format);
        let (Some(parsed), Some(format)) = (
            parsed,
            format.filter(|format| match format {
                Format::Json => types.json,
                Format::Form => types.form,
                Format::Multipart => types.multipart,
            }),
        ) else {
            return Err(Refusal::new(
                415,
                "unsupported_media_type",
                format!("the body must be sent as {}", names(types)),
            ));
        };
        if !parsed.is_utf8 {
            return Err(Refusal::new(415, "unsupported_charset", "the body must be sent in utf-8"));
        }
        let coding = self.coding(content_encoding)?;
        if format == Format::Multipart && coding.is_some() {
            let detail = "a multipart body must be sent without a content encoding";
            return Err(Refusal::new(415, "unsupported_encoding", detail)
                .header("Accept-Encoding", "identity"));
        }
        Ok(Reading { format, coding })
    }

    fn coding(&self, content_encoding: Option<&str>) -> Result<Option<Coding>, Refusal> {
        let coding =
            content_encoding.map(trimmed).filter(|name| !name.eq_ignore_ascii_case("identity"));
        let Some(name) = coding else { return Ok(None) };
        let refused = |detail, accepted: &str| {
            Err(Refusal::new(415, "unsupported_encoding", detail)
                .header("Accept-Encoding", accepted))
        };
        if self.inflate().is_none() {
            return refused("the body must be sent without a content encoding", "identity");
        }
        // Several codings (`gzip, gzip`) are a bomb in a bomb.
        let Some(coding) = Coding::named(name) else {
            return refused(
                "the body must be sent with one content encoding of gzip, deflate and br, or with none",
                "gzip, deflate, br, identity",
            );
        };
        Ok(Some(coding))
    }
}

/// The media types that are read, for a client.
fn names(types: BodyTypes) -> String {
    let all = [
        (types.json, "application/json"),
        (types.form, "application/x-www-form-urlencoded"),
        (types.multipart, "multipart/form-data"),
    ];
    let names: Vec<&str> =
        all.iter().filter(|(is_read, _)| *is_read).map(|(_, name)| *name).collect();
    names.join(" or ")
}

struct MediaType {
    format: Option<Format>,
    is_utf8: bool,
}

/// Reads a media type by RFC 9110 section 8.3.1; `None` if it is malformed.
fn parse(text: &str) -> Option<MediaType> {
    // Nearly all clients send exactly this.
    if text == "application/json" {
        return Some(MediaType { format: Some(Format::Json), is_utf8: true });
    }
    let (essence, mut rest) =
        text.split_once(';').map_or((text, ""), |(essence, rest)| (essence, rest));
    let (kind, subtype) = trimmed(essence).split_once('/')?;
    if !is_token(kind) || !is_token(subtype) {
        return None;
    }
    let suffix = subtype.len().checked_sub(5).and_then(|at| subtype.get(at..));
    let has_suffix =
        subtype.len() > 5 && suffix.is_some_and(|suffix| suffix.eq_ignore_ascii_case("+json"));
    let is = |name| kind.eq_ignore_ascii_case("application") && subtype.eq_ignore_ascii_case(name);
    let format = match () {
        () if is("json") || has_suffix => Some(Format::Json),
        () if is("x-www-form-urlencoded") => Some(Format::Form),
        () if Boundary::is_form_data(Some(essence)) => Some(Format::Multipart),
        () => None,
    };
    let mut charset: Option<bool> = None;
    while !trimmed(rest).is_empty() {
        let (name, is_utf8, tail) = parameter(trimmed(rest))?;
        rest = tail;
        if name.eq_ignore_ascii_case("charset") && charset.replace(is_utf8).is_some() {
            return None;
        }
    }
    Some(MediaType { format, is_utf8: charset.unwrap_or(true) })
}

/// One parameter from the start of `text`: its name, whether its value is `utf-8`, and the text
/// after its semicolon.
fn parameter(text: &str) -> Option<(&str, bool, &str)> {
    let (name, value) = text.split_once('=')?;
    if !is_token(name) {
        return None;
    }
    if let Some(quoted) = value.strip_prefix('"') {
        let mut unquoted = String::new();
        let mut chars = quoted.char_indices();
        let end = loop {
            match chars.next()? {
                (at, '"') => break at,
                (_, '\\') => unquoted.push(chars.next()?.1),
                (_, c) if c.is_control() && c != '\t' => return None,
                (_, c) => unquoted.push(c),
            }
        };
        let rest = trimmed(quoted.get(end + 1..)?);
        let rest = if rest.is_empty() { rest } else { rest.strip_prefix(';')? };
        return Some((name, unquoted.eq_ignore_ascii_case("utf-8"), rest));
    }
    let (value, rest) = value.split_once(';').unwrap_or((value, ""));
    let value = trimmed(value);
    is_token(value).then(|| (name, value.eq_ignore_ascii_case("utf-8"), rest))
}

fn trimmed(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn code_with(
        options: &serde_json::Value,
        content_type: Option<&str>,
        encoding: Option<&str>,
    ) -> String {
        let config = PayloadConfig::parse("payload", Some(options)).unwrap();
        match config.accepts(content_type, encoding) {
            Ok(Reading { format, coding }) => {
                format!("{format:?}{}", coding.map_or("", Coding::name))
            }
            Err(refusal) => {
                assert_eq!(refusal.status, 415);
                refusal.code.to_owned()
            }
        }
    }

    fn code(content_type: Option<&str>, encoding: Option<&str>) -> String {
        code_with(&json!({}), content_type, encoding)
    }

    #[test]
    fn json_in_utf8_is_accepted_in_every_spelling() {
        for text in [
            "application/json",
            "Application/JSON",
            "application/json; charset=utf-8",
            "application/json;charset=UTF-8",
            "application/json ; charset=\"utf-8\"",
            "application/json; charset=\"ut\\f-8\"; v=1",
            "application/problem+json",
            "application/vnd.api+json; profile=\"a;b\\\"c\"",
            "application/json;",
        ] {
            assert_eq!(code(Some(text), None), "Json", "{text}");
        }
        assert_eq!(code(Some("application/json"), Some("Identity")), "Json");
    }

    #[test]
    fn other_types_are_refused() {
        for text in [
            None,
            Some(""),
            Some("json"),
            Some("text/plain"),
            Some("text/json"),
            Some("application/json5"),
            Some("application/+json"),
            Some("application/x-www-form-urlencoded"),
            Some("multipart/form-data; boundary=application/json"),
            Some("application/json, text/plain"),
            Some("application/json; charset"),
            Some("application/json; charset=\"utf-8"),
            Some("application/json; charset=utf-8; charset=utf-7"),
            Some("application/json\u{a0}"),
        ] {
            assert_eq!(code(text, None), "unsupported_media_type", "{text:?}");
        }
    }

    #[test]
    fn only_a_type_that_nobody_takes_for_json_or_a_form_is_left_alone() {
        for text in [
            "text/plain",
            "text/event-stream; charset=iso-8859-1",
            "application/octet-stream",
            "multipart/form-data; boundary=x",
            "application/xml",
            "image/png",
        ] {
            assert!(PayloadConfig::is_other_kind(Some(text)), "{text}");
        }
        for text in [
            "",
            "text",
            "text/json",
            "application/json5",
            "Application/JSONP",
            "application/json, text/plain",
            "application/json; charset=utf-7",
            "application/x-www-form-urlencoded",
            "text/plain; charset",
            "text/plain, application/json",
        ] {
            assert!(!PayloadConfig::is_other_kind(Some(text)), "{text}");
        }
        assert!(!PayloadConfig::is_other_kind(None));
    }

    #[test]
    fn a_body_that_was_parsed_is_judged_as_fields_or_as_json() {
        let config =
            |types| PayloadConfig::parse("payload", Some(&json!({ "types": types }))).unwrap();
        let format = |types: serde_json::Value, text| {
            config(types)
                .parsed(text, None, true)
                .map(|reading| reading.format)
                .map_err(|no| no.status)
        };
        let form = Some("application/x-www-form-urlencoded");
        assert_eq!(
            format(json!(["json"]), Some("multipart/form-data; boundary=x")),
            Ok(Format::Form)
        );
        assert_eq!(format(json!(["json"]), Some("text/plain")), Ok(Format::Json));
        assert_eq!(format(json!(["json"]), None), Ok(Format::Json));
        assert_eq!(format(json!(["json"]), form), Err(415));
        assert_eq!(format(json!(["form"]), form), Ok(Format::Form));
        assert_eq!(format(json!(["form"]), Some("text/plain")), Err(415));
        let undeclared = config(json!(["json"])).parsed(form, None, false);
        assert_eq!(undeclared.unwrap().format, Format::Json);
        let packed = config(json!(["json"])).parsed(Some("application/json"), Some("gzip"), true);
        assert_eq!(packed.unwrap_err().code, "unsupported_encoding");
    }

    #[test]
    fn charsets_that_hide_characters_are_refused() {
        for charset in ["utf-7", "utf-16", "iso-8859-1", "\"utf-7\"", "utf8", "us-ascii"] {
            let text = format!("application/json; charset={charset}");
            assert_eq!(code(Some(&text), None), "unsupported_charset", "{text}");
        }
    }

    #[test]
    fn encoded_bodies_are_refused() {
        for coding in ["gzip", "deflate", "br", "zstd", "identity, gzip", ""] {
            assert_eq!(
                code(Some("application/json"), Some(coding)),
                "unsupported_encoding",
                "{coding}"
            );
        }
    }

    #[test]
    fn forms_are_read_only_where_they_are_asked_for() {
        let form = "application/x-www-form-urlencoded";
        let both = json!({ "types": ["json", "form"] });
        for text in [form, "Application/X-WWW-Form-Urlencoded; charset=UTF-8"] {
            assert_eq!(code_with(&both, Some(text), None), "Form", "{text}");
            assert_eq!(code(Some(text), None), "unsupported_media_type", "{text}");
        }
        assert_eq!(code_with(&both, Some("application/json"), None), "Json");
        for charset in ["iso-8859-1", "utf-7", "utf-16"] {
            let text = format!("{form}; charset={charset}");
            assert_eq!(code_with(&both, Some(&text), None), "unsupported_charset", "{text}");
        }
        let only = json!({ "types": ["form"] });
        assert_eq!(code_with(&only, Some("application/json"), None), "unsupported_media_type");
        assert_eq!(code_with(&only, Some("multipart/form-data"), None), "unsupported_media_type");
    }

    #[test]
    fn one_coding_is_read_where_inflating_is_asked_for() {
        let on = json!({ "inflate": true });
        let json = Some("application/json");
        for (coding, expected) in [
            ("gzip", "Jsongzip"),
            (" X-GZIP ", "Jsongzip"),
            ("deflate", "Jsondeflate"),
            ("br", "Jsonbr"),
            ("identity", "Json"),
            ("zstd", "unsupported_encoding"),
            ("compress", "unsupported_encoding"),
            ("gzip, gzip", "unsupported_encoding"),
            ("gzip,", "unsupported_encoding"),
            ("identity, gzip", "unsupported_encoding"),
            ("", "unsupported_encoding"),
        ] {
            assert_eq!(code_with(&on, json, Some(coding)), expected, "{coding}");
        }
    }

    #[test]
    fn each_reason_why_a_body_could_not_be_had_has_its_refusal() {
        for (name, status, code) in [
            ("late", 408, "body_timeout"),
            ("swells", 413, "body_expands"),
            ("large", 413, "body_too_large"),
            ("garbled", 400, "malformed_encoding"),
            ("long", 413, "body_too_large"),
            ("unread", 415, "unsupported_media_type"),
        ] {
            let refusal = BodyError::named(name).unwrap().refusal();
            assert_eq!((refusal.status, refusal.code), (status, code));
        }
        assert_eq!(BodyError::named("other"), None);
    }
}
