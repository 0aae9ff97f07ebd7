//! Bounds of `regex.*` and `glob.*`, whose pattern may come from a request.
//!
//! Two costs are unbounded without them: the time to compile a pattern, and the time to match a
//! text, which is at worst the product of both sizes. A glob such as `*a*a*a...` of 30 kB took 18
//! seconds.

use regorus::Value;

use super::{TOO_MANY, bound, len, text};

/// The maximum length of a pattern, in bytes.
const MAX_PATTERN: usize = 1_024;
/// The maximum length of a text for one search.
const MAX_SEARCHED: usize = 16 << 10;
/// The maximum length of a text in which all matches of a pattern with repetitions are searched.
/// Each search may scan the whole rest, so the work is quadratic.
const MAX_SEARCHED_AGAIN: usize = 2 << 10;
/// The maximum number of strings that `regex.find_all_string_submatch_n` may return.
const MAX_GROUPS: usize = 20_000;
/// The maximum number of wildcards of a glob.
const MAX_WILDCARDS: usize = 32;
/// The maximum length of a text for a glob. Each delimiter makes it longer.
const MAX_GLOBBED: usize = 64 << 10;
/// The maximum number of delimiters of a glob.
const MAX_DELIMITERS: usize = 16;

const LONG_PATTERN: &str = "has a pattern of more than 1024 bytes";
const LONG_TEXT: &str = "has a text of more than 16384 bytes";
const LONG_TEXT_AGAIN: &str =
    "has a text of more than 2048 bytes, to be searched for all matches of a pattern that repeats";
const MANY_WILDCARDS: &str = "has a glob with more than 32 wildcards";

type Bounded = Result<(), &'static str>;

fn pattern(args: &[Value], at: usize) -> Bounded {
    bound(text(args, at).map_or(0, str::len), MAX_PATTERN, LONG_PATTERN)
}

/// `regex.is_valid(pattern)`.
pub(super) fn is_valid(args: &[Value]) -> Bounded {
    pattern(args, 0)
}

/// `regex.match(pattern, text)`.
pub(super) fn search(args: &[Value]) -> Bounded {
    pattern(args, 0)?;
    bound(text(args, 1).map_or(0, str::len), MAX_SEARCHED, LONG_TEXT)
}

/// `regex.find_n(pattern, text, n)` and `regex.split(pattern, text)`.
pub(super) fn search_all(args: &[Value]) -> Bounded {
    searched_all(args, 0, 1)
}

/// `regex.find_all_string_submatch_n(pattern, text, n)`.
pub(super) fn search_groups(args: &[Value]) -> Bounded {
    search_all(args)?;
    let [pattern, subject] = [text(args, 0), text(args, 1)].map(Option::unwrap_or_default);
    let groups = pattern.bytes().filter(|byte| *byte == b'(').count() + 1;
    bound(groups.saturating_mul(subject.len()), MAX_GROUPS.max(subject.len()), TOO_MANY)
}

/// The search for the pattern at `pattern_at` in the whole text at `text_at`.
pub(super) fn searched_all(args: &[Value], pattern_at: usize, text_at: usize) -> Bounded {
    pattern(args, pattern_at)?;
    let repeats = text(args, pattern_at).is_some_and(|pattern| pattern.contains(['*', '+', '{']));
    let (most, why) =
        if repeats { (MAX_SEARCHED_AGAIN, LONG_TEXT_AGAIN) } else { (MAX_SEARCHED, LONG_TEXT) };
    bound(text(args, text_at).map_or(0, str::len), most, why)
}

/// `glob.match(pattern, delimiters, text)`.
pub(super) fn glob(args: &[Value]) -> Bounded {
    let glob = text(args, 0).unwrap_or_default();
    bound(glob.len(), MAX_PATTERN, LONG_PATTERN)?;
    let wildcards = glob.bytes().filter(|byte| b"*?[{,".contains(byte)).count();
    bound(wildcards, MAX_WILDCARDS, MANY_WILDCARDS)?;
    let delimiters = if args.get(1) == Some(&Value::Null) { 0 } else { len(args.get(1)) };
    bound(delimiters, MAX_DELIMITERS, "has more than 16 delimiters")?;
    let longest = text(args, 2).map_or(0, str::len).saturating_mul(1 + 2 * delimiters);
    bound(longest, MAX_GLOBBED, "has a text of more than 65536 bytes, delimiters marked")
}

/// The regular expression of a `regex.template_match` template: text is literal, and each pair of
/// delimiters, which may be nested, contains a pattern. regorus itself slices the text by the
/// template's length and panics.
pub(super) fn template(template: &str, open: &str, close: &str) -> Result<String, &'static str> {
    const DELIMITERS: &str = "expects two delimiters of one character each";
    const UNBALANCED: &str = "has a template with unbalanced delimiters";
    let only = |text: &str| {
        let mut chars = text.chars();
        chars.next().filter(|_| chars.next().is_none()).ok_or(DELIMITERS)
    };
    let (open, close) = (only(open)?, only(close)?);
    bound(template.len(), MAX_PATTERN, LONG_PATTERN)?;
    let mut regex = String::from("^(?:");
    let mut depth = 0_usize;
    for c in template.chars() {
        if c == close && depth > 0 {
            depth -= 1;
            regex.push(if depth == 0 { ')' } else { c });
        } else if c == open {
            depth += 1;
            if depth == 1 { regex.push_str("(?:") } else { regex.push(c) }
        } else if c == close {
            return Err(UNBALANCED);
        } else {
            if depth == 0 && r"\.+*?()|[]{}^$#&-~".contains(c) {
                regex.push('\\');
            }
            regex.push(c);
        }
    }
    if depth > 0 {
        return Err(UNBALANCED);
    }
    regex.push_str(")$");
    Ok(regex)
}

/// Escapes all special characters of a glob. regorus escapes only `*`.
pub(super) fn quote_glob(glob: &str) -> String {
    let mut quoted = String::with_capacity(glob.len());
    for c in glob.chars() {
        if r"*?\[]{}".contains(c) {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted
}
