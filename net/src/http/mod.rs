//! HTTP as a pure mapping: a request's head to a [`Route`], a `Reply` to a response.
//!
//! ```text
//!  head ─▶ route() ─▶ Route::Key(plan) ─▶ body into Upload ─▶ plan.command() ─▶ (engine) ─▶ plan.respond()
//!                  ├▶ Route::Page(metrics, health, ready, status)
//!                  └▶ Route::Done(response): the engine is not needed, mostly errors
//! ```
//!
//! hyper handles the bytes of HTTP itself (framing, chunks, keep-alive, pipelining) in the engine's runtime.
//! This module has no I/O and no clock, and it never panics, whatever the bytes are. docs/http.md is the
//! description for users.

mod answer;
mod etag;
mod exposition;
mod plan;
#[cfg(test)]
mod tests;
mod upload;

pub use answer::{HttpError, json_string, page};
pub use exposition::Exposition;
pub use plan::{HttpPage, KeyPlan, Route, route};
pub use upload::{Oversize, Upload};

/// Longest head that the server takes; the longest key, percent-encoded, and its headers fit. A longer head
/// is answered with 431.
pub const HEAD_BYTES_MAX: usize = 80 << 10;
/// Most headers of one request; a request with more is answered with 431.
pub const HEADERS_MAX: usize = 64;
/// Bytes of an unwanted or oversized body that are read and dropped, so that a client that only sends still
/// sees the answer.
pub const DRAIN_BYTES_MAX: usize = 8 << 20;

/// The starts of HTTP request lines: they tell HTTP from inline commands at the first bytes of a connection.
pub(crate) const METHODS: [&[u8]; 7] =
    [b"GET ", b"HEAD ", b"PUT ", b"POST ", b"PATCH ", b"DELETE ", b"OPTIONS "];
