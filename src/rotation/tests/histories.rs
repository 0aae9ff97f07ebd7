//! Random histories of processes over one storage that is restored, cut off, emptied and written by
//! processes that die at any step, checked against a model of the keys that each process must have.
//!
//! 1. A process must have the key of a token that it signed, while the token lives.
//! 2. A poll adds the required keys of the process to those of the storage, and vice versa.
//! 3. A process that starts must have only the keys of the text.
//!
//! So a restored storage lacks newer keys, until a process that still has them polls again.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

const LIFETIME: u64 = 1_800;
const SPREAD: u64 = 120;

/// The keys rotate every hour.
fn quick() -> Rotation {
    let (every, overlap) = (Duration::from_secs(HOUR), Duration::from_secs(600));
    Rotation::new(RotationConfig { every, overlap, ..config() }, Duration::from_secs(LIFETIME))
}

#[derive(Debug, Clone)]
enum Event {
    /// A poll between the regular ones.
    Look(usize),
    Rotate(usize),
    /// The clock of a process is set.
    Set(usize, i64),
    /// A process dies and is restarted.
    Restart(usize),
    /// A process dies before or after the text to save is stored, with `rotate()` or without.
    Crash {
        who: usize,
        saved: bool,
        force: bool,
    },
    /// The text of this many writes ago is restored.
    Restore(usize),
    Lose,
    /// The text is cut off in the middle, until it is restored.
    CutOff,
    /// No process runs for this many hours.
    Sleep(u64),
}

fn events() -> impl Strategy<Value = Vec<(u64, Event)>> {
    let who = 0..3usize;
    let event = prop_oneof![
        2 => who.clone().prop_map(Event::Look),
        3 => who.clone().prop_map(Event::Rotate),
        2 => (who.clone(), offsets()).prop_map(|(who, offset)| Event::Set(who, offset)),
        3 => who.clone().prop_map(Event::Restart),
        2 => (who, proptest::bool::ANY, proptest::bool::ANY)
            .prop_map(|(who, saved, force)| Event::Crash { who, saved, force }),
        3 => (1..80usize).prop_map(Event::Restore),
        1 => Just(Event::Lose),
        1 => Just(Event::CutOff),
        1 => (1..300u64).prop_map(Event::Sleep),
    ];
    let minutes = prop_oneof![3 => Just(0u64), 2 => 1..4u64, 3 => 4..150u64];
    proptest::collection::vec((minutes, event), 1..24)
}

/// Keys by `kid`, each with the expiry of its last token in seconds.
type Known = BTreeMap<String, u64>;

fn add(to: &mut Known, from: &Known) {
    for (kid, until_s) in from {
        let known_s = to.entry(kid.clone()).or_default();
        *known_s = (*known_s).max(*until_s);
    }
}

struct Process {
    rotation: Rotation,
    offset_s: i64,
    started_us: u64,
    /// The time at which it first had keys.
    loaded_us: Option<u64>,
    /// The processes that polled before a poll of this one, after the last disturbance of the
    /// storage: this one has the keys that they had then.
    met: BTreeSet<usize>,
    has_to_know: Known,
}

impl Process {
    fn start(real_us: u64) -> Self {
        let has_to_know = Known::new();
        Self {
            rotation: quick(),
            offset_s: 0,
            started_us: real_us,
            loaded_us: None,
            met: BTreeSet::new(),
            has_to_know,
        }
    }

    fn now(&self, real_us: u64) -> Now {
        let wall_s = (real_us / 1_000_000).saturating_add_signed(self.offset_s);
        Now { unix_us: wall_s * 1_000_000, mono_us: real_us - self.started_us + 1 }
    }
}

#[derive(Clone, Default)]
struct Stored {
    text: Option<String>,
    knows: Known,
}

struct World {
    real_us: u64,
    processes: Vec<Process>,
    stored: Stored,
    history: Vec<Stored>,
    /// The last event after which a process may be ahead of the others.
    upset_s: u64,
    /// The processes that have polled since the storage was disturbed.
    lookers: BTreeSet<usize>,
    disturbed_us: u64,
}

impl World {
    fn new() -> Self {
        let real_us = START * 1_000_000;
        let processes = (0..3).map(|_| Process::start(real_us)).collect();
        let (stored, history) = (Stored::default(), Vec::new());
        Self {
            real_us,
            processes,
            stored,
            history,
            upset_s: START,
            lookers: BTreeSet::new(),
            disturbed_us: 0,
        }
    }

    fn real_s(&self) -> u64 {
        self.real_us / 1_000_000
    }

    /// Loads the keys and returns the text to save. `Err` if the text is refused.
    fn load(&self, who: usize, force: bool) -> Result<Option<String>, RotationError> {
        let process = &self.processes[who];
        let now = process.now(self.real_us);
        match process.rotation.take(self.stored.text.as_deref(), now, force) {
            Ok(turn) => Ok(turn.save),
            Err(RotationError::Full) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn save(&mut self, who: usize, text: String) {
        self.stored.text = Some(text);
        add(&mut self.stored.knows, &self.processes[who].has_to_know);
        self.history.push(self.stored.clone());
    }

    fn look(&mut self, who: usize, force: bool) {
        self.real_us += 1_000;
        let is_young = self.is_young(who);
        let Ok(mut save) = self.load(who, force) else { return };
        for _ in 0..3 {
            let Some(text) = save else {
                let process = &mut self.processes[who];
                // The process has started from an older text, and the newer one is restored: a key
                // that was deleted long ago is not brought back for its tokens in between.
                if is_young && process.loaded_us.is_some_and(|us| us <= self.disturbed_us) {
                    let rotation = &process.rotation;
                    process.has_to_know.retain(|kid, _| rotation.find(kid).is_some());
                }
                process.met.extend(&self.lookers);
                self.lookers.insert(who);
                process.loaded_us.get_or_insert(self.real_us);
                add(&mut process.has_to_know, &self.stored.knows);
                add(&mut self.stored.knows, &self.processes[who].has_to_know);
                return;
            };
            self.save(who, text);
            save = self.load(who, false).unwrap();
        }
        panic!("it saves again and again");
    }

    fn crash(&mut self, who: usize, saved: bool, force: bool) {
        if let Ok(Some(text)) = self.load(who, force)
            && saved
        {
            self.save(who, text);
        }
        self.restart(who);
    }

    fn restart(&mut self, who: usize) {
        self.lookers.remove(&who);
        for process in &mut self.processes {
            process.met.remove(&who);
        }
        self.processes[who] =
            Process { offset_s: self.processes[who].offset_s, ..Process::start(self.real_us) };
        self.look(who, false);
    }

    /// Replaces the storage. No process has polled it yet.
    fn disturb(&mut self, stored: Stored) {
        self.stored = stored;
        self.lookers.clear();
        self.disturbed_us = self.real_us;
    }

    fn is_young(&self, who: usize) -> bool {
        let loaded_us = self.processes[who].loaded_us.unwrap_or(self.real_us);
        self.real_us - loaded_us < SPREAD * 1_000_000
    }

    fn happen(&mut self, event: &Event) {
        self.real_us += 1_000;
        match *event {
            Event::Look(who) => self.look(who, false),
            Event::Rotate(who) => {
                if self.is_young(who) {
                    self.upset_s = self.real_s();
                }
                self.look(who, true);
            }
            Event::Set(0, offset_s) => self.processes[0].offset_s = offset_s % 120,
            Event::Set(who, offset_s) => self.processes[who].offset_s = offset_s,
            Event::Restart(who) => self.restart(who),
            Event::Crash { who, saved, force } => self.crash(who, saved, force),
            Event::Restore(back) => {
                let place = self.history.len().checked_sub(back);
                let found = place.and_then(|i| self.history.get(i)).cloned();
                self.disturb(found.unwrap_or_default());
            }
            Event::Lose => self.disturb(Stored::default()),
            Event::CutOff => {
                let text = self.stored.text.as_deref();
                let half = text.and_then(|text| text.get(..text.len() / 2)).map(str::to_owned);
                self.disturb(Stored { text: half, knows: Known::new() });
            }
            Event::Sleep(hours) => {
                self.real_us += hours * HOUR * 1_000_000;
                self.upset_s = self.real_s();
                for who in 0..3 {
                    self.look(who, false);
                }
            }
        }
    }

    fn minute(&mut self) {
        for who in 0..3 {
            self.real_us += 20_000_000;
            self.look(who, false);
            self.issue();
        }
    }

    /// Every process signs, and verifies with the keys that it must have.
    fn issue(&mut self) {
        let real_s = self.real_s();
        for who in 0..3 {
            let process = &mut self.processes[who];
            let key = process.rotation.signing(process.now(self.real_us));
            // It has started with a text that is refused.
            let Some(key) = key else { continue };
            let kid = key.kid.as_deref().unwrap().to_owned();
            process.has_to_know.insert(kid.clone(), real_s + LIFETIME);
            if self.is_young(who) || self.upset_s + SPREAD > real_s {
                continue;
            }
            for verifier in self.processes.iter().filter(|verifier| verifier.met.contains(&who)) {
                let is_known = verifier.rotation.find(&kid).is_some();
                assert!(is_known, "signed with an unknown key");
            }
        }
        for process in &mut self.processes {
            process.has_to_know.retain(|_, until_s| *until_s > real_s);
            for kid in process.has_to_know.keys() {
                assert!(process.rotation.find(kid).is_some(), "a good token is refused");
            }
        }
        self.stored.knows.retain(|_, until_s| *until_s > real_s);
    }
}

fn play(history: &[(u64, Event)]) {
    let mut world = World::new();
    for who in 0..3 {
        world.look(who, false);
    }
    for (minutes, event) in history {
        for _ in 0..*minutes {
            world.minute();
        }
        world.happen(event);
        world.issue();
    }
    for _ in 0..4 {
        world.minute();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(
        std::env::var("KEEPSTONE_HISTORIES").map_or(48, |text| text.parse().unwrap())
    ))]

    #[test]
    fn whatever_becomes_of_the_storage_everybody_verifies_what_was_signed(history in events()) {
        play(&history);
    }
}

#[test]
fn a_key_that_was_found_again_in_a_text_of_two_is_not_known_to_who_read_the_other_one() {
    // The storage is lost and then restored to a text without the key, between the polls of the
    // process that has made the key.
    play(&[
        (0, Event::Sleep(1)),
        (0, Event::Rotate(2)),
        (0, Event::Rotate(1)),
        (0, Event::Lose),
        (1, Event::Restore(3)),
    ]);
}

#[test]
fn a_retired_key_that_an_older_text_brings_back_signs_once_those_know_it_who_had_deleted_it() {
    // The first process has deleted the key and reads that it may sign; the second one still has
    // it.
    play(&[
        (0, Event::Set(2, 221)),
        (64, Event::Rotate(2)),
        (29, Event::Look(0)),
        (1, Event::Rotate(2)),
        (3, Event::Look(0)),
        (0, Event::Restore(36)),
    ]);
}
