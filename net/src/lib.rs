//! `synod-net`: bytes to commands and replies, and back.
//!
//! ```text
//!            ┌─ resp/    Redis clients ─┐
//!  bytes ───▶│                          ├─▶ server::Connection ─▶ Ask ─▶ (engine) ─▶ Reply ─▶ bytes
//!            └─ binary/  Synod clients ─┘
//!  bytes ───▶ peer/      node to node, handshake and frames around rkyv archives
//!  client/   the other end of binary/: routing, sessions, retries; and a blocking client over std sockets
//! ```
//!
//! Everything here is sans-I/O: bytes in, bytes out, no clock, no thread. The one exception is
//! [`client::Client`], which drives the client core over a blocking std socket. This crate imports
//! `synod-types` only.
//!
//! No decoder trusts its input: lengths are capped before memory is allocated, checksums are checked before
//! fields are read, and malformed input becomes an error, never a panic. docs/wire-format.md describes the
//! formats for implementers.
#![deny(unsafe_code)] // except in `memory`

pub mod access;
pub mod binary;
pub mod client;
mod error;
#[cfg(test)]
mod examples;
pub mod http;
mod inbox;
mod memory;
pub mod peer;
pub mod resp;
pub mod server;
mod wire;

pub use error::{ProtocolError, RefusedMessage};
pub use memory::ReadBuffer;
