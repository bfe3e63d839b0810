//! The errors of the log, by what the caller must do.
//!
//! [`OpenError`]: do not start. [`AppendError::Full`]: let writes finish, then try again. [`LogFailed`]: stop
//! the process. [`ReadError`]: answer that one read with an error and continue.

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
    /// The directory holds no log, but the caller requires one ([`crate::WhenEmpty::Refuse`]).
    #[error(
        "{place} holds no log, but this node has been in use: its promises and values would be forgotten; restore the \
         directory, or join the cluster again as a new node"
    )]
    Empty {
        /// The directory.
        place: String,
    },
    /// The segment was written by another cluster, node or incarnation.
    #[error(
        "{file} belongs to another node or cluster: its identity tag differs from this node's; point the node at \
         its own data directory"
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
        /// The core whose log it is.
        found: CoreId,
        /// The core it was opened for.
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
    /// Records that were acknowledged, or may have been, cannot be read as they were written.
    #[error(
        "{file} is damaged at offset {offset} [{label}]: {detail}; acknowledged records may be lost, so this core must \
         not answer for its groups: keep the directory for repair and let the node join again as a new one"
    )]
    Corrupt {
        /// The row of the recovery table that matched.
        label: Label,
        /// The segment.
        segment: SegmentId,
        /// The file.
        file: String,
        /// Byte offset of the first bad block.
        offset: u64,
        /// Details of the damage.
        detail: String,
    },
    /// The medium failed while the log was read.
    #[error("{operation} {file}: {source}")]
    Io {
        /// The operation that failed.
        operation: &'static str,
        /// The file or directory.
        file: String,
        /// The error of the operating system.
        source: io::Error,
    },
}

/// A record was not appended. The log is unchanged.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AppendError {
    /// The buffers that wait for the disk have reached their limit. Try again after `poll` reported progress.
    #[error("the log is full: {held} bytes wait for the disk")]
    Full {
        /// Bytes held.
        held: usize,
    },
    /// The record is longer than the log's limit.
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

/// A write failed or was short. The contents of the disk are now unknown, and a retry might report durability
/// that is not there. Every later call therefore returns this error: the process must stop and recover.
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
    /// What the disk reported.
    pub detail: String,
}

/// One read failed. The log itself continues.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ReadError {
    /// The location does not lie inside a segment.
    #[error("no such place in the log")]
    NoSuchPlace,
    /// The disk failed or returned fewer bytes.
    #[error("log read failed: {0}")]
    Disk(String),
    /// The bytes are not those that were written: the record does not match its checksum.
    #[error(
        "the record at {segment} offset {offset} does not fit its checksum: the disk returns other bytes than were \
         written"
    )]
    Corrupt {
        /// The segment.
        segment: SegmentId,
        /// Where the record begins.
        offset: u32,
    },
}
