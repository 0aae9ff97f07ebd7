//! Random histories of an issuer that changes its keys, is slow, is unreachable and loses requests,
//! checked against the promises of the documentation.

use crate::remote_keys::Fetch;
use proptest::prelude::*;

use super::*;

/// The key pairs and their names.
const PAIRS: [(&str, &str); 3] = [("p256", "a"), ("p384", "b"), ("ed25519", "c")];
const STALE_S: u64 = 3_600;
/// The interval of scheduled fetches while the issuer answers, and the longest duration of one.
const REFRESH_S: u64 = 300;
const FLIGHT_S: u64 = 5;

/// A promise: its id in docs/guides/issuers.md, and its text.
type Promise = (&'static str, &'static str);

const ADDED: Promise = (
    "issuer.added",
    "a key that is published is taken after 5 minutes and 5 s in which the issuer answers",
);
const REMOVED: Promise = (
    "issuer.removed",
    "a key that is not published any more is refused after 5 minutes and 5 s in which the issuer answers",
);
const STALE: Promise =
    ("issuer.stale", "no key is used longer than staleFor after the last good answer");
const GOES_ON: Promise = (
    "issuer.away",
    "a key of the last good answer is taken for staleFor, whatever becomes of the issuer",
);
const ASKED: Promise = (
    "issuer.asked",
    "the issuer is asked once at a time, at most once in 30 s for unknown keys, and else not \
     before 54 s after a good answer and 0.5 s after another one",
);
const PROMISES: [Promise; 5] = [ADDED, REMOVED, STALE, GOES_ON, ASKED];

#[derive(Debug, Clone)]
enum Event {
    /// From now on, the issuer publishes the keys with these bits.
    Publish(u8),
    /// From now on, fetches have this result.
    Become(Manner),
    /// Tokens with unknown keys, one each second.
    Flood(u64),
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Manner {
    /// Answered after this many seconds.
    Answered(u64),
    Failed,
    /// No result arrives, not even an error from the host.
    Lost,
    /// Answered with a document that is not a set.
    Malformed,
}

fn events() -> impl Strategy<Value = Vec<(u64, Event)>> {
    let event = prop_oneof![
        4 => (1..8u8).prop_map(Event::Publish),
        3 => (0..=FLIGHT_S).prop_map(|s| Event::Become(Manner::Answered(s))),
        1 => Just(Event::Become(Manner::Failed)),
        1 => Just(Event::Become(Manner::Lost)),
        1 => Just(Event::Become(Manner::Malformed)),
        2 => (1..90u64).prop_map(Event::Flood),
    ];
    let pause = prop_oneof![3 => 0..60u64, 3 => 60..700u64, 1 => 700..5_000u64];
    proptest::collection::vec((pause, event), 1..20)
}

struct History {
    world: World,
    published: u8,
    manner: Manner,
    /// The fetch in flight, the time of its answer, and the result.
    flight: Option<(Fetch, u64, Manner)>,
    /// The last time that each key was published or withdrawn.
    changed_s: [u64; 3],
    /// The start of the period in which the issuer answers.
    answers_s: Option<u64>,
    /// The time of the last good answer, and its keys.
    good: Option<(u64, u8)>,
    ended: Option<(u64, bool)>,
    wanted_s: Option<u64>,
    second: u64,
}

impl History {
    fn new() -> Self {
        let mut history = Self {
            world: World::new(&json!({})),
            published: 1,
            manner: Manner::Answered(0),
            flight: None,
            changed_s: [0; 3],
            answers_s: Some(0),
            good: None,
            ended: None,
            wanted_s: None,
            second: 0,
        };
        history.edge();
        history
    }

    fn has(keys: u8, key: usize) -> bool {
        keys >> key & 1 == 1
    }

    /// Simulates the host for one second.
    fn edge(&mut self) {
        // Several rounds, to cover both sides of an immediate answer.
        for _ in 0..3 {
            let arrived = self.flight.take_if(|(_, at_s, _)| *at_s <= self.second);
            if let Some((fetch, _, manner)) = arrived {
                self.answer(&fetch, manner);
            }
            if let Some(fetch) = self.world.begin() {
                self.begun(fetch);
            }
        }
    }

    fn begun(&mut self, fetch: Fetch) {
        let now_s = self.second;
        let (id, promise) = ASKED;
        if let Some((_, _, manner)) = &self.flight {
            assert_eq!(*manner, Manner::Lost, "{id}: {promise}");
            self.ended = Some((now_s, false));
        }
        if fetch.headers.iter().any(|(name, _)| *name == "cache-control") {
            let is_early = self.wanted_s.is_some_and(|wanted_s| now_s < wanted_s + 30);
            assert!(!is_early, "{id}: {promise}");
            self.wanted_s = Some(now_s);
        } else if let Some((ended_s, true)) = self.ended {
            assert!(now_s >= ended_s + 54, "{id}: {promise}");
        }
        let takes_s = if let Manner::Answered(s) = self.manner { s } else { 1 };
        let at_s = if self.manner == Manner::Lost { u64::MAX } else { now_s + takes_s };
        self.flight = Some((fetch, at_s, self.manner));
    }

    fn answer(&mut self, fetch: &Fetch, manner: Manner) {
        let members: Vec<_> =
            (0..3).filter(|key| Self::has(self.published, *key)).map(|key| PAIRS[key]).collect();
        self.world.published = match manner {
            Manner::Answered(_) => Some(set(&members)),
            Manner::Malformed => Some(json!({ "keys": 1 })),
            Manner::Failed | Manner::Lost => None,
        };
        self.world.answer(fetch);
        let is_good = matches!(manner, Manner::Answered(_));
        if is_good {
            self.good = Some((self.second, self.published));
        }
        self.ended = Some((self.second, is_good));
    }

    fn pass(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.second += 1;
            self.world.now = self.world.now.plus(second(1));
            self.edge();
            if self.second.is_multiple_of(20) {
                self.judge();
            }
        }
        self.judge();
    }

    fn judge(&self) {
        let now_s = self.second;
        let long_ago = |since_s: u64| since_s + REFRESH_S + FLIGHT_S < now_s;
        for (key, (pair, kid)) in PAIRS.into_iter().enumerate() {
            let token = self.world.token(pair, kid);
            let is_taken = self.world.verify(&token).is_ok();
            let is_published = Self::has(self.published, key);
            if self.answers_s.is_some_and(long_ago) && long_ago(self.changed_s[key]) {
                let (id, promise) = if is_published { ADDED } else { REMOVED };
                assert_eq!(is_taken, is_published, "{id}: {promise}");
            }
            let (id, promise) = STALE;
            let is_fresh = self.good.is_some_and(|(good_s, _)| now_s < good_s + STALE_S);
            assert!(is_fresh || !is_taken, "{id}: {promise}");
            let (id, promise) = GOES_ON;
            let is_known = self.good.is_some_and(|(_, keys)| Self::has(keys, key));
            assert!(is_taken || !(is_fresh && is_known), "{id}: {promise}");
        }
    }

    fn happen(&mut self, event: &Event) {
        match *event {
            Event::Publish(keys) => {
                for key in (0..3).filter(|key| Self::has(keys ^ self.published, *key)) {
                    self.changed_s[key] = self.second;
                }
                self.published = keys;
            }
            Event::Become(manner) => {
                let answers = matches!(manner, Manner::Answered(_));
                // A fetch that was lost before ends only after 30 s.
                let lost = matches!(self.flight, Some((_, _, Manner::Lost)));
                let since_s = if lost { self.second + 30 } else { self.second };
                self.answers_s = answers.then(|| self.answers_s.unwrap_or(since_s));
                self.manner = manner;
            }
            Event::Flood(seconds) => {
                for _ in 0..seconds {
                    let token = self.world.token("p256", &format!("x{}", self.second));
                    assert!(self.world.verify(&token).is_err());
                    self.world.waits(&token);
                    self.pass(1);
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(
        std::env::var("KEEPSTONE_HISTORIES").map_or(24, |text| text.parse().unwrap())
    ))]

    #[test]
    fn whatever_becomes_of_an_issuer_its_promises_hold(history in events()) {
        let mut world = History::new();
        for (pause, event) in &history {
            world.pass(*pause);
            world.happen(event);
        }
        world.pass(700);
    }
}

#[test]
fn every_promise_stands_in_the_documentation_by_its_id() {
    let issuers = include_str!("../../../docs/guides/issuers.md");
    for (id, promise) in PROMISES {
        assert!(issuers.contains(&format!("| `{id}` | {promise} |")), "{id}: {promise}");
    }
}
