//! The notices that the store has acknowledged or delivered to this process, kept until they end. A
//! failover to a lagging replica, or a restart without persistence, loses some of them. Each
//! process then publishes its copies again.
//!
//! Versions decide:
//!
//! 1. A notice is lost if the store has no version of its name, or an earlier one.
//! 2. A later version wins, also one that removes the notice. A removal lasts a day at least, and a
//!    process that was cut off for longer than 12 hours drops its earlier copies.
//! 3. A notice is published again with its old version, so it never replaces a later one that was
//!    lost too.

use std::collections::BTreeMap;
use std::ops::Bound;

/// After this long without a read, another process may have removed a notice without a trace.
const TRUSTED_US: u64 = 12 * 60 * 60 * 1_000_000;
/// The most notices that are kept: as many as in a store.
const MOST: usize = 100_000;

/// A notice as stored.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Acknowledged {
    pub(super) text: String,
    /// Its position in the readers' order.
    pub(super) offset: f64,
    /// When it was published: a time of the server's clock in microseconds.
    pub(super) version: f64,
    /// When it ends, on the monotonic clock.
    pub(super) until_us: u64,
}

/// The store's current entry of a name.
#[derive(Debug)]
pub(super) struct InStore {
    pub(super) offset: f64,
    pub(super) version: f64,
    /// The first bytes of its text.
    pub(super) text: Vec<u8>,
}

/// All kept notices, by name.
#[derive(Debug, Default)]
pub(super) struct Record {
    notices: BTreeMap<String, Acknowledged>,
    /// The last name that was checked.
    looked_at: Option<String>,
    /// When the store was last read, on the monotonic clock.
    read_us: u64,
}

impl Record {
    /// Notes that the store has this notice, and no later one of its name.
    pub(super) fn put(&mut self, name: &str, notice: Acknowledged) {
        let has_room = self.notices.len() < MOST;
        match self.notices.get_mut(name) {
            Some(known) => *known = notice,
            None if has_room => drop(self.notices.insert(name.to_owned(), notice)),
            None => {}
        }
    }

    pub(super) fn len(&self) -> usize {
        self.notices.len()
    }

    /// Notes that the store has a later notice of this name.
    pub(super) fn forget(&mut self, name: &str) {
        self.notices.remove(name);
    }

    /// Whether exactly this notice is kept. Its position is updated.
    pub(super) fn meet(&mut self, name: &str, version: f64, text: &str, offset: f64) -> bool {
        let is_it = |known: &&mut Acknowledged| {
            known.version.total_cmp(&version).is_eq() && known.text == text
        };
        let known = self.notices.get_mut(name).filter(is_it);
        known.map(|known| known.offset = offset).is_some()
    }

    /// Whether a later version of this name is kept. A version beyond `latest_us` does not count:
    /// the clock that assigned it was set back.
    pub(super) fn is_later(&self, name: &str, version: f64, latest_us: u64) -> bool {
        let known = self.notices.get(name).map(|notice| notice.version);
        known.is_some_and(|known| known > version && known <= in_us(latest_us))
    }

    /// Notes that the store answers again, at `mono_us`. Copies too old to be published again are
    /// dropped.
    pub(super) fn begin_read(&mut self, mono_us: u64) {
        if mono_us.saturating_sub(self.read_us) > TRUSTED_US {
            self.notices.clear();
        }
        self.read_us = mono_us;
    }

    /// The next names to check in the store, at most `count`. Notices that ended by `now_us` are
    /// dropped.
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

    /// The notice of a name, if the store has lost it. The store may have another one in its place,
    /// even at the same position: after its clock was set back, positions count up one by one, and
    /// a primary without the last of them assigns them again.
    pub(super) fn lost(&self, name: &str, in_store: Option<&InStore>) -> Option<&Acknowledged> {
        let notice = self.notices.get(name)?;
        let is_it = |other: &InStore| {
            other.offset.total_cmp(&notice.offset).is_eq()
                && other.version.total_cmp(&notice.version).is_eq()
                && notice.text.as_bytes().starts_with(&other.text)
        };
        (!in_store.is_some_and(is_it)).then_some(notice)
    }
}

#[expect(clippy::cast_precision_loss, reason = "times are below 2^53 microseconds")]
pub(super) fn in_us(us: u64) -> f64 {
    us as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notice(version: f64, until_us: u64) -> Acknowledged {
        Acknowledged { text: format!("block v{version}"), offset: version, version, until_us }
    }

    /// The notice to publish again, given the position and version in the store.
    fn lost(record: &Record, name: &str, in_store: Option<f64>) -> Option<String> {
        let in_store = in_store.map(|at| InStore {
            offset: at,
            version: at,
            text: format!("block v{at}").into_bytes(),
        });
        record.lost(name, in_store.as_ref()).map(|notice| notice.text.clone())
    }

    /// Applies a notice that was read, unless a later one is kept.
    fn read(record: &mut Record, name: &str, notice: Acknowledged) {
        if !record.is_later(name, notice.version, 1000) {
            record.put(name, notice);
        }
    }

    #[test]
    fn a_notice_is_lost_where_the_store_has_none_or_another_one() {
        let mut record = Record::default();
        record.put("a", notice(5.0, 100));
        for (in_store, is_lost) in
            [(None, true), (Some(4.0), true), (Some(5.0), false), (Some(6.0), true)]
        {
            assert_eq!(lost(&record, "a", in_store).is_some(), is_lost, "{in_store:?}");
        }
        for (version, text) in [(4.0, "block v5"), (5.0, "allow ")] {
            let other = InStore { offset: 5.0, version, text: text.into() };
            assert!(record.lost("a", Some(&other)).is_some(), "another word in the same place");
        }
        assert_eq!(lost(&record, "b", None), None);
        record.forget("a");
        assert_eq!(lost(&record, "a", None), None);
    }

    #[test]
    fn the_latest_version_of_a_name_is_kept_in_whichever_order_they_come() {
        let mut record = Record::default();
        for version in [5.0, 7.0, 6.0] {
            read(&mut record, "a", notice(version, 100));
        }
        assert_eq!(lost(&record, "a", None).as_deref(), Some("block v7"));
        // A process without the later version publishes the earlier one again. It stays the earlier
        // one, whatever its position.
        read(&mut record, "a", Acknowledged { offset: 9.0, ..notice(5.0, 100) });
        assert_eq!(lost(&record, "a", Some(9.0)).as_deref(), Some("block v7"));
        // A removal is published again, too.
        let gone = Acknowledged { text: "gone".into(), ..notice(8.0, 100) };
        read(&mut record, "a", gone);
        assert_eq!(lost(&record, "a", Some(7.0)).as_deref(), Some("gone"));
    }

    #[test]
    fn a_version_that_lies_ahead_is_no_later_one() {
        let mut record = Record::default();
        record.put("a", notice(2000.0, 5000));
        assert!(!record.is_later("a", 5.0, 1000));
        assert!(record.is_later("a", 5.0, 2000));
    }

    #[test]
    fn all_names_are_looked_at_in_turn_and_those_that_are_over_are_dropped() {
        let mut record = Record::default();
        for (name, until_us) in [("a", 100), ("b", 10), ("c", 100), ("d", 100), ("e", 10)] {
            record.put(name, notice(1.0, until_us));
        }
        let rounds: Vec<Vec<String>> = (0..4).map(|_| record.next(2, 50)).collect();
        assert_eq!(rounds, [vec!["a"], vec!["c", "d"], vec![], vec!["a", "c"]]);
        assert_eq!(lost(&record, "b", None), None);
    }

    #[test]
    fn a_process_that_was_cut_off_for_long_publishes_nothing_of_before() {
        let mut record = Record::default();
        record.begin_read(1);
        record.put("a", notice(1.0, u64::MAX));
        record.begin_read(1 + TRUSTED_US);
        assert!(lost(&record, "a", None).is_some());
        record.begin_read(2 + 2 * TRUSTED_US);
        assert!(lost(&record, "a", None).is_none());
    }
}
