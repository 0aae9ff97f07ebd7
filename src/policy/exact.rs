//! Refuses what regorus reads in another way than OPA, where no rewrite is safe.
//!
//! Each of these is undefined in regorus where it has a value in OPA, or the other way round,
//! without an error: `allow if not blocked` would allow.
//!
//! - `walk(x)` as a value.
//! - An object as a pattern, `{"role": r} = user`: regorus lets the user have more members.
//! - A variable that nothing binds, `some i; i < 3`: OPA refuses it.
//! - A reference that reads two rules at once of which one has keys that are known at run time
//!   only: regorus evaluates the other one alone.

use regorus::unstable::{AssignOp, Expr, Literal, LiteralStmt, Module, Query, Rule};

use super::builtins;
use super::scan::{Location, Scan};
use super::syntax::{
    Names, arguments, called, comprehended, each_expression, each_query, expressions, parts,
    variables,
};

/// What is wrong, with its location, and what to write instead.
pub(super) type Found = (String, &'static str);

const NO_PATTERN: &str = "name the member: `r := input.user.role`";

/// The first such thing in a module.
pub(super) fn misread_module(module: &Module, scan: &Scan) -> Option<Found> {
    let mut found = None;
    each_expression(module, &mut |expr| {
        if called(expr).as_deref() == Some("walk")
            && matches!(expr, Expr::Call { params, .. } if params.len() == 1)
        {
            found.get_or_insert_with(|| {
                at(expr, "`walk(x)` is no value", "write `walk(x, [path, value])`")
            });
        }
    });
    for rule in &module.policy {
        let args = arguments(rule);
        if let Some(object) = args.iter().find_map(|arg| object_in(arg)) {
            found.get_or_insert_with(|| pattern(object));
        }
        let mut bound = Names::new();
        for arg in args {
            variables(arg, &mut bound);
        }
        each_query(rule, &mut |query, around| {
            if found.is_none() {
                found = misread_pattern(query, around, &bound).or_else(|| unbound(query, scan));
            }
        });
    }
    found
}

/// A reference to `path` that needs two rules, of which regorus evaluates one.
pub(super) fn misread_reference(scan: &Scan, path: &[String]) -> Option<Found> {
    let below = |longer: &[String], shorter: &[String]| {
        longer.len() > shorter.len() && longer.starts_with(shorter)
    };
    for open in scan.rules.iter().filter(|rule| rule.is_open && below(path, &rule.path)) {
        let key = open.path.len();
        let other = scan
            .rules
            .iter()
            .find(|rule| below(&rule.path, &open.path) && rule.path.get(key) == path.get(key));
        if let Some(other) = other {
            let problem = format!(
                "{}: `data.{}` would read this rule and the one at {} at once",
                open.place,
                path.join("."),
                other.place
            );
            return Some((problem, "give one of the two rules another name"));
        }
    }
    None
}

fn at(expr: &Expr, problem: &str, instead: &'static str) -> Found {
    (format!("{}: {problem}", Location::of(expr.span())), instead)
}

fn pattern(object: &Expr) -> Found {
    at(object, "an object as a pattern is not supported", NO_PATTERN)
}

/// The first object in a pattern.
fn object_in(pattern: &Expr) -> Option<&Expr> {
    match pattern {
        Expr::Object { .. } => Some(pattern),
        Expr::Array { items, .. } | Expr::Set { items, .. } => {
            items.iter().find_map(|item| object_in(item))
        }
        _ => None,
    }
}

/// The first object with a variable that only this pattern binds.
fn binding_object<'e>(pattern: &'e Expr, bound: &Names) -> Option<&'e Expr> {
    let object = object_in(pattern)?;
    let mut names = Names::new();
    variables(object, &mut names);
    let mut has_wildcard = false;
    wildcards(object, &mut has_wildcard);
    (has_wildcard || !names.is_subset(bound)).then_some(object)
}

fn wildcards(pattern: &Expr, found: &mut bool) {
    *found |= matches!(pattern, Expr::Var { span, .. } if span.text() == "_");
    for part in parts(pattern) {
        wildcards(part, found);
    }
}

fn misread_pattern(query: &Query, around: &[&Query], arguments: &Names) -> Option<Found> {
    let mut bound = arguments.clone();
    for query in around.iter().copied().chain([query]) {
        for statement in &query.stmts {
            bind(statement, &mut bound);
        }
    }
    query.stmts.iter().find_map(|statement| {
        let object = match &statement.literal {
            Literal::SomeIn { key, value, .. } => {
                key.iter().chain([value]).find_map(|part| object_in(part))
            }
            Literal::Expr { expr, .. } | Literal::NotExpr { expr, .. } => match &**expr {
                Expr::AssignExpr { op: AssignOp::ColEq, lhs, .. } => object_in(lhs),
                Expr::AssignExpr { lhs, rhs, .. } => {
                    [lhs, rhs].into_iter().find_map(|side| binding_object(side, &bound))
                }
                Expr::Call { params, .. } => output(expr, params.len()).and_then(object_in),
                _ => None,
            },
            Literal::SomeVars { .. } | Literal::Every { .. } => None,
        }?;
        Some(pattern(object))
    })
}

/// Adds the variables that a statement binds other than by an object as a pattern.
fn bind(statement: &LiteralStmt, bound: &mut Names) {
    for expr in expressions(statement) {
        indexes(expr, bound);
    }
    match &statement.literal {
        Literal::SomeIn { key, value, .. } => {
            for pattern in key.iter().chain([value]) {
                variables(pattern, bound);
            }
        }
        Literal::Every { key, value, .. } => {
            bound.extend(key.iter().chain([value]).map(|span| span.text().to_owned()));
        }
        Literal::Expr { expr, .. } => match &**expr {
            Expr::AssignExpr { lhs, rhs, .. } => {
                for side in [lhs, rhs] {
                    if object_in(side).is_none() {
                        variables(side, bound);
                    }
                }
            }
            Expr::Call { params, .. } => {
                if let Some(output) = output(expr, params.len())
                    && object_in(output).is_none()
                {
                    variables(output, bound);
                }
            }
            _ => {}
        },
        Literal::SomeVars { .. } | Literal::NotExpr { .. } => {}
    }
}

/// The variables that references in `expr` bind: `x` in `users[x].name`.
fn indexes(expr: &Expr, names: &mut Names) {
    if let Expr::RefBrack { index, .. } = expr {
        variables(index, names);
    }
    if comprehended(expr).is_none() {
        for part in parts(expr) {
            indexes(part, names);
        }
    }
}

/// The argument of a call that receives the result: the one that a built-in function does not
/// take.
fn output(call: &Expr, given: usize) -> Option<&Expr> {
    let Expr::Call { params, .. } = call else { return None };
    let takes = builtins::arity(&called(call)?)?;
    if given == takes.saturating_add(1) { params.last().map(|last| &**last) } else { None }
}

/// A variable that `some` declares and that no statement of the query can bind. regorus itself
/// finds those that are not declared.
fn unbound(query: &Query, scan: &Scan) -> Option<Found> {
    let mut open = Names::new();
    let mut declaration = None;
    for statement in &query.stmts {
        if let Literal::SomeVars { vars, .. } = &statement.literal {
            open.extend(vars.iter().map(|var| var.text().to_owned()));
            declaration = declaration.or_else(|| vars.first());
        }
    }
    loop {
        let before = open.len();
        for statement in &query.stmts {
            for name in bindable(statement, &open, scan) {
                open.remove(&name);
            }
        }
        if open.is_empty() {
            return None;
        }
        if open.len() == before {
            let place = Location::of(declaration?);
            let name = open.first()?;
            return Some((
                format!("{place}: the variable `{name}` is unsafe: nothing gives it a value"),
                "bind it, as in `some x in xs`",
            ));
        }
    }
}

/// The variables that a statement binds, where those in `open` are not bound yet.
fn bindable(statement: &LiteralStmt, open: &Names, scan: &Scan) -> Names {
    let mut bound = Names::new();
    match &statement.literal {
        Literal::SomeVars { .. } | Literal::NotExpr { .. } => {}
        Literal::Every { domain, .. } => indexes(domain, &mut bound),
        Literal::SomeIn { collection, .. } => {
            // `key` and `value` are declared here: they mean no variable of a `some` before.
            indexes(collection, &mut bound);
        }
        Literal::Expr { expr, .. } => {
            indexes(expr, &mut bound);
            match &**expr {
                Expr::AssignExpr { lhs, rhs, .. } => {
                    let still: Names = open.difference(&bound).cloned().collect();
                    for (from, to) in [(rhs, lhs), (lhs, rhs)] {
                        if !needs(from, &still) {
                            variables(to, &mut bound);
                        }
                    }
                }
                Expr::Call { params, .. } => {
                    let own = called(expr).unwrap_or_default();
                    let own = own.rsplit('.').next().unwrap_or_default();
                    let has_output = output(expr, params.len()).is_some()
                        || scan.rules.iter().any(|rule| {
                            rule.path.last().is_some_and(|name| name == own)
                                && rule.arity.is_some_and(|takes| takes + 1 == params.len())
                        });
                    if has_output && let Some(last) = params.last() {
                        variables(last, &mut bound);
                    }
                }
                _ => {}
            }
        }
    }
    bound
}

/// Whether the value of `expr` depends on a variable in `open`.
fn needs(expr: &Expr, open: &Names) -> bool {
    match expr {
        Expr::Var { span, .. } => open.contains(span.text()),
        Expr::RefBrack { refr, index, .. } => {
            needs(refr, open) || (!matches!(**index, Expr::Var { .. }) && needs(index, open))
        }
        _ => parts(expr).into_iter().any(|part| needs(part, open)),
    }
}

/// The rule that `path` names in each use of a module.
pub(super) fn misread_uses(scan: &Scan) -> Option<Found> {
    let uses = scan.rules.iter().flat_map(|rule| &rule.uses);
    uses.into_iter().find_map(|used| misread_reference(scan, &used.path))
}

/// Whether the head of a rule has keys that are known at run time only: `roles[user] contains r`.
pub(super) fn is_open(rule: &Rule, refr: &Expr) -> bool {
    fn has_variable(mut refr: &Expr) -> bool {
        loop {
            match refr {
                Expr::RefBrack { refr: inner, index, .. } => {
                    if !matches!(**index, Expr::String { .. } | Expr::RawString { .. }) {
                        return true;
                    }
                    refr = inner;
                }
                Expr::RefDot { refr: inner, .. } => refr = inner,
                _ => return false,
            }
        }
    }
    matches!(rule, Rule::Spec { .. }) && has_variable(refr)
}
