use std::time::Duration;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::keys::algorithm::Algorithm;

mod clocks;
mod histories;
#[cfg(unix)]
mod storage;

const HOUR: u64 = 3_600;
const DAY: u64 = 86_400;

/// The error of a wall clock in seconds.
fn offsets() -> impl Strategy<Value = i64> + Clone {
    let day = i64::try_from(DAY).unwrap();
    prop_oneof![
        -600..600i64,
        (-40..40i64).prop_map(move |days| days * day),
        Just(3_650 * day),
        Just(-10_000 * day),
    ]
}
const START: u64 = 1_800_000_000;
/// A token lives for an hour at most, and the tolerance is a minute.
const KEEP: u64 = HOUR + 60;

fn parse(value: &serde_json::Value) -> Result<RotationConfig, String> {
    RotationConfig::parse("jwt.rotation", value, None).map_err(|error| error.to_string())
}

fn config() -> RotationConfig {
    parse(&json!({ "every": "1d", "alg": "EdDSA", "storage": { "load": "\0function", "save": "\0function" } })).unwrap()
}

fn at(seconds: u64) -> Now {
    Now::at_unix_us(seconds * 1_000_000)
}

/// A service whose keys are stored by callbacks: `stored` is the storage.
struct Service {
    rotation: Rotation,
    stored: Option<String>,
}

impl Service {
    fn new() -> Self {
        Self { rotation: process(), stored: None }
    }

    fn look(&mut self, seconds: u64, force: bool) -> Turn {
        look(&self.rotation, &mut self.stored, seconds, force)
    }

    fn signs(&self, seconds: u64) -> String {
        self.rotation.signing(at(seconds)).unwrap().kid.as_deref().unwrap().to_owned()
    }

    fn published(&self) -> Vec<String> {
        kids(&self.rotation)
    }
}

fn process() -> Rotation {
    Rotation::new(config(), Duration::from_secs(HOUR))
}

fn look(rotation: &Rotation, stored: &mut Option<String>, seconds: u64, force: bool) -> Turn {
    let turn = rotation.take(stored.as_deref(), at(seconds), force).unwrap();
    if let Some(save) = &turn.save {
        *stored = Some(save.clone());
        assert_eq!(rotation.take(stored.as_deref(), at(seconds), false).unwrap().save, None);
    }
    turn
}

fn kids(rotation: &Rotation) -> Vec<String> {
    let public = rotation.public();
    public.iter().map(|jwk| jwk["kid"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn the_next_key_is_published_a_period_before_it_signs_and_the_old_one_until_its_last_token_is_over()
{
    let mut service = Service::new();
    service.look(START, false);
    service.look(START + 60, false);
    let first = service.published();
    assert_eq!(first.len(), 2);
    assert_eq!(service.signs(START), first[0]);
    assert_eq!(service.signs(START + DAY - 1), first[0]);
    // At exactly this second, without a poll.
    assert_eq!(service.signs(START + DAY), first[1]);
    service.look(START + DAY + 30, false);
    let second = service.published();
    assert_eq!(second[..2], first);
    assert_eq!(second.len(), 3);
    // A token of the last second of the first key lives for an hour and a minute of tolerance;
    // others may have signed with the key for two minutes more.
    let retired = START + DAY + 30;
    for seconds in (retired..retired + KEEP + 120).step_by(30) {
        service.look(seconds, false);
        assert!(service.rotation.find(&first[0]).is_some());
    }
    service.look(retired + KEEP + 180, false);
    assert!(service.rotation.find(&first[0]).is_none());
    assert_eq!(service.published(), second[1..]);
    assert_eq!(service.rotation.len(), 2, "its private part is gone from the store");
    assert!(!service.stored.unwrap().contains(&first[0]));
}

#[test]
fn what_is_not_saved_is_not_used() {
    let rotation = process();
    let turn = rotation.take(None, at(START), false).unwrap();
    assert!(turn.save.is_some() && rotation.is_empty() && rotation.signing(at(START)).is_none());
}

#[test]
fn processes_change_keys_at_one_second_and_know_each_key_before_it_signs() {
    let mut service = Service::new();
    let other = process();
    let mut seen_by_other: Vec<String> = Vec::new();
    // The minutes around a rotation, and some between.
    let near = |minute: &u64| (minute + 3) % (24 * 60) < 6 || minute.is_multiple_of(60);
    for minute in (0..5 * 24 * 60).filter(near) {
        let now = START + minute * 60;
        service.look(now, false);
        // The other process polled half a minute before, and has the keys of that time.
        let signer = service.signs(now);
        if minute > 0 {
            assert!(seen_by_other.contains(&signer));
            assert_eq!(other.signing(at(now)).unwrap().kid.as_deref(), Some(signer.as_str()));
        }
        other.take(service.stored.as_deref(), at(now + 30), false).unwrap();
        seen_by_other = kids(&other);
    }
}

#[test]
fn after_a_long_stop_a_new_key_is_published_for_the_overlap_before_it_signs() {
    let mut service = Service::new();
    service.look(START, false);
    let next = service.published()[1].clone();
    let late = START + 90 * DAY;
    let rotation = process();
    look(&rotation, &mut service.stored, late, false);
    // By the clock, which may be wrong, the first key ended long ago. The next one signs when all
    // processes have had the time to read it.
    for seconds in [60, 120] {
        look(&rotation, &mut service.stored, late + seconds, false);
    }
    let late = late + 120;
    assert_eq!(rotation.signing(at(late)).unwrap().kid.as_deref(), Some(next.as_str()));
    let published = kids(&rotation);
    assert_eq!(published.len(), 3);
    look(&rotation, &mut service.stored, late + 60, false);
    assert_eq!(rotation.signing(at(late + HOUR - 1)).unwrap().kid.as_deref(), Some(next.as_str()));
    assert_eq!(
        rotation.signing(at(late + HOUR)).unwrap().kid.as_deref(),
        Some(published[2].as_str())
    );
    for seconds in (120..=KEEP + 180).step_by(60) {
        look(&rotation, &mut service.stored, late + seconds, false);
    }
    assert!(!kids(&rotation).contains(&service.published()[0]));
}

#[test]
fn rotating_by_hand_takes_the_next_key_at_once_and_another_one_when_all_processes_know_it() {
    let mut service = Service::new();
    service.look(START, false);
    let keys = service.published();
    let turn = service.look(START + 5, true);
    assert_eq!((turn.kid.as_str(), turn.from_s), (keys[1].as_str(), START + 5));
    assert_eq!(service.signs(START + 5), keys[1]);
    assert_eq!(service.published().len(), 3);
    // The key after that was made in this second: the others read it within a minute.
    let again = service.look(START + 6, true);
    assert_eq!(again.from_s, START + 5 + 120);
    assert_eq!(service.signs(START + 6), keys[1]);
    // Another call changes nothing more.
    assert_eq!(service.look(START + 7, true), Turn { save: None, ..again.clone() });
    service.look(START + 66, false);
    assert_eq!(service.signs(START + 125), again.kid);
    service.look(START + 5 + KEEP, false);
    assert!(service.rotation.find(&keys[0]).is_some());
}

#[test]
fn a_key_that_somebody_took_out_is_refused_at_once_also_where_it_was_verified_before() {
    let mut service = Service::new();
    service.look(START, false);
    let old = service.rotation.signing(at(START)).unwrap();
    let mut state: serde_json::Value =
        serde_json::from_str(service.stored.as_ref().unwrap()).unwrap();
    state["keys"].as_array_mut().unwrap().remove(0);
    service.stored = Some(state.to_string());
    assert!(old.usable_at(START));
    service.look(START + 60, false);
    assert!(!old.usable_at(START + 60));
    assert!(service.rotation.find(old.kid.as_deref().unwrap()).is_none());
    assert_ne!(service.signs(START + 60), old.kid.as_deref().unwrap());
}

#[test]
fn keys_stay_the_very_same_from_look_to_look() {
    let mut service = Service::new();
    service.look(START, false);
    let before = service.rotation.signing(at(START)).unwrap();
    service.look(START + 60, false);
    assert!(Arc::ptr_eq(&before, &service.rotation.signing(at(START + 60)).unwrap()));
}

#[test]
fn a_clock_that_jumps_there_and_back_leaves_a_key_that_signs_and_others_know() {
    let mut service = Service::new();
    let mut mono_s = 0;
    let mut look_at = |service: &mut Service, wall_s: u64| {
        mono_s += HOUR;
        let mut now = Now { unix_us: wall_s * 1_000_000, mono_us: mono_s * 1_000_000 };
        // Including the regular polls before it.
        for before_s in [120, 60, 0] {
            now.mono_us = (mono_s - before_s) * 1_000_000;
            let turn = service.rotation.take(service.stored.as_deref(), now, false).unwrap();
            if turn.save.is_some() {
                service.stored = turn.save;
                service.rotation.take(service.stored.as_deref(), now, false).unwrap();
            }
        }
        service.rotation.signing(now).unwrap().kid.as_deref().unwrap().to_owned()
    };
    look_at(&mut service, START);
    for jump in [START + 400 * DAY, START + 60, START - 400 * DAY, START + 120] {
        let signer = look_at(&mut service, jump);
        assert!(service.published().contains(&signer));
        let state: serde_json::Value =
            serde_json::from_str(service.stored.as_ref().unwrap()).unwrap();
        let last = state["keys"].as_array().unwrap().last().unwrap();
        assert!(last["from"].as_u64().unwrap() > jump, "a next one");
    }
    // The times of the clock that was ahead are brought forward after a day.
    let next = service.published().last().unwrap().clone();
    let mut signer = String::new();
    for hour in 0..=50 {
        signer = look_at(&mut service, START + 120 + hour * HOUR);
    }
    assert_eq!(signer, next);
}

#[test]
fn clocks_that_differ_by_seconds_change_nothing() {
    let mut service = Service::new();
    service.look(START, false);
    let other = process();
    for behind in [1, 30, 100] {
        let turn = other.take(service.stored.as_deref(), at(START - behind), false).unwrap();
        assert_eq!(turn.save, None, "{behind} s");
        assert!(other.signing(at(START - behind)).is_some());
    }
}

#[test]
fn what_is_no_set_of_keys_is_refused_and_the_keys_in_use_stay() {
    let mut service = Service::new();
    service.look(START, false);
    let good: serde_json::Value = serde_json::from_str(service.stored.as_ref().unwrap()).unwrap();
    let kids = service.published();
    let with = |change: &dyn Fn(&mut serde_json::Value)| {
        let mut state = good.clone();
        change(&mut state);
        state.to_string()
    };
    let other = serde_json::from_str::<serde_json::Value>(
        &process().take(None, at(START), false).unwrap().save.unwrap(),
    );
    let other = other.unwrap();
    for (text, why) in [
        ("{".to_owned(), "not JSON"),
        ("[]".to_owned(), "version"),
        (with(&|state| state["version"] = json!(2)), "version"),
        (with(&|state| state["keys"] = json!([])), "1 to 100"),
        (with(&|state| state["keys"] = json!({})), "1 to 100"),
        (with(&|state| state["keys"][0]["alg"] = json!("none")), "lacks"),
        (with(&|state| state["keys"][0]["alg"] = json!("ES256")), "can't be read"),
        (with(&|state| state["keys"][0]["pem"] = json!("x")), "can't be read"),
        (with(&|state| state["keys"][0]["pem"] = other["keys"][0]["pem"].clone()), "thumbprint"),
        (with(&|state| state["keys"][0]["from"] = json!(START * 1_000)), "seconds"),
        (with(&|state| state["keys"][0]["from"] = json!("now")), "seconds"),
        (with(&|state| state["keys"][1] = state["keys"][0].clone()), "twice"),
    ] {
        let error = service.rotation.take(Some(&text), at(START), false).unwrap_err();
        assert!(error.to_string().contains(why), "{why}: {error}");
        assert!(!error.to_string().contains("PRIVATE"));
        assert_eq!(service.published(), kids);
    }
}

#[test]
fn only_public_members_are_published_and_no_private_key_is_shown() {
    for alg in ["ES256", "ES512", "EdDSA", "RS256"] {
        let algorithm = Algorithm::from_name(alg).unwrap();
        let rotation =
            Rotation::new(RotationConfig { algorithm, ..config() }, Duration::from_secs(HOUR));
        let mut stored = None;
        look(&rotation, &mut stored, START, false);
        for jwk in rotation.public() {
            for private in ["d", "p", "q", "dp", "dq", "qi", "k", "oth"] {
                assert!(!jwk.contains_key(private));
            }
            assert_eq!(jwk["alg"], alg);
        }
        let shown = format!("{rotation:?}");
        let pem = stored.unwrap();
        let secret = pem.split("KEY-----\\n").nth(1).unwrap().get(..40).unwrap();
        assert!(pem.contains(secret) && !shown.contains(secret));
    }
}

#[test]
fn options_are_judged() {
    let file = parse(&json!({ "storage": "./keys.json" })).unwrap();
    assert_eq!((file.every.as_secs(), file.overlap.as_secs()), (30 * DAY, HOUR));
    assert_eq!(
        (file.algorithm, file.storage),
        (Algorithm::Es256, Storage::File("./keys.json".into()))
    );
    for (value, text) in [
        (json!("30d"), "`jwt.rotation` must be an object"),
        (json!({}), "`jwt.rotation.storage` must be given"),
        (json!({ "storage": "" }), "`jwt.rotation.storage` must be a path"),
        (
            json!({ "storage": { "load": "\0function" } }),
            "`jwt.rotation.storage.save` must be given",
        ),
        (
            json!({ "storage": { "load": "x", "save": "\0function" } }),
            "`jwt.rotation.storage.load` must be a function",
        ),
        (json!({ "storage": "k", "every": "59m" }), "`jwt.rotation.every` must be from 1h to 366d"),
        (
            json!({ "storage": "k", "every": "1h", "overlap": "2h" }),
            "`jwt.rotation.overlap` must be from 10m to 1h",
        ),
        (
            json!({ "storage": "k", "alg": "HS256" }),
            "`jwt.rotation.alg` must be an algorithm of a key pair",
        ),
        (json!({ "storage": "k", "alg": "none" }), "`jwt.rotation.alg` must not be 'none'"),
        (json!({ "storage": "k", "period": 1 }), "`jwt.rotation.period` is not an option"),
    ] {
        let error = parse(&value).unwrap_err();
        assert!(error.starts_with(text), "{error}");
    }
    let allowed = RotationConfig::parse("r", &json!({ "storage": "k" }), Some(&[Algorithm::Rs256]));
    assert!(allowed.unwrap_err().to_string().starts_with("`r.alg` is not in `jwt.algorithms`"));
}

/// A key file in a folder of its own.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> std::path::PathBuf {
        self.0.path().join("keys.json")
    }

    fn process(&self) -> Rotation {
        let config = RotationConfig { storage: Storage::File(self.path()), ..config() };
        Rotation::new(config, Duration::from_secs(HOUR))
    }

    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.0.path()).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}

#[test]
fn the_file_is_made_for_its_owner_alone_and_nothing_else_is_left_beside_it() {
    let folder = Folder::new();
    let rotation = folder.process();
    rotation.open("s", at(START)).unwrap();
    rotation.tick(&|| at(START + 5), true).unwrap();
    rotation.tick(&|| at(START + 2 * DAY), false).unwrap();
    assert_eq!(folder.names(), ["keys.json"]);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = std::fs::metadata(folder.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        for exposed in [0o640, 0o604, 0o660] {
            std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(exposed))
                .unwrap();
            let error = folder.process().open("s", at(START)).unwrap_err();
            assert_eq!(error.code(), ConfigCode::InvalidKey);
            assert!(error.to_string().contains("chmod 600"), "{error}");
            assert_eq!(
                rotation.tick(&|| at(START + 2 * DAY + 1), false),
                Err(RotationError::Exposed)
            );
        }
    }
}

#[test]
fn processes_that_start_and_rotate_at_once_agree() {
    for _ in 0..20 {
        let folder = Folder::new();
        let processes: Vec<Rotation> = (0..8).map(|_| folder.process()).collect();
        std::thread::scope(|scope| {
            for rotation in &processes {
                scope.spawn(move || rotation.open("s", Now::read()).unwrap());
            }
        });
        let now = Now::read();
        let seconds = now.unix_seconds();
        let all: Vec<_> = processes.iter().map(kids).collect();
        assert!(all.iter().all(|kids| *kids == all[0] && kids.len() == 2));
        std::thread::scope(|scope| {
            for rotation in &processes {
                scope.spawn(move || rotation.tick(&|| now, true).unwrap());
            }
        });
        for rotation in &processes {
            rotation.tick(&|| now, false).unwrap();
        }
        let signers: Vec<_> = processes
            .iter()
            .map(|rotation| rotation.signing(at(seconds)).unwrap().kid.clone())
            .collect();
        assert!(signers.iter().all(|kid| kid.as_deref() == Some(all[0][1].as_str())));
        let all: Vec<_> = processes.iter().map(kids).collect();
        assert!(all.iter().all(|kids| *kids == all[0]));
        assert_eq!(folder.names(), ["keys.json"]);
    }
}

#[test]
fn a_path_that_can_not_be_written_is_an_error_when_the_guard_is_built() {
    let folder = Folder::new();
    let config =
        RotationConfig { storage: Storage::File(folder.0.path().join("no/keys.json")), ..config() };
    let error =
        Rotation::new(config, Duration::from_secs(HOUR)).open("jwt.rotation.storage", at(START));
    let error = error.unwrap_err();
    assert_eq!((error.code(), error.path()), (ConfigCode::InvalidOption, "jwt.rotation.storage"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// For any pauses between two polls and any rotations by hand: every process verifies each
    /// token while it lives, and no key signs that another process did not have a minute before.
    #[test]
    fn no_good_token_is_ever_refused_and_no_key_signs_unknown(
        steps in proptest::collection::vec((0u64..40 * HOUR, proptest::bool::weighted(0.2), 0usize..2), 1..25),
    ) {
        let processes = [process(), process()];
        let mut stored = None;
        let mut now = START;
        look(&processes[0], &mut stored, now, false);
        look(&processes[1], &mut stored, now, false);
        let mut tokens: Vec<(Arc<str>, u64)> = Vec::new();
        for (pause, force, who) in steps {
            // Both poll once a minute; in a longer pause no process runs.
            now += pause;
            look(&processes[who], &mut stored, now, force);
            // Before the next poll, the other process signs and verifies with the text that it read
            // last.
            for rotation in &processes {
                let kid = rotation.signing(at(now)).unwrap().kid.clone().unwrap();
                for verifier in &processes {
                    prop_assert!(verifier.find(&kid).is_some(), "a key that the other does not know");
                }
                tokens.push((kid, now));
            }
            now += 60;
            for rotation in &processes {
                look(rotation, &mut stored, now, false);
            }
            tokens.retain(|(_, issued)| issued + HOUR > now);
            for (kid, _) in &tokens {
                for rotation in &processes {
                    prop_assert!(rotation.find(kid).is_some(), "a good token is refused");
                }
            }
        }
    }
}

/// The error of a process that starts with a key file. A process that runs must refuse the file
/// too.
#[cfg(unix)]
fn refusal(folder: &Folder, running: &Rotation) -> String {
    let error = folder.process().open("s", at(START)).unwrap_err();
    assert_eq!(error.code(), ConfigCode::InvalidKey);
    assert!(running.tick(&|| at(START + 1), false).is_err());
    error.to_string()
}

#[cfg(unix)]
#[test]
fn a_file_that_somebody_else_may_have_put_there_is_not_read() {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;
    let folder = Folder::new();
    let running = folder.process();
    running.open("s", at(START)).unwrap();
    let (path, aside) = (folder.path(), folder.path().with_extension("aside"));

    fs::rename(&path, &aside).unwrap();
    std::os::unix::fs::symlink(&aside, &path).unwrap();
    assert!(refusal(&folder, &running).contains("is a symbolic link"));
    fs::remove_file(&path).unwrap();
    // A dangling link is refused as the target of a write, too.
    std::os::unix::fs::symlink(path.with_extension("nowhere"), &path).unwrap();
    assert!(refusal(&folder, &running).contains("is a symbolic link"));
    fs::remove_file(&path).unwrap();

    fs::hard_link(&aside, &path).unwrap();
    assert!(refusal(&folder, &running).contains("has a second name"));
    fs::remove_file(&aside).unwrap();
    folder.process().open("s", at(START)).unwrap();

    let parent = path.parent().unwrap();
    for (mode, is_good) in
        [(0o777, false), (0o703, false), (0o1777, true), (0o770, true), (0o755, true)]
    {
        fs::set_permissions(parent, fs::Permissions::from_mode(mode)).unwrap();
        let opened = folder.process().open("s", at(START));
        assert_eq!(opened.is_ok(), is_good, "{mode:o}");
        if let Err(error) = opened {
            assert!(error.to_string().contains("chmod o-w on the folder"), "{error}");
        }
    }
    fs::set_permissions(parent, fs::Permissions::from_mode(0o700)).unwrap();

    // Needs root: other users cannot give files away.
    if std::os::unix::fs::chown(&path, Some(65_534), None).is_ok() {
        assert!(refusal(&folder, &running).contains("belongs to another user"));
        std::os::unix::fs::chown(&path, Some(0), None).unwrap();
        folder.process().open("s", at(START)).unwrap();
    }
    fs::write(&path, vec![b' '; (1 << 20) + 1]).unwrap();
    assert!(refusal(&folder, &running).contains("larger than 1 MB"));
}

#[cfg(unix)]
#[test]
fn no_first_keys_are_made_in_a_folder_that_all_may_write_into() {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;
    for (mode, is_good) in [(0o777, false), (0o703, false), (0o1777, true), (0o755, true)] {
        let folder = Folder::new();
        let rotation = folder.process();
        fs::set_permissions(folder.0.path(), fs::Permissions::from_mode(mode)).unwrap();
        let opened = rotation.open("s", at(START));
        assert_eq!(opened.is_ok(), is_good, "{mode:o}");
        if let Err(error) = opened {
            assert_eq!(error.code(), ConfigCode::InvalidKey);
            assert!(error.to_string().contains("chmod o-w on the folder"), "{error}");
            assert!(!rotation.is_loaded() && folder.names().is_empty(), "{mode:o}");
        }
    }
}

#[cfg(unix)]
#[test]
fn an_empty_file_is_no_set_of_keys_and_is_not_replaced() {
    let folder = Folder::new();
    let running = folder.process();
    running.open("s", at(START)).unwrap();
    let before = kids(&running);
    for text in ["", " \n"] {
        std::fs::write(folder.path(), text).unwrap();
        assert!(refusal(&folder, &running).contains("the file is empty"));
        assert_eq!(std::fs::read_to_string(folder.path()).unwrap(), text);
    }
    assert_eq!(kids(&running), before, "the keys in use stay");
}

#[cfg(unix)]
#[test]
fn a_pipe_or_a_folder_in_place_of_the_file_holds_nobody_up() {
    let folder = Folder::new();
    let running = folder.process();
    running.open("s", at(START)).unwrap();
    let path = folder.path();
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    assert!(refusal(&folder, &running).contains("it is no file"));
    std::fs::remove_dir(&path).unwrap();
    let made = std::process::Command::new("mkfifo").arg("-m").arg("600").arg(&path).status();
    assert!(made.unwrap().success());
    assert!(refusal(&folder, &running).contains("it is no file"));
}
