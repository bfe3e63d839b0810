//! Every reason why Synod refuses to start: one clear sentence and one exit code each, nothing touched.
//!
//! This file is the catalogue. A refusal says what is wrong, where, and how to fix it, in one sentence on one
//! line. A function that returns a refusal has written nothing and removed nothing. Failures after the start
//! are [`crate::node::RunError::Failed`].

use crate::exit::Exit;
use std::fmt;
use std::path::PathBuf;
use synod_types::{ClusterId, Incarnation, NodeId};

/// The reason why nothing was started.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    // --- configuration -------------------------------------------------------------------------------
    /// The configuration file cannot be read.
    #[error("cannot read the configuration file {}: {why}; check the path given to --config", path.display())]
    ConfigUnreadable {
        /// The file.
        path: PathBuf,
        /// The system's error.
        why: String,
    },
    /// The file is not TOML, or has a key or a type that the schema does not know.
    #[error("{}: {why}", at_line(path, *line))]
    ConfigSyntax {
        /// The file.
        path: PathBuf,
        /// The line, if the parser knows it.
        line: Option<usize>,
        /// The fault and how to fix it.
        why: String,
    },
    /// A value that its key does not allow.
    #[error("{place}: {why}")]
    ConfigValue {
        /// The file, line and key; or the flag; or the environment variable.
        place: String,
        /// The fault and how to fix it.
        why: String,
    },
    /// The configuration contradicts itself or is incomplete.
    #[error("{place}: {why}")]
    ConfigInvalid {
        /// The file, or the other place that the configuration came from.
        place: String,
        /// The fault and how to fix it.
        why: String,
    },
    /// An environment variable that looks like a setting but is none.
    #[error("the environment variable {name} names no setting; {hint}")]
    EnvUnknown {
        /// The variable.
        name: String,
        /// What was probably meant, or where the names are listed.
        hint: String,
    },
    /// A command line that asks for something impossible.
    #[error("{0}")]
    Usage(String),

    // --- data directory ------------------------------------------------------------------------------
    /// The directory does not exist or is empty, and the configuration names a cluster.
    #[error(
        "the data directory {} is not formatted, and a node of a named cluster never formats itself: if this \
         node is new run `synod format` with the same configuration, if it is not, find its \
         data", path.display()
    )]
    Unformatted {
        /// The directory.
        path: PathBuf,
    },
    /// The directory holds something that Synod did not write.
    #[error(
        "the directory {} holds {found} and no synod.id, so it is not a Synod data directory; choose \
         another, or an empty one", path.display()
    )]
    ForeignDirectory {
        /// The directory.
        path: PathBuf,
        /// One of the names found in it.
        found: String,
    },
    /// The path is not a directory.
    #[error("{} is not a directory; choose a directory for the data", path.display())]
    NotADirectory {
        /// The path.
        path: PathBuf,
    },
    /// `format` on a formatted directory.
    #[error(
        "the data directory {} is already formatted: {what}; use it as it is, or format an empty directory",
        path.display()
    )]
    AlreadyFormatted {
        /// The directory.
        path: PathBuf,
        /// A description of what is there, in one line.
        what: String,
    },
    /// There are logs but no id file.
    #[error(
        "the data directory {} holds {found} but no synod.id: the identity of this node is lost, so its logs \
         must not be used; restore synod.id, or format an empty directory as a new node", path.display()
    )]
    IdentityLost {
        /// The directory.
        path: PathBuf,
        /// The name of what was found instead.
        found: String,
    },
    /// A file of the data directory has a wrong checksum or a wrong structure.
    #[error("{} is damaged ({why}); restore the file from a copy, or bring this node back as a new \
        one", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The fault.
        why: String,
    },
    /// The directory was written by a Synod with another format version.
    #[error(
        "{} has format version {found} and this synod understands version {known} only; start it with the \
         synod that wrote it", path.display()
    )]
    Format {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The version understood here.
        known: u32,
    },
    /// The directory belongs to another cluster.
    #[error(
        "the data directory {} belongs to cluster {found} and {place} names cluster {wanted}; check the data \
         directory and the configuration", path.display()
    )]
    ForeignCluster {
        /// The directory.
        path: PathBuf,
        /// The directory's cluster, with its name if it has one.
        found: String,
        /// The place that names the other cluster.
        place: String,
        /// The configured cluster.
        wanted: String,
    },
    /// The directory belongs to another node.
    #[error(
        "the data directory {} belongs to node {found} and {place} says node {wanted}; check the data \
         directory and the configuration", path.display()
    )]
    OtherNode {
        /// The directory.
        path: PathBuf,
        /// The directory's node.
        found: NodeId,
        /// The place that names the other node.
        place: String,
        /// The configured node.
        wanted: NodeId,
    },
    /// A fact that holds for the life of the cluster was changed.
    #[error(
        "{place} says {name} = {wanted}, but the cluster in {} was formatted with {name} = {found}, and that \
         never changes; put it back to {found}", path.display()
    )]
    FactChanged {
        /// The directory.
        path: PathBuf,
        /// The name of the fact.
        name: &'static str,
        /// The value at format.
        found: String,
        /// The place of the other value in the configuration.
        place: String,
        /// The configured value.
        wanted: String,
    },
    /// Another number of cores: groups would be looked up in other logs.
    #[error(
        "{place} says cores = {wanted}, but the data directory {} was formatted for cores = {found}: with \
         another number groups would open other logs and forget their promises; put it back to \
         {found}", path.display()
    )]
    CoresChanged {
        /// The directory.
        path: PathBuf,
        /// Cores at format.
        found: u16,
        /// The place of the other number in the configuration.
        place: String,
        /// The configured number.
        wanted: u16,
    },
    /// Other pins.
    #[error(
        "{place} says pins = {wanted}, but the data directory {} was formatted with pins = {found}; put it \
         back to {found}", path.display()
    )]
    PinsChanged {
        /// The directory.
        path: PathBuf,
        /// Pins at format.
        found: String,
        /// The place of the other pins in the configuration.
        place: String,
        /// The configured pins.
        wanted: String,
    },
    /// Another set of members.
    #[error(
        "{place} lists the members {wanted}, but the data directory {} was formatted for the members \
         {found}: quorums are counted over those; put the list back", path.display()
    )]
    MembersChanged {
        /// The directory.
        path: PathBuf,
        /// Members at format.
        found: String,
        /// The file with the other list.
        place: String,
        /// The configured members.
        wanted: String,
    },
    /// The directory is an old copy of the node's data directory.
    #[error(
        "the data directory {} is an old copy ({why}): the node has promised and written more since, so it \
         must not come back with it; find its newest data, or bring it back as a new node", path.display()
    )]
    Condemned {
        /// The directory.
        path: PathBuf,
        /// How this became known.
        why: String,
    },
    /// Another process has the directory open.
    #[error("the data directory {} is in use by another process{by}; stop that one first", path.display())]
    DirectoryInUse {
        /// The directory.
        path: PathBuf,
        /// " (process …)" if the process can be found, else empty.
        by: String,
    },
    /// A peer presented another incarnation than the one this node remembers.
    #[error(
        "node {node} was known here as incarnation {known} and now comes as {presented}: its disk was \
         replaced or formatted again, so it may have forgotten promises; it must come back as a new node"
    )]
    OtherIncarnation {
        /// The peer.
        node: NodeId,
        /// The incarnation remembered.
        known: Incarnation,
        /// The incarnation presented.
        presented: Incarnation,
    },
    /// The node has peers but no secret to prove to them.
    #[error(
        "there is no peer secret in {}: the nodes of a cluster prove with it that they belong together; take \
         the file of another node of this cluster, or give all of them one that `synod secret rotate` \
         makes", path.display()
    )]
    NoPeerSecret {
        /// The file.
        path: PathBuf,
    },
    /// The peer secret is not replaced.
    #[error("{} is left as it is: {why}", path.display())]
    SecretNotReplaced {
        /// The file.
        path: PathBuf,
        /// The reason, and how to go on.
        why: String,
    },
    /// The peer secret's file holds something else.
    #[error(
        "{} is no file with a peer secret ({why}); take that of another node of this cluster", path.display()
    )]
    PeerSecretUnusable {
        /// The file.
        path: PathBuf,
        /// The fault.
        why: String,
    },
    /// The system refused an operation on the data directory.
    #[error("cannot {what} {}: {why}", path.display())]
    Io {
        /// The operation.
        what: &'static str,
        /// The path.
        path: PathBuf,
        /// The system's error.
        why: String,
    },

    // --- machine -------------------------------------------------------------------------------------
    /// A port that the node needs is taken.
    #[error(
        "port {port} on {host} ({role}) is already in use{by}; stop what uses it, or configure another port"
    )]
    PortInUse {
        /// The address.
        host: String,
        /// The port.
        port: u16,
        /// The purpose of the port.
        role: String,
        /// " by process …" if the process can be found, else empty.
        by: String,
    },
    /// Listening on the address fails for another reason.
    #[error("cannot listen on {host}:{port} ({role}): {why}; check node.listen and the ports")]
    PortUnusable {
        /// The address.
        host: String,
        /// The port.
        port: u16,
        /// The purpose of the port.
        role: String,
        /// The system's error.
        why: String,
    },
    /// The kernel has no io_uring or forbids it.
    #[error("this kernel gives no io_uring ({why}), which Synod's disk and network paths need; {hint}")]
    NoUring {
        /// The system's error.
        why: String,
        /// How to fix it.
        hint: &'static str,
    },
    /// The limit on locked memory is too low.
    #[error(
        "the limit on locked memory is {found_kib} KiB and io_uring needs at least {need_kib} KiB for Synod; \
         raise it (ulimit -l {need_kib}, LimitMEMLOCK= in systemd, --ulimit memlock in a container)"
    )]
    MemlockTooSmall {
        /// The limit found.
        found_kib: u64,
        /// The lowest limit that works.
        need_kib: u64,
    },
    /// A pin names a CPU that this process cannot run on.
    #[error(
        "{place}: pins names CPU {cpu}, and this process may run on CPUs {allowed} only; choose among those"
    )]
    NoSuchCpu {
        /// Where the pin was configured.
        place: String,
        /// The CPU.
        cpu: u32,
        /// The CPUs that the process may run on.
        allowed: String,
    },
}

impl Refusal {
    /// The exit code of a process that is refused for this reason.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Usage(_) => Exit::Usage,
            Self::ConfigUnreadable { .. }
            | Self::ConfigSyntax { .. }
            | Self::ConfigValue { .. }
            | Self::ConfigInvalid { .. }
            | Self::EnvUnknown { .. } => Exit::Configuration,
            Self::Unformatted { .. }
            | Self::ForeignDirectory { .. }
            | Self::NotADirectory { .. }
            | Self::AlreadyFormatted { .. }
            | Self::IdentityLost { .. }
            | Self::Damaged { .. }
            | Self::Format { .. }
            | Self::ForeignCluster { .. }
            | Self::OtherNode { .. }
            | Self::FactChanged { .. }
            | Self::CoresChanged { .. }
            | Self::PinsChanged { .. }
            | Self::MembersChanged { .. }
            | Self::Condemned { .. }
            | Self::DirectoryInUse { .. }
            | Self::OtherIncarnation { .. }
            | Self::NoPeerSecret { .. }
            | Self::SecretNotReplaced { .. }
            | Self::PeerSecretUnusable { .. }
            | Self::Io { .. } => Exit::DataDirectory,
            Self::NoUring { .. } | Self::MemlockTooSmall { .. } | Self::NoSuchCpu { .. } => Exit::Machine,
            Self::PortInUse { .. } | Self::PortUnusable { .. } => Exit::Port,
        }
    }

    /// An I/O error as a refusal.
    pub fn io(what: &'static str, path: impl Into<PathBuf>, error: &std::io::Error) -> Self {
        Self::Io { what, path: path.into(), why: error.to_string() }
    }
}

/// A cluster id with its name, for use in sentences.
pub fn cluster_label(id: ClusterId, name: &str) -> String {
    if name.is_empty() { id.to_string() } else { format!("\"{name}\" ({id})") }
}

/// The items with commas between them, for use in sentences.
pub fn list<T: fmt::Display>(items: impl IntoIterator<Item = T>) -> String {
    let words: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    words.join(", ")
}

fn at_line(path: &std::path::Path, line: Option<usize>) -> String {
    match line {
        Some(line) => format!("{} line {line}", path.display()),
        None => path.display().to_string(),
    }
}
