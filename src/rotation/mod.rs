//! Signing keys that change by themselves.
//!
//! What it stops: a signing key that is never changed signs for whoever has copied it, for years;
//! and a change that is made by hand logs everybody out, since somebody still verifies with the old
//! key or does not know the new one yet.
//!
//! There is always a key that signs and a *next* key, which is published and signs nothing yet.
//! When its time comes the next one signs, another next one is made, and the old one is *retired*:
//! it stays until the last token that it signed has expired, which is `maxLifetime` and the largest
//! clock tolerance later. The moments are in the state, which all processes read from one place, so
//! they change keys at the same second without a word, and each knows every key before a token is
//! signed with it.
//!
//! | moment | what is published | what signs |
//! |---|---|---|
//! | first start | A, B | A |
//! | `every` later | A, B, C | B |
//! | and `maxLifetime` and three minutes of running time later | B, C | B |
//!
//! A next key is published for at least `overlap` before it signs, also after the service was down
//! when it was due. `rotate()` does not wait for that: it is for a key that has leaked.
//!
//! # Clocks that are wrong
//!
//! Any process may have a wall clock that is ahead, behind, or set while it runs, and can't see
//! that. So a wall clock decides only what does no harm when it is decided wrongly: which of the
//! published keys signs. A key is deleted after running time that processes have seen pass
//! (`sight.rs`); the rules are in `plan.rs`. As long as one clock is right:
//!
//! 1. No token of a process whose clock is right is refused for want of its key before it expires.
//! 2. A key signs when its process has seen it in the storage for two minutes, so the others, which
//!    look once a minute, verify it. Three processes can do no more than believe the state, and the
//!    others verify what they sign at their next look: one that has just started and is told to
//!    `rotate()`, the first to go on after all of them were stopped, and one that has started from
//!    an older text.
//! 3. A retired key is deleted when processes that run for longer than a ninetieth of its time have
//!    seen that time pass, and were able to look meanwhile.
//! 4. There are never more than a hundred keys.
//!
//! The files: `plan.rs` decides, with the time and with what was seen handed in and nothing else;
//! `state.rs` is the text; `make.rs` makes keys; `file.rs` keeps the state in a file, which
//! `private.rs` opens and `lock.rs` locks. Where the state is kept by callbacks, the edge calls
//! them, and [`Rotation::take`] says what to save.

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

/// The longest text of a state: a hundred keys have a tenth of it.
const MAX_BYTES: usize = 1 << 20;
/// How long a look waits for another one of this process.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Why keys were not read, or not changed. The texts name no key.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RotationError {
    /// The file can't be read or written.
    #[error("the key file can't be {0}: {1}")]
    File(&'static str, std::io::ErrorKind),
    /// Others than the owner may read or write the file.
    #[error(
        "the key file may be read by others; run: chmod 600 on it, and make new keys if somebody has read it"
    )]
    Exposed,
    /// Somebody else may have written the file, or be able to take it away.
    #[error("{0}")]
    Untrusted(&'static str),
    /// The file has more than one name.
    #[error(
        "the key file has a second name (a hard link), by which others may reach it; copy it, and put the copy in its place"
    )]
    Linked,
    /// What was read is no set of keys.
    #[error("what was read is no set of signing keys: {0}")]
    Invalid(&'static str),
    /// Another process has been writing for too long.
    #[error("another process is writing the key file; try again")]
    Busy,
    /// This process looks at the file, and its file system does not answer.
    #[error("this process still looks at the key file, whose file system does not answer")]
    Looking,
    /// Tokens of too many keys are still good.
    #[error(
        "there are a hundred keys already, of which tokens may still be good; wait until some are deleted"
    )]
    Full,
    /// No key could be made.
    #[error("no key can be made: the system gives no random numbers")]
    Random,
}

/// Which key signs from when on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    /// What must be saved before anything changes; `None` where nothing is to change.
    pub save: Option<String>,
    /// The `kid` of the newest key that signs now or will sign by a call of `rotate()`.
    pub kid: String,
    /// The second from which it signs.
    pub from_s: u64,
    /// What the operator should know of the clocks of the processes.
    pub notice: Option<String>,
}

/// The keys of an issuer that signs here.
#[derive(Debug)]
pub struct Rotation {
    config: RotationConfig,
    rules: Rules,
    live: RwLock<Arc<State>>,
    /// What this process has seen. One at a time reads and changes.
    turning: Mutex<Turning>,
}

#[derive(Debug, Default)]
struct Turning {
    sights: Sights,
    /// What was not handed out yet.
    notice: Option<String>,
}

impl Rotation {
    /// Without keys yet: see [`Self::open`].
    pub(crate) fn new(config: RotationConfig, max_lifetime: Duration) -> Self {
        let rules = Rules::new(&config, (max_lifetime + MAX_TOLERANCE).as_secs());
        Self { config, rules, live: RwLock::default(), turning: Mutex::default() }
    }

    /// Reads the keys from their file, or makes the first ones. Where callbacks keep them, nothing
    /// is done.
    pub fn open(&self, path: &str, now: Now) -> Result<(), ConfigError> {
        if let Storage::File(path) = &self.config.storage {
            KeyFile::new(path).sweep();
        }
        match self.turn(&mut self.turning.lock(), &|| now, false) {
            // A process that may not write goes on with the keys of others.
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

    /// Whether callbacks keep the keys.
    #[must_use]
    pub fn is_by_callbacks(&self) -> bool {
        matches!(self.config.storage, Storage::Callbacks)
    }

    /// Looks at the file, and changes what is due; with `force` the next key signs as soon as all
    /// processes know it. `None` where callbacks keep the keys. `clock` is read after the file was.
    /// It waits for the file system and for other processes: not for a thread of JavaScript.
    pub fn tick(
        &self,
        clock: &dyn Fn() -> Now,
        force: bool,
    ) -> Result<Option<Turn>, RotationError> {
        // A look that hangs in a dead file system must not gather others behind it.
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
            // What counts is what the file has now.
            let after = self.step(turning, Some(&written), clock(), false)?;
            turn.save = None;
            turn = if force { turn } else { after };
        }
        Ok(Some(turn))
    }

    /// Takes what `load` gave, and says what `save` must be given, if anything. What is to be saved
    /// counts when it is handed in here again, with `force` unset.
    pub fn take(&self, found: Option<&str>, now: Now, force: bool) -> Result<Turn, RotationError> {
        if found.is_some_and(|text| text.len() > MAX_BYTES) {
            return Err(RotationError::Invalid("it is larger than 1 MB"));
        }
        let mut turning = self.turning.lock();
        let turn = self.step(&mut turning, found, now, force)?;
        Ok(Turn { notice: turning.notice.take(), ..turn })
    }

    /// Adopts what was found where it is whole, and plans.
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
            // The file is gone, the keys in use are not: they are written again.
            sights.found_nothing(now);
            State::clone(&known)
        };
        let planned = plan::plan(&state, &self.rules, &turning.sights, now, force)?;
        let save = match found {
            Some(found) if planned.is_same(&found) => {
                // Also where it does not come from what this process had.
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

    /// Whether there are keys.
    #[must_use]
    pub fn is_loaded(&self) -> bool {
        !self.live.read().is_empty()
    }

    /// The key of this name. It is there as long as a token of it may be good.
    pub(crate) fn find(&self, kid: &str) -> Option<Arc<Key>> {
        self.live.read().find(kid)
    }

    /// The key that signs.
    pub(crate) fn signing(&self, now: Now) -> Option<Arc<Key>> {
        self.live.read().signing(now)
    }

    /// What the records of sessions are sealed with; `None` while it is not loaded.
    pub(crate) fn seal_key(&self) -> Option<Arc<SealKey>> {
        self.live.read().seal_key()
    }

    /// The public keys: the ones that signed what may still be good, the one that signs, and the
    /// next.
    pub(crate) fn public(&self) -> Vec<Map<String, Value>> {
        self.live.read().public()
    }

    /// How many keys there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.live.read().len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
