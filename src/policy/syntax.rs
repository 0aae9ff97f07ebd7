//! Walks over the syntax tree of regorus.

use std::collections::BTreeSet;

use regorus::unstable::{Expr, Literal, LiteralStmt, Module, Query, Rule, RuleHead};

/// The names of variables.
pub(super) type Names = BTreeSet<String>;

/// The direct parts of an expression, without those of the query of a comprehension.
pub(super) fn parts(expr: &Expr) -> Vec<&Expr> {
    match expr {
        Expr::String { .. }
        | Expr::RawString { .. }
        | Expr::Number { .. }
        | Expr::Bool { .. }
        | Expr::Null { .. }
        | Expr::Var { .. } => Vec::new(),
        Expr::Array { items, .. } | Expr::Set { items, .. } => {
            items.iter().map(|item| &**item).collect()
        }
        Expr::Object { fields, .. } => {
            fields.iter().flat_map(|(_, key, value)| [&**key, &**value]).collect()
        }
        Expr::ArrayCompr { term, .. } | Expr::SetCompr { term, .. } => vec![&**term],
        Expr::ObjectCompr { key, value, .. } => vec![&**key, &**value],
        Expr::Call { params, .. } => params.iter().map(|param| &**param).collect(),
        Expr::UnaryExpr { expr, .. } => vec![&**expr],
        Expr::RefDot { refr, .. } => vec![&**refr],
        Expr::RefBrack { refr, index, .. } => vec![&**refr, &**index],
        Expr::BinExpr { lhs, rhs, .. }
        | Expr::BoolExpr { lhs, rhs, .. }
        | Expr::ArithExpr { lhs, rhs, .. }
        | Expr::AssignExpr { lhs, rhs, .. } => vec![&**lhs, &**rhs],
        Expr::Membership { key, value, collection, .. } => {
            key.iter().chain([value, collection]).map(|part| &**part).collect()
        }
    }
}

/// The query of a comprehension.
pub(super) fn comprehended(expr: &Expr) -> Option<&Query> {
    match expr {
        Expr::ArrayCompr { query, .. }
        | Expr::SetCompr { query, .. }
        | Expr::ObjectCompr { query, .. } => Some(query),
        _ => None,
    }
}

/// The expressions of a statement, without those of the query of an `every`.
pub(super) fn expressions(statement: &LiteralStmt) -> Vec<&Expr> {
    let mut all = match &statement.literal {
        Literal::SomeVars { .. } => Vec::new(),
        Literal::SomeIn { key, value, collection, .. } => {
            key.iter().chain([value, collection]).map(|part| &**part).collect()
        }
        Literal::Expr { expr, .. } | Literal::NotExpr { expr, .. } => vec![&**expr],
        Literal::Every { domain, .. } => vec![&**domain],
    };
    all.extend(statement.with_mods.iter().map(|replacement| &*replacement.r#as));
    all
}

/// The arguments of a rule that is a function.
pub(super) fn arguments(rule: &Rule) -> Vec<&Expr> {
    match rule {
        Rule::Spec { head: RuleHead::Func { args, .. }, .. } | Rule::Default { args, .. } => {
            args.iter().map(|arg| &**arg).collect()
        }
        Rule::Spec { .. } => Vec::new(),
    }
}

/// The expressions in the head of a rule and its values, without its arguments.
fn in_head(rule: &Rule) -> Vec<&Expr> {
    let Rule::Spec { head, bodies, .. } = rule else { return Vec::new() };
    let (refr, value): (&Expr, Option<&Expr>) = match head {
        RuleHead::Compr { refr, assign, .. } | RuleHead::Func { refr, assign, .. } => {
            (refr, assign.as_ref().map(|assign| &*assign.value))
        }
        RuleHead::Set { refr, key, .. } => (refr, key.as_ref().map(|key| &**key)),
    };
    let values = bodies.iter().filter_map(|body| Some(&*body.assign.as_ref()?.value));
    [refr].into_iter().chain(value).chain(values).collect()
}

/// Calls `visit` for each query of the rule, an outer one before those in it, with all queries
/// around it.
pub(super) fn each_query<'m>(rule: &'m Rule, visit: &mut impl FnMut(&'m Query, &[&'m Query])) {
    let mut around = Vec::new();
    for expr in in_head(rule) {
        queries_of(expr, &mut around, visit);
    }
    if let Rule::Spec { bodies, .. } = rule {
        for body in bodies {
            query(&body.query, &mut around, visit);
        }
    }
}

fn query<'m>(
    this: &'m Query,
    around: &mut Vec<&'m Query>,
    visit: &mut impl FnMut(&'m Query, &[&'m Query]),
) {
    visit(this, around);
    around.push(this);
    for statement in &this.stmts {
        for expr in expressions(statement) {
            queries_of(expr, around, visit);
        }
        if let Literal::Every { query: inner, .. } = &statement.literal {
            query(inner, around, visit);
        }
    }
    around.pop();
}

fn queries_of<'m>(
    expr: &'m Expr,
    around: &mut Vec<&'m Query>,
    visit: &mut impl FnMut(&'m Query, &[&'m Query]),
) {
    if let Some(inner) = comprehended(expr) {
        query(inner, around, visit);
        around.push(inner);
    }
    for part in parts(expr) {
        queries_of(part, around, visit);
    }
    if comprehended(expr).is_some() {
        around.pop();
    }
}

/// Calls `visit` for each expression of the module, an outer one before its parts.
pub(super) fn each_expression<'m>(module: &'m Module, visit: &mut impl FnMut(&'m Expr)) {
    fn all<'m>(expr: &'m Expr, visit: &mut impl FnMut(&'m Expr)) {
        visit(expr);
        for part in parts(expr) {
            all(part, visit);
        }
    }
    for rule in &module.policy {
        for expr in in_head(rule) {
            all(expr, visit);
        }
        each_query(rule, &mut |query, _| {
            for expr in query.stmts.iter().flat_map(expressions) {
                all(expr, visit);
            }
        });
    }
}

/// The variables of a pattern, without `_`: `x`, `[x, y]`, `{"k": x}`.
pub(super) fn variables(pattern: &Expr, names: &mut Names) {
    match pattern {
        Expr::Var { span, .. } if span.text() != "_" => {
            names.insert(span.text().to_owned());
        }
        Expr::Array { items, .. } | Expr::Set { items, .. } => {
            for item in items {
                variables(item, names);
            }
        }
        Expr::Object { fields, .. } => {
            for (_, _, value) in fields {
                variables(value, names);
            }
        }
        _ => {}
    }
}

/// The function of a call by its name as written: `walk`, `data.lib.f`. `None` for other
/// expressions.
pub(super) fn called(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Call { fcn, .. } => Some(fcn.span().text().to_owned()),
        _ => None,
    }
}
