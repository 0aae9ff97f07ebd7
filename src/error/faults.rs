//! The faults of an `OpenAPI` document, collected with their places in it.

use std::cell::RefCell;

use super::{ConfigCode, ConfigError};

/// The faults of a document so far. Reading goes on behind each of them, so that all are reported
/// at once.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    found: RefCell<Vec<ConfigError>>,
    /// The operation that is being read, as `METHOD /path`.
    operation: RefCell<Option<String>>,
}

/// The maximum number of faults that are collected.
const MAX_FAULTS: usize = 1000;

impl Faults {
    /// Adds a fault, with the operation that is being read.
    pub(crate) fn add(&self, fault: ConfigError) {
        let operations = self.operation.borrow().iter().cloned().collect();
        self.add_in(fault, operations);
    }

    /// Adds a fault, with the operations that have it. A place that many operations share counts
    /// once.
    pub(crate) fn add_in(&self, fault: ConfigError, operations: Vec<String>) {
        let mut found = self.found.borrow_mut();
        let same = |known: &&mut ConfigError| {
            known.path() == fault.path() && known.problem() == fault.problem()
        };
        if let Some(known) = found.iter_mut().find(same) {
            let mut all = known.operations().to_vec();
            all.extend(
                operations.into_iter().filter(|operation| !known.operations().contains(operation)),
            );
            *known = known.clone().in_operations(all);
        } else if found.len() < MAX_FAULTS {
            found.push(if fault.operations().is_empty() {
                fault.in_operations(operations)
            } else {
                fault
            });
        }
    }

    /// Sets the operation that is being read.
    pub(crate) fn enter(&self, operation: Option<String>) {
        *self.operation.borrow_mut() = operation;
    }

    /// Takes all faults out.
    pub(crate) fn take(&self) -> Vec<ConfigError> {
        self.found.take()
    }

    /// Puts these faults in, and takes the others out.
    pub(crate) fn replace(&self, faults: Vec<ConfigError>) -> Vec<ConfigError> {
        self.found.replace(faults)
    }

    pub(crate) fn is_full(&self) -> bool {
        self.found.borrow().len() >= MAX_FAULTS
    }

    /// All faults as one error.
    pub(crate) fn finish(&self) -> Result<(), ConfigError> {
        match ConfigError::all(self.found.take()) {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }
}

/// An error about a place in the document: `paths./users.post.requestBody`.
pub(crate) fn fault(pointer: &str, problem: impl Into<String>) -> ConfigError {
    ConfigError::new(ConfigCode::InvalidOpenApi, shown(pointer), problem).at_pointer(pointer)
}

/// A pointer in the form that errors use.
pub(crate) fn shown(pointer: &str) -> String {
    let parts: Vec<String> = pointer.split('/').skip(1).map(unescaped).collect();
    if parts.is_empty() { "doc".to_owned() } else { parts.join(".") }
}

fn unescaped(part: &str) -> String {
    part.replace("~1", "/").replace("~0", "~")
}
