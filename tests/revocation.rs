//! Revocations that processes share, against real servers: each test starts a `redis-server` of its
//! own, and two or more copies of the list, as processes have them.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    reason = "helpers of tests are tests"
)]

use std::collections::BTreeMap;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::sleep;
use std::time::Duration;

use keepstone::clock::Now;
use keepstone::keys::Algorithm;
use keepstone::redis::{Connector, RedisConfig};
use keepstone::revocation::{Freshness, Gate, RevocationConfig, RevokeError, SharedRevocations};
use keepstone::store::{Reply, StoreError};
use keepstone::token::{Claims, Fingerprint, Verified};
use serde_json::json;

const HOUR: Duration = Duration::from_secs(3_600);
const STREAM: &str = "keepstone:{rev}";

/// A server on a free port, without anything on disk. It ends with the test.
struct Server {
    child: Child,
    port: u16,
    folder: tempfile::TempDir,
}

impl Server {
    fn start() -> Self {
        Self::start_with(&[])
    }

    fn start_with(options: &[&str]) -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let folder = tempfile::tempdir().unwrap();
        let server = Self { child: spawn(port, &folder, options), port, folder };
        server.wait();
        server
    }

    fn wait(&self) {
        until("the server to answer", || self.try_run::<String>(&["PING"]).is_ok());
    }

    fn restart_empty(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.child = spawn(self.port, &self.folder, &[]);
        self.wait();
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    fn try_run<T: redis::FromRedisValue>(&self, words: &[&str]) -> redis::RedisResult<T> {
        let client = redis::Client::open(format!("redis://127.0.0.1:{}", self.port))?;
        let mut connection = client.get_connection_with_timeout(Duration::from_secs(1))?;
        let mut command = redis::cmd(words[0]);
        for word in &words[1..] {
            command.arg(*word);
        }
        command.query(&mut connection)
    }

    fn run<T: redis::FromRedisValue>(&self, words: &[&str]) -> T {
        self.try_run(words).unwrap()
    }

    fn connector(&self, timeout: &str) -> Arc<Connector> {
        let url = format!("redis://127.0.0.1:{}", self.port);
        let config = RedisConfig::parse("r", &json!({ "url": url, "timeout": timeout })).unwrap();
        Arc::new(Connector::new(config, "r").unwrap())
    }

    /// A copy of the list, as another process would have it.
    fn replica(&self) -> SharedRevocations {
        self.replica_with(&json!({}))
    }

    fn replica_with(&self, options: &serde_json::Value) -> SharedRevocations {
        let config = RevocationConfig::parse("revocation", options, true).unwrap();
        SharedRevocations::new(&self.connector("1s"), config, HOUR, "issuer")
    }

    /// How often each command was called.
    fn calls(&self) -> BTreeMap<String, u64> {
        let text: String = self.run(&["INFO", "commandstats"]);
        let line = |line: &str| {
            let (name, figures) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
            Some((name.to_owned(), figures.split(',').next()?.parse().ok()?))
        };
        text.lines().filter_map(line).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(port: u16, folder: &tempfile::TempDir, options: &[&str]) -> Child {
    Command::new("redis-server")
        .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
        .arg("--port")
        .arg(port.to_string())
        .arg("--dir")
        .arg(folder.path())
        .args(options)
        .stdout(Stdio::null())
        .spawn()
        .expect("install redis-server: apt-get install redis-server")
}

/// Waits for what must come true, looking every millisecond.
fn until(what: &str, mut is_so: impl FnMut() -> bool) -> Duration {
    let start = Now::read().mono_us;
    loop {
        let waited = Duration::from_micros(Now::read().mono_us - start);
        if is_so() {
            return waited;
        }
        assert!(waited < Duration::from_secs(60), "waited in vain for {what}");
        sleep(Duration::from_millis(1));
    }
}

fn freshness(list: &SharedRevocations) -> Freshness {
    list.freshness(Now::read())
}

fn ready(list: &SharedRevocations) -> Duration {
    until("the list to be ready", || freshness(list) == Freshness::Fresh)
}

fn reply() -> (Reply<()>, mpsc::Receiver<Result<(), StoreError>>) {
    let (send, receive) = mpsc::channel();
    let give = move |result| {
        // A test may have lost interest.
        let _ = send.send(result);
    };
    (Box::new(give), receive)
}

fn revoke(list: &SharedRevocations, jti: &str) -> Result<(), StoreError> {
    let (reply, answer) = reply();
    list.revoke_token(jti, None, Now::read(), reply).unwrap();
    answer.recv_timeout(Duration::from_secs(5)).unwrap()
}

fn refresh(list: &SharedRevocations) -> Result<(), StoreError> {
    let (reply, answer) = reply();
    list.refresh(reply);
    answer.recv_timeout(Duration::from_secs(5)).unwrap()
}

fn token(jti: &str) -> Verified {
    Verified {
        claims: Claims::default(),
        issuer: Arc::from("issuer"),
        subject: Some(format!("subject of {jti}")),
        id: Some(jti.to_owned()),
        session: Some(format!("session of {jti}")),
        issued_at: Now::read().unix_seconds(),
        expires_at: Now::read().unix_seconds() + 900,
        key_id: Some(Arc::from(format!("key of {jti}"))),
        alg: Some(Algorithm::Es256),
        confirmation: None,
        fingerprint: Fingerprint::of_jti(jti),
        text_fingerprint: None,
    }
}

/// What a request with this token would be answered: `None` where nobody knows.
fn is_taken(list: &SharedRevocations, jti: &str) -> Option<bool> {
    match list.gate(false, Now::read()) {
        Gate::Check => Some(list.check(&token(jti)).is_ok()),
        Gate::RefreshFirst => refresh(list).ok().map(|()| list.check(&token(jti)).is_ok()),
        Gate::Refuse => None,
    }
}

#[test]
fn a_revocation_reaches_eight_replicas() {
    let server = Server::start();
    let lists: Vec<_> = (0..8).map(|_| server.replica()).collect();
    for list in &lists {
        ready(list);
    }
    let mut times = Vec::new();
    for i in 0..200 {
        let jti = format!("t{i}");
        let start = Now::read().mono_us;
        revoke(&lists[i % 8], &jti).unwrap();
        until("all to know", || lists.iter().all(|list| list.check(&token(&jti)).is_err()));
        times.push(Now::read().mono_us - start);
    }
    times.sort_unstable();
    let ms = |us: u64| Duration::from_micros(us);
    println!(
        "propagation to 8 replicas, acknowledged too: p50 {:?}, p99 {:?}, longest {:?}",
        ms(times[100]),
        ms(times[197]),
        ms(times[199])
    );
    assert_eq!(is_taken(&lists[0], "other"), Some(true));
}

#[test]
fn subjects_sessions_and_keys_reach_other_processes_and_other_issuers_are_left_alone() {
    let server = Server::start();
    let (here, there) = (server.replica(), server.replica());
    let connector = server.connector("1s");
    let stranger =
        SharedRevocations::new(&connector, RevocationConfig::default(), HOUR, "another issuer");
    for list in [&here, &there, &stranger] {
        ready(list);
    }
    let now = Now::read();
    let (subject, session, key) = (reply(), reply(), reply());
    here.revoke_subject("subject of a", None, now, subject.0).unwrap();
    here.revoke_session("session of b", None, now, session.0).unwrap();
    here.revoke_key("key of c", now, key.0).unwrap();
    for answer in [subject.1, session.1, key.1] {
        assert_eq!(answer.recv_timeout(Duration::from_secs(5)), Ok(Ok(())));
    }
    revoke(&here, "d").unwrap();
    let old = |jti| Verified { issued_at: now.unix_seconds() - 1, ..token(jti) };
    for jti in ["a", "b", "c", "d"] {
        until("the other process to know", || there.check(&old(jti)).is_err());
    }
    until("the stranger to have read", || stranger.status(Now::read()).counts.tokens == 1);
    for jti in ["a", "b", "c", "d"] {
        assert_eq!(stranger.check(&old(jti)), Ok(()));
    }
    assert_eq!(there.check(&token("e")), Ok(()));
    assert_eq!(there.subject_before("subject of a"), Some(now.unix_seconds()));
    let (reply, answer) = reply();
    assert_eq!(here.revoke_token("", None, now, reply), Err(RevokeError::Empty));
    assert!(answer.recv().is_err(), "a reply to what was refused");
}

#[test]
fn checks_send_no_command_and_two_guards_share_one_copy() {
    let server = Server::start();
    let connector = server.connector("1s");
    let config = RevocationConfig::default();
    let lists: Vec<_> =
        (0..4).map(|_| SharedRevocations::shared(&connector, config, HOUR, "issuer")).collect();
    ready(&lists[0]);
    assert!(lists.iter().all(|list| freshness(list) == Freshness::Fresh));
    revoke(&lists[0], "a").unwrap();
    let before = server.calls();
    let start = Now::read();
    let checks = 200_000;
    for i in 0..checks {
        assert_eq!(is_taken(&lists[i % 4], "a"), Some(false));
    }
    let waited = Duration::from_micros(Now::read().mono_us - start.mono_us);
    let after = server.calls();
    let reads = after["xread"] - before["xread"];
    println!("{checks} checks in {waited:?}, meanwhile {reads} reads by the feed");
    assert!(u128::from(reads) <= waited.as_millis() / 100 + 5, "{reads}");
    assert_eq!(after.get("xadd"), before.get("xadd"));
    // What a request pays where something of each kind is revoked.
    let now = Now::read();
    lists[0].revoke_subject("x", None, now, reply().0).unwrap();
    lists[0].revoke_session("x", None, now, reply().0).unwrap();
    lists[0].revoke_key("x", now, reply().0).unwrap();
    let good = token("good");
    let start = Now::read().mono_us;
    assert!((0..checks).all(|_| lists[0].check(&good).is_ok()));
    let each = (Now::read().mono_us - start) * 1_000 / checks as u64;
    println!("a check with all four kinds: {each} ns");
    // With the last guard the feed ends, and the next one begins anew.
    drop(lists);
    sleep(Duration::from_millis(1_500));
    let quiet = server.calls()["xread"];
    sleep(Duration::from_secs(1));
    assert_eq!(server.calls()["xread"], quiet);
}

#[test]
fn what_flushall_took_is_published_again_and_is_never_accepted() {
    let server = Server::start();
    let (a, b) = (server.replica(), server.replica());
    ready(&a);
    ready(&b);
    for i in 0..3_000 {
        let (reply, _) = reply();
        a.revoke_token(&format!("t{i}"), None, Now::read(), reply).unwrap();
    }
    revoke(&a, "last").unwrap();
    until("b to know all", || b.status(Now::read()).counts.tokens == 3_001);
    server.run::<()>(&["FLUSHALL"]);
    // A process that starts into the loss must not take the empty stream for the list.
    let late = server.replica();
    let start = Now::read().mono_us;
    let known = until("the late one to decide", || {
        for list in [&a, &b, &late] {
            assert_ne!(is_taken(list, "t7"), Some(true));
            assert_ne!(is_taken(list, "last"), Some(true));
        }
        is_taken(&late, "t7").is_some()
    });
    println!("after FLUSHALL a new process is ready in {known:?}");
    assert_eq!(late.status(Now::read()).counts.tokens, 3_001);
    until("nothing to be missing", || {
        [&a, &b].iter().all(|list| list.status(Now::read()).missing == 0)
    });
    assert!(server.run::<u64>(&["XLEN", STREAM]) < 2 * 3_001, "published more than twice");
    assert!(Now::read().mono_us > start);
    // Once more, without anybody new: what is revoked now counts too.
    server.run::<()>(&["FLUSHALL"]);
    revoke(&b, "after").unwrap();
    until("all to be there again", || server.run::<u64>(&["XLEN", STREAM]) >= 3_002);
    until("a to know", || a.check(&token("after")).is_err());
}

#[test]
fn a_server_that_was_killed_and_comes_back_empty_gets_everything_back() {
    let mut server = Server::start();
    let (a, b) = (server.replica(), server.replica());
    ready(&a);
    ready(&b);
    revoke(&a, "t").unwrap();
    until("b to know", || b.check(&token("t")).is_err());
    server.restart_empty();
    let restart = Now::read().mono_us;
    let late = server.replica();
    until("the late one to decide", || {
        for list in [&a, &b, &late] {
            assert_ne!(is_taken(list, "t"), Some(true));
        }
        is_taken(&late, "t").is_some()
    });
    let back = until("the others to be fresh", || {
        [&a, &b].iter().all(|list| freshness(list) == Freshness::Fresh)
    });
    println!(
        "a new process is ready {:?} after the restart, the others {back:?} later",
        Duration::from_micros(Now::read().mono_us - restart)
    );
    revoke(&b, "u").unwrap();
    until("a to know", || a.check(&token("u")).is_err() && late.check(&token("u")).is_err());
}

#[test]
fn a_server_that_hangs_makes_the_list_stale_and_then_fresh_again() {
    let server = Server::start();
    let list = server.replica_with(&json!({ "maxStaleness": "2s" }));
    let probing = server.replica_with(&json!({ "maxStaleness": "2s", "onStale": "probe" }));
    ready(&list);
    ready(&probing);
    revoke(&list, "t").unwrap();
    until("both to know", || probing.check(&token("t")).is_err());
    server.signal("-STOP");
    let stale = until("it to be stale", || freshness(&list) == Freshness::Stale);
    println!("stale {stale:?} after the server hung, with a bound of 2s");
    assert!(stale <= Duration::from_secs(4), "{stale:?}");
    assert_eq!(is_taken(&list, "u"), None);
    assert_eq!(list.gate(true, Now::read()), Gate::Refuse, "after a silence nothing is proven");
    until("the other to be stale", || freshness(&probing) == Freshness::Stale);
    assert_eq!(probing.gate(false, Now::read()), Gate::Refuse, "nor by asking the store");
    assert_eq!(is_taken(&probing, "u"), None, "the store did not answer, so nobody knows");
    let refused = revoke(&list, "v");
    assert!(matches!(refused, Err(StoreError::Timeout | StoreError::Unavailable)), "{refused:?}");
    assert!(list.check(&token("v")).is_err(), "here it holds at once");
    sleep(Duration::from_secs(4));
    server.signal("-CONT");
    let fresh = until("it to be fresh", || freshness(&list) == Freshness::Fresh);
    println!("fresh {fresh:?} after it went on");
    assert_eq!(is_taken(&list, "u"), Some(true));
    assert_eq!(is_taken(&list, "t"), Some(false));
}

#[test]
fn without_a_server_nothing_is_ready_and_revoking_is_an_error() {
    let server = Server::start();
    let connector = server.connector("100ms");
    drop(server);
    let list = SharedRevocations::new(&connector, RevocationConfig::default(), HOUR, "issuer");
    assert_eq!(freshness(&list), Freshness::NotReady);
    assert_eq!(list.gate(true, Now::read()), Gate::Refuse);
    assert!(revoke(&list, "t").is_err());
    assert!(refresh(&list).is_err());
    assert_eq!(is_taken(&list, "t"), None);
    assert!(list.status(Now::read()).fault.is_some());
}

#[test]
fn a_full_or_read_only_server_is_an_error_of_the_call() {
    let server = Server::start();
    let list = server.replica();
    ready(&list);
    server.run::<()>(&["CONFIG", "SET", "maxmemory", "1"]);
    assert_eq!(revoke(&list, "t"), Err(StoreError::Refused));
    server.run::<()>(&["CONFIG", "SET", "maxmemory", "0"]);
    revoke(&list, "t").unwrap();
    // A primary that became a replica answers reads, of a past that it does not tell.
    let port = Server::start();
    server.run::<()>(&["REPLICAOF", "127.0.0.1", &port.port.to_string()]);
    assert!(revoke(&list, "u").is_err());
    assert!(refresh(&list).is_err());
    until("it to be stale", || freshness(&list) == Freshness::Stale);
    server.run::<()>(&["REPLICAOF", "NO", "ONE"]);
    until("it to be fresh", || freshness(&list) == Freshness::Fresh);
    assert_eq!(is_taken(&list, "t"), Some(false));
}

#[test]
fn a_strict_list_knows_what_another_process_wrote_just_now() {
    let server = Server::start();
    let strict = server.replica_with(&json!({ "mode": "strict" }));
    let other = server.replica();
    ready(&strict);
    ready(&other);
    for i in 0..300 {
        let jti = format!("t{i}");
        assert_eq!(is_taken(&strict, &jti), Some(true));
        revoke(&other, &jti).unwrap();
        assert_eq!(is_taken(&strict, &jti), Some(false), "{jti}");
    }
    // Those who ask at one time share a round trip.
    let before = server.calls()["xread"];
    let answers: Vec<_> = (0..2_000)
        .map(|_| {
            let (reply, answer) = reply();
            strict.refresh(reply);
            answer
        })
        .collect();
    for answer in answers {
        assert_eq!(answer.recv_timeout(Duration::from_secs(5)), Ok(Ok(())));
    }
    let trips = server.calls()["xread"] - before;
    println!("2000 refreshes at once took {trips} reads");
    assert!(trips < 2_000);
}

#[test]
fn a_cluster_is_followed_too() {
    let server = Server::start_with(&["--cluster-enabled", "yes"]);
    server.run::<()>(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]);
    until("the cluster", || server.run::<String>(&["CLUSTER", "INFO"]).contains("state:ok"));
    let url = format!("redis://127.0.0.1:{}", server.port);
    let options = json!({ "cluster": [url], "timeout": "1s" });
    let connector =
        Arc::new(Connector::new(RedisConfig::parse("r", &options).unwrap(), "r").unwrap());
    let new = || SharedRevocations::new(&connector, RevocationConfig::default(), HOUR, "issuer");
    let (a, b) = (new(), new());
    ready(&a);
    ready(&b);
    revoke(&a, "t").unwrap();
    until("b to know", || b.check(&token("t")).is_err());
    revoke(&b, "u").unwrap();
    assert_eq!(refresh(&a), Ok(()));
    assert!(a.check(&token("u")).is_err());
    server.run::<()>(&["FLUSHALL"]);
    until("it to be published again", || server.run::<u64>(&["XLEN", STREAM]) >= 2);
}

#[test]
fn an_entry_that_can_not_be_read_refuses_until_it_is_gone() {
    let server = Server::start();
    let list = server.replica();
    ready(&list);
    let id: String = server.run(&["XADD", STREAM, "*", "v", "\x09 of a later version"]);
    until("it to be seen", || freshness(&list) == Freshness::NotReady);
    assert_eq!(is_taken(&list, "t"), None);
    server.run::<()>(&["XDEL", STREAM, &id]);
    until("it to be ready again", || freshness(&list) == Freshness::Fresh);
}

#[test]
fn the_stream_is_shortened_and_nothing_that_is_needed_is_lost() {
    let server = Server::start();
    // An hour ago: 2000 tokens of which every tenth is still good, and a key.
    let load = "local old = redis.call('TIME')[1] - 3600
        redis.call('XADD', KEYS[1], (old * 1000) .. '-0', 'v', string.char(4) .. string.rep('k', 16))
        for i = 1, 2000 do
            local minute = math.floor(old / 60) + (i % 10 == 0 and 100 or 5)
            redis.call('XADD', KEYS[1], (old * 1000 + i) .. '-0', 'v',
                string.char(1) .. struct.pack('>I4I4I4', i * 2654435761 % 4294967296, i, minute))
        end";
    server.run::<()>(&["EVAL", load, "1", STREAM]);
    let list = server.replica();
    ready(&list);
    until("it to be shortened", || server.run::<u64>(&["XLEN", STREAM]) < 900);
    sleep(Duration::from_secs(1));
    let other = server.replica();
    ready(&other);
    for list in [&list, &other] {
        let counts = list.status(Now::read()).counts;
        assert_eq!((counts.tokens, counts.keys), (200, 1));
        assert_eq!(list.status(Now::read()).missing, 0);
    }
    println!("2001 entries became {}", server.run::<u64>(&["XLEN", STREAM]));
}

#[test]
fn options_of_a_shared_list_are_read_and_judged() {
    use keepstone::revocation::{Mode, OnStale};
    let parse = |options| RevocationConfig::parse("revocation", &options, true);
    let config = parse(json!({})).unwrap();
    assert_eq!((config.mode, config.on_stale), (Mode::Replica, OnStale::Deny));
    assert_eq!(config.max_staleness, Duration::from_secs(5));
    let options = json!({ "mode": "strict", "maxStaleness": "1s", "onStale": "probe" });
    let config = parse(options).unwrap();
    assert_eq!((config.mode, config.on_stale), (Mode::Strict, OnStale::Probe));
    assert_eq!(config.max_staleness, Duration::from_secs(1));
    for (options, path) in [
        (json!({ "mode": "bloom" }), "revocation.mode"),
        (json!({ "onStale": "allow" }), "revocation.onStale"),
        (json!({ "maxStaleness": "999ms" }), "revocation.maxStaleness"),
        (json!({ "maxStaleness": "6m" }), "revocation.maxStaleness"),
        (json!({ "stale": 1 }), "revocation.stale"),
        (json!([]), "revocation"),
    ] {
        assert_eq!(parse(options).unwrap_err().path(), path);
    }
}

/// The time that a process has worked, where the system tells.
fn cpu_ms(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields = stat.rsplit(") ").next().unwrap_or_default().split(' ');
    // In hundredths of a second, on all Linux systems that there are.
    fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum::<u64>() * 10
}

/// A million by default, but where nothing is optimized reading them would take most of a minute.
fn many() -> u64 {
    let wanted = std::env::var("KEEPSTONE_REVOCATIONS").ok().and_then(|text| text.parse().ok());
    wanted.unwrap_or(if cfg!(debug_assertions) { 200_000 } else { 1_000_000 })
}

#[test]
fn a_million_revocations_fit_and_are_read_at_start() {
    let server = Server::start();
    let wanted = many();
    for part in 0..wanted / 100_000 {
        // A millisecond apart, as they would come.
        let load = "local now = redis.call('TIME')[1] * 1000
            local from = tonumber(ARGV[1]) * 100000
            for i = from, from + 99999 do
                redis.call('XADD', KEYS[1], string.format('%d-0', now - 1500000 + i), 'v',
                    string.char(1) .. struct.pack('>I4I4I4', i * 2654435761 % 4294967296,
                        i * 2246822519 % 4294967296, math.floor(now / 60000) + 60))
            end";
        server.run::<()>(&["EVAL", load, "1", STREAM, &part.to_string()]);
    }
    let entries = server.run::<u64>(&["XLEN", STREAM]);
    let bytes = server.run::<u64>(&["MEMORY", "USAGE", STREAM, "SAMPLES", "0"]);
    let cpu = || (cpu_ms(std::process::id()), cpu_ms(server.child.id()));
    let before = cpu();
    let list = server.replica();
    let took = ready(&list);
    let after = cpu();
    let counts = list.status(Now::read()).counts;
    println!(
        "{entries} entries: {:.1} bytes each in Redis, {:.1} in the process, read in {took:?}, \
         of which {} ms of work here and {} ms in the server",
        bytes as f64 / entries as f64,
        counts.token_bytes as f64 / counts.tokens as f64,
        after.0 - before.0,
        after.1 - before.1,
    );
    assert_eq!((entries, counts.tokens as u64), (wanted, wanted));
    assert!(bytes <= 40 * entries, "{bytes}");
    assert!(counts.token_bytes <= 24 * counts.tokens, "{}", counts.token_bytes);
}
