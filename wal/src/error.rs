//! Errors of the log, split by what the caller can do about them.
//!
//! [`OpenError`]: do not start. [`AppendError::Full`]: let writes finish, then try again. [`LogFailed`]: stop the process.
//! [`ReadError`]: answer that one read with an error and go on.

use crate::table::Label;
use std::io;
use synod_types::{CoreId, SegmentId};

/// The log cannot be used and the node must not start. Nothing was changed on disk.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The options contradict each other.
    #[error("bad log options: {0}")]
    Options(&'static str),
    /// The directory holds no log, and the caller said that there must be one.
    #[error(
        "{place} holds no log, but this node has been in use: its promises and values would be forgotten; restore the \
         directory, or join the cluster again as a new node"
    )]
    Empty {
        /// Where it was looked for.
        place: String,
    },
    /// The segment was written by another cluster, node or incarnation.
    #[error(
        "{file} belongs to another node or cluster: its identity tag differs from this node's; point the node at its own \
         data directory"
    )]
    Foreign {
        /// The file.
        file: String,
    },
    /// The segment was written by another core of this node.
    #[error(
        "{file} belongs to core {found} and was opened as the log of core {expected}; the directories are mixed up"
    )]
    WrongCore {
        /// The file.
        file: String,
        /// Whose log it is.
        found: CoreId,
        /// Whose log was wanted.
        expected: CoreId,
    },
    /// The segment's format is newer (or older) than this program.
    #[error("{file} has log format {found}, this program reads {expected}; run the version that wrote it")]
    Version {
        /// The file.
        file: String,
        /// The version found.
        found: u16,
        /// The version this program reads.
        expected: u16,
    },
    /// Bytes that were acknowledged, or may have been, cannot be read as they were written.
    #[error(
        "{file} is damaged at offset {offset} [{label}]: {detail}; acknowledged records may be lost, so this core must not \
         answer for its groups: keep the directory for repair and let the node join again as a new one"
    )]
    Corrupt {
        /// Which row of the recovery table fitted.
        label: Label,
        /// The segment.
        segment: SegmentId,
        /// The file.
        file: String,
        /// Byte offset of the first bad block.
        offset: u64,
        /// What is known about it.
        detail: String,
    },
    /// The medium failed while the log was read.
    #[error("{operation} {file}: {source}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        file: String,
        /// How it failed.
        source: io::Error,
    },
}

/// A record was not taken. The log is as before.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AppendError {
    /// What waits in RAM for the disk has reached its bound. Try again after `poll` reported progress.
    #[error("the log is full: {held} bytes wait for the disk")]
    Full {
        /// Bytes held.
        held: usize,
    },
    /// The record is longer than the log was opened for.
    #[error("a record of {len} bytes is longer than the limit of {max}")]
    TooLong {
        /// Its length.
        len: usize,
        /// The limit.
        max: usize,
    },
    /// The log has failed.
    #[error(transparent)]
    Failed(#[from] LogFailed),
}

/// A write failed or was short. What the disk holds is not known any more, a retry may claim durability that is not
/// there, and so every later call gives this error: the process must stop and recover.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "the log failed and the node must stop: write of block {sequence} at {segment} offset {offset}: {detail}"
)]
pub struct LogFailed {
    /// The block.
    pub sequence: u64,
    /// Its segment.
    pub segment: SegmentId,
    /// Its offset.
    pub offset: u32,
    /// What the disk said.
    pub detail: String,
}

/// One read did not give its bytes. The log itself goes on.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ReadError {
    /// The location does not lie inside a segment.
    #[error("no such place in the log")]
    NoSuchPlace,
    /// The disk failed or gave fewer bytes.
    #[error("log read failed: {0}")]
    Disk(String),
    /// The bytes are not those that were written: the record does not fit its checksum.
    #[error(
        "the record at {segment} offset {offset} does not fit its checksum: the disk returns other bytes than were written"
    )]
    Corrupt {
        /// The segment.
        segment: SegmentId,
        /// Where the record begins.
        offset: u32,
    },
}
