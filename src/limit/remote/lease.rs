//! Leases: the expected cost of a busy key is debited in the store ahead of time, and spent here
//! without a store command.
//!
//! Every admission is debited before it is granted, so a process that dies has admitted too little,
//! never too much. The debit is spent within [`span_us`], or the rest is refunded, except for the
//! part that the algorithm has restored by itself: a window that is over gets no refund. So in any
//! span of time W a key is admitted at most burst + rate × (W + span) times.
//!
//! A lease is three quarters of the requests that this process expects to admit within the span,
//! and at most its share of the remaining quota. So small limits and quiet keys have no lease, and
//! the store decides each of their requests. A request that finds its lease spent sends one
//! command, for itself and for the next lease.

use crate::clock::Now;
use crate::few::Few;
use crate::limit::limiter::PolicyCheck;
use crate::quota::algorithm::{Rule, State};
use crate::quota::{Action, LimitCheck, StoreCommand, SubjectCommand};
use crate::store::{Key, Locked, Record};

const LEASED: u64 = 0x4c45_4153_4544_2121;
const SECOND_US: u64 = 1_000_000;
/// A key without a request within this time is not busy any more.
const FORGOTTEN_US: u64 = 3 * SECOND_US;
/// How long other requests wait for the one that requests a lease, before another one does too.
const ASKING_MS: u32 = 100;

/// The state of a key that may have a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Lease {
    /// The remaining debit, in units of cost.
    left: u32,
    /// The end of the lease.
    until_us: u64,
    /// The time until which a request for the next lease is pending: milliseconds, the low half.
    asking_ms: u32,
    /// The second in which `now` counts the requests; `before` has the count of the previous
    /// second.
    second: u32,
    now: u16,
    before: u16,
}

impl Lease {
    fn read(record: &Record) -> Self {
        let [tokens, rate] = record.state;
        Self {
            left: low(tokens >> 32),
            asking_ms: low(tokens),
            until_us: record.blocked_until_us,
            second: low(rate >> 32),
            now: short(rate >> 16),
            before: short(rate),
        }
    }

    fn record(self, now_us: u64) -> Record {
        let tokens = u64::from(self.left) << 32 | u64::from(self.asking_ms);
        let rate =
            u64::from(self.second) << 32 | u64::from(self.now) << 16 | u64::from(self.before);
        Record {
            state: [tokens, rate],
            expires_us: (now_us + FORGOTTEN_US).max(self.until_us),
            // A flood of keys must not evict a debit.
            blocked_until_us: self.until_us,
            used: 0,
        }
    }

    /// Counts a request.
    fn note(&mut self, now_us: u64) {
        let second = low(now_us / SECOND_US);
        if second != self.second {
            self.before = if second == self.second.wrapping_add(1) { self.now } else { 0 };
            (self.second, self.now) = (second, 0);
        }
        self.now = self.now.saturating_add(1);
    }

    /// Whether a request for the next lease is pending.
    fn is_asked_for(self, now_us: u64) -> bool {
        let left = self.asking_ms.wrapping_sub(low(now_us / 1000));
        (1..=ASKING_MS).contains(&left)
    }

    /// Whether the lease covers a part's cost.
    fn covers(self, part: &PolicyCheck<'_>, now_us: u64) -> bool {
        part.cost == 0 || !part.policy.exact && self.until_us > now_us && self.left >= part.cost
    }

    /// Estimated requests per second.
    fn rate(self) -> u64 {
        u64::from(self.now.max(self.before))
    }
}

/// The duration of a lease: a second, or 2 % of the window if that is shorter.
pub(super) fn span_us(rule: &Rule) -> u64 {
    (rule.window_us() / 50).min(SECOND_US)
}

/// The end of a lease that is taken now. An aligned window ends its debits.
fn end_us(rule: &Rule, now: Now) -> u64 {
    let span_us = span_us(rule);
    if rule.algorithm().has_burst() {
        return now.mono_us + span_us;
    }
    now.mono_us + span_us.min(rule.window_us() - now.unix_us % rule.window_us())
}

/// The number of requests to debit for a part, including the current one: 1 means no lease.
fn wanted(part: &PolicyCheck<'_>, lease: Lease, instances: u32, now: Now) -> u32 {
    if part.policy.exact || part.cost == 0 {
        return 1;
    }
    let rule = &part.counter.rule;
    // More would often remain and have to be refunded: `bench/simulate.mjs` has the figures.
    let expected = (lease.rate() * span_us(rule) * 3).div_ceil(4 * SECOND_US);
    let left = rule.view(State(part.record.state), rule.clock(now)).remaining;
    let mine = left / u64::from(instances) / u64::from(part.cost);
    u32::try_from(expected.min(mine).max(1)).unwrap_or(1)
}

/// Admits a request from leases if every part has one; otherwise counts the request. The records of
/// `parts` are the last answers of the store.
pub(super) fn spend(locked: &mut Locked<'_>, parts: &mut [PolicyCheck<'_>], now: Now) -> bool {
    let now_us = now.mono_us;
    let mut leases = Vec::with_capacity(parts.len());
    for part in parts.iter() {
        // A part that is `exact` has no lease, and its requests are not counted.
        let may_have = !part.policy.exact;
        let record = may_have.then(|| locked.get(&part.key.variant(LEASED), now_us)).flatten();
        let mut lease = record.map_or_else(Lease::default, |record| Lease::read(&record));
        lease.note(now_us);
        leases.push((record.is_some(), lease));
    }
    let enough = parts.iter().zip(&leases).all(|(part, (_, lease))| lease.covers(part, now_us));
    for (part, (known, mut lease)) in parts.iter_mut().zip(leases) {
        if enough {
            lease.left -= part.cost.min(lease.left);
        }
        part.leased = if lease.until_us > now_us { u64::from(lease.left) } else { 0 };
        // A new key gets no entry yet: most keys never return.
        if !part.policy.exact && (known || part.record != Record::default()) {
            // Without an entry there is no lease, and the store decides.
            let _ = locked.put_own(&part.key.variant(LEASED), lease.record(now_us), now_us);
        }
    }
    enough
}

/// Whether leases cover a request that the store would refuse: the store admitted their cost
/// before. A key that was blocked by `guard.limits` stays refused.
pub(super) fn cover(locked: &Locked<'_>, parts: &[PolicyCheck<'_>], now: Now) -> bool {
    parts.iter().all(|part| {
        let record = locked.get(&part.key.variant(LEASED), now.mono_us);
        let lease = record.map_or_else(Lease::default, |record| Lease::read(&record));
        part.record.blocked_until_us <= now.mono_us && lease.covers(part, now.mono_us)
    })
}

/// Decides how much to debit for each part, and returns refunds of expired leases.
pub(super) fn plan(
    locked: &mut Locked<'_>,
    parts: &mut [PolicyCheck<'_>],
    instances: u32,
    now: Now,
) -> Vec<StoreCommand> {
    let now_us = now.mono_us;
    let mut unspent = Vec::new();
    // If one limit sends every request to the store, a lease of another can't be spent.
    let spendable = !parts.iter().any(|part| part.policy.exact);
    for part in parts {
        let key = part.key.variant(LEASED);
        let Some(record) = locked.get(&key, now_us) else { continue };
        let mut lease = Lease::read(&record);
        if lease.left > 0 && lease.until_us <= now_us {
            unspent.extend(refund(part, lease, now));
            lease.left = 0;
        }
        // Of many requests that find the lease spent at once, one requests a lease for all.
        if spendable && !lease.is_asked_for(now_us) {
            part.prefetch = wanted(part, lease, instances, now) - 1;
            if part.prefetch > 0 {
                lease.asking_ms = low(now_us / 1000).wrapping_add(ASKING_MS);
            }
        }
        locked.update(&key, lease.record(now_us));
    }
    unspent
}

/// Stores the lease of an admitted part, and sets the cost that can be spent now.
pub(super) fn keep(locked: &mut Locked<'_>, part: &mut PolicyCheck<'_>) {
    if part.policy.exact {
        return;
    }
    let (key, now_us) = (part.key.variant(LEASED), part.now.mono_us);
    let known = locked.get(&key, now_us).map(|record| Lease::read(&record));
    let mut lease = known.unwrap_or_default();
    if part.prefetch > 0 {
        let end_us = end_us(&part.counter.rule, part.now);
        // If an earlier lease has a rest, the earlier end applies to both.
        if lease.left > 0 && lease.until_us > now_us {
            lease.until_us = lease.until_us.min(end_us);
        } else {
            (lease.left, lease.until_us) = (0, end_us);
        }
        lease.left = lease.left.saturating_add(part.cost.saturating_mul(part.prefetch));
        lease.asking_ms = 0;
        if !locked.put_own(&key, lease.record(now_us), now_us) {
            // Without an entry the lease is lost, so less is admitted, never more.
            return;
        }
    }
    if lease.until_us > now_us {
        part.leased = u64::from(lease.left);
    }
}

/// Drops a lease after `guard.limits` changed the key. Its debit is lost.
pub(super) fn forget(locked: &mut Locked<'_>, key: Key) {
    locked.remove(&key.variant(LEASED));
}

/// Refunds the rest of an expired lease, by the rule of all refunds: see [`Rule::remainder`].
fn refund(part: &PolicyCheck<'_>, lease: Lease, now: Now) -> Option<StoreCommand> {
    let rule = part.counter.rule;
    let charged = if rule.algorithm().has_burst() {
        // The last state from the store; while a lease holds, it includes the lease's own charge.
        State(part.record.state)
    } else {
        let ago_us = now.mono_us.saturating_sub(lease.until_us) + span_us(&rule);
        rule.charged_before(ago_us, now.unix_us)
    };
    let (rule, cost) = rule.remainder(charged, lease.left, rule.clock(now))?;
    let demand = LimitCheck { tag: part.counter.tag, rule, cost };
    let subject = SubjectCommand { subject: part.subject?, demands: Few::from([demand]) };
    Some(StoreCommand::about(Action::Refund, vec![subject]))
}

fn low(number: u64) -> u32 {
    u32::try_from(number & 0xffff_ffff).unwrap_or(u32::MAX)
}

fn short(number: u64) -> u16 {
    u16::try_from(number & 0xffff).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quota::algorithm::Algorithm;
    use proptest::prelude::*;
    use std::time::Duration;

    proptest! {
        #[test]
        fn a_lease_is_read_as_it_was_kept(
            left: u32, asking_ms: u32, second: u32, now: u16, before: u16,
        ) {
            let until_us = 1_800_000_000_000_000;
            let lease = Lease { left, until_us, asking_ms, second, now, before };
            prop_assert_eq!(Lease::read(&lease.record(until_us - 5)), lease);
        }
    }

    #[test]
    fn a_lease_lasts_a_second_at_most_and_never_beyond_an_aligned_window() {
        let rule = |algorithm, ms| Rule::new(algorithm, 1000, Duration::from_millis(ms), 1000);
        let now = 1_800_000_000_000_000;
        let at = |unix_us| Now { unix_us, mono_us: 7 };
        assert_eq!(end_us(&rule(Algorithm::Gcra, 60_000), at(now)), 7 + 1_000_000);
        assert_eq!(end_us(&rule(Algorithm::Gcra, 1_000), at(now)), 7 + 20_000);
        let window = rule(Algorithm::FixedWindow, 60_000);
        let late = now - now % 60_000_000 + 59_900_000;
        assert_eq!(end_us(&window, at(late)), 7 + 100_000);
    }

    #[test]
    fn the_rate_is_that_of_this_second_or_of_the_one_before_and_is_forgotten_after_a_pause() {
        let mut lease = Lease::default();
        for i in 0..50 {
            lease.note(10_000_000 + i * 10_000);
        }
        lease.note(11_000_000);
        assert_eq!((lease.rate(), lease.now), (50, 1));
        lease.note(20_000_000);
        assert_eq!(lease.rate(), 1);
    }
}
