//! Regular expressions of JavaScript, read in one place for all users: schemas, `payload.formats`,
//! `OpenAPI`, keys of `patternProperties` and schemas of other libraries.
//!
//! A pattern is parsed by the grammar of ECMA-262, checked, and written again for the engine, so
//! that the engine's own dialect never changes a meaning. Syntax that is not JavaScript, or that
//! has another meaning here, is refused by name when the guard is built.

pub(crate) mod backtrack;
mod classes;
mod cost;
mod letters;
mod nested;
mod parse;
mod syntax;
#[cfg(test)]
mod tests;
mod write;

use jsonschema::PatternOptions;

use syntax::Node;
pub(crate) use syntax::{Flags, PatternError};

/// The maximum bytes of a compiled pattern, and of the engine's cache of states.
const COMPILED: usize = 10 << 20;
const REMEMBERED: usize = 16 << 20;

/// A parsed pattern.
pub(crate) struct Pattern(Node);

impl Pattern {
    /// Reads a pattern of a schema: with the flag `u`.
    pub(crate) fn read(source: &str) -> Result<Self, PatternError> {
        Self::read_with(source, Flags::of_schemas())
    }

    pub(crate) fn read_with(source: &str, flags: Flags) -> Result<Self, PatternError> {
        parse::parse(source, flags).map(Self)
    }

    /// Whether it has look-around or backreferences, which take more than linear time.
    pub(crate) fn steps_back(&self) -> bool {
        self.0.any(&|node| matches!(node, Node::Look { .. } | Node::Back(_)))
    }

    /// The pattern for the linear-time engine.
    pub(crate) fn linear(&self) -> Result<String, PatternError> {
        if self.steps_back() {
            return Err(PatternError::steps_back());
        }
        cost::judge(&self.0)?;
        Ok(write::linear(&self.0))
    }

    /// The pattern for the backtracking engine.
    pub(crate) fn stepping(&self) -> Result<String, PatternError> {
        nested::judge(&self.0)?;
        cost::judge(&self.0)?;
        Ok(write::stepping(&self.0))
    }
}

/// A pattern that is matched in linear time.
#[derive(Debug, Clone)]
pub(crate) struct Matcher(regex::Regex);

impl Matcher {
    pub(crate) fn new(source: &str) -> Result<Self, PatternError> {
        Self::of(&Pattern::read(source)?)
    }

    pub(crate) fn of(pattern: &Pattern) -> Result<Self, PatternError> {
        let compiled = regex::RegexBuilder::new(&pattern.linear()?)
            .size_limit(COMPILED)
            .dfa_size_limit(REMEMBERED)
            .build();
        compiled.map(Self).map_err(|_| PatternError::too_large())
    }

    pub(crate) fn is_match(&self, text: &str) -> bool {
        self.0.is_match(text)
    }
}

/// The engine for the patterns that the crate compiles itself: keys of `patternProperties`.
pub(crate) fn options() -> PatternOptions<jsonschema::Regex> {
    PatternOptions::regex().size_limit(COMPILED).dfa_size_limit(REMEMBERED)
}

/// The backtracking engine, with at most `steps` steps back.
pub(crate) fn stepping(source: &str, steps: usize) -> Result<fancy_regex::Regex, PatternError> {
    fancy_regex::RegexBuilder::new(source)
        .backtrack_limit(steps)
        .delegate_size_limit(COMPILED)
        .delegate_dfa_size_limit(REMEMBERED)
        .build()
        .map_err(|_| PatternError::too_large())
}
