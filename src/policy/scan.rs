//! The definitions and uses in the modules, collected from the syntax tree before any evaluation.

use std::collections::BTreeMap;
use std::fmt;

use regorus::unstable::{
    AssignOp, Expr, Literal, LiteralStmt, Module, Query, Ref, Rule, RuleHead, Span,
};

use super::exact::is_open;
use super::needs::Need;
use super::syntax::{Names, variables};

/// A location in the source: `file:line:col`, counted from one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Location {
    file: String,
    line: u32,
    col: u32,
}

impl Location {
    pub(super) fn of(span: &Span) -> Self {
        Self { file: span.source.get_path().clone(), line: span.line, col: span.col }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.col)
    }
}

/// A path below `data`, without that word.
pub(super) type DataPath = Vec<String>;

/// A mention of a rule or of data.
#[derive(Debug)]
pub(super) struct Use {
    pub(super) path: DataPath,
    /// Whether it is a name of the own package. Such a name can't mean a package below.
    pub(super) own_package: bool,
}

/// A call: the name, and the arguments.
#[derive(Debug)]
pub(super) struct Call {
    /// The name as written: `["time", "now_ns"]`.
    pub(super) name: Vec<String>,
    /// The name resolved through the module's imports, if its first word is imported.
    pub(super) imported: Option<DataPath>,
    pub(super) args: usize,
    /// The string literals among the arguments.
    pub(super) literals: Vec<Option<String>>,
    pub(super) place: Location,
}

/// One definition of a rule, function or default.
#[derive(Debug)]
pub(super) struct RuleScan {
    /// Package and name, up to the first part that is not fixed.
    pub(super) path: DataPath,
    pub(super) package: usize,
    /// The number of arguments, if it is a function.
    pub(super) arity: Option<usize>,
    pub(super) default: Option<DefaultScan>,
    /// Whether it is a v0 misreading of `allow if ...`: a rule with neither a body nor a value,
    /// which is always true, and a rule named `if`.
    pub(super) misread: bool,
    /// Whether its head has keys that are known at run time only.
    pub(super) is_open: bool,
    pub(super) uses: Vec<Use>,
    pub(super) calls: Vec<Call>,
    pub(super) place: Location,
}

/// The value of a `default` rule.
#[derive(Debug)]
pub(super) struct DefaultScan {
    /// Whether it is `true`, or an object whose `allow` is `true`.
    pub(super) allows: bool,
}

/// The results of scanning all modules.
#[derive(Debug, Default)]
pub(super) struct Scan {
    pub(super) rules: Vec<RuleScan>,
    /// The parts of `input` that are read.
    pub(super) needs: Need,
    /// The locations at which `input.headers` is read by a fixed name.
    pub(super) headers: Vec<(String, Location)>,
}

impl Scan {
    /// Scans one more module.
    pub(super) fn module(&mut self, module: &Module) {
        let package = fixed_path(&module.package.refr);
        let mut walk = Walk {
            scan: self,
            imports: BTreeMap::new(),
            package,
            locals: Vec::new(),
            uses: Vec::new(),
            calls: Vec::new(),
        };
        for import in &module.imports {
            walk.import(&import.refr, import.r#as.as_ref());
        }
        for rule in &module.policy {
            walk.rule(rule);
        }
    }
}

struct Walk<'s> {
    scan: &'s mut Scan,
    /// The target of an imported name: `input.user` or `data.lib`.
    imports: BTreeMap<String, Vec<String>>,
    package: DataPath,
    /// The names that are variables here, not rules, from the outermost query to the innermost.
    locals: Vec<Names>,
    uses: Vec<Use>,
    calls: Vec<Call>,
}

impl Walk<'_> {
    fn import(&mut self, refr: &Expr, alias: Option<&Span>) {
        let path = fixed_path(refr);
        if path.first().is_some_and(|root| root == "input") {
            self.scan.needs.add(path.get(1..).unwrap_or_default());
        }
        if let Some(name) =
            alias.map(|span| span.text().to_owned()).or_else(|| path.last().cloned())
        {
            self.imports.insert(name, path);
        }
    }

    fn rule(&mut self, rule: &Rule) {
        let (refr, arity, default) = match rule {
            Rule::Spec { head, bodies, .. } => {
                let (refr, args, values) = head_parts(head);
                let mut args_in_scope = Names::new();
                for arg in args.unwrap_or_default() {
                    variables(arg, &mut args_in_scope);
                }
                self.locals.push(args_in_scope);
                for arg in args.unwrap_or_default() {
                    self.expr(arg);
                }
                if bodies.is_empty() {
                    self.head(refr, &values);
                }
                for body in bodies {
                    self.locals.push(declared(&body.query));
                    self.head(refr, &values);
                    if let Some(assign) = &body.assign {
                        self.expr(&assign.value);
                    }
                    self.query(&body.query);
                    self.locals.pop();
                }
                self.locals.pop();
                (refr, args.map(<[_]>::len), None)
            }
            Rule::Default { refr, args, value, .. } => {
                self.expr(value);
                let arity = if args.is_empty() { None } else { Some(args.len()) };
                (&**refr, arity, Some(DefaultScan { allows: allows(value) }))
            }
        };
        let mut path = self.package.clone();
        let mut name = fixed_path(refr);
        // In Rego v0, `p.q { ... }` adds "q" to the set p.
        if matches!(rule, Rule::Spec { head: RuleHead::Set { key: None, .. }, .. })
            && name.len() > 1
        {
            name.pop();
        }
        path.append(&mut name);
        self.scan.rules.push(RuleScan {
            path,
            package: self.package.len(),
            arity,
            default,
            misread: is_misread(rule, refr),
            is_open: is_open(rule, refr),
            uses: std::mem::take(&mut self.uses),
            calls: std::mem::take(&mut self.calls),
            place: Location::of(refr.span()),
        });
    }

    /// The value and the keys in a rule's head: `roles[user] contains role`.
    fn head(&mut self, mut refr: &Expr, values: &[&Expr]) {
        for value in values {
            self.expr(value);
        }
        loop {
            match refr {
                Expr::RefBrack { refr: inner, index, .. } => {
                    self.expr(index);
                    refr = inner;
                }
                Expr::RefDot { refr: inner, .. } => refr = inner,
                _ => return,
            }
        }
    }

    fn query(&mut self, query: &Query) {
        self.locals.push(declared(query));
        for statement in &query.stmts {
            self.statement(statement);
        }
        self.locals.pop();
    }

    fn statement(&mut self, statement: &LiteralStmt) {
        match &statement.literal {
            Literal::SomeVars { .. } => {}
            Literal::SomeIn { key, value, collection, .. } => {
                if let Some(key) = key {
                    self.expr(key);
                }
                self.expr(value);
                self.expr(collection);
            }
            Literal::Expr { expr, .. } | Literal::NotExpr { expr, .. } => self.expr(expr),
            Literal::Every { key, value, domain, query, .. } => {
                self.expr(domain);
                let names = key.iter().chain([value]).map(|span| span.text().to_owned());
                self.locals.push(names.collect());
                self.query(query);
                self.locals.pop();
            }
        }
        for with in &statement.with_mods {
            // The replaced value is not read. Its replacement is, and it may name a function.
            self.expr(&with.r#as);
        }
    }

    fn expr(&mut self, expr: &Expr) {
        match expr {
            Expr::String { .. }
            | Expr::RawString { .. }
            | Expr::Number { .. }
            | Expr::Bool { .. }
            | Expr::Null { .. } => {}
            Expr::Var { .. } | Expr::RefDot { .. } | Expr::RefBrack { .. } => self.reference(expr),
            Expr::Array { items, .. } | Expr::Set { items, .. } => {
                for item in items {
                    self.expr(item);
                }
            }
            Expr::Object { fields, .. } => {
                for (_, key, value) in fields {
                    self.expr(key);
                    self.expr(value);
                }
            }
            Expr::ArrayCompr { term, query, .. } | Expr::SetCompr { term, query, .. } => {
                self.comprehension(&[term], query);
            }
            Expr::ObjectCompr { key, value, query, .. } => self.comprehension(&[key, value], query),
            Expr::Call { span, fcn, params, .. } => {
                self.call(span, fcn, params);
                for param in params {
                    self.expr(param);
                }
            }
            Expr::UnaryExpr { expr, .. } => self.expr(expr),
            Expr::BinExpr { lhs, rhs, .. }
            | Expr::BoolExpr { lhs, rhs, .. }
            | Expr::ArithExpr { lhs, rhs, .. }
            | Expr::AssignExpr { lhs, rhs, .. } => {
                self.expr(lhs);
                self.expr(rhs);
            }
            Expr::Membership { key, value, collection, .. } => {
                if let Some(key) = key {
                    self.expr(key);
                }
                self.expr(value);
                self.expr(collection);
            }
        }
    }

    fn comprehension(&mut self, terms: &[&Expr], query: &Query) {
        self.locals.push(declared(query));
        for term in terms {
            self.expr(term);
        }
        self.query(query);
        self.locals.pop();
    }

    fn call(&mut self, span: &Span, function: &Expr, params: &[Ref<Expr>]) {
        let name = fixed_path(function);
        let imported =
            self.imported(&name).filter(|path| path.first().is_some_and(|r| r == "data"));
        self.calls.push(Call {
            imported: imported.map(|path| path.into_iter().skip(1).collect()),
            name,
            args: params.len(),
            literals: params.iter().map(|param| literal(param)).collect(),
            place: Location::of(span),
        });
    }

    fn imported(&self, name: &[String]) -> Option<Vec<String>> {
        let (first, rest) = name.split_first()?;
        let target = self.imports.get(first)?;
        Some(target.iter().chain(rest).cloned().collect())
    }

    fn reference(&mut self, expr: &Expr) {
        let mut root = expr;
        loop {
            match root {
                Expr::RefDot { refr, .. } => root = refr,
                Expr::RefBrack { refr, index, .. } => {
                    self.expr(index);
                    root = refr;
                }
                Expr::Var { .. } => break,
                // `f(x).y` and similar.
                other => return self.expr(other),
            }
        }
        let path = fixed_path(expr);
        let Some(first) = path.first() else { return };
        let rest = path.get(1..).unwrap_or_default();
        if first == "input" {
            return self.input(rest, expr.span());
        }
        if first == "_" || self.locals.iter().any(|names| names.contains(first)) {
            return;
        }
        if first == "data" {
            self.uses.push(Use { path: rest.to_vec(), own_package: false });
            return;
        }
        if let Some(target) = self.imported(&path) {
            let rest = target.get(1..).unwrap_or_default().to_vec();
            match target.first().map(String::as_str) {
                Some("input") => self.input(&rest, expr.span()),
                _ => self.uses.push(Use { path: rest, own_package: false }),
            }
        }
        // This applies to imported names, too: a rule of the same name would win.
        let path = self.package.iter().cloned().chain(path).collect();
        self.uses.push(Use { path, own_package: true });
    }

    fn input(&mut self, path: &[String], span: &Span) {
        self.scan.needs.add(path);
        if let [field, name, ..] = path
            && field == "headers"
        {
            self.scan.headers.push((name.clone(), Location::of(span)));
        }
    }
}

/// The reference, the arguments of a function, and the expressions of the head's value.
fn head_parts(head: &RuleHead) -> (&Expr, Option<&[Ref<Expr>]>, Vec<&Expr>) {
    match head {
        RuleHead::Compr { refr, assign, .. } => {
            (&**refr, None, assign.iter().map(|assign| &*assign.value).collect())
        }
        RuleHead::Set { refr, key, .. } => (&**refr, None, key.iter().map(|key| &**key).collect()),
        RuleHead::Func { refr, args, assign, .. } => {
            (&**refr, Some(args.as_slice()), assign.iter().map(|assign| &*assign.value).collect())
        }
    }
}

fn literal(expr: &Expr) -> Option<String> {
    match expr {
        Expr::String { value, .. } | Expr::RawString { value, .. } => {
            value.as_string().ok().map(ToString::to_string)
        }
        _ => None,
    }
}

/// The names in a reference from its root, up to the first part that is known only at run time.
fn fixed_path(expr: &Expr) -> Vec<String> {
    let mut parts = Vec::new();
    let mut expr = expr;
    loop {
        match expr {
            Expr::RefDot { refr, field, .. } => {
                parts.push(
                    field
                        .1
                        .as_string()
                        .map_or_else(|_| field.0.text().to_owned(), ToString::to_string),
                );
                expr = refr;
            }
            Expr::RefBrack { refr, index, .. } => {
                match &**index {
                    Expr::String { value, .. } => {
                        parts.push(
                            value.as_string().map_or_else(|_| String::new(), ToString::to_string),
                        );
                    }
                    _ => parts.clear(),
                }
                expr = refr;
            }
            Expr::Var { span, .. } => {
                parts.push(span.text().to_owned());
                break;
            }
            _ => {
                parts.clear();
                break;
            }
        }
    }
    parts.reverse();
    parts
}

/// The variables that the statements of this query declare. A nested query declares its own.
fn declared(query: &Query) -> Names {
    let mut names = Names::new();
    for statement in &query.stmts {
        match &statement.literal {
            Literal::SomeVars { vars, .. } => {
                names.extend(vars.iter().map(|span| span.text().to_owned()));
            }
            Literal::SomeIn { key, value, .. } => {
                for pattern in key.iter().chain([value]) {
                    variables(pattern, &mut names);
                }
            }
            Literal::Expr { expr, .. } => {
                if let Expr::AssignExpr { op: AssignOp::ColEq, lhs, .. } = &**expr {
                    variables(lhs, &mut names);
                }
            }
            Literal::NotExpr { .. } | Literal::Every { .. } => {}
        }
    }
    names
}

fn is_misread(rule: &Rule, refr: &Expr) -> bool {
    if matches!(
        fixed_path(refr).first().map(String::as_str),
        Some("if" | "contains" | "every" | "in")
    ) {
        return true;
    }
    match rule {
        Rule::Spec {
            head: RuleHead::Compr { assign, .. } | RuleHead::Func { assign, .. },
            bodies,
            ..
        } => bodies.is_empty() && assign.is_none(),
        _ => false,
    }
}

/// Whether a default value lets a request pass.
fn allows(value: &Expr) -> bool {
    let is_true = |value: &Expr| matches!(value, Expr::Bool { span, .. } if span.text() == "true");
    match value {
        Expr::Object { fields, .. } => fields.iter().any(|(_, key, value)| {
            matches!(&**key, Expr::String { value, .. } if value.as_string().is_ok_and(|k| &**k == "allow"))
                && is_true(value)
        }),
        other => is_true(other),
    }
}
