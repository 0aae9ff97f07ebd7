//! Carries notices between the processes: what is said here is written at once, and what others say
//! is read once a second, by its place. What the store has lost is published again
//! ([`acknowledged`](super::acknowledged)). This has a connection of its own, so that a long list
//! never stands before a request.

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
/// The clock of the very server that has the notices: in a cluster each has its own. And the name
/// of the list, which is another one where the store has lost all that it had.
const TIME: &str = concat!(
    include_str!("lua/owned.lua"),
    "local time = redis.call('TIME') \
     local began = redis.pcall('HMGET', KEYS[1], 'began')[1] \
     return {time[1] * 1000000 + time[2], type(began) == 'string' and began or ''}"
);
/// What is said of names now: by it, a word is told from another one that has its place. Figures of
/// limits and reasons are no longer.
const TEXTS: &str = "local there = redis.call('HMGET', KEYS[1], unpack(ARGV)) \
    for i = 1, #ARGV do there[i] = there[i] and string.sub(there[i], 1, 512) end return there";
/// How often others are listened to, and how soon again after a failure.
const POLL: Duration = Duration::from_secs(1);
/// How long the servers may take for one answer.
const TIMEOUT: Duration = Duration::from_secs(1);
/// Notices that are read at once.
const PAGE: usize = 500;
/// Notices that a store keeps at most.
const MOST: usize = 100_000;
/// A place is a time of the server's clock in microseconds, and so is a version. One that is
/// further ahead is none: whoever reads up to it hears nothing that is said after it. The script
/// that gives places passes over it, too.
const AHEAD_US: u64 = 24 * 60 * 60 * 1_000_000;

/// A notice that waits to be written, with who waits for that.
pub(crate) struct Publication {
    pub(crate) notice: Notice,
    pub(crate) reply: Reply<()>,
}

/// What is kept from turn to turn.
struct Session {
    connector: Arc<Connector>,
    /// What was said, the names by place, and the names by their end. They are in one slot of a
    /// cluster.
    keys: [String; 3],
    link: Option<Link>,
    /// Not before then is a connection tried again.
    retry: Instant,
    /// The last place that was read, of the list of this name.
    seen: f64,
    began: String,
    /// As `seen`, but for ever: what is written here follows what was read and written here.
    highest: f64,
    /// By how much the servers' clock was ahead of our monotonic one at the most.
    lead_us: u64,
    /// What the store has, to be published again where it loses that.
    record: Record,
    /// How many names there may be that are to be looked for without a pause, since the store may
    /// have lost them.
    unlooked: usize,
    /// Whether some were lost.
    has_lost: bool,
}

/// Writes and reads until nobody can say anything any more.
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
        lead_us: 0,
        record,
        unlooked: 0,
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
                // What can't be read now is read the next time.
                let goes_on = session.read(&local).await.unwrap_or(false);
                next = Instant::now() + if goes_on { Duration::ZERO } else { jittered(POLL) };
            }
        }
    }
}

/// Takes in once more what is said here: what others had said before may have been read in the
/// meantime, and is older.
fn apply_again(local: &Weak<MemoryStore>, notice: &Notice) {
    if let Some(local) = local.upgrade() {
        // Who says it has been told whether there is room.
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
        self.retry = Instant::now() + POLL / 2;
        let link = connected.map_err(|_| StoreError::Unavailable)?;
        self.link = Some(link.clone());
        // It may be another server, which has not all that the one before had.
        self.seen = 0.0;
        self.look_for_all();
        Ok(link)
    }

    /// Publishes what is said here.
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
            Some(Stored { place, version, left_us, .. }) => {
                let (text, until_us) = (notice.text.clone(), now_us.saturating_add(left_us));
                self.note(&notice.name, Acknowledged { text, place, version, until_us });
            }
            // Nothing is there to be taken back, and there is no room to say so.
            None if notice.text == GONE => {}
            None => return Err(StoreError::Overloaded),
        }
        if lasts { Ok(()) } else { Err(StoreError::NotReplicated) }
    }

    /// The store has this notice.
    fn note(&mut self, name: &str, notice: Acknowledged) {
        self.highest = self.highest.max(notice.place);
        self.record.put(name, notice);
    }

    /// Writes a notice that holds for `ms`; one that is published `again` has this version, and is
    /// not written over a later one.
    fn put_command(&self, name: &str, text: &str, ms: u64, again: Option<f64>) -> Cmd {
        let mut command = redis::cmd("EVAL");
        command.arg(SCRIPT).arg(self.keys.len()).arg(&self.keys);
        command.arg(name).arg(text).arg(ms).arg(MOST).arg(format!("{:.0}", self.floor()));
        command.arg(again.map_or_else(String::new, |version| format!("{version:.0}")));
        command
    }

    /// What is written here has a place behind this: behind what was read and written here, and not
    /// before the servers' clock as it was, had nobody set it back. A word that was lost, and that
    /// this process has not read, may be published again, and would else be the later one.
    fn floor(&self) -> f64 {
        self.highest.max(in_us(Now::read().mono_us.saturating_add(self.lead_us)))
    }

    /// Reads the servers' clock. One that was ahead by more than a day was wrong.
    fn note_clock(&mut self, clock: Now) {
        let lead_us = clock.unix_us.saturating_sub(clock.mono_us);
        let was_wrong = self.lead_us > lead_us.saturating_add(AHEAD_US);
        self.lead_us = if was_wrong { lead_us } else { self.lead_us.max(lead_us) };
    }

    async fn send(&mut self, command: &Cmd) -> Result<Value, StoreError> {
        let mut link = self.link().await?;
        let answer = link.command(command).await;
        answer.map_err(|_| {
            self.link = None;
            StoreError::Unavailable
        })
    }

    /// Takes in what is new, page by page, and publishes again what the store has lost; whether
    /// there is more to do at once.
    async fn read(&mut self, local: &MemoryStore) -> Result<bool, StoreError> {
        loop {
            let mut link = self.link().await?;
            let Some((page, clock)) = self.page(&mut link).await else {
                self.link = None;
                return Err(StoreError::Unavailable);
            };
            self.record.begin_read(Now::read().mono_us);
            for (name, place, said) in &page {
                self.take(local, name, *place, said.as_ref(), clock);
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
        place: f64,
        said: Option<&(Said, String)>,
        clock: Now,
    ) {
        self.seen = self.seen.max(place);
        self.highest = self.highest.max(place);
        let Some((said, text)) = said else { return };
        // What this process said a moment ago, or has read before, is not undone by an older word.
        let latest_us = clock.unix_us.saturating_add(AHEAD_US);
        // And what is known keeps its end: where that in the store is another now, a clock was set.
        if self.record.is_later(name, said.version, latest_us)
            || self.record.meet(name, said.version, text, place)
        {
            return;
        }
        let left_us = said.until_us.saturating_sub(clock.unix_us);
        let until_us = clock.mono_us.saturating_add(left_us);
        // Where there is no room, it is not known here: the store has no more room than this
        // process.
        if let Ok(true) = local.notices().take(name, text, until_us, clock.mono_us) {
            let (text, version) = (text.clone(), said.version);
            self.note(name, Acknowledged { text, place, version, until_us });
        }
    }

    /// The store may have lost anything. What it has not lost is looked at once, wherever that
    /// begins.
    fn look_for_all(&mut self) {
        self.unlooked = self.record.len() + PAGE;
    }

    /// Looks for some of what the store had, and publishes again what it has lost; whether there is
    /// more to do at once.
    async fn publish_lost(&mut self, link: &mut Link) -> Result<bool, StoreError> {
        let now_us = Now::read().mono_us;
        let names = self.record.next(PAGE, now_us);
        let had_lost = self.has_lost;
        self.publish_lost_of(link, &names, now_us).await?;
        self.unlooked = self.unlooked.saturating_sub(PAGE);
        if self.has_lost && !had_lost {
            // There may be more.
            self.look_for_all();
        }
        if self.unlooked > 0 {
            return Ok(true);
        }
        if !std::mem::take(&mut self.has_lost) {
            return Ok(false);
        }
        // What else was written meanwhile may have places before those that were read.
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
                Ok(Some(Stored { place, version, is_written: true, .. })) => {
                    self.note(name, Acknowledged { text, place, version, until_us });
                    self.has_lost = true;
                }
                // Somebody has said something later. Where it stands before what was read, it came
                // there after the store had lost that.
                Ok(Some(Stored { place, .. })) => {
                    self.record.forget(name);
                    self.has_lost |= place <= self.seen;
                }
                Ok(None) => {}
                Err(error) => done = Err(error),
            }
        }
        done
    }

    /// What the store has of these names: `None` for each of which it has not all.
    async fn in_store(&self, link: &mut Link, names: &[String]) -> Option<Vec<Option<InStore>>> {
        let [said, places, _] = &self.keys;
        let mut ask = Pipeline::new();
        ask.cmd("EVAL").arg(TEXTS).arg(1).arg(said).arg(names);
        for name in names {
            ask.cmd("ZSCORE").arg(places).arg(name);
        }
        let answers = link.send(&ask).await.ok()?;
        let (Value::Array(texts), scores) = answers.split_first()? else { return None };
        if texts.len() != names.len() || scores.len() != names.len() {
            return None;
        }
        Some(texts.iter().zip(scores).map(|(text, place)| in_store(text, place)).collect())
    }

    /// The next notices, and when they were read: by the clock of the server that has them, and by
    /// our monotonic one. `None` where they can't be read.
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
        let [said, places, _] = &self.keys;
        let highest = clock.unix_us.saturating_add(AHEAD_US);
        let mut ask = Pipeline::new();
        ask.cmd("ZREVRANGEBYSCORE").arg(places).arg(highest).arg("-inf");
        ask.arg("WITHSCORES").arg("LIMIT").arg(0).arg(1);
        ask.cmd("ZRANGEBYSCORE").arg(places).arg(format!("({:.0}", self.seen)).arg(highest);
        ask.arg("WITHSCORES").arg("LIMIT").arg(0).arg(PAGE);
        let answers = link.send(&ask).await.ok()?;
        let [newest, page] = answers.as_slice() else { return None };
        let newest = scored(newest)?.first().map_or(0.0, |(_, place)| *place);
        if newest < self.seen {
            // The store has lost what it had, and begins anew.
            self.seen = 0.0;
            self.look_for_all();
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
            .map(|((name, place), text)| (name, place, read_said(text)));
        Some((read.collect(), clock))
    }
}

/// A notice that was read: its name, its place, and what it says. Nothing is said where it was
/// taken away in between, or can't be read.
type Read = (String, f64, Option<(Said, String)>);

/// When something was said, and until when it holds.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Said {
    /// In the order in which notices are read.
    place: f64,
    /// The later one of a name wins.
    version: f64,
    /// In microseconds of the server's clock.
    until_us: u64,
}

/// What the store has of a name after a write.
struct Stored {
    place: f64,
    version: f64,
    /// For how long it holds.
    left_us: u64,
    /// Whether it is what was written, and not a later word of somebody else.
    is_written: bool,
}

/// What the store has of a notice now; `None` where it had no room for it.
fn stored(answer: &Value) -> Result<Option<Stored>, StoreError> {
    match answer {
        Value::Int(0) => Ok(None),
        answer => put_answer(answer).map(Some).ok_or(StoreError::Refused),
    }
}

/// The answer of the script that keeps a notice.
fn put_answer(value: &Value) -> Option<Stored> {
    let Value::Array(parts) = value else { return None };
    let [place, version, left_us, written] = parts.as_slice() else { return None };
    let left_us = match left_us {
        Value::Int(left_us) => u64::try_from(*left_us).ok()?,
        _ => return None,
    };
    let is_written = matches!(written, Value::Int(1));
    let (place, version) = (number_of(place)?, number_of(version)?);
    Some(Stored { place, version, left_us, is_written })
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

/// What the store has of a name, whose text may be cut off. What can't be read is not there.
fn in_store(said: &Value, place: &Value) -> Option<InStore> {
    let Value::BulkString(said) = said else { return None };
    let mut parts = said.splitn(3, |byte| *byte == b' ').skip(1);
    let version = std::str::from_utf8(parts.next()?).ok()?.parse().ok()?;
    let text = parts.next()?.to_vec();
    Some(InStore { place: number_of(place)?, version, text })
}

/// When a notice is over, its version, and its text. Its place stands elsewhere.
fn read_said(value: &Value) -> Option<(Said, String)> {
    let (until, rest) = text_of(value)?.split_once(' ')?;
    let (version, text) = rest.split_once(' ')?;
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let until_us = is_number(until).then(|| until.parse().ok())??;
    let version = is_number(version).then(|| version.parse().ok())??;
    Some((Said { place: 0.0, version, until_us }, text.to_owned()))
}

/// Members of a sorted set with their scores.
fn scored(value: &Value) -> Option<Vec<(String, f64)>> {
    let Value::Array(values) = value else { return None };
    let pair = |pair: &[Value]| match pair {
        [name, score] => Some((name_of(name)?, number_of(score)?)),
        _ => None,
    };
    match values.first() {
        // RESP3 answers in pairs.
        Some(Value::Array(_)) => values
            .iter()
            .map(|item| if let Value::Array(item) = item { pair(item) } else { None })
            .collect(),
        _ => values.chunks(2).map(pair).collect(),
    }
}

/// The name of a notice. One that is no UTF-8 is not ours: nothing is said by it, and what comes
/// behind it is read all the same.
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
        let said = Said { place: 0.0, version: 7.0, until_us: 5 };
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
