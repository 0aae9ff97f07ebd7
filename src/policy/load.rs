//! The gate between Rego text and requests: a policy that could fail or grant access at run time is
//! refused when a guard is built.

use std::num::NonZeroU32;
use std::panic::{AssertUnwindSafe, catch_unwind};

use regorus::Engine;
use regorus::utils::limits::ExecutionTimerConfig;

use super::builtins;
use super::config::{Limits, PolicyConfig, PolicySource, RegoVersion, invalid_policy};
use super::exact;
use super::files;
use super::graph;
use super::input::{Budget, convert};
use super::rewrite;
use super::scan::{Call, RuleScan, Scan};
use crate::config::options::nearest;
use crate::error::ConfigError;

/// The number of expressions between two checks of the clock: some microseconds of work.
const CHECK_INTERVAL: NonZeroU32 = NonZeroU32::MIN.saturating_add(63);
const DATA_BUDGET: Limits =
    Limits { time: std::time::Duration::ZERO, input_bytes: 64 << 20, depth: 128 };
/// Headers that carry credentials. A policy gets the verified results (`input.user`,
/// `input.token`), not the secret.
pub(super) const CREDENTIAL_HEADERS: [&str; 4] =
    ["authorization", "cookie", "proxy-authorization", "set-cookie"];

/// Checked modules, in an engine that each thread clones.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) engine: Engine,
    pub(super) scan: Scan,
    pub(super) prints: bool,
}

/// Loads and checks the modules of `config`. [`entrypoint`] checks the query.
pub(super) fn load(config: &PolicyConfig) -> Result<Loaded, ConfigError> {
    // A panic of the parser must not end the process.
    let loaded = catch_unwind(AssertUnwindSafe(|| load_modules(config)));
    loaded.unwrap_or_else(|_| {
        Err(invalid_policy(&config.path, "can't be loaded: the Rego engine failed"))
    })
}

fn load_modules(config: &PolicyConfig) -> Result<Loaded, ConfigError> {
    let refuse = |problem: String| invalid_policy(&config.path, problem);
    let modules = match &config.source {
        PolicySource::Path(path) => files::read(&config.path, path)?,
        PolicySource::Modules(modules) => modules.clone(),
    };
    let mut engine = Engine::new();
    engine.set_strict_builtin_errors(true);
    // Otherwise `print` writes the client's values to standard error.
    engine.set_gather_prints(true);
    engine.set_execution_timer_config(ExecutionTimerConfig {
        limit: config.limits.time,
        check_interval: CHECK_INTERVAL,
    });
    builtins::install(&mut engine).map_err(refuse)?;
    for (name, text) in modules {
        add_module(&mut engine, config, &name, text)?;
    }

    let mut scan = Scan::default();
    for module in engine.get_modules() {
        scan.module(module);
    }
    let mut misread = || {
        let modules = engine.get_modules().iter();
        modules.into_iter().find_map(|module| exact::misread_module(module, &scan))
    };
    if let Some(rule) = scan.rules.iter().find(|rule| rule.misread) {
        let problem = format!(
            "{}: a rule has neither a body nor a value, or is named by a keyword of v1",
            rule.place
        );
        return Err(invalid_policy(&config.path, problem).suggest(
            "write `allow { ... }` in Rego v0, or all of the module in v1: `allow if { ... }`",
        ));
    }
    if let Some((problem, instead)) = misread().or_else(|| exact::misread_uses(&scan)) {
        return Err(invalid_policy(&config.path, problem).suggest(instead));
    }
    check_packages(config, &scan)?;
    check_headers(config, &scan)?;
    let mut prints = false;
    for rule in &scan.rules {
        for call in &rule.calls {
            check_call(config, &scan, rule, call)?;
            prints |= call.name.len() == 1 && call.name.iter().all(|name| name == "print");
        }
    }
    if let Some(cycle) = graph::recursion(&scan) {
        return Err(
            invalid_policy(&config.path, cycle).suggest("rules must not depend on themselves")
        );
    }
    check_data(config, &scan)?;
    let data =
        convert(&config.data, &mut Budget::new(&DATA_BUDGET), DATA_BUDGET.depth).map_err(|_| {
            ConfigError::invalid(format!("{}.data", config.path), "is larger than 64 mb")
        })?;
    engine.add_data(data).map_err(|error| refuse(place_first(&error.to_string())))?;
    Ok(Loaded { engine, scan, prints })
}

fn add_module(
    engine: &mut Engine,
    config: &PolicyConfig,
    name: &str,
    text: String,
) -> Result<(), ConfigError> {
    if text.trim().is_empty() {
        return Err(invalid_policy(&config.path, format!("has an empty module: {name}:1:1"))
            .suggest("write 'package ...' and rules, or leave the module out"));
    }
    let mut add = |v0: bool, text: String| {
        engine.set_rego_v0(v0);
        let text = rewrite::rewrite(name, &text, v0);
        engine.add_policy(name.to_owned(), text).map(|_| ()).map_err(|error| error.to_string())
    };
    let result = match config.version {
        RegoVersion::V0 => add(true, text),
        RegoVersion::V1 => add(false, text),
        RegoVersion::Auto => match add(false, text.clone()) {
            // "`if` keyword is required before rule body", "`contains` keyword is required for
            // partial set rules"
            Err(error) if error.contains("keyword is required") => add(true, text),
            result => result,
        },
    };
    result.map_err(|error| invalid_policy(&config.path, place_first(&error)))
}

/// Lets the engine analyse the modules for `query`, so that it reports its errors now.
pub(super) fn prepare(engine: &mut Engine, policy: &str, query: &str) -> Result<(), ConfigError> {
    let rule = regorus::Rc::from(query);
    let compiled =
        catch_unwind(AssertUnwindSafe(|| engine.compile_with_entrypoint(&rule).map(|_| ())));
    match compiled {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(invalid_policy(policy, place_first(&error.to_string()))),
        Err(_) => Err(invalid_policy(policy, "can't be loaded: the Rego engine failed")),
    }
}

/// Checks that `query` names a rule that always has a value, and that its default denies. `at` is
/// the option's path.
pub(super) fn entrypoint(scan: &Scan, at: &str, query: &str) -> Result<(), ConfigError> {
    let path: Vec<&str> = query.split('.').skip(1).collect();
    let name = path.last().copied().unwrap_or_default();
    let rules: Vec<&RuleScan> = scan.rules.iter().filter(|rule| rule.path == path).collect();
    let Some(first) = rules.first() else {
        let known: Vec<String> =
            scan.rules.iter().map(|rule| format!("data.{}", rule.path.join("."))).collect();
        let known: Vec<&str> = known.iter().map(String::as_str).collect();
        let error = ConfigError::invalid(at, "names a rule that no module defines");
        return Err(match nearest(query, &known) {
            Some(near) => error.suggest(format!("did you mean '{near}'?")),
            None => error.suggest("write 'data.', the package and the rule's name"),
        });
    };
    if rules.iter().any(|rule| rule.arity.is_some()) {
        let problem = format!("names a function: {}", first.place);
        return Err(ConfigError::invalid(at, problem).suggest("name a rule without arguments"));
    }
    let wanted = format!(
        "write `default {name} = false`, or `default {name} = {{\"allow\": false}}` if it answers with an object"
    );
    let defaults = rules.iter().filter_map(|rule| Some((rule, rule.default.as_ref()?)));
    let problem = match defaults.collect::<Vec<_>>().as_slice() {
        [] => format!("names a rule without a default: {}", first.place),
        [(rule, default)] if default.allows => {
            format!("names a rule that allows by default: {}", rule.place)
        }
        [_] => return Ok(()),
        [_, (rule, _), ..] => format!("names a rule with a second default: {}", rule.place),
    };
    Err(ConfigError::invalid(at, problem).suggest(wanted))
}

/// Refuses a package at or below a rule: its rules would become part of that rule's value.
fn check_packages(config: &PolicyConfig, scan: &Scan) -> Result<(), ConfigError> {
    for below in &scan.rules {
        let package = below.path.get(..below.package).unwrap_or_default();
        if let Some(rule) = scan.rules.iter().find(|rule| package.starts_with(&rule.path)) {
            let rule_path = rule.path.join(".");
            let problem = format!(
                "{}: the package data.{} lies in the rule data.{rule_path} of {}",
                below.place,
                package.join("."),
                rule.place
            );
            return Err(invalid_policy(&config.path, problem).suggest("rename one of them"));
        }
    }
    Ok(())
}

fn check_headers(config: &PolicyConfig, scan: &Scan) -> Result<(), ConfigError> {
    for (name, place) in &scan.headers {
        if name.bytes().any(|b| b.is_ascii_uppercase()) {
            let problem = format!("reads a header by a name that never matches: {place}");
            return Err(invalid_policy(&config.path, problem).suggest(format!(
                "header names are lower case: write \"{}\"",
                name.to_ascii_lowercase()
            )));
        }
        if CREDENTIAL_HEADERS.contains(&name.as_str()) {
            let problem = format!("reads a header that the input does not hold: {place}");
            return Err(invalid_policy(&config.path, problem)
                .suggest("read the verified claims in `input.user` and `input.token`"));
        }
    }
    Ok(())
}

/// Checks that the called function exists, and that the number of arguments is right (one more
/// receives the result).
fn check_call(
    config: &PolicyConfig,
    scan: &Scan,
    rule: &RuleScan,
    call: &Call,
) -> Result<(), ConfigError> {
    let name = call.name.join(".");
    let refuse =
        |problem: String| invalid_policy(&config.path, format!("{}: {problem}", call.place));
    let callee = graph::callees(scan, rule, call).next();
    let defined = callee.and_then(|callee| callee.arity);
    if defined.is_none() {
        if let Some((_, why)) = builtins::DENIED.iter().find(|(denied, _)| *denied == name) {
            return Err(refuse(format!("the function `{name}` is not available: {why}")));
        }
        if !builtins::is_known(&name) {
            let error = refuse(format!("the function `{name}` does not exist"));
            return Err(match builtins::nearest(&name) {
                _ if name.starts_with("io.jwt.") => {
                    error.suggest("tokens are verified before the policy: read `input.user`")
                }
                Some(near) => error.suggest(format!("did you mean `{near}`?")),
                None => error.suggest("define it in a module, or leave the call out"),
            });
        }
    }
    if defined.is_none() {
        builtins::check_literals(&name, &call.literals).map_err(&refuse)?;
    }
    let takes = defined.or_else(|| builtins::arity(&name));
    // regorus does not assign the result if the function is called by an imported name.
    let by_import = callee.is_some_and(|callee| call.imported.as_ref() == Some(&callee.path));
    let with_result = takes.filter(|_| !by_import).map(|takes| takes.saturating_add(1));
    match takes {
        Some(takes) if call.args != takes && Some(call.args) != with_result => {
            let given = call.args;
            Err(refuse(format!("`{name}` takes {takes} arguments, not {given}")))
        }
        _ => Ok(()),
    }
}

/// Refuses data at, above or below a rule. It would replace the rule: `{"authz": {"allow": true}}`
/// would allow everything.
fn check_data(config: &PolicyConfig, scan: &Scan) -> Result<(), ConfigError> {
    for rule in &scan.rules {
        let mut data = Some(&config.data);
        for part in &rule.path {
            data = match data {
                Some(serde_json::Value::Object(members)) => members.get(part),
                // A scalar or a list at the position of the package hides the whole package.
                found => found,
            };
        }
        if data.is_some() {
            let path = rule.path.join(".");
            let problem = format!("overlaps the rule data.{path}, defined at {}", rule.place);
            return Err(ConfigError::invalid(format!("{}.data", config.path), problem)
                .suggest("put the data under a name that no package has"));
        }
    }
    Ok(())
}

/// The `file:line:col` in an error of the engine. The rest of its text may contain the client's
/// values.
pub(super) fn place(error: &str) -> Option<&str> {
    let (_, rest) = error.split_once("--> ")?;
    let place = rest.lines().next()?.trim();
    // An error without a location may quote a value with an arrow in it.
    let mut parts = place.rsplitn(3, ':');
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let numbers = parts.next().is_some_and(is_number) && parts.next().is_some_and(is_number);
    numbers.then_some(place)
}

/// The engine's error in one line, `file:line:col: what`, without its source line.
fn place_first(error: &str) -> String {
    let flat = |text: &str| {
        let words: Vec<&str> = text.split_whitespace().collect();
        words.join(" ").chars().take(300).collect::<String>()
    };
    match (place(error), error.split_once("\nerror: ")) {
        (Some(place), Some((_, what))) => format!("{place}: {}", flat(what)),
        _ => flat(error),
    }
}
