//! `synod-wal`: one core's log. It stores ordered records durably; to the log a record is bytes, and it knows
//! nothing of Paxos.
//!
//! ```text
//!  append(parts) ─copy─▶ open block ─close─▶ queue ─submit─▶ ≤ n writes in flight ─poll─▶ contiguous durable prefix
//!        │                                                                                      │
//!        └── Appended { lsn, location }: where the record lies     Durable: every record up to one is safe ──┘
//! ```
//!
//! The log is a synchronous state machine without clock, thread or randomness. Below it is a small trait of
//! submission and completion, [`Disk`]. The same code runs over io_uring (`uring`) and in a deterministic
//! simulator (`mem`, behind the feature of that name: released binaries contain no in-memory disk).
//!
//! Contract, once per turn: `poll` → steps that `append` → `submit`. A record belongs to the durable prefix
//! only once `poll` has reported it. After [`LogFailed`] the process stops.
//!
//! Import law: of the workspace this crate imports `synod-types` only, and only `uring` may name glommio. The
//! layout on disk, the recovery table and the assumptions about the medium are in `docs/disk-format.md`.

#![deny(unsafe_code)] // except in `uring/sys`

mod block;
mod block_size;
mod chain;
mod disk;
mod error;
mod layout;
#[cfg(feature = "mem")]
pub mod mem;
mod options;
mod queue;
mod reads;
mod recover;
mod report;
mod scan;
mod segments;
mod table;
pub mod uring;
mod wal;
mod walk;

pub use disk::{Completion, Disk, IoId, SegmentHead, SegmentPlan};
pub use error::{AppendError, LogFailed, OpenError, ReadError};
pub use layout::{FORMAT_VERSION, SEGMENT_HEADER_BYTES};
pub use options::{
    READ_BYTES_MAX, READS_MAX, SEGMENT_BYTES_MAX, WRITES_IN_FLIGHT_MAX, WalOptions, WhenEmpty,
};
pub use report::{RecordView, RecoveryReport, SegmentReport, TailReport};
pub use table::{Facts, Label, Row, TABLE, Verdict};
pub use wal::{Appended, Backlog, Durable, Wal};
