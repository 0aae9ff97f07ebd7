//! Decisions without a server, also after any loss.

use super::super::entry::Lived;
use super::super::forgetting::Forgetting;
use super::*;
use proptest::prelude::*;

const MINUTE: u32 = 30_000_000;
const NOW: u64 = 1_800_000_000_000_000;

fn now_at(seconds: u64) -> Now {
    Now::at_unix_us(NOW).plus(Duration::from_secs(seconds))
}

fn id(ms: u64) -> Id {
    Id { ms, number: 0 }
}

fn token(name: u64) -> Entry {
    Entry::Token { name, until: MINUTE + 10 }
}

fn read(is_whole: bool, entries: &[(u64, Entry)]) -> Read {
    let end = entries.last().map(|(ms, entry)| Cursor { id: id(*ms), written: entry.encode() });
    let entries = entries.iter().map(|(ms, entry)| (id(*ms), Some(*entry))).collect();
    Read { is_whole, end, entries }
}

fn sets() -> Sets {
    Sets::new(Forgetting::new(now_at(0)))
}

fn take(follower: &mut Follower, sets: &Sets, read: &Read) -> ReadOutcome {
    follower.take(read, sets, MINUTE).unwrap()
}

/// A process that has read tokens 1 to 3, the last at 30.
fn follower() -> (Follower, Sets) {
    let (mut follower, sets) = (Follower::default(), sets());
    let entries = [(10, token(1)), (20, token(2)), (30, token(3))];
    let took = take(&mut follower, &sets, &read(false, &entries));
    assert_eq!(took, ReadOutcome::Tail);
    assert_eq!((follower.cursor().id, follower.is_missing()), (id(30), false));
    (follower, sets)
}

#[test]
fn freshness_is_measured_from_the_last_proof_on_the_monotonic_clock() {
    let bound = Duration::from_secs(5);
    let proven = now_at(0).mono_us;
    let at = |seconds| freshness(true, proven, now_at(seconds), bound);
    assert_eq!((at(0), at(5), at(6)), (Freshness::Fresh, Freshness::Fresh, Freshness::Stale));
    assert_eq!(freshness(false, proven, now_at(0), bound), Freshness::NotReady);
    assert_eq!(freshness(true, 0, now_at(0), bound), Freshness::NotReady);
    // The wall clock of this process may be off by any amount, and may jump.
    for unix_us in [0, NOW - 30_000_000, NOW + 30_000_000, u64::MAX] {
        let now = Now { unix_us, ..now_at(5) };
        assert_eq!(freshness(true, proven, now, bound), Freshness::Fresh);
        let now = Now { unix_us, ..now_at(6) };
        assert_eq!(freshness(true, proven, now, bound), Freshness::Stale);
    }
}

#[test]
fn what_is_not_known_is_refused_and_strict_asks() {
    let config = |mode, on_stale| RevocationConfig { mode, on_stale, ..Default::default() };
    let (replica, strict) = (Mode::Replica, Mode::Strict);
    let (deny, probe) = (OnStale::Deny, OnStale::Probe);
    for (mode, on_stale, freshness, wants_fresh, wanted) in [
        (replica, deny, Freshness::Fresh, false, Gate::Check),
        (replica, deny, Freshness::Fresh, true, Gate::RefreshFirst),
        (replica, deny, Freshness::Stale, false, Gate::Refuse),
        (replica, deny, Freshness::Stale, true, Gate::RefreshFirst),
        (replica, probe, Freshness::Stale, false, Gate::RefreshFirst),
        (strict, deny, Freshness::Fresh, false, Gate::RefreshFirst),
        (replica, probe, Freshness::NotReady, true, Gate::Refuse),
        (strict, probe, Freshness::NotReady, true, Gate::Refuse),
    ] {
        let got = gate(&config(mode, on_stale), freshness, wants_fresh);
        assert_eq!(got, wanted, "{mode:?} {on_stale:?} {freshness:?} {wants_fresh}");
    }
}

#[test]
fn a_loss_is_seen_and_exactly_what_the_stream_lacks_is_published() {
    let (mut follower, sets) = follower();
    // The stream begins again, perhaps with ids that are higher than ours.
    let took = take(&mut follower, &sets, &read(false, &[(40, token(4))]));
    assert_eq!((took, follower.cursor().id), (ReadOutcome::Loss, Id::START));
    // Another process has published 2 already, and 3 with too early an end.
    let short = Entry::Token { name: 3, until: MINUTE + 9 };
    let entries = [(40, token(4)), (50, token(2)), (60, short)];
    let took = take(&mut follower, &sets, &read(false, &entries));
    assert_eq!(took, ReadOutcome::Tail);
    let mut missing = follower.next_missing();
    missing.sort_by_key(Entry::encode);
    assert_eq!(missing, [token(1), token(3)]);
    assert!(!follower.is_missing());
    assert_eq!(sets.counts().tokens, 4);
    // They were not stored, so they are still missing.
    follower.put_back(missing);
    assert_eq!(follower.missing(), 2);
}

#[test]
fn what_is_read_together_with_a_loss_is_kept_and_published_again() {
    let (mut follower, sets) = follower();
    assert_eq!(take(&mut follower, &sets, &read(false, &[(40, token(4))])), ReadOutcome::Loss);
    assert_eq!(take(&mut follower, &sets, &read(false, &[])), ReadOutcome::Tail);
    let mut missing = follower.next_missing();
    missing.sort_by_key(Entry::encode);
    assert_eq!(missing, [token(1), token(2), token(3), token(4)]);
}

#[test]
fn subjects_sessions_and_keys_are_published_again_unless_the_stream_says_as_much() {
    let (mut follower, sets) = follower();
    let subject = |before_s| Entry::Subject { name: 1, before_s, until: MINUTE + 10 };
    let session = |until| Entry::Session { name: 2, until: MINUTE + until };
    let key = Entry::Key { name: 3 };
    let all = [(40, subject(100)), (50, session(5)), (60, key)];
    take(&mut follower, &sets, &read(true, &all));
    assert_eq!(take(&mut follower, &sets, &read(false, &[])), ReadOutcome::Loss);
    let less = [(70, subject(99)), (80, session(4)), (90, token(1)), (91, token(2))];
    take(&mut follower, &sets, &read(true, &less));
    assert_eq!(follower.missing(), 4);
    let more = [(92, subject(101)), (93, session(6)), (94, key), (95, token(3))];
    take(&mut follower, &sets, &read(true, &more));
    assert!(!follower.is_missing());
    assert_eq!(sets.subject_before(1), Some(101));
}

#[test]
fn an_acknowledged_revocation_that_a_failed_primary_took_along_is_published_again() {
    let (mut follower, sets) = follower();
    sets.apply(&token(5), MINUTE).unwrap();
    follower.acknowledged(id(40), token(5));
    follower.reading();
    // While the new primary is read, another revocation is stored there.
    follower.acknowledged(id(45), token(6));
    // The end of the new primary's stream is before the first entry, and no process writes more.
    take(&mut follower, &sets, &read(true, &[]));
    assert_eq!(follower.missing(), 1);
    assert_eq!(follower.next_lost(), [token(5)]);
    follower.reading();
    take(&mut follower, &sets, &read(true, &[(45, token(6))]));
    assert_eq!((follower.missing(), follower.next_lost()), (0, vec![]));
    // An entry that is read at its acknowledged id is there. So is one whose acknowledgement
    // arrives after the read.
    follower.acknowledged(id(60), token(7));
    follower.reading();
    take(&mut follower, &sets, &read(true, &[(60, token(7)), (70, token(8))]));
    follower.acknowledged(id(70), token(8));
    follower.reading();
    take(&mut follower, &sets, &read(true, &[(80, token(9))]));
    assert_eq!(follower.missing(), 0);
}

#[test]
fn an_entry_of_another_process_in_the_place_of_one_that_was_lost_does_not_stand_for_it() {
    for place in [40, 50] {
        let (mut follower, sets) = follower();
        sets.apply(&token(5), MINUTE).unwrap();
        follower.acknowledged(id(40), token(5));
        follower.reading();
        // The next primary is behind and assigns the id again: to another process, or to this one.
        follower.acknowledged(id(place), token(6));
        follower.reading();
        take(&mut follower, &sets, &read(true, &[(40, token(7)), (50, token(6))]));
        let lost = follower.next_lost();
        assert!(lost.contains(&token(5)), "{place}");
        assert_eq!(lost.contains(&token(6)), place == 40);
    }
}

#[test]
fn what_was_stored_here_last_is_published_first_when_all_is_lost() {
    let (mut follower, sets) = follower();
    sets.apply(&token(5), MINUTE).unwrap();
    follower.acknowledged(id(40), token(5));
    follower.reading();
    assert_eq!(take(&mut follower, &sets, &read(false, &[])), ReadOutcome::Loss);
    assert_eq!(follower.next_lost(), [token(5)]);
    follower.still_lost(vec![token(5)]);
    assert_eq!(follower.next_lost(), [token(5)], "what was not stored is published again");
}

#[test]
fn after_a_silence_the_end_of_the_stream_proves_nothing_until_the_others_are_back() {
    let mut follower = Follower::default();
    let at = |ms| now_at(0).plus(Duration::from_millis(ms));
    // A failover may have happened just before the start.
    for ms in [0, 500, 999] {
        assert!(!follower.proves(at(ms)), "{ms}");
    }
    for ms in [1_000, 1_400, 2_400] {
        assert!(follower.proves(at(ms)), "{ms}");
    }
    // A failover takes three seconds.
    for ms in [5_400, 5_900, 6_399] {
        assert!(!follower.proves(at(ms)), "{ms}");
    }
    assert!(follower.proves(at(6_400)));
    assert!(follower.proves(at(6_900)));
    // Silence in the middle of it starts it again.
    assert!(!follower.proves(at(9_000)));
    assert!(!follower.proves(at(10_001)), "silent again");
    assert!(!follower.proves(at(10_500)));
    assert!(follower.proves(at(11_001)));
}

#[test]
fn who_does_not_decide_again_yet_looks_often() {
    let mut follower = Follower::default();
    let at = |ms| now_at(0).plus(Duration::from_millis(ms));
    assert!(!follower.is_returning(at(0)));
    follower.proves(at(0));
    assert!(follower.is_returning(at(0)), "there for the first time, and waiting for the others");
    follower.proves(at(1_000));
    assert_eq!([at(2_000), at(2_001)].map(|now| follower.is_returning(now)), [false, true]);
    follower.proves(at(5_000));
    assert!(follower.is_returning(at(5_000)), "back, and waiting for the others");
    follower.proves(at(5_900));
    assert!(follower.is_returning(at(5_900)));
    assert!(follower.proves(at(6_000)));
    assert!(!follower.is_returning(at(6_000)));
}

#[test]
fn what_can_not_be_read_is_a_gap() {
    let (mut follower, sets) = follower();
    let read = Read { is_whole: true, entries: vec![(id(40), None)], end: None };
    assert_eq!(follower.take(&read, &sets, MINUTE), Err(Incomplete::Unreadable));
    follower.restart();
    assert_eq!(follower.cursor().id, Id::START);
    assert_eq!(sets.counts().tokens, 3);
}

#[test]
fn a_young_stream_and_one_that_is_being_restored_are_waited_for() {
    let birth = |first, server_ms, restoring| StreamAge { first: id(first), server_ms, restoring };
    let settled = |births: &[(u64, StreamAge)]| {
        let mut settling = Settling::default();
        let over = births.iter().map(|(at, birth)| settling.is_over(birth, now_at(*at)));
        over.collect::<Vec<_>>()
    };
    // An old stream is ready at once.
    assert_eq!(settled(&[(0, birth(1_000, 90_000, false))]), [true]);
    assert_eq!(
        settled(&[(0, birth(1_000, 2_000, false)), (1, birth(1_000, 3_000, false))]),
        [false, true]
    );
    // While another process publishes, and a second longer.
    let restoring = [
        (0, birth(1_000, 90_000, true)),
        (9, birth(1_000, 99_000, true)),
        (9, birth(1_000, 99_000, false)),
        (10, birth(1_000, 99_000, false)),
    ];
    assert_eq!(settled(&restoring), [false, false, false, true]);
    // The server's clock went back: the wait is at most that for a young stream.
    let back = [(0, birth(90_000, 1_000, false)), (2, birth(90_000, 3_000, false))];
    assert_eq!(settled(&back), [false, true]);
}

fn page(needed: impl Fn(usize) -> bool) -> Vec<(Id, Option<Entry>)> {
    let entry = |i: usize| Entry::Token {
        name: i as u64,
        until: if needed(i) { MINUTE + 5 } else { MINUTE - 5 },
    };
    (0..=COMPACT_PAGE).map(|i| (id(i as u64), Some(entry(i)))).collect()
}

#[test]
fn a_page_is_taken_away_where_half_of_it_is_over_and_the_rest_moves() {
    let server_ms = u64::from(MINUTE) * 60_000;
    let plan = compact(&page(|i| i % 2 == 0), MINUTE, server_ms).unwrap();
    assert_eq!((plan.moved.len(), plan.gone.len()), (COMPACT_PAGE / 2, COMPACT_PAGE));
    assert_eq!(compact(&page(|i| i % 3 != 0), MINUTE, server_ms), None);
    // The last entry stays, and so does a page that is not full.
    assert!(!plan.gone.contains(&id(COMPACT_PAGE as u64)));
    assert_eq!(compact(&page(|_| false)[1..], MINUTE, server_ms), None);
    assert_eq!(compact(&[], MINUTE, server_ms), None);
    // A clock that is ahead, ours or the server's, removes no needed entry.
    for (minute, server_ms) in [(u32::MAX, server_ms), (MINUTE, u64::MAX)] {
        let plan = compact(&page(|i| i % 2 == 0), minute, server_ms).unwrap();
        assert_eq!(plan.moved.len(), COMPACT_PAGE / 2);
    }
    // Keys are needed for ever, and an unreadable entry stays.
    let mut keys = page(|_| false);
    keys[7].1 = Some(Entry::Key { name: 1 });
    assert_eq!(compact(&keys, MINUTE, server_ms).unwrap().moved, [Entry::Key { name: 1 }]);
    keys[9].1 = None;
    assert_eq!(compact(&keys, MINUTE, server_ms), None);
    // Young entries stay.
    let mut young = page(|_| false);
    young[COMPACT_PAGE - 1].0 = id(server_ms - 59_000);
    assert_eq!(compact(&young, MINUTE, server_ms), None);
}

/// A server, or the rest of one.
#[derive(Debug, Clone, Default)]
struct Stream {
    /// Each with the number of entries written before it.
    entries: Vec<(Id, Entry, u32)>,
    written: u32,
}

impl Stream {
    fn add(&mut self, entry: Entry) -> Id {
        let next = self.entries.last().map_or(1, |(id, ..)| id.ms + 1);
        self.written += 1;
        self.entries.push((id(next), entry, self.written));
        id(next)
    }

    fn read(&self, cursor: &Cursor) -> Read {
        let place = |(id, entry, number): &(Id, Entry, u32)| Cursor {
            id: *id,
            written: entry.written(number.to_be_bytes()),
        };
        let is_whole = self.entries.iter().any(|item| place(item) == *cursor);
        let behind = self.entries.iter().filter(|(id, ..)| *id > cursor.id).take(READ_PAGE);
        let end = behind.clone().last().map(place);
        let entries = behind.map(|(id, entry, _)| (*id, Some(*entry))).collect();
        Read { is_whole, end, entries }
    }
}

proptest! {
    /// Three processes revoke and read; the server loses everything, or its last entries, at any
    /// moment. Once all have read and published, every acknowledged revocation is in the stream and
    /// in every copy.
    #[test]
    fn no_acknowledged_revocation_is_lost_whatever_the_server_loses(
        steps in proptest::collection::vec((0_usize..5, 0_usize..3), 1..60),
    ) {
        let mut stream = Stream::default();
        let mut all: Vec<_> = (0..3).map(|_| (Follower::default(), sets())).collect();
        let mut names = 0;
        let turn = |process: &mut (Follower, Sets), stream: &mut Stream| {
            let (follower, sets) = process;
            for entry in follower.next_lost() {
                let id = stream.add(entry);
                follower.acknowledged(id, entry);
            }
            follower.reading();
            let read = stream.read(&follower.cursor());
            if follower.take(&read, sets, MINUTE) == Ok(ReadOutcome::Loss) {
                return;
            }
            while follower.is_missing() {
                for entry in follower.next_missing() {
                    let id = stream.add(entry);
                    follower.acknowledged(id, entry);
                }
            }
        };
        for (step, number) in steps {
            let process = &mut all[number];
            match step {
                0 | 1 => {
                    names += 1;
                    process.1.apply(&token(names), MINUTE).unwrap();
                    let id = stream.add(token(names));
                    process.0.acknowledged(id, token(names));
                }
                2 | 3 => turn(process, &mut stream),
                // A new primary whose clock is behind assigns the ids of lost entries again.
                _ => {
                    let kept = stream.entries.len() / (number + 1) * number;
                    stream.entries.truncate(kept);
                }
            }
        }
        for _ in 0..4 {
            for process in &mut all {
                turn(process, &mut stream);
            }
        }
        for name in 1..=names {
            prop_assert!(stream.entries.iter().any(|(_, entry, _)| *entry == token(name)));
        }
        for (_, sets) in &all {
            prop_assert_eq!(sets.counts().tokens, usize::try_from(names).unwrap());
        }
    }
}

/// Few names, so that many entries are about the same thing.
fn entries() -> impl Strategy<Value = Vec<Entry>> {
    let until = || MINUTE - 2..MINUTE + 20;
    let entry = prop_oneof![
        (1u64..4, until()).prop_map(|(name, until)| Entry::Token { name, until }),
        (1u128..4, until()).prop_map(|(name, until)| Entry::Session { name, until }),
        (4u128..7, 90u64..110, until()).prop_map(|(name, before_s, until)| Entry::Subject {
            name,
            before_s,
            until
        }),
        (7u128..9).prop_map(|name| Entry::Key { name }),
        (9u128..11, 60u32..63, until()).prop_map(|(issuer, seconds, until)| {
            Entry::Lifetime { lifetime: Lifetime { issuer, of: Lived::Tokens, seconds }, until }
        }),
    ];
    proptest::collection::vec(entry, 1..60)
}

/// All revocations, sorted.
fn state(sets: &Sets) -> Vec<Vec<u8>> {
    let tokens = sets.tokens(MINUTE).into_iter();
    let tokens = tokens.map(|(name, until)| Entry::Token { name, until });
    let mut all: Vec<_> = tokens.chain(sets.others(MINUTE)).map(|entry| entry.encode()).collect();
    all.sort();
    all
}

fn sets_of<'e>(entries: impl IntoIterator<Item = &'e Entry>) -> Sets {
    let sets = sets();
    for entry in entries {
        sets.apply(entry, MINUTE).unwrap();
    }
    sets
}

/// The end, and the `before`, that `sets` have for the subject of `entry`.
fn kept(sets: &Sets, entry: &Entry) -> Option<(u32, u64)> {
    if let Entry::Token { name, .. } = entry {
        return sets.tokens(MINUTE).get(name).map(|until| (*until, 0));
    }
    let found = sets.others(MINUTE).into_iter().find(|other| name(other) == name(entry))?;
    Some(bounds(&found))
}

fn bounds(entry: &Entry) -> (u32, u64) {
    match *entry {
        Entry::Subject { before_s, until, .. } => (until, before_s),
        Entry::Token { until, .. }
        | Entry::Session { until, .. }
        | Entry::Lifetime { until, .. } => (until, 0),
        Entry::Key { .. } | Entry::Mark => (u32::MAX, 0),
    }
}

proptest! {
    #[test]
    fn entries_in_any_order_come_to_the_same_and_nothing_is_forgotten_before_the_last_of_them(
        (entries, shuffled) in entries().prop_flat_map(|entries| {
            (Just(entries.clone()), Just(entries).prop_shuffle())
        }),
    ) {
        let sets = sets_of(&entries);
        prop_assert_eq!(state(&sets), state(&sets_of(&shuffled)));
        for entry in entries.iter().filter(|entry| entry.is_needed(MINUTE)) {
            let (until, before_s) = kept(&sets, entry).unwrap();
            let (least, least_s) = bounds(entry);
            prop_assert!(until >= least && before_s >= least_s, "{entry:?}");
        }
    }

    #[test]
    fn what_is_published_again_after_a_loss_gives_a_new_process_all_that_was_there(
        (entries, left) in entries().prop_flat_map(|entries| {
            let most = entries.len();
            (Just(entries.clone()), proptest::sample::subsequence(entries, 0..=most))
        }),
    ) {
        let numbered = |entries: &[Entry]| -> Vec<(u64, Entry)> { (1..).zip(entries.iter().copied()).collect() };
        let (mut follower, sets) = (Follower::default(), sets());
        take(&mut follower, &sets, &read(false, &numbered(&entries)));
        take(&mut follower, &sets, &read(false, &[]));
        take(&mut follower, &sets, &read(true, &numbered(&left)));
        let mut stream = left;
        while follower.is_missing() {
            stream.extend(follower.next_missing());
        }
        prop_assert_eq!(state(&sets_of(&stream)), state(&sets));
    }
}
