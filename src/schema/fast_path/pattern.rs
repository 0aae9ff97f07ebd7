//! The most common patterns, such as `^[a-zA-Z0-9_-]{3,20}$`: a sequence of classes of ASCII
//! characters, each with a repetition, from the first character to the last. They are matched byte
//! by byte; all others are left to the regex engine.

/// A pattern that needs no engine.
#[derive(Debug)]
pub(crate) struct Pattern {
    parts: Box<[Part]>,
}

/// Characters of one set, at least `least` and at most `most` of them.
#[derive(Debug)]
struct Part {
    /// Whether a byte is in the set. A lookup is faster than bits.
    has: Box<[bool; 256]>,
    least: usize,
    most: usize,
}

/// A set of ASCII characters, one bit each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Set(u128);

impl Set {
    fn of(bytes: impl Iterator<Item = u8>) -> Self {
        Self(bytes.filter(u8::is_ascii).fold(0, |bits, byte| bits | 1 << byte))
    }

    fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    fn table(self) -> Box<[bool; 256]> {
        let mut table = Box::new([false; 256]);
        for (byte, has) in table.iter_mut().take(128).enumerate() {
            *has = self.0 >> byte & 1 == 1;
        }
        table
    }
}

impl Pattern {
    /// Reads a regular expression of JavaScript; `None` if it is not of this form.
    pub(crate) fn read(pattern: &str) -> Option<Self> {
        let mut rest = pattern.strip_prefix('^')?.as_bytes();
        let mut parts = Vec::new();
        while rest != b"$" {
            let (set, behind) = atom(rest)?;
            let (least, most, behind) = quantifier(behind)?;
            parts.push(Part { has: set.table(), least, most });
            rest = behind;
        }
        Some(Self { parts: parts.into() })
    }

    /// Whether `text` matches if every part is greedy. `false` may be wrong, because a part may
    /// have to leave characters for the next one; `true` is always right.
    pub(crate) fn accepts(&self, text: &str) -> bool {
        let mut rest = text.as_bytes();
        for part in &self.parts {
            let has = |byte: &&u8| part.has.get(usize::from(**byte)) == Some(&true);
            let taken = rest.iter().take(part.most).take_while(has).count();
            if taken < part.least {
                return false;
            }
            rest = rest.get(taken..).unwrap_or_default();
        }
        rest.is_empty()
    }
}

/// One character or class, and the rest of the pattern.
fn atom(rest: &[u8]) -> Option<(Set, &[u8])> {
    match rest {
        [b'\\', escaped, behind @ ..] => Some((escape(*escaped)?, behind)),
        [b'[', behind @ ..] => class(behind),
        [byte, behind @ ..] if stands_for_itself(*byte) => Some((Set(1 << byte), behind)),
        _ => None,
    }
}

/// Whether no dialect of regular expressions gives the byte a special meaning.
fn stands_for_itself(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"_-@:,/ =!#%\"'<>;~".contains(&byte)
}

fn escape(byte: u8) -> Option<Set> {
    match byte {
        b'd' => Some(Set::of(b'0'..=b'9')),
        b'w' => Some(Set::of(
            (0..128).filter(|byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_'),
        )),
        _ if byte.is_ascii_punctuation() => Some(Set(1 << byte)),
        _ => None,
    }
}

/// A class, starting after its bracket. Negated classes and set operations are not supported.
fn class(mut rest: &[u8]) -> Option<(Set, &[u8])> {
    let mut set = Set::default();
    if rest.starts_with(b"^") || rest.starts_with(b"]") {
        return None;
    }
    loop {
        let (single, behind) = match rest {
            [b']', behind @ ..] => return Some((set, behind)),
            [b'\\', escaped, behind @ ..] => (escape(*escaped)?, behind),
            [a, b, ..] if a == b && b"&-~".contains(a) => return None,
            [byte, behind @ ..] if byte.is_ascii_graphic() && *byte != b'[' || *byte == b' ' => {
                (Set(1 << byte), behind)
            }
            _ => return None,
        };
        rest = behind;
        let one = single.0.is_power_of_two();
        let (Some(from), [b'-', to, behind @ ..]) = (one.then(|| first(single)), rest) else {
            set = set.with(single);
            continue;
        };
        if *to == b']' {
            set = set.with(single);
            continue;
        }
        // An escaped end of a range is too rare to support.
        if !to.is_ascii_alphanumeric() || *to < from {
            return None;
        }
        set = set.with(Set::of(from..=*to));
        rest = behind;
    }
}

fn first(set: Set) -> u8 {
    u8::try_from(set.0.trailing_zeros()).unwrap_or_default()
}

/// The bounds of the preceding atom, and the rest of the pattern.
fn quantifier(rest: &[u8]) -> Option<(usize, usize, &[u8])> {
    let (least, most, behind) = match rest {
        [b'+', behind @ ..] => (1, usize::MAX, behind),
        [b'*', behind @ ..] => (0, usize::MAX, behind),
        [b'?', behind @ ..] => (0, 1, behind),
        [b'{', behind @ ..] => counted(behind)?,
        _ => return Some((1, 1, rest)),
    };
    // Refuses a lazy, possessive or repeated quantifier.
    let is_plain = !matches!(behind, [b'+' | b'*' | b'?' | b'{', ..]);
    is_plain.then_some((least, most, behind))
}

fn counted(rest: &[u8]) -> Option<(usize, usize, &[u8])> {
    let end = rest.iter().position(|byte| *byte == b'}')?;
    let (inner, behind) = (rest.get(..end)?, rest.get(end + 1..)?);
    let inner = std::str::from_utf8(inner).ok()?;
    let number = |text: &str| -> Option<usize> {
        let is_short = (1..=4).contains(&text.len());
        (is_short && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok())?
    };
    let (least, most) = match inner.split_once(',') {
        None => (number(inner)?, number(inner)?),
        Some((least, "")) => (number(least)?, usize::MAX),
        Some((least, most)) => (number(least)?, number(most)?),
    };
    (least <= most).then_some((least, most, behind))
}
