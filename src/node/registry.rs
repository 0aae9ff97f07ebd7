//! Guards and stacks by number: an integer is the cheapest argument of a native call (a class method costs ten times as
//! much), and the numbers are shared by all threads of the process, while the requests that wait for their body belong
//! to the thread that reads it.

use std::cell::RefCell;
use std::collections::HashSet;
use std::sync::Arc;

use parking_lot::RwLock;

use crate::engine::Engine;
use crate::limit::Charged;
use crate::stack::{Stack, StoreAnswer, Waiting};

/// A table whose slots are used again, with a generation in the number, so that an old number finds nothing.
#[derive(Debug)]
struct Slots<T> {
    slots: Vec<(u32, Option<T>)>,
    free: Vec<u32>,
}

const INDEX_BITS: u32 = 20;
const INDEX_MASK: u32 = (1 << INDEX_BITS) - 1;

impl<T> Slots<T> {
    const fn new() -> Self {
        Self { slots: Vec::new(), free: Vec::new() }
    }

    /// `None` when a million slots are taken.
    fn insert(&mut self, value: T) -> Option<u32> {
        if let Some(index) = self.free.pop() {
            let (generation, slot) = self.slots.get_mut(usize::try_from(index).ok()?)?;
            *generation = (*generation + 1) % (1 << (u32::BITS - INDEX_BITS));
            *slot = Some(value);
            return Some((*generation << INDEX_BITS) | index);
        }
        let index = u32::try_from(self.slots.len()).ok().filter(|index| *index <= INDEX_MASK)?;
        self.slots.push((0, Some(value)));
        Some(index)
    }

    fn slot(&self, number: u32) -> Option<&T> {
        let (generation, value) = self.slots.get(usize::try_from(number & INDEX_MASK).ok()?)?;
        (*generation == number >> INDEX_BITS).then_some(value.as_ref()).flatten()
    }

    fn slot_mut(&mut self, number: u32) -> Option<&mut T> {
        let (generation, value) = self.slots.get_mut(usize::try_from(number & INDEX_MASK).ok()?)?;
        (*generation == number >> INDEX_BITS).then_some(value.as_mut()).flatten()
    }

    fn take(&mut self, number: u32) -> Option<T> {
        let index = number & INDEX_MASK;
        let (generation, value) = self.slots.get_mut(usize::try_from(index).ok()?)?;
        if *generation != number >> INDEX_BITS {
            return None;
        }
        let taken = value.take()?;
        self.free.push(index);
        Some(taken)
    }
}

/// A guard with the stacks that were built from it.
struct Guard {
    engine: Arc<Engine>,
    stacks: HashSet<u32>,
}

static GUARDS: RwLock<Slots<Guard>> = RwLock::new(Slots::new());
static STACKS: RwLock<Slots<Arc<Stack>>> = RwLock::new(Slots::new());

/// What waits under a ticket.
pub(crate) enum Ticketed {
    /// A request that waits for its body, its turn, the application's functions, its connection's certificate, an issuer or
    /// a shared store.
    Request(Box<Waiting>),
    /// A call that waits for a shared store, with what makes its answer.
    Call(Box<dyn FnOnce(StoreAnswer) -> String>),
    /// What a request was charged, until its response is known.
    Charged(Charged),
}

thread_local! {
    static WAITING: RefCell<Slots<Ticketed>> = const { RefCell::new(Slots::new()) };
}

pub(crate) fn add_guard(engine: Arc<Engine>) -> Option<u32> {
    GUARDS.write().insert(Guard { engine, stacks: HashSet::new() })
}

pub(crate) fn guard(number: u32) -> Option<Arc<Engine>> {
    GUARDS.read().slot(number).map(|guard| Arc::clone(&guard.engine))
}

/// Adds a stack to its guard; `None` where the guard is closed.
pub(crate) fn add_stack(guard: u32, stack: Arc<Stack>) -> Option<u32> {
    let mut guards = GUARDS.write();
    let owner = guards.slot_mut(guard)?;
    let number = STACKS.write().insert(stack)?;
    owner.stacks.insert(number);
    Some(number)
}

pub(crate) fn stack(number: u32) -> Option<Arc<Stack>> {
    STACKS.read().slot(number).map(Arc::clone)
}

/// Forgets a guard and its stacks.
pub(crate) fn release(number: u32) {
    let Some(guard) = GUARDS.write().take(number) else { return };
    if let Some(tokens) = &guard.engine.tokens {
        tokens.close();
    }
    let mut stacks = STACKS.write();
    for stack in guard.stacks {
        stacks.take(stack);
    }
}

/// Forgets one stack of a guard, whose handler nobody holds any more.
pub(crate) fn release_stack(guard: u32, number: u32) {
    let mut guards = GUARDS.write();
    let Some(owner) = guards.slot_mut(guard) else { return };
    // The number may be another's by now, if the guard was closed in between.
    if owner.stacks.remove(&number) {
        STACKS.write().take(number);
    }
}

/// Keeps what waits; the ticket is good once.
pub(crate) fn wait(waiting: Ticketed) -> Option<u32> {
    WAITING.with_borrow_mut(|slots| slots.insert(waiting))
}

/// What waits under a ticket.
pub(crate) fn take(ticket: u32) -> Option<Ticketed> {
    WAITING.with_borrow_mut(|slots| slots.take(ticket))
}

/// The request that waits under a ticket.
pub(crate) fn take_request(ticket: u32) -> Option<Box<Waiting>> {
    match take(ticket)? {
        Ticketed::Request(waiting) => Some(waiting),
        Ticketed::Call(_) | Ticketed::Charged(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_was_given_back_finds_nothing_even_when_its_slot_is_used_again() {
        let mut slots = Slots::new();
        let first = slots.insert("a").unwrap();
        assert_eq!(slots.take(first), Some("a"));
        let second = slots.insert("b").unwrap();
        assert_eq!(slots.take(first), None);
        assert_eq!(slots.slot(first), None);
        assert_eq!(slots.slot(second), Some(&"b"));
    }
}
