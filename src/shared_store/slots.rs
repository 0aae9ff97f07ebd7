//! Slots of requests under way, as this process holds them in a shared store.
//!
//! Every slot has a name of its own, and an end: the store frees it at its end by itself. While
//! the request lives, this process moves the end on, for all slots together and before half of
//! their time is over: so a request may take as long as it likes, a process that died frees its
//! slots after one span, and one that only could not reach the store for a while takes its slots
//! again. It is the store's own thread that does so: it goes on while JavaScript is busy.
//!
//! One batch for all slots of a process was chosen over a time for each request: there is one
//! timer, most requests end before they are renewed once, and the cost is one command for each key
//! in that time, however many requests there are.
//!
//! A slot is given back with what else is told to the store in that tick. Where that gets lost, it
//! is told again until the slot has come free by itself: a store that was away for a moment must
//! not refuse for a whole span.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Weak;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, timeout};

use super::store::SharedStore;
use crate::clock::Now;
use crate::quota::{Action, SlotCommand, SlotId, StoreCommand, SubjectKey};
use crate::store::ask::{QueuedCommand, Responder};
use crate::store::runtime;

/// A slot is renewed after this part of its span, and looked at twice as often: before 3/8 of the
/// span are over. The script that judges takes slots with less than half of it left for those of
/// processes that are gone.
const RENEWED: u32 = 4;
/// Slots that one command renews at most.
const MAX_SLOTS: usize = 500;
/// Commands that leave together.
const MAX_COMMANDS: usize = 64;
/// Until what was not acknowledged is told again.
const RETRY_DELAY: Duration = Duration::from_millis(500);
/// More than this is not told again: it comes free by itself.
const MAX_UNACKNOWLEDGED: usize = 100_000;

/// The slots that this process holds in one store.
#[derive(Debug)]
pub(super) struct ProcessSlots {
    /// What the names of this process begin with; `None` where there was no chance to be had.
    process: Option<u64>,
    next: AtomicU64,
    held: Mutex<HashMap<SlotId, HeldSlot>>,
    /// Given back, but the store may not have acknowledged it; with when that is over anyway.
    unacknowledged: Mutex<Vec<(SlotCommand, u64)>>,
    /// The shortest span of all limits, in milliseconds.
    shortest_ms: AtomicU64,
    /// Whether the task that renews runs.
    renewing: AtomicBool,
    changed: Notify,
}

#[derive(Debug, Clone, Copy)]
struct HeldSlot {
    ask: SlotCommand,
    /// When the store was last asked and did hear it; at first, when the slot was made.
    asked_us: u64,
    /// Whether the store may have it.
    sent: bool,
}

impl Default for ProcessSlots {
    fn default() -> Self {
        let mut process = [0; 8];
        Self {
            process: crate::random::fill(&mut process).is_ok().then(|| u64::from_le_bytes(process)),
            next: AtomicU64::new(0),
            held: Mutex::default(),
            unacknowledged: Mutex::default(),
            shortest_ms: AtomicU64::new(u64::MAX),
            renewing: AtomicBool::new(false),
            changed: Notify::new(),
        }
    }
}

impl ProcessSlots {
    fn name(&self) -> Option<SlotId> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        Some(SlotId((u128::from(self.process?) << 64 | u128::from(number)).to_le_bytes()))
    }

    /// What was given back, and the store has not acknowledged of.
    pub(super) fn not_acknowledged(&self, slots: &[SlotCommand]) {
        let now_us = Now::read().mono_us;
        self.keep_unacknowledged(slots.iter().map(|slot| (*slot, now_us + span_us(slot))));
        self.changed.notify_one();
    }

    fn keep_unacknowledged(&self, slots: impl Iterator<Item = (SlotCommand, u64)>) {
        let mut unacknowledged = self.unacknowledged.lock();
        let room = MAX_UNACKNOWLEDGED.saturating_sub(unacknowledged.len());
        unacknowledged.extend(slots.take(room));
    }

    /// What is to be told again, as of `now_us`, and until when; what has come free by itself is
    /// not.
    fn take_unacknowledged(&self, now_us: u64) -> Vec<(SlotCommand, u64)> {
        let mut unacknowledged = std::mem::take(&mut *self.unacknowledged.lock());
        unacknowledged.retain(|(_, until)| *until > now_us);
        unacknowledged
    }

    /// The slots whose time is a quarter over, by key; they stay due until the store has
    /// acknowledged their renewal.
    fn due(&self, now_us: u64) -> Vec<Vec<SlotCommand>> {
        let mut by_key: HashMap<SubjectKey, Vec<SlotCommand>> = HashMap::new();
        for kept in self.held.lock().values() {
            if now_us.saturating_sub(kept.asked_us) >= span_us(&kept.ask) / u64::from(RENEWED) {
                by_key.entry(kept.ask.key).or_default().push(kept.ask);
            }
        }
        let chunks = by_key.values().flat_map(|slots| slots.chunks(MAX_SLOTS));
        chunks.map(<[SlotCommand]>::to_vec).collect()
    }

    /// What the store was asked to hold at `now_us`, and whether it did. Answers what nobody holds
    /// any more: that was given back meanwhile, and may have been taken again.
    fn renewed(&self, slots: &[SlotCommand], acknowledged: bool, now_us: u64) -> Vec<SlotCommand> {
        let mut held = self.held.lock();
        let mut gone = Vec::new();
        for slot in slots {
            match held.get_mut(&slot.id) {
                Some(kept) => {
                    kept.sent = true;
                    if acknowledged {
                        kept.asked_us = now_us;
                    }
                }
                None => gone.push(*slot),
            }
        }
        gone
    }

    /// How long until somebody has to look again: often enough that some attempts may fail before a
    /// slot is lost.
    fn pause(&self) -> Duration {
        let shortest =
            Duration::from_millis(self.shortest_ms.load(Ordering::Acquire)) / (2 * RENEWED);
        let unacknowledged = !self.unacknowledged.lock().is_empty();
        // Longer than a timer may be is never.
        shortest.min(if unacknowledged { RETRY_DELAY } else { Duration::from_secs(3600) })
    }
}

fn span_us(slot: &SlotCommand) -> u64 {
    u64::from(slot.span_ms) * 1000
}

impl SharedStore {
    /// Whether it holds slots: Redis does.
    #[must_use]
    pub fn holds_places(&self) -> bool {
        self.connector().is_some()
    }

    /// Some limit has slots with this span, in milliseconds: they are renewed from now on.
    pub fn renew_slots(self: &Arc<Self>, span_ms: u32) {
        let slots = self.slots();
        slots.shortest_ms.fetch_min(u64::from(span_ms), Ordering::AcqRel);
        slots.changed.notify_one();
        if !slots.renewing.swap(true, Ordering::AcqRel) {
            // Without a thread there is no store either.
            let _ = runtime::spawn(renew(Arc::downgrade(self), Arc::clone(slots)));
        }
    }

    /// A slot of `key`, of which there are `most`. The store is not asked for it yet; `None` where
    /// no name can be found.
    #[must_use]
    pub fn slot(
        self: &Arc<Self>,
        key: SubjectKey,
        most: u32,
        span_ms: u32,
        watching: bool,
    ) -> Option<SharedSlot> {
        let slots = self.slots();
        let ask = SlotCommand { key, id: slots.name()?, most, span_ms, watching };
        let kept = HeldSlot { ask, asked_us: Now::read().mono_us, sent: false };
        slots.held.lock().insert(ask.id, kept);
        Some(SharedSlot { store: Arc::clone(self), ask, over: false })
    }

    /// Puts together what nobody waits for. A slot that is given back so is given back in the end.
    #[must_use]
    pub fn command_without_reply(&self, question: StoreCommand) -> QueuedCommand {
        if question.action != Action::Release {
            return self.ask(question, Box::new(drop));
        }
        let (slots, given_back) = (Arc::clone(self.slots()), question.slots.clone());
        let reply = move |answer: Result<_, _>| {
            if answer.is_err() {
                slots.not_acknowledged(&given_back);
            }
        };
        // It is not refused where too many wait: it makes room for others.
        QueuedCommand { question, waiter: Responder::new(Box::new(reply)) }
    }

    /// Asks, and waits: whether the store has acknowledged it.
    async fn send_all(&self, questions: Vec<StoreCommand>) -> Vec<bool> {
        let (asks, answers): (Vec<QueuedCommand>, Vec<_>) = questions
            .into_iter()
            .map(|question| {
                let (reply, answer) = oneshot::channel();
                let reply = move |acknowledged: Result<_, _>| {
                    // Nobody is there to hear it where the task was ended.
                    let _ = reply.send(acknowledged.is_ok());
                };
                (QueuedCommand { question, waiter: Responder::new(Box::new(reply)) }, answer)
            })
            .unzip();
        self.submit(asks);
        let mut acknowledged = Vec::with_capacity(answers.len());
        for answer in answers {
            acknowledged.push(answer.await.unwrap_or(false));
        }
        acknowledged
    }

    async fn release_again(&self) {
        let unacknowledged = self.slots().take_unacknowledged(Now::read().mono_us);
        let chunks: Vec<_> = unacknowledged.chunks(MAX_SLOTS).collect();
        for some in chunks.chunks(MAX_COMMANDS) {
            let question = |chunk: &&[(SlotCommand, u64)]| {
                let slots = chunk.iter().map(|(slot, _)| *slot).collect();
                StoreCommand::of_slots(Action::Release, slots)
            };
            let acknowledged = self.send_all(some.iter().map(question).collect()).await;
            for (chunk, _) in
                some.iter().zip(acknowledged).filter(|(_, acknowledged)| !acknowledged)
            {
                self.slots().keep_unacknowledged(chunk.iter().copied());
            }
        }
    }

    async fn renew_due(&self) {
        for some in self.slots().due(Now::read().mono_us).chunks(MAX_COMMANDS) {
            let now_us = Now::read().mono_us;
            let question = |slots: &Vec<_>| StoreCommand::of_slots(Action::Renew, slots.clone());
            let acknowledged = self.send_all(some.iter().map(question).collect()).await;
            for (slots, acknowledged) in some.iter().zip(acknowledged) {
                let gone = self.slots().renewed(slots, acknowledged, now_us);
                if !gone.is_empty() {
                    self.slots().not_acknowledged(&gone);
                }
            }
        }
    }
}

/// Renews for as long as somebody uses the store.
async fn renew(store: Weak<SharedStore>, slots: Arc<ProcessSlots>) {
    let mut next_telling = Instant::now();
    loop {
        // Whoever changes something does not want to wait for a pause that was too long.
        let _ = timeout(slots.pause(), slots.changed.notified()).await;
        let Some(store) = store.upgrade() else { return };
        if !store.status().is_available() {
            drop(store);
            tokio::time::sleep(RETRY_DELAY).await;
            continue;
        }
        // Who holds a slot loses it where this is late; what was given back comes free in any
        // case.
        store.renew_due().await;
        // A store that misses many of them would otherwise be told all of them for each one more.
        if Instant::now() >= next_telling {
            store.release_again().await;
            next_telling = Instant::now() + RETRY_DELAY;
        }
    }
}

/// A slot that this process wants, or holds, in a shared store. Dropping it gives it back.
#[derive(Debug)]
pub struct SharedSlot {
    store: Arc<SharedStore>,
    ask: SlotCommand,
    /// Nobody has to be told any more.
    over: bool,
}

impl SharedSlot {
    /// What to ask the store for it. From here on the store may have it.
    #[must_use]
    pub fn ask(&self) -> SlotCommand {
        if let Some(kept) = self.store.slots().held.lock().get_mut(&self.ask.id) {
            kept.sent = true;
        }
        self.ask
    }

    /// The request was refused, though the store may have had this slot (`fits`): in a cluster
    /// each slot is judged by itself, elsewhere all of a request are, and none is taken.
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
            let question = StoreCommand::of_slots(Action::Release, vec![self.ask]);
            (Arc::clone(&self.store), question)
        })
    }

    /// It is not renewed any more; whether the store may have it.
    fn forget(&self) -> bool {
        let kept = self.store.slots().held.lock().remove(&self.ask.id);
        kept.is_some_and(|kept| kept.sent)
    }
}

impl Drop for SharedSlot {
    fn drop(&mut self) {
        if !self.over && self.forget() {
            let question = StoreCommand::of_slots(Action::Release, vec![self.ask]);
            self.store.submit(vec![self.store.command_without_reply(question)]);
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
    use crate::shared_store::Backend;
    use crate::store::{MemoryConfig, Status, StoreError};

    const TIMEOUT: Duration = Duration::from_secs(20);

    /// A store that says what it is asked and hears of no slot that is given back.
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
                    let acknowledged = question.action != Action::Release;
                    let answer = CommandResult { admitted: true, standings: Few::new() };
                    waiter.complete(if acknowledged {
                        Ok(answer)
                    } else {
                        Err(StoreError::Timeout)
                    });
                    // The test may be over.
                    let _ = self.said.send((question.action, question.slots.len()));
                }
            }
        }
    }

    fn open(name: u8) -> (Arc<SharedStore>, Receiver<(Action, usize)>) {
        let (said, hears) = channel();
        let local = MemoryConfig::new("store.deaf");
        (SharedStore::open(Deaf { name, local, said }).unwrap(), hears)
    }

    fn slot(number: u32) -> SlotCommand {
        let mut id = [0; 16];
        id[..4].copy_from_slice(&number.to_le_bytes());
        let key = SubjectKey([1; 16]);
        SlotCommand { key, id: SlotId(id), most: 1, span_ms: 60_000, watching: false }
    }

    #[test]
    fn what_a_store_has_not_heard_is_told_again_once_in_a_while_however_much_it_misses() {
        let (store, hears) = open(1);
        store.renew_slots(60_000);
        let begun = Instant::now();
        let mut told = 0;
        for number in 0..200 {
            let question = StoreCommand::of_slots(Action::Release, vec![slot(number)]);
            store.submit(vec![store.command_without_reply(question)]);
            // It, and what may have been told again with it.
            for _ in 0..2 {
                told += usize::from(hears.recv_timeout(Duration::from_millis(2)).is_ok());
            }
        }
        while told < 200 || !store.slots().unacknowledged.lock().is_empty() && told < 202 {
            hears.recv_timeout(TIMEOUT).unwrap();
            told += 1;
        }
        let rounds = begun.elapsed().as_millis() / RETRY_DELAY.as_millis();
        assert!((told - 200) as u128 <= rounds + 1, "{told} in {rounds} rounds");
    }

    #[test]
    fn places_that_are_held_are_renewed_before_those_given_back_are_told_again() {
        let (store, hears) = open(2);
        store.status().lost();
        let held = store.slot(SubjectKey([1; 16]), 1, 1, false).unwrap();
        store.slots().not_acknowledged(&[slot(1), slot(2)]);
        store.renew_slots(1);
        std::thread::sleep(Duration::from_millis(1));
        store.status().recovered();
        let asked: Vec<_> = (0..2).map(|_| hears.recv_timeout(TIMEOUT).unwrap()).collect();
        assert_eq!(asked[0], (Action::Renew, 1), "{asked:?}");
        drop(held);
        let mut later = std::iter::repeat_with(|| hears.recv_timeout(TIMEOUT).unwrap());
        assert!(
            asked[1] == (Action::Release, 2) || later.any(|asked| asked == (Action::Release, 2))
        );
    }

    #[test]
    fn what_is_told_again_keeps_its_end_and_never_grows_beyond_its_bound() {
        let slots = ProcessSlots::default();
        let first: Vec<_> = (0..10).map(slot).collect();
        slots.not_acknowledged(&first);
        let now_us = Now::read().mono_us;
        let taken = slots.take_unacknowledged(now_us);
        assert_eq!(taken.len(), 10);
        slots.keep_unacknowledged(taken.iter().copied());
        assert_eq!(slots.take_unacknowledged(now_us), taken);
        assert_eq!(slots.take_unacknowledged(now_us), []);
        slots.keep_unacknowledged(taken.iter().copied());
        assert_eq!(
            slots.take_unacknowledged(now_us + 60_000_000),
            [],
            "it has come free by itself"
        );
        let many: Vec<_> = (0..u32::try_from(MAX_UNACKNOWLEDGED).unwrap()).map(slot).collect();
        slots.not_acknowledged(&many);
        slots.keep_unacknowledged(taken.iter().copied());
        assert_eq!(slots.unacknowledged.lock().len(), MAX_UNACKNOWLEDGED);
    }
}
