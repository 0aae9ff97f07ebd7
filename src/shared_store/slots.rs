//! Slots of concurrent requests that this process holds in a shared store.
//!
//! Every slot has a name of its own and an end, when the store frees it. While the request lives,
//! this process renews the slot, together with all others and before half of the span is over. So
//!
//! 1. a request may take any time;
//! 2. the slots of a process that died are freed after one span;
//! 3. a process that could not reach the store for a while takes its slots again.
//!
//! The store's own thread renews, so it continues while JavaScript is busy.
//!
//! One batch for all slots of a process was chosen over a timer for each request. There is one
//! timer, most requests end before their first renewal, and the cost is one command for each key in
//! that time, however many requests there are.
//!
//! A slot is given back with the other commands of that event-loop turn. A lost release is retried
//! until the slot has ended by itself: a store that was away for a moment must not refuse requests
//! for a whole span.

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

/// A slot is renewed after this part of its span. The check runs twice as often, so the renewal is
/// sent before 3/8 of the span are over. The script that judges treats slots with less than half of
/// their span left as those of dead processes.
const RENEWED: u32 = 4;
/// The most slots that one command renews.
const MAX_SLOTS: usize = 500;
/// The most commands that are sent together.
const MAX_COMMANDS: usize = 64;
/// Delay before retrying an unacknowledged release.
const RETRY_DELAY: Duration = Duration::from_millis(500);
/// Releases beyond this number are not retried: their slots end by themselves.
const MAX_UNACKNOWLEDGED: usize = 100_000;

/// The slots that this process holds in one store.
#[derive(Debug)]
pub(super) struct ProcessSlots {
    /// The start of the slot names of this process; `None` without randomness.
    process: Option<u64>,
    next: AtomicU64,
    held: Mutex<HashMap<SlotId, HeldSlot>>,
    /// Slots given back without acknowledgement, and the ends of their spans.
    unacknowledged: Mutex<Vec<(SlotCommand, u64)>>,
    /// The shortest span of all limits, in milliseconds.
    shortest_ms: AtomicU64,
    /// Whether the renewal task runs.
    renewing: AtomicBool,
    changed: Notify,
}

#[derive(Debug, Clone, Copy)]
struct HeldSlot {
    ask: SlotCommand,
    /// When the last acknowledged command was sent; at first, when the slot was made.
    asked_us: u64,
    /// Whether the store may have the slot.
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

    /// Notes slots that were given back without acknowledgement.
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

    /// Takes the releases to retry, with the ends of their spans. Slots that ended by `now_us` are
    /// dropped.
    fn take_unacknowledged(&self, now_us: u64) -> Vec<(SlotCommand, u64)> {
        let mut unacknowledged = std::mem::take(&mut *self.unacknowledged.lock());
        unacknowledged.retain(|(_, until)| *until > now_us);
        unacknowledged
    }

    /// The slots that are due for renewal, by key: a quarter of their span is over. They stay due
    /// until the store acknowledges the renewal.
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

    /// Applies the result of a renewal that was sent at `now_us`. Returns the slots that are no
    /// longer held: they were given back meanwhile, and the renewal may have taken them again.
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

    /// The pause until the next check: short enough that some attempts may fail before a slot is
    /// lost.
    fn pause(&self) -> Duration {
        let shortest =
            Duration::from_millis(self.shortest_ms.load(Ordering::Acquire)) / (2 * RENEWED);
        let unacknowledged = !self.unacknowledged.lock().is_empty();
        // A timer has a longest duration, so an hour stands for never.
        shortest.min(if unacknowledged { RETRY_DELAY } else { Duration::from_secs(3600) })
    }
}

fn span_us(slot: &SlotCommand) -> u64 {
    u64::from(slot.span_ms) * 1000
}

impl SharedStore {
    /// Whether it holds slots: only Redis does.
    #[must_use]
    pub fn has_slots(&self) -> bool {
        self.connector().is_some()
    }

    /// Renews slots from now on. `span_ms` is the span of a limit with slots, in milliseconds.
    pub fn renew_slots(self: &Arc<Self>, span_ms: u32) {
        let slots = self.slots();
        slots.shortest_ms.fetch_min(u64::from(span_ms), Ordering::AcqRel);
        slots.changed.notify_one();
        if !slots.renewing.swap(true, Ordering::AcqRel) {
            // Without a thread there is no store either.
            let _ = runtime::spawn(renew(Arc::downgrade(self), Arc::clone(slots)));
        }
    }

    /// A slot of `key`, which has `most` of them. No command is sent yet. `None` if no name can be
    /// made.
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

    /// A command without a receiver. A release made by it is retried until acknowledged.
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
        // A release is sent even if too many commands are in flight: it makes room for others.
        QueuedCommand { question, responder: Responder::new(Box::new(reply)) }
    }

    /// Sends commands and waits. Returns for each whether the store acknowledged it.
    async fn send_all(&self, questions: Vec<StoreCommand>) -> Vec<bool> {
        let (asks, answers): (Vec<QueuedCommand>, Vec<_>) = questions
            .into_iter()
            .map(|question| {
                let (reply, answer) = oneshot::channel();
                let reply = move |acknowledged: Result<_, _>| {
                    // The receiver is gone if the task was ended.
                    let _ = reply.send(acknowledged.is_ok());
                };
                (QueuedCommand { question, responder: Responder::new(Box::new(reply)) }, answer)
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

/// Renews for as long as the store has users.
async fn renew(store: Weak<SharedStore>, slots: Arc<ProcessSlots>) {
    let mut next_telling = Instant::now();
    loop {
        // A change ends the pause early: it may need a shorter one.
        let _ = timeout(slots.pause(), slots.changed.notified()).await;
        let Some(store) = store.upgrade() else { return };
        if !store.status().is_available() {
            drop(store);
            tokio::time::sleep(RETRY_DELAY).await;
            continue;
        }
        // Renewals go first. A late renewal loses a slot, while a slot that was given back ends by
        // itself.
        store.renew_due().await;
        // Without this, a store that misses many releases would get all of them again for each new
        // one.
        if Instant::now() >= next_telling {
            store.release_again().await;
            next_telling = Instant::now() + RETRY_DELAY;
        }
    }
}

/// A slot that this process requests or holds in a shared store. Dropping it gives it back.
#[derive(Debug)]
pub struct SharedSlot {
    store: Arc<SharedStore>,
    ask: SlotCommand,
    /// Whether no release is needed any more.
    over: bool,
}

impl SharedSlot {
    /// The store command for the slot. From here on the store may have it.
    #[must_use]
    pub fn ask(&self) -> SlotCommand {
        if let Some(kept) = self.store.slots().held.lock().get_mut(&self.ask.id) {
            kept.sent = true;
        }
        self.ask
    }

    /// Handles a refused request whose slot the store may have taken (`fits`). A cluster judges
    /// each slot by itself. Other stores judge all slots of a request together, and take none on
    /// refusal.
    pub fn was_refused(mut self, fits: bool) {
        let apart = self.store.connector().is_some_and(|connector| connector.is_cluster());
        if !(fits && apart) {
            self.forget();
            self.over = true;
        }
    }

    /// Gives the slot back: returns the release to send, if the store may have the slot.
    #[must_use]
    pub fn give_back(mut self) -> Option<(Arc<SharedStore>, StoreCommand)> {
        self.over = true;
        self.forget().then(|| {
            let question = StoreCommand::of_slots(Action::Release, vec![self.ask]);
            (Arc::clone(&self.store), question)
        })
    }

    /// Stops its renewal; returns whether the store may have it.
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

    /// A store that reports the commands it gets and acknowledges no release.
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
                for QueuedCommand { question, responder } in batch {
                    let acknowledged = question.action != Action::Release;
                    let answer = CommandResult { admitted: true, statuses: Few::new() };
                    responder.complete(if acknowledged {
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
            // The release, and possibly a retried one with it.
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
