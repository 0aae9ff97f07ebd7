//! Judges commands in this process: those of a batch, one after another, over the records that were
//! read. A changed record is then written over the version that was read; if that fails, everything
//! is judged again.

use std::collections::HashMap;

use crate::quota::WireState;
use crate::quota::algorithm::{Rule, State, UNSCALED};
use crate::quota::{Action, CommandResult, LimitCheck, LimitStatus, StoreCommand, SubjectKey};
use crate::store::error::StoreError;
use crate::store::record::{ENTRY, Entry, entries, seconds_of};

/// The processes' readings of a server's clock differ by less than this. A state further ahead was
/// written before the clock was set back.
const MAX_SKEW_US: u64 = 5_000_000;
/// Times are below this, so that doubles hold them.
const END_OF_TIME: u64 = 1 << 53;

/// A record as changed by the commands of a batch.
#[derive(Debug, Clone)]
pub(super) struct RecordView {
    entries: Vec<Entry>,
    /// The instant of the judgement. It never goes back, see [`RecordView::turn_to`].
    now_us: u64,
    /// Whether it must be written.
    changed: bool,
    /// The version to overwrite.
    version: Option<u64>,
}

impl RecordView {
    /// The record in `value`, if there is one, at an instant of its server's clock.
    pub(super) fn read(value: &[u8], version: Option<u64>, now_us: u64) -> Self {
        let mut changed = false;
        let pulled_back = |mut entry: Entry| {
            changed |= entry.pull_back(now_us, MAX_SKEW_US);
            entry
        };
        let entries = entries(value, now_us).map(pulled_back).collect();
        Self { entries, now_us, changed, version }
    }

    /// The bytes to write, how long they must be kept, and the version to overwrite; `None` if
    /// nothing changed.
    pub(super) fn written(&self) -> Option<(Vec<u8>, u64, Option<u64>)> {
        if !self.changed {
            return None;
        }
        let mut record = Vec::with_capacity(self.entries.len() * ENTRY);
        let mut last = self.now_us;
        for entry in self.entries.iter().filter(|entry| entry.till_us > self.now_us) {
            entry.write(&mut record);
            last = last.max(entry.till_us);
        }
        Some((record, last - self.now_us, self.version))
    }

    /// Moves the instant of the judgement forward to the latest one in the record: another process
    /// may have judged by a clock slightly ahead. A state further ahead was written before the
    /// clock was set back. It counts as used up now, and that is stored; otherwise the key would be
    /// locked until the clock caught up.
    fn turn_to(&mut self, demands: &[LimitCheck]) {
        for demand in demands {
            let Some(entry) = self.entry(demand.tag) else { continue };
            let earliest = demand.rule.earliest(state(demand, entry));
            if earliest > self.now_us.saturating_add(MAX_SKEW_US) && earliest <= entry.till_us {
                let state = demand.rule.settle(state(demand, entry), self.now_us);
                let lasts_us = demand.rule.view(state, self.now_us).expires_us;
                self.put(demand.tag, demand.rule.to_wire(state), self.now_us + lasts_us);
            } else if earliest <= entry.till_us {
                self.now_us = self.now_us.max(earliest);
            } else {
                // No process of this package wrote that.
                self.entries.retain(|entry| entry.tag != demand.tag);
            }
        }
    }

    fn entry(&self, tag: u32) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.tag == tag && entry.till_us > self.now_us)
    }

    /// The multiplier of the signal on this limit, in thousandths.
    fn factor(&self, demand: &LimitCheck) -> u16 {
        self.entry(demand.tag + 2).map_or(UNSCALED, Entry::factor)
    }

    fn rule(&self, demand: &LimitCheck) -> Rule {
        match self.factor(demand) {
            UNSCALED => demand.rule,
            factor => demand.rule.scaled(factor),
        }
    }

    fn standing(&self, demand: &LimitCheck) -> LimitStatus {
        let state = self.entry(demand.tag).map_or(State::default(), |entry| state(demand, entry));
        let blocked_until_us = self.entry(demand.tag + 1).map_or(0, |block| block.till_us);
        let rule = self.rule(demand);
        let fits = blocked_until_us == 0 && rule.fits(state, demand.cost, self.now_us);
        let factor = self.factor(demand);
        LimitStatus { fits, state, blocked_until_us, factor, now_us: self.now_us }
    }

    fn change(&mut self, demand: &LimitCheck, action: Action) {
        let (rule, now_us) = (self.rule(demand), self.now_us);
        let old = self.standing(demand).state;
        let new = match action {
            // This store keeps no slots, and no limit with slots is built over it. A proof is
            // charged with `Consume`.
            Action::Look | Action::Release | Action::Renew | Action::Prove { .. } => return,
            Action::Consume if demand.cost == 0 => return,
            Action::Consume | Action::Charge => rule.charge(old, demand.cost, now_us),
            Action::Refund => rule.refund(old, demand.cost, now_us),
            Action::Block(span_us) => {
                let till_us = now_us.saturating_add(span_us).min(END_OF_TIME - 1);
                self.put(demand.tag + 1, made_at(now_us, 0), till_us);
                return;
            }
            Action::Signal(factor, span_us) => {
                let lasts = if factor == UNSCALED { 0 } else { span_us };
                let till_us = now_us.saturating_add(lasts).min(END_OF_TIME - 1);
                self.put(demand.tag + 2, made_at(now_us, factor), till_us);
                return;
            }
            Action::Reset => {
                self.put(demand.tag, WireState::default(), 0);
                self.put(demand.tag + 1, WireState::default(), 0);
                return;
            }
        };
        let till_us = now_us.saturating_add(rule.view(new, now_us).expires_us);
        self.put(demand.tag, rule.to_wire(new), till_us.min(END_OF_TIME - 1));
    }

    fn put(&mut self, tag: u32, state: WireState, till_us: u64) {
        self.changed = true;
        self.entries.retain(|entry| entry.tag != tag);
        if till_us > self.now_us {
            self.entries.push(Entry { tag, state, till_us });
        }
    }
}

/// The state of a block (0) or a signal that is made now.
fn made_at(now_us: u64, factor: u16) -> WireState {
    WireState { a: u64::from(factor), b: seconds_of(now_us), c: 0 }
}

fn state(demand: &LimitCheck, entry: &Entry) -> State {
    demand.rule.from_wire(entry.state)
}

/// The records of a batch, or why one could not be read.
pub(super) type Books = HashMap<SubjectKey, Result<RecordView, StoreError>>;

/// The results of writing records.
pub(super) type Written = HashMap<SubjectKey, Result<Stored, StoreError>>;

/// Whether a record was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stored {
    Yes,
    /// Another process wrote it after it was read.
    No,
}

/// A command in flight, possibly over several rounds.
#[derive(Debug)]
pub(super) struct CommandRun {
    pub(super) question: StoreCommand,
    /// For each subject whose part is written, the status of its limits.
    done: Vec<Option<Vec<LimitStatus>>>,
}

/// The outcome of a command in one round, if all of its changes can be written.
#[derive(Debug)]
pub(super) struct RoundOutcome {
    answer: CommandResult,
    /// For each subject, the status of its limits.
    statuses: Vec<Vec<LimitStatus>>,
    /// Whether it changed its subjects.
    charged: bool,
}

impl CommandRun {
    pub(super) fn new(question: StoreCommand) -> Self {
        let done = question.subjects.iter().map(|_| None).collect();
        Self { question, done }
    }

    /// The subjects that are not written yet.
    pub(super) fn open(&self) -> impl Iterator<Item = SubjectKey> + '_ {
        let parts = self.question.subjects.iter().zip(&self.done);
        parts.filter(|(_, done)| done.is_none()).map(|(ask, _)| ask.subject)
    }

    /// Judges the command, and changes the records if everything fits.
    pub(super) fn judge(&self, books: &mut Books) -> Result<RoundOutcome, StoreError> {
        let (action, subjects) = (self.question.action, &self.question.subjects);
        let mut statuses: Vec<Vec<LimitStatus>> = Vec::with_capacity(subjects.len());
        for (ask, done) in subjects.iter().zip(&self.done) {
            if let Some(done) = done {
                statuses.push(done.clone());
                continue;
            }
            let book = book_of(books, ask.subject)?;
            book.turn_to(&ask.demands);
            statuses.push(ask.demands.iter().map(|demand| book.standing(demand)).collect());
        }
        let judged = matches!(action, Action::Consume | Action::Look);
        let demands = subjects.iter().flat_map(|ask| &ask.demands);
        let passes = |(demand, standing): (&LimitCheck, &LimitStatus)| {
            standing.fits || demand.rule.is_watching()
        };
        let admitted = !judged || demands.zip(statuses.iter().flatten()).all(passes);
        let charged = admitted && action != Action::Look;
        if charged {
            let parts = subjects.iter().zip(&self.done).zip(&mut statuses);
            for ((ask, _), stands) in parts.filter(|((_, done), _)| done.is_none()) {
                let book = book_of(books, ask.subject)?;
                for (demand, standing) in ask.demands.iter().zip(stands) {
                    // A limit that only watches does not count a request that it would have
                    // refused.
                    let counts = !judged || standing.fits;
                    if counts {
                        book.change(demand, action);
                    }
                    *standing = LimitStatus { fits: counts, ..book.standing(demand) };
                }
            }
        }
        let all = statuses.iter().flatten().copied().collect();
        Ok(RoundOutcome { answer: CommandResult { admitted, statuses: all }, statuses, charged })
    }

    /// The result, once the records that it depends on are written; `None` if the command must be
    /// judged again.
    pub(super) fn settle(
        &mut self,
        verdict: Result<RoundOutcome, StoreError>,
        written: &Written,
    ) -> Option<Result<CommandResult, StoreError>> {
        let RoundOutcome { answer, statuses, charged } = match verdict {
            Ok(verdict) => verdict,
            Err(error) => return Some(Err(error)),
        };
        let mut fault = None;
        let mut again = false;
        let parts = self.question.subjects.iter().zip(&mut self.done).zip(statuses);
        for ((ask, done), statuses) in parts.filter(|((_, done), _)| done.is_none()) {
            match written.get(&ask.subject) {
                Some(Ok(Stored::Yes)) if charged => *done = Some(statuses),
                // A record that this batch did not change needs no write.
                None | Some(Ok(Stored::Yes)) => {}
                Some(Ok(Stored::No)) => again = true,
                Some(Err(error)) => fault = Some(*error),
            }
        }
        match fault {
            Some(error) => Some(Err(error)),
            None if again => None,
            None => Some(Ok(answer)),
        }
    }

    /// The charges to give back if the request was not admitted in the end.
    pub(super) fn refund(&self) -> Option<StoreCommand> {
        if self.question.action != Action::Consume {
            return None;
        }
        let parts = self.question.subjects.iter().zip(&self.done);
        let subjects: Vec<_> =
            parts.filter_map(|(ask, done)| ask.refund(Some(done.as_deref()?))).collect();
        (!subjects.is_empty()).then_some(StoreCommand::about(Action::Refund, subjects))
    }
}

fn book_of(books: &mut Books, subject: SubjectKey) -> Result<&mut RecordView, StoreError> {
    match books.get_mut(&subject) {
        Some(Ok(book)) => Ok(book),
        Some(Err(error)) => Err(*error),
        None => Err(StoreError::Unavailable),
    }
}
