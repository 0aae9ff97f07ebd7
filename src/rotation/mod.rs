//! Automatic rotation of signing keys.
//!
//! It stops two failures. An attacker who has copied a signing key that never changes can sign for
//! years. A rotation by hand logs users out: some process still verifies with the old key only, or
//! does not have the new one yet.
//!
//! There is always a key that signs and a *next* key, which is published and does not sign yet.
//! When its time comes, it signs, a new next key is made, and the old key is *retired*. A retired
//! key stays until the last token that it signed has expired, which is `maxLifetime` and the
//! largest clock tolerance later. The times are in the state, which all processes read from one
//! storage. So they rotate at the same second without messages, and each has every key before a
//! token is signed with it.
//!
//! | time | published | signs |
//! |---|---|---|
//! | first start | A, B | A |
//! | `every` later | A, B, C | B |
//! | and `maxLifetime` and three minutes of running time later | B, C | B |
//!
//! A next key is published for at least `overlap` before it signs, even if the service was down
//! when it was due. `rotate()` does not wait for that: it is for a leaked key.
//!
//! # Wrong clocks
//!
//! Any process may have a wall clock that is ahead, behind, or set while it runs, and cannot detect
//! it. So a wall clock decides only which of the published keys signs, where a wrong decision does
//! no harm. A key is deleted after running time that processes have observed (`sight.rs`); the
//! rules are in `plan.rs`. While at least one clock is right:
//!
//! 1. A token of a process with a right clock is never refused for a missing key before it expires.
//! 2. A key signs after its process has seen it in the storage for two minutes. The other processes
//!    poll once a minute, so they verify its tokens. Three kinds of process must trust the state
//!    instead, and the others verify their tokens only after the next poll: a process that has just
//!    started and gets `rotate()`, the first process to resume after all were stopped, and a
//!    process that has started from an older text.
//! 3. A retired key is deleted after processes have observed its remaining time pass. Each of them
//!    must run for longer than a ninetieth of that time and be able to poll meanwhile.
//! 4. There are never more than a hundred keys.
//!
//! The files: `plan.rs` decides, from the state, the time and the observations alone. `state.rs` is
//! the stored text, and `make.rs` makes keys. `file.rs` keeps the state in a file, which
//! `private.rs` opens and `lock.rs` locks. If callbacks store the state, the JavaScript host calls
//! them, and [`Rotation::take`] returns the text to save.

mod config;
mod file;
mod lock;
mod make;
mod plan;
mod private;
mod sight;
mod state;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use serde_json::{Map, Value};
use thiserror::Error;

pub use config::{RotationConfig, Storage};
use file::KeyFile;
use plan::{MAX_RETIRED, Rules};
use sight::Sights;
use state::State;

use crate::clock::MAX_TOLERANCE;
use crate::clock::Now;
use crate::error::{ConfigCode, ConfigError};
use crate::keys::key::Key;
use crate::keys::seal::SealKey;

/// The maximum size of a stored state. A hundred keys take a tenth of it.
const MAX_BYTES: usize = 1 << 20;
/// The maximum time that a poll waits for another one of this process.
const TIMEOUT: Duration = Duration::from_secs(2);

/// The reason why keys were not read or not changed. The texts name no key.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RotationError {
    /// The file cannot be read or written.
    #[error("the key file can't be {0}: {1}")]
    File(&'static str, std::io::ErrorKind),
    /// Users other than the owner may read or write the file.
    #[error(
        "the key file may be read by others; run: chmod 600 on it, and make new keys if somebody has read it"
    )]
    Exposed,
    /// Another user may have written the file, or may be able to remove it.
    #[error("{0}")]
    Untrusted(&'static str),
    /// The file has more than one name.
    #[error(
        "the key file has a second name (a hard link), by which others may reach it; copy it, and put the copy in its place"
    )]
    Linked,
    /// The stored text is not a set of keys.
    #[error("what was read is no set of signing keys: {0}")]
    Invalid(&'static str),
    /// Another process has held the lock for too long.
    #[error("another process is writing the key file; try again")]
    Busy,
    /// A poll of this process hangs, because the file system does not answer.
    #[error("this process still looks at the key file, whose file system does not answer")]
    Looking,
    /// Tokens of too many keys are still valid.
    #[error(
        "there are a hundred keys already, of which tokens may still be good; wait until some are deleted"
    )]
    Full,
    /// No key could be made.
    #[error("no key can be made: the system gives no random numbers")]
    Random,
}

/// The newest key, and the time from which it signs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    /// The text to save before the change takes effect; `None` if nothing changes.
    pub save: Option<String>,
    /// The `kid` of the newest key that signs now or, after `rotate()`, will sign soon.
    pub kid: String,
    /// The second from which it signs.
    pub from_s: u64,
    /// A warning for the operator about the clocks of the processes.
    pub notice: Option<String>,
}

/// The rotating keys of an issuer.
#[derive(Debug)]
pub struct Rotation {
    config: RotationConfig,
    rules: Rules,
    live: RwLock<Arc<State>>,
    /// The observations of this process. The lock lets one thread at a time read and change the
    /// keys.
    turning: Mutex<Turning>,
}

#[derive(Debug, Default)]
struct Turning {
    sights: Sights,
    /// A warning that was not returned yet.
    notice: Option<String>,
}

impl Rotation {
    /// Without keys at first: see [`Self::open`].
    pub(crate) fn new(config: RotationConfig, max_lifetime: Duration) -> Self {
        let rules = Rules::new(&config, (max_lifetime + MAX_TOLERANCE).as_secs());
        Self { config, rules, live: RwLock::default(), turning: Mutex::default() }
    }

    /// Reads the keys from their file, or makes the first ones. Does nothing if callbacks store the
    /// keys.
    pub fn open(&self, path: &str, now: Now) -> Result<(), ConfigError> {
        if let Storage::File(path) = &self.config.storage {
            KeyFile::new(path).sweep();
        }
        match self.turn(&mut self.turning.lock(), &|| now, false) {
            // A process without write access uses the keys of other processes.
            Ok(_) => Ok(()),
            Err(RotationError::File("written", _) | RotationError::Busy) if self.is_loaded() => {
                Ok(())
            }
            Err(error) => {
                let code = match error {
                    RotationError::File(..) | RotationError::Busy => ConfigCode::InvalidOption,
                    _ => ConfigCode::InvalidKey,
                };
                Err(ConfigError::new(code, path, format!("is not usable: {error}")))
            }
        }
    }

    /// Whether callbacks store the keys.
    #[must_use]
    pub fn is_by_callbacks(&self) -> bool {
        matches!(self.config.storage, Storage::Callbacks)
    }

    /// Polls the file and makes the changes that are due. With `force` the next key signs as soon
    /// as all processes have it. Returns `None` if callbacks store the keys. `clock` is read after
    /// the file.
    ///
    /// It blocks on the file system and on other processes: never call it on the JavaScript thread.
    pub fn tick(
        &self,
        clock: &dyn Fn() -> Now,
        force: bool,
    ) -> Result<Option<Turn>, RotationError> {
        // Polls must not queue behind one that hangs in a dead file system.
        let mut turning = self.turning.try_lock_for(TIMEOUT).ok_or(RotationError::Looking)?;
        let turn = self.turn(&mut turning, clock, force)?;
        Ok(turn.map(|turn| Turn { notice: turning.notice.take(), ..turn }))
    }

    fn turn(
        &self,
        turning: &mut Turning,
        clock: &dyn Fn() -> Now,
        force: bool,
    ) -> Result<Option<Turn>, RotationError> {
        let Storage::File(path) = &self.config.storage else { return Ok(None) };
        let file = KeyFile::new(path);
        let found = file.read()?;
        let mut turn = self.step(turning, found.as_deref(), clock(), force)?;
        if turn.save.is_some() {
            let written = file.update(|found| {
                turn = self.step(turning, found, clock(), force)?;
                Ok(turn.save.take())
            })?;
            // The content of the file is authoritative.
            let after = self.step(turning, Some(&written), clock(), false)?;
            turn.save = None;
            turn = if force { turn } else { after };
        }
        Ok(Some(turn))
    }

    /// Takes the result of `load` and returns the text for `save`, if any. The saved text takes
    /// effect when it is passed in here again, without `force`.
    pub fn take(&self, found: Option<&str>, now: Now, force: bool) -> Result<Turn, RotationError> {
        if found.is_some_and(|text| text.len() > MAX_BYTES) {
            return Err(RotationError::Invalid("it is larger than 1 MB"));
        }
        let mut turning = self.turning.lock();
        let turn = self.step(&mut turning, found, now, force)?;
        Ok(Turn { notice: turning.notice.take(), ..turn })
    }

    /// Adopts the found text if it is valid, and plans the next state.
    fn step(
        &self,
        turning: &mut Turning,
        found: Option<&str>,
        now: Now,
        force: bool,
    ) -> Result<Turn, RotationError> {
        let known = Arc::clone(&self.live.read());
        let found = found.filter(|text| !text.trim().is_empty());
        let found = found.map(|text| State::read(text, &known, now)).transpose()?;
        let sights = &mut turning.sights;
        let state = if let Some(found) = &found {
            let state = known.joined(found, self.rules.keep_s(), now);
            let notice = sights.look(&state, &found.written, self.rules.every_s(), now);
            turning.notice = notice.or(turning.notice.take());
            self.adopt(state.clone());
            state
        } else {
            // The file is gone but the keys are in use: write them again.
            sights.found_nothing(now);
            State::clone(&known)
        };
        let planned = plan::plan(&state, &self.rules, &turning.sights, now, force)?;
        let save = match found {
            Some(found) if planned.is_same(&found) => {
                // Adopt it even if it does not descend from the state of this process.
                let mut same = planned.clone();
                same.written = found.written;
                self.adopt(same);
                None
            }
            _ => Some(planned.write(now.unix_seconds())?),
        };
        let (kid, from_s) = planned.newest(now, force).unwrap_or_default();
        Ok(Turn { save, kid, from_s, notice: None })
    }

    fn adopt(&self, state: State) {
        let mut live = self.live.write();
        live.withdraw_for(&state);
        *live = Arc::new(state);
    }

    /// Whether the keys are loaded.
    #[must_use]
    pub fn is_loaded(&self) -> bool {
        !self.live.read().is_empty()
    }

    /// The key with this `kid`. It exists while its tokens may be valid.
    pub(crate) fn find(&self, kid: &str) -> Option<Arc<Key>> {
        self.live.read().find(kid)
    }

    /// The key that signs.
    pub(crate) fn signing(&self, now: Now) -> Option<Arc<Key>> {
        self.live.read().signing(now)
    }

    /// The key that seals session records; `None` while it is not loaded.
    pub(crate) fn seal_key(&self) -> Option<Arc<SealKey>> {
        self.live.read().seal_key()
    }

    /// The public keys: the retired ones, the one that signs, and the next one.
    pub(crate) fn public(&self) -> Vec<Map<String, Value>> {
        self.live.read().public()
    }

    /// The number of keys.
    #[must_use]
    pub fn len(&self) -> usize {
        self.live.read().len()
    }

    /// Whether there are no keys.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
