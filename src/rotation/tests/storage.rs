//! A storage that fails at each step of a write, and one that returns wrong texts.

use std::fs;

use super::*;

#[test]
fn what_a_killed_process_has_left_is_deleted_and_a_second_name_of_the_first_file_is_too() {
    let folder = Folder::new();
    let path = folder.path();
    // Killed before the first file had its name: its keys were never used.
    fs::write(folder.0.path().join("keys.json.1f00000001.new"), "{").unwrap();
    fs::write(folder.0.path().join("keys.json.lock"), "").unwrap();
    folder.process().open("s", at(START)).unwrap();
    assert_eq!(folder.names(), ["keys.json"]);
    // Killed between a link and the removal of the other name.
    fs::hard_link(&path, folder.0.path().join("keys.json.1f00000002.new")).unwrap();
    folder.process().open("s", at(START + 1)).unwrap();
    assert_eq!(folder.names(), ["keys.json"]);
    // Killed before a rename, while another process runs.
    let running = folder.process();
    running.open("s", at(START + 2)).unwrap();
    fs::write(folder.0.path().join("keys.json.1f00000003.new"), "{").unwrap();
    running.tick(&|| at(START + 3), true).unwrap();
    assert_eq!(folder.names(), ["keys.json"]);
    // Files of other programs stay.
    for name in ["keys.json.new", "keys.json.backup.new", "other.json.1f00000004.new"] {
        fs::write(folder.0.path().join(name), "").unwrap();
    }
    running.tick(&|| at(START + 400), true).unwrap();
    folder.process().open("s", at(START + 401)).unwrap();
    assert_eq!(folder.names().len(), 4);
}

#[test]
fn a_file_that_was_cut_off_anywhere_is_refused_and_the_keys_in_use_stay() {
    let folder = Folder::new();
    let running = folder.process();
    running.open("s", at(START)).unwrap();
    let (before, whole) = (kids(&running), fs::read_to_string(folder.path()).unwrap());
    for length in (0..whole.trim_end().len()).step_by(37) {
        fs::write(folder.path(), whole.get(..length).unwrap()).unwrap();
        assert!(running.tick(&|| at(START + 60), false).is_err());
        assert_eq!(
            folder.process().open("s", at(START)).unwrap_err().code(),
            ConfigCode::InvalidKey
        );
        assert_eq!(
            (kids(&running), fs::read(folder.path()).unwrap().len()),
            (before.clone(), length)
        );
    }
    fs::write(folder.path(), &whole).unwrap();
    running.tick(&|| at(START + 120), false).unwrap();
}

#[test]
fn a_folder_that_goes_and_comes_back_takes_no_key_away() {
    let folder = Folder::new();
    let inner = folder.0.path().join("inner");
    fs::create_dir(&inner).unwrap();
    let process = || {
        let storage = Storage::File(inner.join("keys.json"));
        Rotation::new(RotationConfig { storage, ..config() }, Duration::from_secs(HOUR))
    };
    let running = process();
    running.open("s", at(START)).unwrap();
    running.tick(&|| at(START + 60), false).unwrap();
    let before = kids(&running);
    let aside = folder.0.path().join("aside");
    fs::rename(&inner, &aside).unwrap();
    // Also after the start of the next key.
    for seconds in [START + 60, START + DAY + 60] {
        let error = running.tick(&|| at(seconds), false).unwrap_err();
        assert_eq!(error, RotationError::File("written", std::io::ErrorKind::NotFound));
        assert_eq!(kids(&running), before);
    }
    assert_eq!(
        running.signing(at(START + DAY + 60)).unwrap().kid.as_deref(),
        Some(before[1].as_str())
    );
    // The folder comes back empty: the keys in use are written again.
    fs::create_dir(&inner).unwrap();
    running.tick(&|| at(START + DAY + 120), false).unwrap();
    let other = process();
    other.open("s", at(START + DAY + 120)).unwrap();
    assert_eq!(kids(&other), kids(&running));
    assert_eq!(kids(&other)[..2], before);
}

/// Rotates by hand, so that the newest key signs, and returns the text from before.
fn with_backup(service: &mut Service) -> Option<String> {
    service.look(START, false);
    let backup = service.stored.clone();
    for minute in 1..=10 {
        service.look(START + minute * 60, minute % 5 == 0);
    }
    backup
}

#[test]
fn a_backup_takes_no_key_away_from_a_process_that_runs_and_gets_the_newer_ones_back() {
    let mut service = Service::new();
    let backup = with_backup(&mut service);
    let (before, signer) = (service.published(), service.signs(START + 600));
    service.stored = backup;
    service.look(START + 660, false);
    assert_eq!(service.signs(START + 660), signer);
    assert!(before.iter().all(|kid| service.published().contains(kid)));
    let other = process();
    other.take(service.stored.as_deref(), at(START + 661), false).unwrap();
    assert!(before.iter().all(|kid| kids(&other).contains(kid)));
    assert_eq!(other.signing(at(START + 661)).unwrap().kid.as_deref(), Some(signer.as_str()));
}

#[test]
fn a_load_that_lags_behind_takes_no_key_away_and_ends_with_the_newest_text() {
    let mut service = Service::new();
    let old = with_backup(&mut service);
    let (new, before) = (service.stored.clone(), service.published());
    for text in [&old, &None, &old, &new, &old] {
        // The text to save may be lost or arrive late.
        service.rotation.take(text.as_deref(), at(START + 700), false).unwrap();
        assert_eq!(service.signs(START + 700), before[2]);
        assert!(before.iter().all(|kid| service.published().contains(kid)));
    }
    service.stored = new;
    service.look(START + 701, false);
    assert_eq!(service.published(), before);
}

#[test]
fn two_processes_that_overwrite_each_other_lose_no_key() {
    let mut service = Service::new();
    service.look(START, false);
    let other = process();
    other.take(service.stored.as_deref(), at(START), false).unwrap();
    // Both rotate from one text, and no compare-and-set separates them.
    let text = service.stored.clone();
    let ours = service.rotation.take(text.as_deref(), at(START + 5), true).unwrap().save;
    let theirs = other.take(text.as_deref(), at(START + 5), true).unwrap().save;
    service.rotation.take(ours.as_deref(), at(START + 5), false).unwrap();
    other.take(theirs.as_deref(), at(START + 6), false).unwrap();
    let mut stored = theirs;
    let mine = service.published();
    look(&service.rotation, &mut stored, START + 60, false);
    look(&other, &mut stored, START + 61, false);
    look(&service.rotation, &mut stored, START + 120, false);
    assert!(mine.iter().all(|kid| kids(&other).contains(kid)));
    assert_eq!(kids(&other), kids(&service.rotation));
    assert_eq!(look(&other, &mut stored, START + 121, false).save, None, "they agree");
}

#[test]
fn two_sets_of_keys_in_one_place_become_one_and_the_tokens_of_both_stay_good() {
    let (mut one, mut two) = (Service::new(), Service::new());
    one.look(START, false);
    two.look(START + 30, false);
    let all: Vec<String> = one.published().into_iter().chain(two.published()).collect();
    // The file of one process was removed, and the other one has started before the first one
    // polled.
    one.stored = two.stored.clone();
    one.look(START + 60, false);
    two.stored = one.stored.clone();
    two.look(START + 90, false);
    for service in [&one, &two] {
        assert!(all.iter().all(|kid| service.published().contains(kid)));
    }
    // They sign with one key when each has had the time to read the keys of the other.
    for seconds in [120, 180, 240] {
        one.stored = two.stored.clone();
        one.look(START + seconds, false);
        two.stored = one.stored.clone();
        two.look(START + seconds + 1, false);
    }
    assert_eq!(one.signs(START + 241), two.signs(START + 241));
}

#[test]
fn a_text_of_a_version_without_writes_is_taken_and_a_strange_one_is_refused_by_name() {
    let mut service = Service::new();
    service.look(START, false);
    let mut state: serde_json::Value =
        serde_json::from_str(service.stored.as_ref().unwrap()).unwrap();
    let object = state.as_object_mut().unwrap();
    object.remove("writes");
    object.remove("at");
    let fresh = process();
    assert_eq!(fresh.take(Some(&state.to_string()), at(START), false).unwrap().save, None);
    assert_eq!(kids(&fresh), service.published());
    for left in [json!(-1), json!("1"), json!(1.5), json!(null), json!(1_u64 << 60)] {
        state["keys"][0]["left"] = left;
        let error = fresh.take(Some(&state.to_string()), at(START), false).unwrap_err();
        assert!(error.to_string().contains("`left`"), "{error}");
    }
    // All keys are retired by hand: one signs again, and the remaining time is limited.
    for i in 0..2 {
        state["keys"][i]["left"] = json!(253_000_000_000_u64);
    }
    let fresh = process();
    let mut stored = Some(state.to_string());
    look(&fresh, &mut stored, START, false);
    assert!(fresh.signing(at(START)).is_some());
    for seconds in (60..=KEEP + 180).step_by(60) {
        look(&fresh, &mut stored, START + seconds, false);
    }
    assert!(fresh.find(&service.published()[0]).is_none());
}

#[test]
fn there_are_never_more_than_a_hundred_keys_and_rotating_once_more_says_why() {
    // Tokens live for so long that no key is deleted meanwhile.
    let rotating = || Rotation::new(config(), Duration::from_secs(90 * DAY));
    let (rotation, mut stored) = (rotating(), None);
    let mut refused = 0;
    for i in 0..600 {
        match rotation.take(stored.as_deref(), at(START + i * 61), i % 2 == 0) {
            Ok(turn) => stored = turn.save.or(stored),
            Err(error) => {
                assert_eq!(error, RotationError::Full);
                refused += 1;
            }
        }
        assert!(rotation.len() <= 100);
    }
    assert!(rotation.len() == 100 && refused > 40, "{} {refused}", rotation.len());
    // A process that starts can read them.
    rotating().take(stored.as_deref(), at(START), false).unwrap();
}

#[test]
fn a_lock_that_a_crash_has_left_stops_nobody_and_a_held_one_does_for_a_moment() {
    let folder = Folder::new();
    let lock = folder.0.path().join("keys.json.lock");
    fs::write(&lock, "").unwrap();
    let rotation = folder.process();
    rotation.open("s", Now::read()).unwrap();
    assert_eq!(folder.names(), ["keys.json"]);
    let held = crate::rotation::lock::Lock::take(&lock).unwrap();
    // No clock makes a lock stale while a process holds it.
    for ahead in [0, 60, 31 * DAY] {
        let clock = || Now::read().plus(Duration::from_secs(ahead));
        assert_eq!(rotation.tick(&clock, true), Err(RotationError::Busy));
    }
    drop(held);
    assert!(rotation.tick(&Now::read, true).unwrap().is_some());
    assert_eq!(folder.names(), ["keys.json"]);
}

#[test]
fn a_file_that_is_gone_is_written_again_with_the_keys_in_use() {
    let folder = Folder::new();
    let rotation = folder.process();
    rotation.open("s", at(START)).unwrap();
    let before = kids(&rotation);
    fs::remove_file(folder.path()).unwrap();
    rotation.tick(&|| at(START + 60), false).unwrap();
    let other = folder.process();
    other.open("s", at(START + 60)).unwrap();
    assert_eq!((kids(&rotation), kids(&other)), (before.clone(), before));
}
