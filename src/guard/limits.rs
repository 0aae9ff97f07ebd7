//! The limits of a guard, as they were declared and as they count.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde_json::Value;

use super::{Guard, Store};
use crate::config::options::{Options, Switch};
use crate::error::{ConfigCode, ConfigError};
use crate::limit::{Cost, KeySpec, LimitPolicy, Limiter, ReloadableLimiter};
use crate::net::Ipv6Prefix;
use crate::store::Notice;

/// A key or cost function of one limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Callback {
    /// The limit's name.
    pub limit: String,
    /// `key` or `cost`.
    pub option: &'static str,
    /// The path of the function in the configuration: `rateLimit[0].key`.
    pub path: String,
}

/// A limit as it was declared, once for the guard or for one route.
#[derive(Debug, Clone)]
pub(crate) struct DeclaredLimit {
    pub(crate) policy: LimitPolicy,
    /// The path of its option, by which the shim finds its functions.
    pub(super) path: String,
    /// Distinguishes it from every other declaration of this guard: each counts a request once.
    pub(crate) id: u64,
}

impl Guard {
    /// The limiter that has the limit of this name, in any stack.
    #[must_use]
    pub fn limiter_with(&self, name: &str) -> Option<Arc<Limiter>> {
        self.limiters().into_iter().find(|limiter| limiter.index_of(name).is_some())
    }

    /// The notice that changes the limit that `value` names, or `None` without a limit of this
    /// name.
    ///
    /// # Errors
    /// An invalid figure.
    pub fn change_limit(&self, name: &str, value: &Value) -> Result<Option<Notice>, ConfigError> {
        let limiters = self.limiters.read();
        let found = limiters.iter().find_map(|limiter| limiter.change(name, value).transpose());
        found.transpose()
    }

    /// The limits of all stacks.
    #[must_use]
    pub fn limiters(&self) -> Vec<Arc<Limiter>> {
        self.limiters.read().iter().map(|limiter| limiter.current()).collect()
    }

    /// The limits that a stack counts by: the guard's own, or those of the route.
    pub(crate) fn limits_of(
        &self,
        options: &Options<'_>,
        run: bool,
    ) -> Result<(Vec<DeclaredLimit>, Option<Arc<ReloadableLimiter>>), ConfigError> {
        let (declared, limiter) = match Switch::read(options, "rateLimit") {
            Switch::Absent if run => (self.limits.clone(), self.limiters.read().first().cloned()),
            Switch::On(value) if run => {
                let mut declared = declared_limits(value)?;
                for limit in &mut declared {
                    limit.id = self.next_limit.fetch_add(1, Ordering::Relaxed);
                }
                let limiter = self.limiter_of(&declared)?;
                (declared, Some(limiter))
            }
            _ => (Vec::new(), None),
        };
        let limiter = limiter.filter(|_| !declared.is_empty());
        Ok((declared, limiter))
    }

    /// The limiter of a route's limits. Routes with the same declarations share one: an application
    /// may build a handler for each request.
    fn limiter_of(
        &self,
        declared: &[DeclaredLimit],
    ) -> Result<Arc<ReloadableLimiter>, ConfigError> {
        let mut limiters = self.limiters.write();
        let same = |known: &&Arc<ReloadableLimiter>| {
            known.policies().iter().eq(declared.iter().map(|limit| &limit.policy))
        };
        if let Some(known) = limiters.iter().find(same) {
            return Ok(Arc::clone(known));
        }
        let limiter = limiter(declared, &self.store, self.ipv6_prefix)?;
        limiters.push(Arc::clone(&limiter));
        Ok(limiter)
    }
}

/// The limits of one option, numbered from 0.
pub(super) fn declared_limits(value: &Value) -> Result<Vec<DeclaredLimit>, ConfigError> {
    let declare = |(id, policy): (u64, LimitPolicy)| {
        let path =
            if value.is_array() { format!("rateLimit[{id}]") } else { "rateLimit".to_owned() };
        DeclaredLimit { policy, path, id }
    };
    Ok((0..).zip(LimitPolicy::parse_all("rateLimit", value)?).map(declare).collect())
}

pub(super) fn limiter(
    policies: &[DeclaredLimit],
    store: &Store,
    ipv6_prefix: Ipv6Prefix,
) -> Result<Arc<ReloadableLimiter>, ConfigError> {
    if let Store::Shared(store) = store
        && !store.has_slots()
        && let Some(limit) = policies.iter().find(|limit| limit.policy.is_in_flight())
    {
        let problem = format!(
            "counts requests that are under way, which a store of the kind '{}' can't",
            store.kind()
        );
        return Err(ConfigError::new(
            ConfigCode::ConflictingOptions,
            format!("{}.concurrent", limit.path),
            problem,
        )
        .suggest("use Redis, or a guard of its own with the memory store for this limit"));
    }
    let policies: Vec<LimitPolicy> = policies.iter().map(|limit| limit.policy.clone()).collect();
    // One scope for all: stacks of a guard count together, and so do guards that share a store.
    let limiter = match store {
        Store::Memory(store) => Limiter::new(policies.clone(), Arc::clone(store), ""),
        Store::Shared(store) => Limiter::shared(policies.clone(), Arc::clone(store)),
    };
    let limiter = limiter?.with_ipv6_prefix(ipv6_prefix);
    Ok(Arc::new(ReloadableLimiter::new(policies, limiter)))
}

pub(crate) fn callbacks(policies: &[DeclaredLimit]) -> Vec<Callback> {
    let mut callbacks = Vec::new();
    for DeclaredLimit { policy, path, .. } in policies {
        let mut add = |option, path| {
            callbacks.push(Callback { limit: policy.name().to_owned(), option, path });
        };
        if matches!(policy.key(), KeySpec::Function) {
            add("key", format!("{path}.key"));
        }
        for place in policy.key().functions() {
            add("key", format!("{path}.key[{place}]"));
        }
        if matches!(policy.cost(), Cost::Function) {
            add("cost", format!("{path}.cost"));
        }
    }
    callbacks
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::guard::Layers;

    #[test]
    fn stacks_that_are_built_for_each_request_add_no_limiters() {
        let guard = Arc::new(Guard::new(&json!({})).unwrap());
        let build = |limit: u32| {
            let route = json!({ "rateLimit": { "name": "login", "limit": limit, "window": "1m" } });
            guard.stack(&route, Layers::All).unwrap()
        };
        let stacks: Vec<_> = (0..100).map(|_| build(5)).collect();
        assert_eq!(guard.limiters().len(), 2, "the guard's own, and one for all of them");
        build(6);
        assert_eq!(guard.limiters().len(), 3, "other figures are other limits");
        let ids: Vec<u64> = stacks.iter().map(|stack| stack.limit_ids[0].0).collect();
        assert!(ids.is_sorted_by(|a, b| a < b), "a request is counted once by each stack");
    }
}
