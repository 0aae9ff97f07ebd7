//! Questions to shared stores and to issuers on their way out, and answers on their way back to the
//! thread of JavaScript that asked.
//!
//! What is asked within one tick leaves together, and however many answers have come, the thread is
//! woken once: a wake-up costs as much as many decisions. The wake-up holds nothing open, so that
//! the process can end.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use napi::threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode};
use napi_derive::napi;
use parking_lot::Mutex;

use super::registry;
use super::slots::{self, Slots};
use crate::clock::Now;
use crate::limit::push_number;
use crate::quota::StoreCommand;
use crate::shared_store::SharedStore;
use crate::stack::{StoreAnswer, StoreAsk};
use crate::store::Reply;
use crate::store::ask::{CompletionSink, Completions, QueuedCommand, Responder};

/// Weak: it does not keep the event loop alive.
type Wake = ThreadsafeFunction<(), (), (), napi::Status, false, true>;

/// The answers for one copy of the shim. A thread may have several copies (bundlers, an emptied
/// `require.cache`), and each of them knows only the tickets of its own guards. Its guards, and
/// what waits for an answer, keep it.
pub(crate) struct CompletionQueue {
    arrived: Mutex<Vec<(u64, StoreAnswer)>>,
    /// Whether the thread is to be woken already.
    woken: AtomicBool,
    /// Whether an issuer is to be asked since the last `flush`.
    keys_wanted: AtomicBool,
    wake: Wake,
}

/// The queue that answers go to, if there is one.
pub(crate) type Listener = Option<Arc<CompletionQueue>>;

thread_local! {
    static QUEUES: RefCell<Slots<Weak<CompletionQueue>>> = const { RefCell::new(Slots::new()) };
    static OUTBOX: RefCell<Vec<(Arc<SharedStore>, Vec<QueuedCommand>)>> = const { RefCell::new(Vec::new()) };
    static ARRIVED: RefCell<VecDeque<(u64, StoreAnswer)>> = const { RefCell::new(VecDeque::new()) };
}

fn queue(number: f64) -> Listener {
    QUEUES.with_borrow(|queues| queues.get(slots::from_js(number)?)?.upgrade())
}

/// Registers a function that is called when answers for a guard have come. Answers the number of
/// this listener, which `join` gives to other guards; -1 where there are too many.
#[napi(catch_unwind, ts_args_type = "guard: number, wake: () => void")]
pub fn listen(guard: f64, wake: Wake) -> i64 {
    let queue = Arc::new(CompletionQueue {
        arrived: Mutex::default(),
        woken: AtomicBool::new(false),
        keys_wanted: AtomicBool::new(false),
        wake,
    });
    let number = QUEUES.with_borrow_mut(|queues| {
        queues.retain(|queue| queue.strong_count() > 0);
        queues.insert(Arc::downgrade(&queue))
    });
    if let Some(guard) = slots::from_js(guard) {
        registry::set_listener(guard, queue);
    }
    number.and_then(|number| i64::try_from(number).ok()).unwrap_or(-1)
}

/// Sends the answers for a guard to a listener that other guards have. `false` where they are all
/// closed: it has ended.
#[napi(catch_unwind)]
pub fn join(guard: f64, listener: f64) -> bool {
    let (Some(guard), Some(queue)) = (slots::from_js(guard), queue(listener)) else { return false };
    registry::set_listener(guard, queue);
    true
}

/// Sends what was asked since the last call. `true` where guards of `listener` want the keys of an
/// issuer, which `keysDue` names.
#[napi(catch_unwind)]
pub fn flush(listener: f64) -> bool {
    for (store, asks) in OUTBOX.take() {
        store.submit(asks);
    }
    queue(listener).is_some_and(|queue| queue.keys_wanted.swap(false, Ordering::AcqRel))
}

/// The tickets of `listener` whose answers have come, with a blank behind each; each wants one call
/// of `settle`, in this order. One text is cheaper to carry over the edge than a list of numbers.
#[napi(catch_unwind)]
pub fn arrived(listener: f64) -> String {
    let Some(queue) = queue(listener) else { return String::new() };
    // First the flag: what comes from now on wakes again.
    queue.woken.store(false, Ordering::Release);
    let arrivals = std::mem::take(&mut *queue.arrived.lock());
    let mut tickets = String::with_capacity(arrivals.len() * 17);
    for (ticket, _) in &arrivals {
        push_number(&mut tickets, *ticket);
        tickets.push(' ');
    }
    ARRIVED.with_borrow_mut(|arrived| arrived.extend(arrivals));
    tickets
}

/// What has come for `ticket`, the next one that [`arrived`] has named.
pub(crate) fn take(ticket: u64) -> Option<StoreAnswer> {
    ARRIVED.with_borrow_mut(|arrived| {
        let place = arrived.iter().position(|(known, _)| *known == ticket)?;
        arrived.remove(place).map(|(_, arrival)| arrival)
    })
}

/// Asks a store, or an issuer; the answer comes to `queue` for `ticket`.
pub(crate) fn ask(what: StoreAsk, queue: &Arc<CompletionQueue>, ticket: u64) {
    match what {
        StoreAsk::Revocations(list) => list.refresh(queue.reply(ticket)),
        StoreAsk::Keys(keys) => {
            queue.keys_wanted.store(true, Ordering::Release);
            keys.wait(queue.reply(ticket), Now::read());
        }
        StoreAsk::Limits(store, question) | StoreAsk::Proof(store, question) => {
            let recipient: Arc<dyn CompletionSink> = Arc::<CompletionQueue>::clone(queue);
            let ask = store.ask_for(question, Responder::ticket(recipient, ticket));
            post(&store, ask);
        }
    }
}

/// Tells a store something; nobody waits for an answer.
pub(crate) fn send(store: &Arc<SharedStore>, question: StoreCommand) {
    post(store, store.command_without_reply(question));
}

/// Lets a question leave with the others of this tick.
fn post(store: &Arc<SharedStore>, ask: QueuedCommand) {
    OUTBOX.with_borrow_mut(|outbox| {
        match outbox.iter_mut().find(|(known, _)| Arc::ptr_eq(known, store)) {
            Some((_, asks)) => asks.push(ask),
            None => outbox.push((Arc::clone(store), vec![ask])),
        }
    });
}

/// The answers of a batch are there together: a thread that was woken for the first of them would
/// come back for each.
impl CompletionSink for CompletionQueue {
    fn take(&self, arrivals: Completions) {
        let judged =
            arrivals.into_iter().map(|(ticket, answer)| (ticket, StoreAnswer::Judged(answer)));
        self.arrived.lock().extend(judged);
        self.wake();
    }
}

impl CompletionQueue {
    /// The function that a store calls once it has done something; the answer comes for `ticket`.
    pub(crate) fn reply(self: &Arc<Self>, ticket: u64) -> Reply<()> {
        let queue = Arc::clone(self);
        Box::new(move |done| queue.put(ticket, StoreAnswer::Done(done)))
    }

    fn put(&self, ticket: u64, arrival: StoreAnswer) {
        self.arrived.lock().push((ticket, arrival));
        self.wake();
    }

    fn wake(&self) {
        if !self.woken.swap(true, Ordering::AcqRel) {
            // It fails where the thread has ended: then nobody waits.
            let _ = self.wake.call((), ThreadsafeFunctionCallMode::NonBlocking);
        }
    }
}
