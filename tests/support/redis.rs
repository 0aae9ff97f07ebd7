//! A Redis for one test, on a port of its own. It is gone when it is dropped.

use std::fs;
use std::io::ErrorKind;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;

use keepstone::store::SharedStore;
use keepstone::store::redis::{Connector, RedisConfig};
use serde_json::json;
use tempfile::TempDir;

/// Where packages put libfaketime.
const FAKETIME: [&str; 5] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib64/faketime/libfaketimeMT.so.1",
    "/usr/lib/faketime/libfaketimeMT.so.1",
    "/usr/local/lib/faketime/libfaketimeMT.so.1",
];

/// A server that keeps nothing.
#[derive(Debug)]
pub struct Server {
    child: Child,
    port: u16,
    folder: TempDir,
}

impl Server {
    /// Starts it and waits until it answers.
    pub fn start() -> Self {
        Self::start_with(|_| Vec::new())
    }

    /// Starts one whose wall clock [`Self::shift_clock`] sets.
    #[allow(dead_code, reason = "not every test has a clock of its own")]
    pub fn start_with_clock() -> Self {
        let library = FAKETIME.into_iter().find(|library| Path::new(library).exists());
        let library = library.expect("install libfaketime: apt-get install libfaketime");
        Self::start_with(|folder| {
            set_clock(folder, 0);
            // See `__test__/helpers/clock.mjs`.
            let file = clock_file(folder).to_str().unwrap().to_owned();
            [
                ("LD_PRELOAD", format!("{library} libc.so.6")),
                ("FAKETIME_TIMESTAMP_FILE", file),
                ("FAKETIME_NO_CACHE", "1".to_owned()),
                ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
                ("DONT_FAKE_MONOTONIC", "1".to_owned()),
            ]
            .into()
        })
    }

    fn start_with(env: impl FnOnce(&Path) -> Vec<(&'static str, String)>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
        let env = env(folder.path());
        let run = |program: &str| {
            Command::new(program)
                .envs(env.iter().cloned())
                .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
                .args(["--save", "", "--appendonly", "no"])
                .current_dir(folder.path())
                .stdout(Stdio::null())
                .spawn()
        };
        let child = match run("redis-server") {
            Err(error) if error.kind() == ErrorKind::NotFound => run("valkey-server"),
            started => started,
        };
        let child = child.expect("install redis-server: apt-get install redis-server");
        let server = Self { child, port, folder };
        for _ in 0..500 {
            if server.client().get_connection().is_ok() {
                return server;
            }
            sleep(Duration::from_millis(20));
        }
        panic!("the server on port {port} does not answer");
    }

    /// Sets its wall clock so many milliseconds ahead of the real time, or behind it.
    #[allow(dead_code, reason = "not every test has a clock of its own")]
    pub fn shift_clock(&self, ms: i64) {
        set_clock(self.folder.path(), ms);
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// A store over it, as a process has it that waits for so many milliseconds.
    pub fn store(&self, prefix: &str, timeout_ms: u64) -> Arc<SharedStore> {
        let options = json!({ "url": self.url(), "prefix": prefix, "timeout": timeout_ms });
        let config = RedisConfig::parse("store.redis", &options).unwrap();
        SharedStore::open(Arc::new(Connector::new(config, "store.redis").unwrap())).unwrap()
    }

    /// A connection to look into it with.
    pub fn connection(&self) -> redis::Connection {
        self.client().get_connection().unwrap()
    }

    fn client(&self) -> redis::Client {
        redis::Client::open(self.url()).unwrap()
    }
}

fn clock_file(folder: &Path) -> PathBuf {
    folder.join("clock")
}

/// Renamed, so that no server reads half of it.
fn set_clock(folder: &Path, ms: i64) {
    let new = folder.join("clock.new");
    let sign = if ms < 0 { '-' } else { '+' };
    let (seconds, rest) = (ms.unsigned_abs() / 1000, ms.unsigned_abs() % 1000);
    fs::write(&new, format!("{sign}{seconds}.{rest:03}\n")).unwrap();
    fs::rename(new, clock_file(folder)).unwrap();
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
