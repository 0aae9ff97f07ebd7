//! Lists that mostly have one item.

use smallvec::SmallVec;

/// A list whose first item needs no allocation. Most requests have one limit, and what is allocated
/// for a request that waits is freed long after, or by another thread, which is what costs an
/// allocator most.
pub type Few<T> = SmallVec<[T; 1]>;
