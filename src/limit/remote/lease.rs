//! Leases: what a busy key will need soon is debited in the store ahead of time, and spent here
//! without asking.
//!
//! Every admission is debited before it is given, so a process that dies has admitted too little,
//! never too much. What was debited is spent within [`span_us`] or given back, as far as it has not
//! come back by itself: a window that is over gets nothing back. So in any span of time W a key is
//! admitted at most burst + rate × (W + span) times.
//!
//! A lease is three quarters of what this process is expected to admit within the span, and never
//! more than its part of what is left. So small limits and quiet keys have none, and are asked for
//! one by one. The request that finds a lease spent asks for itself and for the next lease in one
//! question.

use crate::clock::Now;
use crate::few::Few;
use crate::limit::limiter::PolicyCheck;
use crate::quota::algorithm::{Rule, State};
use crate::quota::{Action, LimitCheck, StoreCommand, SubjectCommand};
use crate::store::{Key, Locked, Record};

const LEASED: u64 = 0x4c45_4153_4544_2121;
const SECOND_US: u64 = 1_000_000;
/// A key that is not asked for within this time is not busy any more.
const FORGOTTEN_US: u64 = 3 * SECOND_US;
/// How long one request is waited for that asks for a lease, before another one asks too.
const ASKING_MS: u32 = 100;

/// What is known of a key that may have a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Lease {
    /// What may still be spent, in units of cost.
    left: u32,
    /// Until when it may be spent.
    until_us: u64,
    /// Until when somebody asks for the next: milliseconds, the low half.
    asking_ms: u32,
    /// The second of which `now` counts the requests; `before` are those of the one before.
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
            // A flood of keys must not push out what was paid for.
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

    /// Whether somebody asks for the next already.
    fn is_asked_for(self, now_us: u64) -> bool {
        let left = self.asking_ms.wrapping_sub(low(now_us / 1000));
        (1..=ASKING_MS).contains(&left)
    }

    /// Whether a part's cost can be spent.
    fn covers(self, part: &PolicyCheck<'_>, now_us: u64) -> bool {
        part.cost == 0 || !part.policy.exact && self.until_us > now_us && self.left >= part.cost
    }

    /// Requests per second, as far as one can tell.
    fn rate(self) -> u64 {
        u64::from(self.now.max(self.before))
    }
}

/// How long a lease lasts: a second, or 2 % of the window if that is shorter.
pub(super) fn span_us(rule: &Rule) -> u64 {
    (rule.window_us() / 50).min(SECOND_US)
}

/// When a lease that is taken now is over: an aligned window ends what was debited in it.
fn end_us(rule: &Rule, now: Now) -> u64 {
    let span_us = span_us(rule);
    if rule.algorithm().has_burst() {
        return now.mono_us + span_us;
    }
    now.mono_us + span_us.min(rule.window_us() - now.unix_us % rule.window_us())
}

/// How many requests to debit for a part, that which is asked about among them: 1 is no lease.
fn wanted(part: &PolicyCheck<'_>, lease: Lease, instances: u32, now: Now) -> u32 {
    if part.policy.exact || part.cost == 0 {
        return 1;
    }
    let rule = &part.counter.rule;
    // More would often be left over and have to be given back: `bench/simulate.mjs` has the
    // figures.
    let expected = (lease.rate() * span_us(rule) * 3).div_ceil(4 * SECOND_US);
    let left = rule.view(State(part.record.state), rule.clock(now)).remaining;
    let mine = left / u64::from(instances) / u64::from(part.cost);
    u32::try_from(expected.min(mine).max(1)).unwrap_or(1)
}

/// Admits a request from leases, if every part of it has one; else counts that it was asked for.
/// `parts` have their records of what the store said last.
pub(super) fn spend(locked: &mut Locked<'_>, parts: &mut [PolicyCheck<'_>], now: Now) -> bool {
    let now_us = now.mono_us;
    let mut leases = Vec::with_capacity(parts.len());
    for part in parts.iter() {
        // What is asked for every time has no lease, and nothing is noted of it.
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
        // A key that is met for the first time gets no place yet: most never come again.
        if !part.policy.exact && (known || part.record != Record::default()) {
            // Without a place there is no lease, and the store is asked.
            let _ = locked.put_own(&part.key.variant(LEASED), lease.record(now_us), now_us);
        }
    }
    enough
}

/// Whether leases cover a request that the store would refuse: what is spent of them was admitted
/// before. What was blocked by hand is not let through.
pub(super) fn cover(locked: &Locked<'_>, parts: &[PolicyCheck<'_>], now: Now) -> bool {
    parts.iter().all(|part| {
        let record = locked.get(&part.key.variant(LEASED), now.mono_us);
        let lease = record.map_or_else(Lease::default, |record| Lease::read(&record));
        part.record.blocked_until_us <= now.mono_us && lease.covers(part, now.mono_us)
    })
}

/// Decides how much to debit for each part, and names what was not spent in time, to be given back.
pub(super) fn plan(
    locked: &mut Locked<'_>,
    parts: &mut [PolicyCheck<'_>],
    instances: u32,
    now: Now,
) -> Vec<StoreCommand> {
    let now_us = now.mono_us;
    let mut unspent = Vec::new();
    // Where one limit asks for every request, a lease of another could not be spent.
    let spendable = !parts.iter().any(|part| part.policy.exact);
    for part in parts {
        let key = part.key.variant(LEASED);
        let Some(record) = locked.get(&key, now_us) else { continue };
        let mut lease = Lease::read(&record);
        if lease.left > 0 && lease.until_us <= now_us {
            unspent.extend(refund(part, lease, now));
            lease.left = 0;
        }
        // Of many requests that find nothing left at once, one asks for all.
        if spendable && !lease.is_asked_for(now_us) {
            part.ahead = wanted(part, lease, instances, now) - 1;
            if part.ahead > 0 {
                lease.asking_ms = low(now_us / 1000).wrapping_add(ASKING_MS);
            }
        }
        locked.update(&key, lease.record(now_us));
    }
    unspent
}

/// Keeps what was debited ahead for a part that was admitted, and tells what there is now.
pub(super) fn keep(locked: &mut Locked<'_>, part: &mut PolicyCheck<'_>) {
    if part.policy.exact {
        return;
    }
    let (key, now_us) = (part.key.variant(LEASED), part.now.mono_us);
    let known = locked.get(&key, now_us).map(|record| Lease::read(&record));
    let mut lease = known.unwrap_or_default();
    if part.ahead > 0 {
        let end_us = end_us(&part.counter.rule, part.now);
        // Where some of another is left, the earlier end holds for both.
        if lease.left > 0 && lease.until_us > now_us {
            lease.until_us = lease.until_us.min(end_us);
        } else {
            (lease.left, lease.until_us) = (0, end_us);
        }
        lease.left = lease.left.saturating_add(part.cost.saturating_mul(part.ahead));
        lease.asking_ms = 0;
        if !locked.put_own(&key, lease.record(now_us), now_us) {
            // Without a place it is lost, and so less is admitted, never more.
            return;
        }
    }
    if lease.until_us > now_us {
        part.leased = u64::from(lease.left);
    }
}

/// Forgets a lease: the key was changed by hand. What was debited is lost to it.
pub(super) fn forget(locked: &mut Locked<'_>, key: Key) {
    locked.remove(&key.variant(LEASED));
}

/// Gives back what is left of a lease that is over, by the rule for all that is given back, see
/// [`Rule::remainder`].
fn refund(part: &PolicyCheck<'_>, lease: Lease, now: Now) -> Option<StoreCommand> {
    let rule = part.counter.rule;
    let charged = if rule.algorithm().has_burst() {
        // The last that the store said of the key; while a lease holds, that is its own charge.
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
