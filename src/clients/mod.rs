//! The clients that are exempt from limits, and those that are refused: lists of networks,
//! addresses and users.
//!
//! The attack: a known abuser continues to send requests, and each costs as much as a welcome one.
//! A blocked address is refused before its token is verified and before anything counts it.
//!
//! [`ClientsConfig`] is the checked option `clients`. [`Lists`] change at runtime: they belong to
//! the store, so all guards over one store share them, and a shared store keeps the copies of all
//! processes in step (`src/store/notices.rs`). The longest network that contains an address
//! decides, so that one address can be excepted from a network. Of two with the same length, the
//! runtime list decides.

mod config;
mod lists;
#[cfg(test)]
mod tests;

pub use config::ClientsConfig;
pub use lists::{Entry, ListAction, ListCapacityError, ListMatch, ListedClient, Lists};
