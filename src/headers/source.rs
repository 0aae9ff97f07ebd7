//! One item of a CSP directive (CSP Level 3 section 2.3.1), judged as a browser reads it.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use crate::config::options::{nearest, quoted};
use crate::error::ConfigError;

/// The keywords that a directive accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keywords {
    /// Scripts, and `default-src` as their fallback.
    Script,
    /// Style sheets.
    Style,
    /// Only `'self'` and `'none'`.
    Plain,
}

const SCRIPT: [&str; 10] = [
    "'self'",
    "'none'",
    "'strict-dynamic'",
    "'unsafe-inline'",
    "'unsafe-eval'",
    "'wasm-unsafe-eval'",
    "'trusted-types-eval'",
    "'unsafe-hashes'",
    "'report-sample'",
    "'inline-speculation-rules'",
];
const STYLE: [&str; 5] =
    ["'self'", "'none'", "'unsafe-inline'", "'unsafe-hashes'", "'report-sample'"];
const PLAIN: [&str; 2] = ["'self'", "'none'"];
const SCHEMES: [&str; 8] =
    ["http", "https", "data", "blob", "filesystem", "mediastream", "ws", "wss"];
const HASHES: [(&str, usize); 3] = [("sha256-", 32), ("sha384-", 48), ("sha512-", 64)];

/// Refuses characters that would end the item, the directive or the header, or that no header may
/// contain.
pub(super) fn characters(path: &str, text: &str) -> Result<(), ConfigError> {
    let error = |problem: &str, suggestion: &str| {
        Err(ConfigError::invalid(path, problem).suggest(suggestion))
    };
    if text.is_empty() {
        return error("must not be empty", "write one source per item, such as \"'self'\"");
    }
    if text.contains(';') {
        return error(
            "must not have a ';', which ends the directive",
            "give each directive its own key",
        );
    }
    if text.contains(',') {
        return error("must not have a ',', which ends the policy", "write one source per item");
    }
    if text.contains([' ', '\t']) {
        return error("must not have spaces", "write one source per item");
    }
    if !text.is_ascii() {
        return error("must be ASCII", "write a host in Punycode and a path percent-encoded");
    }
    if text.bytes().any(|byte| byte.is_ascii_control()) {
        return error(
            "must not have line breaks or control characters",
            "write one source per item",
        );
    }
    Ok(())
}

/// Judges one source of a source list.
pub(super) fn judge(keywords: Keywords, path: &str, text: &str) -> Result<(), ConfigError> {
    characters(path, text)?;
    if text.contains(['\'', '"']) {
        return quoted_word(keywords, path, text);
    }
    bare_keyword(path, text)?;
    if text == "*" {
        return Ok(());
    }
    if let Some(scheme) = text.strip_suffix(':') {
        return if is_scheme(scheme) { Ok(()) } else { Err(no_source(path)) };
    }
    host_source(path, text)
}

fn quoted_word(keywords: Keywords, path: &str, text: &str) -> Result<(), ConfigError> {
    let known: &[&'static str] = match keywords {
        Keywords::Script => &SCRIPT,
        Keywords::Style => &STYLE,
        Keywords::Plain => &PLAIN,
    };
    if known.contains(&text) {
        return Ok(());
    }
    let lower = text.to_ascii_lowercase();
    if lower.starts_with("'nonce-") {
        return Err(static_nonce(path));
    }
    if let Some((_, bytes)) = HASHES.iter().find(|(name, _)| lower.starts_with(&format!("'{name}")))
    {
        return if keywords == Keywords::Plain {
            Err(ConfigError::invalid(path, "has a hash where none has a meaning")
                .suggest("hashes belong in script-src and style-src"))
        } else {
            hash(path, text, *bytes)
        };
    }
    if keywords != Keywords::Script && SCRIPT.contains(&text) {
        return Err(ConfigError::invalid(
            path,
            "has a keyword that means nothing in this directive",
        )
        .suggest(format!("the keywords here are {}", known.join(", "))));
    }
    let error =
        ConfigError::invalid(path, "must be a known keyword, in lower case and single quotes");
    Err(match nearest(&lower, known) {
        Some(word) => error.suggest(format!("did you mean \"{word}\"?")),
        None => error.suggest(format!("the keywords here are {}", known.join(", "))),
    })
}

fn static_nonce(path: &str) -> ConfigError {
    ConfigError::invalid(
        path,
        "must not have a nonce of its own: one that is not new for each response protects nothing",
    )
    .suggest("write csp.nonce: true and use the nonce of each request")
}

fn hash(path: &str, text: &str, bytes: usize) -> Result<(), ConfigError> {
    // Browsers accept both alphabets and do not check the padding.
    const BASE64: GeneralPurpose = GeneralPurpose::new(
        &alphabet::STANDARD,
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
    );
    let decoded = text
        .strip_prefix('\'')
        .and_then(|text| text.strip_suffix('\''))
        .filter(|text| text.starts_with("sha"))
        .and_then(|text| text.split_once('-'))
        .and_then(|(_, hash)| BASE64.decode(hash.replace('-', "+").replace('_', "/")).ok());
    if decoded.is_some_and(|hash| hash.len() == bytes) {
        return Ok(());
    }
    Err(ConfigError::invalid(path, format!("must be a hash of {bytes} bytes in base64"))
        .suggest("write \"'sha256-...'\" with what the browser's console shows"))
}

/// Refuses a keyword without quotes: a browser reads `self` as a host of that name.
fn bare_keyword(path: &str, text: &str) -> Result<(), ConfigError> {
    let lower = text.to_ascii_lowercase();
    let in_quotes = format!("'{lower}'");
    if let Some(word) = SCRIPT.iter().find(|word| **word == in_quotes) {
        return Err(ConfigError::invalid(
            path,
            "must have single quotes inside the string, or it is taken for a host",
        )
        .suggest(format!("write \"{word}\"")));
    }
    if lower.starts_with("nonce-") {
        return Err(static_nonce(path));
    }
    if HASHES.iter().any(|(name, _)| lower.starts_with(name)) {
        return Err(ConfigError::invalid(
            path,
            "must have single quotes inside the string, or it is taken for a host",
        )
        .suggest("write the hash as \"'sha256-...'\""));
    }
    if let Some(scheme) = SCHEMES.iter().find(|scheme| **scheme == lower) {
        return Err(ConfigError::invalid(
            path,
            "must have a colon after the scheme, or it is taken for a host",
        )
        .suggest(format!("write '{scheme}:'")));
    }
    Ok(())
}

fn is_scheme(scheme: &str) -> bool {
    let mut bytes = scheme.bytes();
    bytes.next().is_some_and(|byte| byte.is_ascii_lowercase())
        && bytes.all(|byte| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"+-.".contains(&byte)
        })
}

fn no_source(path: &str) -> ConfigError {
    ConfigError::invalid(path, "must be a source: a keyword, a scheme or a host")
        .suggest("write \"'self'\", 'data:' or 'https://cdn.example.com'")
}

/// `[scheme://]host[:port][/path]`, where the host may start with `*.`.
fn host_source(path: &str, text: &str) -> Result<(), ConfigError> {
    if text.contains(['?', '#']) {
        return Err(ConfigError::invalid(path, "must not have a query or fragment")
            .suggest("end the source with its path"));
    }
    let rest = match text.split_once("://") {
        Some((scheme, rest)) if is_scheme(scheme) => rest,
        Some(_) => return Err(no_source(path)),
        None => text,
    };
    let authority = rest.split_once('/').map_or(rest, |(authority, _)| authority);
    if authority.contains('@') {
        return Err(ConfigError::invalid(path, "must have no user or password")
            .suggest("write 'https://cdn.example.com'"));
    }
    let (host, port) = match authority.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (authority, None),
    };
    let port_ok = port.is_none_or(|port| {
        port == "*"
            || port.bytes().all(|byte| byte.is_ascii_digit())
                && port.parse::<u16>().is_ok_and(|port| port > 0)
    });
    let labels = host.strip_prefix("*.").unwrap_or(host);
    let host_ok = host == "*"
        || labels.split('.').all(|label| {
            !label.is_empty()
                && label.len() <= 63
                && label
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
        });
    if port_ok && host_ok { Ok(()) } else { Err(no_source(path)) }
}

/// The words of `sandbox`, from HTML.
const SANDBOX: [&str; 14] = [
    "allow-downloads",
    "allow-forms",
    "allow-modals",
    "allow-orientation-lock",
    "allow-pointer-lock",
    "allow-popups",
    "allow-popups-to-escape-sandbox",
    "allow-presentation",
    "allow-same-origin",
    "allow-scripts",
    "allow-storage-access-by-user-activation",
    "allow-top-navigation",
    "allow-top-navigation-by-user-activation",
    "allow-top-navigation-to-custom-protocols",
];

/// Checks that `text` is one of a closed set of words.
pub(super) fn word(path: &str, text: &str, known: &[&str]) -> Result<(), ConfigError> {
    if known.contains(&text) {
        return Ok(());
    }
    let error = ConfigError::invalid(path, "is not a word of this directive");
    Err(match nearest(text, known) {
        Some(word) => error.suggest(format!("did you mean \"{word}\"?")),
        None => error.suggest(format!("write {}", quoted(known))),
    })
}

/// A word of `sandbox`.
pub(super) fn sandbox(path: &str, text: &str) -> Result<(), ConfigError> {
    word(path, text, &SANDBOX)
}

/// A policy name of `trusted-types`, or one of its keywords.
pub(super) fn trusted_type(path: &str, text: &str) -> Result<(), ConfigError> {
    characters(path, text)?;
    if matches!(text, "'none'" | "'allow-duplicates'") {
        return Ok(());
    }
    if text == "*" {
        return Err(ConfigError::invalid(
            path,
            "must not be '*': any script could make a policy of its own",
        )
        .suggest("list the names of the policies"));
    }
    if text == "none" || text == "allow-duplicates" {
        return Err(ConfigError::invalid(
            path,
            "must have single quotes inside the string, or it is taken for a policy",
        )
        .suggest(if text == "none" {
            "write \"'none'\""
        } else {
            "write \"'allow-duplicates'\""
        }));
    }
    if text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-#=_/@.%".contains(&byte)) {
        return Ok(());
    }
    Err(ConfigError::invalid(path, "must be a policy name")
        .suggest("write a name such as 'default' or 'dompurify', or \"'none'\""))
}
