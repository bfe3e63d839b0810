//! Small files written so that after any crash there is the old one or the new one, whole.

use crate::refusal::Refusal;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;

/// Writes `bytes` as `dir/name`: to a temporary file, flushed, renamed over, and the directory flushed, so that the rename
/// is durable when this returns.
pub(super) fn replace_file(dir: &Path, name: &str, bytes: &[u8]) -> Result<(), Refusal> {
    let temporary = dir.join(format!("{name}.tmp"));
    let target = dir.join(name);
    let write = || -> std::io::Result<()> {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&temporary, &target)
    };
    write().map_err(|error| Refusal::io("write", &target, &error))?;
    sync_dir(dir)
}

/// Makes the names in `dir` durable.
pub(super) fn sync_dir(dir: &Path) -> Result<(), Refusal> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(|error| Refusal::io("flush", dir, &error))
}
