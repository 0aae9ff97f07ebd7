//! What travels: percent-encoding.

pub(crate) mod percent;
