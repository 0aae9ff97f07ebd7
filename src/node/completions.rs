//! Commands to shared stores and requests to issuers, and their answers on the way back to the
//! JavaScript thread that sent them.
//!
//! Commands of one tick are sent together, and the thread is woken once for all answers that have
//! arrived: a wake-up costs as much as many decisions. The wake-up keeps nothing alive, so that the
//! process can end.

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
/// `require.cache`), and each has only the tickets of its own guards. Its guards and its pending
/// entries keep it alive.
pub(crate) struct CompletionQueue {
    arrived: Mutex<Vec<(u64, StoreAnswer)>>,
    /// Whether a wake-up of the thread is already pending.
    woken: AtomicBool,
    /// Whether a guard has asked an issuer for keys, or about a token, since the last `flush`.
    keys_wanted: AtomicBool,
    wake: Wake,
}

/// The queue that answers are sent to, if there is one.
pub(crate) type Listener = Option<Arc<CompletionQueue>>;

thread_local! {
    static QUEUES: RefCell<Slots<Weak<CompletionQueue>>> = const { RefCell::new(Slots::new()) };
    static OUTBOX: RefCell<Vec<(Arc<SharedStore>, Vec<QueuedCommand>)>> = const { RefCell::new(Vec::new()) };
    static ARRIVED: RefCell<VecDeque<(u64, StoreAnswer)>> = const { RefCell::new(VecDeque::new()) };
}

fn queue(number: f64) -> Listener {
    QUEUES.with_borrow(|queues| queues.get(slots::from_js(number)?)?.upgrade())
}

/// Registers a function that is called when answers for a guard have arrived. Returns the number of
/// this listener, which `join` takes for other guards; -1 if there are too many.
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

/// Sends the answers for a guard to a listener of other guards. Returns `false` if they are all
/// closed: the listener has ended.
#[napi(catch_unwind)]
pub fn join(guard: f64, listener: f64) -> bool {
    let (Some(guard), Some(queue)) = (slots::from_js(guard), queue(listener)) else { return false };
    registry::set_listener(guard, queue);
    true
}

/// Sends the commands since the last call. Returns `true` if guards of `listener` ask an issuer:
/// `keysDue` and `introspectionDue` have the requests.
#[napi(catch_unwind)]
pub fn flush(listener: f64) -> bool {
    for (store, asks) in OUTBOX.take() {
        store.submit(asks);
    }
    queue(listener).is_some_and(|queue| queue.keys_wanted.swap(false, Ordering::AcqRel))
}

/// The tickets of `listener` whose answers have arrived, each followed by a blank. Call
/// `resumeWithStore` once for each, in this order. One text is cheaper to pass to JavaScript than a
/// list of numbers.
#[napi(catch_unwind)]
pub fn arrived(listener: f64) -> String {
    let Some(queue) = queue(listener) else { return String::new() };
    // Clear the flag first: later answers then cause a new wake-up.
    queue.woken.store(false, Ordering::Release);
    let completions = std::mem::take(&mut *queue.arrived.lock());
    let mut tickets = String::with_capacity(completions.len() * 17);
    for (ticket, _) in &completions {
        push_number(&mut tickets, *ticket);
        tickets.push(' ');
    }
    ARRIVED.with_borrow_mut(|arrived| arrived.extend(completions));
    tickets
}

/// The answer for `ticket`, the next one that [`arrived`] has returned.
pub(crate) fn take(ticket: u64) -> Option<StoreAnswer> {
    ARRIVED.with_borrow_mut(|arrived| {
        let place = arrived.iter().position(|(known, _)| *known == ticket)?;
        arrived.remove(place).map(|(_, arrival)| arrival)
    })
}

/// Asks a store or an issuer; `queue` receives the answer for `ticket`.
pub(crate) fn ask(what: StoreAsk, queue: &Arc<CompletionQueue>, ticket: u64) {
    match what {
        StoreAsk::Revocations(list) => list.refresh(queue.reply(ticket)),
        StoreAsk::Keys(keys) => {
            queue.keys_wanted.store(true, Ordering::Release);
            keys.wait(queue.reply(ticket), Now::read());
        }
        StoreAsk::Introspection(wait) => {
            queue.keys_wanted.store(true, Ordering::Release);
            wait.wait(queue.reply(ticket));
        }
        StoreAsk::Limits(store, question) | StoreAsk::Proof(store, question) => {
            let sink: Arc<dyn CompletionSink> = Arc::<CompletionQueue>::clone(queue);
            let ask = store.ask_for(question, Responder::ticket(sink, ticket));
            post(&store, ask);
        }
    }
}

/// Sends a store command without a receiver for its result.
pub(crate) fn send(store: &Arc<SharedStore>, question: StoreCommand) {
    post(store, store.command_without_reply(question));
}

/// Queues a command for sending with the others of this tick.
fn post(store: &Arc<SharedStore>, ask: QueuedCommand) {
    OUTBOX.with_borrow_mut(|outbox| {
        match outbox.iter_mut().find(|(known, _)| Arc::ptr_eq(known, store)) {
            Some((_, asks)) => asks.push(ask),
            None => outbox.push((Arc::clone(store), vec![ask])),
        }
    });
}

/// The results of a batch arrive together: a thread that was woken for the first of them would be
/// woken again for each.
impl CompletionSink for CompletionQueue {
    fn take(&self, completions: Completions) {
        let judged =
            completions.into_iter().map(|(ticket, answer)| (ticket, StoreAnswer::Judged(answer)));
        self.arrived.lock().extend(judged);
        self.wake();
    }
}

impl CompletionQueue {
    /// The callback for a store that has carried out a command; it delivers the answer for
    /// `ticket`.
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
            // It fails if the thread has ended: then there is no receiver.
            let _ = self.wake.call((), ThreadsafeFunctionCallMode::NonBlocking);
        }
    }
}
