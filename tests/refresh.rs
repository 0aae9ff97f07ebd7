//! Families of refresh tokens in Redis: the script answers as the memory store does, whatever comes in whatever order.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::needless_pass_by_value,
    unreachable_pub,
    dead_code,
    reason = "helpers of tests are tests"
)]

#[path = "support/dice.rs"]
mod dice;
#[path = "support/redis.rs"]
mod server;

use std::sync::{Arc, mpsc};
use std::time::Duration;

use keepstone::clock::Now;
use keepstone::store::redis::{Connector, RedisConfig, RedisFamilies};
use keepstone::store::{Reply, StoreError};
use keepstone::token::{MemoryFamilies, Outcome, Place, RefreshConfig, RefreshToken};
use serde_json::json;

use dice::Dice;
use server::Server;

const REMEMBERED: Duration = Duration::from_secs(3_600);
const SESSION: &str = "a session";

fn families(server: &Server) -> Arc<RedisFamilies> {
    let config = RedisConfig::parse("store.redis", &json!(server.url())).unwrap();
    RedisFamilies::new(&Arc::new(Connector::new(config, "store.redis").unwrap()))
}

fn wait<T: Send + 'static>(ask: impl FnOnce(Reply<T>)) -> Result<T, StoreError> {
    let (sender, receiver) = mpsc::channel();
    ask(Box::new(move |answer| drop(sender.send(answer))));
    receiver.recv_timeout(Duration::from_secs(20)).unwrap()
}

fn config(window_s: u64) -> RefreshConfig {
    let value = json!({ "reuseWindow": window_s * 1_000 });
    RefreshConfig::parse("jwt.refresh", Some(&value)).unwrap().unwrap()
}

/// The successor, `Err(true)` for a replay, `Err(false)` for a token that is none.
fn read(token: &RefreshToken, outcome: Outcome) -> Result<RefreshToken, bool> {
    match outcome {
        Outcome::Next { salt, kept } => {
            assert_eq!(kept, b"what is kept");
            Ok(token.successor(&salt))
        }
        Outcome::Reused { session } => {
            assert_eq!(session, SESSION);
            Err(true)
        }
        Outcome::Unknown => Err(false),
    }
}

/// Two stores with one family each, whose tokens stand for each other.
struct Both {
    redis: Arc<RedisFamilies>,
    memory: MemoryFamilies,
    config: RefreshConfig,
    tokens: Vec<(RefreshToken, RefreshToken)>,
}

impl Both {
    fn login(&mut self, place: Place) {
        let pair = (RefreshToken::first(place).unwrap(), RefreshToken::first(place).unwrap());
        let opening = |token: &RefreshToken| token.opening(SESSION, b"what is kept".to_vec());
        wait(|reply| self.redis.open(opening(&pair.0), self.config, reply)).unwrap();
        self.memory.open(opening(&pair.1), &self.config, Now::read()).unwrap();
        self.tokens.push(pair);
    }

    /// Uses a token in both and says whether they say the same.
    fn present(&mut self, i: usize) {
        let (ours, theirs) = self.tokens[i].clone();
        let asked = ours.presentation().unwrap();
        let found =
            wait(|reply| self.redis.present(asked, self.config, REMEMBERED, reply)).unwrap();
        let found = read(&ours, found);
        let asked = theirs.presentation().unwrap();
        let wanted = self.memory.present(&asked, &self.config, REMEMBERED, Now::read());
        match (found, read(&theirs, wanted)) {
            (Ok(found), Ok(wanted)) => {
                let known = |(_, token): &(_, RefreshToken)| *token == wanted;
                match self.tokens.iter().position(known) {
                    Some(place) => assert!(self.tokens[place].0 == found, "the same successor"),
                    None => self.tokens.push((found, wanted)),
                }
            }
            (found, wanted) => assert_eq!(found.err(), wanted.err()),
        }
    }
}

#[test]
fn redis_answers_as_memory_does_whatever_is_presented() {
    let server = Server::start();
    let mut dice = Dice::new(7);
    for round in 0..40 {
        let config = config(if round % 2 == 0 { 60 } else { 0 });
        let (redis, memory) = (families(&server), MemoryFamilies::default());
        let mut both = Both { redis, memory, config, tokens: Vec::new() };
        let place = Place::of("https://id.example", &round.to_string());
        both.login(place);
        for _ in 0..25 {
            match dice.between(0, 39) {
                0 => both.login(place),
                1 => {
                    wait(|reply| both.redis.close(place, reply)).unwrap();
                    both.memory.close(place);
                }
                // Mostly the last two: the others end the family at once.
                2 => {
                    let any: Vec<usize> = (0..both.tokens.len()).collect();
                    both.present(*dice.pick(&any));
                }
                roll => {
                    let last = both.tokens.len() - 1;
                    both.present(if roll < 12 { last.saturating_sub(1) } else { last });
                }
            }
        }
    }
}

#[test]
fn no_key_is_without_an_end_and_none_has_a_token() {
    let server = Server::start();
    let families = families(&server);
    let mut connection = server.connection();
    let place = Place::of("https://id.example", SESSION);
    let token = RefreshToken::first(place).unwrap();
    wait(|reply| families.open(token.opening(SESSION, b"k".to_vec()), config(10), reply)).unwrap();
    let present = |token: &RefreshToken| {
        let asked = token.presentation().unwrap();
        read_any(
            token,
            wait(|reply| families.present(asked, config(10), REMEMBERED, reply)).unwrap(),
        )
    };
    let second = present(&token).unwrap();
    let third = present(&second).unwrap();
    let keys: Vec<String> = redis::cmd("KEYS").arg("*").query(&mut connection).unwrap();
    assert_eq!(keys, [format!("keepstone:r:{}", place.text())]);
    let ttl: u64 = redis::cmd("PTTL").arg(&keys[0]).query(&mut connection).unwrap();
    assert!(ttl > 29 * 86_400_000 && ttl <= 30 * 86_400_000, "{ttl}");
    let record: Vec<u8> = redis::cmd("GET").arg(&keys[0]).query(&mut connection).unwrap();
    for token in [token, second, third] {
        let text = token.text();
        let bytes = base64_of(text.get(4..).unwrap());
        assert!(!holds(&record, text.as_bytes()));
        for part in bytes.chunks(16).skip(1) {
            assert!(!holds(&record, part), "neither the name of the family nor a secret");
        }
    }
}

#[test]
fn something_else_in_its_place_is_no_family_and_a_store_that_is_away_is_an_error() {
    let server = Server::start();
    let families = families(&server);
    let place = Place::of("https://id.example", SESSION);
    let token = RefreshToken::first(place).unwrap();
    let present = || {
        let asked = token.presentation().unwrap();
        wait(|reply| families.present(asked, config(10), REMEMBERED, reply))
    };
    let key = format!("keepstone:r:{}", place.text());
    let mut connection = server.connection();
    for junk in [&b""[..], b"x", &[b'1'; 128], &[0; 500]] {
        redis::cmd("SET").arg(&key).arg(junk).exec(&mut connection).unwrap();
        assert_eq!(present(), Ok(Outcome::Unknown));
    }
    redis::cmd("DEL").arg(&key).exec(&mut connection).unwrap();
    redis::cmd("LPUSH").arg(&key).arg(1).exec(&mut connection).unwrap();
    assert_eq!(present(), Err(StoreError::Refused));
    drop(server);
    assert!(present().is_err());
}

#[test]
fn a_script_that_the_server_has_forgotten_is_sent_again() {
    let server = Server::start();
    let families = families(&server);
    let mut token = RefreshToken::first(Place::of("i", SESSION)).unwrap();
    wait(|reply| families.open(token.opening(SESSION, Vec::new()), config(10), reply)).unwrap();
    for _ in 0..3 {
        redis::cmd("SCRIPT").arg("FLUSH").exec(&mut server.connection()).unwrap();
        let asked = token.presentation().unwrap();
        let outcome = wait(|reply| families.present(asked, config(10), REMEMBERED, reply)).unwrap();
        token = read_any(&token, outcome).unwrap();
    }
}

fn read_any(token: &RefreshToken, outcome: Outcome) -> Option<RefreshToken> {
    if let Outcome::Next { salt, .. } = outcome { Some(token.successor(&salt)) } else { None }
}

fn base64_of(text: &str) -> Vec<u8> {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(text).unwrap()
}

fn holds(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}
