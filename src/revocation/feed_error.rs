//! Why a turn of the feed has failed.

use super::replica::Incomplete;
use crate::store::StoreError;

/// The reason for a failed turn.
pub(super) enum FeedError {
    Store(StoreError),
    Incomplete,
}

impl From<StoreError> for FeedError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<Incomplete> for FeedError {
    fn from(_: Incomplete) -> Self {
        Self::Incomplete
    }
}
