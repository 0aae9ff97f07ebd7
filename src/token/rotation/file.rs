//! A state in a file that processes of one machine, or of one volume, share.
//!
//! Who changes it holds a lock file, writes a second file that only its owner can read, and puts that in the place of the first
//! one, so that whoever reads finds the old state or the new one. The first state is put there by a
//! rename that fails where there is one already: two processes that start at once can't each have
//! keys of their own. `private.rs` says which file is read.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{RotationError, private};
use crate::clock::Now;

const MAX_BYTES: u64 = 1 << 20;
/// A lock that is older was left by a process that is gone.
const LOCK_AGE_S: u64 = 10;
const TRIES: u32 = 100;
const PAUSE: Duration = Duration::from_millis(5);

/// A file with keys.
pub(super) struct KeyFile<'p> {
    path: &'p Path,
}

impl<'p> KeyFile<'p> {
    pub(super) fn new(path: &'p Path) -> Self {
        Self { path }
    }

    /// What is in it; `None` where there is no such file.
    pub(super) fn read(&self) -> Result<Option<String>, RotationError> {
        for _ in 0..TRIES {
            let file = match private::open(self.path) {
                // The first one may have two names for a moment, where another process puts it
                // there.
                Err(RotationError::Linked) => {
                    std::thread::sleep(PAUSE);
                    continue;
                }
                found => found?,
            };
            let Some(file) = file else { return Ok(None) };
            let mut text = String::new();
            let failed = |error: std::io::Error| RotationError::File("read", error.kind());
            file.take(MAX_BYTES + 1).read_to_string(&mut text).map_err(failed)?;
            if u64::try_from(text.len()).unwrap_or(u64::MAX) > MAX_BYTES {
                return Err(RotationError::Invalid("it is larger than 1 MB"));
            }
            // Nobody writes one here: a file is put in its place when it is whole. Keys were lost,
            // and new ones would log everybody out.
            if text.trim().is_empty() {
                return Err(RotationError::Invalid(
                    "the file is empty; put its keys back, or remove it to have new ones made",
                ));
            }
            return Ok(Some(text));
        }
        Err(RotationError::Linked)
    }

    /// Changes it while nobody else does. `change` is given what is there and says what is to be; what is there in the end is
    /// returned.
    pub(super) fn update(
        &self,
        now: Now,
        mut change: impl FnMut(Option<&str>) -> Result<Option<String>, RotationError>,
    ) -> Result<String, RotationError> {
        private::judge_folder(self.path, "written")?;
        let _lock = Lock::take(&self.beside("lock"), now)?;
        for _ in 0..3 {
            let found = self.read()?;
            match (change(found.as_deref())?, found) {
                (None, Some(found)) => return Ok(found),
                (None, None) => return Err(RotationError::Invalid("there is none")),
                (Some(text), found) => {
                    if self.put(&text, found.is_some())? {
                        return Ok(text);
                    }
                }
            }
        }
        Err(RotationError::Busy)
    }

    /// `false` where there is one by now, and there was to be none.
    fn put(&self, text: &str, replaces: bool) -> Result<bool, RotationError> {
        let failed = |error: std::io::Error| RotationError::File("written", error.kind());
        let new = self.beside(&format!("{:x}{:08x}.new", std::process::id(), random()?));
        let written = create(&new).and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()
        });
        let placed = written.and_then(|()| {
            if replaces {
                return fs::rename(&new, self.path).map(|()| true);
            }
            private::place_first(&new, self.path)
        });
        // After a rename there is none.
        drop(fs::remove_file(&new));
        let placed = placed.map_err(failed)?;
        self.sync_folder();
        Ok(placed)
    }

    /// So that the name survives a crash of the machine. Where it can't be done, the file is as good as ever.
    fn sync_folder(&self) {
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        if let Ok(folder) = File::open(folder.unwrap_or(Path::new("."))) {
            drop(folder.sync_all());
        }
    }

    fn beside(&self, ending: &str) -> PathBuf {
        let mut name = self.path.as_os_str().to_owned();
        name.push(".");
        name.push(ending);
        PathBuf::from(name)
    }
}

/// A file that is there as long as this is.
struct Lock(PathBuf);

impl Lock {
    fn take(path: &Path, now: Now) -> Result<Self, RotationError> {
        for _ in 0..TRIES {
            match create(path) {
                Ok(_) => return Ok(Self(path.to_owned())),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(RotationError::File("written", error.kind())),
            }
            let made = fs::metadata(path).and_then(|metadata| metadata.modified());
            let made = made.unwrap_or(SystemTime::UNIX_EPOCH);
            let made_s = made.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
            // Ahead of us it was made by another clock: then its age can't be told, and it counts as old too.
            if now.unix_seconds().abs_diff(made_s) > LOCK_AGE_S {
                // Two that take it away at once then both write: that costs a key that is never used.
                drop(fs::remove_file(path));
            } else {
                std::thread::sleep(PAUSE);
            }
        }
        Err(RotationError::Busy)
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        drop(fs::remove_file(&self.0));
    }
}

/// A file that did not exist, and that only its owner can read.
fn create(path: &Path) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    options.open(path)
}

fn random() -> Result<u32, RotationError> {
    crate::random::number().map_err(|_| RotationError::Random)
}
