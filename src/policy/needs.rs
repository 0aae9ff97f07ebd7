//! Which parts of `input` the modules read, so that nothing else is built for a request.

use std::collections::BTreeMap;

/// What is read of a document. Two levels are told apart (`input.user.role`); what is below is read
/// whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Need {
    /// Everything: the document is used as a whole, or by a key that is only known at run time.
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

    /// Adds the document at `path`, which is empty for the whole.
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

    /// What is read of the member `name`, if it is read at all.
    pub(super) fn member(&self, name: &str) -> Option<&Need> {
        match self {
            Self::Everything => Some(self),
            Self::Members(members) => members.get(name),
        }
    }

    /// The members that are read by name, or `None` where everything is.
    pub(super) fn names(&self) -> Option<impl Iterator<Item = &str>> {
        match self {
            Self::Everything => None,
            Self::Members(members) => Some(members.keys().map(String::as_str)),
        }
    }
}
