//! Small files that are written so that after any crash either the old or the new file is there, whole; and
//! directories that are created durably.

use crate::refusal::Refusal;
use std::fs::{File, OpenOptions, Permissions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::Path;

/// Writes `bytes` as `dir/name`: writes and flushes a temporary file, renames it, and flushes the directory,
/// so that the rename is durable when this returns.
pub(super) fn replace_file(dir: &Path, name: &str, bytes: &[u8]) -> Result<(), Refusal> {
    replace(dir, name, bytes, false)
}

/// [`replace_file`] for a file that only its owner may read.
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

/// Creates a new file that only the owner of `target` may read, or the owner of `dir` if there is no
/// `target`.
fn create_private(temporary: &Path, target: &Path, dir: &Path) -> std::io::Result<File> {
    // A process that has a leftover temporary file open must not read the new content through it.
    match std::fs::remove_file(temporary) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(temporary)?;
    file.set_permissions(Permissions::from_mode(0o600))?;
    // An administrator may run this for the user that the node runs as.
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

/// Creates `path` and its missing parents; each new name is flushed into its parent.
pub(super) fn create_dir(path: &Path) -> Result<(), Refusal> {
    let created: Vec<&Path> = path.ancestors().take_while(|dir| !is_here(dir) && !dir.exists()).collect();
    for dir in created.iter().rev() {
        std::fs::create_dir(dir).map_err(|error| Refusal::io("create the directory", *dir, &error))?;
        sync_dir(parent_of(dir))?;
    }
    Ok(())
}

fn is_here(path: &Path) -> bool {
    path.as_os_str().is_empty()
}

/// The parent directory of `path`.
pub(super) fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !is_here(parent) => parent,
        _ => Path::new("."),
    }
}
