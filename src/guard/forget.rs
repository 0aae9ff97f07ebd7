//! Everything that a guard has counted, revoked and begun, forgotten at once: for tests.

use super::{Guard, RevocationList, Store};

impl Guard {
    /// Forgets counts, blocks, lists, changed limits, revocations and sessions. Guards that share
    /// the memory by name forget them, too. `false`: the store belongs to other processes as well,
    /// and nothing is forgotten.
    #[must_use]
    pub fn forget_all(&self) -> bool {
        let Store::Memory(store) = &self.store else { return false };
        store.clear();
        if let Some(tokens) = &self.tokens {
            for list in tokens.lists() {
                if let RevocationList::Local(list) = list {
                    list.clear();
                }
            }
            if let Some(refresh) = &tokens.refresh {
                refresh.forget_all();
            }
        }
        true
    }
}
