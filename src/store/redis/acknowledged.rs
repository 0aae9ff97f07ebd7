//! The notices that the store has acknowledged or shown to this process, kept until they end. A
//! failover to a replica that lags, or a restart without persistence, loses some of them: each
//! process then publishes again what it keeps.
//!
//! Versions decide. A notice is lost where the store has no version of its name, or an earlier one.
//! A later version is somebody's later word and wins, also one that takes the notice back: such a
//! version lasts a day at least, and a process that was cut off for longer than 12 hours publishes
//! nothing of before.

use std::collections::BTreeMap;
use std::ops::Bound;

/// After so long without a read, somebody may have taken a notice back without a trace.
const TRUSTED_US: u64 = 12 * 60 * 60 * 1_000_000;
/// Notices that are kept at most: as many as a store keeps.
const MOST: usize = 100_000;

/// A notice as the store had it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Acknowledged {
    pub(super) text: String,
    /// A time of the server's clock in microseconds.
    pub(super) version: f64,
    /// When it is over, on the clock of the store.
    pub(super) until_us: u64,
}

/// All of them, by name.
#[derive(Debug, Default)]
pub(super) struct Record {
    notices: BTreeMap<String, Acknowledged>,
    /// The name that was looked at last.
    looked_at: Option<String>,
    /// When the store was read last, on the monotonic clock.
    read_us: u64,
}

impl Record {
    /// The store has this notice. An earlier version of a name never replaces a later one.
    pub(super) fn note(&mut self, name: &str, notice: Acknowledged) {
        let has_room = self.notices.len() < MOST;
        match self.notices.get_mut(name) {
            Some(known) if known.version <= notice.version => *known = notice,
            None if has_room => drop(self.notices.insert(name.to_owned(), notice)),
            _ => {}
        }
    }

    /// Whether a later version of this name is known.
    pub(super) fn is_later(&self, name: &str, version: f64) -> bool {
        self.notices.get(name).is_some_and(|notice| notice.version > version)
    }

    /// The store answers again, at `mono_us`: what is too old to be published again is dropped.
    pub(super) fn begin_read(&mut self, mono_us: u64) {
        if mono_us.saturating_sub(self.read_us) > TRUSTED_US {
            self.notices.clear();
        }
        self.read_us = mono_us;
    }

    /// The next names to look for in the store, at most `count`. Those that are over at `now_us`
    /// are dropped.
    pub(super) fn next(&mut self, count: usize, now_us: u64) -> Vec<String> {
        let after = self.looked_at.take().map_or(Bound::Unbounded, Bound::Excluded);
        let some = self.notices.range::<String, _>((after, Bound::Unbounded)).take(count);
        let (over, names): (Vec<_>, Vec<_>) =
            some.partition(|(_, notice)| notice.until_us <= now_us);
        let over: Vec<String> = over.into_iter().map(|(name, _)| name.clone()).collect();
        let names: Vec<String> = names.into_iter().map(|(name, _)| name.clone()).collect();
        if over.len() + names.len() == count {
            self.looked_at = over.last().max(names.last()).cloned();
        }
        for name in over {
            self.notices.remove(&name);
        }
        names
    }

    /// The notice of a name, where the store has lost it: it has only this version, or none.
    pub(super) fn lost(&self, name: &str, in_store: Option<f64>) -> Option<&Acknowledged> {
        let notice = self.notices.get(name)?;
        in_store.is_none_or(|version| version < notice.version).then_some(notice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notice(version: f64, until_us: u64) -> Acknowledged {
        Acknowledged { text: format!("block v{version}"), version, until_us }
    }

    fn lost(record: &Record, name: &str, in_store: Option<f64>) -> Option<String> {
        record.lost(name, in_store).map(|notice| notice.text.clone())
    }

    #[test]
    fn a_notice_is_lost_where_the_store_has_none_or_an_earlier_one() {
        let mut record = Record::default();
        record.note("a", notice(5.0, 100));
        for (in_store, is_lost) in
            [(None, true), (Some(4.0), true), (Some(5.0), false), (Some(6.0), false)]
        {
            assert_eq!(record.lost("a", in_store).is_some(), is_lost, "{in_store:?}");
        }
        assert_eq!(lost(&record, "b", None), None);
    }

    #[test]
    fn the_latest_version_of_a_name_is_kept_in_whichever_order_they_come() {
        let mut record = Record::default();
        for version in [5.0, 7.0, 6.0] {
            record.note("a", notice(version, 100));
        }
        assert_eq!(lost(&record, "a", None).as_deref(), Some("block v7"));
        // Somebody took it back: that is what is published again.
        record.note("a", Acknowledged { text: "gone".into(), version: 8.0, until_us: 100 });
        assert_eq!(lost(&record, "a", Some(7.0)).as_deref(), Some("gone"));
    }

    #[test]
    fn all_names_are_looked_at_in_turn_and_those_that_are_over_are_dropped() {
        let mut record = Record::default();
        for (name, until_us) in [("a", 100), ("b", 10), ("c", 100), ("d", 100), ("e", 10)] {
            record.note(name, notice(1.0, until_us));
        }
        let rounds: Vec<Vec<String>> = (0..4).map(|_| record.next(2, 50)).collect();
        assert_eq!(rounds, [vec!["a"], vec!["c", "d"], vec![], vec!["a", "c"]]);
        assert_eq!(lost(&record, "b", None), None);
    }

    #[test]
    fn a_process_that_was_cut_off_for_long_publishes_nothing_of_before() {
        let mut record = Record::default();
        record.begin_read(1);
        record.note("a", notice(1.0, u64::MAX));
        record.begin_read(1 + TRUSTED_US);
        assert!(record.lost("a", None).is_some());
        record.begin_read(2 + 2 * TRUSTED_US);
        assert!(record.lost("a", None).is_none());
    }
}
