//! How large and how odd a JSON text may be.

use crate::refusal::Refusal;

/// What to do with keys that begin with `$` or contain `.`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operators {
    /// Refuse them, unless the schema itself declares the key.
    Refuse,
    /// Let them through: for APIs that take such documents and never hand them to a database as
    /// they are.
    Allow,
}

/// The limits of the parser. The defaults fit an API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The most bytes.
    pub max_bytes: usize,
    /// The most containers in one another.
    pub max_depth: u32,
    /// The most values in all.
    pub max_nodes: u32,
    /// The most keys in one object.
    pub max_keys: u32,
    /// What happens to keys that a document database may take for operators.
    pub operators: Operators,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_bytes: 100 << 10,
            max_depth: 32,
            max_nodes: 10_000,
            max_keys: 1000,
            operators: Operators::Refuse,
        }
    }
}

impl Limits {
    /// The refusal of a body over `max_bytes`. It ends the connection, so that the rest need not be
    /// read.
    #[must_use]
    pub fn too_large() -> Refusal {
        Refusal::new(413, "body_too_large", "the body is larger than is accepted")
            .header("Connection", "close")
    }
}
