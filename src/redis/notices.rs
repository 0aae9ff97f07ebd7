//! Distributes notices between the processes. A notice of this process is written at once; those of
//! others are read once a second, by place. Notices that the store lost are published again
//! ([`acknowledged`](super::acknowledged)). This module has a connection of its own, so that a long
//! list never delays a request.

use std::sync::{Arc, Weak};
use std::time::Duration;

use redis::{Cmd, Pipeline, Value};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{Instant, timeout_at};

use super::acknowledged::{Acknowledged, InStore, Record, in_us};
use super::connect::{Connector, Link};
use super::store_error;
use crate::clock::Now;
use crate::store::memory::MemoryStore;
use crate::store::notices::{GONE, Notice};
use crate::store::runtime::jittered;
use crate::store::{Reply, StoreError};

const SCRIPT: &str = concat!(include_str!("lua/owned.lua"), include_str!("lua/broadcast.lua"));
/// The clock of the server with the notices (in a cluster each server has its own), and the id of
/// the list, which changes when the store loses all data.
const TIME: &str = concat!(
    include_str!("lua/owned.lua"),
    "local time = redis.call('TIME') \
     local began = redis.pcall('HMGET', KEYS[1], 'began')[1] \
     return {time[1] * 1000000 + time[2], type(began) == 'string' and began or ''}"
);
/// The starts of the stored texts of some names. They distinguish two notices with the same place:
/// figures of limits and reasons are no longer.
const TEXTS: &str = "local there = redis.call('HMGET', KEYS[1], unpack(ARGV)) \
    for i = 1, #ARGV do there[i] = there[i] and string.sub(there[i], 1, 512) end return there";
/// How often notices are read, and the delay after a failure.
const POLL: Duration = Duration::from_secs(1);
/// The longest wait for one reply of the servers.
const TIMEOUT: Duration = Duration::from_secs(1);
/// The most notices of one read.
const PAGE: usize = 500;
/// The most notices in a store.
const MOST: usize = 100_000;
/// How far a place or version, a time of the server's clock in microseconds, may be ahead. Anything
/// further is invalid: a reader at that place would miss all later notices. The script that assigns
/// places ignores it, too.
const AHEAD_US: u64 = 24 * 60 * 60 * 1_000_000;

/// A notice to write, and its callback.
pub(crate) struct Publication {
    pub(crate) notice: Notice,
    pub(crate) reply: Reply<()>,
}

/// The state between reads and writes.
struct Session {
    connector: Arc<Connector>,
    /// The keys of the notices, of the names by place, and of the names by end. They are in one
    /// slot of a cluster.
    keys: [String; 3],
    link: Option<Link>,
    /// No attempt to connect is made before this.
    retry: Instant,
    /// The last place that was read, in the list with this id.
    seen: f64,
    began: String,
    /// As `seen`, but never reset: new places must follow all that was read and written here.
    highest: f64,
    /// The most that the servers' clock was ahead of the local monotonic one.
    clock_offset_us: u64,
    /// The notices in the store, kept to publish them again if it loses them.
    record: Record,
    /// How many names, at most, must be checked without a pause, since the store may have lost
    /// them.
    names_to_verify: usize,
    /// Whether some were lost.
    has_lost: bool,
}

/// Writes and reads until all senders are gone.
pub(crate) async fn run(
    connector: Arc<Connector>,
    local: Weak<MemoryStore>,
    mut said: UnboundedReceiver<Publication>,
) {
    let base = format!("{}{{notices}}", connector.config().prefix);
    let keys = [base.clone(), format!("{base}:versions"), format!("{base}:ends")];
    let retry = Instant::now();
    let record = Record::default();
    let mut session = Session {
        connector,
        keys,
        link: None,
        retry,
        seen: 0.0,
        began: String::new(),
        highest: 0.0,
        clock_offset_us: 0,
        record,
        names_to_verify: 0,
        has_lost: false,
    };
    let mut next = retry;
    loop {
        match timeout_at(next, said.recv()).await {
            Ok(Some(Publication { notice, reply })) => {
                apply_again(&local, &notice);
                reply(session.write(&notice).await);
            }
            Ok(None) => return,
            Err(_) => {
                let Some(local) = local.upgrade() else { return };
                // A failed read is repeated the next time.
                let goes_on = session.read(&local).await.unwrap_or(false);
                next = Instant::now() + if goes_on { Duration::ZERO } else { jittered(POLL) };
            }
        }
    }
}

/// Applies a local notice once more: an earlier one of another process may have been read in the
/// meantime.
fn apply_again(local: &Weak<MemoryStore>, notice: &Notice) {
    if let Some(local) = local.upgrade() {
        // The publisher has its answer about the room already.
        let _ = local.notices().apply(notice, Now::read().mono_us);
    }
}

impl Session {
    async fn link(&mut self) -> Result<Link, StoreError> {
        if let Some(link) = self.link.as_ref().filter(|link| !link.is_over()) {
            return Ok(link.clone());
        }
        if Instant::now() < self.retry {
            return Err(StoreError::Unavailable);
        }
        let connected = self.connector.connect(Some(TIMEOUT)).await;
        let link = connected.map_err(|_| {
            self.retry = Instant::now() + POLL / 2;
            StoreError::Unavailable
        })?;
        self.link = Some(link.clone());
        // It may be another server without some notices of the one before.
        self.seen = 0.0;
        self.schedule_full_check();
        Ok(link)
    }

    /// Writes a notice of this process.
    async fn write(&mut self, notice: &Notice) -> Result<(), StoreError> {
        let command = self.put_command(&notice.name, &notice.text, notice.ms, None);
        let now_us = Now::read().mono_us;
        let (answer, lasts) = if self.connector.config().min_replicas > 0 {
            let stored = self.connector.write_lasting(&command).await;
            stored.map_err(|error| store_error(&error))?
        } else {
            (self.send(&command).await?, true)
        };
        match stored(&answer)? {
            Some(Stored { offset, version, left_us, .. }) => {
                let (text, until_us) = (notice.text.clone(), now_us.saturating_add(left_us));
                self.note(&notice.name, Acknowledged { text, offset, version, until_us });
            }
            // There is no notice to remove, and no room for the removal.
            None if notice.text == GONE => {}
            None => return Err(StoreError::Overloaded),
        }
        if lasts { Ok(()) } else { Err(StoreError::NotReplicated) }
    }

    /// Notes that the store has this notice.
    fn note(&mut self, name: &str, notice: Acknowledged) {
        self.highest = self.highest.max(notice.offset);
        self.record.put(name, notice);
    }

    /// The command that writes a notice for `ms`. A notice published `again` keeps this version,
    /// and does not replace a later one.
    fn put_command(&self, name: &str, text: &str, ms: u64, again: Option<f64>) -> Cmd {
        let mut command = redis::cmd("EVAL");
        command.arg(SCRIPT).arg(self.keys.len()).arg(&self.keys);
        command.arg(name).arg(text).arg(ms).arg(MOST).arg(format!("{:.0}", self.min_offset()));
        command.arg(again.map_or_else(String::new, |version| format!("{version:.0}")));
        command
    }

    /// The place that new notices must follow: it is after all that was read and written here, and
    /// not before the servers' clock as it would be without setbacks. Another process may publish
    /// again a lost notice that this process has not read; it must not become the later one.
    fn min_offset(&self) -> f64 {
        self.highest.max(in_us(Now::read().mono_us.saturating_add(self.clock_offset_us)))
    }

    /// Applies a reading of the servers' clock. An earlier reading more than a day ahead of it was
    /// wrong.
    fn note_clock(&mut self, clock: Now) {
        let clock_offset_us = clock.unix_us.saturating_sub(clock.mono_us);
        let was_wrong = self.clock_offset_us > clock_offset_us.saturating_add(AHEAD_US);
        self.clock_offset_us =
            if was_wrong { clock_offset_us } else { self.clock_offset_us.max(clock_offset_us) };
    }

    async fn send(&mut self, command: &Cmd) -> Result<Value, StoreError> {
        let mut link = self.link().await?;
        let answer = link.command(command).await;
        answer.map_err(|_| {
            self.link = None;
            StoreError::Unavailable
        })
    }

    /// Applies new notices page by page, and publishes lost ones again. Returns whether there is
    /// more to do at once.
    async fn read(&mut self, local: &MemoryStore) -> Result<bool, StoreError> {
        loop {
            let mut link = self.link().await?;
            let Some((page, clock)) = self.page(&mut link).await else {
                self.link = None;
                return Err(StoreError::Unavailable);
            };
            self.record.begin_read(Now::read().mono_us);
            for (name, offset, said) in &page {
                self.take(local, name, *offset, said.as_ref(), clock);
            }
            if page.len() < PAGE {
                return self.publish_lost(&mut link).await;
            }
        }
    }

    fn take(
        &mut self,
        local: &MemoryStore,
        name: &str,
        offset: f64,
        said: Option<&(NoticeHeader, String)>,
        clock: Now,
    ) {
        self.seen = self.seen.max(offset);
        self.highest = self.highest.max(offset);
        let Some((said, text)) = said else { return };
        // An earlier notice does not replace one that this process has published or read.
        let latest_us = clock.unix_us.saturating_add(AHEAD_US);
        // A kept notice also keeps its end: a different end in the store means that a clock was
        // set.
        if self.record.is_later(name, said.version, latest_us)
            || self.record.meet(name, said.version, text, offset)
        {
            return;
        }
        let left_us = said.until_us.saturating_sub(clock.unix_us);
        let until_us = clock.mono_us.saturating_add(left_us);
        // Without room it is not kept: the store has no more room than this process.
        if let Ok(true) = local.notices().take(name, text, until_us, clock.mono_us) {
            let (text, version) = (text.clone(), said.version);
            self.note(name, Acknowledged { text, offset, version, until_us });
        }
    }

    /// Schedules a check of all names, since the store may have lost any. Every name is checked
    /// once, from wherever the check begins.
    fn schedule_full_check(&mut self) {
        self.names_to_verify = self.record.len() + PAGE;
    }

    /// Checks some names of the store, and publishes lost notices again. Returns whether there is
    /// more to do at once.
    async fn publish_lost(&mut self, link: &mut Link) -> Result<bool, StoreError> {
        let now_us = Now::read().mono_us;
        let names = self.record.next(PAGE, now_us);
        let had_lost = self.has_lost;
        self.publish_lost_of(link, &names, now_us).await?;
        self.names_to_verify = self.names_to_verify.saturating_sub(PAGE);
        if self.has_lost && !had_lost {
            // There may be more.
            self.schedule_full_check();
        }
        if self.names_to_verify > 0 {
            return Ok(true);
        }
        if !std::mem::take(&mut self.has_lost) {
            return Ok(false);
        }
        // Other notices written meanwhile may have places before those that were read.
        self.seen = 0.0;
        Ok(true)
    }

    async fn publish_lost_of(
        &mut self,
        link: &mut Link,
        names: &[String],
        now_us: u64,
    ) -> Result<(), StoreError> {
        if names.is_empty() {
            return Ok(());
        }
        let Some(in_store) = self.in_store(link, names).await else {
            self.link = None;
            return Err(StoreError::Unavailable);
        };
        let (mut publish, mut published) = (Pipeline::new(), Vec::new());
        for (name, in_store) in names.iter().zip(in_store) {
            let Some(lost) = self.record.lost(name, in_store.as_ref()) else { continue };
            let ms = lost.until_us.saturating_sub(now_us).div_ceil(1000);
            publish.add_command(self.put_command(name, &lost.text, ms, Some(lost.version)));
            published.push((name, lost.text.clone(), lost.until_us));
        }
        if published.is_empty() {
            return Ok(());
        }
        let Ok(answers) = link.send(&publish).await else {
            self.link = None;
            return Err(StoreError::Unavailable);
        };
        let mut done = Ok(());
        for ((name, text, until_us), answer) in published.into_iter().zip(&answers) {
            match stored(answer) {
                Ok(Some(Stored { offset, version, is_written: true, .. })) => {
                    self.note(name, Acknowledged { text, offset, version, until_us });
                    self.has_lost = true;
                }
                // Another process published a later notice. If its place is before the last read
                // one, the store had lost data by then.
                Ok(Some(Stored { offset, .. })) => {
                    self.record.forget(name);
                    self.has_lost |= offset <= self.seen;
                }
                Ok(None) => {}
                Err(error) => done = Err(error),
            }
        }
        done
    }

    /// The stored entries of these names: `None` for each that is missing or incomplete.
    async fn in_store(&self, link: &mut Link, names: &[String]) -> Option<Vec<Option<InStore>>> {
        let [said, offsets, _] = &self.keys;
        let mut ask = Pipeline::new();
        ask.cmd("EVAL").arg(TEXTS).arg(1).arg(said).arg(names);
        for name in names {
            ask.cmd("ZSCORE").arg(offsets).arg(name);
        }
        let answers = link.send(&ask).await.ok()?;
        let (Value::Array(texts), scores) = answers.split_first()? else { return None };
        if texts.len() != names.len() || scores.len() != names.len() {
            return None;
        }
        Some(texts.iter().zip(scores).map(|(text, offset)| in_store(text, offset)).collect())
    }

    /// The next notices, and the time of the read on both clocks: that of the server with the
    /// notices, and the local monotonic one. `None` if they can't be read.
    async fn page(&mut self, link: &mut Link) -> Option<(Vec<Read>, Now)> {
        let mut ask = redis::cmd("EVAL");
        ask.arg(TIME).arg(self.keys.len()).arg(&self.keys);
        let mono_us = Now::read().mono_us;
        let Value::Array(answer) = link.command(&ask).await.ok()? else { return None };
        let [Value::Int(unix_us), began] = answer.as_slice() else { return None };
        let clock = Now { unix_us: u64::try_from(*unix_us).ok()?, mono_us };
        self.note_clock(clock);
        let began = name_of(began)?;
        if began != self.began {
            (self.began, self.seen) = (began, 0.0);
        }
        let [said, offsets, _] = &self.keys;
        let highest = clock.unix_us.saturating_add(AHEAD_US);
        let mut ask = Pipeline::new();
        ask.cmd("ZREVRANGEBYSCORE").arg(offsets).arg(highest).arg("-inf");
        ask.arg("WITHSCORES").arg("LIMIT").arg(0).arg(1);
        ask.cmd("ZRANGEBYSCORE").arg(offsets).arg(format!("({:.0}", self.seen)).arg(highest);
        ask.arg("WITHSCORES").arg("LIMIT").arg(0).arg(PAGE);
        let answers = link.send(&ask).await.ok()?;
        let [newest, page] = answers.as_slice() else { return None };
        let newest = scored(newest)?.first().map_or(0.0, |(_, offset)| *offset);
        if newest < self.seen {
            // The store has lost its data and starts anew.
            self.seen = 0.0;
            self.schedule_full_check();
            return Some((Vec::new(), clock));
        }
        let page = scored(page)?;
        if page.is_empty() {
            return Some((Vec::new(), clock));
        }
        let mut fetch = Cmd::new();
        fetch.arg("HMGET").arg(said);
        for (name, _) in &page {
            fetch.arg(name);
        }
        let Value::Array(texts) = link.command(&fetch).await.ok()? else { return None };
        if texts.len() != page.len() {
            return None;
        }
        let read = page
            .into_iter()
            .zip(&texts)
            .map(|((name, offset), text)| (name, offset, read_said(text)));
        Some((read.collect(), clock))
    }
}

/// A notice that was read: its name, its place, and its content. The content is missing if the
/// notice was removed in between or can't be read.
type Read = (String, f64, Option<(NoticeHeader, String)>);

/// The version and end of a notice.
#[derive(Debug, Clone, Copy, PartialEq)]
struct NoticeHeader {
    /// The later version of a name wins.
    version: f64,
    /// In microseconds of the server's clock.
    until_us: u64,
}

/// The stored notice of a name after a write.
struct Stored {
    offset: f64,
    version: f64,
    /// Its remaining time.
    left_us: u64,
    /// Whether it is the written notice, not a later one of another process.
    is_written: bool,
}

/// The stored notice; `None` if the store had no room for it.
fn stored(answer: &Value) -> Result<Option<Stored>, StoreError> {
    match answer {
        Value::Int(0) => Ok(None),
        answer => put_answer(answer).map(Some).ok_or(StoreError::Refused),
    }
}

/// Reads the answer of the script that keeps a notice.
fn put_answer(value: &Value) -> Option<Stored> {
    let Value::Array(parts) = value else { return None };
    let [offset, version, left_us, written] = parts.as_slice() else { return None };
    let left_us = match left_us {
        Value::Int(left_us) => u64::try_from(*left_us).ok()?,
        _ => return None,
    };
    let is_written = matches!(written, Value::Int(1));
    let (offset, version) = (number_of(offset)?, number_of(version)?);
    Some(Stored { offset, version, left_us, is_written })
}

/// A place or a version: a score of a sorted set, or a number of the script. Whole numbers below
/// 2^53 are exact.
fn number_of(value: &Value) -> Option<f64> {
    match value {
        Value::Double(number) => Some(*number),
        Value::Int(number) => number.to_string().parse().ok(),
        text => text_of(text)?.parse().ok(),
    }
}

/// The stored entry of a name, whose text may be cut off. An unreadable entry counts as missing.
fn in_store(said: &Value, offset: &Value) -> Option<InStore> {
    let Value::BulkString(said) = said else { return None };
    let mut parts = said.splitn(3, |byte| *byte == b' ').skip(1);
    let version = std::str::from_utf8(parts.next()?).ok()?.parse().ok()?;
    let text = parts.next()?.to_vec();
    Some(InStore { offset: number_of(offset)?, version, text })
}

/// The end, version and text of a notice. Its place is stored elsewhere.
fn read_said(value: &Value) -> Option<(NoticeHeader, String)> {
    let (until, rest) = text_of(value)?.split_once(' ')?;
    let (version, text) = rest.split_once(' ')?;
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let until_us = is_number(until).then(|| until.parse().ok())??;
    let version = is_number(version).then(|| version.parse().ok())??;
    Some((NoticeHeader { version, until_us }, text.to_owned()))
}

/// Members of a sorted set with their scores.
fn scored(value: &Value) -> Option<Vec<(String, f64)>> {
    let Value::Array(values) = value else { return None };
    let pair = |pair: &[Value]| match pair {
        [name, score] => Some((name_of(name)?, number_of(score)?)),
        _ => None,
    };
    match values.first() {
        // RESP3 returns pairs.
        Some(Value::Array(_)) => values
            .iter()
            .map(|item| if let Value::Array(item) = item { pair(item) } else { None })
            .collect(),
        _ => values.chunks(2).map(pair).collect(),
    }
}

/// The name of a notice. One that is not UTF-8 was written by another program: it has no effect,
/// and the names after it are still read.
fn name_of(value: &Value) -> Option<String> {
    match value {
        Value::BulkString(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
        other => text_of(other).map(str::to_owned),
    }
}

fn text_of(value: &Value) -> Option<&str> {
    match value {
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok(),
        Value::SimpleString(text) => Some(text),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_name_that_is_no_text_hides_none_behind_it() {
        let bulk = |bytes: &[u8]| Value::BulkString(bytes.to_vec());
        let page = [bulk(b"\xff"), bulk(b"7"), bulk(b"c:1"), bulk(b"8")];
        let read = scored(&Value::Array(page.into())).unwrap();
        assert_eq!(read, [("\u{fffd}".to_owned(), 7.0), ("c:1".to_owned(), 8.0)]);
    }

    #[test]
    fn a_notice_has_an_end_and_a_version_in_digits() {
        let read = |text: &str| read_said(&Value::BulkString(text.as_bytes().to_vec()));
        let said = NoticeHeader { version: 7.0, until_us: 5 };
        assert_eq!(read("5 7 block why not"), Some((said, "block why not".to_owned())));
        for text in [
            "",
            "5",
            "5 block x",
            "5 7",
            " 7 block x",
            "+5 7 block x",
            "-5 7 allow",
            "5.0 7 allow",
            "5 7.0 allow",
            "5 -7 allow",
            "5 inf allow",
            "1e9 7 allow",
            "99999999999999999999 7 allow",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
        assert_eq!(read_said(&Value::Nil), None);
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Nil),
            any::<i64>().prop_map(Value::Int),
            any::<f64>().prop_map(Value::Double),
            proptest::collection::vec(any::<u8>(), 0..20).prop_map(Value::BulkString),
        ];
        leaf.prop_recursive(3, 20, 4, |inner| {
            proptest::collection::vec(inner, 0..4).prop_map(Value::Array)
        })
    }

    proptest! {
        #[test]
        fn any_answer_is_read_or_refused(value in values()) {
            let _ = read_said(&value);
            let _ = scored(&value);
            let _ = put_answer(&value);
        }
    }
}
