//! Lists that usually have one item.

use smallvec::SmallVec;

/// A list whose first item needs no allocation. Most requests have one limit. An allocation for a
/// waiting request is freed much later or by another thread, which is the expensive case for an
/// allocator.
pub type Few<T> = SmallVec<[T; 1]>;
