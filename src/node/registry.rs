//! Guards, stacks and tickets by number: a number is the cheapest argument of a native call (a
//! class method costs ten times as much). Numbers of guards and stacks are shared by all threads of
//! the process; tickets belong to the thread of the request.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use parking_lot::RwLock;

use super::completions::{CompletionQueue, Listener};
use super::openapi;
use super::slots::Slots;
use crate::guard::{Guard, Store};
use crate::limit::Reservation;
use crate::payload::Responses;
use crate::stack::{RequestContext, Stack, StoreAnswer};

/// A guard with the stacks that were built from it.
struct GuardEntry {
    opened: Arc<Guard>,
    /// Receives the answers that this guard and its stacks wait for.
    listener: Listener,
    stacks: HashSet<u64>,
}

static GUARDS: RwLock<Slots<GuardEntry>> = RwLock::new(Slots::new());
/// A stack, and the receiver of the answers that its requests wait for.
pub(crate) struct Mounted {
    pub(crate) stack: Arc<Stack>,
    pub(crate) listener: Listener,
}

/// A suspended request, in one allocation with everything that it continues with: a single
/// allocation per request costs as much as checking a small body.
pub(crate) struct SuspendedRequest {
    pub(crate) mounted: Arc<Mounted>,
    /// Its progress.
    pub(crate) exchange: RequestContext,
}

static STACKS: RwLock<Slots<Arc<Mounted>>> = RwLock::new(Slots::new());

/// The entry of a ticket.
pub(crate) enum PendingEntry {
    /// A request that waits for its body, its turn, the application's functions, its connection's
    /// certificate, an issuer or a shared store.
    Request(Box<SuspendedRequest>),
    /// A call that waits for a shared store, with the function that makes its answer.
    Call(Box<dyn FnOnce(StoreAnswer) -> String>),
    /// The reservation of a request, until its response is known.
    Reserved(Reservation),
}

thread_local! {
    static WAITING: RefCell<Slots<PendingEntry>> = const { RefCell::new(Slots::new()) };
    /// The open guards of this thread, by the environment that built them.
    static OPEN: RefCell<HashMap<usize, HashSet<u64>>> = RefCell::default();
    /// The answer schemas of closed guards, by their stacks: requests that these have admitted may
    /// still be answered.
    static LAST_ANSWERS: RefCell<HashMap<u64, Arc<Responses>>> = RefCell::default();
}

/// Adds a guard that the environment `owner` has built.
pub(crate) fn add_guard(opened: Arc<Guard>, owner: usize) -> Option<u64> {
    let guard = GuardEntry { opened, listener: None, stacks: HashSet::new() };
    let number = GUARDS.write().insert(guard)?;
    OPEN.with_borrow_mut(|open| open.entry(owner).or_default().insert(number));
    Some(number)
}

/// Whether an environment has built no guard so far.
pub(crate) fn is_new(owner: usize) -> bool {
    OPEN.with_borrow(|open| !open.contains_key(&owner))
}

pub(crate) fn guard(number: u64) -> Option<Arc<Guard>> {
    GUARDS.read().get(number).map(|guard| Arc::clone(&guard.opened))
}

/// Whether an open guard of this thread has a store that processes share.
pub(crate) fn has_shared_store() -> bool {
    let guards = GUARDS.read();
    let is_shared = |number: &u64| {
        guards.get(*number).is_some_and(|guard| matches!(guard.opened.store(), Store::Shared(_)))
    };
    OPEN.with_borrow(|open| open.values().flatten().any(is_shared))
}

/// Sets the listener of a guard and of the stacks that are built from now on.
pub(crate) fn set_listener(number: u64, listener: Arc<CompletionQueue>) {
    if let Some(guard) = GUARDS.write().get_mut(number) {
        guard.listener = Some(listener);
    }
}

pub(crate) fn listener(number: u64) -> Listener {
    GUARDS.read().get(number)?.listener.clone()
}

/// Adds a stack to its guard; `None` if the guard is closed.
pub(crate) fn add_stack(guard: u64, stack: Arc<Stack>) -> Option<u64> {
    let mut guards = GUARDS.write();
    let owner = guards.get_mut(guard)?;
    let mounted = Mounted { stack, listener: owner.listener.clone() };
    let number = STACKS.write().insert(Arc::new(mounted))?;
    owner.stacks.insert(number);
    Some(number)
}

pub(crate) fn mounted(number: u64) -> Option<Arc<Mounted>> {
    STACKS.read().get(number).map(Arc::clone)
}

pub(crate) fn stack(number: u64) -> Option<Arc<Stack>> {
    mounted(number).map(|mounted| Arc::clone(&mounted.stack))
}

/// The answer schemas of a stack, even if its guard is closed; `None` if there is no such stack.
pub(crate) fn responses(number: u64) -> Option<Arc<Responses>> {
    let open = mounted(number).and_then(|mounted| mounted.stack.responses.clone());
    open.or_else(|| LAST_ANSWERS.with_borrow(|last| last.get(&number).cloned()))
}

/// Releases a guard with its stacks and documents.
pub(crate) fn release(number: u64) {
    let Some(guard) = GUARDS.write().take(number) else { return };
    OPEN.with_borrow_mut(|open| {
        for numbers in open.values_mut() {
            numbers.remove(&number);
        }
    });
    if let Some(tokens) = &guard.opened.tokens {
        tokens.close();
    }
    let mut stacks = STACKS.write();
    for number in guard.stacks {
        let responses = stacks.take(number).and_then(|mounted| mounted.stack.responses.clone());
        if let Some(responses) = responses {
            LAST_ANSWERS.with_borrow_mut(|last| last.insert(number, responses));
        }
    }
    openapi::release_of(number);
}

/// Releases the guards of an environment that ends: no finalizer runs there any more.
pub(crate) fn release_all(owner: usize) {
    let numbers = OPEN.with_borrow_mut(|open| open.remove(&owner)).unwrap_or_default();
    for number in numbers {
        release(number);
    }
}

/// Releases one stack of a guard, whose handler is no longer referenced.
pub(crate) fn release_stack(guard: u64, number: u64) {
    LAST_ANSWERS.with_borrow_mut(|last| last.remove(&number));
    let mut guards = GUARDS.write();
    let Some(owner) = guards.get_mut(guard) else { return };
    if owner.stacks.remove(&number) {
        STACKS.write().take(number);
    }
}

/// Stores a pending entry; its ticket is valid once.
pub(crate) fn wait(waiting: PendingEntry) -> Option<u64> {
    WAITING.with_borrow_mut(|slots| slots.insert(waiting))
}

/// The entry of a ticket.
pub(crate) fn take(ticket: u64) -> Option<PendingEntry> {
    WAITING.with_borrow_mut(|slots| slots.take(ticket))
}

/// Runs `work` on the suspended request of a ticket, which stays valid.
pub(crate) fn with_request<T>(
    ticket: u64,
    work: impl FnOnce(&mut SuspendedRequest) -> T,
) -> Option<T> {
    WAITING.with_borrow_mut(|slots| match slots.get_mut(ticket)? {
        PendingEntry::Request(waiting) => Some(work(waiting)),
        PendingEntry::Call(_) | PendingEntry::Reserved(_) => None,
    })
}

/// The suspended request of a ticket.
pub(crate) fn take_request(ticket: u64) -> Option<Box<SuspendedRequest>> {
    match take(ticket)? {
        PendingEntry::Request(waiting) => Some(waiting),
        PendingEntry::Call(_) | PendingEntry::Reserved(_) => None,
    }
}
