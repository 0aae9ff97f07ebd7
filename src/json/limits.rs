//! The limits on the size and the keys of a JSON text.

use crate::refusal::Refusal;

/// The treatment of keys that begin with `$` or contain `.`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operators {
    /// Refuse them, unless the schema itself declares the key.
    Refuse,
    /// Accept them: for APIs that take such documents and never pass them unchanged to a database.
    Allow,
}

/// The limits of the parser. The defaults fit an API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The maximum number of bytes.
    pub max_bytes: usize,
    /// The maximum nesting of containers.
    pub max_depth: u32,
    /// The maximum number of values in total.
    pub max_nodes: u32,
    /// The maximum number of keys in one object.
    pub max_keys: u32,
    /// The treatment of keys that a document database may take for operators.
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
    /// The refusal of a body over `max_bytes`. It closes the connection, so that the rest need not
    /// be read.
    #[must_use]
    pub fn too_large() -> Refusal {
        Refusal::new(413, "body_too_large", "the body is larger than is accepted")
            .header("Connection", "close")
    }
}

/// Whether a document database may take a key for an operator or a path.
pub(crate) fn is_operator_like(key: &str) -> bool {
    key.starts_with('$') || key.contains('.')
}
