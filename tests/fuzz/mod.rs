//! The fuzz targets as plain functions: `tests/fuzz/libfuzzer` calls them from libFuzzer, `cargo test` calls
//! them with every file of the corpus. Each panics when an invariant that must hold for any bytes is broken.
//!
//! The first bytes of an input determine how the rest is cut into reads, and what happens meanwhile. So a
//! fuzzer can find faults that show only at a boundary.

mod border;
mod cuts;
mod http;
mod http_client;
mod log;
mod replicas;
mod seeds;

pub use border::{binary_client, peer, server};
pub use http::http;
pub use log::{entry, recovery};
pub use replicas::{drawn, replicas, replicas_told};
pub use seeds::seeds;

/// A target: its name in `tests/fuzz/libfuzzer`, which is also that of its corpus directory.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: &[Target] = &[
    ("resp", |data| server(&[], data)),
    ("http", http),
    ("binary", |data| server(&synod_net::binary::PREAMBLE, data)),
    ("binary_client", binary_client),
    ("peer", peer),
    ("entry", entry),
    ("recovery", recovery),
    ("replicas", replicas),
];
