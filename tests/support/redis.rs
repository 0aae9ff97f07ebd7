//! A Redis for one test, on a port of its own. It is gone when it is dropped.

use std::io::ErrorKind;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;

use keepstone::redis::{Connector, RedisConfig};
use keepstone::shared_store::SharedStore;
use serde_json::json;
use tempfile::TempDir;

/// A server that keeps nothing.
#[derive(Debug)]
pub struct Server {
    child: Child,
    port: u16,
    _folder: TempDir,
}

impl Server {
    /// Starts it and waits until it answers.
    pub fn start() -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), &[])
    }

    /// As [`Self::start`], in a folder of its own and with more variables in its environment.
    pub fn start_in(folder: TempDir, env: &[(&str, String)]) -> Self {
        let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
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
        let server = Self { child, port, _folder: folder };
        for _ in 0..500 {
            if server.client().get_connection().is_ok() {
                return server;
            }
            sleep(Duration::from_millis(20));
        }
        panic!("the server on port {port} does not answer");
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// A store over it, as a process has it that waits for so many milliseconds.
    pub fn store(&self, prefix: &str, timeout_ms: u64) -> Arc<SharedStore> {
        let options =
            json!({ "url": self.url(), "prefix": prefix, "timeout": format!("{timeout_ms}ms") });
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

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
