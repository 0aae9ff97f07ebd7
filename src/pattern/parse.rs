//! The grammar of ECMA-262, with the extensions of its Annex B that are unambiguous.

use super::letters::{dot, folded};
use super::syntax::{Flags, Node, PatternError, range};

/// The maximum nesting of groups.
const DEEPEST: u32 = 60;
/// The maximum number in a quantifier.
const MAX_REPEATED: u32 = 1_000_000;

pub(super) struct Parser {
    chars: Vec<char>,
    pub(super) at: usize,
    pub(super) flags: Flags,
    depth: u32,
    groups: u32,
    names: Vec<(String, u32)>,
    /// Groups that have certainly matched by now, on every path.
    certain: Vec<u32>,
}

pub(super) fn parse(source: &str, flags: Flags) -> Result<Node, PatternError> {
    let mut parser = Parser {
        chars: source.chars().collect(),
        at: 0,
        flags,
        depth: 0,
        groups: 0,
        names: Vec::new(),
        certain: Vec::new(),
    };
    let node = parser.choice()?;
    match parser.peek() {
        None => Ok(node),
        Some(_) => {
            Err(PatternError::new("has a `)` without its `(`", "write `\\)` for the character"))
        }
    }
}

impl Parser {
    pub(super) fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    pub(super) fn next(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.at += 1;
        Some(next)
    }

    pub(super) fn sees(&self, text: &str) -> bool {
        let rest = self.chars.get(self.at..).unwrap_or_default();
        text.chars().enumerate().all(|(i, c)| rest.get(i) == Some(&c))
    }

    /// Reads `text` if it comes next.
    pub(super) fn takes(&mut self, text: &str) -> bool {
        let sees = self.sees(text);
        if sees {
            self.at += text.chars().count();
        }
        sees
    }

    /// Some characters from `from` on, for an error.
    pub(super) fn shown(&self, from: usize, count: usize) -> String {
        self.chars
            .iter()
            .skip(from)
            .take(count)
            .map(|c| c.escape_debug().to_string())
            .collect::<String>()
            .replace("\\\\", "\\")
    }

    /// The text up to `end`, which is consumed as well.
    pub(super) fn until(&mut self, end: char) -> Option<String> {
        let rest = self.chars.get(self.at..)?;
        let length = rest.iter().position(|c| *c == end)?;
        let text = rest.iter().take(length).collect();
        self.at += length + 1;
        Some(text)
    }

    fn choice(&mut self) -> Result<Node, PatternError> {
        let before = self.certain.clone();
        let mut branches = vec![self.sequence()?];
        while self.takes("|") {
            self.certain.clone_from(&before);
            branches.push(self.sequence()?);
        }
        if branches.len() > 1 {
            self.certain = before;
            return Ok(Node::Choice(branches));
        }
        Ok(branches.pop().unwrap_or_else(|| Node::Sequence(Vec::new())))
    }

    fn sequence(&mut self) -> Result<Node, PatternError> {
        let mut parts = Vec::new();
        while !matches!(self.peek(), None | Some('|' | ')')) {
            let before = self.certain.clone();
            let from = self.at;
            let part = self.atom()?;
            parts.push(self.quantified(part, from, before)?);
        }
        Ok(Node::Sequence(parts))
    }

    fn atom(&mut self) -> Result<Node, PatternError> {
        let from = self.at;
        match self.next() {
            Some('^') => self.anchor(Node::Start),
            Some('$') => self.anchor(Node::End),
            Some('.') => Ok(Node::Set(dot(self.flags))),
            Some('(') => self.group(from),
            Some('[') => self.class(from).map(Node::Set),
            Some('\\') => self.escape(from),
            Some(c @ ('*' | '+' | '?')) => Err(PatternError::new(
                format!("has a `{c}` with nothing to repeat"),
                "write a backslash in front of it for the character",
            )),
            Some('{') => Err(PatternError::no_javascript(
                &self.shown(from, 8),
                "write `\\{` for the character, and `{0,2}` for up to two",
            )),
            Some(c) => Ok(Node::Set(folded(range(c, c), self.flags))),
            None => Ok(Node::Sequence(Vec::new())),
        }
    }

    /// `^` and `$` are the ends of the text. The flag `m` is refused, since the engine has other
    /// line ends than JavaScript.
    fn anchor(&self, node: Node) -> Result<Node, PatternError> {
        if self.flags.multiline {
            return Err(PatternError::new(
                "has `^` or `$` with the flag m, which is not supported",
                "leave the flag out, or write (?:^|[\\n\\r\\u2028\\u2029])",
            ));
        }
        Ok(node)
    }

    fn group(&mut self, from: usize) -> Result<Node, PatternError> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(PatternError::new("has groups that are nested too deeply", "nest less"));
        }
        let node = if self.takes("?") { self.special(from) } else { self.capture(None) };
        self.depth -= 1;
        node
    }

    fn capture(&mut self, name: Option<String>) -> Result<Node, PatternError> {
        self.groups += 1;
        let number = self.groups;
        let body = self.body()?;
        self.certain.push(number);
        if let Some(name) = name {
            self.names.push((name, number));
        }
        Ok(Node::Group(Some(number), Box::new(body)))
    }

    /// The content of a group, with its closing parenthesis.
    fn body(&mut self) -> Result<Node, PatternError> {
        let body = self.choice()?;
        if self.takes(")") {
            Ok(body)
        } else {
            Err(PatternError::new("has a `(` without its `)`", "close the group"))
        }
    }

    fn special(&mut self, from: usize) -> Result<Node, PatternError> {
        let ahead = if self.takes(":") {
            return Ok(Node::Group(None, Box::new(self.body()?)));
        } else if self.takes("=") {
            Some((false, false))
        } else if self.takes("!") {
            Some((false, true))
        } else if self.takes("<=") {
            Some((true, false))
        } else if self.takes("<!") {
            Some((true, true))
        } else {
            None
        };
        let Some((behind, negated)) = ahead else { return self.named(from) };
        let before = self.certain.clone();
        let body = Box::new(self.body()?);
        if negated || behind {
            self.certain = before;
        }
        Ok(Node::Look { behind, negated, body })
    }

    fn named(&mut self, from: usize) -> Result<Node, PatternError> {
        if self.takes("<") {
            let name = self.until('>').unwrap_or_default();
            let starts = |c: char| c.is_alphabetic() || c == '_' || c == '$';
            let is_name =
                name.starts_with(starts) && name.chars().all(|c| starts(c) || c.is_alphanumeric());
            let known = self.names.iter().any(|(known, _)| *known == name);
            if !is_name || known {
                let advice = "name every group once, by letters, digits, `_` and `$`";
                return Err(PatternError::no_javascript(&self.shown(from, 12), advice));
            }
            return self.capture(Some(name));
        }
        self.modified(from)
    }

    /// `(?i-s:...)`
    fn modified(&mut self, from: usize) -> Result<Node, PatternError> {
        let outside = self.flags;
        let (mut on, mut seen) = (true, String::new());
        loop {
            let flag = match self.next() {
                Some(':') if !seen.is_empty() => break,
                Some('-') if on => {
                    on = false;
                    continue;
                }
                Some(c @ ('i' | 'm' | 's')) if !seen.contains(c) => c,
                _ => {
                    let advice = "write a group as `(...)` or `(?:...)`, and leave the flags of other engines out";
                    return Err(PatternError::no_javascript(&self.shown(from, 4), advice));
                }
            };
            seen.push(flag);
            match flag {
                'i' => self.flags.ignore_case = on,
                'm' => self.flags.multiline = on,
                _ => self.flags.dot_all = on,
            }
        }
        let body = self.body()?;
        self.flags = outside;
        Ok(Node::Group(None, Box::new(body)))
    }

    fn quantified(
        &mut self,
        part: Node,
        from: usize,
        before: Vec<u32>,
    ) -> Result<Node, PatternError> {
        let Some((least, most)) = self.quantifier()? else { return Ok(part) };
        let lazy = self.takes("?");
        if matches!(self.peek(), Some('*' | '+' | '?')) || self.sees("{") {
            let advice = "leave the second quantifier out, or put what is repeated into (?:...)";
            let problem = format!(
                "has `{}`, which JavaScript does not know",
                self.shown(from, self.at + 1 - from)
            );
            return Err(PatternError::new(problem, advice));
        }
        if matches!(part, Node::Start | Node::End | Node::Boundary { .. } | Node::Look { .. }) {
            let problem = format!("repeats `{}`, which takes no text", self.shown(from, 8));
            return Err(PatternError::new(problem, "leave the quantifier out"));
        }
        if (least, most) != (1, Some(1)) {
            self.certain = before;
        }
        Ok(Node::Repeat { body: Box::new(part), least, most, lazy })
    }

    fn quantifier(&mut self) -> Result<Option<(u32, Option<u32>)>, PatternError> {
        let from = self.at;
        let bounds = match self.peek() {
            Some('*') => (0, None),
            Some('+') => (1, None),
            Some('?') => (0, Some(1)),
            Some('{') => {
                return self.counted().map(Some).ok_or_else(|| {
                    PatternError::no_javascript(
                        &self.shown(from, 8),
                        "write `\\{` for the character, and `{0,2}` for up to two",
                    )
                });
            }
            _ => return Ok(None),
        };
        self.at += 1;
        Ok(Some(bounds))
    }

    fn counted(&mut self) -> Option<(u32, Option<u32>)> {
        self.at += 1;
        let text = self.until('}')?;
        let number = |text: &str| -> Option<u32> {
            let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            let number = digits.then(|| text.parse().unwrap_or(u32::MAX))?;
            Some(number.min(MAX_REPEATED))
        };
        match text.split_once(',') {
            None => number(&text).map(|count| (count, Some(count))),
            Some((least, "")) => Some((number(least)?, None)),
            Some((least, most)) => {
                let (least, most) = (number(least)?, number(most)?);
                (least <= most).then_some((least, Some(most)))
            }
        }
    }

    /// The group of a backreference, which must have matched on every path. A group that has not
    /// matched accepts the empty text in JavaScript; in other engines the match fails.
    pub(super) fn back(&self, number: Option<u32>, from: usize) -> Result<Node, PatternError> {
        let known = number.filter(|number| self.certain.contains(number));
        match known {
            Some(number) if !self.flags.ignore_case => Ok(Node::Back(number)),
            _ => Err(PatternError::new(
                format!(
                    "has `{}`, which refers to a group that may be unset or is repeated",
                    self.shown(from, self.at - from)
                ),
                "refer only to a group that comes before and always takes part, such as (a|b)\\1, or write the choices out",
            )),
        }
    }

    pub(super) fn named_group(&self, name: &str) -> Option<u32> {
        self.names.iter().find(|(known, _)| known == name).map(|(_, number)| *number)
    }
}
