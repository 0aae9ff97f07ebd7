//! What a pattern may cost. The engine in linear time goes through a text with all the places of
//! the pattern that it may be at, and remembers each set of places that it met. Where counts
//! overlap, as in `(?:[a-z]{1,63}\.?){1,127}`, a text leads to a new set of thousands of places
//! with every byte, and a few kilobytes take seconds.
//!
//! So all sets are gone through when the guard is built, over characters that the pattern tells
//! apart. A pattern with too many of them, or too large ones, is refused.

use std::collections::{BTreeSet, HashSet};

use regex_syntax::hir::ClassUnicode;

use super::syntax::{Node, PatternError};

/// The most places in all sets together. Each takes the engine some 0.1 microseconds, once.
const MAX_PLACES: usize = 200_000;
/// The most places of a pattern.
const LARGEST: usize = 40_000;
/// The most that is looked at before a pattern is taken for one that has too many.
const MAX_WORK: usize = 10_000_000;

enum State {
    /// One character of the set, then the next state.
    Set(usize, usize),
    Fork(Vec<usize>),
    /// Passable at the start of the text only.
    Start(usize),
    /// Passable at its end only, where no character comes any more.
    End,
    Match,
}

#[derive(Default)]
struct Places<'n> {
    states: Vec<State>,
    sets: Vec<&'n ClassUnicode>,
    /// The look-arounds, which are matched by themselves.
    inner: Vec<&'n Node>,
    /// Whether something in it looks at more than the next character: a match may then turn out
    /// to be none.
    unsure: bool,
}

pub(super) fn judge(node: &Node) -> Result<(), PatternError> {
    let mut open = vec![node];
    while let Some(node) = open.pop() {
        let mut places = Places::default();
        let end = places.add(State::Match).ok_or_else(PatternError::too_large)?;
        let entry = places.compile(node, end).ok_or_else(PatternError::too_large)?;
        if !places.are_few(entry) {
            return Err(PatternError::new(
                "is a pattern whose repetitions overlap in too many ways to be checked in time",
                "let a character end each part that is repeated, such as (?:[a-z]{1,63}\\.)*[a-z]{1,63}, anchor it by ^, repeat less, or bound the length by `maxLength`",
            ));
        }
        open.append(&mut places.inner);
    }
    Ok(())
}

impl<'n> Places<'n> {
    fn add(&mut self, state: State) -> Option<usize> {
        self.states.push(state);
        (self.states.len() <= LARGEST).then(|| self.states.len() - 1)
    }

    /// The states of a part in front of `next`, from the last to the first.
    fn compile(&mut self, node: &'n Node, next: usize) -> Option<usize> {
        match node {
            Node::Set(set) => {
                let known = self.sets.iter().position(|known| *known == set);
                let set = known.unwrap_or_else(|| {
                    self.sets.push(set);
                    self.sets.len() - 1
                });
                self.add(State::Set(set, next))
            }
            Node::Start => self.add(State::Start(next)),
            Node::End => self.add(State::End),
            Node::Boundary { .. } | Node::Back(_) => {
                self.unsure = true;
                Some(next)
            }
            Node::Look { body, .. } => {
                self.unsure = true;
                self.inner.push(body);
                Some(next)
            }
            Node::Group(_, body) => self.compile(body, next),
            Node::Sequence(parts) => {
                parts.iter().rev().try_fold(next, |next, part| self.compile(part, next))
            }
            Node::Choice(parts) => {
                let all = parts.iter().map(|part| self.compile(part, next));
                let all = all.collect::<Option<Vec<_>>>()?;
                self.add(State::Fork(all))
            }
            Node::Repeat { body, least, most, .. } => self.repeat(body, *least, *most, next),
        }
    }

    fn repeat(
        &mut self,
        body: &'n Node,
        least: u32,
        most: Option<u32>,
        next: usize,
    ) -> Option<usize> {
        let mut entry = next;
        if let Some(most) = most {
            for _ in least..most {
                let once = self.compile(body, entry)?;
                entry = self.add(State::Fork(vec![once, next]))?;
            }
        } else {
            let fork = self.add(State::Fork(Vec::new()))?;
            let once = self.compile(body, fork)?;
            *self.states.get_mut(fork)? = State::Fork(vec![once, next]);
            entry = fork;
        }
        for _ in 0..least {
            let before = self.states.len();
            entry = self.compile(body, entry)?;
            // What takes no text is the same however often it stands.
            if self.states.len() == before {
                break;
            }
        }
        Some(entry)
    }

    /// The places that are reached from `from` without a character, and whether the match ends.
    fn reach(&self, from: &[usize], at_start: bool) -> (Vec<usize>, bool) {
        let (mut seen, mut places, mut ends) = (HashSet::new(), Vec::new(), false);
        let mut open = from.to_vec();
        while let Some(at) = open.pop() {
            if !seen.insert(at) {
                continue;
            }
            match self.states.get(at) {
                Some(State::Set(..)) => places.push(at),
                Some(State::Fork(all)) => open.extend(all),
                Some(State::Start(next)) if at_start => open.push(*next),
                Some(State::Match) => ends = true,
                _ => {}
            }
        }
        places.sort_unstable();
        (places, ends && !self.unsure)
    }

    /// Which sets each kind of character is in, of those that the pattern tells apart.
    fn kinds(&self) -> HashSet<Vec<bool>> {
        let bounds = self
            .sets
            .iter()
            .flat_map(|set| set.ranges())
            .flat_map(|range| [Some(range.start()), char::from_u32(range.end() as u32 + 1)]);
        let has = |set: &ClassUnicode, c: char| {
            let after = set.ranges().partition_point(|range| range.end() < c);
            set.ranges().get(after).is_some_and(|range| range.start() <= c)
        };
        let all: BTreeSet<char> = bounds.flatten().chain(['\0']).collect();
        all.into_iter().map(|c| self.sets.iter().map(|set| has(set, c)).collect()).collect()
    }

    /// How many states the engine has for one place, since it reads bytes.
    fn bytes(&self) -> usize {
        let count = |set: &&ClassUnicode| {
            let beyond = |range: &&regex_syntax::hir::ClassUnicodeRange| !range.end().is_ascii();
            set.ranges().iter().filter(beyond).count()
        };
        1 + self.sets.iter().map(count).max().unwrap_or_default() / 8
    }

    fn are_few(&self, entry: usize) -> bool {
        let kinds = self.kinds();
        let most = MAX_PLACES / self.bytes();
        let (first, ends) = self.reach(&[entry], true);
        let (again, _) = self.reach(&[entry], false);
        let mut seen = HashSet::from([first.clone()]);
        let mut open = if ends { Vec::new() } else { vec![first] };
        let (mut places, mut work) = (0, 0);
        while let Some(from) = open.pop() {
            for kind in &kinds {
                work += from.len() + again.len() + 1;
                let next: Vec<usize> = from.iter().filter_map(|at| self.step(*at, kind)).collect();
                let (mut to, ends) = self.reach(&next, false);
                if ends {
                    continue;
                }
                to.extend(&again);
                to.sort_unstable();
                to.dedup();
                if !seen.contains(&to) {
                    places += to.len();
                    seen.insert(to.clone());
                    open.push(to);
                }
            }
            if places > most || work > MAX_WORK {
                return false;
            }
        }
        true
    }

    fn step(&self, at: usize, kind: &[bool]) -> Option<usize> {
        match self.states.get(at) {
            Some(State::Set(set, next)) => kind.get(*set)?.then_some(*next),
            _ => None,
        }
    }
}
