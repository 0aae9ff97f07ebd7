//! Processes with wrong clocks share one set of keys.

use super::*;

fn now(wall_s: u64, mono_s: u64) -> Now {
    Now { unix_us: wall_s * 1_000_000, mono_us: mono_s * 1_000_000 + 1 }
}

#[test]
fn a_clock_that_is_31_days_ahead_deletes_no_key_that_others_sign_with() {
    let rotating = || {
        let config = RotationConfig { every: Duration::from_secs(30 * DAY), ..config() };
        Rotation::new(config, Duration::from_secs(HOUR))
    };
    let right = rotating();
    let mut stored = None;
    look(&right, &mut stored, START, false);
    let signer = right.signing(at(START)).unwrap().kid.clone().unwrap();
    let ahead = rotating();
    for minute in 0..60 {
        let wall = START + 31 * DAY + minute * 60;
        let turn = ahead.take(stored.as_deref(), now(wall, minute * 60), false).unwrap();
        stored = turn.save.or(stored);
        look(&right, &mut stored, START + minute * 60, false);
        assert!(right.find(&signer).is_some() && ahead.find(&signer).is_some(), "{minute}");
        assert!(right.len() <= 3, "{minute}");
    }
}

#[test]
fn clocks_that_disagree_for_days_make_a_key_a_day_at_most() {
    for (wrong, name) in [(31 * DAY, "ahead"), (0, "behind")] {
        let offset = if wrong == 0 { 0 } else { 62 * DAY };
        let (right, other) = (process(), process());
        let mut stored = None;
        for minute in 0..4 * 24 * 60 {
            // The right clock is at 31 days, the other one at 0 or 62.
            let real = START + minute * 60;
            for (rotation, wall) in [(&right, real + 31 * DAY), (&other, real + offset)] {
                let turn = rotation.take(stored.as_deref(), now(wall, minute * 60), false).unwrap();
                stored = turn.save.or(stored);
            }
            assert!(right.len() <= 5, "{name}: {} keys", right.len());
        }
    }
}

#[test]
fn a_key_that_an_absent_clock_has_put_off_signs_after_a_day_and_every() {
    let mut stored = None;
    let ahead = process();
    look(&ahead, &mut stored, START + 3_650 * DAY, false);
    let right = process();
    let first = {
        look(&right, &mut stored, START, false);
        right.signing(at(START)).unwrap().kid.clone()
    };
    for minute in 0..=50 * 60 {
        look(&right, &mut stored, START + minute * 60, false);
    }
    assert_ne!(right.signing(at(START + 50 * HOUR)).unwrap().kid, first);
}

#[test]
fn a_wall_clock_that_stands_still_or_goes_back_deletes_nothing_and_a_running_one_does_at_last() {
    let mut service = Service::new();
    service.look(START, false);
    service.look(START + 1, true);
    let old = service.published()[0].clone();
    let retired = START + 1;
    for hour in 1..10 {
        let still = now(retired + 2, retired + hour * HOUR);
        let turn = service.rotation.take(service.stored.as_deref(), still, false).unwrap();
        service.stored = turn.save.or(service.stored);
        assert!(service.rotation.find(&old).is_some());
    }
    for minute in 0..280 {
        // A poll that saves is followed by one that reads the saved text.
        let (wall, mono) = (retired + minute * 30, retired + 20 * HOUR + minute * 30);
        let turn = service.rotation.take(service.stored.as_deref(), now(wall, mono), false);
        service.stored = turn.unwrap().save.or(service.stored);
    }
    assert!(service.rotation.find(&old).is_none());
}

#[test]
fn many_processes_count_the_time_that_passes_once() {
    let mut stored = None;
    let processes: Vec<Rotation> = (0..8).map(|_| process()).collect();
    for rotation in &processes {
        look(rotation, &mut stored, START, false);
    }
    look(&processes[0], &mut stored, START + 1, true);
    let old = kids(&processes[0])[0].clone();
    let mut gone = None;
    for second in (2..2 * HOUR).step_by(10) {
        let rotation = &processes[usize::try_from(second / 10 % 8).unwrap()];
        look(rotation, &mut stored, START + second, false);
        if gone.is_none() && rotation.find(&old).is_none() {
            gone = Some(second);
        }
    }
    let gone = gone.unwrap();
    assert!(gone >= 1 + KEEP + 120, "{gone}");
    // Each portion may be counted only from the next poll on.
    assert!(gone <= 2 * (KEEP + 120), "{gone}");
}

/// The warning for the operator after at most two polls.
fn notice(first: Now, second: Now) -> Option<String> {
    let mut service = Service::new();
    service.look(START, false);
    let other = process();
    let at_first = other.take(service.stored.as_deref(), first, false).unwrap().notice;
    at_first.or_else(|| other.take(service.stored.as_deref(), second, false).unwrap().notice)
}

#[test]
fn the_operator_learns_which_clock_disagrees_with_which() {
    assert_eq!(notice(now(START + 60, 1), now(START + 120, 61)), None);
    // The processes were stopped for less than `every`.
    assert_eq!(notice(now(START + DAY, 1), now(START + DAY + 60, 61)), None);
    let text = notice(now(START + 31 * DAY, 1), now(START, 1)).unwrap();
    assert!(text.contains("31 days ago") && text.contains("no process ran"), "{text}");
    let text = notice(now(START - 3 * HOUR, 1), now(START, 1)).unwrap();
    assert!(text.contains("3 hours ahead of the clock of this process"), "{text}");
    let text = notice(now(START, 1), now(START + 5 * DAY, 61)).unwrap();
    assert!(text.contains("was set") && text.contains("4 days ahead of where it was"), "{text}");
    let text = notice(now(START, 1), now(START - 600, 61)).unwrap();
    assert!(text.contains("11 minutes behind where it was"), "{text}");
    // Another process writes while this one runs.
    let mut service = Service::new();
    service.look(START, false);
    for (wall, word) in
        [(START + 31 * DAY + 60, "31 days ahead"), (START - HOUR, "61 minutes behind")]
    {
        let other = process();
        let turn = other.take(service.stored.as_deref(), now(wall, 1), true).unwrap();
        let seen = service.rotation.take(turn.save.as_deref(), at(START + 60), false).unwrap();
        let text = seen.notice.unwrap_or_default();
        assert!(text.contains("another process") && text.contains(word), "{text}");
        service = Service::new();
        service.look(START, false);
    }
}

#[test]
fn a_period_that_is_too_short_for_the_lifetime_of_tokens_is_refused() {
    let path = "jwt.rotation";
    let config = RotationConfig { every: Duration::from_secs(HOUR), ..config() };
    config.check_lifetime(path, Duration::from_secs(90 * HOUR)).unwrap();
    let error = config.check_lifetime(path, Duration::from_secs(92 * HOUR)).unwrap_err();
    assert_eq!(
        (error.code(), error.path()),
        (ConfigCode::ConflictingOptions, "jwt.rotation.every")
    );
}

/// A process of the simulation. Its clock may be wrong; that of the first one is right within two
/// minutes.
struct Process {
    rotation: Rotation,
    offset_s: i64,
    started_s: u64,
}

impl Process {
    fn now(&self, real_s: u64) -> Now {
        let wall_s = real_s.saturating_add_signed(self.offset_s);
        now(wall_s, real_s - self.started_s)
    }
}

#[derive(Debug, Clone)]
enum Event {
    /// The clock of a process is set.
    Set(usize, i64),
    Restart(usize),
    Rotate(usize),
    /// No process runs for this many hours.
    Sleep(u64),
    /// The text of this many writes ago is restored.
    Restore(usize),
    Lose,
}

fn events() -> impl Strategy<Value = Vec<(u64, Event)>> {
    let event = prop_oneof![
        4 => (0..3usize, offsets()).prop_map(|(who, offset)| Event::Set(who, offset)),
        2 => (0..3usize).prop_map(Event::Restart),
        2 => (0..3usize).prop_map(Event::Rotate),
        1 => (1..300u64).prop_map(Event::Sleep),
        1 => (1..4usize).prop_map(Event::Restore),
        1 => Just(Event::Lose),
    ];
    proptest::collection::vec((1..90u64, event), 1..12)
}

/// A token lives for half an hour, and the keys rotate every hour.
fn quick() -> Rotation {
    let (every, overlap) = (Duration::from_secs(HOUR), Duration::from_secs(600));
    Rotation::new(RotationConfig { every, overlap, ..config() }, Duration::from_secs(LIFETIME))
}

const LIFETIME: u64 = 1_800;

/// Processes that share one storage, minute by minute.
struct World {
    real_s: u64,
    processes: Vec<Process>,
    stored: Option<String>,
    history: Vec<String>,
    /// Tokens of the process with the right clock: their key and their expiry.
    tokens: Vec<(String, u64)>,
    /// The times at which each key was first saved and first seen retired.
    saved_s: std::collections::HashMap<String, u64>,
    retired_s: std::collections::HashMap<String, u64>,
}

impl World {
    fn new() -> Self {
        let process = |_| Process { rotation: quick(), offset_s: 0, started_s: START - 1 };
        Self {
            real_s: START,
            processes: (0..3).map(process).collect(),
            stored: None,
            history: Vec::new(),
            tokens: Vec::new(),
            saved_s: std::collections::HashMap::new(),
            retired_s: std::collections::HashMap::new(),
        }
    }

    fn look(&mut self, who: usize, force: bool) {
        let process = &self.processes[who];
        let now = process.now(self.real_s);
        let mut forced = force;
        for _ in 0..3 {
            match process.rotation.take(self.stored.as_deref(), now, forced) {
                Ok(turn) => {
                    let Some(save) = turn.save else { return };
                    self.history.push(save.clone());
                    self.stored = Some(save);
                }
                Err(error) => assert_eq!(error, RotationError::Full),
            }
            forced = false;
        }
        panic!("it saves again and again");
    }

    fn minute(&mut self) {
        for who in 0..self.processes.len() {
            self.real_s += 20;
            self.look(who, false);
            self.note();
            self.issue();
        }
    }

    /// Records the state of the keys.
    fn note(&mut self) {
        let state: serde_json::Value = serde_json::from_str(self.stored.as_ref().unwrap()).unwrap();
        let keys = state["keys"].as_array().unwrap();
        assert!(keys.len() <= 100);
        for key in keys {
            let kid = key["kid"].as_str().unwrap().to_owned();
            if key.get("left").is_some() {
                self.retired_s.entry(kid.clone()).or_insert(self.real_s);
            }
            self.saved_s.entry(kid).or_insert(self.real_s);
        }
    }

    fn issue(&mut self) {
        for (who, process) in self.processes.iter().enumerate() {
            let key = process.rotation.signing(process.now(self.real_s)).unwrap();
            let kid = key.kid.as_deref().unwrap().to_owned();
            // The bound: two minutes after a key was saved, every process verifies it.
            let saved_s = self.saved_s.get(&kid).copied().unwrap_or(self.real_s);
            for verifier in &self.processes {
                let is_known = verifier.rotation.find(&kid).is_some();
                let is_new = who > 0 && saved_s + 120 >= self.real_s;
                assert!(is_known || is_new, "signed with an unknown key");
            }
            if who == 0 {
                self.tokens.push((kid, self.real_s + LIFETIME));
            }
        }
        self.tokens.retain(|(_, until_s)| *until_s > self.real_s);
        for (kid, _) in &self.tokens {
            for process in &self.processes {
                assert!(process.rotation.find(kid).is_some(), "a good token is refused");
            }
        }
    }

    fn happen(&mut self, event: &Event) {
        match event {
            Event::Set(0, offset_s) => self.processes[0].offset_s = offset_s % 120,
            Event::Set(who, offset_s) => self.processes[*who].offset_s = *offset_s,
            Event::Restart(who) => {
                self.processes[*who].rotation = quick();
                self.processes[*who].started_s = self.real_s - 1;
                self.look(*who, false);
            }
            Event::Rotate(who) => self.look(*who, true),
            Event::Sleep(hours) => {
                self.real_s += hours * HOUR;
                // Overdue timers fire first.
                for who in 0..self.processes.len() {
                    self.look(who, false);
                }
            }
            Event::Restore(back) => {
                let text = self.history.len().checked_sub(*back).and_then(|i| self.history.get(i));
                self.stored = text.cloned().or(self.stored.take());
            }
            Event::Lose => self.stored = None,
        }
        // After any change of the storage, a process that ran before polls next.
        let who = usize::from(matches!(event, Event::Restart(0)));
        self.look(who, false);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// While one clock is right within two minutes: (1) no token of its process is refused for a
    /// missing key before it expires; (2) no process signs with a key that another one does not
    /// verify two minutes after it was saved; (3) each retired key is deleted in the end.
    #[test]
    fn no_history_of_wrong_clocks_takes_a_key_from_a_good_token(history in events()) {
        let mut world = World::new();
        for who in 0..3 {
            world.look(who, false);
        }
        for (minutes, event) in &history {
            for _ in 0..*minutes {
                world.minute();
            }
            world.happen(event);
        }
        // Everything stays unchanged for long enough to observe the time of a retired key.
        let retired: Vec<String> = world.retired_s.keys().cloned().collect();
        for _ in 0..2 * (LIFETIME + 180) / 60 {
            world.minute();
        }
        for kid in retired {
            let is_gone = world.processes.iter().all(|process| process.rotation.find(&kid).is_none());
            prop_assert!(is_gone, "it stays for ever");
        }
    }
}
