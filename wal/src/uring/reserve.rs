//! Space reserved for segments when the node is formatted: files like `000003.spare`, full size, all zeros.

use super::dir::sync_dir;
use super::fill::{Pace, fill};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Makes `count` files of `size` bytes, filled with zeros, in the log directory `dir` for future segments. A
/// log that finds one writes a page instead of a whole file, so that making segments does not compete with
/// the write path for the disk. Blocks.
///
/// # Errors
/// When the file system fails; the files that were finished stay and can be used.
pub fn reserve(dir: &Path, size: u32, count: u32) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    for number in 0..count {
        let temporary = dir.join(format!("{number:06}.spare.tmp"));
        fill(&temporary, u64::from(size), &[], &Pace::unhindered())?;
        fs::rename(&temporary, dir.join(format!("{number:06}.spare")))?;
    }
    sync_dir(dir)
}

/// A spare file of that size, if there is one.
pub(super) fn spare(dir: &Path, size: u32) -> io::Result<Option<PathBuf>> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let path = entry.path();
        if path.extension().is_some_and(|extension| extension == "spare")
            && entry.metadata()?.len() == u64::from(size)
        {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spare_of_the_right_size_is_found_whole_and_zero() {
        let dir = tempfile::tempdir().expect("a directory");
        reserve(dir.path(), 8192, 2).expect("reserve");
        reserve(dir.path(), 8192, 2).expect("again: the same files");
        assert_eq!(spare(dir.path(), 4096).expect("look"), None);
        for _ in 0..2 {
            let path = spare(dir.path(), 8192).expect("look").expect("one is left");
            assert_eq!(fs::read(&path).expect("read"), vec![0; 8192]);
            fs::remove_file(path).expect("remove");
        }
        assert_eq!(spare(dir.path(), 8192).expect("look"), None);
    }
}
