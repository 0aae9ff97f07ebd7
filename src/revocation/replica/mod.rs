//! The position of this process in the stream of revocations: the entries it has read, the entries
//! the servers have lost, and whether it may decide. No code here waits or sends a command.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use super::config::{Mode, OnStale, RevocationConfig};
use super::entry::{Entry, Id, Lifetime};
use super::sets::Sets;
use crate::clock::{Now, micros};

/// The number of entries in one read. A page occupies the store's thread for some milliseconds.
pub(super) const READ_PAGE: usize = 4_000;
/// The number of lost entries published at once: less than a page, so that the next read reaches
/// the end of the stream.
pub(super) const PUBLISH_PAGE: usize = 500;
/// The number of entries at the head of the stream that one compaction judges.
pub(super) const COMPACT_PAGE: usize = 500;
/// Entries younger than this are not moved: every reader is past them long before.
const COMPACT_AGE_MS: u64 = 60_000;
/// A younger stream may be the rest after a loss. The process waits for the others to republish the
/// lost entries.
const YOUNG: Duration = Duration::from_secs(2);
/// The process waits until no lost entries were published for this long.
const QUIET: Duration = Duration::from_secs(1);
/// A process that has read nothing for longer may have missed a failover. So may one that starts.
pub(super) const SILENCE: Duration = Duration::from_secs(1);
/// After that silence, the time in which other processes republish entries that the new primary
/// lacks.
const RETURN: Duration = Duration::from_secs(1);

/// Whether the copy of this process is complete and current.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// All revocations older than `maxStaleness` are in the copy.
    Fresh,
    /// The store has not answered for longer than that.
    Stale,
    /// The list was not read to its end yet, or has an entry that is unreadable or exceeds the
    /// capacity.
    NotReady,
}

/// The action for a request with a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// Check it now.
    Check,
    /// Call `refresh`, then check; if `refresh` fails, refuse as for [`Gate::Refuse`].
    RefreshFirst,
    /// 503, see [`super::stale_refusal`]: whether the token is revoked is unknown.
    Refuse,
}

/// `proven_us` is the latest moment of the monotonic clock before which no entry is missing; 0 for
/// never.
pub(super) fn freshness(ready: bool, proven_us: u64, now: Now, bound: Duration) -> Freshness {
    if !ready || proven_us == 0 {
        Freshness::NotReady
    } else if now.mono_us.saturating_sub(proven_us) <= micros(bound) {
        Freshness::Fresh
    } else {
        Freshness::Stale
    }
}

/// `wants_fresh` is the route's `require({ fresh: true })`.
pub(super) fn gate(config: &RevocationConfig, freshness: Freshness, wants_fresh: bool) -> Gate {
    let strict = wants_fresh || config.mode == Mode::Strict;
    match freshness {
        // An incomplete list does not become complete by reading the newest entries.
        Freshness::NotReady => Gate::Refuse,
        _ if strict => Gate::RefreshFirst,
        Freshness::Fresh => Gate::Check,
        Freshness::Stale if config.on_stale == OnStale::Probe => Gate::RefreshFirst,
        Freshness::Stale => Gate::Refuse,
    }
}

/// The last entry that was read. Its bytes are part of the cursor, since a server that has lost the
/// entry may assign its id to another one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Cursor {
    pub(super) id: Id,
    pub(super) written: Vec<u8>,
}

/// One answer of the server.
#[derive(Debug)]
pub(super) struct Read {
    /// Whether the entry at the cursor, and so every entry before it, still existed after the read.
    pub(super) is_whole: bool,
    /// The last entry of this answer, if any.
    pub(super) end: Option<Cursor>,
    /// The entries of this answer, if any; `None` for an unreadable one.
    pub(super) entries: Vec<(Id, Option<Entry>)>,
}

/// The result of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReadOutcome {
    /// The stream may have more.
    Page,
    /// The end of the stream was reached.
    Tail,
    /// The servers have lost entries that were read before. The stream must be read from its start.
    Loss,
}

/// The reason why the copy can't be complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Incomplete {
    /// An entry is unreadable: it is of a later version, or not an entry.
    Unreadable,
    /// There is no room for it here.
    Full,
}

/// The progress of this process through the stream.
#[derive(Debug, Default)]
pub(super) struct Follower {
    cursor: Cursor,
    /// The entries that this process wrote and has not read yet. A primary may fail in between, and
    /// the next one may assign the same id again.
    acknowledged: BTreeSet<(Id, Entry)>,
    /// The entries of `acknowledged` that were stored before the current read began. All of them
    /// must be read by the end of the stream.
    due: BTreeSet<(Id, Entry)>,
    /// Entries that this process stored and the servers lost, possibly before another process read
    /// them.
    lost: Vec<Entry>,
    /// Entries of this copy that the servers may have lost, whichever process stored them.
    missing: Option<Missing>,
    settling: Settling,
    contact: Contact,
}

impl Follower {
    pub(super) fn cursor(&self) -> Cursor {
        self.cursor.clone()
    }

    /// Records that the server has stored an entry of this process.
    pub(super) fn acknowledged(&mut self, id: Id, entry: Entry) {
        if id > self.cursor.id {
            self.acknowledged.insert((id, entry));
        }
    }

    /// The same for several entries, with the ids that the server assigned.
    pub(super) fn all_acknowledged(&mut self, ids: Vec<Id>, entries: Vec<Entry>) {
        for (id, entry) in ids.into_iter().zip(entries) {
            self.acknowledged(id, entry);
        }
    }

    /// Must be called before a read after `cursor` is sent: the read must find every entry stored
    /// until now.
    pub(super) fn reading(&mut self) {
        self.due.append(&mut self.acknowledged);
    }

    /// Applies the answer to that read.
    pub(super) fn take(
        &mut self,
        read: &Read,
        sets: &Sets,
        now_minute: u32,
    ) -> Result<ReadOutcome, Incomplete> {
        if self.cursor.id != Id::START && !read.is_whole {
            // The entries of this answer may be lost by now, too.
            let applied = apply(&read.entries, sets, now_minute);
            // The copy keeps all its entries, and publishes again those that the stream turns out
            // to lack.
            self.cursor = Cursor::default();
            self.due.append(&mut self.acknowledged);
            self.lost.extend(std::mem::take(&mut self.due).into_iter().map(|(_, entry)| entry));
            self.missing = Some(Missing::all_of(sets, now_minute));
            return applied.map(|()| ReadOutcome::Loss);
        }
        apply(&read.entries, sets, now_minute)?;
        for (id, entry) in &read.entries {
            let Some(entry) = entry else { continue };
            self.acknowledged.remove(&(*id, *entry));
            self.due.remove(&(*id, *entry));
            if let Some(missing) = &mut self.missing {
                missing.found(entry);
            }
        }
        if let Some(end) = &read.end {
            self.cursor = end.clone();
        }
        if read.entries.len() >= READ_PAGE {
            return Ok(ReadOutcome::Page);
        }
        // An entry that was stored before and is not in the stream was stored by a primary that has
        // failed since.
        self.lost.extend(std::mem::take(&mut self.due).into_iter().map(|(_, entry)| entry));
        Ok(ReadOutcome::Tail)
    }

    /// The entries to republish at once: only this process has them for certain.
    pub(super) fn next_lost(&mut self) -> Vec<Entry> {
        self.lost.split_off(self.lost.len().saturating_sub(PUBLISH_PAGE))
    }

    /// Takes entries back that were not stored.
    pub(super) fn still_lost(&mut self, entries: Vec<Entry>) {
        self.lost.extend(entries);
    }

    /// Whether the end of the stream, requested at `asked`, has all entries stored before.
    pub(super) fn proves(&mut self, asked: Now) -> bool {
        self.contact.proves(asked)
    }

    /// Whether the process had no contact for a while and does not decide yet. It then reads often.
    pub(super) fn is_returning(&self, now: Now) -> bool {
        self.contact.is_returning(now)
    }

    /// Whether there are entries to republish, by one process at a time.
    pub(super) fn is_missing(&mut self) -> bool {
        if self.missing.as_ref().is_some_and(|missing| missing.len() == 0) {
            self.missing = None;
        }
        self.missing.is_some()
    }

    /// The number of entries to republish.
    pub(super) fn missing(&self) -> usize {
        self.lost.len() + self.missing.as_ref().map_or(0, Missing::len)
    }

    /// The next entries to republish.
    pub(super) fn next_missing(&mut self) -> Vec<Entry> {
        self.missing.as_mut().map(|missing| missing.take(PUBLISH_PAGE)).unwrap_or_default()
    }

    /// Takes entries back that were not stored.
    pub(super) fn put_back(&mut self, entries: Vec<Entry>) {
        self.missing.get_or_insert_default().queue.extend(entries);
    }

    pub(super) fn settled(&mut self, stream: &StreamAge, now: Now) -> bool {
        self.settling.is_over(stream, now)
    }

    /// Resets the cursor but not the sets: the whole stream is read again.
    pub(super) fn restart(&mut self) {
        self.cursor = Cursor::default();
        self.settling = Settling::default();
    }
}

/// Applies the entries of a read to the sets.
pub(super) fn apply(
    entries: &[(Id, Option<Entry>)],
    sets: &Sets,
    now_minute: u32,
) -> Result<(), Incomplete> {
    for (_, entry) in entries {
        let entry = entry.as_ref().ok_or(Incomplete::Unreadable)?;
        sets.apply(entry, now_minute).map_err(|_| Incomplete::Full)?;
    }
    Ok(())
}

/// Entries of this copy that the stream may lack.
#[derive(Debug, Default)]
struct Missing {
    tokens: HashMap<u64, u32>,
    others: HashMap<Name, Entry>,
    /// The entries being published.
    queue: Vec<Entry>,
}

impl Missing {
    fn all_of(sets: &Sets, now_minute: u32) -> Self {
        let others = sets.others(now_minute).into_iter();
        let others = others.filter_map(|entry| Some((name(&entry)?, entry)));
        Self { tokens: sets.tokens(now_minute), others: others.collect(), queue: Vec::new() }
    }

    fn len(&self) -> usize {
        self.tokens.len() + self.others.len() + self.queue.len()
    }

    /// The stream has `entry`. It does not count if it revokes less than ours.
    fn found(&mut self, entry: &Entry) {
        if let Entry::Token { name, until } = entry {
            if self.tokens.get(name).is_some_and(|ours| ours <= until) {
                self.tokens.remove(name);
            }
            return;
        }
        let Some(name) = name(entry) else { return };
        let is_enough = |ours: &Entry| longer(*entry, *ours) == *entry;
        if self.others.get(&name).is_some_and(is_enough) {
            self.others.remove(&name);
        }
    }

    fn take(&mut self, most: usize) -> Vec<Entry> {
        if self.queue.is_empty() {
            self.queue.extend(std::mem::take(&mut self.others).into_values());
            let tokens = std::mem::take(&mut self.tokens).into_iter();
            self.queue.extend(tokens.map(|(name, until)| Entry::Token { name, until }));
        }
        self.queue.split_off(self.queue.len().saturating_sub(most))
    }
}

/// The subject of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Name {
    Listed(u128),
    Lifetime(Lifetime),
}

/// For all entries that are not tokens.
fn name(entry: &Entry) -> Option<Name> {
    match entry {
        Entry::Mark | Entry::Token { .. } => None,
        Entry::Session { name, .. } | Entry::Subject { name, .. } | Entry::Key { name } => {
            Some(Name::Listed(*name))
        }
        Entry::Lifetime { lifetime, .. } => Some(Name::Lifetime(*lifetime)),
    }
}

/// The union of two entries about the same thing: `a` with the later end and the later `before`.
fn longer(mut a: Entry, b: Entry) -> Entry {
    match (&mut a, b) {
        (Entry::Session { until, .. }, Entry::Session { until: other, .. })
        | (Entry::Lifetime { until, .. }, Entry::Lifetime { until: other, .. }) => {
            *until = other.max(*until);
        }
        (
            Entry::Subject { before_s, until, .. },
            Entry::Subject { before_s: other_s, until: other, .. },
        ) => {
            *before_s = other_s.max(*before_s);
            *until = other.max(*until);
        }
        _ => {}
    }
    a
}

/// The age of the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct StreamAge {
    /// Its first entry.
    pub(super) first: Id,
    /// The server's clock now.
    pub(super) server_ms: u64,
    /// Whether a process is publishing lost entries.
    pub(super) restoring: bool,
}

/// Decides whether a stream that was read to its end can be complete. A stream that has just begun
/// may follow one that the servers lost, and the other processes are about to publish its entries.
#[derive(Debug, Default)]
struct Settling {
    began_us: Option<u64>,
    restoring_us: Option<u64>,
}

impl Settling {
    fn is_over(&mut self, stream: &StreamAge, now: Now) -> bool {
        let waited = now.mono_us.saturating_sub(*self.began_us.get_or_insert(now.mono_us));
        if stream.restoring {
            self.restoring_us = Some(now.mono_us);
        }
        // This does not depend on the server's clock: a process that has waited long enough has
        // seen the stream grow old.
        let age_us = stream.server_ms.saturating_sub(stream.first.ms).saturating_mul(1_000);
        let is_young = age_us.max(waited) < micros(YOUNG);
        let is_restored =
            self.restoring_us.is_none_or(|seen| now.mono_us.saturating_sub(seen) >= micros(QUIET));
        !is_young && is_restored
    }
}

/// The times at which this process reached the end of the stream. A primary that took over
/// meanwhile may lack the last stored entries until the processes that stored them publish them
/// again.
#[derive(Debug, Default)]
struct Contact {
    last_us: Option<u64>,
    /// The start of the current contact.
    back_us: Option<u64>,
}

impl Contact {
    fn is_returning(&self, now: Now) -> bool {
        let is_silent = |last: u64| now.mono_us.saturating_sub(last) > micros(SILENCE);
        self.back_us.is_some() || self.last_us.is_some_and(is_silent)
    }

    fn proves(&mut self, asked: Now) -> bool {
        let last_us = self.last_us.replace(asked.mono_us);
        let since = |us: u64| asked.mono_us.saturating_sub(us);
        // A process that has just started had no contact either.
        if last_us.is_none_or(|last| since(last) > micros(SILENCE)) {
            self.back_us = Some(asked.mono_us);
        }
        if self.back_us.is_some_and(|back| since(back) < micros(RETURN)) {
            return false;
        }
        self.back_us = None;
        true
    }
}

/// The changes to a page at the head of the stream.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Compaction {
    /// The entries to add again at the end.
    pub(super) moved: Vec<Entry>,
    /// The entries to delete after that.
    pub(super) gone: Vec<Id>,
}

/// Decides about the first entries of the stream; `head` has one more than a page. `None` leaves
/// them.
///
/// A page is removed if at most half of it is still needed; the needed entries move to the end. So
/// the stream is never much longer than twice the needed entries, and each moved entry is paid for
/// by a removed one. A needed entry is never lost, however long it lives, so processes need not
/// agree on a longest lifetime.
pub(super) fn compact(
    head: &[(Id, Option<Entry>)],
    now_minute: u32,
    server_ms: u64,
) -> Option<Compaction> {
    // The last entry of the stream always stays: readers have their cursor there.
    let page = head.get(..COMPACT_PAGE).filter(|_| head.len() > COMPACT_PAGE)?;
    let (last, _) = page.last()?;
    if server_ms.saturating_sub(last.ms) < COMPACT_AGE_MS {
        return None;
    }
    // Both clocks must agree that an entry is over, with a minute to spare for the other processes'
    // clocks.
    let server_minute = u32::try_from(server_ms / 60_000).unwrap_or(u32::MAX);
    let minute = now_minute.min(server_minute).saturating_sub(1);
    let mut moved = Vec::new();
    for (_, entry) in page {
        // An unreadable entry may be of a later version.
        let entry = (*entry)?;
        if entry.is_needed(minute) {
            moved.push(entry);
        }
    }
    if moved.len() * 2 > COMPACT_PAGE {
        return None;
    }
    Some(Compaction { moved, gone: page.iter().map(|(id, _)| *id).collect() })
}

#[cfg(test)]
mod tests;
