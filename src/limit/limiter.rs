//! The limiter: all policies of a guard over one store.

use std::borrow::Cow;
use std::sync::Arc;

use super::charge::{Charge, DelayQueue, DelaySlot};
use super::config::{Cost, KeySpec, LimitPolicy, Scope};
use super::error::LimitError;
use super::exceed::{Count, OnExceed, OnStoreFailure, conflict};
use super::headers::{policy_item, push_item, push_limit, seconds, window_seconds};
use super::in_flight::{ConcurrencyPermit, LocalSlot};
use super::outcome::{LimitState, Outcome};
use super::subject::{Subject, shared_tag};
use crate::clock::Now;
use crate::error::ConfigError;
use crate::few::Few;
use crate::net::Ipv6Prefix;
use crate::quota::SubjectKey;
use crate::quota::algorithm::{Rule, State, View};
use crate::shared_store::{SharedSlot, SharedStore};
use crate::store::{Key, Locked, MemoryStore, Prefix, Record, SPENT};

/// The maximum number of policies of one limiter, over all stacks of a guard.
pub const MAX_POLICIES: usize = 64;

/// All policies of a guard, ready to judge requests. Threads can share it.
#[derive(Debug)]
pub struct Limiter {
    /// The counts; with a shared store, the part of them that this process caches.
    pub(super) store: Arc<MemoryStore>,
    pub(super) shared: Option<Arc<SharedStore>>,
    scope: String,
    pub(super) policies: Vec<CompiledLimit>,
    /// By which prefix an IPv6 address that `guard.limits` names is counted.
    pub(super) ipv6_prefix: Ipv6Prefix,
    /// `RateLimit-Policy` for requests to which all policies apply, if no policy has tiers or is
    /// `'shadow'`.
    header: Option<String>,
}

/// A policy and its counters.
#[derive(Debug)]
pub(super) struct CompiledLimit {
    pub(super) name: String,
    pub(super) key: KeySpec,
    pub(super) cost: Cost,
    scope: Scope,
    pub(super) exact: bool,
    pub(super) on_failure: OnStoreFailure,
    pub(super) count: Count,
    /// `None` if a request that exceeds the limit does not wait.
    pub(super) delay_queue: Option<DelayQueue>,
    pub(super) own: Counter,
    /// By role or plan, the most generous first.
    pub(super) tiers: Vec<(String, Counter)>,
}

/// One limit with its key prefix in the store.
#[derive(Debug)]
pub(super) struct Counter {
    pub(super) rule: Rule,
    pub(super) prefix: Prefix,
    /// The tag of its states in a subject's record in a shared store.
    pub(super) tag: u32,
    /// Its item of `RateLimit-Policy`.
    header: String,
}

/// Some of a limiter's policies, by index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LimitMask(u64);

impl LimitMask {
    /// All policies, however many there are.
    pub const ALL: Self = Self(u64::MAX);
    /// No policy.
    pub const NONE: Self = Self(0);

    /// This set and the policy at `index`; an index that no limiter has changes nothing.
    #[must_use]
    pub const fn with(self, index: usize) -> Self {
        if index < MAX_POLICIES { Self(self.0 | 1 << index) } else { self }
    }

    /// The policies in this set and not in `other`: those that have not counted a request yet.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// The policies in either set.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether the policy at `index` is in it.
    #[must_use]
    pub const fn has(self, index: usize) -> bool {
        index < MAX_POLICIES && self.0 >> index & 1 == 1
    }
}

/// One policy's part in a check.
#[derive(Debug)]
pub(super) struct PolicyCheck<'l> {
    /// The policy's index in the limiter.
    pub(super) index: usize,
    pub(super) policy: &'l CompiledLimit,
    pub(super) counter: &'l Counter,
    pub(super) key: Key,
    /// The counted subject, if a shared store decides.
    pub(super) subject: Option<SubjectKey>,
    pub(super) cost: u32,
    /// The clock of the store that counts.
    pub(super) now: Now,
    /// The state of the key, including this request if it was counted.
    pub(super) record: Record,
    /// The share of this process while a shared store is unavailable. Rare, as the next one, and so
    /// boxed: a rule is large.
    pub(super) share: Option<Box<Rule>>,
    /// The limit scaled by a signal of this client.
    pub(super) scaled: Option<Box<Rule>>,
    /// Its slot in the delay queue, if it may have to wait.
    pub(super) delay_slot: Option<DelaySlot>,
    /// The number of requests to debit in a shared store ahead of time.
    pub(super) prefetch: u32,
    /// The cost that was debited ahead of time and can still be spent here.
    pub(super) leased: u64,
    pub(super) fits: bool,
    /// Its slots of concurrent requests: in this process, and in a shared store. Boxed, since most
    /// limits have none.
    pub(super) taken: Option<Box<LocalSlot>>,
    pub(super) held: Option<Box<SharedSlot>>,
}

impl PolicyCheck<'_> {
    pub(super) fn rule(&self) -> &Rule {
        self.scaled.as_deref().or(self.share.as_deref()).unwrap_or(&self.counter.rule)
    }

    /// Whether the limit is `'shadow'`.
    pub(super) fn is_watching(&self) -> bool {
        self.counter.rule.is_watching()
    }

    /// The rule for this request: without a slot in the delay queue it has to fit at once.
    pub(super) fn asked_rule(&self) -> Rule {
        let rule = *self.rule();
        if self.delay_slot.is_some() { rule } else { rule.without_delay() }
    }

    /// Whether the limit counts requests in flight.
    pub(super) fn is_in_flight(&self) -> bool {
        self.counter.rule.is_in_flight()
    }

    /// Takes a slot in this process, whose keys are in `locked`.
    pub(super) fn take(&mut self, store: &Arc<MemoryStore>, locked: &mut Locked<'_>) {
        self.taken = Some(Box::new(LocalSlot::take(store, locked, self.key)));
    }

    pub(super) fn clock_us(&self) -> u64 {
        self.rule().clock(self.now)
    }

    pub(super) fn view(&self) -> View {
        self.rule().view(State(self.record.state), self.clock_us())
    }

    /// Whether the request may pass in the present state of the key.
    pub(super) fn would_fit(&self) -> bool {
        self.record.blocked_until_us <= self.now.mono_us
            && self.asked_rule().fits(State(self.record.state), self.cost, self.clock_us())
    }

    /// The time that a refused request has to wait.
    pub(super) fn wait_us(&self) -> u64 {
        let blocked = self.record.blocked_until_us.saturating_sub(self.now.mono_us);
        self.rule().wait(State(self.record.state), self.cost, self.clock_us()).max(blocked)
    }
}

impl Limiter {
    /// A limiter over `store`. Limiters that share a store share the counts of policies with the
    /// same `scope`, name and limits. Give each guard its own scope to keep them apart, or all the
    /// same one.
    ///
    /// Fails for more than [`MAX_POLICIES`], and for a duplicate name: the counts would be
    /// indistinguishable.
    pub fn new(
        policies: Vec<LimitPolicy>,
        store: Arc<MemoryStore>,
        scope: &str,
    ) -> Result<Self, ConfigError> {
        Self::over(policies, store, None, scope)
    }

    /// A limiter over a store that other processes share. Limiters of all processes share the
    /// counts of policies with the same name and limits. Fails as [`Self::new`] does.
    pub fn shared(
        policies: Vec<LimitPolicy>,
        shared: Arc<SharedStore>,
    ) -> Result<Self, ConfigError> {
        Self::over(policies, Arc::clone(shared.local()), Some(shared), "")
    }

    fn over(
        policies: Vec<LimitPolicy>,
        store: Arc<MemoryStore>,
        shared: Option<Arc<SharedStore>>,
        scope: &str,
    ) -> Result<Self, ConfigError> {
        if policies.len() > MAX_POLICIES {
            let problem = format!("must have at most {MAX_POLICIES} policies in all stacks");
            return Err(ConfigError::invalid("rateLimit", problem));
        }
        let mut prepared: Vec<CompiledLimit> = Vec::with_capacity(policies.len());
        for policy in policies {
            if prepared.iter().any(|other| other.name == policy.name) {
                let problem = format!("has two policies with the name `{}`", policy.name);
                return Err(conflict("rateLimit", problem)
                    .suggest("give each policy of a guard a name of its own"));
            }
            prepared.push(CompiledLimit::new(policy, &store, scope));
        }
        if let Some(shared) = &shared {
            let rules = prepared.iter().map(|policy| &policy.own.rule);
            for rule in rules.filter(|rule| rule.is_in_flight()) {
                shared.renew_slots(rule.slots().1);
            }
        }
        let simple =
            |policy: &CompiledLimit| policy.tiers.is_empty() && !policy.own.rule.is_watching();
        let header = prepared
            .iter()
            .all(simple)
            .then(|| join_headers(prepared.iter().map(|policy| &policy.own)));
        let scope = scope.to_owned();
        let ipv6_prefix = Ipv6Prefix::default();
        Ok(Self { store, shared, scope, policies: prepared, ipv6_prefix, header })
    }

    /// Counts IPv6 addresses that `guard.limits` names by `ipv6_prefix`, as [`Subject::client`] of
    /// requests is.
    #[must_use]
    pub fn with_ipv6_prefix(self, ipv6_prefix: Ipv6Prefix) -> Self {
        Self { ipv6_prefix, ..self }
    }

    /// A limiter like this one with other policies. Its delay queues include the requests that wait
    /// here.
    pub(super) fn with_policies(&self, policies: Vec<LimitPolicy>) -> Result<Self, ConfigError> {
        let store = Arc::clone(&self.store);
        let limiter = Self::over(policies, store, self.shared.clone(), &self.scope)?;
        let mut limiter = limiter.with_ipv6_prefix(self.ipv6_prefix);
        for policy in &mut limiter.policies {
            let same = self.policies.iter().find(|known| known.name == policy.name);
            let known = same.and_then(|known| known.delay_queue.as_ref());
            if let (Some(queue), Some(known)) = (&mut policy.delay_queue, known) {
                queue.go_on_from(known);
            }
        }
        Ok(limiter)
    }

    /// The index of the policy with this name, for [`LimitMask::with`] and the `custom_*` lists of
    /// a [`Subject`].
    #[must_use]
    pub fn index_of(&self, name: &str) -> Option<usize> {
        self.policies.iter().position(|policy| policy.name == name)
    }

    /// The name of the policy with this index.
    #[must_use]
    pub fn name_of(&self, index: usize) -> Option<&str> {
        self.policies.get(index).map(|policy| policy.name.as_str())
    }

    /// Whether one of its policies is `'shadow'`.
    #[must_use]
    pub fn has_shadow(&self) -> bool {
        self.policies.iter().any(|policy| policy.own.rule.is_watching())
    }

    /// The store with its counts.
    #[must_use]
    pub fn store(&self) -> &Arc<MemoryStore> {
        &self.store
    }

    /// Whether any decision here depends on a user's roles.
    #[must_use]
    pub fn reads_roles(&self) -> bool {
        self.policies.iter().any(|policy| !policy.tiers.is_empty())
    }

    /// Judges a request by all policies of `which` that apply to it. If all admit it, all count it;
    /// if one refuses, none does. Fails if a user's function returned no key or cost.
    ///
    /// For a limiter in this process. A limiter over a shared store judges by its cached state.
    pub fn check(
        &self,
        which: LimitMask,
        subject: &Subject<'_>,
        now: Now,
    ) -> Result<Outcome<'_>, LimitError> {
        Ok(self.judge(self.parts(which, subject, now)?, now))
    }

    /// The checks of the policies of `which` that apply to a request.
    pub(super) fn parts(
        &self,
        which: LimitMask,
        subject: &Subject<'_>,
        now: Now,
    ) -> Result<Few<PolicyCheck<'_>>, LimitError> {
        let mut parts: Few<PolicyCheck<'_>> = Few::with_capacity(self.policies.len());
        for (index, policy) in self.policies.iter().enumerate() {
            if !which.has(index) || !policy.scope.includes(subject.method, subject.path) {
                continue;
            }
            let counter = policy.counter_for(subject.roles);
            let in_flight = counter.rule.is_in_flight();
            let same =
                |part: &&PolicyCheck<'_>| part.policy.key == policy.key && !part.is_in_flight();
            let known = parts.iter().find(same).and_then(|part| part.subject);
            let who = match known {
                _ if in_flight && self.shared.is_some() => {
                    Some(subject.place_key(policy, counter, index)?)
                }
                Some(_) if !policy.key.has_functions() => known,
                _ if self.shared.is_some() => Some(subject.shared_key(policy, index)?),
                _ => None,
            };
            parts.push(PolicyCheck {
                index,
                policy,
                counter,
                key: subject.key(policy, counter, index)?,
                subject: who,
                cost: subject.cost(policy, index)?,
                now,
                record: Record::default(),
                share: None,
                scaled: None,
                delay_slot: policy.delay_queue.as_ref().and_then(DelayQueue::take),
                prefetch: 0,
                leased: 0,
                fits: false,
                taken: None,
                held: None,
            });
        }
        Ok(parts)
    }

    fn judge<'l>(&'l self, parts: Few<PolicyCheck<'l>>, now: Now) -> Outcome<'l> {
        self.judge_from(parts, now, &[])
    }

    /// Judges and counts in this process. `first` has the records for keys that have none yet.
    pub(super) fn judge_from<'l>(
        &'l self,
        mut parts: Few<PolicyCheck<'l>>,
        now: Now,
        first: &[Record],
    ) -> Outcome<'l> {
        let mut locked = self.store.lock(parts.iter().map(|part| part.key));
        let mut allowed = true;
        for (i, part) in parts.iter_mut().enumerate() {
            if part.is_in_flight() {
                part.record.state = [u64::from(locked.in_flight_slots(&part.key)), 0];
                part.fits = part.would_fit();
                allowed &= part.fits || part.is_watching();
                continue;
            }
            let known = locked.get(&part.key, now.mono_us).or_else(|| first.get(i).copied());
            part.record = known.unwrap_or_default();
            part.scaled = self.signalled(&locked, &part.key, part.rule(), now).map(Box::new);
            part.fits = part.would_fit();
            allowed &= part.fits || part.is_watching();
        }
        let mut admitted = allowed;
        for part in &mut parts {
            let rule = *part.rule();
            let (state, clock_us) = (State(part.record.state), part.clock_us());
            let charged = allowed && part.fits;
            if part.is_in_flight() {
                if charged {
                    part.take(&self.store, &mut locked);
                    part.record.state = rule.charge(state, 1, clock_us).0;
                }
                continue;
            }
            let state = if charged {
                rule.charge(state, part.cost, clock_us)
            } else {
                rule.settle(state, clock_us)
            };
            let view = rule.view(state, clock_us);
            part.record = record(&part.record, &rule, state, &view, part.policy.price(), now);
            if !charged {
                if !part.fits {
                    locked.update(&part.key, part.record);
                }
            } else if part.cost > 0 && !locked.put(&part.key, part.record, now.mono_us) {
                // Without room no record would count this request, so it must not pass.
                part.fits = false;
                admitted &= part.is_watching();
            }
        }
        drop(locked);
        self.report(parts, admitted)
    }

    /// The outcome of a request after its parts were judged.
    pub(super) fn report<'l>(&'l self, parts: Few<PolicyCheck<'l>>, allowed: bool) -> Outcome<'l> {
        let mut outcome = Outcome {
            allowed,
            rate_limit: String::with_capacity(parts.len() * 32),
            rate_limit_policy: self.policy_header(&parts),
            retry_after: None,
            states: Few::with_capacity(parts.len()),
            delay_us: 0,
            delay_slots: Vec::new(),
            charges: Vec::new(),
            held: Vec::new(),
        };
        let mut retry_us = 0;
        for part in parts {
            let mut view = part.view();
            view.remaining += part.leased;
            if part.record.blocked_until_us > part.now.mono_us {
                view.remaining = 0;
                view.reset_us = part.record.blocked_until_us - part.now.mono_us;
            }
            let shadow = part.is_watching();
            if !allowed && !part.fits && !shadow {
                retry_us = retry_us.max(part.wait_us());
            }
            let state = LimitState {
                name: &part.policy.name,
                limit: part.rule().limit(),
                window_s: window_seconds(part.rule()),
                remaining: view.remaining,
                reset_s: seconds(view.reset_us),
                violated: !part.fits,
                shadow,
                in_flight: part.is_in_flight(),
            };
            // A shadow limit must not change the behaviour of clients.
            if !shadow {
                push_limit(&mut outcome.rate_limit, state.name, state.remaining, state.reset_s);
            }
            outcome.states.push(state);
            if allowed {
                outcome.charges.extend(Charge::of(&part));
                let delay_us = part.rule().delay(State(part.record.state), part.clock_us());
                if delay_us > 0 && part.fits && part.cost > 0 {
                    outcome.delay_us = outcome.delay_us.max(delay_us);
                    outcome.delay_slots.extend(part.delay_slot);
                }
                if let Some(local) = part.taken {
                    outcome.held.push(ConcurrencyPermit::new(*local, part.held.map(|held| *held)));
                }
            }
        }
        if !allowed {
            outcome.retry_after = Some(seconds(retry_us).max(1));
        }
        outcome
    }

    fn policy_header<'l>(&'l self, parts: &[PolicyCheck<'l>]) -> Cow<'l, str> {
        match (parts, &self.header) {
            ([], _) => Cow::Borrowed(""),
            ([one], _) if !one.is_watching() => Cow::Borrowed(&one.counter.header),
            (all, Some(header)) if all.len() == self.policies.len() => Cow::Borrowed(header),
            (some, _) => {
                let told = some.iter().filter(|part| !part.is_watching());
                Cow::Owned(join_headers(told.map(|part| part.counter)))
            }
        }
    }
}

impl CompiledLimit {
    fn new(policy: LimitPolicy, store: &MemoryStore, scope: &str) -> Self {
        let counter = |tier: &str, rule| Counter::new(&policy.name, tier, rule, store, scope);
        let tiers = policy.tiers.iter();
        let mut tiers: Vec<(String, Counter)> =
            tiers.map(|tier| (tier.name.clone(), counter(&tier.name, tier.rule))).collect();
        tiers.sort_by(|(_, one), (_, two)| {
            two.rule
                .is_more_generous_than(&one.rule)
                .cmp(&one.rule.is_more_generous_than(&two.rule))
        });
        let own = counter("", policy.rule);
        Self {
            name: policy.name,
            key: policy.key,
            cost: policy.cost,
            scope: policy.scope,
            exact: policy.exact,
            on_failure: policy.on_failure,
            count: policy.count,
            delay_queue: match policy.on_exceed {
                OnExceed::Delay { most, .. } => Some(DelayQueue::new(most)),
                OnExceed::Reject | OnExceed::Shadow => None,
            },
            own,
            tiers,
        }
    }

    /// The most generous tier among `roles`, or the policy's own limit. A further role is a further
    /// right, so it must not lower the limit. The order of roles in a token or of tiers must not
    /// matter.
    fn counter_for(&self, roles: &[&str]) -> &Counter {
        let tier = self.tiers.iter().find(|(name, _)| roles.contains(&name.as_str()));
        tier.map_or(&self.own, |(_, counter)| counter)
    }

    /// The cost of the cheapest request: with less than this left, a key is exhausted.
    pub(super) fn price(&self) -> u64 {
        match self.cost {
            Cost::Fixed(cost) => u64::from(cost),
            Cost::Function => 1,
        }
    }

    /// The policy's own counter and those of its tiers.
    pub(super) fn counters(&self) -> impl Iterator<Item = &Counter> {
        std::iter::once(&self.own).chain(self.tiers.iter().map(|(_, counter)| counter))
    }
}

impl Counter {
    fn new(name: &str, tier: &str, rule: Rule, store: &MemoryStore, scope: &str) -> Self {
        if rule.is_in_flight() {
            // The limit is not part of the key, since requests stay in flight when it changes.
            let kind = [rule.algorithm() as u8];
            let parts = [scope.as_bytes(), name.as_bytes(), &kind, tier.as_bytes()];
            let prefix = store.prefix(&parts);
            return Self {
                rule,
                prefix,
                tag: shared_tag(&parts),
                header: policy_item(name, &rule),
            };
        }
        // The rule is part of the key, since only the rule that wrote a state can interpret it.
        let limit = [rule.limit(), rule.window_us(), rule.capacity()].map(u64::to_le_bytes);
        let parts =
            [scope.as_bytes(), name.as_bytes(), &[rule.algorithm() as u8], limit.as_flattened()];
        let prefix = store.prefix(&parts);
        Self { rule, prefix, tag: shared_tag(&parts), header: policy_item(name, &rule) }
    }
}

/// The record for a state. It is marked as spent if less than `price` is left. A refusal alone does
/// not mark it: otherwise a client that can choose a high cost could occupy entries for ever with
/// one request each.
pub(super) fn record(
    old: &Record,
    rule: &Rule,
    state: State,
    view: &View,
    price: u64,
    now: Now,
) -> Record {
    let expires_us = now.mono_us.saturating_add(view.expires_us).max(old.blocked_until_us);
    let share = (rule.capacity() - view.remaining) * u64::from(SPENT - 1) / rule.capacity();
    let used = if view.remaining < price { SPENT } else { u16::try_from(share).unwrap_or(SPENT) };
    Record { state: state.0, expires_us, blocked_until_us: old.blocked_until_us, used }
}

fn join_headers<'l>(counters: impl Iterator<Item = &'l Counter>) -> String {
    let mut header = String::new();
    for counter in counters {
        push_item(&mut header, &counter.header);
    }
    header
}
