//! A lock that lets one process at a time change a file.
//!
//! It is a lock of the operating system (`flock`) on a file beside the key file. The system
//! releases it whenever the process ends, so no process has to infer from a clock whether another
//! one is gone.

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::rotation::RotationError;

pub(crate) const TRIES: u32 = 100;
pub(crate) const PAUSE: Duration = Duration::from_millis(5);

/// The right to change a file, until it is dropped.
pub(crate) struct Lock {
    path: PathBuf,
    file: Option<File>,
    is_held: bool,
}

enum Tried {
    Taken,
    Busy,
    /// The file system has no locks: the rename has to suffice.
    NoLocks,
}

impl Lock {
    /// Waits for up to half a second.
    pub(crate) fn take(path: &Path) -> Result<Self, RotationError> {
        for _ in 0..TRIES {
            if let Some(lock) = Self::try_take(path)? {
                return Ok(lock);
            }
            std::thread::sleep(PAUSE);
        }
        Err(RotationError::Busy)
    }

    /// Returns `None` if another process holds it.
    pub(crate) fn try_take(path: &Path) -> Result<Option<Self>, RotationError> {
        let failed = |error: std::io::Error| RotationError::File("written", error.kind());
        let Some(file) = open(path).map_err(failed)? else { return Ok(None) };
        let is_held = match lock(&file, path) {
            Tried::Taken => true,
            Tried::NoLocks => false,
            Tried::Busy => return Ok(None),
        };
        Ok(Some(Self { path: path.to_owned(), file: Some(file), is_held }))
    }

    /// Whether it excludes all other processes.
    pub(crate) fn is_held(&self) -> bool {
        self.is_held
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        if cfg!(windows) {
            // Windows cannot remove an open file.
            self.file = None;
        }
        drop(fs::remove_file(&self.path));
    }
}

#[cfg(unix)]
fn open(path: &Path) -> std::io::Result<Option<File>> {
    use rustix::fs::OFlags;
    use std::os::unix::fs::OpenOptionsExt as _;
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false);
    options.mode(0o600).custom_flags(flags.bits().cast_signed());
    options.open(path).map(Some)
}

#[cfg(unix)]
fn lock(file: &File, path: &Path) -> Tried {
    use rustix::fs::{FlockOperation, flock};
    use rustix::io::Errno;
    use std::os::unix::fs::MetadataExt as _;
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK | Errno::INTR) => return Tried::Busy,
        Err(_) => return Tried::NoLocks,
    }
    // The previous holder may have removed the file: a lock on a removed file excludes no process.
    let is_there = |found: fs::Metadata| {
        file.metadata().is_ok_and(|own| (own.dev(), own.ino()) == (found.dev(), found.ino()))
    };
    if fs::symlink_metadata(path).is_ok_and(is_there) { Tried::Taken } else { Tried::Busy }
}

/// Opens the file exclusively.
#[cfg(windows)]
fn open(path: &Path) -> std::io::Result<Option<File>> {
    use std::os::windows::fs::OpenOptionsExt as _;
    /// `ERROR_ACCESS_DENIED` while it is being removed, and `ERROR_SHARING_VIOLATION`.
    const BUSY: [i32; 2] = [5, 32];
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).share_mode(0);
    match options.open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.raw_os_error().is_some_and(|code| BUSY.contains(&code)) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(windows)]
fn lock(_: &File, _: &Path) -> Tried {
    Tried::Taken
}
