//! Opens the key file securely: the author of its content can sign tokens that this service
//! accepts.
//!
//! It prevents the use of a file that another user has put there. A process that runs as root can
//! read any file, and in a folder that everyone may write to, anyone can create the file first. The
//! file checks apply to the open file and not to its path, so it cannot be swapped in between.

use std::fs::File;
use std::path::Path;

use crate::rotation::RotationError;

/// Opens the file for reading if only this user can have written it and can read it; `None` if it
/// does not exist.
pub(crate) fn open(path: &Path) -> Result<Option<File>, RotationError> {
    let file = match options().open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) if is_link(&error) => {
            return Err(RotationError::Untrusted(
                "the key file is a symbolic link; give the path of the file itself",
            ));
        }
        Err(error) => return Err(RotationError::File("read", error.kind())),
    };
    let metadata = file.metadata().map_err(|error| RotationError::File("read", error.kind()))?;
    if !metadata.is_file() {
        return Err(RotationError::Invalid("it is no file"));
    }
    judge(&metadata, path)?;
    Ok(Some(file))
}

#[cfg(unix)]
fn options() -> std::fs::OpenOptions {
    use rustix::fs::OFlags;
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut options = File::options();
    // Do not block on a pipe in its place until a writer comes.
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    options.read(true).custom_flags(flags.bits().cast_signed());
    options
}

#[cfg(not(unix))]
fn options() -> std::fs::OpenOptions {
    let mut options = File::options();
    options.read(true);
    options
}

#[cfg(unix)]
fn is_link(error: &std::io::Error) -> bool {
    use rustix::io::Errno;
    // FreeBSD returns `MLINK`.
    error.raw_os_error().is_some_and(|code| {
        code == Errno::LOOP.raw_os_error() || code == Errno::MLINK.raw_os_error()
    })
}

#[cfg(not(unix))]
fn is_link(_: &std::io::Error) -> bool {
    false
}

#[cfg(unix)]
fn judge(metadata: &std::fs::Metadata, path: &Path) -> Result<(), RotationError> {
    use std::os::unix::fs::MetadataExt as _;
    if metadata.uid() != rustix::process::geteuid().as_raw() {
        return Err(RotationError::Untrusted(
            "the key file belongs to another user, who knows its keys; run the process as that user, or let this one make a new file",
        ));
    }
    if metadata.mode() & 0o077 != 0 {
        return Err(RotationError::Exposed);
    }
    if metadata.nlink() > 1 {
        return Err(RotationError::Linked);
    }
    judge_folder(path, "read")
}

/// Checks that no other user can remove the file or create it. Called before the first write, too.
/// `what` names the operation that fails if there is no folder.
#[cfg(unix)]
pub(crate) fn judge_folder(path: &Path, what: &'static str) -> Result<(), RotationError> {
    use std::os::unix::fs::MetadataExt as _;
    const STICKY: u32 = 0o1000;
    const WRITTEN_BY_OTHERS: u32 = 0o002;
    // With the sticky bit, users cannot remove files of other users.
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = std::fs::metadata(folder.unwrap_or(Path::new(".")))
        .map_err(|error| RotationError::File(what, error.kind()))?;
    if folder.mode() & (STICKY | WRITTEN_BY_OTHERS) == WRITTEN_BY_OTHERS {
        return Err(RotationError::Untrusted(
            "the folder of the key file may be written by everybody, who could take the file away; run: chmod o-w on the folder",
        ));
    }
    Ok(())
}

/// On Windows a file has the permissions of its folder.
#[cfg(not(unix))]
fn judge(_: &std::fs::Metadata, _: &Path) -> Result<(), RotationError> {
    Ok(())
}

#[cfg(not(unix))]
pub(crate) fn judge_folder(_: &Path, _: &'static str) -> Result<(), RotationError> {
    Ok(())
}

/// Renames a file to an unused name; returns `false` if the name is in use. Unlike with a hard
/// link, the file never has two names.
#[cfg(any(target_os = "linux", target_vendor = "apple"))]
pub(crate) fn place_first(new: &Path, path: &Path) -> std::io::Result<bool> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    use rustix::io::Errno;
    match renameat_with(CWD, new, CWD, path, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(true),
        Err(Errno::EXIST) => Ok(false),
        // The file system does not support it.
        Err(_) => link(new, path),
    }
}

#[cfg(not(any(target_os = "linux", target_vendor = "apple")))]
pub(crate) fn place_first(new: &Path, path: &Path) -> std::io::Result<bool> {
    link(new, path)
}

fn link(new: &Path, path: &Path) -> std::io::Result<bool> {
    match std::fs::hard_link(new, path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(false),
        // A file system without links: the lock has to suffice.
        Err(_) => std::fs::rename(new, path).map(|()| true),
    }
}
