//! The client library: routing to the core that leads, sessions so that a retry is not executed twice,
//! bounded retries.
//!
//! ```text
//!  Client (blocking, std sockets) ─┐  bytes, time
//!  any other runtime ──────────────┴─────────────▶ ClientCore (sans-I/O) ─▶ ClientAction
//!                                                    ├ connections: links, the password, what is asked
//!                                                    └ operations: routed, judged, tried again
//! ```
//!
//! Applications use the crate `synod-client`, which drives the same core with many operations in flight. The
//! [`Client`] here is for this repository's own tools and tests: one operation at a time, over any stream.
//!
//! A caller gets a reply, or an error that says whether the command was certainly not executed. An unknown
//! outcome is [`ClientError::Unknown`], never a failure.

mod action;
mod address;
mod blocking;
mod config;
mod connections;
mod error;
mod group_session;
mod link;
mod links;
mod machine;
mod operation;
mod operations;
mod routing;
#[cfg(test)]
mod tests;

pub use action::{ClientAction, Outcome};
pub use address::{Address, BadAddress};
pub use blocking::{Client, ConnectError, Dial, Stream, TcpDial, TimeToLive};
pub use config::ClientConfig;
pub use error::ClientError;
pub use machine::ClientCore;
