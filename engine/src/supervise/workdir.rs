//! The directory of a supervised cluster, with a marker that names its maker, so that only its maker ever
//! deletes it.
//!
//! ```text
//! synod-data/           or target/synod-bench
//!   .synod-cluster      one line: which command made this directory
//!   n1.toml n1/ n1.log  configuration, data and output of each node
//! ```

use crate::identity::{CLUSTER_MARKER as MARKER, DirLock};
use crate::refusal::Refusal;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// The maker of a directory, which alone may delete it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Maker {
    /// `synod dev`: the directory is kept.
    Dev,
    /// `synod bench`: the directory is deleted at the end.
    Bench,
    /// An end-to-end test.
    Test,
    /// `bench-harness`, which also keeps servers other than Synod in such directories: deleted at the end.
    Harness,
}

impl Maker {
    const ALL: [Self; 4] = [Self::Dev, Self::Bench, Self::Test, Self::Harness];

    /// The name of the command, as in the marker and in sentences.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dev => "synod dev",
            Self::Bench => "synod bench",
            Self::Test => "a test",
            Self::Harness => "bench-harness",
        }
    }
}

/// A cluster's directory, locked by this process.
#[derive(Debug)]
pub struct Workdir {
    path: PathBuf,
    maker: Maker,
    _lock: DirLock,
}

/// Checks that `maker` may use `path`; touches nothing.
pub fn check(path: &Path, maker: Maker) -> Result<(), Refusal> {
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) if error.kind() == ErrorKind::NotADirectory => {
            return Err(Refusal::NotADirectory { path: path.to_owned() });
        }
        Err(error) => return Err(Refusal::io("read the directory", path, &error)),
    };
    match made_by(path)? {
        Some(found) if found == maker => Ok(()),
        Some(found) => Err(Refusal::Usage(format!(
            "the directory {} was made by {}, not by {}; choose another with --dir",
            path.display(),
            found.name(),
            maker.name()
        ))),
        None => match entries.flatten().map(|entry| entry.file_name()).min() {
            None => Ok(()),
            Some(found) => Err(Refusal::Usage(format!(
                "the directory {} holds {} and was not made by {}; choose another, or an empty one, with --dir",
                path.display(),
                found.to_string_lossy(),
                maker.name()
            ))),
        },
    }
}

/// The maker of `path`, if its marker tells.
pub fn made_by(path: &Path) -> Result<Option<Maker>, Refusal> {
    let marker = path.join(MARKER);
    match fs::read_to_string(&marker) {
        Ok(text) => Ok(Maker::ALL.into_iter().find(|maker| text.trim_end() == marker_text(*maker))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Refusal::io("read", marker, &error)),
    }
}

fn marker_text(maker: Maker) -> String {
    format!("made by {}", maker.name())
}

impl Workdir {
    /// Takes `path` for `maker`: creates and marks it if it is new, refuses a directory of another maker, and
    /// locks it.
    pub fn open(path: &Path, maker: Maker) -> Result<Self, Refusal> {
        check(path, maker)?;
        fs::create_dir_all(path).map_err(|error| Refusal::io("create the directory", path, &error))?;
        let lock = DirLock::take(path)?;
        let marker = path.join(MARKER);
        fs::write(&marker, format!("{}\n", marker_text(maker)))
            .map_err(|error| Refusal::io("write", marker, &error))?;
        Ok(Self { path: path.to_owned(), maker, _lock: lock })
    }

    /// The path of the directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Deletes everything in it except the marker, so that a cluster can start afresh.
    pub fn clear(&self) -> Result<(), Refusal> {
        self.assert_ours()?;
        let entries = fs::read_dir(&self.path)
            .map_err(|error| Refusal::io("read the directory", &self.path, &error))?;
        for entry in entries {
            let entry = entry.map_err(|error| Refusal::io("read the directory", &self.path, &error))?;
            if entry.file_name() == MARKER {
                continue;
            }
            let path = entry.path();
            let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
            let removed = if is_dir { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            removed.map_err(|error| Refusal::io("delete", path, &error))?;
        }
        Ok(())
    }

    /// Deletes the directory.
    pub fn remove(self) -> Result<(), Refusal> {
        self.clear()?;
        // The marker goes last: if this is cut short, the directory still has its marker.
        let marker = self.path.join(MARKER);
        fs::remove_file(&marker).map_err(|error| Refusal::io("delete", marker, &error))?;
        fs::remove_dir(&self.path).map_err(|error| Refusal::io("delete", &self.path, &error))
    }

    /// Reads the marker again before anything is deleted: the path may have come to name another directory.
    fn assert_ours(&self) -> Result<(), Refusal> {
        if made_by(&self.path)? == Some(self.maker) {
            return Ok(());
        }
        Err(Refusal::Usage(format!(
            "the directory {} no longer bears the mark of {}; it is not deleted",
            self.path.display(),
            self.maker.name()
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_made_marked_and_deleted_by_its_maker_only() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("a/b");
        let workdir = Workdir::open(&path, Maker::Bench).unwrap();
        fs::create_dir(path.join("n1")).unwrap();
        fs::write(path.join("n1/log"), "x").unwrap();
        fs::write(path.join("n1.toml"), "x").unwrap();

        let second = Workdir::open(&path, Maker::Bench).unwrap_err();
        assert!(matches!(second, Refusal::DirectoryInUse { .. }), "{second}");
        let other = Workdir::open(&path, Maker::Dev).unwrap_err().to_string();
        assert!(other.contains("was made by synod bench, not by synod dev"), "{other}");

        workdir.clear().unwrap();
        assert_eq!(fs::read_dir(&path).unwrap().count(), 1, "the marker stays");
        workdir.remove().unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn what_was_there_before_is_neither_used_nor_deleted() {
        let base = tempfile::tempdir().unwrap();
        fs::write(base.path().join("thesis.tex"), "x").unwrap();
        let sentence = Workdir::open(base.path(), Maker::Bench).unwrap_err().to_string();
        assert!(sentence.contains("holds thesis.tex and was not made by synod bench"), "{sentence}");
        assert_eq!(fs::read_dir(base.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_directory_whose_marker_is_gone_is_not_deleted() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("bench");
        let workdir = Workdir::open(&path, Maker::Bench).unwrap();
        fs::write(path.join("precious"), "x").unwrap();
        fs::remove_file(path.join(MARKER)).unwrap();
        assert!(workdir.remove().unwrap_err().to_string().contains("it is not deleted"));
        assert!(path.join("precious").exists());
    }
}
