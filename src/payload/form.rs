//! Builds one JSON object from names and values that arrive as text (queries, forms, route
//! parameters, headers). The object is then checked like any other.
//!
//! Forms and queries are flat: `application/x-www-form-urlencoded` as in the URL Standard, section
//! 5.1, read strictly. Parsers differ on everything beyond that (a name twice, `a[b]=`, `a[0]=`,
//! `a.b=`), and an attacker exploits a reading that one of them accepts. So there is one reading
//! here, and the rest is refused:
//!
//! - A repeated name is a list if the schema declares one, and a duplicate otherwise.
//! - `name[]` is the explicit form of the same list; both spellings of one name are a duplicate.
//! - `name[a]` is a member of an object, and `name[0]` an element of a list, where the schema
//!   declares
//!   that ([`super::tree`]).
//! - Other brackets are refused, unless the schema declares exactly that name.
//! - A list or object in one text (`x-text-style`) comes once, and without brackets.

use crate::net::percent::form_decoded;
use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::json::fault::{Fault, FaultCode, Pointer};
use crate::json::number::is_number;
use crate::json::tape::Document;
use crate::json::write;
use crate::json::{Limits, Operators};
use crate::payload::plan::{Field, Node, Plan, Style, Types};
use crate::payload::tree::{Spelling, Tree, brackets};
use crate::schema::Schema;

/// The members from which one JSON object is built.
pub(crate) struct Form<'s, 'q> {
    /// `None` without a schema.
    plan: Option<&'s Plan>,
    object: Writer,
    /// The values of declared lists, which may come in any order.
    lists: Vec<List<'q>>,
    /// The objects, and the lists with brackets.
    trees: Vec<(usize, Option<Tree<'q>>)>,
    /// The values of `name[]` without a schema. Sorted, not hashed, so an attacker can't choose
    /// collisions.
    loose: BTreeMap<String, Vec<Cow<'q, str>>>,
    /// The declared members that were given and have a default.
    given: Vec<usize>,
    /// The number of members that may still be added.
    left: u32,
    /// The maximum number of values.
    max_nodes: u32,
    limits: Limits,
    /// Whether white space around the elements of a list in one text is dropped, as in a header
    /// (RFC 9110 section 5.6.1).
    pub(crate) trims: bool,
}

struct List<'q> {
    field: usize,
    bracketed: bool,
    values: Vec<Cow<'q, str>>,
}

impl<'s, 'q> Form<'s, 'q> {
    /// An empty object. `limits` bounds its members and their values: a larger document would be
    /// refused anyway, and this bounds the work until then.
    pub(crate) fn new(plan: Option<&'s Plan>, size: usize, limits: &Limits) -> Self {
        Self {
            plan,
            left: limits.max_keys,
            max_nodes: limits.max_nodes,
            object: Writer::new(size),
            lists: Vec::new(),
            trees: Vec::new(),
            limits: *limits,
            loose: BTreeMap::new(),
            given: Vec::new(),
            trims: false,
        }
    }

    /// Adds a member whose name is literal: brackets have no meaning.
    pub(crate) fn member(&mut self, key: &str, value: Cow<'q, str>) -> Result<(), FaultCode> {
        self.add(key, false, value)
    }

    /// Adds a decoded name and value of a form or query. A fault is one of the name.
    pub(crate) fn pair(&mut self, key: &str, value: Cow<'q, str>) -> Result<(), FaultCode> {
        let declared = |key: &str| self.plan.and_then(|plan| plan.find(key));
        if !key.contains(['[', ']']) || declared(key).is_some() {
            return self.add(key, false, value);
        }
        if self.plan.is_none() {
            let Some(name) = list_name(key) else { return Err(FaultCode::BracketedKey) };
            if let Some(values) = self.loose.get_mut(name) {
                values.push(value);
                return Ok(());
            }
            self.count()?;
            self.loose.insert(name.to_owned(), vec![value]);
            return Ok(());
        }
        let (name, path) = brackets(key).ok_or(FaultCode::BracketedKey)?;
        match declared(name) {
            Some((at, field)) if field.has_brackets() => self.nested(at, field, &path, value),
            Some((_, field)) if path == [""] && field.is_list() && field.style == Style::Plain => {
                self.add(name, true, value)
            }
            _ => Err(FaultCode::BracketedKey),
        }
    }

    /// Adds a value below a field.
    fn nested(
        &mut self,
        at: usize,
        field: &Field,
        path: &[&str],
        value: Cow<'q, str>,
    ) -> Result<(), FaultCode> {
        self.count()?;
        let known = self.trees.iter().position(|(known, _)| *known == at);
        let known = known.unwrap_or_else(|| {
            self.trees.push((at, None));
            self.trees.len() - 1
        });
        match self.trees.get_mut(known) {
            Some((_, slot)) => Tree::insert(slot, Some(&field.inner), path, value),
            None => Ok(()),
        }
    }

    /// Adds an object or list that comes in one text. Returns the value if it comes otherwise.
    fn styled(
        &mut self,
        at: usize,
        field: &Field,
        value: Cow<'q, str>,
    ) -> Result<Option<Cow<'q, str>>, FaultCode> {
        let most = usize::try_from(self.max_nodes).unwrap_or(usize::MAX);
        let tree = if field.style == Style::Json {
            // Only a text that is one JSON value is written into the object.
            let limits = Limits { operators: Operators::Allow, ..self.limits };
            limits.with_text(&value, None, |_, _| ()).map_err(|fault| fault.code)?;
            Tree::Json(value)
        } else {
            match Tree::styled(field, &value, self.trims, most) {
                Some(tree) => tree?,
                None => return Ok(Some(value)),
            }
        };
        if self.trees.iter().any(|(known, _)| *known == at) {
            return Err(FaultCode::DuplicateKey);
        }
        self.count()?;
        self.trees.push((at, Some(tree)));
        Ok(None)
    }

    fn add(&mut self, key: &str, bracketed: bool, value: Cow<'q, str>) -> Result<(), FaultCode> {
        let Some((at, field)) = self.plan.and_then(|plan| plan.find(key)) else {
            let spread = self.plan.and_then(|plan| plan.spread(key));
            if let Some((at, field)) = spread {
                return self.nested(at, field, &[key], value);
            }
            self.count()?;
            // An undeclared member is a string; a closed schema refuses it. The parser refuses a
            // second one.
            self.object.scalar(key, &value, Types::default());
            return Ok(());
        };
        if field.has_brackets() {
            return self.nested(at, field, &[], value);
        }
        let Some(value) = self.styled(at, field, value)? else { return Ok(()) };
        if let Style::Split(separator) = field.style {
            if self.lists.iter().any(|list| list.field == at) {
                return Err(FaultCode::DuplicateKey);
            }
            let values = elements(&value, separator, self.trims, self.max_nodes);
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
            let tree = self.trees.iter().find(|(known, _)| *known == at);
            if let Some((_, Some(tree))) = tree {
                self.object.tree(&field.name, tree, &field.inner);
                continue;
            }
            let list = self.lists.iter().find(|list| list.field == at);
            match (list, &field.default) {
                // If the schema allows a list or a single value, one value is a single value,
                // unless it came with brackets.
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

/// The elements of a list in one text. At most `most + 1` are built, since the document is then
/// refused.
fn elements<'q>(
    value: &Cow<'q, str>,
    separator: char,
    trims: bool,
    most: u32,
) -> Vec<Cow<'q, str>> {
    let most = usize::try_from(most).unwrap_or(usize::MAX).saturating_add(1);
    let trimmed = |part: &'q str| if trims { part.trim() } else { part };
    match value {
        Cow::Borrowed(text) => {
            text.split(separator).take(most).map(|part| Cow::Borrowed(trimmed(part))).collect()
        }
        Cow::Owned(text) => {
            text.split(separator).take(most).map(|part| Cow::Owned(part.to_owned())).collect()
        }
    }
}

/// Reads `text`, a query without its `?` or the text of a form, and hands the resulting document to
/// `run`. Also returns the document as JSON text, after sanitizers. Offsets of faults are those of
/// the pair in `text`.
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
        // The document would be refused anyway; this bounds the memory until then.
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

/// The text of a form. It is a fault if the bytes are not UTF-8, if they begin with a byte order
/// mark (some parsers keep it in the first name and others drop it), or if they contain a raw
/// control character, which no browser and no library writes.
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

/// The pairs of a query or form, with their offsets.
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

/// The pointer to the member that a pair becomes, or would become if it were valid.
fn pointer_of(pair: &str) -> Pointer {
    let key = pair.split_once('=').map_or(pair, |(key, _)| key);
    let key = form_decoded(key).unwrap_or(Cow::Borrowed(key));
    let mut pointer = Pointer::root();
    pointer.key(list_name(&key).unwrap_or(&key));
    pointer
}

/// The offset in the text of a fault in the resulting document.
#[cold]
fn locate(text: &str, fault: &Fault) -> Option<usize> {
    let member = fault.pointer.strip_prefix("#/")?;
    let (name, index) = member.split_once('/').unwrap_or((member, ""));
    let nth = match fault.code {
        FaultCode::DuplicateKey => 1,
        _ => index.parse().unwrap_or(0),
    };
    // Neighbouring pairs mostly have the same name, so the last comparison is cached.
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

    fn tree(&mut self, key: &str, tree: &Tree<'_>, node: &Node) {
        self.key(key);
        self.node(tree, Some(node));
    }

    /// The depth is that of the brackets in a name.
    fn node(&mut self, tree: &Tree<'_>, node: Option<&Node>) {
        let types = node.map(|node| node.types).unwrap_or_default();
        match tree {
            Tree::Text(text) => self.value(text, types),
            Tree::Json(text) => self.0.push_str(text),
            Tree::List(Spelling::Repeated, items) if items.len() == 1 && types.has_scalar() => {
                if let Some(Some(Tree::Text(text))) = items.first() {
                    self.value(text, types);
                }
            }
            Tree::List(_, items) => {
                let element = node.and_then(|node| node.element.as_deref());
                self.0.push('[');
                for (i, item) in items.iter().flatten().enumerate() {
                    if i > 0 {
                        self.0.push(',');
                    }
                    self.node(item, element);
                }
                self.0.push(']');
            }
            Tree::Object(members) => {
                self.0.push('{');
                for (i, (name, member)) in members.iter().enumerate() {
                    let Some(member) = member else { continue };
                    if i > 0 {
                        self.0.push(',');
                    }
                    write::string(name, &mut self.0);
                    self.0.push(':');
                    self.node(member, node.and_then(|node| node.member(name)));
                }
                self.0.push('}');
            }
        }
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

    /// A value that may be a string stays a string. Otherwise a number or boolean by JSON's own
    /// grammar becomes one. Any other text stays a string, for the schema to refuse.
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
