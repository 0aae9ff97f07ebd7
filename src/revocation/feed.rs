//! Reads the stream into the sets of this process and writes into it. All code that waits for the
//! servers is here.
//!
//! One task follows the stream on its own connection, which blocks until the next entry. A second
//! connection sends the revocations of this process and its other commands. The task ends with the
//! last guard.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use redis::{Cmd, ErrorKind, Pipeline, RedisError, ServerErrorKind, Value};
use tokio::time::{sleep, timeout};

use super::entry::{Entry, Id, Lifetime, Lived};
use super::feed_error::FeedError;
use super::forgetting::{Forgetting, ServerClock};
use super::replica::{self, Cursor, Follower, ReadOutcome, StreamAge};
use super::revocations::behind;
use super::sets::Sets;
use super::stream::{Keys, Lock, RESTORE_LOCK_MS, head_answer, id_answer, read_answer};
use crate::clock::{Now, micros};
use crate::redis::{Connector, Link, store_error};
use crate::store::error::Replying;
use crate::store::{Reply, StoreError, runtime};

/// The timeout for storing a revocation. No request waits for it.
const REVOKE_TIMEOUT: Duration = Duration::from_secs(1);
/// The timeout of an answer, in addition to the requested block. After it the connection counts as
/// dead.
const TIMEOUT: Duration = Duration::from_secs(3);
/// The maximum time that a read blocks for the next entry.
const LONGEST_BLOCK: Duration = Duration::from_millis(500);
/// The maximum time that a read blocks while tokens are refused.
const SHORT_BLOCK_MS: u64 = 100;
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_millis(300);
/// The delay after an entry that this process can't read or keep.
const GAP_PAUSE: Duration = Duration::from_secs(5);
/// The interval at which the other processes try to take the restore lock.
const RESTORE_RETRY_US: u64 = 300_000;
/// One process compacts the stream, once in this time.
const COMPACT_LOCK_MS: u64 = 55_000;
const MINUTE_US: u64 = 60_000_000;
const DAY_MINUTES: u32 = 24 * 60;
/// How long other processes keep a lifetime of this process, also after it has ended.
const LIFETIME_KEPT: u32 = 366 * DAY_MINUTES;
/// A lifetime is published again once less than this remains.
const LIFETIME_RENEWED: u32 = 300 * DAY_MINUTES;

/// The copy of the list in this process.
#[derive(Debug)]
pub(super) struct Feed {
    connector: Arc<Connector>,
    keys: Keys,
    pub(super) sets: Sets,
    pub(super) clock: ServerClock,
    /// The lifetimes of tokens and sessions at the guards that use this feed.
    lifetimes: Mutex<BTreeSet<Lifetime>>,
    follower: Mutex<Follower>,
    ready: AtomicBool,
    /// The reason for the store's outage, if there is one.
    fault: Mutex<Option<StoreError>>,
    /// Everything stored before this moment of the monotonic clock is in the sets; 0 for never.
    proven_us: AtomicU64,
    /// The smallest `maxStaleness` of the guards that use this feed.
    bound_us: AtomicU64,
    /// The connection for everything except following the stream.
    commands: Mutex<Option<Link>>,
    asking: Mutex<Vec<Replying<()>>>,
}

/// The state of one connection between turns.
#[derive(Default)]
struct Session {
    /// Whether a read has succeeded.
    has_read: bool,
    restoring: bool,
    next_try_us: u64,
    compacting: bool,
    next_minute_us: u64,
}

impl Feed {
    /// The feed that all guards of this process with the same servers and prefix share.
    pub(super) fn shared(connector: &Arc<Connector>) -> Arc<Self> {
        static FEEDS: Mutex<BTreeMap<String, Weak<Feed>>> = Mutex::new(BTreeMap::new());
        let mut feeds = FEEDS.lock();
        let config = connector.config();
        let key = format!("{} {}", config.min_replicas, config.identity());
        if let Some(feed) = feeds.get(&key).and_then(Weak::upgrade) {
            return feed;
        }
        feeds.retain(|_, feed| feed.strong_count() > 0);
        let feed = Self::start(connector);
        feeds.insert(key, Arc::downgrade(&feed));
        feed
    }

    /// A separate feed.
    pub(super) fn start(connector: &Arc<Connector>) -> Arc<Self> {
        let feed = Arc::new(Self {
            keys: Keys::new(&connector.config().prefix),
            connector: Arc::clone(connector),
            sets: Sets::new(Forgetting::new(Now::read())),
            clock: ServerClock::default(),
            lifetimes: Mutex::default(),
            follower: Mutex::new(Follower::default()),
            ready: AtomicBool::new(false),
            fault: Mutex::new(Some(StoreError::Unavailable)),
            proven_us: AtomicU64::new(0),
            bound_us: AtomicU64::new(MINUTE_US * 5),
            commands: Mutex::new(None),
            asking: Mutex::new(Vec::new()),
        });
        // If no thread can be spawned, the feed never becomes ready and all tokens are refused.
        let _ = runtime::spawn(follow(Arc::downgrade(&feed)));
        feed
    }

    /// Lowers the bound: a guard requires the copy to be at most this stale.
    pub(super) fn lower_staleness_bound(&self, bound: Duration) {
        self.bound_us.fetch_min(micros(bound), Ordering::AcqRel);
    }

    /// Registers a lifetime of this process, to be published to all processes.
    pub(super) fn announce(&self, lifetime: Lifetime) {
        self.lifetimes.lock().insert(lifetime);
    }

    /// The longest lifetime at any guard, in this process or another, in seconds.
    pub(super) fn longest(&self, issuer: u128, of: Lived) -> u64 {
        let lifetimes = self.lifetimes.lock();
        let same = lifetimes.iter().filter(|lived| lived.issuer == issuer && lived.of == of);
        let here = same.map(|lifetime| u64::from(lifetime.seconds)).max().unwrap_or(0);
        here.max(self.sets.longest(issuer, of))
    }

    /// The minute before which entries may be dropped, by our clock and by the server's.
    pub(super) fn minute(&self, now: Now) -> u32 {
        self.sets.minute(now).min(self.clock.minute(now))
    }

    /// The lifetimes that this process must publish or renew.
    fn unannounced(&self, now_minute: u32) -> Vec<Entry> {
        let soon = now_minute.saturating_add(LIFETIME_RENEWED);
        let until = now_minute.saturating_add(LIFETIME_KEPT);
        let lifetimes = self.lifetimes.lock();
        let due = lifetimes
            .iter()
            .filter(|lifetime| self.sets.lifetime_until(lifetime).is_none_or(|until| until < soon));
        due.map(|lifetime| Entry::Lifetime { lifetime: *lifetime, until }).collect()
    }

    pub(super) fn freshness(&self, now: Now, bound: Duration) -> replica::Freshness {
        let ready = self.ready.load(Ordering::Acquire);
        replica::freshness(ready, self.proven_us.load(Ordering::Acquire), now, bound)
    }

    /// Whether reading to the end of the stream proves that nothing is missing. Without a proof for
    /// longer than a failover takes, the process may read a primary that lacks the last entries:
    /// see [`Follower::proves`]. A proof is as old as the read before the one in flight, and each
    /// read blocks for half a second.
    pub(super) fn can_prove(&self, now: Now) -> bool {
        self.is_ready() && self.age(now).is_some_and(|age| age <= replica::SILENCE + LONGEST_BLOCK)
    }

    pub(super) fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    pub(super) fn fault(&self) -> Option<StoreError> {
        *self.fault.lock()
    }

    /// The age of the last proof that nothing is missing.
    pub(super) fn age(&self, now: Now) -> Option<Duration> {
        let proven_us = self.proven_us.load(Ordering::Acquire);
        (proven_us > 0).then(|| Duration::from_micros(now.mono_us.saturating_sub(proven_us)))
    }

    /// The number of entries that the servers have lost and that are not republished yet.
    pub(super) fn missing(&self) -> usize {
        self.follower.lock().missing()
    }

    /// Stores `entry`, which is in the sets already, and replies after the server's
    /// acknowledgement.
    pub(super) fn publish(self: &Arc<Self>, entry: Entry, reply: Reply<()>) {
        let (feed, answer) = (Arc::clone(self), Replying::new(reply));
        runtime::spawn(async move {
            let adding = timeout(REVOKE_TIMEOUT, feed.add(entry));
            answer.give(adding.await.unwrap_or(Err(StoreError::Timeout)));
        });
    }

    /// The revocation time of a subject, with the cursor up to which it was read.
    pub(super) fn known_subject(&self, name: u128) -> (Cursor, Option<u64>) {
        let cursor = self.follower.lock().cursor();
        (cursor, self.sets.subject_before(name))
    }

    /// As [`Self::publish`], for a subject up to now. Another process may have revoked the subject
    /// after `cursor`, with a login after it. The second of that login is later than the other
    /// revocation's, so `before` moves past it.
    pub(super) fn publish_subject(
        self: &Arc<Self>,
        cursor: Cursor,
        entry: Entry,
        reply: Reply<()>,
    ) {
        let (feed, answer) = (Arc::clone(self), Replying::new(reply));
        runtime::spawn(async move {
            let adding = async {
                let entry = feed.order_after_others(cursor, entry).await?;
                feed.add(entry).await
            };
            let done = timeout(REVOKE_TIMEOUT, adding).await;
            answer.give(done.unwrap_or(Err(StoreError::Timeout)));
        });
    }

    async fn order_after_others(
        self: &Arc<Self>,
        cursor: Cursor,
        entry: Entry,
    ) -> Result<Entry, StoreError> {
        let Entry::Subject { name, before_s, until } = entry else { return Ok(entry) };
        let mut latest_s = None;
        let mut see = |read: &Entry| {
            if let Entry::Subject { name: other, before_s, .. } = read
                && *other == name
            {
                latest_s = latest_s.max(Some(*before_s));
            }
        };
        let mut link = self.commands().await?;
        if !self.read_on(&mut link, cursor, &mut see).await?
            && !self.read_on(&mut link, Cursor::default(), &mut see).await?
        {
            return Err(StoreError::Unavailable);
        }
        let behind_s = behind(latest_s, before_s);
        let more = u32::try_from((behind_s - before_s).div_ceil(60)).unwrap_or(u32::MAX);
        let entry = Entry::Subject { name, before_s: behind_s, until: until.saturating_add(more) };
        let applied = self.sets.apply(&entry, self.minute(Now::read()));
        applied.map(|()| entry).map_err(|_| StoreError::Refused)
    }

    /// Reads new entries at the primary. When it replies, everything stored before this call is in
    /// the sets. Calls before the store's thread runs share one round trip.
    pub(super) fn refresh(self: &Arc<Self>, reply: Reply<()>) {
        let mut asking = self.asking.lock();
        asking.push(Replying::new(reply));
        let is_first = asking.len() == 1;
        drop(asking);
        if !is_first {
            return;
        }
        let feed = Arc::clone(self);
        let answering = async move {
            let asking = std::mem::take(&mut *feed.asking.lock());
            let reading = timeout(feed.connector.config().timeout, feed.catch_up());
            let result = reading.await.unwrap_or(Err(StoreError::Timeout));
            for answer in asking {
                answer.give(result);
            }
        };
        if !runtime::spawn(answering) {
            drop(std::mem::take(&mut *self.asking.lock()));
        }
    }

    async fn add(self: &Arc<Self>, entry: Entry) -> Result<(), StoreError> {
        let add = self.keys.add(&entry);
        let (answer, lasts) = if self.connector.config().min_replicas > 0 {
            let stored = self.connector.write_lasting(&add).await;
            stored.map_err(|error| store_error(&error))?
        } else {
            let mut link = self.commands().await?;
            let stored = link.command(&add).await;
            (stored.map_err(|error| self.failed(&error))?, true)
        };
        // If a failover loses the entry, it is published again from this copy.
        self.follower.lock().acknowledged(id_answer(&answer)?, entry);
        if lasts { Ok(()) } else { Err(StoreError::NotReplicated) }
    }

    /// The connection for commands. A connection attempt continues after the timeout of the caller
    /// that started it.
    async fn commands(self: &Arc<Self>) -> Result<Link, StoreError> {
        let known = self.commands.lock().clone();
        if let Some(link) = known.filter(|link| !link.is_over()) {
            return Ok(link);
        }
        let feed = Arc::clone(self);
        let connecting = runtime::spawn_beside(async move { feed.connect_commands().await });
        connecting.await.unwrap_or(Err(StoreError::Unavailable))
    }

    async fn catch_up(self: &Arc<Self>) -> Result<(), StoreError> {
        if !self.can_prove(Now::read()) {
            return Err(StoreError::Unavailable);
        }
        let mut link = self.commands().await?;
        let cursor = self.follower.lock().cursor();
        let is_whole = self.read_on(&mut link, cursor, &mut |_| {}).await?;
        if is_whole { Ok(()) } else { Err(StoreError::Unavailable) }
    }

    /// Reads from `cursor` to the end; `false` if the servers have lost the entry at `cursor`.
    async fn read_on(
        &self,
        link: &mut Link,
        mut cursor: Cursor,
        see: &mut (dyn FnMut(&Entry) + Send),
    ) -> Result<bool, StoreError> {
        loop {
            let is_start = cursor.id == Id::START;
            let answers = link.send(&self.keys.read(&cursor, None)).await;
            let answers = answers.map_err(|error| self.failed(&error))?;
            let read = read_answer(answers, &cursor).inspect_err(|_| self.forget_commands())?;
            if !read.is_whole && !is_start {
                return Ok(false);
            }
            replica::apply(&read.entries, &self.sets, self.minute(Now::read()))
                .map_err(|_| StoreError::Refused)?;
            read.entries.iter().filter_map(|(_, entry)| entry.as_ref()).for_each(&mut *see);
            match read.end {
                Some(end) if read.entries.len() >= replica::READ_PAGE => cursor = end,
                _ => return Ok(true),
            }
        }
    }

    /// Opens both connections and returns the one that follows the stream.
    async fn connect(&self) -> Result<Link, StoreError> {
        self.connect_commands().await?;
        self.connector.connect(None).await.map_err(|error| store_error(&error))
    }

    async fn connect_commands(&self) -> Result<Link, StoreError> {
        let connecting = self.connector.connect(Some(REVOKE_TIMEOUT));
        let mut link = connecting.await.map_err(|error| store_error(&error))?;
        // If this fails, the next command returns the cause.
        let _ = ask_one(&mut link, &self.keys.own()).await;
        self.read_clock(&mut link).await?;
        *self.commands.lock() = Some(link.clone());
        Ok(link)
    }

    /// Reads the server's clock.
    async fn read_clock(&self, link: &mut Link) -> Result<(), StoreError> {
        let head = head_answer(ask(link, &self.keys.head(1), TIMEOUT).await?)?;
        self.clock.showed(head.server_ms.saturating_mul(1_000), Now::read());
        Ok(())
    }

    fn forget_commands(&self) {
        *self.commands.lock() = None;
    }

    /// A connection is not used again after it failed or if its server is no longer a primary.
    fn failed(&self, error: &RedisError) -> StoreError {
        let kept = matches!(
            error.kind(),
            ErrorKind::Server(ServerErrorKind::NoPerm | ServerErrorKind::ResponseError)
        );
        if !kept {
            self.forget_commands();
        }
        store_error(error)
    }

    /// Reads once, and does the pending work at the end of the stream.
    async fn turn(&self, link: &mut Link, session: &mut Session) -> Result<(), FeedError> {
        // Eight reads fit into the bound, so that one slow answer does no harm.
        self.publish_lost(link).await?;
        let block = (self.bound_us.load(Ordering::Acquire) / 8)
            .clamp(100_000, micros(LONGEST_BLOCK))
            / 1_000;
        let (cursor, is_returning) = {
            let mut follower = self.follower.lock();
            follower.reading();
            (follower.cursor(), follower.is_returning(Now::read()))
        };
        // A process that can't decide yet waits for time to pass, not for an entry.
        let block = if is_returning || !self.is_ready() { SHORT_BLOCK_MS } else { block };
        // The first answer shows whether this server lacks stored entries. The other processes wait
        // only one second for it, so the first read does not block.
        let block = session.has_read.then_some(block);
        // An entry in the answer may have been stored after the request was sent. So an answer
        // proves the time of sending, on our monotonic clock, independent of the servers' clocks.
        let asked = Now::read();
        let patience = TIMEOUT + Duration::from_millis(block.unwrap_or(0));
        let read = ask(link, &self.keys.read(&cursor, block), patience).await?;
        let read = read_answer(read, &cursor)?;
        session.has_read = true;
        let now = Now::read();
        let now_minute = self.minute(now);
        let took = self.follower.lock().take(&read, &self.sets, now_minute)?;
        let ReadOutcome::Tail = took else { return Ok(()) };
        let is_proven = self.follower.lock().proves(asked);
        // Other processes must keep new revocations for the longest lifetime of a token here. So
        // lifetimes are published before this process accepts a token.
        let lifetimes = self.unannounced(now_minute);
        if !lifetimes.is_empty() {
            let ids = self.add_all(link, &lifetimes).await?;
            self.follower.lock().all_acknowledged(ids, lifetimes);
            return Ok(());
        }
        if !self.is_ready() {
            if !self.settle(link).await? {
                return Ok(());
            }
            self.ready.store(true, Ordering::Release);
        }
        if is_proven {
            self.proven_us.store(asked.mono_us, Ordering::Release);
        }
        if session.next_minute_us <= now.mono_us {
            session.next_minute_us = now.mono_us.saturating_add(jittered(MINUTE_US));
            self.read_clock(link).await?;
            self.sets.sweep(self.minute(now));
            session.compacting = self.lock(link, &self.keys.compacting, COMPACT_LOCK_MS).await?;
        }
        self.restore(link, session, now).await?;
        if session.compacting {
            session.compacting = self.compact(link, now_minute).await?;
        }
        Ok(())
    }

    /// Whether a stream that was read to its end can be complete.
    async fn settle(&self, link: &mut Link) -> Result<bool, FeedError> {
        let head = head_answer(ask(link, &self.keys.head(1), TIMEOUT).await?)?;
        let Some((first, _)) = head.entries.first() else {
            // An existing stream shows its age.
            id_answer(&ask_one(link, &self.keys.add(&Entry::Mark)).await?)?;
            return Ok(false);
        };
        let birth =
            StreamAge { first: *first, server_ms: head.server_ms, restoring: head.restoring };
        Ok(self.follower.lock().settled(&birth, Now::read()))
    }

    /// Publishes entries again that this process stored and that the servers lost, possibly before
    /// another process read them. The other processes wait for it; see [`Follower::proves`].
    async fn publish_lost(&self, link: &mut Link) -> Result<(), StoreError> {
        let entries = self.follower.lock().next_lost();
        if entries.is_empty() {
            return Ok(());
        }
        let stored = self.add_all(link, &entries).await;
        let mut follower = self.follower.lock();
        match stored {
            Ok(ids) => {
                // They can be lost again before they are read.
                follower.all_acknowledged(ids, entries);
                Ok(())
            }
            Err(error) => {
                follower.still_lost(entries);
                Err(error)
            }
        }
    }

    /// Publishes some of the lost entries. One process does so at a time; the others read its
    /// entries from the stream.
    async fn restore(
        &self,
        link: &mut Link,
        session: &mut Session,
        now: Now,
    ) -> Result<(), FeedError> {
        if !self.follower.lock().is_missing() {
            if std::mem::take(&mut session.restoring) {
                ask_one(link, &Keys::unlock(&self.keys.restoring)).await?;
            }
            return Ok(());
        }
        if !session.restoring {
            if now.mono_us < session.next_try_us {
                return Ok(());
            }
            session.next_try_us = now.mono_us.saturating_add(jittered(RESTORE_RETRY_US));
            session.restoring = self.lock(link, &self.keys.restoring, RESTORE_LOCK_MS).await?;
            if !session.restoring {
                return Ok(());
            }
        }
        let entries = self.follower.lock().next_missing();
        let mut publish = Pipeline::new();
        publish.add_command(Keys::keep(&self.keys.restoring, RESTORE_LOCK_MS));
        for entry in &entries {
            publish.add_command(self.keys.add(entry));
        }
        let stored = ask(link, &publish, TIMEOUT).await.and_then(|answers| {
            answers.iter().skip(1).map(id_answer).collect::<Result<Vec<_>, _>>()
        });
        let mut follower = self.follower.lock();
        match stored {
            Ok(ids) => {
                // They can be lost again before they are read.
                follower.all_acknowledged(ids, entries);
                Ok(())
            }
            Err(error) => {
                follower.put_back(entries);
                Err(error.into())
            }
        }
    }

    /// Removes one page from the stream; `false` if none can be removed.
    async fn compact(&self, link: &mut Link, now_minute: u32) -> Result<bool, FeedError> {
        let head = head_answer(ask(link, &self.keys.compaction_head(), TIMEOUT).await?)?;
        let Some(plan) = replica::compact(&head.entries, now_minute, head.server_ms) else {
            return Ok(false);
        };
        if !plan.moved.is_empty() {
            // All must be stored before the first is deleted.
            self.add_all(link, &plan.moved).await?;
        }
        ask_one(link, &self.keys.delete(&plan.gone)).await?;
        Ok(true)
    }

    async fn add_all(&self, link: &mut Link, entries: &[Entry]) -> Result<Vec<Id>, StoreError> {
        let mut add = Pipeline::new();
        for entry in entries {
            add.add_command(self.keys.add(entry));
        }
        ask(link, &add, TIMEOUT).await?.iter().map(id_answer).collect()
    }

    async fn lock(&self, link: &mut Link, key: &str, ms: u64) -> Result<bool, StoreError> {
        let is_taken = ask_one(link, &Keys::lock(key, ms)).await? != Value::Nil;
        if !is_taken && Lock::read(&ask_one(link, &Keys::held(key)).await?, ms) == Lock::Stuck {
            // The next process takes it.
            ask_one(link, &Keys::unlock(key)).await?;
        }
        Ok(is_taken)
    }
}

/// Follows the stream until the last user of the feed is gone.
async fn follow(feed: Weak<Feed>) {
    let mut pause = FIRST_PAUSE;
    loop {
        let Some(fault) = follow_once(&feed).await else { return };
        let Some(strong) = feed.upgrade() else { return };
        // After a working connection the backoff starts again.
        if strong.fault().is_none() {
            pause = FIRST_PAUSE;
        }
        let now = match fault {
            FeedError::Store(error) => {
                *strong.fault.lock() = Some(error);
                pause
            }
            FeedError::Incomplete => {
                *strong.fault.lock() = Some(StoreError::Refused);
                strong.ready.store(false, Ordering::Release);
                strong.follower.lock().restart();
                GAP_PAUSE
            }
        };
        strong.forget_commands();
        drop(strong);
        sleep(Duration::from_micros(jittered(micros(now)))).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Connects and follows until an error; `None` if the feed has no user left.
async fn follow_once(feed: &Weak<Feed>) -> Option<FeedError> {
    let mut link = match feed.upgrade()?.connect().await {
        Ok(link) => link,
        Err(error) => return Some(error.into()),
    };
    let mut session = Session::default();
    loop {
        // Held for one turn only.
        let feed = feed.upgrade()?;
        if let Err(fault) = feed.turn(&mut link, &mut session).await {
            return Some(fault);
        }
        *feed.fault.lock() = None;
    }
}

/// Sends `commands` with a timeout. After a timeout the connection must not be used again.
async fn ask(
    link: &mut Link,
    commands: &Pipeline,
    patience: Duration,
) -> Result<Vec<Value>, StoreError> {
    within(patience, link.send(commands)).await
}

async fn ask_one(link: &mut Link, command: &Cmd) -> Result<Value, StoreError> {
    within(TIMEOUT, link.command(command)).await
}

async fn within<T>(
    patience: Duration,
    answer: impl Future<Output = Result<T, RedisError>>,
) -> Result<T, StoreError> {
    match timeout(patience, answer).await {
        Ok(answer) => answer.map_err(|error| store_error(&error)),
        Err(_) => Err(StoreError::Timeout),
    }
}

/// Three to five quarters of `us`, at random, so that processes started together diverge.
fn jittered(us: u64) -> u64 {
    let random = u64::from(crate::random::number().unwrap_or(u32::MAX / 2));
    us - us / 4 + ((us / 2).saturating_mul(random) >> 32)
}
