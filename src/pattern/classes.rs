//! Escapes and classes.

use regex_syntax::hir::ClassUnicode;

use super::letters::{digits, folded, property, space, word};
use super::parse::Parser;
use super::syntax::{Node, PatternError, all_but, range};

/// One character, or a named set such as `\d`.
enum Item {
    One(char),
    Many(ClassUnicode),
}

impl Item {
    fn set(self) -> ClassUnicode {
        match self {
            Self::One(c) => range(c, c),
            Self::Many(set) => set,
        }
    }
}

impl Parser {
    /// The escape at `from`, after its backslash and outside of classes.
    pub(super) fn escape(&mut self, from: usize) -> Result<Node, PatternError> {
        match self.peek() {
            Some(c @ ('b' | 'B')) => {
                self.at += 1;
                if self.flags.ignore_case && self.flags.unicode {
                    let problem = "has `\\b` with the flags i and u, which is not supported";
                    return Err(PatternError::new(problem, "leave the flag u out"));
                }
                Ok(Node::Boundary { negated: c == 'B' })
            }
            Some('1'..='9') => {
                let mut number = 0_u32;
                while let Some(digit) = self.peek().and_then(|c| c.to_digit(10)) {
                    number = number.saturating_mul(10).saturating_add(digit);
                    self.at += 1;
                }
                self.back(Some(number), from)
            }
            Some('k') => {
                self.at += 1;
                if !self.takes("<") {
                    return Err(PatternError::no_javascript("\\k", "write `\\k<name>`"));
                }
                let number = self.until('>').and_then(|name| self.named_group(&name));
                self.back(number, from)
            }
            _ => {
                let set = self.escaped(from)?.set();
                Ok(Node::Set(folded(set, self.flags)))
            }
        }
    }

    /// The characters of an escape that has the same meaning inside and outside a class.
    fn escaped(&mut self, from: usize) -> Result<Item, PatternError> {
        let Some(c) = self.next() else {
            return Err(PatternError::new(
                "ends with a backslash",
                "write `\\\\` for the character",
            ));
        };
        Ok(match c {
            'd' => Item::Many(digits()),
            'D' => Item::Many(all_but(digits())),
            'w' => Item::Many(word(self.flags)),
            'W' => Item::Many(all_but(word(self.flags))),
            's' => Item::Many(space()),
            'S' => Item::Many(all_but(space())),
            'p' | 'P' => Item::Many(self.property(c == 'P', from)?),
            't' => Item::One('\t'),
            'n' => Item::One('\n'),
            'v' => Item::One('\u{b}'),
            'f' => Item::One('\u{c}'),
            'r' => Item::One('\r'),
            '0' if !self.peek().is_some_and(|c| c.is_ascii_digit()) => Item::One('\0'),
            'c' => match self.next() {
                Some(letter) if letter.is_ascii_alphabetic() => {
                    Item::One(char::from(letter as u8 % 32))
                }
                _ => {
                    return Err(PatternError::no_javascript(
                        &self.shown(from, 3),
                        "write `\\cA` to `\\cZ`",
                    ));
                }
            },
            'x' => Item::One(self.hex(2).and_then(char::from_u32).ok_or_else(|| {
                PatternError::no_javascript(&self.shown(from, 6), "write `\\x41` or `\\u{41}`")
            })?),
            'u' => Item::One(self.unicode(from)?),
            // Also `\<`, which other engines read as the start of a word.
            _ if c.is_ascii() && !c.is_ascii_alphanumeric() && !c.is_ascii_control() => {
                Item::One(c)
            }
            _ => {
                let advice = "write the ends of the text as `^` and `$`, and characters as themselves or as `\\u0041`";
                return Err(PatternError::no_javascript(&self.shown(from, 2), advice));
            }
        })
    }

    fn hex(&mut self, digits: usize) -> Option<u32> {
        let mut number = 0;
        for _ in 0..digits {
            number = number * 16 + self.next()?.to_digit(16)?;
        }
        Some(number)
    }

    /// `\u0041`, `\ud83d\ude00` and, with the flag `u`, `\u{41}`.
    fn unicode(&mut self, from: usize) -> Result<char, PatternError> {
        let wrong = "write four digits, `\\u0041`, or with the flag u `\\u{1f600}`; half a surrogate pair is in no text";
        let code = if self.takes("{") {
            let digits = self.until('}').filter(|_| self.flags.unicode);
            let is_hex = |text: &String| text.bytes().all(|byte| byte.is_ascii_hexdigit());
            digits.filter(is_hex).and_then(|text| u32::from_str_radix(&text, 16).ok())
        } else {
            self.hex(4).map(|high| {
                let behind = self.at;
                if (0xd800..0xdc00).contains(&high) && self.takes("\\u") {
                    match self.hex(4) {
                        Some(low @ 0xdc00..0xe000) => {
                            return 0x1_0000 + ((high - 0xd800) << 10) + (low - 0xdc00);
                        }
                        _ => self.at = behind,
                    }
                }
                high
            })
        };
        code.and_then(char::from_u32)
            .ok_or_else(|| PatternError::no_javascript(&self.shown(from, 8), wrong))
    }

    /// `\p{name}`; `negated` for `\P{name}`.
    fn property(&mut self, negated: bool, from: usize) -> Result<ClassUnicode, PatternError> {
        if !self.flags.unicode {
            let problem = format!("has `{}` without the flag u", self.shown(from, 2));
            return Err(PatternError::new(problem, "add the flag u"));
        }
        if negated && self.flags.sets && self.flags.ignore_case {
            let problem = "has `\\P` with the flags i and v, which is not supported";
            return Err(PatternError::new(problem, "write the flag u"));
        }
        let name = if self.takes("{") { self.until('}') } else { None };
        let set = name.as_deref().and_then(property).ok_or_else(|| {
            let count = (self.at - from).min(40);
            let advice = "write `\\p{Letter}` or `\\p{Script=Greek}`, spelled as in JavaScript";
            PatternError::no_javascript(&self.shown(from, count), advice)
        })?;
        Ok(if negated { all_but(set) } else { set })
    }

    /// A class that starts at `from`, read from after its bracket.
    pub(super) fn class(&mut self, from: usize) -> Result<ClassUnicode, PatternError> {
        let negated = self.takes("^");
        let mut set = ClassUnicode::empty();
        loop {
            if self.takes("]") {
                break;
            }
            let item = self.item(from)?;
            self.refuse_operation(from)?;
            let hyphen = self.at;
            if !self.sees("-]") && self.takes("-") {
                match (item, self.item(from)?) {
                    (Item::One(low), Item::One(high)) if low <= high => {
                        set.union(&range(low, high));
                    }
                    (Item::One(low), Item::One(high)) => {
                        let problem = format!("has the range `{low}-{high}`, which runs backwards");
                        return Err(PatternError::new(problem, "write the lower end first"));
                    }
                    // `[\w-.]`: not a range, so all three are literal.
                    (low, high) => {
                        set.union(&low.set());
                        set.union(&high.set());
                        set.union(&range('-', '-'));
                    }
                }
            } else {
                self.at = hyphen;
                set.union(&item.set());
            }
        }
        let set = folded(set, self.flags);
        Ok(if negated { all_but(set) } else { set })
    }

    fn item(&mut self, class: usize) -> Result<Item, PatternError> {
        let from = self.at;
        self.refuse_operation(class)?;
        for mark in [":", ".", "="] {
            if self.sees(&format!("[{mark}")) && self.is_posix(mark) {
                let advice = "write `[a-zA-Z]` or `\\p{Alphabetic}`";
                return Err(PatternError::no_javascript(&self.shown(from, 10), advice));
            }
        }
        match self.next() {
            None => Err(PatternError::new("has a `[` without its `]`", "close the class")),
            Some('\\') if self.takes("b") => Ok(Item::One('\u{8}')),
            Some('\\') => self.escaped(from),
            Some(c) => Ok(Item::One(c)),
        }
    }

    /// Refuses nested classes and set operations, which the flag `v` adds.
    fn refuse_operation(&self, class: usize) -> Result<(), PatternError> {
        if self.flags.sets && ["--", "&&", "["].iter().any(|operation| self.sees(operation)) {
            let shown = self.shown(class, 12);
            let problem = format!("has a set operation in `{shown}`, which is not supported");
            return Err(PatternError::new(problem, "write the characters out, with the flag u"));
        }
        Ok(())
    }

    /// Whether a POSIX class such as `[:alpha:]` comes next.
    fn is_posix(&mut self, mark: &str) -> bool {
        let from = self.at;
        self.at += 2;
        let name = self.until(']').unwrap_or_default();
        self.at = from;
        name.strip_suffix(mark).is_some_and(|name| name.bytes().all(|b| b.is_ascii_lowercase()))
    }
}
