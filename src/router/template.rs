//! A path of the document, read.

use crate::error::ConfigError;
use crate::error::faults::fault;
use crate::request::sendable;

/// One segment of a template.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Segment {
    /// In lower case.
    Literal(String),
    /// Parameters with text around or between them: one text more than parameters, in lower case.
    /// Only the first and the last may be empty.
    Mixed(Vec<String>),
    /// A parameter alone.
    Any,
}

/// A path of the document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Template {
    pub(crate) segments: Vec<Segment>,
    /// The same segments, as written in the document.
    pub(super) written: Vec<Written>,
    /// Whether it ends with a slash. Strict routers compare it.
    pub(super) slash: bool,
    /// The names of its parameters, in order.
    pub(crate) names: Vec<String>,
    /// The names and values that the query must have, sorted.
    pub(crate) query: Vec<(String, String)>,
}

/// A segment as written in the document. Express compares it in this form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Written {
    /// The texts around the parameters; one text alone for a literal segment.
    pub(super) texts: Vec<String>,
    /// The same texts, decoded.
    pub(super) decoded: Vec<String>,
    /// For each parameter the characters that Express 4 excludes from its value, in lower case: a
    /// parameter after text (`v.:x`) matches no dot, and no text that precedes it in the pattern.
    pub(super) barred: Vec<String>,
}

impl Written {
    /// The text after its last parameter, or the whole literal.
    fn tail(&self) -> &str {
        self.texts.last().map(String::as_str).unwrap_or_default()
    }
}

impl Template {
    /// Reads `/users/{id}`, given at `pointer`. `base` is its prefix, without parameters.
    pub(crate) fn parse(pointer: &str, base: &str, path: &str) -> Result<Self, ConfigError> {
        if !path.starts_with('/') {
            return Err(fault(pointer, "is no path: it must begin with a slash"));
        }
        if path.contains(['?', '#']) {
            let (what, advice) = if path.contains('?') {
                (
                    "a query",
                    "describe the query as parameters, or set `tolerate: ['path-queries']`, which selects the operation by it",
                )
            } else {
                (
                    "a fragment",
                    "write another path, or set `tolerate: ['path-fragments']`, which cuts it off",
                )
            };
            return Err(fault(pointer, format!("is no path: it has {what}")).suggest(advice));
        }
        let mut template = Self {
            segments: Vec::new(),
            written: Vec::new(),
            slash: path.ends_with('/'),
            names: Vec::new(),
            query: Vec::new(),
        };
        // A trailing slash is not a segment: most routers ignore it.
        for path in [base, path.strip_suffix('/').unwrap_or(path)] {
            for raw in path.split('/').skip(1) {
                template.push(pointer, raw)?;
            }
        }
        Ok(template)
    }

    fn push(&mut self, pointer: &str, raw: &str) -> Result<(), ConfigError> {
        let mut texts: Vec<String> = Vec::new();
        let mut barred = Vec::new();
        let mut rest = raw;
        while let Some((before, behind)) = rest.split_once('{') {
            let Some((name, behind)) = behind.split_once('}') else {
                return Err(fault(pointer, "has a brace that is not closed"));
            };
            if before.is_empty() && !texts.is_empty() {
                let problem = "has two parameters with nothing between them, and no request says where one ends";
                return Err(
                    fault(pointer, problem).suggest("put a slash or other text between them")
                );
            }
            self.add_name(pointer, name)?;
            barred.push(self.barred(&texts, before));
            texts.push(before.to_owned());
            rest = behind;
        }
        texts.push(rest.to_owned());
        let lower: Vec<String> =
            texts.iter().map(|text| literal(pointer, text)).collect::<Result<_, _>>()?;
        let decoded = lower.clone();
        self.segments.push(match lower.as_slice() {
            [text] => {
                if matches!(text.as_str(), "" | "." | "..") {
                    let problem =
                        "has a segment that no request can have: it is empty or has only dots";
                    return Err(fault(pointer, problem));
                }
                Segment::Literal(text.clone())
            }
            [before, behind] if before.is_empty() && behind.is_empty() => Segment::Any,
            _ => Segment::Mixed(lower),
        });
        self.written.push(Written { texts, decoded, barred });
        Ok(())
    }

    fn add_name(&mut self, pointer: &str, name: &str) -> Result<(), ConfigError> {
        if name.is_empty() {
            return Err(fault(pointer, "has a parameter without a name"));
        }
        if name.contains('{') {
            return Err(fault(pointer, "has a brace that is not closed"));
        }
        if self.names.iter().any(|known| known == name) {
            return Err(fault(pointer, format!("has the parameter `{{{name}}}` twice")));
        }
        self.names.push(name.to_owned());
        Ok(())
    }

    /// The characters that Express excludes from a value after `before`: the special characters of
    /// the text since the last parameter, and those at the end of that parameter's segment. After
    /// another parameter of its segment, with `earlier` texts, any of these characters.
    fn barred(&self, earlier: &[String], before: &str) -> String {
        if !earlier.is_empty() {
            return earlier.concat().to_ascii_lowercase() + &before.to_ascii_lowercase();
        }
        if before.is_empty() {
            return String::new();
        }
        let since = self.written.iter().rev().take_while(|segment| segment.barred.is_empty());
        let texts = since.map(Written::tail).chain([before]);
        let special = |c: &char| !c.is_ascii_alphanumeric() && !"-_~%".contains(*c);
        let mut barred: String = texts.flat_map(|text| text.chars().filter(special)).collect();
        let last = self.written.iter().rev().find(|segment| !segment.barred.is_empty());
        if let Some(last) = last {
            barred.extend(last.tail().chars().filter(special));
            barred.extend(last.tail().chars().last());
        }
        barred.make_ascii_lowercase();
        barred
    }
}

/// The text of a segment, or of a part of one, in lower case. A part may be dots alone.
fn literal(pointer: &str, raw: &str) -> Result<String, ConfigError> {
    let whole = format!("a{raw}");
    let text = sendable(&whole).filter(|_| !raw.contains(['{', '}']));
    match text.as_deref().and_then(|text| text.get(1..)) {
        Some(text) => Ok(text.to_ascii_lowercase()),
        None => Err(fault(pointer, "has a segment that no request can have").suggest(
            "write it as it is sent: ASCII, the rest percent-encoded UTF-8 without slashes",
        )),
    }
}
