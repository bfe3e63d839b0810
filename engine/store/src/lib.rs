//! `synod-store`: the replicated state machine of one core's groups — index, expiry, sessions, slab cache.
//!
//! ```text
//!   begin_slot(ts), apply(command) ─▶ Group ┬─ Index: records, keys, timing wheel   replicated, all equal
//!                                           └─ Sessions                             replicated, all equal
//!   lookup, admit ──────────────────▶ Slab: copies of long values                   local, decides nothing
//! ```
//!
//! Contract: one caller applies chosen commands in log order, each once. `apply` may answer that it needs an
//! old value from the log; then it has changed nothing, and the caller calls it again with the bytes. Replies
//! and state follow from the applied slots alone. They do not depend on a clock, the hash seed, the contents
//! of the cache, or the times at which [`Store::expire`] ran.
//!
//! The store must not know Paxos, peers, clocks or I/O; `no_std` enforces this.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod api;
mod apply;
mod chunks;
mod digest;
#[cfg(feature = "canary")]
mod flaw;
mod group;
mod index;
mod list;
mod number;
mod scan;
mod sessions;
mod slab;
mod store;
mod version;
mod wheel;

pub use api::{Applied, CacheAdmission, CacheHint, CacheStats, FoundValue, Lookup, StoreConfig};
#[cfg(feature = "canary")]
pub use flaw::Flaw;
pub use scan::RandomKey;
pub use store::Store;

#[cfg(test)]
mod tests;
