//! Where this process stands in the stream of revocations: what it has read, what the servers have
//! lost, and whether it may decide. Nothing in here waits or asks anybody.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use super::config::{Mode, OnStale, RevocationConfig};
use super::entry::{Entry, Id, Lifetime};
use super::sets::Sets;
use crate::clock::{Now, micros};

/// How many entries are read at once. A page keeps the store's thread for some milliseconds.
pub(super) const READ_PAGE: usize = 4_000;
/// How many lost entries are published at once: less than a page, so that the next read sees the
/// end of the stream.
pub(super) const PUBLISH_PAGE: usize = 500;
/// How many entries at the head of the stream are judged at once.
pub(super) const COMPACT_PAGE: usize = 500;
/// Entries younger than this stay where they are: every reader is past them long before.
const COMPACT_AGE_MS: u64 = 60_000;
/// A stream that is younger may be what is left after a loss, and is waited for to be published
/// again.
const YOUNG: Duration = Duration::from_secs(2);
/// For so long nobody must have been publishing lost entries.
const QUIET: Duration = Duration::from_secs(1);
/// Whoever has read nothing for longer may have missed a failover, and has when it starts.
pub(super) const SILENCE: Duration = Duration::from_secs(1);
/// So long the others have then to publish again what they had stored and the new primary lacks.
const RETURN: Duration = Duration::from_secs(1);

/// How far the copy of this process can be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// All that was revoked longer than `maxStaleness` ago is known.
    Fresh,
    /// The store has not been heard of for longer than that.
    Stale,
    /// The list has not been read to its end yet, or holds what can't be read or kept.
    NotReady,
}

/// What to do with a request that brings a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// Check it now.
    Check,
    /// Call `refresh`, then check it; where that fails, refuse as for [`Gate::Refuse`].
    RefreshFirst,
    /// 503, see [`super::stale_refusal`]: nobody knows whether it was revoked.
    Refuse,
}

/// `proven_us` is the latest moment of the monotonic clock before which nothing was missed; 0 for
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

/// `wants_fresh` is what a route demands with `require({ fresh: true })`.
pub(super) fn gate(config: &RevocationConfig, freshness: Freshness, wants_fresh: bool) -> Gate {
    let strict = wants_fresh || config.mode == Mode::Strict;
    match freshness {
        // What has been read so far is no list, so reading on does not make it one.
        Freshness::NotReady => Gate::Refuse,
        _ if strict => Gate::RefreshFirst,
        Freshness::Fresh => Gate::Check,
        Freshness::Stale if config.on_stale == OnStale::Probe => Gate::RefreshFirst,
        Freshness::Stale => Gate::Refuse,
    }
}

/// The last entry that was read. Its bytes belong to it, since a server that has lost it may give
/// its id to another one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Cursor {
    pub(super) id: Id,
    pub(super) written: Vec<u8>,
}

/// One answer of the server.
#[derive(Debug)]
pub(super) struct Read {
    /// Whether the entry at the cursor was still there after the read, thus all before it.
    pub(super) is_whole: bool,
    /// The last one that follows, if any.
    pub(super) end: Option<Cursor>,
    /// What follows, if it was; `None` where an entry can't be read.
    pub(super) entries: Vec<(Id, Option<Entry>)>,
}

/// What an answer came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Took {
    /// There may be more.
    Page,
    /// That was all there is.
    Tail,
    /// The servers have lost entries that were read before. The stream must be read from its start.
    Loss,
}

/// Why the copy can't be a whole one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gap {
    /// An entry can't be read: it is of a later version, or none.
    Unreadable,
    /// There is no room for it here.
    Full,
}

/// The way of this process through the stream.
#[derive(Debug, Default)]
pub(super) struct Follower {
    cursor: Cursor,
    /// What this process wrote and has not read yet. A primary may fail in between, and the next
    /// one give the same id again.
    acknowledged: BTreeSet<(Id, Entry)>,
    /// What of it was stored before the reading that goes on began: at its end, all of it must have
    /// been read.
    due: BTreeSet<(Id, Entry)>,
    /// What this process had stored, nobody may have read, and the servers have lost.
    lost: Vec<Entry>,
    /// What it holds and the servers may have lost, whoever stored it.
    missing: Option<Missing>,
    settling: Settling,
    contact: Contact,
}

impl Follower {
    pub(super) fn cursor(&self) -> Cursor {
        self.cursor.clone()
    }

    /// The server has stored what this process wrote.
    pub(super) fn acknowledged(&mut self, id: Id, entry: Entry) {
        if id > self.cursor.id {
            self.acknowledged.insert((id, entry));
        }
    }

    /// The same for several, by the ids that the server gave them.
    pub(super) fn all_acknowledged(&mut self, ids: Vec<Id>, entries: Vec<Entry>) {
        for (id, entry) in ids.into_iter().zip(entries) {
            self.acknowledged(id, entry);
        }
    }

    /// To be called before a read behind `cursor` is sent: it must find all that was stored until
    /// now.
    pub(super) fn reading(&mut self) {
        self.due.append(&mut self.acknowledged);
    }

    /// Takes the answer to that read.
    pub(super) fn take(&mut self, read: &Read, sets: &Sets, now_minute: u32) -> Result<Took, Gap> {
        if self.cursor.id != Id::START && !read.is_whole {
            // What came with the answer may be lost by now, too.
            let applied = apply(&read.entries, sets, now_minute);
            // Nothing that we hold is forgotten, and what turns out not to be in the stream is
            // published again.
            self.cursor = Cursor::default();
            self.due.append(&mut self.acknowledged);
            self.lost.extend(std::mem::take(&mut self.due).into_iter().map(|(_, entry)| entry));
            self.missing = Some(Missing::all_of(sets, now_minute));
            return applied.map(|()| Took::Loss);
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
            return Ok(Took::Page);
        }
        // What is not there though it was stored before was stored by a primary that has failed
        // since.
        self.lost.extend(std::mem::take(&mut self.due).into_iter().map(|(_, entry)| entry));
        Ok(Took::Tail)
    }

    /// What is to be published again at once: nobody else can.
    pub(super) fn next_lost(&mut self) -> Vec<Entry> {
        self.lost.split_off(self.lost.len().saturating_sub(PUBLISH_PAGE))
    }

    /// They were not stored.
    pub(super) fn still_lost(&mut self, entries: Vec<Entry>) {
        self.lost.extend(entries);
    }

    /// Whether the end of the stream, asked for at `asked`, shows all that was revoked before.
    pub(super) fn proves(&mut self, asked: Now) -> bool {
        self.contact.proves(asked)
    }

    /// Whether it has heard nothing for a while, and does not decide again yet: it is to look
    /// often.
    pub(super) fn is_returning(&self, now: Now) -> bool {
        self.contact.is_returning(now)
    }

    /// Whether there is anything to publish again, by one process at a time.
    pub(super) fn is_missing(&mut self) -> bool {
        if self.missing.as_ref().is_some_and(|missing| missing.len() == 0) {
            self.missing = None;
        }
        self.missing.is_some()
    }

    /// How many there are to publish again.
    pub(super) fn missing(&self) -> usize {
        self.lost.len() + self.missing.as_ref().map_or(0, Missing::len)
    }

    /// The next of them.
    pub(super) fn next_missing(&mut self) -> Vec<Entry> {
        self.missing.as_mut().map(|missing| missing.take(PUBLISH_PAGE)).unwrap_or_default()
    }

    /// They were not stored.
    pub(super) fn put_back(&mut self, entries: Vec<Entry>) {
        self.missing.get_or_insert_default().queue.extend(entries);
    }

    pub(super) fn settled(&mut self, stream: &Birth, now: Now) -> bool {
        self.settling.is_over(stream, now)
    }

    /// Forgets where it stood, not what it holds: everything is read again.
    pub(super) fn restart(&mut self) {
        self.cursor = Cursor::default();
        self.settling = Settling::default();
    }
}

/// Puts into the sets what was read.
pub(super) fn apply(
    entries: &[(Id, Option<Entry>)],
    sets: &Sets,
    now_minute: u32,
) -> Result<(), Gap> {
    for (_, entry) in entries {
        let entry = entry.as_ref().ok_or(Gap::Unreadable)?;
        sets.apply(entry, now_minute).map_err(|_| Gap::Full)?;
    }
    Ok(())
}

/// What we hold and the stream may not.
#[derive(Debug, Default)]
struct Missing {
    tokens: HashMap<u64, u32>,
    others: HashMap<Name, Entry>,
    /// What is being published.
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

    /// The stream has `entry`; one that says less than ours does not count.
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

/// What an entry is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Name {
    Listed(u128),
    Lifetime(Lifetime),
}

/// Of those that are no tokens.
fn name(entry: &Entry) -> Option<Name> {
    match entry {
        Entry::Mark | Entry::Token { .. } => None,
        Entry::Session { name, .. } | Entry::Subject { name, .. } | Entry::Key { name } => {
            Some(Name::Listed(*name))
        }
        Entry::Lifetime { lifetime, .. } => Some(Name::Lifetime(*lifetime)),
    }
}

/// What two entries about the same thing come to: `a`, for as long and up to as late as either
/// says.
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

/// How old the stream is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Birth {
    /// Its first entry.
    pub(super) first: Id,
    /// The server's clock now.
    pub(super) server_ms: u64,
    /// Whether somebody publishes lost entries.
    pub(super) restoring: bool,
}

/// Whether what was read to its end can be all there is. A stream that has just begun may be the
/// successor of one that the servers lost, and the others are about to publish what was in it.
#[derive(Debug, Default)]
struct Settling {
    began_us: Option<u64>,
    restoring_us: Option<u64>,
}

impl Settling {
    fn is_over(&mut self, stream: &Birth, now: Now) -> bool {
        let waited = now.mono_us.saturating_sub(*self.began_us.get_or_insert(now.mono_us));
        if stream.restoring {
            self.restoring_us = Some(now.mono_us);
        }
        // Whatever the server's clock says: who has waited long enough has seen it grow old.
        let age_us = stream.server_ms.saturating_sub(stream.first.ms).saturating_mul(1_000);
        let is_young = age_us.max(waited) < micros(YOUNG);
        let is_restored =
            self.restoring_us.is_none_or(|seen| now.mono_us.saturating_sub(seen) >= micros(QUIET));
        !is_young && is_restored
    }
}

/// When this process has read the end of the stream. A primary that took over meanwhile may lack
/// the last of what was stored, until those who had it stored have published it again.
#[derive(Debug, Default)]
struct Contact {
    last_us: Option<u64>,
    /// When it was there again.
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
        // Who has just started has heard nothing either.
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

/// What to do with a page at the head of the stream.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Compaction {
    /// To be added again at its end.
    pub(super) moved: Vec<Entry>,
    /// To be deleted then.
    pub(super) gone: Vec<Id>,
}

/// Decides on the first entries of the stream, of which one more than a page was asked for. `None`:
/// leave them.
///
/// A page goes where at least half of it is needed no more, and the rest moves to the end: so the
/// stream is never much longer than twice what is needed, and each entry that moves is paid for by
/// one that goes. Nothing that is needed is ever deleted, however long it lives, so processes need
/// not agree on a longest lifetime.
pub(super) fn compact(
    head: &[(Id, Option<Entry>)],
    now_minute: u32,
    server_ms: u64,
) -> Option<Compaction> {
    // The last entry stays, whatever it is: it is where readers stand.
    let page = head.get(..COMPACT_PAGE).filter(|_| head.len() > COMPACT_PAGE)?;
    let (last, _) = page.last()?;
    if server_ms.saturating_sub(last.ms) < COMPACT_AGE_MS {
        return None;
    }
    // Both clocks must say that it is over, with a minute to spare for the others'.
    let server_minute = u32::try_from(server_ms / 60_000).unwrap_or(u32::MAX);
    let minute = now_minute.min(server_minute).saturating_sub(1);
    let mut moved = Vec::new();
    for (_, entry) in page {
        // What can't be read is not ours to judge.
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
