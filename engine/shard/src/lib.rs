//! `synod-shard`: one core as one pure machine — its Paxos groups, their store, client sessions, batching and
//! forwarding.
//!
//! ```text
//!   Request ─┐ route: lead? ── no ─▶ forward to the leader, or wait for one; a GET may ask it for a point
//!            │            └─ read ─▶ lease or ReadIndex ─▶ store lookup ─▶ Reply (or Read, then Reply)
//!            │            └─ write ▶ pending ─ TurnEnd ─▶ one entry ─▶ Paxos ─▶ Append, Send
//!   Durable ─┤ own votes, promises                                      │
//!   Peer ────┘ others' votes ───────────────────────────────▶ chosen ─▶ apply in order ─▶ Reply
//! ```
//!
//! A core must not read a clock, draw a random number, or touch a file, a socket or a thread; `no_std`
//! enforces this.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod api;
mod common;
mod flow;
mod group;
mod outlet;
mod parts;
mod request;
mod shard;
mod stats;
mod step;

pub use api::{
    AheadLimits, Effect, FREE_REPLY_BYTES, FollowLoad, ForwardId, GroupStatus, Input, Leadership, ReadFailed,
    ReadIndexId, ReadToken, ReplayError, Role, ShardConfig, Sink, Timing, Unsent,
};
pub use shard::Shard;
pub use stats::{CoreStats, GroupStats, HISTOGRAM_BUCKETS, Histogram, RequestKind};
#[cfg(feature = "canary")]
pub use synod_paxos::Canary;
pub use synod_paxos::{FAR_BEHIND_SLOTS, PeerView};
pub use synod_store::CacheStats;
pub use synod_types::{GroupConfig, Members};
