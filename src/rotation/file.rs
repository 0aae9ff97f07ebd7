//! A state in a file that processes of one machine, or of one volume, share.
//!
//! Whoever changes it holds a lock, writes a second file that only its owner can read, and puts
//! that in the place of the first one, so that whoever reads finds the old state or the new one.
//! The first state is put there by a rename that fails where there is one already: two processes
//! that start at once can't each have keys of their own. `private.rs` says which file is read.
//!
//! A process may be killed at any step. The system gives its lock back, and the next one that holds
//! the lock deletes the second file, which has private keys.

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use crate::rotation::lock::{Lock, PAUSE, TRIES};
use crate::rotation::{MAX_BYTES, RotationError, private};

/// A file with keys.
pub(crate) struct KeyFile<'p> {
    path: &'p Path,
}

impl<'p> KeyFile<'p> {
    pub(crate) fn new(path: &'p Path) -> Self {
        Self { path }
    }

    /// What is in it; `None` where there is no such file.
    pub(crate) fn read(&self) -> Result<Option<String>, RotationError> {
        match self.read_alone() {
            // Whoever was to take the second name away may have been killed.
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
            let most = u64::try_from(MAX_BYTES).unwrap_or(u64::MAX).saturating_add(1);
            file.take(most).read_to_string(&mut text).map_err(failed)?;
            if text.len() > MAX_BYTES {
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

    /// Changes it while nobody else does. `change` is given what is there and says what is to be;
    /// what is there in the end is returned.
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

    /// So that the name survives a crash of the machine. Where it can't be done, the file is as
    /// good as ever.
    fn sync_folder(&self) {
        if let Ok(folder) = File::open(self.folder()) {
            drop(folder.sync_all());
        }
    }

    /// Deletes what a process that was killed has left. Where that can't be done, it is tried again
    /// with the next change.
    pub(crate) fn sweep(&self) {
        if self.left_behind().is_empty() {
            return;
        }
        if let Ok(Some(lock)) = Lock::try_take(&self.beside("lock")) {
            self.sweep_alone(&lock);
        }
    }

    fn sweep_alone(&self, lock: &Lock) {
        // Without a lock somebody may be writing just now.
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
