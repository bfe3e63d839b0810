//! `DataDir`: inspects, formats and opens a data directory.

use super::layout::{self, ID_FORMAT_VERSION, LayoutError};
use super::lock::DirLock;
use super::peers::{self, PeerBook};
use super::who::Identity;
use super::{boots, durable, heard, secret};
use crate::random::random;
use crate::refusal::Refusal;
use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use synod_types::{Boot, CoreId};

/// The identity file in the data directory.
pub const ID_FILE: &str = "synod.id";
const ID_TEMPORARY: &str = "synod.id.tmp";
const PEERS_TEMPORARY: &str = "peers.id.tmp";
const BOOTS_TEMPORARY: &str = "boots.tmp";
const SECRET_TEMPORARY: &str = "peers.secret.tmp";
/// The content of a fresh ext4 mount; a mount point counts as an empty directory.
const LOST_FOUND: &str = "lost+found";

/// Marks this directory as an old copy of the node's data directory, which must not be used.
const CONDEMNED_FILE: &str = "condemned";

/// Marks the directory of a whole cluster of `synod dev` or `synod bench`, which is not one node's data.
pub const CLUSTER_MARKER: &str = ".synod-cluster";

/// The state of the path of a data directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DirState {
    /// There is no directory.
    Missing,
    /// An empty directory, or the remains of a format that did not finish.
    Empty,
    /// A data directory.
    Formatted(Box<Identity>),
}

/// Inspects the path and touches nothing. A directory that is neither empty nor a data directory is refused.
pub fn inspect(path: &Path) -> Result<DirState, Refusal> {
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(DirState::Missing),
        Err(error) if error.kind() == ErrorKind::NotADirectory => {
            return Err(Refusal::NotADirectory { path: path.to_owned() });
        }
        Err(error) => return Err(Refusal::io("read the directory", path, &error)),
    };
    if let Some(identity) = read_identity(path)? {
        return Ok(DirState::Formatted(Box::new(identity)));
    }

    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| Refusal::io("read the directory", path, &error))?;
        names.push(entry.file_name().to_string_lossy().into_owned());
    }
    // Sorted, so that the same directory always gets the same error message.
    names.sort();
    for name in names {
        let inside = path.join(&name);
        match name.as_str() {
            LOST_FOUND | ID_TEMPORARY | peers::PEERS_FILE | PEERS_TEMPORARY => {}
            heard::HEARD_FILE | CONDEMNED_FILE | boots::BOOTS_FILE | BOOTS_TEMPORARY => {}
            // The secret of another node, put there before this node is formatted.
            secret::SECRET_FILE | SECRET_TEMPORARY => {}
            core if is_core_name(core) => {
                let is_empty = fs::read_dir(&inside)
                    .map_err(|error| Refusal::io("read the directory", &inside, &error))?
                    .next()
                    .is_none();
                if !is_empty {
                    return Err(Refusal::IdentityLost { path: path.to_owned(), found: name });
                }
            }
            CLUSTER_MARKER => {
                let found = "the nodes of `synod dev` or `synod bench`".to_owned();
                return Err(Refusal::ForeignDirectory { path: path.to_owned(), found });
            }
            _ => return Err(Refusal::ForeignDirectory { path: path.to_owned(), found: name }),
        }
    }
    Ok(DirState::Empty)
}

fn read_identity(dir: &Path) -> Result<Option<Identity>, Refusal> {
    let path = dir.join(ID_FILE);
    let mut bytes = Vec::new();
    match File::open(&path) {
        // A later version may be longer. A file that is far longer is no id file, and a part of it is enough
        // to refuse it.
        Ok(file) => file
            .take(16 * layout::ID_BYTES_MAX as u64)
            .read_to_end(&mut bytes)
            .map_err(|error| Refusal::io("read", &path, &error))?,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Refusal::io("read", &path, &error)),
    };
    match layout::decode(&bytes) {
        Ok(identity) => Ok(Some(identity)),
        Err(LayoutError::Version(found)) => Err(Refusal::Format { path, found, known: ID_FORMAT_VERSION }),
        Err(LayoutError::Damaged(why)) => Err(Refusal::Damaged { path, why: why.to_owned() }),
    }
}

/// A data directory that only this process has open.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    identity: Identity,
    _lock: DirLock,
}

impl DataDir {
    /// Formats the directory `path` for `identity`. Refuses a directory that is not empty. An existing peer
    /// secret in `secret_file` is kept; if there is none, a new one is made if it is `wanted`.
    pub fn format(
        path: &Path,
        identity: Identity,
        secret_file: &Path,
        wanted: bool,
    ) -> Result<Self, Refusal> {
        // A secret file outside the directory must have a place; otherwise nothing is made at all.
        secret::check_place(secret_file, path)?;
        match inspect(path)? {
            DirState::Missing => durable::create_dir(path)?,
            DirState::Empty => {}
            DirState::Formatted(found) => {
                return Err(Refusal::AlreadyFormatted { path: path.to_owned(), what: found.describe() });
            }
        }
        let lock = DirLock::take(path)?;
        // Another process may have formatted it between the inspection and the lock.
        if let DirState::Formatted(found) = inspect(path)? {
            return Err(Refusal::AlreadyFormatted { path: path.to_owned(), what: found.describe() });
        }
        for core in 0..identity.cores {
            let core_dir = path.join(core_name(CoreId::new(core)));
            match fs::create_dir(&core_dir) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(Refusal::io("create the directory", core_dir, &error)),
            }
        }
        if wanted {
            secret::ensure(secret_file)?;
        }
        PeerBook::create(path, identity.facts.cluster)?;
        boots::create(path, identity.incarnation)?;
        durable::replace_file(path, ID_FILE, &layout::encode(&identity))?;
        Ok(Self { path: path.to_owned(), identity, _lock: lock })
    }

    /// Opens a formatted directory for this process alone.
    pub fn open(path: &Path) -> Result<Self, Refusal> {
        let unformatted = || Refusal::Unformatted { path: path.to_owned() };
        if inspect(path)? == DirState::Missing {
            return Err(unformatted());
        }
        let lock = DirLock::take(path)?;
        let DirState::Formatted(identity) = inspect(path)? else {
            return Err(unformatted());
        };
        match fs::read_to_string(path.join(CONDEMNED_FILE)) {
            Ok(why) => return Err(Refusal::Condemned { path: path.to_owned(), why: why.trim().to_owned() }),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(Refusal::io("read", path.join(CONDEMNED_FILE), &error)),
        }
        for core in 0..identity.cores {
            let core_dir = path.join(core_name(CoreId::new(core)));
            if !core_dir.is_dir() {
                return Err(Refusal::Damaged {
                    path: core_dir,
                    why: "this core's log directory is missing".to_owned(),
                });
            }
        }
        Ok(Self { path: path.to_owned(), identity: *identity, _lock: lock })
    }

    /// Counts a start of the node from this directory. The count is durable when this returns.
    ///
    /// # Errors
    /// The counter file is missing or damaged, or cannot be written.
    pub fn begin(&self) -> Result<Boot, Refusal> {
        let random = random().map_err(|error| Refusal::io("draw a number from", "/dev/urandom", &error))?;
        boots::begin(&self.path, self.identity.incarnation, u64::from_le_bytes(random))
    }

    /// Makes every later start refuse this directory: another node has shown that it is an old copy.
    ///
    /// # Errors
    /// The mark cannot be written; then another node must show it again at the next start.
    pub fn condemn(&self, why: &str) -> Result<(), Refusal> {
        durable::replace_file(&self.path, CONDEMNED_FILE, format!("{why}\n").as_bytes())
    }

    /// The path of the directory.
    pub fn path(&self) -> &Path {
        &self.path
    }
    /// The identity of the directory.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }
    /// The directory of `core`'s log.
    ///
    /// # Panics
    /// When the node has no such core.
    pub fn core_dir(&self, core: CoreId) -> PathBuf {
        assert!(core.get() < self.identity.cores, "no such core");
        self.path.join(core_name(core))
    }
}

fn core_name(core: CoreId) -> String {
    format!("core-{}", core.get())
}

fn is_core_name(name: &str) -> bool {
    name.strip_prefix("core-").is_some_and(|number| number.parse::<u16>().is_ok())
}

#[cfg(test)]
mod tests;
