//! Store commands and their results: the same for every kind of store.

use super::algorithm::{Rule, State};
use crate::few::Few;

/// The id of a counted subject: 128 bits of a SHA-256, the same in all processes. The store never
/// gets addresses or names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SubjectKey(pub [u8; 16]);

/// The check of one limit in a command about a subject.
#[derive(Debug, Clone, Copy)]
pub struct LimitCheck {
    /// The limit's number within the subject's record: a multiple of four. The next number is its
    /// block, the one after it a signal.
    pub tag: u32,
    /// How it counts.
    pub rule: Rule,
    /// The cost of the request.
    pub cost: u32,
}

/// A subject with the limits that count it. Its record is one value in the store.
#[derive(Debug, Clone)]
pub struct SubjectCommand {
    /// The subject.
    pub subject: SubjectKey,
    /// Its limits.
    pub demands: Few<LimitCheck>,
}

impl SubjectCommand {
    /// The charges to give back if a request was charged here and refused elsewhere, given the
    /// status after the charge. A limit that only watched and did not fit was not counted. A window
    /// that is about to end gets nothing back: the refund might reach the next one. Without a
    /// status, no window gets anything back.
    pub(crate) fn refund(&self, statuses: Option<&[LimitStatus]>) -> Option<Self> {
        let back = |(i, demand): (usize, &LimitCheck)| {
            let (rule, cost) = match statuses {
                Some(statuses) => {
                    let stood = statuses.get(i).filter(|stood| stood.fits)?;
                    demand.rule.remainder(stood.state, demand.cost, stood.now_us)?
                }
                None if demand.rule.algorithm().has_burst() => (demand.rule, demand.cost),
                None => return None,
            };
            Some(LimitCheck { tag: demand.tag, rule, cost })
        };
        let demands: Few<LimitCheck> = self.demands.iter().enumerate().filter_map(back).collect();
        (!demands.is_empty()).then_some(Self { subject: self.subject, demands })
    }
}

/// The name of a slot, used to give it back. It is unique across all processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SlotId(pub [u8; 16]);

/// A slot among the concurrent requests of a key: see `limit/in_flight.rs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotCommand {
    /// The subject and limit whose requests are counted.
    pub key: SubjectKey,
    /// The slot itself.
    pub id: SlotId,
    /// The number of slots.
    pub most: u32,
    /// How many milliseconds it is held without renewal.
    pub span_ms: u32,
    /// Whether the limit only watches.
    pub watching: bool,
}

/// The kind of a store command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Charge everything if all of it fits, or nothing.
    Consume,
    /// Report the status, charge nothing.
    Look,
    /// Charge even if it does not fit, capped at everything.
    Charge,
    /// Use up a proof of this age in microseconds. The first subject is the proof, the second its
    /// key.
    Prove {
        /// The age of the proof.
        age_us: u64,
    },
    /// Give a charge back.
    Refund,
    /// Refuse for this many microseconds.
    Block(u64),
    /// Forget the use and the block.
    Reset,
    /// Scale the limits by this many thousandths, for this many microseconds.
    Signal(u16, u64),
    /// Give slots back.
    Release,
    /// Hold slots for another span, and take lost ones again. All of them have one key.
    Renew,
}

/// A store command. [`Action::Charge`] and the actions after it apply to each subject by itself.
#[derive(Debug, Clone)]
pub struct StoreCommand {
    /// The action.
    pub action: Action,
    /// Its subjects: at least one, unless it has a slot.
    pub subjects: Vec<SubjectCommand>,
    /// Its slots.
    pub slots: Vec<SlotCommand>,
}

impl StoreCommand {
    /// A command without slots.
    #[must_use]
    pub const fn about(action: Action, subjects: Vec<SubjectCommand>) -> Self {
        Self { action, subjects, slots: Vec::new() }
    }

    /// A command with slots only.
    #[must_use]
    pub const fn of_slots(action: Action, slots: Vec<SlotCommand>) -> Self {
        Self { action, subjects: Vec::new(), slots }
    }

    /// Adds the subjects and limits of another command; duplicates are sent once.
    pub fn add(&mut self, other: Self) {
        for asked in other.subjects {
            let Some(known) = self.subjects.iter_mut().find(|known| known.subject == asked.subject)
            else {
                self.subjects.push(asked);
                continue;
            };
            for demand in asked.demands {
                if !known.demands.iter().any(|known| known.tag == demand.tag) {
                    known.demands.push(demand);
                }
            }
        }
    }
}

/// The status of one limit, by the store's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitStatus {
    /// Whether it lets the request through.
    pub fits: bool,
    /// The state: with the cost if the whole request was admitted and charged, else unchanged.
    pub state: State,
    /// The multiplier of the signal, in thousandths: 1000 if there is none.
    pub factor: u16,
    /// Until when it is blocked by hand, or 0.
    pub blocked_until_us: u64,
    /// The store's clock at the judgement.
    pub now_us: u64,
}

/// The result of a store command: one status for each limit, in their order, then one for each slot
/// that was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandResult {
    /// Whether everything fit, and was charged if the action charges.
    pub admitted: bool,
    /// The status of each limit.
    pub statuses: Few<LimitStatus>,
}
