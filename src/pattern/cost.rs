//! The cost of a pattern. The linear-time engine scans a text with the set of all positions in the
//! pattern at which the match may be, and caches each set. Where repetitions overlap, as in
//! `(?:[a-z]{1,63}\.?){1,127}`, every byte of a text leads to a new set of thousands of positions,
//! and a few kilobytes take seconds.
//!
//! So all sets are enumerated when the guard is built, over the classes of characters that the
//! pattern distinguishes. A pattern with too many sets, or too large ones, is refused.

use std::collections::{BTreeSet, HashSet};

use regex_syntax::hir::ClassUnicode;

use super::syntax::{Node, PatternError};

/// The maximum number of positions in all sets together. Each costs the engine about 0.1
/// microseconds, once.
const MAX_PLACES: usize = 200_000;
/// The maximum number of positions in a pattern.
const LARGEST: usize = 40_000;
/// The maximum work of the enumeration. A pattern that exceeds it is refused.
const MAX_WORK: usize = 10_000_000;

enum State {
    /// One character of the set, then the next state.
    Set(usize, usize),
    Fork(Vec<usize>),
    /// Passes at the start of the text only.
    Start(usize),
    /// Passes at its end only, so no character follows.
    End,
    Match,
}

#[derive(Default)]
struct Places<'n> {
    states: Vec<State>,
    sets: Vec<&'n ClassUnicode>,
    /// The bodies of look-arounds, which are matched separately.
    inner: Vec<&'n Node>,
    /// Whether a part depends on more than the next character: a match may then still fail.
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

    /// The states of a part before `next`, built from the last to the first.
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
            // A part without text has the same effect, however often it is repeated.
            if self.states.len() == before {
                break;
            }
        }
        Some(entry)
    }

    /// The positions that are reachable from `from` without a character, and whether the match
    /// ends.
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

    /// For each class of characters that the pattern distinguishes: the sets that contain it.
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

    /// The number of engine states for one position, since the engine reads bytes.
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
