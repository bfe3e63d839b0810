//! Who a data directory is: `synod.id` (cluster facts, node, incarnation, cores, pins), `peers.id`, one directory per core.
//!
//! ```text
//! synod-data/
//!   synod.id    who this is; written last at format, so that it is there only if all the rest is
//!   peers.id    which incarnations of other nodes were met
//!   peers.heard what they said of their logs
//!   boots       how often its process was started
//!   condemned   this is an old copy; written once and for all
//!   peers.secret  what nodes of this cluster prove to each other (may lie elsewhere)
//!   core-0/ …   one log each
//! ```
//! Reading and checking ([`inspect`], [`DataDir::open`]) writes nothing. Only [`DataDir::format`], [`DataDir::begin`],
//! [`PeerBook::check_or_learn`] and [`mod@secret`] write.

mod boots;
mod durable;
mod heard;
mod layout;
mod peers;
pub mod secret;
mod slots;

pub use heard::HeardBook;
pub use layout::ID_FORMAT_VERSION;
pub use peers::PeerBook;
pub use secret::SecretBook;

use crate::config::facts::ClusterFacts;
use crate::random::random;
use crate::refusal::{Refusal, cluster_label, list};
use layout::LayoutError;
use std::fmt;
use std::fs::{self, File, TryLockError};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use synod_types::{Boot, CoreId, Incarnation, NodeId};

/// The identity file, in the data directory.
pub const ID_FILE: &str = "synod.id";
const ID_TEMPORARY: &str = "synod.id.tmp";
const PEERS_TEMPORARY: &str = "peers.id.tmp";
const BOOTS_TEMPORARY: &str = "boots.tmp";
const SECRET_TEMPORARY: &str = "peers.secret.tmp";
/// What a fresh ext4 mount holds; a mount point is as good as an empty directory.
const LOST_FOUND: &str = "lost+found";

/// Says that this directory is an old copy of its node's, and must not be used.
const CONDEMNED_FILE: &str = "condemned";

/// Marks the directory of a whole cluster of `synod dev` or `synod bench`, which is not one node's data.
pub const CLUSTER_MARKER: &str = ".synod-cluster";

/// The CPUs the cores of a node are bound to.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Pins {
    /// Wherever the kernel likes.
    #[default]
    None,
    /// Core j on the j-th of these.
    Cpus(Vec<u32>),
}

impl Pins {
    /// The CPUs; empty when not pinned.
    pub fn cpus(&self) -> &[u32] {
        match self {
            Self::None => &[],
            Self::Cpus(cpus) => cpus,
        }
    }
    /// The CPU of `core`, if pinned.
    pub fn cpu_of(&self, core: CoreId) -> Option<u32> {
        self.cpus().get(usize::from(core.get())).copied()
    }
}

impl fmt::Display for Pins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Cpus(cpus) => write!(f, "[{}]", list(cpus)),
        }
    }
}

/// What is written into a data directory at format and never changes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identity {
    /// The facts of the cluster.
    pub facts: ClusterFacts,
    /// The cluster's name as configured at format; may be empty. For people only.
    pub cluster_name: String,
    /// This node.
    pub node: NodeId,
    /// This life of its disk.
    pub incarnation: Incarnation,
    /// Its number of cores.
    pub cores: u16,
    /// The CPUs they are bound to.
    pub pins: Pins,
}

impl Identity {
    /// The cluster as sentences show it.
    pub fn cluster_label(&self) -> String {
        cluster_label(self.facts.cluster, &self.cluster_name)
    }
    /// One line that says who this is.
    pub fn describe(&self) -> String {
        format!(
            "node {} of cluster {}, incarnation {}, {} groups, {} cores, pins {}, members {}",
            self.node,
            self.cluster_label(),
            self.incarnation,
            self.facts.group_count,
            self.cores,
            self.pins,
            list(&self.facts.founders),
        )
    }
}

/// What lies where a data directory is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DirState {
    /// Nothing.
    Missing,
    /// An empty directory, or the remains of a format that did not finish.
    Empty,
    /// A data directory.
    Formatted(Box<Identity>),
}

/// Looks, and touches nothing. What is neither empty nor ours is a refusal.
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
    // Sorted, so that the same directory always gets the same sentence.
    names.sort();
    for name in names {
        let inside = path.join(&name);
        match name.as_str() {
            LOST_FOUND | ID_TEMPORARY | peers::PEERS_FILE | PEERS_TEMPORARY => {}
            heard::HEARD_FILE | CONDEMNED_FILE | boots::BOOTS_FILE | BOOTS_TEMPORARY => {}
            // Another node's, put there before this one is made.
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
        // A later version may be longer; what is far longer is no id file and need not be read to say so.
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

/// A data directory that this process, and no other, has open.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    identity: Identity,
    _lock: DirLock,
}

impl DataDir {
    /// Makes the directory `path` that of `identity`. Refuses whatever is not empty. The peers' secret is taken as it lies in
    /// `secret_file`, and, where it does not, made if it is `wanted`.
    pub fn format(
        path: &Path,
        identity: Identity,
        secret_file: &Path,
        wanted: bool,
    ) -> Result<Self, Refusal> {
        // What lies outside has a place, or nothing is made at all.
        secret::check_place(secret_file, path)?;
        match inspect(path)? {
            DirState::Missing => create_dir_durably(path)?,
            DirState::Empty => {}
            DirState::Formatted(found) => {
                return Err(Refusal::AlreadyFormatted { path: path.to_owned(), what: found.describe() });
            }
        }
        let lock = DirLock::take(path)?;
        // Another format may have won between the look and the lock.
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

    /// Opens a formatted directory for this process alone, or says why not.
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

    /// Counts the start of a process that is to serve from this directory, durably when this returns.
    ///
    /// # Errors
    /// What counts them is missing or damaged, or cannot be written.
    pub fn begin(&self) -> Result<Boot, Refusal> {
        let random = random().map_err(|error| Refusal::io("draw a number from", "/dev/urandom", &error))?;
        boots::begin(&self.path, self.identity.incarnation, u64::from_le_bytes(random))
    }

    /// Has this directory refused from now on: another node has shown that it is an old copy.
    ///
    /// # Errors
    /// It cannot be written: the next start will have to be shown once more.
    pub fn condemn(&self, why: &str) -> Result<(), Refusal> {
        durable::replace_file(&self.path, CONDEMNED_FILE, format!("{why}\n").as_bytes())
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
    /// Whose it is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }
    /// Where the log of `core` is.
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

/// Creates `path` and what leads to it; each new name is flushed into its parent.
fn create_dir_durably(path: &Path) -> Result<(), Refusal> {
    let created: Vec<&Path> = path.ancestors().take_while(|dir| !is_here(dir) && !dir.exists()).collect();
    for dir in created.iter().rev() {
        fs::create_dir(dir).map_err(|error| Refusal::io("create the directory", *dir, &error))?;
        durable::sync_dir(parent_of(dir))?;
    }
    Ok(())
}

fn is_here(path: &Path) -> bool {
    path.as_os_str().is_empty()
}

fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !is_here(parent) => parent,
        _ => Path::new("."),
    }
}

/// A directory held by one process: an exclusive flock on the directory itself, so that there is no lock file which could be
/// deleted under its holder, and the kernel unlocks when the holder dies.
#[derive(Debug)]
pub(crate) struct DirLock(File);

impl DirLock {
    /// Takes it, or says who has it.
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

impl Drop for DirLock {
    /// Unlocked by name: a child process between its fork and its exec holds a copy of the descriptor, and closing ours would
    /// leave the lock with it for that moment.
    fn drop(&mut self) {
        // What cannot be unlocked is unlocked when the descriptor closes.
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

#[cfg(test)]
mod tests;
