//! Keys at a URL, with a simulated host and clock: hours pass at once.

mod histories;
mod published;

use crate::remote_keys::{Fetch, FetchError, Fetched, OperatorWarning, RemoteKeys, RemoteState};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::remote_keys::{MAX_WAITING, TIMEOUT};
use crate::token::tests::*;

const URL: &str = "https://id.example.com/jwks";

fn second(s: u64) -> Duration {
    Duration::from_secs(s)
}

/// A guard, its issuer and the host between them.
struct World {
    verifier: Verifier,
    keys: Arc<RemoteKeys>,
    now: Now,
    /// The document that the issuer publishes; `None` while it is unreachable.
    published: Option<Value>,
    etag: Option<&'static str>,
    cache_control: Option<&'static str>,
    fetches: Vec<Fetch>,
    notices: Vec<OperatorWarning>,
}

impl World {
    fn new(more: &Value) -> Self {
        let mut more = more.clone();
        if more.get("discovery").is_none() {
            more["jwks"] = json!(URL);
        }
        let config = config(&more);
        let keys = Arc::clone(config.issuers[0].remote().unwrap());
        Self {
            verifier: Verifier::new(config),
            keys,
            now: now(),
            published: Some(set(&[("p256", "a")])),
            etag: None,
            cache_control: None,
            fetches: Vec::new(),
            notices: Vec::new(),
        }
    }

    fn ready() -> Self {
        let mut world = Self::new(&json!({}));
        world.run(Duration::ZERO);
        assert_eq!(world.state(), RemoteState::Fresh);
        world
    }

    fn state(&self) -> RemoteState {
        self.keys.status(self.now).state
    }

    /// Begins the fetch that is due.
    fn begin(&mut self) -> Option<Fetch> {
        let (fetch, _, notice) = self.keys.due(self.now);
        self.notices.extend(notice);
        self.fetches.extend(fetch.clone());
        fetch
    }

    fn answer(&mut self, fetch: &Fetch) {
        let head = Fetched {
            status: 200,
            etag: self.etag.map(str::to_owned),
            cache_control: self.cache_control.map(str::to_owned),
            ..Fetched::default()
        };
        let notice = match &self.published {
            None => self.keys.answered(fetch.number, Err(FetchError::Network), self.now),
            Some(set) => {
                let body = set.to_string();
                self.keys.answered(fetch.number, Ok((&head, body.as_bytes())), self.now)
            }
        };
        self.notices.extend(notice);
    }

    /// Lets time pass while the host makes the fetches that are due.
    fn run(&mut self, time: Duration) {
        let end = self.now.plus(time);
        loop {
            while let Some(fetch) = self.begin() {
                self.answer(&fetch);
            }
            let wait = self.keys.due(self.now).1.unwrap();
            if self.now.plus(wait) > end {
                self.now = end;
                return;
            }
            self.now = self.now.plus(wait.max(Duration::from_micros(1)));
        }
    }

    fn verify(&self, token: &str) -> Result<Arc<Verified>, TokenError> {
        self.verifier.verify(token, self.now)
    }

    /// Whether the token must wait for its issuer.
    fn waits(&self, token: &str) -> bool {
        matches!(self.verifier.verify_or_wait(token, self.now), Err(VerifyError::Pending(_)))
    }

    /// Adds a waiting receiver. Its reply increments the counter.
    fn wait(&self, told: &Arc<AtomicUsize>) {
        let told = Arc::clone(told);
        let reply = move |_| {
            told.fetch_add(1, Ordering::Relaxed);
        };
        self.keys.wait(Box::new(reply), self.now);
    }

    fn codes(&self) -> Vec<&'static str> {
        self.notices.iter().map(|notice| notice.code).collect()
    }

    /// A token of this hour, signed with a key pair of the test data.
    fn token(&self, pair: &str, kid: &str) -> String {
        let alg = match pair {
            "p256" => jsonwebtoken::Algorithm::ES256,
            "p384" => jsonwebtoken::Algorithm::ES384,
            "rsa" => jsonwebtoken::Algorithm::RS256,
            _ => jsonwebtoken::Algorithm::EdDSA,
        };
        let iat = self.now.unix_seconds();
        let claims = claims_with(&json!({ "iat": iat, "exp": iat + 7_200 }));
        let name = if pair == "ed25519" { "EdDSA".to_owned() } else { format!("{alg:?}") };
        signed_as(&json!({ "alg": name, "kid": kid }).to_string(), &claims, alg, pair)
    }
}

fn member(pair: &str, kid: &str) -> Value {
    let mut jwk = key(pair, "publicJwk");
    jwk["kid"] = json!(kid);
    jwk["use"] = json!("sig");
    jwk
}

fn set(members: &[(&str, &str)]) -> Value {
    let keys: Vec<Value> = members.iter().map(|(pair, kid)| member(pair, kid)).collect();
    json!({ "keys": keys })
}

#[test]
fn before_its_issuer_has_answered_a_token_is_not_refused_but_put_off() {
    let mut world = World::new(&json!({}));
    let token = world.token("p256", "a");
    assert_eq!(world.verify(&token).unwrap_err(), TokenError::KeysUnavailable);
    let refusal = TokenError::KeysUnavailable.to_refusal();
    assert_eq!((refusal.status, refusal.code), (503, "issuer_unavailable"));
    assert_eq!(refusal.headers, [("Retry-After", "1".to_owned())]);
    // The first fetch is in flight, so a caller that can wait does.
    assert!(world.waits(&token));
    world.run(Duration::ZERO);
    assert_eq!(world.verify(&token).unwrap().subject.as_deref(), Some("42"));
    assert!(world.notices.is_empty());
}

#[test]
fn an_hour_without_the_issuer_fails_nothing_and_then_its_tokens_are_put_off() {
    let mut world = World::ready();
    world.published = None;
    let known = world.token("p256", "a");
    world.verify(&known).unwrap();
    for minute in 1..60 {
        world.run(second(60));
        assert!(world.verify(&known).is_ok(), "cached, minute {minute}");
        assert!(world.verify(&world.token("p256", "a")).is_ok(), "new, minute {minute}");
    }
    assert_eq!(world.state(), RemoteState::Failing);
    assert_eq!(world.codes(), ["GUARD_ISSUER_FAILING"], "it is said once");
    world.run(second(120));
    assert_eq!(world.state(), RemoteState::Stale);
    for token in [&known, &world.token("p256", "a"), &world.token("p384", "new")] {
        assert_eq!(world.verify(token).unwrap_err(), TokenError::KeysUnavailable);
    }
    assert_eq!(world.codes(), ["GUARD_ISSUER_FAILING", "GUARD_ISSUER_STALE"]);
    // The retries become less frequent, but there is at least about one a minute.
    let before = world.fetches.len();
    world.run(second(600));
    assert!((10..=21).contains(&(world.fetches.len() - before)));

    world.published = Some(set(&[("p256", "a")]));
    world.run(second(61));
    assert!(world.verify(&known).is_ok());
    assert_eq!(world.codes()[2..], ["GUARD_ISSUER_RECOVERED"]);
}

#[test]
fn how_long_keys_may_be_old_can_be_said() {
    let mut world = World::new(&json!({ "staleFor": "10m" }));
    world.run(Duration::ZERO);
    world.published = None;
    world.run(second(599));
    assert_eq!(world.state(), RemoteState::Failing);
    world.run(second(1));
    assert_eq!(world.state(), RemoteState::Stale);
}

#[test]
fn a_key_that_was_withdrawn_is_refused_from_the_next_fetch_on_though_its_token_was_known() {
    let mut world = World::new(&json!({}));
    world.published = Some(set(&[("p256", "a"), ("p384", "b")]));
    world.run(Duration::ZERO);
    let (gone, kept) = (world.token("p256", "a"), world.token("p384", "b"));
    let first = world.verify(&kept).unwrap();
    world.verify(&gone).unwrap();
    world.published = Some(set(&[("p384", "b")]));
    world.run(second(300));
    assert_eq!(world.verify(&gone).unwrap_err(), TokenError::Algorithm);
    assert!(
        Arc::ptr_eq(&world.verify(&kept).unwrap(), &first),
        "the others are not verified again"
    );
    // A key that is published again is good again.
    world.published = Some(set(&[("p256", "a"), ("p384", "b")]));
    world.run(second(300));
    assert!(world.verify(&gone).is_ok());
}

#[test]
fn another_key_under_the_name_of_an_old_one_ends_the_old_ones_tokens() {
    let mut world = World::ready();
    let old = world.token("p256", "a");
    world.verify(&old).unwrap();
    world.published = Some(set(&[("p384", "a")]));
    world.run(second(300));
    assert!(world.verify(&old).is_err());
    assert!(world.verify(&world.token("p384", "a")).is_ok());
}

#[test]
fn a_flood_of_made_up_kids_causes_one_fetch_in_a_cooldown_and_no_good_token_waits() {
    let mut world = World::ready();
    world.fetches.clear();
    let (good, start) = (world.token("p256", "a"), world.now);
    let payload = segment(Value::Object(claims()).to_string());
    let mut fetched_at = Vec::new();
    // 10^4 tokens in each of these seconds.
    for (second, tick) in
        [0, 1, 29, 30, 60].into_iter().flat_map(|s| (0..10_000).map(move |t| (s, t)))
    {
        world.now = start.plus(Duration::from_micros(second * 1_000_000 + tick * 100));
        let kid = format!("made up {second} {tick}");
        let header = segment(json!({ "alg": "ES256", "kid": kid }).to_string());
        let waits = world.waits(&format!("{header}.{payload}.c2ln"));
        assert!(
            world.verifier.verify_or_wait(&good, world.now).is_ok(),
            "a good token is judged at once"
        );
        let begun = world.begin();
        assert_eq!(
            waits,
            begun.is_some(),
            "the first one begins it, and what came is there at once"
        );
        if let Some(fetch) = begun {
            fetched_at.push(second);
            world.answer(&fetch);
        }
    }
    assert_eq!(fetched_at, [0, 30, 60]);
    assert_eq!(world.keys.status(world.now).keys, 1);
}

#[test]
fn the_first_token_by_a_new_key_is_taken_and_the_cooldown_holds_for_the_next_unknown_one() {
    let mut world = World::ready();
    world.published = Some(set(&[("p256", "a"), ("p384", "b")]));
    let token = world.token("p384", "b");
    assert!(world.waits(&token), "nobody knows `b` yet");
    let told = Arc::new(AtomicUsize::new(0));
    world.wait(&told);
    let fetch = world.begin().unwrap();
    assert!(fetch.headers.contains(&("cache-control", "no-cache".to_owned())));
    assert!(world.waits(&token), "the fetch is on its way");
    assert_eq!(told.load(Ordering::Relaxed), 0);
    world.answer(&fetch);
    assert_eq!(told.load(Ordering::Relaxed), 1);
    assert!(world.verify(&token).is_ok());

    let unknown = world.token("ed25519", "c");
    assert!(!world.waits(&unknown));
    assert_eq!(world.verify(&unknown).unwrap_err(), TokenError::Algorithm);
    world.now = world.now.plus(second(30));
    assert!(world.waits(&unknown));
}

#[test]
fn nobody_waits_for_an_algorithm_that_the_issuer_can_not_have_or_a_kid_it_did_not_name() {
    let mut world = World::new(&json!({ "algorithms": ["ES256", "ES384"] }));
    world.run(Duration::ZERO);
    for header in [
        json!({ "alg": "HS256", "kid": "x" }),
        json!({ "alg": "none", "kid": "x" }),
        json!({ "alg": "RS256", "kid": "x" }),
        json!({ "alg": "ES384" }),
    ] {
        let token = format!("{}.e30.c2ln", segment(header.to_string()));
        assert!(!world.waits(&token), "{header}");
    }
    assert!(world.waits(&format!("{}.e30.c2ln", segment(r#"{"alg":"ES384","kid":"x"}"#))));
}

#[test]
fn a_wait_ends_with_the_fetch_or_after_two_seconds_and_only_so_many_wait() {
    let world = World::ready();
    let token = world.token("p384", "b");
    assert!(world.waits(&token));
    let (told, too_many) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let mut world = world;
    assert!(world.begin().is_some());
    for _ in 0..MAX_WAITING {
        world.wait(&told);
    }
    assert!(!world.waits(&token), "one more is judged by what is known");
    world.wait(&too_many);
    assert_eq!(
        too_many.load(Ordering::Relaxed),
        1,
        "and one who waits all the same is told at once"
    );
    let (_, again, _) = world.keys.due(world.now);
    assert_eq!(again, Some(TIMEOUT));
    world.now = world.now.plus(TIMEOUT);
    assert!(world.begin().is_none(), "there is one fetch at a time");
    assert_eq!(told.load(Ordering::Relaxed), MAX_WAITING);
    // Without a fetch in flight, a wait ends at once.
    let mut world = World::ready();
    world.now = world.now.plus(second(1));
    world.wait(&told);
    assert_eq!(told.load(Ordering::Relaxed), MAX_WAITING + 1);
}

#[test]
fn a_guard_that_is_closed_lets_nobody_wait_and_fetches_nothing() {
    let mut world = World::new(&json!({}));
    let told = Arc::new(AtomicUsize::new(0));
    world.wait(&told);
    let fetch = world.begin().unwrap();
    world.keys.close();
    assert_eq!(told.load(Ordering::Relaxed), 1);
    world.answer(&fetch);
    world.now = world.now.plus(second(900));
    assert_eq!(world.keys.due(world.now), (None, None, None));
    assert_eq!(world.state(), RemoteState::NotReady);
    assert!(!world.waits(&world.token("p256", "a")));
}

#[test]
fn what_has_not_changed_is_not_sent_again_and_counts_as_fetched() {
    let mut world = World::new(&json!({}));
    world.etag = Some("\"v1\"");
    world.run(Duration::ZERO);
    let token = world.token("p256", "a");
    world.now = world.now.plus(second(300));
    let fetch = world.begin().unwrap();
    assert!(fetch.headers.contains(&("if-none-match", "\"v1\"".to_owned())));
    let head = Fetched { status: 304, ..Fetched::default() };
    assert_eq!(world.keys.answered(fetch.number, Ok((&head, b"")), world.now), None);
    assert_eq!(world.keys.status(world.now).age, Some(Duration::ZERO));
    assert!(world.verify(&token).is_ok());

    // The request had no validator, so a 304 is an error.
    let mut world = World::new(&json!({}));
    let fetch = world.begin().unwrap();
    world.keys.answered(fetch.number, Ok((&head, b"")), world.now);
    assert_eq!(world.keys.status(world.now).fault, Some(FetchError::Status(304)));
}

#[test]
fn the_issuer_says_how_often_within_a_minute_and_five() {
    for (says, least, most) in [
        (None, 270, 300),
        (Some("public, max-age=120"), 108, 120),
        (Some("max-age=1"), 54, 60),
        (Some("no-store"), 54, 60),
        (Some("max-age=86400"), 270, 300),
        (Some("max-age=x"), 270, 300),
    ] {
        let mut world = World::new(&json!({}));
        world.cache_control = says;
        world.run(Duration::ZERO);
        let wait = world.keys.due(world.now).1.unwrap();
        assert!((second(least)..=second(most)).contains(&wait), "{says:?}: {wait:?}");
    }
}

#[test]
fn a_late_answer_of_a_fetch_that_was_given_up_changes_nothing() {
    let mut world = World::ready();
    world.now = world.now.plus(second(300));
    let old = world.begin().unwrap();
    world.now = world.now.plus(second(30));
    assert!(world.begin().is_none(), "it has failed now, and is tried again in a moment");
    assert_eq!(world.keys.status(world.now).fault, Some(FetchError::Timeout));
    world.published = Some(set(&[("p384", "b")]));
    world.answer(&old);
    assert!(world.verify(&world.token("p256", "a")).is_ok());
}

#[test]
fn a_wall_clock_that_is_set_changes_nothing_of_when_an_issuer_is_asked_and_how_long_its_keys_count()
{
    const DAY_US: u64 = 86_400_000_000;
    let mut world = World::ready();
    let start_us = world.now.unix_us;
    let walls = [31 * DAY_US, 0, 3_650 * DAY_US, 7].map(|by| start_us.saturating_add(by));
    let set = |world: &mut World, i: usize| {
        world.now.unix_us = if i == 3 { walls[i] - start_us } else { walls[i] };
    };
    let hour = |world: &mut World| {
        let before = world.fetches.len();
        for i in 0..4 {
            set(world, i);
            world.run(second(900));
        }
        world.fetches.len() - before
    };
    // Every five minutes, or slightly earlier.
    assert!((12..=15).contains(&hour(&mut world)));
    assert_eq!(world.state(), RemoteState::Fresh);
    world.published = None;
    // After the first retries, once or twice a minute.
    assert!((58..=140).contains(&hour(&mut world)));
    assert_eq!(world.state(), RemoteState::Stale);
    assert!(world.codes().contains(&"GUARD_ISSUER_STALE"));
}
