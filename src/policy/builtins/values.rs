//! Bounds of functions on objects, lists and sets. regorus copies the result of such a function at
//! each step. So the work of some is quadratic in the size of a request, and the value that
//! `json.patch` builds grows exponentially.

use regorus::Value;

use super::{TOO_MANY, TooMuch, bound, len};

/// The maximum number of copies of one member, or of comparisons of two.
const MAX_STEPS: usize = 50_000;
/// The maximum depth of a path of `json.filter` and `json.remove`: regorus builds a nested value
/// from it, and needs stack for each level.
const MAX_PATH: usize = 128;
/// The maximum number of factors of `product`, whose result grows with each.
const MAX_FACTORS: usize = 1_000;
/// Deeper values are not searched.
const MAX_DEPTH: usize = 256;

type Bounded = Result<(), &'static str>;

/// The number of values in `value`, including itself; `None` if it exceeds `most`.
fn nodes(value: &Value, most: usize) -> Option<usize> {
    fn visit(value: &Value, left: &mut usize, depth: usize) -> Option<()> {
        *left = left.checked_sub(1)?;
        let depth = depth.checked_sub(1)?;
        match value {
            Value::Array(items) => items.iter().try_for_each(|item| visit(item, left, depth)),
            Value::Set(items) => items.iter().try_for_each(|item| visit(item, left, depth)),
            Value::Object(items) => items.iter().try_for_each(|(key, item)| {
                visit(key, left, depth)?;
                visit(item, left, depth)
            }),
            _ => Some(()),
        }
    }
    let mut left = most;
    visit(value, &mut left, MAX_DEPTH)?;
    Some(most - left)
}

fn items(value: Option<&Value>) -> Box<dyn Iterator<Item = &Value> + '_> {
    match value {
        Some(Value::Array(items)) => Box::new(items.iter()),
        Some(Value::Set(items)) => Box::new(items.iter()),
        _ => Box::new(std::iter::empty()),
    }
}

/// `object.union_n`, `union` and `intersection`: the intermediate result is copied for each item.
pub(super) fn join(args: &[Value]) -> Bounded {
    let members =
        items(args.first()).map(|item| len(Some(item))).fold(0_usize, usize::saturating_add);
    bound(members.saturating_mul(len(args.first())), MAX_STEPS, TOO_MANY)
}

/// `json.filter` and `json.remove`.
pub(super) fn paths(args: &[Value]) -> Bounded {
    for path in items(args.get(1)) {
        let steps = match path {
            Value::String(text) => text.matches('/').count(),
            other => len(Some(other)),
        };
        bound(steps, MAX_PATH, "has a path of more than 128 steps")?;
    }
    Ok(())
}

/// `json.patch(value, operations)`: `copy` may double the value.
pub(super) fn patch(args: &[Value]) -> Bounded {
    let count = |value: &Value| nodes(value, MAX_STEPS).ok_or(TOO_MANY);
    let mut size = args.first().map_or(Ok(0), count)?;
    for operation in items(args.get(1)) {
        size = match &operation["op"] {
            Value::String(op) if op.as_ref() == "copy" => size.saturating_mul(2),
            _ => size.saturating_add(count(&operation["value"])?),
        };
        bound(size, MAX_STEPS, TOO_MANY)?;
    }
    Ok(())
}

/// `json.marshal_with_options(value, options)`: each line starts with the prefix and the indents.
pub(super) fn marshal(args: &[Value]) -> Bounded {
    let Some(options) = args.get(1) else { return Ok(()) };
    for name in ["indent", "prefix"] {
        if let Value::String(text) = &options[name] {
            bound(text.len(), 8, "has an indent or a prefix of more than 8 bytes")?;
        }
    }
    Ok(())
}

/// `product`.
pub(super) fn product(args: &[Value]) -> Bounded {
    bound(len(args.first()), MAX_FACTORS, "has more than 1000 factors")
}

/// `walk`: each value comes with its path.
pub(super) fn walk(args: &[Value]) -> Bounded {
    fn visit(value: &Value, depth: usize, left: &mut usize) -> Option<()> {
        *left = left.checked_sub(depth)?;
        if depth > MAX_DEPTH {
            return None;
        }
        match value {
            Value::Array(items) => items.iter().try_for_each(|item| visit(item, depth + 1, left)),
            Value::Set(items) => items.iter().try_for_each(|item| visit(item, depth + 1, left)),
            Value::Object(items) => {
                items.iter().try_for_each(|(_, item)| visit(item, depth + 1, left))
            }
            _ => Some(()),
        }
    }
    args.first().and_then(|value| visit(value, 1, &mut { 2 * MAX_STEPS })).ok_or(TOO_MANY)
}

/// `object.subset(super, sub)`, as OPA defines it. regorus panics on an empty list, and compares
/// without a bound.
pub(super) fn subset(sup: &Value, sub: &Value) -> Result<bool, TooMuch> {
    fn visit(sup: &Value, sub: &Value, left: &mut usize) -> Option<bool> {
        *left = left.checked_sub(1)?;
        match (sup, sub) {
            (Value::Object(sup), Value::Object(sub)) => {
                for (key, sub) in sub.iter() {
                    let Some(sup) = sup.get(key) else { return Some(false) };
                    if !visit(sup, sub, left)? {
                        return Some(false);
                    }
                }
                Some(true)
            }
            (Value::Array(sup), Value::Array(whole)) if !whole.is_empty() => {
                *left = left.checked_sub(sup.len().checked_mul(nodes(sub, *left)?)?)?;
                Some(sup.as_slice().windows(whole.len()).any(|part| part == whole.as_slice()))
            }
            (Value::Array(_), Value::Array(_)) => Some(true),
            (Value::Set(sup), Value::Set(sub)) => Some(sub.is_subset(sup)),
            (Value::Array(sup), Value::Set(sub)) => {
                *left = left.checked_sub(sup.len().checked_mul(sub.len())?)?;
                Some(sub.iter().all(|item| sup.iter().any(|other| other == item)))
            }
            (sup, sub) => Some(sup == sub),
        }
    }
    visit(sup, sub, &mut { 10 * MAX_STEPS }).ok_or(TooMuch(TOO_MANY))
}
