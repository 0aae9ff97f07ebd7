//! A quick yes without a tape. Where a schema names every member, the text can be read with the schema in hand: a key is
//! compared with the names that may stand there, which rules out every key that the parser would have to judge, and a bit
//! for each name that was seen rules out a second one.
//!
//! Like the acceptor it never says no: an escape, a member that is not declared, a value that the schema leaves open, and
//! whatever else is not plain, is left to the parser and to those behind it.

use super::{Acceptor, Elements, Member, Members, Others, Rules, Types};
use crate::payload::config::PayloadConfig;
use crate::payload::json::TapeNode;
use crate::payload::number::{self, Scanned};
use crate::payload::parser::{plain_until, space_until};

/// A chain of references is followed this far.
const HOPS: usize = 8;

impl Acceptor {
    /// Whether `bytes` are JSON that the parser takes with the limits of `config`, and that matches for certain.
    pub(crate) fn scans(&self, bytes: &[u8], config: &PayloadConfig) -> bool {
        let Ok(source) = std::str::from_utf8(bytes) else { return false };
        let mut scan = Scan {
            rules: &self.rules,
            source,
            bytes,
            at: 0,
            nodes_left: config.max_nodes(),
            max_depth: config.max_depth(),
            max_keys: config.max_keys(),
        };
        scan.skip_space();
        let accepted = scan.value(0, 0);
        scan.skip_space();
        accepted && scan.at == bytes.len()
    }
}

struct Scan<'a> {
    rules: &'a [Rules],
    source: &'a str,
    bytes: &'a [u8],
    at: usize,
    nodes_left: u32,
    max_depth: u32,
    max_keys: u32,
}

impl<'a> Scan<'a> {
    /// The value that starts here, in `depth` containers.
    fn value(&mut self, rules: u32, depth: u32) -> bool {
        let Some(rules) = self.followed(rules) else { return false };
        if rules.nothing || self.nodes_left == 0 {
            return false;
        }
        self.nodes_left -= 1;
        match self.peek() {
            Some(b'"') => self.string(rules),
            Some(b'{') => match &rules.object {
                Some(members) if rules.may_be(Types::OBJECT) && rules.more.is_none() => {
                    self.object(members, depth + 1)
                }
                _ => false,
            },
            Some(b'[') => match &rules.array {
                Some(elements) if rules.may_be(Types::ARRAY) && rules.more.is_none() => {
                    self.array(elements, depth + 1)
                }
                _ => false,
            },
            Some(b't') => self.literal(rules, b"true", Types::BOOLEAN),
            Some(b'f') => self.literal(rules, b"false", Types::BOOLEAN),
            Some(b'n') => self.literal(rules, b"null", Types::NULL),
            _ => self.number(rules),
        }
    }

    /// The rules behind a reference that stands alone.
    fn followed(&self, rules: u32) -> Option<&'a Rules> {
        let mut rules = self.rules.get(rules as usize)?;
        for _ in 0..HOPS {
            let Some(more) = &rules.more else { return Some(rules) };
            let [only] = more.all.as_slice() else { return Some(rules) };
            let is_alone = rules.types.is_none()
                && rules.text.is_none()
                && rules.number.is_none()
                && rules.object.is_none()
                && rules.array.is_none()
                && more.values.is_empty()
                && more.keywords.is_empty()
                && more.any.is_empty();
            if !is_alone {
                return Some(rules);
            }
            rules = self.rules.get(*only as usize)?;
        }
        None
    }

    #[inline]
    fn string(&mut self, rules: &Rules) -> bool {
        let start = self.at + 1;
        let end = plain_until(self.bytes, start);
        if self.bytes.get(end) != Some(&b'"') || !rules.may_be(Types::STRING) {
            return false;
        }
        self.at = end + 1;
        let Some(text) = self.source.get(start..end) else { return false };
        rules.text.as_deref().is_none_or(|rule| rule.accepts(text))
            && rules.more.as_deref().is_none_or(|more| {
                let is_one = |list: &Vec<serde_json::Value>| {
                    list.iter().any(|value| value.as_str() == Some(text))
                };
                more.all.is_empty()
                    && more.any.is_empty()
                    && more.values.iter().all(is_one)
                    && more.keywords.iter().all(|keyword| keyword.is_valid(TapeNode::Key(text)))
            })
    }

    fn number(&mut self, rules: &Rules) -> bool {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let Ok((scanned, len)) = number::scan(rest) else { return false };
        #[expect(clippy::cast_precision_loss, reason = "a whole number here is within 2^53")]
        let (value, is_int) = match scanned {
            Scanned::Int(value) => (value as f64, true),
            Scanned::Float(value) => (value, false),
            Scanned::Unsafe => return false,
        };
        // Whether a fraction is none is asked only where it matters.
        let is_one = rules.may_be(Types::NUMBER)
            || rules.may_be(Types::INTEGER) && (is_int || value.fract() == 0.0);
        let Some(text) = self.source.get(self.at..self.at + len) else { return false };
        self.at += len;
        is_one
            && rules.more.is_none()
            && rules.number.as_deref().is_none_or(|range| range.has(value, text))
    }

    fn literal(&mut self, rules: &Rules, word: &[u8], kind: u8) -> bool {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let accepted = rest.starts_with(word) && rules.may_be(kind) && rules.more.is_none();
        self.at += word.len();
        accepted
    }

    fn object(&mut self, members: &Members, depth: u32) -> bool {
        if depth > self.max_depth || !members.plain || !matches!(members.others, Others::Nothing) {
            return false;
        }
        self.at += 1;
        self.skip_space();
        let (mut seen, mut missing, mut count) = (0_u64, members.required, 0);
        let mut is_over = self.take(b'}');
        while !is_over {
            let rest = self.bytes.get(self.at..).unwrap_or_default();
            let Some((i, member)) = members.named_by(rest) else { return false };
            let bit = 1 << i;
            if seen & bit != 0 || count == self.max_keys {
                return false;
            }
            seen |= bit;
            missing &= !member.bit;
            count += 1;
            self.at += member.name.len() + 2;
            self.skip_space();
            if !self.take(b':') {
                return false;
            }
            self.skip_space();
            if !self.value(member.rules, depth) {
                return false;
            }
            let Some(ends) = self.ends(b'}') else { return false };
            is_over = ends;
        }
        missing == 0 && (members.least..=members.most).contains(&count)
    }

    fn array(&mut self, elements: &Elements, depth: u32) -> bool {
        if depth > self.max_depth || elements.unique {
            return false;
        }
        self.at += 1;
        self.skip_space();
        let mut first = elements.first.iter();
        let mut count = 0;
        let mut is_over = self.take(b']');
        while !is_over {
            let rules = match (first.next(), elements.others) {
                (Some(rules), _) => *rules,
                (None, Others::Rules(rules)) => rules,
                (None, Others::Any | Others::Nothing) => return false,
            };
            if !self.value(rules, depth) {
                return false;
            }
            count += 1;
            let Some(ends) = self.ends(b']') else { return false };
            is_over = ends;
        }
        (elements.least..=elements.most).contains(&count)
    }

    /// Whether a container ends behind a value, or goes on; `None` if neither.
    fn ends(&mut self, closer: u8) -> Option<bool> {
        self.skip_space();
        if self.take(closer) {
            return Some(true);
        }
        let goes_on = self.take(b',');
        self.skip_space();
        goes_on.then_some(false)
    }

    #[inline]
    fn take(&mut self, byte: u8) -> bool {
        let is_there = self.peek() == Some(byte);
        self.at += usize::from(is_there);
        is_there
    }

    #[inline]
    fn skip_space(&mut self) {
        self.at = space_until(self.bytes, self.at);
    }

    #[inline]
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }
}

impl Rules {
    fn may_be(&self, kinds: u8) -> bool {
        self.types.is_none_or(|types| types.0 & kinds != 0)
    }
}

impl Members {
    /// The member whose name, in quotes, the text begins with, and its place.
    fn named_by(&self, text: &[u8]) -> Option<(usize, &Member)> {
        let text = text.strip_prefix(b"\"")?;
        // Near the end of a body there are no eight bytes.
        let word = text.first_chunk::<8>().map(|chunk| u64::from_le_bytes(*chunk));
        self.known.iter().enumerate().find(|(_, member)| {
            let name = member.name.as_bytes();
            word.is_none_or(|word| word & member.mask == member.head)
                && text.get(name.len()) == Some(&b'"')
                && (word.is_some() && name.len() <= 8 || text.starts_with(name))
        })
    }
}
