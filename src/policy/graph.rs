//! The dependencies between rules, and the check that no rule depends on itself.
//!
//! OPA refuses recursion when it compiles. regorus does not: a function that calls itself would run
//! until the stack ends, and no time limit prevents that.

use std::collections::BTreeMap;

use super::scan::{Call, RuleScan, Scan, Use};

/// The policy's own functions that `call` may mean, in the engine's lookup order. Empty for a
/// built-in.
pub(super) fn callees<'s>(
    scan: &'s Scan,
    caller: &'s RuleScan,
    call: &'s Call,
) -> impl Iterator<Item = &'s RuleScan> {
    let functions = move |matches: fn(&RuleScan, &RuleScan, &Call) -> bool| {
        scan.rules.iter().filter(move |rule| rule.arity.is_some() && matches(rule, caller, call))
    };
    let imported = functions(|rule, _, call| call.imported.as_ref() == Some(&rule.path));
    let absolute = functions(|rule, _, call| {
        call.name.split_first().is_some_and(|(root, rest)| root == "data" && rest == rule.path)
    });
    let own = functions(|rule, caller, call| {
        let package = caller.path.get(..caller.package).unwrap_or_default();
        rule.path.strip_prefix(package).is_some_and(|name| name == call.name)
    });
    imported.chain(absolute).chain(own)
}

/// Whether `mention` may cause the evaluation of `rule`.
fn reaches(mention: &Use, in_rule: &RuleScan, rule: &RuleScan) -> bool {
    let related = rule.path.iter().zip(&mention.path).all(|(a, b)| a == b);
    related && (!mention.own_package || rule.package == in_rule.package)
}

/// The first cycle, as text with locations, if there is one.
pub(super) fn recursion(scan: &Scan) -> Option<String> {
    // All definitions of one rule are one node: the engine evaluates them together.
    let mut nodes: Vec<Vec<&RuleScan>> = Vec::new();
    let mut node_of: BTreeMap<&[String], usize> = BTreeMap::new();
    for rule in &scan.rules {
        let node = *node_of.entry(&rule.path).or_insert_with(|| {
            nodes.push(Vec::new());
            nodes.len() - 1
        });
        if let Some(rules) = nodes.get_mut(node) {
            rules.push(rule);
        }
    }
    let edges: Vec<Vec<usize>> = nodes.iter().map(|rules| edges(scan, &node_of, rules)).collect();
    let cycle = cycle(&edges)?;
    let rules = cycle.iter().filter_map(|node| nodes.get(*node)?.first());
    let names: Vec<String> =
        rules.clone().map(|rule| format!("data.{}", rule.path.join("."))).collect();
    let place = rules.map(|rule| &rule.place).next()?;
    Some(format!("{place}: recursion: {} depends on itself", names.join(" -> ")))
}

fn edges(scan: &Scan, node_of: &BTreeMap<&[String], usize>, rules: &[&RuleScan]) -> Vec<usize> {
    let mut edges = Vec::new();
    for user in rules {
        for call in &user.calls {
            edges.extend(callees(scan, user, call).filter_map(|rule| node_of.get(&*rule.path)));
        }
        for used in &user.uses {
            for (path, node) in node_of {
                // The cheap test comes first: most names in a rule are not rules.
                if !path.iter().zip(&used.path).all(|(a, b)| a == b) {
                    continue;
                }
                if scan.rules.iter().any(|rule| rule.path == **path && reaches(used, user, rule)) {
                    edges.push(*node);
                }
            }
        }
    }
    edges.sort_unstable();
    edges.dedup();
    edges
}

/// Depth first, without recursion: a chain of rules may be as long as the policy.
fn cycle(edges: &[Vec<usize>]) -> Option<Vec<usize>> {
    let mut done = vec![false; edges.len()];
    let mut open = vec![false; edges.len()];
    for start in 0..edges.len() {
        let mut stack = vec![(start, 0)];
        while let Some((node, next)) = stack.pop() {
            if next == 0 {
                if done.get(node).copied().unwrap_or(true) {
                    continue;
                }
                set(&mut open, node, true);
            }
            if let Some(target) = edges.get(node).and_then(|targets| targets.get(next)).copied() {
                stack.push((node, next + 1));
                if open.get(target).copied().unwrap_or(false) {
                    let path = stack.iter().map(|(node, _)| *node);
                    return Some(path.skip_while(|node| *node != target).collect());
                }
                stack.push((target, 0));
            } else {
                set(&mut open, node, false);
                set(&mut done, node, true);
            }
        }
    }
    None
}

fn set(marks: &mut [bool], node: usize, value: bool) {
    if let Some(mark) = marks.get_mut(node) {
        *mark = value;
    }
}
