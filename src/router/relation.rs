//! Which of two templates is the more literal one.

use super::Route;
use super::template::Segment;

/// The relation between two segments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Relation {
    /// No text matches both.
    Apart,
    Same,
    /// Every text that matches the first matches the second.
    First,
    Second,
    /// Some texts match both, and each also matches others.
    Cross,
}

/// A part of a segment: a character, or a parameter, which is one character or more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    Char(char),
    Value,
}

/// How two segments relate.
pub(super) fn relation(first: &Segment, second: &Segment) -> Relation {
    use Segment::{Any, Literal};
    match (first, second) {
        (Any, Any) => Relation::Same,
        (_, Any) => Relation::First,
        (Any, _) => Relation::Second,
        (Literal(a), Literal(b)) if a == b => Relation::Same,
        (Literal(_), Literal(_)) => Relation::Apart,
        _ => {
            let (a, b) = (tokens(first), tokens(second));
            match (is_within(&a, &b), is_within(&b, &a)) {
                (true, true) => Relation::Same,
                (true, false) => Relation::First,
                (false, true) => Relation::Second,
                _ if have_common(&a, &b) => Relation::Cross,
                _ => Relation::Apart,
            }
        }
    }
}

fn tokens(segment: &Segment) -> Vec<Token> {
    let mut tokens = Vec::new();
    match segment {
        Segment::Any => tokens.push(Token::Value),
        Segment::Literal(text) => tokens.extend(text.chars().map(Token::Char)),
        Segment::Mixed(texts) => {
            for (i, text) in texts.iter().enumerate() {
                if i > 0 {
                    tokens.push(Token::Value);
                }
                tokens.extend(text.chars().map(Token::Char));
            }
        }
    }
    tokens
}

/// Whether every text that matches `narrow` matches `wide`: a parameter of `narrow` may be any
/// text, so only a parameter of `wide` takes it.
fn is_within(narrow: &[Token], wide: &[Token]) -> bool {
    // For each place in `wide`, whether the tokens of `narrow` so far can lead to it, and whether
    // they end within the parameter before it.
    let mut at = vec![false; wide.len().saturating_add(1)];
    if let Some(start) = at.first_mut() {
        *start = true;
    }
    for token in narrow {
        let mut next = vec![false; at.len()];
        for (place, wanted) in wide.iter().enumerate() {
            let is_here = at.get(place).copied().unwrap_or(false);
            // The parameter before this place goes on.
            let behind = place.saturating_add(1);
            let is_inside = *wanted == Token::Value && at.get(behind).copied().unwrap_or(false);
            let takes = *wanted == Token::Value || wanted == token;
            if (is_here && takes || is_inside)
                && let Some(slot) = next.get_mut(behind)
            {
                *slot = true;
            }
        }
        at = next;
    }
    at.last().copied().unwrap_or(false)
}

/// Whether some text matches both.
fn have_common(a: &[Token], b: &[Token]) -> bool {
    let width = b.len().saturating_add(1);
    let mut seen = vec![false; a.len().saturating_add(1).saturating_mul(width)];
    let mut open = vec![(0_usize, 0_usize)];
    while let Some((i, j)) = open.pop() {
        match seen.get_mut(i.saturating_mul(width).saturating_add(j)) {
            Some(known) if !*known => *known = true,
            _ => continue,
        }
        if (i, j) == (a.len(), b.len()) {
            return true;
        }
        // One more character: the next token, or a parameter that goes on.
        for (one, to_i) in steps(a, i) {
            for (other, to_j) in steps(b, j) {
                let fits = match (one, other) {
                    (Token::Char(one), Token::Char(other)) => one == other,
                    _ => true,
                };
                if fits {
                    open.push((to_i, to_j));
                }
            }
        }
    }
    false
}

/// The tokens that may take the next character at a place, each with the place behind it.
fn steps(tokens: &[Token], at: usize) -> impl Iterator<Item = (Token, usize)> {
    let goes_on = at.checked_sub(1).and_then(|before| tokens.get(before)) == Some(&Token::Value);
    let next = tokens.get(at).map(|token| (*token, at.saturating_add(1)));
    next.into_iter().chain(goes_on.then_some((Token::Value, at)))
}

/// Whether both paths match some request, and neither is more literal.
pub(super) fn are_crossing(first: &Route, second: &Route) -> bool {
    let (mut firsts, mut seconds, mut crosses) = (false, false, false);
    for (a, b) in first.template.segments.iter().zip(&second.template.segments) {
        match relation(a, b) {
            Relation::Apart => return false,
            Relation::Same => {}
            Relation::First => firsts = true,
            Relation::Second => seconds = true,
            Relation::Cross => crosses = true,
        }
    }
    crosses || firsts && seconds
}
