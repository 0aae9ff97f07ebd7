//! Which of two templates is the more literal one.

use super::{Route, Segment};

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

/// How two segments relate.
pub(super) fn relation(first: &Segment, second: &Segment) -> Relation {
    use Segment::{Affix, Any, Literal};
    match (first, second) {
        (Any, Any) => Relation::Same,
        (_, Any) => Relation::First,
        (Any, _) => Relation::Second,
        (Literal(a), Literal(b)) if a == b => Relation::Same,
        (Literal(_), Literal(_)) => Relation::Apart,
        (Literal(text), Affix(before, behind)) => {
            if inner(text, before, behind).is_some() {
                Relation::First
            } else {
                Relation::Apart
            }
        }
        (Affix(..), Literal(_)) => match relation(second, first) {
            Relation::First => Relation::Second,
            other => other,
        },
        (Affix(a, x), Affix(b, y)) => {
            let longer = (a.starts_with(b.as_str()), x.ends_with(y.as_str()));
            let shorter = (b.starts_with(a.as_str()), y.ends_with(x.as_str()));
            match (longer, shorter) {
                ((true, true), (true, true)) => Relation::Same,
                ((true, true), _) => Relation::First,
                (_, (true, true)) => Relation::Second,
                _ if (longer.0 || shorter.0) && (longer.1 || shorter.1) => Relation::Cross,
                _ => Relation::Apart,
            }
        }
    }
}

/// The text between `before` and `behind`, if it is not empty.
pub(super) fn inner<'s>(text: &'s str, before: &str, behind: &str) -> Option<&'s str> {
    let end = text.len().checked_sub(behind.len())?;
    let start = text.get(..before.len())?;
    let last = text.get(end..)?;
    let inner = text.get(before.len()..end).filter(|inner| !inner.is_empty())?;
    (start.eq_ignore_ascii_case(before) && last.eq_ignore_ascii_case(behind)).then_some(inner)
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
