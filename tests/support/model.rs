//! What a store of limits has to answer, by the rules themselves, without a store.

use std::collections::HashMap;

use keepstone::quota::algorithm::{Rule, State, UNSCALED};
use keepstone::quota::{Action, CommandResult, LimitCheck, LimitStatus, StoreCommand, SubjectKey};

/// What is known of one limit of a subject.
#[derive(Debug, Clone, Copy, Default)]
struct Count {
    state: State,
    blocked_until_us: u64,
}

/// All counts.
#[derive(Debug, Default)]
pub struct Model(HashMap<(SubjectKey, u32), Count>);

impl Model {
    /// What is to be answered to `question`, where the store judged its limits at `clocks`.
    pub fn answer(&mut self, question: &StoreCommand, clocks: &[u64]) -> CommandResult {
        let demands = question
            .subjects
            .iter()
            .flat_map(|ask| ask.demands.iter().map(|demand| (ask.subject, demand)));
        let asked: Vec<(SubjectKey, &LimitCheck, u64)> = demands
            .zip(clocks)
            .map(|((subject, demand), now_us)| (subject, demand, *now_us))
            .collect();
        let judged = matches!(question.action, Action::Consume | Action::Look);
        let fits: Vec<bool> = asked
            .iter()
            .map(|(subject, demand, now_us)| {
                let count = self.count(*subject, demand, *now_us);
                let free = count.blocked_until_us == 0;
                !judged || free && demand.rule.fits(count.state, demand.cost, *now_us)
            })
            .collect();
        let watches = |(_, demand, _): &(SubjectKey, &LimitCheck, u64)| demand.rule.is_watching();
        let admitted = fits.iter().zip(&asked).all(|(fits, asked)| *fits || watches(asked));
        if admitted {
            // What only watches does not count what it would have refused.
            for ((subject, demand, now_us), _) in asked.iter().zip(&fits).filter(|(_, fits)| **fits)
            {
                let count = self.count(*subject, demand, *now_us);
                let changed = changed(question.action, count, demand, *now_us);
                self.0.insert((*subject, demand.tag), changed);
            }
        }
        let statuses = asked.iter().zip(fits).map(|((subject, demand, now_us), fits)| {
            let Count { state, blocked_until_us } = self.count(*subject, demand, *now_us);
            LimitStatus { fits, state, factor: UNSCALED, blocked_until_us, now_us: *now_us }
        });
        CommandResult { admitted, statuses: statuses.collect() }
    }

    /// Nothing is known of the subject any more.
    pub fn forget(&mut self, subject: SubjectKey) {
        self.0.retain(|(known, _), _| *known != subject);
    }

    /// How it stands: what is over is as if it had never been.
    fn count(&self, subject: SubjectKey, demand: &LimitCheck, now_us: u64) -> Count {
        let Count { state, blocked_until_us } =
            self.0.get(&(subject, demand.tag)).copied().unwrap_or_default();
        Count {
            state: if is_over(&demand.rule, state, now_us) { State::default() } else { state },
            blocked_until_us: if blocked_until_us > now_us { blocked_until_us } else { 0 },
        }
    }
}

fn is_over(rule: &Rule, state: State, now_us: u64) -> bool {
    rule.view(state, now_us).expires_us == 0
}

fn changed(action: Action, count: Count, demand: &LimitCheck, now_us: u64) -> Count {
    let LimitCheck { rule, cost, .. } = demand;
    let state = match action {
        // What costs nothing changes nothing.
        Action::Consume if *cost == 0 => count.state,
        Action::Consume | Action::Charge => rule.charge(count.state, *cost, now_us),
        Action::Refund => rule.refund(count.state, *cost, now_us),
        // The model is about exact states, and a signal rounds.
        // And about no slots and proofs: `limits_slots.rs` and `binding-shared.test.mjs` are.
        Action::Look
        | Action::Block(_)
        | Action::Signal(..)
        | Action::Release
        | Action::Renew
        | Action::Prove { .. } => count.state,
        Action::Reset => return Count::default(),
    };
    let blocked_until_us = match action {
        Action::Block(span) => now_us + span,
        _ => count.blocked_until_us,
    };
    Count { state, blocked_until_us }
}
