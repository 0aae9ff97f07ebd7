//! Names and values that arrive as text (queries, forms, route parameters, headers) on their way to
//! one JSON object, which is judged like any other.
//!
//! Forms and queries are flat: `application/x-www-form-urlencoded` as in the URL Standard, section
//! 5.1, read strictly. Parsers differ on everything beyond that (a name twice, `a[b]=`, `a[0]=`,
//! `a.b=`), and an attacker picks the reading that one of them lets through, so there is one
//! reading here and the rest is refused:
//!
//! - a name twice is a list where the schema says so, and a duplicate everywhere else
//! - `name[]` is the same list, spelt out; both spellings for one name are a duplicate
//! - other brackets are refused, unless the schema declares the name just so
//! - a list that comes as one text with commas (`x-split: ','`) comes once, and without brackets

use crate::net::percent::form_decoded;
use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::json::Limits;
use crate::json::fault::{Fault, FaultCode, Pointer};
use crate::json::number::is_number;
use crate::json::tape::Document;
use crate::json::write;
use crate::payload::plan::{Plan, Types};
use crate::schema::Schema;

/// Members on their way to one JSON object.
pub(crate) struct Form<'s, 'q> {
    /// `None` where there is no schema.
    plan: Option<&'s Plan>,
    object: Writer,
    /// The values of declared lists, which may come in any order.
    lists: Vec<List<'q>>,
    /// The values of `name[]` where there is no schema. Sorted, not hashed: there are no collisions
    /// to choose.
    loose: BTreeMap<String, Vec<Cow<'q, str>>>,
    /// The declared members that were given, where there is a default to fill in.
    given: Vec<usize>,
    /// How many more members there may be.
    left: u32,
    /// How many values there may be.
    max_nodes: u32,
    /// Whether blanks around the elements of a list in one text are dropped, as in a header (RFC
    /// 9110 section 5.6.1).
    pub(crate) trims: bool,
}

struct List<'q> {
    field: usize,
    bracketed: bool,
    values: Vec<Cow<'q, str>>,
}

impl<'s, 'q> Form<'s, 'q> {
    /// No members yet, and no more of them and of their values than `limits` has it: the document
    /// would be refused anyway, and this bounds the work until then.
    pub(crate) fn new(plan: Option<&'s Plan>, size: usize, limits: &Limits) -> Self {
        Self {
            plan,
            left: limits.max_keys,
            max_nodes: limits.max_nodes,
            object: Writer::new(size),
            lists: Vec::new(),
            loose: BTreeMap::new(),
            given: Vec::new(),
            trims: false,
        }
    }

    /// Takes a member whose name is what it says.
    pub(crate) fn member(&mut self, key: &str, value: Cow<'q, str>) -> Result<(), FaultCode> {
        self.add(key, false, value)
    }

    /// Takes a name and value of a form or query, decoded. A fault is one of the name.
    fn pair(&mut self, key: &str, value: Cow<'q, str>) -> Result<(), FaultCode> {
        let declared = |key: &str| self.plan.and_then(|plan| plan.find(key));
        if !key.contains(['[', ']']) || declared(key).is_some() {
            return self.add(key, false, value);
        }
        let Some(name) = list_name(key) else { return Err(FaultCode::BracketedKey) };
        if self.plan.is_none() {
            if let Some(values) = self.loose.get_mut(name) {
                values.push(value);
                return Ok(());
            }
            self.count()?;
            self.loose.insert(name.to_owned(), vec![value]);
            return Ok(());
        }
        if declared(name).is_some_and(|(_, field)| field.is_list() && !field.split) {
            return self.add(name, true, value);
        }
        Err(FaultCode::BracketedKey)
    }

    fn add(&mut self, key: &str, bracketed: bool, value: Cow<'q, str>) -> Result<(), FaultCode> {
        let Some((at, field)) = self.plan.and_then(|plan| plan.find(key)) else {
            self.count()?;
            // Not declared: a string, which a closed schema refuses. A second one is the parser's
            // to refuse.
            self.object.scalar(key, &value, Types::default());
            return Ok(());
        };
        if field.split {
            if self.lists.iter().any(|list| list.field == at) {
                return Err(FaultCode::DuplicateKey);
            }
            let values = elements(&value, self.trims, self.max_nodes);
            self.lists.push(List { field: at, bracketed, values });
            return Ok(());
        }
        if field.is_list() {
            match self.lists.iter_mut().find(|list| list.field == at) {
                Some(list) if list.bracketed != bracketed => return Err(FaultCode::DuplicateKey),
                Some(list) => list.values.push(value),
                None => self.lists.push(List { field: at, bracketed, values: vec![value] }),
            }
            return Ok(());
        }
        if field.default.is_some() {
            if self.given.contains(&at) {
                return Err(FaultCode::DuplicateKey);
            }
            self.given.push(at);
        }
        self.count()?;
        self.object.scalar(key, &value, field.types);
        Ok(())
    }

    fn count(&mut self) -> Result<(), FaultCode> {
        self.left = self.left.checked_sub(1).ok_or(FaultCode::TooManyKeys)?;
        Ok(())
    }

    /// The object as JSON text, with types and defaults.
    pub(crate) fn finish(mut self) -> String {
        for (name, values) in &self.loose {
            self.object.list(name, values, Types::default());
        }
        let fields = self.plan.map(|plan| plan.fields.as_slice()).unwrap_or_default();
        for (at, field) in fields.iter().enumerate() {
            let list = self.lists.iter().find(|list| list.field == at);
            match (list, &field.default) {
                // One value of what may be a list or a single value is a single value, unless it
                // was said to be a list.
                (Some(List { values, bracketed: false, .. }), _)
                    if values.len() == 1 && field.types.has_scalar() =>
                {
                    for value in values {
                        self.object.scalar(&field.name, value, field.types);
                    }
                }
                (Some(list), _) => self.object.list(&field.name, &list.values, field.items),
                (None, Some(default)) if !self.given.contains(&at) => {
                    self.object.raw(&field.name, default);
                }
                (None, _) => {}
            }
        }
        self.object.finish()
    }
}

/// The elements of a list that came as one text: all, or one more than `most`, for which the
/// document is refused.
fn elements<'q>(value: &Cow<'q, str>, trims: bool, most: u32) -> Vec<Cow<'q, str>> {
    let most = usize::try_from(most).unwrap_or(usize::MAX).saturating_add(1);
    let trimmed = |part: &'q str| if trims { part.trim() } else { part };
    match value {
        Cow::Borrowed(text) => {
            text.split(',').take(most).map(|part| Cow::Borrowed(trimmed(part))).collect()
        }
        Cow::Owned(text) => {
            text.split(',').take(most).map(|part| Cow::Owned(part.to_owned())).collect()
        }
    }
}

/// Reads `text`, a query without its `?` or the text of a form, and hands the document that it
/// stands for to `run`. Returns that document as JSON text, too, as sanitizers have left it.
/// Offsets of faults are those of the pair in `text`.
pub(crate) fn read_pairs<T>(
    text: &str,
    limits: &Limits,
    plan: Option<&Plan>,
    declared: Option<&Schema>,
    run: impl FnOnce(&Document<'_>) -> T,
) -> Result<(String, T), Fault> {
    let mut form = Form::new(plan, text.len(), limits);
    let mut left = limits.max_nodes;
    for (at, pair) in pairs(text) {
        let fault =
            |code, pointer: Pointer| Fault { code, offset: Some(at), pointer: pointer.finish() };
        // The document would be refused anyway; this bounds what is kept until then.
        left =
            left.checked_sub(1).ok_or_else(|| fault(FaultCode::TooManyNodes, Pointer::root()))?;
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let malformed = || fault(FaultCode::MalformedForm, Pointer::root());
        let key = form_decoded(key).ok_or_else(malformed)?;
        if plan.is_some_and(|plan| plan.passes_over(&key)) {
            continue;
        }
        let value = form_decoded(value).ok_or_else(malformed)?;
        form.pair(&key, value).map_err(|code| fault(code, pointer_of(pair)))?;
    }
    let json = form.finish();
    let judged = limits.with_text(&json, declared, |document, changed| {
        (changed.then(|| write::document(document)), run(document))
    });
    match judged {
        Ok((anew, value)) => Ok((anew.unwrap_or(json), value)),
        Err(fault) => Err(Fault { offset: locate(text, &fault), ..fault }),
    }
}

/// The text of a form. The fault is that it is no UTF-8; that it begins with a byte order mark,
/// which some parsers take for a part of the first name and others drop; or that a control
/// character stands in it as it is, which no browser and no library writes.
pub(crate) fn form_text(bytes: &[u8]) -> Result<&str, Fault> {
    let fault = |code, at| Fault { code, offset: Some(at), pointer: Pointer::root().finish() };
    let text = std::str::from_utf8(bytes)
        .map_err(|error| fault(FaultCode::InvalidUnicode, error.valid_up_to()))?;
    if text.starts_with('\u{feff}') {
        return Err(fault(FaultCode::InvalidUnicode, 0));
    }
    match bytes.iter().position(u8::is_ascii_control) {
        Some(at) => Err(fault(FaultCode::MalformedForm, at)),
        None => Ok(text),
    }
}

/// The pairs of a query or form, with where they begin.
fn pairs(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut next = 0;
    text.split('&')
        .map(move |pair| {
            let at = next;
            next += pair.len() + 1;
            (at, pair)
        })
        .filter(|(_, pair)| !pair.is_empty())
}

/// `name` of `name[]`.
fn list_name(key: &str) -> Option<&str> {
    let name = key.strip_suffix("[]")?;
    (!name.is_empty() && !name.contains(['[', ']'])).then_some(name)
}

/// The pointer to the member that a pair becomes, or would become if there were one.
fn pointer_of(pair: &str) -> Pointer {
    let key = pair.split_once('=').map_or(pair, |(key, _)| key);
    let key = form_decoded(key).unwrap_or(Cow::Borrowed(key));
    let mut pointer = Pointer::root();
    pointer.key(list_name(&key).unwrap_or(&key));
    pointer
}

/// Where in the text a fault of the document is that it became.
#[cold]
fn locate(text: &str, fault: &Fault) -> Option<usize> {
    let member = fault.pointer.strip_prefix("#/")?;
    let (name, index) = member.split_once('/').unwrap_or((member, ""));
    let nth = match fault.code {
        FaultCode::DuplicateKey => 1,
        _ => index.parse().unwrap_or(0),
    };
    // The names of one list mostly are alike.
    let mut before = ("", pointer_of("").finish().strip_prefix("#/") == Some(name));
    let mut hits = pairs(text).filter(|(_, pair)| {
        let key = pair.split_once('=').map_or(*pair, |(key, _)| key);
        if key != before.0 {
            before = (key, pointer_of(pair).finish().strip_prefix("#/") == Some(name));
        }
        before.1
    });
    hits.nth(nth).map(|(at, _)| at)
}

/// Writes one JSON object.
pub(crate) struct Writer(String);

impl Writer {
    pub(crate) fn new(size: usize) -> Self {
        let mut text = String::with_capacity(size + 64);
        text.push('{');
        Self(text)
    }

    fn key(&mut self, key: &str) {
        if self.0.len() > 1 {
            self.0.push(',');
        }
        write::string(key, &mut self.0);
        self.0.push(':');
    }

    pub(crate) fn raw(&mut self, key: &str, json: &str) {
        self.key(key);
        self.0.push_str(json);
    }

    fn scalar(&mut self, key: &str, value: &str, types: Types) {
        self.key(key);
        self.value(value, types);
    }

    fn list(&mut self, key: &str, values: &[Cow<'_, str>], types: Types) {
        self.key(key);
        self.0.push('[');
        for (i, value) in values.iter().enumerate() {
            if i > 0 {
                self.0.push(',');
            }
            self.value(value, types);
        }
        self.0.push(']');
    }

    /// What may be a string is one. Otherwise a text that is a number or boolean by JSON's own
    /// grammar becomes one; any other text stays a string, for the schema to refuse.
    fn value(&mut self, value: &str, types: Types) {
        let is_value = !types.has(Types::STRING)
            && (types.has(Types::NUMBER) && is_number(value)
                || types.has(Types::BOOLEAN) && matches!(value, "true" | "false"));
        if is_value { self.0.push_str(value) } else { write::string(value, &mut self.0) }
    }

    pub(crate) fn finish(mut self) -> String {
        self.0.push('}');
        self.0
    }
}
