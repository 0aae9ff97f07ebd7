//! A quick acceptance without a tape. If a schema names every member, the text can be checked
//! against the schema directly. Each key is compared with the declared names, which rules out every
//! key that the parser would have to check. A bit for each seen name rules out duplicates.
//!
//! Like the fast path it never rejects. An escape, an undeclared member, a value that the schema
//! leaves open, or any other unusual text is left to the parser and the checks after it.

use std::sync::atomic::Ordering::Relaxed;

use super::{Elements, FastPath, Member, Members, Others, Rules, Types};
use crate::json::Limits;
use crate::json::number;
use crate::json::number::Scanned;
use crate::json::parser::{plain_until, space_until};
use crate::json::tape_json::TapeNode;

/// The maximum length of a chain of references.
const HOPS: usize = 8;

impl FastPath {
    /// Whether `bytes` are JSON that the parser accepts within `limits` and that certainly matches.
    pub(crate) fn accepts_bytes(&self, bytes: &[u8], limits: &Limits) -> bool {
        let Ok(source) = std::str::from_utf8(bytes) else { return false };
        let mut scan = Scan {
            rules: &self.rules,
            source,
            bytes,
            nodes_left: limits.max_nodes,
            max_depth: limits.max_depth,
            max_keys: limits.max_keys,
        };
        let start = space_until(bytes, 0);
        scan.value(0, 0, start).is_some_and(|end| space_until(bytes, end) == bytes.len())
    }
}

/// The fixed state of a scan, and its budget. The position is passed from call to call and
/// returned, so that it stays in a register. `None` means that the scan gives up.
struct Scan<'a> {
    rules: &'a [Rules],
    source: &'a str,
    bytes: &'a [u8],
    nodes_left: u32,
    max_depth: u32,
    max_keys: u32,
}

impl<'a> Scan<'a> {
    /// Checks the value that starts at `at`, inside `depth` containers. Returns its end.
    fn value(&mut self, rules: u32, depth: u32, at: usize) -> Option<usize> {
        let rules = self.followed(rules)?;
        if rules.nothing || self.nodes_left == 0 {
            return None;
        }
        self.nodes_left -= 1;
        match self.bytes.get(at)? {
            b'"' => self.string(rules, at + 1),
            b'{' => match &rules.object {
                Some(members) if rules.may_be(Types::OBJECT) && rules.more.is_none() => {
                    self.object(members, depth + 1, at + 1)
                }
                _ => None,
            },
            b'[' => match &rules.array {
                Some(elements) if rules.may_be(Types::ARRAY) && rules.more.is_none() => {
                    self.array(elements, depth + 1, at + 1)
                }
                _ => None,
            },
            b't' => self.literal(rules, b"true", Types::BOOLEAN, at),
            b'f' => self.literal(rules, b"false", Types::BOOLEAN, at),
            b'n' => self.literal(rules, b"null", Types::NULL, at),
            _ => self.number(rules, at),
        }
    }

    /// The target of a reference that stands alone.
    #[inline]
    fn followed(&self, rules: u32) -> Option<&'a Rules> {
        let rules = self.rules.get(rules as usize)?;
        if rules.more.is_none() { Some(rules) } else { self.referred(rules) }
    }

    fn referred(&self, mut rules: &'a Rules) -> Option<&'a Rules> {
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

    /// A string, starting after its quote.
    #[inline]
    fn string(&self, rules: &Rules, start: usize) -> Option<usize> {
        let end = plain_until(self.bytes, start);
        if self.bytes.get(end) != Some(&b'"') || !rules.may_be(Types::STRING) {
            return None;
        }
        let text = self.source.get(start..end)?;
        let accepted = rules.text.as_deref().is_none_or(|rule| rule.accepts(text))
            && rules.more.as_deref().is_none_or(|more| {
                let is_one = |list: &Vec<serde_json::Value>| {
                    list.iter().any(|value| value.as_str() == Some(text))
                };
                more.all.is_empty()
                    && more.any.is_empty()
                    && more.values.iter().all(is_one)
                    && more.keywords.iter().all(|keyword| keyword.is_valid(TapeNode::Key(text)))
            });
        accepted.then_some(end + 1)
    }

    fn number(&self, rules: &Rules, at: usize) -> Option<usize> {
        let (scanned, len) = number::scan(self.bytes.get(at..)?).ok()?;
        #[expect(clippy::cast_precision_loss, reason = "a whole number here is within 2^53")]
        let (value, is_int) = match scanned {
            Scanned::Int(value) => (value as f64, true),
            Scanned::Float(value) => (value, false),
            Scanned::Unsafe => return None,
        };
        // The integer test of a float runs only if the type needs it.
        let is_one = rules.may_be(Types::NUMBER)
            || rules.may_be(Types::INTEGER) && (is_int || value.fract() == 0.0);
        let text = self.source.get(at..at + len)?;
        let accepted = is_one
            && rules.more.is_none()
            && rules.number.as_deref().is_none_or(|range| range.has(value, text));
        accepted.then_some(at + len)
    }

    fn literal(&self, rules: &Rules, word: &[u8], kind: u8, at: usize) -> Option<usize> {
        let accepted =
            self.bytes.get(at..)?.starts_with(word) && rules.may_be(kind) && rules.more.is_none();
        accepted.then_some(at + word.len())
    }

    /// An object, starting after its brace.
    fn object(&mut self, members: &Members, depth: u32, at: usize) -> Option<usize> {
        if depth > self.max_depth || !members.plain || !matches!(members.others, Others::Nothing) {
            return None;
        }
        let (mut at, mut goes_on) = self.inside(b'}', at);
        let (mut seen, mut missing, mut count) = (0_u64, members.required, 0);
        while goes_on {
            let (i, member) = members.named_by(self.bytes.get(at..)?, count)?;
            let bit = 1 << i;
            if seen & bit != 0 || count == self.max_keys {
                return None;
            }
            seen |= bit;
            missing &= !member.bit;
            count += 1;
            at = space_until(self.bytes, at + member.name.len() + 2);
            if self.bytes.get(at) != Some(&b':') {
                return None;
            }
            at = self.value(member.rules, depth, space_until(self.bytes, at + 1))?;
            (at, goes_on) = self.behind(b'}', at)?;
        }
        (missing == 0 && (members.least..=members.most).contains(&count)).then_some(at)
    }

    /// An array, starting after its bracket.
    fn array(&mut self, elements: &Elements, depth: u32, at: usize) -> Option<usize> {
        if depth > self.max_depth || elements.unique {
            return None;
        }
        let (mut at, mut goes_on) = self.inside(b']', at);
        let mut first = elements.first.iter();
        let mut count = 0;
        while goes_on {
            let rules = match (first.next(), elements.others) {
                (Some(rules), _) => *rules,
                (None, Others::Rules(rules)) => rules,
                (None, Others::Any | Others::Nothing) => return None,
            };
            at = self.value(rules, depth, at)?;
            count += 1;
            (at, goes_on) = self.behind(b']', at)?;
        }
        (elements.least..=elements.most).contains(&count).then_some(at)
    }

    /// At the start of a container: the position of its first value or its end, and whether it has
    /// a value.
    #[inline]
    fn inside(&self, closer: u8, at: usize) -> (usize, bool) {
        let at = space_until(self.bytes, at);
        if self.bytes.get(at) == Some(&closer) { (at + 1, false) } else { (at, true) }
    }

    /// After a value: the position of the next one or the container's end, and whether there is a
    /// next one.
    #[inline]
    fn behind(&self, closer: u8, at: usize) -> Option<(usize, bool)> {
        let at = space_until(self.bytes, at);
        match self.bytes.get(at)? {
            b',' => Some((space_until(self.bytes, at + 1), true)),
            byte if *byte == closer => Some((at + 1, false)),
            _ => None,
        }
    }
}

impl Rules {
    fn may_be(&self, kinds: u8) -> bool {
        self.types.is_none_or(|types| types.0 & kinds != 0)
    }
}

impl Members {
    /// The member whose quoted name is at the start of `text`, and its index in `known`. It is the
    /// object's `nth` member. Programs write the members of their objects in one order, so the
    /// member at that position last time is tried first.
    fn named_by(&self, text: &[u8], nth: u32) -> Option<(usize, &Member)> {
        let text = text.strip_prefix(b"\"")?;
        // Near the end of a body fewer than eight bytes are left.
        let word = text.first_chunk::<8>().map(|chunk| u64::from_le_bytes(*chunk));
        let is_named = |member: &Member| {
            let name = member.name.as_bytes();
            word.is_none_or(|word| word & member.mask == member.head)
                && text.get(name.len()) == Some(&b'"')
                && (word.is_some() && name.len() <= 8 || text.starts_with(name))
        };
        let last = self.order.get(nth as usize)?;
        let likely = usize::from(last.load(Relaxed));
        if let Some(member) = self.known.get(likely).filter(|member| is_named(member)) {
            return Some((likely, member));
        }
        let (place, member) = self.known.iter().enumerate().find(|(_, it)| is_named(it))?;
        last.store(u8::try_from(place).ok()?, Relaxed);
        Some((place, member))
    }
}
