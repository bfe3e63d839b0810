//! `synod-types`: the types that all crates share.
//!
//! Ids, time, limits, commands and replies, peer messages, and the layout of an entry (the content of one log
//! slot). There is no behaviour here beyond encoding and checking, and no access to a clock, a disk or a
//! socket.
//!
//! ```text
//!            Command ──┐ batch            ┌─ log record  (wal: stream + bytes)
//!                      ├──▶ Entry bytes ──┼─ peer frame  (net: header + rkyv meta + these very bytes)
//!            Command ──┘   (one slot)     └─ apply       (store: read in place)
//! ```
//!
//! Import law: this crate depends on no other crate of the workspace. `no_std` ensures that it uses nothing
//! outside itself.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod checksum;
pub mod command;
pub mod config;
pub mod entry;
pub mod event;
pub mod ids;
pub mod limits;
pub mod message;
pub mod operand;
pub mod record;
pub mod shared;
pub mod space;
pub mod time;
pub mod wakes;

pub use command::{
    Command, Compare, Condition, Consistency, ErrorKind, Expiry, ExpiryTest, IfEqualAction, Illegal, Op,
    Reply, SessionStamp, Span,
};
pub use config::{GroupConfig, Members};
pub use entry::{CommandRef, Entry, EntryBuilder, EntryError};
pub use event::{ElectionEnd, Event, LeadershipEnd};
pub use ids::{
    Ballot, Boot, Bucket, ClusterId, CoreId, GroupId, Incarnation, Level, Location, Lsn, Namespace, NodeId,
    RequestId, SegmentId, SessionId, Slot, Version, bucket_of, group_of,
};
pub use message::{
    GroupMessage, Heartbeat, HeartbeatReply, Learned, LogPosition, PeerMessage, ReadPoint, Reported,
    TimeReport,
};
pub use record::{GroupMark, RecordHead, RecordKind};
pub use shared::{Payload, Shared};
pub use space::{LogRoom, Space};
pub use time::{Mono, Nanos, Now, WallMs};
pub use wakes::UnheardWakes;
