//! Places of requests under way, as this process holds them in a shared store.
//!
//! Every place has a name of its own, and an end: the store frees it at its end by itself. While
//! the request lives, this process moves the end on, for all places together and before half of
//! their time is over: so a request may take as long as it likes, a process that died frees its
//! places after one span, and one that only could not reach the store for a while takes its places
//! again. It is the store's own thread that does so: it goes on while JavaScript is busy.
//!
//! One batch for all places of a process was chosen over a time for each request: there is one
//! timer, most requests end before they are renewed once, and the cost is one command for each key
//! in that time, however many requests there are.
//!
//! A place is given back with what else is told to the store in that tick. Where that gets lost, it
//! is told again until the place has come free by itself: a store that was away for a moment must
//! not refuse for a whole span.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Weak;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, timeout};

use super::ask::{QueuedCommand, Responder};
use super::runtime;
use super::shared::SharedStore;
use crate::clock::Now;
use crate::quota::{Action, SlotCommand, SlotId, StoreCommand, SubjectKey};

/// A place is renewed after this part of its span, and looked at twice as often: before 3/8 of the
/// span are over. The script that judges takes places with less than half of it left for those of
/// processes that are gone.
const RENEWED: u32 = 4;
/// Places that one command renews at most.
const MAX_PLACES: usize = 500;
/// Commands that leave together.
const MAX_QUESTIONS: usize = 64;
/// Until what was not heard is told again.
const RETRY_DELAY: Duration = Duration::from_millis(500);
/// More than this is not told again: it comes free by itself.
const MAX_UNHEARD: usize = 100_000;

/// The places that this process holds in one store.
#[derive(Debug)]
pub(super) struct Places {
    /// What the names of this process begin with; `None` where there was no chance to be had.
    process: Option<u64>,
    next: AtomicU64,
    held: Mutex<HashMap<SlotId, Kept>>,
    /// Given back, but the store may not have heard it; with when that is over anyway.
    unheard: Mutex<Vec<(SlotCommand, u64)>>,
    /// The shortest span of all limits, in milliseconds.
    shortest_ms: AtomicU64,
    /// Whether the task that renews runs.
    renewing: AtomicBool,
    changed: Notify,
}

#[derive(Debug, Clone, Copy)]
struct Kept {
    ask: SlotCommand,
    /// When the store was last asked and did hear it; at first, when the place was made.
    asked_us: u64,
    /// Whether the store may have it.
    sent: bool,
}

impl Default for Places {
    fn default() -> Self {
        let mut process = [0; 8];
        Self {
            process: crate::random::fill(&mut process).is_ok().then(|| u64::from_le_bytes(process)),
            next: AtomicU64::new(0),
            held: Mutex::default(),
            unheard: Mutex::default(),
            shortest_ms: AtomicU64::new(u64::MAX),
            renewing: AtomicBool::new(false),
            changed: Notify::new(),
        }
    }
}

impl Places {
    fn name(&self) -> Option<SlotId> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        Some(SlotId((u128::from(self.process?) << 64 | u128::from(number)).to_le_bytes()))
    }

    /// What was given back, and the store has not heard of.
    pub(super) fn not_heard(&self, places: &[SlotCommand]) {
        let now_us = Now::read().mono_us;
        self.keep_unheard(places.iter().map(|place| (*place, now_us + span_us(place))));
        self.changed.notify_one();
    }

    fn keep_unheard(&self, places: impl Iterator<Item = (SlotCommand, u64)>) {
        let mut unheard = self.unheard.lock();
        let room = MAX_UNHEARD.saturating_sub(unheard.len());
        unheard.extend(places.take(room));
    }

    /// What is to be told again, as of `now_us`, and until when; what has come free by itself is
    /// not.
    fn take_unheard(&self, now_us: u64) -> Vec<(SlotCommand, u64)> {
        let mut unheard = std::mem::take(&mut *self.unheard.lock());
        unheard.retain(|(_, until)| *until > now_us);
        unheard
    }

    /// The places whose time is a quarter over, by key; they stay due until the store has heard of
    /// them.
    fn due(&self, now_us: u64) -> Vec<Vec<SlotCommand>> {
        let mut by_key: HashMap<SubjectKey, Vec<SlotCommand>> = HashMap::new();
        for kept in self.held.lock().values() {
            if now_us.saturating_sub(kept.asked_us) >= span_us(&kept.ask) / u64::from(RENEWED) {
                by_key.entry(kept.ask.key).or_default().push(kept.ask);
            }
        }
        let chunks = by_key.values().flat_map(|places| places.chunks(MAX_PLACES));
        chunks.map(<[SlotCommand]>::to_vec).collect()
    }

    /// What the store was asked to hold at `now_us`, and whether it did. Answers what nobody holds
    /// any more: that was given back meanwhile, and may have been taken again.
    fn renewed(&self, places: &[SlotCommand], heard: bool, now_us: u64) -> Vec<SlotCommand> {
        let mut held = self.held.lock();
        let mut gone = Vec::new();
        for place in places {
            match held.get_mut(&place.id) {
                Some(kept) => {
                    kept.sent = true;
                    if heard {
                        kept.asked_us = now_us;
                    }
                }
                None => gone.push(*place),
            }
        }
        gone
    }

    /// How long until somebody has to look again: often enough that some attempts may fail before a
    /// place is lost.
    fn pause(&self) -> Duration {
        let shortest =
            Duration::from_millis(self.shortest_ms.load(Ordering::Acquire)) / (2 * RENEWED);
        let unheard = !self.unheard.lock().is_empty();
        // Longer than a timer may be is never.
        shortest.min(if unheard { RETRY_DELAY } else { Duration::from_secs(3600) })
    }
}

fn span_us(place: &SlotCommand) -> u64 {
    u64::from(place.span_ms) * 1000
}

impl SharedStore {
    /// Whether it holds places: Redis does.
    #[must_use]
    pub fn holds_places(&self) -> bool {
        self.connector().is_some()
    }

    /// Some limit has places with this span, in milliseconds: they are renewed from now on.
    pub fn renew_places(self: &Arc<Self>, span_ms: u32) {
        let places = self.places();
        places.shortest_ms.fetch_min(u64::from(span_ms), Ordering::AcqRel);
        places.changed.notify_one();
        if !places.renewing.swap(true, Ordering::AcqRel) {
            // Without a thread there is no store either.
            let _ = runtime::spawn(renew(Arc::downgrade(self), Arc::clone(places)));
        }
    }

    /// A place of `key`, of which there are `most`. The store is not asked for it yet; `None` where
    /// no name can be found.
    #[must_use]
    pub fn place(
        self: &Arc<Self>,
        key: SubjectKey,
        most: u32,
        span_ms: u32,
        watching: bool,
    ) -> Option<SharedPlace> {
        let places = self.places();
        let ask = SlotCommand { key, id: places.name()?, most, span_ms, watching };
        let kept = Kept { ask, asked_us: Now::read().mono_us, sent: false };
        places.held.lock().insert(ask.id, kept);
        Some(SharedPlace { store: Arc::clone(self), ask, over: false })
    }

    /// Puts together what nobody waits for. A place that is given back so is given back in the end.
    #[must_use]
    pub fn tell(&self, question: StoreCommand) -> QueuedCommand {
        if question.action != Action::Release {
            return self.ask(question, Box::new(drop));
        }
        let (places, given_back) = (Arc::clone(self.places()), question.places.clone());
        let reply = move |answer: Result<_, _>| {
            if answer.is_err() {
                places.not_heard(&given_back);
            }
        };
        // It is not refused where too many wait: it makes room for others.
        QueuedCommand { question, waiter: Responder::new(Box::new(reply)) }
    }

    /// Asks, and waits: whether the store has heard it.
    async fn heard(&self, questions: Vec<StoreCommand>) -> Vec<bool> {
        let (asks, answers): (Vec<QueuedCommand>, Vec<_>) = questions
            .into_iter()
            .map(|question| {
                let (reply, answer) = oneshot::channel();
                let reply = move |heard: Result<_, _>| {
                    // Nobody is there to hear it where the task was ended.
                    let _ = reply.send(heard.is_ok());
                };
                (QueuedCommand { question, waiter: Responder::new(Box::new(reply)) }, answer)
            })
            .unzip();
        self.submit(asks);
        let mut heard = Vec::with_capacity(answers.len());
        for answer in answers {
            heard.push(answer.await.unwrap_or(false));
        }
        heard
    }

    async fn tell_again(&self) {
        let unheard = self.places().take_unheard(Now::read().mono_us);
        let chunks: Vec<_> = unheard.chunks(MAX_PLACES).collect();
        for some in chunks.chunks(MAX_QUESTIONS) {
            let question = |chunk: &&[(SlotCommand, u64)]| {
                let places = chunk.iter().map(|(place, _)| *place).collect();
                StoreCommand::of_places(Action::Release, places)
            };
            let heard = self.heard(some.iter().map(question).collect()).await;
            for (chunk, _) in some.iter().zip(heard).filter(|(_, heard)| !heard) {
                self.places().keep_unheard(chunk.iter().copied());
            }
        }
    }

    async fn renew_due(&self) {
        for some in self.places().due(Now::read().mono_us).chunks(MAX_QUESTIONS) {
            let now_us = Now::read().mono_us;
            let question = |places: &Vec<_>| StoreCommand::of_places(Action::Renew, places.clone());
            let heard = self.heard(some.iter().map(question).collect()).await;
            for (places, heard) in some.iter().zip(heard) {
                let gone = self.places().renewed(places, heard, now_us);
                if !gone.is_empty() {
                    self.places().not_heard(&gone);
                }
            }
        }
    }
}

/// Renews for as long as somebody uses the store.
async fn renew(store: Weak<SharedStore>, places: Arc<Places>) {
    let mut next_telling = Instant::now();
    loop {
        // Whoever changes something does not want to wait for a pause that was too long.
        let _ = timeout(places.pause(), places.changed.notified()).await;
        let Some(store) = store.upgrade() else { return };
        if !store.status().is_available() {
            drop(store);
            tokio::time::sleep(RETRY_DELAY).await;
            continue;
        }
        // Who holds a place loses it where this is late; what was given back comes free in any
        // case.
        store.renew_due().await;
        // A store that misses many of them would otherwise be told all of them for each one more.
        if Instant::now() >= next_telling {
            store.tell_again().await;
            next_telling = Instant::now() + RETRY_DELAY;
        }
    }
}

/// A place that this process wants, or holds, in a shared store. Dropping it gives it back.
#[derive(Debug)]
pub struct SharedPlace {
    store: Arc<SharedStore>,
    ask: SlotCommand,
    /// Nobody has to be told any more.
    over: bool,
}

impl SharedPlace {
    /// What to ask the store for it. From here on the store may have it.
    #[must_use]
    pub fn ask(&self) -> SlotCommand {
        if let Some(kept) = self.store.places().held.lock().get_mut(&self.ask.id) {
            kept.sent = true;
        }
        self.ask
    }

    /// The request was refused, though the store may have had this place (`fits`): in a cluster
    /// each place is judged by itself, elsewhere all of a request are, and none is taken.
    pub fn was_refused(mut self, fits: bool) {
        let apart = self.store.connector().is_some_and(|connector| connector.is_cluster());
        if !(fits && apart) {
            self.forget();
            self.over = true;
        }
    }

    /// Gives it back: what to tell the store, if it may have it.
    #[must_use]
    pub fn give_back(mut self) -> Option<(Arc<SharedStore>, StoreCommand)> {
        self.over = true;
        self.forget().then(|| {
            let question = StoreCommand::of_places(Action::Release, vec![self.ask]);
            (Arc::clone(&self.store), question)
        })
    }

    /// It is not renewed any more; whether the store may have it.
    fn forget(&self) -> bool {
        let kept = self.store.places().held.lock().remove(&self.ask.id);
        kept.is_some_and(|kept| kept.sent)
    }
}

impl Drop for SharedPlace {
    fn drop(&mut self) {
        if !self.over && self.forget() {
            let question = StoreCommand::of_places(Action::Release, vec![self.ask]);
            self.store.submit(vec![self.store.tell(question)]);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use tokio::sync::mpsc::UnboundedReceiver;

    use super::*;
    use crate::few::Few;
    use crate::quota::CommandResult;
    use crate::store::config::MemoryConfig;
    use crate::store::error::StoreError;
    use crate::store::shared::Backend;
    use crate::store::status::Status;

    const PATIENCE: Duration = Duration::from_secs(20);

    /// A store that says what it is asked and hears of no place that is given back.
    struct Deaf {
        name: u8,
        local: MemoryConfig,
        said: Sender<(Action, usize)>,
    }

    impl Backend for Deaf {
        const KIND: &'static str = "deaf";

        fn digest(&self) -> [u8; 32] {
            [self.name; 32]
        }

        fn local(&self) -> &MemoryConfig {
            &self.local
        }

        async fn run(self, _: Arc<Status>, mut asks: UnboundedReceiver<Vec<QueuedCommand>>) {
            while let Some(batch) = asks.recv().await {
                for QueuedCommand { question, waiter } in batch {
                    let heard = question.action != Action::Release;
                    let answer = CommandResult { admitted: true, standings: Few::new() };
                    waiter.tell(if heard { Ok(answer) } else { Err(StoreError::Timeout) });
                    // The test may be over.
                    let _ = self.said.send((question.action, question.places.len()));
                }
            }
        }
    }

    fn open(name: u8) -> (Arc<SharedStore>, Receiver<(Action, usize)>) {
        let (said, hears) = channel();
        let local = MemoryConfig::new("store.deaf");
        (SharedStore::open(Deaf { name, local, said }).unwrap(), hears)
    }

    fn place(number: u32) -> SlotCommand {
        let mut id = [0; 16];
        id[..4].copy_from_slice(&number.to_le_bytes());
        let key = SubjectKey([1; 16]);
        SlotCommand { key, id: SlotId(id), most: 1, span_ms: 60_000, watching: false }
    }

    #[test]
    fn what_a_store_has_not_heard_is_told_again_once_in_a_while_however_much_it_misses() {
        let (store, hears) = open(1);
        store.renew_places(60_000);
        let begun = Instant::now();
        let mut told = 0;
        for number in 0..200 {
            let question = StoreCommand::of_places(Action::Release, vec![place(number)]);
            store.submit(vec![store.tell(question)]);
            // It, and what may have been told again with it.
            for _ in 0..2 {
                told += usize::from(hears.recv_timeout(Duration::from_millis(2)).is_ok());
            }
        }
        while told < 200 || !store.places().unheard.lock().is_empty() && told < 202 {
            hears.recv_timeout(PATIENCE).unwrap();
            told += 1;
        }
        let rounds = begun.elapsed().as_millis() / RETRY_DELAY.as_millis();
        assert!((told - 200) as u128 <= rounds + 1, "{told} in {rounds} rounds");
    }

    #[test]
    fn places_that_are_held_are_renewed_before_those_given_back_are_told_again() {
        let (store, hears) = open(2);
        store.status().lost();
        let held = store.place(SubjectKey([1; 16]), 1, 1, false).unwrap();
        store.places().not_heard(&[place(1), place(2)]);
        store.renew_places(1);
        std::thread::sleep(Duration::from_millis(1));
        store.status().recovered();
        let asked: Vec<_> = (0..2).map(|_| hears.recv_timeout(PATIENCE).unwrap()).collect();
        assert_eq!(asked[0], (Action::Renew, 1), "{asked:?}");
        drop(held);
        let mut later = std::iter::repeat_with(|| hears.recv_timeout(PATIENCE).unwrap());
        assert!(
            asked[1] == (Action::Release, 2) || later.any(|asked| asked == (Action::Release, 2))
        );
    }

    #[test]
    fn what_is_told_again_keeps_its_end_and_never_grows_beyond_its_bound() {
        let places = Places::default();
        let first: Vec<_> = (0..10).map(place).collect();
        places.not_heard(&first);
        let now_us = Now::read().mono_us;
        let taken = places.take_unheard(now_us);
        assert_eq!(taken.len(), 10);
        places.keep_unheard(taken.iter().copied());
        assert_eq!(places.take_unheard(now_us), taken);
        assert_eq!(places.take_unheard(now_us), []);
        places.keep_unheard(taken.iter().copied());
        assert_eq!(places.take_unheard(now_us + 60_000_000), [], "it has come free by itself");
        let many: Vec<_> = (0..u32::try_from(MAX_UNHEARD).unwrap()).map(place).collect();
        places.not_heard(&many);
        places.keep_unheard(taken.iter().copied());
        assert_eq!(places.unheard.lock().len(), MAX_UNHEARD);
    }
}
