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
//! Everything here is sans-I/O: bytes in, bytes out, no clock, no thread. The one exception is [`client::Client`], which
//! drives the client core over a blocking std socket. Import law: `synod-types` only.
//!
//! Every decoder trusts nothing: lengths are capped before memory is taken, checksums are checked before fields are read,
//! and what is malformed becomes a clear error, never a panic. docs/wire-format.md is the description for implementers.
#![deny(unsafe_code)] // but for `memory`

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
pub use memory::Room;
