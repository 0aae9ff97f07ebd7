//! `guard.limits`: counts changed by the program itself, e.g. a failed login that costs five.
//!
//! A key is named by its parts, as the policy's `key` lists them: `["203.0.113.7"]` for `'ip'`,
//! `["alice"]` for `'user'`, `["alice", "/v1/login"]` for `['user', 'route']`. `consume` and `get`
//! use the policy's own limit. The other calls change the key in every tier, since the key of a
//! user with a role is counted under that role's limit.

use std::time::Duration;

use super::error::LimitError;
use super::headers::seconds;
use super::limiter::{CompiledLimit, Counter, Limiter, record};
use super::subject::key_of_parts;
use crate::clock::{Now, micros};
use crate::net::Ipv6Prefix;
use crate::quota::algorithm::{Rule, State};
use crate::store::{Key, Record};

/// The state of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyState {
    /// Whether the cost was admitted; for `get`, whether a request of cost 1 would be.
    pub allowed: bool,
    /// Requests per window.
    pub limit: u64,
    /// The number of further requests of cost 1 that would be admitted now; 0 while the key is
    /// blocked.
    pub remaining: u64,
    /// Whole seconds until `remaining` grows, rounded up; 0 if the key has its full quota.
    pub reset_s: u64,
    /// Whole seconds until the refused cost would be admitted, rounded up; 0 if it was admitted.
    pub retry_after_s: u64,
    /// Whole seconds until a block by `guard.limits` ends, rounded up; 0 if there is none.
    pub blocked_s: u64,
    /// The number of requests in flight, for a limit that counts those.
    pub taken: Option<u64>,
}

impl Limiter {
    /// Judges `cost` for a key as a request would be, and counts it if it is admitted.
    pub fn consume(
        &self,
        name: &str,
        key: &[&str],
        cost: u32,
        now: Now,
    ) -> Result<KeyState, LimitError> {
        let policy = self.in_time(name)?;
        let counter = &policy.own;
        let key = key_of_parts(&policy.key, counter, key, self.ipv6_prefix)?;
        let mut locked = self.store.lock(std::iter::once(key));
        let signalled = self.signalled(&locked, &key, &counter.rule, now);
        let rule = signalled.as_ref().unwrap_or(&counter.rule);
        let clock_us = rule.clock(now);
        let old = locked.get(&key, now.mono_us).unwrap_or_default();
        let state = rule.settle(State(old.state), clock_us);
        let allowed = old.blocked_until_us <= now.mono_us && rule.fits(state, cost, clock_us);
        if !allowed {
            let kept = record(&old, rule, state, &rule.view(state, clock_us), policy.price(), now);
            locked.update(&key, kept);
            return Ok(key_state(rule, &kept, cost, false, now));
        }
        let state = rule.charge(state, cost, clock_us);
        let kept = record(&old, rule, state, &rule.view(state, clock_us), policy.price(), now);
        if cost > 0 && !locked.put(&key, kept, now.mono_us) {
            return Err(LimitError::StoreFull);
        }
        Ok(key_state(rule, &kept, 0, true, now))
    }

    /// The state of a key. Counts nothing.
    pub fn get(&self, name: &str, key: &[&str], now: Now) -> Result<KeyState, LimitError> {
        let policy = self.policy(name)?;
        let key = key_of_parts(&policy.key, &policy.own, key, self.ipv6_prefix)?;
        let locked = self.store.lock(std::iter::once(key));
        let mut record = locked.get(&key, now.mono_us).unwrap_or_default();
        if policy.own.rule.is_in_flight() {
            record.state = [u64::from(locked.in_flight_slots(&key)), 0];
        }
        let signalled = self.signalled(&locked, &key, &policy.own.rule, now);
        drop(locked);
        let rule = signalled.as_ref().unwrap_or(&policy.own.rule);
        let allowed = record.blocked_until_us <= now.mono_us
            && rule.fits(State(record.state), 1, rule.clock(now));
        Ok(key_state(rule, &record, 1, allowed, now))
    }

    /// Takes `cost` from a key, even if less remains; at most the whole remaining quota is taken.
    pub fn penalize(
        &self,
        name: &str,
        key: &[&str],
        cost: u32,
        now: Now,
    ) -> Result<(), LimitError> {
        self.change(name, key, now, |counter, record| {
            let clock_us = counter.rule.clock(now);
            record.state = counter.rule.charge(State(record.state), cost, clock_us).0;
        })
    }

    /// Returns `cost` to a key; at most its whole count is returned.
    pub fn reward(&self, name: &str, key: &[&str], cost: u32, now: Now) -> Result<(), LimitError> {
        self.change(name, key, now, |counter, record| {
            let clock_us = counter.rule.clock(now);
            record.state = counter.rule.refund(State(record.state), cost, clock_us).0;
        })
    }

    /// Refuses a key for `duration` from now, regardless of its remaining quota. Replaces an
    /// earlier block.
    pub fn block(
        &self,
        name: &str,
        key: &[&str],
        duration: Duration,
        now: Now,
    ) -> Result<(), LimitError> {
        let until_us = now.mono_us.saturating_add(micros(duration));
        self.change(name, key, now, |_, record| record.blocked_until_us = until_us)
    }

    /// Resets the count of a key, removes its block, and frees its slots.
    pub fn reset(&self, name: &str, key: &[&str]) -> Result<(), LimitError> {
        let policy = self.policy(name)?;
        let keys = keys_of(policy, key, self.ipv6_prefix)?;
        let mut locked = self.store.lock(keys.iter().map(|(_, key)| *key));
        for (_, key) in &keys {
            locked.remove(key);
            locked.forget_slots(key);
        }
        Ok(())
    }

    /// Changes the record of a key in every tier, or in none.
    fn change(
        &self,
        name: &str,
        key: &[&str],
        now: Now,
        change: impl Fn(&Counter, &mut Record),
    ) -> Result<(), LimitError> {
        let policy = self.in_time(name)?;
        let keys = keys_of(policy, key, self.ipv6_prefix)?;
        let mut locked = self.store.lock(keys.iter().map(|(_, key)| *key));
        for (counter, key) in keys {
            let (rule, clock_us) = (&counter.rule, counter.rule.clock(now));
            let mut new = locked.get(&key, now.mono_us).unwrap_or_default();
            change(counter, &mut new);
            let state = State(new.state);
            let kept = record(&new, rule, state, &rule.view(state, clock_us), policy.price(), now);
            if kept.expires_us <= now.mono_us {
                locked.remove(&key);
            } else if !locked.put_own(&key, kept, now.mono_us) {
                return Err(LimitError::StoreFull);
            }
        }
        Ok(())
    }

    /// The policy of this name, if it counts in time and so has costs.
    pub(super) fn in_time(&self, name: &str) -> Result<&CompiledLimit, LimitError> {
        let policy = self.policy(name)?;
        if policy.own.rule.is_in_flight() { Err(LimitError::InFlight) } else { Ok(policy) }
    }

    pub(super) fn policy(&self, name: &str) -> Result<&CompiledLimit, LimitError> {
        self.policies.iter().find(|policy| policy.name == name).ok_or(LimitError::UnknownPolicy)
    }
}

fn keys_of<'l>(
    policy: &'l CompiledLimit,
    key: &[&str],
    prefix: Ipv6Prefix,
) -> Result<Vec<(&'l Counter, Key)>, LimitError> {
    let counters = policy.counters();
    counters
        .map(|counter| Ok((counter, key_of_parts(&policy.key, counter, key, prefix)?)))
        .collect()
}

pub(super) fn key_state(
    rule: &Rule,
    record: &Record,
    cost: u32,
    allowed: bool,
    now: Now,
) -> KeyState {
    let clock_us = rule.clock(now);
    let state = State(record.state);
    let view = rule.view(state, clock_us);
    let blocked_us = record.blocked_until_us.saturating_sub(now.mono_us);
    let retry_us = if allowed { 0 } else { rule.wait(state, cost, clock_us).max(blocked_us) };
    KeyState {
        allowed,
        limit: rule.limit(),
        remaining: if blocked_us > 0 { 0 } else { view.remaining },
        reset_s: seconds(view.reset_us.max(blocked_us)),
        retry_after_s: seconds(retry_us),
        blocked_s: seconds(blocked_us),
        taken: rule.is_in_flight().then(|| state.0.into_iter().sum()),
    }
}
