//! `synod-store`: the replicated state machine of one core's groups — index, expiry, sessions, slab cache.
//!
//! Knows nothing of Paxos, peers, clocks or I/O: the caller applies chosen commands in order and does the reads it is asked
//! for. `no_std` is the witness.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod api;
mod store;

pub use api::{Applied, CacheHint, CacheStats, Lookup, StoreConfig};
pub use store::Store;
