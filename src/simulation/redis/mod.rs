//! A model of a Redis server: it answers the product's commands as a real server does. Its writes
//! reach replicas later, or never.

mod commands;
mod keys;
mod script;

use std::collections::BTreeMap;
use std::sync::Arc;

use redis::Value;

use super::world::Drift;
use commands::Answer;
use keys::{Change, Keys};

pub(crate) use keys::Name;

/// The start of the wall clocks of all servers, in microseconds since 1970.
pub(crate) const EPOCH_US: u64 = 1_800_000_000_000_000;

/// One server.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each may be so by itself")]
pub(crate) struct Server {
    keys: Keys,
    /// The texts of scripts by their digests.
    scripts: BTreeMap<Arc<str>, Arc<str>>,
    /// Its changes, one item for each command that changed a key.
    log: Vec<Vec<Change>>,
    /// Its run id, which a restart changes.
    run: u64,
    pub(crate) is_primary: bool,
    pub(crate) is_alive: bool,
    /// It answers nothing until it is woken, as after `SIGSTOP`.
    pub(crate) hangs: bool,
    /// The error of its wall clock.
    pub(crate) skew_us: i64,
    pub(crate) drift: Drift,
    /// As a replica, the number of the primary's commands that it has.
    pub(crate) has: usize,
    /// It receives nothing from the primary.
    pub(crate) is_held: bool,
}

impl Server {
    pub(crate) fn new(run: u64, is_primary: bool) -> Self {
        Self {
            keys: Keys::default(),
            scripts: BTreeMap::new(),
            log: Vec::new(),
            run,
            is_primary,
            is_alive: true,
            hangs: false,
            skew_us: 0,
            drift: Drift::default(),
            has: 0,
            is_held: false,
        }
    }

    /// Its wall clock, `true_us` after the beginning.
    pub(crate) fn now_us(&self, true_us: u64) -> u64 {
        let wrong_us = self.skew_us + self.drift.at(true_us);
        EPOCH_US.saturating_add(true_us).saturating_add_signed(wrong_us)
    }

    /// The run id of the server: a restart begins another run.
    pub(crate) fn run_number(&self) -> u64 {
        self.run
    }

    /// The number of its changes.
    pub(crate) fn written(&self) -> usize {
        self.log.len()
    }

    /// Runs one command.
    pub(crate) fn run(&mut self, true_us: u64, arguments: &[Name]) -> Answer {
        let name = arguments.first().map(|name| name.to_ascii_uppercase()).unwrap_or_default();
        let answer = match &name[..] {
            b"EVAL" | b"EVALSHA" => self.eval(true_us, name == b"EVALSHA", &arguments[1..]),
            b"SCRIPT" => {
                let (digest, text) = script::known(&arguments[2]);
                self.scripts.insert(Arc::clone(&digest), text);
                Ok(Value::BulkString(digest.as_bytes().to_vec()))
            }
            b"INFO" => Ok(Value::BulkString(format!("run_id:{:040x}\r\n", self.run).into_bytes())),
            _ => self.call(true_us, arguments),
        };
        let changes = self.keys.take_changes();
        if !changes.is_empty() {
            self.log.push(changes);
        }
        answer
    }

    fn call(&mut self, true_us: u64, arguments: &[Name]) -> Answer {
        if !self.is_primary && arguments.first().is_some_and(|name| commands::writes(name)) {
            return Err("READONLY You can't write against a read only replica.".to_owned());
        }
        let now_us = self.now_us(true_us);
        commands::run(&mut self.keys, now_us, arguments)
    }

    fn eval(&mut self, true_us: u64, by_digest: bool, arguments: &[Name]) -> Answer {
        let (digest, text) = if by_digest {
            let digest = std::str::from_utf8(&arguments[0]).unwrap_or_default();
            let unknown = "NOSCRIPT No matching script. Please use EVAL.";
            let (digest, text) = self.scripts.get_key_value(digest).ok_or(unknown)?;
            (Arc::clone(digest), Arc::clone(text))
        } else {
            let (digest, text) = script::known(&arguments[0]);
            self.scripts.insert(Arc::clone(&digest), Arc::clone(&text));
            (digest, text)
        };
        let count: usize = String::from_utf8_lossy(&arguments[1]).parse().unwrap_or(0);
        let (keys, rest) = arguments[2..].split_at(count);
        let mut call = |arguments: &[Name]| {
            if arguments.first().is_some_and(|name| name == b"INFO") {
                return Ok(Value::BulkString(format!("run_id:{:040x}\r\n", self.run).into_bytes()));
            }
            self.call(true_us, arguments)
        };
        script::run(&digest, &text, keys, rest, &mut call)
    }

    /// `FLUSHALL`.
    pub(crate) fn flush(&mut self) {
        self.keys.clear();
        self.log.push(self.keys.take_changes());
    }

    /// Evicts the key at this index, as a server that is out of memory does.
    pub(crate) fn evict(&mut self, number: usize) {
        let count = self.keys.names().count();
        let name = self.keys.names().nth(number % count.max(1)).cloned();
        if let Some(name) = name {
            self.keys.remove(&name);
            self.log.push(self.keys.take_changes());
        }
    }

    /// Becomes a copy of `primary` as it was after `written` commands.
    pub(crate) fn take_over(&mut self, primary: &Self, written: usize) {
        self.keys = Keys::default();
        self.log = primary.log[..written].to_vec();
        for change in self.log.iter().flatten() {
            self.keys.apply(change);
        }
        self.is_primary = true;
    }

    /// Restarts with the data it had after `written` commands, as from a file.
    pub(crate) fn restart(&mut self, run: u64, written: usize) {
        self.run = run;
        self.scripts.clear();
        self.log.truncate(written);
        self.keys = Keys::default();
        for change in self.log.iter().flatten() {
            self.keys.apply(change);
        }
        (self.is_alive, self.hangs) = (true, false);
    }
}

mod tests;
