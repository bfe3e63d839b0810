//! HTTP as a pure mapping: a request's head to a [`Route`], a `Reply` to a response.
//!
//! ```text
//!  head ─▶ route() ─▶ Route::Key(plan) ─▶ body into an Upload ─▶ plan.command() ─▶ (engine) ─▶ plan.respond(reply)
//!                  ├▶ Route::Page(metrics, health, ready, status)
//!                  └▶ Route::Done(response): what needs nobody else, errors above all
//! ```
//!
//! The bytes of HTTP itself (framing, chunks, keep-alive, pipelining) are hyper's business, in the engine's runtime. In here
//! there is no I/O, no clock and no panic, whatever the bytes are. docs/http.md is the description for users.

mod answer;
mod etag;
mod exposition;
mod plan;
#[cfg(test)]
mod tests;
mod upload;

pub use answer::{Failure, json_string, page};
pub use exposition::Exposition;
pub use plan::{KeyPlan, Page, Route, route};
pub use upload::{Oversize, Upload};

/// Longest head the server is to take; the longest key, percent-encoded, and its headers fit. Longer ones are answered 431.
pub const HEAD_BYTES_MAX: usize = 80 << 10;
/// Headers of one request; with more it is answered 431.
pub const HEADERS_MAX: usize = 64;
/// Of a body that is not wanted or too long, this much is to be read and dropped, so that a client which only sends still sees
/// the answer.
pub const DRAIN_BYTES_MAX: usize = 8 << 20;

/// What a request line looks like when it is HTTP's: how a connection's first bytes are told from inline commands.
pub(crate) const METHODS: [&[u8]; 7] =
    [b"GET ", b"HEAD ", b"PUT ", b"POST ", b"PATCH ", b"DELETE ", b"OPTIONS "];
