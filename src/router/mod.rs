//! The operation of a request: its path is matched against the templates of the document (`OpenAPI`
//! 3.1.1 section 4.8.8.2).
//!
//! At each position from the left, a literal segment comes before a template; a template with text
//! around or between its parameters (`{id}:cancel`, `{from}-{to}`) comes between the two.
//! If a path has no operation for the method, less literal paths are tried. A request that fits two
//! templates of which neither is more literal is refused ([`Found::Crossing`]): the application's
//! own router may choose the other one, and the rules of a wrong operation would apply.
//!
//! Routers compare literal text in different ways: as sent (Express) or decoded, with or without
//! case. The applied rules must be those of the handler that runs:
//!
//! 1. The search compares decoded text without regard to ASCII case: it finds every operation that
//!    one of these routers may run.
//! 2. It refuses a request whose literal text has another encoding than the document's
//!    ([`Fit::No`]): Express treats it as another path.
//! 3. It refuses a request if some router may not match the first operation ([`Fit::Doubtful`]) and
//!    may match a second one. A slash at the end is such a doubt, since only strict routers
//!    distinguish it.
//! 4. It refuses a request if a segment can be split between its parameters in two ways
//!    ([`Fit::Split`]): `a-b-c` for `{from}-{to}`. Routers split it differently.

mod relation;
mod split;
mod template;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use crate::error::faults::{Faults, fault, shown};
use crate::net::percent::form_decoded;
use relation::{Relation, are_crossing, relation};
use split::{Split, split};
use template::Written;
pub(crate) use template::{Segment, Template};

/// The match between a sent segment and a written one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fit {
    /// It matches in every router.
    Exact,
    /// It matches in some routers: ASCII case or a slash at the end differs, or the value has a
    /// barred character.
    Doubtful(u8),
    /// It does not match as sent.
    No,
    /// It can be split between its parameters in two ways.
    Split,
}

/// The reasons of a doubt: case, or a slash at the end; a barred character.
const LETTERS: u8 = 1;
const BARRED: u8 = 2;

impl Fit {
    /// Whether a router may match here that does not match where these doubts are.
    fn escapes(self, doubts: u8) -> bool {
        match self {
            Self::Exact | Self::Split => true,
            Self::Doubtful(own) => doubts & !own != 0,
            Self::No => false,
        }
    }
}

impl Written {
    /// How a segment as sent matches; `decoded` is the same segment.
    fn fit(&self, raw: &str, decoded: &str) -> Fit {
        let exact = |same: bool| if same { Fit::Exact } else { Fit::Doubtful(LETTERS) };
        if self.barred.is_empty() {
            let text = self.texts.first().map(String::as_str).unwrap_or_default();
            let folded = raw.eq_ignore_ascii_case(text);
            return if folded { exact(raw == text) } else { Fit::No };
        }
        if split(decoded, &self.decoded) == Split::Several {
            return Fit::Split;
        }
        let values = match split(raw, &self.texts) {
            Split::Values(values) => values,
            Split::Several => return Fit::Split,
            Split::None => return Fit::No,
        };
        let has_barred = values.iter().zip(&self.barred).any(|(value, barred)| {
            value.contains(|c: char| barred.contains(c.to_ascii_lowercase()))
        });
        let same = self.is_as_written(raw, &values);
        match (same, has_barred) {
            (true, false) => Fit::Exact,
            (same, has_barred) => {
                Fit::Doubtful(if same { 0 } else { LETTERS } | if has_barred { BARRED } else { 0 })
            }
        }
    }

    /// Whether the text around these values has the case of the document.
    fn is_as_written(&self, raw: &str, values: &[&str]) -> bool {
        let mut rest = raw;
        let mut values = values.iter();
        self.texts.iter().all(|text| {
            let behind = rest.strip_prefix(text.as_str());
            let value = values.next().map_or(0, |value| value.len());
            rest = behind.and_then(|behind| behind.get(value..)).unwrap_or_default();
            behind.is_some()
        })
    }
}

/// The result of a search.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Found<'r, 's> {
    /// The operation, with the values of the parameters in the order of their names.
    Operation { operation: usize, names: &'r [String], values: Vec<&'s str> },
    /// An operation that is left out.
    LeftOut,
    /// Two operations fit the path, and neither is the more literal one.
    Crossing,
    /// The path exists, but only with these methods.
    OtherMethods(Vec<&'r str>),
    /// Nothing.
    Nothing,
    /// Two routers may choose different operations for the path.
    Unclear,
}

#[derive(Debug, Default)]
struct Node {
    literals: HashMap<String, usize>,
    /// Templates by the texts around their parameters. The longest text comes first.
    mixed: Vec<(Vec<String>, usize)>,
    any: Option<usize>,
    /// The numbers of the paths that end here.
    routes: Vec<usize>,
    /// The numbers of the paths that fit some of its requests, and are neither more nor less
    /// literal.
    crosses: Vec<usize>,
    leaf: Vec<Leaf>,
}

#[derive(Debug)]
struct Leaf {
    method: String,
    /// `None` for an operation that is left out.
    operation: Option<usize>,
    names: Vec<String>,
    /// The names and values that the query must have.
    query: Vec<(String, String)>,
    /// The path as written in the document.
    written: Vec<Written>,
    slash: bool,
}

/// The paths of a document as a tree of segments.
#[derive(Debug)]
pub(crate) struct Router {
    nodes: Vec<Node>,
}

/// A path with its operations, before it is added to a router.
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) template: Template,
    /// The pointer to the path.
    pub(crate) pointer: String,
    /// Upper-case methods with the numbers of their operations; `None` for an operation that is
    /// left
    /// out.
    pub(crate) operations: Vec<(String, Option<usize>)>,
}

impl Route {
    /// Its operations, as `METHOD /path`.
    pub(crate) fn names(&self) -> Vec<String> {
        let path = shown(&self.pointer);
        let path = path.strip_prefix("paths.").unwrap_or(&path);
        self.operations.iter().map(|(method, _)| format!("{method} {path}")).collect()
    }
}

impl Router {
    /// Builds the tree. Two paths that are equal and have the same method are a fault.
    pub(crate) fn build(routes: &[Route], faults: &Faults) -> Self {
        let mut known: HashMap<&[Segment], Vec<&Route>> = HashMap::new();
        for route in routes {
            let others = known.entry(&route.template.segments).or_default();
            refuse_double(route, others, faults);
            others.push(route);
        }
        let mut tree = Self { nodes: vec![Node::default()] };
        let mut ends = Vec::new();
        for (number, route) in routes.iter().enumerate() {
            ends.push(tree.insert(number, route));
        }
        for (number, route) in routes.iter().enumerate() {
            let mut others = Vec::new();
            tree.overlapping(0, &route.template.segments, &mut others);
            for other in others.into_iter().filter(|other| *other != number) {
                let crosses = routes.get(other).is_some_and(|it| are_crossing(route, it));
                let end = ends.get(number).and_then(|end| tree.nodes.get_mut(*end));
                if let Some(node) = end.filter(|node| crosses && !node.crosses.contains(&other)) {
                    node.crosses.push(other);
                }
            }
        }
        for node in &mut tree.nodes {
            let length = |texts: &[String]| texts.iter().map(String::len).sum::<usize>();
            node.mixed.sort_by_key(|(texts, _)| std::cmp::Reverse(length(texts)));
        }
        tree
    }

    /// Adds a path, and returns the number of the node where it ends.
    fn insert(&mut self, number: usize, route: &Route) -> usize {
        let mut at = 0;
        for segment in &route.template.segments {
            let next = self.nodes.len();
            let Some(node) = self.nodes.get_mut(at) else { return at };
            at = match segment {
                Segment::Literal(text) => *node.literals.entry(text.clone()).or_insert(next),
                Segment::Any => *node.any.get_or_insert(next),
                Segment::Mixed(texts) => {
                    let known = node.mixed.iter().find(|(known, _)| known == texts);
                    let known = known.map(|(_, at)| *at);
                    known.unwrap_or_else(|| {
                        node.mixed.push((texts.clone(), next));
                        next
                    })
                }
            };
            if at == next {
                self.nodes.push(Node::default());
            }
        }
        if let Some(node) = self.nodes.get_mut(at) {
            node.routes.push(number);
            node.leaf.extend(route.operations.iter().map(|(method, operation)| Leaf {
                method: method.clone(),
                operation: *operation,
                names: route.template.names.clone(),
                query: route.template.query.clone(),
                written: route.template.written.clone(),
                slash: route.template.slash,
            }));
            // The most specific comes first.
            // One that is left out hides no other.
            node.leaf.sort_by_key(|leaf| {
                (std::cmp::Reverse(leaf.query.len()), leaf.operation.is_none())
            });
        }
        at
    }

    /// The paths that match some request that these segments match, too.
    fn overlapping(&self, at: usize, segments: &[Segment], found: &mut Vec<usize>) {
        let Some(node) = self.nodes.get(at) else { return };
        let Some((segment, rest)) = segments.split_first() else {
            found.extend(&node.routes);
            return;
        };
        if let Segment::Literal(text) = segment {
            if let Some(next) = node.literals.get(text) {
                self.overlapping(*next, rest, found);
            }
        } else {
            for (text, next) in &node.literals {
                if relation(segment, &Segment::Literal(text.clone())) != Relation::Apart {
                    self.overlapping(*next, rest, found);
                }
            }
        }
        for (texts, next) in &node.mixed {
            if relation(segment, &Segment::Mixed(texts.clone())) != Relation::Apart {
                self.overlapping(*next, rest, found);
            }
        }
        if let Some(next) = node.any {
            self.overlapping(next, rest, found);
        }
    }

    /// The search result for a method and the segments of a path, decoded and as sent, with or
    /// without a slash at its end. `HEAD` means `GET` if the path has no `HEAD` of its own (RFC
    /// 9110 section 9.3.2).
    pub(crate) fn find<'r, 's>(
        &'r self,
        method: &str,
        segments: &[&'s str],
        raw: &[&str],
        slash: bool,
        query: &str,
    ) -> Found<'r, 's> {
        let mut search = Search {
            router: self,
            method,
            query,
            segments,
            raw,
            slash,
            values: Vec::new(),
            allowed: Vec::new(),
            first: None,
            unclear: false,
            crossing: false,
        };
        search.walk(0, segments);
        match search.first {
            _ if search.unclear => Found::Unclear,
            _ if search.crossing => Found::Crossing,
            Some(Taken { leaf, values, .. }) => match leaf.operation {
                Some(operation) => Found::Operation { operation, names: &leaf.names, values },
                None => Found::LeftOut,
            },
            None if search.allowed.is_empty() => Found::Nothing,
            None => {
                let mut allowed = search.allowed;
                allowed.sort_unstable();
                allowed.dedup();
                Found::OtherMethods(allowed)
            }
        }
    }
}

impl Router {
    /// Whether some path of the document starts with these segments.
    pub(crate) fn has_below(&self, segments: &[&str]) -> bool {
        self.is_below(0, segments)
    }

    fn is_below(&self, at: usize, segments: &[&str]) -> bool {
        let Some(node) = self.nodes.get(at) else { return false };
        let Some((&segment, rest)) = segments.split_first() else { return true };
        let literal = node.literals.get(&segment.to_ascii_lowercase());
        let mixed = node.mixed.iter().filter(|(texts, _)| split(segment, texts) != Split::None);
        let mixed = mixed.map(|(_, next)| next);
        literal.into_iter().chain(mixed).chain(&node.any).any(|next| self.is_below(*next, rest))
    }
}

struct Search<'r, 's, 'm> {
    router: &'r Router,
    method: &'m str,
    query: &'m str,
    segments: &'m [&'s str],
    raw: &'m [&'m str],
    slash: bool,
    values: Vec<&'s str>,
    allowed: Vec<&'r str>,
    first: Option<Taken<'r, 's>>,
    unclear: bool,
    crossing: bool,
}

/// The most literal operation that matches.
struct Taken<'r, 's> {
    leaf: &'r Leaf,
    values: Vec<&'s str>,
    /// The segments with [`Fit::Doubtful`]; the index after the last segment means the
    /// end. With the reasons of each.
    doubts: Vec<(usize, u8)>,
    /// The paths of which neither is the more literal one.
    crosses: &'r [usize],
}

impl<'r, 's> Search<'r, 's, '_> {
    /// Returns whether the search is over. Each node has one parent, so it is visited at most once.
    fn walk(&mut self, at: usize, segments: &[&'s str]) -> bool {
        let Some(node) = self.router.nodes.get(at) else { return false };
        let Some((&segment, rest)) = segments.split_first() else {
            return self.arrive(node);
        };
        let literal = if segment.bytes().any(|byte| byte.is_ascii_uppercase()) {
            node.literals.get(&segment.to_ascii_lowercase())
        } else {
            node.literals.get(segment)
        };
        if literal.is_some_and(|next| self.walk(*next, rest)) {
            return true;
        }
        let known = self.values.len();
        for (texts, next) in &node.mixed {
            match split(segment, texts) {
                Split::None => continue,
                Split::Values(values) => self.values.extend(values),
                // `arrive` refuses it.
                Split::Several => {}
            }
            if self.walk(*next, rest) {
                return true;
            }
            self.values.truncate(known);
        }
        let Some(next) = node.any else { return false };
        self.values.push(segment);
        if self.walk(next, rest) {
            return true;
        }
        self.values.truncate(known);
        false
    }

    /// Takes the operation of a matching path. If the first match is doubtful, it checks whether a
    /// router may run this one instead.
    fn arrive(&mut self, node: &'r Node) -> bool {
        let Some(leaf) = self.leaf(node) else { return false };
        let end = if leaf.slash == self.slash { Fit::Exact } else { Fit::Doubtful(LETTERS) };
        let sent = self.raw.iter().zip(self.segments);
        let fits = leaf.written.iter().zip(sent);
        let fits = fits.map(|(written, (raw, decoded))| written.fit(raw, decoded));
        let mut fits = fits.chain([end]).enumerate();
        if let Some(first) = &self.first {
            self.crossing |= node.routes.iter().any(|route| first.crosses.contains(route));
            let doubt = |at| first.doubts.iter().find(|(known, _)| *known == at);
            self.unclear =
                fits.any(|(at, fit)| doubt(at).is_some_and(|(_, doubts)| fit.escapes(*doubts)));
            return self.unclear || self.crossing;
        }
        let mut doubts = Vec::new();
        for (at, fit) in fits {
            match fit {
                Fit::Exact => {}
                Fit::Doubtful(why) => doubts.push((at, why)),
                Fit::No | Fit::Split => {
                    self.unclear = true;
                    return true;
                }
            }
        }
        let over = doubts.is_empty() && node.crosses.is_empty();
        let values = if over { std::mem::take(&mut self.values) } else { self.values.clone() };
        self.first = Some(Taken { leaf, values, doubts, crosses: &node.crosses });
        over
    }

    fn leaf(&mut self, node: &'r Node) -> Option<&'r Leaf> {
        let of = |method: &str| {
            node.leaf.iter().find(|leaf| leaf.method == method && has_query(self.query, leaf))
        };
        let get = || if self.method == "HEAD" { of("GET") } else { None };
        let found = of(self.method).or_else(get);
        if found.is_none() {
            // A leaf of this method has another query.
            let others = |leaf: &&Leaf| {
                leaf.method != self.method && !(self.method == "HEAD" && leaf.method == "GET")
            };
            for leaf in node.leaf.iter().filter(others) {
                self.allowed.push(&leaf.method);
                if leaf.method == "GET" {
                    self.allowed.push("HEAD");
                }
            }
        }
        found
    }
}

/// Whether a query has each pair of an operation once, and no other value of these names.
fn has_query(query: &str, leaf: &Leaf) -> bool {
    leaf.query.iter().all(|(name, value)| {
        let mut values = query.split('&').filter_map(|pair| {
            let (own, value) = pair.split_once('=').unwrap_or((pair, ""));
            (form_decoded(own).as_deref() == Some(name)).then(|| form_decoded(value))
        });
        let first = values.next().flatten();
        first.as_deref() == Some(value) && values.next().is_none()
    })
}

/// Refuses a path that is equal to another one, unless only names of parameters and methods differ.
fn refuse_double(route: &Route, others: &[&Route], faults: &Faults) {
    for other in others {
        if route.template.query != other.template.query {
            continue;
        }
        let live = |route: &Route| {
            let live = route.operations.iter().filter(|(_, number)| number.is_some());
            live.map(|(method, _)| method.clone()).collect::<Vec<String>>()
        };
        let (own, others) = (live(route), live(other));
        let (a, b) = (&route.template, &other.template);
        let clashes = if a.written == b.written && a.slash == b.slash {
            own.iter().any(|method| others.contains(method))
        } else {
            // A strict router separates them, also for the `HEAD` of a `GET`.
            !own.is_empty() && !others.is_empty()
        };
        if !clashes {
            continue;
        }
        let problem = format!(
            "is the same path as `{}`, since names of parameters, ASCII case and a trailing slash make no difference",
            shown(&other.pointer)
        );
        let advice = "leave one of them out, with `skip` if need be";
        faults.add_in(fault(&route.pointer, problem).suggest(advice), route.names());
    }
}
