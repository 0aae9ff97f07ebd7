//! How a segment is split between the parameters of a template.

/// The values of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Split<'s> {
    /// It does not match.
    None,
    /// The one way: a value for each parameter, none of them empty.
    Values(Vec<&'s str>),
    /// There are several ways, and routers differ: `a-b-c` for `{from}-{to}`.
    Several,
}

/// Splits `text` by the texts around the parameters, without regard to ASCII case.
///
/// If each text stands as early as it can, and as late as it can, at the same places, there is one
/// way.
pub(super) fn split<'s>(text: &'s str, texts: &[String]) -> Split<'s> {
    let (Some((first, rest)), Some(last)) = (texts.split_first(), texts.last()) else {
        return Split::None;
    };
    let Some((_, between)) = rest.split_last() else { return Split::None };
    let Some(end) = text.len().checked_sub(last.len()) else { return Split::None };
    let same = |at: usize, wanted: &str| {
        let found = text.get(at..at.saturating_add(wanted.len()));
        found.is_some_and(|found| found.eq_ignore_ascii_case(wanted))
    };
    if end <= first.len() || !same(0, first) || !same(end, last) {
        return Split::None;
    }
    // A value has at least one byte.
    let mut places = Vec::with_capacity(between.len());
    let mut from = first.len();
    for wanted in between {
        let mut all = from.saturating_add(1)..end.saturating_sub(wanted.len());
        let Some(at) = all.find(|at| same(*at, wanted)) else { return Split::None };
        places.push(at);
        from = at.saturating_add(wanted.len());
    }
    let mut until = end;
    for (wanted, first) in between.iter().zip(&places).rev() {
        let all = *first..until.saturating_sub(wanted.len());
        if all.rev().find(|at| same(*at, wanted)) != Some(*first) {
            return Split::Several;
        }
        until = *first;
    }
    let mut values = Vec::with_capacity(places.len().saturating_add(1));
    let mut from = first.len();
    for (at, wanted) in places.iter().zip(between) {
        values.extend(text.get(from..*at));
        from = at.saturating_add(wanted.len());
    }
    values.extend(text.get(from..end));
    Split::Values(values)
}
