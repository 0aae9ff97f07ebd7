//! Bounds for built-in functions that some inputs would otherwise make run too long.
//!
//! regorus checks the clock between expressions, not inside a built-in function:
//! `numbers.range(1, 3e6)` runs for a quarter of a second under a limit of 50 ms. regorus calls
//! extensions before its own functions, so an extension with the same name can check the arguments
//! first and then call the original.
//!
//! Each bound allows a few milliseconds of work. An argument beyond one is an error of the
//! function: the policy has no result, and the request is refused.

mod patterns;
mod values;

use std::cell::Cell;
use std::fmt;

use regorus::unstable::{BUILTINS, Expr, Ref, Span};
use regorus::{Engine, Extension, Source, Value};

use crate::clock::Now;

/// The maximum length of a text, in bytes, that a function may build.
const MAX_TEXT: usize = 1 << 20;
/// The maximum number of items that a function may create or compare.
const MAX_ITEMS: usize = 100_000;
/// The maximum number of bytes to compare with each other.
const MAX_COMPARED: usize = 16 << 20;
/// The maximum shift: more than any flag or mask needs.
const MAX_SHIFT: i64 = 1_024;
/// The maximum host bits of a network whose addresses are listed: 4,096 addresses.
const MAX_HOST_BITS: u32 = 12;

const TOO_LONG: &str = "would build a text of more than 1 mb";
const TOO_MANY: &str = "would work through more than 100000 items";

/// Functions of regorus that a policy may not call, with the reason.
pub(super) const DENIED: &[(&str, &str)] = &[
    ("graph.reachable_paths", "its work grows exponentially with the graph"),
    ("http.send", "a policy decides on what it is given and never calls out"),
    ("opa.runtime", "a policy does not see the process or its environment"),
    ("rego.parse_module", "a policy does not read policies"),
    ("test.sleep", "a policy does not wait"),
];

type Check = fn(&[Value]) -> Result<(), &'static str>;

const BOUNDED: &[(&str, Check)] = &[
    ("array.concat", array_concat),
    ("bits.lsh", shift),
    ("concat", concat),
    ("glob.match", patterns::glob),
    ("indexof", index),
    ("indexof_n", index),
    ("intersection", values::join),
    ("json.filter", values::paths),
    ("json.marshal_with_options", values::marshal),
    ("json.patch", values::patch),
    ("json.remove", values::paths),
    ("net.cidr_expand", cidr_expand),
    ("numbers.range", range),
    ("numbers.range_step", range_step),
    ("object.union_n", values::join),
    ("product", values::product),
    ("regex.find_all_string_submatch_n", patterns::search_groups),
    ("regex.find_n", patterns::search_all),
    ("regex.is_valid", patterns::is_valid),
    ("regex.match", patterns::search),
    ("regex.replace", regex_replace),
    ("regex.split", patterns::search_all),
    ("replace", replace),
    ("sprintf", sprintf),
    ("strings.any_prefix_match", pairs),
    ("strings.any_suffix_match", pairs),
    ("strings.replace_n", replace_n),
    ("to_number", number_text),
    ("trim", trim),
    ("trim_left", trim),
    ("trim_right", trim),
    ("union", values::join),
    ("units.parse", number_text),
    ("units.parse_bytes", number_text),
    ("walk", values::walk),
];

thread_local! {
    /// The result of `time.now_ns` for the evaluation on this thread: the request's own time.
    static NOW_NS: Cell<u64> = const { Cell::new(0) };
}

/// Sets the result of `time.now_ns` on this thread.
pub(super) fn set_now(now: Now) {
    NOW_NS.set(now.unix_us.saturating_mul(1_000));
}

/// Whether regorus, and so a policy, has a function of that name.
pub(super) fn is_known(name: &str) -> bool {
    name == "print" || BUILTINS.contains_key(name)
}

/// The number of arguments of the built-in function, if it is fixed.
pub(super) fn arity(name: &str) -> Option<usize> {
    BUILTINS.get(name).map(|(_, arity)| usize::from(*arity))
}

/// The known name nearest to an unknown one.
pub(super) fn nearest(name: &str) -> Option<&'static str> {
    let mut names: Vec<&'static str> = BUILTINS.keys().copied().collect();
    names
        .retain(|name| !name.starts_with("__") && !DENIED.iter().any(|(denied, _)| denied == name));
    names.sort_unstable();
    crate::config::options::nearest(name, &names)
}

/// Adds the bounds, and `time.now_ns`, to `engine`.
pub(super) fn install(engine: &mut Engine) -> Result<(), String> {
    let mut add = |name: &str, arity: u8, extension: Box<dyn Extension>| {
        engine.add_extension(name.to_owned(), arity, extension).map_err(|error| error.to_string())
    };
    for (name, check) in BOUNDED {
        let (original, arity) =
            *BUILTINS.get(name).ok_or_else(|| format!("this build lacks {name}"))?;
        let (span, params) = nowhere(usize::from(arity))?;
        let check = *check;
        add(
            name,
            arity,
            Box::new(move |args: Vec<Value>| match check(&args) {
                Ok(()) => original(&span, &params, &args, true),
                Err(why) => Err(TooMuch(why).into()),
            }),
        )?;
    }
    install_own(&mut add)?;
    // regorus panics here on an empty needle. OPA counts the gaps between the characters.
    add(
        "strings.count",
        2,
        Box::new(|args: Vec<Value>| match args.as_slice() {
            [Value::String(text), Value::String(needle)] if needle.is_empty() => {
                Ok(Value::from(text.chars().count().saturating_add(1)))
            }
            [Value::String(text), Value::String(needle)] => {
                Ok(Value::from(text.matches(needle.as_ref()).count()))
            }
            _ => Err(TooMuch("`strings.count` takes two strings").into()),
        }),
    )?;
    add("time.now_ns", 0, Box::new(|_: Vec<Value>| Ok(Value::from(NOW_NS.get()))))
}

/// Checks a literal pattern of the policy in the same way as a request's.
pub(super) fn check_literals(name: &str, literals: &[Option<String>]) -> Result<(), String> {
    let (at, compiles) = match name {
        "regex.match" | "regex.find_n" | "regex.split" | "regex.find_all_string_submatch_n" => {
            (0, "regex.match")
        }
        "regex.replace" => (1, "regex.match"),
        "glob.match" => (0, "glob.quote_meta"),
        _ => return Ok(()),
    };
    let Some(Some(literal)) = literals.get(at) else { return Ok(()) };
    let args = match compiles {
        "regex.match" => vec![Value::from(literal.as_str()), Value::from("")],
        _ => vec![Value::from(literal.as_str())],
    };
    if compiles == "regex.match" { patterns::search(&args) } else { patterns::glob(&args) }
        .map_err(|why| format!("`{name}` {why}"))?;
    let Some((original, arity)) = BUILTINS.get(compiles) else { return Ok(()) };
    let (span, params) = nowhere(usize::from(*arity))?;
    match original(&span, &params, &args, true) {
        Ok(_) => Ok(()),
        Err(_) => Err(format!("the pattern of `{name}` is not valid, or too large")),
    }
}

/// Adds the functions that replace those of regorus.
fn install_own(
    mut add: impl FnMut(&str, u8, Box<dyn Extension>) -> Result<(), String>,
) -> Result<(), String> {
    add(
        "glob.quote_meta",
        1,
        Box::new(|args: Vec<Value>| match text(&args, 0) {
            Some(glob) => Ok(Value::from(patterns::quote_glob(glob))),
            None => Err(TooMuch("`glob.quote_meta` takes a string").into()),
        }),
    )?;
    add(
        "object.subset",
        2,
        Box::new(|args: Vec<Value>| match args.as_slice() {
            [sup, sub] => Ok(Value::from(values::subset(sup, sub)?)),
            _ => Err(TooMuch("`object.subset` takes two values").into()),
        }),
    )?;
    let (matches, arity) = *BUILTINS.get("regex.match").ok_or("this build lacks regex.match")?;
    let (span, params) = nowhere(usize::from(arity))?;
    add(
        "regex.template_match",
        4,
        Box::new(move |args: Vec<Value>| {
            let [Some(template), Some(subject), Some(open), Some(close)] =
                [0, 1, 2, 3].map(|at| text(&args, at))
            else {
                return Err(TooMuch("`regex.template_match` takes four strings").into());
            };
            let regex = patterns::template(template, open, close).map_err(TooMuch)?;
            let args = [Value::from(regex), Value::from(subject)];
            patterns::search(args.get(..1).unwrap_or_default()).map_err(TooMuch)?;
            matches(&span, &params, &args, true)
        }),
    )
}

/// A dummy location: regorus's own functions require one, and the extension's caller adds the real
/// one.
fn nowhere(arity: usize) -> Result<(Span, Vec<Ref<Expr>>), String> {
    let source = Source::from_contents("built-in".to_owned(), String::new())
        .map_err(|error| error.to_string())?;
    let span = Span { source, line: 1, col: 1, start: 0, end: 0 };
    let param = || Ref::new(Expr::Null { span: span.clone(), value: Value::Null, eidx: 0 });
    let params = (0..arity).map(|_| param()).collect();
    Ok((span, params))
}

/// An argument that requires more work than its bound.
#[derive(Debug)]
struct TooMuch(&'static str);

impl fmt::Display for TooMuch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for TooMuch {}

fn text(args: &[Value], at: usize) -> Option<&str> {
    match args.get(at) {
        Some(Value::String(text)) => Some(text),
        _ => None,
    }
}

/// The number of members of a value; a scalar counts as one.
fn len(value: Option<&Value>) -> usize {
    match value {
        Some(Value::Array(items)) => items.len(),
        Some(Value::Set(items)) => items.len(),
        Some(Value::Object(items)) => items.len(),
        _ => 1,
    }
}

fn bound(size: usize, limit: usize, why: &'static str) -> Result<(), &'static str> {
    if size <= limit { Ok(()) } else { Err(why) }
}

fn array_concat(args: &[Value]) -> Result<(), &'static str> {
    bound(len(args.first()).saturating_add(len(args.get(1))), MAX_ITEMS, TOO_MANY)
}

fn shift(args: &[Value]) -> Result<(), &'static str> {
    let by = args.get(1).and_then(|by| by.as_i64().ok());
    match by {
        Some(by) if by <= MAX_SHIFT => Ok(()),
        _ => Err("would shift by more than 1024 bits"),
    }
}

fn concat(args: &[Value]) -> Result<(), &'static str> {
    let delimiter = text(args, 0).map_or(0, str::len);
    let size = |value: &Value| match value {
        Value::String(text) => text.len(),
        _ => 0,
    };
    let texts: usize = match args.get(1) {
        Some(Value::Array(items)) => items.iter().map(size).sum(),
        Some(Value::Set(items)) => items.iter().map(size).sum(),
        _ => 0,
    };
    bound(delimiter.saturating_mul(len(args.get(1))).saturating_add(texts), MAX_TEXT, TOO_LONG)
}

fn cidr_expand(args: &[Value]) -> Result<(), &'static str> {
    const WHY: &str = "would write out more than 4096 addresses";
    let network: ipnet::IpNet = text(args, 0)
        .and_then(|text| text.parse().ok())
        .ok_or("expects a network such as 10.0.0.0/24")?;
    let host_bits = u32::from(network.max_prefix_len().saturating_sub(network.prefix_len()));
    if host_bits <= MAX_HOST_BITS { Ok(()) } else { Err(WHY) }
}

fn span_of(args: &[Value]) -> Option<u64> {
    let from = args.first()?.as_i64().ok()?;
    let to = args.get(1)?.as_i64().ok()?;
    Some(from.abs_diff(to))
}

fn range(args: &[Value]) -> Result<(), &'static str> {
    match span_of(args) {
        Some(span) if span < MAX_ITEMS as u64 => Ok(()),
        _ => Err(TOO_MANY),
    }
}

fn range_step(args: &[Value]) -> Result<(), &'static str> {
    let step = args.get(2).and_then(|step| step.as_i64().ok()).map_or(0, i64::unsigned_abs);
    match span_of(args).and_then(|span| span.checked_div(step)) {
        Some(items) if items < MAX_ITEMS as u64 => Ok(()),
        _ => Err(TOO_MANY),
    }
}

fn regex_replace(args: &[Value]) -> Result<(), &'static str> {
    // A match may be empty, and the replacement may insert a group as long as the match. This is
    // the maximum length.
    let [subject, with] = [text(args, 0), text(args, 2)].map(|text| text.map_or(0, str::len));
    bound((subject + 1).saturating_mul(with + 1), 16 * MAX_TEXT, TOO_LONG)?;
    patterns::searched_all(args, 1, 0)
}

/// The length of `subject` after every `old` is replaced by `new`.
fn replaced(subject: &str, old: &str, new: &str) -> usize {
    subject.len().saturating_add(subject.matches(old).count().saturating_mul(new.len()))
}

fn replace(args: &[Value]) -> Result<(), &'static str> {
    match (text(args, 0), text(args, 1), text(args, 2)) {
        (Some(subject), Some(old), Some(new)) => {
            bound(replaced(subject, old, new), MAX_TEXT, TOO_LONG)
        }
        _ => Ok(()),
    }
}

fn replace_n(args: &[Value]) -> Result<(), &'static str> {
    // Each pattern works on the result of the previous one, so each can double the text.
    let (Some(Value::Object(patterns)), Some(subject)) = (args.first(), text(args, 1)) else {
        return Ok(());
    };
    bound(patterns.len().saturating_mul(subject.len()), MAX_COMPARED, TOO_MANY)?;
    let mut subject = subject.to_owned();
    for pattern in patterns.iter_sorted() {
        if let (Value::String(old), Value::String(new)) = pattern {
            bound(replaced(&subject, old, new), MAX_TEXT, TOO_LONG)?;
            subject = subject.replace(old.as_ref(), new);
        }
    }
    Ok(())
}

fn sprintf(args: &[Value]) -> Result<(), &'static str> {
    let Some(format) = text(args, 0) else { return Ok(()) };
    let verbs = format.bytes().filter(|byte| *byte == b'%').count();
    if format.bytes().any(|byte| byte.is_ascii_digit()) {
        bound(verbs.saturating_mul(999), MAX_TEXT, TOO_LONG)?;
    }
    let mut width = None;
    for c in format.chars() {
        width = match (c, width) {
            ('%', None) => Some(0_u8),
            (c, Some(digits)) if c == '.' || c.is_numeric() => {
                if !c.is_ascii() || digits >= 4 {
                    return Err("has a width of more than 999");
                }
                Some(digits + 1)
            }
            _ => None,
        };
    }
    Ok(())
}

/// The needle may be compared at each position of the text.
fn index(args: &[Value]) -> Result<(), &'static str> {
    let [subject, needle] = [text(args, 0), text(args, 1)].map(|text| text.map_or(0, str::len));
    bound(subject.saturating_mul(needle), 16 * MAX_COMPARED, TOO_MANY)
}

/// Each character of the text may be compared with all characters to trim.
fn trim(args: &[Value]) -> Result<(), &'static str> {
    let [subject, cut] = [text(args, 0), text(args, 1)].map(|text| text.map_or(0, str::len));
    bound(subject.saturating_mul(cut), MAX_COMPARED, TOO_MANY)
}

fn pairs(args: &[Value]) -> Result<(), &'static str> {
    bound(len(args.first()).saturating_mul(len(args.get(1))), MAX_ITEMS, TOO_MANY)
}

fn number_text(args: &[Value]) -> Result<(), &'static str> {
    const WHY: &str =
        "expects a number of at most 100 characters and an exponent of at most 3 digits";
    let Some(text) = text(args, 0) else { return Ok(()) };
    let exponent = text.rsplit_once(['e', 'E']).map_or("", |(_, exponent)| exponent);
    let digits = exponent.bytes().filter(u8::is_ascii_digit).count();
    if text.len() <= 100 && digits <= 3 { Ok(()) } else { Err(WHY) }
}
