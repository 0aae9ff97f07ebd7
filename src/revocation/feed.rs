//! Reads the stream into the sets of this process, and writes into it: everything that waits for
//! the servers.
//!
//! One task follows the stream on a connection of its own, since it waits there for what comes
//! next; a second connection is for what is revoked here and for what is asked in between. The task
//! ends with the last guard.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use redis::{Cmd, ErrorKind, Pipeline, RedisError, ServerErrorKind, Value};
use tokio::time::{sleep, timeout};

use super::entry::{Entry, Id, Lifetime, Lived};
use super::forgetting::{Forgetting, ServerClock};
use super::replica::{self, Birth, Cursor, Follower, Gap, Took};
use super::revocations::behind;
use super::sets::Sets;
use super::stream::{Keys, Lock, RESTORE_LOCK_MS, head_answer, id_answer, read_answer};
use crate::clock::{Now, micros};
use crate::redis::{Connector, Link, store_error};
use crate::store::error::Replying;
use crate::store::{Reply, StoreError, runtime};

/// How long storing a revocation may take. No request waits for it.
const REVOKE_TIMEOUT: Duration = Duration::from_secs(1);
/// How much longer than it was asked to an answer may take, before the connection counts as dead.
const TIMEOUT: Duration = Duration::from_secs(3);
/// How long a read waits for the next entry at most.
const LONGEST_BLOCK: Duration = Duration::from_millis(500);
/// How long a read waits for the next entry while tokens are refused.
const SHORT_BLOCK_MS: u64 = 100;
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_millis(300);
/// After something was read that this process can't have a whole list with.
const GAP_PAUSE: Duration = Duration::from_secs(5);
/// How often the others look whether it is their turn.
const RESTORE_RETRY_US: u64 = 300_000;
/// The stream is shortened by one process, once in so long.
const COMPACT_LOCK_MS: u64 = 55_000;
const MINUTE_US: u64 = 60_000_000;
const DAY_MINUTES: u32 = 24 * 60;
/// For so long the others keep in mind how long tokens live here, also after this process has
/// ended.
const LIFETIME_KEPT: u32 = 366 * DAY_MINUTES;
/// It is said again where they would keep it for less than this.
const LIFETIME_RENEWED: u32 = 300 * DAY_MINUTES;

/// The copy of the list in this process.
#[derive(Debug)]
pub(super) struct Feed {
    connector: Arc<Connector>,
    keys: Keys,
    pub(super) sets: Sets,
    pub(super) clock: ServerClock,
    /// How long tokens and sessions live at the guards that use it.
    lifetimes: Mutex<BTreeSet<Lifetime>>,
    follower: Mutex<Follower>,
    ready: AtomicBool,
    /// Why the store does not answer, where it does not.
    fault: Mutex<Option<StoreError>>,
    /// All that was stored before this moment of the monotonic clock is in the sets; 0 for never.
    proven_us: AtomicU64,
    /// The least `maxStaleness` of those who use it.
    bound_us: AtomicU64,
    /// For all but following the stream.
    commands: Mutex<Option<Link>>,
    asking: Mutex<Vec<Replying<()>>>,
}

/// Why a turn failed.
enum FeedError {
    Store(StoreError),
    Gap,
}

impl From<StoreError> for FeedError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<Gap> for FeedError {
    fn from(_: Gap) -> Self {
        Self::Gap
    }
}

/// What a task keeps from turn to turn on one connection.
#[derive(Default)]
struct Session {
    /// Whether anything was read.
    has_read: bool,
    restoring: bool,
    next_try_us: u64,
    compacting: bool,
    next_minute_us: u64,
}

impl Feed {
    /// The feed that all in this process share who use the same servers and prefix.
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

    /// A feed of its own.
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
        // Without a thread it never becomes ready, and nothing is let in.
        let _ = runtime::spawn(follow(Arc::downgrade(&feed)));
        feed
    }

    /// From now on somebody must know of everything within `bound`.
    pub(super) fn keep_within(&self, bound: Duration) {
        self.bound_us.fetch_min(micros(bound), Ordering::AcqRel);
    }

    /// From now on a guard of this process takes what lives this long, and all processes are to
    /// know.
    pub(super) fn announce(&self, lifetime: Lifetime) {
        self.lifetimes.lock().insert(lifetime);
    }

    /// The longest lifetime of a guard, in this process or in another one, in seconds.
    pub(super) fn longest(&self, issuer: u128, of: Lived) -> u64 {
        let lifetimes = self.lifetimes.lock();
        let same = lifetimes.iter().filter(|lived| lived.issuer == issuer && lived.of == of);
        let here = same.map(|lifetime| u64::from(lifetime.seconds)).max().unwrap_or(0);
        here.max(self.sets.longest(issuer, of))
    }

    /// The minute in which what ended before it may be forgotten: by our clock and by the server's.
    pub(super) fn minute(&self, now: Now) -> u32 {
        self.sets.minute(now).min(self.clock.minute(now))
    }

    /// What the others are still to be told, or to be told again.
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

    /// Whether reading on shows all that was revoked. Whoever has proven nothing for longer than a
    /// failover takes may read a primary that lacks the last of it: see [`Follower::proves`]. A
    /// proof is as old as the read before the one that is under way, and each waits for half a
    /// second.
    pub(super) fn can_prove(&self, now: Now) -> bool {
        self.is_ready() && self.age(now).is_some_and(|age| age <= replica::SILENCE + LONGEST_BLOCK)
    }

    pub(super) fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    pub(super) fn fault(&self) -> Option<StoreError> {
        *self.fault.lock()
    }

    /// How long ago it was certain that nothing is missing.
    pub(super) fn age(&self, now: Now) -> Option<Duration> {
        let proven_us = self.proven_us.load(Ordering::Acquire);
        (proven_us > 0).then(|| Duration::from_micros(now.mono_us.saturating_sub(proven_us)))
    }

    /// How many entries the servers have lost and not been given again yet.
    pub(super) fn missing(&self) -> usize {
        self.follower.lock().missing()
    }

    /// Stores `entry`, which is in the sets already, and answers once the server has said so.
    pub(super) fn publish(self: &Arc<Self>, entry: Entry, reply: Reply<()>) {
        let (feed, answer) = (Arc::clone(self), Replying::new(reply));
        runtime::spawn(async move {
            let adding = timeout(REVOKE_TIMEOUT, feed.add(entry));
            answer.give(adding.await.unwrap_or(Err(StoreError::Timeout)));
        });
    }

    /// Up to when a subject is revoked, as far as was read until this place of the stream.
    pub(super) fn known_subject(&self, name: u128) -> (Cursor, Option<u64>) {
        let cursor = self.follower.lock().cursor();
        (cursor, self.sets.subject_before(name))
    }

    /// As [`Self::publish`], for a subject up to now. What others have said of it behind `cursor`
    /// may have been followed by a login, which has a second that is later than that.
    pub(super) fn publish_subject(
        self: &Arc<Self>,
        cursor: Cursor,
        entry: Entry,
        reply: Reply<()>,
    ) {
        let (feed, answer) = (Arc::clone(self), Replying::new(reply));
        runtime::spawn(async move {
            let adding = async {
                let entry = feed.behind_others(cursor, entry).await?;
                feed.add(entry).await
            };
            let done = timeout(REVOKE_TIMEOUT, adding).await;
            answer.give(done.unwrap_or(Err(StoreError::Timeout)));
        });
    }

    async fn behind_others(
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

    /// Reads what is new at the primary, so that what was stored before this call is in the sets
    /// when it answers. All who ask before the store's thread gets to it share one round trip.
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
        // What a failover loses is published again from here.
        self.follower.lock().acknowledged(id_answer(&answer)?, entry);
        if lasts { Ok(()) } else { Err(StoreError::NotReplicated) }
    }

    /// The connection for commands. Where it has to be made, that goes on though whoever asked has
    /// no patience left.
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

    /// Reads on from `cursor` to the end; `false` where the servers have lost what was before it.
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

    /// Both connections; the one to follow the stream by is returned.
    async fn connect(&self) -> Result<Link, StoreError> {
        self.connect_commands().await?;
        self.connector.connect(None).await.map_err(|error| store_error(&error))
    }

    async fn connect_commands(&self) -> Result<Link, StoreError> {
        let connecting = self.connector.connect(Some(REVOKE_TIMEOUT));
        let mut link = connecting.await.map_err(|error| store_error(&error))?;
        // Where that fails, what is asked next says why.
        let _ = ask_one(&mut link, &self.keys.own()).await;
        self.read_clock(&mut link).await?;
        *self.commands.lock() = Some(link.clone());
        Ok(link)
    }

    /// Asks the server for the time.
    async fn read_clock(&self, link: &mut Link) -> Result<(), StoreError> {
        let head = head_answer(ask(link, &self.keys.head(1), TIMEOUT).await?)?;
        self.clock.showed(head.server_ms.saturating_mul(1_000), Now::read());
        Ok(())
    }

    fn forget_commands(&self) {
        *self.commands.lock() = None;
    }

    /// A connection that has failed, or leads to a server that is no primary any more, is not used
    /// again.
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

    /// Reads once, and does what is to be done at the end of the stream.
    async fn turn(&self, link: &mut Link, session: &mut Session) -> Result<(), FeedError> {
        // Eight reads within the bound, so that one slow answer does no harm.
        self.publish_lost(link).await?;
        let block = (self.bound_us.load(Ordering::Acquire) / 8)
            .clamp(100_000, micros(LONGEST_BLOCK))
            / 1_000;
        let (cursor, is_returning) = {
            let mut follower = self.follower.lock();
            follower.reading();
            (follower.cursor(), follower.is_returning(Now::read()))
        };
        // Who can't decide yet waits for a moment to pass, and not for an entry.
        let block = if is_returning || !self.is_ready() { SHORT_BLOCK_MS } else { block };
        // The first answer tells whether this server lacks what was stored. The others wait for a
        // second only, so it comes at once.
        let block = session.has_read.then_some(block);
        // What is read was there at the earliest when it was asked for, so this moment is what an
        // answer proves: on our own monotonic clock, whatever the clocks of the servers say.
        let asked = Now::read();
        let patience = TIMEOUT + Duration::from_millis(block.unwrap_or(0));
        let read = ask(link, &self.keys.read(&cursor, block), patience).await?;
        let read = read_answer(read, &cursor)?;
        session.has_read = true;
        let now = Now::read();
        let now_minute = self.minute(now);
        let took = self.follower.lock().take(&read, &self.sets, now_minute)?;
        let Took::Tail = took else { return Ok(()) };
        let is_proven = self.follower.lock().proves(asked);
        // What others revoke from now on is kept for as long as a token may live here: so before
        // one is taken.
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

    /// Whether the stream that was read to its end can be all there is.
    async fn settle(&self, link: &mut Link) -> Result<bool, FeedError> {
        let head = head_answer(ask(link, &self.keys.head(1), TIMEOUT).await?)?;
        let Some((first, _)) = head.entries.first() else {
            // A stream that is there shows how old it is.
            id_answer(&ask_one(link, &self.keys.add(&Entry::Mark)).await?)?;
            return Ok(false);
        };
        let birth = Birth { first: *first, server_ms: head.server_ms, restoring: head.restoring };
        Ok(self.follower.lock().settled(&birth, Now::read()))
    }

    /// Publishes what was stored here and the servers have lost before anybody has read it, for all
    /// that is known. The others wait for it; see [`Follower::proves`].
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

    /// Publishes some of what the servers have lost: one process at a time, the others see by
    /// reading what is there.
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

    /// Shortens the stream by a page; `false` where there is none to take away.
    async fn compact(&self, link: &mut Link, now_minute: u32) -> Result<bool, FeedError> {
        let head = head_answer(ask(link, &self.keys.compaction_head(), TIMEOUT).await?)?;
        let Some(plan) = replica::compact(&head.entries, now_minute, head.server_ms) else {
            return Ok(false);
        };
        if !plan.moved.is_empty() {
            // All must be stored before one is deleted.
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
            // Whoever comes next takes it.
            ask_one(link, &Keys::unlock(key)).await?;
        }
        Ok(is_taken)
    }
}

/// Follows the stream until nobody uses the feed any more.
async fn follow(feed: Weak<Feed>) {
    let mut pause = FIRST_PAUSE;
    loop {
        let Some(fault) = follow_once(&feed).await else { return };
        let Some(strong) = feed.upgrade() else { return };
        // What was connected and failed is tried again at once, and more and more seldom then.
        if strong.fault().is_none() {
            pause = FIRST_PAUSE;
        }
        let now = match fault {
            FeedError::Store(error) => {
                *strong.fault.lock() = Some(error);
                pause
            }
            FeedError::Gap => {
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

/// Connects and follows until that fails; `None` where nobody uses the feed any more.
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

/// Sends `commands`; an answer that takes too long is none, and the connection is not to be used
/// again.
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

/// From three quarters of `us` to five quarters, so that processes that were started together part.
fn jittered(us: u64) -> u64 {
    let random = u64::from(crate::random::number().unwrap_or(u32::MAX / 2));
    us - us / 4 + ((us / 2).saturating_mul(random) >> 32)
}
