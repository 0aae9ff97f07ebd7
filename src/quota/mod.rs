//! The arithmetic of limits, and the commands that stores execute for them.
//!
//! [`algorithm`] has the arithmetic, in whole numbers; `wire` converts it to the numbers of the
//! scripts; `commands` has the store commands. Nothing here waits or keeps state.

pub mod algorithm;
mod commands;
#[cfg(test)]
mod tests;
mod wire;

pub use commands::{
    Action, CommandResult, LimitCheck, LimitStatus, SlotCommand, SlotId, StoreCommand,
    SubjectCommand, SubjectKey,
};
pub use wire::{WireCharge, WireRule, WireState};
