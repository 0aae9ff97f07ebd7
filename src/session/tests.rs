use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Map, json};

use super::*;
use crate::clock::Now;

fn config() -> RefreshConfig {
    RefreshConfig::default()
}

fn at(seconds: u64) -> Now {
    Now::at_unix_us(1_800_000_000_000_000 + seconds * 1_000_000)
}

fn place() -> FamilyKey {
    FamilyKey::of("https://id.example", "s1")
}

/// The session data of a guard for this audience.
const AUDIENCE: [u8; 16] = [7; 16];
const KEPT: &[u8] = &AUDIENCE;

const REMEMBERED: Duration = Duration::from_secs(3_600);

/// A client of one family in memory.
struct Client {
    families: MemoryFamilies,
    config: RefreshConfig,
}

impl Client {
    fn new(config: RefreshConfig) -> (Self, RefreshToken) {
        let client = Self { families: MemoryFamilies::default(), config };
        let token = client.login(at(0));
        (client, token)
    }

    fn login(&self, now: Now) -> RefreshToken {
        let token = RefreshToken::first(place()).unwrap();
        self.families.open(token.opening("s1", KEPT.to_vec()), &self.config, now).unwrap();
        token
    }

    /// The successor, `Err(true)` for a replay, `Err(false)` for an unknown token.
    fn use_at(&self, token: &RefreshToken, now: Now) -> Result<RefreshToken, bool> {
        let presented = token.presentation(AUDIENCE).unwrap();
        match self.families.present(&presented, &self.config, REMEMBERED, now) {
            Outcome::Next { salt, kept } => {
                assert_eq!(kept, KEPT);
                Ok(token.successor(&salt))
            }
            Outcome::Reused { session } => {
                assert_eq!(session, "s1");
                Err(true)
            }
            Outcome::Unknown | Outcome::Unsealed | Outcome::Ahead => Err(false),
        }
    }
}

#[test]
fn a_token_reads_as_it_was_written_and_in_no_other_form() {
    let token = RefreshToken::first(place()).unwrap();
    let text = token.text();
    assert!(text.starts_with("ksr_") && text.len() == 90, "{}", text.len());
    assert_eq!(RefreshToken::read(&text).unwrap(), token);
    for bad in [
        String::new(),
        "ksr_".to_owned(),
        text.replacen("ksr_", "", 1),
        text.replacen("ksr_", "KSR_", 1),
        format!("{text}="),
        format!("{text}A"),
        format!(" {text}"),
        text.get(..89).unwrap().to_owned(),
    ] {
        assert!(RefreshToken::read(&bad).is_none(), "{}", bad.len());
    }
}

#[test]
fn each_use_gives_another_token_and_the_last_one_is_good() {
    let (client, mut token) = Client::new(config());
    for i in 1..20 {
        let next = client.use_at(&token, at(i * 900)).unwrap();
        assert_ne!(next, token);
        token = next;
    }
}

#[test]
fn a_token_that_was_just_used_gives_the_same_successor_until_the_window_closes() {
    let (client, first) = Client::new(config());
    let next = client.use_at(&first, at(100)).unwrap();
    for seconds in [100, 105, 109] {
        assert_eq!(client.use_at(&first, at(seconds)), Ok(next.clone()));
    }
    assert_eq!(client.use_at(&first, at(110)), Err(true));
    assert_eq!(client.use_at(&next, at(111)), Err(true), "the family has ended");
}

#[test]
fn a_token_before_the_last_one_ends_the_family_within_the_window_too() {
    let (client, first) = Client::new(config());
    let second = client.use_at(&first, at(1)).unwrap();
    let third = client.use_at(&second, at(2)).unwrap();
    assert_eq!(client.use_at(&first, at(3)), Err(true));
    assert_eq!(client.use_at(&third, at(3)), Err(true));
}

#[test]
fn a_family_ends_with_its_lifetime_however_often_it_is_used() {
    let config = RefreshConfig { lifetime: Duration::from_secs(1_000), ..config() };
    let (client, mut token) = Client::new(config);
    for seconds in [300, 600, 999] {
        token = client.use_at(&token, at(seconds)).unwrap();
    }
    assert_eq!(client.use_at(&token, at(1_000)), Err(false));
}

#[test]
fn a_family_that_nobody_uses_ends_when_it_has_been_idle() {
    let config = RefreshConfig { idle: Some(Duration::from_secs(100)), ..config() };
    let (client, token) = Client::new(config);
    let token = client.use_at(&token, at(99)).unwrap();
    let token = client.use_at(&token, at(198)).unwrap();
    assert_eq!(client.use_at(&token, at(298)), Err(false));
}

#[test]
fn a_made_up_token_ends_no_family() {
    let (client, token) = Client::new(config());
    // An access token contains the session, from which the key of its record can be computed.
    let made_up = RefreshToken::first(place()).unwrap();
    assert_eq!(client.use_at(&made_up, at(1)), Err(false));
    assert_eq!(
        client.use_at(&RefreshToken::first(FamilyKey::of("x", "s1")).unwrap(), at(1)),
        Err(false)
    );
    assert!(client.use_at(&token, at(1)).is_ok());
}

#[test]
fn another_login_in_a_session_takes_the_place_of_the_one_before() {
    let (client, first) = Client::new(config());
    let second = client.login(at(1));
    assert_eq!(client.use_at(&first, at(2)), Err(false));
    assert!(client.use_at(&second, at(2)).is_ok());
}

#[test]
fn a_session_that_was_closed_has_no_token_any_more() {
    let (client, token) = Client::new(config());
    client.families.close(place());
    assert_eq!(client.use_at(&token, at(1)), Err(false));
    assert!(client.families.is_empty());
}

#[test]
fn a_stolen_token_does_not_give_the_tokens_after_its_successor() {
    let (client, first) = Client::new(config());
    let second = client.use_at(&first, at(1)).unwrap();
    let third = client.use_at(&second, at(2)).unwrap();
    // The thief of the first token can only draw other salts.
    let guess = first.successor(&[0; 32]);
    assert!(guess != second && guess.successor(&[0; 32]) != third);
    assert_eq!(client.use_at(&guess, at(3)), Err(true));
}

#[test]
fn of_a_hundred_threads_with_one_token_all_get_one_successor() {
    let (client, token) = Client::new(config());
    let (client, token) = (&client, &token);
    let successors = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..100)
            .map(|_| scope.spawn(move || client.use_at(token, at(1)).unwrap().text()))
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    assert!(successors.iter().all(|text| *text == successors[0]));
    assert!(client.use_at(&RefreshToken::read(&successors[0]).unwrap(), at(2)).is_ok());
}

#[test]
fn what_is_over_is_forgotten() {
    let config = RefreshConfig { lifetime: Duration::from_secs(60), ..config() };
    let families = MemoryFamilies::default();
    for i in 0..2_000 {
        let token = RefreshToken::first(FamilyKey::of("i", &i.to_string())).unwrap();
        families.open(token.opening("s", Vec::new()), &config, at(i)).unwrap();
    }
    assert!(families.len() < 1_000, "{}", families.len());
}

#[test]
fn there_is_a_most_and_nothing_is_dropped_for_one_more() {
    let families = MemoryFamilies::with_room(64 * 100, 64 * 10_000);
    let big = vec![7; 6_000];
    let open = |session: &str, kept: Vec<u8>| {
        let token = RefreshToken::first(FamilyKey::of("i", session)).unwrap();
        families.open(token.opening(session, kept), &config(), at(0)).map(|()| token)
    };
    // Shards are chosen at random: no shard has room for two such families.
    let kept: Vec<_> = (0..200).filter_map(|i| open(&i.to_string(), big.clone()).ok()).collect();
    assert!(kept.len() <= 64 && families.len() == kept.len(), "{}", kept.len());
    let small = MemoryFamilies::with_room(64, 1 << 20);
    let fit = |i: usize| {
        let token = RefreshToken::first(FamilyKey::of("i", &i.to_string())).unwrap();
        small.open(token.opening("s", Vec::new()), &config(), at(0)).is_ok()
    };
    assert!((0..500).filter(|i| fit(*i)).count() <= 64);
    assert_eq!(open("one more", vec![0; 10_000]), Err(CapacityError));
    for token in kept {
        let presented = token.presentation(AUDIENCE).unwrap();
        let outcome = families.present(&presented, &config(), REMEMBERED, at(1));
        assert!(matches!(outcome, Outcome::Next { .. }));
    }
}

#[test]
fn what_a_family_keeps_is_read_as_it_was_written() {
    let claims = json!({ "sub": "ada", "sid": "s1", "role": ["a", "b"] });
    let kept = SessionData {
        audience: AUDIENCE,
        login_s: 7,
        expires_in_s: Some(60),
        claims: claims.as_object().unwrap().clone(),
    };
    assert!(SessionData::decode(&kept.encode()) == Some(kept.clone()));
    let forever = SessionData { expires_in_s: None, ..kept };
    assert!(SessionData::decode(&forever.encode()) == Some(forever));
    assert!(SessionData::decode(b"").is_none() && SessionData::decode(&[0; 16]).is_none());
}

#[test]
fn a_token_is_used_up_by_no_guard_of_another_audience() {
    let (client, token) = Client::new(config());
    let elsewhere = token.presentation([8; 16]).unwrap();
    let outcome = client.families.present(&elsewhere, &client.config, REMEMBERED, at(1));
    assert!(matches!(outcome, Outcome::Unknown));
    let next = client.use_at(&token, at(100)).unwrap();
    assert!(client.use_at(&next, at(200)).is_ok());
    let mark = |audience: &[&str]| {
        audience_mark(&audience.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>())
    };
    assert_eq!(mark(&["a", "b"]), mark(&["b", "a"]));
    assert!(mark(&["a"]) != mark(&["a", "b"]) && mark(&["ab"]) != mark(&["a", "b"]));
}

#[test]
fn a_token_is_not_used_up_where_the_clock_is_behind_its_session() {
    let families = MemoryFamilies::default();
    let token = RefreshToken::first(place()).unwrap();
    let kept =
        SessionData { audience: AUDIENCE, login_s: 1_000, expires_in_s: None, claims: Map::new() };
    families.open(token.opening("s1", kept.encode()), &config(), at(0)).unwrap();
    let present = |latest_born_s: u64| {
        let presented = token.presentation(AUDIENCE).unwrap().by_clock(0, latest_born_s);
        families.present(&presented, &config(), REMEMBERED, at(100))
    };
    assert!(matches!(present(999), Outcome::Ahead));
    assert!(matches!(present(1_000), Outcome::Next { .. }));
}

#[test]
fn nothing_of_a_token_is_shown() {
    let token = RefreshToken::first(place()).unwrap();
    let shown = format!(
        "{token:?} {:?} {:?}",
        token.opening("s1", Vec::new()),
        token.presentation(AUDIENCE).unwrap()
    );
    assert_eq!(shown, "RefreshToken NewFamily RefreshAttempt");
}

#[test]
fn options_are_judged() {
    let parse =
        |value| RefreshConfig::parse("jwt.refresh", Some(&value)).map_err(|e| e.to_string());
    assert_eq!(RefreshConfig::parse("jwt.refresh", None), Ok(None));
    assert_eq!(parse(json!(false)), Ok(None));
    assert_eq!(parse(json!(true)), Ok(Some(config())));
    assert_eq!(parse(json!({})), Ok(Some(config())));
    let all =
        parse(json!({ "lifetime": "1h", "idle": "1m", "reuseWindow": "0s" })).unwrap().unwrap();
    assert_eq!((all.lifetime.as_secs(), all.reuse_window.as_secs()), (3_600, 0));
    for (value, text) in [
        (json!(1), "`jwt.refresh` must be an object"),
        (json!({ "life": "1h" }), "`jwt.refresh.life` is not an option; did you mean `lifetime`?"),
        (json!({ "lifetime": "59s" }), "`jwt.refresh.lifetime` must be from 1m to 366d"),
        (json!({ "reuseWindow": "61s" }), "`jwt.refresh.reuseWindow` must be from 0s to 1m"),
        (json!({ "idle": "31d" }), "`jwt.refresh.idle` must not be longer than `lifetime`"),
    ] {
        let error = parse(value).unwrap_err();
        assert!(error.starts_with(text), "{error}");
    }
}

/// The rules of the docs: a family as seen by a client that remembers all of its tokens.
struct Model {
    /// All tokens that were returned, the current one last, with the second of their first use.
    tokens: Vec<(RefreshToken, Option<u64>)>,
    killed: bool,
    ends: u64,
    idle_from: u64,
}

impl Model {
    fn expect(
        &mut self,
        i: usize,
        now: u64,
        config: &RefreshConfig,
    ) -> Result<Option<usize>, bool> {
        let idle = config.idle.map_or(u64::MAX, |idle| idle.as_secs());
        if now >= self.ends || !self.killed && now >= self.idle_from.saturating_add(idle) {
            return Err(false);
        }
        if self.killed {
            return Err(true);
        }
        let last = self.tokens.len() - 1;
        if i == last {
            self.tokens[i].1 = Some(now);
            self.idle_from = now;
            return Ok(None);
        }
        let in_window =
            self.tokens[i].1.is_some_and(|used| now - used < config.reuse_window.as_secs());
        if i + 1 == last && in_window {
            return Ok(Some(last));
        }
        self.killed = true;
        Err(true)
    }
}

proptest! {
    #[test]
    fn whatever_is_presented_and_when_a_family_does_what_the_docs_say(
        steps in proptest::collection::vec((0usize..4, 0u64..16), 1..60),
        idle in proptest::option::of(60u64..120),
    ) {
        let config = RefreshConfig {
            lifetime: Duration::from_secs(300), idle: idle.map(Duration::from_secs), ..config()
        };
        let (client, token) = Client::new(config);
        let mut model = Model { tokens: vec![(token, None)], killed: false, ends: 300, idle_from: 0 };
        let mut now = 0;
        for (back, seconds) in steps {
            now += seconds;
            let i = model.tokens.len().saturating_sub(1 + back);
            let token = model.tokens[i].0.clone();
            let expected = model.expect(i, now, &client.config);
            let found = client.use_at(&token, at(now));
            match expected {
                Ok(Some(known)) => prop_assert_eq!(found, Ok(model.tokens[known].0.clone())),
                Ok(None) => {
                    let next = found.unwrap();
                    prop_assert!(model.tokens.iter().all(|(known, _)| *known != next));
                    model.tokens.push((next, None));
                }
                Err(reused) => prop_assert_eq!(found, Err(reused)),
            }
        }
    }
}
