//! `synod-wal`: one core's log. Durable ordered records; it knows streams of bytes, not Paxos.
//!
//! ```text
//!  append(parts) ─copy─▶ open block ─close─▶ queue ─submit─▶ ≤ n writes in flight ─poll─▶ contiguous durable prefix
//!        │                                                                                      │
//!        └── Appended { lsn, location }: where the record lies, from now on        Durable: every record up to one is safe
//! ```
//!
//! The log is a synchronous state machine without clock, thread or randomness over a small submission/completion trait,
//! [`Disk`]; the same code runs over io_uring (`uring`) and in a deterministic simulator ([`mem`]).
//!
//! Contract, once per turn: `poll` → steps that `append` → `submit`. A record belongs to the durable prefix only once `poll` has
//! said so. After [`LogFailed`] the process stops.
//!
//! Import law: this crate imports `synod-types` only, and only `uring` may name glommio. The layout on disk, the recovery
//! table and the assumptions about the medium are in `docs/disk-format.md`.

#![deny(unsafe_code)]

mod chain;
mod disk;
mod error;
mod layout;
pub mod mem;
mod options;
mod recover;
mod scan;
mod segments;
mod table;
pub mod uring;
mod wal;

pub use disk::{Completion, Disk, OpId, SegmentHead, SegmentPlan};
pub use error::{AppendError, LogFailed, OpenError, ReadError};
pub use layout::{FORMAT_VERSION, SEGMENT_HEADER_BYTES};
pub use options::{READS_MAX, SEGMENT_BYTES_MAX, WRITES_IN_FLIGHT_MAX, WalOptions, WhenEmpty};
pub use recover::{RecordView, RecoveryReport, SegmentReport, TailReport};
pub use table::{Facts, Label, Row, TABLE, Verdict};
pub use wal::{Appended, Backlog, Durable, Wal};
