//! Signals about a client: a failed CAPTCHA makes its limits tighter for a while, a passed one
//! makes them wider.
//!
//! A signal is stored next to the counts of the client: in this process under a variant of the key,
//! in a shared store as an entry of the record. It applies to limits with a single key part, be it
//! the address, the user or the token: for a combination with a route, the affected key is
//! ambiguous. Signals do not apply to limits of requests in flight.

use super::config::{KeyPart, KeySpec};
use super::error::LimitError;
use super::limiter::{CompiledLimit, Counter, Limiter};
use super::subject::{key_of_whom, shared_key_of_whom};
use crate::clock::{Now, micros};
use crate::few::Few;
use crate::net::ClientKey;
use crate::quota::algorithm::{Rule, UNSCALED};
use crate::quota::{Action, LimitCheck, StoreCommand, SubjectCommand};
use crate::store::{Key, Locked, Record};

const SIGNAL: u64 = 0x5349_474e_414c_2121;

/// The target of a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignalTarget<'w> {
    /// A client, by its address.
    Address(ClientKey),
    /// A user, by the token's `sub`.
    User(&'w str),
    /// A token, by its `jti`.
    Token(&'w str),
}

/// A signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signal {
    /// The multiplier of the limit, in thousandths.
    pub factor: u16,
    /// The lifetime of the signal.
    pub ttl: std::time::Duration,
}

impl Limiter {
    /// The rule for the owner of `key`, scaled by its signal.
    pub(super) fn signalled(
        &self,
        locked: &Locked<'_>,
        key: &Key,
        rule: &Rule,
        now: Now,
    ) -> Option<Rule> {
        // Usually the store has no signal at all, and this check is the whole cost.
        if !self.store.has_signals(now.mono_us) {
            return None;
        }
        let signal = locked.get_own(&key.variant(SIGNAL), now.mono_us)?;
        let [factor, _] = signal.state;
        Some(rule.scaled(u16::try_from(factor).ok()?))
    }

    /// The limits whose only key part is `whom`; with `name`, only the one of that name.
    fn counters_of<'l>(
        &'l self,
        whom: SignalTarget<'_>,
        name: Option<&'l str>,
    ) -> impl Iterator<Item = &'l Counter> {
        let part = match whom {
            SignalTarget::Address(_) => None,
            SignalTarget::User(_) => Some(KeyPart::User),
            SignalTarget::Token(_) => Some(KeyPart::Token),
        };
        let fits = move |policy: &&CompiledLimit| {
            name.is_none_or(|name| policy.name == name)
                && !policy.own.rule.is_in_flight()
                && match &policy.key {
                    // Anonymous requests are counted by address.
                    KeySpec::Parts(parts) => match parts.as_slice() {
                        [KeyPart::Route | KeyPart::Custom] => false,
                        [one] => part.is_none_or(|part| part == *one),
                        _ => false,
                    },
                    KeySpec::Function => false,
                }
        };
        self.policies.iter().filter(fits).flat_map(CompiledLimit::counters)
    }

    /// Stores a signal in this process, and returns the number of limits it applies to.
    ///
    /// # Errors
    /// There is no room for it.
    pub fn signal(
        &self,
        whom: SignalTarget<'_>,
        name: Option<&str>,
        signal: Signal,
        now: Now,
    ) -> Result<usize, LimitError> {
        let until_us = now.mono_us.saturating_add(micros(signal.ttl));
        let keys: Vec<Key> =
            self.counters_of(whom, name).map(|counter| key_of_whom(counter, whom)).collect();
        let record = Record {
            state: [u64::from(signal.factor), 0],
            expires_us: until_us,
            // A flood of keys must not evict it.
            blocked_until_us: until_us,
            used: 0,
        };
        let mut locked = self.store.lock(keys.iter().copied());
        for key in &keys {
            if signal.factor == UNSCALED {
                locked.remove(&key.variant(SIGNAL));
            } else if !locked.put_own(&key.variant(SIGNAL), record, now.mono_us) {
                return Err(LimitError::StoreFull);
            }
        }
        drop(locked);
        if !keys.is_empty() {
            self.store.note_signal(until_us);
        }
        Ok(keys.len())
    }

    /// The command that stores a signal in a shared store; `None` if it applies to no limit.
    #[must_use]
    pub fn signal_question(
        &self,
        whom: SignalTarget<'_>,
        name: Option<&str>,
        signal: Signal,
    ) -> Option<StoreCommand> {
        let demand =
            |counter: &Counter| LimitCheck { tag: counter.tag, rule: counter.rule, cost: 0 };
        let demands: Few<LimitCheck> = self.counters_of(whom, name).map(demand).collect();
        let action = Action::Signal(signal.factor, micros(signal.ttl));
        let subject = shared_key_of_whom(whom);
        (!demands.is_empty())
            .then(|| StoreCommand::about(action, vec![SubjectCommand { subject, demands }]))
    }

    /// Drops the cached state of `whom` from a shared store: it is stale now.
    pub fn forget_known(&self, whom: SignalTarget<'_>, name: Option<&str>) {
        let keys: Vec<Key> =
            self.counters_of(whom, name).map(|counter| key_of_whom(counter, whom)).collect();
        self.forget(&keys);
    }
}
