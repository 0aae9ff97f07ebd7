//! `guard.limits` under a shared store.

use std::time::Duration;

use super::{ALONE, REFUSED, lease};
use crate::clock::{Now, micros};
use crate::limit::admin::{KeyState, key_state};
use crate::limit::error::LimitError;
use crate::limit::limiter::{Counter, Limiter, record};
use crate::limit::subject::{key_of_parts, place_key_of_parts, shared_key_of_parts};
use crate::quota::algorithm::{State, UNSCALED};
use crate::quota::{
    Action, CommandResult, LimitCheck, LimitStatus, SlotCommand, SlotId, StoreCommand,
    SubjectCommand,
};
use crate::store::{Key, Record};

/// The operations of `guard.limits`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AdminOp {
    /// Judge a cost as a request would be, and count it if it is admitted.
    Consume(u32),
    /// Return the state of a key.
    Get,
    /// Take a cost, even if less remains.
    Penalize(u32),
    /// Return a cost.
    Reward(u32),
    /// Refuse a key for this time.
    Block(Duration),
    /// Reset the count of a key, remove its block, and free its slots.
    Reset,
}

impl AdminOp {
    /// Whether the operation returns the state of the key.
    #[must_use]
    pub const fn has_reply(self) -> bool {
        matches!(self, Self::Consume(_) | Self::Get)
    }
}

/// A call that waits for the store.
#[derive(Debug)]
pub struct PendingAdminOp {
    name: String,
    op: AdminOp,
    keys: Vec<Key>,
}

impl Limiter {
    /// Executes a call in this process. `Some` if the operation returns the state of the key.
    pub fn call(
        &self,
        name: &str,
        key: &[&str],
        op: AdminOp,
        now: Now,
    ) -> Result<Option<KeyState>, LimitError> {
        match op {
            AdminOp::Consume(cost) => self.consume(name, key, cost, now).map(Some),
            AdminOp::Get => self.get(name, key, now).map(Some),
            AdminOp::Penalize(cost) => self.penalize(name, key, cost, now).map(|()| None),
            AdminOp::Reward(cost) => self.reward(name, key, cost, now).map(|()| None),
            AdminOp::Block(duration) => self.block(name, key, duration, now).map(|()| None),
            AdminOp::Reset => self.reset(name, key).map(|()| None),
        }
    }

    /// The store command of a call on a key of a policy.
    pub fn manual_question(
        &self,
        name: &str,
        key: &[&str],
        op: AdminOp,
    ) -> Result<(PendingAdminOp, StoreCommand), LimitError> {
        let policy = match op {
            AdminOp::Get | AdminOp::Reset => self.policy(name)?,
            _ => self.in_time(name)?,
        };
        let (action, cost) = match op {
            AdminOp::Consume(cost) => (Action::Consume, cost),
            AdminOp::Get => (Action::Look, 1),
            AdminOp::Penalize(cost) => (Action::Charge, cost),
            AdminOp::Reward(cost) => (Action::Refund, cost),
            AdminOp::Block(duration) => (Action::Block(micros(duration)), 0),
            AdminOp::Reset => (Action::Reset, 0),
        };
        let one = matches!(op, AdminOp::Consume(_) | AdminOp::Get);
        let counters: Vec<&Counter> =
            policy.counters().take(if one { 1 } else { usize::MAX }).collect();
        let keys = counters
            .iter()
            .map(|counter| key_of_parts(&policy.key, counter, key, self.ipv6_prefix));
        let pending =
            PendingAdminOp { name: name.to_owned(), op, keys: keys.collect::<Result<_, _>>()? };
        if policy.own.rule.is_in_flight() {
            let slot = |counter: &&Counter| {
                let (most, span_ms) = counter.rule.slots();
                Ok(SlotCommand {
                    key: place_key_of_parts(&policy.key, counter, key, self.ipv6_prefix)?,
                    id: SlotId([0; 16]),
                    most,
                    span_ms,
                    watching: false,
                })
            };
            let slots = counters.iter().map(slot).collect::<Result<_, LimitError>>()?;
            return Ok((pending, StoreCommand::of_slots(action, slots)));
        }
        let demands = counters
            .iter()
            .map(|counter| LimitCheck { tag: counter.tag, rule: counter.rule, cost })
            .collect();
        let subject = shared_key_of_parts(&policy.key, key, self.ipv6_prefix)?;
        Ok((pending, StoreCommand::about(action, vec![SubjectCommand { subject, demands }])))
    }

    /// Reads the store's answer: the state of the key under the policy's own limit.
    pub fn manual_answer(
        &self,
        pending: &PendingAdminOp,
        answer: &CommandResult,
    ) -> Result<KeyState, LimitError> {
        let policy = self.policy(&pending.name)?;
        // The cached state of the key is stale now.
        self.forget(&pending.keys);
        let standing = match answer.statuses.first() {
            Some(standing) => *standing,
            // An operation that frees all slots returns no state.
            None if policy.own.rule.is_in_flight() && !pending.op.has_reply() => LimitStatus {
                fits: true,
                state: State::default(),
                factor: UNSCALED,
                blocked_until_us: 0,
                now_us: 0,
            },
            None => return Err(LimitError::StoreAway),
        };
        let now = Now::at_unix_us(standing.now_us);
        let counter = &policy.own;
        let rule = match standing.factor {
            UNSCALED => counter.rule,
            factor => counter.rule.scaled(factor),
        };
        let clock_us = rule.clock(now);
        let known = Record { blocked_until_us: standing.blocked_until_us, ..Record::default() };
        let cost = match pending.op {
            AdminOp::Consume(cost) => cost,
            _ => 1,
        };
        let state = rule.settle(standing.state, clock_us);
        let view = rule.view(state, clock_us);
        let kept = record(&known, &rule, state, &view, policy.price(), now);
        Ok(key_state(&rule, &kept, cost, standing.fits, now))
    }

    /// Drops the cached state of some keys.
    pub(in crate::limit) fn forget(&self, keys: &[Key]) {
        let mut locked = self.store.lock(keys.iter().copied());
        for key in keys {
            for stale in
                [*key, key.variant(REFUSED), key.variant(ALONE ^ u64::from(self.parts_of_store()))]
            {
                locked.remove(&stale);
            }
            lease::forget(&mut locked, *key);
        }
    }

    fn parts_of_store(&self) -> u32 {
        self.shared.as_ref().map_or(1, |shared| shared.status().parts())
    }
}
