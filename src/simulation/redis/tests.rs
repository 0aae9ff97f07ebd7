//! The model answers as a real server does.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use redis::{Connection, Value};

use super::{EPOCH_US, Server};

/// A real server, stopped when it is dropped.
struct Real {
    child: Child,
    connection: Connection,
    _folder: tempfile::TempDir,
}

impl Real {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
        let run = |program: &str| {
            Command::new(program)
                .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""])
                .current_dir(folder.path())
                .stdout(Stdio::null())
                .spawn()
        };
        let child = run("redis-server").or_else(|_| run("valkey-server"));
        let child = child.expect("install redis-server: apt-get install redis-server");
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

/// A command about few keys, members and numbers, so that they coincide. `roll` returns a number
/// below its argument.
fn draw(roll: &mut dyn FnMut(usize) -> usize) -> String {
    const SHAPES: [&str; 20] = [
        "GET K",
        "SET K M",
        "SET K M NX PX 100000",
        "SET K v PX S",
        "DEL K K",
        "PEXPIRE K S",
        "HSET K M 1 M 2",
        "HMGET K M M",
        "HDEL K M",
        "HLEN K",
        "ZADD K N M",
        "ZADD K N M",
        "ZREM K M",
        "ZSCORE K M",
        "ZCOUNT K B B",
        "ZREMRANGEBYSCORE K B B",
        "ZRANGEBYSCORE K B B WITHSCORES LIMIT 0 2",
        "ZREVRANGEBYSCORE K B B WITHSCORES LIMIT 1 5",
        "XDEL K I",
        "XRANGE K I I COUNT 3",
    ];
    let mut pick = |words: &[&'static str]| words[roll(words.len())];
    let shape = pick(&SHAPES);
    let words = shape.split(' ').map(|word| match word {
        "K" => pick(&["a", "b", "c"]),
        "M" => pick(&["x", "y", "z", ""]),
        "N" => pick(&["0", "-1", "1.5", "1e3", "7", "x"]),
        // A real clock advances while the clock of the model stands still: no span may end in
        // between.
        "S" => pick(&["0", "-1", "1.5", "1e3", "100000", "x"]),
        "B" => pick(&["-inf", "+inf", "0", "(0", "7", "(7", "1.5", "x"]),
        "I" => pick(&["0-1", "0", "-", "+", "5-0", "bad"]),
        other => other,
    });
    words.collect::<Vec<_>>().join(" ")
}

#[test]
fn every_command_is_answered_as_a_real_server_answers_it() {
    let mut real = Real::start();
    let world = crate::simulation::world::World::chance(42);
    let count = std::env::var("KEEPSTONE_COMMANDS").ok().and_then(|text| text.parse().ok());
    let mut roll = |end: usize| usize::try_from(world.roll(end as u64)).unwrap();
    for _ in 0..count.unwrap_or(500) {
        let mut model = Server::new(1, true);
        real.run(&words("FLUSHALL")).unwrap();
        let mut history = Vec::new();
        for _ in 0..40 {
            let text = draw(&mut roll);
            let command = words(&text);
            // With several errors at once, either may be returned.
            let answer = model.run(0, &command).map_err(drop);
            history.push(text);
            assert_eq!(answer, real.run(&command).map_err(drop), "{history:#?}");
        }
    }
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
    // Ids and remaining times differ; all other answers are equal.
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
