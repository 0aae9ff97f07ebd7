//! A Redis whose wall clock a test sets while it runs, by libfaketime.

use std::fs;
use std::ops::Deref;
use std::path::{Path, PathBuf};

use super::redis::Server;

/// Where packages put libfaketime.
const FAKETIME: [&str; 5] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib64/faketime/libfaketimeMT.so.1",
    "/usr/lib/faketime/libfaketimeMT.so.1",
    "/usr/local/lib/faketime/libfaketimeMT.so.1",
];

/// A server with such a clock.
#[derive(Debug)]
pub struct ClockedServer {
    server: Server,
    clock: PathBuf,
}

impl ClockedServer {
    /// Starts it; its clock is right at first.
    pub fn start() -> Self {
        let library = FAKETIME.into_iter().find(|library| Path::new(library).exists());
        let library = library.expect("install libfaketime: apt-get install libfaketime");
        let folder = tempfile::tempdir().unwrap();
        let clock = folder.path().join("clock");
        set(&clock, 0);
        // `__test__/helpers/clock.mjs` says why.
        let env = [
            ("LD_PRELOAD", format!("{library} libc.so.6")),
            ("FAKETIME_TIMESTAMP_FILE", clock.to_str().unwrap().to_owned()),
            ("FAKETIME_NO_CACHE", "1".to_owned()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
            ("DONT_FAKE_MONOTONIC", "1".to_owned()),
        ];
        Self { server: Server::start_in(folder, &env), clock }
    }

    /// Sets the wall clock so many milliseconds ahead of the real time, or behind it.
    pub fn shift_clock(&self, ms: i64) {
        set(&self.clock, ms);
    }
}

impl Deref for ClockedServer {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

/// Renamed, so that no server reads half of it.
fn set(clock: &Path, ms: i64) {
    let new = clock.with_extension("new");
    let sign = if ms < 0 { '-' } else { '+' };
    let (seconds, rest) = (ms.unsigned_abs() / 1000, ms.unsigned_abs() % 1000);
    fs::write(&new, format!("{sign}{seconds}.{rest:03}\n")).unwrap();
    fs::rename(new, clock).unwrap();
}
