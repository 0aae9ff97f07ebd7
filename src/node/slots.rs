//! Numbers for objects that JavaScript refers to: guards, stacks, documents, listeners and tickets.
//!
//! A number refers to one object forever. JavaScript may keep numbers for any time, so a number
//! that was reused for another guard would admit requests by the wrong rules.

/// A table of objects by number. A slot is used again, but never a number.
#[derive(Debug)]
pub(crate) struct Slots<T> {
    slots: Vec<Slot<T>>,
    free: Vec<u64>,
}

#[derive(Debug)]
struct Slot<T> {
    /// The number of its value, or of its last value.
    number: u64,
    value: Option<T>,
}

/// A number is the index of its slot plus a multiple of this.
const STEP: u64 = 1 << 20;

/// `Number.MAX_SAFE_INTEGER`: JavaScript can't distinguish larger numbers from their neighbours.
const MAX_NUMBER: u64 = (1 << 53) - 1;

impl<T> Slots<T> {
    pub(crate) const fn new() -> Self {
        Self { slots: Vec::new(), free: Vec::new() }
    }

    /// `None` when a million slots are taken.
    pub(crate) fn insert(&mut self, value: T) -> Option<u64> {
        if let Some(index) = self.free.pop() {
            let slot = self.slots.get_mut(usize::try_from(index).ok()?)?;
            slot.number += STEP;
            slot.value = Some(value);
            return Some(slot.number);
        }
        let number = u64::try_from(self.slots.len()).ok().filter(|index| *index < STEP)?;
        self.slots.push(Slot { number, value: Some(value) });
        Some(number)
    }

    pub(crate) fn get(&self, number: u64) -> Option<&T> {
        let slot = self.slots.get(usize::try_from(number % STEP).ok()?)?;
        slot.value.as_ref().filter(|_| slot.number == number)
    }

    pub(crate) fn get_mut(&mut self, number: u64) -> Option<&mut T> {
        let slot = self.slots.get_mut(usize::try_from(number % STEP).ok()?)?;
        slot.value.as_mut().filter(|_| slot.number == number)
    }

    /// All values with their numbers.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (u64, &mut T)> {
        self.slots.iter_mut().filter_map(|slot| Some((slot.number, slot.value.as_mut()?)))
    }

    /// Removes the values for which `keep` is false.
    pub(crate) fn retain(&mut self, keep: impl Fn(&T) -> bool) {
        let gone = |slot: &Slot<T>| slot.value.as_ref().is_some_and(|value| !keep(value));
        let numbers: Vec<u64> =
            self.slots.iter().filter(|slot| gone(slot)).map(|slot| slot.number).collect();
        for number in numbers {
            self.take(number);
        }
    }

    pub(crate) fn take(&mut self, number: u64) -> Option<T> {
        let index = number % STEP;
        let slot = self.slots.get_mut(usize::try_from(index).ok()?)?;
        if slot.number != number {
            return None;
        }
        let taken = slot.value.take()?;
        // A slot retires once its numbers are used up. At a million a second, the first one does
        // after two hours, and all of them after 285 years.
        if slot.number <= MAX_NUMBER - STEP {
            self.free.push(index);
        }
        Some(taken)
    }
}

/// Reads a number from JavaScript; `None` for a number that no table returns.
pub(crate) fn from_js(number: f64) -> Option<u64> {
    // A conversion there and back: `fract` is a call of the C library on most machines.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::float_cmp,
        reason = "what is not the same afterwards is refused"
    )]
    let whole = Some(number as i64).filter(|whole| *whole as f64 == number)?;
    u64::try_from(whole).ok().filter(|whole| *whole <= MAX_NUMBER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_given_once_however_often_its_slot_is_used_again() {
        let mut slots = Slots::new();
        let first = slots.insert(0).unwrap();
        assert_eq!(slots.take(first), Some(0));
        // More than 12 bits of generations, and more than all numbers of 32 bits have.
        for round in 1..10_000 {
            let number = slots.insert(round).unwrap();
            assert_eq!(number % STEP, first, "the slot is the same");
            assert_ne!(number, first);
            assert_eq!(slots.get(first), None);
            assert_eq!(slots.get_mut(first), None);
            assert_eq!(slots.iter_mut().map(|(number, _)| number).collect::<Vec<_>>(), [number]);
            assert_eq!(slots.take(first), None);
            assert_eq!(slots.take(number), Some(round));
        }
    }

    #[test]
    fn a_slot_retires_when_its_numbers_are_used_up() {
        let mut slots = Slots::new();
        let first = slots.insert('a').unwrap();
        slots.take(first);
        slots.slots[0].number = MAX_NUMBER + 1 - 2 * STEP;
        let last = slots.insert('b').unwrap();
        assert_eq!(last, MAX_NUMBER + 1 - STEP);
        assert_eq!(slots.take(last), Some('b'));
        let next = slots.insert('c').unwrap();
        assert_eq!(next, 1, "a new slot");
        assert_eq!(slots.get(last), None);
        assert_eq!(slots.take(last), None, "what is gone is not taken twice");
    }

    #[test]
    fn no_number_is_larger_than_javascript_can_tell_apart() {
        let mut slots = Slots::new();
        for index in 0..STEP {
            assert_eq!(slots.insert(()), Some(index));
        }
        assert_eq!(slots.insert(()), None, "all slots are taken");
        slots.take(STEP - 1);
        slots.slots[usize::try_from(STEP - 1).unwrap()].number = MAX_NUMBER - STEP;
        assert_eq!(slots.insert(()), Some(MAX_NUMBER));
        slots.take(MAX_NUMBER);
        assert_eq!(slots.insert(()), None, "the slot has retired");
    }

    #[test]
    fn what_is_no_whole_number_in_range_names_nothing() {
        for number in [-1.0, 0.5, f64::NAN, f64::INFINITY, 9_007_199_254_740_992.0, 1e300] {
            assert_eq!(from_js(number), None, "{number}");
        }
        assert_eq!(from_js(0.0), Some(0));
        assert_eq!(from_js(4_294_967_296.0), Some(1 << 32));
        assert_eq!(from_js(9_007_199_254_740_991.0), Some(MAX_NUMBER));
    }
}
