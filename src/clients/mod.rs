//! Which clients are not limited, and which are refused: lists of networks, addresses and users.
//!
//! The attack: somebody who is known to be up to no good goes on asking, and each request costs as
//! much as one that is welcome. A blocked address is refused before its token is looked at and
//! before anything counts it.
//!
//! [`ClientsConfig`] is the option `clients`, checked. [`Lists`] are those that change while the
//! guard runs: they belong to the store, so that all guards over one store have the same, and a
//! shared store keeps the copies of all processes alike (`src/store/notices.rs`). The longest
//! network that an address lies in decides, so that one address can be taken out of a network; of
//! two of one length, what was said while the guard runs.

mod config;
mod lists;
#[cfg(test)]
mod tests;

pub use config::ClientsConfig;
pub use lists::{Entry, ListAction, ListCapacityError, ListMatch, ListedClient, Lists};
