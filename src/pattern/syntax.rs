//! The parts of a pattern.

use regex_syntax::hir::{ClassUnicode, ClassUnicodeRange};

/// The reason why a pattern is refused, and the advice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PatternError {
    pub(crate) problem: String,
    pub(crate) advice: &'static str,
    /// Whether the only fault is that the pattern needs the backtracking engine.
    pub(crate) steps_back: bool,
}

impl PatternError {
    pub(super) fn new(problem: impl Into<String>, advice: &'static str) -> Self {
        Self { problem: problem.into(), advice, steps_back: false }
    }

    /// A syntax error: `text` is not in the grammar.
    pub(super) fn no_javascript(text: &str, advice: &'static str) -> Self {
        Self::new(format!("has `{text}`, which is no JavaScript"), advice)
    }

    pub(super) fn steps_back() -> Self {
        let advice = "write it without look-around and backreferences";
        let problem = "is a pattern that can't be checked in linear time";
        Self { steps_back: true, ..Self::new(problem, advice) }
    }

    pub(super) fn too_large() -> Self {
        Self::new(
            "is a pattern that is too large",
            "repeat less, and bound the length by `maxLength`",
        )
    }
}

/// The flags with which a pattern is read.
#[derive(Debug, Clone, Copy, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own in JavaScript")]
pub(crate) struct Flags {
    pub(crate) ignore_case: bool,
    pub(crate) dot_all: bool,
    pub(crate) multiline: bool,
    /// `u`, or `v`.
    pub(crate) unicode: bool,
    /// `v`.
    pub(crate) sets: bool,
}

impl Flags {
    pub(crate) fn of_schemas() -> Self {
        Self { unicode: true, ..Self::default() }
    }

    /// The flags of a `RegExp`; `d` does not affect whether a text matches.
    pub(crate) fn of(flags: &str) -> Self {
        let has = |flag| flags.contains(flag);
        Self {
            ignore_case: has('i'),
            dot_all: has('s'),
            multiline: has('m'),
            unicode: has('u') || has('v'),
            sets: has('v'),
        }
    }
}

/// A part of a pattern. The flag `i` is already applied to the sets.
#[derive(Debug)]
pub(super) enum Node {
    /// One character of a set.
    Set(ClassUnicode),
    Start,
    End,
    /// `\b`, or `\B` if negated.
    Boundary {
        negated: bool,
    },
    /// A group, with its number if it captures.
    Group(Option<u32>, Box<Node>),
    Back(u32),
    Look {
        behind: bool,
        negated: bool,
        body: Box<Node>,
    },
    Sequence(Vec<Node>),
    Choice(Vec<Node>),
    Repeat {
        body: Box<Node>,
        least: u32,
        most: Option<u32>,
        lazy: bool,
    },
}

impl Node {
    /// The direct parts of this part.
    pub(super) fn parts(&self) -> &[Self] {
        match self {
            Self::Group(_, body) | Self::Look { body, .. } | Self::Repeat { body, .. } => {
                std::slice::from_ref(body)
            }
            Self::Sequence(parts) | Self::Choice(parts) => parts,
            _ => &[],
        }
    }

    /// Whether `is_one` holds for this part or a part inside it.
    pub(super) fn any(&self, is_one: &dyn Fn(&Self) -> bool) -> bool {
        is_one(self) || self.parts().iter().any(|part| part.any(is_one))
    }
}

/// The set of the characters from one to another.
pub(super) fn range(from: char, to: char) -> ClassUnicode {
    ClassUnicode::new([ClassUnicodeRange::new(from, to)])
}

/// The set of these ranges.
pub(super) fn ranges(all: &[(char, char)]) -> ClassUnicode {
    ClassUnicode::new(all.iter().map(|(from, to)| ClassUnicodeRange::new(*from, *to)))
}

/// All characters but those of `set`.
pub(super) fn all_but(mut set: ClassUnicode) -> ClassUnicode {
    set.negate();
    set
}
