//! How limits count, and the commands that stores carry out for them.
//!
//! [`algorithm`] has the arithmetic, in whole numbers; `wire` writes it as the numbers that scripts
//! compute with; `commands` is what a store is asked. Nothing here waits or keeps state.

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
