//! Questions of all kinds, as a seed has them.

use std::time::Duration;

use keepstone::few::Few;
use keepstone::quota::algorithm::{Algorithm, Rule};
use keepstone::quota::{Action, LimitCheck, StoreCommand, SubjectCommand, SubjectKey};

use super::dice::Dice;

const ALGORITHMS: [Algorithm; 5] = [
    Algorithm::Gcra,
    Algorithm::TokenBucket,
    Algorithm::LeakyBucket,
    Algorithm::FixedWindow,
    Algorithm::SlidingWindow,
];
const DAY_MS: u64 = 86_400_000;
const SUBJECTS: usize = 40;

/// The limits and the subjects of one round.
#[derive(Debug)]
pub struct World {
    limits: Vec<(u32, Rule)>,
    subjects: Vec<SubjectKey>,
}

/// Which requests may stand in one batch whose order matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// One limit of GCRA.
    Simple,
    /// More than that.
    Wide,
}

impl World {
    pub fn new(dice: &mut Dice) -> Self {
        let limits = (0..16).map(|i| (i * 4 + 200_000_000, rule(dice))).collect();
        let mut subject = || {
            let bytes = u128::from(dice.roll()) << 64 | u128::from(dice.roll());
            SubjectKey(bytes.to_le_bytes())
        };
        Self { limits, subjects: (0..SUBJECTS).map(|_| subject()).collect() }
    }

    pub fn subjects(&self) -> &[SubjectKey] {
        &self.subjects
    }

    /// Anything that may be asked, about 1 to 3 of `subjects`.
    pub fn question(&self, dice: &mut Dice, subjects: &[SubjectKey]) -> StoreCommand {
        let most = subjects.len().min(3);
        let count = usize::try_from(dice.between(1, most as u64)).unwrap();
        let subjects = dice.some(subjects, count, false);
        StoreCommand::about(action(dice), self.asks(dice, subjects, 1))
    }

    /// Requests of one shape about few subjects, for a batch.
    pub fn requests(&self, dice: &mut Dice, shape: Shape, count: u64) -> Vec<StoreCommand> {
        let few = dice.some(&self.subjects, 3, false);
        let one = |dice: &mut Dice| {
            let action = if dice.one_in(5) { Action::Look } else { Action::Consume };
            let subjects = match shape {
                Shape::Simple => {
                    let subject = *dice.pick(&few);
                    let demand = self.demand(dice, |rule| rule.algorithm().has_burst());
                    vec![SubjectCommand { subject, demands: Few::from([demand]) }]
                }
                Shape::Wide => {
                    let count = usize::try_from(dice.between(1, 2)).unwrap();
                    let subjects = dice.some(&few, count, false);
                    self.asks(dice, subjects, 2)
                }
            };
            StoreCommand::about(action, subjects)
        };
        (0..count).map(|_| one(dice)).collect()
    }

    fn asks(&self, dice: &mut Dice, subjects: Vec<SubjectKey>, least: u64) -> Vec<SubjectCommand> {
        let ask = |subject| {
            let count = usize::try_from(dice.between(least, 4)).unwrap();
            // Policies are always asked in one order, but not every guard has the same ones.
            let in_order = !dice.one_in(4);
            let limits = dice.some(&self.limits, count, in_order);
            let demand =
                |(tag, rule): (u32, Rule)| LimitCheck { tag, rule, cost: cost(dice, &rule) };
            SubjectCommand { subject, demands: limits.into_iter().map(demand).collect() }
        };
        subjects.into_iter().map(ask).collect()
    }

    fn demand(&self, dice: &mut Dice, wanted: impl Fn(&Rule) -> bool) -> LimitCheck {
        let limits: Vec<_> = self.limits.iter().filter(|(_, rule)| wanted(rule)).collect();
        let (tag, rule) = **dice.pick(&limits);
        LimitCheck { tag, rule, cost: cost(dice, &rule) }
    }
}

/// Limits up to the highest that a configuration may have.
fn rule(dice: &mut Dice) -> Rule {
    let algorithm = *dice.pick(&ALGORITHMS);
    let limit = match dice.between(0, 9) {
        0 => 1_000_000_000,
        1 => dice.between(1, 1_000_000_000),
        2 => dice.between(1, 10_000),
        _ => dice.between(1, 12),
    };
    let window_ms = match dice.between(0, 9) {
        0 => 400 * DAY_MS,
        1 => dice.between(10, 400 * DAY_MS),
        2 => dice.between(1_000, 100_000),
        3..=5 => dice.between(20, 1_000),
        _ => dice.between(10, 20),
    };
    let burst = match dice.between(0, 3) {
        0 => 1,
        1 => dice.between(1, limit),
        // It may not take more than 4000 days to come back.
        2 => dice.between(1, (limit * 10).min(1_000_000_000)),
        _ => limit,
    };
    let narrow = |number: u64| u32::try_from(number).unwrap();
    let rule = Rule::new(algorithm, narrow(limit), Duration::from_millis(window_ms), narrow(burst));
    match dice.between(0, 9) {
        0 | 1 => rule.watching(),
        2 | 3 => rule.with_delay(Duration::from_millis(dice.between(1, 60_000))),
        _ => rule,
    }
}

fn cost(dice: &mut Dice, rule: &Rule) -> u32 {
    let cost = match dice.between(0, 19) {
        0 => u64::from(u32::MAX),
        1 => rule.capacity() + 1,
        2 => rule.capacity(),
        3 => dice.between(1, rule.capacity()),
        4 => 0,
        5 | 6 => dice.between(2, 5),
        _ => 1,
    };
    u32::try_from(cost).unwrap_or(u32::MAX)
}

fn action(dice: &mut Dice) -> Action {
    match dice.between(0, 99) {
        0..=69 => Action::Consume,
        70..=77 => Action::Look,
        78..=83 => Action::Charge,
        84..=91 => Action::Refund,
        92..=94 => Action::Block(match dice.between(0, 4) {
            0 => 400 * DAY_MS * 1_000,
            1 => dice.between(1, 1_000),
            _ => dice.between(1_000, 30_000),
        }),
        _ => Action::Reset,
    }
}
