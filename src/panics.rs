//! Reports a panic by its location alone.
//!
//! Every export and task catches panics, but Rust's default hook prints the message first. The
//! message may quote a request: slicing a text out of bounds prints the text. This hook prints the
//! location and a count.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io::Write as _;
use std::panic;
use std::sync::Once;

use parking_lot::Mutex;

/// The number of places that are counted separately. Panics at other places are counted together.
const MAX_PLACES: usize = 64;
const OTHER_PLACES: &str = "other places";

static COUNTS: Mutex<BTreeMap<String, u64>> = Mutex::new(BTreeMap::new());

thread_local! {
    static LAST_PLACE: Cell<Option<String>> = const { Cell::new(None) };
}

/// Replaces the panic hook of the process, once. The addon has its own copy of the standard
/// library, so panics of other addons do not reach this hook.
pub fn install_hook() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        panic::set_hook(Box::new(|info| {
            let place = info.location().map_or_else(
                || "an unknown place".to_owned(),
                |at| format!("{}:{}:{}", short(at.file()), at.line(), at.column()),
            );
            let count = count(&place);
            // Print the first, tenth, hundredth, ... panic at a place: a client that can cause one
            // must not fill the log.
            if count.checked_ilog10().is_some_and(|digits| 10_u64.pow(digits) == count) {
                // `eprintln!` panics if standard error is closed.
                let _ = writeln!(
                    std::io::stderr(),
                    "keepstone: a panic at {place} was caught ({count} so far); see docs/reference/errors.md#panics"
                );
            }
            let _ = LAST_PLACE.try_with(|last| last.set(Some(place)));
        }));
    });
}

/// The place of this thread's last panic. `None` without the hook.
pub(crate) fn take_place() -> Option<String> {
    LAST_PLACE.try_with(Cell::take).ok().flatten()
}

fn count(place: &str) -> u64 {
    let mut counts = COUNTS.lock();
    let key =
        if counts.len() < MAX_PLACES || counts.contains_key(place) { place } else { OTHER_PLACES };
    let count = counts.entry(key.to_owned()).or_default();
    *count = count.saturating_add(1);
    *count
}

/// Shortens a path to `regorus-0.14.1/src/guard/mod.rs`, without the folders of the build machine.
fn short(file: &str) -> &str {
    let in_registry = file.split_once("/registry/src/").and_then(|(_, rest)| rest.split_once('/'));
    let in_library = file.split_once("/library/").map(|(_, rest)| rest);
    in_registry.map(|(_, path)| path).or(in_library).unwrap_or(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_does_not_name_folders_of_the_machine_that_built_it() {
        let registry = "/home/x/.cargo/registry/src/index.crates.io-1949cf8c/regex-1.0.0/src/a.rs";
        assert_eq!(short(registry), "regex-1.0.0/src/a.rs");
        assert_eq!(short("/rustc/0123abc/library/core/src/str/mod.rs"), "core/src/str/mod.rs");
        assert_eq!(short("src/guard/mod.rs"), "src/guard/mod.rs");
    }

    #[test]
    fn counts_of_places_are_bounded() {
        for i in 0..1_000 {
            count(&format!("made-up:{i}:1"));
        }
        assert!(COUNTS.lock().len() <= MAX_PLACES + 1);
        assert!(count("made-up:2000:1") > 900);
    }
}
