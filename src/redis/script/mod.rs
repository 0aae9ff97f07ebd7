//! Turns store commands into Redis commands, and replies into results. `lua/` has the scripts.

use std::collections::HashMap;
use std::ops::Range;

use redis::{Cmd, Value};

use super::proofs_clock::ProofsClock;
use crate::clock::Now;
use crate::few::Few;
use crate::quota::algorithm::{State, UNSCALED};
use crate::quota::{
    Action, CommandResult, LimitCheck, LimitStatus, SlotCommand, StoreCommand, SubjectCommand,
    SubjectKey,
};
use crate::store::error::StoreError;
use crate::store::record::{Entry, Reader, double, entries, key, push_key};

const JUDGE: &str = concat!(
    include_str!("../lua/record.lua"),
    include_str!("../lua/slots.lua"),
    include_str!("../lua/consume.lua")
);
const JUDGE_ONE: &str =
    concat!(include_str!("../lua/record.lua"), include_str!("../lua/consume_gcra.lua"));
const RENEW: &str = concat!(include_str!("../lua/slots.lua"), include_str!("../lua/renew.lua"));
const PROVE: &str = concat!(include_str!("../lua/proofs.lua"), include_str!("../lua/prove.lua"));
const ADJUST: &str = concat!(include_str!("../lua/record.lua"), include_str!("../lua/adjust.lua"));

/// The most requests of one script call. A script blocks the server while it runs, and these take
/// less than a millisecond.
const MAX_REQUESTS: usize = 64;

/// A script with its digest for `EVALSHA`.
#[derive(Debug)]
pub(crate) struct Script {
    pub(crate) text: &'static str,
    pub(crate) digest: String,
}

/// The scripts, and the prefixes of their keys.
#[derive(Debug)]
pub(super) struct Scripts {
    judge: Script,
    judge_one: Script,
    adjust: Script,
    renew: Script,
    prove: Script,
    /// The start of the keys of subjects, and of slots.
    prefix: String,
    slots: String,
    /// The key of the list of used proofs. It is in one slot of a cluster, so that it is lost as a
    /// whole or not at all.
    proofs: String,
    /// The clock of that list, which gives the list's age.
    pub(super) proofs_clock: ProofsClock,
}

/// How a command refers to a script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    /// By its digest, which a server loses in a restart.
    Digest,
    /// By its text.
    Text,
}

/// One call of a script.
#[derive(Debug)]
pub(super) struct Call {
    script: Kind,
    parts: Vec<Part>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Judge,
    JudgeOne,
    Adjust,
    Prove,
    /// Slots of one key: some given back, all freed, some renewed.
    Release,
    Free,
    Renew,
}

/// The part of a command in one call: a range of its subjects.
#[derive(Debug, Clone)]
pub(super) struct Part {
    /// The command's index in the batch.
    pub(super) question: usize,
    pub(super) subjects: Range<usize>,
    /// And a range of its slots.
    pub(super) slots: Range<usize>,
}

impl Part {
    fn of<'q>(&self, questions: &'q [StoreCommand]) -> &'q [SubjectCommand] {
        let subjects = questions.get(self.question).map(|question| &question.subjects);
        subjects.and_then(|subjects| subjects.get(self.subjects.clone())).unwrap_or_default()
    }

    pub(super) fn slots<'q>(&self, questions: &'q [StoreCommand]) -> &'q [SlotCommand] {
        let slots = questions.get(self.question).map(|question| &question.slots);
        slots.and_then(|slots| slots.get(self.slots.clone())).unwrap_or_default()
    }

    /// Whether another part of its command is judged by another call.
    fn is_some_of(&self, questions: &[StoreCommand]) -> bool {
        questions.get(self.question).is_some_and(|question| {
            self.subjects.len() < question.subjects.len() || self.slots.len() < question.slots.len()
        })
    }

    fn action(&self, questions: &[StoreCommand]) -> Action {
        questions.get(self.question).map_or(Action::Look, |question| question.action)
    }
}

impl Script {
    pub(crate) fn new(text: &'static str) -> Self {
        Self { text, digest: redis::Script::new(text).get_hash().to_owned() }
    }
}

impl Scripts {
    pub(super) fn new(prefix: &str) -> Self {
        Self {
            judge: Script::new(JUDGE),
            judge_one: Script::new(JUDGE_ONE),
            adjust: Script::new(ADJUST),
            renew: Script::new(RENEW),
            prove: Script::new(PROVE),
            prefix: format!("{prefix}l:"),
            slots: format!("{prefix}p:"),
            proofs: proofs_key(prefix),
            proofs_clock: ProofsClock::default(),
        }
    }

    /// Calls `take` with each key of a command, except those in the slot of another key.
    pub(super) fn each_key(&self, question: &StoreCommand, mut take: impl FnMut(&str)) {
        if matches!(question.action, Action::Prove { .. }) {
            return take(&self.proofs);
        }
        let mut name = String::new();
        let subjects = question.subjects.iter().map(|ask| (&self.prefix, &ask.subject));
        let slots = question.slots.iter().map(|ask| (&self.slots, &ask.key));
        for (prefix, key) in subjects.chain(slots) {
            name.clear();
            push_key(&mut name, prefix, key);
            take(&name);
        }
    }

    /// The commands that load the scripts into a server.
    pub(super) fn load(&self) -> [Cmd; 5] {
        [&self.judge, &self.judge_one, &self.adjust, &self.renew, &self.prove]
            .map(|script| redis::cmd("SCRIPT").arg("LOAD").arg(script.text).to_owned())
    }

    /// The Redis command of a call.
    pub(super) fn command(&self, call: &Call, questions: &[StoreCommand], by: By) -> Cmd {
        let script = match call.script {
            Kind::Judge => &self.judge,
            Kind::JudgeOne => &self.judge_one,
            Kind::Adjust => &self.adjust,
            Kind::Renew => &self.renew,
            Kind::Prove => &self.prove,
            Kind::Release | Kind::Free => return self.freeing(call, questions),
        };
        let mut command = match by {
            By::Digest => redis::cmd("EVALSHA").arg(&script.digest).to_owned(),
            By::Text => redis::cmd("EVAL").arg(script.text).to_owned(),
        };
        let keys = |part: &Part| part.of(questions).len() + part.slots(questions).len();
        match call.script {
            Kind::Renew => return self.renewing(command, call, questions),
            Kind::Prove => return self.proving(command, call, questions),
            _ => {}
        }
        command.arg(call.parts.iter().map(keys).sum::<usize>());
        let mut name = String::new();
        for part in &call.parts {
            for subject in part.of(questions) {
                name.clear();
                push_key(&mut name, &self.prefix, &subject.subject);
                command.arg(&name);
            }
            for slot in part.slots(questions) {
                name.clear();
                push_key(&mut name, &self.slots, &slot.key);
                command.arg(&name);
            }
        }
        let mut asked = Vec::new();
        for part in &call.parts {
            let subjects = part.of(questions);
            let (name, span, factor) = match part.action(questions) {
                action @ (Action::Consume | Action::Look) => {
                    asked.clear();
                    push_request(&mut asked, action, subjects, part.slots(questions));
                    command.arg(&asked);
                    continue;
                }
                Action::Charge => ("charge", 0, 0),
                Action::Refund => ("refund", 0, 0),
                Action::Block(span) => ("block", span, 0),
                Action::Reset => ("reset", 0, 0),
                Action::Signal(factor, span) => ("signal", span, factor),
                // They have no subjects to adjust.
                Action::Release | Action::Renew | Action::Prove { .. } => continue,
            };
            asked.clear();
            push_packed(&mut asked, subjects.iter().flat_map(|subject| &subject.demands));
            command.arg(name).arg(&asked).arg(span).arg(factor);
        }
        command
    }

    fn proving(&self, mut command: Cmd, call: &Call, questions: &[StoreCommand]) -> Cmd {
        for part in &call.parts {
            let Action::Prove { age_us } = part.action(questions) else { continue };
            let [proof, maker] = part.of(questions) else { continue };
            let first = |ask: &SubjectCommand| ask.demands.first().map(|demand| demand.rule);
            let rule = first(maker);
            command.arg(3).arg(&self.proofs);
            command.arg(key(&format!("{}:", self.proofs), &proof.subject));
            command.arg(key(&format!("{}k:", self.proofs), &maker.subject));
            command.arg(age_us);
            command.arg(rule.map_or(1, |rule| rule.window_us() / 1000));
            command.arg(rule.map_or(1, |rule| rule.limit()));
            command.arg(self.proofs_time(Now::read()));
        }
        command
    }

    /// The latest expected time of the clock of the list of used proofs; empty if unknown.
    pub(super) fn proofs_time(&self, now: Now) -> String {
        self.proofs_clock.at(now).map_or_else(String::new, |us| us.to_string())
    }

    /// The command that frees some slots of a key, or all.
    fn freeing(&self, call: &Call, questions: &[StoreCommand]) -> Cmd {
        let mut command = redis::cmd(if call.script == Kind::Free { "DEL" } else { "ZREM" });
        let mut slots = call.parts.iter().flat_map(|part| part.slots(questions)).peekable();
        if let Some(first) = slots.peek() {
            command.arg(key(&self.slots, &first.key));
        }
        if call.script == Kind::Release {
            for slot in slots {
                command.arg(&slot.id.0);
            }
        }
        command
    }

    fn renewing(&self, mut command: Cmd, call: &Call, questions: &[StoreCommand]) -> Cmd {
        let slots: Vec<&SlotCommand> =
            call.parts.iter().flat_map(|part| part.slots(questions)).collect();
        if let Some(first) = slots.first() {
            let names: Vec<u8> = slots.iter().flat_map(|slot| slot.id.0).collect();
            command.arg(1).arg(key(&self.slots, &first.key)).arg(first.span_ms).arg(names);
        }
        command
    }
}

/// The calls for a batch of commands. If one server has all keys, many commands share a call, so
/// that its clock is read once. In a cluster (`apart`) each subject has a call of its own.
pub(super) fn calls(questions: &[StoreCommand], apart: bool) -> Vec<Call> {
    let mut calls = releases(questions);
    for (question, asked) in questions.iter().enumerate() {
        let judged = matches!(asked.action, Action::Consume | Action::Look);
        let all = 0..asked.subjects.len();
        if matches!(asked.action, Action::Prove { .. }) {
            let part = Part { question, subjects: all, slots: 0..0 };
            calls.push(Call { script: Kind::Prove, parts: vec![part] });
            continue;
        }
        if judged && !apart {
            let simple = asked.slots.is_empty() && is_simple(&asked.subjects);
            let script = if simple { Kind::JudgeOne } else { Kind::Judge };
            let part = Part { question, subjects: all, slots: 0..asked.slots.len() };
            let open = |call: &&mut Call| call.script == script && call.parts.len() < MAX_REQUESTS;
            // A change by hand that precedes a request in the batch is executed before it.
            let mut later = calls.iter_mut().rev().take_while(|call| call.script.judges());
            match later.find(open) {
                Some(call) => call.parts.push(part),
                None => calls.push(Call { script, parts: vec![part] }),
            }
            continue;
        }
        for i in all {
            let subjects = asked.subjects.get(i..=i).unwrap_or_default();
            let script = match judged {
                true if is_simple(subjects) => Kind::JudgeOne,
                true => Kind::Judge,
                false => Kind::Adjust,
            };
            let part = Part { question, subjects: i..i + 1, slots: 0..0 };
            calls.push(Call { script, parts: vec![part] });
        }
        let script = match asked.action {
            Action::Consume | Action::Look => Kind::Judge,
            Action::Reset => Kind::Free,
            Action::Renew if !asked.slots.is_empty() => {
                let part = Part { question, subjects: 0..0, slots: 0..asked.slots.len() };
                calls.push(Call { script: Kind::Renew, parts: vec![part] });
                continue;
            }
            _ => continue,
        };
        for i in 0..asked.slots.len() {
            let part = Part { question, subjects: 0..0, slots: i..i + 1 };
            calls.push(Call { script, parts: vec![part] });
        }
    }
    calls
}

/// The releases of a batch. They run first, since they make room, and together for each key. No
/// slot is released in the batch that takes it: its owner has no result yet.
fn releases(questions: &[StoreCommand]) -> Vec<Call> {
    let mut calls: Vec<Call> = Vec::new();
    let mut by_key: HashMap<SubjectKey, usize> = HashMap::new();
    for (question, asked) in questions.iter().enumerate() {
        if asked.action != Action::Release {
            continue;
        }
        for (i, slot) in asked.slots.iter().enumerate() {
            let part = Part { question, subjects: 0..0, slots: i..i + 1 };
            let known = by_key.get(&slot.key).and_then(|known| calls.get_mut(*known));
            if let Some(call) = known {
                call.parts.push(part);
            } else {
                by_key.insert(slot.key, calls.len());
                calls.push(Call { script: Kind::Release, parts: vec![part] });
            }
        }
    }
    calls
}

impl Kind {
    const fn judges(self) -> bool {
        matches!(self, Self::Judge | Self::JudgeOne)
    }
}

/// Whether a single GCRA limit counts, and does not only watch.
fn is_simple(subjects: &[SubjectCommand]) -> bool {
    let [subject] = subjects else { return false };
    let [demand] = subject.demands.as_slice() else { return false };
    demand.rule.algorithm().has_burst() && !demand.rule.is_watching()
}

/// Packs a request for consume.lua.
fn push_request(
    out: &mut Vec<u8>,
    action: Action,
    subjects: &[SubjectCommand],
    slots: &[SlotCommand],
) {
    // No request has more than 64 limits, and so no more subjects.
    let count = |number: usize| u8::try_from(number).unwrap_or(u8::MAX);
    out.extend([u8::from(action == Action::Consume), count(subjects.len())]);
    for subject in subjects {
        out.push(count(subject.demands.len()));
        push_packed(out, subject.demands.iter());
    }
    for slot in slots {
        out.extend_from_slice(&slot.most.to_le_bytes());
        out.push(u8::from(slot.watching));
        out.extend_from_slice(&slot.span_ms.to_le_bytes());
        out.extend_from_slice(&slot.id.0);
    }
}

/// Packs limits for the scripts: `<I4BdI4dI4I4`.
fn push_packed<'q>(out: &mut Vec<u8>, demands: impl Iterator<Item = &'q LimitCheck>) {
    for demand in demands {
        let (kind, pairs, scale) = demand.rule.to_wire_rule(demand.cost).packed();
        out.extend_from_slice(&demand.tag.to_le_bytes());
        out.push(kind);
        for (long, short) in pairs {
            out.extend_from_slice(&double(long).to_le_bytes());
            out.extend_from_slice(&short.to_le_bytes());
        }
        out.extend_from_slice(&scale.to_le_bytes());
    }
}

/// The results of a batch.
#[derive(Debug)]
pub(super) struct Results {
    /// One for each command.
    pub(super) answers: Vec<Result<CommandResult, StoreError>>,
    /// Charges of commands that another part refused. They occur only in a cluster, where no script
    /// sees all keys.
    to_refund: Vec<ChargedPart>,
}

/// A charged part of a command, with the status of its limits if it is not the whole command.
#[derive(Debug)]
struct ChargedPart {
    part: Part,
    statuses: Option<Few<LimitStatus>>,
}

impl Results {
    /// The commands that give back charges of refused requests. A slot is given back by its owner,
    /// which also handles a lost release.
    pub(super) fn refunds<'r>(
        &'r self,
        questions: &'r [StoreCommand],
    ) -> impl Iterator<Item = StoreCommand> + 'r {
        let subjects = move |ChargedPart { part, statuses }: &ChargedPart| {
            let mut statuses = statuses.as_deref();
            let mut back = Vec::new();
            for ask in questions.get(part.question)?.subjects.get(part.subjects.clone())? {
                back.extend(ask.refund(statuses));
                statuses = statuses.and_then(|statuses| statuses.get(ask.demands.len()..));
            }
            (!back.is_empty()).then(|| StoreCommand::about(Action::Refund, back))
        };
        self.to_refund.iter().filter_map(subjects)
    }
}

/// Reads the replies to the calls of a batch.
pub(super) fn read(calls: &[Call], replies: &[Value], questions: &[StoreCommand]) -> Results {
    let nothing = || CommandResult { admitted: true, statuses: Few::new() };
    let mut answers: Vec<Result<CommandResult, StoreError>> =
        questions.iter().map(|_| Ok(nothing())).collect();
    let mut charged = Vec::new();
    for (i, call) in calls.iter().enumerate() {
        let (reply, done) = match replies.get(i) {
            Some(Value::Int(number)) if call.script == Kind::Prove => {
                let question = call.parts.first().map(|part| part.question);
                if let Some(answer) = question.and_then(|question| answers.get_mut(question)) {
                    *answer = proven(*number);
                }
                (&[][..], true)
            }
            Some(Value::BulkString(bytes)) => (bytes.as_slice(), false),
            Some(Value::Int(_)) => (&[][..], !call.script.judges() && call.script != Kind::Adjust),
            // A value of another type has no slots.
            Some(Value::ServerError(error)) => {
                (&[][..], call.script == Kind::Release && error.code() == "WRONGTYPE")
            }
            _ => (&[][..], false),
        };
        if done {
            continue;
        }
        let mut reader = Reader(reply);
        let now_us = reader.number();
        for part in &call.parts {
            let consumes = part.action(questions) == Action::Consume;
            let read = now_us.and_then(|now_us| {
                reader.part(part.of(questions), part.slots(questions), consumes, now_us)
            });
            let Some(answer) = answers.get_mut(part.question) else { continue };
            let Some((admitted, statuses)) = read else {
                *answer = Err(StoreError::Refused);
                continue;
            };
            if admitted && consumes {
                let statuses = part.is_some_of(questions).then(|| statuses.clone());
                charged.push(ChargedPart { part: part.clone(), statuses });
            }
            if let Ok(answer) = answer {
                answer.admitted &= admitted;
                if answer.statuses.is_empty() {
                    answer.statuses = statuses;
                } else {
                    answer.statuses.extend(statuses);
                }
            }
        }
    }
    charged.retain(|charged| {
        !answers
            .get(charged.part.question)
            .is_some_and(|answer| answer.as_ref().is_ok_and(|answer| answer.admitted))
    });
    Results { answers, to_refund: charged }
}

/// The key of the list of used proofs.
pub(super) fn proofs_key(prefix: &str) -> String {
    format!("{prefix}{{dpop}}")
}

/// Reads the answer of `lua/prove.lua`: the status of the proof and of its key. If both fit, the
/// proof is older than the list.
fn proven(number: i64) -> Result<CommandResult, StoreError> {
    let standing = |fits| LimitStatus {
        fits,
        state: State::default(),
        factor: UNSCALED,
        blocked_until_us: 0,
        now_us: 0,
    };
    let (admitted, own, maker) = match number {
        0 => (false, false, true),
        1 => (true, true, true),
        2 => (false, true, true),
        3 => (false, true, false),
        _ => return Err(StoreError::Refused),
    };
    Ok(CommandResult { admitted, statuses: [standing(own), standing(maker)].into_iter().collect() })
}

impl Reader<'_> {
    /// Whether a part was admitted, and the status of each of its limits and slots.
    fn part(
        &mut self,
        subjects: &[SubjectCommand],
        slots: &[SlotCommand],
        consumes: bool,
        now_us: u64,
    ) -> Option<(bool, Few<LimitStatus>)> {
        let [admitted] = self.bytes()?;
        let mut statuses = Few::with_capacity(subjects.len());
        for subject in subjects {
            let bits = u32::from_le_bytes(self.bytes()?);
            let length = usize::from(u16::from_le_bytes(self.bytes()?));
            let (record, rest) = self.0.split_at_checked(length)?;
            self.0 = rest;
            for (i, demand) in subject.demands.iter().enumerate() {
                let [state, block, signal] = entries_of(record, demand.tag, now_us);
                statuses.push(LimitStatus {
                    factor: signal.factor(),
                    fits: bits >> i.min(31) & 1 == 1,
                    state: demand.rule.from_wire(state.state),
                    blocked_until_us: block.till_us,
                    now_us,
                });
            }
        }
        for _ in slots {
            let [fits] = self.bytes()?;
            let others = u64::from(u32::from_le_bytes(self.bytes()?));
            let own = u64::from(consumes && admitted == 1 && fits == 1);
            statuses.push(LimitStatus {
                fits: fits == 1,
                state: State([others + own, 0]),
                factor: UNSCALED,
                blocked_until_us: 0,
                now_us,
            });
        }
        Some((admitted == 1, statuses))
    }
}

/// The entries of the limit with this tag, of its block and of its signal; an empty one for each
/// that is missing or has ended.
fn entries_of(record: &[u8], tag: u32, now_us: u64) -> [Entry; 3] {
    let mut found = [None; 3];
    for entry in entries(record, now_us) {
        let slot = usize::try_from(entry.tag.wrapping_sub(tag)).ok();
        if let Some(slot) = slot.and_then(|slot| found.get_mut(slot)) {
            slot.get_or_insert(entry);
        }
    }
    found.map(Option::unwrap_or_default)
}

#[cfg(test)]
mod tests;
