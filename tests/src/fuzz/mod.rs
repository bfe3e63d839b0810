//! What the fuzzers throw bytes at, as plain functions: `tests/fuzz` calls them from libFuzzer, `cargo test` with every file
//! of the corpus. Each panics when something that must hold for any bytes does not.
//!
//! The first bytes of an input say how the rest is cut into reads and what happens meanwhile, so that a fuzzer can find
//! what only shows at a boundary.

mod border;
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

/// A target by its name in `tests/fuzz` and of its corpus directory.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
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

/// Cuts input into pieces as its own bytes say.
struct Cuts<'a> {
    rest: &'a [u8],
    sizes: &'a [u8],
    at: usize,
}

impl<'a> Cuts<'a> {
    /// The first byte says how many of the following are sizes.
    fn new(data: &'a [u8]) -> Self {
        let count = data.first().map_or(0, |&count| usize::from(count % 8));
        let body = data.get(1..).unwrap_or(&[]);
        let (sizes, rest) = body.split_at(count.min(body.len()));
        Self { rest, sizes, at: 0 }
    }
    /// All that will come.
    fn whole(&self) -> &'a [u8] {
        self.rest
    }
}

impl<'a> Iterator for Cuts<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.rest.is_empty() {
            return None;
        }
        let size = match self.sizes.get(self.at % self.sizes.len().max(1)) {
            Some(&size) => usize::from(size) + 1,
            None => self.rest.len(),
        };
        self.at += 1;
        let (piece, rest) = self.rest.split_at(size.min(self.rest.len()));
        self.rest = rest;
        Some(piece)
    }
}
