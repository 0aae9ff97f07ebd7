//! Rewrites of Rego text that regorus misreads, into text with the same meaning that it reads well.
//!
//! - `some x` behind a statement that iterates: regorus declares `x` again in each iteration and
//!   fails. The declaration moves to the start of its query. Rego allows no use of `x` before its
//!   declaration, so the meaning stays.
//! - `[path, value] := walk(x)`: regorus takes the list of all pairs for one pair, so that it is
//!   undefined. It becomes `walk(x, [path, value])`.
//!
//! A rewrite keeps lines, and the columns of what follows on a line, except behind a declaration
//! that was moved to the start of it.

use regorus::Engine;
use regorus::unstable::{AssignOp, Expr, Literal, Module, Query};

use super::syntax::{Names, called, each_query, variables};

/// Replaces the bytes from `start` to `end`.
struct Edit {
    start: usize,
    end: usize,
    text: String,
}

/// The module's text as regorus reads it well. A text that does not parse stays as it is.
pub(super) fn rewrite(name: &str, text: &str, v0: bool) -> String {
    // The parser keeps modules in an engine only.
    let mut engine = Engine::new();
    engine.set_rego_v0(v0);
    if engine.add_policy(name.to_owned(), text.to_owned()).is_err() {
        return text.to_owned();
    }
    let mut edits = Vec::new();
    for module in engine.get_modules() {
        edits.extend(edits_of(module));
    }
    apply(text, edits)
}

fn edits_of(module: &Module) -> Vec<Edit> {
    let mut edits = Vec::new();
    for rule in &module.policy {
        each_query(rule, &mut |query, _| query_edits(query, &mut edits));
    }
    edits
}

fn query_edits(query: &Query, edits: &mut Vec<Edit>) {
    let mut moved = Names::new();
    for (at, statement) in query.stmts.iter().enumerate() {
        match &statement.literal {
            Literal::SomeVars { span, vars } if at > 0 => {
                moved.extend(vars.iter().map(|var| var.text().to_owned()));
                edits.push(replace(span.start, span.end, "true"));
            }
            Literal::Expr { expr, .. } => {
                if let Expr::AssignExpr { op, lhs, rhs, span, .. } = &**expr
                    && let Some((walk, pattern)) = walked(lhs, rhs)
                {
                    if *op == AssignOp::ColEq {
                        variables(pattern, &mut moved);
                    }
                    let call = walk.span().text();
                    let call = call.strip_suffix(')').unwrap_or(call);
                    let whole = lhs.span().start..rhs.span().end.max(span.end);
                    let text = format!("{call}, {})", pattern.span().text());
                    edits.push(replace(whole.start, whole.end, &text));
                }
            }
            _ => {}
        }
    }
    if let Some(first) = query.stmts.first()
        && !moved.is_empty()
    {
        let names: Vec<&str> = moved.iter().map(String::as_str).collect();
        let start = first.span.start as usize;
        edits.push(Edit { start, end: start, text: format!("some {}; ", names.join(", ")) });
    }
}

/// The call and the pattern of `pattern := walk(x)`, `pattern = walk(x)` or `walk(x) = pattern`.
fn walked<'e>(lhs: &'e Expr, rhs: &'e Expr) -> Option<(&'e Expr, &'e Expr)> {
    let is_walk = |expr: &Expr| {
        matches!(expr, Expr::Call { params, .. } if params.len() == 1)
            && called(expr).as_deref() == Some("walk")
    };
    match (is_walk(lhs), is_walk(rhs)) {
        (false, true) => Some((rhs, lhs)),
        (true, false) => Some((lhs, rhs)),
        _ => None,
    }
}

/// An edit whose text is padded to the length of what it replaces.
fn replace(start: u32, end: u32, text: &str) -> Edit {
    let [start, end] = [start, end].map(|at| at as usize);
    Edit { start, end, text: format!("{text:width$}", width = end.saturating_sub(start)) }
}

fn apply(text: &str, mut edits: Vec<Edit>) -> String {
    edits.sort_by_key(|edit| (edit.start, edit.end));
    let mut out = String::with_capacity(text.len() + 64);
    let mut at = 0;
    for edit in edits {
        // An edit inside of another one can't be made: the module then stays as it is.
        let Some(kept) = text.get(at..edit.start) else { return text.to_owned() };
        out.push_str(kept);
        out.push_str(&edit.text);
        let lines = |text: &str| text.matches('\n').count();
        let replaced = text.get(edit.start..edit.end).unwrap_or_default();
        out.extend(std::iter::repeat_n('\n', lines(replaced).saturating_sub(lines(&edit.text))));
        at = edit.end;
    }
    out.push_str(text.get(at..).unwrap_or_default());
    out
}
