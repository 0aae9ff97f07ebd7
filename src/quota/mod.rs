//! How limits count, and the commands that stores carry out for them.
//!
//! [`algorithm`] has the arithmetic, in whole numbers; `wire` writes it as the numbers that scripts compute with;
//! `commands` is what a store is asked. Nothing here waits or keeps state.

pub mod algorithm;
mod commands;
#[cfg(test)]
mod tests;
mod wire;

pub use commands::{
    Action, Answer, Demand, PlaceAsk, PlaceId, Question, Standing, SubjectAsk, SubjectKey,
};
pub use wire::{Terms, WireState};
