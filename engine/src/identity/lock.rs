//! `DirLock`: a directory held by one process.

use crate::refusal::Refusal;
use std::fs::{self, File, TryLockError};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// A directory held by one process through an exclusive flock on the directory itself. So there is no lock
/// file that could be deleted under its holder, and the kernel unlocks when the holder dies.
#[derive(Debug)]
pub(crate) struct DirLock(File);

impl DirLock {
    /// Takes the lock, or names the process that holds it.
    pub(crate) fn take(path: &Path) -> Result<Self, Refusal> {
        let dir = File::open(path).map_err(|error| Refusal::io("open the directory", path, &error))?;
        match dir.try_lock() {
            Ok(()) => Ok(Self(dir)),
            Err(TryLockError::WouldBlock) => {
                let by = lock_holder(&dir).map(|pid| format!(" (process {pid})")).unwrap_or_default();
                Err(Refusal::DirectoryInUse { path: path.to_owned(), by })
            }
            Err(TryLockError::Error(error)) => Err(Refusal::io("lock the directory", path, &error)),
        }
    }
}

#[cfg(test)]
impl DirLock {
    /// The locked descriptor, for a test that copies it as a fork does.
    pub(super) fn held(&self) -> &File {
        &self.0
    }
}

impl Drop for DirLock {
    /// Unlocks explicitly: a child process between its fork and its exec holds a copy of the descriptor, and
    /// closing ours would leave the lock with the child for that moment.
    fn drop(&mut self) {
        // If this fails, closing the descriptor unlocks.
        let _ = self.0.unlock();
    }
}

/// The process that holds a lock on `file`, as far as the kernel tells.
fn lock_holder(file: &File) -> Option<u32> {
    let inode = file.metadata().ok()?.ino();
    let locks = fs::read_to_string("/proc/locks").ok()?;
    locks.lines().find_map(|line| {
        // "1: FLOCK  ADVISORY  WRITE 4242 fe:01:131073 0 EOF"
        let words: Vec<&str> = line.split_whitespace().collect();
        let (kind, pid, place) = (words.get(1)?, words.get(4)?, words.get(5)?);
        let is_ours = *kind == "FLOCK" && place.rsplit(':').next()?.parse::<u64>().ok()? == inode;
        is_ours.then(|| pid.parse().ok())?
    })
}
