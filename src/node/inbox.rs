//! Questions to shared stores and to issuers on their way out, and answers on their way back to the thread of JavaScript that asked.
//!
//! What is asked within one tick leaves together, and however many answers have come, the thread is woken once: a
//! wake-up costs as much as many decisions. The wake-up holds nothing open, so that the process can end.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use napi::threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode};
use napi_derive::napi;
use parking_lot::Mutex;

use crate::clock::Now;
use crate::limit::push_number;
use crate::stack::{StoreAnswer, StoreAsk};
use crate::store::ask::{Arrivals, Ask, Question, Recipient, Waiter};
use crate::store::{Reply, SharedStore};

/// Weak: it does not keep the event loop alive.
type Wake = ThreadsafeFunction<(), (), (), napi::Status, false, true>;

struct Inbox {
    arrived: Mutex<Vec<(u32, StoreAnswer)>>,
    /// Whether the thread is to be woken already.
    woken: AtomicBool,
    wake: Wake,
}

thread_local! {
    static INBOX: RefCell<Option<Arc<Inbox>>> = const { RefCell::new(None) };
    static OUTBOX: RefCell<Vec<(Arc<SharedStore>, Vec<Ask>)>> = const { RefCell::new(Vec::new()) };
    static KEYS_WANTED: Cell<bool> = const { Cell::new(false) };
    static ARRIVED: RefCell<VecDeque<(u32, StoreAnswer)>> = const { RefCell::new(VecDeque::new()) };
}

/// Names the function that is called when answers have come for this thread.
#[napi(catch_unwind, ts_args_type = "wake: () => void")]
pub fn listen(wake: Wake) {
    let inbox = Inbox { arrived: Mutex::default(), woken: AtomicBool::new(false), wake };
    INBOX.set(Some(Arc::new(inbox)));
}

/// Sends what was asked since the last call. `true` where an issuer is asked too, which `keysDue` does.
#[napi(catch_unwind)]
pub fn flush() -> bool {
    for (store, asks) in OUTBOX.take() {
        store.submit(asks);
    }
    KEYS_WANTED.take()
}

/// The tickets whose answers have come, with a blank behind each; each wants one call of `settle`, in this order. One text
/// is cheaper to carry over the edge than a list of numbers.
#[napi(catch_unwind)]
pub fn arrived() -> String {
    let Some(inbox) = INBOX.with_borrow(Clone::clone) else { return String::new() };
    // First the flag: what comes from now on wakes again.
    inbox.woken.store(false, Ordering::Release);
    let arrivals = std::mem::take(&mut *inbox.arrived.lock());
    let mut tickets = String::with_capacity(arrivals.len() * 11);
    for (ticket, _) in &arrivals {
        push_number(&mut tickets, u64::from(*ticket));
        tickets.push(' ');
    }
    ARRIVED.with_borrow_mut(|arrived| arrived.extend(arrivals));
    tickets
}

/// What has come for `ticket`, the next one that [`arrived`] has named.
pub(crate) fn take(ticket: u32) -> Option<StoreAnswer> {
    ARRIVED.with_borrow_mut(|arrived| {
        let place = arrived.iter().position(|(known, _)| *known == ticket)?;
        arrived.remove(place).map(|(_, arrival)| arrival)
    })
}

/// Asks a store; the answer comes for `ticket`. `false` where this thread does not listen.
pub(crate) fn ask(what: StoreAsk, ticket: u32) -> bool {
    match what {
        StoreAsk::Revocations(list) => reply(ticket).map(|reply| list.refresh(reply)).is_some(),
        StoreAsk::Keys(keys) => {
            let Some(reply) = reply(ticket) else { return false };
            keys.wait(reply, Now::read());
            KEYS_WANTED.set(true);
            true
        }
        StoreAsk::Limits(store, question) | StoreAsk::Proof(store, question) => {
            let Some(inbox) = INBOX.with_borrow(Clone::clone) else { return false };
            let ask = store.ask_for(question, Waiter::ticket(inbox, ticket));
            post(&store, ask);
            true
        }
    }
}

/// Tells a store something; nobody waits for an answer.
pub(crate) fn tell(store: &Arc<SharedStore>, question: Question) {
    post(store, store.tell(question));
}

/// Lets a question leave with the others of this tick.
fn post(store: &Arc<SharedStore>, ask: Ask) {
    OUTBOX.with_borrow_mut(|outbox| {
        match outbox.iter_mut().find(|(known, _)| Arc::ptr_eq(known, store)) {
            Some((_, asks)) => asks.push(ask),
            None => outbox.push((Arc::clone(store), vec![ask])),
        }
    });
}

/// What a store is to call when it has done something; the answer comes for `ticket`. `None` where this thread does not
/// listen.
pub(crate) fn reply(ticket: u32) -> Option<Reply<()>> {
    let inbox = INBOX.with_borrow(Clone::clone)?;
    Some(Box::new(move |done| inbox.put(ticket, StoreAnswer::Done(done))))
}

/// The answers of a batch are there together: a thread that was woken for the first of them would come back for each.
impl Recipient for Inbox {
    fn take(&self, arrivals: Arrivals) {
        let judged =
            arrivals.into_iter().map(|(ticket, answer)| (ticket, StoreAnswer::Judged(answer)));
        self.arrived.lock().extend(judged);
        self.wake();
    }
}

impl Inbox {
    fn put(&self, ticket: u32, arrival: StoreAnswer) {
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
