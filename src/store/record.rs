//! The record of a subject as stored in a shared store: entries of 28 bytes, in any order, one for
//! each limit of the subject, each block and each signal. An entry is a tag, three numbers of
//! state, and the time of its end, all little endian. Numbers above 32 bits are doubles, for the
//! scripts of Redis. The tag of a limit is a multiple of four; the next two tags are its block and
//! its signal. Both last as long as their entries, and their second number is the second of their
//! creation.

use std::ops::RangeInclusive;

use base64::Engine as _;

use crate::quota::SubjectKey;
use crate::quota::WireState;
use crate::quota::algorithm::UNSCALED;

/// Bytes of an entry.
pub(crate) const ENTRY: usize = 4 + 8 + 4 + 4 + 8;

/// Entries that end later than this from now were not written by this package.
const LATEST_US: u64 = 1 << 50;

/// The multipliers that a signal may set for a limit, in thousandths.
const FACTORS: RangeInclusive<u16> = 1..=10_000;

/// One limit's part of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Entry {
    pub(crate) tag: u32,
    pub(crate) state: WireState,
    /// When the entry ends, in microseconds of the store's clock.
    pub(crate) till_us: u64,
}

impl Entry {
    fn read(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader(bytes);
        let tag = u32::from_le_bytes(reader.bytes()?);
        let a = reader.number()?;
        let b = u32::from_le_bytes(reader.bytes()?);
        let c = u32::from_le_bytes(reader.bytes()?);
        let till_us = reader.number()?;
        Some(Self { tag, state: WireState { a, b, c }, till_us })
    }

    /// Corrects a block or signal created after now, by a clock that was set back since: it keeps
    /// its intended duration, counted from now. `true`: this changed it.
    pub(crate) fn pull_back(&mut self, now_us: u64, skew_us: u64) -> bool {
        let made_us = u64::from(self.state.b) * 1_000_000;
        if self.tag.is_multiple_of(4) || made_us <= now_us.saturating_add(skew_us) {
            return false;
        }
        self.till_us = now_us.saturating_add(self.till_us.saturating_sub(made_us));
        self.state.b = seconds_of(now_us);
        true
    }

    /// Appends it to a record.
    pub(crate) fn write(&self, record: &mut Vec<u8>) {
        record.extend_from_slice(&self.tag.to_le_bytes());
        record.extend_from_slice(&double(self.state.a).to_le_bytes());
        record.extend_from_slice(&self.state.b.to_le_bytes());
        record.extend_from_slice(&self.state.c.to_le_bytes());
        record.extend_from_slice(&double(self.till_us).to_le_bytes());
    }

    /// The multiplier of this signal, in thousandths. Out-of-range values are ignored.
    pub(crate) fn factor(&self) -> u16 {
        let factor = u16::try_from(self.state.a).ok().filter(|factor| FACTORS.contains(factor));
        factor.unwrap_or(UNSCALED)
    }
}

/// The second of an instant, as stored in blocks and signals.
pub(crate) fn seconds_of(now_us: u64) -> u32 {
    u32::try_from(now_us / 1_000_000).unwrap_or(0)
}

/// The name of a subject's record or slots: the prefix of its kind, then the subject.
pub(crate) fn key(prefix: &str, subject: &SubjectKey) -> String {
    let mut key = String::with_capacity(prefix.len() + 22);
    push_key(&mut key, prefix, subject);
    key
}

/// As [`key`], appended to `key`.
pub(crate) fn push_key(key: &mut String, prefix: &str, subject: &SubjectKey) {
    key.push_str(prefix);
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode_string(subject.0, key);
}

/// The entries of a record that have not ended. Data that no process of this package can have
/// written is skipped, and will be overwritten.
pub(crate) fn entries(record: &[u8], now_us: u64) -> impl Iterator<Item = Entry> + '_ {
    let record = if record.len().is_multiple_of(ENTRY) { record } else { &[] };
    let counts = move |entry: &Entry| entry.till_us > now_us && entry.till_us - now_us <= LATEST_US;
    record.chunks_exact(ENTRY).filter_map(Entry::read).filter(counts)
}

/// Reads bytes from their front.
pub(crate) struct Reader<'r>(pub(crate) &'r [u8]);

impl Reader<'_> {
    pub(crate) fn bytes<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (front, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*front)
    }

    /// A whole number that came as a double.
    pub(crate) fn number(&mut self) -> Option<u64> {
        self.bytes().and_then(whole)
    }
}

#[expect(clippy::cast_precision_loss, reason = "below 2^53, see limit/wire.rs")]
pub(crate) fn double(number: u64) -> f64 {
    number as f64
}

fn whole(bytes: [u8; 8]) -> Option<u64> {
    let number = f64::from_le_bytes(bytes);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked to be whole and in range"
    )]
    (number.fract() == 0.0 && (0.0..9_007_199_254_740_992.0).contains(&number))
        .then_some(number as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_signal_that_none_can_have_sent_leaves_a_limit_as_it_is() {
        let factor = |a| Entry { state: WireState { a, b: 0, c: 0 }, ..Entry::default() }.factor();
        assert_eq!([1, 100, 10_000].map(factor), [1, 100, 10_000]);
        assert_eq!([0, 10_001, 1 << 16, (1 << 53) - 1].map(factor), [UNSCALED; 4]);
    }

    #[test]
    fn a_subject_has_the_same_name_in_every_store() {
        let subject = SubjectKey([0xff; 16]);
        assert_eq!(key("shop:l:", &subject), "shop:l:_____________________w");
    }

    proptest! {
        #[test]
        fn an_entry_is_read_as_it_was_written(
            tag: u32, a in 0u64..1 << 53, b: u32, c: u32, till_us in 1u64..LATEST_US,
        ) {
            let entry = Entry { tag, state: WireState { a, b, c }, till_us };
            let mut record = Vec::new();
            entry.write(&mut record);
            entry.write(&mut record);
            prop_assert_eq!(record.len(), 2 * ENTRY);
            prop_assert!(entries(&record, 0).eq([entry, entry]));
            prop_assert_eq!(entries(&record, till_us).count(), 0);
            record.pop();
            prop_assert_eq!(entries(&record, 0).count(), 0);
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(record in proptest::collection::vec(any::<u8>(), 0..100), now_us: u64) {
            prop_assert!(entries(&record, now_us).all(|entry| entry.till_us > now_us));
        }
    }
}
