//! Small files written so that after any crash there is the old one or the new one, whole.

use crate::refusal::Refusal;
use std::fs::{File, OpenOptions, Permissions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::Path;

/// Writes `bytes` as `dir/name`: to a temporary file, flushed, renamed over, and the directory flushed, so that the rename
/// is durable when this returns.
pub(super) fn replace_file(dir: &Path, name: &str, bytes: &[u8]) -> Result<(), Refusal> {
    replace(dir, name, bytes, false)
}

/// [`replace_file`] for what nobody but the owner may read.
pub(super) fn replace_private_file(dir: &Path, name: &str, bytes: &[u8]) -> Result<(), Refusal> {
    replace(dir, name, bytes, true)
}

fn replace(dir: &Path, name: &str, bytes: &[u8], is_private: bool) -> Result<(), Refusal> {
    let temporary = dir.join(format!("{name}.tmp"));
    let target = dir.join(name);
    let write = || -> std::io::Result<()> {
        let mut file = if is_private {
            create_private(&temporary, &target, dir)?
        } else {
            OpenOptions::new().write(true).create(true).truncate(true).open(&temporary)?
        };
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&temporary, &target)
    };
    write().map_err(|error| Refusal::io("write", &target, &error))?;
    sync_dir(dir)
}

/// A new file for the owner of `target`, or of `dir` where that is not there, and for nobody else.
fn create_private(temporary: &Path, target: &Path, dir: &Path) -> std::io::Result<File> {
    // Whoever has one open that was left there reads no more of it than that.
    match std::fs::remove_file(temporary) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(temporary)?;
    file.set_permissions(Permissions::from_mode(0o600))?;
    // The administrator may do this for the user that the node runs as.
    let owner = std::fs::metadata(target).or_else(|_| std::fs::metadata(dir))?;
    let own = file.metadata()?;
    if (owner.uid(), owner.gid()) != (own.uid(), own.gid()) {
        fchown(&file, Some(owner.uid()), Some(owner.gid()))?;
    }
    Ok(file)
}

/// Makes the names in `dir` durable.
pub(super) fn sync_dir(dir: &Path) -> Result<(), Refusal> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(|error| Refusal::io("flush", dir, &error))
}
