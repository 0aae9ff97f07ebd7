//! Families of refresh tokens in Redis: the script answers as the memory store does, whatever comes
//! in whatever order.

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
use keepstone::keys::{SealKey, Seals};
use keepstone::redis::{Connector, RedisConfig};
use keepstone::session::RedisFamilies;
use keepstone::session::{FamilyKey, MemoryFamilies, Outcome, RefreshConfig, RefreshToken};
use keepstone::store::{Reply, StoreError};
use serde_json::json;

use dice::Dice;
use server::Server;

const REMEMBERED: Duration = Duration::from_secs(3_600);
const SESSION: &str = "a session";
const AUDIENCE: [u8; 16] = [7; 16];

/// What a guard for [`AUDIENCE`] keeps.
fn keeping(rest: &[u8]) -> Vec<u8> {
    [&AUDIENCE, rest].concat()
}

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
    let value = json!({ "reuseWindow": format!("{window_s}s") });
    RefreshConfig::parse("jwt.refresh", Some(&value)).unwrap().unwrap()
}

/// What a server with these secrets seals and takes.
fn seals_of(secrets: &[&str]) -> Seals {
    let key = |secret: &&str| SealKey::derive(secret.as_bytes(), "HS256").unwrap();
    Seals::new(Arc::from("https://id.example"), secrets.iter().map(key).collect()).unwrap()
}

fn seals() -> Seals {
    seals_of(&["the secret of the servers"])
}

/// The successor, `Err(true)` for a replay, `Err(false)` for a token that is none.
fn read(token: &RefreshToken, outcome: Outcome) -> Result<RefreshToken, bool> {
    match outcome {
        Outcome::Next { salt, kept } => {
            assert_eq!(kept, keeping(b"what is kept"));
            Ok(token.successor(&salt))
        }
        Outcome::Reused { session } => {
            assert_eq!(session, SESSION);
            Err(true)
        }
        Outcome::Unknown | Outcome::Unsealed | Outcome::Ahead => Err(false),
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
    fn login(&mut self, place: FamilyKey) {
        let pair = (RefreshToken::first(place).unwrap(), RefreshToken::first(place).unwrap());
        let opening = |token: &RefreshToken| token.opening(SESSION, keeping(b"what is kept"));
        wait(|reply| self.redis.open(opening(&pair.0), self.config, seals(), reply)).unwrap();
        self.memory.open(opening(&pair.1), &self.config, Now::read()).unwrap();
        self.tokens.push(pair);
    }

    /// Uses a token in both and says whether they say the same.
    fn present(&mut self, i: usize) {
        let (ours, theirs) = self.tokens[i].clone();
        let asked = ours.presentation(AUDIENCE).unwrap();
        let found =
            wait(|reply| self.redis.present(asked, self.config, REMEMBERED, seals(), reply))
                .unwrap();
        let found = read(&ours, found);
        let asked = theirs.presentation(AUDIENCE).unwrap();
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
        let place = FamilyKey::of("https://id.example", &round.to_string());
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
    let place = FamilyKey::of("https://id.example", SESSION);
    let token = RefreshToken::first(place).unwrap();
    wait(|reply| families.open(token.opening(SESSION, keeping(b"k")), config(10), seals(), reply))
        .unwrap();
    let present = |token: &RefreshToken| {
        let asked = token.presentation(AUDIENCE).unwrap();
        read_any(
            token,
            wait(|reply| families.present(asked, config(10), REMEMBERED, seals(), reply)).unwrap(),
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
    let place = FamilyKey::of("https://id.example", SESSION);
    let token = RefreshToken::first(place).unwrap();
    let present = || {
        let asked = token.presentation(AUDIENCE).unwrap();
        wait(|reply| families.present(asked, config(10), REMEMBERED, seals(), reply))
    };
    let key = format!("keepstone:r:{}", place.text());
    let mut connection = server.connection();
    assert_eq!(present(), Ok(Outcome::Unknown));
    let long = vec![2; 1 << 20];
    for junk in [&b""[..], b"x", &[b'1'; 128], &[0; 500], &long] {
        redis::cmd("SET").arg(&key).arg(junk).exec(&mut connection).unwrap();
        assert_eq!(present(), Ok(Outcome::Unsealed));
    }
    redis::cmd("DEL").arg(&key).exec(&mut connection).unwrap();
    redis::cmd("LPUSH").arg(&key).arg(1).exec(&mut connection).unwrap();
    assert_eq!(present(), Ok(Outcome::Unsealed), "a record of another type");
    drop(server);
    assert!(present().is_err());
}

/// A session in Redis, as whoever writes there sees it.
struct Sealed {
    server: Server,
    families: Arc<RedisFamilies>,
}

impl Sealed {
    fn new() -> Self {
        let server = Server::start();
        Self { families: families(&server), server }
    }

    fn login(&self, session: &str, kept: &[u8]) -> RefreshToken {
        let token = RefreshToken::first(FamilyKey::of("https://id.example", session)).unwrap();
        let opening = token.opening(session, keeping(kept));
        wait(|reply| self.families.open(opening, config(10), seals(), reply)).unwrap();
        token
    }

    fn key(session: &str) -> String {
        format!("keepstone:r:{}", FamilyKey::of("https://id.example", session).text())
    }

    fn record(&self, session: &str) -> Vec<u8> {
        redis::cmd("GET").arg(Self::key(session)).query(&mut self.server.connection()).unwrap()
    }

    fn write(&self, session: &str, record: &[u8]) {
        let mut set = redis::cmd("SET");
        set.arg(Self::key(session)).arg(record).exec(&mut self.server.connection()).unwrap();
    }

    fn present(&self, token: &RefreshToken, seals: Seals) -> Outcome {
        let asked = token.presentation(AUDIENCE).unwrap();
        wait(|reply| self.families.present(asked, config(10), REMEMBERED, seals, reply)).unwrap()
    }
}

#[test]
fn a_record_that_somebody_has_edited_gives_nothing_and_changes_nothing() {
    let sealed = Sealed::new();
    let token = sealed.login(SESSION, br#"{"sub":"mallory","role":"user"}"#);
    let good = sealed.record(SESSION);
    for at in (0..good.len()).step_by(7).chain([0, 1, good.len() - 33, good.len() - 1]) {
        let mut edited = good.clone();
        edited[at] ^= 1;
        sealed.write(SESSION, &edited);
        assert_eq!(sealed.present(&token, seals()), Outcome::Unsealed, "byte {at}");
        assert!(sealed.record(SESSION) == edited, "nothing is written over what is not ours");
    }
    sealed.write(SESSION, &good);
    assert!(read_any(&token, sealed.present(&token, seals())).is_some());
}

#[test]
fn the_record_of_another_session_gives_nothing_under_a_token_that_was_made_up_for_it() {
    let sealed = Sealed::new();
    let mine = sealed.login("mine", b"mallory");
    sealed.login("root's", b"root");
    // Another one's record at my place, and my record at another one's.
    sealed.write("mine", &sealed.record("root's"));
    assert_eq!(sealed.present(&mine, seals()), Outcome::Unsealed);
    // What a record of mine says of its tokens, with what another one's says of its claims.
    let (root, made_up) = (sealed.record("root's"), sealed.login("root's", b"x"));
    let heads = sealed.record("root's");
    sealed.write("root's", &[&heads[..82], &root[82..]].concat());
    assert_eq!(sealed.present(&made_up, seals()), Outcome::Unsealed);
}

#[test]
fn an_older_record_of_the_session_gives_back_no_token_that_was_used_before_it() {
    let sealed = Sealed::new();
    let first = sealed.login(SESSION, b"kept");
    let second = read_any(&first, sealed.present(&first, seals())).unwrap();
    let old = sealed.record(SESSION);
    let third = read_any(&second, sealed.present(&second, seals())).unwrap();
    sealed.write(SESSION, &old);
    // It is a state that was: the token that was current then is, and no other.
    assert_eq!(sealed.present(&third, seals()), Outcome::Reused { session: SESSION.to_owned() });
    assert_eq!(sealed.present(&second, seals()), Outcome::Reused { session: SESSION.to_owned() });
}

#[test]
fn a_session_goes_on_under_a_new_key_while_the_old_one_is_kept_and_ends_with_it() {
    let sealed = Sealed::new();
    let (old, both, new) = (seals(), ["new", "the secret of the servers"], seals_of(&["new"]));
    let idle = sealed.login("idle", b"kept");
    let busy = sealed.login("busy", b"kept");
    let busy = read_any(&busy, sealed.present(&busy, seals_of(&both))).unwrap();
    assert_eq!(
        sealed.present(&busy, old),
        Outcome::Unsealed,
        "it was sealed anew when it was used"
    );
    let busy = read_any(&busy, sealed.present(&busy, new.clone())).unwrap();
    assert_eq!(sealed.present(&idle, new.clone()), Outcome::Unsealed);
    assert!(read_any(&busy, sealed.present(&busy, new)).is_some());
    assert!(read_any(&idle, sealed.present(&idle, seals_of(&both))).is_some());
}

#[test]
fn a_record_with_no_end_in_the_store_ends_all_the_same() {
    let sealed = Sealed::new();
    let token = RefreshToken::first(FamilyKey::of("https://id.example", SESSION)).unwrap();
    let opening = token.opening(SESSION, keeping(b"kept"));
    let mut short = config(10);
    short.lifetime = Duration::from_millis(200);
    wait(|reply| sealed.families.open(opening, short, seals(), reply)).unwrap();
    let mut persist = redis::cmd("PERSIST");
    persist.arg(Sealed::key(SESSION)).exec(&mut sealed.server.connection()).unwrap();
    std::thread::sleep(Duration::from_millis(400));
    assert_eq!(sealed.present(&token, seals()), Outcome::Unknown);
}

#[test]
fn a_script_that_the_server_has_forgotten_is_sent_again() {
    let server = Server::start();
    let families = families(&server);
    let mut token = RefreshToken::first(FamilyKey::of("i", SESSION)).unwrap();
    wait(|reply| families.open(token.opening(SESSION, keeping(b"")), config(10), seals(), reply))
        .unwrap();
    for _ in 0..3 {
        redis::cmd("SCRIPT").arg("FLUSH").exec(&mut server.connection()).unwrap();
        let asked = token.presentation(AUDIENCE).unwrap();
        let outcome =
            wait(|reply| families.present(asked, config(10), REMEMBERED, seals(), reply)).unwrap();
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
