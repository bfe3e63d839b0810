//! `synod-store`: the replicated state machine of one core's groups — index, expiry, sessions, slab cache.
//!
//! ```text
//!   begin_slot(ts), apply(command) ─▶ Group ┬─ Index ── records, keys, timing wheel     replicated, equal everywhere
//!                                           └─ Sessions                                 replicated, equal everywhere
//!   lookup, admit ──────────────────▶ Slab: copies of long values                       local, decides nothing
//! ```
//!
//! Contract: one caller applies chosen commands in log order, each once. `apply` may answer that it needs an old value from
//! the log; it has changed nothing then and is called again with the bytes. Replies and state follow from the applied slots
//! alone: not from a clock, the hash seed, what is cached, or when [`Store::expire`] ran.
//!
//! May not: know Paxos, peers, clocks or I/O. `no_std` is the witness.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod api;
mod apply;
mod chunks;
mod digest;
mod group;
mod if_equal;
mod index;
mod list;
mod number;
mod scan;
mod sessions;
mod slab;
mod store;
mod version;
mod wheel;

pub use api::{Applied, CacheHint, CacheStats, FoundValue, Lookup, Room, StoreConfig};
pub use scan::RandomKey;
#[cfg(feature = "canary")]
pub use store::Flaw;
pub use store::Store;

#[cfg(test)]
mod tests;
