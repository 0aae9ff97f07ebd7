//! The kind of a file, found by its content: the client's `Content-Type` only chooses among the
//! kinds of text, which have no signature.

use crate::error::ConfigError;

/// How much of a file is looked at: `infer` finds what an Office document is within 6000 bytes.
pub(super) const HEAD: usize = 8192;

/// A kind of files that a field takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileKind {
    /// Any file: `*/*`.
    Any,
    /// All images, audio or video: `image/*` is kept as `image/`.
    Family(&'static str),
    /// One media type, in lower case.
    Exact(Box<str>),
}

/// Kinds of text by name; all of `text/`, and those with these suffixes, are text, too.
const TEXTS: [&str; 7] = [
    "application/json",
    "application/xml",
    "application/yaml",
    "application/x-ndjson",
    "application/jsonl",
    "application/sql",
    "application/toml",
];
const TEXT_SUFFIXES: [&str; 3] = ["+json", "+xml", "+yaml"];

/// Signatures of formats that may be text from beginning to end. Any other signature in a text is
/// chance (`BM`, as in a bitmap) or a disguise.
const TEXTUAL: [&str; 5] = [
    "application/pdf",
    "application/rtf",
    "application/postscript",
    "application/x-x509-ca-cert",
    "application/x-unix-archive",
];

/// Other names of types, with the one that is used here.
const OTHER_NAMES: [(&str, &str); 12] = [
    ("image/jpg", "image/jpeg"),
    ("image/heic", "image/heif"),
    ("image/x-icon", "image/vnd.microsoft.icon"),
    ("audio/mp3", "audio/mpeg"),
    ("audio/wav", "audio/x-wav"),
    ("audio/flac", "audio/x-flac"),
    ("audio/mp4", "audio/m4a"),
    ("video/avi", "video/x-msvideo"),
    ("application/x-zip-compressed", "application/zip"),
    ("application/x-gzip", "application/gzip"),
    ("font/woff", "application/font-woff"),
    ("font/ttf", "application/font-sfnt"),
];

impl FileKind {
    /// Reads one of the types that a field takes, the option `path`.
    ///
    /// # Errors
    /// If no content identifies this type.
    pub(super) fn parse(path: &str, text: &str) -> Result<Self, ConfigError> {
        let mut family = ["image/", "audio/", "video/"].into_iter();
        let family = family.find(|family| text.strip_suffix('*') == Some(*family));
        match family {
            _ if text == "*/*" => Ok(Self::Any),
            Some(family) => Ok(Self::Family(family)),
            None if is_text(text) || text != UNKNOWN && infer::is_mime_supported(text) => {
                Ok(Self::Exact(text.into()))
            }
            None => {
                let known = OTHER_NAMES.iter().find(|(other, _)| *other == text);
                let advice = match known {
                    Some((_, name)) => format!("write '{name}'"),
                    None => "write one such as 'image/png', 'application/pdf', 'text/csv', a family such as 'image/*', or '*/*' for any file".to_owned(),
                };
                let problem = "is no type, in lower case, that the content of a file tells";
                Err(ConfigError::invalid(path, problem).suggest(advice))
            }
        }
    }
}

/// A content without a known signature.
const UNKNOWN: &str = "application/octet-stream";

/// Whether a type is a kind of text, which has no signature.
fn is_text(kind: &str) -> bool {
    let rest = kind.strip_prefix("text/").unwrap_or_default();
    !rest.is_empty() && !rest.contains('*')
        || TEXTS.contains(&kind)
        || TEXT_SUFFIXES.iter().any(|suffix| kind.ends_with(suffix))
}

/// A kind of a file that its field takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FoundKind {
    pub(super) kind: Box<str>,
    /// Whether all of the file must be text.
    pub(super) is_text: bool,
}

/// The kind of a file that begins with `head`, or is no longer, if `accepted` has it. `looks_text`
/// is whether `head` may begin a text, `declared` is the type that the client has named, in lower
/// case.
pub(super) fn tell(
    accepted: &[FileKind],
    head: &[u8],
    looks_text: bool,
    declared: Option<&str>,
) -> Option<FoundKind> {
    let found = infer::get(head).map(|kind| kind.mime_type());
    let found = found.filter(|kind| {
        *kind != UNKNOWN && (!looks_text || kind.starts_with("text/") || TEXTUAL.contains(kind))
    });
    let is_exact = |kind: &str| {
        accepted.iter().any(|one| matches!(one, FileKind::Exact(exact) if **exact == *kind))
    };
    let is_taken = |kind: &str| {
        let of_family = |one: &FileKind| match one {
            FileKind::Family(family) => kind.starts_with(*family),
            FileKind::Any | FileKind::Exact(_) => false,
        };
        is_exact(kind) || accepted.iter().any(of_family)
    };
    if looks_text {
        let own = found.unwrap_or("text/plain");
        let has_markup = own == "text/xml";
        let named = declared.filter(|kind| {
            let is_xml = kind.ends_with("/xml") || kind.ends_with("+xml");
            is_text(kind) && is_exact(kind) && (own == "text/plain" || has_markup && is_xml)
        });
        let text = named.or_else(|| Some(own).filter(|kind| is_text(kind) && is_exact(kind)));
        if let Some(kind) = text {
            return Some(FoundKind { kind: kind.into(), is_text: true });
        }
    }
    let is_any = accepted.contains(&FileKind::Any);
    let kind = found.filter(|kind| is_any || is_taken(kind)).or(is_any.then_some(UNKNOWN))?;
    Some(FoundKind { kind: kind.into(), is_text: false })
}
