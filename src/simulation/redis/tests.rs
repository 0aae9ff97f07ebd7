//! The model answers as a real server does.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use proptest::prelude::*;
use redis::{Connection, Value};

use super::{EPOCH_US, Server};

/// A real server, gone when it is dropped.
struct Real {
    child: Child,
    connection: Connection,
    _folder: tempfile::TempDir,
}

impl Real {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
        let child = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""])
            .current_dir(folder.path())
            .stdout(Stdio::null())
            .spawn()
            .expect("install redis-server: apt-get install redis-server");
        let client = redis::Client::open(format!("redis://127.0.0.1:{port}")).unwrap();
        let connection = (0..500).find_map(|_| {
            std::thread::sleep(Duration::from_millis(20));
            client.get_connection().ok()
        });
        Self { child, connection: connection.expect("it answers"), _folder: folder }
    }

    /// The answer to a command, or the first word of an error.
    fn run(&mut self, command: &[Vec<u8>]) -> Result<Value, String> {
        let mut cmd = redis::Cmd::new();
        for argument in command {
            cmd.arg(argument);
        }
        cmd.query(&mut self.connection).map_err(|error| {
            let kind = error.code().map(str::to_owned);
            kind.unwrap_or_else(|| "ERR".to_owned())
        })
    }
}

impl Drop for Real {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn words(text: &str) -> Vec<Vec<u8>> {
    text.split(' ').map(|word| word.as_bytes().to_vec()).collect()
}

/// Commands about few keys, members and numbers, so that they meet.
fn commands() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let key = || prop_oneof![Just("a"), Just("b"), Just("c"), Just("s")];
    let name = || prop_oneof![Just("x"), Just("y"), Just("z"), Just("")];
    let number =
        || prop_oneof![Just("0"), Just("-1"), Just("1.5"), Just("1e3"), Just("7"), Just("x")];
    let bound = || {
        prop_oneof![
            Just("-inf"),
            Just("+inf"),
            Just("0"),
            Just("(0"),
            Just("7"),
            Just("(7"),
            Just("1.5"),
            Just("x")
        ]
    };
    let id = || prop_oneof![Just("0-1"), Just("0"), Just("-"), Just("+"), Just("5-0"), Just("bad")];
    let fixed = prop_oneof![
        key().prop_map(|key| format!("GET {key}")),
        (key(), name()).prop_map(|(key, value)| format!("SET {key} {value}")),
        (key(), name()).prop_map(|(key, value)| format!("SET {key} {value} NX PX 100000")),
        (key(), number()).prop_map(|(key, span)| format!("SET {key} v PX {span}")),
        (key(), key()).prop_map(|(one, other)| format!("DEL {one} {other}")),
        (key(), number()).prop_map(|(key, span)| format!("PEXPIRE {key} {span}")),
    ];
    let hashes = prop_oneof![
        (key(), name(), name())
            .prop_map(|(key, one, other)| format!("HSET {key} {one} 1 {other} 2")),
        (key(), name(), name()).prop_map(|(key, one, other)| format!("HMGET {key} {one} {other}")),
        (key(), name()).prop_map(|(key, field)| format!("HDEL {key} {field}")),
        key().prop_map(|key| format!("HLEN {key}")),
    ];
    let sorted = prop_oneof![
        (key(), number(), name())
            .prop_map(|(key, score, name)| format!("ZADD {key} {score} {name}")),
        (key(), name()).prop_map(|(key, name)| format!("ZREM {key} {name}")),
        (key(), name()).prop_map(|(key, name)| format!("ZSCORE {key} {name}")),
        key().prop_map(|key| format!("ZCARD {key}")),
        (key(), bound(), bound()).prop_map(|(key, from, to)| format!("ZCOUNT {key} {from} {to}")),
        (key(), bound(), bound())
            .prop_map(|(key, from, to)| format!("ZREMRANGEBYSCORE {key} {from} {to}")),
        (key(), bound(), bound()).prop_map(|(key, from, to)| format!(
            "ZRANGEBYSCORE {key} {from} {to} WITHSCORES LIMIT 0 2"
        )),
        (key(), bound(), bound()).prop_map(|(key, from, to)| format!(
            "ZREVRANGEBYSCORE {key} {to} {from} WITHSCORES LIMIT 1 5"
        )),
        (key(), bound(), bound())
            .prop_map(|(key, from, to)| format!("ZRANGEBYSCORE {key} {from} {to}")),
    ];
    let streams = prop_oneof![
        (key(), id()).prop_map(|(key, id)| format!("XDEL {key} {id}")),
        (key(), id(), id()).prop_map(|(key, from, to)| format!("XRANGE {key} {from} {to} COUNT 3")),
        (key(), id()).prop_map(|(key, id)| format!("XREAD COUNT 2 STREAMS {key} {id}")),
    ];
    prop_oneof![3 => fixed, 2 => hashes, 4 => sorted, 1 => streams].prop_map(|text| words(&text))
}

#[test]
fn every_command_is_answered_as_a_real_server_answers_it() {
    let real = std::cell::RefCell::new(Real::start());
    let cases = std::env::var("KEEPSTONE_COMMANDS").ok().and_then(|text| text.parse().ok());
    let config = ProptestConfig {
        failure_persistence: None,
        max_shrink_iters: 300,
        ..ProptestConfig::with_cases(cases.unwrap_or(200))
    };
    let histories = proptest::collection::vec(commands(), 1..40);
    proptest!(config, |(history in histories)| {
        let (mut model, mut real) = (Server::new(1, true), real.borrow_mut());
        real.run(&words("FLUSHALL")).unwrap();
        for command in history {
            let answer = model.run(0, &command);
            let answer = answer.map_err(|text| text.split(' ').next().unwrap_or_default().to_owned());
            let shown = command.iter().map(|word| String::from_utf8_lossy(word)).collect::<Vec<_>>().join(" ");
            prop_assert_eq!(answer, real.run(&command), "{}", shown);
        }
    });
}

#[test]
fn entries_of_streams_follow_each_other_and_ends_are_kept() {
    let (mut real, mut model) = (Real::start(), Server::new(1, true));
    for text in [
        "XADD s * v 1",
        "XADD s * v 2",
        "SET k v PX 100000",
        "HSET h f 1",
        "PEXPIRE h 100000",
        "HSET h g 2",
    ] {
        real.run(&words(text)).unwrap();
        model.run(0, &words(text)).unwrap();
    }
    // Ids and what is left are times, and so differ: what follows them is alike.
    for server in
        [&mut |text: &str| real.run(&words(text)), &mut |text: &str| model.run(5_000, &words(text))]
            as [&mut dyn FnMut(&str) -> Result<Value, String>; 2]
    {
        let Ok(Value::Array(entries)) = server("XRANGE s - + COUNT 10") else { panic!("a list") };
        assert_eq!(entries.len(), 2);
        for key in ["k", "h"] {
            let Ok(Value::Int(left)) = server(&format!("PTTL {key}")) else { panic!("a number") };
            assert!((90_000..=100_000).contains(&left), "{key} {left}");
        }
        assert_eq!(server("PTTL s"), Ok(Value::Int(-1)));
        assert_eq!(server("PTTL none"), Ok(Value::Int(-2)));
    }
    assert_eq!(model.run(100_000_000, &words("GET k")), Ok(Value::Nil));
    assert_eq!(model.now_us(7), EPOCH_US + 7);
}

#[test]
fn scripts_see_and_give_what_they_see_and_give_in_a_real_server() {
    let (mut real, mut model) = (Real::start(), Server::new(1, true));
    for script in [
        "return {1, 'a', false, {2.9, true}, 'after', nil, 'lost'}",
        "return redis.call('SET', KEYS[1], ARGV[1])",
        "return redis.call('GET', KEYS[1])",
        "return redis.pcall('ZCARD', KEYS[1])",
        "return redis.call('ZCARD', KEYS[1])",
        "return type(redis.pcall('ZCARD', KEYS[1])) .. string.sub(redis.pcall('ZCARD', KEYS[1]).err, 1, 9)",
        "return redis.call('GET', 'none') == false and 'none' or 'some'",
        "redis.call('ZADD', 'z', 1234567890123456, 'm') return redis.call('ZSCORE', 'z', 'm')",
        "redis.call('SET', 'n', 12345678901234) return redis.call('GET', 'n')",
        "redis.call('SET', 'n', 0.5) return redis.call('GET', 'n')",
        "return struct.pack('<I4dBI2', 4294967295, 1.5, 7, 513)",
        "local a, b, at = struct.unpack('<I4c3', ARGV[1] .. 'xyzw', 3) return {a, b, at}",
        "local a, b = struct.unpack('<Bd', struct.pack('<Bd', 200, 1e15)) return {a, tostring(b)}",
        "return #ARGV .. #KEYS",
        "return string.format('%.0f', 9007199254740991)",
        "return struct.unpack('<I4', 'abc')",
    ] {
        let command =
            [&b"EVAL"[..], script.as_bytes(), b"1", b"key", b"1234567"].map(<[u8]>::to_vec);
        let answer = model.run(0, &command);
        match (answer, real.run(&command)) {
            (Ok(ours), theirs) => assert_eq!(Ok(ours), theirs, "{script}"),
            (Err(_), theirs) => assert!(theirs.is_err(), "{script}"),
        }
    }
    let unknown =
        [&b"EVALSHA"[..], b"0000000000000000000000000000000000000000", b"0"].map(<[u8]>::to_vec);
    assert_eq!(real.run(&unknown), Err("NOSCRIPT".to_owned()));
    assert!(model.run(0, &unknown).unwrap_err().starts_with("NOSCRIPT "));
}
