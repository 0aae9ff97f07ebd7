//! The option `payload.files`: which fields take files.

use serde_json::Value;

use super::error_of;
use super::kind::FileKind;
use crate::config::options::{Options, describe, is_function};
use crate::error::{ConfigCode, ConfigError};
use crate::json::is_operator_like;
use crate::refusal::FieldError;

/// The most fields for files of one route.
const MAX_FIELDS: usize = 64;
/// The default of `maxBytes`.
const MAX_BYTES: u64 = 1 << 20;
/// The largest file that the application takes as a stream: 64 GiB.
const MAX_STREAMED: u64 = 64 << 30;
/// The most bytes of all files of one request that are kept in memory: 64 MiB.
const MAX_MEMORY: u64 = 64 << 20;

/// The fields for files of one route.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FileRules {
    fields: Vec<FileField>,
}

/// One field for files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileField {
    /// Its name.
    pub name: Box<str>,
    /// The kinds of files that it takes; at least one.
    pub types: Vec<FileKind>,
    /// The most bytes of one file.
    pub max_bytes: u64,
    /// The most files. `None`: one file, and its value is no list.
    pub max_count: Option<u32>,
    /// Whether a request may have none.
    pub is_optional: bool,
}

impl FileField {
    pub(super) fn most(&self) -> u32 {
        self.max_count.unwrap_or(1)
    }
}

impl FileRules {
    /// Reads the option, at `path`: an object with a member for each field.
    ///
    /// - `types`: the kinds of files, a list of media types, required
    /// - `maxBytes`: the size of one file, `'1mb'`; 1 byte to 64 GiB
    /// - `maxCount`: makes the value a list of at most so many files; 1 to 1000
    /// - `optional`: whether a request may have none, `false`
    /// - `to`: where they go: a function, or `{ directory }`; without it they stay in memory, all
    ///   of one request at most 64 MiB
    /// - `discard`: beside a function `to`: what takes its values of refused requests back
    pub fn parse(path: &str, value: &Value) -> Result<Self, ConfigError> {
        const KNOWN: [&str; 6] = ["types", "maxBytes", "maxCount", "optional", "to", "discard"];
        let Value::Object(map) = value else {
            let problem = format!(
                "must be an object with a member for each field that takes files, not {}",
                describe(value)
            );
            return Err(ConfigError::invalid(path, problem)
                .suggest("write { avatar: { types: ['image/png'] } }"));
        };
        if map.is_empty() || map.len() > MAX_FIELDS {
            let problem = format!("must have 1 to {MAX_FIELDS} fields");
            return Err(ConfigError::invalid(path, problem)
                .suggest("write { avatar: { types: ['image/png'] } }, or leave it out"));
        }
        let mut fields = Vec::with_capacity(map.len());
        let mut in_memory = 0_u64;
        for (name, value) in map {
            let path = format!("{path}.{name}");
            check_name(&path, name)?;
            let options = Options::read(&*path, value, &KNOWN)?;
            let is_streamed = destination(&options)?;
            discard(&options)?;
            let max_bytes = options.size("maxBytes", 1..=MAX_STREAMED)?.unwrap_or(MAX_BYTES);
            let max_count = options.integer("maxCount", 1..=1000)?;
            let max_count = max_count.and_then(|count| u32::try_from(count).ok());
            let field = FileField {
                name: name.as_str().into(),
                types: types(&options)?,
                max_bytes,
                max_count,
                is_optional: options.bool("optional")?.unwrap_or(false),
            };
            if !is_streamed {
                let all = max_bytes.saturating_mul(u64::from(field.most()));
                in_memory = in_memory.saturating_add(all);
            }
            fields.push(field);
        }
        if in_memory > MAX_MEMORY {
            let problem = "lets one request keep more than 64 MiB of files in memory: `maxBytes` times `maxCount` of all fields without `to`";
            return Err(ConfigError::new(ConfigCode::ConflictingOptions, path, problem)
                .suggest("write `to: { directory: '/var/tmp/uploads' }`, or a function that takes the stream"));
        }
        Ok(Self { fields })
    }

    /// The fields, in the order in which [`super::Event::File`] numbers them.
    #[must_use]
    pub fn fields(&self) -> &[FileField] {
        &self.fields
    }

    /// The most bytes of all files of one request.
    #[must_use]
    pub fn max_bytes(&self) -> u64 {
        let of = |field: &FileField| field.max_bytes.saturating_mul(u64::from(field.most()));
        self.fields.iter().fold(0, |sum, field| sum.saturating_add(of(field)))
    }

    /// The field of a part with this name: its place, and whether the name has `[]` behind it, as
    /// forms may spell a list.
    pub(super) fn find(&self, name: &str) -> Option<(usize, &FileField, bool)> {
        let at =
            |name: &str| self.fields.iter().enumerate().find(|(_, field)| *field.name == *name);
        if let Some((at, field)) = at(name) {
            return Some((at, field, false));
        }
        let (at, field) = at(name.strip_suffix("[]")?)?;
        field.max_count.map(|_| (at, field, true))
    }

    /// An error for each field that must have a file, and has none: `counts` has the number of
    /// files of each field.
    #[must_use]
    pub fn missing(&self, counts: &[u32]) -> Vec<FieldError> {
        let fields = self.fields.iter().enumerate();
        let is_missing = |(at, field): &(usize, &FileField)| {
            !field.is_optional && counts.get(*at).copied().unwrap_or_default() == 0
        };
        let missing = fields.filter(is_missing);
        missing.map(|(_, field)| error_of(&field.name, "required", "a file is required")).collect()
    }
}

/// A name that the body of a request may have as a key.
fn check_name(path: &str, name: &str) -> Result<(), ConfigError> {
    let is_plain = !name.is_empty()
        && name.len() <= 128
        && !name.chars().any(char::is_control)
        && !name.contains(['[', ']', '"', '\\'])
        && !matches!(name, "__proto__" | "constructor" | "prototype" | "_charset_")
        && !is_operator_like(name);
    if is_plain {
        return Ok(());
    }
    Err(ConfigError::invalid(path, "is no name of a field: names have no brackets, quotes, dots or `$` at their start, and are no member of every object")
        .suggest("write a plain name, and `maxCount` for a list: `scans[]` is then read as `scans`"))
}

/// Whether the files leave the process's memory.
fn destination(options: &Options<'_>) -> Result<bool, ConfigError> {
    match options.get("to") {
        None => Ok(false),
        Some(value) if is_function(value) => Ok(true),
        Some(value @ Value::Object(_)) => {
            let inner = Options::read(options.path_of("to"), value, &["directory"])?;
            inner.require("directory", "the folder for the files, which must exist")?;
            match inner.string("directory")? {
                Some("") => Err(inner.invalid("directory", "must not be empty")),
                _ => Ok(true),
            }
        }
        Some(other) => Err(options
            .invalid("to", format!("must be a function or {{ directory }}, not {}", describe(other)))
            .suggest("write `to: { directory: '/var/tmp/uploads' }`, or leave it out to keep the file in memory")),
    }
}

fn discard(options: &Options<'_>) -> Result<(), ConfigError> {
    match (options.get("discard"), options.get("to")) {
        (None, _) => Ok(()),
        (Some(value), _) if !is_function(value) => {
            Err(options.invalid("discard", "must be a function"))
        }
        (Some(_), Some(to)) if is_function(to) => Ok(()),
        (Some(_), _) => Err(options
            .invalid("discard", "takes back what a function `to` has returned, and there is none")
            .suggest("leave it out")),
    }
}

fn types(options: &Options<'_>) -> Result<Vec<FileKind>, ConfigError> {
    options.require("types", "the kinds of files that the field takes, such as ['image/png']")?;
    let texts = options.strings("types")?.unwrap_or_default();
    if texts.is_empty() {
        return Err(options.invalid("types", "must name at least one kind of file"));
    }
    let path = options.path_of("types");
    let kinds =
        texts.iter().enumerate().map(|(i, text)| FileKind::parse(&format!("{path}[{i}]"), text));
    kinds.collect()
}
