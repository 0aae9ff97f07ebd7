//! The parts of `input` that the modules read. Only these are built for a request.

use std::collections::BTreeMap;

/// The parts of a document that are read. Two levels are distinguished (`input.user.role`); deeper
/// values are read as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Need {
    /// Everything: the whole document is used, or a key that is known only at run time.
    Everything,
    /// These members and no other.
    Members(BTreeMap<String, Need>),
}

impl Default for Need {
    fn default() -> Self {
        Self::Members(BTreeMap::new())
    }
}

impl Need {
    const LEVELS: usize = 2;

    /// Adds the document at `path`; an empty path means the whole.
    pub(super) fn add(&mut self, path: &[String]) {
        self.add_level(path, Self::LEVELS);
    }

    fn add_level(&mut self, path: &[String], levels: usize) {
        match (&mut *self, path.split_first()) {
            (Self::Everything, _) => {}
            (Self::Members(members), Some((first, rest))) if levels > 0 => {
                members.entry(first.clone()).or_default().add_level(rest, levels - 1);
            }
            _ => *self = Self::Everything,
        }
    }

    /// The need for the member `name`, if it is read.
    pub(super) fn member(&self, name: &str) -> Option<&Need> {
        match self {
            Self::Everything => Some(self),
            Self::Members(members) => members.get(name),
        }
    }

    /// The members that are read by name, or `None` if everything is read.
    pub(super) fn names(&self) -> Option<impl Iterator<Item = &str>> {
        match self {
            Self::Everything => None,
            Self::Members(members) => Some(members.keys().map(String::as_str)),
        }
    }
}
