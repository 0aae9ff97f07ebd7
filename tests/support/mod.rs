//! What the tests of shared stores have in common.

pub mod ask;
pub mod dice;
pub mod model;
pub mod questions;
pub mod redis;
