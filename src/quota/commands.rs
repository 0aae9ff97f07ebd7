//! What a store is asked about, and what it answers: the same for every kind of store.

use super::algorithm::{Rule, State};
use crate::few::Few;

/// Who is counted: 128 bits of a SHA-256, the same in all processes. Addresses and names stay out
/// of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SubjectKey(pub [u8; 16]);

/// One limit's part in a question about a subject.
#[derive(Debug, Clone, Copy)]
pub struct LimitCheck {
    /// Which limit, within the subject's record: a multiple of four. The next number is its block,
    /// the one behind it a signal.
    pub tag: u32,
    /// How it counts.
    pub rule: Rule,
    /// What the request costs.
    pub cost: u32,
}

/// A subject with the limits that count it. Its record is one value in the store.
#[derive(Debug, Clone)]
pub struct SubjectCommand {
    /// Who.
    pub subject: SubjectKey,
    /// By which limits.
    pub demands: Few<LimitCheck>,
}

impl SubjectCommand {
    /// What is to be given back where this was charged and the request was refused elsewhere, by
    /// how it stood then. A limit that only watched has counted nothing, and a window that is about
    /// to end gets nothing back: the next one might. Where nobody knows how it stood, no window
    /// does.
    pub(crate) fn refund(&self, standings: Option<&[LimitStatus]>) -> Option<Self> {
        let back = |(i, demand): (usize, &LimitCheck)| {
            let (rule, cost) = match standings {
                Some(standings) => {
                    let stood = standings.get(i).filter(|stood| stood.fits)?;
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

/// What names one slot, by which it is given back: no two have the same, in whichever processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SlotId(pub [u8; 16]);

/// A slot among the requests that are under way at once: see `limit/in_flight.rs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotCommand {
    /// Among whose requests, under which limit.
    pub key: SubjectKey,
    /// The slot itself.
    pub id: SlotId,
    /// How many there are.
    pub most: u32,
    /// For how many milliseconds it is held where nobody renews it.
    pub span_ms: u32,
    /// Whether the limit only watches.
    pub watching: bool,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Charge everything if all of it fits, or nothing.
    Consume,
    /// Say how it stands, charge nothing.
    Look,
    /// Charge whether it fits or not, at most everything.
    Charge,
    /// Use a proof up that is so many microseconds old: the first subject is the proof, the second
    /// its key.
    Prove {
        /// How old it is.
        age_us: u64,
    },
    /// Give back.
    Refund,
    /// Refuse for so many microseconds.
    Block(u64),
    /// Forget what was used and the block.
    Reset,
    /// Take so many thousandths of the limits for so many microseconds.
    Signal(u16, u64),
    /// Give slots back.
    Release,
    /// Hold slots for another span, and take again those that were lost. All of them have one key.
    Renew,
}

/// A question. [`Action::Charge`] and those below it are about each subject by itself.
#[derive(Debug, Clone)]
pub struct StoreCommand {
    /// What is to be done.
    pub action: Action,
    /// About whom; at least one, or one slot.
    pub subjects: Vec<SubjectCommand>,
    /// About which slots.
    pub slots: Vec<SlotCommand>,
}

impl StoreCommand {
    /// A question about no slots.
    #[must_use]
    pub const fn about(action: Action, subjects: Vec<SubjectCommand>) -> Self {
        Self { action, subjects, slots: Vec::new() }
    }

    /// A question about slots alone.
    #[must_use]
    pub const fn of_slots(action: Action, slots: Vec<SlotCommand>) -> Self {
        Self { action, subjects: Vec::new(), slots }
    }

    /// Adds what another one asks of the same subjects; what both ask is asked once.
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

/// How one limit stands, by the store's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitStatus {
    /// Whether it lets the request through.
    pub fits: bool,
    /// The state: with the cost where all of the request was admitted and charged, else as it was.
    pub state: State,
    /// How many thousandths of the limit a signal leaves: 1000 where there is none.
    pub factor: u16,
    /// Until when it is blocked by hand, or 0.
    pub blocked_until_us: u64,
    /// The store's clock as it judged.
    pub now_us: u64,
}

/// What a store says: one standing for each demand, in their order, and behind them one for each
/// slot that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandResult {
    /// Whether all fit, and were charged where that was asked.
    pub admitted: bool,
    /// How each limit stands.
    pub standings: Few<LimitStatus>,
}
