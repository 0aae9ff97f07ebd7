//! A state in a file that the processes of one machine, or of one volume, share.
//!
//! 1. A writer holds a lock, writes a second file that only its owner can read, and renames it over
//!    the first one. So a reader finds either the old state or the new one.
//! 2. The first state is put there by a rename that fails if the file exists: two processes that
//!    start at once cannot create separate keys.
//! 3. A process may be killed at any step. The system releases its lock, and the next holder
//!    deletes the second file, which contains private keys.
//!
//! `private.rs` defines the checks before a file is read.

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use crate::rotation::lock::{Lock, PAUSE, TRIES};
use crate::rotation::{MAX_BYTES, RotationError, private};

/// The key file.
pub(crate) struct KeyFile<'p> {
    path: &'p Path,
}

impl<'p> KeyFile<'p> {
    pub(crate) fn new(path: &'p Path) -> Self {
        Self { path }
    }

    /// The content of the file; `None` if it does not exist.
    pub(crate) fn read(&self) -> Result<Option<String>, RotationError> {
        match self.read_alone() {
            // The process that had to remove the second name may have been killed.
            Err(RotationError::Linked) => {
                self.sweep();
                self.read_alone()
            }
            read => read,
        }
    }

    fn read_alone(&self) -> Result<Option<String>, RotationError> {
        for _ in 0..TRIES {
            let file = match private::open(self.path) {
                // While another process creates the first file, it may have two names for a moment.
                Err(RotationError::Linked) => {
                    std::thread::sleep(PAUSE);
                    continue;
                }
                found => found?,
            };
            let Some(file) = file else { return Ok(None) };
            let mut text = String::new();
            let failed = |error: std::io::Error| RotationError::File("read", error.kind());
            let most = u64::try_from(MAX_BYTES).unwrap_or(u64::MAX).saturating_add(1);
            file.take(most).read_to_string(&mut text).map_err(failed)?;
            if text.len() > MAX_BYTES {
                return Err(RotationError::Invalid("it is larger than 1 MB"));
            }
            // Processes here never write an empty file: a file is complete before its rename. The
            // keys were lost, and new ones would log all users out.
            if text.trim().is_empty() {
                return Err(RotationError::Invalid(
                    "the file is empty; put its keys back, or remove it to have new ones made",
                ));
            }
            return Ok(Some(text));
        }
        Err(RotationError::Linked)
    }

    /// Changes the file under the lock. `change` gets the current content and returns the new one.
    /// The result is the final content.
    pub(crate) fn update(
        &self,
        mut change: impl FnMut(Option<&str>) -> Result<Option<String>, RotationError>,
    ) -> Result<String, RotationError> {
        private::judge_folder(self.path, "written")?;
        let lock = Lock::take(&self.beside("lock"))?;
        self.sweep_alone(&lock);
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

    /// Returns `false` if a file exists that was not expected.
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
        // After a rename it is already gone.
        drop(fs::remove_file(&new));
        let placed = placed.map_err(failed)?;
        self.sync_folder();
        Ok(placed)
    }

    /// Makes the name survive a crash of the machine. If this fails, the file is still valid.
    fn sync_folder(&self) {
        if let Ok(folder) = File::open(self.folder()) {
            drop(folder.sync_all());
        }
    }

    /// Deletes the files of killed processes. If this fails, the next change tries again.
    pub(crate) fn sweep(&self) {
        if self.left_behind().is_empty() {
            return;
        }
        if let Ok(Some(lock)) = Lock::try_take(&self.beside("lock")) {
            self.sweep_alone(&lock);
        }
    }

    fn sweep_alone(&self, lock: &Lock) {
        // Without a lock, another process may be writing now.
        if lock.is_held() {
            for path in self.left_behind() {
                drop(fs::remove_file(path));
            }
        }
    }

    fn left_behind(&self) -> Vec<PathBuf> {
        let Some(name) = self.path.file_name().and_then(|name| name.to_str()) else {
            return Vec::new();
        };
        let entries = fs::read_dir(self.folder()).into_iter().flatten().flatten();
        let is_ours = |found: &str| {
            let middle = found.strip_prefix(name).and_then(|rest| rest.strip_prefix('.'));
            let middle = middle.and_then(|rest| rest.strip_suffix(".new"));
            middle.is_some_and(|middle| {
                middle.len() > 8 && middle.bytes().all(|byte| byte.is_ascii_hexdigit())
            })
        };
        entries
            .filter(|entry| entry.file_name().to_str().is_some_and(is_ours))
            .map(|entry| entry.path())
            .collect()
    }

    fn folder(&self) -> &Path {
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        folder.unwrap_or(Path::new("."))
    }

    fn beside(&self, ending: &str) -> PathBuf {
        let mut name = self.path.as_os_str().to_owned();
        name.push(".");
        name.push(ending);
        PathBuf::from(name)
    }
}

/// Creates a new file that only its owner can read.
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
