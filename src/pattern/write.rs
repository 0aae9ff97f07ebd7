//! Writes a pattern for the engines. Classes are written as ranges, so no named class and no flag
//! can have another meaning in an engine.

use std::fmt::Write as _;

use regex_syntax::hir::ClassUnicode;

use super::syntax::{Node, all_but};

struct Writer {
    out: String,
    /// The groups with backreferences, in order; `None` for the linear-time engine.
    captures: Option<Vec<u32>>,
}

pub(super) fn linear(node: &Node) -> String {
    let mut writer = Writer { out: String::new(), captures: None };
    writer.node(node);
    writer.out
}

pub(super) fn stepping(node: &Node) -> String {
    let mut captures = Vec::new();
    referred(node, &mut captures);
    captures.sort_unstable();
    captures.dedup();
    let mut writer = Writer { out: String::new(), captures: Some(captures) };
    writer.node(node);
    writer.out
}

fn referred(node: &Node, found: &mut Vec<u32>) {
    if let Node::Back(number) = node {
        found.push(*number);
    }
    node.parts().iter().for_each(|part| referred(part, found));
}

/// An ASCII word boundary by look-around, for the engine that supports it.
const BOUNDARY: &str = "(?:(?<=[0-9A-Z_a-z])(?![0-9A-Z_a-z])|(?<![0-9A-Z_a-z])(?=[0-9A-Z_a-z]))";
const NO_BOUNDARY: &str = "(?:(?<=[0-9A-Z_a-z])(?=[0-9A-Z_a-z])|(?<![0-9A-Z_a-z])(?![0-9A-Z_a-z]))";

impl Writer {
    fn node(&mut self, node: &Node) {
        match node {
            Node::Set(set) => self.set(set),
            Node::Start => self.out.push('^'),
            Node::End => self.out.push('$'),
            Node::Boundary { negated } => self.out.push_str(match (&self.captures, negated) {
                (None, false) => "(?-u:\\b)",
                (None, true) => "(?-u:\\B)",
                (Some(_), false) => BOUNDARY,
                (Some(_), true) => NO_BOUNDARY,
            }),
            Node::Group(number, body) => {
                let number = number.and_then(|number| self.number(number));
                self.within(if number.is_some() { "(" } else { "(?:" }, body);
            }
            Node::Back(number) => {
                let number = self.number(*number).unwrap_or_default();
                // Writing to a string can't fail.
                let _ = write!(self.out, "(?:\\{number})");
            }
            Node::Look { behind, negated, body } => self.within(
                match (behind, negated) {
                    (false, false) => "(?=",
                    (false, true) => "(?!",
                    (true, false) => "(?<=",
                    (true, true) => "(?<!",
                },
                body,
            ),
            Node::Sequence(parts) => parts.iter().for_each(|part| self.node(part)),
            Node::Choice(parts) => {
                for (i, part) in parts.iter().enumerate() {
                    if i > 0 {
                        self.out.push('|');
                    }
                    self.node(part);
                }
            }
            Node::Repeat { body, least, most, lazy } => {
                self.within("(?:", body);
                let _ = match (least, most) {
                    (0, None) => write!(self.out, "*"),
                    (1, None) => write!(self.out, "+"),
                    (0, Some(1)) => write!(self.out, "?"),
                    (least, None) => write!(self.out, "{{{least},}}"),
                    (least, Some(most)) if least == most => write!(self.out, "{{{least}}}"),
                    (least, Some(most)) => write!(self.out, "{{{least},{most}}}"),
                };
                if *lazy && *least != most.unwrap_or(u32::MAX) {
                    self.out.push('?');
                }
            }
        }
    }

    /// The number of a group among the groups that are written.
    fn number(&self, number: u32) -> Option<usize> {
        let captures = self.captures.as_ref()?;
        captures.iter().position(|known| *known == number).map(|at| at + 1)
    }

    fn within(&mut self, start: &str, body: &Node) {
        self.out.push_str(start);
        self.node(body);
        self.out.push(')');
    }

    fn set(&mut self, set: &ClassUnicode) {
        if let [one] = set.ranges()
            && one.start() == one.end()
        {
            self.character(one.start());
            return;
        }
        let others = all_but(set.clone());
        let (start, ranges) =
            if others.ranges().len() < set.ranges().len() || set.ranges().is_empty() {
                ("[^", others.ranges())
            } else {
                ("[", set.ranges())
            };
        self.out.push_str(if ranges.is_empty() { "[" } else { start });
        if ranges.is_empty() {
            self.out.push_str("\\x{0}-\\x{10FFFF}");
        }
        for range in ranges {
            self.character(range.start());
            if range.start() != range.end() {
                self.out.push('-');
                self.character(range.end());
            }
        }
        self.out.push(']');
    }

    fn character(&mut self, c: char) {
        if c.is_ascii_alphanumeric() {
            self.out.push(c);
        } else {
            let _ = write!(self.out, "\\x{{{:X}}}", c as u32);
        }
    }
}
